"""The contract of a rule: its type, its needs, and the kind of tail that it requires.

Axis legend: B batch, H x W cells of the layer (any number of spatial axes), C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeVar

import numpy as np
import tensorflow as tf

from tf_gradcam.image.resize import Placement, Unplaced

Rule = Callable[..., tf.Tensor]
AnyRule = TypeVar("AnyRule", bound=Rule)
Needs = Literal["activations", "gradients", "curvature", "probing", "network"]


class Probe(Protocol):
    """A batch for a probing rule: its activations and scores, and the model to run on changed copies.

    Attributes:
        activations: (B, H, W, C) float32 of the layer.
        images: (B, H0, W0, 3) float32, the model's input.
        placement: of the cells in the images.
        scores: (B,) float32, of the target, before the softmax.
        confidences: (B,) float32, the probability of the explained class; the score if the target is a callable.
    """

    activations: np.ndarray
    images: np.ndarray
    placement: Placement | Unplaced
    scores: np.ndarray
    confidences: np.ndarray

    def score_images(self, owners: np.ndarray, images_of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return confidences (N,) of the whole model on changed copies of the images `owners` (N,)."""

    def score_activations(self, owners: np.ndarray, activations_of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return scores (N,) of the tail alone on changed copies of the activations of the images `owners` (N,)."""


def declares(*, needs: Needs = "gradients", requires: str | None = None) -> Callable[[AnyRule], AnyRule]:
    """Declare the needs of a rule and the tail that it requires.

    Args:
        needs: "gradients", as without this decorator; "activations" for a rule that ignores the gradients, which may
            then be None; "curvature" for a third argument, the product of the score's Hessian with the activations,
            (B, H, W, C) float32; "probing" for a rule that runs the model again, called with a probe; "network" for a
            rule called with the contributions of every layer.
        requires: the only kind of tail that the rule is valid for, None for any.
    """

    def mark(rule: AnyRule) -> AnyRule:
        vars(rule).update(needs=needs, requires=requires)
        return rule

    return mark
