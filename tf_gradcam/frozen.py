"""Weights as constants of a compiled function, so that TensorFlow folds them, and the watch over the weights they were.

Folding computes ahead what depends on weights alone: a batch normalisation becomes part of the convolution before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

_LARGEST_GRAPH = 2**31  # bytes that a serialised graph can have, by the format of protocol buffers
# NumPy has no name for the first: its bytes are read as the second, in place.
_BY_BYTES = {tf.bfloat16: tf.uint16}


class FrozenFunction:
    """A concrete function whose variables are constants of the values that they have now.

    Args:
        concrete: what `tf.function(...).get_concrete_function()` returns.

    Raises:
        ValueError: weights of more than 2 GiB, which no graph can hold; weights that a loop is differentiated by.

    Attributes:
        watch: over the variables that it froze.
        structured_outputs, inputs, graph: as those of a concrete function.
    """

    def __init__(self, concrete: Any):
        size = sum(_byte_count(variable) for variable in concrete.graph.variables)
        if size >= _LARGEST_GRAPH:
            raise ValueError(
                f"Expected weights of less than 2 GiB to freeze, received {size / 2**30:.1f} GiB: leave freeze=False."
            )
        # Before the values are copied: what changes in between is then seen.
        self.watch = WeightWatch(concrete.graph.variables)
        self.structured_outputs = concrete.structured_outputs
        try:
            self._frozen = convert_variables_to_constants_v2(concrete)
        except (ValueError, NotImplementedError) as error:
            raise ValueError(
                "Expected weights that can become constants, received a graph that passes them into a loop "
                f"(a recurrent layer behind the layer explained): leave freeze=False. TensorFlow says: {error}"
            ) from error
        self.inputs = self._frozen.inputs
        self.graph = self._frozen.graph

    def __call__(self, *tensors: Any) -> Any:
        """As the function that was frozen."""
        pairs = zip(tensors, self.inputs, strict=True)
        results = self._frozen(*(tf.convert_to_tensor(tensor, spec.dtype) for tensor, spec in pairs))
        return tf.nest.pack_sequence_as(self.structured_outputs, results, expand_composites=True)


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
