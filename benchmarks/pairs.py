"""Timing in turn, A B A B: a shared machine slows down all contestants of a round alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Call = Callable[[], Any]

LEAST_ROUNDS = 3  # below which quartiles say nothing
# TensorFlow and its allocator settle within a few calls: that matters where a call is short, and costs nothing there.
WARM_UP_CALLS, WARM_UP_SECONDS = 4, 1.0


@dataclass(frozen=True)
class Spread:
    """A median with quartiles, linear between neighbours."""

    lower: float
    median: float
    upper: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        return cls(*(float(value) for value in np.percentile(list(values), [25, 50, 75])))

    def scaled(self, factor: float) -> Spread:
        return Spread(self.lower * factor, self.median * factor, self.upper * factor)

    def __str__(self) -> str:
        return f"{_short(self.median)} ({_short(self.lower)} to {_short(self.upper)})"


@dataclass(frozen=True)
class Timing:
    """The times of a contestant: `seconds` of a call, `ratio` to the reference of the same round."""

    seconds: Spread
    ratio: Spread


@dataclass(frozen=True)
class Pairs:
    """The results of a comparison.

    Attributes:
        rounds: how many there were time for.
        timings: by contestant, the reference first.
        failures: by contestant, one line on why it has no timing.
    """

    rounds: int
    timings: dict[str, Timing] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def compare(
    makers: Mapping[str, Callable[[], Call]],
    rounds: int,
    *,
    seconds: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> Pairs:
    """Build every contestant, warm it up, and time the rounds.

    Args:
        makers: by name, what builds a contestant; the first is the reference.
        rounds: how many at most, at least 1.
        seconds: no further round is begun after these, once there are `LEAST_ROUNDS`.
        clock: seconds now.

    Returns:
        `Pairs`. A contestant that cannot be built, or whose first call fails, is listed among its failures.

    Raises:
        ValueError: no round.
        Exception: whatever the reference raises; there is nothing to compare with then.
    """
    ready: dict[str, Call] = {}
    failures: dict[str, str] = {}
    for name, make in makers.items():
        try:
            call = make()
            warm_up(call, clock)
        except Exception as error:  # of a foreign library: it may be anything
            if not ready and not failures:
                raise
            failures[name] = one_line(error)
        else:
            ready[name] = call
    times = timed_rounds(ready, rounds, seconds=seconds, clock=clock)
    timings = {name: Timing(Spread.of(column), Spread.of(_ratios(times, name))) for name, column in times.items()}
    return Pairs(len(next(iter(times.values()))), timings, failures)


def warm_up(call: Call, clock: Callable[[], float] = time.perf_counter) -> None:
    """Call once, which compiles, and some more times if the call is short."""
    begun = clock()
    for _ in range(WARM_UP_CALLS):
        call()
        if clock() - begun >= WARM_UP_SECONDS:
            break


def timed_rounds(
    calls: Mapping[str, Call],
    rounds: int,
    *,
    seconds: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Return the seconds of each call in each round; rounds begin with different calls."""
    if rounds < 1:
        raise ValueError(f"Expected at least one round, received {rounds}. Raise it.")
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    begun = clock()
    for number in range(rounds):
        if number >= LEAST_ROUNDS and clock() - begun >= seconds:
            break
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            started = clock()
            calls[name]()
            times[name].append(clock() - started)
    return times


def once(call: Call, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the seconds of one call, for a call that is too long to be repeated."""
    started = clock()
    call()
    return clock() - started


def one_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."


def _ratios(times: Mapping[str, list[float]], name: str) -> list[float]:
    reference = next(iter(times.values()))
    return [own / other for own, other in zip(times[name], reference, strict=True)]


def _short(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
