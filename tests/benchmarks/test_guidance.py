"""The benchmark of guided training measures each loss; no test depends on how long anything takes."""

from __future__ import annotations

import pytest

from benchmarks import guidance


def test_guidance_prints_a_row_for_each_loss(capsys: pytest.CaptureFixture[str]) -> None:
    guidance.main(["--network", "MobileNet", "--size", "32", "--batch", "2", "--rounds", "1"])
    rows = [line.split("|")[1].strip(" `") for line in capsys.readouterr().out.splitlines() if line.startswith("| `")]
    assert rows == list(guidance.LOSSES)
