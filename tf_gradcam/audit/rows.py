"""The table of an audit, one row per image: its columns and their types. NumPy only.

Axis legend: N rows, K classes, H x W cells of a heatmap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from tf_gradcam._errors import unknown_name
from tf_gradcam._files.manifest import DONE


@dataclass(frozen=True, eq=False)
class Rows(Mapping[str, np.ndarray]):
    """The rows of an audit as columns: `rows.label`, or by name `rows["label"]`.

    The fields below are the only list of columns: `kind` is the type of a value, `axes` the number of axes. Values are
    converted to that type, and the Parquet files have the same columns.

    Attributes:
        index: (N,) int64, position in the data set, from 0.
        file: (N,) str, path of the image; "image 12" for an image of a `tf.data.Dataset`.
        label: (N,) int32, true class; -1 where unknown.
        status: (N,) str, "done" or "failed".
        error: (N,) str, reason of the failure; "" if done.
        predicted: (N,) int32, top class; -1 if failed.
        probability: (N,) float32, probability of the top class in [0, 1]; NaN if failed.
        probabilities: (N, K) float32, probability of every class; NaN if failed.
        score: (N,) float32, value of the explained output; NaN if failed.
        heatmap: (N, H, W) float16 in [0, 1]; zeros if failed.
        diagnosis: (N,) str, reason why the heatmap is blank; "" if it is not.
        thumbnail: (N,) bytes, a small JPEG; b"" if the image cannot be read.
        note: (N,) str, what was chosen or changed to read the picture, such as the first of several frames.
        digest: (N,) str, hexadecimal digest of the file as it was read; "" without a file.
    """

    index: np.ndarray = field(metadata={"kind": np.int64})
    file: np.ndarray = field(metadata={"kind": str})
    label: np.ndarray = field(metadata={"kind": np.int32})
    status: np.ndarray = field(metadata={"kind": str})
    error: np.ndarray = field(metadata={"kind": str})
    predicted: np.ndarray = field(metadata={"kind": np.int32})
    probability: np.ndarray = field(metadata={"kind": np.float32})
    probabilities: np.ndarray = field(metadata={"kind": np.float32, "axes": 2})
    score: np.ndarray = field(metadata={"kind": np.float32})
    heatmap: np.ndarray = field(metadata={"kind": np.float16, "axes": 3})
    diagnosis: np.ndarray = field(metadata={"kind": str})
    thumbnail: np.ndarray = field(metadata={"kind": bytes})
    note: np.ndarray = field(metadata={"kind": str})
    digest: np.ndarray = field(metadata={"kind": str})

    def __post_init__(self) -> None:
        for column in fields(self):
            kind = column.metadata["kind"]
            values = np.asarray(getattr(self, column.name), object if kind in (str, bytes) else kind)
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
        """(N,) bool: the image was explained, and its true class is known."""
        return self.is_done & (self.label >= 0)

    def take(self, chosen: np.ndarray) -> Rows:
        """Return the rows of a mask or of an array of positions."""
        return Rows(**{name: column[chosen] for name, column in self.items()})


def turns_of(kinds: np.ndarray) -> np.ndarray:
    """Return (N,) int64: the number of earlier values that are equal, so that sorting by it lets kinds take turns."""
    turns = np.zeros(len(kinds), np.int64)
    for kind in np.unique(kinds):
        turns[kinds == kind] = np.arange((kinds == kind).sum())
    return turns


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts, in their order."""
    return Rows(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
