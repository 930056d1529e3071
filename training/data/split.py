"""The samples that train and the samples that validate; near-identical images stay on one side.

Axis legend: N samples.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..reading import read_rows
from .duplicates import across
from .folder import Samples, draw_key, read_folder

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that starts so is a formula to a spreadsheet


@dataclass(frozen=True, eq=False)
class Parts:
    """Two parts of N samples, and the number of images that occur more than once.

    training, validation: sorted int64 indices; each sample is in one of them.
    leaked: number of validation samples that have a twin in the training part.
    groups: number of groups of (nearly) identical images; N if no image has a twin.
    duplicates: number of samples that have a twin in either part.

    `split` without groups does not know the twins: `counted` fills in the last three.
    """

    training: np.ndarray
    validation: np.ndarray
    leaked: int
    groups: int
    duplicates: int


def split(samples: Samples, fraction: float = 0.2, seed: int = 42, groups: np.ndarray | None = None) -> Parts:
    """Choose `fraction` of each class for validation; with groups, all twins of an image are on its side.

        split(samples)                                                  # naive: twins may leak
        split(samples, groups=duplicate_groups(samples.files))          # clean

    The choice depends on the file names, not on the order in which a system lists them: the same files and seed give
    the same parts everywhere.

    Args:
        samples: N samples.
        fraction: of each class, in (0, 1); rounded, with at least one sample of each class in either part.
        seed: of the draw.
        groups: (N,) integers, equal for twins; None if every sample is a group of its own.

    Returns:
        Parts. A group that is larger than the room left goes to training. A class that has only large groups may
        therefore get fewer validation samples than `fraction`, or more if it would otherwise get none.

    Raises:
        ValueError: the fraction is out of range; `groups` has another length; a class has only one image, or its
            images are all twins, so that one part would be empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"Expected a validation fraction between 0 and 1, received {fraction}. The default is 0.2.")
    numbers = np.arange(len(samples)) if groups is None else _compact(groups, len(samples))
    sizes = np.bincount(samples.labels, minlength=len(samples.class_names))
    _check_sizes(samples, sizes)
    targets = np.clip(np.rint(fraction * sizes).astype(int), 1, sizes - 1)
    chosen = _chosen(_tables(samples, numbers), _draw_order(samples, numbers, seed), sizes, targets)
    missing = [samples.class_names[label] for label in np.flatnonzero(chosen.left_out)]
    if missing:
        raise ValueError(
            f"Expected images of {missing[0]!r} in both parts, but all of them are twins of each other or of other "
            "classes. Add images, or use the naive split."
        )
    inside = chosen.groups[numbers]
    return counted(Parts(np.flatnonzero(~inside), np.flatnonzero(inside), 0, 0, 0), numbers)


def fold(samples: Samples, number: int, count: int, seed: int = 42, groups: np.ndarray | None = None) -> Parts:
    """Return the parts of one fold of a cross-validation: each sample validates in one fold and trains in the others.

    Args:
        samples: N samples.
        number: of the fold, 1 to `count`.
        count: of the folds, at least 2.
        seed, groups: as in `split`, whose draw is repeated on what the folds before have left.

    Raises:
        ValueError: as `split` does, for this fold or another one; a class has fewer images than folds; or the numbers
            are out of range.
    """
    if not 1 <= number <= count or count < 2:
        raise ValueError(f"Expected a fold of 1 to {max(count, 2)}, received {number} of {count}.")
    sizes = np.bincount(samples.labels, minlength=len(samples.class_names))
    for name, size in zip(samples.class_names, sizes, strict=True):
        if size < count:
            raise ValueError(
                f"Expected at least {count} images of each class, one for each fold, received {size} of {name!r}. Add "
                "images, remove the class, or lower --folds."
            )
    left, folds = np.arange(len(samples)), []
    for before in range(count - 1):  # all of them, so that the first training fails where a later one would
        of_left = None if groups is None else groups[left]
        part = split(samples.take(left), 1 / (count - before), seed, of_left)
        folds.append(left[part.validation])
        left = left[part.training]
    chosen = [*folds, left][number - 1]
    inside = np.isin(np.arange(len(samples)), chosen)
    return counted(
        Parts(np.flatnonzero(~inside), np.flatnonzero(inside), 0, 0, 0),
        np.arange(len(samples)) if groups is None else groups,
    )


def leaks(parts: Parts, groups: np.ndarray) -> int:
    """Count the validation samples that have a twin in the training part.

    Args:
        parts: indices of N samples.
        groups: (N,) integers, equal for twins.
    """
    return int(np.isin(groups[parts.validation], groups[parts.training]).sum())


def counted(parts: Parts, groups: np.ndarray) -> Parts:
    """Return the same parts with their twins counted by `groups`, (N,) integers: also what a naive split leaks."""
    _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return replace(parts, leaked=leaks(parts, groups), groups=len(sizes), duplicates=int((sizes[numbers] > 1).sum()))


def validation_table(samples: Samples, parts: Parts) -> bytes:
    """Return the validation samples as CSV: the header Filename,Target and one line for each sample.

    Filename is relative to the folder of the samples ("class/file.jpg"), Target is the name of the class. A spreadsheet
    must not run a name as a formula: such a file name starts with "./", such a class name with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["Filename", "Target"])
    for index in parts.validation:
        name, label = samples.name(index), samples.class_names[samples.labels[index]]
        writer.writerow(
            [f"./{name}" if name.startswith(_FORMULA) else name, f"'{label}" if label.startswith(_FORMULA) else label]
        )
    return text.getvalue().encode(errors="surrogateescape")


def without(samples: Samples, table: Path) -> Samples:
    """Return the samples that are not in the first column of a CSV file, with or without a header.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not CSV in UTF-8, or names no file below the folder of the samples.
    """
    rows = read_rows(table, "a CSV file of samples")
    named = {row[0].replace("\\", "/").removeprefix("./") for row in rows if row}
    kept = [index for index in range(len(samples)) if samples.name(index) not in named]
    # Files of other classes, or that a limit left out, are no samples.
    if len(kept) == len(samples) and not any(map(samples.has_file, named)):
        example = samples.name(0)
        raise ValueError(f"Expected samples in the first column of '{table}', such as {example}; it names none.")
    return samples.take(kept)


def apart(samples: Samples, other: Path) -> Samples:
    """Return the samples that have no (nearly) identical or flipped twin in another folder of images.

    Raises:
        ValueError, OSError: as `read_folder`; or no sample is left.
    """
    twins = {index for index, _ in across(samples.files, read_folder(other).files)}
    if len(twins) == len(samples):
        raise ValueError(
            f"All {len(samples)} images have a twin in '{other}': no image is left to train on. Add other images."
        )
    return samples.take([index for index in range(len(samples)) if index not in twins])


@dataclass
class _Chosen:
    """The groups for validation, (G,) bool, and the classes that would have no validation sample, (K,) bool."""

    groups: np.ndarray
    left_out: np.ndarray


def _chosen(tables: np.ndarray, order: np.ndarray, sizes: np.ndarray, targets: np.ndarray) -> _Chosen:
    """Choose groups for validation: in random order each that fits, then the smallest for a class without any.

    tables: (G, K) samples of each group by class; sizes, targets: (K,) samples of each class, and the wanted number.
    """
    chosen, counts = np.zeros(len(tables), bool), np.zeros(len(sizes), int)
    for group in order:
        if np.all(counts + tables[group] <= targets):
            chosen[group] = True
            counts += tables[group]
    for label in np.flatnonzero(counts == 0):
        for group in sorted(order, key=lambda each: tables[each].sum()):  # sorted() is stable: random among equals
            if tables[group, label] and np.all(counts + tables[group] < sizes):
                chosen[group] = True
                counts += tables[group]
                break
    return _Chosen(chosen, counts == 0)


def _tables(samples: Samples, numbers: np.ndarray) -> np.ndarray:
    tables = np.zeros((numbers.max() + 1, len(samples.class_names)), int)
    np.add.at(tables, (numbers, samples.labels), 1)
    return tables


def _draw_order(samples: Samples, numbers: np.ndarray, seed: int) -> np.ndarray:
    """Return the groups in random order, by the draw key of the first name of each."""
    names: dict[int, str] = {}
    for index, number in enumerate(numbers):
        name = samples.name(index)
        names[number] = min(name, names.get(number, name))
    return np.array(sorted(names, key=lambda number: draw_key(seed, names[number])))


def _check_sizes(samples: Samples, sizes: np.ndarray) -> None:
    for name, size in zip(samples.class_names, sizes, strict=True):
        if size < 2:
            raise ValueError(
                f"Expected at least 2 images of each class, one for training and one for validation, received {size} "
                f"of {name!r}. Add images, or remove the class."
            )


def _compact(groups: np.ndarray, count: int) -> np.ndarray:
    if np.shape(groups) != (count,):
        raise ValueError(
            f"Expected a group for each of the {count} samples, received {np.shape(groups)}. Use the same samples."
        )
    return np.unique(groups, return_inverse=True)[1]
