"""What a model file says of its layers, looked at before Keras builds them: no code, no more than the file can hold."""

from __future__ import annotations

import contextlib
import json
import math
import re
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tf_gradcam._errors import Message

FROM_PYTHON = "Load it in Python and explain it there: `Explainer(model)`"
_MOST_CONFIG_BYTES = 64 * 2**20  # the largest networks take 2 MiB; JSON takes ten times its size in memory
_SPARE_NUMBERS = 2**26  # of weights beyond those that a file has room for: some files are packed
# Keras looks a function up by its name and calls it where a Lambda says so, `set_floatx` or a download among them.
_FUNCTIONS = re.compile(
    r"keras\.(layers|ops|activations|losses|metrics|random|initializers|regularizers|constraints|quantizers)"
    r"\.([a-z_]\w*\.)*(?!(de)?serialize$)[a-z_]\w*|keras\.applications\.(\w+\.)?preprocess_input"
)
_CLASSES = re.compile(r"keras\.(?!applications\b)([a-z_]\w*\.)*[A-Z]\w*")
_building = threading.Lock()
LAMBDA = (
    "it holds a Lambda layer, and Keras would run the code in it. If you trust the file, load it in Python by "
    "keras.saving.load_model(path, safe_mode=False), then explain it there: `Explainer(model)`."
)


def config_of(path: Path) -> Any:
    """What a file says of its layers, read as Keras reads it.

    Args:
        path: a .keras file that is a zip archive, or an HDF5 file.

    Raises:
        ValueError: it is damaged, says nothing of layers, or says too much.
    """
    if path.suffix.lower() != ".keras":
        return _parsed(_config_in_hdf5(path), path)
    try:
        with zipfile.ZipFile(path) as archive, archive.open("config.json") as member:
            text = member.read(_MOST_CONFIG_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, KeyError) as error:
        raise ValueError(f"'{path}' is no .keras file, or damaged: {error}. Copy or save it again.") from error
    if len(text) > _MOST_CONFIG_BYTES:
        raise ValueError(f"Expected layers in at most {_MOST_CONFIG_BYTES} bytes, but those of '{path}' take more.")
    return _parsed(text, path)


def _config_in_hdf5(path: Path) -> Any:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
    except OSError as error:
        raise ValueError(f"'{path}' is no HDF5 file, or damaged: {error}. Copy or save it again.") from error
    if config is None:
        fact = f"'{path}' holds weights and no model."
        build = "Build the model, call its load_weights(path), and pass the model."
        option = f"Give it as weights of a model: --model NAME --weights {path}."
        raise ValueError(Message(fact, build, option))
    return config


def _parsed(text: Any, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"'{path}' is damaged: its layers are no JSON: {error}. Copy or save it again.") from error


def check_config(config: Any, path: Path) -> None:
    """Refuse code, and functions of Keras that no layer is made of, for which `safe_mode` has no eyes.

    Keras before 3.11 ran the lambdas of .h5 files, whatever `safe_mode` said.

    Args:
        config: of `config_of`.
        path: of the file, for the message.

    Raises:
        ValueError: there is such a thing.
    """
    left = [config]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            if _is_lambda(item.get("function")):
                raise ValueError(f"Cannot load '{path}': {LAMBDA}")
            if name := _foreign_name(item):
                raise ValueError(
                    f"Cannot load '{path}': it wants '{name}' of Keras to be called, which is no part of a layer. "
                    f"{FROM_PYTHON} if you trust it."
                )
            left += item.values()
        elif isinstance(item, list):
            left += item


def _is_lambda(function: Any) -> bool:
    """Whether a layer's function is code of its own, not one that is called by its registered name."""
    return isinstance(function, list) or (isinstance(function, dict) and function.get("class_name") == "__lambda__")


def _foreign_name(item: dict[str, Any]) -> str | None:
    """The name under which Keras would look for an object, where it is none that layers are made of."""
    module, kind = str(item.get("module")), item.get("class_name")
    if kind is None or module.startswith("keras.src.") or module.split(".")[0] != "keras":
        return None
    name = f"{module}.{item.get('config') if kind == 'function' else kind}"
    return None if (_FUNCTIONS if kind == "function" else _CLASSES).fullmatch(name) else name


def _unpacked_bytes(path: Path) -> int:
    if path.suffix.lower() != ".keras":
        return path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist())


@contextlib.contextmanager
def no_more_weights_than_in(path: Path) -> Iterator[None]:
    """Refuse to build more numbers in this thread than a file has room for: a few bytes may declare layers of any size.

    Raises:
        ValueError: inside, from the layer that is too large.
    """
    import keras

    builder, left = threading.get_ident(), _unpacked_bytes(path) + _SPARE_NUMBERS
    with _building:
        # Replaced for the whole process, and restored: Keras has no hook for it. Its layers inherit this method, so
        # custom objects cannot replace it, and how many numbers a layer makes is known only when it is built.
        usual = keras.layers.Layer.add_weight

        def add_weight(layer: Any, shape: Any = None, *arguments: Any, **options: Any) -> Any:
            nonlocal left
            if threading.get_ident() == builder:
                left -= math.prod(side for side in shape or () if isinstance(side, int))
                if left < 0:
                    raise ValueError(f"its layers, at '{layer.name}', want more weights than it has room for")
            return usual(layer, shape, *arguments, **options)

        keras.layers.Layer.add_weight = add_weight
        try:
            yield
        finally:
            keras.layers.Layer.add_weight = usual
