"""What the options of a command ask for, as objects. Notes about what was settled without being asked go to stderr."""

from __future__ import annotations

from typing import Any

from tf_gradcam._errors import unknown_name
from tf_gradcam._files.class_names import MEMBER, ClassNames, class_names_inside, imagenet_class_names, load_class_names
from tf_gradcam._models.loading import is_model_file
from tf_gradcam._models.preprocessing import MODES, Preprocessing, find_preprocessing
from tf_gradcam._terminal import tell


def names_in_file(path: str | None) -> list[str] | None:
    return None if path is None else load_class_names(path)


def chosen_preprocessing(mode: str) -> Preprocessing | None:
    """The mode that was asked for; None for "auto".

    Raises:
        ValueError: for an unknown one.
    """
    if mode == "auto":
        return None
    if mode not in (*MODES, "none"):
        raise ValueError(unknown_name("mode of --preprocess", mode, ["auto", "none", *MODES]))
    return Preprocessing(None, "raw" if mode == "none" else mode)


def found_preprocessing(network: Any) -> Preprocessing:
    """What the network says that it wants, RGB in 0..255 with a note where it says nothing."""
    found = find_preprocessing(network)
    if found.mode != "unknown":
        return found
    tell(
        f"note: what {network.name} was trained on cannot be read from it, so it is given RGB in 0..255. If it was "
        "trained on other values, say so by --preprocess."
    )
    return Preprocessing(None, "raw")


def usual_weights(model: str) -> str | None:
    """A file has its own, a named network those of ImageNet."""
    return None if is_model_file(model) else "imagenet"


def chosen_names(names: list[str] | None, model: str, network: Any, weights: str | None) -> list[str] | None:
    """The names that were given, those that the model's file carries, those of ImageNet for a network with its weights,
    else None.

    Raises:
        OSError, ValueError: as `class_names_inside`; if it carries another number of names than of classes.
    """
    if names is None and is_model_file(model):
        names = class_names_inside(model)
        if names is not None:
            _check_count(names, model, network)
    if names is not None or weights != "imagenet" or network.output_shape[-1] != 1000:
        return names
    try:
        return imagenet_class_names()
    except ConnectionError as error:
        tell(f"note: classes are shown by their numbers. {error}. Give a file of names by --class-names.")
        return None


def _check_count(names: list[str], model: str, network: Any) -> None:
    """As many names as classes; one unit may be two classes or a value, which the explainer tells apart."""
    count = network.outputs[0].shape[-1]
    if len(names) not in ((1, 2) if count == 1 else (count,)):
        raise ValueError(
            f"Expected the '{MEMBER}' in '{model}' to name the {count} classes of the model, received {len(names)} "
            "names. Give the right ones by --class-names, or write them into the file again."
        )


def chosen_target(text: str | None, names: list[str] | None) -> int | None:
    """The class that a text means; None for none. Raises ValueError as `ClassNames.index`."""
    return None if text is None else ClassNames(names).index_in(text)
