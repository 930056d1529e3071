"""The figure of an epoch: each fixed photo beside its overlay, in one layout that does not change while a model trains.

Lengths are inches, as in `panels`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tf_gradcam._figures.sheet import GREY, MARGIN, RED, SCALE, Sheet, alpha_of, best_columns
from tf_gradcam.image.overlay import paint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tf_gradcam._figures.sheet import Shown

Line = tuple[str, str]  # what a caption says, and its colour

_TITLE, _HEADING = 0.44, 0.15
_FIRST_LINE, _LINE = 0.13, 0.12
_GAP, _CARD_GAP, _ROW_GAP = 0.05, 0.2, 0.14
_SIDES = {2: 2.2, 6: 1.8}  # of a square photo, for up to so many; others have its area
_SMALLEST = 1.5
_WIDEST = 14.0
_ASPECTS = (0.6, 1.8)  # narrowest and widest photo, in heights
_LETTER, _REASON_LINE = 0.052, 0.105  # width and height of a letter of 6.5 points, on the average


def epoch_figure(
    title: Line,
    explanation: Shown,
    photos: Sequence[np.ndarray],
    captions: Sequence[Sequence[Line]],
) -> Figure:
    """Photo and overlay of each image under its caption; where a map says nothing, why, in place of the overlay.

    Args:
        title: two lines over all of them, the second one smaller.
        explanation: of B images.
        photos: B photos (H0, W0, 3) uint8 RGB, of any sizes.
        captions: per image its lines, as many for each; they are cut where they are longer than the card.

    Returns:
        Matplotlib Figure, of one size and layout for the same photos and numbers of lines.

    Raises:
        ValueError: maps that are no pictures.
    """
    count = len(photos)
    side = next((side for most, side in _SIDES.items() if count <= most), _SMALLEST)
    aspect = float(np.clip(np.median([photo.shape[1] / photo.shape[0] for photo in photos]), *_ASPECTS))
    width, height = side * aspect**0.5, side / aspect**0.5
    card, caption = 2 * width + _GAP, _FIRST_LINE + _LINE * (len(captions[0]) - 1) + 0.03
    step = caption + height + _ROW_GAP
    most = max(1, int((_WIDEST - MARGIN - SCALE) / (card + _CARD_GAP)))
    columns = min(best_columns(count, card + _CARD_GAP, step), most)
    rows, top = -(-count // columns), _TITLE + _HEADING
    sheet = Sheet(MARGIN + columns * (card + _CARD_GAP) + SCALE, top + rows * step)
    sheet.title(title[0])
    sheet.text(title[1], MARGIN, 0.26, sheet.width - 2 * MARGIN, 7, GREY)
    for column in range(columns):
        for number, heading in enumerate(("photo", "overlay")):
            left = MARGIN + column * (card + _CARD_GAP) + number * (width + _GAP)
            sheet.text(heading, left, _TITLE, width, 6.5, GREY)
    for index, photo in enumerate(photos):
        row, column = divmod(index, columns)
        left, line = MARGIN + column * (card + _CARD_GAP), top + row * step
        for number, (text, color) in enumerate(captions[index]):
            below = 0 if number == 0 else _FIRST_LINE + (number - 1) * _LINE
            sheet.text(text, left, line + below, card, 7.5 if number == 0 else 6.5, color)
        sheet.picture(photo, left, line + caption, width, height)
        _draw_overlay(sheet, explanation, index, photo, (left + width + _GAP, line + caption, width, height))
    sheet.scale(sheet.width - SCALE, top + caption, rows * step - caption - _ROW_GAP, explanation.signed, None)
    return sheet.figure


def _draw_overlay(
    sheet: Sheet, explanation: Shown, index: int, photo: np.ndarray, place: tuple[float, float, float, float]
) -> None:
    """The overlay, or the diagnosis of a map that shows nothing."""
    reason = explanation.diagnosis[index]
    is_blank = not explanation.shown[index].any()
    if reason is None or (explanation.signed and not is_blank):
        values = explanation.shown_at(index, photo.shape[:2])
        sheet.picture(paint(photo, values, explanation.signed, alpha_of(explanation)), *place)
        return
    left, top, width, height = place
    most = max(1, int(height / _REASON_LINE))
    lines = textwrap.wrap(f"No overlay: {reason}", int(width / _LETTER), max_lines=most, placeholder=" …")
    for number, line in enumerate(lines):
        sheet.text(line, left, top + number * _REASON_LINE, width + _CARD_GAP, 6.5, RED)
