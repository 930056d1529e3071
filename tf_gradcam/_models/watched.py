"""Models without a graph of layers: the output of a layer is read, or replaced, while the model runs.

The layer's `call` is wrapped during one forward pass. Inside a `tf.function` that happens once, during tracing, and
TensorFlow prunes the operations before a replaced output: the cost is the same as of a split graph.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_gradcam._models.graph import Call, Halves, JointHalves, first_output
from tf_gradcam._models.keras_internals import call_in_inference, has_learned_weights, reading_scope, sublayers

UNTRACEABLE = (
    "Its `call` iterates over a tensor, branches on its values or converts it to NumPy. Write it with keras.ops: "
    "ops.unstack(tensor) or range(size) to iterate, ops.where to choose."
)
_WRAPPING = threading.RLock()  # threads share the layer, and with it a wrapped `call`


class WatchedModel:
    """A model with the layer calls that `model(images)` makes, found by tracing it once.

    Args:
        model: called as `model(inputs, training=False)`.
        inputs: of the model, a structure of `tf.TensorSpec`.

    Attributes:
        outputs: the `tf.TensorShape`s of its outputs, in their structure.

    Raises:
        ValueError: the model runs inside a tf.function of its own, where layers cannot be watched, or cannot be traced.
    """

    def __init__(self, model: Any, inputs: Any):
        if isinstance(model.call, tf.types.experimental.PolymorphicFunction):
            raise ValueError(
                f"The whole `call` of model '{model.name}' is one tf.function, inside which layers cannot be watched. "
                "Remove that decorator, or undo it for this object: model.call = model.call.python_function."
            )
        self.model = model
        self._structure = inputs
        self.calls: list[Call] = []  # in the order in which they end
        self._begins: list[int] = []  # number of ended calls when each began
        self.axes: dict[Any, list[Any]] = {}  # of `places.traced_axes`
        self.outputs: Any = None
        self._ends: Any = None  # the symbolic outputs
        self._key: str | int | None = None  # of the output to return, None for all
        with contextlib.ExitStack() as stack:
            for path, layer in sublayers(model):
                stack.enter_context(wrapped(layer, self._recorder(layer, path)))
            try:
                tf.function(self._record, autograph=False).get_concrete_function(*keras.tree.flatten(inputs))
            except (tf.errors.OperatorNotAllowedInGraphError, NotImplementedError, AttributeError) as error:
                if isinstance(error, AttributeError) and "Symbolic" not in str(error):
                    raise
                raise ValueError(
                    f"Expected a model that TensorFlow can trace, received '{model.name}'. {UNTRACEABLE}"
                ) from error
        if not self.calls and sublayers(model):
            raise ValueError(
                f"Model '{model.name}' calls none of its layers where they can be watched: its `call` runs them inside "
                "a tf.function of its own, traced before. Remove that decorator."
            )

    def _record(self, *flat: Any) -> None:
        self.calls.clear()  # TensorFlow traces twice where layers make their variables
        self._begins.clear()
        self._ends = self.forward(flat)
        self.outputs = keras.tree.map_structure(lambda tensor: tensor.shape, self._ends)

    def traced_ends(self) -> Any:
        """Return the symbolic outputs of the graph in which the model was watched."""
        return self._ends if self._key is None else first_output(self._ends[self._key])

    def only(self, key: str | int) -> WatchedModel:
        """Return the model with one of its outputs alone."""
        other = copy.copy(self)
        other._key = key
        return other

    def _recorder(self, layer: Any, path: str) -> Callable[..., Any]:
        def record(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            begin = len(self.calls)
            result = call(*args, **kwargs)
            for tensor in _tensors_of(result):
                index = sum(known.operation is layer for known in self.calls)
                self.calls.append(Call(layer, path, index, tuple(tensor.shape)))
                self._begins.append(begin)
            return result

        return record

    def symbolic(self, specs: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """Trace the model for inputs of `specs`; return its symbolic inputs, the tensor of each call, the outputs."""
        inputs: list[Any] = []
        tensors: list[Any] = []
        outputs: list[Any] = []

        def record(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            result = call(*args, **kwargs)
            tensors.extend(_tensors_of(result))
            return result

        def run(*flat: Any) -> Any:
            inputs[:] = flat
            tensors.clear()
            outputs[:] = keras.tree.flatten(self.forward(flat))

        with contextlib.ExitStack() as stack:
            for _, layer in sublayers(self.model):
                stack.enter_context(wrapped(layer, record))
            tf.function(run, autograph=False).get_concrete_function(*specs)
        return inputs, tensors, outputs

    def release(self) -> None:
        """Release the model; the caller must keep it alive."""
        self.model = weakref.proxy(self.model)

    def forward(self, flat: Sequence[Any]) -> Any:
        """Compute the model's outputs from its inputs in flat order."""
        inputs = keras.tree.pack_sequence_as(self._structure, list(flat))
        with reading_scope():
            outputs = call_in_inference(self.model, inputs)
        return outputs if self._key is None else first_output(outputs[self._key])

    def halves(self, *calls: Call) -> Halves:
        """Return the model up to a call, and the model run again from there; its frontier is the inputs.

        The results of several calls of one layer are stacked behind the batch axis, as frames of a clip are.
        """

        def extract(inputs: Sequence[Any]) -> list[Any]:
            seen: list[Any] = []

            def keep(number: int, result: Any) -> Any:
                seen.append(result)
                return result

            self._intercept(calls, inputs, keep)
            return [seen[0] if len(calls) == 1 else tf.stack(seen, axis=1), *inputs]

        def finish(tensors: Sequence[Any]) -> Any:
            parts = tensors[:1] if len(calls) == 1 else tf.unstack(tensors[0], num=len(calls), axis=1)
            return self._intercept(calls, tensors[1:], lambda number, result: parts[number])

        return extract, finish

    def joint_halves(self, calls: Sequence[Call]) -> JointHalves:
        """Return the model up to the first of several calls, and the model run again from there; see `Graph`."""
        first = min(calls, key=self.calls.index)
        extract, _ = self.halves(first)

        def finish(tensors: Sequence[Any]) -> tuple[Any, list[Any]]:
            activations: dict[Call, Any] = {}

            def observed(call: Call, result: Any) -> Any:
                activations[call] = tensors[0] if call == first else result
                return activations[call]

            with contextlib.ExitStack() as stack:
                for call in set(calls) - {first}:
                    stack.enter_context(wrapped(call.operation, self._observer(call, observed)))
                outputs = self._intercept([first], tensors[1:], lambda number, result: observed(first, result))
            return outputs, [activations[call] for call in calls]

        return extract, finish, 1

    @staticmethod
    def _observer(call: Call, change: Callable[[Call, Any], Any]) -> Callable[..., Any]:
        """Return a wrapper of a layer's `call` that passes the tensor of one of its calls through `change`."""
        count = 0

        def wrapper(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            nonlocal count
            result = original(*args, **kwargs)
            tensors = _tensors_of(result)
            own, count = call.slot - count, count + len(tensors)
            if not 0 <= own < len(tensors):
                return result
            tensors[own] = change(call, tensors[own])
            return tensors[0] if tf.is_tensor(result) else keras.tree.pack_sequence_as(result, tensors)

        return wrapper

    def operations_after(self, call: Call) -> list[Any]:
        """Return the layers whose calls begin later, in that order, whether or not they read this tensor.

        The layers that contain the call began before it and do not count.
        """
        ended = self.calls.index(call)
        later = [number for number, begin in enumerate(self._begins) if begin > ended]
        later.sort(key=lambda number: (self._begins[number], -number))  # a layer before its parts
        return [self.calls[number].operation for number in later]

    def has_learned(self, call: Call) -> bool:
        earlier = self.calls[: self.calls.index(call) + 1]
        return any(has_learned_weights(known.operation) for known in earlier)

    def reaches_output(self, call: Call) -> bool:
        return True  # unknown here; a missing gradient raises an error later

    def inputs_before(self, call: Call) -> list[int]:
        return list(range(len(keras.tree.flatten(self._structure))))

    def is_cut_point(self, call: Call) -> bool:
        return True

    def is_end(self, call: Call) -> bool:
        return False

    def known_shapes(self, specs: Sequence[Any]) -> list[tuple[int | None, ...]]:
        return [call.shape for call in self.calls]

    def is_each_frame(self, call: Call) -> bool:
        """Return whether a call is made by a `TimeDistributed`, which calls its layer once for each frame."""
        return any(
            isinstance(layer, keras.layers.TimeDistributed) and call.path.startswith(f"{path}/")
            for path, layer in sublayers(self.model)
        )

    def _intercept(self, calls: Sequence[Call], inputs: Sequence[Any], change: Callable[[int, Any], Any]) -> Any:
        """Run the model with `change(position, result)` in place of the result of each of a layer's calls."""
        call, positions, count = calls[-1], {call.slot: number for number, call in enumerate(calls)}, 0

        def wrapper(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            nonlocal count
            result = original(*args, **kwargs)
            first, count = count, count + len(tensors := _tensors_of(result))
            if positions.keys().isdisjoint(range(first, count)):
                return result
            tensors = [
                change(positions[slot], tensor) if slot in positions else tensor
                for slot, tensor in enumerate(tensors, start=first)
            ]
            return tensors[0] if tf.is_tensor(result) else keras.tree.pack_sequence_as(result, tensors)

        with wrapped(call.operation, wrapper):
            outputs = self.forward(inputs)
        if count <= call.slot:
            raise ValueError(
                f"Expected call number {call.slot + 1} of layer '{call.path}' while the model runs, received {count} "
                "calls: the model's `call` has taken another path, or runs the layer inside a tf.function of its own. "
                "Remove that decorator, or explain another layer."
            )
        return outputs


def _tensors_of(result: Any) -> list[Any]:
    """Return the tensors that a layer returned, in flat order; none where it returned something else too."""
    flat = keras.tree.flatten(result)
    return flat if all(map(tf.is_tensor, flat)) else []


@contextlib.contextmanager
def wrapped(layer: Any, wrapper: Callable[..., Any]) -> Iterator[None]:
    """Replace `layer.call(...)` by `wrapper(layer.call, ...)` within.

    It applies to this thread alone: another thread may be training the model.
    """
    with _WRAPPING:
        own = vars(layer).get("call")
        original = layer.call
        owner = threading.get_ident()

        def call(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != owner:
                return original(*args, **kwargs)
            return wrapper(original, *args, **kwargs)

        # Bypasses Keras' attribute tracking, which would record a change of the layer.
        object.__setattr__(layer, "call", call)
        try:
            yield
        finally:
            if own is None:
                object.__delattr__(layer, "call")
            else:
                object.__setattr__(layer, "call", own)
