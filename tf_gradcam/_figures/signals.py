"""Signals as lines, each piece in the colour of its relevance.

Axis legend: B signals, T0 samples, C channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tf_gradcam._figures.captions import card_lines, title_of
from tf_gradcam._figures.sheet import GREY, MARGIN, Sheet, height_for, lines_height, sides_of
from tf_gradcam.image.io import Photos
from tf_gradcam.image.overlay import DEFAULT_LOOK, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tf_gradcam._figures.sheet import Shown

_WIDTH = 6.2
_HEIGHTS = {1: 1.6, 4: 1.2, 8: 0.9}  # of a plot, by the largest number of signals
_SMALLEST = 0.7
_PER_TRACE = 0.35  # least height of one channel
AXIS = 0.34  # the numbers below a plot
_TRACES = 8
_POINTS = 4000  # more than a page can show


def signal_figure(explanation: Shown, signals: Photos | None = None, look: Look = DEFAULT_LOOK) -> Figure:
    """Draw a plot per signal, channels below each other; without signals the relevance is also the line's height.

    Args:
        explanation: of B signals, maps (B, T).
        signals: B arrays (T0,) or (T0, C), of any lengths; the first eight channels are drawn. None for the maps alone.
        look: the colours and the threshold; figures have an opacity of their own.

    Raises:
        ValueError: a signal of another shape.
    """
    count, sides = len(explanation), sides_of(explanation)
    captions = [card_lines(explanation, index) for index in range(count)]
    caption = max(lines_height(lines, _WIDTH) for lines in captions)
    traces = [_traces(explanation, index, signals) for index in range(count)]
    height = height_for(count, _HEIGHTS, _SMALLEST)
    heights = [max(height, _PER_TRACE * len(values)) for values, _ in traces]
    total = sum(heights) + count * (caption + AXIS)
    sheet, start = Sheet.titled(_WIDTH + MARGIN, total, title_of(explanation), sides, caption=caption)
    top = start
    for index, (values, relevance) in enumerate(traces):
        sheet.lines(captions[index], MARGIN, top, _WIDTH)
        axes = sheet.panel(MARGIN, top + caption, _WIDTH, heights[index])
        for position, trace in enumerate(_stacked(values)):
            _draw_trace(axes, trace, relevance, explanation.signed, look)
            if len(values) > 1:
                axes.text(0, len(values) - position - 0.55, f" {position}", fontsize=6, color=GREY, va="bottom")
        finish_axis(axes, values.shape[1])
        top += caption + heights[index] + AXIS
    sheet.scale(start + caption, total - caption - AXIS, sides, look)
    return sheet.figure


def _traces(explanation: Shown, index: int, signals: Photos | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the values to draw, (C, T0), and the relevance, (T0,), of one signal."""
    if signals is None:
        relevance = explanation.shown_at(index, explanation.image_size)
        return relevance[None], relevance
    values = np.asarray(signals[index], np.float64)
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(f"Expected signals of shape (T0,) or (T0, C), received {values.shape}.")
    values = values.reshape(len(values), -1).T[:_TRACES]
    return values, explanation.shown_at(index, values.shape[1:])


def _stacked(values: np.ndarray) -> np.ndarray:
    """Return one channel as it is, several scaled to one height each and stacked below each other."""
    if len(values) == 1:
        return values
    low, high = np.nanmin(values, axis=1, keepdims=True), np.nanmax(values, axis=1, keepdims=True)
    scaled = 0.8 * (values - low) / np.where(high > low, high - low, 1)
    return scaled + np.arange(len(values))[::-1, None] + 0.1


def _draw_trace(axes: Axes, trace: np.ndarray, relevance: np.ndarray, signed: bool, look: Look) -> None:
    from matplotlib.collections import LineCollection

    from tf_gradcam._figures.canvas import color_scale

    samples, values, heat = _thinned(trace, relevance)
    points = np.column_stack([samples, values])
    pieces = np.stack([points[:-1], points[1:]], axis=1)
    colors, norm = color_scale(signed, look)
    # A grey edge shows pieces whose colour is the paper's.
    axes.plot(samples, values, color="0.75", linewidth=2.2, solid_capstyle="round")
    lines = LineCollection(list(pieces), cmap=colors, norm=norm, linewidths=1.4, capstyle="round")
    lines.set_array((heat[:-1] + heat[1:]) / 2)
    axes.add_collection(lines)


def _thinned(trace: np.ndarray, relevance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keep the lowest and the highest sample of each stretch of a long signal, in their order: its outline stays."""
    samples = np.arange(len(trace))
    if len(trace) > _POINTS:
        stretches = np.array_split(np.nan_to_num(trace), _POINTS // 2)
        starts = np.cumsum([0, *map(len, stretches[:-1])])
        ends = [(stretch.argmin(), stretch.argmax()) for stretch in stretches]
        samples = np.unique(np.concatenate([start + np.array(pair) for start, pair in zip(starts, ends, strict=True)]))
    return samples, trace[samples], relevance[samples]


def finish_axis(axes: Axes, length: int) -> None:
    """Draw the axis of a signal of `length` samples alone."""
    axes.set_axis_on()
    axes.set_xlim(0, max(length - 1, 1))
    axes.margins(y=0.08)
    axes.set_yticks([])
    axes.tick_params(labelsize=6.5, length=2, colors=GREY)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
