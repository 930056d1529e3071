"""Models that Keras 1 and 2 wrote: the configuration is repaired, the network built, every weight found its place.

Keras 3 refuses much of what they wrote, and reads some of it with another meaning (`hard_sigmoid`).
"""

from __future__ import annotations

import contextlib
import inspect
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from tf_gradcam._models.keras2_ops import apply
from tf_gradcam._models.keras_internals import application_layers, name_operations, sublayers
from tf_gradcam._models.safety import OwnClassError, reason_of
from tf_gradcam._models.weights_only import CONTAINERS, names_in, numbered


class CannotRepairError(ValueError):
    """What of a file of Keras 2 has no counterpart in Keras 3."""


# 1. What Keras 3 does not have.

# Arguments of Keras 1 and 2 and their names in Keras 3; a layer that still has the old name keeps it.
_RENAMED = """
alpha=negative_slope theta=threshold nb_filter=filters subsample=strides subsample_length=strides stride=strides
filter_length=kernel_size atrous_rate=dilation_rate pool_length=pool_size border_mode=padding dim_ordering=data_format
W_regularizer=kernel_regularizer b_regularizer=bias_regularizer U_regularizer=recurrent_regularizer
W_constraint=kernel_constraint b_constraint=bias_constraint init=kernel_initializer inner_init=recurrent_initializer
gamma_init=gamma_initializer beta_init=beta_initializer inner_activation=recurrent_activation dropout_W=dropout
dropout_U=recurrent_dropout output_dim=units bias=use_bias p=rate sigma=stddev concat_axis=axis dot_axes=axes
"""
RENAMED = dict(pair.split("=") for pair in _RENAMED.split())
# Arguments that change no prediction, whatever their value. Another is left out where it is None, False, or as here.
_IGNORED = """
batch_input_shape batch_shape input_shape input_dim input_dtype batch_size input_length weights ragged sparse trainable
implementation consume_less fused renorm_clipping renorm_momentum zero_debias_moving_mean seed
query_shape key_shape value_shape num_constants forget_bias_init W_learning_rate_multiplier
"""
IGNORED = frozenset(_IGNORED.split())
NEUTRAL = {"groups": 1}

# Names of classes in Keras 1, in TensorFlow 1 and under `experimental`.
_CLASSES = """
Convolution1D=Conv1D Convolution2D=Conv2D Convolution3D=Conv3D SeparableConvolution2D=SeparableConv2D
AtrousConvolution2D=Conv2D Deconvolution2D=Conv2DTranspose TimeDistributedDense=Dense UnifiedLSTM=LSTM UnifiedGRU=GRU
SyncBatchNormalization=BatchNormalization ThresholdedReLU=ReLU RandomHeight=Identity RandomWidth=Identity
RandomCrop=Resizing
"""
CLASSES = dict(pair.split("=") for pair in _CLASSES.split())
MERGES = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate", "dot": "Dot"}
FORBIDDEN = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
OPERATIONS = {"TFOpLambda", "SlicingOpLambda"}
LOST = {"LocallyConnected1D", "LocallyConnected2D", "CuDNNLSTM", "CuDNNGRU", "DenseFeatures", "MaxoutDense", "Highway"}
LOST |= {"ClassMethod", "InstanceMethod", "InstanceProperty", "TensorFlowOpLayer", "AbstractRNNCell", *OPERATIONS}
_LAYOUTS = {"tf": "channels_last", "th": "channels_first", "default": None}  # of Keras 1
_OBJECTS = {"initializer": "initializers", "regularizer": "regularizers", "constraint": "constraints"}


@keras.saving.register_keras_serializable("tf_gradcam")
def keras2_hard_sigmoid(x: Any) -> Any:
    """The hard sigmoid of Keras 1 and 2, which has another slope than Keras 3's."""
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


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
        name = kind.rpartition(">")[2]
        own = self._custom.get(kind) or self._custom.get(name) or _registered(kind)
        if own is not None:
            return own.from_config(config)
        if name == "Merge":
            name, config = self._merge(config)
        known = CLASSES.get(name, name)
        known = known if hasattr(keras.layers, known) else re.sub(r"V[12]$", "", known)
        layer_class = application_layers().get(known)
        if layer_class is None and ">" not in kind:  # a class with a prefix is somebody's own, whatever its name
            layer_class = getattr(keras.layers, known, None)
        if known in FORBIDDEN or not (inspect.isclass(layer_class) and issubclass(layer_class, keras.layers.Layer)):
            if name in LOST:
                raise CannotRepairError(f"layer '{config.get('name')}' is a {name}, which Keras 3 does not have")
            raise OwnClassError(name)
        if known != name:
            self.repairs[f"{name} became {known}"] += 1
        if known == "Identity":
            config = {key: config[key] for key in ("name", "trainable", "dtype") if key in config}
        config = self._config(known, config, layer_class)
        if name == "RandomCrop":  # Keras 3 does not crop outside training
            config["crop_to_aspect_ratio"] = True
        if isinstance(config.get("vocabulary"), str):
            raise CannotRepairError(f"layer '{config.get('name')}' reads its vocabulary from another file")
        return layer_class(**config)

    def _merge(self, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        mode = config.get("mode")
        if mode not in MERGES:
            raise CannotRepairError(f"layer '{config.get('name')}' merges by {mode!r}, which Keras 3 does not do")
        self.repairs[f"Merge became {MERGES[mode]}"] += 1
        return MERGES[mode], {key: config[key] for key in ("name", f"{mode}_axis", f"{mode}_axes") if key in config}

    def _config(self, kind: str, config: dict[str, Any], layer_class: type) -> dict[str, Any]:
        """Return the arguments that Keras 3 takes."""
        accepted = set(inspect.signature(layer_class).parameters)
        if "kwargs" in accepted:
            accepted |= set(inspect.signature(keras.layers.Layer.__init__).parameters)
        if "nb_row" in config:
            config["kernel_size"] = (config.pop("nb_row"), config.pop("nb_col"))
        result: dict[str, Any] = {}
        for argument, value in config.items():
            new = argument if argument in accepted else RENAMED.get(argument, argument)
            if new in accepted:
                result.setdefault(new, self._argument(kind, new, value))
                if new != argument:
                    self.repairs[f"{argument} became {new}"] += 1
            elif value is None or argument in IGNORED or argument.rpartition("_")[2] in _OBJECTS:
                continue
            elif value == NEUTRAL.get(argument, False):
                self.repairs[f"{argument} of {kind} ({value!r}) left out"] += 1
            else:
                where = f"layer '{config.get('name')}', a {kind}"
                raise CannotRepairError(f"{where}, has {argument}={value!r}, which Keras 3 does not have")
        if kind in ("GRU", "GRUCell"):
            result.setdefault("reset_after", False)
        if "/" in str(result.get("name")):
            result["name"] = result["name"].replace("/", "_")
            self.repairs["'/' in a name became '_'"] += 1
        return result

    def _argument(self, kind: str, argument: str, value: Any) -> Any:
        """Return one argument as Keras 3 takes it."""
        if argument == "dtype":
            return _policy(value)
        if argument == "data_format":
            return _LAYOUTS.get(value, value)
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

    def input(self, config: Mapping[str, Any]) -> Any:
        if config.get("sparse") or config.get("ragged"):
            raise CannotRepairError(f"input '{config.get('name')}' is sparse or ragged")
        shape = plain(config.get("batch_input_shape", config.get("batch_shape")))
        if shape is None:
            raise CannotRepairError("the file does not say which shape the images have")
        name = str(config["name"]).replace("/", "_") if config.get("name") else None
        dtype = config.get("dtype") or config.get("input_dtype") or "float32"
        return keras.Input(batch_shape=tuple(shape), dtype=_policy(dtype).rpartition("mixed_")[2], name=name)

    def _sequential(self, config: Any, build_config: Mapping[str, Any]) -> Any:
        config = {"layers": config} if isinstance(config, list) else config
        items = config["layers"]
        parts = [
            (_name(item), str(item["class_name"]), self.build(item))
            for item in items
            if item["class_name"] != "InputLayer"
        ]
        layers = [layer for _, _, layer in parts]
        first = items[0]["config"] if items else {}
        if "batch_input_shape" in first or "batch_shape" in first:
            is_input = items[0]["class_name"] == "InputLayer"
            layers.insert(0, self.input(first if is_input else {**first, "name": None}))
        elif shape := config.get("build_input_shape") or build_config.get("input_shape"):
            layers.insert(0, self.input({"batch_input_shape": shape}))
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


def _registered(kind: str) -> Any:
    """Return the class that the user registered under this name, or None."""
    own = keras.saving.get_registered_object(kind)
    return own if inspect.isclass(own) and issubclass(own, keras.layers.Layer) else None


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
        for name, item in self._items.items():
            kind = str(item["class_name"])
            if kind == "InputLayer":
                self._outputs[name, 0] = [builder.input(item["config"])]
            elif kind not in OPERATIONS:
                self._layers[name] = builder.build(item)
                self.parts.append((name, kind, self._layers[name]))
        past_the_end = self._read_past_the_end(config)
        self._shifted = {name for name in past_the_end if isinstance(self._layers.get(name), keras.Model)}
        waiting = [(name, number) for name, item in self._items.items() for number in range(len(item["inbound_nodes"]))]
        while waiting:
            late = [node for node in waiting if not self._call(*node)]
            if len(late) == len(waiting):
                raise CannotRepairError(f"layer '{late[0][0]}' reads a tensor that the file does not describe")
            waiting = late

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
        arguments: dict[str, Any] = {}
        try:
            first = self.tensors(self._items[name]["inbound_nodes"][number], arguments)
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

    def _is_leaf(self, value: Any) -> bool:
        return self._is_reference(value) or (isinstance(value, list) and value[:2] == ["_CONSTANT_VALUE", -1])

    def _read(self, value: Any, arguments: dict[str, Any] | None = None) -> Any:
        """Return a value with tensors in place of references; the named arguments of a call go into `arguments`.

        Raises:
            KeyError: a tensor that does not exist yet.
        """
        if self._is_leaf(value):
            if arguments is not None and len(value) == 4:
                arguments.update(self._read(value[3]))
            name, number, index = value[:3]
            is_constant = name == "_CONSTANT_VALUE"
            return plain(index) if is_constant else self._outputs[name, number - (name in self._shifted)][index]
        if isinstance(value, list):
            return [self._read(item, arguments) for item in value]
        if isinstance(value, Mapping) and not {"class_name", "type", "start"} & value.keys():
            return {key: self._read(item, arguments) for key, item in value.items()}
        return plain(value)

    def tensors(self, references: Any, arguments: dict[str, Any] | None = None) -> Any:
        """Return what `_read` does; one alone without a list."""
        result = self._read(references, arguments)
        return result[0] if isinstance(result, list) and len(result) == 1 else result


# 3. The weights.

_STATES = re.compile(r"(count|statevar|state_var|seed\w*|random_generator.*|_rng.*)(_\d+)?", re.IGNORECASE)
_LEAVES = {"kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance", "recurrent_kernel", "pointwise_kernel"}


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
        if any(key in file for key in CONTAINERS):
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
        is_theano = file.attrs.get("backend") in ("theano", b"theano")
        for name in names_in(file, "layer_names"):
            group = file[name]
            saved = [(key, group[key]) for key in names_in(group, "weight_names")]
            if saved and name not in layers:
                raise CannotRepairError(f"the file holds {len(saved)} weights of '{name}', which is not a layer of it")
            if saved:
                self._assign(layers[name], saved, name, is_theano)
        if "top_level_model_weights" in file and names_in(file["top_level_model_weights"], "weight_names"):
            raise CannotRepairError("the file holds weights that belong to no layer")

    def _network(self, model: Any, group: Any) -> None:
        """Fill a network from a .keras file: groups are named after classes, in the order of the layers."""
        container: Any = next((group[key] for key in CONTAINERS if key in group), {})
        is_twice = CONTAINERS[1] in group  # before 2.14 each layer with weights was counted twice
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
        left = [key for key in rest if _has_weights(container[key])]
        if left:
            raise CannotRepairError(f"the file holds weights of '{left[0]}', which is not a layer of it")

    def _tree(self, layer: Any, group: Any, name: str) -> None:
        """Fill a layer, and those inside it, from a group."""
        if id(layer) in self._parts:
            self._network(layer, group)
            return
        inner: set[int] = set()
        for key in group:
            if key == "vars" or not _has_weights(group[key]):
                continue
            part = getattr(layer, key, None)
            if isinstance(part, keras.layers.Layer):
                children = [(group[key], part)]
            elif isinstance(part, (list, tuple)):
                children = list(zip((group[key][name] for name in sorted(group[key], key=numbered)), part, strict=True))
            else:
                raise CannotRepairError(f"the file holds weights of '{name}/{key}', which is not a part of it")
            for saved_child, child in children:
                self._tree(child, saved_child, name)
                inner |= {id(variable) for variable in child.variables}
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


def _has_weights(group: Any) -> bool:
    """Return whether a group holds arrays, other than states of random generators."""
    found: list[str] = []
    group.visititems(lambda key, item: found.append(key) if isinstance(item, h5py.Dataset) else None)
    names = [f"{group.name.rpartition('/')[2]}/{key}".split("/") for key in found]
    return any(not any(map(_STATES.fullmatch, parts)) for parts in names)


def _snake_case(name: str) -> str:
    """Return the name of a class as Keras 2 wrote it in files of weights."""
    name = re.sub(r"\W+", "", name.rpartition(">")[2])
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _leaf(path: str) -> str:
    """Return the last part of the name of a weight, as Keras 3 spells it."""
    leaf = re.sub(r"(_\d+)?(:0)?$", "", path.rpartition("/")[2])
    return "kernel" if leaf == "depthwise_kernel" else leaf


def _ending(path: str) -> str:
    return "/".join([*path.split("/")[-2:-1], _leaf(path)])
