"""What a rule of the CAM family is, and what it may declare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

Rule = Callable[..., Any]
AnyRule = TypeVar("AnyRule", bound=Rule)
Needs = Literal["activations", "gradients", "curvature", "probing", "network"]


def declares(*, needs: Needs = "gradients", requires: str | None = None) -> Callable[[AnyRule], AnyRule]:
    """Write onto a rule what it needs and where alone it holds.

    Args:
        needs: "activations" for a rule that never looks at the gradients, which may then be None; "gradients", what a
            rule without this decorator needs; "curvature" for one whose third argument is the product of the score's
            Hessian with the activations, (B, H, W, C) float32; "probing" for one that runs the model again and is
            called with a probe instead; "network" for one of the contributions of every layer.
        requires: the only kind of tail that the rule holds for, None for any.
    """

    def mark(rule: AnyRule) -> AnyRule:
        vars(rule).update(needs=needs, requires=requires)
        return rule

    return mark


def needs_of(rule: Rule) -> str:
    """What a rule needs; "gradients" where it says nothing. A `functools.partial` needs what its function needs."""
    needs: str | None = getattr(rule, "needs", None) or getattr(getattr(rule, "func", None), "needs", None)
    return needs or "gradients"


def required_tail(rule: Rule) -> str | None:
    """The only kind of tail that a rule holds for, None for any."""
    return getattr(rule, "requires", None) or getattr(getattr(rule, "func", None), "requires", None)


def spatial_axes(tensor: Any) -> list[int]:
    """All axes but the first (images) and the last (channels)."""
    return list(range(1, len(tensor.shape) - 1))
