"""Metrics as a table has them: a row a number, the method beside its baselines, and what their intervals say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from tf_gradcam.audit.result import Metric
from tf_gradcam.metrics.intervals import Interval

BASELINES = ("random", "centre")


class MetricRow(NamedTuple):
    """A number of the method and of the baselines.

    Attributes:
        name, better, images: of the metric, and how many images it is the mean of.
        method: its value; None where it was measured of the baselines alone.
        baselines: value by name.
        digits: that its numbers are shown with: fewer where they are percentages.
        best: "method", or the baseline with the best mean; "" where two are equal.
        verdict: the method against the baselines, in words.
    """

    name: str
    better: str
    images: int
    method: Interval | None
    baselines: dict[str, Interval]
    digits: int
    best: str
    verdict: str


def metric_rows(metrics: Sequence[Metric]) -> list[MetricRow]:
    """One row for each name, in the order in which they came."""
    rows = []
    for name in dict.fromkeys(metric.name for metric in metrics):
        same = [metric for metric in metrics if metric.name == name]
        own = next((metric.interval for metric in same if metric.method not in BASELINES), None)
        baselines = {metric.method: metric.interval for metric in same if metric.method in BASELINES}
        sign = 1 if same[0].better == "higher" else -1
        values = {
            key: sign * value.value
            for key, value in {"method": own, **baselines}.items()
            if value is not None and math.isfinite(value.value)
        }
        best = [key for key, value in values.items() if value == max(values.values())]
        verdict = "" if own is None or not baselines else _verdict(own, baselines, same[0].better)
        rows.append(
            MetricRow(
                name,
                same[0].better,
                same[0].count,
                own,
                baselines,
                1 if name.endswith("%") else 3,
                best[0] if len(best) == 1 else "",
                verdict,
            )
        )
    return rows


def _verdict(own: Interval, baselines: dict[str, Interval], better: str) -> str:
    """Which baselines the method beats, which it does not differ from, which beat it: by intervals that do not meet."""
    groups: dict[str, list[str]] = {"better than": [], "no different from": [], "worse than": []}
    for name, other in baselines.items():
        if not all(map(math.isfinite, (own.low, own.high, other.low, other.high))):
            continue
        is_above, is_below = own.low > other.high, own.high < other.low
        is_better, is_worse = (is_above, is_below) if better == "higher" else (is_below, is_above)
        groups["better than" if is_better else "worse than" if is_worse else "no different from"].append(name)
    return "; ".join(f"{words} {' and '.join(names)}" for words, names in groups.items() if names)
