"""A folder of photographs end to end, against its two stages: the files alone and the model alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np

from benchmarks.models import NETWORKS
from benchmarks.pairs import Call, Spread, timed_rounds
from benchmarks.report import Table
from benchmarks.settings import Settings
from benchmarks.visits import resident_bytes
from tf_gradcam import Explainer, overlay_heatmap
from tf_gradcam._explain.batch import BatchExplainer
from tf_gradcam._models.preprocessing import Preprocessing
from tf_gradcam.image.io import load_image, save_image

BATCH = 8
PHOTO = (480, 640)  # height, width
MOST_ROUNDS = 3
_MODES = {"VGG16": "caffe", "ResNet50": "caffe", "MobileNetV2": "tf"}


def run(settings: Settings) -> Iterator[Table]:
    """On the light model, where the files count most."""
    with tempfile.TemporaryDirectory() as directory:
        yield folder(settings, settings.model_like("MobileNetV2"), Path(directory))
    with tempfile.TemporaryDirectory() as directory:
        yield memory_over_many(100 * settings.files, Path(directory))


def folder(settings: Settings, name: str, directory: Path) -> Table:
    """Seconds for all files: each stage alone, both together, and the memory that they leave behind."""
    network = NETWORKS[name]
    preprocessing = Preprocessing(None, _MODES.get(name, "raw"))
    paths = write_photos(directory, settings.files)
    explainer = Explainer(network.model(), network.layer, freeze=True)
    whole = BatchExplainer(explainer, preprocessing, network.size, batch_size=BATCH)
    images = network.images(BATCH)
    explainer(images)
    calls: dict[str, Call] = {
        "files alone: read, resize, paint, write, by as many threads": partial(
            _files_alone, paths, preprocessing, network.size, directory
        ),
        "model alone": lambda: [explainer(images[: len(part)]) for part in _parts(paths)],
        "end to end": partial(_run, whole, paths, directory),
    }
    _run(whole, paths, directory)
    before = resident_bytes()
    times = timed_rounds(calls, min(settings.rounds, MOST_ROUNDS))
    grown = (resident_bytes() - before) / 2**20
    spreads = {one: Spread.of(seconds) for one, seconds in times.items()}
    medians = [spread.median for spread in spreads.values()]
    rows = [(one, spread, f"{len(paths) / spread.median:.1f}") for one, spread in spreads.items()]
    count = len(times["end to end"]) * len(paths)
    note = (
        f"End to end at {max(medians[:2]) / medians[2]:.2f} of the speed of the slower stage, and at "
        f"{sum(medians[:2]) / medians[2]:.2f} of both one after the other: each keeps every core busy by itself. "
        f"Memory after {count} more files: {grown:+.0f} MiB."
    )
    title = f"A folder of {len(paths)} JPEG files, {PHOTO[1]} x {PHOTO[0]}: {name}, frozen, batch {BATCH}"
    return Table(title, ("", "s", "files a second"), rows, note)


def memory_over_many(count: int, directory: Path) -> Table:
    """What the process holds while many small files are explained by a model that is hardly there."""
    network = NETWORKS["Tiny"]
    explainer = Explainer(network.model(), network.layer, freeze=True)
    whole = BatchExplainer(explainer, Preprocessing(None, "raw"), network.size, batch_size=32)
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    path = directory / "small.png"
    save_image(path, picture)
    step = max(1, count // 5)
    rows = []
    for done, result in enumerate(whole.run([path] * count, [f"out{n % 200}" for n in range(count)], directory), 1):
        if result.row.error:
            raise RuntimeError(result.row.error)
        if done % step == 0:
            rows.append((f"{done}", f"{resident_bytes() / 2**20:.1f}"))
    return Table("Memory over many files", ("files", "resident, MiB"), rows)


def write_photos(directory: Path, count: int) -> list[Path]:
    """Smooth pictures with some noise: they compress and decode as photographs do."""
    import cv2

    paths = []
    for number in range(count):
        random = np.random.default_rng(number)
        coarse = random.integers(0, 256, size=(12, 16, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (PHOTO[1], PHOTO[0]), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        noisy = np.clip(smooth + random.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
        paths.append(directory / f"photo{number:04d}.jpg")
        save_image(paths[-1], noisy)
    return paths


def _run(whole: BatchExplainer, paths: list[Path], directory: Path) -> None:
    results = list(whole.run(paths, [f"{path.stem}.out" for path in paths], directory))
    failed = [result.row.error for result in results if result.row.error]
    if failed:
        raise RuntimeError(f"Expected every file explained, received {len(failed)} failures: {failed[0]}")


def _files_alone(paths: list[Path], preprocessing: Preprocessing, size: tuple[int, int], directory: Path) -> None:
    """What is done for each file, with a map that was there before, by the threads that a run has."""
    heatmap = np.linspace(0, 1, 49, dtype=np.float32).reshape(7, 7)

    def one(path: Path) -> None:
        preprocessing(load_image(path, size))
        save_image(directory / f"{path.stem}.alone.png", overlay_heatmap(load_image(path), heatmap))
        np.save(directory / f"{path.stem}.alone.npy", heatmap)

    with ThreadPool(min(8, os.cpu_count() or 1)) as pool:
        pool.map(one, paths, chunksize=1)


def _parts(paths: list[Path]) -> list[list[Path]]:
    return [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
