"""Maps whose cells are not places in the input, drawn at their own size beside it; tokens of text as coloured boxes.

Axis legend: B images, T tokens, N cells of the layer (any number of spatial axes), T0 samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_gradcam._figures.captions import card_lines, title_of
from tf_gradcam._figures.sheet import GREY, MARGIN, Sheet, fitted, grid, height_for, lines_height, sides_of
from tf_gradcam._figures.signals import AXIS, finish_axis
from tf_gradcam._figures.truth import NOTE, TruthOfImage, draw_truth
from tf_gradcam.image.io import Photos
from tf_gradcam.image.overlay import Look, colors_of
from tf_gradcam.image.resize import Placement
from tf_gradcam.image.thumbnails import shown_photo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tf_gradcam._figures.sheet import Shown

_NOTE = 0.24  # height of the two lines below a map
_HEIGHTS = {1: 2.6, 4: 1.8, 9: 1.5}
_SMALLEST = 1.2
_WIDTH, _LINE, _MAP = 6.2, 0.8, 1.3  # of a signal, and of the map below it
_COLUMNS, _TOKEN_HEIGHT = 16, 0.24
_MAX_TOKENS = 800  # more are a line
_DARK = 110  # mean of RGB below which letters are white
_MAX_SLICES = 8


def cells_figure(
    explanation: Shown, photos: Photos | None, look: Look, truth: Sequence[TruthOfImage] | None = None
) -> Figure:
    """Draw each map at its own cells, beside the photo or below the signal; the reason where it has no other place.

    Args:
        explanation: of B images, maps (B, N) of one to three axes.
        photos: B photos, or B signals (T0,) or (T0, C); None for the maps alone.
        truth: true boxes and masks of photos, or None.
        look: the colours and the threshold; figures have an opacity of their own.
    """
    placement = explanation.placement
    rank = 2 if len(placement.image_size) == 1 else 1  # of signals: (T0, C) or (T0,)
    is_series = photos is not None and all(np.ndim(photo) <= rank for photo in photos)
    if is_series and isinstance(placement, Placement) and 0 in placement.axes and explanation.heatmaps.ndim == 3:
        return _under_signals(explanation, placement, np.asarray(photos), look)
    maps = [_mosaic(values) for values in explanation.shown]
    aspect = float(np.clip(maps[0].shape[1] / maps[0].shape[0], 0.6, 2))
    count, captions = len(explanation), [card_lines(explanation, index) for index in range(len(explanation))]
    height = height_for(count, _HEIGHTS, _SMALLEST) / max(1.0, aspect / 1.8)
    panels = 1 if photos is None else 2
    cards = grid(count, aspect, height, panels=panels, row_gap=0.12 + _NOTE)
    title = title_of(explanation, *([] if truth is None else [NOTE]))
    sheet, cards = Sheet.of(cards, title, captions, sides_of(explanation))
    for index, values in enumerate(maps):
        left, top = cards.corner(index)
        sheet.caption(captions[index], cards, index)
        if photos is not None and is_series:
            axes = sheet.panel(*cards.place(index))
            axes.plot(np.asarray(photos[index]), color="0.35", linewidth=0.6)
        elif photos is not None:
            photo = _photo(photos[index])
            axes = sheet.picture(photo, *cards.place(index))
            draw_truth(axes, None if truth is None else truth[index], photo.shape)
        axes = sheet.heatmap(values, *cards.place(index, panels - 1), explanation.signed, look)
        axes.images[0].set_interpolation("nearest")
        axes.set_aspect("auto" if explanation.heatmaps.ndim == 2 else "equal")
        below = top + cards.caption + cards.height + 0.03
        sheet.paragraph(_note(explanation), left, below, cards.card, _NOTE, GREY)
    sheet.scale_of(cards, sides_of(explanation), look)
    return sheet.figure


def _note(explanation: Shown) -> str:
    cells = " x ".join(map(str, explanation.heatmaps.shape[1:]))
    return f"{cells} cells: {explanation.unplaced}" if explanation.unplaced else f"{cells} cells"


def _photo(photo: Any) -> np.ndarray:
    """Return a photo, or the slices of a volume or clip side by side."""
    array = np.asarray(photo)
    if array.ndim == 4 or (array.ndim == 3 and array.shape[2] not in (1, 3)):
        chosen = np.linspace(0, len(array) - 1, min(len(array), _MAX_SLICES)).astype(int)
        return np.hstack([shown_photo(array[number], 160) for number in chosen])
    return shown_photo(array)


def _mosaic(values: np.ndarray) -> np.ndarray:
    """Return a map as a picture: a row of cells as it is, slices side by side."""
    if values.ndim == 1:
        return values[None]
    if values.ndim == 2:
        return values
    chosen = np.linspace(0, len(values) - 1, min(len(values), _MAX_SLICES)).astype(int)
    return np.hstack([np.pad(values[number], ((0, 0), (0, 1)), constant_values=np.nan) for number in chosen])[:, :-1]


def _under_signals(explanation: Shown, times: Placement, signals: np.ndarray, look: Look) -> Figure:
    """Draw each signal as a line, and its map below it, time under time; the other axis rises."""
    captions, number = [card_lines(explanation, index) for index in range(len(explanation))], times.axes.index(0)
    caption = max(lines_height(lines, _WIDTH) for lines in captions)
    step, sides = caption + _LINE + _MAP + _NOTE + 2 * AXIS, sides_of(explanation)
    sheet, start = Sheet.titled(_WIDTH + MARGIN, len(explanation) * step, title_of(explanation), sides, caption=caption)
    for index, signal in enumerate(signals):
        top = start + index * step
        sheet.lines(captions[index], MARGIN, top, _WIDTH)
        axes = sheet.panel(MARGIN, top + caption, _WIDTH, _LINE)
        axes.plot(np.arange(len(signal)) + 0.5, signal, color="0.35", linewidth=0.6)
        finish_axis(axes, len(signal))
        top += caption + _LINE + AXIS
        values = np.moveaxis(explanation.shown[index], number, 1)[::-1]
        axes = sheet.heatmap(values, MARGIN, top, _WIDTH, _MAP, explanation.signed, look)
        first = times.start[number] - times.scale[number] / 2
        axes.images[0].set_extent((first, first + times.scale[number] * values.shape[1], 0, 1))
        axes.set_aspect("auto")
        finish_axis(axes, len(signal))
        axes.set_ylim(0, 1)
        sheet.paragraph(_note(explanation), MARGIN, top + _MAP + 0.2, _WIDTH, _NOTE, GREY)
    sheet.scale(start + caption, len(explanation) * step - caption - AXIS, sides, look)
    return sheet.figure


def are_tokens(explanation: Shown, series: Any) -> bool:
    """Return whether a model of one axis reads numbers of tokens, or words were given for it."""
    is_text = series is not None and all(isinstance(item, str) for one in series for item in np.asarray(one).flat)
    is_index = explanation.series is not None and explanation.series.dtype.kind in "iub"
    return (is_text or is_index) and series is not None and max(map(len, series)) <= _MAX_TOKENS


def token_figure(explanation: Shown, tokens: Photos, look: Look) -> Figure:
    """Draw each text as boxes in the colours of its tokens' relevance, with the tokens' numbers or words.

    Args:
        explanation: of B texts, maps (B, N) over T tokens.
        tokens: B lists of T numbers or words.
        look: the colours and the threshold; figures have an opacity of their own.
    """
    captions, sides = [card_lines(explanation, index) for index in range(len(explanation))], sides_of(explanation)
    caption = max(lines_height(lines, _WIDTH) for lines in captions)
    texts = [[str(item) for item in np.asarray(row).flat] for row in tokens]
    heights = [caption + -(-len(row) // _COLUMNS) * _TOKEN_HEIGHT + 0.14 for row in texts]
    sheet, start = Sheet.titled(_WIDTH + MARGIN, sum(heights), title_of(explanation), sides, caption=caption)
    colors, top, width = colors_of(explanation.signed, look), start, _WIDTH / _COLUMNS
    for index, row in enumerate(texts):
        sheet.lines(captions[index], MARGIN, top, _WIDTH)
        values = explanation.shown_at(index, (len(row),))
        share = (values + 1) / 2 if explanation.signed else values
        boxes = colors[np.rint(share * (len(colors) - 1)).astype(int)]
        for number, (text, color) in enumerate(zip(row, boxes, strict=True)):
            down, right = divmod(number, _COLUMNS)
            left, upper = MARGIN + right * width, top + caption + down * _TOKEN_HEIGHT
            axes = sheet.panel(left, upper, width - 0.02, _TOKEN_HEIGHT - 0.02)
            axes.set_axis_on()
            axes.set(facecolor=color / 255, xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set_color("0.8")
            letters = "white" if color.mean() < _DARK else "black"
            inside = fitted(text, width - 0.06, 6.5)
            axes.text(0.5, 0.45, inside, fontsize=6.5, color=letters, ha="center", va="center", parse_math=False)
        top += heights[index]
    sheet.scale(start + caption, sum(heights) - caption - 0.14, sides, look)
    return sheet.figure
