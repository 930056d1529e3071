"""The charts of a trained classifier: its learning curves, its confusion matrix, its calibration.

Axis legend: K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
_TRAINING, _VALIDATION, _BEST = "0.6", "#1f5f99", "#c2410c"  # colours of curves
_MARKED = 40  # the largest number of epochs whose points are marked; one epoch alone has no line
_LEAST_NAME = 8  # letters of a stage's name, if it must be cut
_WIDE_RANGE = 30.0  # of a loss over the median; beyond it the axis is logarithmic
_OTHER_RATE = 5.0  # times the rate of another stage; beyond it the axis is logarithmic


def curves_figure(history: Sequence[Mapping[str, str]], best: int) -> Figure:
    """Draw loss, accuracy and learning rate over the epochs of all stages.

    Args:
        history: rows of history.csv, in their order: stage, epoch, loss, val_loss, accuracy, val_accuracy, and perhaps
            learning_rate.
        best: index of the best epoch.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    has_rate = "learning_rate" in history[0]
    heights = (3.0, 3.0, 1.3)[: 2 + has_rate]
    figure = Figure(figsize=(7.2, 5.6 if has_rate else 4.6), dpi=DPI, layout="constrained")
    row = history[best]
    starts = _first_epochs(history)
    where = f" ({shortened(row['stage'], _NAME_LETTERS)}, epoch {int(row['epoch'])})" if len(starts) > 1 else ""
    title = (
        f"Best epoch: {best + 1} of {len(history)}{where}, validation accuracy {float(row['val_accuracy']):.4f}, loss "
        f"{float(row['val_loss']):.4f}"
    )
    figure.suptitle(title, x=0.02, ha="left", fontsize=9, parse_math=False)
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    epochs = np.arange(1, len(history) + 1)
    marker = "o" if len(history) <= _MARKED else ""
    for axes, key in zip(panels, ("loss", "accuracy"), strict=False):
        for name, column, color in (("training", key, _TRAINING), ("validation", f"val_{key}", _VALIDATION)):
            values = [float(row[column]) for row in history]
            axes.plot(epochs, values, color=color, marker=marker, markersize=3, linewidth=1.4, label=name)
        axes.plot(best + 1, values[best], "o", color=_BEST, markersize=6, zorder=4, label="best epoch")
        axes.set_ylabel(key, fontsize=9)
    losses = [float(row[column]) for row in history for column in ("loss", "val_loss")]
    if min(losses) > 0 and max(losses) > _WIDE_RANGE * float(np.median(losses)):
        panels[0].set_yscale("log")
    if has_rate:
        _draw_rates(panels[2], [float(row["learning_rate"]) for row in history], starts, marker)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        for first in starts[1:]:
            axes.axvline(first - 0.5, color="0.75", linewidth=0.8, linestyle=":", zorder=0)
    if len(starts) > 1:
        _name_stages(panels[0], history, starts)
    panels[1].legend(fontsize=8, frameon=False, loc="lower right", ncols=3)
    panels[-1].set_xlabel("epoch", fontsize=9)
    panels[-1].set_xlim(0.5, len(history) + 0.5)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure


def _draw_rates(axes: Any, rates: Sequence[float], starts: Sequence[int], marker: str) -> None:
    """Draw the learning rate at the end of each epoch; on a logarithmic axis where the stages differ much."""
    axes.plot(range(1, len(rates) + 1), rates, color="0.35", marker=marker, markersize=3, linewidth=1.2)
    peaks = [max(rates[start - 1 : end - 1]) for start, end in zip(starts, [*starts[1:], len(rates) + 1], strict=True)]
    if min(peaks) > 0 and max(peaks) > _OTHER_RATE * min(peaks):
        axes.set_yscale("log")
        axes.set_ylim(min(peaks) / 30, 3 * max(peaks))  # a rate that falls to zero leaves the axis
    else:
        axes.set_ylim(bottom=0)
    axes.set_ylabel("learning\nrate", fontsize=9)


def _first_epochs(history: Sequence[Mapping[str, str]]) -> list[int]:
    """Return the number of the first epoch of each stage, counted over all stages from 1."""
    stages = [None, *(row["stage"] for row in history)]
    return [number for number in range(1, len(stages)) if stages[number] != stages[number - 1]]


def _name_stages(axes: Any, history: Sequence[Mapping[str, str]], starts: Sequence[int]) -> None:
    """Write the name of each stage over its epochs."""
    place = axes.get_xaxis_transform()
    for start, end in zip(starts, [*starts[1:], len(history) + 1], strict=True):
        name, letters = history[start - 1]["stage"], int(80 * (end - start) / len(history))
        if len(name) <= letters or letters >= _LEAST_NAME:
            text = shortened(name, letters)
            axes.text(start - 0.45, 1.02, text, transform=place, fontsize=8, color="0.35", parse_math=False)


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
    text = text.encode("utf-8", "replace").decode()  # matplotlib refuses the lone surrogates of a name that is no UTF-8
    text = " ".join(text.split())
    if len(text) <= letters:
        return text
    tail = letters * 2 // 5
    return f"{text[: letters - tail - 1].rstrip()}…{text[-tail:].lstrip()}"
