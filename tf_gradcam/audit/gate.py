"""Conditions on measured numbers that make a run fail: their grammar, their test and their JUnit file.

shortcut,accuracy<0.95,accuracy.low<0.9,blank>0.01
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from tf_gradcam._errors import unknown_name
from tf_gradcam._files.atomic import write_bytes
from tf_gradcam.metrics.intervals import Interval

_CONDITION = re.compile(r"\s*([A-Za-z_]*)(?:\.([a-z]+))?\s*(?:([<>])\s*(\S+))?\s*")
_PARTS = ("low", "high")  # ends of the 95 % interval
_EXAMPLE = "Write name<number or name>number, separated by commas, such as"


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A number that a condition can name.

    Attributes:
        name: in conditions.
        meaning: in a few words.
        is_fault: True if any of it is a fault, so that the name alone means `name>0`.
        largest: the largest value that it can have: 1 of a share.
    """

    name: str
    meaning: str
    is_fault: bool = False
    largest: float = 1.0


class Condition(NamedTuple):
    """A condition that makes a run fail where it holds.

    Attributes:
        text: as it was written.
        name: of the quantity.
        part: "value" for the point estimate, "low" or "high" for an end of its 95 % interval.
        sign: "<" or ">".
        limit: the number that the quantity is compared with.
    """

    text: str
    name: str
    part: str
    sign: str
    limit: float


def parse_conditions(text: str, known: Sequence[Quantity]) -> list[Condition]:
    """Read conditions such as "shortcut,accuracy<0.95,accuracy.low<0.9".

    The point estimate decides, unless `.low` or `.high` names an end of the 95 % interval. A fault's name alone means
    that there is any.

    Raises:
        ValueError: an unknown name, a limit that is missing, not a number, or never reached, or no condition at all.
    """
    by_name = {quantity.name: quantity for quantity in known}
    return [_condition(part.strip(), by_name) for part in text.split(",")]


def _condition(text: str, known: Mapping[str, Quantity]) -> Condition:
    found = _CONDITION.fullmatch(text)
    example = f"{_EXAMPLE} '{next(iter(known))}<0.5'."
    if not text or found is None:
        raise ValueError(f"Expected a condition, received {text!r}. {example}")
    name, part, sign, number = found.groups()
    if name not in known:
        names = ", ".join(known)
        message = unknown_name("quantity", name, known)
        raise ValueError(message if "Known" in message else f"{message} Known: {names}.")
    if part not in (None, *_PARTS):
        raise ValueError(f"Expected {name}, {name}.low or {name}.high, received {text!r}.")
    quantity = known[name]
    if sign is None:
        if not quantity.is_fault or part:
            raise ValueError(f"Expected a limit, received {text!r}. {_EXAMPLE} '{name}<0.5'.")
        return Condition(text, name, "value", ">", 0.0)
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if not 0 <= limit <= quantity.largest or math.isinf(limit):
        reach = "at least 0" if math.isinf(quantity.largest) else f"from 0 to {quantity.largest:g}"
        raise ValueError(f"Expected a number {reach} after '{name}{sign}' ({quantity.meaning}), received {number!r}.")
    return Condition(text, name, part or "value", sign, limit)


def check_measured(conditions: Sequence[Condition], needs: Mapping[str, str]) -> None:
    """Refuse conditions on what a run does not measure.

    Args:
        conditions: any.
        needs: what each quantity needs and does not have, by name; "" for a quantity that is measured.

    Raises:
        ValueError: a condition on another quantity.
    """
    for condition in conditions:
        if needs[condition.name]:
            measured = ", ".join(name for name, reason in needs.items() if not reason)
            raise ValueError(
                f"Expected conditions on what this run measures ({measured}), received {condition.text!r}, which needs "
                f"{needs[condition.name]}."
            )


def reasons(conditions: Sequence[Condition], values: Mapping[str, Interval]) -> list[str]:
    """Return why each condition holds, "" where it does not; a number that is not known counts as holding."""
    return [_reason(condition, values[condition.name]) for condition in conditions]


def _reason(condition: Condition, measured: Interval) -> str:
    value = getattr(measured, condition.part)
    name = condition.name if condition.part == "value" else f"{condition.name}.{condition.part}"
    if math.isnan(value):
        return f"{condition.text}: {name} is not known"
    if not (value < condition.limit if condition.sign == "<" else value > condition.limit):
        return ""
    has_reach = condition.part == "value" and measured.low < measured.high
    reach = f" ({_number(measured.low)} to {_number(measured.high)})" if has_reach else ""
    return f"{condition.text}: {name} is {_number(value)}{reach}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value == round(value) else f"{value:.4g}"


def write_junit(
    path: str | os.PathLike[str], suite: str, conditions: Sequence[Condition], values: Mapping[str, Interval]
) -> Path:
    """Write a JUnit file in which each condition is a test, failed with its reason; whole or not at all.

    Source: the schema of Jenkins, https://github.com/jenkinsci/xunit-plugin (junit-10.xsd). Deviation: none.
    """
    found = reasons(conditions, values)
    counts = {"tests": str(len(found)), "failures": str(sum(map(bool, found))), "errors": "0", "time": "0"}
    root = ElementTree.Element("testsuites", counts)
    tests = ElementTree.SubElement(root, "testsuite", {"name": suite, **counts, "skipped": "0"})
    for condition, reason in zip(conditions, found, strict=True):
        test = ElementTree.SubElement(tests, "testcase", {"classname": suite, "name": condition.text, "time": "0"})
        if reason:
            failure = ElementTree.SubElement(test, "failure", {"message": reason, "type": "condition"})
            failure.text = reason
    ElementTree.indent(root)
    write_bytes(path, ElementTree.tostring(root, "utf-8", xml_declaration=True) + b"\n")
    return Path(path)
