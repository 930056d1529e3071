"""The program that measures repairs: its table, and each kind of mark once."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.repairs import Outcome, run, table
from tf_gradcam.metrics import Interval
from tf_gradcam.repair import RepairNumbers, RepairResult


def at(value: float) -> Interval:
    return Interval(value, value - 0.05, value + 0.05)


def outcome(pasting: tuple[float, float], accuracy: tuple[float, float]) -> Outcome:
    before, after = (
        RepairNumbers(at(0.1), at(share), at(0.9), at(0.9), False, is_pasted=share > 0.2) for share in pasting
    )
    result = RepairResult("", 1, "cat", before, after, True, "", Path("model.keras"), {})
    return Outcome(result, "", at(accuracy[0]), at(accuracy[1]))


def test_table_counts_what_is_gone_and_where_the_accuracy_fell() -> None:
    """Of two worlds pasting turns 90 % and 70 %, then 10 % and 30 %; the accuracy falls out of its interval in one."""
    worlds = {
        "corner": [outcome((0.9, 0.1), (0.6, 0.8)), outcome((0.7, 0.3), (0.8, 0.7))],
        "clean": [Outcome(None, "refused", at(0.9), at(0.9))],
    }
    head, _, corner, clean = table(worlds).splitlines()
    assert head.count("|") == corner.count("|") == clean.count("|")
    assert corner == "| corner | 2 of 2 | 1 of 2 | 80% | 20% | 0.700 | 0.750 | 1 |"
    assert clean == "| clean | 0 of 1 |  |  |  | 0.900 | 0.900 | 0 |"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["border", "tint", "moving"])
def test_planted_mark_is_gone_and_the_accuracy_has_not_fallen(kind: str, tmp_path: Path) -> None:
    found = run(tmp_path, kind, 0, epochs=30, learning_rate=1e-3, from_layer=None)
    assert found.result is not None, found.refusal
    assert found.result.before.is_pasted
    assert not found.result.after.is_pasted
    assert found.after.value >= found.before.low
