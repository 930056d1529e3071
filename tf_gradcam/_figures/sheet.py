"""A figure laid out in inches: a grid of panels, text that fits, a colour bar. Without pyplot's global state.

Lengths are inches from the top left corner of the figure; letters are points.
"""

from __future__ import annotations

import re
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
SCALE = 0.75  # width of the colour bar with its numbers
DPI = 150  # of what is saved as pixels; text in .pdf and .svg stays text
WIDEST = 10.5  # of a figure; a page is 7
GREY, RED = "0.4", "#b00020"

Place = tuple[float, float, float, float]  # left, top, width, height
Sides = tuple[str, str] | None  # the meaning of a map's two ends
Line = tuple[str, str]  # text, colour

_ASPECTS = (0.6, 1.8)  # narrowest and widest panel, in heights
_MAX_SIDE = 60_000  # pixels of a saved figure; renderers end at 65,536
_POINTS = 72  # per inch
_HINTING = 1.03  # by how much letters drawn on pixels are wider than their outlines, at most
_SCALE_WIDTH, _SCALE_LENGTH = 0.12, 2.6
_TICK_GAP = 0.08  # between the values of two ticks, so that their numbers do not touch
_SCALE_LEAST, _UNDER_SCALE = 1.3, 0.15  # room for the label of the colour bar; for half a tick
_LABEL, _LABEL_LEFT, _LABEL_GAP = 7, 0.39, 0.06  # letters of that label; behind the bar's numbers; at its end
_TITLE_LETTERS, _CARD_LETTERS = (9.5, 7.5), (7.5, 6.5)  # of the first line and of the others
_OVER_TITLE, _UNDER_TITLE, _UNDER_CAPTION = 0.1, 0.08, 0.03
_LINE = 1.25  # height of a line, in letters
_PIECE = re.compile(r"\s*\S+?(?:(?<=[^\W_])[/_-](?=\w)|(?=\s)|$)")  # text that may end a line
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
    def is_behind_pooling(self) -> bool: ...
    @property
    def sides(self) -> Sequence[tuple[str, str]] | None: ...
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
    caption: float = 0.3,
    panels: int = 1,
    gap: float = 0.05,
    card_gap: float = 0.2,
    row_gap: float = 0.12,
    columns: int | None = None,
    widest: float = WIDEST,
) -> Grid:
    """Lay out cards in rows, beside a colour bar.

    Args:
        count: number of cards, at least 1.
        aspect: width of a panel over its height.
        height: of a panel.
        caption, panels, gap, card_gap, row_gap: as `Grid`; the first is known when there are columns, see `Sheet.of`.
        columns: number of cards side by side, at most as many as fit; None for the number whose full grid is nearest
            to 1.4 times as wide as high.
        widest: width of the figure, margin and colour bar included.

    Returns:
        `Grid`, of at least one column.
    """
    made = Grid(count, 1, height * aspect, height, panels, caption, gap, card_gap, row_gap, 0.0)
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
    """A figure of a width and height, with pictures, heatmaps and text at places in inches."""

    def __init__(self, width: float, height: float, scale_width: float = SCALE):
        from tf_gradcam._figures.canvas import NotebookFigure

        self.width, self.height, self._scale_left = width, height, width - scale_width
        dpi = min(DPI, _MAX_SIDE / max(width, height))
        self.figure: Figure = NotebookFigure(figsize=(width, height), dpi=dpi)

    @classmethod
    def titled(
        cls,
        across: float,
        down: float,
        title: Sequence[Line],
        sides: Sides,
        caption: float = 0.0,
        heading: float = 0.0,
    ) -> tuple[Sheet, float]:
        """Return a sheet under a title, and the upper edge of what stands below.

        Args:
            across: width up to the colour bar, without the margin.
            down: height of what stands below; more where the colour bar needs it.
            title: lines, the first one larger.
            sides: of the colour bar.
            caption: height of what stands over the colour bar.
            heading: room below the title.
        """
        length = _scale_length(down - caption, sides)
        label_lines = max(_side_text(side, length).count("\n") for side in sides or ("",))
        scale_width = SCALE + label_lines * _LABEL * _LINE / _POINTS
        width = MARGIN + across + scale_width
        top = _OVER_TITLE + lines_height(title, width - 2 * MARGIN, _TITLE_LETTERS) + _UNDER_TITLE + heading
        sheet = cls(width, top + max(down, caption + _scale_length(0, sides) + _UNDER_SCALE), scale_width)
        sheet._draw_title(title)
        return sheet, top

    @classmethod
    def of(
        cls,
        cards: Grid,
        title: Sequence[Line],
        captions: Sequence[Sequence[Line]],
        sides: Sides,
        *,
        rows: int = 1,
        heading: float = 0.0,
        below: float = 0.0,
    ) -> tuple[Sheet, Grid]:
        """Return a sheet for a grid with a colour bar, and the grid at its place below the title.

        Args:
            cards: the grid.
            title, sides, heading: as `titled`.
            captions: of the cards, which all have the height of the highest.
            rows: number of such grids below each other.
            below: room under them.
        """
        cards = cards._replace(caption=max(lines_height(lines, cards.card) for lines in captions))
        sheet, top = cls.titled(cards.across, rows * cards.down + below, title, sides, cards.caption, heading)
        return sheet, cards._replace(top=top)

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

    def _draw_title(self, lines: Sequence[Line]) -> None:
        (text, color), *others = lines
        width, (size, smaller) = self.width - 2 * MARGIN, _TITLE_LETTERS
        place = {"x": MARGIN / self.width, "y": 1 - _OVER_TITLE / self.height, "ha": "left", "va": "top"}
        self.figure.suptitle(wrapped(text, width, size), fontsize=size, color=color, parse_math=False, **place)
        self.lines(others, MARGIN, _OVER_TITLE + _height_of(text, width, size), width, (smaller, smaller))

    def caption(self, lines: Sequence[Line], cards: Grid, index: int) -> None:
        """Write the caption of a card, the last line next to its panels."""
        left, top = cards.corner(index)
        self.lines(lines, left, top + cards.caption - lines_height(lines, cards.card), cards.card)

    def lines(
        self,
        lines: Sequence[Line],
        left: float,
        top: float,
        width: float,
        letters: tuple[float, float] = _CARD_LETTERS,
    ) -> None:
        """Write lines below each other, the first one in larger letters, each `wrapped` to a width."""
        for number, (text, color) in enumerate(lines):
            size = letters[min(number, 1)]
            self.text(text, left, top, width, size, color)
            top += _height_of(text, width, size)

    def text(self, text: str, left: float, top: float, width: float, size: float, color: str = "black") -> None:
        """Write a text, `wrapped` to a width; `top` is its upper edge."""
        self.figure.text(
            left / self.width,
            1 - top / self.height,
            wrapped(text, width, size),
            fontsize=size,
            color=color,
            ha="left",
            va="top",
            linespacing=1.2,
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
        length = _scale_length(height, sides)
        height = max(height, length)
        axes = self.panel(self._scale_left, top + (height - length) / 2, _SCALE_WIDTH, length)
        axes.set_axis_on()
        cuts = {look.threshold, -look.threshold} if signed else {look.threshold}
        ends = [-1, 0, 1] if signed else [0, 0.5, 1]
        ticks = sorted(cuts.union(end for end in ends if all(abs(end - cut) > _TICK_GAP for cut in cuts)))
        bar = self.figure.colorbar(ScalarMappable(norm, colors), cax=axes, ticks=ticks)
        bar.outline.set(visible=look.threshold > 0, edgecolor="0.85")
        bar.ax.tick_params(labelsize=7, length=2)
        if sides is None:
            bar.set_label("relative to the\nmap's maximum", fontsize=_LABEL)
            return
        for number, side in enumerate(sides):
            middle = top + height / 2 - (number - 0.5) * length / 2
            self.figure.text(
                (self._scale_left + _LABEL_LEFT) / self.width,
                1 - middle / self.height,
                _side_text(side, length),
                fontsize=_LABEL,
                rotation=90,
                ha="left",
                va="center",
                multialignment="center",
                parse_math=False,
            )


def _scale_length(height: float, sides: Sides) -> float:
    """Return the length of a colour bar: half of it holds the longest word of its label."""
    longest = max((width_of(word, _LABEL) for side in sides or () for word in side.split()), default=0.0)
    return float(np.clip(height, max(_SCALE_LEAST, 2 * (longest + _LABEL_GAP) + 1e-6), _SCALE_LENGTH))


def _side_text(side: str, length: float) -> str:
    """Return the meaning of one end of a colour bar, wrapped to half of its length."""
    return wrapped(side, length / 2 - _LABEL_GAP, _LABEL)


def wrapped(text: str, width: float, size: float) -> str:
    """Return a text in lines no wider than `width`, broken between words or behind a joint such as "/".

    A word longer than a line is broken between letters; nothing is left out.
    """
    lines = [""]
    for piece in _PIECE.findall(" ".join(text.split())):
        if width_of(lines[-1] + piece, size) <= width:
            lines[-1] += piece
            continue
        rest = piece.lstrip()
        if lines[-1]:
            lines.append("")
        while (count := _fitting(rest, width, size)) < len(rest):
            lines[-1:] = [rest[:count], ""]
            rest = rest[count:]
        lines[-1] = rest
    return "\n".join(lines)


def _fitting(text: str, width: float, size: float) -> int:
    """Return the number of letters that fit into `width`, at least one."""
    return max(1, int(np.count_nonzero(np.cumsum(_advances(text, size)) <= width)))


def lines_height(lines: Sequence[Line], width: float, letters: tuple[float, float] = _CARD_LETTERS) -> float:
    """Return the inches that `Sheet.lines` needs, with a gap below; 0 without lines."""
    heights = [_height_of(text, width, letters[min(number, 1)]) for number, (text, _) in enumerate(lines)]
    return sum(heights) + (_UNDER_CAPTION if heights else 0.0)


def _height_of(text: str, width: float, size: float) -> float:
    return (wrapped(text, width, size).count("\n") + 1) * size * _LINE / _POINTS


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
    if len(set(explanation.sides or ())) == 1:
        return explanation.sides[0]  # type: ignore[index]
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
