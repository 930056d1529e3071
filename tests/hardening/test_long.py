"""Long runs: memory stays flat, and no thread, file handle, model or graph is left behind.

The suite runs a short version of each;
`pytest -m soak -s tests/hardening/test_long.py` the long one, and prints the slopes.
"""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

import tf_gradcam as tg
from tests.helpers.redblue import red_blue_model
from tf_gradcam.callbacks import GradCAMCallback

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read as Linux tells it")

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 6, 10, 3)).astype("float32")


def megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def graphs() -> int:
    """Graphs of TensorFlow that are alive."""
    gc.collect()
    return sum(type(one).__name__ == "FuncGraph" for one in gc.get_objects())


def slope(measured: np.ndarray) -> float:
    """KiB a step, of rows (step, MiB)."""
    return 1024 * float(np.polyfit(measured[:, 0], measured[:, 1], 1)[0]) if len(measured) > 1 else 0.0


class Watch:
    """Runs something again and again, and tells what grows: the slope of the second half, where caches are full."""

    def __init__(self, step: Callable[[int], object], count: int, every: int):
        step(0)
        gc.collect()
        self.handles, self.threads = handles(), threading.active_count()
        measured = []
        for number in range(1, count + 1):
            step(number)
            if number % every == 0:
                gc.collect()
                measured.append((number, megabytes()))
        half = np.array(measured[len(measured) // 2 :])
        self.slope = slope(half)
        self.grown = measured[-1][1] - measured[0][1]  # MiB
        self.more_handles = handles() - self.handles
        self.more_threads = threading.active_count() - self.threads

    def check(self, most_kilobytes: float, most_megabytes: float) -> None:
        print(f"\n{self.slope:+.2f} KiB a step, {self.grown:+.1f} MiB in all", end="")
        assert self.more_handles <= 0
        assert self.more_threads <= 0
        assert self.slope < most_kilobytes or self.grown < 1
        assert self.grown < most_megabytes


def call_again(count: int) -> Watch:
    """Batches of every size, targets of every kind, and what results are read for."""
    explainer = tg.Explainer(red_blue_model(), class_names=["red", "blue"])
    names = (None, 0, "blue")

    def step(number: int) -> None:
        explanation = explainer(IMAGES[: 1 + number % 2], names[number % 3])
        explanation.resized((12, 20))
        assert explanation.diagnosis

    watch = Watch(step, count, max(1, count // 10))
    assert explainer.trace_count == 1
    return watch


def build_and_drop(count: int) -> Watch:
    """Explainers of a model that stays, and of models that go as well."""
    model, dropped = red_blue_model(), []

    def step(number: int) -> None:
        own = model if number % 2 else red_blue_model()
        explainer = tg.Explainer(own, freeze=number % 3 == 0)
        explainer(IMAGES)
        dropped.append(weakref.ref(explainer))
        if own is not model:
            dropped.append(weakref.ref(own))
            del explainer, own
            keras.backend.clear_session()

    step(0)
    before = graphs()
    watch = Watch(step, count, max(1, count // 5))
    assert graphs() - before <= 2
    assert not [one for one in dropped if one() is not None]
    return watch


def train(epochs: int, folder: Path) -> Watch:
    """One picture an epoch, on the disk and for TensorBoard."""
    model = red_blue_model()
    model.compile("sgd", "sparse_categorical_crossentropy")
    labels = np.array([0, 1])

    class Steps(keras.callbacks.Callback):
        """An epoch is a step."""

        def __init__(self) -> None:
            super().__init__()
            self.measured: list[tuple[int, float]] = []

        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            gc.collect()
            self.measured.append((epoch, megabytes()))

    steps = Steps()

    def fit(number: int) -> None:
        pictures = GradCAMCallback(IMAGES, folder / "pictures", labels, log_dir=folder / "logs")
        model.fit(IMAGES, labels, epochs=epochs if number else 1, verbose=0, callbacks=[pictures, steps])
        assert pictures.missing == []

    watch = Watch(fit, 1, 1)
    half = np.array(steps.measured[len(steps.measured) // 2 :])
    watch.slope = slope(half)
    watch.grown = float(half[-1, 1] - half[0, 1])
    assert len(list((folder / "pictures").iterdir())) == epochs + 1
    return watch


# How much a step may keep: nothing, but the allocator returns memory to the system when it likes. What was measured is
# a tenth of these; one leaked map, graph or picture a step would be above each.
@pytest.mark.slow
def test_calls_leave_nothing() -> None:
    call_again(200).check(most_kilobytes=30, most_megabytes=8)


@pytest.mark.soak
def test_5000_calls_leave_nothing() -> None:
    call_again(5000).check(most_kilobytes=1, most_megabytes=10)


@pytest.mark.soak
def test_200_explainers_that_are_dropped_leave_nothing() -> None:
    build_and_drop(200).check(most_kilobytes=300, most_megabytes=60)


@pytest.mark.soak
def test_50_epochs_with_pictures_leave_nothing(tmp_path: Path) -> None:
    train(50, tmp_path).check(most_kilobytes=300, most_megabytes=30)
