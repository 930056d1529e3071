"""Names of the classes, read from a file of names or out of the model's own.

A .keras file is a zip archive, and Keras leaves members alone that it does not know. So a script that trains a model
can put the names beside the weights, where the command line finds them, and from Python:

    with zipfile.ZipFile("best.keras", "a") as archive:
        archive.writestr("class_names.json", json.dumps(names))
    Explainer(keras.saving.load_model("best.keras"), class_names=class_names_inside("best.keras"))
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tf_gradcam._errors import nearest_files

ClassNamesLike: TypeAlias = Sequence[str] | Mapping[int, str]  # in class order, or {index: name}
Labels: TypeAlias = Sequence[int | str] | NDArray[Any]  # (B,) indices or names

MEMBER = "class_names.json"
_MOST_BYTES = 2**22  # of the member, unpacked: ImageNet's 21 841 classes take a quarter of that
_FORMS = '["cat", "dog"], {"0": "cat", "1": "dog"} or, as keras\' imagenet_class_index.json, {"0": ["n02", "cat"], ...}'


def load_class_names(path: str | os.PathLike[str]) -> list[str]:
    """Class names in class order.

    Args:
        path: a text file with one name a line, line i + 1 for class i; or, if its name ends in .json, a list of names,
            an object {"0": name, ...}, or one of the form of keras' `imagenet_class_index.json`,
            {"0": ["n01440764", "tench"], ...}.

    Returns:
        One name per class.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not UTF-8, no JSON or of another form, holds no names, an empty one, or skips a class.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected class names in UTF-8, but '{path}' is not. Save it as UTF-8 text.") from error
    except OSError as error:
        remedy = " Give a text file with one name a line. " + nearest_files(path) if not path.exists() else ""
        raise type(error)(f"Cannot read the class names '{path}': {error.strerror}.{remedy}") from error
    if path.suffix.lower() == ".json":
        return _from_json(text, f"'{path}'")
    names = [name.strip() for name in text.rstrip().splitlines()]
    if not names:
        raise ValueError(f"The file of class names '{path}' is empty. Write one name a line.")
    if "" in names:
        raise ValueError(f"Class {names.index('')} (line {names.index('') + 1}) of '{path}' has no name. Give it one.")
    return names


def class_names_inside(path: str | os.PathLike[str]) -> list[str] | None:
    """The class names that a .keras file carries in its member `class_names.json`; no code of the file is run.

    Args:
        path: a .keras file.

    Returns:
        One name per class; None where there is no such member, or the file is no zip archive, such as an .h5 file.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if the member is damaged, of more than 4 MiB, not UTF-8, no JSON, or holds no names.
    """
    source = f"'{MEMBER}' in '{path}'"
    try:
        with zipfile.ZipFile(path) as archive:
            if MEMBER not in archive.namelist():
                return None
            with archive.open(MEMBER) as member:
                data = member.read(_MOST_BYTES + 1)
    except OSError as error:
        raise type(error)(f"Cannot read the model file '{path}': {error.strerror}.") from error
    except zipfile.BadZipFile as error:
        if not zipfile.is_zipfile(path):
            return None
        raise ValueError(f"The class names {source} are damaged: {error}. Write them again.") from error
    except (zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: encrypted, or an unknown way of packing
        raise ValueError(f"The class names {source} cannot be unpacked: {error}. Write them again.") from error
    if len(data) > _MOST_BYTES:
        raise ValueError(f"Expected class names of at most {_MOST_BYTES} bytes, but {source} has more.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected class names in UTF-8, but {source} is not. Write it again.") from error
    return _from_json(text, source)


def _from_json(text: str, source: str) -> list[str]:
    """Names out of JSON; `source` is what messages call it."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected {source} to be JSON such as {_FORMS}, but it is none: {error}.") from error
    values = _by_index(content, source) if isinstance(content, dict) else content
    if isinstance(values, list):
        # keras' own file pairs the WordNet number with the name.
        names = [value[1] if isinstance(value, list) and len(value) == 2 else value for value in values]
        if names and all(isinstance(name, str) and name.strip() for name in names):
            return [name.strip() for name in names]
    raise ValueError(f"Expected {source} to hold class names as {_FORMS}, received {_shortened(content)}.")


def _by_index(content: dict[str, Any], source: str) -> list[Any]:
    expected = [str(index) for index in range(len(content))]
    missing = [index for index in expected if index not in content]
    if missing:
        raise ValueError(
            f"Expected {source} to name the classes 0 to {len(content) - 1} under their numbers, received the keys "
            f"{_shortened(list(content))}: class {missing[0]} is missing."
        )
    return [content[index] for index in expected]


def _shortened(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def imagenet_class_names() -> list[str]:
    """ImageNet's 1000 classes, from the list that Keras downloads once and keeps.

    Raises:
        ConnectionError: if it was not downloaded before and cannot be now.
    """
    import keras

    try:
        ranks = np.arange(1000, 0, -1, dtype=np.float32)[None]  # class 0 first, so the order is that of the classes
        decoded = keras.applications.imagenet_utils.decode_predictions(ranks, top=1000)[0]
    except Exception as error:  # keras raises a plain Exception where a download fails
        raise ConnectionError(f"ImageNet's class names could not be downloaded: {error}") from error
    return [name for _, name, _ in decoded]
