"""Which colours a map gets: those of a heat of 0 to 1, or of a signed map from -1 to 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_gradcam.image.colormap import colormap_colors
from tf_gradcam.image.diverging import diverging_colors, overlay_signed
from tf_gradcam.image.io import Photo
from tf_gradcam.image.overlay import overlay_heatmap


def paint(photo: Any, values: np.ndarray, signed: bool, alpha: float = 0.4, colormap: str | None = None) -> Photo:
    """A map on a photo: `overlay_signed` for signed ones ("bwr" where no colour map is named), else `overlay_heatmap`
    ("jet").
    """
    if signed:
        return overlay_signed(photo, values, alpha, colormap or "bwr")
    return overlay_heatmap(photo, values, alpha, colormap or "jet")


def colors_of(signed: bool, colormap: str | None = None) -> NDArray[np.uint8]:
    """The colours that `paint` uses, from the lowest value to the highest: (255, 3) for signed maps, else (256, 3)."""
    return diverging_colors(colormap or "bwr") if signed else colormap_colors(colormap or "jet")
