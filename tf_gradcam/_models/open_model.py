"""A model ready to be explained, with its class names and preprocessing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tf_gradcam._errors import Message, warn
from tf_gradcam._files.class_names import ClassNames, imagenet_class_names, load_class_names
from tf_gradcam._models.description import Description, description_inside
from tf_gradcam._models.hub import is_imagenet_preset, is_preset
from tf_gradcam._models.images import ModelImages
from tf_gradcam._models.loading import is_model_file, load_network
from tf_gradcam._models.own_code import OwnCode
from tf_gradcam._models.preprocessing import MODES, PREPROCESSOR, UNKNOWN, Preprocessing, check_mode
from tf_gradcam._models.reader import ModelReader
from tf_gradcam._models.scaling import ACTIVITY, ScalingRanking, rank_if_doubtful, rank_scalings, usual_modes
from tf_gradcam.image.io import read_picture

if TYPE_CHECKING:
    import keras


class OpenModel(NamedTuple):
    """A model with its class names and preprocessing.

    Attributes:
        model: the Keras model.
        reader: of the model; `Explainer` takes it in place of the model.
        class_names: in class order, or {index: name}; None if unknown.
        preprocessing: converts photos to its images; to be settled by `check_scaling`.
        measured: the preprocessing that the model itself shows.
        request: `preprocess` as it was asked for.
    """

    model: Any
    reader: ModelReader
    class_names: Any
    preprocessing: Preprocessing
    measured: Preprocessing
    request: str | None = None


def open_model(
    model: Any,
    *,
    weights: str | None = None,
    arguments: Iterable[str] = (),
    class_names: Sequence[str] | Mapping[int, str] | str | os.PathLike[str] | None = None,
    preprocess: str | None = "auto",
    own_code: OwnCode | None = None,
) -> OpenModel:
    """Open a model, choose what the arguments leave open, and warn (`ModelWarning`) of each assumption.

    Args:
        model: a built Keras model, a .keras or .h5 file, the name of a network of keras.applications, or "hub:PRESET"
            for an image task of keras_hub.
        weights: a file of weights; "imagenet" or "none" (random) for a name. None for ImageNet's weights of a name, and
            a file's own weights.
        arguments: for the constructor of a named network, as KEY=VALUE.
        class_names: in class order, {index: name}, or a file of them; None for the names inside the model's file, or
            ImageNet's for a network with ImageNet's weights.
        preprocess: "auto" or None for the scaling that the file describes or the model shows; "detect" for the one
            that pictures show, see `check_scaling`; "none" for RGB in 0..255; a key of `MODES`.
        own_code: classes and functions for a file, see `import_code`.

    Raises:
        OSError, TypeError, ValueError: as `load_network`, `load_class_names` and `ModelReader`; an unknown mode; a
            number of names inside the file that differs from the number of classes; weights, arguments or code with a
            model.
    """
    if preprocess is not None:
        check_mode(preprocess)
    if isinstance(class_names, (str, os.PathLike)):
        class_names = load_class_names(class_names)
    network, description = model, Description()
    if isinstance(model, (str, os.PathLike)):
        model = os.fspath(model)
        weights = weights or usual_weights(model)
        if os.path.exists(model):
            description = description_inside(model)
        network = load_network(model, weights, arguments, own_code)
        if weights == "none":
            warn("The weights are random, and so are the heatmaps.")
        if class_names is None:
            class_names = _usual_names(model, network, weights, description)
    elif weights is not None or list(arguments):
        raise ValueError("Expected no weights with a Keras model, which has its own. Load them into it.")
    elif own_code is not None and own_code.named:
        raise ValueError(
            "Expected no imports with a Keras model, whose code has run. Leave them out, or give its file."
        )
    reader = ModelReader(network)
    measured = reader.preprocessing
    if weights == "imagenet" and measured.source == "assumed":
        measured = replace(measured, source="own", evidence="as its ImageNet weights were trained")
    reader.preprocessing = _settled(measured, preprocess, description)
    reader.task = description.task
    return OpenModel(network, reader, class_names, reader.preprocessing, measured, preprocess)


def find_preprocessing(model: keras.Model | str | os.PathLike[str]) -> Preprocessing:
    """Find the input scaling that a model was trained on: described in its file, or measured in its first layers.

        scale = find_preprocessing("best.keras")
        print(scale.statement)      # raw (RGB in 0..255), from the model's own Rescaling layer.
        images = scale(photos)

    Args:
        model: a built Keras model, left unchanged, or its .keras or .h5 file.

    Returns:
        `Preprocessing`; its mode is "unknown" where the model does not show it clearly. What is assumed because of the
        architecture alone is called so, see its `source`; `rank_scalings` compares scalings with pictures.

    Raises:
        OSError, TypeError, ValueError: as `Explainer` for a model, and as `explain` for a file.
    """
    return open_model(model, preprocess=None).preprocessing


def usual_weights(model: str) -> str | None:
    """Return None for a file or a preset, which has its own weights, and "imagenet" for the name of a network."""
    return None if is_model_file(model) or is_preset(model) else "imagenet"


def _usual_names(model: str, network: Any, weights: str | None, description: Description) -> list[str] | None:
    """Return the names inside the model's file, or ImageNet's for a network with ImageNet's weights."""
    if description.class_names is not None:
        _check_count(description.class_names, model, network)
        return description.class_names
    is_imagenet = weights == "imagenet" and network.output_shape[-1] == 1000
    if not is_imagenet and not is_imagenet_preset(model, network):
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
        fact = f"Expected {count} class names in '{model}', one per class, received {len(names)}."
        python = f"Correct them by tf_gradcam.describe({model!r}, class_names=[...]), or pass them as class_names=."
        option = f"Correct them by `tf-gradcam describe {model} --class-names FILE`, or give them by --class-names."
        raise ValueError(Message(fact, python, option))


def _settled(measured: Preprocessing, request: str | None, description: Description) -> Preprocessing:
    """Return the preprocessing before any picture is seen; the architecture is kept: it decides a free image size."""
    if request not in (None, "auto", "detect"):
        return Preprocessing(measured.architecture, "raw" if request == "none" else str(request), "given")
    if description.preprocess is not None and request != "detect":
        return Preprocessing(measured.architecture, description.preprocess, "file")
    return measured


_MAX_FILES = 8  # pictures that the scaling is checked with
_MAX_LABELLED = 32  # of known classes: the share of right predictions needs more


def check_scaling(
    opened: OpenModel,
    files: Sequence[str | os.PathLike[str]],
    labels: Sequence[int] | NDArray[np.int32] | None = None,
    size: tuple[int, int] | None = None,
) -> OpenModel:
    """Return the model with its scaling settled, and warn once of a doubt; arguments and errors as `settle_scaling`."""
    settled, doubt, better = settle_scaling(opened, files, labels, size)
    settled.reader.preprocessing = settled.preprocessing
    if doubt:
        choice = (f"pass preprocess='{better}'.", f"use --preprocess {better}.")
        warn(Message(doubt, *(choice if better else ("preprocess=.", "--preprocess."))))
    return settled


def settle_scaling(
    opened: OpenModel,
    files: Sequence[str | os.PathLike[str]],
    labels: Sequence[int] | NDArray[np.int32] | None = None,
    size: tuple[int, int] | None = None,
) -> tuple[OpenModel, str, str | None]:
    """Settle the scaling with some pictures: detect it if asked to, and say if another one clearly fits better.

    A scaling that the file describes is not checked; one that the user chose is compared with what the model shows.

    Args:
        opened: of `open_model`.
        files: pictures; some of them, spread evenly, are read, and those that fail are left out.
        labels: (B,) class of each picture, -1 for unknown; None to take the names of their folders for classes.
        size: as `ModelImages` takes it.

    Returns:
        The model with its scaling; an unknown one is the one detected clearly, else RGB in 0..255. A doubt about the
        scaling, "" for none, that ends where the remedy begins; the mode that fits better, or None.

    Raises:
        ValueError: "detect", and neither the pictures nor the model show the scaling.
    """
    now, shown = opened.preprocessing, opened.measured
    is_given = now.source == "given"
    is_sure = now.source == "own" and opened.request != "detect"
    is_own_numbers = shown.mode == PREPROCESSOR and opened.request != "detect"  # it fits none of the modes to compare
    if now.source == "file" or is_own_numbers or (is_given and shown.mode in ("unknown", now.mode)):
        return opened, "", None
    if is_sure and len(files) < _MAX_FILES:  # a few pictures show less than the layers do, and take longer
        return opened, "", None
    if len(opened.reader.inputs.names) == 1:
        photos, known, bits = _some_photos(opened, files, labels, size)
    else:  # pictures alone are not enough for its predictions
        photos, known, bits = np.empty(0, np.float32), None, 8
    start = "raw" if now.mode in ("unknown", PREPROCESSOR) else now.mode
    ranking = None
    if len(photos):
        modes = [now.mode, shown.mode] if is_given else ["raw", "unit", "tf"] if is_sure else None
        if modes is None and shown.mode == "unknown" and bits == 16:
            modes = [*usual_modes(photos.shape[-1]), "raw16"]
        if opened.request == "detect":
            ranking = rank_scalings(opened.reader, photos, labels=known, modes=modes)
        else:
            ranking = rank_if_doubtful(opened.reader, photos, start, known, modes)
    better = ranking is not None and ranking.best != start and ranking.is_clear(start)
    pictures = f"{len(photos)} picture{'s' if len(photos) != 1 else ''}"
    if len(opened.reader.inputs.names) > 1:
        pictures = "pictures alone, as the model has several inputs"
    # Predictions that are all alike are right for pictures of one class.
    is_supposed = ranking is not None and ranking.evidence == ACTIVITY and not known
    supposed = " (if they are of several classes)" if is_supposed else ""
    settled = now
    if opened.request == "detect" or (now.mode == "unknown" and better):
        settled = _detected(opened, ranking, better, pictures, supposed)
    elif now.mode == "unknown":
        settled = Preprocessing(now.architecture, "raw", "unknown", UNKNOWN.evidence)
    if now.mode == "unknown" and opened.request != "detect":
        fact = f"The input scaling of {opened.reader.name} is unknown: it receives {settled.meaning}"
        fact += f", {settled.evidence}. " if better else ". "
        return opened._replace(preprocessing=settled), f"{fact}Choose another scaling by", None
    if better and settled is now and ranking is not None:
        verb = "fits" if len(photos) == 1 else "fit"
        scores = ", ".join(f"{mode} {ranking.scores[mode]:.2f}" for mode in ranking.modes)
        fact = f"{pictures}{supposed} {verb} the scaling {ranking.best} clearly better than {now.mode}, by "
        fact += f"{ranking.evidence} (lower is better): {scores}. If the model was trained on {ranking.best},"
        return opened, fact, ranking.best
    return opened._replace(preprocessing=settled), "", None


def _detected(
    opened: OpenModel, ranking: ScalingRanking | None, better: bool, pictures: str, supposed: str
) -> Preprocessing:
    """Return the best scaling if it is clearly better, or if the model itself shows none.

    Args:
        pictures: their number.
        supposed: what is supposed of them.
    """
    shown = opened.measured
    tells = ranking is not None and any(ranking.is_clear(mode) for mode in ranking.modes)
    if ranking is None or (not tells and shown.mode == "unknown"):
        fact = f"The input scaling of {opened.reader.name} cannot be detected from {pictures}. Choose one of"
        modes = ", ".join(MODES)
        raise ValueError(Message(fact, f"preprocess={modes}.", f"--preprocess {modes}."))
    if not better and shown.mode != "unknown":
        verdict = f"fit{'s' * pictures.startswith('1 ')} no other scaling clearly better" if tells else "cannot tell"
        return replace(shown, source="detected", evidence=f"{shown.statement.rstrip('.')}; {pictures} {verdict}")
    evidence = f"detected from {pictures}{supposed}: {str(ranking).rstrip('.')}"
    return Preprocessing(shown.architecture, ranking.best, "detected", evidence)


def _some_photos(
    opened: OpenModel,
    files: Sequence[str | os.PathLike[str]],
    labels: Sequence[int] | NDArray[np.int32] | None,
    size: tuple[int, int] | None,
) -> tuple[NDArray[np.float32], list[int] | None, int]:
    """Return photos (B, H0, W0, C) in 0..255 at the model's size, their classes if all are known, and their bits."""
    if labels is None:
        names = ClassNames(opened.class_names)
        found = [names.find(Path(file).parent.name) for file in files]
        labels = [classes[0] if len(classes) == 1 else -1 for classes in found]
    count = min(len(files), _MAX_LABELLED if min(labels, default=-1) >= 0 else _MAX_FILES)
    taken = ModelImages(opened.reader.inputs, Preprocessing(opened.measured.architecture, "raw"), size)
    photos, known, bits = [], [], 8
    for place in np.linspace(0, len(files) - 1, count).round().astype(int):
        with contextlib.suppress(OSError, ValueError, MemoryError):  # reported where the picture is explained
            picture = read_picture(files[place], taken.size)
            photos.append(taken.of_photo(picture.photo))
            bits = max(bits, picture.bits)
            known.append(int(labels[place]))
    return np.asarray(photos, np.float32), known if min(known, default=-1) >= 0 else None, bits
