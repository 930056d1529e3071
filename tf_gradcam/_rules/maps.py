"""From weights to a heatmap: combine, relu, normalise.

Axis legend: B batch, H x W cells of the layer (any number of spatial axes), C channels.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def combine(weights: Any, activations: Any) -> Any:
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


def normalise(raw: Any, readable: Any = True) -> Any:
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


def all_finite(values: Any) -> Any:
    """(B,) bool: whether all values of an image are finite."""
    if not values.dtype.is_floating:
        return tf.ones(tf.shape(values)[:1], tf.bool)
    return tf.reduce_all(tf.math.is_finite(values), axis=list(range(1, len(values.shape))))


def peaks(values: Any) -> Any:
    """(B,) largest absolute value of an image."""
    return tf.reduce_max(tf.abs(values), axis=list(range(1, len(values.shape))))
