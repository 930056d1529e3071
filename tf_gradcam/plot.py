"""Figures of explanations, through Matplotlib's objects: no global state, no backend is touched."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tf_gradcam.explanation import Explanation

_INCHES = 2.6  # side of a panel


def explanation_figure(explanation: Explanation, photos: Any = None, colormap: str = "jet") -> Figure:
    """A row per image: photo, map with colour bar, overlay; without photos the maps alone.

    Args:
        explanation: of B images.
        photos: B photos (H0, W0, 3) uint8 RGB, or None.
        colormap: a colour map of Matplotlib. Defaults to "jet".

    Returns:
        Matplotlib Figure.
    """
    from matplotlib.figure import Figure

    columns = 1 if photos is None else 3
    rows = len(explanation)
    figure = Figure(figsize=(columns * _INCHES + 0.8, rows * (_INCHES + 0.3)), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    resized = explanation.resized()
    drawn: Any = None
    for index, line in enumerate(panels):
        drawn = _draw(line[0 if photos is None else 1], resized[index], cmap=colormap, vmin=0.0, vmax=1.0)
        line[0 if photos is None else 1].set_title(_caption(explanation, index), fontsize=9)
        if photos is not None:
            _draw(line[0], photos[index])
            line[0].set_title("photo", fontsize=9)
            _draw(line[2], explanation.overlay_of(index, photos[index], colormap=colormap))
            line[2].set_title("overlay", fontsize=9)
    figure.colorbar(drawn, ax=panels, fraction=0.04, aspect=25, label="part of the maximum")
    figure.suptitle(f"{explanation.method} at {explanation.layer_name}", fontsize=10)
    return figure


def _draw(panel: Axes, picture: np.ndarray, **style: Any) -> Any:
    panel.set_axis_off()
    return panel.imshow(picture, interpolation="nearest", **style)


def _caption(explanation: Explanation, index: int) -> str:
    """What was explained, how probable it is, and that the map is blank where it is."""
    caption = textwrap.shorten(explanation.labels[index], 24, placeholder=" ...")
    class_index = int(explanation.class_indices[index])
    probabilities = explanation.probabilities
    if probabilities is not None and probabilities.ndim == 2 and class_index >= 0:
        caption += f" ({probabilities[index, class_index]:.1%})"
    return f"{caption}, blank map" if explanation.diagnosis[index] else caption
