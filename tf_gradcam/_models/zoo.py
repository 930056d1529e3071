"""The models of keras.applications, by name."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tf_gradcam._errors import unknown_name


def model_names() -> list[str]:
    """All names that `build_model` knows, sorted."""
    import keras

    found = vars(keras.applications).items()
    return sorted(name for name, item in found if inspect.isfunction(item) and name[:1].isupper())


def find_model_name(name: str) -> str:
    """The name as keras.applications spells it.

    Args:
        name: the same in any case.

    Raises:
        ValueError: if there is no such model; the nearest names are listed.
    """
    spelled = {known.lower(): known for known in model_names()}
    if name.lower() not in spelled:
        raise ValueError(unknown_name("model", name, spelled.values()) + " A file ends in .keras or .h5.")
    return spelled[name.lower()]


def build_model(name: str, weights: str | None = None, arguments: Mapping[str, Any] | None = None) -> Any:
    """A model of keras.applications.

    Args:
        name: as `find_model_name` takes it.
        weights: "imagenet", downloaded once and kept by Keras, or None for random ones.
        arguments: further arguments of its constructor, such as {"alpha": 0.75}.

    Raises:
        ValueError: for an unknown name or argument, or a value that the constructor refuses.
        ConnectionError: if the weights cannot be downloaded.
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
    except Exception as error:  # keras raises a plain Exception where a download fails
        raise ConnectionError(
            f"The ImageNet weights of {name} could not be downloaded: {error}. Where there is no network, give a file: "
            "--weights FILE."
        ) from error


def _check_argument(name: str, construct: Callable[..., Any], argument: str) -> None:
    known = [key for key in inspect.signature(construct).parameters if key not in ("weights", "input_tensor")]
    if argument not in known:
        raise ValueError(unknown_name(f"argument of {name}", argument, known))


def _written(arguments: Mapping[str, Any], weights: str | None) -> str:
    values = {key: repr(value) for key, value in {**arguments, "weights": weights}.items()}
    return ", ".join(f"{key}={text if len(text) <= 80 else text[:77] + '...'}" for key, text in values.items())


def parse_arguments(pairs: Iterable[str]) -> dict[str, Any]:
    """{"alpha": 0.75} from ["alpha=0.75"].

    Args:
        pairs: KEY=VALUE; the value is a Python literal (0.75, 10, None, (96, 96, 3)), other text is a string.

    Raises:
        ValueError: if there is no "=" or no key.
    """
    arguments = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip().isidentifier():
            raise ValueError(f"Expected a constructor argument as KEY=VALUE, such as alpha=0.75, received '{pair}'.")
        try:
            arguments[key.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):  # the last two: of deep nesting
            arguments[key.strip()] = value.strip()
    return arguments
