"""A model ready to be explained, with its class names and preprocessing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tf_gradcam._errors import Message, warn
from tf_gradcam._files.class_names import MEMBER, class_names_inside, imagenet_class_names, load_class_names
from tf_gradcam._models.loading import is_model_file, load_network
from tf_gradcam._models.preprocessing import Preprocessing, check_mode
from tf_gradcam._models.reader import ModelReader


class OpenModel(NamedTuple):
    """A model with its class names and preprocessing.

    Attributes:
        model: the Keras model.
        reader: of the model; `Explainer` takes it in place of the model.
        class_names: in class order, or {index: name}; None if unknown.
        preprocessing: converts photos to its images.
    """

    model: Any
    reader: ModelReader
    class_names: Any
    preprocessing: Preprocessing


def open_model(
    model: Any,
    *,
    weights: str | None = None,
    arguments: Iterable[str] = (),
    class_names: Sequence[str] | Mapping[int, str] | str | os.PathLike[str] | None = None,
    preprocess: str | None = "auto",
) -> OpenModel:
    """Open a model, choose what the arguments leave open, and warn (`ModelWarning`) of each assumption.

    Args:
        model: a built Keras model, a .keras or .h5 file, or the name of a network of keras.applications.
        weights: a file of weights; "imagenet" or "none" (random) for a name. None for ImageNet's weights of a name, and
            a file's own weights.
        arguments: for the constructor of a named network, as KEY=VALUE.
        class_names: in class order, {index: name}, or a file of them; None for the names inside the model's file, or
            ImageNet's for a network with ImageNet's weights.
        preprocess: "auto" for the scaling found in the model, RGB in 0..255 if unknown; "none" for RGB in 0..255; a key
            of `MODES`; None for the scaling found in the model, which may be unknown.

    Raises:
        OSError, TypeError, ValueError: as `load_network`, `load_class_names` and `ModelReader`; an unknown mode; a
            number of names inside the file that differs from the number of classes; weights or arguments with a model.
    """
    if preprocess is not None:
        check_mode(preprocess)
    if isinstance(class_names, (str, os.PathLike)):
        class_names = load_class_names(class_names)
    network = model
    if isinstance(model, (str, os.PathLike)):
        model = os.fspath(model)
        weights = weights or usual_weights(model)
        network = load_network(model, weights, arguments)
        if weights == "none":
            warn("The weights are random, and so are the heatmaps.")
        if class_names is None:
            class_names = _usual_names(model, network, weights)
    elif weights is not None or list(arguments):
        raise ValueError("Expected no weights with a Keras model, which has its own. Load them into it.")
    reader = ModelReader(network)
    return OpenModel(network, reader, class_names, _settled(reader, preprocess))


def usual_weights(model: str) -> str | None:
    """Return None for a file, which has its own weights, and "imagenet" for the name of a network."""
    return None if is_model_file(model) else "imagenet"


def _usual_names(model: str, network: Any, weights: str | None) -> list[str] | None:
    """Return the names inside the model's file, or ImageNet's for a network with ImageNet's weights."""
    if is_model_file(model):
        names = class_names_inside(model)
        if names is not None:
            _check_count(names, model, network)
            return names
    if weights != "imagenet" or network.output_shape[-1] != 1000:
        return None
    try:
        return imagenet_class_names()
    except ConnectionError as error:
        fact = f"Classes are shown by their numbers. {error}."
        warn(Message(fact, "Pass names as class_names=.", "Give a file of names by --class-names."))
        return None


def _check_count(names: list[str], model: str, network: Any) -> None:
    """Check that there are as many names as classes; one unit may mean two classes or a value."""
    count = network.outputs[0].shape[-1]
    if len(names) not in ((1, 2) if count == 1 else (count,)):
        fact = (
            f"Expected {count} names in '{MEMBER}' of '{model}', one per class, received {len(names)}. Correct them, or"
        )
        raise ValueError(Message(fact, "pass them as class_names=.", "give them by --class-names."))


def _settled(reader: ModelReader, preprocess: str | None) -> Preprocessing:
    detected = reader.preprocessing
    if preprocess == "auto" and detected.mode == "unknown":
        fact = f"The input scaling of {reader.name} is unknown: it receives RGB in 0..255. Choose another scaling by"
        warn(Message(fact, "preprocess=.", "--preprocess."))
        preprocess = "raw"
    if preprocess in (None, "auto"):
        return detected
    # The architecture is kept: it decides a free image size.
    return Preprocessing(detected.architecture, "raw" if preprocess == "none" else str(preprocess))
