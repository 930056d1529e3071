"""The charts of a trained classifier: its confusion matrix and its calibration.

Axis legend: K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_gradcam.metrics import wilson_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 120
_NUMBERED = 25  # the largest number of classes whose cells have room for a number
_ZEROS = 10  # the largest number of classes whose empty cells show a 0
_NAME_LETTERS = 26
_LETTER = 0.62 / 72  # width of an average letter, in inches for each point of its size
_LISTED = 8  # confusions listed under a matrix without numbers


def confusion_figure(matrix: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Draw the confusion matrix: counts, coloured by their share of the true class.

    Args:
        matrix: (K, K) counts; rows are true classes, columns predictions.
        class_names: K names.
    """
    from matplotlib.figure import Figure

    count, total, right = len(matrix), int(matrix.sum()), int(np.trace(matrix))
    cell = float(np.clip(7.0 / count, 0.11, 0.95))  # inches
    size = float(np.clip(cell * 54, 5.5, 8.5))  # points
    names = [shortened(name, _NAME_LETTERS) for name in class_names]
    longest = max(len(name) for name in names) * size * _LETTER
    is_flat = longest < cell
    confusions = _confusions(matrix, class_names) if count > _NUMBERED else []
    width = cell * count + longest + 1.5
    height = cell * count + (0.2 if is_flat else longest) + 1.1 + 0.15 * len(confusions)
    figure = Figure(figsize=(max(width, 5.2), height), dpi=DPI, layout="constrained")
    title = f"Confusion matrix: {right:,} of {total:,} validation samples are right"
    figure.suptitle(f"{title}\nRows are true classes, columns are predictions.", x=0.02, ha="left", fontsize=9)
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks(range(count), names, rotation=0 if is_flat else 90, fontsize=size, parse_math=False)
    axes.set_yticks(range(count), names, fontsize=size, parse_math=False)
    axes.tick_params(length=0, pad=3)
    axes.set_xlabel("\n".join(["predicted", *confusions]), fontsize=8, parse_math=False)
    axes.set_ylabel("true", fontsize=8)
    if count <= _NUMBERED:
        _write_counts(axes, matrix, shares, cell)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, ticks=[0, 0.5, 1], format="{x:.0%}")
    bar.outline.set_visible(False)
    bar.set_label("share of the true class", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    return figure


def _write_counts(axes: Any, matrix: np.ndarray, shares: np.ndarray, cell: float) -> None:
    digits = len(str(matrix.max()))
    size = min(10.0, cell * 32, cell * 100 / digits)
    for (row, column), number in np.ndenumerate(matrix):
        if number == 0 and len(matrix) > _ZEROS:
            continue
        color = "white" if shares[row, column] > 0.55 else "0.75" if number == 0 else "black"
        axes.text(column, row, str(number), ha="center", va="center", color=color, fontsize=size)


def _confusions(matrix: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """List the most frequent confusions, for a matrix that is too large for numbers."""
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_LISTED]
    pairs = [np.unravel_index(place, matrix.shape) for place in order if wrong.flat[place]]
    names = [shortened(name, 2 * _NAME_LETTERS) for name in class_names]
    return [f"{names[i]} predicted as {names[j]}: {wrong[i, j]} of {matrix[i].sum()}" for i, j in pairs]


def calibration_figure(calibration: dict[str, Any]) -> Figure:
    """Draw the accuracy and the number of predictions at each confidence.

    Args:
        calibration: as `evaluate.calibrate` returns it.
    """
    from matplotlib.figure import Figure

    bins = calibration["bins"]
    figure = Figure(figsize=(5.2, 5.75), dpi=DPI, layout="constrained")
    notes = (
        f"Calibration: expected error {calibration['ece']:.1%}",
        "The mean difference of confidence and accuracy over all predictions.",
        "A bar that ends at the dashed line is perfectly calibrated; thin lines: 95 % intervals.",
    )
    figure.suptitle("\n".join(notes), x=0.02, ha="left", fontsize=8)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    edges, width = np.array([part["lower"] for part in bins]), 1 / len(bins)
    upper.plot([0, 1], [0, 1], color="0.35", linestyle="--", linewidth=1, zorder=3)
    for part in bins:
        if not part["count"]:
            continue
        accuracy, count = part["accuracy"], part["count"]
        upper.bar(part["lower"], accuracy, width, align="edge", color="#4c86b8", edgecolor="white", linewidth=0.6)
        interval = wilson_interval(round(accuracy * count), count)
        upper.plot([part["confidence"]] * 2, [interval.low, interval.high], color="#12304a", linewidth=1, zorder=4)
    lower.bar(edges, [part["count"] for part in bins], width, align="edge", color="0.65", edgecolor="white")
    for axes, name in ((upper, "accuracy"), (lower, "predictions")):
        axes.set_xlim(0, 1)
        axes.set_ylabel(name, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    upper.set_ylim(0, 1.02)
    lower.yaxis.get_major_locator().set_params(integer=True, nbins=4)
    lower.set_xlabel("confidence: probability of the predicted class", fontsize=9)
    return figure


def shortened(text: str, letters: int) -> str:
    """Return a text of at most so many letters; a longer one keeps both ends, since names often differ in the last."""
    text = " ".join(text.split())
    if len(text) <= letters:
        return text
    tail = letters * 2 // 5
    return f"{text[: letters - tail - 1].rstrip()}…{text[-tail:].lstrip()}"
