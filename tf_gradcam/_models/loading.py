"""Models from files, or from keras.applications by name."""

from __future__ import annotations

import ast
import difflib
import inspect
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tf_gradcam._errors import Message, unknown_name, warn
from tf_gradcam._models.file_kinds import (
    AGAIN,
    CHECKPOINT,
    MODEL_SUFFIXES,
    SAVED_MODEL,
    by_hand,
    has_layers_only,
    keras_file,
    load_weights_call,
    missing,
    named,
    weights_kind_of,
)
from tf_gradcam._models.hub import classes_of_keras_hub, import_keras_hub, is_preset, load_preset, needs_keras_hub
from tf_gradcam._models.losses import losses_in_file, remember_losses
from tf_gradcam._models.own_code import OwnCode
from tf_gradcam._models.safety import (
    LAMBDA,
    OwnClassError,
    check_config,
    config_of,
    keras_version,
    no_more_weights_than_in,
    reason_of,
)
from tf_gradcam._models.saved_model import checkpoint_values
from tf_gradcam._models.weights_only import read_weights


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


def load_network(
    model: str, weights: str | None = None, arguments: Iterable[str] = (), own_code: OwnCode | None = None
) -> Any:
    """Load a model from a file, or build one of keras.applications or of keras_hub.

    Args:
        model: a file or folder, as `load_model`, a name in any case, or "hub:PRESET", as `load_preset`.
        weights: a file of weights, as `load_weights_file`; "imagenet" or "none" (random) for a name; "none" for a
            preset; None keeps the weights of a file or a preset, and means "none" for a name.
        arguments: for the constructor of a named network, or for a preset's `from_preset`, as KEY=VALUE.
        own_code: classes and functions for the model's file.

    Raises:
        ImportError, OSError, ValueError: as `load_model`, `build_model`, `load_preset` and `load_weights_file`;
            arguments, "imagenet" or "none" with a file, "imagenet" with a preset, code of the user's own with
            another model than a file.
    """
    has_file = weights not in (None, "imagenet", "none")
    if own_code is not None and own_code.named and (is_preset(model) or not is_model_file(model)):
        fact = f"Expected a model file for code of your own, received the network '{model}', which needs none."
        raise ValueError(Message(fact, "Leave imports out.", "Leave --import out."))
    if is_preset(model):
        if weights == "imagenet":
            raise ValueError(f"'{model}' is a preset with its own weights: leave out the weights 'imagenet'.")
        network = load_preset(model, parse_arguments(arguments), has_weights=weights is None)
    elif is_model_file(model):
        if has_file and has_layers_only(Path(model)):
            return load_with_code(model, weights, own_code)
        if (weights and not has_file) or list(arguments):
            fact = f"'{model}' is a file with its own arguments and weights. Give the name of a network instead, or"
            raise ValueError(Message(fact, "a file as weights=.", "--weights FILE."))
        network = load_with_code(model, own_code=own_code)
    else:
        _check_name(model)
        network = build_model(model, "imagenet" if weights == "imagenet" else None, parse_arguments(arguments))
    if has_file:
        load_weights_file(network, str(weights))
    return network


def is_model_file(name: str) -> bool:
    """Return whether `name` means a file (it exists, ends like one, or has a folder in it), not a network or preset."""
    if is_preset(name):
        return False
    return os.path.exists(name) or name.lower().endswith(MODEL_SUFFIXES) or os.path.dirname(name) != ""


def _check_name(name: str) -> None:
    """Refuse a misspelt file, before it is taken for the name of a network."""
    if any(os.path.isfile(name + suffix) for suffix in MODEL_SUFFIXES):
        raise FileNotFoundError(missing(Path(name)))
    if difflib.get_close_matches(Path(name).suffix.lower(), MODEL_SUFFIXES):
        raise FileNotFoundError(f"'{name}' looks like a model file. {missing(Path(name))}")


def load_model(
    path: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    custom_objects: Mapping[str, Any] | None = None,
) -> Any:
    """Load a model from a file or folder of any kind that holds its layers, without running code from it.

    Args:
        path: told by its bytes: a .keras or HDF5 file, a SavedModel of Keras 2, a zip archive of one of these, or the
            layers as JSON. "hub:PRESET" for a preset of keras_hub.
        weights: a file of the weights of a model as JSON; other files have their own.
        custom_objects: classes and functions of your own that the model needs, by name.

    Returns:
        A Keras 3 model, not compiled. What Keras 1 or 2 wrote is repaired; a `ModelWarning` says how.

    Raises:
        ImportError: it holds classes of keras_hub, which is not installed.
        FileNotFoundError, PermissionError: the file cannot be read.
        OSError: it is a pipe or a device; a preset cannot be downloaded.
        ValueError: it is not a model, is damaged, needs classes of your own, holds a lambda, whose code Keras would
            run, or cannot be repaired.
    """
    return load_with_code(path, weights, OwnCode(objects=dict(custom_objects or {})))


def load_with_code(
    path: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None, own_code: OwnCode | None = None
) -> Any:
    """Load a model as `load_model` does, with the objects of the user's modules."""
    import keras

    own_code = own_code or OwnCode()
    if is_preset(path):
        return load_preset(str(path))
    path = Path(path)
    with keras_file(path, None if weights is None else Path(weights)) as file:
        config = config_of(file, path)
        if config is None:
            raise ValueError(_no_layers(file, path))
        check_config(config, path)
        version = keras_version(file)
        objects = own_code.for_config(config)
        if needs_keras_hub(config):
            import_keras_hub(f"'{path}'")
            objects = {**classes_of_keras_hub(), **objects}
        try:
            with no_more_weights_than_in(file), keras.saving.custom_object_scope(objects):
                if version is not None and version.partition(".")[0] in ("1", "2"):
                    from tf_gradcam._models.keras2 import load_repaired

                    model, repairs = load_repaired(file, config, objects)
                else:
                    model, repairs = keras.saving.load_model(file, compile=False, safe_mode=True), ""
        except PermissionError:
            raise
        except Exception as error:  # from zip, HDF5, JSON, and from whatever a layer's constructor raises
            raise ValueError(_refusal(error, path, version, own_code)) from error
        remember_losses(model, losses_in_file(file, config))
    if repairs:
        warn(f"'{path}' was written by Keras {version} and repaired: {repairs}.")
    return model


def _no_layers(file: Path, path: Path) -> str:
    """Return the message for HDF5 without layers: which weights they are, and what to do with them."""
    saved = read_weights(file)
    if not saved.layers:
        return f"'{path}' is an HDF5 file of something else: it holds neither layers nor weights of Keras. {AGAIN}"
    fact, call = f"'{path}' holds weights, not a model: {saved}.", load_weights_call(path)
    arguments = [] if saved.class_count in (None, 1000) else [f"classes={saved.class_count}"]
    if saved.network is None or not _fits(saved.network, arguments, file):
        return f"{fact} In Python build the network of the training, {call}, and explain it: `Explainer(model)`."
    built = f"{saved.network}({', '.join(['weights=None', *arguments])})"
    build = f"Build keras.applications.{built}, {call}, and pass the model."
    options = "".join(f" --model-arg {argument}" for argument in arguments)
    return Message(fact, build, f"Type --model {saved.network} --weights {path}{options}")


def _fits(network: str, arguments: list[str], file: Path) -> bool:
    """Return whether a file's weights are those of a whole network of keras.applications: it is built, and filled."""
    try:
        load_weights_file(build_model(network, None, parse_arguments(arguments)), file)
    except (ValueError, OSError):
        return False
    return True


def _refusal(error: Exception, path: Path, version: str | None, own_code: OwnCode) -> str:
    """Return the cause, and the remedy that works for every version: the network is built and filled from the file."""
    import keras

    cannot = f"Cannot load '{path}'"
    if "Lambda" in str(error) and "safe_mode" in str(error):
        return f"{cannot}: {LAMBDA}"
    kind, name = _own_object(error)
    if name == "KerasLayer":
        fact = "it runs a network of TensorFlow Hub as one operation of Keras 2, without layers to cut at"
        other = "Train a network of keras.applications in its place: `keras.applications.MobileNetV2(...)`."
        return f"{cannot}: {fact}. {other}"
    if name:
        searched = own_code.without(name)
        fact = f"{cannot}: it needs '{name}', a {kind} of your own{', ' if searched else ''}{searched}."
        code = f"tf_gradcam.load_model(path, custom_objects={{'{name}': ...}})"
        build = (
            f"Load it by {code} and explain the model, or name the Python file that defines '{name}' at the command "
        )
        option = f"Name the Python file that defines '{name}', and its code is run:"
        return Message(fact, f"{build}line: --import FILE.", f"{option} --import FILE.")
    refused = re.findall(r"(?:<class '[\w.]*\b|deserializing class ')(\w+)'", str(error))
    if own_code.named and (inner := [own for own in refused if own in own_code.objects]):
        own, reason = inner[-1], reason_of(error).split(". ")[0]
        remedy = f"Let {own}.__init__ take what its get_config returns and **kwargs, and give these to super().__init__"
        return f"{cannot}: Keras cannot build '{own}': {reason}. {remedy}; or define {own}.from_config."
    called = re.search(r"when calling (\w+)\.call\(\)", str(error))
    if own_code.named and called and called[1] in own_code.objects:
        return f"{cannot}: {called[1]}.call raises: {reason_of(error)}. Correct it."
    by_itself = f"{by_hand(path)} and explain it there: `Explainer(model)`."
    if version and version != keras.__version__:
        writer = f", which Keras {version} wrote (this is {keras.__version__})"
        return f"{cannot}{writer}: {reason_of(error)}. {by_itself[0].upper()}{by_itself[1:]}"
    return f"{cannot}: {reason_of(error)}. If it is cut short, copy or save it again; else {by_itself}"


def _own_object(error: Exception) -> tuple[str, str | None]:
    """Return the kind and the name of the class or function of the user's own that an error misses, None for none."""
    import keras

    if isinstance(error, OwnClassError):
        return "class", str(error)
    text = str(error)
    for pattern in _MISSING:
        if found := re.search(pattern, text):
            module = _MODULE.search(text, found.start())
            is_known = module[1].startswith("keras") if module else hasattr(keras.layers, found[2])
            return ("function" if "function" in found[1] else "class"), None if is_known else found[2]
    return "class", None


# What Keras says of an object that it does not know, with its kind and name.
_MISSING = (
    r"Could not locate (class|function) '([^']+)'",
    r"Could not interpret ([\w ]+) identifier: \{.*?'class_name': '([^']+)'",
    r"Could not interpret ([\w ]+) identifier: (\w+)$",
    r"Unknown ([\w ]+): '([^']+)'",
)
_MODULE = re.compile(r"(?:identifier|object config): \{'module': '([\w.]+)'")  # builtins for functions


def load_weights_file(model: Any, path: str | os.PathLike[str]) -> None:
    """Fill a model with the weights in a file, whatever its name.

    Args:
        model: a built Keras model; its weights are replaced.
        path: weights or a whole model as .keras or HDF5, a checkpoint of TensorFlow (its prefix or a file of it), or a
            SavedModel.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: it is a pipe or a device.
        ValueError: it is not a file of weights, or they do not fit the model.
    """
    path = Path(path)
    kind = weights_kind_of(path)
    try:
        if kind in (CHECKPOINT, SAVED_MODEL):
            model.set_weights(checkpoint_values(path))
        else:
            with named(path, kind) as file, warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Skipping nested container")  # of each list that older files lack
                model.load_weights(file)
    except Exception as error:  # from zip, HDF5, TensorFlow, and from the comparison with the model
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
