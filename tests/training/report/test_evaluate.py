"""Numbers of a trained classifier, in a world of three classes and ten samples, worked out by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from training.report.evaluate import (
    calibrate,
    confusion_matrix,
    distinct,
    measure,
    metrics_text,
    roc_auc,
    spread,
)

NAMES = ("cat", "dog", "owl")
# Ten samples: truth, prediction. Of four cats three are right and one is called a dog; of four dogs two are right, one
# is called a cat and one an owl; of two owls one is right and one is called a cat. Six of ten.
PAIRS = [(0, 0), (0, 0), (0, 0), (0, 1), (1, 1), (1, 1), (1, 0), (1, 2), (2, 2), (2, 0)]
TRUTH, PREDICTED = np.array(PAIRS).T
MATRIX = [[3, 1, 0], [1, 2, 1], [1, 0, 1]]


def outputs_of(predicted: Any, confidence: float = 0.8, class_count: int = 3) -> np.ndarray:
    """Probabilities: `confidence` for the prediction, the rest in equal parts for the others."""
    outputs = np.full((len(predicted), class_count), (1 - confidence) / (class_count - 1))
    outputs[np.arange(len(predicted)), predicted] = confidence
    return outputs


METRICS = measure(outputs_of(PREDICTED), TRUTH, NAMES)


def test_confusion_matrix_has_the_truth_in_rows() -> None:
    assert METRICS["confusion_matrix"] == MATRIX
    assert confusion_matrix(TRUTH, PREDICTED, 3).tolist() == MATRIX


def test_accuracy_is_the_diagonal_over_all() -> None:
    assert METRICS["samples"] == 10
    assert METRICS["accuracy"] == pytest.approx(6 / 10)


@pytest.mark.parametrize(
    ("name", "precision", "recall", "f1", "support"),
    [("cat", 3 / 5, 3 / 4, 6 / 9, 4), ("dog", 2 / 3, 2 / 4, 4 / 7, 4), ("owl", 1 / 2, 1 / 2, 1 / 2, 2)],
)
def test_class_is_read_off_its_column_and_its_row(
    name: str, precision: float, recall: float, f1: float, support: int
) -> None:
    """f1 is twice the hits over what was predicted as the class and what is of it."""
    row = METRICS["per_class"][name]
    assert list(row) == ["precision", "recall", "f1", "auc", "support"]
    assert [row[key] for key in ("precision", "recall", "f1", "support")] == pytest.approx(
        [precision, recall, f1, support]
    )


def test_undefined_ratios_are_none() -> None:
    """Owls neither occur nor are predicted; no dog is predicted, though there is one."""
    rows = measure(outputs_of([0, 0]), [0, 1], NAMES)["per_class"]
    assert rows["owl"] == {"precision": None, "recall": None, "f1": None, "auc": None, "support": 0}
    assert rows["dog"] == {"precision": None, "recall": 0.0, "f1": 0.0, "auc": 0.5, "support": 1}


def test_macro_f1_is_the_mean_over_classes_that_occur_or_are_predicted() -> None:
    assert METRICS["macro_f1"] == pytest.approx((6 / 9 + 4 / 7 + 1 / 2) / 3)
    assert measure(outputs_of([0, 0]), [0, 1], NAMES)["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


def pairs_won(scores: np.ndarray, positive: np.ndarray) -> float:
    """Count the pairs of a positive and a negative sample: won 1, drawn a half, lost 0."""
    pairs = [(a, b) for a in scores[positive] for b in scores[~positive]]
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_auc_is_the_share_of_pairs_won(levels: int) -> None:
    """With 2 levels most pairs are drawn, with 1000 next to none."""
    generator = np.random.default_rng(levels)
    scores, positive = generator.integers(0, levels, 60) / levels, generator.random(60) < 0.3
    assert roc_auc(scores, positive) == pytest.approx(pairs_won(scores, positive), abs=1e-12)


def test_auc_by_hand() -> None:
    """Positives 0.8, 0.4; negatives 0.6, 0.4, 0.2: won 3 and 1, drawn 1, of 6."""
    scores, positive = np.array([0.8, 0.4, 0.6, 0.4, 0.2]), np.array([1, 1, 0, 0, 0], bool)
    assert roc_auc(scores, positive) == pytest.approx(4.5 / 6)


def test_auc_of_a_run_is_the_mean_of_its_classes_against_the_others() -> None:
    outputs = np.random.default_rng(0).dirichlet([1, 1, 1], 40)
    truth = np.arange(40) % 3
    metrics = measure(outputs, truth, NAMES)
    won = [pairs_won(outputs[:, k], truth == k) for k in range(3)]
    assert [row["auc"] for row in metrics["per_class"].values()] == pytest.approx(won)
    assert metrics["auc"] == pytest.approx(np.mean(won))


def test_auc_of_one_class_alone_is_none() -> None:
    assert measure(np.eye(2), [0, 0], ("a", "b"))["auc"] is None


def test_loss_is_the_mean_cross_entropy() -> None:
    """Six truths have probability 0.8, four 0.1."""
    assert METRICS["loss"] == pytest.approx(-(6 * math.log(0.8) + 4 * math.log(0.1)) / 10)


def test_loss_of_an_impossible_truth_is_that_of_keras() -> None:
    """Keras clips probabilities at 1e-7."""
    assert measure([[1.0, 0.0]], [1], ("a", "b"))["loss"] == pytest.approx(7 * math.log(10))


def test_rows_of_half_precision_are_scaled_to_one() -> None:
    """Probabilities of 0.4 and 0.596 stand for 0.4 / 0.996: sums are as good as 16 bits allow."""
    assert measure([[0.4, 0.596]], [0], ("a", "b"))["loss"] == pytest.approx(-math.log(0.4 / 0.996))


def test_calibration_error_by_hand() -> None:
    """Two of four are right at 0.9, all six at 0.6: 4/10 * |0.5 - 0.9| + 6/10 * |1 - 0.6| = 0.16 + 0.24."""
    result = calibrate(np.array([0.9] * 4 + [0.6] * 6), np.array([1, 1, 0, 0, 1, 1, 1, 1, 1, 1], bool))
    assert result["ece"] == pytest.approx(0.4)


def test_calibration_error_is_of_bins_not_of_samples() -> None:
    """0.82 and 0.86 lie in (12/15, 13/15]: their mean is 0.84, one of the two is right, so they miss by 0.34."""
    result = calibrate(np.array([0.82, 0.86]), np.array([False, True]))
    assert result["ece"] == pytest.approx(0.34)
    (used,) = [part for part in result["bins"] if part["count"]]
    assert used == {
        "lower": pytest.approx(0.8),
        "upper": pytest.approx(13 / 15, abs=1e-6),
        "count": 2,
        "confidence": pytest.approx(0.84),
        "accuracy": pytest.approx(0.5),
    }


def test_calibration_bins_are_closed_above() -> None:
    """With two bins, 0.5 counts below and what is above it above; 0 and 1 are in the first and the last."""
    result = calibrate(np.array([0.0, 0.5, 0.5000001, 1.0]), np.ones(4, bool), bin_count=2)
    assert [part["count"] for part in result["bins"]] == [2, 2]


def test_calibration_has_fifteen_bins_and_empty_ones_say_so() -> None:
    bins = METRICS["calibration"]["bins"]
    assert len(bins) == 15
    assert [bins[0][key] for key in ("lower", "count", "confidence", "accuracy")] == [0.0, 0, None, None]
    assert sum(part["count"] for part in bins) == 10


def test_confident_and_always_right_is_perfectly_calibrated() -> None:
    assert measure(np.eye(3), [0, 1, 2], NAMES)["calibration"]["ece"] == 0.0


def test_interval_of_the_accuracy_is_that_of_its_counts() -> None:
    """Wilson's ends for 6 of 10: (0.6 + z^2 / 20 -+ z sqrt(0.024 + z^2 / 400)) / (1 + z^2 / 10), z^2 = 3.84146."""
    assert METRICS["accuracy_interval"] == pytest.approx([0.31267, 0.83182], abs=1e-5)


@pytest.mark.parametrize(
    ("outputs", "labels", "names", "match"),
    [
        (np.zeros((0, 2)), [], ("a", "b"), "at least one sample"),
        ([0.5, 0.5], [0], ("a", "b"), "outputs .N, K."),
        ([[0.5, 0.5]], [0, 1], ("a", "b"), "labels .N,."),
        ([[0.5, 0.5]], [0], ("a",), "2 different class names"),
        ([[0.5, 0.5]], [0], ("a", "a"), "2 different class names, one for each output, received a list of 2 with 1 "),
        ([[3.0, -2.0]], [0], ("a", "b"), "Apply a softmax to logits"),
        ([[0.5, 0.2]], [0], ("a", "b"), "sums 0.7"),
        ([[np.nan, 1.0]], [0], ("a", "b"), "NaN means the training diverged"),
        ([[0.5, 0.5]], [2], ("a", "b"), r"integers in 0\.\.1"),
        ([[0.5, 0.5]], [-1], ("a", "b"), r"integers in 0\.\.1"),
        ([[0.5, 0.5]], [0.0], ("a", "b"), "received float64"),
    ],
)
def test_what_cannot_be_measured_is_refused(outputs: Any, labels: Any, names: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        measure(outputs, labels, names)


def test_metrics_text_reads_back() -> None:
    metrics = measure(outputs_of(PREDICTED), TRUTH, ("Katze", "狗", 'a "b"'))
    assert json.loads(metrics_text(metrics)) == metrics


def test_metrics_text_has_a_row_of_the_matrix_on_a_line() -> None:
    lines = [line.strip().rstrip(",") for line in metrics_text(METRICS).splitlines()]
    assert [str(row) for row in MATRIX] == [line for line in lines if line.startswith("[") and len(line) > 1]


def test_metrics_that_json_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        metrics_text({"accuracy": math.nan})


def test_distinct_keeps_the_first_of_each_group_in_order() -> None:
    groups = np.array([7, 7, 3, 7, 3, 1])
    assert distinct(np.array([5, 3, 1, 4, 0, 2]), groups).tolist() == [5, 3, 4]
    assert distinct(np.array([5, 3, 1]), None).tolist() == [5, 3, 1]


def test_spread_draws_one_of_each_group_and_nothing_else_without_twins() -> None:
    labels = np.arange(30) % 3
    groups = np.arange(30) // 6  # five groups, each of all classes
    drawn = spread(labels, 30, groups)
    assert sorted(groups[drawn]) == list(range(5))
    assert spread(labels, 8, np.arange(30)).tolist() == spread(labels, 8).tolist()
