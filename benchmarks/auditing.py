"""The pass of an audit over a data set, against a plain prediction of the same files, read in the same way."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from multiprocessing.pool import AsyncResult, ThreadPool
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks.folder import PHOTO, write_photos
from benchmarks.models import NETWORKS, Network
from benchmarks.pairs import Call, Spread, once
from benchmarks.report import Table
from benchmarks.settings import Settings
from tf_gradcam.audit import audit

BATCH = 32
MOST_ROUNDS = 5
_THREADS = min(8, os.cpu_count() or 1)
_AHEAD = 2  # batches, like the engine


def run(settings: Settings) -> Iterator[Table]:
    """Yield the times on the light model, where everything but the model counts most, and on a heavier one."""
    for name in dict.fromkeys([settings.model_like("MobileNetV2"), settings.model_like("ResNet50")]):
        with tempfile.TemporaryDirectory() as directory:
            yield auditing(settings, name, Path(directory))


def auditing(settings: Settings, name: str, directory: Path) -> Table:
    """Time a file: predicted alone, and predicted, explained and written by an audit."""
    network = NETWORKS[name]
    batch = max(1, min(BATCH, settings.files // 3))  # the pass is timed from the end of its first batch
    files = write_photos(directory / "photos", settings.files)
    model = network.model()
    compiled = tf.function(
        partial(model, training=False), input_signature=[tf.TensorSpec((None, *network.size, 3), tf.float32)]
    )
    predict = partial(_predict, compiled, network, files, batch)
    predict()
    bare, passes = [], []
    for number in range(min(settings.rounds, MOST_ROUNDS)):
        bare.append(once(predict) / len(files))
        passes.append(_pass_seconds(model, network, directory, batch, number))
    rows = [
        (one, spread.scaled(1000), f"{1 / spread.median:.1f}")
        for one, spread in (
            ("plain: read, resize, preprocess, predict", Spread.of(bare)),
            ("audit: maps, thumbnails, parts too", Spread.of(passes)),
        )
    ]
    ratio = Spread.of(np.divide(bare, passes))
    note = f"The pass at {ratio} of the speed of the plain prediction, {len(bare)} rounds in turn, weights frozen."
    title = f"An audit's pass over {len(files)} JPEG files, {PHOTO[1]} x {PHOTO[0]}: {name}, batch {batch}"
    return Table(title, ("", "ms a file", "files a second"), rows, note)


def _predict(compiled: Call, network: Network, files: list[Path], batch: int) -> None:
    """Predict all files; threads read them, two batches ahead of the model."""

    def read(path: Path, into: np.ndarray, number: int) -> None:
        into[number] = network.read(path)

    def begin(some: list[Path]) -> tuple[np.ndarray, list[AsyncResult]]:
        images = np.empty((len(some), *network.size, 3), np.float32)
        return images, [pool.apply_async(read, (path, images, number)) for number, path in enumerate(some)]

    waiting: deque = deque()
    with ThreadPool(_THREADS) as pool:
        for start in range(0, len(files) + _AHEAD * batch, batch):
            if start < len(files):
                waiting.append(begin(files[start : start + batch]))
            if start >= _AHEAD * batch and waiting:
                images, tasks = waiting.popleft()
                for task in tasks:
                    task.get()
                compiled(images).numpy()
    if waiting:
        raise RuntimeError("Expected every batch predicted.")


class _PassDoneError(Exception):
    """The end of an audit's pass, raised to skip the rest of the audit."""


def _pass_seconds(model: keras.Model, network: Network, directory: Path, batch: int, number: int) -> float:
    """Return the seconds a file of an audit's pass, from the end of its first batch, which compiles the model."""
    reports: list[tuple[float, int]] = []

    def report(stage: str, done: int, total: int | None) -> None:
        if stage != "images":
            raise _PassDoneError
        if done:
            reports.append((time.perf_counter(), done))

    options = {"layer": network.layer, "preprocess": network.preprocessing, "size": network.size}
    with contextlib.suppress(_PassDoneError):
        audit(model, directory / "photos", directory / f"out{number}", batch_size=batch, progress=report, **options)
    (begun, first), (ended, last) = reports[0], reports[-1]
    return (ended - begun) / (last - first)
