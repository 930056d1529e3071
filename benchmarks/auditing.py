"""The pass of an audit over a data set, against a bare prediction of the same files through the same reading."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks.folder import PHOTO, write_photos
from benchmarks.models import NETWORKS
from benchmarks.pairs import Call, Spread, timed_rounds
from benchmarks.report import Table
from benchmarks.settings import Settings
from benchmarks.visits import resident_bytes
from tf_gradcam._models.frozen import FrozenWeights
from tf_gradcam.audit.engines import run_local
from tf_gradcam.audit.mapper import AuditMapper
from tf_gradcam.audit.sources import Samples, find_samples
from tf_gradcam.image.io import load_image

BATCH = 32
MOST_ROUNDS = 5
_THREADS = min(8, os.cpu_count() or 1)
_AHEAD = 2  # batches, as the engine
_MODES = {"VGG16": "caffe", "ResNet50": "caffe", "MobileNetV2": "tf"}


def run(settings: Settings) -> Iterator[Table]:
    """On the light model, where all that is not the model counts most, and on a heavier one where it is asked for."""
    for name in dict.fromkeys([settings.model_like("MobileNetV2"), settings.model_like("ResNet50")]):
        with tempfile.TemporaryDirectory() as directory:
            yield auditing(settings, name, Path(directory))


def auditing(settings: Settings, name: str, directory: Path) -> Table:
    """Seconds for all files: predicted alone, and predicted, explained and written by the local engine."""
    network = NETWORKS[name]
    write_photos(directory, settings.files)
    samples = find_samples(directory)
    model = network.model()
    mapper = AuditMapper(model, layer=network.layer, preprocess=_MODES.get(name, "raw"), size=network.size)
    calls: dict[str, Call] = {
        "bare: read, resize, preprocess, predict": partial(_predict, _compiled(model, mapper), mapper, samples.files),
        "the same with frozen weights": partial(_predict, _frozen(model, mapper), mapper, samples.files),
        "local engine: maps, thumbnails, parts too": partial(_audit, mapper, samples, directory / "out"),
    }
    for call in calls.values():
        call()
    before = resident_bytes()
    times = timed_rounds(calls, min(settings.rounds, MOST_ROUNDS))
    grown = (resident_bytes() - before) / 2**20
    bare, frozen, local = times.values()
    ratio, to_frozen = (Spread.of(np.divide(others, local)) for others in (bare, frozen))
    rows = [
        (one, spread, f"{settings.files / spread.median:.1f}")
        for one, spread in ((one, Spread.of(seconds)) for one, seconds in times.items())
    ]
    note = (
        f"The engine at {ratio} of the speed of the bare prediction, {to_frozen} of that with frozen weights, "
        f"{len(local)} rounds in turn. "
        f"Memory after {len(local) * settings.files} more files: {grown:+.0f} MiB."
    )
    title = f"An audit's pass over {settings.files} JPEG files, {PHOTO[1]} x {PHOTO[0]}: {name}, batch {BATCH}"
    return Table(title, ("", "s", "files a second"), rows, note)


def _compiled(model: keras.Model, mapper: AuditMapper) -> Call:
    signature = [tf.TensorSpec((None, *mapper.images.shape), tf.float32)]
    return tf.function(partial(model, training=False), input_signature=signature)


def _frozen(model: keras.Model, mapper: AuditMapper) -> Call:
    """With the weights as constants that TensorFlow folds, as the engine has them."""
    frozen = FrozenWeights()

    def predict(images: tf.Tensor) -> tf.Tensor:
        with frozen.read_as_constants():
            return model(images, training=False)

    return tf.function(predict, input_signature=[tf.TensorSpec((None, *mapper.images.shape), tf.float32)])


def _predict(compiled: Call, mapper: AuditMapper, files: list[str]) -> None:
    """Files are read by threads, two batches ahead of the model."""

    def read(path: str, into: np.ndarray, number: int) -> None:
        into[number] = mapper.images.of_photos(load_image(path, mapper.size))

    def begin(some: list[str]) -> tuple[np.ndarray, list]:
        images = np.empty((len(some), *mapper.images.shape), np.float32)
        return images, [pool.apply_async(read, (path, images, number)) for number, path in enumerate(some)]

    waiting: deque = deque()
    with ThreadPool(_THREADS) as pool:
        for start in range(0, len(files) + _AHEAD * BATCH, BATCH):
            if start < len(files):
                waiting.append(begin(files[start : start + BATCH]))
            if start >= _AHEAD * BATCH and waiting:
                images, tasks = waiting.popleft()
                for task in tasks:
                    task.get()
                compiled(images).numpy()
    if waiting:
        raise RuntimeError("Expected every batch predicted.")


def _audit(mapper: AuditMapper, samples: Samples, out: Path) -> None:
    from tf_gradcam.audit.table import PartFolder  # takes pyarrow, which the other sections do without

    shutil.rmtree(out, ignore_errors=True)
    with PartFolder(out, mapper.fingerprint(samples.digest()), len(samples)) as parts:
        run_local(mapper, samples, parts, BATCH)
        failed = [error for error in parts.read().error if error]
    if failed:
        raise RuntimeError(f"Expected every file explained, received {len(failed)} failures: {failed[0]}")
