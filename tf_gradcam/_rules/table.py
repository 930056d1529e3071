"""The table of the CAM family: rules by name, for the command line, the manual and the tests."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Literal, get_args

from tf_gradcam._errors import unknown_name
from tf_gradcam._rules import eigen, gradients, probing
from tf_gradcam._rules.contract import Rule as Rule

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
_RULES = {**vars(eigen), **vars(gradients), **vars(probing)}
METHODS: dict[MethodName, Rule] = {name: _RULES[name] for name in get_args(MethodName)}


@dataclass(frozen=True)
class MethodInfo:
    """The description of a rule, from its docstring; "" for a missing part.

    Attributes:
        name: key of `METHODS`, or the name of the callable.
        summary: first line of the docstring.
        cost: in forward and backward passes.
        source: author, year, equation and address.
    """

    name: str
    summary: str
    cost: str
    source: str


def find_method(method: str | Rule) -> tuple[str, Rule]:
    """Return name and rule for a key of `METHODS` or a callable of the same contract.

    Raises:
        ValueError: an unknown name.
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
    """Return the declared needs of a rule, "gradients" by default; a `functools.partial` has its function's needs."""
    needs: str | None = getattr(rule, "needs", None) or getattr(getattr(rule, "func", None), "needs", None)
    return needs or "gradients"


def required_tail(rule: Rule) -> str | None:
    """Return the only kind of tail that a rule is valid for, None for any."""
    return getattr(rule, "requires", None) or getattr(getattr(rule, "func", None), "requires", None)


def describe(method: str | Rule) -> MethodInfo:
    """Read the summary, cost and source of a method from its docstring.

    Args:
        method: a key of `METHODS`, or a callable.

    Raises:
        ValueError, TypeError: as `find_method`.
    """
    name, rule = find_method(method)
    text = inspect.getdoc(getattr(rule, "func", rule)) or ""
    return MethodInfo(name, text.partition("\n")[0], _field(text, "Cost"), _field(text, "Source"))


def _field(text: str, heading: str) -> str:
    """Return the text after "heading:", up to the next heading or blank line, on one line without its full stop."""
    match = re.search(rf"^{heading}: (.+?)(?=\s+Deviation: |\n[A-Z][a-z]+: |\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    return " ".join(match[1].split()).removesuffix(".") if match else ""
