"""One Keras layer: called in inference, looked into, copied without its activation."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import keras

# What a variable is read as, while a pass with frozen weights is traced: a constant, or None for the variable itself.
_AS_CONSTANT: ContextVar[Callable[[Any], Any] | None] = ContextVar("as_constant", default=None)


@contextlib.contextmanager
def variables_read_as(as_constant: Callable[[Any], Any]) -> Iterator[None]:
    """Within, `reading_scope` reads variables through `as_constant(tf.Variable)`."""
    token = _AS_CONSTANT.set(as_constant)
    try:
        yield
    finally:
        _AS_CONSTANT.reset(token)


def reading_scope() -> keras.StatelessScope:
    """A scope in which variables of Keras are read, never written."""
    as_constant = _AS_CONSTANT.get()
    return keras.StatelessScope() if as_constant is None else _ConstantScope(as_constant)


class _ConstantScope(keras.StatelessScope):
    def __init__(self, as_constant: Callable[[Any], Any]):
        super().__init__()
        self._as_constant = as_constant

    def get_current_value(self, variable: Any) -> Any:
        written = super().get_current_value(variable)
        # Below `value`, which a scope of mixed precision would already have rounded.
        return self._as_constant(variable._value) if written is None else written


def call_in_inference(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """The operation's result with dropout off and stored batch statistics."""
    if _takes_training(operation):
        kwargs["training"] = False
    return operation(*args, **kwargs)


def _takes_training(operation: Any) -> bool:
    if not isinstance(operation, keras.layers.Layer):
        return False
    return "training" in inspect.signature(operation.call).parameters


def sublayers(layer: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """(path, layer) of every layer inside `layer`, each once, in the order in which they were attached."""
    found: dict[int, tuple[str, Any]] = {}
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        found.setdefault(id(inner), (prefix + inner.name, inner))
        for path, deeper in sublayers(inner, f"{prefix}{inner.name}/"):
            found.setdefault(id(deeper), (path, deeper))
    return list(found.values())


def has_learned_weights(operation: Any) -> bool:
    return bool(getattr(operation, "weights", None)) and not isinstance(operation, keras.layers.Normalization)


def built_input_shapes(model: Any) -> Any:
    """What a model without a graph was built with: a structure of shapes, or None before its first call."""
    shapes = getattr(model, "_build_shapes_dict", None)
    return next(iter(shapes.values())) if shapes and len(shapes) == 1 else None


def without_activation(layer: Any) -> Any:
    """A layer that shares the variables of `layer` and does the same up to its activation.

    A shallow copy: setting `layer.activation` would change the model.
    """
    plain = object.__new__(type(layer))
    vars(plain).update(vars(layer))
    if hasattr(layer, "activation"):
        object.__setattr__(plain, "activation", keras.activations.linear)
    return plain


def declared_inputs(model: Any) -> tuple[list[Any], Any] | None:
    """The `keras.Input` tensors of a model and the structure of their names; None where it declares none."""
    if getattr(model, "_inputs_struct", None) is None:
        return None
    return list(model.inputs), keras.tree.map_structure(lambda tensor: tensor.name, model._inputs_struct)


def mask_of(tensor: Any) -> Any:
    """The mask that Keras hands on with a tensor, or None."""
    return getattr(tensor, "_keras_mask", None)


def set_mask(tensor: Any, mask: Any) -> None:
    """Hand a mask on with a tensor, as a layer would have done."""
    tensor._keras_mask = mask
