"""The figure of an epoch: each fixed photo beside its overlay, in a layout that stays the same during training.

Lengths are inches, as in `sheet`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tf_gradcam._figures.sheet import (
    GREY,
    Line,
    Sheet,
    Sides,
    aspect_of,
    grid,
    height_for,
    painted,
    reason_of,
    with_region,
)
from tf_gradcam._figures.truth import NOTE, TruthOfImage, draw_truth
from tf_gradcam.image.overlay import DEFAULT_LOOK, Look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tf_gradcam._figures.sheet import Shown

_HEADING = 0.15
_CARD_GAP = 0.2
_SIDES = {2: 2.2, 6: 1.8}  # of a square photo, for up to so many; others have its area
_SMALLEST = 1.5
_WIDEST = 14.0


class PhotoCard(NamedTuple):
    """A photo and what was explained in it.

    Attributes:
        photo: (H0, W0, 3) uint8 RGB.
        overlay: likewise, or the reason why there is none.
        lines: of the caption.
        truth: true boxes and mask of the photo, or None.
    """

    photo: np.ndarray
    overlay: np.ndarray | str
    lines: Sequence[Line]
    truth: TruthOfImage | None = None


def overlay_card(
    explanation: Shown, index: int, photo: np.ndarray, lines: Sequence[Line], look: Look = DEFAULT_LOOK
) -> PhotoCard:
    """Return the card of a map; the diagnosis replaces an overlay without anything to show.

    Raises:
        ValueError: a map that is not a picture.
    """
    reason = reason_of(explanation, index)
    if reason is not None:
        return PhotoCard(photo, f"No overlay: {reason}", lines)
    overlay = painted(explanation, explanation.shown_at(index, photo.shape[:2]), photo, look)
    return PhotoCard(photo, with_region(explanation, index, overlay), lines)


def epoch_figure(
    title: Line,
    shown: Sequence[PhotoCard],
    sides: Sides = None,
    look: Look = DEFAULT_LOOK,
    longest: str = "",
) -> Figure:
    """Draw the photo and the overlay of each card under its caption.

    Args:
        title: two lines over all panels, the second one smaller.
        shown: at least one card, of photos of any sizes.
        sides: of the maps, see `sides_of`.
        look: the colours and the threshold of the overlays.
        longest: the longest line that a card of another epoch may have, whose room is kept free.

    Returns:
        Matplotlib Figure, of one size and layout for the same photos and numbers of lines.
    """
    aspect = aspect_of([card.photo.shape[:2] for card in shown])
    height = height_for(len(shown), _SIDES, _SMALLEST) / aspect**0.5
    cards = grid(len(shown), aspect, height, panels=2, card_gap=_CARD_GAP, row_gap=0.14, widest=_WIDEST)
    captions = [card.lines for card in shown]
    most = max(map(len, captions))
    note = f"; {NOTE}" if any(card.truth is not None for card in shown) else ""
    lines = [(title[0], "black"), (title[1] + note, GREY)]
    sheet, cards = Sheet.of(cards, lines, [*captions, [(longest, GREY)] * most], sides, heading=_HEADING)
    for column in range(cards.columns):
        for number, heading in enumerate(("photo", "overlay")):
            sheet.text(heading, cards.place(column, number)[0], cards.top - _HEADING, cards.width, 6.5, GREY)
    for index, card in enumerate(shown):
        sheet.caption(card.lines, cards, index)
        draw_truth(sheet.picture(card.photo, *cards.place(index)), card.truth, card.photo.shape)
        if isinstance(card.overlay, str):
            sheet.paragraph(card.overlay, *cards.place(index, 1))
        else:
            draw_truth(sheet.picture(card.overlay, *cards.place(index, 1)), card.truth, card.overlay.shape)
    sheet.scale_of(cards, sides, look)
    return sheet.figure
