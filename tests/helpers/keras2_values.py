"""Weights and images by a formula, so that a test can make again what another version of Keras computed with."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np


def named_arrays(group: Any) -> Iterator[tuple[str, Any]]:
    """Yield (name, array) of all weights of an .h5 file, in their order."""
    for layer in names_in(group, "layer_names"):
        for name in names_in(group[layer], "weight_names"):
            yield name, group[layer][name]


def names_in(group: Any, attribute: str) -> list[str]:
    """Return a list of names; HDF5 holds long lists in pieces."""
    pieces = sorted(
        (key for key in group.attrs if key.rstrip("0123456789") == attribute), key=lambda key: (len(key), key)
    )
    names = [name for key in pieces for name in group.attrs[key]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def weight_values(number: int, name: str, shape: Sequence[int]) -> np.ndarray:
    """Return values that no other weight of the file has; variances are positive, factors near 1."""
    values = 2 * np.random.default_rng(number).random(tuple(shape)) - 1
    if "variance" in name:
        return 1 + 0.5 * values
    if "gamma" in name:
        return 1 + 0.2 * values
    return values * math.sqrt(3 / max(1, math.prod(shape[:-1])))


def image_values(number: int, shape: Sequence[int], scale: float) -> np.ndarray:
    """Return a batch of images with values from 0 to `scale`."""
    return np.random.default_rng(1000 + number).random(tuple(shape)) * scale


DATA = Path(__file__).parent.parent / "models" / "data"


def kept(name: str) -> dict[str, Any]:
    """Return a configuration that is kept as data, with names of weights, inputs and predictions."""
    return dict(json.loads((DATA / f"{name}.json").read_text()))


def stored(about: dict[str, Any]) -> list[np.ndarray]:
    """Return the weights of a configuration that is kept as data, in the order of its .h5 file."""
    return [
        weight_values(number, name, shape).astype(dtype) if "float" in dtype else np.zeros(shape, dtype)
        for number, (name, shape, dtype) in enumerate(about["weights"])
    ]


def write_h5(path: Path, about: dict[str, Any]) -> Path:
    """Write the .h5 file of a configuration that is kept as data."""
    weights = iter(stored(about))
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = about["keras_version"], "tensorflow"
        file.attrs["model_config"] = json.dumps(about["h5"])
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in about["groups"]]
        for layer, names in about["groups"].items():
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = [name.encode() for name in names]
            for name in names:
                inner[name] = next(weights)
    return path


def write_keras(path: Path, about: dict[str, Any]) -> Path:
    """Write the .keras file of a configuration that is kept as data."""
    weights, content = stored(about), io.BytesIO()
    with h5py.File(content, "w") as file:
        for place, number in about["places"].items():
            file[place] = weights[number]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": about["keras_version"]}))
        archive.writestr("config.json", json.dumps(about["keras"]))
        archive.writestr("model.weights.h5", content.getvalue())
    return path
