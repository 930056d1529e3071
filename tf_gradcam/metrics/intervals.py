"""Confidence intervals: of a mean by the percentile bootstrap, of a share by Wilson. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

_NORMAL_975 = 1.959963984540054  # the 97.5 % quantile of the standard normal distribution
_AT_ONCE = 2**22  # drawn values held at a time: 64 MiB


@dataclass(frozen=True)
class Interval:
    """A mean or a share with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def bootstrap_interval(values: ArrayLike, *, seed: int = 0, resamples: int = 2000) -> Interval:
    """The mean with the interval that holds 95 % of the means of resampled values.

    Args:
        values: any shape, one number an image; NaN (an image about which there is nothing to say) is left out, so count
            with `np.isfinite(values).sum()`.
        seed: of the draws.
        resamples: how often as many values are drawn with replacement, at least 1. Defaults to 2000.

    Returns:
        `Interval`; low and high are NaN for a single value, which says nothing about its spread, all are NaN where
        nothing is left.

    Raises:
        ValueError: `resamples` below 1, an infinite value.

    Source: Efron 1979, https://doi.org/10.1214/aos/1176344552, percentile method. Deviation: none.
    """
    if resamples < 1:
        raise ValueError(f"Expected resamples of at least 1, received {resamples}.")
    known = np.asarray(values, np.float64).ravel()
    known = known[~np.isnan(known)]
    if np.isinf(known).any():
        raise ValueError("Expected finite values or NaN, received infinity.")
    nothing = float("nan")
    if len(known) < 2:
        return Interval(float(known[0]) if len(known) else nothing, nothing, nothing)
    mean = float(known.mean())
    means = _resampled_means(known, np.random.default_rng(seed), resamples)
    low, high = np.percentile(means, [2.5, 97.5])
    # The mean of equal values differs from them by rounding.
    return Interval(mean, min(float(low), mean), max(float(high), mean))


def wilson_interval(successes: int, count: int) -> Interval:
    """Return the share of successes with its 95 % interval.

    It takes the trials as independent: near-identical samples among them make it too narrow.

    Args:
        successes: number of successes, from 0 to `count`.
        count: number of trials, at least 1.

    Returns:
        `Interval` within [0, 1]; the low end for no success is 0, the high end for all is 1.

    Raises:
        ValueError: `count` below 1, or `successes` outside 0..count.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953. Deviation: none.
    """
    if not 0 <= successes <= count or count < 1:
        raise ValueError(
            f"Expected 0 <= successes <= count and count of at least 1, received successes={successes}, count={count}."
        )
    share, z2 = successes / count, _NORMAL_975**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = (z2 * share * (1 - share) / count + (z2 / (2 * count)) ** 2) ** 0.5 / (1 + z2 / count)
    # Exactly 0 and 1, which rounding would miss by 1e-17.
    return Interval(share, middle - half if successes else 0.0, middle + half if successes < count else 1.0)


def _resampled_means(values: np.ndarray, generator: np.random.Generator, resamples: int) -> np.ndarray:
    rows = max(1, _AT_ONCE // len(values))
    parts = []
    for start in range(0, resamples, rows):
        drawn = generator.integers(len(values), size=(min(rows, resamples - start), len(values)))
        parts.append(values[drawn].mean(axis=1))
    return np.concatenate(parts)
