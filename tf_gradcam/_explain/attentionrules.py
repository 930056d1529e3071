"""From attention scores and their gradients to one number per token: rollout, gradient rollout, LeGrad.

Axis legend: B images, N heads, T tokens. Attention scores (B, N, T, T) are those after the softmax: rows look, columns
are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def rollout(scores: Sequence[Any]) -> Any:
    """How much of each token arrives in each: attention, averaged over heads, multiplied from layer to layer.

    Args:
        scores: per layer (B, N, T, T) float32, from the first layer on.

    Returns:
        (B, T, T) float32; rows sum to 1.

    Source: Abnar & Zuidema 2020, section 3, https://arxiv.org/abs/2005.00928. Deviation: none; the residual branch
    counts half, 0.5 A + 0.5 I, rows renormalised.
    """
    identity = tf.eye(scores[0].shape[-1] or tf.shape(scores[0])[-1])
    arrived: Any = identity[None]
    for layer in scores:
        mixed = 0.5 * tf.reduce_mean(layer, axis=1) + 0.5 * identity
        arrived = tf.matmul(mixed / tf.reduce_sum(mixed, axis=-1, keepdims=True), arrived)
    return arrived


def gradient_rollout(scores: Sequence[Any], gradients: Sequence[Any]) -> Any:
    """How much each token adds to each, attention counted where more of it would raise the score.

    Args:
        scores: per layer (B, N, T, T) float32, from the first layer on.
        gradients: of the explained score with respect to them, likewise.

    Returns:
        (B, T, T) float32, R - I: the identity, every token's own part, is left out.

    Source: Chefer et al. 2021, eqs. 5 and 6, https://arxiv.org/abs/2103.15679. Deviation: none for the row of a class
    token, which the identity does not reach.
    """
    identity = tf.eye(scores[0].shape[-1] or tf.shape(scores[0])[-1])
    relevance: Any = identity[None]
    for layer, gradient in zip(scores, gradients, strict=True):
        relevance += tf.matmul(tf.reduce_mean(tf.nn.relu(gradient * layer), axis=1), relevance)
    return relevance - identity


def legrad(gradients: Sequence[Any]) -> Any:
    """How much the score of each layer would rise if a token were looked at more, in the mean over all layers.

    Args:
        gradients: per layer (B, N, T, T) float32, of that layer's own score with respect to its attention scores: the
            score that the model's head gives to the tokens of that layer.

    Returns:
        (B, T) float32, not negative: the mean over layers, heads and rows of relu(gradient).

    Source: Bousselham et al. 2024, section 3, https://arxiv.org/abs/2404.03214. Deviation: the paper's head reads the
    mean of all tokens of a layer, also where the model was trained to read its class token; here it reads what the
    model reads, so that the last layer's score is the model's own. The map is divided by its maximum as every other,
    not stretched from its minimum. Attention that pools the tokens by a query of its own is not followed.
    """
    layers = [tf.reduce_mean(tf.nn.relu(gradient), axis=[1, 2]) for gradient in gradients]
    return tf.add_n(layers) / len(layers)
