"""Weight rules of the CAM family: what each activation counts for the score.

Axis legend: B batch, H x W cells of the layer (any number of spatial axes), C channels. A rule is one pure function
`(activations, gradients) -> weights` of float32 tensors (B, H, W, C); its weights broadcast to the activations, and the map
is relu(sum_k weights_k * activations_k). `METHODS` is the family; the command line, the README and the tests read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_gradcam.names import unknown_name

Rule = Callable[[Any, Any], Any]


def gradcam(activations: Any, gradients: Any) -> Any:
    """Each channel counts by its mean gradient over the cells.

    Args:
        activations: (B, H, W, C) float32, unused: the rule looks at gradients alone.
        gradients: (B, H, W, C) float32, of the score before the softmax.

    Returns:
        (B, 1, 1, C) float32.

    Source: Selvaraju et al. 2017, eq. 1, https://arxiv.org/abs/1610.02391. Deviation: none; per image, never pooled over
    the batch.
    Cost: 1 forward pass and the tail's backward pass.
    """
    del activations
    return tf.reduce_mean(gradients, axis=spatial_axes(gradients), keepdims=True)


def hirescam(activations: Any, gradients: Any) -> Any:
    """Each activation counts by its own gradient: the map shows only cells that raise the score.

    Args:
        activations: (B, H, W, C) float32, unused: the rule looks at gradients alone.
        gradients: (B, H, W, C) float32, of the score before the softmax.

    Returns:
        (B, H, W, C) float32.

    Source: Draelos & Carin 2020, eq. 4, https://arxiv.org/abs/2011.08891. Deviation: none.
    Cost: 1 forward pass and the tail's backward pass.
    """
    del activations
    return gradients


METHODS: dict[str, Rule] = {rule.__name__: rule for rule in (gradcam, hirescam)}


def spatial_axes(tensor: Any) -> list[int]:
    """All axes but the first (images) and the last (channels)."""
    return list(range(1, len(tensor.shape) - 1))


def find_method(method: str | Rule) -> tuple[str, Rule]:
    """Name and rule for a key of `METHODS` or a callable of the same contract.

    Raises:
        ValueError: no such name.
        TypeError: neither a name nor a callable.
    """
    if callable(method):
        return getattr(method, "__name__", type(method).__name__), method
    if not isinstance(method, str):
        raise TypeError(f"Expected method as a name or a callable, received {type(method).__name__}.")
    if method not in METHODS:
        raise ValueError(unknown_name("method", method, METHODS))
    return method, METHODS[method]
