"""The pass over a data set by actors of Ray Data, on the cores, GPUs and machines that it has; needs extra `ray`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_gradcam._extras import require
from tf_gradcam.audit.engines import Columns, Progress, write_rows

if TYPE_CHECKING:
    from tf_gradcam.audit.sources import Samples
    from tf_gradcam.audit.table import PartFolder


class _Actor:
    """An `AuditMapper` in a process of Ray's."""

    def __init__(self, arguments: Mapping[str, Any], directory: str):
        from tf_gradcam._terminal import start_tensorflow

        start_tensorflow()
        from tf_gradcam.audit.mapper import AuditMapper

        if os.path.isdir(directory):  # where relative paths begin, if the driver's machine is this one
            os.chdir(directory)
        self._mapper = AuditMapper(**arguments)

    def __call__(self, batch: Columns) -> Columns:
        files = np.array([os.fsdecode(bytes(name)) for name in batch["file"]], object)
        rows = self._mapper({**batch, "file": files})
        return {name: column for name, column in rows.items() if name != "file"}  # the driver knows it


def run_ray(
    arguments: Mapping[str, Any],
    samples: Samples,
    parts: PartFolder,
    batch_size: int = 32,
    workers: int = 2,
    progress: Progress | None = None,
) -> None:
    """As `run_local`, by several processes: the same rows in the same parts.

    Uses the cluster that this process is connected to, the one of RAY_ADDRESS, or one begun here and ended again. Files
    must have the same paths on all its machines.

    Args:
        arguments: of `AuditMapper`: its attribute `arguments`. A Keras model is sent along; the name of a file must
            hold on every machine.
        samples: the files.
        parts: of this mapper and these samples; open.
        batch_size: images at a time of each worker, at least 1.
        workers: processes that hold the model, each with a share of the GPUs that there are, at least 1.
        progress: called with (rows done, N) whenever rows arrive; those that were done before count.

    Raises:
        ImportError: Ray is not installed.
        ValueError: `batch_size` or `workers` below 1.
        OSError: a part cannot be written.
        ray.exceptions.RayError: a worker cannot be started, or is lost.
    """
    if batch_size < 1 or workers < 1:
        raise ValueError(f"Expected a batch size and workers of at least 1, received {batch_size} and {workers}.")
    require("ray.data", extra="ray")
    finished = parts.finished()
    missing = [number for number in range(parts.part_count or 0) if number not in finished]
    done = sum(len(labels) for labels in finished.values())
    if progress is not None:
        progress(done, len(samples))
    if not missing:
        return
    collected = _Collected(parts, samples)
    with _cluster(workers) as gpus:
        for rows in _mapped(arguments, samples, missing, parts.rows_per_part, batch_size, workers, gpus):
            collected.add(rows)
            done += len(rows["index"])
            if progress is not None:
                progress(done, len(samples))
    collected.check()


def _mapped(
    arguments: Mapping[str, Any],
    samples: Samples,
    missing: list[int],
    part_rows: int,
    batch_size: int,
    workers: int,
    gpus: float,
) -> Iterator[Columns]:
    """Rows as they come, in any order. A block of the data set is a part, so that few parts are open at a time."""
    pa, data = require("pyarrow", extra="ray"), require("ray.data", extra="ray")
    blocks = []
    for number in missing:
        rows = samples.rows(number * part_rows, min((number + 1) * part_rows, len(samples)))
        files = [os.fsencode(name) for name in rows["file"]]  # bytes: a name that is no UTF-8 arrives as it is
        blocks.append(pa.table({"index": rows["index"], "file": pa.array(files, pa.binary()), "label": rows["label"]}))
    mapped = data.from_arrow(blocks).map_batches(
        _Actor,
        fn_constructor_args=(dict(arguments), os.getcwd()),
        batch_size=batch_size,
        batch_format="numpy",
        concurrency=workers,
        num_gpus=gpus,
    )
    yield from mapped.iter_batches(batch_size=None, batch_format="numpy")


@contextmanager
def _cluster(workers: int) -> Iterator[float]:
    """A cluster that was there before is left as it is. Yields the GPUs that a worker gets."""
    ray = require("ray", extra="ray")
    is_ours = not ray.is_initialized()
    if is_ours:
        address = os.environ.get("RAY_ADDRESS")
        # One core more than workers: Ray Data has tasks of its own, which else would wait for ever.
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
    """Rows in any order, written as soon as all of a part are there."""

    def __init__(self, parts: PartFolder, samples: Samples):
        self._parts = parts
        self._samples = samples
        self._open: dict[int, list[Columns]] = {}

    def add(self, rows: Columns) -> None:
        size = self._parts.rows_per_part
        numbers = rows["index"] // size
        for number in np.unique(numbers).tolist():
            some = {name: column[numbers == number] for name, column in rows.items()}
            self._open.setdefault(number, []).append(some)
            count = sum(len(one["index"]) for one in self._open[number])
            if count == min(size, len(self._samples) - number * size):
                self._write(number, self._open.pop(number))

    def _write(self, number: int, rows: list[Columns]) -> None:
        """The rows in order, with their files."""
        columns = {name: np.concatenate([some[name] for some in rows]) for name in rows[0]}
        order = np.argsort(columns["index"])
        ordered = {name: column[order] for name, column in columns.items()}
        files = [self._samples.files[index] for index in ordered["index"].tolist()]
        write_rows(self._parts, number, [{**ordered, "file": np.array(files, object)}])

    def check(self) -> None:
        """Every row has come."""
        if self._open:
            raise RuntimeError(f"Ray lost rows of the parts {sorted(self._open)}. Run it again, it goes on from there.")
