"""Figures of a detector: the photo with all boxes, and the map of each detection with its own box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tf_gradcam._figures.captions import source_of
from tf_gradcam._figures.sheet import (
    GREY,
    RED,
    Line,
    Sheet,
    aspect_of,
    grid,
    height_for,
    painted,
    sides_of,
)
from tf_gradcam.image.overlay import DEFAULT_LOOK, Look, to_photo
from tf_gradcam.image.thumbnails import shown_photo

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tf_gradcam._figures.sheet import Shown

_MAX_DETECTIONS = 50
_GAP = 0.08
_HEIGHTS, _SMALLEST = {2: 2.6, 5: 2.1, 11: 1.7}, 1.35
_OWN, _OTHER = (255, 255, 255), (170, 170, 170)


class Boxed(Protocol):
    """The part of `Detections` that is drawn."""

    found: list[Any]
    chosen: list[int]
    maps: Any
    image_size: tuple[int, int]
    diagnosis: str | None

    @property
    def energy(self) -> np.ndarray: ...
    @property
    def energy_of_others(self) -> np.ndarray: ...
    def __len__(self) -> int: ...
    def __getitem__(self, position: int) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...


def with_box(photo: np.ndarray, box: Sequence[float], color: Sequence[int], width: int) -> np.ndarray:
    """Return a photo (H0, W0, 3) uint8 with the outline of a box, `width` pixels wide, just inside it."""
    drawn = photo.copy()
    height, across = photo.shape[:2]
    x1, x2 = np.clip(np.rint([box[0], box[2]]), 0, across).astype(int)
    y1, y2 = np.clip(np.rint([box[1], box[3]]), 0, height).astype(int)
    inner = (slice(y1 + width, max(y2 - width, y1 + width)), slice(x1 + width, max(x2 - width, x1 + width)))
    drawn[y1:y2, x1:x2] = color
    drawn[inner] = photo[inner]
    return drawn


def _scaled(box: Sequence[float], of_size: Sequence[int], size: Sequence[int]) -> tuple[float, ...]:
    down, right = size[0] / of_size[0], size[1] / of_size[1]
    return box[0] * right, box[1] * down, box[2] * right, box[3] * down


def _in_order(boxes: Boxed, own: int | None) -> list[int]:
    """Return the positions of all boxes, the best in front, the box at `own` before all."""
    others = [index for index in reversed(range(len(boxes.found))) if index != own]
    return others if own is None else [*others, own]


def _draw_boxes(axes: Axes, boxes: Boxed, size: Sequence[int], own: int | None) -> None:
    """Draw all boxes over a picture of `size`; the box at position `own` wide, the others thin, None for all alike."""
    from matplotlib.patches import Rectangle

    for index in _in_order(boxes, own):
        x1, y1, x2, y2 = _scaled(boxes.found[index].box, boxes.image_size, size)
        is_own = own is None or index == own
        for color, width in (("black", 2.6), ("white", 1.4)) if is_own else (("black", 1.4), ("0.7", 0.7)):
            place = (x1 - 0.5, y1 - 0.5)  # the corner of pixel 0 is at -0.5
            axes.add_patch(Rectangle(place, x2 - x1, y2 - y1, fill=False, edgecolor=color, linewidth=width))


def detection_overlay(boxes: Boxed, index: int, photo: Any, look: Look = DEFAULT_LOOK) -> np.ndarray:
    """Return map `index` painted on a photo (H0, W0, 3) of any size, with its box."""
    return with_boxes(
        boxes, index, np.asarray(boxes.maps.overlay_of(index, photo, look.alpha, look.colormap, look.threshold))
    )


def with_boxes(boxes: Boxed, index: int, picture: np.ndarray) -> np.ndarray:
    """Return a picture (H0, W0, 3) uint8 of any size with all boxes, that of map `index` in white and wider."""
    own = boxes.chosen[index]
    line = max(1, round(min(picture.shape[:2]) / 160))
    for position in _in_order(boxes, own):
        box = _scaled(boxes.found[position].box, boxes.image_size, picture.shape)
        color, width = (_OWN, 2 * line) if position == own and line > 1 else (_OWN if position == own else _OTHER, line)
        picture = with_box(picture, box, color, width)
    return picture


def detection_figure(boxes: Boxed, photo: Any = None, look: Look = DEFAULT_LOOK) -> Figure:
    """Draw the photo with all boxes, then the map of each explained detection painted on it, under what it is.

    Args:
        boxes: the detections of one image.
        photo: (H0, W0, 3) uint8 RGB, or None for the maps alone.
        look: the colours and the threshold; figures have an opacity of their own.

    Raises:
        ValueError: more than 50 detections.
    """
    if len(boxes) > _MAX_DETECTIONS:
        raise ValueError(
            f"Expected at most {_MAX_DETECTIONS} detections to plot, received {len(boxes)}. Explain some: "
            "detections(images, target=[0, 1, 2])."
        )
    photo = None if photo is None else shown_photo(to_photo(photo))
    size = boxes.image_size if photo is None else photo.shape[:2]
    has_first = photo is not None or not len(boxes)
    count = len(boxes) + has_first
    maps: Shown | None = boxes.maps
    found = f"{len(boxes.found)} detection{'s' if len(boxes.found) != 1 else ''}"
    captions = [_caption(boxes, index) for index in range(len(boxes))]
    titles: list[Line] = [(found if maps is None or len(boxes) > 1 else str(boxes[0]), "black")]
    titles.append(("no detection explained" if maps is None else source_of(maps), GREY))
    cards = grid(count, aspect_of([size]), height_for(count, _HEIGHTS, _SMALLEST), card_gap=_GAP, row_gap=0.1)
    sides = None if maps is None else sides_of(maps)
    below = 0.45 if boxes.diagnosis else 0.0
    lines = [[(found, GREY)], *captions] if has_first else captions
    sheet, cards = Sheet.of(cards, titles, lines, sides, below=below)
    for card, each in enumerate(lines):
        sheet.caption(each, cards, card)
    if has_first:
        ground = np.full((*size, 3), 235, np.uint8) if photo is None else photo
        _draw_boxes(sheet.picture(ground, *cards.place(0)), boxes, size, None)
    for index in range(len(boxes)):
        assert maps is not None
        overlay = painted(maps, maps.shown_at(index, size), photo, look)
        _draw_boxes(sheet.picture(overlay, *cards.place(index + has_first)), boxes, size, boxes.chosen[index])
    if maps is not None:
        sheet.scale_of(cards, sides, look)
    if boxes.diagnosis:
        sheet.paragraph(boxes.diagnosis, 0.1, cards.top + cards.down, sheet.width - 0.2, 0.4)
    return sheet.figure


def _caption(boxes: Boxed, index: int) -> list[Line]:
    """Return the number, class and score of a detection, and where the heat of its map lies."""
    item, own, others = boxes[index], boxes.energy[index], boxes.energy_of_others[index]
    text = "blank" if np.isnan(own) else f"{own:.0%} of heat in its box, {others:.0%} in others"
    number = f"{boxes.chosen[index]}: {item.label} {item.score:.2f}"
    return [(number, "black"), (text, RED if np.isnan(own) else GREY)]
