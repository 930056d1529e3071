"""Conditions that make a run fail: what they mean, when they hold, and the JUnit file."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tf_gradcam.audit.gate import Condition, Quantity, check_measured, parse_conditions, reasons, write_junit
from tf_gradcam.metrics.intervals import Interval

KNOWN = [
    Quantity(name="flips", meaning="number of flips", is_fault=True, largest=math.inf),
    Quantity(name="blank", meaning="share of blank maps", is_fault=True),
    Quantity(name="accuracy", meaning="share of right answers"),
]
VALUES = {
    "flips": Interval(2, 2, 2),
    "blank": Interval(0, 0, 0.1),
    "accuracy": Interval(0.9, 0.85, 0.94),
}


def held(text: str, values: dict[str, Interval] = VALUES) -> list[str]:
    return [reason for reason in reasons(parse_conditions(text, KNOWN), values) if reason]


def test_conditions_are_read_in_their_order_with_spaces_around() -> None:
    assert parse_conditions("flips, accuracy.low < 0.9 ,blank>1e-2", KNOWN) == [
        Condition("flips", "flips", "value", ">", 0),
        Condition("accuracy.low < 0.9", "accuracy", "low", "<", 0.9),
        Condition("blank>1e-2", "blank", "value", ">", 0.01),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expected a condition, received ''"),
        ("flips,", "Expected a condition, received ''"),
        ("accuracy<=0.9", "received '=0.9'"),
        ("accuracy=0.9", "Expected a condition, received 'accuracy=0.9'"),
        ("accuracy<", "Expected a condition, received 'accuracy<'"),
        ("acuracy<0.9", "Unknown quantity 'acuracy'. Did you mean 'accuracy'.*Known: flips, blank, accuracy"),
        ("zz<0.9", "Unknown quantity 'zz'. Known: 'flips', 'blank', 'accuracy'"),
        ("accuracy.mean<0.9", "Expected accuracy, accuracy.low or accuracy.high"),
        ("accuracy", "Expected a limit, received 'accuracy'"),
        ("flips.low", "Expected a limit, received 'flips.low'"),
        ("accuracy<95", "Expected a number from 0 to 1 after 'accuracy<'"),
        ("accuracy<95%", "received '95%'"),
        ("accuracy<nan", "received 'nan'"),
        ("flips>inf", "Expected a number at least 0 after 'flips>'"),
        ("flips>-1", "received '-1'"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_conditions(text, KNOWN)


@pytest.mark.parametrize("text", ["blank", "blank>0", "accuracy<0.9", "accuracy>0.9", "accuracy.low<0.85", "flips>2"])
def test_a_number_at_its_limit_passes(text: str) -> None:
    assert held(text) == []


def test_point_estimate_decides_unless_an_end_is_named() -> None:
    assert held("accuracy<0.88,accuracy.low<0.88,accuracy.high>0.93") == [
        "accuracy.low<0.88: accuracy.low is 0.85",
        "accuracy.high>0.93: accuracy.high is 0.94",
    ]


def test_reason_has_the_number_and_its_interval() -> None:
    assert held("accuracy<0.95,flips") == [
        "accuracy<0.95: accuracy is 0.9 (0.85 to 0.94)",
        "flips: flips is 2",
    ]


def test_unknown_number_fails() -> None:
    assert held("accuracy<0.1", {"accuracy": Interval(math.nan, math.nan, math.nan)}) == [
        "accuracy<0.1: accuracy is not known"
    ]


def test_what_is_not_measured_is_refused_with_what_it_needs() -> None:
    conditions = parse_conditions("flips,accuracy<0.9", KNOWN)
    check_measured(conditions, {"flips": "", "accuracy": "", "blank": "maps"})
    with pytest.raises(ValueError, match=r"measures \(flips, blank\), received 'accuracy<0.9', which needs labels\."):
        check_measured(conditions, {"flips": "", "blank": "", "accuracy": "labels"})


# Of junit-10.xsd of Jenkins: the attributes of each element (True if required), and its children.
SCHEMA = {
    "testsuites": ({"name": False, "time": False, "tests": False, "failures": False, "errors": False}, {"testsuite"}),
    "testsuite": (
        {"name": True, "tests": True, "failures": True, "errors": True, "skipped": False, "time": False},
        {"testcase"},
    ),
    "testcase": ({"name": True, "classname": False, "time": False}, {"failure"}),
    "failure": ({"message": False, "type": False}, set()),
}


def test_junit_file_follows_the_schema_and_counts_its_failures(tmp_path: Path) -> None:
    conditions = parse_conditions("flips,blank,accuracy<0.95", KNOWN)
    root = ElementTree.parse(write_junit(tmp_path / "gate.xml", "a gate", conditions, VALUES)).getroot()
    for element in root.iter():
        attributes, children = SCHEMA[element.tag]
        assert set(element.attrib) <= set(attributes)
        assert {name for name, is_required in attributes.items() if is_required} <= set(element.attrib)
        assert {child.tag for child in element} <= children
    (suite,) = root
    counts = {"tests": "3", "failures": "2", "errors": "0", "skipped": "0", "time": "0"}
    assert suite.attrib == {"name": "a gate", **counts}
    failures = {case.attrib["name"]: [one.attrib["message"] for one in case] for case in suite}
    assert failures == {
        "flips": ["flips: flips is 2"],
        "blank": [],
        "accuracy<0.95": ["accuracy<0.95: accuracy is 0.9 (0.85 to 0.94)"],
    }
