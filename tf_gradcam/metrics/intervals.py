"""Confidence intervals: the percentile bootstrap of a mean, Wilson's interval of a share. NumPy only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

_VALUES_AT_ONCE = 2**22  # drawn values held in memory: 64 MiB
_Z = NormalDist().inv_cdf(0.975)  # standard deviations on each side of 95 %


@dataclass(frozen=True)
class Interval:
    """A mean or a share with its 95 % confidence interval; NaN where it is not known."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def bootstrap_interval(values: ArrayLike, *, seed: int = 0, resamples: int = 2000) -> Interval:
    """Return the mean with the interval that holds 95 % of the means of resampled values.

    Args:
        values: any shape, one number per image. NaN means that the image has no value; it is left out, so count with
            `np.isfinite(values).sum()`.
        seed: of the draws.
        resamples: number of resamples, each drawn with replacement, at least 1. Defaults to 2000.

    Returns:
        `Interval`. `low` and `high` are NaN for a single value; everything is NaN without values.

    Raises:
        ValueError: `resamples` is below 1, or a value is infinite.

    Source: Efron 1979, https://doi.org/10.1214/aos/1176344552, percentile method. Deviation: none.
    """
    if resamples < 1:
        raise ValueError(f"Expected resamples of at least 1, received {resamples}.")
    known = np.asarray(values, np.float64).ravel()
    known = known[~np.isnan(known)]
    if np.isinf(known).any():
        raise ValueError("Expected finite values or NaN, received infinity.")
    if len(known) < 2:
        return Interval(float(known[0]) if len(known) else math.nan, math.nan, math.nan)
    mean = float(known.mean())
    means = _resampled_means(known, np.random.default_rng(seed), resamples)
    low, high = np.percentile(means, [2.5, 97.5])
    # The mean of equal values differs from them by rounding.
    return Interval(mean, min(float(low), mean), max(float(high), mean))


def wilson_interval(hits: int, count: int) -> Interval:
    """Return the share of hits with Wilson's 95 % interval.

    The trials count as independent: near-identical images among them make the interval too narrow.

    Args:
        hits: number of successes, 0 to `count`.
        count: number of trials.

    Returns:
        `Interval` in [0, 1]; NaN without trials.

    Raises:
        ValueError: `hits` is below 0 or above `count`.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953. Deviation: none.
    """
    if not 0 <= hits <= count:
        raise ValueError(f"Expected 0 <= hits <= count, received hits={hits} and count={count}.")
    if not count:
        return Interval(math.nan, math.nan, math.nan)
    share, scale = hits / count, 1 + _Z**2 / count
    middle = (share + _Z**2 / (2 * count)) / scale
    half = _Z / scale * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    # Exactly 0 and 1 at the ends, which rounding would miss by 1e-17.
    return Interval(share, middle - half if hits else 0.0, middle + half if hits < count else 1.0)


def _resampled_means(values: np.ndarray, generator: np.random.Generator, resamples: int) -> np.ndarray:
    rows = max(1, _VALUES_AT_ONCE // len(values))
    parts = []
    for start in range(0, resamples, rows):
        drawn = generator.integers(len(values), size=(min(rows, resamples - start), len(values)))
        parts.append(values[drawn].mean(axis=1))
    return np.concatenate(parts)
