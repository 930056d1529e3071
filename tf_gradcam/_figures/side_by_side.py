"""Figures of maps side by side: of many classes, of several methods, of layers through the depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_gradcam._figures.captions import blank_lines, explained_of, headline, place_of, predicted_of, source_of
from tf_gradcam._figures.sheet import (
    GREY,
    MARGIN,
    RED,
    SCALE,
    WIDEST,
    Grid,
    Line,
    Sheet,
    aspect_of,
    grid,
    height_for,
    lines_height,
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
_NOTES = (6.5, 6.5)  # letters of the notes below
_EXTRA_ALPHA = 0.1  # beyond other figures: the maps are what is compared

# Maps that differ less than this everywhere are one map: a fortieth of a colour's step.
_SAME = 1e-4
_ONE_BEHIND_POOLING = {"cam", "gradcam", "hirescam", "shapleycam", "xgradcam"}  # see the methods' formulas
_REASON = "one map: behind global average pooling and a linear layer the gradient is the same in every cell"


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
    row = _row(count + (photos is not None), aspect, _GAP, _CLASSES)
    chosen = [
        [each for place, each in enumerate(of_classes) if asked is None or asked[number, place]]
        for number in range(len(first))
    ]
    captions = [
        [[(explained_of(each, number), "black"), *blank_lines(each, number)] for each in some]
        for number, some in enumerate(chosen)
    ]
    predicted = predicted_of(first)
    title = f"{len(first)} images" if len(first) > 1 else f"Predicted: {predicted}" if predicted else f"{count} values"
    lines = [line for some in captions for line in some]
    sheet, row = Sheet.of(row, [(title, "black"), (source_of(first), GREY)], lines, sides_of(first), rows=len(first))
    for number, some in enumerate(chosen):
        photo = None if photos is None else shown_photo(photos[number])
        cards = row._replace(top=row.top + number * row.down)
        if photo is not None:
            _draw(sheet, cards, 0, [(f"photo {number}", GREY)], photo)
        for index, explanation in enumerate(some):
            picture = _painted(explanation, number, photo, look)
            _draw(sheet, cards, index + (photo is not None), captions[number][index], picture)
    sheet.scale(row.top + row.caption, len(first) * row.down - row.caption - row.row_gap, sides_of(first), look)
    return sheet.figure


def method_figure(explanations: Mapping[str, Shown], refused: Mapping[str, str], photo: np.ndarray | None) -> Figure:
    """Draw the photo, then each different map painted on it, under the methods that have it; without a photo the maps.

    Args:
        explanations: name -> explanation of the one image.
        refused: name -> reason for the missing map, written below.
        photo: (H0, W0, 3) uint8 RGB, or None.
    """
    first = next(iter(explanations.values()))
    photo = None if photo is None else shown_photo(photo)
    groups = _different(explanations)
    captions = [_group_lines(explanations, names) for names in groups]
    pictures = [_painted(explanations[names[0]], 0, photo, extra=_EXTRA_ALPHA) for names in groups]
    layers = dict.fromkeys(explanation.layer_name for explanation in explanations.values())
    title = [(headline(first), "black"), (f"at {', '.join(layers)}{place_of(first)}", GREY)]
    if photo is not None:
        captions, pictures = [[("photo", GREY)], *captions], [photo, *pictures]
    height = height_for(len(pictures), _METHODS, _SMALLEST)
    aspect = aspect_of([picture_size(first) if photo is None else photo.shape[:2]])
    cards = grid(len(pictures), aspect, height, caption=0.16, card_gap=_GAP, row_gap=0.1)
    notes = [(f"without {name}: {reason}", GREY) for name, reason in refused.items()]
    below = lines_height(notes, cards.across, _NOTES) + MARGIN
    sheet, cards = Sheet.of(cards, title, captions, sides_of(first), below=below)
    for index, (lines, picture) in enumerate(zip(captions, pictures, strict=True)):
        _draw(sheet, cards, index, lines, picture)
    sheet.scale_of(cards, sides_of(first))
    sheet.lines(notes, MARGIN, cards.top + cards.down + 0.05, cards.across, _NOTES)
    return sheet.figure


def _different(explanations: Mapping[str, Shown]) -> list[list[str]]:
    """Return the names of the methods of each different map, in their order."""
    groups: list[list[str]] = []
    for name, explanation in explanations.items():
        for group in groups:
            if _are_one(explanations[group[0]], explanation):
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def _are_one(one: Shown, other: Shown) -> bool:
    """Return whether two maps of one layer are the same up to rounding; blank ones have reasons of their own."""
    maps = one.shown, other.shown
    is_alike = one.layer_name == other.layer_name and maps[0].shape == maps[1].shape and maps[0].any()
    return bool(is_alike and np.abs(maps[0] - maps[1]).max() < _SAME)


def _group_lines(explanations: Mapping[str, Shown], names: Sequence[str]) -> list[Line]:
    """Return the names of the methods of a map, and why several have the same one."""
    title = ", ".join(names)
    if not explanations[names[0]].shown.any():
        return [(f"{title}: blank", RED)]
    if len(names) == 1:
        return [(title, "black")]
    own = [explanations[name] for name in names]
    is_proven = all(each.is_behind_pooling and each.method in _ONE_BEHIND_POOLING for each in own)
    return [(title, "black"), (_REASON if is_proven else "one map, equal up to rounding", GREY)]


def layer_figure(explanations: Sequence[Shown], method: str, photo: np.ndarray | None) -> Figure:
    """Draw the photo, then the map of each layer painted on it, in one row if it fits; without a photo the maps alone.

    Args:
        explanations: one per layer, of the same image.
        method: name of the method, for the title.
    """
    first = explanations[0]
    photo = None if photo is None else shown_photo(photo)
    aspect = aspect_of([picture_size(first) if photo is None else photo.shape[:2]])
    captions = [_layer_lines(explanation) for explanation in explanations]
    pictures = [_painted(explanation, 0, photo, extra=_EXTRA_ALPHA) for explanation in explanations]
    if photo is not None:
        captions, pictures = [[("photo", GREY)], *captions], [photo, *pictures]
    title = [(headline(first), "black"), (f"{method}, from layer to layer", GREY)]
    sheet, cards = Sheet.of(_row(len(pictures), aspect, 0.1, _LAYERS), title, captions, sides_of(first))
    for index, (lines, picture) in enumerate(zip(captions, pictures, strict=True)):
        _draw(sheet, cards, index, lines, picture)
    sheet.scale_of(cards, sides_of(first))
    return sheet.figure


def _layer_lines(explanation: Shown) -> list[Line]:
    """Return the end of a layer's path, which says more than its beginning, and its cells or why its map is blank."""
    name, reason = explanation.layer_name.rpartition("/")[2], explanation.diagnosis[0]
    if reason is not None and not explanation.shown[0].any():
        return [(name, "black"), (f"blank: {reason}", RED)]
    return [(name, "black"), (f"{' x '.join(map(str, explanation.heatmaps.shape[1:]))} cells", GREY)]


def _row(count: int, aspect: float, gap: float, heights: tuple[float, float]) -> Grid:
    """Lay out as many panels side by side as fit without becoming too small to be read."""
    height = float(np.clip(((WIDEST - MARGIN - SCALE) / count - gap) / aspect, *heights))
    return grid(count, aspect, height, card_gap=gap, columns=count)


def _draw(sheet: Sheet, cards: Grid, index: int, lines: Sequence[Line], picture: np.ndarray) -> None:
    """Draw a panel under its lines."""
    sheet.caption(lines, cards, index)
    sheet.picture(picture, *cards.place(index))


def _painted(
    explanation: Shown, number: int, photo: np.ndarray | None, look: Look = DEFAULT_LOOK, extra: float = 0.0
) -> np.ndarray:
    """Return (H0, W0, 3) uint8: a map on its photo, or the colours alone."""
    if explanation.unplaced:
        explanation, photo = explanation.at_cells(), None  # beside the photo, not over it
    size = picture_size(explanation) if photo is None else photo.shape[:2]
    return painted(explanation, explanation.shown_at(number, size), photo, look, extra)
