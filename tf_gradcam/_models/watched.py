"""Models whose graph only Python knows: the output of a layer is read, or replaced, while the model runs.

For the length of one forward pass the layer's `call` is wrapped. Inside a `tf.function` that happens once, while it is
traced, and what the replaced output no longer needs is pruned from the traced graph: the price is that of a split.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_gradcam._models.graph import Call, Halves
from tf_gradcam._models.keras_internals import call_in_inference, has_learned_weights, reading_scope, sublayers

_ONE_AT_A_TIME = threading.RLock()  # a wrapped `call` belongs to the layer, which threads share


class WatchedModel:
    """The calls that `model(images)` makes, found by tracing it once.

    Args:
        model: called as `model(inputs, training=False)`.
        inputs: structure of `tf.TensorSpec`, what the model is called with.

    Raises:
        ValueError: a model that runs in a tf.function of its own, inside which no layer can be watched.
    """

    def __init__(self, model: Any, inputs: Any):
        if isinstance(model.call, tf.types.experimental.PolymorphicFunction):
            raise ValueError(
                f"The whole `call` of model '{model.name}' is one tf.function, inside which no layer can be watched. "
                "Remove that decorator, or undo it for this object: model.call = model.call.python_function."
            )
        self.model = model
        self._structure = inputs
        self.calls: list[Call] = []  # in the order in which they end
        self._begins: list[int] = []  # how many had ended when each began
        with contextlib.ExitStack() as stack:
            for path, layer in sublayers(model):
                stack.enter_context(_wrapped(layer, self._recorder(layer, path)))
            tf.function(lambda *flat: self.forward(flat), autograph=False).get_concrete_function(
                *keras.tree.flatten(inputs)
            )
        if not self.calls and sublayers(model):
            raise ValueError(
                f"Model '{model.name}' calls none of its layers where they can be watched: its `call` runs them inside "
                "a tf.function of its own, traced before. Remove that decorator."
            )

    def _recorder(self, layer: Any, path: str) -> Callable[..., Any]:
        def record(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            begin = len(self.calls)
            result = call(*args, **kwargs)
            if tf.is_tensor(result):
                index = sum(known.operation is layer for known in self.calls)
                self.calls.append(Call(layer, path, index, tuple(result.shape)))
                self._begins.append(begin)
            return result

        return record

    def release(self) -> None:
        """Hold the model no longer: from now on somebody else must keep it alive."""
        self.model = weakref.proxy(self.model)

    def forward(self, flat: Sequence[Any]) -> Any:
        """The model's outputs, of its inputs in flat order."""
        inputs = keras.tree.pack_sequence_as(self._structure, list(flat))
        with reading_scope():
            return call_in_inference(self.model, inputs)

    def halves(self, call: Call) -> Halves:
        """The model read at `call`, and run again from there: its frontier is the inputs."""

        def extract(inputs: Sequence[Any]) -> list[Any]:
            seen: list[Any] = []

            def keep(result: Any) -> Any:
                seen.append(result)
                return result

            self._intercept(call, inputs, keep)
            return [seen[0], *inputs]

        def finish(tensors: Sequence[Any]) -> Any:
            return self._intercept(call, tensors[1:], lambda result: tensors[0])

        return extract, finish

    def operations_after(self, call: Call) -> list[Any]:
        """The layers whose calls begin later, in that order; which of them read this very tensor only Python knows.

        The layers that the call is a part of began before it, so they do not count.
        """
        ended = self.calls.index(call)
        later = [number for number, begin in enumerate(self._begins) if begin > ended]
        later.sort(key=lambda number: (self._begins[number], -number))  # a layer before its parts
        return [self.calls[number].operation for number in later]

    def has_learned(self, call: Call) -> bool:
        earlier = self.calls[: self.calls.index(call) + 1]
        return any(has_learned_weights(known.operation) for known in earlier)

    def reaches_output(self, call: Call) -> bool:
        return True  # shown by the gradient, which is an error where there is none

    def is_cut_point(self, call: Call) -> bool:
        return True

    def is_end(self, call: Call) -> bool:
        return False

    def known_shapes(self, specs: Sequence[Any]) -> list[tuple[int | None, ...]]:
        return [call.shape for call in self.calls]

    def _intercept(self, call: Call, inputs: Sequence[Any], change: Callable[[Any], Any]) -> Any:
        """Run the model with `change(result)` in place of the result of this very call."""
        count = 0

        def wrapper(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            nonlocal count
            result = original(*args, **kwargs)
            count += 1
            return change(result) if count == call.slot + 1 else result

        with _wrapped(call.operation, wrapper):
            outputs = self.forward(inputs)
        if count <= call.slot:
            raise ValueError(
                f"Layer '{call.path}' was expected to be called while the model runs, but its call number "
                f"{call.slot + 1} did not come: the model's `call` takes another way now, or runs it inside a "
                "tf.function of its own. Remove that decorator, or explain another layer."
            )
        return outputs


@contextlib.contextmanager
def _wrapped(layer: Any, wrapper: Callable[..., Any]) -> Iterator[None]:
    """`layer.call(...)` becomes `wrapper(layer.call, ...)`, and itself again afterwards.

    In this thread alone: another one may be training the model.
    """
    with _ONE_AT_A_TIME:
        own = vars(layer).get("call")
        original = layer.call
        owner = threading.get_ident()

        def call(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != owner:
                return original(*args, **kwargs)
            return wrapper(original, *args, **kwargs)

        # Around keras' attribute tracking, which would note a change of the layer.
        object.__setattr__(layer, "call", call)
        try:
            yield
        finally:
            if own is None:
                object.__delattr__(layer, "call")
            else:
                object.__setattr__(layer, "call", own)
