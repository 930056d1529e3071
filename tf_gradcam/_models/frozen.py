"""Weights as constants of a compiled function, which TensorFlow folds, and the detection of later changes to them.

Folding computes ahead everything that depends on weights alone: a batch normalisation merges into the convolution
before it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_gradcam._models.keras_internals import variables_read_as

# A larger variable, such as the 411 MB of VGG16's fc1, is read at every call: nothing folds with it, and TensorFlow
# takes minutes to examine such a constant.
LARGEST_CONSTANT = 32 * 2**20  # bytes
# NumPy does not have the first type: its bytes are read as the second, in place.
_READ_AS = {tf.bfloat16: tf.uint16}


class FrozenWeights:
    """The variables that one compiled function reads as constants, with their values at the time of tracing.

    Variables above `LARGEST_CONSTANT`, and variables that do not belong to Keras, stay variables, always up to date.
    """

    def __init__(self) -> None:
        self._graph: Any = None
        self._constants: dict[int, Any] = {}
        self._variables: list[Any] = []
        self._watch = WeightWatch([])

    @contextlib.contextmanager
    def read_as_constants(self) -> Iterator[None]:
        """Read Keras variables as constants while the function is traced within."""
        self._graph = tf.compat.v1.get_default_graph()
        with variables_read_as(self._constant):
            yield
        self._graph = None
        with tf.init_scope():
            self._watch = WeightWatch(self._variables)
        self._constants.clear()  # the graph holds them

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
        """Return the name of a frozen variable that has changed, or None."""
        return self._watch.changed()

    @property
    def byte_count(self) -> int:
        """Memory that the constants take."""
        return self._watch.byte_count


class WeightWatch:
    """Detects whether variables have changed.

    The buffers are held, not copied. TensorFlow copies a buffer that somebody else holds before it writes, so a changed
    variable has another buffer, and comparing addresses is enough: 1 ms for 262 variables. Values are compared only
    where an address differs.

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
        """Return the name of a variable that has changed, or None."""
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
    """Return a function that reads all values by one call; each is the variable's own buffer."""

    def read() -> list[Any]:
        values = [tf.raw_ops.ReadVariableOp(resource=item.handle, dtype=item.dtype) for item in variables]
        return [tf.bitcast(value, _READ_AS[value.dtype]) if value.dtype in _READ_AS else value for value in values]

    return tf.function(read, autograph=False).get_concrete_function()


def _address(tensor: Any) -> int:
    """Return the address of the first byte in host memory; of a new copy at each call where the memory is elsewhere."""
    return int(np.asarray(memoryview(tensor)).__array_interface__["data"][0])


def _byte_count(variable: Any) -> int:
    return int(np.prod(variable.shape)) * variable.dtype.size
