"""The figure of an epoch: each fixed photo beside its overlay, in a layout that stays the same during training.

Lengths are inches, as in `sheet`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tf_gradcam._figures.captions import Line
from tf_gradcam._figures.sheet import GREY, MARGIN, Sheet, aspect_of, draw_overlay, grid, height_for

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


def epoch_figure(
    title: Line, explanation: Shown, photos: Sequence[np.ndarray], captions: Sequence[Sequence[Line]]
) -> Figure:
    """Draw the photo and the overlay of each image under its caption; the diagnosis replaces an unreadable overlay.

    Args:
        title: two lines over all panels, the second one smaller.
        explanation: of B images.
        photos: B photos (H0, W0, 3) uint8 RGB, of any sizes.
        captions: per image its lines, the same number for each; a line longer than the card is cut.

    Returns:
        Matplotlib Figure, of one size and layout for the same photos and numbers of lines.

    Raises:
        ValueError: maps that are not pictures.
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
        draw_overlay(sheet, explanation, index, photo, cards.place(index, 1))
    sheet.scale_of(cards, explanation.signed)
    return sheet.figure
