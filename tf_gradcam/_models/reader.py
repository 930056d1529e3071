"""The user's model, read and never written."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import keras

from tf_gradcam._models.graph import Graph, graph_of
from tf_gradcam._models.inputs import ModelInputs, inputs_of_shapes, inputs_of_tensors
from tf_gradcam._models.keras_internals import built_input_shapes, declared_inputs, sublayers
from tf_gradcam._models.preprocessing import Preprocessing, find_preprocessing
from tf_gradcam._models.watched import WatchedModel


class ModelReader:
    """Everything that is known of a model without changing it, read once and shared: whatever takes a model inside this
    package takes its reader too.

    Args:
        model: a built `keras.Model`: functional, Sequential or subclassed.

    Attributes:
        name: of the model.
        graph: its steps; None where only Python knows them.
        inputs: what it takes.
        parts: identity of its layers and variables, see `parts_of`.
        is_half_precision: whether a layer computes in 16 bits.

    Raises:
        TypeError: no Keras 3 model.
        ValueError: a model that was not built yet, or another backend than TensorFlow.
    """

    def __init__(self, model: Any):
        check_model(model)
        self.name = model.name
        self.parts = parts_of(model)
        self.is_half_precision = any("16" in str(layer.compute_dtype) for _, layer in sublayers(model))
        self._layers = list(model.layers)
        self._alive = weakref.ref(model)
        self._watched: WatchedModel | None = None
        if graph_of(model) is not None:
            self.graph: Graph | None = Graph(model)
            self.inputs = inputs_of_tensors(self.graph.input_tensors, self.graph.input_struct)
            # Only a model with layers that hide other layers is kept: to look into those it must run as a whole.
            listed = {id(call.operation) for call in self.graph.calls}
            hides = any(id(layer) not in listed for _, layer in sublayers(model) if not is_input_layer(layer))
            self._model = model if hides else None
        else:
            self.graph = None
            self.inputs = _inputs_as_built(model)
            self._model = model

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """The scaling that the model wants, see `find_preprocessing`; to be asked first while the model lives."""
        return find_preprocessing(self._alive(), self.graph)

    def top_level(self, index: int) -> Any:
        """`model.layers[index]`."""
        if not -len(self._layers) <= index < len(self._layers):
            raise ValueError(
                f"Expected a layer index from {-len(self._layers)} to {len(self._layers) - 1} for '{self.name}', "
                f"received {index}."
            )
        return self._layers[index]

    def release(self) -> None:
        """Hold the model no longer, only what its graph is made of."""
        self._model = self._watched = None

    def views(self) -> Iterator[Graph | WatchedModel]:
        """Where layers are looked for: the graph, then what Python calls when the model runs."""
        if self.graph is not None:
            yield self.graph
        if self._model is not None:
            if self._watched is None:
                structure = keras.tree.pack_sequence_as(self.inputs.structure, self.inputs.specs)
                self._watched = WatchedModel(self._model, structure)
            yield self._watched


def reader_of(model: Any) -> ModelReader:
    """Return the reader of a model; a reader is returned as it is."""
    return model if isinstance(model, ModelReader) else ModelReader(model)


def parts_of(model: Any) -> tuple[int, ...]:
    """Identity of what a model is made of: other layers, or other variables (LoRA, quantisation), make another model.

    The values of the variables do not count: they are read at every call.
    """
    return (*map(id, model.layers), *map(id, model.variables))


def is_input_layer(layer: Any) -> bool:
    return isinstance(layer, keras.layers.InputLayer)


def check_model(model: Any) -> None:
    """Refuse what is no Keras 3 model on TensorFlow, in words."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"Expected Keras on TensorFlow, received the backend '{keras.backend.backend()}'. "
            "Set KERAS_BACKEND=tensorflow before Keras is imported."
        )
    if isinstance(model, keras.layers.TFSMLayer) or _has_tfsm_layer(model):
        raise TypeError(
            "Expected a Keras model with layers, received a TFSMLayer: a SavedModel holds operations, no layers to cut "
            "at. Load the .keras or .h5 file that it was exported from."
        )
    if isinstance(model, keras.Model):
        return
    received = f"{type(model).__module__}.{type(model).__name__}"
    if isinstance(model, (str, bytes)) or hasattr(model, "__fspath__"):
        remedy = f"Load it first: keras.models.load_model({str(model)!r})."
    elif hasattr(model, "signatures"):
        remedy = "A SavedModel holds operations, no layers to cut at: load the .keras or .h5 file instead."
    elif type(model).__module__.startswith("tf_keras"):
        remedy = "This is Keras 2: save it as .h5 and load that with Keras 3."
    elif type(model).__name__ == "Interpreter":
        remedy = "TensorFlow Lite holds operations, no layers to cut at: load the .keras or .h5 file instead."
    else:
        remedy = "Pass the keras.Model itself."
    raise TypeError(f"Expected a Keras 3 model, received {received}. {remedy}")


def _has_tfsm_layer(model: Any) -> bool:
    return isinstance(model, keras.Model) and any(
        isinstance(layer, keras.layers.TFSMLayer) for layer in getattr(model, "layers", [])
    )


def _inputs_as_built(model: Any) -> ModelInputs:
    declared = declared_inputs(model)
    if declared is not None:  # built of inputs and outputs, with a `call` of its own
        return inputs_of_tensors(*declared)
    shapes = built_input_shapes(model)
    if shapes is None:
        raise ValueError(
            f"Model '{model.name}' has no input shape yet. Call it once on a batch, model(images), or build it with "
            "model.build(input_shape), then explain it."
        )
    return inputs_of_shapes(shapes)
