"""Models from files, or from keras.applications by name."""

from __future__ import annotations

import ast
import difflib
import inspect
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tf_gradcam._errors import Message, unknown_name
from tf_gradcam._files.opening import check_file
from tf_gradcam._models.safety import FROM_PYTHON, LAMBDA, check_config, config_of, no_more_weights_than_in


def model_names() -> list[str]:
    """Return all names that `build_model` knows, sorted."""
    import keras

    items = vars(keras.applications).items()
    return sorted(name for name, item in items if inspect.isfunction(item) and name[:1].isupper())


def find_model_name(name: str) -> str:
    """Return the name of a model, given in any case, as keras.applications spells it.

    Raises:
        ValueError: an unknown name; the message lists the nearest ones.
    """
    spelled = {known.lower(): known for known in model_names()}
    if name.lower() not in spelled:
        raise ValueError(unknown_name("model", name, spelled.values()) + " A file ends in .keras or .h5.")
    return spelled[name.lower()]


def build_model(name: str, weights: str | None = None, arguments: Mapping[str, Any] | None = None) -> Any:
    """Build a model of keras.applications.

    Args:
        name: in any case.
        weights: "imagenet", downloaded once and cached by Keras, or None for random weights.
        arguments: further arguments of its constructor, such as {"alpha": 0.75}.

    Raises:
        ValueError: an unknown name or argument, or a value that the constructor refuses.
        ConnectionError: the weights cannot be downloaded.
    """
    import keras

    name = find_model_name(name)
    construct = getattr(keras.applications, name)
    arguments = dict(arguments or {})
    for argument in arguments:
        _check_argument(name, construct, argument)
    try:
        return construct(weights=weights, **arguments)
    except (TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{name} cannot be built with {_written(arguments, weights)}: {reason}") from error
    except Exception as error:  # keras raises a plain Exception when a download fails
        fact = f"The ImageNet weights of {name} could not be downloaded: {error}. Without a network,"
        build = f"build keras.applications.{name}(weights=None), call its load_weights(file), and pass the model."
        raise ConnectionError(Message(fact, build, "give a file: --weights FILE.")) from error


def _check_argument(name: str, construct: Callable[..., Any], argument: str) -> None:
    known = [key for key in inspect.signature(construct).parameters if key not in ("weights", "input_tensor")]
    if argument not in known:
        raise ValueError(unknown_name(f"argument of {name}", argument, known))


def _written(arguments: Mapping[str, Any], weights: str | None) -> str:
    values = {key: repr(value) for key, value in {**arguments, "weights": weights}.items()}
    return ", ".join(f"{key}={text if len(text) <= 80 else text[:77] + '...'}" for key, text in values.items())


def parse_arguments(pairs: Iterable[str]) -> dict[str, Any]:
    """Parse constructor arguments: ["alpha=0.75"] becomes {"alpha": 0.75}.

    Args:
        pairs: KEY=VALUE; the value is a Python literal (0.75, 10, None, (96, 96, 3)) or else a string.

    Raises:
        ValueError: "=" or the key is missing.
    """
    arguments = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip().isidentifier():
            raise ValueError(f"Expected a constructor argument as KEY=VALUE, such as alpha=0.75, received '{pair}'.")
        try:
            arguments[key.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):  # the last two: deep nesting
            arguments[key.strip()] = value.strip()
    return arguments


MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")


def load_network(model: str, weights: str | None = None, arguments: Iterable[str] = ()) -> Any:
    """Load a model from a file, or build one of keras.applications.

    Args:
        model: a .keras or .h5 file, or a name in any case.
        weights: a file of weights; "imagenet" or "none" (random) for a name; None keeps the weights of a file, and
            means "none" for a name.
        arguments: for the constructor of a named network, as KEY=VALUE.

    Raises:
        OSError, ValueError: as `load_model_file`, `build_model` and `load_weights_file`; arguments, "imagenet" or
            "none" with a file.
    """
    has_file = weights not in (None, "imagenet", "none")
    if is_model_file(model):
        if (weights and not has_file) or list(arguments):
            fact = f"'{model}' is a file with its own arguments and weights. Give the name of a network instead, or"
            raise ValueError(Message(fact, "a file as weights=.", "--weights FILE."))
        network = load_model_file(model)
    else:
        _check_name(model)
        network = build_model(model, "imagenet" if weights == "imagenet" else None, parse_arguments(arguments))
    if has_file:
        load_weights_file(network, str(weights))
    return network


def is_model_file(name: str) -> bool:
    """Return whether `name` means a file (it exists, ends like one, or has a folder in it), not a network."""
    return os.path.exists(name) or name.lower().endswith(MODEL_SUFFIXES) or os.path.dirname(name) != ""


def _check_name(name: str) -> None:
    """Refuse a misspelt file, before it is taken for the name of a network."""
    if any(os.path.isfile(name + suffix) for suffix in MODEL_SUFFIXES):
        raise FileNotFoundError(_missing(Path(name)))
    if difflib.get_close_matches(Path(name).suffix.lower(), MODEL_SUFFIXES):
        raise FileNotFoundError(f"'{name}' looks like a model file. {_missing(Path(name))}")


def _missing(path: Path) -> str:
    """Return the message for a missing file, with the nearest model files in its folder."""
    folder = path.parent
    files = folder.iterdir() if folder.is_dir() else ()
    known = [file.name for file in files if file.suffix.lower() in MODEL_SUFFIXES]
    close = [name for name in known if Path(name).stem == path.name]  # the suffix was left out
    near = ", ".join(f"'{folder / name}'" for name in close or difflib.get_close_matches(path.name, known))
    return f"There is no model file '{path}'. {f'Did you mean {near}?' if near else 'Check the path.'}"


def load_model_file(path: str | os.PathLike[str]) -> Any:
    """Load a model from a .keras or .h5 file, without running code from it.

    Raises:
        FileNotFoundError, PermissionError: the file cannot be read.
        ValueError: it is not a model, is damaged, needs classes of the user's own, or holds a lambda, whose code Keras
            would run.
    """
    import keras

    path = Path(path)
    _check_path(path)
    check_config(config_of(path), path)
    try:
        with no_more_weights_than_in(path):
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except PermissionError:
        raise
    except Exception as error:  # from zip, HDF5, JSON, and from whatever a layer's constructor raises
        raise ValueError(f"Cannot load '{path}': {_explained(error)}") from error


def _check_path(path: Path) -> None:
    check_file(path, "a model file")
    if path.is_dir():
        kind = "a SavedModel, whose operations hide the layers" if (path / "saved_model.pb").exists() else "a folder"
        raise ValueError(f"Expected a .keras or .h5 file, but '{path}' is {kind}. Save it by model.save('name.keras').")
    if not path.exists():
        raise FileNotFoundError(_missing(path))
    if path.suffix.lower() not in MODEL_SUFFIXES:
        is_renamed = zipfile.is_zipfile(path)
        remedy = "Rename it to end in .keras" if is_renamed else "Save the model by model.save('name.keras')"
        raise ValueError(f"Expected a model file ending in {', '.join(MODEL_SUFFIXES)}, received '{path}'. {remedy}.")
    with open(path, "rb") as file:  # a lack of permission raises its own error
        file.read(1)
    if path.suffix.lower() == ".keras" and not zipfile.is_zipfile(path):
        raise ValueError(f"'{path}' is not a .keras file, or is damaged: not a zip archive. Copy or save it again.")


def _explained(error: Exception) -> str:
    text = str(error)
    if "Lambda" in text and "safe_mode" in text:
        return LAMBDA
    unknown = re.search(r"Could not locate (?:class|function) '([^']+)'|Unknown \w+: '([^']+)'", text)
    if unknown:
        return (
            f"it needs '{unknown[1] or unknown[2]}', a class of your own. {FROM_PYTHON}, with "
            "keras.saving.load_model(path, custom_objects={...})."
        )
    first = re.split(r"\n|(?<=[.!]) ", text.strip())[0][:200]
    return f"{first.rstrip('.')}. Was it saved by another version of Keras, or cut short? {FROM_PYTHON}."


def load_weights_file(model: Any, path: str | os.PathLike[str]) -> None:
    """Fill a model with the weights in a file.

    Args:
        model: a built Keras model; its weights are replaced.
        path: .weights.h5, .keras or .h5.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not a file of weights, or they do not fit the model.
    """
    path = Path(path)
    check_file(path, "a file of weights")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of weights '{path}'. Check the path.")
    if path.suffix.lower() not in MODEL_SUFFIXES:
        raise ValueError(f"Expected a file of weights ending in .weights.h5, .keras or .h5, received '{path}'.")
    try:
        model.load_weights(path)
    except Exception as error:  # from zip, HDF5, and from the comparison with the model
        fact = f"The weights in '{path}' do not fit {model.name}: {_misfit(error)}. Was it built with other arguments?"
        build = "Build it with them, load the weights into it, and pass the model."
        options = "Name them: --model-arg alpha=0.75, --model-arg classes=10."
        raise ValueError(Message(fact, build, options)) from error


def _misfit(error: Exception) -> str:
    text = str(error)
    shapes = re.search(r"variable\.shape=(\([^)]*\)).*?value\.shape=(\([^)]*\))", text, re.DOTALL)
    layer = re.search(r"for object <\w+ name=([^,>]+)", text)
    if shapes:
        where = f"layer '{layer[1]}' has" if layer else "a variable has"
        return f"{where} the shape {shapes[1]}, the file {shapes[2]}"
    return " ".join(text.split())[:200].rstrip(".")
