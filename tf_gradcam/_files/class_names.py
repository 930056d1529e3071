"""Names of the classes: read from files, and matched by one rule wherever a class is named.

Axis legend: B images.

A .keras file is a zip archive, and Keras leaves members alone that it does not know. So a script that trains a model
can put the names beside the weights, where the command line finds them, and from Python:

    with zipfile.ZipFile("best.keras", "a") as archive:
        archive.writestr("class_names.json", json.dumps(names))
    Explainer(keras.saving.load_model("best.keras"), class_names=class_names_inside("best.keras"))
"""

from __future__ import annotations

import json
import os
import re
import zipfile
import zlib
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tf_gradcam._errors import Message, nearest_files, unknown_name

TOP_CLASS = -1  # in an array of class indices: each image's own best class

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


_WORDNET = re.compile(r"^n\d{8} ")  # the WordNet number before a plain name, as folders of ImageNet have it
_MOST_DIGITS = 100  # of a class index in a text; Python refuses to read numbers of thousands


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _synonyms(name: str) -> Iterable[str]:
    """The plain name and its parts between commas ("Afghan hound, Afghan" is either), without a WordNet number."""
    return filter(None, {_WORDNET.sub("", _plain(part)) for part in (name, *name.split(","))})


# Two names mean the same class where one of their forms is the same; the first rule that finds a class decides.
_FORMS_OF = (lambda name: [name], lambda name: filter(None, [_plain(name)]), _synonyms)


class ClassNames:
    """Names of the classes, by index and back.

    Args:
        names: sequence of names in class order, or a mapping from index to name; None where there are none.

    Raises:
        TypeError: neither, or a name that is not a string.
        ValueError: a mapping with one class twice, as "1" and 1.
    """

    def __init__(self, names: ClassNamesLike | None):
        if names is not None and (isinstance(names, str) or not isinstance(names, (Sequence, Mapping, np.ndarray))):
            remedy = ""
            if isinstance(names, str):
                remedy = " Of a file: open(path).read().splitlines()."
            raise TypeError(f"Expected class_names as a list of names, received {type(names).__name__}.{remedy}")
        items = list(names.items() if isinstance(names, Mapping) else enumerate([] if names is None else names))
        for index, name in items:
            if not (str(index).isdecimal() and isinstance(name, str)):  # "3" as well: so JSON spells the keys
                is_turned = isinstance(index, str) and isinstance(name, (int, np.integer))
                remedy = " Turn it around: {index: name for name, index in class_names.items()}." if is_turned else ""
                raise TypeError(
                    "Expected class_names as a list of strings or a mapping {index: string}, received "
                    f"{name!r} for class {index!r}.{remedy}"
                )
        self.by_index = {int(index): str(name) for index, name in items}
        if len(self.by_index) < len(items):
            raise ValueError(f"Expected each class once in class_names, received the keys {[key for key, _ in items]}.")
        self.is_given = names is not None
        self._is_list = self.is_given and not isinstance(names, Mapping)

    def label(self, index: int) -> str:
        """Return the name of a class, "class 243" where it does not have one."""
        return self.by_index.get(int(index), f"class {int(index)}")

    def labels(self, indices: Iterable[int]) -> list[str]:
        """Return the label of each class."""
        return [self.label(index) for index in indices]

    @cached_property
    def _classes_of(self) -> list[dict[str, set[int]]]:
        """For each rule, the classes of every form of a name."""
        tables: list[dict[str, set[int]]] = []
        for forms in _FORMS_OF:
            tables.append({})
            for index, name in self.by_index.items():
                for form in forms(name):
                    tables[-1].setdefault(form, set()).add(index)
        return tables

    def find(self, name: str) -> list[int]:
        """Return the classes that a name may mean, by the first of these rules that finds any.

        The name letter for letter; without regard to case, and with underscores and hyphens as spaces; as one of the
        synonyms between commas, with or without a WordNet number in front. Two such numbers are two classes.
        """
        for forms, classes_of in zip(_FORMS_OF, self._classes_of, strict=True):
            found = sorted(set().union(*(classes_of.get(form, ()) for form in forms(name))))
            found = [index for index in found if len({*_numbers(name), *_numbers(self.by_index[index])}) < 2]
            if found:
                return found
        return []

    def index(self, name: str) -> int:
        """Return the class that a name means, by the rules of `find`.

        Raises:
            ValueError: no names are known, or not this one; several classes have it.
        """
        if not self.is_given:
            name = name if len(name) <= 80 else f"{name[:77]}..."
            fact = f"Expected a class index, received the name '{name}': no names are known."
            raise ValueError(Message(fact, "Pass class_names=[...].", "Give names by --class-names."))
        found = self.find(name)
        if not found:
            raise ValueError(unknown_name("class", name, self.by_index.values()))
        if len(found) > 1:  # ImageNet has two cranes
            raise ValueError(f"Class name '{name}' is not unique: pass one of the indices {found}.")
        return found[0]

    def index_in(self, text: str) -> int:
        """Return the class that a text means: by its name where it is one, else by its number; errors as `index`."""
        is_number = text.isdecimal() and len(text) <= _MOST_DIGITS
        return int(text) if is_number and not self.find(text) else self.index(text)

    def check_count(self, class_count: int) -> None:
        """Check that there are as many names as classes, where the names come as a list.

        Raises:
            ValueError: another number of names.
        """
        count = len(self.by_index)
        if max(self.by_index, default=0) >= class_count or (self._is_list and count != class_count):
            fact = f"Expected names of {class_count} classes, received {count}: is this the list of another model?"
            remedy = "A mapping {index: name} may leave classes out."
            raise ValueError(Message(fact, remedy, "Name each by --class-names."))


def _numbers(name: str) -> list[str]:
    return _WORDNET.findall(_plain(name))


def class_indices(target: Any, image_count: int, names: ClassNames) -> np.ndarray:
    """Return class indices (B,) int32 for None, an index, a name, or one of either per image.

    Raises:
        TypeError: neither.
        ValueError: unknown name, or another number of targets than of images.
    """
    if target is None:
        return np.full(image_count, TOP_CLASS, np.int32)
    if isinstance(target, (str, int, np.integer)) and not isinstance(target, bool):
        target = [target] * image_count
    elif hasattr(target, "__array__"):
        target = np.asarray(target)
        if target.dtype.kind == "f" and target.ndim:
            raise TypeError(
                f"Expected a class index or name per image as target, received floats of shape {target.shape}: scores "
                "or one-hot labels? target.argmax(-1) are their classes, None is each image's top class."
            )
        target = target.tolist()
        target = [target] * image_count if isinstance(target, int) else target
    if isinstance(target, bool) or not isinstance(target, (list, tuple)):
        raise TypeError(
            "Expected target as None, a class index, a class name, one of these per image, or a callable "
            f"outputs -> (B,), received {type(target).__name__}."
        )
    if len(target) != image_count:
        raise ValueError(f"Expected one target per image, {image_count} in all, received {len(target)}.")
    return np.array([TOP_CLASS if item is None else _one_class(item, names) for item in target], np.int32)


def label_indices(labels: Labels, count: int, names: ClassNames, unknown: Container[int] = ()) -> np.ndarray:
    """Return the class (B,) int32 of each image's label.

    Args:
        labels: B indices or names, (B,) or a column (B, 1) as data sets have it; whole floats and booleans, as a
            sigmoid is trained with, count as indices.
        count: B.
        names: of the classes.
        unknown: numbers that stand for an unknown class, and stay as they are.

    Raises:
        TypeError: a label that is neither index nor name.
        ValueError: another number of labels, one-hot rows, an unknown name, a negative index.
    """
    array = np.asarray(labels) if hasattr(labels, "__array__") else np.array(labels, object)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or len(array) != count:
        remedy = " One-hot rows become indices by np.argmax(labels, axis=-1)." if array.ndim == 2 else ""
        raise ValueError(f"Expected {count} labels, one per image, received shape {array.shape}.{remedy}")
    items = [_from_data(label) for label in array.tolist()]
    return np.array([item if item in unknown else _one_class(item, names) for item in items], np.int32)


def _from_data(label: Any) -> Any:
    """A label as data sets have it, as the index or name that it stands for."""
    if isinstance(label, bytes):
        return label.decode("utf-8", "replace")
    is_whole = isinstance(label, (bool, np.bool_)) or (isinstance(label, (float, np.floating)) and label == label // 1)
    return int(label) if is_whole else label


def _one_class(item: Any, names: ClassNames) -> int:
    if isinstance(item, str):
        return names.index(item)
    if isinstance(item, (int, np.integer)) and not isinstance(item, bool):
        if not 0 <= item <= np.iinfo(np.int32).max:
            raise ValueError(f"Expected a class index of 0 or more, below the number of classes, received {item}.")
        return int(item)
    raise TypeError(f"Expected a class index or name per image, received {item!r}.")


def check_classes(indices: np.ndarray, class_count: int | None, names: ClassNames) -> None:
    """Check that indices and names are within the classes of the model, where its outputs are classes.

    Raises:
        ValueError: an index that is not a class, or names of another number of classes.
    """
    if class_count is None:
        return
    names.check_count(class_count)
    if indices.max() >= class_count:
        fact = (
            f"Expected a class index below {class_count}, the number of classes of the model, received {indices.max()}."
        )
        if class_count > 1:
            raise ValueError(fact)
        fact += " One unit without a sigmoid is a value:"
        what = "what makes it small is target=Unit(0, positive=False)."
        raise ValueError(Message(fact, what, f"in Python, {what}"))
