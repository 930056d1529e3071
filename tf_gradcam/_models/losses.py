"""The losses that a model was compiled with, read from the model or its file without running code of it.

A loss of Keras says what the outputs mean: classes of which one is true, labels, or values. A loss of the user's own
does not.
"""

from __future__ import annotations

import functools
import json
import re
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

_KINDS = {
    "labels": ("binary_crossentropy", "binary_focal_crossentropy"),
    "sides": ("hinge", "squared_hinge"),
    "classes": (
        *("categorical_crossentropy", "sparse_categorical_crossentropy", "categorical_focal_crossentropy"),
        *("kl_divergence", "categorical_hinge"),
    ),
    "values": (
        *("mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error"),
        *("mean_squared_logarithmic_error", "huber", "log_cosh", "poisson"),
    ),
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}
_OTHER_NAMES = {
    **{"bce": "binary_crossentropy", "mse": "mean_squared_error", "mae": "mean_absolute_error"},
    **{"mape": "mean_absolute_percentage_error", "msle": "mean_squared_logarithmic_error"},
    **{"logcosh": "log_cosh", "huber_loss": "huber"},
    **dict.fromkeys(("kld", "k_l_divergence", "kullback_leibler_divergence"), "kl_divergence"),
}
_MAX_BYTES = 2**22  # of the training's settings in an HDF5 file


@dataclass(frozen=True)
class Loss:
    """A loss of Keras.

    Attributes:
        name: of its function in `keras.losses`.
        kind: what it takes the outputs for: "classes" (one is true), "labels" (each is true or not), "sides" (-1 or 1)
            or "values".
        on_logits: whether it takes logits (`from_logits=True`).
    """

    name: str
    kind: str
    on_logits: bool = False

    @property
    def takes_probabilities(self) -> bool:
        """True if the outputs have to be probabilities."""
        return self.kind in ("classes", "labels") and self.name != "categorical_hinge" and not self.on_logits

    def __str__(self) -> str:
        return f"{self.name} on logits" if self.on_logits else self.name


# Of a model, as it was compiled: one for all outputs, a list in their order, or a dict by their names; None is unknown.
Losses: TypeAlias = "Loss | list[Any] | dict[str, Any] | None"

_of_files: weakref.WeakKeyDictionary[Any, Losses] = weakref.WeakKeyDictionary()


def losses_of(model: Any) -> Losses:
    """Return the losses that a model is compiled with, or those in its file if it was loaded by this package."""
    return _read(getattr(model, "loss", None)) if getattr(model, "compiled", False) is True else _of_files.get(model)


def remember_losses(model: Any, losses: Losses) -> None:
    """Keep the losses in a file for the model that was loaded from it without them."""
    if losses is not None:
        _of_files[model] = losses


def losses_in_file(file: Path, config: Any) -> Losses:
    """Return the losses in a model's file.

    Args:
        file: a .keras or an HDF5 file.
        config: of `config_of`.
    """
    compiled = config.get("compile_config") if isinstance(config, dict) else None
    if file.suffix != ".keras":
        compiled = _in_hdf5(file)
    return _read(compiled.get("loss")) if isinstance(compiled, dict) else None


def _in_hdf5(file: Path) -> Any:
    import h5py

    with h5py.File(file, "r") as content:
        text = content.attrs.get("training_config")
    if not isinstance(text, (str, bytes)) or len(text) > _MAX_BYTES:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # the layers are whole: this is evidence less, not an error
        return None


def _read(value: Any) -> Losses:
    """Return the losses of an argument of `compile`, or of what a file says of it."""
    if isinstance(value, Mapping):
        if "class_name" not in value:
            return {str(name): _read(loss) for name, loss in value.items()}
        if value["class_name"] == "__tuple__":
            return _read(list(value.get("items", ())))
        return _of_config(value)
    if isinstance(value, (list, tuple)):
        return [_read(loss) for loss in value]
    return _of_object(value)


def _of_config(config: Mapping[str, Any]) -> Loss | None:
    """Return the loss that a file describes as an object."""
    package = str(config.get("module", "keras")).partition(".")[0]
    if package not in ("keras", "tf_keras", "builtins") or ">" in str(config.get("registered_name", "")):
        return None
    options = config.get("config")
    name = options if config["class_name"] == "function" else config["class_name"]
    return _named(name, isinstance(options, Mapping) and options.get("from_logits") is True)


def _of_object(loss: Any) -> Loss | None:
    """Return the loss of a name, a function of Keras or an instance of a class of it."""
    if isinstance(loss, str):
        return _named(loss)
    if isinstance(loss, functools.partial):
        own = _of_object(loss.func)
        return own and _named(own.name, loss.keywords.get("from_logits") is True)
    is_named = hasattr(loss, "__name__")  # a function
    if not str((loss if is_named else type(loss)).__module__).startswith("keras.src.losses."):
        return None
    return _named(loss.__name__ if is_named else type(loss).__name__, getattr(loss, "from_logits", False) is True)


def _named(name: Any, on_logits: bool = False) -> Loss | None:
    name = str(name)
    name = name.lower() if name.isupper() else re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    name = _OTHER_NAMES.get(name, name)
    return Loss(name, _KIND_OF[name], on_logits) if name in _KIND_OF else None


def loss_of_output(losses: Losses, outputs: Mapping[str, str | int], name: str | None) -> Loss | None:
    """Return the loss of one output, None where none is known.

    Args:
        losses: of the model.
        outputs: {name: key} of several outputs, empty for one.
        name: of the output, None for the only one.
    """
    if isinstance(losses, dict):
        losses = losses.get(str(name)) if outputs else _only(list(losses.values()))
    elif isinstance(losses, list) and outputs:
        # Keras takes a list for a dict of outputs in the order of their names.
        order = sorted(outputs) if any(isinstance(key, str) for key in outputs.values()) else list(outputs)
        losses = losses[order.index(str(name))] if len(losses) == len(order) and name in order else None
    if not isinstance(losses, list):
        return losses if isinstance(losses, Loss) else None
    known = [loss for loss in losses if isinstance(loss, Loss)]  # several for one output, which are added up
    return known[0] if len({loss.kind for loss in known}) == 1 else None


def _only(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else None
