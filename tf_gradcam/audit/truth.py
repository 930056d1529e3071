"""What a data set says of its images where that is not one class: several labels, a value, a mask of classes.

Axis legend: N images, B of them, K labels or values.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_gradcam._errors import Message, unknown_name
from tf_gradcam._files.class_names import ClassNames
from tf_gradcam._files.find import find_images
from tf_gradcam.audit.annotations import MaskFolder
from tf_gradcam.audit.sources import UNKNOWN, Samples, check_table, label_index, missing_columns, names_of, read_table

_LABEL_COLUMNS = "'label' (a line for each label of a file), or one column named like each label, of 0 and 1"
_VALUE_COLUMNS = ("value", "label")


# Several labels.


def find_labels(
    data: str | os.PathLike[str], names: Sequence[str] | None, count: int, classes: object = None
) -> Samples:
    """Find the images of a data set and their labels, of which an image may have several.

    Args:
        data: a CSV file with the columns `file` and `label`, a line for each label of a file, an empty label for a file
            without any; or with the columns `file` and one named like each label, of 0 and 1, empty where unknown. Or a
            folder of images alone, whose labels are unknown.
        names: of the labels; None for those of the table.
        count: K.
        classes: refused: a table of folders.

    Returns:
        `Samples` with `truth` (N, K): 1, 0, or NaN where unknown.

    Raises:
        FileNotFoundError, ValueError: as `find_samples`; folders with a name; an unknown column or label; two columns
            of one label; a cell that is not 0, 1 or empty; a file with two rows of columns.
    """
    path = Path(data)
    _check_no_folders(classes)
    if path.is_dir():
        forms = "the columns file,label, a line for each label of a file, or file,a,b,c of 0 and 1"
        files = _loose_files(path, "several labels an image", forms, "If each image has one class,")
        return _samples(files, np.full((len(files), count), np.nan), list(names or []))
    check_table(path, "a folder of images alone")
    rows, columns = read_table(path, _LABEL_COLUMNS)
    others = [name for name in columns if name != "file"]
    known = ClassNames(names)
    is_repeated = "label" in others and not known.find("label")
    if not others:
        raise ValueError(missing_columns(path, _LABEL_COLUMNS, columns))
    used = {row["label"] for row in rows if row["label"]} if is_repeated else set(others)
    if names is None and all(text.isdecimal() for text in used):  # indices name no label
        names = known.labels(range(count))
    return _repeated(path, rows, names) if is_repeated else _in_columns(path, rows, others, names)


def _repeated(path: Path, rows: Sequence[dict[str, str]], given: Sequence[str] | None) -> Samples:
    """Read a line for each label of a file."""
    names = names_of([row["label"] for row in rows]) if given is None else list(given)
    known = ClassNames(names)
    truth: dict[str, np.ndarray] = {}
    for line, row in enumerate(rows, 2):
        of_file = truth.setdefault(row["file"], np.zeros(len(names), np.float32))
        if row["label"]:
            of_file[label_index(row["label"], known, f"row {line} of '{path}'")] = 1
    empty = sum(not labels.any() for labels in truth.values())
    notes = [_named_by(f"the labels in '{path}', sorted", names)] if given is None else []
    if empty:
        notes.append(
            f"{empty} of {len(truth)} files have an empty label in '{path}': they count as files without any label. "
            "Where labels are unknown, write columns file,a,b,c and leave their cells empty."
        )
    return _samples(list(truth), np.stack(list(truth.values())), names, " ".join(notes))


def _in_columns(
    path: Path, rows: Sequence[dict[str, str]], columns: Sequence[str], given: Sequence[str] | None
) -> Samples:
    """Read a column of 0 and 1 for each label."""
    names = list(columns) if given is None else list(given)
    known = ClassNames(names)
    places: dict[int, str] = {}
    for column in columns:
        place = _column(column, known, path)
        if place in places:
            raise ValueError(
                f"The columns '{places[place]}' and '{column}' of '{path}' both mean the label '{known.label(place)}'. "
                "Leave one out."
            )
        places[place] = column
    truth, seen = np.full((len(rows), len(names)), np.nan, np.float32), dict[str, int]()
    for number, row in enumerate(rows):
        first = seen.setdefault(row["file"], number)
        if first != number:
            raise ValueError(
                f"Row {number + 2} of '{path}' names '{row['file']}' again, after row {first + 2}. Give each file one "
                "row, with a column for each label."
            )
        for place, column in places.items():
            truth[number, place] = _zero_or_one(row[column], column, number + 2, path)
    missing = [name for place, name in enumerate(names) if place not in places]
    notes = [_named_by(f"the columns of '{path}', in their order", names)] if given is None else []
    if missing:
        notes.append(
            f"'{path}' has no column for {len(missing)} of {len(names)} labels, which count as unknown: "
            f"{_listed(missing)}."
        )
    return _samples([row["file"] for row in rows], truth, names, " ".join(notes))


def _named_by(what: str, names: Sequence[str]) -> str:
    return f"The labels of the model are named by {what}: {_listed(names)}."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:5]) + (", ..." if names[5:] else "")


def _column(name: str, names: ClassNames, path: Path) -> int:
    """Return the label that a column means."""
    try:
        place = names.index_in(name)
    except ValueError as error:
        raise ValueError(f"{error} It is a column of '{path}'. {_RENAME}") from error
    if place not in names.by_index:
        raise ValueError(
            f"{unknown_name('label', name, names.by_index.values())} It is a column of '{path}'. {_RENAME}"
        )
    return place


_RENAME = "Beside 'file' each column is a label of the model: rename it, or leave it out."


def _zero_or_one(text: str, column: str, line: int, path: Path) -> float:
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if value not in (0, 1):
        raise ValueError(
            f"Expected 0, 1 or an empty cell (unknown) in the column '{column}' of row {line} of '{path}', received "
            f"'{text}'. Correct it."
        )
    return value


def read_labels(count: int) -> Callable[[Any, int], np.ndarray]:
    """Return a function from the labels of a `tf.data.Dataset`, (B, K) of 0 and 1, to their truth.

    -1 and NaN mean unknown.

    Raises:
        ValueError: other shapes or numbers.
    """

    def read(labels: Any, images: int) -> np.ndarray:
        if labels is None:
            return np.full((images, count), np.nan, np.float32)
        values = _numbers(labels, f"labels (B, {count}) of 0 and 1 for a model of {count} labels")
        if values.shape != (images, count):
            raise ValueError(
                f"Expected labels ({images}, {count}) of 0 and 1, a column for each label of the model, received the "
                f"shape {values.shape}. Map the data set to that, for class indices by tf.one_hot."
            )
        wrong = ~(np.isin(values, (0, 1, UNKNOWN)) | np.isnan(values))
        if wrong.any():
            raise ValueError(
                f"Expected labels of 0 and 1, and -1 or NaN where unknown, received {values[wrong][0]:g}. Map the data "
                "set to that."
            )
        return np.where(values == UNKNOWN, np.nan, values).astype(np.float32)

    return read


# Values.


def find_values(data: str | os.PathLike[str], name: str, classes: object = None, *, is_named: bool = True) -> Samples:
    """Find the images of a data set and the true value of each.

    Args:
        data: a CSV file with the columns `file` and `value`, or `label`, or one named like the value: a number, empty
            where unknown. Or a folder of images alone, whose values are unknown.
        name: of the value.
        is_named: whether the model knows its name; else the only other column than `file` may have any name.
        classes: refused: a table of folders.

    Returns:
        `Samples` with `truth` (N, 1), NaN where unknown.

    Raises:
        FileNotFoundError, ValueError: as `find_samples`; folders with a name; a cell that is not a number; a file with
            two values.
    """
    path = Path(data)
    _check_no_folders(classes)
    if path.is_dir():
        files = _loose_files(path, "a value for each image", "the columns file,value", "If the folders are classes,")
        return _samples(files, np.full((len(files), 1), np.nan), [name])
    check_table(path, "a folder of images alone")
    expected = f"'value', or one called '{name}'," if is_named and name not in _VALUE_COLUMNS else "'value'"
    rows, columns = read_table(path, expected)
    others = [each for each in columns if each != "file"]
    column = next((each for each in (name, *_VALUE_COLUMNS) if each in others), None)
    note = ""
    if column is None and not is_named and len(others) == 1:
        column = name = others[0]
        note = f"The value of the model is named by the column '{name}' of '{path}'."
    if column is None:
        raise ValueError(missing_columns(path, expected, columns))
    values = [
        _value(row[column], f"the column '{column}' of row {line} of '{path}'") for line, row in enumerate(rows, 2)
    ]
    first: dict[str, int] = {}
    for number, (row, value) in enumerate(zip(rows, values, strict=True)):
        before = first.setdefault(row["file"], number)
        if value != values[before] and not (math.isnan(value) and math.isnan(values[before])):
            raise ValueError(
                f"Row {number + 2} of '{path}' gives '{row['file']}' another value than row {before + 2}. Remove one."
            )
    return _samples([row["file"] for row in rows], np.array(values)[:, None], [name], note)


def _value(text: str, where: str) -> float:
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"Expected a number or an empty cell (unknown) in {where}, received '{text}'. Correct it.")
    return value


def read_values(index: int, count: int) -> Callable[[Any, int], np.ndarray]:
    """Return a function from the values of a `tf.data.Dataset` to the truth (B, 1) of the audited one.

    Args:
        index: of the audited value.
        count: of the model's values: a data set has (B,) or (B, 1) of the audited one, or (B, count) of all.

    Raises:
        ValueError: other shapes, or infinite numbers; NaN means unknown.
    """

    def read(labels: Any, images: int) -> np.ndarray:
        if labels is None:
            return np.full((images, 1), np.nan, np.float32)
        values = _numbers(labels, "a value for each image")
        flat = values.reshape(images, -1) if values.ndim in (1, 2) and len(values) == images else values
        if flat.ndim != 2 or flat.shape[1] not in (1, count):
            several = f" or ({images}, {count})" if count > 1 else ""
            raise ValueError(
                f"Expected values ({images},){several} for a model of {count} value{'s' * (count > 1)}, received the "
                f"shape {values.shape}. Map the data set to that."
            )
        found = flat[:, [index if flat.shape[1] == count else 0]]
        if np.isinf(found).any():
            raise ValueError("Expected finite values, and NaN where unknown, received infinity. Correct the data set.")
        return found.astype(np.float32)

    return read


# Masks.


def find_masks(data: str | os.PathLike[str], truth: str | os.PathLike[str] | None, classes: object = None) -> Samples:
    """Find the images of a data set and the mask of true classes of each.

    Args:
        data: a folder of images, searched to any depth; or a CSV file with the columns `file` and `mask`, paths from
            its folder on, the mask empty where there is none.
        truth: a folder of masks `<stem>.png`, or `<folder of the image>/<stem>.png`, for a folder of images; None if
            the true classes are unknown.
        classes: refused: a table of folders.

    Returns:
        `Samples` with `masks`, "" for an image without one.

    Raises:
        FileNotFoundError, ValueError: as `find_samples`; masks both in the table and in a folder; no mask for any
            image; two images of one mask; a mask of the table that does not exist.
    """
    path = Path(data)
    _check_no_folders(classes)
    if path.is_dir():
        files = [str(each) for each in find_images([str(path)])]
        if truth is None:
            note = "The true classes of the pixels are unknown: no IoU is computed. Give masks of them by"
            return _with_masks(files, [""] * len(files), Message(note, "truth=FOLDER.", "--truth FOLDER."))
        found = MaskFolder(truth, files)
        missing = [file for file, mask in zip(files, found.paths, strict=True) if mask is None]
        masks = ["" if mask is None else str(mask) for mask in found.paths]
        some = f"{len(missing)} of {len(files)} images have no mask in '{truth}', such as" if missing else ""
        return _with_masks(files, masks, f"{some} '{missing[0]}'." if missing else "")
    check_table(path, "a folder of images")
    if truth is not None:
        fact = f"Expected the masks in the column 'mask' of '{path}', received a folder of masks beside it."
        raise ValueError(Message(fact, "Leave truth out.", "Leave --truth out."))
    rows, columns = read_table(path, "'mask'")
    if "mask" not in columns:
        raise ValueError(missing_columns(path, "'mask'", columns))
    masks = [str(path.parent / row["mask"]) if row["mask"] else "" for row in rows]
    for line, mask in enumerate(masks, 2):
        if mask and not Path(mask).exists():
            raise FileNotFoundError(f"There is no mask '{mask}', which row {line} of '{path}' names. Correct it.")
    return _with_masks([row["file"] for row in rows], masks)


def _with_masks(files: list[str], masks: list[str], note: str = "") -> Samples:
    return Samples(files, np.full(len(files), UNKNOWN, np.int32), [], None, note, masks)


# All.


def _numbers(labels: Any, what: str) -> np.ndarray:
    values = None if isinstance(labels, dict | tuple | list) else np.asarray(labels)
    if values is None or values.dtype.kind not in "biuf":
        received = type(labels).__name__ if values is None else values.dtype
        raise ValueError(f"Expected {what}, received {received}. Map the data set to numbers.")
    return values.astype(np.float64)


def _loose_files(folder: Path, what: str, columns: str, if_class: str) -> list[str]:
    """Return the images of a folder without folders."""
    inside = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if inside:
        fact = (
            f"Expected {what}, which folders cannot say, received '{folder}' with {len(inside)} folders, such as "
            f"'{inside[0]}'. Write a CSV file with {columns}. {if_class}"
        )
        raise ValueError(Message(fact, "pass task='classification'.", "use --task classification."))
    return [str(path) for path in find_images([str(folder)])]


def _check_no_folders(classes: object) -> None:
    if classes is not None:
        fact = "Expected no table of folders for a model of labels or values, whose data set does not have folders."
        raise ValueError(Message(fact, "Leave classes out.", "Leave --classes out."))


def _samples(files: list[str], truth: np.ndarray, names: Sequence[str], note: str = "") -> Samples:
    return Samples(files, np.full(len(files), UNKNOWN, np.int32), list(names), truth.astype(np.float32), note)
