"""Cases of a test of which the suite runs a part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def every(step: int, cases: Iterable[Any]) -> list[Any]:
    """Return cases for `parametrize`; all but every `step`-th one, from the first on, run with `-m slow` alone."""
    return [
        pytest.param(*values(case), marks=[pytest.mark.slow] * bool(index % step)) for index, case in enumerate(cases)
    ]


def first(count: int, cases: Iterable[Any]) -> list[Any]:
    """Return cases for `parametrize`; all but the first ones run with `-m slow` alone. A tuple is several values."""
    return [
        pytest.param(*values(case), marks=[pytest.mark.slow] * (index >= count)) for index, case in enumerate(cases)
    ]


def values(case: Any) -> tuple[Any, ...]:
    """Return the values of a case."""
    return case if isinstance(case, tuple) else (case,)
