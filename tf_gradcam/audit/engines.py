"""Engines that explain every image of a data set: this process, or Ray Data."""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.pool import ThreadPool  # its threads do not keep an interrupted program alive
from typing import Any

import numpy as np

from tf_gradcam._errors import require
from tf_gradcam._terminal import start_tensorflow
from tf_gradcam.audit.mapper import THREADS, AuditMapper
from tf_gradcam.audit.rows import Rows, join_rows
from tf_gradcam.audit.sources import Columns, DatasetSource, Samples
from tf_gradcam.audit.table import PartFolder

RowProgress = Callable[[int, "int | None"], object]  # rows done, N

_BATCHES_AHEAD = 2  # whose images are read while the model works
_PARTS_BEHIND = 2  # parts that may wait to be written


def run_local(
    mapper: AuditMapper,
    source: Samples | DatasetSource,
    parts: PartFolder,
    batch_size: int = 32,
    progress: RowProgress | None = None,
) -> None:
    """Explain every image of a data set, and write the parts that do not exist yet.

    Memory holds a few batches and parts, whatever the size of the data set. A run that is killed and started again ends
    with the same table: a part is whole or does not exist.

    Args:
        mapper: explains a batch.
        source: `Samples`, or a `DatasetSource` in the same order at every run, because finished rows are counted.
        parts: the open folder of this mapper and this source.
        batch_size: images per batch, at least 1.
        progress: called with (rows done, N) after each batch; N is None while unknown. Earlier rows count as done.

    Raises:
        ValueError: `batch_size` is below 1; the order or length of the data set has changed; it has no image.
        OSError: a part cannot be written.
    """
    if batch_size < 1:
        raise ValueError(f"Expected a batch size of at least 1, received {batch_size}.")
    finished = parts.finished()
    done = sum(len(labels) for labels in finished.values())
    report = progress or (lambda done, total: None)
    report(done, parts.row_count)
    if done and len(finished) == parts.part_count:
        return
    with ThreadPool(THREADS) as readers, ThreadPool(1) as writer, _PartWriter(parts, writer) as buffer:
        for batch, reading in _ahead(mapper, source.batches(finished, parts.rows_per_part, batch_size), readers):
            buffer.add(mapper.explain(batch, reading.get()))
            done += len(batch["index"])
            report(done, parts.row_count)
    if done == 0:
        raise ValueError("Expected at least one image, received an empty data set.")
    parts.end(done)


def _ahead(mapper: AuditMapper, batches: Iterator[Columns], readers: ThreadPool) -> Iterator[tuple[Columns, Any]]:
    """Yield each batch with its reading, which begins while the batches before it are explained."""
    waiting: deque[tuple[Columns, Any]] = deque()
    for batch in batches:
        waiting.append((batch, mapper.reading(batch, readers)))
        if len(waiting) > _BATCHES_AHEAD:
            yield waiting.popleft()
    yield from waiting


class _PartWriter(AbstractContextManager["_PartWriter"]):
    """A buffer that joins batches into parts, which a thread writes in order."""

    def __init__(self, parts: PartFolder, writer: ThreadPool):
        self._parts = parts
        self._writer = writer
        self._rows: list[Rows] = []
        self._number = 0
        self._writing: deque[Any] = deque()

    def add(self, rows: Rows) -> None:
        number = int(rows.index[0]) // self._parts.rows_per_part
        if number != self._number:
            self._write()
        self._number = number
        self._rows.append(rows)
        if (int(rows.index[-1]) + 1) % self._parts.rows_per_part == 0:
            self._write()

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        """Write the rows that are left, and wait. After an error only full parts are written."""
        if error is None:
            self._write()
        for writing in self._writing:
            writing.wait() if error else writing.get()

    def _write(self) -> None:
        if self._rows:
            rows, self._rows = self._rows, []
            number = self._number
            self._writing.append(self._writer.apply_async(lambda: self._parts.write(number, join_rows(rows))))
        while self._writing and (len(self._writing) > _PARTS_BEHIND or self._writing[0].ready()):
            self._writing.popleft().get()


class _Actor:
    """An `AuditMapper` in a Ray worker."""

    def __init__(self, arguments: Mapping[str, Any], directory: str):
        start_tensorflow()
        if os.path.isdir(directory):  # relative paths begin here, if this is the driver's machine
            os.chdir(directory)
        self._mapper = AuditMapper(**arguments)

    def __call__(self, batch: Columns) -> Columns:
        files = np.array([os.fsdecode(bytes(name)) for name in batch["file"]], object)
        columns = {**batch, "file": files}
        if "truth" in batch:
            columns["truth"] = np.stack(list(batch["truth"]))
        if "mask" in batch:
            columns["mask"] = np.array([os.fsdecode(bytes(name)) for name in batch["mask"]], object)
        # Whole, because Ray has no column for rows with different numbers of maps.
        return {"rows": np.array([pickle.dumps(self._mapper(columns))], object)}


def run_ray(
    arguments: Mapping[str, Any],
    samples: Samples,
    parts: PartFolder,
    batch_size: int = 32,
    workers: int = 2,
    progress: RowProgress | None = None,
) -> None:
    """Explain every image as `run_local` does, by several processes: the same rows in the same parts.

    Uses the cluster that this process is connected to, else the one at RAY_ADDRESS, else a local one that is shut down
    at the end. Files must have the same paths on all machines of the cluster.

    Args:
        arguments: the attribute `arguments` of an `AuditMapper`. A Keras model is sent to the workers; a model file
            must exist on every machine.
        samples: the files.
        parts: the open folder of this mapper and these samples.
        batch_size: images per batch of each worker, at least 1.
        workers: processes that hold the model, at least 1; they share the GPUs.
        progress: called with (rows done, N) whenever rows arrive. Earlier rows count as done.

    Raises:
        ImportError: Ray is not installed.
        ValueError: `batch_size` or `workers` is below 1.
        OSError: a part cannot be written.
        ray.exceptions.RayError: a worker cannot be started, or is lost.
    """
    if batch_size < 1 or workers < 1:
        raise ValueError(f"Expected a batch size and workers of at least 1, received {batch_size} and {workers}.")
    require("ray.data", extra="ray")
    finished = parts.finished()
    missing = [number for number in range(parts.part_count or 0) if number not in finished]
    done = sum(len(labels) for labels in finished.values())
    report = progress or (lambda done, total: None)
    report(done, len(samples))
    if not missing:
        return
    collected = _Collected(parts, len(samples))
    with _cluster(workers) as gpus:
        for rows in _mapped(arguments, samples, missing, parts.rows_per_part, batch_size, workers, gpus):
            collected.add(rows)
            done += len(rows.index)
            report(done, len(samples))
    collected.check()


def _mapped(
    arguments: Mapping[str, Any],
    samples: Samples,
    missing: list[int],
    part_rows: int,
    batch_size: int,
    workers: int,
    gpus: float,
) -> Iterator[Rows]:
    """Yield rows as they come, in any order. A block is a part, so that few parts are open at a time."""
    pa, data = require("pyarrow", extra="ray"), require("ray.data", extra="ray")
    blocks = []
    for number in missing:
        rows = samples.rows(number * part_rows, min((number + 1) * part_rows, len(samples)))
        files = [os.fsencode(name) for name in rows["file"]]  # bytes: a name that is not UTF-8 stays as it is
        columns = {"index": rows["index"], "file": pa.array(files, pa.binary()), "label": rows["label"]}
        if "truth" in rows:
            columns["truth"] = pa.array(list(rows["truth"]), pa.list_(pa.float32()))
        if "mask" in rows:
            columns["mask"] = pa.array([os.fsencode(name) for name in rows["mask"]], pa.binary())
        blocks.append(pa.table(columns))
    mapped = data.from_arrow(blocks).map_batches(
        _Actor,
        fn_constructor_args=(dict(arguments), os.getcwd()),
        batch_size=batch_size,
        batch_format="numpy",
        concurrency=workers,
        num_gpus=gpus,
    )
    for columns in mapped.iter_batches(batch_size=None, batch_format="numpy"):
        for rows in columns["rows"]:
            yield pickle.loads(rows)


@contextmanager
def _cluster(workers: int) -> Iterator[float]:
    """Yield the GPUs of each worker; leave a cluster that existed before as it is."""
    ray = require("ray", extra="ray")
    is_ours = not ray.is_initialized()
    if is_ours:
        address = os.environ.get("RAY_ADDRESS")
        # One core more than workers, because Ray Data's own tasks would otherwise wait forever.
        local = {} if address else {"num_cpus": max(os.cpu_count() or 1, workers + 1), "include_dashboard": False}
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **local)
    context = require("ray.data", extra="ray").DataContext.get_current()
    shown, context.enable_progress_bars = context.enable_progress_bars, False
    try:
        yield min(1.0, ray.cluster_resources().get("GPU", 0.0) / workers)
    finally:
        context.enable_progress_bars = shown
        if is_ours:
            ray.shutdown()


class _Collected:
    """A buffer of rows in any order; a part is written as soon as it is complete."""

    def __init__(self, parts: PartFolder, row_count: int):
        self._parts = parts
        self._row_count = row_count
        self._open: dict[int, list[Rows]] = {}

    def add(self, rows: Rows) -> None:
        size = self._parts.rows_per_part
        numbers = rows.index // size
        for number in np.unique(numbers).tolist():
            self._open.setdefault(number, []).append(rows.take(numbers == number))
            count = sum(len(part.index) for part in self._open[number])
            if count == min(size, self._row_count - number * size):
                whole = join_rows(self._open.pop(number))
                self._parts.write(number, whole.take(np.argsort(whole.index)))

    def check(self) -> None:
        """Raise if rows are missing."""
        if self._open:
            raise RuntimeError(f"Ray lost rows of the parts {sorted(self._open)}. Run the audit again; it continues.")
