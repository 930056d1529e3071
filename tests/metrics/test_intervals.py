"""Intervals of means, against the theory of means."""

from __future__ import annotations

import numpy as np
import pytest

from tf_gradcam.metrics import intervals as bootstrap
from tf_gradcam.metrics.intervals import bootstrap_interval, wilson_interval


def test_interval_of_many_values_is_that_of_the_normal_distribution() -> None:
    """By the central limit theorem mean +- 1.96 s / sqrt(n); 20000 resamples know its ends to a few per cent."""
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    found = bootstrap_interval(values, seed=1, resamples=20000)
    half = 1.96 * values.std() / np.sqrt(400)
    np.testing.assert_allclose(found.value, values.mean(), rtol=1e-12)
    np.testing.assert_allclose([found.low, found.high], [values.mean() - half, values.mean() + half], atol=0.05 * half)


def test_interval_holds_the_truth_in_about_95_of_100_experiments() -> None:
    """200 experiments of 50 throws of a coin of 0.3: 190 are meant, 3 standard deviations are 9.2."""
    generator = np.random.default_rng(2)
    intervals = [bootstrap_interval(generator.random(50) < 0.3, seed=3) for _ in range(200)]
    assert 175 <= sum(one.low <= 0.3 <= one.high for one in intervals) <= 200


def test_interval_of_two_values_is_their_range() -> None:
    """A quarter of all resamples are (0, 0) and a quarter (1, 1): more than 2.5 % on each side."""
    found = bootstrap_interval([0.0, 1.0])
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_nan_is_left_out() -> None:
    values = np.random.default_rng(0).random(20)
    assert bootstrap_interval([*values, np.nan, np.nan]) == bootstrap_interval(values)


def test_equal_values_have_no_spread() -> None:
    found = bootstrap_interval(np.full(7, 0.1))
    assert found.low <= found.value <= found.high
    np.testing.assert_allclose([found.low, found.value, found.high], 0.1, rtol=1e-12)


def test_one_value_says_nothing_of_its_spread() -> None:
    found = bootstrap_interval([0.25, np.nan])
    assert found.value == 0.25
    assert np.isnan([found.low, found.high]).all()


def test_no_value_at_all_is_nan() -> None:
    for values in ([], [np.nan, np.nan]):
        found = bootstrap_interval(values)
        assert np.isnan([found.value, found.low, found.high]).all()


def test_seed_decides_the_draws() -> None:
    values = np.random.default_rng(0).random(30)
    assert bootstrap_interval(values, seed=4) == bootstrap_interval(values, seed=4)
    assert bootstrap_interval(values, seed=4) != bootstrap_interval(values, seed=5)


def test_draws_do_not_depend_on_how_many_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(30)
    whole = bootstrap_interval(values)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 64)  # two resamples at a time
    assert bootstrap_interval(values) == whole


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="resamples of at least 1"):
        bootstrap_interval([1.0, 2.0], resamples=0)
    with pytest.raises(ValueError, match="received infinity"):
        bootstrap_interval([1.0, np.inf])


def test_wilson_interval_by_the_formula() -> None:
    """Both ends solve (p - 0.9)^2 = 1.96^2 p (1 - p) / 100, Wilson's equation for 90 of 100."""
    z = 1.959963984540054
    found = wilson_interval(90, 100)
    for end in (found.low, found.high):
        assert (end - 0.9) ** 2 == pytest.approx(z**2 * end * (1 - end) / 100, rel=1e-9)
    assert found.value == 0.9
    assert found.low < 0.9 < found.high


@pytest.mark.parametrize(("successes", "expected"), [(0, (0.0, 0.27753)), (10, (0.72247, 1.0))])
def test_wilson_interval_of_none_and_all(successes: int, expected: tuple[float, float]) -> None:
    """For no success the equation is p^2 = z^2 p (1 - p) / n, so p = z^2 / (n + z^2) = 3.84146 / 13.84146."""
    found = wilson_interval(successes, 10)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("successes", "count"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_interval_of_impossible_counts_is_refused(successes: int, count: int) -> None:
    with pytest.raises(ValueError, match=r"0 <= successes <= count.*successes=-?\d, count=\d"):
        wilson_interval(successes, count)
