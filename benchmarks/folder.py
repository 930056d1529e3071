"""A folder of photographs by `tf-gradcam explain`, against its two stages: the files alone and the model alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np

from benchmarks.models import NETWORKS, Network
from benchmarks.pairs import Call, Spread, timed_rounds
from benchmarks.report import Table
from benchmarks.settings import Settings
from benchmarks.visits import ROOT
from tf_gradcam import Explainer, overlay_heatmap
from tf_gradcam.image import load_image, save_image

BATCH = 8
PHOTO = (480, 640)  # height, width
MOST_ROUNDS = 3
# Runs the command line and prints the peak of its memory as the last line.
_COMMAND = """
import atexit, runpy, sys
from benchmarks.visits import resident_bytes
atexit.register(lambda: print(f"peak {resident_bytes(peak=True)}"))
sys.argv = ["tf-gradcam", *sys.argv[1:]]
runpy.run_module("tf_gradcam", run_name="__main__", alter_sys=True)
"""


def run(settings: Settings) -> Iterator[Table]:
    """Yield the times on the light model, where the files count most, and the memory over many files."""
    with tempfile.TemporaryDirectory() as directory:
        yield folder(settings, settings.model_like("MobileNetV2"), Path(directory))
    with tempfile.TemporaryDirectory() as directory:
        yield memory_over_many(100 * settings.files, Path(directory))


def folder(settings: Settings, name: str, directory: Path) -> Table:
    """Time all files: each stage alone, and both together without the start of the command."""
    network = NETWORKS[name]
    photos = directory / "photos"
    paths = write_photos(photos, settings.files)
    model, single = network.model(), directory / "single"
    file = directory / "model.keras"
    model.save(file)
    single.mkdir()
    shutil.copy(paths[0], single)
    explainer = Explainer(model, network.layer, freeze=True)
    images = network.images(BATCH)
    explainer(images)
    calls: dict[str, Call] = {
        "files alone: read, resize, paint, write, by as many threads": partial(_files_alone, paths, network, directory),
        "model alone, frozen": lambda: [explainer(images[: len(part)]) for part in _parts(paths)],
        "the command with one file": partial(explain, file, single, network, directory / "out"),
        "the command": partial(explain, file, photos, network, directory / "out"),
    }
    explain(file, single, network, directory / "out")
    times = timed_rounds(calls, min(settings.rounds, MOST_ROUNDS))
    *_, start, whole = times.values()
    times["the command without its start"] = [max(b - a, 1e-9) for a, b in zip(start, whole, strict=True)]
    spreads = {one: Spread.of(seconds) for one, seconds in times.items()}
    files, alone, _, _, together = (spread.median for spread in spreads.values())
    counts = [len(paths), len(paths), 1, len(paths), len(paths)]
    rows = [
        (one, spread, f"{count / spread.median:.1f}")
        for (one, spread), count in zip(spreads.items(), counts, strict=True)
    ]
    note = (
        f"The command without its start at {max(files, alone) / together:.2f} of the speed of the slower stage, and at "
        f"{(files + alone) / together:.2f} of both one after the other: each keeps every core busy by itself. It "
        "freezes the weights from 64 files on, which is not part of its start here."
    )
    title = f"A folder of {len(paths)} JPEG files, {PHOTO[1]} x {PHOTO[0]}: {name}, batch {BATCH}"
    return Table(title, ("", "s", "files a second"), rows, note)


def memory_over_many(count: int, directory: Path) -> Table:
    """Measure the peak of the command's memory for many small files and a tiny model."""
    network = NETWORKS["Tiny"]
    file, photos = directory / "model.keras", directory / "photos"
    network.model().save(file)
    photos.mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    first = photos / "000000.png"
    save_image(first, picture)
    rows, done = [], 1
    for number in (max(1, count // 10), count):
        for index in range(done, number):
            os.link(first, photos / f"{index:06d}.png")
        done = number
        peak = explain(file, photos, network, directory / f"out{number}")
        rows.append((f"{number}", f"{peak / 2**20:.1f}"))
    return Table("Memory over many files", ("files", "peak, MiB"), rows)


def explain(model: Path, photos: Path, network: Network, out: Path) -> int:
    """Run `tf-gradcam explain` on a folder; return the peak of its memory in bytes.

    Raises:
        RuntimeError: the command failed; the last line of its errors.
    """
    shutil.rmtree(out, ignore_errors=True)
    options = ["--layer", network.layer, "--preprocess", network.preprocessing, "--batch-size", str(BATCH)]
    command = [
        sys.executable,
        "-c",
        _COMMAND,
        "explain",
        str(photos),
        "--model",
        str(model),
        *options,
        "--out",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    peak = re.search(r"^peak (\d+)$", done.stdout, re.M)
    if done.returncode or peak is None:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    return int(peak[1])


def write_photos(directory: Path, count: int) -> list[Path]:
    """Write smooth pictures with some noise: they compress and decode like photographs."""
    import cv2

    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        random = np.random.default_rng(number)
        coarse = random.integers(0, 256, size=(12, 16, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (PHOTO[1], PHOTO[0]), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        noisy = np.clip(smooth + random.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
        paths.append(directory / f"photo{number:04d}.jpg")
        save_image(paths[-1], noisy)
    return paths


def _files_alone(paths: list[Path], network: Network, directory: Path) -> None:
    """Do the work of each file with a fixed map, by as many threads as the command has."""
    heatmap = np.linspace(0, 1, 49, dtype=np.float32).reshape(7, 7)

    def one(path: Path) -> None:
        network.read(path)
        save_image(directory / f"{path.stem}.alone.png", overlay_heatmap(load_image(path), heatmap))
        np.save(directory / f"{path.stem}.alone.npy", heatmap)

    with ThreadPool(min(8, os.cpu_count() or 1)) as pool:
        pool.map(one, paths, chunksize=1)


def _parts(paths: list[Path]) -> list[list[Path]]:
    return [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
