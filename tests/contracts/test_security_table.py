"""The table in SECURITY.md names tests that exist, in whatever file they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SECURITY = (TESTS.parent / "SECURITY.md").read_text(encoding="utf-8")
ROWS = [line for line in SECURITY.splitlines() if line.startswith("|")][2:]
NAMED = sorted(set(re.findall(r"`(test_\w+)`", SECURITY)))


@pytest.fixture(scope="module")
def defined_tests() -> set[str]:
    sources = (path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    return {name for source in sources for name in re.findall(r"^def (test_\w+)\(", source, flags=re.M)}


@pytest.mark.parametrize("name", NAMED)
def test_security_table_names_tests_that_exist(name: str, defined_tests: set[str]) -> None:
    assert name in defined_tests


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_security_table_shows_each_row_by_a_test(row: str) -> None:
    attack, defence, tests = row.strip("|").split("|")
    assert attack.strip()
    assert defence.strip()
    assert re.search(r"`test_\w+`", tests)
