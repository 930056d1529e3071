"""Which of the samples take part."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from training.data.duplicates import across
from training.data.folder import Samples, read_folder


def first_classes(samples: Samples, count: int) -> Samples:
    """The first `count` classes by name.

    Raises:
        ValueError: fewer than 2, or more than there are.
    """
    if not 2 <= count <= len(samples.class_names):
        raise ValueError(f"Expected 2 to {len(samples.class_names)} classes, received {count}.")
    kept = samples.take(np.flatnonzero(samples.labels < count))
    return replace(kept, class_names=samples.class_names[:count])


def without(samples: Samples, table: Path) -> Samples:
    """The samples that are not in the first column of a CSV, which has a header.

    Raises:
        OSError: a file that cannot be read.
        ValueError: a file that names none of the samples.
    """
    with open(table, newline="", encoding="utf-8-sig") as file:
        named = {row[0].replace("\\", "/").removeprefix("./") for row in list(csv.reader(file))[1:] if row}
    kept = [index for index in range(len(samples)) if samples.name(index) not in named]
    if len(kept) == len(samples):
        example = samples.name(0)
        raise ValueError(f"Expected '{table}' to name samples in its first column, such as {example}; it names none.")
    return samples.take(kept)


def apart(samples: Samples, other: Path) -> Samples:
    """The samples without a (nearly) identical or flipped twin in another folder of images.

    Raises:
        ValueError, OSError: as `read_folder`; no sample left.
    """
    twins = {index for index, _ in across(samples.files, read_folder(other).files)}
    if len(twins) == len(samples):
        raise ValueError(
            f"Every one of the {len(samples)} images has a twin in '{other}': nothing is left to train on."
        )
    return samples.take([index for index in range(len(samples)) if index not in twins])
