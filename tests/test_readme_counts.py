"""The numbers of cases that the README tells are those of the tests."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from tests.audit import test_engines_local as test_localengine
from tests.browser import test_page as test_app_browser
from tests.hardening import test_faults as test_hard_faults
from tests.hardening import test_images as test_hard_images
from tests.hardening import test_input as test_hard_input
from tests.hardening import test_properties as test_hard_properties
from tests.models import test_split_styles
from tests.zoo.styles import STYLES

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
(TABLE,) = re.findall(r"^## Hard to break\n(.*?)^## ", README, flags=re.S | re.M)


def functions_of(module: object) -> list[object]:
    return [test for name, test in vars(module).items() if name.startswith("test_") and inspect.isfunction(test)]


def cases_of(test: object) -> int:
    """How often a test is run."""
    (marks,) = [mark.args[1] for mark in test.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    return len(marks)


def of_a_style() -> int:
    return sum("case" in inspect.signature(test).parameters for test in functions_of(test_split_styles))


def examples() -> int:
    """Of Hypothesis, at most."""
    given = [test for test in functions_of(test_hard_properties) if hasattr(test, "hypothesis")]
    return sum(test._hypothesis_internal_use_settings.max_examples for test in given)


COUNTS = {
    "styles of model": (len(STYLES), of_a_style()),
    "wrong arguments": (len(test_hard_input.PYTHON),),
    "wrong commands": (len(test_hard_input.COMMANDS),),
    "images at fault": (len(test_hard_input.IMAGES_AT_FAULT),),
    "files that lie": (len(test_hard_images.BOMBS),),
    "mutated files": (test_hard_images.MUTATIONS * len(test_hard_images.FORMATS),),
    "properties": (len(functions_of(test_hard_properties)), examples()),
    "`explain` killed": (len(test_hard_faults.POINTS), len(test_hard_faults.MORE_POINTS)),
    "`audit` killed": (cases_of(test_localengine.test_run_killed_at_a_point_goes_on_to_the_same_table),),
    "in the browser": (len(functions_of(test_app_browser)),),
}


@pytest.mark.parametrize("what", COUNTS)
def test_count_is_that_of_the_tests(what: str) -> None:
    (row,) = [line for line in TABLE.splitlines() if line.startswith("|") and what in line.split("|")[1]]
    told = [int(number.replace(",", "")) for number in re.findall(r"\b[\d,]*\d\b", row.split("|")[2])]
    assert told[: len(COUNTS[what])] == list(COUNTS[what])


def test_programs_of_the_table_exist() -> None:
    for name in re.findall(r"tests/\w+\.py", TABLE):
        assert (Path(__file__).parents[1] / name).is_file()
