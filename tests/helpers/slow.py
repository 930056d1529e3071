"""Cases of a test of which the suite runs a part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def first(count: int, cases: Iterable[Any]) -> list[Any]:
    """Return cases for `parametrize`; all but the first ones run with `-m slow` alone. A tuple is several values."""
    kept = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*case, marks=[pytest.mark.slow] * (index >= count)) for index, case in enumerate(kept)]
