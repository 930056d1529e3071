"""The contract of a rule: what it is, what it needs, and where alone it holds.

Axis legend: B batch, H x W cells of the layer (any number of spatial axes), C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeVar

import numpy as np
import tensorflow as tf

Rule = Callable[..., tf.Tensor]
AnyRule = TypeVar("AnyRule", bound=Rule)
Needs = Literal["activations", "gradients", "curvature", "probing", "network"]


class Probe(Protocol):
    """One batch as a probing rule sees it: what the model made of it, and the model to ask again.

    Attributes:
        activations: (B, H, W, C) float32 of the layer.
        images: (B, H0, W0, 3) float32, the model's input.
        scores: (B,) float32, the target's, before the softmax.
        confidences: (B,) float32, the probability of the explained class; the score where the target is a callable.
    """

    activations: np.ndarray
    images: np.ndarray
    scores: np.ndarray
    confidences: np.ndarray

    def score_images(self, owners: np.ndarray, images_of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return (N,) confidences of the whole model in changed images, copies of the images `owners` (N,)."""

    def score_activations(self, owners: np.ndarray, activations_of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return (N,) scores of the tail alone on changed activations, copies of those of the images `owners` (N,)."""


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
