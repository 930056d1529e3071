"""The picture that is looked at closely: photo and overlay in one place, and the map's values for the pointer.

The script beside this module, `viewer.js`, moves the slider, zooms and reads the values.

Axis legend: H x W cells, in the order of the picture's axes.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tf_gradcam._app.html import Figure, of_map
from tf_gradcam.image.resize import Placement

if TYPE_CHECKING:
    from tf_gradcam._results.explanation import Explanation

SCRIPT = (files("tf_gradcam._app") / "viewer.js").read_text(encoding="utf-8")
MAX_SIDE = 4096  # longest side, in pixels, of the pictures that are fetched to zoom in
_LEVELS = 32767  # of a value from 0 to 1, as 16-bit integers


class CellAxis(NamedTuple):
    """The cells of a map along one axis of the picture, in pixels of the model's input.

    Attributes:
        cells: their number, 1 where the map does not move along the axis.
        side: pixels of the input.
        scale, start: pixels per cell, and the centre of cell 0.
        first, last: the pixels that reach the layer; the map is zero outside of them.
    """

    cells: int
    side: int
    scale: float
    start: float
    first: float
    last: float

    def nearest(self, share: float) -> int:
        """Return the cell whose centre is nearest to a place, a share of the side."""
        position = math.floor((share * self.side - self.start) / self.scale + 0.5)
        return min(max(position, 0), self.cells - 1)

    def sees(self, share: float) -> bool:
        """Return whether a place, a share of the side, reaches the layer."""
        return self.first <= share * self.side <= self.last


def cell_axes(placement: Placement, cells: Sequence[int]) -> list[CellAxis]:
    """Return the axes of the picture, with the cells of a map (of `cells` cells along its own axes)."""
    reaches = placement.reach or tuple((-math.inf, math.inf) for _ in cells)
    own = dict(zip(placement.axes, zip(cells, placement.scale, placement.start, reaches, strict=True), strict=True))
    axes = []
    for axis, side in enumerate(placement.image_size):
        count, scale, start, (first, last) = own.get(axis, (1, side, side / 2, (0, side)))
        axes.append(CellAxis(count, side, scale, start, max(first, 0), min(last, side)))
    return axes


def in_picture_order(maps: np.ndarray, placement: Placement) -> np.ndarray:
    """Return maps (..., cells) as (..., H, W): without axes that are no places, with one cell for axes they lack."""
    leading = maps.ndim - len(placement.axes)
    maps = maps.squeeze(tuple(leading + number for number, axis in enumerate(placement.axes) if axis < 0))
    places = [axis for axis in placement.axes if axis >= 0]
    maps = maps.transpose(*range(leading), *(leading + np.argsort(places)))
    missing = (leading + axis for axis in range(len(placement.image_size)) if axis not in places)
    return np.expand_dims(maps, tuple(missing))


def map_data(explanation: Explanation) -> str:
    """Return the first map and the places of its cells as JSON, from which the script reads any pixel of the photo."""
    placement, cells = explanation.placement, explanation.shown[0]
    assert isinstance(placement, Placement)  # or no overlay could be painted
    values = np.rint(in_picture_order(cells, placement) * _LEVELS).astype("<i2")
    axes = [axis._asdict() for axis in cell_axes(placement, cells.shape)]
    return json.dumps({"axes": axes, "values": base64.b64encode(values.tobytes()).decode("ascii")})


class Lens(NamedTuple):
    """The photo and an overlay in one place.

    Attributes:
        photo, overlay: the two; the title, the caption and what lies over them are the overlay's.
        size: (height, width) of the photo's file.
        shown: pixels across of the two, before those with more pixels are fetched.
        key, answer: equal while it is the same picture, and the same maps.
    """

    photo: Figure
    overlay: Figure
    size: tuple[int, int]
    shown: int
    key: str
    answer: str


_BUTTONS = (
    ("out", "Zoom out", "&minus;"),
    ("in", "Zoom in", "+"),
    ("fit", "Fit the picture into the frame", "Fit"),
    ("pixels", "1:1, a pixel of the photo for each of the screen", "1:1"),
)
_KEYS = "Arrow keys move, plus and minus zoom, 0 fits, 1 shows the photo's pixels, C turns the crosshair on."


def lens_html(lens: Lens) -> str:
    """Draw a lens, and its controls below."""
    figure, (height, width) = lens.overlay, lens.size
    pick = f' data-pick="{escape(figure.pick)}"' if figure.pick else ""
    buttons = "".join(
        f'<button type="button" data-do="{name}" aria-label="{label}" title="{label}">{text}</button>'
        for name, label, text in _BUTTONS
    )
    return (
        f'<figure class="tg-figure tg-lens"><h3>{escape(figure.title)}</h3>'
        f'<div class="tg-stage" tabindex="0" role="application" aria-label="Photo and overlay. {_KEYS}" '
        f'data-size="{width} {height}" data-shown="{lens.shown}" '
        f'data-key="{escape(lens.key)}" data-answer="{escape(lens.answer)}" '
        f'style="aspect-ratio:{width}/{height}"><div class="tg-picture"{pick}>'
        f"{_image('tg-photo', lens.photo)}{_image('tg-overlay', figure)}{figure.over}"
        '<span class="tg-cross"></span></div>'
        '<span class="tg-split"></span></div>'
        '<div class="tg-tools"><label class="tg-slide"><span>Photo</span>'
        '<input type="range" min="0" max="100" value="100" aria-label="Overlay, from the left">'
        f"<span>Overlay</span></label>{buttons}"
        '<button type="button" data-do="cross" aria-pressed="false">Crosshair</button>'
        '<span class="tg-zoom"></span></div>'
        '<p class="tg-readout"></p><p class="tg-said tg-unseen" aria-live="polite"></p>'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


def _image(kind: str, figure: Figure) -> str:
    alt = escape(figure.alt)
    return f'<img class="{kind}" src="{figure.source}" alt="{alt}" draggable="false"{of_map(figure)}>'
