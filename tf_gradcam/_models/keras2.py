"""Models that Keras 1 and 2 wrote: the configuration is repaired, the network built, every weight found its place.

Keras 3 refuses much of what they wrote, and reads some of it with another meaning (`hard_sigmoid`).
"""

from __future__ import annotations

import contextlib
import inspect
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras
import numpy as np

from tf_gradcam._models.keras2_ops import apply
from tf_gradcam._models.keras_internals import application_layers, name_operations, sublayers
from tf_gradcam._models.safety import OwnClassError, reason_of


class CannotRepairError(ValueError):
    """What of a file of Keras 2 has no counterpart in Keras 3."""


# 1. The table: class, argument, and the change that Keras 3 needs.

ANYTHING = object()


class ArgumentRow(NamedTuple):
    """One argument that Keras 3 does not take.

    Attributes:
        layers: pattern of class names.
        argument: its name in Keras 1 or 2.
        new: its name in Keras 3; None to leave it out.
        values: the values for which the result is the same without it; (ANYTHING,) for all.
        convert: from the old value to the new.
        is_silent: not worth a line in the note.
    """

    layers: str
    argument: str
    new: str | None = None
    values: tuple[Any, ...] = (ANYTHING,)
    convert: Callable[[Any], Any] = lambda value: value
    is_silent: bool = False


def _layout(value: str) -> str | None:
    return {"tf": "channels_last", "th": "channels_first"}.get(value)


_CONV = r"(Conv|SeparableConv|DepthwiseConv|LocallyConnected)\d?D?(Transpose)?"
_RNN = "LSTM|GRU|SimpleRNN|(LSTM|GRU|SimpleRNN)Cell|RNN|ConvLSTM[123]D"
TABLE = (
    # Keras 2. A row counts where the class of Keras 3 does not have the argument.
    ArgumentRow(".*", "batch_input_shape", is_silent=True),
    ArgumentRow(
        ".*", "batch_shape|input_shape|input_dtype|batch_size|input_length|weights|ragged|sparse", is_silent=True
    ),
    ArgumentRow(".*", "dynamic", values=(False, None)),
    ArgumentRow(_CONV, "groups", values=(1, None)),
    ArgumentRow(r"(Depthwise|Separable)Conv\dD", "kernel_(initializer|regularizer|constraint)", is_silent=True),
    ArgumentRow(_RNN, "time_major", values=(False, None)),
    ArgumentRow(_RNN, "implementation|consume_less|zero_output_for_mask", is_silent=True),
    ArgumentRow("BatchNormalization", "fused|renorm_clipping|renorm_momentum|zero_debias_moving_mean", is_silent=True),
    ArgumentRow("BatchNormalization", "renorm", values=(False, None)),
    ArgumentRow("BatchNormalization", "virtual_batch_size|adjustment", values=(None,)),
    ArgumentRow("BatchNormalization", "mode", values=(0, None)),
    ArgumentRow("MultiHeadAttention", "query_shape|key_shape|value_shape", is_silent=True),
    ArgumentRow("Bidirectional", "num_constants", is_silent=True),
    ArgumentRow("LeakyReLU", "alpha", "negative_slope"),
    ArgumentRow("ReLU", "theta", "threshold", is_silent=True),
    ArgumentRow(".*Dropout.*", "noise_shape", values=(None,), is_silent=True),
    ArgumentRow("Resizing", "seed", is_silent=True),
    ArgumentRow("Attention", "causal", values=(False,)),
    # Keras 1.
    ArgumentRow(_CONV, "nb_filter", "filters"),
    ArgumentRow(_CONV, "subsample|subsample_length", "strides", is_silent=True),
    ArgumentRow(_CONV, "filter_length", "kernel_size", is_silent=True),
    ArgumentRow(_CONV, "atrous_rate", "dilation_rate", is_silent=True),
    ArgumentRow(".*Pooling1D", "pool_length", "pool_size"),
    ArgumentRow(".*Pooling1D", "stride", "strides", is_silent=True),
    ArgumentRow(".*", "border_mode", "padding", is_silent=True),
    ArgumentRow(".*", "dim_ordering", "data_format", convert=_layout, is_silent=True),
    ArgumentRow(".*", "W_regularizer", "kernel_regularizer", is_silent=True),
    ArgumentRow(".*", "b_regularizer", "bias_regularizer", is_silent=True),
    ArgumentRow(".*", "W_constraint", "kernel_constraint", is_silent=True),
    ArgumentRow(".*", "b_constraint", "bias_constraint", is_silent=True),
    ArgumentRow(".*", "init", "kernel_initializer", is_silent=True),
    ArgumentRow(".*", "inner_init", "recurrent_initializer", is_silent=True),
    ArgumentRow(".*", "inner_activation", "recurrent_activation", is_silent=True),
    ArgumentRow(".*", "forget_bias_init|U_regularizer|W_learning_rate_multiplier", is_silent=True),
    ArgumentRow(_RNN, "dropout_W", "dropout", is_silent=True),
    ArgumentRow(_RNN, "dropout_U", "recurrent_dropout", is_silent=True),
    ArgumentRow("Dense|" + _RNN, "output_dim", "units"),
    ArgumentRow(".*", "input_dim", is_silent=True),
    ArgumentRow(".*", "bias", "use_bias", is_silent=True),
    ArgumentRow("BatchNormalization", "gamma_init|beta_init|gamma_regularizer|beta_regularizer", is_silent=True),
    ArgumentRow(".*Dropout.*", "p", "rate"),
    ArgumentRow("GaussianNoise", "sigma", "stddev"),
)

# Names of classes in Keras 1, in TensorFlow 1 and under `experimental`.
CLASSES = {
    **{f"Convolution{n}D": f"Conv{n}D" for n in (1, 2, 3)},
    **{"SeparableConvolution2D": "SeparableConv2D", "AtrousConvolution2D": "Conv2D"},
    **{"Deconvolution2D": "Conv2DTranspose", "SyncBatchNormalization": "BatchNormalization"},
    **{"ThresholdedReLU": "ReLU", "RandomHeight": "Identity", "RandomWidth": "Identity", "RandomCrop": "Resizing"},
    **{"UnifiedLSTM": "LSTM", "UnifiedGRU": "GRU", "TimeDistributedDense": "Dense"},
}
MERGES = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate", "dot": "Dot"}
FORBIDDEN = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
OPERATIONS = {"TFOpLambda": "function", "SlicingOpLambda": "function"}
_OBJECTS = {"initializer": "initializers", "regularizer": "regularizers", "constraint": "constraints"}


@keras.saving.register_keras_serializable("tf_gradcam")
def keras2_hard_sigmoid(x: Any) -> Any:
    """The hard sigmoid of Keras 1 and 2, which has another slope than Keras 3's."""
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def load_repaired(path: Path, config: Any, custom_objects: Mapping[str, Any]) -> tuple[Any, str]:
    """Build the network of a file of Keras 1 or 2, and fill in its weights.

    Args:
        path: a .keras or .h5 file.
        config: of its layers.
        custom_objects: the user's classes and functions by name.

    Returns:
        The model, and the repairs in words ("" for none).

    Raises:
        CannotRepairError: a layer, an argument or a weight has no counterpart.
        OwnClassError: a class or a function of the user's is needed.
    """
    builder = _Builder(custom_objects)
    model = builder.build(config)
    if not getattr(model, "built", False) or not isinstance(model, keras.Model):
        raise CannotRepairError("the file does not say which shape the images have")
    with _weights_in(path) as file:
        count = _Weights(builder.parts).fill(model, file)
    repairs = [f"{text} ({times} x)" if times > 1 else text for text, times in builder.repairs.items()]
    return model, f"{'; '.join(repairs)}. All {count} weights in the file found their places" if repairs else ""


# 2. The network.


class _Builder:
    """Builds layers and networks from a configuration.

    Attributes:
        parts: id of a network -> (name in the file, class in the file, layer) of each of its layers.
        repairs: what was changed -> how often.
    """

    def __init__(self, custom_objects: Mapping[str, Any]):
        self.parts: dict[int, list[tuple[str, str, Any]]] = {}
        self.repairs: Counter[str] = Counter()
        self._custom = custom_objects

    def build(self, item: Any) -> Any:
        """Return the layer or the network of a serialised item."""
        if not isinstance(item, Mapping) or "class_name" not in item or "config" not in item:
            raise CannotRepairError(f"the file holds {str(item)[:80]!r} where a layer is expected")
        kind, config = str(item["class_name"]), item["config"]
        if kind in ("Functional", "Model") and "output_layers" in config:
            return self._functional_model(config)
        if kind == "Sequential":
            return self._sequential(config, item.get("build_config") or {})
        name = str(config.get("name", item.get("name", "")))
        try:
            return self._layer(kind, dict(config))
        except (CannotRepairError, OwnClassError):
            raise
        except Exception as error:  # from whatever a layer's constructor raises
            raise CannotRepairError(f"layer '{name}', a {kind}: {reason_of(error)}") from error

    def _layer(self, kind: str, config: dict[str, Any]) -> Any:
        own = self._custom.get(kind) or self._custom.get(kind.rpartition(">")[2]) or _registered(kind)
        if own is not None:
            return own.from_config(config)
        kind = kind.rpartition(">")[2]
        if kind == "Merge":
            kind, config = self._merge(config)
        known = CLASSES.get(kind, kind)
        known = known if hasattr(keras.layers, known) else re.sub(r"V[12]$", "", known)
        inside = application_layers()
        layer_class = inside.get(known) or getattr(keras.layers, known, None)
        if known in FORBIDDEN or not (inspect.isclass(layer_class) and issubclass(layer_class, keras.layers.Layer)):
            if kind in OPERATIONS:
                raise CannotRepairError(f"layer '{config.get('name')}' is a {kind}, and the file does not say of what")
            if kind in _LOST:
                raise CannotRepairError(f"layer '{config.get('name')}' is a {kind}, which Keras 3 does not have")
            raise OwnClassError(kind)
        if known != kind:
            self.repairs[f"{kind} became {known}"] += 1
        config = self._config(known, config, layer_class)
        if kind == "RandomCrop":  # Keras 3 does not crop outside training
            config = {**config, "crop_to_aspect_ratio": True}
        elif known == "Identity":
            config = {key: config[key] for key in ("name", "trainable", "dtype") if key in config}
        if isinstance(config.get("vocabulary"), str):
            raise CannotRepairError(f"layer '{config.get('name')}' reads its vocabulary from another file")
        if known in inside or any(isinstance(leaf, keras.layers.Layer) for leaf in keras.tree.flatten(config)):
            return layer_class(**config)
        item = {"module": "keras.layers", "class_name": known, "config": config, "registered_name": None}
        return keras.saving.deserialize_keras_object(item, safe_mode=True)

    def _merge(self, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        mode = config.get("mode")
        if mode not in MERGES:
            raise CannotRepairError(f"layer '{config.get('name')}' merges by {mode!r}, which Keras 3 does not do")
        kept = {"name": config.get("name")}
        if mode in ("concat", "dot"):
            axis = config.get(f"{mode}_axis{'es' if mode == 'dot' else ''}", -1)
            kept["axis" if mode == "concat" else "axes"] = axis
        self.repairs[f"Merge became {MERGES[mode]}"] += 1
        return MERGES[mode], kept

    def _config(self, kind: str, config: dict[str, Any], layer_class: type) -> dict[str, Any]:
        """Return the arguments that Keras 3 takes."""
        accepted = inspect.signature(layer_class).parameters
        result: dict[str, Any] = {}
        if {"nb_row", "nb_col"} & config.keys():
            result["kernel_size"] = (config.pop("nb_row"), config.pop("nb_col"))
        for argument, value in config.items():
            row = None if argument in accepted else _row(kind, argument)
            if row is None:
                result[argument] = self._argument(kind, argument, value)
                continue
            if row.values != (ANYTHING,) and value not in row.values:
                where = f"layer '{config.get('name')}', a {kind}"
                raise CannotRepairError(f"{where}, has {argument}={value!r}, which Keras 3 does not have")
            if row.new is not None:
                result.setdefault(row.new, self._argument(kind, row.new, row.convert(value)))
            if not row.is_silent:
                fate = f"became {row.new}" if row.new else f"({value!r}) left out"
                self.repairs[f"{argument} of {kind} {fate}"] += 1
        if kind in ("GRU", "GRUCell") and "reset_after" not in result:
            result["reset_after"] = False
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
            result = {key: value for key, value in result.items() if key in accepted or key != "trainable"}
        if "/" in str(result.get("name")):
            result["name"] = result["name"].replace("/", "_")
            self.repairs["'/' in a name became '_'"] += 1
        return result

    def _argument(self, kind: str, argument: str, value: Any) -> Any:
        """Return one argument as Keras 3 takes it."""
        if argument == "dtype":
            return _policy(value)
        if argument.endswith("activation"):
            return self._activation(value)
        if (suffix := argument.rpartition("_")[2]) in _OBJECTS:
            return self._object(_OBJECTS[suffix], value)
        if argument in ("layer", "backward_layer", "cell") and isinstance(value, Mapping):
            return self.build(value)
        if argument == "cells":
            return [self.build(cell) for cell in value]
        value = plain(value)
        if argument == "axis" and kind in ("BatchNormalization", "Concatenate") and isinstance(value, (list, tuple)):
            if len(value) != 1:
                raise CannotRepairError(f"{kind} over the axes {list(value)}, which Keras 3 does not do")
            return value[0]
        return value

    def _activation(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            if value.get("class_name") != "function":
                return self.build(value)
            value = value.get("config")
        if value is None or callable(value):
            return value
        name = str(value)
        known = re.sub(r"_v\d$", "", name)
        if known == "hard_sigmoid":
            self.repairs["hard_sigmoid is that of Keras 2"] += 1
            return keras2_hard_sigmoid
        if name in self._custom:
            return self._custom[name]
        if not hasattr(keras.activations, known) or known in ("get", "serialize", "deserialize"):
            raise OwnClassError(name)
        if known != name:
            self.repairs[f"activation {name} became {known}"] += 1
        return known

    def _object(self, module: str, value: Any) -> Any:
        """Return an initializer, a regularizer or a constraint; None where Keras 3 does not know it.

        None of them changes what a trained network computes.
        """
        known = vars(keras)[module]
        if isinstance(value, Mapping):
            kind, config = str(value.get("class_name")), dict(value.get("config") or {})
            config.pop("dtype", None)
            if config.get("distribution") == "normal":
                config["distribution"] = "truncated_normal"
            value = {"class_name": re.sub(r"V[12]$", "", kind), "config": {k: plain(v) for k, v in config.items()}}
        try:
            return known.get(value)
        except Exception:
            self.repairs[f"{module} that Keras 3 does not know were left out (they matter in training only)"] += 1
            return known.get("zeros" if module == "initializers" else None)

    def _input(self, config: Mapping[str, Any]) -> dict[str, Any]:
        if config.get("sparse") or config.get("ragged"):
            raise CannotRepairError(f"input '{config.get('name')}' is sparse or ragged")
        shape = plain(config.get("batch_input_shape", config.get("batch_shape")))
        if shape is None:
            raise CannotRepairError("the file does not say which shape the images have")
        name = str(config["name"]).replace("/", "_") if config.get("name") else None
        dtype = config.get("dtype") or config.get("input_dtype") or "float32"
        return {"batch_shape": tuple(shape), "dtype": _policy(dtype).rpartition("mixed_")[2], "name": name}

    def _sequential(self, config: Any, build_config: Mapping[str, Any]) -> Any:
        config = {"layers": config} if isinstance(config, list) else config
        items = [item for item in config["layers"] if item["class_name"] != "InputLayer"]
        parts = [(_name(item), str(item["class_name"]), self.build(item)) for item in items]
        layers = [layer for _, _, layer in parts]
        entrance = dict(config["layers"][0]["config"]) if config["layers"] else {}
        if isinstance(entrance, dict) and not ({"batch_input_shape", "batch_shape"} & entrance.keys()):
            shape = config.get("build_input_shape") or build_config.get("input_shape")
            entrance = {"batch_input_shape": shape} if shape else {}
        if entrance:
            name = entrance.get("name") if config["layers"][0]["class_name"] == "InputLayer" else None
            layers.insert(0, keras.layers.InputLayer(**self._input({**entrance, "name": name})))
        model = keras.Sequential(layers, name=config.get("name"))
        self.parts[id(model)] = parts
        return model

    def _functional_model(self, config: Mapping[str, Any]) -> Any:
        graph = _Graph(self, config)
        inputs, outputs = graph.tensors(config["input_layers"]), graph.tensors(config["output_layers"])
        model = keras.Model(inputs, outputs, name=config.get("name"))
        if config.get("trainable") is False:
            model.trainable = False
        self.parts[id(model)] = graph.parts
        return model


_LOST = {"LocallyConnected1D", "LocallyConnected2D", "CuDNNLSTM", "CuDNNGRU", "DenseFeatures", "MaxoutDense", "Highway"}
_LOST |= {"ClassMethod", "InstanceMethod", "InstanceProperty", "TensorFlowOpLayer", "AbstractRNNCell"}


def _registered(kind: str) -> Any:
    """Return the class that the user registered under this name, or None."""
    own = keras.saving.get_registered_object(kind)
    return own if inspect.isclass(own) and issubclass(own, keras.layers.Layer) else None


def _row(kind: str, argument: str) -> ArgumentRow | None:
    return next((r for r in TABLE if re.fullmatch(r.argument, argument) and re.fullmatch(r.layers, kind)), None)


def _name(item: Mapping[str, Any]) -> str:
    config = item["config"]
    return str(item.get("name") or (config.get("name") if isinstance(config, Mapping) else None))


def _policy(value: Any) -> str:
    """Return the name of a data type or of a policy of mixed precision."""
    if isinstance(value, Mapping):
        value = (value.get("config") or {}).get("name")
    name = re.sub(r"<dtype: '(\w+)'>", r"\1", str(value or "float32"))
    return "float32" if name.startswith(("infer", "_infer")) else name


def plain(value: Any) -> Any:
    """Return a value of a configuration without the wrappings of Keras 2."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    kind = value.get("class_name")
    if kind in ("__tuple__", "TensorShape"):
        return tuple(plain(value["items"]))
    if kind in ("__ellipsis__", "__tensor__", "__numpy__"):
        return ... if kind == "__ellipsis__" else plain(value["config"]["value"])
    if value.get("type") == "ndarray":
        return plain(value["value"])
    if {"start", "stop", "step"} == value.keys():
        return slice(value["start"], value["stop"], value["step"])
    return {key: plain(item) for key, item in value.items()}


class _Graph:
    """The layers of a functional network, each called as its nodes say."""

    def __init__(self, builder: _Builder, config: Mapping[str, Any]):
        self.parts: list[tuple[str, str, Any]] = []
        self._builder = builder
        self._items = {_name(item): item for item in config["layers"]}
        self._layers: dict[str, Any] = {}
        self._outputs: dict[tuple[str, int], list[Any]] = {}
        self._shifted = set()
        for name, item in self._items.items():
            self._prepare(name, item)
        waiting = [(name, number) for name, item in self._items.items() for number in range(len(item["inbound_nodes"]))]
        self._shifted = {name for name in self._layers if self._is_network(name)} & self._read_past_the_end(config)
        while waiting:
            late = [node for node in waiting if not self._call(*node)]
            if len(late) == len(waiting):
                raise CannotRepairError(f"layer '{late[0][0]}' reads a tensor that the file does not describe")
            waiting = late

    def _prepare(self, name: str, item: Mapping[str, Any]) -> None:
        if item["class_name"] == "InputLayer":
            self._outputs[name, 0] = [keras.Input(**self._builder._input(item["config"]))]
            return
        if item["class_name"] in OPERATIONS:
            return
        self._layers[name] = self._builder.build(item)
        self.parts.append((name, str(item["class_name"]), self._layers[name]))

    def _is_network(self, name: str) -> bool:
        return isinstance(self._layers[name], keras.Model)

    def _read_past_the_end(self, config: Mapping[str, Any]) -> set[str]:
        """Return the layers whose calls are counted from 1: networks inside a network."""
        leaves = [config["output_layers"], *(item["inbound_nodes"] for item in self._items.values())]
        found = set()
        while leaves:
            leaf = leaves.pop()
            if self._is_reference(leaf):
                name, number = leaf[0], leaf[1]
                found |= {name} if number >= len(self._items[name]["inbound_nodes"]) else set()
                leaves += leaf[3:]
            elif isinstance(leaf, (list, Mapping)):
                leaves += leaf.values() if isinstance(leaf, Mapping) else leaf
        return found

    def _is_reference(self, value: Any) -> bool:
        return (
            isinstance(value, list)
            and len(value) in (3, 4)
            and isinstance(value[0], str)
            and value[0] in self._items
            and all(type(number) is int for number in value[1:3])
        )

    def _call(self, name: str, number: int) -> bool:
        """Make one call of a layer; return False while a tensor that it reads is missing."""
        node = self._items[name]["inbound_nodes"][number]
        try:
            first, arguments = self._arguments(node)
        except KeyError:
            return False
        try:
            if name in self._layers:
                result = self._call_layer(self._layers[name], first, arguments)
            else:
                result = self._operation(name, number, first, arguments)
        except (CannotRepairError, OwnClassError):
            raise
        except Exception as error:
            kind = self._items[name]["class_name"]
            raise CannotRepairError(f"layer '{name}', a {kind}, does not take its input: {reason_of(error)}") from error
        flat = [result] if not isinstance(result, (list, tuple, dict)) else keras.tree.flatten(result)
        is_sizes = isinstance(result, list) and not any(isinstance(item, keras.KerasTensor) for item in flat)
        self._outputs[name, number] = [result] if is_sizes else flat
        return True

    def _call_layer(self, layer: Any, first: Any, arguments: dict[str, Any]) -> Any:
        known = inspect.signature(layer.call).parameters
        arguments = {key: value for key, value in arguments.items() if key in known and value is not None}
        if isinstance(first, list) and isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)):
            first, *state = first
            arguments["initial_state"] = state
        return layer(first, **arguments)

    def _operation(self, name: str, number: int, first: Any, arguments: dict[str, Any]) -> Any:
        function = str(self._items[name]["config"]["function"])
        result = apply(function, first, arguments)
        self._builder.repairs[f"tf.{function.removeprefix('__operators__.')} became keras.ops"] += 1
        # Names of their own: those that Keras gives may be names of layers in the file.
        name_operations(result, [first, arguments], name.replace("/", "_") + (f"_{number}" if number else ""))
        return result

    def _arguments(self, node: Any) -> tuple[Any, dict[str, Any]]:
        """Return the first argument of a call and the others by name.

        Raises:
            KeyError: a tensor that does not exist yet.
        """
        arguments: dict[str, Any] = {}

        def resolved(value: Any) -> Any:
            if self._is_leaf(value):
                arguments.update(self.with_tensors(value[3]) if len(value) == 4 else {})
                return plain(value[2]) if value[0] == "_CONSTANT_VALUE" else self._tensor(value)
            if isinstance(value, Mapping):
                return {key: resolved(item) for key, item in value.items()}
            return [resolved(item) for item in value] if isinstance(value, list) else value

        first = resolved(node)
        return first[0] if isinstance(first, list) and len(first) == 1 else first, arguments

    def _is_leaf(self, value: Any) -> bool:
        return self._is_reference(value) or (isinstance(value, list) and value[:2] == ["_CONSTANT_VALUE", -1])

    def with_tensors(self, value: Any) -> Any:
        """Return a value with its references replaced by tensors."""
        if self._is_leaf(value):
            return plain(value[2]) if value[0] == "_CONSTANT_VALUE" else self._tensor(value)
        if isinstance(value, list):
            return [self.with_tensors(item) for item in value]
        if isinstance(value, Mapping) and not {"class_name", "type"} & value.keys() and "start" not in value:
            return {key: self.with_tensors(item) for key, item in value.items()}
        return plain(value)

    def _tensor(self, reference: Any) -> Any:
        name, number, index = reference[:3]
        return self._outputs[name, number - (name in self._shifted)][index]

    def tensors(self, references: Any) -> Any:
        """Return the inputs or outputs of the network; one alone without a list."""
        result = self.with_tensors(references)
        return result[0] if isinstance(result, list) and len(result) == 1 else result


# 3. The weights.

_STATES = re.compile(r"(count|statevar|state_var|seed\w*|random_generator.*|_rng.*)(_\d+)?", re.IGNORECASE)
_LEAVES = {"kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance", "recurrent_kernel", "pointwise_kernel"}
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")


@contextlib.contextmanager
def _weights_in(path: Path) -> Iterator[Any]:
    """Open the HDF5 file that holds the weights."""
    with contextlib.ExitStack() as stack:
        source: Any = path
        if zipfile.is_zipfile(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            source = stack.enter_context(archive.open("model.weights.h5"))
        yield stack.enter_context(h5py.File(source, "r"))


class _Weights:
    """Fills a network and verifies it: each array of the file in one variable, each variable from the file."""

    def __init__(self, parts: Mapping[int, list[tuple[str, str, Any]]]):
        self._parts = parts
        self._filled: set[int] = set()
        self._read = 0

    def fill(self, model: Any, file: Any) -> int:
        """Fill in all weights; return their number.

        Raises:
            CannotRepairError: a weight without a place, or a place without a weight.
        """
        if any(key in file for key in _CONTAINERS):
            self._network(model, file)
        else:
            self._groups(model, file.get("model_weights", file))
        empty = [variable.path for variable in model.weights if id(variable) not in self._filled]
        if empty:
            raise CannotRepairError(f"the file has no values for {len(empty)} weights, '{empty[0]}' among them")
        for _, layer in sublayers(model):
            if hasattr(layer, "finalize_state"):
                layer.finalize_state()
        return self._read

    def _groups(self, model: Any, file: Any) -> None:
        """Fill from an .h5 file: a group per layer, with all its weights in order."""
        layers = {name: layer for name, _, layer in self._parts[id(model)]}
        is_theano = _text(file.attrs.get("backend", "")) == "theano"
        for name in _names(file, "layer_names"):
            group = file[name]
            saved = [(key, group[key]) for key in _names(group, "weight_names")]
            if saved and name not in layers:
                raise CannotRepairError(f"the file holds {len(saved)} weights of '{name}', which is not a layer of it")
            if saved:
                self._assign(layers[name], saved, name, is_theano)
        if "top_level_model_weights" in file and _names(file["top_level_model_weights"], "weight_names"):
            raise CannotRepairError("the file holds weights that belong to no layer")

    def _network(self, model: Any, group: Any) -> None:
        """Fill a network from a .keras file: groups are named after classes, in the order of the layers."""
        container: Any = next((group[key] for key in _CONTAINERS if key in group), {})
        is_twice = _CONTAINERS[1] in group  # before 2.14 each layer with weights was counted twice
        used: Counter[str] = Counter()
        rest = set(container)
        for name, kind, layer in self._parts[id(model)]:
            key = _snake_case(kind)
            number = used[key]
            used[key] += 2 if is_twice and layer.weights else 1
            key += f"_{number}" if number else ""
            if key in container:
                rest.discard(key)
                self._tree(layer, container[key], name)
        left = [key for key in rest if _arrays(container[key])]
        if left:
            raise CannotRepairError(f"the file holds weights of '{left[0]}', which is not a layer of it")

    def _tree(self, layer: Any, group: Any, name: str) -> None:
        """Fill a layer, and those inside it, from a group."""
        if id(layer) in self._parts:
            self._network(layer, group)
            return
        inner: set[int] = set()
        for key in group:
            if key == "vars" or not _arrays(group[key]):
                continue
            child = getattr(layer, key, None)
            if isinstance(child, (list, tuple)):
                children = list(zip(sorted(group[key], key=_number), child, strict=True))
                for part, cell in children:
                    self._tree(cell, group[key][part], name)
                inner |= {id(variable) for cell in child for variable in cell.variables}
            elif isinstance(child, keras.layers.Layer):
                self._tree(child, group[key], name)
                inner |= {id(variable) for variable in child.variables}
            else:
                raise CannotRepairError(f"the file holds weights of '{name}/{key}', which is not a part of it")
        own = group.get("vars", {})
        saved = [(key, own[key]) for key in sorted(own, key=int)]
        if isinstance(layer, keras.layers.SpectralNormalization):
            saved = saved[-1:]  # before it the kernel of the layer inside, once more
        weights = [v for v in (*layer.trainable_weights, *layer.non_trainable_weights) if id(v) not in inner]
        self._pair(saved, weights, name)

    def _assign(self, layer: Any, saved: list[tuple[str, Any]], name: str, is_theano: bool) -> None:
        weights = [*layer.trainable_weights, *layer.non_trainable_weights]
        known = {_leaf(variable.path) for variable in weights}
        saved = [(key, array) for key, array in saved if _leaf(key) in known or not _STATES.fullmatch(_leaf(key))]
        by_name = {_ending(variable.path): variable for variable in weights}
        names = [_ending(key) for key, _ in saved]
        if len(by_name) == len(weights) and len(set(names)) == len(names) and set(names) == by_name.keys():
            weights = [by_name[key] for key in names]
        self._pair(saved, weights, name, is_theano)

    def _pair(self, saved: list[tuple[str, Any]], weights: list[Any], name: str, is_theano: bool = False) -> None:
        if len(saved) != len(weights):
            raise CannotRepairError(f"'{name}' has {len(weights)} weights, the file holds {len(saved)} for it")
        for (key, array), variable in zip(saved, weights, strict=True):
            value = np.asarray(array)
            leaves = {_leaf(key), _leaf(variable.path)}
            if tuple(value.shape) != tuple(variable.shape) or (len(leaves) > 1 and leaves <= _LEAVES):
                there = f"'{key}' of the shape {tuple(value.shape)}"
                raise CannotRepairError(f"'{variable.path}' has the shape {tuple(variable.shape)}, the file {there}")
            if is_theano and _leaf(variable.path) == "kernel" and value.ndim == 4:
                value = value[::-1, ::-1]  # Theano turned kernels round
            variable.assign(value)
            if not np.array_equal(np.asarray(variable), value.astype(variable.dtype), equal_nan=True):
                raise CannotRepairError(f"'{variable.path}' does not hold what the file does")
            self._filled.add(id(variable))
            self._read += 1


def _names(group: Any, attribute: str) -> list[str]:
    """Return a list of names, which HDF5 may hold in several pieces."""
    pieces = sorted(
        (key for key in group.attrs if re.fullmatch(rf"{attribute}\d*", key)), key=lambda key: (len(key), key)
    )
    return [_text(name) for piece in pieces for name in group.attrs[piece]]


def _arrays(group: Any) -> list[str]:
    """Return the names of the arrays in a group, without states of random generators."""
    found: list[str] = []
    group.visititems(lambda key, item: found.append(key) if isinstance(item, h5py.Dataset) else None)
    is_state = any(_STATES.fullmatch(part) for part in group.name.split("/")[-1:])
    return [] if is_state else [key for key in found if not any(_STATES.fullmatch(p) for p in key.split("/"))]


def _snake_case(name: str) -> str:
    """Return the name of a class as Keras 2 wrote it in files of weights."""
    name = re.sub(r"\W+", "", name.rpartition(">")[2])
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _number(name: str) -> int:
    found = re.search(r"_(\d+)$", name)
    return int(found[1]) if found else 0


def _leaf(path: str) -> str:
    """Return the last part of the name of a weight, as Keras 3 spells it."""
    leaf = re.sub(r"(_\d+)?(:0)?$", "", path.rpartition("/")[2])
    return "kernel" if leaf == "depthwise_kernel" else leaf


def _ending(path: str) -> str:
    return "/".join([*path.split("/")[-2:-1], _leaf(path)])
