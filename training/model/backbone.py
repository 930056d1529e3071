"""A network of keras.applications as the front of a classifier: its scaling of pixels, its weights."""

from __future__ import annotations

import inspect
import itertools
import re
import sys
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

_REMEDY = "Give a file by --weights FILE (weights of keras.applications: https://keras.io/api/applications/), or none."
_OURS = ("include_top", "weights", "input_tensor", "input_shape", "pooling", "classes", "classifier_activation", "name")
_OTHER = "Give --backbone (and --backbone-arguments) of the file, or other weights."


def find_backbone(name: str) -> str:
    """The name as keras.applications spells it.

    Raises:
        ValueError: an unknown name; those that exist are listed.
    """
    known = [key for key, value in vars(keras.applications).items() if inspect.isfunction(value) and key[0].isupper()]
    found = [key for key in known if key.lower() == name.lower()]
    if not found:
        raise ValueError(f"Expected a network of keras.applications as backbone, received '{name}'. There are {known}.")
    return found[0]


def scaled(images: Any, backbone: str) -> Any:
    """Pixels as the backbone wants them, by layers of Keras that any version loads.

    `preprocess_input` of its family is affine in each channel, so what it does to black and to white says all of it.

    Args:
        images: (B, H0, W0, 3) RGB 0..255, a Keras tensor.
        backbone: as `find_backbone` spells it.
    """
    preprocess = sys.modules[getattr(keras.applications, backbone).__module__].preprocess_input
    probes = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)]).astype(np.float32).reshape(4, 1, 1, 3)
    black, *primaries = np.asarray(preprocess(probes.copy())).reshape(4, 3)
    slopes = (np.stack(primaries) - black) / 255  # row: channel in, column: channel out
    if slopes[0, 0] == 0:  # BGR
        images, slopes = images[..., ::-1], slopes[::-1]
    scale, offset = np.diag(slopes).astype(float), black.astype(float)
    if np.allclose(scale, 1) and np.allclose(offset, 0):
        return images
    return keras.layers.Rescaling(scale.tolist(), offset.tolist(), name="scaling")(images)


def build_backbone(
    backbone: str, inputs: Any, weights: str | None, arguments: Mapping[str, Any] | None = None
) -> keras.Model:
    """The network without its classifier, in one graph with what made `inputs`.

    Args:
        backbone: as `find_backbone` spells it.
        inputs: (B, H0, W0, 3) Keras tensor, scaled.
        weights: "imagenet" for those that Keras downloads once and keeps, None for random ones.
        arguments: further ones of its constructor, such as {"alpha": 0.75}.

    Raises:
        ConnectionError: a download that failed.
        ValueError: an argument that the constructor has not or refuses, an image size that is too small.
    """
    known = [name for name in inspect.signature(getattr(keras.applications, backbone)).parameters if name not in _OURS]
    for name in arguments or {}:
        if name not in known:
            raise ValueError(f"Expected an argument of {backbone} of {known}, received '{name}'.")
    shape = {"input_tensor": inputs, "input_shape": inputs.shape[1:]}
    return _construct(backbone, include_top=False, weights=weights, **shape, **(arguments or {}))


def download(backbone: str) -> keras.Model:
    """The whole network with its classifier and ImageNet's weights.

    Raises:
        ConnectionError: a download that failed.
    """
    return _construct(backbone, weights="imagenet")


def _construct(backbone: str, **arguments: Any) -> keras.Model:
    try:
        with warnings.catch_warnings():  # of another image size than that of the weights, which a trunk may have
            warnings.filterwarnings("ignore", "`input_shape` is undefined or non-square")
            return getattr(keras.applications, backbone)(**arguments)
    except (TypeError, ValueError) as error:
        size = arguments.get("input_shape", ())[:2]
        raise ValueError(f"{backbone} cannot be built for images of {size}: {error}") from error
    except Exception as error:  # Keras raises a plain Exception where a download fails
        raise ConnectionError(f"The weights of {backbone} could not be downloaded: {error}. {_REMEDY}") from error


def load_trunk(
    model: keras.Model, file: Path, backbone: str, arguments: Mapping[str, Any] | None, also: Sequence[str] = ()
) -> None:
    """Copy the weights of a file into the layers of the backbone.

    Layers are paired in their order and not by name: a part of the networks has names that count on from those of the
    networks made before (`conv2d_17`).

    Args:
        model: of `build_classifier`.
        file: .keras or .h5 of a whole model, ours or another with this backbone in it; .weights.h5 or .h5 of the
            network of keras.applications, with its classifier for 1000 classes or without one.
        backbone, arguments: what the network is.
        also: layers behind the backbone that are copied too where the file has them in the same shape; a line on
            stderr says where it has not.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, or one of another architecture; what differs is named.
    """
    if not file.is_file():
        raise FileNotFoundError(f"There is no file of weights '{file}'. {_REMEDY}")
    copy_trunk(model, _network_in(file, backbone, arguments), f"{backbone} in '{file}'", also)


def copy_trunk(model: keras.Model, source: keras.Model, origin: str, also: Sequence[str] = ()) -> None:
    """Copy the weights of another model that begins with the same backbone; as `load_trunk`.

    Args:
        model, also: as `load_trunk`.
        source: the other model.
        origin: what errors call it.
    """
    trunk = [layer for layer in _weighted(model) if layer.name not in (*also, "dense")]
    given = _weighted(source)
    for layer, values in itertools.zip_longest(trunk, given[: len(trunk)]):
        received = "none" if values is None else _shapes(values)
        if received != _shapes(layer):
            raise ValueError(
                f"Expected weights of {origin}: the layer '{layer.name}' has shapes {_shapes(layer)}, the file "
                f"{received}{'' if values is None else f' in {values.name!r}'}. {_OTHER}"
            )
    for layer, values in zip(trunk, given, strict=False):
        layer.set_weights(values.get_weights())
    behind = {layer.name: layer for layer in given[len(trunk) :]}
    for name in also:
        layer = model.get_layer(name)
        if name in behind and _shapes(behind[name]) == _shapes(layer):
            layer.set_weights(behind[name].get_weights())
        else:
            print(f"'{name}' starts at random: the weights have none of shapes {_shapes(layer)}.", file=sys.stderr)


def _weighted(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers with weights in the order of the network, those of nested models in their place."""
    found = []
    for layer in model.layers:
        found += _weighted(layer) if hasattr(layer, "layers") else [layer] if layer.weights else []
    return found


def _shapes(layer: keras.layers.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]


def _network_in(file: Path, backbone: str, arguments: Mapping[str, Any] | None) -> keras.Model:
    if _is_model(file):
        if file.suffix == ".keras" and not zipfile.is_zipfile(file):
            raise ValueError(f"'{file}' is no .keras file, or damaged: not a zip archive. Copy or save it again.")
        try:
            return keras.saving.load_model(file, compile=False, safe_mode=True)
        except Exception as error:  # of zip, HDF5, JSON, or whatever a layer's constructor raises
            raise ValueError(f"Cannot load '{file}': {_reason(error)}. Copy or save it again.") from error
    failures = []
    for has_classifier in (True, False):
        network = _construct(backbone, include_top=has_classifier, weights=None, **(arguments or {}))
        try:
            with warnings.catch_warnings():  # Keras 3.15 warns of each list that files of older versions do not repeat
                warnings.filterwarnings("ignore", "Skipping nested container")
                network.load_weights(file)
            return network
        except Exception as error:  # HDF5, Keras and NumPy each have their own for a layer that does not fit
            failures.append(_reason(error))
    told = "; without its classifier: ".join(dict.fromkeys(failures))
    built = f"{backbone}{dict(arguments or {}) or ''}"
    raise ValueError(f"Expected weights of {built} in '{file}', but they do not fit: {told}. {_OTHER}")


def _is_model(file: Path) -> bool:
    """Whether the file holds layers beside weights."""
    if file.suffix == ".keras":
        return True
    import h5py

    try:
        with h5py.File(file) as content:
            return "model_config" in content.attrs
    except OSError as error:
        raise ValueError(f"'{file}' is no file of weights, or damaged: {error}. {_REMEDY}") from error


def _reason(error: Exception) -> str:
    """What Keras says of weights that do not fit, without the weights themselves."""
    text = " ".join(str(error).split())
    found = re.search(
        r"variable\.shape=(\(.*?\)), Received: value\.shape=(\(.*?\))\. .*?<\w*Variable path=([^,>]+)", text
    )
    if found:
        return f"{found[3]} has shape {found[1]}, in the file {found[2]}"
    text = text.partition("Example error message for object ")[2] or text
    return text.partition(" List of objects")[0][:300].rstrip(".")
