"""Figures of the maps of many classes: a row of panels for each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tf_gradcam._figures.captions import draw_lines
from tf_gradcam._figures.sheet import CAPTION, GREY, MARGIN, SCALE, TITLE, Sheet, alpha_of, shown_photo
from tf_gradcam.image.overlay import paint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tf_gradcam._figures.sheet import Shown

_GAP, _ROW_GAP = 0.08, 0.12
_WIDEST = 10.5
_MOST = 50  # classes; more make a figure that no screen and few renderers hold
_HEIGHTS = (1.0, 1.9)  # lowest and highest panel
_ASPECTS = (0.6, 1.8)  # narrowest and widest one, in heights


def class_figure(of_classes: Sequence[Shown], photos: Any = None, colormap: str | None = None) -> Figure:
    """A row for each image: the photo, then the map of each class painted on it; without photos the maps alone.

    Args:
        of_classes: K explanations of the same B images, each of one class of every image.
        photos: B photos (H0, W0, 3) uint8 RGB, or None.
        colormap: a colour map of OpenCV or Matplotlib; None for the one of overlays.

    Returns:
        Matplotlib Figure. More panels than fit side by side go on in the next line.

    Raises:
        TypeError, ValueError: as `Explanation.overlay`; more than 50 classes.
    """
    first = of_classes[0]
    if first.heatmaps.ndim != 3:
        raise ValueError(
            f"Expected maps of pictures to plot those of several classes, received maps {first.heatmaps.shape} of one. "
            "Plot one class at a time: of_class(position).plot(photos)."
        )
    if len(of_classes) > _MOST:
        raise ValueError(
            f"Expected at most {_MOST} classes to plot, received {len(of_classes)}. Ask for some: class_maps(images, "
            "top=5)."
        )
    if photos is not None:
        first.check_photos(photos)
    grid = _grid(len(of_classes) + (photos is not None), first, photos)
    depth = len(first) * grid.lines * grid.step
    sheet = Sheet(MARGIN + grid.columns * (grid.width + _GAP) + SCALE, TITLE + depth)
    sheet.title(f"{first.method} at {first.layer_name}")
    for number in range(len(first)):
        photo = None if photos is None else shown_photo(photos[number])
        _draw_row(sheet, of_classes, number, photo, colormap, grid)
    sheet.scale(sheet.width - SCALE, TITLE + CAPTION, depth - CAPTION - _ROW_GAP, first.signed, colormap)
    return sheet.figure


class _Grid(NamedTuple):
    """Panels of an image: how many beside each other, on how many lines; their size, and the height of a line."""

    columns: int
    lines: int
    width: float
    height: float
    step: float


def _grid(count: int, explanation: Shown, photos: Any) -> _Grid:
    """As many beside each other as fit, and none too small to be read."""
    sizes = [explanation.image_size] if photos is None else [np.shape(photo)[:2] for photo in photos]
    aspect = float(np.clip(np.median([size[1] / size[0] for size in sizes]), *_ASPECTS))
    whole = _WIDEST - MARGIN - SCALE
    height = float(np.clip((whole / count - _GAP) / aspect, *_HEIGHTS))
    columns = min(count, int((whole + 1e-9) / (height * aspect + _GAP)))
    return _Grid(columns, -(-count // columns), height * aspect, height, CAPTION + height + _ROW_GAP)


def _draw_row(
    sheet: Sheet,
    of_classes: Sequence[Shown],
    number: int,
    photo: np.ndarray | None,
    colormap: str | None,
    grid: _Grid,
) -> None:
    """The panels of one image: its photo, if there is one, and a map for each class."""
    before = 0 if photo is None else 1
    top = TITLE + number * grid.lines * grid.step
    if photo is not None:
        sheet.text(f"photo {number}", MARGIN, top, grid.width, 7.5, GREY)
        sheet.picture(photo, MARGIN, top + CAPTION, grid.width, grid.height)
    for index, explanation in enumerate(of_classes, start=before):
        line, column = divmod(index, grid.columns)
        left, upper = MARGIN + column * (grid.width + _GAP), top + line * grid.step
        draw_lines(sheet, explanation, number, left, upper, grid.width)
        place = (left, upper + CAPTION, grid.width, grid.height)
        _draw_map(sheet, explanation, number, photo, colormap, place)


def _draw_map(
    sheet: Sheet,
    explanation: Shown,
    number: int,
    photo: np.ndarray | None,
    colormap: str | None,
    place: tuple[float, float, float, float],
) -> None:
    values = explanation.shown_at(number, explanation.image_size if photo is None else photo.shape[:2])
    if photo is None:
        sheet.heatmap(values, *place, explanation.signed, colormap)
    else:
        sheet.picture(paint(photo, values, explanation.signed, alpha_of(explanation), colormap), *place)
