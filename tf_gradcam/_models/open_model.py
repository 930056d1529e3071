"""A model ready to be explained: network, class names and preprocessing, settled in one place for all who open one."""

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
    """A model with what is known of it.

    Attributes:
        model: the Keras model.
        reader: of the model; `Explainer` takes it in place of the model.
        class_names: in class order, or {index: name}; None where none are known.
        preprocessing: turns photos into its images.
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
    """Open a model, and settle what was not asked for; what had to be assumed is a `ModelWarning`.

    Args:
        model: a built Keras model, a .keras or .h5 file, or the name of a network of keras.applications.
        weights: a file of weights; "imagenet" or "none" (random) for a name. None for ImageNet's of a name, and for a
            file's own.
        arguments: of the constructor of a named network, as KEY=VALUE.
        class_names: in class order, {index: name}, or a file of them; None for the names that the model's file carries,
            and for ImageNet's where the network has its weights.
        preprocess: "auto" for what the model says that it wants, RGB in 0..255 where it says nothing; "none" for RGB in
            0..255; a key of `MODES`; None for "auto" that leaves unknown what the model does not say.

    Raises:
        OSError, TypeError, ValueError: as `load_network`, `load_class_names` and `ModelReader`; an unknown mode; names
            inside the file of another number than of classes; weights or arguments with a model that has its own.
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
            warn("The weights are random, and so is what the heatmaps show.")
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
    """Return the names that the model's file carries, or ImageNet's for a network with its weights."""
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
    """As many names as classes; one unit may be two classes or a value, which the explainer tells apart."""
    count = network.outputs[0].shape[-1]
    if len(names) not in ((1, 2) if count == 1 else (count,)):
        fact = (
            f"Expected the '{MEMBER}' in '{model}' to name the {count} classes of the model, received {len(names)} "
            "names. Write the right ones into the file, or"
        )
        raise ValueError(Message(fact, "pass them as class_names=.", "give them by --class-names."))


def _settled(reader: ModelReader, preprocess: str | None) -> Preprocessing:
    found = reader.preprocessing
    if preprocess == "auto" and found.mode == "unknown":
        fact = (
            f"What {reader.name} was trained on cannot be read from it, so it is given RGB in 0..255. If it was "
            "trained on other values, say so by"
        )
        warn(Message(fact, "preprocess=.", "--preprocess."))
        preprocess = "raw"
    if preprocess in (None, "auto"):
        return found
    # The family stays known: where the size is free, it decides the size.
    return Preprocessing(found.architecture, "raw" if preprocess == "none" else str(preprocess))
