"""A network of keras.applications as the front of a classifier: its scaling of pixels, its weights."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

_REMEDY = "Give a file by --weights FILE (weights of keras.applications: https://keras.io/api/applications/), or none."


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
        weights: "imagenet" to download them, or None.
        arguments: further ones of its constructor, such as {"alpha": 0.75}.

    Raises:
        ConnectionError: a download that failed.
        ValueError: an argument that the constructor refuses, an image size that is too small.
    """
    construct = getattr(keras.applications, backbone)
    try:
        return construct(
            include_top=False, weights=weights, input_tensor=inputs, input_shape=inputs.shape[1:], **(arguments or {})
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{backbone} cannot be built for images of {inputs.shape[1:3]}: {error}") from error
    except Exception as error:  # Keras raises a plain Exception where a download fails
        raise ConnectionError(f"The weights of {backbone} could not be downloaded: {error}. {_REMEDY}") from error


def load_trunk(
    model: keras.Model, file: Path, backbone: str, arguments: Mapping[str, Any] | None, also: tuple[str, ...] = ()
) -> None:
    """Copy the weights of a file into the layers of the backbone, by name.

    Args:
        model: of `build_classifier`.
        file: .keras or .h5 of a whole network; .weights.h5 of the network of keras.applications, with its classifier
            for 1000 classes or without one.
        backbone, arguments: what the network is.
        also: layers behind the backbone that are copied too where the file has them in the same shape.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file of another architecture; the first layer that differs is named.
    """
    if not file.is_file():
        raise FileNotFoundError(f"There is no file of weights '{file}'. {_REMEDY}")
    source = {layer.name: layer for layer in _network_in(file, backbone, arguments).layers}
    for layer in model.layers:
        if not layer.weights or (layer.name not in source and layer.name in (*also, "dense")) or layer.name == "dense":
            continue
        values = source[layer.name].get_weights() if layer.name in source else []
        received, expected = [value.shape for value in values], [tuple(weight.shape) for weight in layer.weights]
        if received == expected:
            layer.set_weights(values)
        elif layer.name not in also:
            raise ValueError(
                f"Expected weights of {backbone} in '{file}': its layer '{layer.name}' has shapes {expected}, the file "
                f"{received or 'none of that name'}. Give --backbone (and --backbone-arguments) of the file, or other "
                "weights."
            )


def _network_in(file: Path, backbone: str, arguments: Mapping[str, Any] | None) -> keras.Model:
    if file.suffix == ".keras":
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    construct = getattr(keras.applications, backbone)
    failures = []
    for has_classifier in (True, False):
        try:
            network = construct(include_top=has_classifier, weights=None, **(arguments or {}))
            network.load_weights(file)
            return network
        except Exception as error:  # HDF5, Keras and NumPy each have their own for a layer that does not fit
            failures.append(f"{'with' if has_classifier else 'without'} its classifier: {str(error).splitlines()[0]}")
    raise ValueError(
        f"Expected weights of {backbone}{dict(arguments or {}) or ''} in '{file}', but they do not fit, "
        f"{'; '.join(failures)}. Give --backbone (and --backbone-arguments) of the file, or other weights."
    )
