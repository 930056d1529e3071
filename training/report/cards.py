"""Pictures in rows with captions over them, laid out in inches. Matplotlib's objects, no pyplot, no global state.

Lengths are inches from the top left corner of the figure; letters are points.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from training.report.evaluate import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 120
BLACK, GREY, GREEN, RED = "black", "0.4", "#1b6e3c", "#b00020"
PANEL = 1.55  # side of a square picture; others have its area
TITLE_SIZE, TEXT_SIZE = 11.0, 8.0
_MARGIN, _GAP, _CARD_GAP, _ROW_GAP = 0.15, 0.05, 0.22, 0.14
_TITLE, _LINE, _HEADING, _SCALE = 0.3, 0.15, 0.32, 0.85
_NARROWEST = 5.0  # width of a figure, so that its title has room
_ASPECTS = (0.5, 2.0)  # narrowest and widest picture, in heights
_POINTS = 72  # an inch
_WRITTEN = 6.5  # letters of a sentence in the place of a picture


class Card(NamedTuple):
    """Pictures side by side and the lines over them.

    pictures: photos (H0, W0, 3) uint8 RGB; a sentence stands in the place of a picture that there is none of.
    lines: (text, colour), cut where they are longer than the pictures are wide.
    """

    pictures: Sequence[np.ndarray | str]
    lines: Sequence[tuple[str, str]]


class Section(NamedTuple):
    """Cards under one heading; `absent` is said where there are none."""

    heading: str
    cards: Sequence[Card]
    absent: str = ""


def card_figure(
    title: str,
    notes: Sequence[str],
    sections: Sequence[Section],
    columns: int,
    *,
    panel_names: Sequence[str] = (),
    has_scale: bool = False,
) -> Figure:
    """Sections of cards, one under the other.

    Args:
        title: the line over everything.
        notes: grey lines under it.
        sections: cards of equally many pictures.
        columns: cards in a row.
        panel_names: what the pictures of a card are, written under each.
        has_scale: whether to draw the colour bar of heatmaps.
    """
    from matplotlib.figure import Figure

    grid = _grid(sections, columns, panel_names)
    top = _MARGIN + _TITLE + len(notes) * 0.17 + 0.08
    heights = [_height(section, grid) for section in sections]
    size = (max(grid.across, _NARROWEST) + _SCALE * has_scale, top + sum(heights))
    figure = Figure(figsize=size, dpi=DPI)
    room = size[0] - 2 * _MARGIN
    write(figure, title, _MARGIN, _MARGIN, room, TITLE_SIZE)
    for number, note in enumerate(notes):
        write(figure, note, _MARGIN, _MARGIN + _TITLE + number * 0.17 - 0.06, room, TEXT_SIZE, GREY)
    for section, height in zip(sections, heights, strict=True):
        write(figure, section.heading, _MARGIN, top + 0.04, room, 10)
        _draw_section(figure, section, top + _HEADING * bool(section.heading), grid)
        top += height
    if has_scale:
        _draw_scale(figure, size[0] - _SCALE, size[1] - sum(heights) + _HEADING + grid.caption)
    return figure


class _Grid(NamedTuple):
    """Columns of cards, names of their pictures; width and height of a picture; width of a card; height over it."""

    columns: int
    names: Sequence[str]
    panel: tuple[float, float]
    width: float
    caption: float

    @property
    def across(self) -> float:
        return 2 * _MARGIN + self.columns * (self.width + _CARD_GAP) - _CARD_GAP

    @property
    def step(self) -> float:
        return self.caption + self.panel[1] + _ROW_GAP + _LINE * bool(self.names)


def _grid(sections: Sequence[Section], columns: int, names: Sequence[str]) -> _Grid:
    cards = [card for section in sections for card in section.cards]
    panels = max((len(card.pictures) for card in cards), default=1)
    longer = float(np.clip(_aspect(cards), *_ASPECTS)) ** 0.5
    caption = _LINE * max((len(card.lines) for card in cards), default=0) + 0.04
    return _Grid(columns, names, (PANEL * longer, PANEL / longer), panels * (PANEL * longer + _GAP) - _GAP, caption)


def _height(section: Section, grid: _Grid) -> float:
    heading = _HEADING * bool(section.heading)
    if not section.cards:
        return heading + 2 * _LINE
    return heading + grid.step * -(-len(section.cards) // grid.columns)


def _draw_section(figure: Figure, section: Section, top: float, grid: _Grid) -> None:
    """Its cards, or the sentence that says why there are none."""
    if not section.cards:
        write(figure, section.absent, _MARGIN, top, max(grid.across, _NARROWEST) - 2 * _MARGIN, TEXT_SIZE, GREY)
        return
    step = grid.width + _CARD_GAP
    for index, card in enumerate(section.cards):
        row, column = divmod(index, grid.columns)
        _draw(figure, card, _MARGIN + column * step, top + row * grid.step, grid)


def _aspect(cards: Sequence[Card]) -> float:
    """Width over height of the pictures, which are all of one size."""
    sizes = [picture.shape for card in cards for picture in card.pictures if isinstance(picture, np.ndarray)]
    return sizes[0][1] / sizes[0][0] if sizes else 1.0


def _draw(figure: Figure, card: Card, left: float, top: float, grid: _Grid) -> None:
    for number, (text, color) in enumerate(card.lines):
        write(figure, text, left, top + number * _LINE, grid.width, TEXT_SIZE, color)
    width, height = grid.panel
    top += grid.caption
    for number, name in enumerate(grid.names):
        write(figure, name, left + number * (width + _GAP), top + height + 0.03, width, TEXT_SIZE - 1, GREY)
    for number, picture in enumerate(card.pictures):
        axes = axes_at(figure, left + number * (width + _GAP), top, width, height)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("0.8")
        if isinstance(picture, str):
            axes.set_facecolor("0.95")
            letters, lines = int(width * _POINTS / (0.6 * _WRITTEN)), int(height * _POINTS / (1.3 * _WRITTEN))
            place: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes, "parse_math": False}
            axes.text(0.5, 0.5, wrapped(picture, letters, lines), fontsize=_WRITTEN, color=RED, **place)
        else:
            axes.imshow(picture)


def _draw_scale(figure: Figure, left: float, top: float) -> None:
    """The colour bar of overlays: what the colours of `overlay_heatmap` mean."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    from tf_gradcam import overlay_heatmap

    levels = np.linspace(0, 1, 256, dtype=np.float32)[None]
    colors = overlay_heatmap(np.zeros((1, 256, 3), np.uint8), levels, alpha=1)[0] / 255
    axes = axes_at(figure, left, top, 0.13, PANEL)
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), ListedColormap(colors.tolist())), cax=axes, ticks=[0, 0.5, 1])
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2)
    bar.set_label("share of each map's maximum", fontsize=7)


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Any:
    """Axes of that place and size."""
    across, down = figure.get_size_inches()
    return figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))


def write(figure: Figure, text: str, left: float, top: float, width: float, size: float, color: str = BLACK) -> None:
    """One line, cut to `width`; `top` is its upper edge."""
    across, down = figure.get_size_inches()
    place: dict[str, Any] = {"ha": "left", "va": "top", "parse_math": False}
    shown = shortened(text, width, size)
    figure.text(left / across, 1 - top / down, shown, fontsize=size, color=color, **place)


def shortened(text: str, width: float, size: float) -> str:
    """A text that fits into `width`: of a longer one both ends, since names often differ in their last word."""
    text = " ".join(text.split())
    if text_width(text, size) <= width:
        return text
    least, most = 1, len(text)
    while least < most:  # the longest that fits
        middle = (least + most + 1) // 2
        least, most = (middle, most) if text_width(_ends(text, middle), size) <= width else (least, middle - 1)
    return _ends(text, least)


def _ends(text: str, count: int) -> str:
    tail = count * 2 // 5
    return text[: count - tail].rstrip() + "…" + text[len(text) - tail :].lstrip()


def wrapped(text: str, letters: int, lines: int) -> str:
    """A text in lines of so many letters; what is beyond the last line is an ellipsis."""
    import textwrap

    return textwrap.fill(text, max(letters, 4), max_lines=lines, placeholder=" …")


@lru_cache(maxsize=4096)
def text_width(text: str, size: float) -> float:
    """Width of a line of text, in inches."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    renderer = RendererAgg(1, 1, DPI)
    return float(renderer.get_text_width_height_descent(text, FontProperties(size=size), False)[0]) / DPI


def save_figure(path: str | os.PathLike[str], figure: Figure) -> None:
    """Write a figure as PNG, whole or not at all, and forget what it holds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream)
    figure.clear()
    write_whole(path, stream.getvalue())
