"""Data sources of an audit: a folder, a CSV file, a tf.data.Dataset.

Axis legend: B images, H0 x W0 pixels, C channels, K classes.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_gradcam._errors import Message
from tf_gradcam._files.class_names import ClassNames, label_indices
from tf_gradcam._files.find import SUFFIXES, find_images, warn_of_passed_over
from tf_gradcam._files.opening import MAX_TABLE_BYTES, check_file

UNKNOWN = -1  # the label of an image whose class is not known
_MAX_CLASSES = 100_000  # a higher number in a table is not an index
_MAX_DIGITS = 100  # Python refuses to read numbers with thousands of digits
Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Samples:
    """N image files in a fixed order, with their labels.

    Attributes:
        files: N paths.
        labels: (N,) int32, true classes; -1 where unknown.
        class_names: in class order; empty if no class is known.
        truth: (N, T) float32, labels or values as in `Rows`; None for classes.
        note: what was assumed of the data set, "" for nothing.
        masks: N paths of masks of class indices, "" where there is none; None where no mask belongs to an image.
    """

    files: list[str]
    labels: np.ndarray
    class_names: list[str]
    truth: np.ndarray | None = None
    note: str = ""
    masks: list[str] | None = None

    def __len__(self) -> int:
        return len(self.files)

    @property
    def row_count(self) -> int:
        """N."""
        return len(self.files)

    @property
    def has_truth(self) -> bool:
        """True if a class, a label, a value or a mask of any file is known."""
        truth = self.labels >= 0 if self.truth is None else np.isfinite(self.truth)
        return bool(truth.any() if self.masks is None else any(self.masks))

    def digest(self) -> str:
        """Return a hexadecimal digest of the absolute paths and the labels; the pixels are not read."""
        found = hashlib.sha256()
        known = self.labels if self.truth is None else self.truth
        for path, label in zip(self.files, known.tolist() if self.masks is None else self.masks, strict=True):
            found.update(f"{os.path.abspath(path)}\0{label}\0".encode("utf-8", "surrogateescape"))
        return found.hexdigest()

    def rows(self, start: int, stop: int) -> Columns:
        """Return the columns index, file, label, truth or mask if there is any, of the rows `start` up to `stop`."""
        truth: Columns = {} if self.truth is None else {"truth": self.truth[start:stop]}
        if self.masks is not None:
            truth["mask"] = np.array(self.masks[start:stop], object)
        return {
            "index": np.arange(start, stop, dtype=np.int64),
            "file": np.array(self.files[start:stop], object),
            "label": self.labels[start:stop],
            **truth,
        }

    def batches(self, finished: Mapping[int, np.ndarray], part_rows: int, batch_size: int) -> Iterator[Columns]:
        """Yield the rows that are not in a finished part, batch by batch, with the columns of `rows`.

        Args:
            finished: labels of the finished parts, by number; part n begins with row n * part_rows.
            part_rows: rows of a part; a batch does not reach beyond its end.
            batch_size: most rows of a batch.
        """
        for number in range(-(-len(self) // part_rows)):
            if number not in finished:
                end = min((number + 1) * part_rows, len(self))
                for start in range(number * part_rows, end, batch_size):
                    yield self.rows(start, min(start + batch_size, end))


def find_samples(
    data: str | os.PathLike[str],
    class_names: Sequence[str] | None = None,
    classes: str | os.PathLike[str] | None = None,
) -> Samples:
    """Find the images of a data set and their classes.

    Args:
        data: a folder with a folder per class, searched to any depth; a folder of images alone, whose classes are
            unknown; or a CSV file whose columns `file` and `label` hold a path, from the CSV's folder on, and a class
            name or index, empty where unknown. Further columns are ignored.
        class_names: names in class order, which folders and labels must then mean, by the rules of `ClassNames.find`;
            None for the sorted names of the folders, or of the labels.
        classes: CSV file that says which class each folder holds: the columns `folder` and `class` (or `label`, or one
            that ends in `index`), a class name or index, empty where unknown. A folder that it does not list is read
            by its name.

    Returns:
        `Samples`: sorted for a folder, in the order of the lines for a table.

    Raises:
        FileNotFoundError: the folder or file does not exist.
        ValueError: there are no images, or images beside the folders of classes; the table is not a UTF-8 CSV file, or
            lacks a column; a class is unknown, or an index is beyond the names.
    """
    path = Path(data)
    if path.is_dir():
        return _in_folder(path, class_names, classes)
    if classes is not None:
        raise ValueError(f"Expected a folder with a folder per class beside a table of folders, received '{path}'.")
    check_table(path, "a folder with a folder per class")
    return _in_table(path, class_names)


def check_table(path: Path, other: str) -> None:
    """Check that a path is a CSV file; `other` is what the data set may be instead."""
    if not path.exists():
        raise FileNotFoundError(f"There is no data set '{path}'. Name {other}, or a CSV file.")
    if path.suffix.lower() != ".csv":
        raise ValueError(f"Expected {other} or a .csv file as data set, received '{path}'.")


def _in_folder(
    folder: Path, class_names: Sequence[str] | None, classes: str | os.PathLike[str] | None = None
) -> Samples:
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir()]
    if not folders:
        files = [str(path) for path in find_images([str(folder)])]
        return Samples(files, np.full(len(files), UNKNOWN, np.int32), list(class_names or []))
    loose = [entry.name for entry in entries if entry.suffix.lower() in SUFFIXES and not entry.is_dir()]
    if loose:
        raise ValueError(
            f"Expected images inside the folders of their classes, but '{folder}' holds {len(loose)} beside them, such "
            f"as '{loose[0]}'. Move them."
        )
    table = {} if classes is None else _read_folders(Path(classes))
    texts = [table.get(entry.name, entry.name) for entry in folders]
    names = list(class_names) if class_names is not None else names_of(texts) if classes else texts
    indices = _indices_of(folders, texts, ClassNames(names), folder)
    files, labels = [], []
    passed_over: Counter[str] = Counter()
    for entry, label in zip(folders, indices, strict=True):
        inside = _images_inside(entry, passed_over)
        files += inside
        labels += [label] * len(inside)
    if not files:
        kinds = f" Pictures of other kinds are there: {', '.join(passed_over)}. Convert them." if passed_over else ""
        raise ValueError(
            f"Expected images ({', '.join(SUFFIXES)}) in the folders in '{folder}', received none."
            f"{kinds or ' Check the path.'}"
        )
    warn_of_passed_over(passed_over)
    return Samples(files, np.array(labels, np.int32), names)


def _indices_of(folders: Sequence[Path], texts: Sequence[str], names: ClassNames, where: Path) -> list[int]:
    """Return the class of each folder, or raise an error that names all unknown folders and the table to write."""
    indices, unknown, reasons = [], [], []
    for folder, text in zip(folders, texts, strict=True):
        try:
            indices.append(_label(text, names, f"the folder '{folder.name}'"))
        except ValueError as error:
            unknown.append(folder.name)
            reasons.append(str(error.__cause__ or error))
    if not unknown:
        return indices
    listed = ", ".join(f"'{name}'" for name in unknown[:5]) + (", ..." if unknown[5:] else "")
    reason = reasons[0].partition(" Known: ")[0]  # a thousand names help nobody
    fact = (
        f"{reason} It stands in '{where}', where {len(unknown)} of {len(folders)} folders name no class of the "
        f"model: {listed}. Rename them, or write a CSV file with the lines `folder,class`, "
        f"`{unknown[0]},NAME OR INDEX` and so on, and give it by"
    )
    raise ValueError(Message(fact, "classes=.", "--classes."))


def _images_inside(folder: Path, passed_over: Counter[str]) -> list[str]:
    """Return the images of one class, of which there may be none."""
    try:
        return [str(path) for path in find_images([str(folder)], passed_over)]
    except ValueError:
        return []


def _read_folders(path: Path) -> dict[str, str]:
    """Return the class of each folder, by name or index, as a table says it."""
    rows, columns = _read_csv(path, "a CSV file of folders")
    named = [name for name in columns if name in ("class", "label")]
    named += [name for name in columns if name.endswith("index")]
    if "folder" not in columns or not named:
        raise ValueError(
            f"Expected the columns 'folder' and 'class' in the first line of '{path}', received "
            f"{', '.join(columns) or 'none'}. Name the columns."
        )
    table: dict[str, str] = {}
    for line, row in enumerate(rows, 2):
        folder, text = (row["folder"] or "").strip().strip("/\\"), (row[named[0]] or "").strip()
        if table.setdefault(folder, text) != text:
            raise ValueError(f"Row {line} of '{path}' gives the folder '{folder}' a second class. Remove one.")
    return table


def _in_table(path: Path, class_names: Sequence[str] | None) -> Samples:
    lines, columns = read_table(path, "'label'")
    if "label" not in columns:
        raise ValueError(missing_columns(path, "'label'", columns))
    texts = [row["label"] for row in lines]
    names = names_of(texts) if class_names is None else list(class_names)
    known = ClassNames(names)
    labels = [_label(text, known, f"row {line} of '{path}'") for line, text in enumerate(texts, 2)]
    _check_one_class(lines, labels, known, path)
    return Samples([row["file"] for row in lines], np.array(labels, np.int32), names)


def _check_one_class(lines: Sequence[dict[str, str]], labels: Sequence[int], names: ClassNames, path: Path) -> None:
    """Refuse a file with two classes, such as both sides of one unit."""
    first: dict[str, int] = {}
    for line, (row, label) in enumerate(zip(lines, labels, strict=True), 2):
        before = label if label == UNKNOWN else first.setdefault(row["file"], label)
        if before != label:
            fact = (
                f"Expected one class for each image, but '{path}' gives '{row['file']}' both '{names.label(before)}' "
                f"and '{names.label(label)}' (row {line}). Remove one, or, for a model with a unit for each label, say"
            )
            raise ValueError(Message(fact, "task='multilabel'.", "--task multilabel."))


def missing_columns(path: Path, other: str, columns: Sequence[str]) -> str:
    return (
        f"Expected the columns 'file' and {other} in the first line of '{path}', received "
        f"{', '.join(columns) or 'none'}. Name the columns."
    )


def read_table(path: Path, other: str) -> tuple[list[dict[str, str]], list[str]]:
    """Read a table of images: the rows, without spaces around the cells, and the columns.

    The column `file` of a row becomes a path from the table's folder on.

    Args:
        path: the CSV file.
        other: columns that it needs beside `file`, for messages.

    Raises:
        ValueError: as `_read_csv`; there is no column `file`, no row, or a row without a file.
    """
    lines, columns = _read_csv(path, "a CSV file of images")
    if "file" not in columns:
        raise ValueError(missing_columns(path, other, columns))
    if not lines:
        raise ValueError(f"The table '{path}' names no image. Write a line for each below the first.")
    rows = []
    for line, row in enumerate(lines, 2):
        cells = {name: (row[name] or "").strip() for name in columns}
        if not row["file"]:
            raise ValueError(f"Row {line} of '{path}' names no file. Give it one, or leave it out.")
        rows.append({**cells, "file": str(path.parent / row["file"])})
    return rows, columns


def _read_csv(path: Path, what: str) -> tuple[list[dict[str, str]], list[str]]:
    """Return the rows and the columns of a CSV file."""
    check_file(path, what, MAX_TABLE_BYTES)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            return list(reader), columns
    except OSError as error:
        raise type(error)(f"Cannot read '{path}', {what}: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected '{path}' in UTF-8, which it is not. Save it as UTF-8 text.") from error
    except csv.Error as error:
        raise ValueError(f"Expected '{path}' as a CSV file, but it cannot be read: {error}. Save it again.") from error


def names_of(texts: Sequence[str]) -> list[str]:
    """Return the class names of these labels; labels that are all numbers are indices, and name their classes."""
    known = sorted({text for text in texts if text})
    if not known or not all(text.isdecimal() for text in known):
        return known
    longest = max(known, key=len)
    highest = max(map(int, known)) if len(longest) <= _MAX_DIGITS else f"{longest[:20]}..."
    if isinstance(highest, str) or highest > _MAX_CLASSES:
        raise ValueError(
            f"Expected labels that are class names or indices, received {highest} as an index. Correct it."
        )
    return [ClassNames(None).label(index) for index in range(highest + 1)]


def _label(text: str, names: ClassNames, where: str) -> int:
    return label_index(text, names, where) if text else UNKNOWN


def label_index(text: str, names: ClassNames, where: str) -> int:
    """Return the index of a class or label that a data set names; `where` says where, for messages."""
    try:
        index = names.index_in(text)
    except ValueError as error:
        raise ValueError(f"{error} It stands in {where}. Correct the label.") from error
    count = len(names.by_index)
    if index >= count:
        raise ValueError(f"Expected an index from 0 to {count - 1} in {where}, received {text}. Correct it.")
    return index


class DatasetSource:
    """The images of a `tf.data.Dataset`, with their labels if it has them.

    An interrupted run finds its place by counting, so the data set must come in the same order every time: without
    shuffling (`shuffle=False`, or `reshuffle_each_iteration=False` with a fixed seed), and without random augmentation.
    The labels of finished parts are compared.

    Args:
        dataset: of images, (images,) or (images, labels), one at a time or in batches, as the model takes them; labels
            are class indices or names, 0 or 1 of one unit, or one-hot rows. Further components, such as weights, are
            ignored.
        class_names: in class order; None for the names of the data set, as `image_dataset_from_directory` sets them.
            Indices mean the data set's own names where it has some: they are translated by name.
        read_truth: of a model without classes: (labels of B images or None, B) -> (B, T) float32, as in `Rows`.

    Attributes:
        row_count: N; None until it is known, at the latest when the data set was read to its end.
        size: (H0, W0) of the images; None if it is not fixed.
        class_names: empty if unknown.
        note: how the labels are translated, "" where they are not.

    Raises:
        TypeError: it is not a `tf.data.Dataset`, or has elements of another structure.
        ValueError: images have another rank, or the data set repeats forever.
    """

    def __init__(
        self,
        dataset: tf.data.Dataset,
        class_names: Sequence[str] | None = None,
        read_truth: Callable[[Any, int], np.ndarray] | None = None,
    ):
        if not isinstance(dataset, tf.data.Dataset):
            raise TypeError(
                f"Expected a folder, a CSV file or a tf.data.Dataset as data set, received {type(dataset).__name__}."
            )
        own = list(getattr(dataset, "class_names", None) or [])
        self.class_names = list(class_names if class_names is not None else own)
        self._names = ClassNames(self.class_names or None)
        self._read_truth = read_truth
        self._order, self.note = None, ""
        if class_names is not None and own and read_truth is None:
            self._order, self.note = _order_of(own, self._names)
        spec = dataset.element_spec
        self._is_tuple = isinstance(spec, tuple)
        image = spec[0] if self._is_tuple and spec else spec
        if not isinstance(image, tf.TensorSpec):
            raise TypeError(
                f"Expected a data set of images, (images,) or (images, labels), received elements {spec}. Map it to "
                "that."
            )
        if image.shape.rank not in (3, 4):
            raise ValueError(
                f"Expected images (height, width, channels), or batches of them, received the shape {image.shape}."
            )
        self._spec = spec
        self._is_batched = image.shape.rank == 4
        self._dataset = dataset
        sides = tuple(image.shape[-3:-1])
        self.size: tuple[int, int] | None = None if None in sides else sides
        self.row_count = _row_count(dataset.unbatch() if self._is_batched else dataset)

    def digest(self) -> str:
        """Return a hexadecimal digest of the element types and N; the images are not read."""
        return hashlib.sha256(repr((self._spec, self.row_count)).encode()).hexdigest()

    def batches(self, finished: Mapping[int, np.ndarray], part_rows: int, batch_size: int) -> Iterator[Columns]:
        """Yield the rows that are not in a finished part; the rows of finished parts are read and skipped.

        Args: as `Samples.batches`.

        Raises:
            ValueError: the data set fails, ends before a finished part does, or has other labels there than before.
        """
        start = 0
        for images, labels in self._read(batch_size):
            for begin, end in _pieces(start, len(images), part_rows):
                rows = slice(begin - start, end - start)
                number = begin // part_rows
                if number not in finished:
                    yield _columns(begin, images[rows], labels[rows])
                elif not _are_equal(finished[number][begin - number * part_rows :][: end - begin], labels[rows]):
                    raise ValueError(_OTHER_ORDER.format(f"other labels in the rows {begin} to {end - 1}"))
            start += len(images)
        if finished and start < max(number * part_rows + len(labels) for number, labels in finished.items()):
            raise ValueError(_OTHER_ORDER.format(f"only {start} rows"))
        self.row_count = start

    def _read(self, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield images (B, H0, W0, C) and labels (B,) int32 or the truth (B, T) float32, in batches of one size."""
        batched = self._dataset.rebatch(batch_size) if self._is_batched else self._dataset.batch(batch_size)
        elements = batched.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()
        count = 0
        while True:
            try:
                element = next(elements)
            except StopIteration:
                return
            except tf.errors.OpError as error:
                raise ValueError(
                    f"The data set fails after row {count}: {str(error).splitlines()[0][:300]} Leave broken elements "
                    "out by dataset.ignore_errors(), or give the files as a folder or CSV: a broken one is then a row."
                ) from error
            images = element[0] if self._is_tuple else element
            labels = element[1] if self._is_tuple and len(element) > 1 else None
            if self._read_truth is None:
                yield images, self._indices(labels, len(images))
            else:
                yield images, self._read_truth(labels, len(images))
            count += len(images)

    def _indices(self, labels: np.ndarray | None, count: int) -> np.ndarray:
        """Return (B,) int32 from class indices or names, also (B, 1), or one-hot rows (B, K)."""
        if labels is None:
            return np.full(count, UNKNOWN, np.int32)
        if labels.ndim == 2 and labels.shape[1] > 1:
            _check_one_hot(labels)
            labels = labels.argmax(axis=1)
        indices = label_indices(labels, count, self._names, unknown=(UNKNOWN,))
        if self._order is None or labels.dtype.kind not in "biuf":
            return indices
        if (indices >= len(self._order)).any():
            raise ValueError(
                f"Expected labels below {len(self._order)}, the number of the data set's class names, received "
                f"{int(indices.max())}. Correct the labels."
            )
        return np.where(indices == UNKNOWN, UNKNOWN, self._order[indices]).astype(np.int32)

    def images(self, rows: Sequence[int]) -> np.ndarray:
        """Return the images of some rows, (B, H0, W0, C); the data set is read from its beginning to the last of them.

        Args:
            rows: positions, each below N.

        Raises:
            IndexError: a row is beyond the end.
            ValueError: the data set fails.
        """
        found = dict(self.some_images(rows))
        return np.stack([found[int(row)] for row in rows])

    def some_images(self, rows: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (row, image) of some rows in the order of the data set; as `images`."""
        wanted, start = set(map(int, rows)), 0
        for images, _ in self._read(64):
            for row in sorted(wanted.intersection(range(start, start + len(images)))):
                wanted.remove(row)
                yield row, images[row - start]
            start += len(images)
            if not wanted:
                return
        raise IndexError(f"Expected rows below {start}, the length of the data set, received {max(wanted)}.")


_OTHER_ORDER = Message(
    "The data set has changed since this run began: it has {}. Give it in the same order every time, without "
    "shuffling, or choose another folder by",
    "out.",
    "--out.",
)


def _order_of(own: Sequence[str], names: ClassNames) -> tuple[np.ndarray | None, str]:
    """Return the class of each of the data set's names, None where the order is the same, and a note."""
    found = [names.find(name) for name in own]
    if all(len(indices) == 1 for indices in found):
        order = np.array([indices[0] for indices in found])
        if np.array_equal(order, np.arange(len(names.by_index))):
            return None, ""
        return order, (
            f"The data set counts its classes in another order than the class names: label 0 means '{own[0]}', class "
            f"{order[0]}. Labels are translated by name."
        )
    if not any(found) and len(own) == len(names.by_index):
        return None, (
            f"The data set calls its classes otherwise ('{own[0]}' for '{names.label(0)}'): they are taken to be in "
            "the same order. Give it the model's names as dataset.class_names if they are not."
        )
    unknown = [name for name, indices in zip(own, found, strict=True) if len(indices) != 1]
    raise ValueError(
        f"Expected the data set's classes among the class names, received {', '.join(map(repr, unknown[:5]))}. Set "
        "dataset.class_names to names that are, in the order of its labels."
    )


def _row_count(dataset: tf.data.Dataset) -> int | None:
    count = int(dataset.cardinality())
    if count == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "Expected a data set that ends, received one that repeats forever. Remove .repeat(), or add .take(n)."
        )
    return None if count < 0 else count


def _pieces(start: int, count: int, part_rows: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of the rows from `start` on, cut where parts end."""
    end = start + count
    while start < end:
        stop = min(end, (start // part_rows + 1) * part_rows)
        yield start, stop
        start = stop


def _columns(start: int, images: np.ndarray, labels: np.ndarray) -> Columns:
    index = np.arange(start, start + len(images), dtype=np.int64)
    names = np.array([f"image {number}" for number in index.tolist()], object)
    columns = {"index": index, "file": names, "label": labels, "image": images}
    if labels.ndim == 2:
        columns |= {"label": np.full(len(index), UNKNOWN, np.int32), "truth": labels}
    return columns


def _check_one_hot(labels: np.ndarray) -> None:
    """Refuse rows of 0 and 1 with no class, or several; rows of shares, as of smoothed labels, have a largest one."""
    ones = labels.sum(axis=1)
    if np.isin(labels, (0, 1)).all() and (ones != 1).any():
        fact = (
            f"Expected one class for each image, received a row of labels with {int(ones[ones != 1][0])} of "
            f"{labels.shape[1]}. If an image may have several labels, or none, say"
        )
        raise ValueError(Message(fact, "task='multilabel'.", "--task multilabel."))


def _are_equal(before: np.ndarray, now: np.ndarray) -> bool:
    return np.array_equal(before, now, equal_nan=before.dtype.kind == "f")
