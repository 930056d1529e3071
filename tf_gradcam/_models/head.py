"""The score before the softmax: the end of a classifier, opened while it is traced.

Grad-CAM is defined on the score before the softmax, whose own gradient vanishes where the model is sure. Inside a
`tf.function` the tensor that a softmax or sigmoid operation returned knows the operation, and so its input: the logits
are there already, whichever layer, `keras.ops` call or plain TensorFlow made them, and the model is not touched.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

_SQUASHING = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}
_KEEPS_ORDER = {"Identity", "Cast", "Reshape", "Squeeze", "ExpandDims"}


@dataclass(frozen=True)
class Head:
    """One output of a model, opened."""

    logits: tf.Tensor  # float32, the shape of `output`; `output` itself where there is nothing to open
    output: tf.Tensor  # float32, as the model returns it
    kind: str  # "softmax", "sigmoid" or "linear": what makes `output` of `logits`


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
    if head.kind == "sigmoid" and output.shape.rank == 2 and output.shape[-1] == 1:
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
