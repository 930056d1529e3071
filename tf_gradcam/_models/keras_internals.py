"""Access to Keras internals: a layer called in inference, its sublayers, a copy without its activation, masks."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.saving.serialization_lib import SafeModeScope

# Names under which a model of Keras 3 keeps its layers, in the order of a checkpoint of it.
LISTS_OF_LAYERS = ("_functional", "_operations", "_layers")

_PREPROCESSING = keras.layers.Normalization.__module__.rpartition(".")[0]

# Set while a pass with frozen weights is traced: returns a constant for a variable, or None to read the variable.
_AS_CONSTANT: ContextVar[Callable[[Any], Any] | None] = ContextVar("as_constant", default=None)


@contextlib.contextmanager
def variables_read_as(as_constant: Callable[[Any], Any]) -> Iterator[None]:
    """Let `reading_scope` read variables through `as_constant(tf.Variable)` within."""
    token = _AS_CONSTANT.set(as_constant)
    try:
        yield
    finally:
        _AS_CONSTANT.reset(token)


@contextlib.contextmanager
def reading_scope() -> Iterator[None]:
    """Enter a scope in which Keras variables are read, never written, and layers are called.

    Raises:
        ValueError: a layer has a name that TensorFlow does not take in a graph. Keras then leaves that name open in
            front of those of all later layers, so it is closed here.
    """
    as_constant = _AS_CONSTANT.get()
    scope = keras.StatelessScope() if as_constant is None else _ConstantScope(as_constant)
    names = get_global_attribute("name_scope_stack", [], set_to_default=True)
    count = len(names)
    try:
        with tf.name_scope("model"), scope:  # at the top of a graph no name may begin with "_"
            yield
    except ValueError as error:
        wrong = names[-1].name if len(names) > count else ""
        if f"'{wrong}' is not a valid scope name" not in str(error):
            raise  # such as for a name that the model's own code opens
        raise ValueError(
            f"Expected layer names of letters, digits and _ . - as TensorFlow's graphs take them, received {wrong!r}. "
            f"Rename the layer: layer.name = {re.sub('[^A-Za-z0-9_.-]', '_', wrong)!r}, and save the model."
        ) from error
    finally:
        del names[count:]


class _ConstantScope(keras.StatelessScope):
    def __init__(self, as_constant: Callable[[Any], Any]):
        super().__init__()
        self._as_constant = as_constant

    def get_current_value(self, variable: Any) -> Any:
        written = super().get_current_value(variable)
        # Below `value`, which a scope of mixed precision would already have rounded.
        return self._as_constant(variable._value) if written is None else written


def graph_called_by(op: Any) -> Any:
    """Return the TensorFlow graph of the function that an operation calls, None for a function of another kind."""
    try:
        return op.graph._get_function(op.get_attr("f").name).graph
    except Exception:
        return None


def call_in_inference(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Call an operation with dropout off and stored batch statistics."""
    if _takes_training(operation):
        kwargs["training"] = False
    if isinstance(operation, keras.layers.UpSampling2D) and None in args[0].shape[1:3]:
        return _enlarged(operation, args[0])
    return operation(*args, **kwargs)


def _enlarged(layer: Any, images: Any) -> Any:
    """Call an `UpSampling2D` on images of an unknown size.

    Keras compares that size with 0, which a graph without AutoGraph refuses; what comes behind is one operation.
    """
    is_turned = layer.data_format == "channels_first"
    if layer.interpolation == "nearest" or is_turned or not tf.is_tensor(images):
        return layer(images)
    size = tf.shape(images)[1:3] * tf.constant(layer.size)
    return tf.image.resize(
        layer.dtype_policy.convert_input(images, layer.autocast, layer.input_dtype), size, layer.interpolation
    )


def _takes_training(operation: Any) -> bool:
    """Return whether a layer can be told `training`, which its own layers then read, whether or not its `call` does.

    Told nothing, they read it of each other: behind a Resizing inside a layer, a batch normalisation would train.
    """
    if not isinstance(operation, keras.layers.Layer):
        return False
    parameters = inspect.signature(type(operation).__call__).parameters.values()
    return any(item.name == "training" or item.kind is item.VAR_KEYWORD for item in parameters)


def call_arguments(model: Any) -> list[str]:
    """Return the names of the inputs that `model.call` must be given, usually one."""
    parameters = inspect.signature(model.call).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [item.name for item in parameters if item.kind in kinds and item.default is item.empty]
    return [name for name in needed if name not in ("training", "mask")]


def sublayers(layer: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return (path, layer) of every layer inside `layer`, each once, in the order in which they were attached."""
    by_id: dict[int, tuple[str, Any]] = {}
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        by_id.setdefault(id(inner), (prefix + inner.name, inner))
        for path, deeper in sublayers(inner, f"{prefix}{inner.name}/"):
            by_id.setdefault(id(deeper), (path, deeper))
    return list(by_id.values())


def has_learned_weights(operation: Any) -> bool:
    """Return whether training sets weights of an operation, frozen ones included.

    Not those of a preprocessing layer (statistics of the data, the filter banks of a spectrogram, which Keras lists as
    trainable), and not weights that were added as `trainable=False`, but for a batch normalisation's statistics and
    quantised kernels.
    """
    if not getattr(operation, "weights", None) or type(operation).__module__.startswith(_PREPROCESSING):
        return False
    return any(
        layer._trainable_variables
        or isinstance(layer, keras.layers.BatchNormalization)
        or getattr(layer, "quantization_mode", None)
        for layer in [operation, *operation._flatten_layers(include_self=False)]
    )


def built_input_shapes(model: Any) -> Any:
    """Return the structure of shapes that a model without a graph was built with, or None before its first call."""
    shapes = getattr(model, "_build_shapes_dict", None)
    return next(iter(shapes.values())) if shapes and len(shapes) == 1 else None


def without_activation(layer: Any) -> Any:
    """Return a layer that shares the variables of `layer` and computes the same without the activation.

    It is a shallow copy: setting `layer.activation` would change the model.
    """
    plain = object.__new__(type(layer))
    vars(plain).update(vars(layer))
    if hasattr(layer, "activation"):
        object.__setattr__(plain, "activation", keras.activations.linear)
    return plain


def declared_inputs(model: Any) -> tuple[list[Any], Any] | None:
    """Return the `keras.Input` tensors of a model and the structure of their names; None if it declares none."""
    if getattr(model, "_inputs_struct", None) is None:
        return None
    return list(model.inputs), keras.tree.map_structure(lambda tensor: tensor.name, model._inputs_struct)


def mask_of(tensor: Any) -> Any:
    """Return the mask that Keras attaches to a tensor, or None."""
    return getattr(tensor, "_keras_mask", None)


def set_mask(tensor: Any, mask: Any) -> None:
    """Attach a mask to a tensor, as a layer would."""
    tensor._keras_mask = mask


def name_operations(result: Any, sources: Any, name: str) -> None:
    """Name the operations between symbolic tensors after the last of them: "name", "name.1", ..."""
    seen = {id(tensor) for tensor in keras.tree.flatten(sources)}
    waiting = [tensor for tensor in keras.tree.flatten(result) if isinstance(tensor, keras.KerasTensor)]
    names = (f"{name}.{number}" if number else name for number in itertools.count())
    while waiting:
        tensor = waiting.pop(0)
        if id(tensor) not in seen:
            operation = tensor._keras_history.operation
            seen |= {id(output) for output in operation._inbound_nodes[0].output_tensors}
            operation.name = next(names)
            waiting += operation._inbound_nodes[0].input_tensors


@contextlib.contextmanager
def deserializing_safely() -> Iterator[None]:
    """Let Keras build objects from their configurations within without running code that these hold."""
    with SafeModeScope(True):
        yield


def application_layers() -> dict[str, type]:
    """Return the layers that keras.applications defines beside `keras.layers`, by name."""
    builders = (keras.applications.ConvNeXtTiny, keras.applications.InceptionResNetV2)
    convnext, inception = (sys.modules[build.__module__] for build in builders)
    layers = (convnext.LayerScale, convnext.StochasticDepth, inception.CustomScaleLayer)
    return {layer.__name__: layer for layer in layers}
