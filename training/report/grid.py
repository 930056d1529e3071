"""Photos in rows with captions.

Axis legend: N photos, H0 x W0 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .charts import DPI, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .evaluate import Predictions

GREEN, RED = "#1b6e3c", "#b00020"
COLUMNS = 6
_PANEL = 1.55  # side of a square picture in inches; others have its area
_ASPECTS = (0.5, 2.0)  # the narrowest and the widest picture, in heights
_TEXT = 8  # points
_LETTERS_AN_INCH = 72 / (0.65 * _TEXT)


def colors_of(shown: Predictions, chosen: np.ndarray) -> list[str]:
    """Return the colour of the caption of each chosen prediction: green if it is right, else red."""
    return [GREEN if right else RED for right in shown.right[chosen]]


def photo_grid(
    title: str,
    note: str,
    photos: Sequence[np.ndarray] | np.ndarray,
    captions: Sequence[Sequence[str]],
    colors: Sequence[str] | None = None,
    columns: int = COLUMNS,
) -> Figure:
    """Draw photos of one size in rows, with a caption over each.

    Args:
        title: the line over everything.
        note: the line under it.
        photos: N photos (H0, W0, 3) uint8 RGB.
        captions: the lines over each photo; a line that is wider than the photo is cut.
        colors: of the captions; None for black.
        columns: photos in a row.
    """
    from matplotlib.figure import Figure

    rows = -(-len(photos) // columns)
    aspect = float(np.clip(photos[0].shape[1] / photos[0].shape[0], *_ASPECTS)) ** 0.5 if rows else 1.0
    width, height = _PANEL * aspect, _PANEL / aspect
    lines = max((len(caption) for caption in captions), default=0)
    size = (max(columns * (width + 0.1), 6.5), rows * (height + 0.15 * lines + 0.15) + 0.6)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    heading = "\n".join(shortened(line, int(size[0] * _LETTERS_AN_INCH)) for line in (title, note))
    figure.suptitle(heading, x=0.1 / size[0], ha="left", fontsize=_TEXT + 1, parse_math=False)
    panels: Any = figure.subplots(rows, columns, squeeze=False).flat if rows else []
    for axes in figure.axes:
        axes.set_axis_off()
    for axes, photo, caption, color in zip(panels, photos, captions, colors or ["black"] * len(photos), strict=False):
        text = "\n".join(shortened(line, int(width * _LETTERS_AN_INCH)) for line in caption)
        axes.imshow(photo)
        axes.set_title(text, loc="left", fontsize=_TEXT, color=color, pad=2, parse_math=False)
    return figure
