"""The colours of overlays for what Matplotlib draws. Imported where a figure is made: it imports Matplotlib."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap, Normalize

from tf_gradcam.image.painting import colors_of


class NearestColor(Normalize):
    """Rounds to the nearest of so many colours, as overlays do; Matplotlib alone cuts its range into equal parts.

    Args:
        lowest: value of the first colour, -1 or 0; that of the last is 1.
        count: how many colours.
    """

    def __init__(self, lowest: float, count: int):
        super().__init__(lowest, 1.0)
        self._steps = count - 1

    def __call__(self, value: Any, clip: bool | None = None) -> Any:
        return np.round(super().__call__(value, clip) * self._steps) / self._steps


def color_scale(signed: bool, colormap: str | None = None) -> tuple[ListedColormap, NearestColor]:
    """A colour map and a norm that give a value the very colour that `paint` gives it with alpha 1 on white."""
    colors = colors_of(signed, colormap)
    return ListedColormap((colors / 255).tolist()), NearestColor(-1.0 if signed else 0.0, len(colors))
