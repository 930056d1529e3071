"""The CAM family as one table: a method is one rule and one word. Command line, manual and tests read it."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Literal, cast

from tf_gradcam._errors import unknown_name
from tf_gradcam._rules.contract import Rule as Rule
from tf_gradcam._rules.eigen import eigencam, eigengradcam
from tf_gradcam._rules.gradients import (
    cam,
    fem,
    fullgrad,
    gradcam,
    gradcam_elementwise,
    gradcam_pp,
    hirescam,
    layercam,
    random,
    shapleycam,
    xgradcam,
)
from tf_gradcam._rules.probing import ablationcam, faster_scorecam, iscam, scorecam, sscam

_FAMILY: tuple[Rule, ...] = (
    gradcam,
    gradcam_pp,
    xgradcam,
    hirescam,
    gradcam_elementwise,
    layercam,
    shapleycam,
    cam,
    eigencam,
    eigengradcam,
    fem,
    scorecam,
    faster_scorecam,
    sscam,
    iscam,
    ablationcam,
    fullgrad,
    random,
)
MethodName = Literal[
    "gradcam",
    "gradcam_pp",
    "xgradcam",
    "hirescam",
    "gradcam_elementwise",
    "layercam",
    "shapleycam",
    "cam",
    "eigencam",
    "eigengradcam",
    "fem",
    "scorecam",
    "faster_scorecam",
    "sscam",
    "iscam",
    "ablationcam",
    "fullgrad",
    "random",
]
METHODS: dict[MethodName, Rule] = {cast(MethodName, rule.__name__): rule for rule in _FAMILY}


@dataclass(frozen=True)
class MethodInfo:
    """What the docstring of a rule says about it; "" for what it does not say.

    Attributes:
        name: key of `METHODS`, or the name of the callable.
        summary: what the rule does, one line.
        cost: in forward and backward passes.
        source: author, year, equation and address.
    """

    name: str
    summary: str
    cost: str
    source: str


def find_method(method: str | Rule) -> tuple[str, Rule]:
    """Name and rule for a key of `METHODS` or a callable of the same contract.

    Raises:
        ValueError: no such name.
        TypeError: neither a name nor a callable.
    """
    if callable(method):
        plain = getattr(method, "func", method)  # of a functools.partial
        return getattr(plain, "__name__", type(method).__name__), method
    if not isinstance(method, str):
        raise TypeError(f"Expected method as a name or a callable, received {type(method).__name__}.")
    if method not in METHODS:
        raise ValueError(unknown_name("method", method, METHODS))
    return method, METHODS[method]


def needs_of(rule: Rule) -> str:
    """What a rule needs; "gradients" where it says nothing. A `functools.partial` needs what its function needs."""
    needs: str | None = getattr(rule, "needs", None) or getattr(getattr(rule, "func", None), "needs", None)
    return needs or "gradients"


def required_tail(rule: Rule) -> str | None:
    """The only kind of tail that a rule holds for, None for any."""
    return getattr(rule, "requires", None) or getattr(getattr(rule, "func", None), "requires", None)


def describe(method: str | Rule) -> MethodInfo:
    """Read what a method does, costs and comes from off its docstring.

    Args:
        method: a key of `METHODS`, or a callable.

    Raises:
        ValueError, TypeError: as `find_method`.
    """
    name, rule = find_method(method)
    text = inspect.getdoc(getattr(rule, "func", rule)) or ""
    return MethodInfo(name, text.partition("\n")[0], _said(text, "Cost"), _said(text, "Source"))


def _said(text: str, heading: str) -> str:
    """What follows "heading:" up to the next heading or blank line, as one line without its full stop."""
    found = re.search(rf"^{heading}: (.+?)(?=\s+Deviation: |\n[A-Z][a-z]+: |\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    return " ".join(found[1].split()).removesuffix(".") if found else ""
