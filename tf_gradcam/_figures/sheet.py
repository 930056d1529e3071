"""A figure laid out in inches: a grid of panels, text that fits, a colour bar. Without pyplot's global state.

Lengths are inches from the top left corner of the figure; letters are points.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from tf_gradcam.image.masks import outlined
from tf_gradcam.image.overlay import DEFAULT_LOOK, Look, paint
from tf_gradcam.image.resize import Placement, Unplaced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MARGIN = 0.12
TITLE, CAPTION = 0.36, 0.28  # heights of the line over all panels, and of the two lines over a card
SCALE = 0.75  # width of the colour bar with its numbers
DPI = 150  # of what is saved as pixels; text in .pdf and .svg stays text
WIDEST = 10.5  # of a figure; a page is 7
GREY, RED = "0.4", "#b00020"

Place = tuple[float, float, float, float]  # left, top, width, height
Sides = tuple[str, str] | None  # the meaning of a map's two ends

_ASPECTS = (0.6, 1.8)  # narrowest and widest panel, in heights
_MAX_SIDE = 60_000  # pixels of a saved figure; renderers end at 65,536
_POINTS = 72  # per inch
_HINTING = 1.03  # by how much letters drawn on pixels are wider than their outlines, at most
_SCALE_WIDTH, _SCALE_LENGTH = 0.12, 2.6
_TICK_GAP = 0.08  # between the values of two ticks, so that their numbers do not touch
_SCALE_LEAST = 1.3  # room for the label of the colour bar
_LEAST = TITLE + CAPTION + _SCALE_LEAST + 0.3  # a third line of a caption, half a tick
_LETTER, _REASON_LINE = 0.052, 0.105  # mean width and height of a letter of 6.5 points


class Shown(Protocol):
    """The part of an `Explanation` that figures read; its attributes are described there."""

    @property
    def heatmaps(self) -> np.ndarray: ...
    @property
    def shown(self) -> np.ndarray: ...
    @property
    def signed(self) -> bool: ...
    @property
    def probabilities(self) -> np.ndarray | None: ...
    @property
    def scores(self) -> np.ndarray: ...
    @property
    def class_indices(self) -> np.ndarray: ...
    @property
    def labels(self) -> Sequence[str]: ...
    @property
    def unit(self) -> str | None: ...
    @property
    def values(self) -> np.ndarray | None: ...
    @property
    def truth(self) -> np.ndarray | None: ...
    @property
    def diagnosis(self) -> Sequence[str | None]: ...
    @property
    def layer_name(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def image_size(self) -> tuple[int, ...]: ...
    @property
    def series(self) -> np.ndarray | None: ...
    @property
    def placement(self) -> Placement | Unplaced: ...
    @property
    def unplaced(self) -> str: ...
    @property
    def segmentation(self) -> Any: ...
    def __len__(self) -> int: ...
    def shown_at(self, index: int, size: Sequence[int] | None = None, only: np.ndarray | None = None) -> np.ndarray: ...
    def at_cells(self) -> Shown: ...
    def taken_photos(self, photos: Any) -> Any: ...
    def class_name(self, index: int) -> str: ...
    def top(self, count: int = 5) -> list[list[tuple[str, float]]]: ...


class Grid(NamedTuple):
    """Cards in rows; a card is a caption over panels of one size, side by side. Made by `grid`.

    Attributes:
        cards: number of cards.
        columns: number of cards side by side.
        width, height: of a panel.
        panels: number of panels of a card.
        caption: height of the text over the panels of a card.
        gap, card_gap, row_gap: space between the panels of a card, behind each card, below each row.
        top: upper edge of the first row.
    """

    cards: int
    columns: int
    width: float
    height: float
    panels: int
    caption: float
    gap: float
    card_gap: float
    row_gap: float
    top: float

    @property
    def card(self) -> float:
        return self.panels * self.width + (self.panels - 1) * self.gap

    @property
    def across(self) -> float:
        return self.columns * (self.card + self.card_gap)

    @property
    def down(self) -> float:
        return -(-self.cards // self.columns) * (self.caption + self.height + self.row_gap)

    def corner(self, index: int) -> tuple[float, float]:
        """Return the upper left corner of a card, (left, top)."""
        row, column = divmod(index, self.columns)
        step = self.caption + self.height + self.row_gap
        return MARGIN + column * (self.card + self.card_gap), self.top + row * step

    def place(self, index: int, panel: int = 0) -> Place:
        """Return the place of a panel, (left, top, width, height)."""
        left, top = self.corner(index)
        return left + panel * (self.width + self.gap), top + self.caption, self.width, self.height


def grid(
    count: int,
    aspect: float,
    height: float,
    *,
    caption: float,
    panels: int = 1,
    gap: float = 0.05,
    card_gap: float = 0.2,
    row_gap: float = 0.12,
    top: float = TITLE,
    columns: int | None = None,
    widest: float = WIDEST,
) -> Grid:
    """Lay out cards in rows, beside a colour bar.

    Args:
        count: number of cards, at least 1.
        aspect: width of a panel over its height.
        height: of a panel.
        caption, panels, gap, card_gap, row_gap, top: as `Grid`.
        columns: number of cards side by side, at most as many as fit; None for the number whose full grid is nearest
            to 1.4 times as wide as high.
        widest: width of the figure, margin and colour bar included.

    Returns:
        `Grid`, of at least one column.
    """
    made = Grid(count, 1, height * aspect, height, panels, caption, gap, card_gap, row_gap, top)
    card, step = made.across, made.down / count

    def misses(number: int) -> float:
        rows = -(-count // number)
        return abs(float(np.log(number * card / (rows * step) / 1.4))) + (rows * number - count) / count

    wanted = min(range(1, count + 1), key=misses) if columns is None else min(columns, count)
    fitting = int((widest - MARGIN - SCALE + 1e-9) / card)
    return made._replace(columns=max(1, min(wanted, fitting)))


def aspect_of(sizes: Sequence[Sequence[int]]) -> float:
    """Return the width over height of panels for pictures of these sizes: their median, within limits."""
    return float(np.clip(np.median([size[1] / size[0] for size in sizes]), *_ASPECTS))


def picture_size(explanation: Shown) -> tuple[int, ...]:
    """Return (H0, W0) of the picture that a map is drawn over, or of its cells where these are not places in it."""
    return explanation.heatmaps.shape[1:] if explanation.unplaced else explanation.image_size


def height_for(count: int, heights: Mapping[int, float], smallest: float) -> float:
    """Return the first of `heights` whose key, a largest number of panels, is not below `count`; else the smallest."""
    return next((height for limit, height in heights.items() if count <= limit), smallest)


class Sheet:
    """A figure of a width and height, with pictures, heatmaps and text at places in inches.

    It is never too low for the colour bar and its label.
    """

    def __init__(self, width: float, height: float):
        from tf_gradcam._figures.canvas import NotebookFigure

        height = max(height, _LEAST)
        self.width, self.height = width, height
        dpi = min(DPI, _MAX_SIDE / max(width, height))
        self.figure: Figure = NotebookFigure(figsize=(width, height), dpi=dpi)

    @classmethod
    def of(cls, grid: Grid, below: float = 0.0) -> Sheet:
        """Return a sheet for a grid with a colour bar, and `below` inches of room under it."""
        return cls(MARGIN + grid.across + SCALE, grid.top + grid.down + below)

    def panel(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes of this place and size, without ticks and frame."""
        axes = self.figure.add_axes(
            (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        )
        axes.set_axis_off()
        return axes

    def picture(self, photo: np.ndarray, left: float, top: float, width: float, height: float) -> Axes:
        """Draw a photo (H0, W0, 3) uint8 into the upper left corner of a place, its proportions kept."""
        axes = self.panel(left, top, width, height)
        axes.imshow(photo)
        axes.set_anchor("NW")
        return axes

    def heatmap(
        self,
        values: np.ndarray,
        left: float,
        top: float,
        width: float,
        height: float,
        signed: bool,
        look: Look,
    ) -> Axes:
        """Draw a map (H0, W0) likewise, in the colours of overlays."""
        from tf_gradcam._figures.canvas import color_scale

        axes = self.panel(left, top, width, height)
        colors, norm = color_scale(signed, look)
        axes.imshow(values, cmap=colors, norm=norm)
        axes.set_anchor("NW")
        return axes

    def title(self, text: str, size: float = 9) -> None:
        """Write the line over all panels."""
        shown = fitted(text, self.width - 2 * MARGIN, size)
        place = {"x": MARGIN / self.width, "y": 1 - 0.1 / self.height, "ha": "left", "va": "top"}
        self.figure.suptitle(shown, fontsize=size, parse_math=False, **place)

    def text(self, text: str, left: float, top: float, width: float, size: float, color: str = "black") -> None:
        """Write one line, cut with an ellipsis where it is longer than `width`; `top` is its upper edge."""
        self.figure.text(
            left / self.width,
            1 - top / self.height,
            fitted(text, width, size),
            fontsize=size,
            color=color,
            ha="left",
            va="top",
            parse_math=False,
        )

    def paragraph(self, text: str, left: float, top: float, width: float, height: float, color: str = RED) -> None:
        """Write small lines that fill a place, cut with an ellipsis where they need more."""
        line_count = max(1, int(height / _REASON_LINE))
        lines = textwrap.wrap(text, int(width / _LETTER), max_lines=line_count, placeholder=" …")
        for number, line in enumerate(lines):
            self.text(line, left, top + number * _REASON_LINE, width + 0.15, 6.5, color)

    def scale_of(self, grid: Grid, sides: Sides, look: Look = DEFAULT_LOOK) -> None:
        """Draw the colour bar beside the panels of a grid."""
        self.scale(grid.top + grid.caption, grid.down - grid.caption - grid.row_gap, sides, look)

    def scale(self, top: float, height: float, sides: Sides, look: Look = DEFAULT_LOOK) -> None:
        """Draw the colour bar at the right edge, in the middle of a height, with the meaning of its ends."""
        from matplotlib.cm import ScalarMappable

        from tf_gradcam._figures.canvas import color_scale

        signed = sides is not None
        colors, norm = color_scale(signed, look)
        height = max(height, _SCALE_LEAST)
        length = min(height, _SCALE_LENGTH)
        axes = self.panel(self.width - SCALE, top + (height - length) / 2, _SCALE_WIDTH, length)
        axes.set_axis_on()
        cuts = {look.threshold, -look.threshold} if signed else {look.threshold}
        ends = [-1, 0, 1] if signed else [0, 0.5, 1]
        ticks = sorted(cuts.union(end for end in ends if all(abs(end - cut) > _TICK_GAP for cut in cuts)))
        bar = self.figure.colorbar(ScalarMappable(norm, colors), cax=axes, ticks=ticks)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=7, length=2)
        bar.set_label("relative to the\nmap's maximum" if sides is None else "          ".join(sides), fontsize=7)


def fitted(text: str, width: float, size: float) -> str:
    """Return as much of a line of text as fits into `width`, the rest as an ellipsis."""
    text = " ".join(text.split())
    lengths = np.cumsum(_advances(text + "…", size))
    if len(text) == 0 or lengths[-2] <= width:
        return text
    ellipsis = lengths[-1] - lengths[-2]
    count = int(np.count_nonzero(lengths[:-1] + ellipsis <= width))
    return text[:count].rstrip(" ,;:(") + "…"


def width_of(text: str, size: float) -> float:
    """Return the inches of a line of text."""
    return float(sum(_advances(text, size)))


def _advances(text: str, size: float) -> list[float]:
    """Return each letter's advance in inches in Matplotlib's current font; a missing letter counts as a square."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    font.set_size(size, _POINTS)
    codes = [ord(letter) for letter in text]
    points = [font.load_char(code).linearHoriAdvance / 65536 if font.get_char_index(code) else size for code in codes]
    return [_HINTING * advance / _POINTS for advance in points]


def sides_of(explanation: Shown) -> Sides:
    """Return what the lowest and the highest colour of a map mean; None for a map of one side."""
    if not explanation.signed:
        return None
    is_value = explanation.values is not None and np.array_equal(explanation.values, explanation.scores)
    return ("lowers", "raises") if is_value else ("against", "for")


def painted(
    explanation: Shown, values: np.ndarray, photo: np.ndarray | None, look: Look = DEFAULT_LOOK, extra: float = 0.0
) -> np.ndarray:
    """Paint values of a map on a photo in the opacity of figures, and `extra`; without a photo the colours alone.

    It is higher for signed maps, which are mostly far below their full weight.
    """
    alpha = (0.6 if explanation.signed else 0.4) + extra
    return paint(photo, values, explanation.signed, replace(look, alpha=alpha))


def reason_of(explanation: Shown, index: int) -> str | None:
    """Return the diagnosis of a map without anything to show; a signed map may still show what speaks against."""
    return explanation.diagnosis[index] if not (explanation.signed and explanation.shown[index].any()) else None


def draw_overlay(
    sheet: Sheet, explanation: Shown, index: int, photo: np.ndarray, place: Place, look: Look = DEFAULT_LOOK
) -> None:
    """Draw the overlay, or write the diagnosis of a map without anything to show."""
    reason = reason_of(explanation, index)
    if reason is not None:
        sheet.paragraph(f"No overlay: {reason}", *place)
        return
    overlay = painted(explanation, explanation.shown_at(index, photo.shape[:2]), photo, look)
    sheet.picture(with_region(explanation, index, overlay), *place)


def with_region(explanation: Shown, index: int, picture: np.ndarray) -> np.ndarray:
    """Return a picture with the outline of the explained region of a segmentation, other pictures unchanged."""
    own = explanation.segmentation
    return picture if own is None or own.inside.ndim != 3 else outlined(picture, own.inside[index])


def value_of(explanation: Shown, index: int) -> str:
    """Return the probability or score of what was explained."""
    class_index = int(explanation.class_indices[index])
    probabilities = explanation.probabilities
    if probabilities is not None and probabilities.ndim == 2 and class_index >= 0:
        return f"{probabilities[index, class_index]:.1%}"
    if explanation.values is not None:
        return f"{explanation.values[index]:.4g} {explanation.unit or ''}".rstrip()
    return f"score {explanation.scores[index]:.4g}"


def detail(explanation: Shown, index: int) -> str:
    """Return the value of what was explained, and the diagnosis of a map that cannot be read."""
    value, reason = value_of(explanation, index), reason_of(explanation, index)
    return value if reason is None else f"{value}, {'' if explanation.shown[index].any() else 'blank: '}{reason}"
