"""Names of the classes, read from a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np


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
        raise type(error)(f"Cannot read the class names '{path}': {error.strerror}.") from error
    names = _from_json(text, path) if path.suffix.lower() == ".json" else text.rstrip().splitlines()
    names = [name.strip() for name in names]
    if not names:
        raise ValueError(f"The file of class names '{path}' is empty. Write one name a line.")
    if "" in names:
        raise ValueError(f"Class {names.index('')} (line {names.index('') + 1}) of '{path}' has no name. Give it one.")
    return names


def _from_json(text: str, path: Path) -> list[str]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"The file of class names '{path}' is no JSON: {error}.") from error
    values = _by_index(content, path) if isinstance(content, dict) else content
    if isinstance(values, list):
        # keras' own file pairs the WordNet number with the name.
        names = [value[1] if isinstance(value, list) and len(value) == 2 else value for value in values]
        if all(isinstance(name, str) for name in names):
            return names
    raise ValueError(
        f"Expected '{path}' to hold a list of names or an object {{index: name}}, received {_shortened(content)}."
    )


def _by_index(content: dict[str, Any], path: Path) -> list[Any]:
    expected = [str(index) for index in range(len(content))]
    missing = [index for index in expected if index not in content]
    if missing:
        raise ValueError(
            f"Expected '{path}' to name the classes 0 to {len(content) - 1} under their numbers, received the keys "
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
