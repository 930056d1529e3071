"""Charts of a trained classifier: which classes it takes for which, and how far its confidence can be trusted.

Axis legend: K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from training.report.cards import DPI, GREY, TEXT_SIZE, TITLE_SIZE, axes_at, shortened, text_width, write
from training.report.evaluate import wilson_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NUMBERED = 25  # most classes whose cells still have room for a number
_ZEROS = 10  # most classes whose empty cells say 0
_LABEL_WIDTH = 1.9  # of a class name, in inches
_LISTED = 8  # confusions named under a matrix without numbers


def confusion_figure(matrix: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Which classes are taken for which: counts, coloured by their share of the true class.

    Args:
        matrix: (K, K) counts, rows are the truth.
        class_names: K names.
    """
    from matplotlib.figure import Figure

    count, total, right = len(matrix), int(matrix.sum()), int(np.trace(matrix))
    cell = float(np.clip(7.0 / count, 0.11, 0.95))
    letters = float(np.clip(cell * 72 * 0.75, 5.5, TEXT_SIZE + 0.5))
    names = [shortened(name, _LABEL_WIDTH, letters) for name in class_names]
    longest = max(text_width(name, letters) for name in names)
    side, left, top = cell * count, 0.55 + longest, 0.8
    lines = _confusions(matrix, class_names) if count > _NUMBERED else []
    is_flat = longest < cell - 0.06  # names stand side by side
    bottom = (0.2 if is_flat else longest) + 0.55 + 0.17 * len(lines)
    size = (max(left + side + 0.95, 5.2), top + side + bottom)
    figure = Figure(figsize=size, dpi=DPI)
    write(figure, f"Confusion matrix: {right:,} of {total:,} validation samples are right", 0.15, 0.15, 9, TITLE_SIZE)
    write(figure, "A row is a true class, a column what it was taken for.", 0.15, 0.42, 9, TEXT_SIZE, GREY)
    axes = axes_at(figure, left, top, side, side)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(count), names, rotation=0 if is_flat else 90, fontsize=letters, parse_math=False)
    axes.set_yticks(range(count), names, fontsize=letters, parse_math=False)
    axes.tick_params(length=0, pad=3)
    axes.set_xlabel("predicted", fontsize=9)
    axes.set_ylabel("truth", fontsize=9)
    if count <= _NUMBERED:
        _write_counts(axes, matrix, shares, cell)
    bar = figure.colorbar(image, cax=axes_at(figure, left + side + 0.15, top, 0.13, min(side, 3.0)), ticks=[0, 0.5, 1])
    bar.outline.set_visible(False)
    bar.ax.set_yticklabels(["0%", "50%", "100%"], fontsize=7)
    bar.set_label("share of the true class", fontsize=7)
    for number, line in enumerate(lines):
        write(figure, line, 0.15, size[1] - 0.1 - 0.17 * (len(lines) - number), size[0] - 0.3, TEXT_SIZE)
    return figure


def _write_counts(axes: Any, matrix: np.ndarray, shares: np.ndarray, cell: float) -> None:
    widest = len(str(matrix.max()))
    size = min(10.0, cell * 72 * 0.45, cell * 72 * 1.4 / widest)
    for (row, column), number in np.ndenumerate(matrix):
        if number == 0 and len(matrix) > _ZEROS:
            continue
        color = "white" if shares[row, column] > 0.55 else "0.75" if number == 0 else "black"
        axes.text(column, row, str(number), ha="center", va="center", color=color, fontsize=size)


def _confusions(matrix: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """The most frequent confusions in words, for a matrix too large for numbers."""
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_LISTED]
    pairs = [np.unravel_index(place, matrix.shape) for place in order if wrong.flat[place]]
    told = [f"{class_names[i]} taken for {class_names[j]}: {wrong[i, j]} of {matrix[i].sum()}" for i, j in pairs]
    return ["Most frequent confusions:", *told] if told else []


def calibration_figure(calibration: dict[str, Any]) -> Figure:
    """How often the model is right at each confidence, and how many predictions have it.

    Args:
        calibration: as `evaluate.calibrate` returns it.
    """
    from matplotlib.figure import Figure

    bins = calibration["bins"]
    figure = Figure(figsize=(5.2, 5.75), dpi=DPI)
    write(figure, f"Calibration: expected error {calibration['ece']:.1%}", 0.15, 0.15, 4.9, TITLE_SIZE)
    notes = (
        "How far confidence and accuracy are apart, averaged over all predictions.",
        "Bars that end at the dashed line are right as often as they say; thin lines: 95% intervals.",
    )
    for number, note in enumerate(notes):
        write(figure, note, 0.15, 0.4 + 0.15 * number, 4.9, TEXT_SIZE - 1, GREY)
    upper, lower = axes_at(figure, 0.75, 0.9, 4.2, 3.1), axes_at(figure, 0.75, 4.2, 4.2, 1.0)
    edges, width = np.array([part["lower"] for part in bins]), 1 / len(bins)
    upper.plot([0, 1], [0, 1], color="0.35", linestyle="--", linewidth=1, zorder=3)
    for part in bins:
        if not part["count"]:
            continue
        accuracy, count = part["accuracy"], part["count"]
        upper.bar(part["lower"], accuracy, width, align="edge", color="#4c86b8", edgecolor="white", linewidth=0.6)
        low, high = wilson_interval(round(accuracy * count), count)
        upper.plot([part["confidence"]] * 2, [low, high], color="#12304a", linewidth=1, zorder=4)
    lower.bar(edges, [part["count"] for part in bins], width, align="edge", color="0.65", edgecolor="white")
    for axes, name in ((upper, "share that is right"), (lower, "predictions")):
        axes.set_xlim(0, 1)
        axes.set_ylabel(name, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    upper.set_ylim(0, 1.02)
    upper.set_xticklabels([])
    lower.yaxis.get_major_locator().set_params(integer=True, nbins=4)
    lower.set_xlabel("confidence: probability of the predicted class", fontsize=9)
    return figure
