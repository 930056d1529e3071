"""Class names: read from files, and matched by one rule throughout the package.

Axis legend: B images.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tf_gradcam._errors import Message, nearest_files, unknown_name
from tf_gradcam._files.opening import check_file

_MAX_BYTES = 2**22  # ImageNet's 21 841 classes take a quarter of that
TOP_CLASS = -1  # in an array of class indices: the image's top class

ClassNamesLike: TypeAlias = Sequence[str] | Mapping[int, str]  # in class order, or {index: name}
Labels: TypeAlias = Sequence[int | str] | NDArray[Any]  # (B,) indices or names

_FORMS = '["cat", "dog"], {"0": "cat", "1": "dog"} or, as keras\' imagenet_class_index.json, {"0": ["n02", "cat"], ...}'


def load_class_names(path: str | os.PathLike[str]) -> list[str]:
    """Read class names from a file.

    Args:
        path: a text file with one name a line, line i + 1 for class i; or, if its name ends in .json, a list of names,
            an object {"0": name, ...}, or the form of keras' `imagenet_class_index.json`,
            {"0": ["n01440764", "tench"], ...}.

    Returns:
        One name per class, in class order.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8, not JSON or of another form, holds no names or an empty name, or skips a class.
    """
    path = Path(path)
    check_file(path, "a file of class names", _MAX_BYTES)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected class names in UTF-8, but '{path}' is not. Save it as UTF-8 text.") from error
    except OSError as error:
        remedy = " Give a text file with one name a line. " + nearest_files(path) if not path.exists() else ""
        raise type(error)(f"Cannot read the class names '{path}': {error.strerror}.{remedy}") from error
    if path.suffix.lower() == ".json":
        return names_from_json(text, f"'{path}'")
    names = [name.strip() for name in text.rstrip().splitlines()]
    if not names:
        raise ValueError(f"The file of class names '{path}' is empty. Write one name a line.")
    if "" in names:
        raise ValueError(f"Class {names.index('')} (line {names.index('') + 1}) of '{path}' has no name. Give it one.")
    return names


def names_from_json(text: str, source: str) -> list[str]:
    """Parse names from JSON; `source` names it in messages."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected {source} to be JSON such as {_FORMS}, but it is not: {error}.") from error
    values = _by_index(content, source) if isinstance(content, dict) else content
    if isinstance(values, list):
        # keras' own file pairs a WordNet number with each name.
        names = [value[1] if isinstance(value, list) and len(value) == 2 else value for value in values]
        if names and all(isinstance(name, str) and name.strip() for name in names):
            return [NumberedName.of(name.strip(), value) for name, value in zip(names, values, strict=True)]
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
    """Return the names of ImageNet's 1000 classes, from the list that Keras downloads once and caches.

    Raises:
        ConnectionError: the download fails.
    """
    import keras

    try:
        ranks = np.arange(1000, 0, -1, dtype=np.float32)[None]  # class 0 ranks first, so the names come in class order
        decoded = keras.applications.imagenet_utils.decode_predictions(ranks, top=1000)[0]
    except Exception as error:  # keras raises a plain Exception when a download fails
        raise ConnectionError(f"ImageNet's class names could not be downloaded: {error}") from error
    return [NumberedName.of(name, [number, name]) for number, name, _ in decoded]


class NumberedName(str):
    """A class name with its WordNet number, by which folders of ImageNet call the class."""

    number: str

    @classmethod
    def of(cls, name: str, pair: Any) -> str:
        """Return the name of a pair [number, name]; the plain name where there is no number."""
        if not (isinstance(pair, (list, tuple)) and re.fullmatch(r"n\d{8}", str(pair[0]))):
            return name
        numbered = cls(name)
        numbered.number = str(pair[0])
        return numbered


_WORDNET = re.compile(r"^n\d{8}(?: |$)")  # the WordNet number before a plain name, as in folders of ImageNet
_MAX_DIGITS = 100  # of a class index in a text; Python refuses to read numbers of thousands


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _synonyms(name: str) -> Iterable[str]:
    """Return the plain name and its parts between commas (as of "Afghan hound, Afghan"), and the WordNet number."""
    parts = {_WORDNET.sub("", _plain(part)) for part in (name, *name.split(","))}
    return filter(None, {*parts, *_numbers(name)})


# Two names mean the same class if they share a form; the first rule that finds a class decides.
_FORMS_OF = (lambda name: [name], lambda name: filter(None, [_plain(name)]), _synonyms)


class ClassNames:
    """The names of the classes, found by index, and indices found by name.

    Args:
        names: sequence of names in class order, or a mapping from index to name; None if unknown.

    Raises:
        TypeError: neither, or a name that is not a string.
        ValueError: a mapping with one class twice, as "1" and 1.
    """

    def __init__(self, names: ClassNamesLike | None):
        if names is not None and (isinstance(names, str) or not isinstance(names, (Sequence, Mapping, np.ndarray))):
            remedy = " From a file: open(path).read().splitlines()." if isinstance(names, str) else ""
            raise TypeError(f"Expected class_names as a list of names, received {type(names).__name__}.{remedy}")
        items = list(names.items() if isinstance(names, Mapping) else enumerate([] if names is None else names))
        for index, name in items:
            if not (str(index).isdecimal() and isinstance(name, str)):  # "3" as well: JSON keys are strings
                is_turned = isinstance(index, str) and isinstance(name, (int, np.integer))
                remedy = " Turn it around: {index: name for name, index in class_names.items()}." if is_turned else ""
                raise TypeError(
                    "Expected class_names as a list of strings or a mapping {index: string}, received "
                    f"{name!r} for class {index!r}.{remedy}"
                )
        self.by_index = {int(i): name if isinstance(name, NumberedName) else str(name) for i, name in items}
        if len(self.by_index) < len(items):
            raise ValueError(f"Expected each class once in class_names, received the keys {[key for key, _ in items]}.")
        self.is_given = names is not None
        self.noun = "class"  # what the outputs are: "value" of a regression
        self.unit = ""  # of the values of a regression
        self._is_list = self.is_given and not isinstance(names, Mapping)

    @property
    def are_two(self) -> bool:
        """True for the names of two classes, which a single unit may have."""
        return max(self.by_index, default=0) == 1

    def label(self, index: int) -> str:
        """Return the name of a class, or "class 243" without one; for -1, a value, its only name or "value"."""
        if index < 0:
            return self.by_index.get(0, "value")
        return self.by_index.get(int(index), f"{self.noun} {int(index)}")

    def value_label(self, index: int, count: int | None) -> str:
        """Return the name of a value: "value 3"; of a regression its own name, or "value" for the only one."""
        if self.noun != "value":  # these are names of classes, of another output
            return f"value {int(index)}"
        return self.by_index.get(int(index), "value" if count == 1 else f"value {int(index)}")

    def labels(self, indices: Iterable[int]) -> list[str]:
        """Return the label of each class."""
        return [self.label(index) for index in indices]

    @cached_property
    def _classes_of(self) -> list[dict[str, set[int]]]:
        """The classes of every form of a name, a table for each rule."""
        tables: list[dict[str, set[int]]] = []
        for forms in _FORMS_OF:
            tables.append({})
            for index, name in self.by_index.items():
                for form in forms(name):
                    tables[-1].setdefault(form, set()).add(index)
        return tables

    def find(self, name: str) -> list[int]:
        """Return the classes that a name may mean, by the first of these rules that finds one.

        The exact name; the name with any case, and underscores and hyphens as spaces; one of the synonyms between
        commas, with or without a leading WordNet number, or this number alone. Different numbers mean different
        classes.
        """
        for forms, classes_of in zip(_FORMS_OF, self._classes_of, strict=True):
            indices = sorted(set().union(*(classes_of.get(form, ()) for form in forms(name))))
            indices = [index for index in indices if len({*_numbers(name), *_numbers(self.by_index[index])}) < 2]
            if indices:
                return indices
        return []

    def index(self, name: str) -> int:
        """Return the class that a name means, by the rules of `find`.

        Raises:
            ValueError: no names are known, the name is unknown, or several classes have it.
        """
        if not self.is_given:
            name = name if len(name) <= 80 else f"{name[:77]}..."
            fact = f"Expected a class index, received the name '{name}': no names are known."
            raise ValueError(Message(fact, "Pass class_names=[...].", "Give names by --class-names."))
        indices = self.find(name)
        if not indices:
            raise ValueError(unknown_name("class", name, self.by_index.values()))
        if len(indices) > 1:  # ImageNet has two cranes
            raise ValueError(f"Class name '{name}' is not unique: pass one of the indices {indices}.")
        return indices[0]

    def index_in(self, text: str) -> int:
        """Return the class that a text means: by name, or else by number; errors as `index`."""
        is_number = text.isdecimal() and len(text) <= _MAX_DIGITS
        return int(text) if is_number and not self.find(text) else self.index(text)

    def check_count(self, class_count: int) -> None:
        """Check that a list of names has one name per class, and a mapping no others.

        Raises:
            ValueError: another number of names, or a name of a class that does not exist.
        """
        count = len(self.by_index)
        if max(self.by_index, default=0) >= class_count or (self._is_list and count != class_count):
            fact = f"Expected names of {class_count} classes, received {count}: is this the list of another model?"
            remedy = "A mapping {index: name} may leave classes out."
            raise ValueError(Message(fact, remedy, "Name each by --class-names."))


def _numbers(name: str) -> list[str]:
    own = [name.number] if isinstance(name, NumberedName) else []
    return own or [number.strip() for number in _WORDNET.findall(_plain(name))]


def class_indices(target: Any, image_count: int, names: ClassNames) -> np.ndarray:
    """Return class indices (B,) int32 for None, an index, a name, or one of these per image.

    Raises:
        TypeError: another type.
        ValueError: an unknown name, or a number of targets that differs from the number of images.
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
        labels: B indices or names, (B,) or a column (B, 1) as in data sets; whole floats and booleans, as for the
            training of a sigmoid, count as indices.
        count: B.
        names: of the classes.
        unknown: numbers that mean an unknown class; kept unchanged.

    Raises:
        TypeError: a label that is neither an index nor a name.
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
    """Return the index or name that a label of a data set means."""
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
    """Check that indices and names are within the classes of the model, if its outputs are classes.

    Raises:
        ValueError: an index outside the classes, or names of another number of classes.
    """
    if class_count is None:
        return
    names.check_count(class_count)
    if indices.max() >= class_count:
        fact = f"Expected a class index below {class_count}, the number of classes, received {indices.max()}."
        if class_count > 1:
            raise ValueError(fact)
        fact += " One unit without a sigmoid is a value. If it is the logit of two classes, name both by"
        against = "for the evidence against the value, target=Unit(0, positive=False)."
        raise ValueError(Message(fact, f"class_names=[...]; {against}", f"--class-names; in Python, {against}"))
