"""How good a classifier is, and how far its confidence can be trusted: numbers for `metrics.json`. NumPy alone.

Axis legend: N samples, K classes.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

BIN_COUNT = 15  # of the calibration, as in most of the literature
_LEAST_PROBABILITY = 1e-7  # where Keras's cross entropy clips too, so that the losses compare
_SUM_TOLERANCE = 0.01  # of a row; 120 probabilities in bfloat16 miss 1 by up to 0.002


def measure(outputs: Any, labels: Any, class_names: Sequence[str]) -> dict[str, Any]:
    """All that is reported of a trained classifier, ready for JSON.

    Args:
        outputs: (N, K) floats, probabilities: each row sums to 1.
        labels: (N,) integers in [0, K), the truth.
        class_names: K names, in the order of the outputs.

    Returns:
        dict with
        samples: N.
        accuracy: share of samples whose most probable class is the truth.
        accuracy_interval: [low, high], 95 % Wilson interval of the accuracy, see `wilson_interval`.
        loss: mean cross entropy, in nats.
        per_class: {name: precision, recall, f1, support}; None where nothing was predicted as, or is of, that class.
        confusion_matrix: K rows of K counts; rows are the truth, columns the prediction.
        calibration: see `calibrate`.

    Raises:
        ValueError: shapes that do not fit together, no sample, outputs that are no probabilities, labels out of range,
            names that occur twice.
    """
    probabilities, truth = _checked(outputs, labels, class_names)
    predicted = probabilities.argmax(axis=1)
    right = predicted == truth
    matrix = confusion_matrix(truth, predicted, len(class_names))
    of_truth = probabilities[np.arange(len(truth)), truth]
    return {
        "samples": len(truth),
        "accuracy": float(right.mean()),
        "accuracy_interval": list(wilson_interval(int(right.sum()), len(right))),
        "loss": float(-np.log(np.maximum(of_truth, _LEAST_PROBABILITY)).mean()),
        "per_class": {name: _of_class(matrix, k) for k, name in enumerate(class_names)},
        "confusion_matrix": matrix.tolist(),
        "calibration": calibrate(probabilities.max(axis=1), right),
    }


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, class_count: int) -> np.ndarray:
    """(K, K) int64: how many samples of the row's class were taken for the column's."""
    cells = np.bincount(truth * class_count + predicted, minlength=class_count**2)
    return cells.reshape(class_count, class_count)


def calibrate(confidences: np.ndarray, right: np.ndarray, bin_count: int = BIN_COUNT) -> dict[str, Any]:
    """How far confidence and accuracy differ.

    Args:
        confidences: (N,) floats in [0, 1], the probability of the predicted class.
        right: (N,) bool, whether the prediction is the truth.
        bin_count: M, number of bins of equal width; bin m holds the confidences in ((m - 1) / M, m / M].

    Returns:
        dict with `ece`, the expected calibration error in [0, 1], and `bins`, a list of M: lower, upper, count, and
        mean confidence and accuracy, which are None in an empty bin.

    Source: Guo et al. 2017, equation 5, https://arxiv.org/abs/1706.04599. Deviation: a confidence of 0 counts in the
    first bin.
    """
    edges = np.linspace(0, 1, bin_count + 1)
    members = np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, bin_count - 1)
    bins: list[dict[str, Any]] = []
    error = 0.0
    for number in range(bin_count):
        inside = members == number
        count = int(inside.sum())
        confidence = float(confidences[inside].mean()) if count else None
        accuracy = float(right[inside].mean()) if count else None
        if confidence is not None and accuracy is not None:
            error += count / len(right) * abs(accuracy - confidence)
        lower, upper = (round(float(edge), 6) for edge in edges[number : number + 2])
        bins.append({"lower": lower, "upper": upper, "count": count, "confidence": confidence, "accuracy": accuracy})
    return {"ece": error, "bins": bins}


def wilson_interval(hits: int, count: int, coverage: float = 0.95) -> tuple[float, float]:
    """Between which accuracies a model may lie that was right `hits` times in `count`: (low, high) in [0, 1].

    It takes the samples as independent: near-identical ones among them make it too narrow.

    Raises:
        ValueError: `count` below 1, or `hits` outside of 0..count.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953. Deviation: none.
    """
    if not 0 <= hits <= count or count < 1:
        raise ValueError(f"Expected 0 <= hits <= count and count of at least 1, received hits={hits}, count={count}.")
    z = NormalDist().inv_cdf((1 + coverage) / 2)
    share = hits / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    low = 0.0 if hits == 0 else middle - half  # exactly 0 and 1, which rounding would miss by 1e-17
    return low, 1.0 if hits == count else middle + half


def write_metrics(path: str | os.PathLike[str], metrics: dict[str, Any]) -> None:
    """Write metrics as JSON, a row of numbers on a line, whole or not at all.

    Raises:
        ValueError: NaN or an infinite value in it, which JSON does not have.
        OSError: no such folder, no permission, a full disk; an older file of that name is then as it was.
    """
    write_whole(path, (_json(metrics) + "\n").encode())


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file under a temporary name in the same folder, then rename it."""
    path = Path(path)
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # there is none after success
            temporary.unlink()


def _of_class(matrix: np.ndarray, k: int) -> dict[str, Any]:
    hits, predicted, support = int(matrix[k, k]), int(matrix[:, k].sum()), int(matrix[k].sum())
    return {
        "precision": hits / predicted if predicted else None,
        "recall": hits / support if support else None,
        "f1": 2 * hits / (predicted + support) if predicted + support else None,
        "support": support,
    }


def _checked(outputs: Any, labels: Any, class_names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, K) float64 that sum to 1, and labels (N,) int64."""
    probabilities, truth = np.asarray(outputs, np.float64), np.asarray(labels)
    if probabilities.ndim != 2 or truth.shape != probabilities.shape[:1] or not probabilities.size:
        raise ValueError(
            f"Expected outputs (N, K) and labels (N,) of at least one sample, received {probabilities.shape} and "
            f"{truth.shape}."
        )
    class_count = probabilities.shape[1]
    if len(class_names) != class_count or len(set(class_names)) != class_count:
        raise ValueError(
            f"Expected {class_count} different class names, one an output, received {len(set(class_names))} different "
            f"ones in a list of {len(class_names)}."
        )
    sums = probabilities.sum(axis=1)
    if not (probabilities.min() >= 0 and np.abs(sums - 1).max() <= _SUM_TOLERANCE):  # also false for NaN
        raise ValueError(
            f"Expected outputs as probabilities that sum to 1, received rows with minimum {probabilities.min():.4g} "
            f"and sums {sums.min():.4g}..{sums.max():.4g}. Apply a softmax to logits; NaN means the training diverged."
        )
    if truth.dtype.kind not in "ui" or not 0 <= truth.min() <= truth.max() < class_count:
        raise ValueError(
            f"Expected labels as integers in 0..{class_count - 1}, received {truth.dtype} in "
            f"{truth.min()}..{truth.max()}."
        )
    return probabilities / sums[:, None], truth.astype(np.int64)


def _json(value: Any, indent: str = "") -> str:
    """Indented JSON whose innermost lists and dicts stay on one line: a matrix reads as a matrix."""
    members = list(value.values() if isinstance(value, dict) else value) if isinstance(value, (dict, list)) else []
    if not any(isinstance(member, (dict, list)) for member in members):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    deeper = indent + "  "
    lines = [_json(member, deeper) for member in members]
    if isinstance(value, dict):
        keys = [json.dumps(str(key), ensure_ascii=False) for key in value]
        lines = [f"{key}: {line}" for key, line in zip(keys, lines, strict=True)]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return opening + "\n" + ",\n".join(deeper + line for line in lines) + "\n" + indent + closing
