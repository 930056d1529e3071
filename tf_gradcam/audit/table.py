"""The Parquet parts of an audit's table. Needs pyarrow.

Axis legend: N rows, one per image.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from tf_gradcam._errors import Message, require
from tf_gradcam._files.atomic import FolderLock, made_folder, remove_leftovers, write_bytes
from tf_gradcam._files.opening import check_regular
from tf_gradcam.audit.rows import Rows, ragged

pa = require("pyarrow", extra="audit")
pq = require("pyarrow.parquet", extra="audit")

RUN_FILE = "run.json"
_PART_NAME = re.compile(r"part-(\d{6,})\.parquet")
_SIDES = (b"height", b"width")  # of the heatmaps, in the metadata: a heatmap is stored as a flat list


def _arrow_type(kind: Any, axes: int = 1, **_: Any) -> Any:
    """Return the Arrow type of a column of `Rows`; several values of a row are a list."""
    value = {str: pa.string(), bytes: pa.binary()}.get(kind) or pa.from_numpy_dtype(kind)
    return value if axes == 1 else pa.list_(value)


_TYPES = {column.name: _arrow_type(**column.metadata) for column in fields(Rows)}
_RAGGED = {column.name for column in fields(Rows) if column.metadata.get("is_ragged")}


def _is_table(table: Any) -> bool:
    """Return whether an Arrow table has the columns of `Rows`."""
    return table.schema.names == list(_TYPES) and set(_SIDES) <= set(table.schema.metadata or {})


def _to_arrow(rows: Rows) -> Any:
    """Convert rows to an Arrow table."""
    sides = [str(side).encode() for side in rows.heatmap.shape[1:]]
    schema = pa.schema(list(_TYPES.items()), metadata=dict(zip(_SIDES, sides, strict=True)))
    return pa.table([_arrow(rows[name], kind) for name, kind in _TYPES.items()], schema=schema)


def _to_rows(tables: Sequence[Any]) -> Rows:
    """Convert Arrow tables to rows, in the order of the tables."""
    columns = {
        name: np.concatenate([_numpy(chunk, kind, name in _RAGGED) for table in tables for chunk in table[name].chunks])
        for name, kind in _TYPES.items()
    }
    height, width = (int(tables[0].schema.metadata[side]) for side in _SIDES)
    columns["heatmap"] = columns["heatmap"].reshape(-1, height, width)
    for row, maps in enumerate(columns["maps"]):
        columns["maps"][row] = maps.reshape(-1, height, width)
    return Rows(**columns)


def _arrow(column: np.ndarray, kind: Any) -> Any:
    """Convert one column; a row of several numbers becomes a list."""
    if kind == pa.string():  # a file name that is not UTF-8 has characters that a text cannot hold
        texts = [str(text).encode("utf-8", "surrogateescape").decode("utf-8", "replace") for text in column]
        return pa.array(texts, kind)
    if not pa.types.is_list(kind):
        return pa.array(column, kind)
    offsets = np.cumsum([0, *(np.size(values) for values in column)], dtype=np.int32)
    flat = np.concatenate([np.ravel(values) for values in column]) if len(column) else np.zeros(0)
    values = pa.array(np.ascontiguousarray(flat, kind.value_type.to_pandas_dtype()), kind.value_type)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _numpy(array: Any, kind: Any, is_ragged: bool) -> np.ndarray:
    """Convert one column back: lists to (N, numbers), or to arrays of different lengths; texts and bytes to objects."""
    if pa.types.is_list(kind):
        flat = np.asarray(array.flatten().to_numpy(zero_copy_only=False))
        if not is_ragged:
            return flat.reshape(len(array), len(flat) // max(1, len(array)))
        ends = np.cumsum(array.value_lengths().to_numpy(zero_copy_only=False))
        return ragged(np.split(flat, ends[:-1]) if len(array) else [], flat.dtype)
    values = array.to_numpy(zero_copy_only=False)
    return np.array(values, object) if kind in (pa.string(), pa.binary()) else np.array(values)


class PartFolder(AbstractContextManager["PartFolder"]):
    """A folder of Parquet parts, locked by one process until it is closed: `with PartFolder(...) as parts`.

    Args:
        directory: the folder, created if it does not exist.
        fingerprint: texts by name that decide the rows; a folder with another fingerprint is refused.
        row_count: N; None if it is known only at the end of the data set.
        rows_per_part: at least 1; part n begins with row n * rows_per_part.

    Attributes:
        directory: the folder.
        row_count: N; None while unknown.
        rows_per_part: as given.

    Raises:
        BlockingIOError: another process is writing to the folder.
        ValueError: the folder holds the rows of another run, or files of an unknown one.
        OSError: the folder cannot be created, written or locked.
        ImportError: pyarrow is not installed.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        fingerprint: Mapping[str, str],
        row_count: int | None,
        rows_per_part: int = 256,
    ):
        self.directory = made_folder(directory, "directory")
        self.row_count = row_count
        self.rows_per_part = rows_per_part
        self._fingerprint = dict(fingerprint)
        self._lock = FolderLock(self.directory)
        try:
            self._resume()
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder; the parts stay."""
        self._lock.release()

    def _resume(self) -> None:
        """Continue the folder's run, or begin one."""
        run = self.directory / RUN_FILE
        remove_leftovers(self.directory)
        if run.exists():
            self._compare(_read_run(run))
        elif any(_PART_NAME.fullmatch(path.name) for path in self.directory.iterdir()):
            raise ValueError(
                f"The folder '{self.directory}' holds parts of a run, but no {RUN_FILE} that describes it. Choose "
                "another folder, or delete this one."
            )
        self._write_run()

    def _compare(self, before: dict[str, Any]) -> None:
        if self.row_count is None:
            self.row_count = before["row_count"]
        then = {**before["fingerprint"], "rows_per_part": before["rows_per_part"]}
        now = {**self._fingerprint, "rows_per_part": self.rows_per_part}
        if before["row_count"] is not None:
            then["row_count"], now["row_count"] = before["row_count"], self.row_count
        changed = [name for name in {**then, **now} if then.get(name) != now.get(name)]
        if changed:
            name = changed[0]
            fact = (
                f"The folder '{self.directory}' holds another run: its {name} was {_short(then.get(name))} and is now "
                f"{_short(now.get(name))}. Delete it, or choose another by"
            )
            raise ValueError(Message(fact, "out.", "--out."))

    def _write_run(self) -> None:
        content = {"fingerprint": self._fingerprint, "row_count": self.row_count, "rows_per_part": self.rows_per_part}
        text = json.dumps(content, indent=2, ensure_ascii=False)
        write_bytes(self.directory / RUN_FILE, text.encode(), is_durable=True)

    @property
    def part_count(self) -> int | None:
        """Number of parts of the whole table; None while unknown."""
        return None if self.row_count is None else -(-self.row_count // self.rows_per_part)

    def path(self, number: int) -> Path:
        """Return the path of a part, which may not exist yet."""
        return self.directory / f"part-{number:06d}.parquet"

    def finished(self) -> dict[int, np.ndarray]:
        """Return what the data set says of the rows of every whole part: `label`, or `truth` of labels and values.

        Each part is read, with its checksums.
        """
        names = (_PART_NAME.fullmatch(path.name) for path in self.directory.iterdir())
        labels = {int(name[1]): self._labels(int(name[1])) for name in names if name}
        return {number: column for number, column in labels.items() if column is not None}

    def _labels(self, number: int) -> np.ndarray | None:
        """Return the labels or the truth of a part; None if its file is damaged or incomplete."""
        table = self._table(number)
        if table is None or table.num_rows != self._rows_of(number):
            return None
        expected = number * self.rows_per_part + np.arange(table.num_rows)
        is_whole = np.array_equal(table["index"].to_numpy(), expected)
        if not is_whole:
            return None
        truth = np.concatenate([_numpy(chunk, _TYPES["truth"], False) for chunk in table["truth"].chunks])
        return truth if truth.shape[1] else table["label"].to_numpy()

    def _rows_of(self, number: int) -> int:
        """Return the number of rows of a part; only the last may be short, once N is known."""
        if self.row_count is None:
            return self.rows_per_part
        return min(self.rows_per_part, self.row_count - number * self.rows_per_part)

    def _table(self, number: int) -> Any:
        """Read a part; None if it cannot be read."""
        try:
            check_regular(self.path(number), "a part of a run")
            table = pq.ParquetFile(self.path(number), page_checksum_verification=True, memory_map=False).read()
        except (pa.ArrowException, OSError, ValueError):
            return None
        return table if _is_table(table) else None

    def write(self, number: int, rows: Rows) -> None:
        """Write all rows of a part, in order, whole or not at all, even if the power fails; raises as `write_bytes`."""
        buffer = io.BytesIO()
        pq.write_table(_to_arrow(rows), buffer, write_page_checksum=True)
        write_bytes(self.path(number), buffer.getvalue(), is_durable=True)

    def end(self, row_count: int) -> None:
        """Set N at the end of a data set of unknown length: the last part may then be short."""
        if self.row_count != row_count:
            self.row_count = row_count
            self._write_run()

    def read(self) -> Rows:
        """Return all rows, in the order of the data set.

        Raises:
            ValueError: a part is missing or damaged, or there are no rows.
        """
        count = self.part_count
        tables = [self._table(number) for number in range(count or 0)]
        missing = sum(table is None for table in tables)
        if not tables or missing:
            raise ValueError(
                f"The run in '{self.directory}' is not complete: {missing or 'all'} of {count or 'its'} parts are "
                "missing. Run it again; it continues where it stopped."
            )
        return _to_rows(tables)


def _read_run(path: Path) -> dict[str, Any]:
    try:
        check_regular(path, "the file of a run")
        run = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(run["fingerprint"], dict) and isinstance(run["row_count"], int | None):
            return {**run, "rows_per_part": run["rows_per_part"]}
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise ValueError(
        f"'{path}' is damaged, or was not written by this program. Choose another folder, or delete this one."
    )


def _short(value: Any) -> str:
    text = "not given" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
