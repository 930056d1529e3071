"""Weights as constants of a compiled function, so that TensorFlow folds them, and the watch over the weights they were.

Folding computes ahead what depends on weights alone: a batch normalisation becomes part of the convolution before it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_gradcam._models.keras_internals import variables_read_as

# A larger variable, such as the 411 MB of VGG16's fc1, is read at every call: there is nothing to fold it with, and
# TensorFlow takes minutes to look at such a constant.
LARGEST_CONSTANT = 32 * 2**20  # bytes
# NumPy has no name for the first: its bytes are read as the second, in place.
_BY_BYTES = {tf.bfloat16: tf.uint16}


class FrozenWeights:
    """Variables that one compiled function reads as constants of the values that they had when it was traced.

    Those above `LARGEST_CONSTANT`, and those that are no Keras variables, stay variables and are never out of date.
    """

    def __init__(self) -> None:
        self._graph: Any = None
        self._constants: dict[int, Any] = {}
        self._variables: list[Any] = []
        self._watch = WeightWatch([])

    @contextlib.contextmanager
    def read_as_constants(self) -> Iterator[None]:
        """To be entered while the function is traced."""
        self._graph = tf.compat.v1.get_default_graph()
        with variables_read_as(self._constant):
            yield
        self._graph = None
        with tf.init_scope():
            self._watch = WeightWatch(self._variables)
        self._constants.clear()  # they are the graph's

    def _constant(self, variable: Any) -> Any:
        if id(variable) in self._constants:
            return self._constants[id(variable)]
        if _byte_count(variable) > LARGEST_CONSTANT:
            return None
        with tf.init_scope():
            value = variable.numpy()
        with self._graph.as_default():  # not in the body of a loop, where it could not be used outside
            constant = tf.constant(value, variable.dtype)
        self._variables.append(variable)
        self._constants[id(variable)] = constant
        return constant

    def changed(self) -> str | None:
        """The name of a frozen variable that is no longer what it was, None if all are."""
        return self._watch.changed()

    @property
    def byte_count(self) -> int:
        """Memory of the constants."""
        return self._watch.byte_count


class WeightWatch:
    """Tells whether weights are still what they were.

    No copy is made of them: the buffers are held. TensorFlow writes into a buffer that somebody else holds by copying
    it first, so a changed variable has another one, and comparing addresses is enough: 1 ms for 262 variables.
    Only where an address differs are the values compared.

    Args:
        variables: tf.Variables.

    Attributes:
        byte_count: memory that they take.
    """

    def __init__(self, variables: Sequence[Any]):
        self.byte_count = sum(_byte_count(variable) for variable in variables)
        self._names = [variable.name for variable in variables]
        self._read: Callable[[], list[Any]] = _reader(variables)
        self._held = self._read()
        self._addresses = [_address(tensor) for tensor in self._held]

    def changed(self) -> str | None:
        """The name of a variable that changed, None if all are as they were."""
        current = self._read()
        for index, tensor in enumerate(current):
            address = _address(tensor)
            if address == self._addresses[index]:
                continue
            if tensor.shape != self._held[index].shape or not np.array_equal(tensor, self._held[index], equal_nan=True):
                return self._names[index]
            self._held[index], self._addresses[index] = tensor, address  # assigned anew, the same values
        return None


def _reader(variables: Sequence[Any]) -> Callable[[], list[Any]]:
    """All values by one call; each is the variable's own buffer."""

    def read() -> list[Any]:
        values = [tf.raw_ops.ReadVariableOp(resource=one.handle, dtype=one.dtype) for one in variables]
        return [tf.bitcast(value, _BY_BYTES[value.dtype]) if value.dtype in _BY_BYTES else value for value in values]

    return tf.function(read, autograph=False).get_concrete_function()


def _address(tensor: Any) -> int:
    """Of the first byte, where the memory is the host's; that of a copy elsewhere, which is new at each call."""
    return int(np.asarray(memoryview(tensor)).__array_interface__["data"][0])


def _byte_count(variable: Any) -> int:
    return int(np.prod(variable.shape)) * variable.dtype.size
