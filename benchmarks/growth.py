"""The growth of the cost with the images of a batch, and with the number of explained classes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import keras
import numpy as np

from benchmarks.contestants import FORWARD, forward, makers
from benchmarks.models import NETWORKS
from benchmarks.pairs import Call, Pairs, compare
from benchmarks.report import Curves, Table
from benchmarks.settings import Settings
from tf_gradcam import Explainer, split_model

BATCHES = (1, 2, 4, 8, 16, 32, 64)
CLASSES = (1, 10, 100, 1000)
CLASSES_OF_ANY_HEAD = (1, 4, 16)  # each costs a pass of the tail
MOST_ROUNDS = 3


def run(settings: Settings) -> Iterator[Table | Curves]:
    """Yield the growth with batches for one model, with classes for it and for one with hidden layers in its head."""
    light, heavy = settings.model_like("MobileNetV2"), settings.model_like("VGG16")
    yield from batches(settings, light)
    for name in dict.fromkeys((light, heavy)):
        yield from classes(settings, name)


def batches(settings: Settings, name: str) -> Iterator[Table | Curves]:
    """Yield the times of F and of this package for batches of 1 to 64, up to twice the largest of the settings."""
    network = NETWORKS[name]
    model = network.model()
    names = (FORWARD, "Explainer", "Explainer(freeze=True)", "compiled split")
    sizes = [size for size in BATCHES if size <= 2 * max(settings.batches)]
    found = {size: _compare(settings, makers(model, network.images(size), network.layer, names)) for size in sizes}
    present = [one for one in names if all(one in pairs.timings for pairs in found.values())]
    per_image = (f"{pairs.timings[FORWARD].seconds.median * 1000 / size:.1f}" for size, pairs in found.items())
    table = [(FORWARD + ", ms an image", *per_image)]
    for one in present[1:]:
        table.append((one, *(f"{pairs.timings[one].ratio.median:.2f}" for pairs in found.values())))
    failures = {one: error for pairs in found.values() for one, error in pairs.failures.items()}
    note = "; ".join(f"{one} fails: {error}" for one, error in failures.items())
    yield Table(f"Growth with the batch: {name}, x F of the same batch", ("", *map(str, sizes)), table, note)
    seconds = {one: {size: pairs.timings[one].seconds.median for size, pairs in found.items()} for one in present}
    yield Curves(f"{name}: images", "images in a batch", seconds)
    keras.utils.clear_session(free_memory=True)


def classes(settings: Settings, name: str) -> Iterator[Table | Curves]:
    """Yield the times of `class_maps` for one image over the number of classes."""
    network = NETWORKS[name]
    model, images = network.model(), network.images(1)
    explainer = Explainer(model, network.layer)
    is_linear = network.has_linear_head
    total = int(model.output_shape[-1])
    counts = sorted({min(count, total) for count in (CLASSES if is_linear else CLASSES_OF_ANY_HEAD)})
    calls: dict[str, Any] = {FORWARD: partial(forward, model, images)}
    calls |= {str(count): partial(_of_classes, explainer, images, count) for count in counts}
    if not is_linear:
        calls["the tail alone"] = partial(_tail, model, network.layer, images)
    timings = _compare(settings, calls).timings
    rows = [(one, timing.seconds.scaled(1000), timing.ratio) for one, timing in timings.items()]
    note = ""
    if not is_linear:
        seconds = [timings[str(count)].seconds.median for count in (counts[0], counts[-1])]
        further = (seconds[1] - seconds[0]) / max(counts[-1] - counts[0], 1)
        note = f"A further class: {further * 1000:.1f} ms, with its gradient through the tail."
    head = "a pooled linear head" if is_linear else "a head of hidden layers"
    yield Table(f"Growth with the classes: {name}, {head}, one image", ("classes", "ms", "x F"), rows, note)
    curve = {count: timings[str(count)].seconds.median for count in counts}
    flat = dict.fromkeys(counts, timings[FORWARD].seconds.median)
    yield Curves(f"{name}: classes", "classes", {"class_maps": curve, FORWARD: flat})
    keras.utils.clear_session(free_memory=True)


def _compare(settings: Settings, calls: dict[str, Any]) -> Pairs:
    return compare(calls, min(settings.rounds, MOST_ROUNDS), seconds=settings.seconds / 2)


def _of_classes(explainer: Explainer, images: np.ndarray, count: int) -> Call:
    chosen = list(range(count))
    return lambda: explainer.class_maps(images, chosen).heatmaps


def _tail(model: keras.Model, layer: str, images: np.ndarray) -> Call:
    """Return the compiled forward pass of the tail."""
    import tensorflow as tf

    split = split_model(model, layer)
    activations = split.extractor(images)
    tail = tf.function(split.tail, autograph=False)
    return lambda: tail(activations).numpy()
