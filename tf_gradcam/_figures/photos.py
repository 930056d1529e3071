"""Figures of explanations: photo, map and overlay of each image on a grid; signals and volumes in their own way."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tf_gradcam._figures.captions import caption_height, draw_caption
from tf_gradcam._figures.sheet import GREY, MARGIN, SCALE, TITLE, Sheet, alpha_of, best_columns, shown_photo
from tf_gradcam.image.io import Photos
from tf_gradcam.image.overlay import paint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tf_gradcam._figures.sheet import Shown

_GAP, _CARD_GAP, _ROW_GAP = 0.05, 0.2, 0.12
_HEADING = 0.15
_WIDEST = {1: 7.0, 2: 10.0, 3: 10.5}  # width of the figure by columns of cards: one is a page, the others lie across it
_HIGHEST = 2.6
_ALONE = {1: 2.6, 4: 1.8, 9: 1.5}  # height of a map without a photo, for up to so many
_SMALLEST = 1.2
_ASPECTS = (0.6, 1.8)  # narrowest and widest panel, in heights


def explanation_figure(explanation: Shown, photos: Photos | None = None, colormap: str | None = None) -> Figure:
    """A figure of all maps: pictures as a grid of cards, signals as coloured lines, volumes and frames as montages.

    Args:
        explanation: of B images.
        photos: B photos (H0, W0, 3) uint8 RGB, or signals or volumes; None for the maps alone.
        colormap: a colour map of OpenCV or Matplotlib; None for the one of overlays.

    Returns:
        Matplotlib Figure.

    Raises:
        ValueError: maps of more than three axes, or of other axes than the input has.
    """
    rank = explanation.heatmaps.ndim - 1
    if rank == 1:
        from tf_gradcam._figures.signals import signal_figure

        return signal_figure(explanation, photos, colormap)
    if rank == 3:
        from tf_gradcam._figures.volumes import montage_figure

        return montage_figure(explanation, photos, colormap)
    if rank > 3:
        raise ValueError(
            f"Expected maps of one to three axes to plot, received {explanation.heatmaps.shape}: plot a part of them, "
            "see .heatmaps."
        )
    return picture_figure(explanation, photos, colormap)


def picture_figure(explanation: Shown, photos: Photos | None, colormap: str | None) -> Figure:
    """A card per image: what was explained, then photo, map and overlay; without photos the map alone."""
    count, caption = len(explanation), caption_height(explanation)
    grid = _grid(count, _aspect(explanation, photos), caption, panels=1 if photos is None else 3)
    top = TITLE + (0 if photos is None else _HEADING)
    rows, step = -(-count // grid.columns), caption + grid.height + _ROW_GAP
    sheet = Sheet(MARGIN + grid.columns * (grid.card + _CARD_GAP) + SCALE, top + rows * step)
    sheet.title(f"{explanation.method} at {explanation.layer_name}")
    for column in range(0 if photos is None else min(grid.columns, count)):
        for index, heading in enumerate(("photo", "heatmap", "overlay")):
            left = MARGIN + column * (grid.card + _CARD_GAP) + index * (grid.width + _GAP)
            sheet.text(heading, left, TITLE, grid.width, 6.5, GREY)
    for index in range(count):
        row, column = divmod(index, grid.columns)
        left, line = MARGIN + column * (grid.card + _CARD_GAP), top + row * step
        draw_caption(sheet, explanation, index, left, line, grid.card)
        photo = None if photos is None else shown_photo(photos[index])
        _draw_card(sheet, explanation, index, photo, colormap, (left, line + caption), grid)
    sheet.scale(sheet.width - SCALE, top + caption, rows * step - caption - _ROW_GAP, explanation.signed, colormap)
    return sheet.figure


class _Grid(NamedTuple):
    """Columns of cards, and the size of a panel; a card is one or three of them."""

    columns: int
    width: float
    height: float
    card: float


def _grid(count: int, aspect: float, caption: float, panels: int) -> _Grid:
    if panels == 1:
        height = next((height for most, height in _ALONE.items() if count <= most), _SMALLEST)
        most = int((_WIDEST[3] - MARGIN - SCALE) / (height * aspect + _CARD_GAP))
        columns = min(best_columns(count, height * aspect + _CARD_GAP, height + caption + _ROW_GAP), most)
    else:
        columns = 1 if count <= 2 else 2 if count <= 10 else 3
        widest = (_WIDEST[columns] - MARGIN - SCALE) / columns - _CARD_GAP
        height = min(_HIGHEST, (widest - 2 * _GAP) / 3 / aspect)
    width = height * aspect
    return _Grid(columns, width, height, panels * width + (panels - 1) * _GAP)


def _aspect(explanation: Shown, photos: Photos | None) -> float:
    """Width over height of the panels: that of the picture in the middle, within what a grid can bear."""
    sizes = [explanation.image_size] if photos is None else [np.shape(photo)[:2] for photo in photos]
    return float(np.clip(np.median([size[1] / size[0] for size in sizes]), *_ASPECTS))


def _draw_card(
    sheet: Sheet,
    explanation: Shown,
    index: int,
    photo: np.ndarray | None,
    colormap: str | None,
    corner: tuple[float, float],
    grid: _Grid,
) -> None:
    signed = explanation.signed
    values = explanation.shown_at(index, explanation.image_size if photo is None else photo.shape[:2])
    (left, top), step = corner, grid.width + _GAP
    if photo is not None:
        sheet.picture(photo, left, top, grid.width, grid.height)
        left += step
    sheet.heatmap(values, left, top, grid.width, grid.height, signed, colormap)
    if photo is not None:
        overlay = paint(photo, values, signed, alpha_of(explanation), colormap)
        sheet.picture(overlay, left + step, top, grid.width, grid.height)
