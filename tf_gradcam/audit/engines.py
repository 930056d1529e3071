"""The pass over a data set in this process: files are read ahead, and parts written, while the model runs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.pool import ThreadPool  # its threads do not keep an interrupted program alive
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from tf_gradcam.audit.mapper import AuditMapper
    from tf_gradcam.audit.table import PartFolder

Columns = dict[str, np.ndarray]
Progress = Callable[[int, "int | None"], object]

_THREADS = min(8, os.cpu_count() or 1)  # of OpenCV's, outside Python's lock; further ones only hold more photos
_BATCHES_AHEAD = 2
_PARTS_BEHIND = 2  # that wait to be written, at most


class Source(Protocol):
    """A data set in a fixed order: `Samples`, `DatasetSource`."""

    @property
    def row_count(self) -> int | None:
        """N; of some known only when they were read to the end."""

    def batches(self, finished: Mapping[int, np.ndarray], part_rows: int, batch_size: int) -> Iterator[Columns]:
        """Columns index, file, label, and image where no file is to be read, of the rows that no finished part holds.

        Args:
            finished: by number, the labels of the parts that are done.
            part_rows: rows of a part, beyond whose end no batch reaches.
            batch_size: rows of a batch, at most.
        """


def run_local(
    mapper: AuditMapper,
    source: Source,
    parts: PartFolder,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> None:
    """Explain every image of a data set and write the parts that are not there yet.

    What is held at a time are a few batches and parts, whatever the size of the data set. Killed at any moment and run
    again, it ends with the same table: a part is whole or not there.

    Args:
        mapper: explains a batch.
        source: `Samples`, or a `DatasetSource`, whose order must be the same at every run: what is finished is found by
            counting.
        parts: of this mapper and this source; open.
        batch_size: images at a time, at least 1.
        progress: called with (rows done, N) after each batch, N None while unknown; rows that were done before count.

    Raises:
        ValueError: `batch_size` below 1; a data set whose order or length is not what it was, or without an image.
        OSError: a part cannot be written.
    """
    if batch_size < 1:
        raise ValueError(f"Expected a batch size of at least 1, received {batch_size}.")
    finished = parts.finished()
    done = sum(len(labels) for labels in finished.values())
    _tell(progress, done, parts.row_count)
    if done and len(finished) == parts.part_count:
        return
    with ThreadPool(_THREADS) as readers, ThreadPool(1) as writer, _Table(parts, writer) as table:
        for batch, reading in _ahead(mapper, source.batches(finished, parts.rows_per_part, batch_size), readers):
            table.add(mapper.explain(batch, reading.get()))
            done += len(batch["index"])
            _tell(progress, done, parts.row_count)
    if done == 0:
        raise ValueError("Expected at least one image, received an empty data set.")
    parts.end(done)


def _tell(progress: Progress | None, done: int, total: int | None) -> None:
    if progress is not None:
        progress(done, total)


def _ahead(mapper: AuditMapper, batches: Iterator[Columns], readers: ThreadPool) -> Iterator[tuple[Columns, Any]]:
    """Each batch with its reading, begun while the batches before it are worked on."""
    waiting: deque[tuple[Columns, Any]] = deque()
    for batch in batches:
        waiting.append((batch, mapper.reading(batch, readers)))
        if len(waiting) > _BATCHES_AHEAD:
            yield waiting.popleft()
    yield from waiting


class _Table:
    """Puts batches together into parts and has these written by a thread, in order."""

    def __init__(self, parts: PartFolder, writer: ThreadPool):
        self._parts = parts
        self._writer = writer
        self._rows: list[Columns] = []
        self._number = 0
        self._writing: deque[Any] = deque()

    def add(self, rows: Columns) -> None:
        number = int(rows["index"][0]) // self._parts.rows_per_part
        if number != self._number:
            self._write()
        self._number = number
        self._rows.append(rows)
        if (int(rows["index"][-1]) + 1) % self._parts.rows_per_part == 0:
            self._write()

    def __enter__(self) -> _Table:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is left, and wait. After an error the parts that were full are still written."""
        if error is None:
            self._write()
        for writing in self._writing:
            writing.wait() if error else writing.get()

    def _write(self) -> None:
        if self._rows:
            self._writing.append(self._writer.apply_async(write_rows, (self._parts, self._number, self._rows)))
            self._rows = []
        while self._writing and (len(self._writing) > _PARTS_BEHIND or self._writing[0].ready()):
            self._writing.popleft().get()


def write_rows(parts: PartFolder, number: int, rows: list[Columns]) -> None:
    """Write one part out of rows in their order."""
    parts.write(number, {name: np.concatenate([some[name] for some in rows]) for name in rows[0]})
