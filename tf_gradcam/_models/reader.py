"""The user's model, read and never written: its calls, its inputs, and the checks of what is passed to it."""

from __future__ import annotations

import copy
import os
import re
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_gradcam._errors import Message, unknown_name, warn
from tf_gradcam._models.graph import Graph, graph_of
from tf_gradcam._models.keras_internals import built_input_shapes, call_arguments, declared_inputs, sublayers
from tf_gradcam._models.losses import Loss, Losses, loss_of_output, losses_of, remember_losses
from tf_gradcam._models.preprocessing import ImageRangeWarning, Preprocessing, measure_preprocessing, range_warning
from tf_gradcam._models.saved_model import copy_weights
from tf_gradcam._models.watched import UNTRACEABLE, WatchedModel

# A batch as the model expects it, (B, H0, W0, C); a list or dict of them for a model of several inputs.
Images: TypeAlias = NDArray[Any] | tf.Tensor | list[Any] | tuple[Any, ...] | Mapping[str, Any]


class ModelReader:
    """The facts of a model, read once and shared; every function of this package that takes a model takes its reader.

    A layer that is not built yet, as after `model.build(input_shape)`, is built here.

    Args:
        model: a built `keras.Model`: functional, Sequential or subclassed.

    Attributes:
        name: of the model.
        graph: its steps; None for a subclassed model.
        inputs: its `ModelInputs`.
        parts: identity of its layers and variables, see `parts_of`.
        is_half_precision: whether a layer computes in 16 bits.
        has_frames: whether a layer is called for each frame of a clip.
        outputs: {name: key} of several outputs in the order of the model's author; empty for one output.
        task: as the model's file says, else None.
        losses: that it was trained with, see `loss`.
        output_name: the explained one of several outputs, the first unless `with_output` chose it; else None.
        is_output_guessed: whether it is the first of a dict, whose order does not mean anything.

    Raises:
        TypeError: not a Keras 3 model.
        ValueError: a model that is not built yet, or another backend than TensorFlow.
    """

    def __init__(self, model: Any):
        check_model(model)
        self.name = model.name
        self.has_frames = any(isinstance(layer, keras.layers.TimeDistributed) for _, layer in sublayers(model))
        self.is_half_precision = any("16" in str(layer.compute_dtype) for _, layer in sublayers(model))
        self.task: str | None = None
        self.losses = losses_of(model)
        self._bases = type(model).__mro__
        self._layers = list(model.layers)
        self._alive = weakref.ref(model)
        self._said = _said.setdefault(model, _Said())
        self._converter = _converter_of(model)
        self._watched: WatchedModel | None = None
        if graph_of(model) is not None:
            self.graph: Graph | None = Graph(model)
            self.inputs = inputs_of_tensors(self.graph.input_tensors, self.graph.input_struct)
            # Only a model whose layers hide other layers is kept: it must run as a whole to expose them.
            listed = {id(call.operation) for call in self.graph.calls}
            hides = any(id(layer) not in listed for _, layer in sublayers(model) if not is_input_layer(layer))
            self._model = model if hides else None
            if self.inputs.batch_size is not None or any(not layer.built for _, layer in sublayers(model)):
                shapes = self.graph.traced_outputs(self.inputs.specs)
                self.inputs = replace(self.inputs, batch_size=_fixed_batch(shapes, self.inputs.batch_size))
            structure = self.graph.output_slots
        else:
            self.graph = None
            self._model = model
            self.inputs, watched = _watched(model, _inputs_as_built(model))
            self._watched, structure = watched, watched.outputs
        self.inputs = replace(self.inputs, usual_size=_size_of(self._converter))
        self.parts = parts_of(model)
        self.outputs = _named_outputs(structure, getattr(model, "output_names", None))
        self.output_name = next(iter(self.outputs), None)
        self.is_output_guessed = isinstance(structure, dict) and len(structure) > 1
        self._key: str | int | None = None

    def with_output(self, output: str | int | None) -> ModelReader:
        """Return the reader of one of several outputs, by name or position; itself for None."""
        if output is None:
            return self
        if not self.outputs:
            raise ValueError(f"Expected a model of several outputs for output={output!r}, received one. Leave it out.")
        names = list(self.outputs)
        if isinstance(output, str) and output.isdecimal() and output not in names:  # on the command line
            output = int(output)
        if isinstance(output, (int, np.integer)) and not isinstance(output, bool) and 0 <= output < len(names):
            output = names[int(output)]
        if output not in self.outputs:
            raise ValueError(unknown_name("output", str(output), names))
        other = copy.copy(self)
        other._key, other.output_name, other.is_output_guessed = self.outputs[str(output)], str(output), False
        other.graph = None if self.graph is None else self.graph.only(other._key)
        other._watched = None if self._watched is None else self._watched.only(other._key)
        return other

    @property
    def first_key(self) -> str | int | None:
        """The key of the first of several outputs, where none was chosen; else None."""
        return None if self._key is not None or not self.outputs else next(iter(self.outputs.values()))

    @property
    def loss(self) -> Loss | None:
        """The loss that the explained output was trained with, None where it is not known or the user's own."""
        return loss_of_output(self.losses, self.outputs, self.output_name)

    @property
    def kind(self) -> str:
        """The name of the model's class."""
        return self._bases[0].__name__

    def is_a(self, package: str, name: str) -> bool:
        """Return whether the model is of a class of a package, told without importing it."""
        return any(kind.__name__ == name and kind.__module__.startswith(package) for kind in self._bases)

    def traced_ends(self) -> Any:
        """Return symbolic outputs, in a graph that shows what the model ends in, see `open_head`."""
        view = self._watched if self.graph is None else self.graph
        assert view is not None
        return view.traced_ends()

    @property
    def model(self) -> Any:
        """The model; None where it is gone."""
        return self._model or self._alive()

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """The scaling of the input: set by what the user said, or measured."""
        channels = self.inputs.image_shape[-1] if len(self.inputs.image_shape) == 4 else 3
        return measure_preprocessing(self.graph, self._converter, channels or 3)

    def warn_of_range(self, images: Any) -> None:
        """Warn of images that do not fit the scaling; once per model, if it does not scale them itself."""
        is_own = self.preprocessing.source == "own"
        is_said = self._said.range and not is_own
        sentence = None if is_said else range_warning(np.asarray(images), self.preprocessing)
        if sentence:
            self._said.range = self._said.range or not is_own
            warn(sentence, ImageRangeWarning)

    def top_level(self, index: int) -> Any:
        """Return `model.layers[index]`."""
        if not -len(self._layers) <= index < len(self._layers):
            raise ValueError(
                f"Expected a layer index from {-len(self._layers)} to {len(self._layers) - 1} for '{self.name}', "
                f"received {index}."
            )
        return self._layers[index]

    def saved(self) -> bytes:
        """Return the model as a .keras file, to be built again by `keras.saving.load_model` in another process.

        Raises:
            TypeError: Keras cannot save it, or cannot load what it saved.
        """
        model = self.model
        if model is None and self.graph is not None:  # only its layers are alive
            inputs = keras.tree.pack_sequence_as(self.graph.input_struct, self.graph.input_tensors)
            model = keras.Model(inputs, self.graph.output_tensors, name=self.name)
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.keras"
                keras.saving.save_model(model, path)
                saved = path.read_bytes()
            if any(not type(layer).__module__.startswith("keras.") for _, layer in [("", model), *sublayers(model)]):
                loaded_model(saved)  # fail here, not in the other process
            return saved
        except Exception as error:  # of any class of the user's own
            reason = " ".join(str(error).split())[:200]
            raise TypeError(
                f"Expected a model that Keras can save and load, to copy its explainer or send it to another process: "
                f"'{self.name}' fails with {type(error).__name__}: {reason}. Give its classes get_config, or build the "
                "model and its Explainer in the other process and load the weights there: model.load_weights(path)."
            ) from error

    def release(self) -> None:
        """Release the model, and keep the layers of its graph alone."""
        self._model = self._watched = None

    def views(self) -> Iterator[Graph | WatchedModel]:
        """Yield the views that list layers: the graph, then the calls observed while the model runs."""
        if self.graph is not None:
            yield self.graph
        if self._model is not None:
            if self._watched is None:
                watched = WatchedModel(self._model, self.inputs.packed_specs)
                self._watched = watched if self._key is None else watched.only(self._key)
            yield self._watched


def _converter_of(model: Any) -> Any:
    """Return what scales photos in the preprocessor of a keras_hub task: its converter or any callable; else None."""
    preprocessor = getattr(model, "preprocessor", None)
    return getattr(preprocessor, "image_converter", preprocessor)


def _size_of(converter: Any) -> tuple[int, int] | None:
    """Return the (height, width) of the images that a converter of keras_hub makes, None if it leaves them free."""
    size = getattr(converter, "image_size", None)
    return None if not size else (int(size[0]), int(size[1]))


def _watched(model: Any, inputs: ModelInputs) -> tuple[ModelInputs, WatchedModel]:
    """Watch a model; if it does not take floats, as a lookup of tokens, its inputs are whole numbers."""
    first: Exception | None = None
    for dtype in ("float32", "int32", "uint8"):
        given = replace(inputs, specs=[tf.TensorSpec(spec.shape, dtype) for spec in inputs.specs])
        try:
            watched = WatchedModel(model, given.packed_specs)
        except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
            first = first or error
        else:
            return replace(given, batch_size=_fixed_batch(watched.outputs, inputs.batch_size)), watched
    assert first is not None
    raise first


def _fixed_batch(shapes: Any, batch_size: int | None) -> int | None:
    """Return the declared batch size where the model computes with it: an output has it although the inputs do not."""
    return batch_size if any(shape.rank and shape[0] is not None for shape in keras.tree.flatten(shapes)) else None


def _named_outputs(structure: Any, names: Sequence[str] | None) -> dict[str, str | int]:
    """Return {name: key} of several outputs; a list has the names of its layers where they are unique."""
    if isinstance(structure, dict):
        return {str(key): key for key in structure} if len(structure) > 1 else {}
    if not isinstance(structure, (list, tuple)) or len(structure) < 2:
        return {}
    is_named = names is not None and len(set(names)) == len(structure)
    return {name: index for index, name in enumerate(names if is_named and names else map(str, range(len(structure))))}


def built_again(kind: Callable[..., Any], saved: bytes, arguments: dict[str, Any], losses: Losses = None) -> Any:
    """Return `kind` of a saved model and its losses, as a copy or a pickle of an explainer is made."""
    model = loaded_model(saved)
    remember_losses(model, losses)
    return kind(model, **arguments)


def loaded_model(saved: bytes) -> Any:
    """Return the model of a .keras file in memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(saved)
        return keras.saving.load_model(path, compile=False, safe_mode=False)  # a pickle runs code anyway


@dataclass
class _Said:
    """Record of what was said of a model once. Its readers hold it, as a model may be gone before them."""

    range: bool = False


_said: weakref.WeakKeyDictionary[Any, _Said] = weakref.WeakKeyDictionary()


def reader_of(model: Any) -> ModelReader:
    """Return the reader of a model, or a reader unchanged."""
    return model if isinstance(model, ModelReader) else ModelReader(model)


def parts_of(model: Any) -> tuple[int, ...]:
    """Return the identity of a model: it changes with layers and variables (LoRA, quantisation), not with values."""
    return (*map(id, model.layers), *map(id, model.variables))


def check_eager() -> None:
    """Raise a RuntimeError inside a graph, where the results of an explainer cannot become arrays."""
    if not tf.executing_eagerly():
        raise RuntimeError(
            "Expected an explainer to be called eagerly, received a call inside a tf.function, a dataset's map or "
            "TensorFlow 1's graph mode: it compiles graphs of its own and returns NumPy arrays. Call it outside on a "
            "batch, in a Keras callback, or by tf.py_function."
        )


def is_input_layer(layer: Any) -> bool:
    return isinstance(layer, keras.layers.InputLayer)


def check_model(model: Any) -> None:
    """Check that an object is a Keras 3 model on TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"Expected Keras on TensorFlow, received the backend '{keras.backend.backend()}'. "
            "Set KERAS_BACKEND=tensorflow before Keras is imported."
        )
    if isinstance(model, keras.layers.TFSMLayer) or _has_tfsm_layer(model):
        raise TypeError(
            "Expected a Keras model with layers, received a TFSMLayer: a SavedModel holds operations, not layers. Load "
            f"the .keras or .h5 file that it was exported from, or {copy_weights('FOLDER')} and pass the model."
        )
    if isinstance(model, keras.Model):
        return
    received = f"{type(model).__module__}.{type(model).__name__}"
    if isinstance(model, (str, bytes)) or hasattr(model, "__fspath__"):
        remedy = f"Load it first: tf_gradcam.load_model({str(model)!r})."
    elif hasattr(model, "signatures"):
        load = f"load the .keras or .h5 file instead, or {copy_weights('FOLDER')} and pass the model."
        remedy = f"A SavedModel holds operations, not layers: {load}"
    elif type(model).__module__.startswith("tf_keras"):
        remedy = "This is Keras 2: save it by model.save('name.h5') and load that by tf_gradcam.load_model."
    elif type(model).__name__ == "Interpreter":
        remedy = "TensorFlow Lite holds operations, not layers: load the .keras or .h5 file instead."
    else:
        remedy = "Pass the keras.Model itself."
    raise TypeError(f"Expected a Keras 3 model, received {received}. {remedy}")


def _has_tfsm_layer(model: Any) -> bool:
    inner = getattr(model, "layers", []) if isinstance(model, keras.Model) else []
    return any(isinstance(layer, keras.layers.TFSMLayer) for layer in inner)


def _inputs_as_built(model: Any) -> ModelInputs:
    declared = declared_inputs(model)
    if declared is not None:  # built of inputs and outputs, with a `call` of its own
        return inputs_of_tensors(*declared)
    arguments = call_arguments(model)
    if len(arguments) > 1:
        names, symbols = ", ".join(arguments), ", ".join(f"keras.Input(shape of {name})" for name in arguments)
        raise ValueError(
            f"Expected a model whose `call` takes one argument, a tensor, list or dict, received '{model.name}' with "
            f"call({names}). Wrap it: {names} = {symbols}; "
            f"wrapped = keras.Model([{names}], model({names})). It takes a list."
        )
    shapes = built_input_shapes(model)
    if shapes is None and model.built and any(layer.built and layer.weights for _, layer in sublayers(model)):
        raise ValueError(
            f"Model '{model.name}' has been called, but Keras kept no input shape, because TensorFlow could not trace "
            f"the call. {UNTRACEABLE}"
        )
    if shapes is None:
        fact = f"Model '{model.name}' has no input shape yet."
        build = "Call it once on a batch, model(images), or build it with model.build(input_shape), then explain it."
        option = "In Python call it once on a batch, load its weights, and save it by model.save('name.keras')."
        raise ValueError(Message(fact, build, option))
    return inputs_of_shapes(shapes)


# Names that Keras gives to inputs without a name.
_UNNAMED = re.compile(r"(keras_tensor|input_layer|input|images)(_\d+)?")


@dataclass(frozen=True)
class ModelInputs:
    """The inputs of a model, flat, in its own order.

    Attributes:
        names: one per input.
        specs: `tf.TensorSpec` per input, batch free.
        structure: the names, structured as the model's argument (a name, list, tuple or dict).
        batch_size: number of images that the model takes at a time, None for any.
        picture: position of the input that a layer belongs to; None for the images of the whole model.
        is_declared: whether the model declares its inputs, with their dtypes.
        usual_size: (height, width) in pixels of the images that the model's preprocessor makes; None without one.
    """

    names: list[str]
    specs: list[tf.TensorSpec]
    structure: Any
    batch_size: int | None = None
    picture: int | None = None
    is_declared: bool = True
    usual_size: tuple[int, int] | None = None

    @property
    def packed_specs(self) -> Any:
        """The specs in the structure of the model's argument."""
        return keras.tree.pack_sequence_as(self.structure, self.specs)

    def as_given(self, images: Images) -> ModelInputs:
        """Return these inputs with the whole numbers of the caller, where the model does not declare its dtypes.

        Floats enter as float32, as Keras casts them; whole numbers reach a subclassed model as they are.
        """
        if self.is_declared:
            return self
        arrays = [_as_array(array, title) for array, title in zip(self.ordered(images), self._titles, strict=True)]
        kinds = [tf.as_dtype(array.dtype) for array in arrays]
        specs = [
            spec if kind.is_floating else tf.TensorSpec(spec.shape, kind)
            for spec, kind in zip(self.specs, kinds, strict=True)
        ]
        return self if specs == self.specs else replace(self, specs=specs)

    @property
    def image_index(self) -> int:
        """The position of the images: `picture`, else the first input of rank 4 or more, else of highest rank."""
        if self.picture is not None:
            return self.picture
        ranks = [min(spec.shape.rank or 0, 4) for spec in self.specs]
        return ranks.index(max(ranks))

    @property
    def image_shape(self) -> tuple[int | None, ...]:
        return tuple(self.specs[self.image_index].shape)

    def series(self, arrays: Sequence[Any]) -> NDArray[Any] | None:
        """Return the signals or token numbers (B, T0) of an input without other axes, None for other inputs."""
        array = arrays[self.image_index]
        return np.asarray(array) if len(array.shape) == 2 else None

    def flatten(self, images: Images) -> list[Any]:
        """Return a batch as arrays in the model's order, checked against the model's inputs.

        Raises:
            TypeError: not numbers, or not the structure of the model's inputs.
            ValueError: wrong rank, size or channels, batches of different length, or an empty batch.
        """
        arrays = [
            _checked(_as_array(array, title), spec, title, self.names)
            for array, spec, title in zip(self.ordered(images), self.specs, self._titles, strict=True)
        ]
        lengths = {name: int(array.shape[0]) for array, name in zip(arrays, self.names, strict=True)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"Expected inputs of one batch size, received {lengths}.")
        if 0 in lengths.values():
            raise ValueError("Expected at least one image, received an empty batch.")
        return arrays

    @property
    def _titles(self) -> list[str]:
        """Names of the inputs in messages; "the images" for a single input without a name of its own."""
        if len(self.names) == 1 and _UNNAMED.fullmatch(self.names[0]):
            return ["the images"]
        return [f"input '{name}'" for name in self.names]

    def ordered(self, images: Any) -> list[Any]:
        """Return the inputs of a batch in the model's order."""
        if _is_deep(self.structure):
            return self._order_deep(images)
        if isinstance(images, Mapping):
            missing = [name for name in self.names if name not in images]
            if missing:
                raise TypeError(f"Expected inputs named {self.names}, received {list(images)}: {missing} missing.")
            return [images[name] for name in self.names]
        if len(self.names) == 1:
            is_wrapped = isinstance(images, (list, tuple)) and len(images) == 1 and np.ndim(images[0]) > 0
            wanted = self.specs[0].shape.rank
            return [images[0]] if is_wrapped and np.ndim(images[0]) == wanted else [images]
        if isinstance(images, (list, tuple)) and len(images) == len(self.names):
            return list(images)
        raise TypeError(
            f"Expected {len(self.names)} inputs {self.names} as a list in this order or as a dict, "
            f"received {_described(images)}."
        )

    def _order_deep(self, images: Any) -> list[Any]:
        """Flatten nested lists and dicts in the order of the names."""
        parts: list[Any] = []
        try:
            keras.tree.map_structure_up_to(self.structure, lambda _, part: parts.append(part), self.structure, images)
        except (TypeError, ValueError) as error:
            raise TypeError(f"Expected inputs like {self.structure}, received {_described(images)}.") from error
        return parts


def _as_array(array: Any, title: str) -> Any:
    """Return an array of numbers; a tensor stays a tensor."""
    if isinstance(array, (tf.SparseTensor, tf.RaggedTensor, keras.KerasTensor)):
        raise TypeError(f"Expected a dense array for {title}, received {type(array).__name__}. Make it dense first.")
    _refuse_non_array(array, title)
    if tf.is_tensor(array):
        is_number = array.dtype.is_floating or array.dtype.is_integer or array.dtype.is_bool
    else:
        try:
            array = np.asarray(array)
        except ValueError as error:
            is_labelled = isinstance(array, tuple) and len(array) == 2 and np.ndim(array[0]) > np.ndim(array[1])
            remedy = "of (images, labels) pass the images alone, batch[0]" if is_labelled else _ONE_SIZE
            message = f"Expected {title} as one array, received arrays of different shapes: {remedy}."
            raise ValueError(message) from error
        if array.dtype == object and array.ndim == 0:
            raise TypeError(f"Expected numbers for {title}, received dtype object, of {type(array.item()).__name__}.")
        is_number = array.dtype.kind in "biuf"
    if not is_number:
        raise TypeError(f"Expected numbers for {title}, received dtype {getattr(array.dtype, 'name', '')}.")
    return array


_ONE_SIZE = "resize the images to one size"


def _refuse_non_array(images: Any, title: str) -> None:
    """Raise TypeError for a path, an open picture or a data set, and name the way to an array."""
    if remedy := _remedy(images):
        raise TypeError(f"Expected {title} as an array of numbers, received {remedy}.")


def _remedy(images: Any) -> str:
    """Describe a value that is not an array, and the way to an array; "" for a possible array."""
    first = images[0] if isinstance(images, (list, tuple)) and images else images
    if isinstance(first, (str, bytes, os.PathLike)):
        name = os.fsdecode(first)
        if images is not first and len(images) > 1:
            return (
                f"the path '{name}' and {len(images) - 1} more: read them with np.concatenate([get_img_array(path, "
                "size=(height, width)) for path in paths]) and scale them as the model was trained"
            )
        return (
            f"the path '{name}': read it with get_img_array('{name}', size=(height, width)) and scale it as the model "
            "was trained"
        )
    if isinstance(images, tf.data.Dataset):
        return "a tf.data.Dataset: explain a batch of it at a time, for example next(iter(dataset))[0]"
    if isinstance(images, keras.utils.PyDataset):
        return (
            f"the keras.utils.PyDataset {type(images).__name__}: explain a batch of it at a time, for example "
            "dataset[0][0], the images of its first batch"
        )
    if isinstance(images, Iterator):
        return (
            f"the iterator {type(images).__name__}: explain a batch of it at a time, for example next(batches), or "
            "next(batches)[0] where it yields (images, labels)"
        )
    if (
        isinstance(images, Iterable)
        and not isinstance(images, (Sequence, Mapping))
        and not hasattr(images, "__array__")
    ):
        return (
            f"{type(images).__name__}, which is iterated over: explain a batch of it at a time, as an array, for "
            "example np.asarray(next(iter(data))[0])"
        )
    if type(images).__module__.startswith("PIL."):
        return (
            f"the picture {type(images).__name__}: np.asarray(picture.convert('RGB').resize((width, height)))[None] "
            "is a batch of one, 0..255; scale it as the model was trained"
        )
    return "None" if images is None else ""


def _checked(array: Any, spec: tf.TensorSpec, title: str, names: list[str]) -> Any:
    """Check the shape of an array against a spec, and cast it to the spec's dtype."""
    expected = tuple(spec.shape)
    received = tuple(array.shape)
    if len(received) != len(expected):
        raise ValueError(_wrong_rank(title, expected, received, names))
    if any(want is not None and want != have for want, have in zip(expected[1:], received[1:], strict=True)):
        raise ValueError(_wrong_size(title, expected, received))
    if tf.is_tensor(array):
        return tf.cast(array, spec.dtype)
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, and is reported later
        return array.astype(spec.dtype.as_numpy_dtype, copy=False)


def _wrong_rank(title: str, expected: tuple[Any, ...], received: tuple[int, ...], names: list[str]) -> str:
    is_grey = len(names) == 1 and 2 <= len(received) < len(expected) == 4 and received[-1] != expected[-1]
    if is_grey and expected[-1] in (1, 3):
        batch = "images[None, ..., None]" if len(received) == 2 else "images[..., None]"
        remedy = f"grey pictures need an axis of channels: np.repeat({batch}, {expected[-1]}, axis=-1)"
    elif len(received) == len(expected) - 1:
        remedy = "a single image needs a batch axis: images[None]"
    elif len(names) > 1:
        remedy = f"the inputs of this model are, in this order, {names}"
    else:
        remedy = "reshape it"
    return f"Expected {title} of shape {shown(expected)}, received {received}: {remedy}."


def _wrong_size(title: str, expected: tuple[Any, ...], received: tuple[int, ...]) -> str:
    if expected[-1] is not None and expected[-1] != received[-1]:
        if len(received) == 4 and received[1] == expected[-1]:
            remedy = "the channels come last: np.moveaxis(images, 1, -1)"
        elif received[-1] == 1 and expected[-1] == 3:
            remedy = "repeat the grey channel: np.repeat(images, 3, axis=-1)"
        elif received[-1] == 4 and expected[-1] == 3:
            remedy = "drop the alpha channel: images[..., :3]"
        else:
            remedy = f"the model expects {expected[-1]} channels"
    else:
        size = "x".join(str(side) for side in expected[1:-1])
        remedy = f"resize to {size} (get_img_array(path, size={tuple(expected[1:-1])}))"
    return f"Expected {title} of shape {shown(expected)}, received {received}: {remedy}."


def shown(shape: Sequence[int | None] | tf.TensorShape) -> str:
    """Write a shape with B for the batch axis and None for free axes."""
    if isinstance(shape, tf.TensorShape) and shape.rank is None:
        return "(unknown)"
    return "(" + ", ".join(["B", *(str(side) for side in shape[1:])]) + ")"


def _described(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{type(value).__name__} of shape {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__


def _is_deep(structure: Any) -> bool:
    """Return whether the inputs are a list or dict of lists or dicts."""
    items = structure.values() if isinstance(structure, dict) else structure
    return not isinstance(structure, str) and not all(isinstance(item, str) for item in items)


def inputs_of_tensors(tensors: Sequence[Any], structure: Any) -> ModelInputs:
    """Return the inputs of a model that declares them: names, shapes and dtypes of its `keras.Input`s."""
    specs = []
    for tensor in tensors:
        # Floats enter as float32 whatever the policy: the model casts them itself.
        dtype = "float32" if tensor.dtype in ("float16", "bfloat16") else tensor.dtype
        specs.append(tf.TensorSpec((None, *tensor.shape[1:]), dtype))
    is_flat_dict = isinstance(structure, dict) and not _is_deep(structure)
    names = sorted(structure) if is_flat_dict else keras.tree.flatten(structure)
    return ModelInputs(names, specs, structure, next((t.shape[0] for t in tensors if t.shape[0] is not None), None))


def inputs_of_shapes(shapes: Any) -> ModelInputs:
    """Return the inputs of a model without a graph, from the shapes that it was built with."""
    is_shape = isinstance(shapes, (list, tuple)) and all(side is None or isinstance(side, int) for side in shapes)
    if is_shape:
        return ModelInputs(
            ["images"], [tf.TensorSpec((None, *shapes[1:]), "float32")], "images", shapes[0], is_declared=False
        )
    items = shapes.items() if isinstance(shapes, Mapping) else enumerate(shapes)
    named = {str(key) if isinstance(shapes, Mapping) else f"input_{key}": shape for key, shape in items}
    structure: Any = {name: name for name in named} if isinstance(shapes, Mapping) else list(named)
    names = keras.tree.flatten(structure)
    specs = [tf.TensorSpec((None, *named[name][1:]), "float32") for name in names]
    return ModelInputs(names, specs, structure, next(iter(named.values()))[0], is_declared=False)


def one_image(image: Images, rank: int = 4) -> Any:
    """Return a batch (1, H0, W0, C) of one image, given with or without the batch axis; several inputs unchanged.

    `rank` is the number of axes of the model's images, 3 without an axis of channels.

    Raises:
        TypeError: a path, a data set or a Pillow picture.
        ValueError: another shape.
    """
    if isinstance(image, (list, tuple, Mapping)):
        return image
    _refuse_non_array(image, "the image")
    array = np.asarray(image)
    images = array[None] if array.ndim == rank - 1 else array
    if images.ndim != rank or len(images) != 1:
        wanted = "(H0, W0, 3) or (1, H0, W0, 3)" if rank == 4 else "(H0, W0) or (1, H0, W0)"
        raise ValueError(f"Expected one image, {wanted}, received {array.shape}. Pass one image at a time.")
    return images
