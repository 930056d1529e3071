"""SavedModels of Keras 2, whose metadata describe the layers, and checkpoints of TensorFlow. No graph is run.

A checkpoint stores its objects as a graph: nodes with named children; a node that is a variable has the key of a value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from google.protobuf.empty_pb2 import Empty
from google.protobuf.unknown_fields import UnknownFieldSet

from tf_gradcam._errors import Message
from tf_gradcam._models.keras_internals import LISTS_OF_LAYERS

_PREFIX = "variables/variables"  # of the checkpoint inside a SavedModel


def copy_weights(folder: Path | str) -> str:
    """Return what to do with a SavedModel that has weights, but no layers that can be built."""
    return (
        "build the network in Python, copy the weights by model.set_weights([v.numpy() for v in "
        f"tf.saved_model.load('{folder}').variables if v.dtype.is_floating or v.shape == ()]),"
    )


def is_checkpoint(path: Path) -> bool:
    """Return whether a path is the prefix of a checkpoint, or one of its files."""
    return Path(f"{checkpoint_prefix(path)}.index").is_file()


def checkpoint_prefix(path: Path) -> Path:
    """Return the prefix of the files of a checkpoint, of a folder with one, or of a SavedModel."""
    if path.is_dir():
        names = sorted(path.glob("*.index"))
        is_saved_model = not names or (path / f"{_PREFIX}.index").exists()
        return path / _PREFIX if is_saved_model else names[0].with_suffix("")
    is_part = path.suffix == ".index" or path.suffix.startswith(".data-")
    return path.with_suffix("") if is_part else path


_NOT_LAYERS = ("optimizer", "_optimizer", "save_counter", "keras_api", "signatures")


class _Objects:
    """The objects of a checkpoint, and its reader.

    Raises:
        ValueError: the checkpoint is damaged, or was not written by an object that has layers.
    """

    def __init__(self, path: Path):
        import tensorflow as tf
        from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

        prefix = checkpoint_prefix(path)
        try:
            self._reader = tf.train.load_checkpoint(str(prefix))
            text = self._reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
            self._nodes = TrackableObjectGraph.FromString(text).nodes
        except Exception as error:  # TensorFlow has its own, and protobuf too
            reason = " ".join(str(error).split())[:200]
            fact = f"'{path}' is not a checkpoint of Keras, or is damaged: {reason}."
            raise ValueError(f"{fact} Copy or save it again.") from error

    def children(self, node: int) -> dict[str, int]:
        return {child.local_name: child.node_id for child in self._nodes[node].children}

    def values(self, node: int, seen: set[int]) -> Iterator[np.ndarray]:
        """Yield the weights below a node, each once, in the order in which they were made; no seeds."""
        if node in seen:
            return
        seen.add(node)
        for attribute in self._nodes[node].attributes:
            value = np.asarray(self._reader.get_tensor(attribute.checkpoint_key))
            if np.issubdtype(value.dtype, np.floating) or (np.issubdtype(value.dtype, np.integer) and not value.ndim):
                yield value  # a whole number counts the images of a Normalization layer
        for child in self.children(node).values():
            yield from self.values(child, seen)

    def values_of_layer(self, node: int) -> Iterator[np.ndarray]:
        """Yield the weights of a layer of a SavedModel in the order of an HDF5 file: trainable ones first."""
        children = self.children(node)
        described = children.pop("keras_api", None)  # an input has none
        fixed = None if described is None else self.children(described).get("non_trainable_variables")
        lists = [part for part in (children.get("trainable_variables"), fixed) if part is not None]
        seen: set[int] = set()  # layers of preprocessing have no lists, and their weights among their attributes
        for part in lists or children.values():
            yield from self.values(part, seen)


def checkpoint_values(path: Path) -> list[np.ndarray]:
    """Return the weights in a checkpoint, or in a SavedModel, in the order of `model.get_weights()`.

    Raises:
        ValueError: it is damaged, or not of a Keras model.
    """
    objects = _Objects(path)
    root = objects.children(0)
    layers = [(int(name.rpartition("-")[2]), node) for name, node in root.items() if name.startswith("layer_with_wei")]
    parts = [root["variables"]] if "variables" in root else [node for _, node in sorted(layers)]
    parts = parts or [root[name] for name in LISTS_OF_LAYERS if name in root][:1]
    parts = parts or [node for name, node in root.items() if name not in _NOT_LAYERS]
    seen: set[int] = set()
    values = [value for part in parts for value in objects.values(part, seen)]
    if not values:
        raise ValueError(f"'{path}' holds no layers of Keras with weights. Give another file of weights.")
    return values


def write_hdf5(folder: Path, target: Path) -> None:
    """Write a SavedModel of Keras 2 as the HDF5 file that Keras 2 would have written of the same model.

    Raises:
        ValueError: it holds no layers, or is damaged.
    """
    nodes = _metadata(folder)
    root = nodes.get(0, {})
    if root.get("class_name") not in ("Sequential", "Functional", "Model") or not root.get("config"):
        what = f"it needs '{root['class_name']}', a class of your own" if root else "it holds operations, not layers"
        fact = f"'{folder}' is a SavedModel that cannot be explained as it is: {what}."
        build = f"To explain it, {copy_weights(folder)} and pass the model: `Explainer(model)`."
        option = f"A network of keras.applications is filled from it: --model NAME --weights {folder}. For another,"
        raise ValueError(Message(fact, build, f"{option}{build[14:]}"))
    objects = _Objects(folder)
    layers = [(int(name[6:]), node) for name, node in objects.children(0).items() if name.startswith("layer-")]
    text = h5py.string_dtype()
    with h5py.File(target, "w") as file:
        config = {"class_name": root["class_name"], "config": root["config"]}
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(_plain(config)), "2"
        if isinstance(root.get("training_config"), dict):
            file.attrs["training_config"] = json.dumps(_plain(root["training_config"]))
        weights = file.create_group("model_weights")
        names = {node: str(nodes.get(node, {}).get("name", f"layer-{node}")) for _, node in sorted(layers)}
        weights.attrs["layer_names"] = np.array(list(names.values()), text)
        for node, name in names.items():
            values = list(objects.values_of_layer(node))
            group = weights.create_group(name)
            group.attrs["weight_names"] = np.array([f"{at}" for at in range(len(values))], text)
            for at, value in enumerate(values):
                group[f"{at}"] = value


def _metadata(folder: Path) -> dict[int, dict[str, Any]]:
    """Return what Keras 2 wrote about each object, by its number; empty for an export of operations alone.

    TensorFlow 2.5 to 2.15 write it into a file of its own, earlier ones into the graph.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    try:
        if (folder / "keras_metadata.pb").exists():
            items = [_fields(data) for data in _fields(_read(folder / "keras_metadata.pb")).get(1, [])]
            pairs = [(item.get(2, [0])[0], item[5][0]) for item in items]  # the number of a node, and its metadata
        else:
            graph = SavedModel.FromString(_read(folder / "saved_model.pb")).meta_graphs[0].object_graph_def
            pairs = [
                (at, node.user_object.metadata)
                for at, node in enumerate(graph.nodes)
                if node.user_object.identifier.startswith("_tf_keras")
            ]
        return {number: json.loads(text) for number, text in pairs if text}
    except Exception as error:  # of JSON, of protobuf, of the disk
        raise ValueError(f"The SavedModel '{folder}' is damaged: {error}. Copy or save it again.") from error


def _read(path: Path) -> bytes:
    if path.stat().st_size > 2**31:
        raise ValueError(f"{path.name} is larger than any that TensorFlow writes")
    return path.read_bytes()


def _fields(data: bytes) -> dict[int, list[Any]]:
    """Return the fields of a message of protobuf by their numbers: Keras 3 has no class for Keras 2's metadata."""
    found: dict[int, list[Any]] = {}
    for field in UnknownFieldSet(Empty.FromString(data)):
        found.setdefault(field.field_number, []).append(field.data)
    return found


def _plain(value: Any) -> Any:
    """Return a configuration with lists in place of the tuples that SavedModels mark, as HDF5 files have them."""
    if isinstance(value, dict):
        if value.get("class_name") in ("__tuple__", "TensorShape") and "items" in value:
            return _plain(value["items"])
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
