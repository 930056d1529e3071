"""Parts: which samples train and which validate, with no image on both sides.

Axis legend: N samples.
"""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass, replace

import numpy as np

from training.data.folder import Samples, draw_key
from training.report.evaluate import write_whole

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the start of one


@dataclass(frozen=True, eq=False)
class Parts:
    """Two parts of N samples, and what is known of images that occur more than once.

    training, validation: sorted int64 indices; each sample is in one of them.
    leaked: samples of the validation part that have a twin in the training part.
    groups: number of groups of (nearly) identical images; N where none has a twin.
    duplicates: samples that have a twin in either part.

    Where `split` was not given groups, it knows of no twins: `counted` fills in the last three.
    """

    training: np.ndarray
    validation: np.ndarray
    leaked: int
    groups: int
    duplicates: int


def split(samples: Samples, fraction: float = 0.2, seed: int = 42, groups: np.ndarray | None = None) -> Parts:
    """`fraction` of each class for validation; with groups, all twins of an image are on its side.

        split(samples)                                                  # naive: twins may leak
        split(samples, groups=duplicate_groups(samples.files))          # clean

    The names of the files decide, not the order in which a system lists them: the same files and seed give the
    same parts everywhere.

    Args:
        samples: N samples.
        fraction: of each class, in (0, 1); rounded, and at least one sample of each class in either part.
        seed: which samples are drawn.
        groups: (N,) integers, equal for twins; None takes every sample for one of its own.

    Returns:
        Parts. A group larger than the room left goes to training, so a class of large groups alone may have fewer
        or, where it would have none, more validation samples than `fraction`.

    Raises:
        ValueError: a fraction out of range, groups of another length, a class of fewer images than parts, a class
            whose images are all twins so that one part would have none.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"Expected the validation fraction between 0 and 1, received {fraction}.")
    numbers = np.arange(len(samples)) if groups is None else _compact(groups, len(samples))
    sizes = np.bincount(samples.labels, minlength=len(samples.class_names))
    _check_sizes(samples, sizes)
    targets = np.clip(np.rint(fraction * sizes).astype(int), 1, sizes - 1)
    chosen = _chosen(_tables(samples, numbers), _draw_order(samples, numbers, seed), sizes, targets)
    missing = [samples.class_names[label] for label in np.flatnonzero(chosen.left_out)]
    if missing:
        raise ValueError(
            f"Expected images of {missing[0]!r} in both parts, but they hang together as twins of each other or of "
            "other classes. Add images, or take the naive split."
        )
    inside = chosen.groups[numbers]
    return counted(Parts(np.flatnonzero(~inside), np.flatnonzero(inside), 0, 0, 0), numbers)


def leaks(parts: Parts, groups: np.ndarray) -> int:
    """How many validation samples have a twin in the training part.

    Args:
        parts: indices of N samples.
        groups: (N,) integers, equal for twins.
    """
    return int(np.isin(groups[parts.validation], groups[parts.training]).sum())


def counted(parts: Parts, groups: np.ndarray) -> Parts:
    """The same parts, with the twins counted by `groups`, (N,) integers: what a naive split leaks."""
    _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return replace(parts, leaked=leaks(parts, groups), groups=len(sizes), duplicates=int((sizes[numbers] > 1).sum()))


def write_validation_samples(path: str | os.PathLike[str], samples: Samples, parts: Parts) -> None:
    """Write the validation samples as CSV, whole or not at all: a header Filename,Target and a line for each.

    Filename is relative to the folder of the samples ("class/file.jpg"), Target the name of the class. A name that a
    spreadsheet would run as a formula is written as ./name, such a class with an apostrophe before it.

    Raises:
        OSError: no such folder, no permission, a full disk; an older file of that name is then as it was.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["Filename", "Target"])
    for index in parts.validation:
        name, label = samples.name(index), samples.class_names[samples.labels[index]]
        writer.writerow(
            [f"./{name}" if name.startswith(_FORMULA) else name, f"'{label}" if label.startswith(_FORMULA) else label]
        )
    write_whole(path, text.getvalue().encode(errors="surrogateescape"))


@dataclass
class _Chosen:
    """groups: (G,) bool, those for validation; left_out: (K,) bool, classes without validation samples."""

    groups: np.ndarray
    left_out: np.ndarray


def _chosen(tables: np.ndarray, order: np.ndarray, sizes: np.ndarray, targets: np.ndarray) -> _Chosen:
    """Groups for validation: in random order each that fits, then the smallest for a class that has none yet.

    tables: (G, K) samples of each group by class; sizes, targets: (K,) samples of a class, and those wanted.
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
    """Groups in random order: that of the key of each one's first name."""
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
                f"of {name!r}. Add images, or leave the class out."
            )


def _compact(groups: np.ndarray, count: int) -> np.ndarray:
    if np.shape(groups) != (count,):
        raise ValueError(f"Expected groups ({count},), a number for each sample, received {np.shape(groups)}.")
    return np.unique(groups, return_inverse=True)[1]
