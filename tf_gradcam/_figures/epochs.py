"""The figure of an epoch: each fixed photo beside its overlay, in one layout that does not change while a model trains.

Lengths are inches, as in `sheet`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tf_gradcam._figures.captions import Line
from tf_gradcam._figures.sheet import GREY, MARGIN, RED, Sheet, alpha_of, aspect_of, grid, height_for
from tf_gradcam.image.overlay import paint

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from tf_gradcam._figures.sheet import Shown

_TITLE, _HEADING = 0.44, 0.15
_FIRST_LINE, _LINE = 0.13, 0.12
_CARD_GAP = 0.2
_SIDES = {2: 2.2, 6: 1.8}  # of a square photo, for up to so many; others have its area
_SMALLEST = 1.5
_WIDEST = 14.0
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
    aspect = aspect_of([photo.shape[:2] for photo in photos])
    cards = grid(
        len(photos),
        aspect,
        height_for(len(photos), _SIDES, _SMALLEST) / aspect**0.5,
        caption=_FIRST_LINE + _LINE * (len(captions[0]) - 1) + 0.03,
        panels=2,
        card_gap=_CARD_GAP,
        row_gap=0.14,
        top=_TITLE + _HEADING,
        widest=_WIDEST,
    )
    sheet = Sheet.of(cards)
    sheet.title(title[0])
    sheet.text(title[1], MARGIN, 0.26, sheet.width - 2 * MARGIN, 7, GREY)
    for column in range(cards.columns):
        for number, heading in enumerate(("photo", "overlay")):
            sheet.text(heading, cards.place(column, number)[0], _TITLE, cards.width, 6.5, GREY)
    for index, photo in enumerate(photos):
        left, top = cards.corner(index)
        for number, (text, color) in enumerate(captions[index]):
            below = 0 if number == 0 else _FIRST_LINE + (number - 1) * _LINE
            sheet.text(text, left, top + below, cards.card, 7.5 if number == 0 else 6.5, color)
        sheet.picture(photo, *cards.place(index))
        _draw_overlay(sheet, explanation, index, photo, cards.place(index, 1))
    sheet.scale_of(cards, explanation.signed)
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
