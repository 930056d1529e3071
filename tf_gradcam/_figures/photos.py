"""Figures of explanations: photo, map and overlay of each image on a grid; signals and volumes by their own modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_gradcam._figures.captions import card_lines, title_of
from tf_gradcam._figures.sheet import (
    GREY,
    MARGIN,
    SCALE,
    Grid,
    Sheet,
    aspect_of,
    draw_overlay,
    grid,
    height_for,
    sides_of,
    width_of,
)
from tf_gradcam._figures.truth import NOTE, TruthOfImage, draw_truth
from tf_gradcam.image.io import Photos
from tf_gradcam.image.masks import colored
from tf_gradcam.image.overlay import DEFAULT_LOOK, Look
from tf_gradcam.image.thumbnails import shown_photo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tf_gradcam._figures.sheet import Shown

_GAP, _CARD_GAP = 0.05, 0.2
_HEADING = 0.15
_WIDEST = {1: 7.0, 2: 10.0, 3: 10.5}  # width of the figure by columns of cards: one is a page, the others lie across it
_HIGHEST = 2.6
_ALONE = {1: 2.6, 4: 1.8, 9: 1.5}  # height of a map without a photo, by the largest number of maps
_SMALLEST = 1.2
_ROW_GAP = 0.12
_LEGEND_LINES, _LINE, _SQUARE = 2, 0.13, 0.09  # below the card of a segmentation
_LEGEND = 0.06 + _LEGEND_LINES * _LINE


def explanation_figure(
    explanation: Shown,
    photos: Photos | None = None,
    look: Look = DEFAULT_LOOK,
    cells: bool = False,
    truth: Sequence[TruthOfImage] | None = None,
) -> Figure:
    """Draw all maps: pictures as a grid of cards, signals as coloured lines, volumes and frames as montages.

    Maps whose cells are not places in the input are drawn at their own cells, tokens as coloured boxes.

    Args:
        photos: B photos (H0, W0, 3) uint8 RGB, or signals or volumes; None for the maps alone.
        look: the colours and the threshold; figures have an opacity of their own.
        cells: whether to draw maps at their own cells.
        truth: true boxes and masks of photos, or None.

    Raises:
        ValueError: maps of more than three axes, `cells` of text.
    """
    from tf_gradcam._figures.cells import are_tokens, cells_figure, token_figure

    rank = len(explanation.image_size)
    is_text = rank == 1 and photos is not None and are_tokens(explanation, photos)
    if cells and is_text:
        raise ValueError("Expected no cells=True for text, whose tokens are drawn each in its colour. Leave it out.")
    if (cells or explanation.unplaced) and explanation.heatmaps.ndim <= 4:
        return cells_figure(explanation, photos, look, truth)
    if is_text:
        assert photos is not None
        return token_figure(explanation, photos, look)
    if rank == 1:
        from tf_gradcam._figures.signals import signal_figure

        return signal_figure(explanation, photos, look)
    if rank == 3:
        from tf_gradcam._figures.volumes import montage_figure

        return montage_figure(explanation, photos, look)
    if rank > 3 or explanation.heatmaps.ndim > 4:
        raise ValueError(
            f"Expected maps of one to three axes to plot, received {explanation.heatmaps.shape}: plot a part of them, "
            "see .heatmaps."
        )
    return picture_figure(explanation, photos, look, truth)


def picture_figure(
    explanation: Shown, photos: Photos | None, look: Look, truth: Sequence[TruthOfImage] | None = None
) -> Figure:
    """Draw a card per image: its caption, then photo, map and overlay; without photos the map alone.

    Of a segmentation it draws the predicted mask, with the names and shares of its classes, in place of the map; the
    region that is explained is outlined in the overlay.
    """
    captions = [card_lines(explanation, index) for index in range(len(explanation))]
    # A single caption stands above the headings, which then touch their panels; several stand below, as in a table.
    heading = 0.0 if photos is None else _HEADING
    title = title_of(explanation, *([] if truth is None else [NOTE]))
    sheet, cards = Sheet.of(_cards(explanation, photos), title, captions, sides_of(explanation), heading=heading)
    is_over = photos is not None and len(explanation) == 1
    headings = ("photo", "heatmap" if explanation.segmentation is None else "predicted mask", "overlay")
    for column in range(0 if photos is None else cards.columns):
        for number, text in enumerate(headings):
            top = cards.top - heading + (cards.caption if is_over else 0)
            sheet.text(text, cards.place(column, number)[0], top, cards.width, 6.5, GREY)
    for index, lines in enumerate(captions):
        sheet.caption(lines, cards._replace(top=cards.top - (heading if is_over else 0)), index)
        photo = None if photos is None else shown_photo(photos[index])
        drawn = len(sheet.figure.axes)
        _draw_card(sheet, explanation, index, photo, look, cards)
        if truth is not None and photo is not None:
            for axes in sheet.figure.axes[drawn:]:
                if axes.images:  # the others are squares of a legend
                    draw_truth(axes, truth[index], photo.shape)
    sheet.scale_of(cards, sides_of(explanation), look)
    return sheet.figure


def _cards(explanation: Shown, photos: Any) -> Grid:
    count = len(explanation)
    row_gap = _ROW_GAP + (0 if explanation.segmentation is None else _LEGEND)
    if photos is None:
        panels, height = 1 if explanation.segmentation is None else 2, height_for(count, _ALONE, _SMALLEST)
        aspect = aspect_of([explanation.image_size])
        return grid(count, aspect, height, panels=panels, row_gap=row_gap)
    aspect = aspect_of([np.shape(photo)[:2] for photo in photos])
    columns = 1 if count <= 2 else 2 if count <= 10 else 3
    widest = (_WIDEST[columns] - MARGIN - SCALE) / columns - _CARD_GAP
    height = min(_HIGHEST, (widest - 2 * _GAP) / 3 / aspect)
    return grid(count, aspect, height, panels=3, columns=columns, gap=_GAP, card_gap=_CARD_GAP, row_gap=row_gap)


def _draw_card(sheet: Sheet, explanation: Shown, index: int, photo: np.ndarray | None, look: Look, cards: Grid) -> None:
    signed, masks = explanation.signed, explanation.segmentation
    if masks is not None:
        size = explanation.image_size if photo is None else photo.shape[:2]
        sheet.picture(colored(masks.values(index, size)), *cards.place(index, 0 if photo is None else 1))
        _draw_legend(sheet, explanation, index, cards)
    if photo is None:
        values, place = explanation.shown_at(index, explanation.image_size), cards.place(index, cards.panels - 1)
        if values.any() and masks is not None:
            black = np.zeros((*explanation.image_size, 3), np.uint8)
            draw_overlay(sheet, explanation, index, black, place, look)
        elif values.any():
            sheet.heatmap(values, *place, signed, look)
        else:
            sheet.paragraph(f"Blank map: {explanation.diagnosis[index]}", *place)
        return
    values = explanation.shown_at(index, photo.shape[:2])
    sheet.picture(photo, *cards.place(index, 0))
    if masks is None:
        sheet.heatmap(values, *cards.place(index, 1), signed, look)
    draw_overlay(sheet, explanation, index, photo, cards.place(index, 2), look)


def _draw_legend(sheet: Sheet, explanation: Shown, index: int, cards: Grid) -> None:
    """Write the classes of a predicted mask with their colours and shares below its card, as many as fit."""
    masks, (left, top) = explanation.segmentation, cards.corner(index)
    top += cards.caption + cards.height + 0.05
    end, at, line = left + cards.card, left, 0
    entries = masks.shares(index)
    for number, (label, share) in enumerate(entries):
        name = "none" if label < 0 else explanation.class_name(label)
        text, more = f"{name} {share:.1%}", f"{len(entries) - number} more"
        width = _SQUARE + 0.04 + width_of(text, 6.5) + 0.14
        if at + width > end and at > left:
            at, line = left, line + 1
        is_last_line = line == _LEGEND_LINES - 1
        if line >= _LEGEND_LINES or (is_last_line and entries[number + 1 :] and at + width + width_of(more, 6.5) > end):
            sheet.text(more, at, top + min(line, _LEGEND_LINES - 1) * _LINE, end - at, 6.5, GREY)
            return
        color = colored(np.array([[label + masks.has_none]]))[0, 0] / 255
        axes = sheet.panel(at, top + line * _LINE + 0.005, _SQUARE, _SQUARE)
        axes.set_axis_on()
        axes.set(facecolor=color, xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_color("0.6")
        sheet.text(text, at + _SQUARE + 0.04, top + line * _LINE, end - at, 6.5)
        at += width
