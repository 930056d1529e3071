"""Precision, recall, average precision and errors, by hand and by scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from tf_gradcam.audit.scores import average_precision, error_score, label_scores
from tf_gradcam.metrics.intervals import wilson_interval

NAN = np.nan


def test_average_precision_by_hand() -> None:
    """In order of the scores: hit, miss, hit, hit. Recall grows by a third at precisions 1, 2/3 and 3/4."""
    scores, truth = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, True])
    assert average_precision(scores, truth)[0] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_equal_scores_are_one_step() -> None:
    """Two at 0.5, one of them a hit: recall grows from 1/2 to 1 at the precision 2/3, whatever their order."""
    for truth in ([True, True, False], [True, False, True]):
        found = average_precision(np.array([0.9, 0.5, 0.5]), np.array(truth))
        assert found[0] == pytest.approx(1 / 2 + 2 / 3 / 2)


def test_average_precision_is_that_of_its_twin() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    for count in (2, 5, 40, 300):
        scores = np.round(generator.random(count), 1 if count % 2 else 6)
        truth = generator.random(count) < 0.3
        truth[0] = True
        weights = generator.integers(0, 4, (3, count))
        weights[:, 0] += 1
        assert average_precision(scores, truth)[0] == pytest.approx(metrics.average_precision_score(truth, scores))
        for found, weight in zip(average_precision(scores, truth, weights), weights, strict=True):
            assert found == pytest.approx(metrics.average_precision_score(truth, scores, sample_weight=weight))


def test_average_precision_without_a_true_image_is_unknown() -> None:
    assert np.isnan(average_precision(np.array([0.5, 0.2]), np.array([False, False]))).all()
    assert np.isnan(average_precision(np.zeros(0), np.zeros(0, bool))).all()


PROBABILITIES = np.array([[0.9, 0.4], [0.8, 0.6], [0.3, 0.2], [0.6, 0.7], [0.1, 0.9]])
TRUTH = np.array([[1, 1], [0, 1], [1, 0], [1, NAN], [0, NAN]])


def test_scores_of_labels_by_hand() -> None:
    """Label a above 0.5 in the images 0, 1, 3, rightly in two, of three; b above 0.5 in image 1 of those known, of two.

    a: sorted hit, miss, hit, hit, miss: (1 + 2/3 + 3/4) / 3. b: sorted hit, hit, miss: 1.
    """
    first, second, mean, together = label_scores(PROBABILITIES, TRUTH, np.array([0.5, 0.5]), ["a", "b"])
    assert (first.label, first.count, first.above, first.threshold) == ("a", 3, 3, 0.5)
    assert (first.precision, first.recall) == (wilson_interval(2, 3), wilson_interval(2, 3))
    assert first.average_precision.value == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert (second.count, second.above) == (2, 1)
    assert (second.precision, second.recall) == (wilson_interval(1, 1), wilson_interval(1, 2))
    assert second.average_precision.value == 1
    assert mean.precision.value == pytest.approx((2 / 3 + 1) / 2)
    assert mean.recall.value == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert mean.average_precision.value == pytest.approx(((1 + 2 / 3 + 3 / 4) / 3 + 1) / 2)
    assert together.precision.value == pytest.approx(3 / 4)
    assert together.recall.value == pytest.approx(3 / 5)


def test_all_labels_together_rank_every_pair() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    together = label_scores(PROBABILITIES, TRUTH, np.array([0.5, 0.5]), ["a", "b"])[-1]
    known = np.isfinite(TRUTH)
    expected = metrics.average_precision_score(TRUTH[known], PROBABILITIES[known])
    assert together.average_precision.value == pytest.approx(expected)


def test_each_label_has_its_threshold() -> None:
    first, second, *_ = label_scores(PROBABILITIES, TRUTH, np.array([0.85, 0.1]), ["a", "b"])
    assert (first.above, second.above) == (1, 3)
    assert second.precision == wilson_interval(2, 3)


def test_label_that_no_image_has_is_left_out_of_the_mean() -> None:
    truth = np.array([[1, 0], [0, 0], [1, 0]])
    _, none, mean, _ = label_scores(PROBABILITIES[:3], truth, np.array([0.5, 0.5]), ["a", "b"])
    assert np.isnan([none.recall.value, none.average_precision.value]).all()
    assert none.precision.value == 0
    assert mean.average_precision.value == pytest.approx((1 + 2 / 3) / 2)


def test_intervals_cover_the_value_and_shrink_with_more_images() -> None:
    """Four times as many images of the same kind: half the width."""
    generator = np.random.default_rng(1)

    def width(count: int) -> float:
        truth = (generator.random((count, 2)) < 0.4).astype(float)
        found = label_scores(
            np.clip(0.3 * truth + generator.normal(0.4, 0.2, truth.shape), 0, 1), truth, np.full(2, 0.5), ["a", "b"]
        )
        for score in found:
            for interval in (score.precision, score.recall, score.average_precision):
                assert interval.low <= interval.value <= interval.high
        return found[0].average_precision.high - found[0].average_precision.low

    assert 1.4 < width(400) / width(1600) < 2.8


@pytest.mark.slow
def test_interval_holds_the_true_average_precision_in_most_draws() -> None:
    """95 % of the intervals of 60 samples should hold the average precision of the whole population."""
    generator = np.random.default_rng(2)
    truth = (generator.random(20000) < 0.4).astype(float)
    scores = 0.25 * truth + generator.random(20000)
    whole = average_precision(scores, truth == 1)[0]
    hits = 0
    for _ in range(60):
        at = generator.integers(20000, size=250)
        found = label_scores(scores[at, None], truth[at, None], np.array([0.5]), ["a"])[0].average_precision
        hits += found.low <= whole <= found.high
    assert hits >= 51  # 57 expected; fewer than 51 has a probability of 0.002


# Values.


def test_errors_by_hand() -> None:
    """Errors 1, -2, 0, 5: their mean is 1, their absolute mean 2; the truth is 1, 1, 3 and 3 from its mean."""
    truth = np.array([3.0, 5.0, 7.0, 1.0])
    found = error_score(truth + np.array([1, -2, 0, 5]), truth)
    assert (found.count, found.error.value, found.bias.value) == (4, 2, 1)
    assert found.baseline.value == pytest.approx((1 + 1 + 3 + 3) / 4)
    assert found.error.low <= 2 <= found.error.high
    (one,) = found.bins
    assert (one.low, one.high, one.count, one.truth, one.predicted.value, one.bias.value) == (1, 7, 4, 4, 5, 1)


def test_bins_are_of_equal_size_and_in_order() -> None:
    truth = np.random.default_rng(0).permutation(60).astype(float)
    found = error_score(2 * truth, truth)
    assert [one.count for one in found.bins] == [10] * 6
    assert [(one.low, one.high) for one in found.bins] == [(10 * n, 10 * n + 9) for n in range(6)]
    np.testing.assert_allclose([one.bias.value for one in found.bins], [10 * n + 4.5 for n in range(6)])


def test_equal_values_stay_in_one_bin() -> None:
    found = error_score(np.ones(40), np.repeat([2.0, 3.0], 20))
    assert [(one.low, one.high, one.count) for one in found.bins] == [(2, 2, 20), (3, 3, 20)]


def test_one_value_has_no_interval() -> None:
    found = error_score(np.array([3.0]), np.array([1.0]))
    assert (found.error.value, found.baseline.value) == (2, 0)
    assert np.isnan(found.error.low)
