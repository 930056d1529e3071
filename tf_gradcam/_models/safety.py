"""Checks of a model file before Keras builds its layers: no code, no more weights than the file can hold."""

from __future__ import annotations

import contextlib
import json
import math
import re
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tf_gradcam._files.opening import zip_member

FROM_PYTHON = "Load it in Python and explain it there: `Explainer(model)`"
_MAX_CONFIG_BYTES = 64 * 2**20  # the largest networks take 2 MiB; JSON takes ten times its size in memory
_SPARE_NUMBERS = 2**26  # weights allowed beyond the size of a file: some files are packed
# For a Lambda layer Keras calls any function of its own by name, `set_floatx` or a download among them.
_FUNCTIONS = re.compile(
    r"keras\.(layers|ops|activations|losses|metrics|random|initializers|regularizers|constraints|quantizers)"
    r"\.([a-z_]\w*\.)*(?!(de)?serialize$)[a-z_]\w*|keras\.applications\.(\w+\.)?preprocess_input"
)
_CLASSES = re.compile(r"keras\.(?!applications\b)([a-z_]\w*\.)*[A-Z]\w*")


class OwnClassError(ValueError):
    """A class or a function of the user's own, by its name, that a model file needs."""


_build_lock = threading.Lock()
LAMBDA = (
    "it holds a Lambda layer, and Keras would run the code in it. If you trust the file, load it in Python by "
    "keras.saving.load_model(path, safe_mode=False), or build the network there and load its weights, then explain it "
    "there: `Explainer(model)`."
)


def config_of(file: Path, path: Path) -> Any:
    """Read the layers' configuration from a file, as Keras reads it; None for HDF5 without one.

    Args:
        file: a .keras file that is a zip archive, or an HDF5 file.
        path: what the user gave, for messages.

    Raises:
        ValueError: the file is damaged, or its configuration is missing or too large.
    """
    if file.suffix != ".keras":
        config = _config_in_hdf5(file, path)
        return None if config is None else _parsed(config, path)
    try:
        text = zip_member(file, "config.json", _MAX_CONFIG_BYTES)
    except zipfile.BadZipFile as error:
        raise ValueError(f"'{path}' is not a .keras file, or is damaged: {error}. Copy or save it again.") from error
    if text is None:
        raise ValueError(f"'{path}' is not a .keras file, or is damaged: it has no config.json. Copy or save it again.")
    if len(text) > _MAX_CONFIG_BYTES:
        raise ValueError(f"Expected layers in at most {_MAX_CONFIG_BYTES} bytes, but the layers of '{path}' take more.")
    return _parsed(text, path)


def config_in_json(file: Path) -> Any:
    """Read a configuration from a file of JSON; errors as `config_of`."""
    if file.stat().st_size > _MAX_CONFIG_BYTES:
        raise ValueError(f"Expected layers in at most {_MAX_CONFIG_BYTES} bytes, but '{file}' is larger.")
    return _parsed(file.read_bytes(), file)


def _config_in_hdf5(file: Path, path: Path) -> Any:
    import h5py

    try:
        with h5py.File(file, "r") as content:
            return content.attrs.get("model_config")
    except OSError as error:
        raise ValueError(f"'{path}' is not an HDF5 file, or is damaged: {error}. Copy or save it again.") from error


def keras_version(path: Path) -> str | None:
    """Return the version of Keras that wrote a readable model file; "1" for an .h5 file from before it was noted."""
    import h5py

    if not zipfile.is_zipfile(path):
        with h5py.File(path, "r") as file:
            version = file.attrs.get("keras_version", "1")
            return version.decode() if isinstance(version, bytes) else str(version)
    try:
        return str(json.loads(zip_member(path, "metadata.json", _MAX_CONFIG_BYTES) or b"")["keras_version"])
    except (KeyError, ValueError, TypeError):
        return None


def reason_of(error: Exception) -> str:
    """Return why Keras refuses, in one line: the innermost reason in a message of many lines."""
    text = re.sub(r"\x1b\[[\d;]*m", "", str(error))
    inner = re.findall(r"(?:Exception encountered: |Error: |Error encountered:\s+)(.+?)(?:\n\n|$)", text, re.DOTALL)
    start, *rest = text.strip().split("\n\n")
    if rest and start.startswith("Exception encountered when calling"):  # of a layer, whose own words follow
        start = f"{start.rstrip('.')}: {rest[0]}"
    line = " ".join((inner[-1] if inner else start).split())
    return (line if len(line) <= 400 else f"{line[:397]}...").rstrip(".") or type(error).__name__


def _parsed(text: Any, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"'{path}' is damaged: its layers are not JSON: {error}. Copy or save it again.") from error


def check_config(config: Any, path: Path) -> None:
    """Refuse code, and functions of Keras that are not part of a layer, which `safe_mode` does not check.

    Keras before 3.11 ran the lambdas of .h5 files, whatever `safe_mode` said.

    Args:
        config: of `config_of`.
        path: of the file, for the message.

    Raises:
        ValueError: the configuration holds code or such a function.
    """
    items = [config]
    while items:
        item = items.pop()
        if isinstance(item, dict):
            if _is_lambda(item.get("function")):
                raise ValueError(f"Cannot load '{path}': {LAMBDA}")
            if name := _foreign_name(item):
                raise ValueError(
                    f"Cannot load '{path}': it calls '{name}' of Keras, which is not part of a layer. {FROM_PYTHON} if "
                    "you trust it."
                )
            items += item.values()
        elif isinstance(item, list):
            items += item


def _is_lambda(function: Any) -> bool:
    """Return whether a layer's function is code inside the file, not a registered name."""
    return isinstance(function, list) or (isinstance(function, dict) and function.get("class_name") == "__lambda__")


def _foreign_name(item: dict[str, Any]) -> str | None:
    """Return the name of an object of Keras that is not part of a layer, or None."""
    module, kind = str(item.get("module")), item.get("class_name")
    if kind is None or module.startswith("keras.src.") or module.split(".")[0] != "keras":
        return None
    name = f"{module}.{item.get('config') if kind == 'function' else kind}"
    return None if (_FUNCTIONS if kind == "function" else _CLASSES).fullmatch(name) else name


def _unpacked_bytes(path: Path) -> int:
    if path.suffix != ".keras":
        return path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist())


@contextlib.contextmanager
def no_more_weights_than_in(path: Path) -> Iterator[None]:
    """Limit the weights built in this thread to the size of a file: a few bytes may declare layers of any size.

    Raises:
        ValueError: inside, from the layer that is too large.
    """
    import keras

    builder, remaining = threading.get_ident(), _unpacked_bytes(path) + _SPARE_NUMBERS
    with _build_lock:
        # Replaced for the whole process, and restored: Keras has no hook for it. Its layers inherit this method, so
        # custom objects cannot replace it, and how many numbers a layer makes is known only when it is built.
        usual = keras.layers.Layer.add_weight

        def add_weight(layer: Any, shape: Any = None, *arguments: Any, **options: Any) -> Any:
            nonlocal remaining
            if threading.get_ident() == builder:
                remaining -= math.prod(side for side in shape or () if isinstance(side, int))
                if remaining < 0:
                    raise ValueError(f"its layers, at '{layer.name}', need more weights than it can hold")
            return usual(layer, shape, *arguments, **options)

        keras.layers.Layer.add_weight = add_weight
        try:
            yield
        finally:
            keras.layers.Layer.add_weight = usual
