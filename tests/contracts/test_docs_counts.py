"""The numbers of cases on the page of robustness are those of the tests."""

from __future__ import annotations

import inspect
import re
from types import ModuleType

import pytest

from tests.audit import test_engines_local as engines
from tests.contracts.pages import ROOT, TEXTS
from tests.hardening import test_faults as faults
from tests.hardening import test_images as images
from tests.hardening import test_input as arguments
from tests.hardening import test_properties as properties
from tests.models import test_split_styles as styles

BROWSER = sorted((ROOT / "tests" / "browser").glob("test_*.py"))
(TABLE,) = re.findall(r"^## Hard to break\n(.*?)^## ", TEXTS["docs/robustness.md"], flags=re.S | re.M)


def functions_of(module: ModuleType) -> list[object]:
    return [test for name, test in vars(module).items() if name.startswith("test_") and inspect.isfunction(test)]


def cases_of(test: object) -> int:
    """Return how often a parametrised test runs."""
    (marks,) = [mark.args[1] for mark in test.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    return len(marks)


def of_a_style() -> int:
    return sum("case" in inspect.signature(test).parameters for test in functions_of(styles))


def examples() -> int:
    """Return how many examples Hypothesis tries, at most."""
    given = [test for test in functions_of(properties) if hasattr(test, "hypothesis")]
    return sum(test._hypothesis_internal_use_settings.max_examples for test in given)


COUNTS = {
    "styles of model": (len(styles.STYLES), of_a_style()),
    "wrong arguments": (len(arguments.PYTHON),),
    "wrong commands": (len(arguments.COMMANDS),),
    "images at fault": (len(arguments.IMAGES_AT_FAULT),),
    "files that lie": (len(images.BOMBS),),
    "mutated files": (images.MUTATIONS * len(images.FORMATS),),
    "properties": (len(functions_of(properties)), examples()),
    "`explain` killed": (len(faults.POINTS), len(faults.MORE_POINTS)),
    "`audit` killed": (cases_of(engines.test_run_killed_at_a_point_goes_on_to_the_same_table),),
    "in the browser": (sum(path.read_text(encoding="utf-8").count("\ndef test_") for path in BROWSER),),
}


@pytest.mark.parametrize("what", COUNTS)
def test_count_is_the_count_of_the_tests(what: str) -> None:
    (row,) = [line for line in TABLE.splitlines() if line.startswith("|") and what in line.split("|")[1]]
    stated = [int(number.replace(",", "")) for number in re.findall(r"\b[\d,]*\d\b", row.split("|")[2])]
    assert stated[: len(COUNTS[what])] == list(COUNTS[what])


def test_folders_of_the_table_exist() -> None:
    folders = set(re.findall(r"`(tests/\w+)`", TABLE))
    assert folders
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []
