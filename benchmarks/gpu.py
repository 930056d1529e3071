"""Cost of a training on this machine: its input pipeline alone, its step at each precision, Grad-CAM.

    python -m benchmarks.gpu --out gpu.md
    python -m benchmarks.gpu --backbone MobileNet --size 96 --batch 8 --steps 3 --photos 64    # a CPU
    KERAS_BACKEND=jax python -m benchmarks.gpu                                                # without Grad-CAM

Made for a rented machine with a GPU; it runs on a CPU too, where 16 bits are very slow (`--precisions float32`
leaves them out). The pipeline must deliver more images a second than the step takes. Without --data it reads generated
photographs (JPEG, 640 x 480).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from benchmarks import machine
from benchmarks.report import Report, Table
from tf_gradcam.image import load_image, save_image
from training.data.folder import Samples, in_threads, read_folder
from training.data.pipeline import Order, augmentation, batches
from training.model.classifier import PRECISIONS, build_classifier

COLUMNS = ("part", "setting", "images/s", "relative")
Row = tuple[str, str, str, str]


def write_photographs(folder: Path, count: int, size: tuple[int, int] = (480, 640)) -> Path:
    """Write smooth random photographs as JPEG, half of them in each of two class folders."""
    import cv2

    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = generator.integers(0, 256, (15, 20, 3), np.uint8)
        photo = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
        noise = generator.integers(0, 24, photo.shape, np.uint8)
        path = folder / f"class_{number % 2}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(path, photo // 2 + noise)
    return folder


def pipeline_rows(samples: Samples, size: int, batch: int) -> Iterator[Row]:
    """Measure decoding in one thread and in many, then the pipeline of the trainings: from files, and from memory.

    Beside the images a second: for each second of a core, which other work on the machine does not change.
    """
    square, cores = (size, size), machine.cores()

    def row(setting: str, call: Callable[[], Any]) -> Row:
        call()  # reads the files into the system's cache, traces, lets tf.data find its number of parallel calls
        before = time.process_time()
        seconds = _seconds(call)
        busy = time.process_time() - before
        return "input", setting, f"{len(samples) / seconds:.0f}", f"{len(samples) / busy:.0f} a second of a core"

    def load(file: Path) -> np.ndarray:
        return load_image(file, square)

    yield row("decode and resize, 1 thread", lambda: [load(file) for file in samples.files])
    yield row(f"decode and resize, {cores} threads", lambda: list(in_threads(load, samples.files)))
    for setting, cache in (("each epoch from files", False), ("decoded photos cached", True)):
        dataset = batches(samples, square, batch, Order(len(samples), 0), cache=cache)
        yield row(f"pipeline, {setting}", partial(_drain, dataset))
    changed: Any = augmentation(0)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        changed = tf.function(changed, autograph=False)
    photos = keras.ops.zeros((batch, *square, 3))
    keras.ops.convert_to_numpy(changed(photos, training=True))
    calls = 5
    seconds = _seconds(lambda: [keras.ops.convert_to_numpy(changed(photos, training=True)) for _ in range(calls)])
    rate = batch * calls / seconds
    yield "input", f"augmentation alone, on the device, batch {batch}", f"{rate:.0f}", "a part of the step below"


def step_rows(
    backbone: str, size: int, batch: int, steps: int, precisions: Sequence[str] = PRECISIONS
) -> Iterator[Row]:
    """Measure the training step with all blocks trained, at each precision; the ratio is to the first."""
    generator = np.random.default_rng(0)
    photos = generator.uniform(0, 255, (batch, size, size, 3)).astype(np.float32)
    labels = generator.integers(0, 4, batch).astype(np.int32)
    first = None
    for precision in precisions:
        model = build_classifier(backbone, 4, (size, size), "none", precision=precision)
        images = keras.Input(model.input_shape[1:], dtype="float32")
        trainer = keras.Model(images, model(augmentation(0)(images)))
        optimizer: Any = keras.optimizers.Adam(1e-4)
        if precision == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        trainer.compile(optimizer, "sparse_categorical_crossentropy")
        for _ in range(2):  # traces and compiles
            trainer.train_on_batch(photos, labels)
        started = time.perf_counter()
        for _ in range(steps):
            trainer.train_on_batch(photos, labels)
        rate = batch * steps / (time.perf_counter() - started)
        first = first or rate
        yield "training step", f"{precision}, batch {batch}", f"{rate:.1f}", f"{rate / first:.2f} x {precisions[0]}"
        keras.utils.clear_session(free_memory=True)


def gradcam_rows(backbone: str, size: int, batch: int, steps: int) -> Iterator[Row]:
    """Measure prediction and Grad-CAM together, relative to the prediction alone (F); less is faster."""
    if keras.backend.backend() != "tensorflow":
        yield "Grad-CAM", f"not run: it needs TensorFlow, and Keras runs on {keras.backend.backend()}", "", ""
        return
    from benchmarks.contestants import FORWARD, makers
    from benchmarks.pairs import compare
    from tf_gradcam import Explainer

    model = build_classifier(backbone, 4, (size, size), "none")
    photos = np.random.default_rng(0).uniform(0, 255, (batch, size, size, 3)).astype(np.float32)
    names = (FORWARD, "Explainer", "Explainer(freeze=True)")
    pairs = compare(makers(model, photos, Explainer(model).layer_name, names), max(3, steps))
    for name, timing in pairs.timings.items():
        yield "Grad-CAM", f"{name}, batch {batch}", f"{batch / timing.seconds.median:.1f}", f"{timing.ratio} x F's time"
    for name, error in pairs.failures.items():
        yield "Grad-CAM", name, "fails", str(error)


def main(words: Sequence[str] | None = None) -> int:
    """Measure all parts; print and write one table. Return the exit code."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with a folder of photographs for each class")
    parser.add_argument("--photos", type=int, default=2048, help="number of photographs; the largest number of --data")
    parser.add_argument("--backbone", default="EfficientNetV2S", help="network of keras.applications")
    parser.add_argument("--size", type=int, default=384, help="pixels")
    parser.add_argument("--batch", type=int, default=32, help="images at a time")
    parser.add_argument("--steps", type=int, default=20, help="measured training steps and rounds of Grad-CAM")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="of the training step")
    parser.add_argument("--out", type=Path, help="file for the table, as Markdown")
    options = parser.parse_args(words)
    for name in ("photos", "size", "batch", "steps"):
        if getattr(options, name) < (2 if name == "photos" else 1):
            parser.error(f"--{name} is too small: {getattr(options, name)}")

    report = Report(sys.stdout, options.out)
    report.add(f"{machine.describe()}; Keras on {keras.backend.backend()}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or write_photographs(Path(folder), options.photos)
        samples = read_folder(data, options.photos)
        for part in (
            pipeline_rows(samples, options.size, options.batch),
            step_rows(options.backbone, options.size, options.batch, options.steps, options.precisions),
            gradcam_rows(options.backbone, options.size, options.batch, options.steps),
        ):
            for row in part:
                rows.append(row)
                print("; ".join(cell for cell in row if cell), file=sys.stderr, flush=True)
    note = "A pipeline slower than the step leaves the device waiting: cache, or use more cores."
    report.add(Table(f"{options.backbone} at {options.size} px, {len(samples)} photographs", COLUMNS, rows, note))
    return 0


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _drain(dataset: Any) -> None:
    for _ in dataset:
        pass


if __name__ == "__main__":
    sys.exit(main())
