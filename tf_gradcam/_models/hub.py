"""Models of keras_hub: the package itself, its classes in model files, and its presets."""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from tf_gradcam._errors import Message, unknown_name, warn
from tf_gradcam._models.keras_internals import deserializing_safely
from tf_gradcam._models.safety import check_config, config_in_json

PREFIX = "hub:"
INSTALL = "pip install keras-hub"
_SUCH_AS = "Choose a preset such as hub:resnet_50_imagenet."
_TASKS = ("ImageClassifier", "ImageSegmenter", "ObjectDetector")


def is_preset(model: Any) -> bool:
    """Return whether a model is named as a preset of keras_hub, "hub:NAME"."""
    return isinstance(model, str) and model.startswith(PREFIX)


def needs_keras_hub(config: Any) -> bool:
    """Return whether the configuration in a model's file names a class of keras_hub."""
    items = [config]
    while items:
        item = items.pop()
        if isinstance(item, dict):
            if str(item.get("module")).partition(".")[0] == "keras_hub":
                return True
            items += item.values()
        elif isinstance(item, list):
            items += item
    return False


def import_keras_hub(needed_by: str) -> ModuleType:
    """Import keras_hub, which registers its classes with Keras.

    Args:
        needed_by: what needs it, the subject of the message.

    Raises:
        ImportError: it is not installed, or one of the packages that it needs fails; the message says how to install
            it.
    """
    try:
        return importlib.import_module("keras_hub")
    except ModuleNotFoundError as error:
        if error.name != "keras_hub":
            raise ImportError(_broken(needed_by, error)) from error
        raise ImportError(
            f"{needed_by} needs the package 'keras_hub', which is not installed. Install it: {INSTALL}"
        ) from error
    except Exception as error:  # its modules import many packages
        raise ImportError(_broken(needed_by, error)) from error


def _broken(needed_by: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"{needed_by} needs the package 'keras_hub', which fails: {reason}. Install it again: {INSTALL} --upgrade"


def classes_of_keras_hub() -> dict[str, Any]:
    """Return the classes that keras_hub registered, by the plain names that HDF5 files have."""
    import keras

    registered = keras.saving.get_custom_objects().items()
    return {name.partition(">")[2]: kind for name, kind in registered if name.startswith("keras_hub>")}


def is_imagenet_preset(model: Any, task: Any) -> bool:
    """Return whether a task came from a preset of keras_hub's own of a classifier of ImageNet's 1000 classes."""
    if not is_preset(model):
        return False
    kind = import_keras_hub(f"'{model}'").models.ImageClassifier
    return model[len(PREFIX) :] in kind.presets and isinstance(task, kind) and task.output_shape[-1] == 1000


def load_preset(model: str, arguments: Mapping[str, Any] | None = None, has_weights: bool = True) -> Any:
    """Load an image task of keras_hub from a preset, which keras_hub downloads once.

    Args:
        model: "hub:" and one of keras_hub's names ("vit_base_patch16_224_imagenet"), an address ("kaggle://...",
            "hf://..."), or a folder that `task.save_to_preset(folder)` wrote.
        arguments: of the task's `from_preset`, such as {"num_classes": 10}, with which the head is new.
        has_weights: whether to load the weights; they are random without. Defaults to True.

    Returns:
        The task with its preprocessor: an `ImageClassifier`, `ImageSegmenter` or `ObjectDetector`.

    Raises:
        ImportError: keras_hub is not installed.
        FileNotFoundError: a folder that does not exist.
        ConnectionError: the preset cannot be downloaded.
        PermissionError: the preset needs an account, or the acceptance of terms.
        ValueError: an unknown name, a folder without a preset, a preset that is not of an image task or that is
            a backbone alone, a preset that holds code, or arguments that it does not take.
    """
    preset = model[len(PREFIX) :]
    keras_hub = import_keras_hub(f"'{model}'")
    _check_name(keras_hub, preset, model)
    if "://" not in preset:
        preset = os.path.expanduser(preset)
    given = {**(arguments or {}), **({} if has_weights else {"load_weights": False})}
    for kind in _TASKS:
        try:
            with deserializing_safely():
                task = getattr(keras_hub.models, kind).from_preset(preset, **given)
        except Exception as error:  # of keras_hub, Keras, the network and the packages that download
            if "Unable to find a subclass" in str(error):
                continue
            raise _failure(error, preset, model, kind) from error
        _check_arguments(task, arguments or {})
        if "num_classes" in given and has_weights:
            fact = (
                f"The head of '{model}' is new and random for num_classes={given['num_classes']}, and so are its maps:"
            )
            warn(f"{fact} the backbone alone has weights.")
        return task
    raise ValueError(_not_an_image_task(model))


def _check_name(keras_hub: ModuleType, preset: str, model: str) -> None:
    """Check that a preset is one of keras_hub's own, an address, or a folder whose files hold no code."""
    own = {name for kind in _TASKS for name in getattr(keras_hub.models, kind).presets}
    if preset in own or "://" in preset:
        return
    if not preset:
        raise ValueError(f"Expected hub:PRESET, received '{model}' without a name. {_SUCH_AS}")
    folder = Path(preset).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ValueError(
                f"Expected a preset of keras_hub in the folder '{preset}', received one without config.json. Write it "
                "in Python by task.save_to_preset(folder)."
            )
        for file in sorted(folder.glob("*.json")):
            check_config(config_in_json(file), file)
        return
    if os.path.dirname(preset):
        raise FileNotFoundError(
            f"There is no folder '{preset}' for '{model}'. Check the path; in Python task.save_to_preset(folder) "
            "writes such a folder."
        )
    if preset in keras_hub.models.Backbone.presets:
        raise ValueError(_not_an_image_task(model))
    raise ValueError(unknown_name("image preset of keras_hub", preset, sorted(own)))


def _check_arguments(task: Any, arguments: Mapping[str, Any]) -> None:
    """Check that a task takes the arguments: keras_hub passes on any."""
    known = [name for name in inspect.signature(type(task).__init__).parameters if name not in ("self", "kwargs")]
    for name in arguments:
        if name not in (*known, "dtype", "image_shape"):
            raise ValueError(unknown_name(f"argument of {type(task).__name__}", name, [*known, "dtype", "image_shape"]))


def _not_an_image_task(model: str) -> str:
    return (
        f"Expected a preset of an image task ({', '.join(_TASKS)}), received '{model}', which keras_hub has no such "
        f"task for. {_SUCH_AS}"
    )


def _failure(error: Exception, preset: str, model: str, kind: str) -> Exception:
    """Return the error in words, of the kind that `load_preset` names."""
    reason = " ".join(str(error).split())
    short = f"{type(error).__name__}: {reason[:200].rstrip('.')}"
    first = reason.partition(". ")[0].rstrip(".")
    names = {base.__name__ for base in type(error).__mro__}
    scheme = preset.partition("://")[0] if "://" in preset else "kaggle"
    if any(sign in reason for sign in ("401 Client", "403 Client", "not accessible", "gated", "credentials")):
        site, file = ("Hugging Face", "HF_TOKEN") if scheme == "hf" else ("Kaggle", "KAGGLE_API_TOKEN")
        return PermissionError(
            f"'{model}' needs an account of {site} that may read it ({first}). Accept the model's terms there, set "
            f"{file} to a token of your account, and try again; or load a folder: hub:FOLDER."
        )
    is_far = "://" in preset or not os.path.exists(preset)
    if is_far and (names & _OF_THE_NETWORK or any(sign in reason for sign in _SIGNS_OF_THE_NETWORK)):
        host = re.search(r"host='([^']+)'", reason)
        where = f" from {host[1]}, which cannot be reached" if host else f": {first}"
        fact = (
            f"The preset '{preset}' could not be downloaded{where}. Check its name, the network, and that your account "
            "may read it; without a network,"
        )
        folder = "save the task where there is one by task.save_to_preset(folder), and load"
        return ConnectionError(Message(fact, f"{folder} 'hub:FOLDER'.", f"{folder} --model hub:FOLDER."))
    if "num_classes" in reason or "image_converter.json" in reason or "preprocessor.json" in reason:
        build = f"keras_hub.models.{kind}.from_preset({preset!r}, num_classes=10, preprocessor=None)"
        return ValueError(
            f"'{model}' is a backbone without a trained head: there is no class to explain. Train a task on it in "
            f"Python, {build}, save it by task.save_to_preset(folder), and load hub:FOLDER."
        )
    return ValueError(f"Cannot load '{model}' as {kind}: {short}. Load it in Python by keras_hub and explain the task.")


_SIGNS_OF_THE_NETWORK = ("has no config.json", "Could not resolve", "Server Error")
_OF_THE_NETWORK = {"ConnectionError", "Timeout", "ConnectError", "TimeoutException", "FailedPreconditionError"}
