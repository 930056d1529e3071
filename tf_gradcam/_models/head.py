"""Classification heads: logits before a softmax or sigmoid, and pooled linear tails.

Axis legend: B batch, H x W cells of the layer (any number of spatial axes), C channels, K outputs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam._models.graph import Graph, Step
from tf_gradcam._models.keras_internals import reading_scope
from tf_gradcam._models.split import SplitModel

_SQUASHING = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}
_KEEPS_ORDER = {"Identity", "Cast", "Reshape", "Squeeze", "ExpandDims"}


@dataclass(frozen=True)
class Head:
    """One output of a model, opened."""

    logits: tf.Tensor  # float32, the shape of `output`; `output` itself where there is nothing to open
    output: tf.Tensor  # float32, as the model returns it
    kind: str  # "softmax", "sigmoid" or "linear": what makes `output` of `logits`

    @property
    def is_one_of_two(self) -> bool:
        """Whether the output is one sigmoid unit, which tells two classes apart."""
        return self.kind == "sigmoid" and self.output.shape.rank == 2 and self.output.shape[-1] == 1


def open_head(output: tf.Tensor) -> Head:
    """The scores behind a symbolic output.

    Args:
        output: (B, ...) a tensor of the graph being traced, what a model returned.

    Returns:
        `Head` with the tensor that went into the final softmax or sigmoid, cast to float32. Reshapes, casts and
        identities behind it (1x1-convolution heads, mixed precision, inference dropout) keep the order of the values
        and are stepped over.
    """
    tensor = output
    while tensor.op.type in _KEEPS_ORDER and tensor.op.inputs:
        tensor = tensor.op.inputs[0]
    kind = _SQUASHING.get(tensor.op.type, "linear")
    output = tf.cast(output, tf.float32)
    if kind == "linear":
        return Head(output, output, kind)
    logits = tf.cast(tensor.op.inputs[0], tf.float32)
    reshaped = tf.reshape(logits, tf.shape(output))
    reshaped.set_shape(output.shape)
    return Head(reshaped, output, kind)


def probabilities(head: Head) -> tf.Tensor | None:
    """Probabilities of the classes, or None where the outputs are values (regression).

    Returns:
        (B, K) float32: the model's own softmax or sigmoid; (B, 2) for one sigmoid unit, the second column its value;
        the softmax of a model that ends in logits. Outputs that already sum to one (squashed where it cannot be seen,
        in a tf.function of the model's own) are taken as they are.
    """
    output = head.output
    if head.is_one_of_two:
        return tf.concat([1.0 - output, output], axis=-1)
    if head.kind != "linear":
        return output
    if output.shape.rank != 2 or output.shape[-1] == 1:
        return None
    return tf.where(are_probabilities(output)[:, None], output, tf.nn.softmax(output))


def are_probabilities(output: tf.Tensor) -> tf.Tensor:
    """(B,) bool: rows (B, K) without a negative value whose sum is one, to three digits for half precision."""
    sums_to_one = tf.abs(tf.reduce_sum(output, axis=-1) - 1.0) < 1e-3
    return tf.logical_and(tf.reduce_all(output >= 0.0, axis=-1), sums_to_one)


# A tail as a word, one letter a step: k keeps the values, r their order, p pools, d is linear, s squashes, ? the rest.
_POOLED_LINEAR = re.compile("k*p[kr]*d[kr]*(s[kr]*)?")
_LINEAR = {"Dense", "Conv1D", "Conv2D", "Conv3D"}
_SQUASHING_ACTIVATIONS = {"softmax", "log_softmax", "sigmoid"}


class LinearTail:
    """Logits that are `mean(activations over the cells) @ kernel + bias`.

    The gradient of logit k is then kernel[:, k] / (H * W) in every cell.
    """

    def __init__(self, layer: Any):
        self._layer = layer

    def kernel(self) -> Any:
        """(C, K) float32, read from the layer's variables now."""
        with reading_scope():
            kernel = keras.ops.cast(keras.ops.convert_to_tensor(self._layer.kernel), "float32")
        return tf.reshape(kernel, kernel.shape[-2:])  # a 1x1 convolution's has further axes of one

    def bias(self) -> Any:
        """(K,) float32, or 0."""
        with reading_scope():
            return keras.ops.cast(self._layer.bias, "float32") if self._layer.use_bias else 0.0


def linear_tail(split: SplitModel) -> LinearTail | None:
    """The linear layer behind global average pooling, where the tail is no more than these two.

    Read off the graph, then tried: on seeded noise the formula must give the tail's own logits, or it is not used.

    Args:
        split: the model, cut at a layer.

    Returns:
        `LinearTail` of the model's first output, None where the tail is any other, or of other outputs too that do not
        depend on the layer alone.
    """
    graph, call = split.found.view, split.found.call
    if not isinstance(graph, Graph) or graph.frontier(call.slot, graph.outputs):
        return None  # a branch around the layer, or an output that does not look at it
    steps = graph.path_between(call, graph.outputs[0])
    word = "".join(_letter(step) for step in steps)
    if not _POOLED_LINEAR.fullmatch(word):
        return None
    tail = LinearTail(steps[word.index("d")].operation)
    return tail if _agrees(tail, split) else None


def _letter(step: Step) -> str:
    operation, kind = step.operation, type(step.operation).__name__
    activation = getattr(getattr(operation, "activation", None), "__name__", "linear")
    if step.function is not None or kind in ("Dropout", "Identity") or (kind, activation) == ("Activation", "linear"):
        return "k"  # a function stands for the entrance of a nested model
    if kind in ("Flatten", "Reshape"):
        return "r"
    if kind.startswith("GlobalAveragePooling") and operation.data_format == "channels_last":
        return "p"
    if kind in _LINEAR and _is_plain(operation) and activation in {"linear", *_SQUASHING_ACTIVATIONS}:
        return "d"
    if kind in ("Softmax", "LogSoftmax", "Sigmoid") or (kind == "Activation" and activation in _SQUASHING_ACTIVATIONS):
        return "s"
    return "?"


def _is_plain(layer: Any) -> bool:
    """A layer of Keras' own, its kernel not packed by quantisation; a convolution must look at one cell."""
    if type(layer) is not getattr(keras.layers, type(layer).__name__) or getattr(layer, "quantization_mode", None):
        return False
    return set(getattr(layer, "kernel_size", (1,))) == {1} and getattr(layer, "groups", 1) == 1


def _agrees(tail: LinearTail, split: SplitModel) -> bool:
    """Whether the formula gives the logits of the tail itself."""
    shape = [2, *(3 + axis if side is None else side for axis, side in enumerate(split.activation_shape[1:]))]
    generator = np.random.default_rng(0)
    # A mean of its own for each channel, or pooling would leave next to nothing to compare.
    noise: np.ndarray = generator.normal(size=shape) + generator.normal(size=[2, *[1] * (len(shape) - 2), shape[-1]])

    def compared(activations: Any) -> tuple[Any, Any]:
        first = keras.tree.flatten(split.finish([activations]))[0]
        pooled = tf.reduce_mean(activations, axis=list(range(1, activations.shape.rank - 1)))
        return open_head(first).logits, tf.matmul(pooled, tail.kernel()) + tail.bias()

    received, expected = tf.function(compared, autograph=False)(tf.constant(noise, tf.float32))
    if received.shape != expected.shape:
        return False
    is_half = "16" in str(getattr(tail._layer, "compute_dtype", ""))
    difference = float(np.max(np.abs(received.numpy() - expected.numpy())))
    return difference <= (2e-2 if is_half else 1e-4) * float(np.max(np.abs(expected.numpy())))
