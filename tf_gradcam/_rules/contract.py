"""The contract of a rule, and the steps from its weights to a heatmap.

Axis legend: B batch, H x W cells of the layer (any number of spatial axes), C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeVar

import numpy as np
import tensorflow as tf


def combine(weights: tf.Tensor, activations: tf.Tensor) -> tf.Tensor:
    """The map before relu: sum over channels of weights times activations.

    Args:
        weights: (B, H, W, C) float32, or 1 in place of H and W where a channel has one weight; or the map, (B, H, W).
        activations: (B, H, W, C) float32, any number of spatial axes.

    Returns:
        (B, H, W) float32.

    Raises:
        ValueError: weights of another rank, or no tensor.
    """
    rank = activations.shape.rank
    if not tf.is_tensor(weights):
        raise ValueError(
            f"Expected a method to return a tensor of weights of shape {tuple(activations.shape)}, or the map "
            f"(B, H, W), received {type(weights).__name__}."
        )
    if weights.shape.rank == rank - 1 and weights.shape.is_compatible_with(activations.shape[:-1]):
        return weights  # a rule that is no weighted sum gives the map itself
    if weights.shape.rank != rank:
        raise ValueError(
            f"Expected a method to return weights of shape {tuple(activations.shape)}, 1 in place of H and W "
            f"where a channel has one weight, or the map (B, H, W); received {tuple(weights.shape)}."
        )
    if all(side == 1 for side in weights.shape[1:-1]):
        # One weight per channel is a matrix product, which saves a product the size of the activations.
        shape = tf.shape(activations)
        cells = tf.reshape(activations, [shape[0], -1, shape[-1]])
        flat = tf.linalg.matmul(cells, tf.reshape(weights, [shape[0], shape[-1], 1]))
        return tf.reshape(flat, shape[:-1])
    return tf.reduce_sum(weights * activations, axis=-1)


def normalise(raw: tf.Tensor, readable: tf.Tensor | bool = True) -> tf.Tensor:
    """relu, then each image's map divided by its maximum; a map without a positive finite maximum is zero.

    Args:
        raw: (B, H, W) float32.
        readable: (B,) bool, False for an image that is not finite itself: its map is zero, whatever the model makes
            of it.

    Returns:
        (B, H, W) float32 in [0, 1].
    """
    positive = tf.nn.relu(raw)
    peak = tf.reduce_max(positive, axis=list(range(1, len(raw.shape))), keepdims=True)
    good = tf.reshape(all_finite(raw) & readable, tf.shape(peak)) & (peak > 0.0)
    return tf.where(good, positive / tf.where(good, peak, 1.0), 0.0)


def all_finite(values: tf.Tensor) -> tf.Tensor:
    """(B,) bool: whether all values of an image are finite."""
    if not values.dtype.is_floating:
        return tf.ones(tf.shape(values)[:1], tf.bool)
    return tf.reduce_all(tf.math.is_finite(values), axis=list(range(1, len(values.shape))))


def peaks(values: tf.Tensor) -> tf.Tensor:
    """(B,) largest absolute value of an image."""
    return tf.reduce_max(tf.abs(values), axis=list(range(1, len(values.shape))))


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


def needs_of(rule: Rule) -> str:
    """What a rule needs; "gradients" where it says nothing. A `functools.partial` needs what its function needs."""
    needs: str | None = getattr(rule, "needs", None) or getattr(getattr(rule, "func", None), "needs", None)
    return needs or "gradients"


def required_tail(rule: Rule) -> str | None:
    """The only kind of tail that a rule holds for, None for any."""
    return getattr(rule, "requires", None) or getattr(getattr(rule, "func", None), "requires", None)


def spatial_axes(tensor: tf.Tensor) -> list[int]:
    """All axes but the first (images) and the last (channels)."""
    return list(range(1, len(tensor.shape) - 1))
