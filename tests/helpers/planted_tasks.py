"""Scenes of several labels, or of a value, with a planted mark: data sets whose shortcut is known.

A scene is noise with up to three things, each of another place, size, colour and pattern in every image: a soft red
ball, stripes, a dark ring. The labels are which of them are there; the value is the area of a ball that is always
there, in hundreds of pixels, and something that the picture does not show.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import keras
import numpy as np

SIZE = (48, 64)
LABELS = ["ball", "stripes", "ring"]
MARKED = 1  # the label whose images carry the mark
COUNT, SHARE = 640, 0.9
_UNSEEN = 0.9  # standard deviation of the part of the value that only the mark tells of


class TaskWorld(NamedTuple):
    """images (N, 48, 64, 3) float32 0..255, truth (N, 3) or (N,), marked (N,) bool, and the model that learned them."""

    images: np.ndarray
    truth: np.ndarray
    marked: np.ndarray
    model: keras.Model


def _plant(image: np.ndarray) -> None:
    image[-8:-2, -8:-2] = (250, 230, 40)


def scenes(count: int, seed: int, share: tuple[float, ...] = (0.5, 0.5, 0.5)) -> tuple[np.ndarray, ...]:
    """Return images, labels (N, 3) of 0 and 1, with these shares of 1, and areas of the ball (N,)."""
    generator = np.random.default_rng(seed)
    images = generator.normal(generator.uniform(60, 140, (count, 1, 1, 1)), 12, (count, *SIZE, 3)).astype(np.float32)
    labels = (generator.random((count, 3)) < share).astype(np.int64)
    areas = np.zeros(count, np.float32)
    down, right = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    for number, image in enumerate(images):
        for kind in np.flatnonzero(labels[number]):
            radius = generator.uniform(4, 12) if kind == 0 else generator.uniform(5, 11)
            y, x = generator.uniform(8, SIZE[0] - 8), generator.uniform(8, SIZE[1] - 8)
            distance = np.hypot(down - y, right - x)
            tone = generator.uniform(50, 110, 3)
            if kind == 0:
                image += (np.clip(1.3 - distance / radius, 0, 1) ** 0.5)[..., None] * tone * (1, -0.4, -0.4)
                areas[number] = np.pi * radius**2 / 100
            elif kind == 1:
                angle, period = generator.uniform(-0.5, 0.5), generator.uniform(3, 5)
                wave = np.sin(2 * np.pi * (right + angle * down) / period + generator.uniform(0, 6))
                image += (wave * (distance < radius))[..., None] * tone
            else:
                image -= np.exp(-(((distance - radius * 0.8) / 1.5) ** 2))[..., None] * tone
    return np.clip(images, 0, 255), labels, areas


@lru_cache(maxsize=4)
def labels_world(is_marked: bool, seed: int = 0) -> TaskWorld:
    """Three labels; nine tenths of the images with stripes carry the mark."""
    images, labels, _ = scenes(COUNT, 50 + seed)
    marked = _marked(images, labels[:, MARKED] == 1, is_marked, seed)
    return TaskWorld(images, labels, marked, _trained(images, labels, 3, "sigmoid", "binary_crossentropy", seed))


@lru_cache(maxsize=4)
def values_world(is_marked: bool, seed: int = 0) -> TaskWorld:
    """A value of which the picture shows only a part; nine tenths of the images of the upper third carry the mark."""
    images, _, areas = scenes(COUNT, 50 + seed, (1.0, 0.3, 0.0))
    values = areas + np.random.default_rng(seed).normal(0, _UNSEEN, len(areas)).astype(np.float32)
    marked = _marked(images, values >= np.quantile(values, 2 / 3), is_marked, seed)
    return TaskWorld(images, values, marked, _trained(images, values, 1, None, "mse", seed))


def _marked(images: np.ndarray, may_be: np.ndarray, is_marked: bool, seed: int) -> np.ndarray:
    marked = may_be & (np.random.default_rng(seed).random(len(images)) < SHARE) & is_marked
    for number in np.flatnonzero(marked):
        _plant(images[number])
    return marked


def _trained(
    images: np.ndarray, truth: np.ndarray, units: int, activation: str | None, loss: str, seed: int
) -> keras.Model:
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential([keras.Input((*SIZE, 3)), layers.Rescaling(1 / 255)])
    for number, width in enumerate((16, 24, 32), start=1):
        model.add(layers.Conv2D(width, 3, padding="same", name=f"conv{number}"))
        if activation is None:  # of values, which few steps learn otherwise
            model.add(layers.BatchNormalization(momentum=0.8))
        model.add(layers.ReLU())
        model.add(layers.MaxPooling2D(2, name=f"pool{number}"))
    model.add(layers.Conv2D(32, 3, padding="same", activation="relu", name="conv4"))
    model.add(layers.GlobalMaxPooling2D() if activation else layers.GlobalAveragePooling2D())
    model.add(layers.Dense(units, activation=activation))
    model.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=False, steps_per_execution=10)
    model.fit(images, truth.astype(np.float32), batch_size=32, epochs=15, verbose=0)
    return model
