"""Figures of maps side by side: of many classes, of several methods, of layers through the depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_gradcam._figures.captions import Line, draw_lines, headline, place_of, title_of
from tf_gradcam._figures.sheet import (
    CAPTION,
    GREY,
    MARGIN,
    RED,
    SCALE,
    TITLE,
    WIDEST,
    Grid,
    Sheet,
    aspect_of,
    detail,
    grid,
    height_for,
    painted,
    picture_size,
    sides_of,
)
from tf_gradcam.image.overlay import DEFAULT_LOOK, Look
from tf_gradcam.image.thumbnails import shown_photo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tf_gradcam._figures.sheet import Shown

_GAP = 0.08
_MAX_CLASSES = 50  # more make a figure that no screen and few renderers hold
_CLASSES, _LAYERS = (1.0, 1.9), (1.3, 2.2)  # lowest and highest panel: a row is read from left to right
_METHODS = {2: 2.4, 5: 1.9, 11: 1.6}  # height of a panel, by the largest number of panels
_SMALLEST = 1.35
_NAME, _LINE = 0.16, 0.14  # heights
_TITLES = 0.56  # height of a title of two lines
_EXTRA_ALPHA = 0.1  # beyond other figures: the maps are what is compared


def class_figure(
    of_classes: Sequence[Shown], asked: np.ndarray | None = None, photos: Any = None, look: Look = DEFAULT_LOOK
) -> Figure:
    """Draw a row for each image: the photo, then the map of each class painted on it; without photos the maps alone.

    Args:
        of_classes: K explanations of the same B images, each of one class of every image.
        asked: (B, K) bool, the maps to draw; None for all.
        photos: B photos (H0, W0, 3) uint8 RGB, or None.
        look: the colours and the threshold; figures have an opacity of their own.

    Returns:
        Matplotlib Figure. Panels that do not fit side by side go on in the next line.

    Raises:
        TypeError, ValueError: as `Explanation.overlay`; more than 50 classes.
    """
    first = of_classes[0]
    if first.heatmaps.ndim != 3:
        raise ValueError(
            f"Expected maps of pictures to plot several classes, received maps {first.heatmaps.shape} of one class. "
            "Plot one class at a time: of_class(position).plot(photos)."
        )
    if len(of_classes) > _MAX_CLASSES:
        raise ValueError(
            f"Expected at most {_MAX_CLASSES} classes to plot, received {len(of_classes)}. "
            "Ask for some: class_maps(images, top=5)."
        )
    if photos is not None:
        photos = first.taken_photos(photos)
    aspect = aspect_of([picture_size(first)] if photos is None else [np.shape(photo)[:2] for photo in photos])
    count = len(of_classes) if asked is None else int(asked.sum(axis=1).max())
    row = _row(count + (photos is not None), aspect, _GAP, _CLASSES, TITLE)
    sheet = Sheet.of(row, below=(len(first) - 1) * row.down)
    sheet.title(title_of(first))
    for number in range(len(first)):
        photo = None if photos is None else shown_photo(photos[number])
        cards = row._replace(top=TITLE + number * row.down)
        if photo is not None:
            _draw(sheet, cards, 0, (f"photo {number}", GREY), photo)
        chosen = [each for place, each in enumerate(of_classes) if asked is None or asked[number, place]]
        for index, explanation in enumerate(chosen, start=0 if photo is None else 1):
            draw_lines(sheet, explanation, number, *cards.corner(index), cards.card, detail(explanation, number))
            sheet.picture(_painted(explanation, number, photo, look), *cards.place(index))
    sheet.scale(TITLE + CAPTION, len(first) * row.down - CAPTION - row.row_gap, sides_of(first), look)
    return sheet.figure


def method_figure(explanations: Mapping[str, Shown], refused: Mapping[str, str], photo: np.ndarray | None) -> Figure:
    """Draw the photo, then the map of each method painted on it; without a photo the maps alone.

    Args:
        explanations: name -> explanation of the one image.
        refused: name -> reason for the missing map, written below.
        photo: (H0, W0, 3) uint8 RGB, or None.
    """
    first = next(iter(explanations.values()))
    photo = None if photo is None else shown_photo(photo)
    count = len(explanations) + (photo is not None)
    aspect = aspect_of([picture_size(first) if photo is None else photo.shape[:2]])
    height = height_for(count, _METHODS, _SMALLEST)
    cards = grid(count, aspect, height, caption=_NAME, card_gap=_GAP, row_gap=0.1, top=_TITLES)
    sheet = Sheet.of(cards, below=len(refused) * _LINE + MARGIN)
    layers = dict.fromkeys(explanation.layer_name for explanation in explanations.values())
    _draw_titles(sheet, headline(first), f"at {', '.join(layers)}{place_of(first)}")
    if photo is not None:
        _draw(sheet, cards, 0, ("photo", GREY), photo)
    for index, (name, explanation) in enumerate(explanations.items(), start=0 if photo is None else 1):
        line = (name, "black") if explanation.shown.any() else (f"{name}: blank", RED)
        _draw(sheet, cards, index, line, _painted(explanation, 0, photo, extra=_EXTRA_ALPHA))
    sheet.scale_of(cards, sides_of(first))
    for index, (name, reason) in enumerate(refused.items()):
        top = cards.top + cards.down + 0.05 + index * _LINE
        sheet.text(f"without {name}: {reason}", MARGIN, top, sheet.width - 2 * MARGIN, 6.5, GREY)
    return sheet.figure


def layer_figure(explanations: Sequence[Shown], method: str, photo: np.ndarray | None) -> Figure:
    """Draw the photo, then the map of each layer painted on it, in one row if it fits; without a photo the maps alone.

    Args:
        explanations: one per layer, of the same image.
        method: name of the method, for the title.
    """
    first = explanations[0]
    photo = None if photo is None else shown_photo(photo)
    aspect = aspect_of([picture_size(first) if photo is None else photo.shape[:2]])
    cards = _row(len(explanations) + (photo is not None), aspect, 0.1, _LAYERS, _TITLES)
    sheet = Sheet.of(cards)
    _draw_titles(sheet, headline(first), f"{method}, from layer to layer")
    if photo is not None:
        _draw(sheet, cards, 0, ("photo", GREY), photo)
    for index, explanation in enumerate(explanations, start=0 if photo is None else 1):
        name = explanation.layer_name.rpartition("/")[2]  # the end of a long path says more
        _draw(sheet, cards, index, (name, "black"), _painted(explanation, 0, photo, extra=_EXTRA_ALPHA))
        reason = explanation.diagnosis[0]
        if reason is not None and not explanation.shown[0].any():
            text, color = f"blank: {reason}", RED
        else:
            text, color = f"{' x '.join(map(str, explanation.heatmaps.shape[1:]))} cells", GREY
        left, top = cards.corner(index)
        sheet.text(text, left, top + 0.13, cards.card, 6.5, color)
    sheet.scale_of(cards, sides_of(first))
    return sheet.figure


def _row(count: int, aspect: float, gap: float, heights: tuple[float, float], top: float) -> Grid:
    """Lay out as many panels side by side as fit without becoming too small to be read."""
    height = float(np.clip(((WIDEST - MARGIN - SCALE) / count - gap) / aspect, *heights))
    return grid(count, aspect, height, caption=CAPTION, card_gap=gap, top=top, columns=count)


def _draw_titles(sheet: Sheet, title: str, below: str) -> None:
    sheet.title(title)
    sheet.text(below, MARGIN, 0.3, sheet.width - 2 * MARGIN, 7.5, GREY)


def _draw(sheet: Sheet, cards: Grid, index: int, line: Line, picture: np.ndarray) -> None:
    """Draw a panel under its first line."""
    sheet.text(line[0], *cards.corner(index), cards.card, 7.5, line[1])
    sheet.picture(picture, *cards.place(index))


def _painted(
    explanation: Shown, number: int, photo: np.ndarray | None, look: Look = DEFAULT_LOOK, extra: float = 0.0
) -> np.ndarray:
    """Return (H0, W0, 3) uint8: a map on its photo, or the colours alone."""
    if explanation.unplaced:
        explanation, photo = explanation.at_cells(), None  # beside the photo, not over it
    size = picture_size(explanation) if photo is None else photo.shape[:2]
    return painted(explanation, explanation.shown_at(number, size), photo, look, extra)
