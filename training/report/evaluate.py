"""The metrics of a trained classifier for `metrics.json`, and its predictions beside their samples. NumPy only.

Axis legend: N samples, K classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tf_gradcam.metrics import wilson_interval

if TYPE_CHECKING:
    from ..data.folder import Samples

SEED = 42  # of the samples that figures show; the same in every run, so that runs can be compared

BIN_COUNT = 15  # of the calibration; most papers use 15
_LEAST_PROBABILITY = 1e-7  # Keras clips its cross entropy there too, so the losses can be compared
_SUM_TOLERANCE = 0.01  # of a row; 120 probabilities in bfloat16 miss 1 by up to 0.002


def measure(outputs: Any, labels: Any, class_names: Sequence[str]) -> dict[str, Any]:
    """Return all metrics of a trained classifier, ready for JSON.

    Args:
        outputs: (N, K) floats, probabilities: each row sums to 1.
        labels: (N,) integers in [0, K), the true classes.
        class_names: K names, in the order of the outputs.

    Returns:
        dict with
        samples: N.
        accuracy: share of samples whose most probable class is the true one.
        accuracy_interval: [low, high], the 95 % Wilson interval of the accuracy.
        loss: mean cross entropy, in nats.
        macro_f1: mean F1 of the classes that occur or are predicted.
        auc: mean area under the ROC curve of the classes, each against all others; None if all samples are of one
            class.
        per_class: {name: precision, recall, f1, auc, support}; None if no sample was predicted as, or is of, that
            class.
        confusion_matrix: K rows of K counts; rows are true classes, columns predictions.
        calibration: see `calibrate`.

    Raises:
        ValueError: shapes do not fit together; there are no samples; outputs are not probabilities; labels are out of
            range; a name occurs twice.
    """
    probabilities, truth = _checked(outputs, labels, class_names)
    predicted = probabilities.argmax(axis=1)
    right = predicted == truth
    matrix = confusion_matrix(truth, predicted, len(class_names))
    interval = wilson_interval(int(right.sum()), len(right))
    of_truth = probabilities[np.arange(len(truth)), truth]
    scores = np.asarray(outputs)  # as the model gives them: equal ones stay equal
    areas = [roc_auc(scores[:, k], truth == k) for k in range(len(class_names))]
    rows = {name: _of_class(matrix, k, areas[k]) for k, name in enumerate(class_names)}
    return {
        "samples": len(truth),
        "accuracy": float(right.mean()),
        "accuracy_interval": [interval.low, interval.high],
        "loss": float(-np.log(np.maximum(of_truth, _LEAST_PROBABILITY)).mean()),
        "macro_f1": _mean(row["f1"] for row in rows.values()),
        "auc": _mean(areas),
        "per_class": rows,
        "confusion_matrix": matrix.tolist(),
        "calibration": calibrate(probabilities.max(axis=1), right),
    }


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, class_count: int) -> np.ndarray:
    """Return (K, K) int64 counts: samples of the row's class that were predicted as the column's."""
    cells = np.bincount(truth * class_count + predicted, minlength=class_count**2)
    return cells.reshape(class_count, class_count)


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Return the probability that a positive sample has a higher score than a negative one; equal scores count a half.

    Args:
        scores: (N,) floats.
        positive: (N,) bool.

    Returns:
        float in [0, 1], the area under the ROC curve; None if there are no positive or no negative samples.

    Source: Hanley & McNeil 1982, by the ranks of Mann & Whitney 1947, https://doi.org/10.1148/radiology.143.1.7063747.
    Deviation: none.
    """
    ones = int(positive.sum())
    zeros = len(positive) - ones
    if not ones or not zeros:
        return None
    _, numbers, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[numbers]  # from 1; equal scores share their mean rank
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def calibrate(confidences: np.ndarray, right: np.ndarray, bin_count: int = BIN_COUNT) -> dict[str, Any]:
    """Return the difference of confidence and accuracy, in all and in bins of confidence.

    Args:
        confidences: (N,) floats in [0, 1], the probability of the predicted class.
        right: (N,) bool, True where the prediction is the true class.
        bin_count: number M of bins of equal width; bin m holds the confidences in ((m - 1) / M, m / M].

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


def metrics_text(metrics: dict[str, Any]) -> str:
    """Return metrics as JSON, with each row of numbers on one line.

    Raises:
        ValueError: a value is NaN or infinite, which JSON does not have.
    """
    return _json(metrics) + "\n"


class Predictions(NamedTuple):
    """The model's predictions of the validation part.

    samples: the N validation samples.
    predicted: (N,) int64, the most probable class of each.
    confidences: (N,) float64, the probability of that class.
    """

    samples: Samples
    predicted: np.ndarray
    confidences: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """(N,) bool, True where the prediction is the true class."""
        return self.predicted == self.samples.labels

    @property
    def errors(self) -> np.ndarray:
        """Indices of the wrong predictions, the most confident first."""
        wrong = np.flatnonzero(~self.right)
        return wrong[np.argsort(-self.confidences[wrong], kind="stable")]

    def caption(self, index: int) -> list[str]:
        """Return two lines about one sample: its predicted class with the confidence, and its true class."""
        names, truth = self.samples.class_names, int(self.samples.labels[index])
        confidence = float(self.confidences[index])
        shown = f"{confidence:.1%}" if confidence < 0.9995 else ">99.9%"  # first: a long name is cut, a number is not
        mark = "✓" if self.right[index] else "✗"
        return [f"{mark} {shown} {names[self.predicted[index]]}", f"true: {names[truth]}"]


def predictions_of(samples: Samples, outputs: np.ndarray) -> Predictions:
    """Return the predictions of `samples` from the model's outputs, (N, K) probabilities in their order.

    Raises:
        ValueError: `outputs` has another shape.
    """
    expected = (len(samples), len(samples.class_names))
    if np.shape(outputs) != expected:
        raise ValueError(
            f"Expected outputs {expected}, a row for each validation sample and a column for each class, received "
            f"{np.shape(outputs)}. Predict the same samples."
        )
    probabilities = np.asarray(outputs, np.float64)
    return Predictions(samples, probabilities.argmax(axis=1), probabilities.max(axis=1))


def distinct(order: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Return the indices in `order` without those that have a twin before them.

    Args:
        order: indices of samples.
        groups: (N,) integers, equal for twins; None to keep all.
    """
    if groups is None:
        return order
    return order[np.sort(np.unique(groups[order], return_index=True)[1])]


def spread(labels: np.ndarray, count: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Draw at most `count` samples evenly over the classes; return indices sorted by class, the same at each call.

    Args:
        labels: (N,) integers, the classes.
        count: the largest number of samples.
        groups: (N,) integers, equal for twins, of which one is drawn; None if all samples differ.
    """
    generator = np.random.default_rng(SEED)
    order = distinct(generator.permutation(len(labels)), groups)
    turns = np.empty(len(labels), np.int64)  # the number of a sample within its class, from 0
    for label in np.unique(labels):
        members = order[labels[order] == label]
        turns[members] = np.arange(len(members))
    drawn = order[np.argsort(turns[order], kind="stable")][:count]
    return drawn[np.lexsort((drawn, labels[drawn]))]


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are known, None without any."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _of_class(matrix: np.ndarray, k: int, area: float | None) -> dict[str, Any]:
    hits, predicted, support = int(matrix[k, k]), int(matrix[:, k].sum()), int(matrix[k].sum())
    return {
        "precision": hits / predicted if predicted else None,
        "recall": hits / support if support else None,
        "f1": 2 * hits / (predicted + support) if predicted + support else None,
        "auc": area,
        "support": support,
    }


def _checked(outputs: Any, labels: Any, class_names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (N, K) float64 that sum to 1, and labels (N,) int64."""
    probabilities, truth = np.asarray(outputs, np.float64), np.asarray(labels)
    if probabilities.ndim != 2 or truth.shape != probabilities.shape[:1] or not probabilities.size:
        raise ValueError(
            f"Expected outputs (N, K) and labels (N,) of at least one sample, received {probabilities.shape} and "
            f"{truth.shape}. Predict the labelled samples."
        )
    class_count = probabilities.shape[1]
    if len(class_names) != class_count or len(set(class_names)) != class_count:
        raise ValueError(
            f"Expected {class_count} different class names, one for each output, received a list of {len(class_names)} "
            f"with {len(set(class_names))} different names."
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
            f"{truth.min()}..{truth.max()}. Number the classes in the order of the outputs."
        )
    return probabilities / sums[:, None], truth.astype(np.int64)


def _json(value: Any, indent: str = "") -> str:
    """Return indented JSON whose innermost lists and dicts stay on one line: a matrix looks like a matrix."""
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
