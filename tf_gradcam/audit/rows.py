"""The table of an audit, one row per image: its columns and their types. NumPy only.

Axis legend: N rows, K classes, H x W cells of a heatmap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from tf_gradcam._errors import unknown_name
from tf_gradcam._files.manifest import DONE


@dataclass(frozen=True, eq=False)
class Rows(Mapping[str, np.ndarray]):
    """The rows of an audit as columns: `rows.label`, or by name `rows["label"]`.

    The fields below are the only list of columns: `kind` is the type of a value, `axes` the number of axes, `is_ragged`
    whether rows have different numbers of values. Values are converted to that type, and the Parquet files have the
    same columns.

    Attributes:
        index: (N,) int64, position in the data set, from 0.
        file: (N,) str, path of the image; "image 12" for an image of a `tf.data.Dataset`.
        label: (N,) int32, true class; -1 where unknown, and of a model without classes.
        truth: (N, T) float32, what the data set says beside a class: 1 or 0 of each label, or the true value; NaN where
            unknown. T is 0 for classes. Of a segmentation T is 3 K: of each class the share of the image's cells that
            are of it, then that are rightly predicted as it, then that are predicted as it where the class is known.
        status: (N,) str, "done" or "failed".
        error: (N,) str, reason of the failure; "" if done.
        predicted: (N,) int32, the top class; the best label above its threshold, or else the most probable one; the
            number of the explained value; -1 if failed.
        probability: (N,) float32, probability of the predicted class or label in [0, 1]; NaN of values, or if failed.
        probabilities: (N, K) float32, probability of every class or label, of a segmentation the share of the cells
            that are predicted as the class; NaN if failed. K is 0 for values.
        score: (N,) float32, value of the explained output, which is the predicted value of a regression; NaN if failed.
        heatmap: (N, H, W) float16 in [0, 1], of the predicted class or label; of a value in [-1, 1], what raises it and
            what lowers it; zeros if failed.
        mapped: (N,) arrays (M,) int32, the labels above their thresholds, or the classes of at least 1 % of the cells
            of a segmentation, each of which has a map of its own; empty for classes and values, whose map is `heatmap`.
        maps: (N,) arrays (M, H, W) float16, the maps of these labels.
        diagnosis: (N,) str, reason why the heatmap is blank; "" if it is not.
        thumbnail: (N,) bytes, a small JPEG; b"" if the image cannot be read.
        note: (N,) str, what was chosen or changed to read the picture, such as the first of several frames.
        digest: (N,) str, hexadecimal digest of the file as it was read; "" without a file.
    """

    index: np.ndarray = field(metadata={"kind": np.int64})
    file: np.ndarray = field(metadata={"kind": str})
    label: np.ndarray = field(metadata={"kind": np.int32})
    truth: np.ndarray = field(metadata={"kind": np.float32, "axes": 2})
    status: np.ndarray = field(metadata={"kind": str})
    error: np.ndarray = field(metadata={"kind": str})
    predicted: np.ndarray = field(metadata={"kind": np.int32})
    probability: np.ndarray = field(metadata={"kind": np.float32})
    probabilities: np.ndarray = field(metadata={"kind": np.float32, "axes": 2})
    score: np.ndarray = field(metadata={"kind": np.float32})
    heatmap: np.ndarray = field(metadata={"kind": np.float16, "axes": 3})
    mapped: np.ndarray = field(metadata={"kind": np.int32, "axes": 2, "is_ragged": True})
    maps: np.ndarray = field(metadata={"kind": np.float16, "axes": 4, "is_ragged": True})
    diagnosis: np.ndarray = field(metadata={"kind": str})
    thumbnail: np.ndarray = field(metadata={"kind": bytes})
    note: np.ndarray = field(metadata={"kind": str})
    digest: np.ndarray = field(metadata={"kind": str})

    def __post_init__(self) -> None:
        for column in fields(self):
            kind, values = column.metadata["kind"], getattr(self, column.name)
            if column.metadata.get("is_ragged"):
                values = ragged(values, kind)
            else:
                values = np.asarray(values, object if kind in (str, bytes) else kind)
            object.__setattr__(self, column.name, values)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in list(self):
            raise KeyError(unknown_name("column", name, list(self)))
        column: np.ndarray = getattr(self, name)
        return column

    def __iter__(self) -> Iterator[str]:
        return (column.name for column in fields(self))

    def __len__(self) -> int:
        """Return the number of columns; the number of rows is `len(rows.index)`."""
        return len(fields(self))

    @property
    def is_done(self) -> np.ndarray:
        """(N,) bool: the image was explained."""
        done: np.ndarray = self.status == DONE
        return done

    @property
    def is_labelled(self) -> np.ndarray:
        """(N,) bool: the image was explained, and its true class, a true label or its true value is known."""
        return self.is_done & ((self.label >= 0) | np.isfinite(self.truth).any(axis=1))

    def maps_of(self, index: int, chosen: np.ndarray) -> np.ndarray:
        """Return the maps of one label, (n, H, W) float32, of the rows at these positions; zeros where it has none."""
        found = np.zeros((len(chosen), *self.heatmap.shape[1:]), np.float32)
        for number, row in enumerate(chosen):
            place = np.flatnonzero(self.mapped[row] == index)
            if len(place):
                found[number] = self.maps[row][place[0]]
        return found

    def take(self, chosen: np.ndarray) -> Rows:
        """Return the rows of a mask or of an array of positions."""
        return Rows(**{name: column[chosen] for name, column in self.items()})


def ragged(values: Sequence[np.ndarray] | np.ndarray, kind: Any) -> np.ndarray:
    """Return a column of arrays of different lengths, (N,) object."""
    column = np.empty(len(values), object)
    for number, value in enumerate(values):
        column[number] = np.asarray(value, kind)
    return column


def nothing_mapped(count: int, cells: Sequence[int]) -> dict[str, np.ndarray]:
    """Return the columns `mapped` and `maps` of rows without maps of their own for each label."""
    none, blank = np.zeros(0, np.int32), np.zeros((0, *cells), np.float16)
    return {"mapped": ragged([none] * count, np.int32), "maps": ragged([blank] * count, np.float16)}


def turns_of(kinds: np.ndarray) -> np.ndarray:
    """Return (N,) int64: the number of earlier values that are equal, so that sorting by it lets kinds take turns."""
    turns = np.zeros(len(kinds), np.int64)
    for kind in np.unique(kinds):
        turns[kinds == kind] = np.arange((kinds == kind).sum())
    return turns


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts, in their order."""
    return Rows(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
