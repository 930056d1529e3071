"""A training of two stages for processes that are killed: `python resuming.py FOLDER STRATEGY PRECISION [POINT]`.

POINT is `write N` (the first of several workers alone writes), `step N` or `epoch N`, counted over the run from 1.
FOLDER has the pictures in `pictures/`, of `write_pictures`. The run is in `run/` or, of another worker, `run.NAME/`;
the weights at the end are in NAME.npz.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tests.helpers.killing import killed_at, sigkill
from training.config import Stage, TrainingConfig
from training.data.folder import read_folder
from training.loop.fit import feed, fit
from training.loop.run_folder import Run
from training.loop.strategy import is_chief, strategy_scope, worker

STAGES = (Stage("head", 2, 0, 1e-2, decay=True), Stage("last block", 2, 1, 1e-2))
TRAINING = TrainingConfig("tiny", STAGES)
NAMES = ("blue", "red")


def write_pictures(folder: Path, count: int = 16) -> Path:
    """Write noise of 6 x 10 pixels with more red in every second picture."""
    import cv2

    generator = np.random.default_rng(0)
    for number in range(count):
        photo = generator.integers(0, 128, (6, 10, 3)).astype(np.uint8)
        photo[..., 2] += 120 * (number % 2)
        path = folder / NAMES[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), photo)
    return folder


def network(dropout: float = 0.3) -> keras.Model:
    """Two blocks with batch normalisation, and a head with dropout: all kinds of variables that a training changes.

    Blocks and layers are named as those of networks are.
    """
    layers = keras.layers
    images = keras.Input((6, 10, 3))
    hidden = layers.Rescaling(1 / 127.5, -1, name="scaling")(images)
    for block in (1, 2):
        hidden = layers.Conv2D(4, 3, padding="same", use_bias=False, name=f"block{block}_conv")(hidden)
        hidden = layers.BatchNormalization(name=f"block{block}_bn")(hidden)
        hidden = layers.ReLU(name=f"block{block}_relu")(hidden)
    hidden = layers.GlobalAveragePooling2D(name="pool")(hidden)
    if dropout:
        hidden = layers.Dropout(dropout, name="dropout")(hidden)
    return keras.Model(images, layers.Dense(2, "softmax", dtype="float32", name="dense")(hidden))


class KillAt(keras.callbacks.Callback):
    """A callback that kills the process after a step, or after an epoch whose files but for the state are written."""

    def __init__(self, kind: str, number: int, kill: Any = sigkill):
        super().__init__()
        self._kind, self._left, self._kill = kind, number, kill

    def _count(self, kind: str) -> None:
        if kind == self._kind:
            self._left -= 1
            if self._left == 0:
                self._kill()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._count("step")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._count("epoch")


def learn(
    folder: Path,
    strategy: str = "none",
    precision: str = "float32",
    point: str = "",
    kill: Any = sigkill,
    features: bool = False,
) -> list[np.ndarray]:
    """Train as the process of this strategy, on from what is in its folder; return the weights at the end.

    With `features` those of the frozen layers are kept. The replicas of "mirrored" are two halves of the CPU.
    """
    if strategy == "mirrored":
        import tensorflow as tf

        halves = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
    kind, _, number = point.partition(" ")
    training = replace(TRAINING, strategy=strategy, precision=precision, cache_features=features)
    path = folder / ("run" if is_chief(strategy) else f"run.{worker(strategy)}")
    with strategy_scope(strategy):
        run = Run(path, resume=True)
        (path / "config.json").touch()
        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy(precision)
        model = network()
        keras.config.set_dtype_policy("float32")
        samples = read_folder(folder / "pictures")
        feeds = feed(samples, (6, 10), 8, seed=0), feed(samples, (6, 10), 8, seed=None)
        kept = {"pictures": (samples, samples)} if features else {}
        callbacks = [KillAt(kind, int(number or 0), kill)]
        writes = killed_at(path, int(number), kill) if kind == "write" else contextlib.nullcontext()
        with writes:
            for stage in STAGES:
                fit(model, stage, training, feeds, run, NAMES, 0, callbacks, is_chief(strategy), **kept)
        return model.get_weights()


if __name__ == "__main__":
    root, strategy, precision = Path(sys.argv[1]), *sys.argv[2:4]
    np.savez(root / f"{worker(strategy)}.npz", *learn(root, strategy, precision, *sys.argv[4:]))
