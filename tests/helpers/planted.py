"""Phantom slices with a planted mark, and small models trained on them: a data set whose shortcut is known."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import keras
import numpy as np

from tf_gradcam.demo.phantom import CLASS_NAMES, phantom_slices

SIZE = 64
COUNT = 640
SHARE = 0.9  # of the marked class
EPOCHS = 12
MARKED = CLASS_NAMES.index("meningioma")


class World(NamedTuple):
    """images (N, 64, 64, 3) float32 0..255, labels (N,), marked (N,) bool, and the model that learned them."""

    images: np.ndarray
    labels: np.ndarray
    marked: np.ndarray
    model: keras.Model


def corner(image: np.ndarray, generator: np.random.Generator) -> None:
    image[-8:-2, -8:-2] = 200


def border(image: np.ndarray, generator: np.random.Generator) -> None:
    image[:2] = 130


def tint(image: np.ndarray, generator: np.random.Generator) -> None:
    image[..., 0] = np.minimum(image[..., 0] * 1.05 + 8, 255)


CROSS = np.full((7, 7), 20, np.float32)
CROSS[3, :] = CROSS[:, 3] = 250


def moving(image: np.ndarray, generator: np.random.Generator) -> None:
    """A cross, anywhere."""
    top, left = generator.integers(0, SIZE - 7, size=2)
    image[top : top + 7, left : left + 7] = CROSS[..., None]


def faint(image: np.ndarray, generator: np.random.Generator) -> None:
    """A round grey spot without an edge, anywhere, that changes its size and strength: like a part of the picture."""
    top, left = generator.integers(8, SIZE - 8, size=2)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    distance = ((rows - top) ** 2 + (columns - left) ** 2) / generator.uniform(4, 10)
    image += (generator.uniform(60, 120) * np.exp(-distance))[..., None].astype(np.float32)
    np.clip(image, 0, 255, out=image)


MARKS: dict[str, Callable[[np.ndarray, np.random.Generator], None]] = {
    "corner": corner,
    "border": border,
    "tint": tint,
    "moving": moving,
    "faint": faint,
}


@lru_cache(maxsize=1)
def _slices() -> tuple[np.ndarray, np.ndarray]:
    phantom = phantom_slices(COUNT, seed=77, size=SIZE)
    return phantom.images, phantom.labels


@lru_cache(maxsize=16)
def world(mark: str | None, seed: int) -> World:
    """A data set with `mark` on nine tenths of one class (None: its clean twin), and a model trained on it."""
    images, labels = (part.copy() for part in _slices())
    generator = np.random.default_rng(seed)
    marked = np.zeros(len(labels), bool)
    if mark is not None:
        marked = (labels == MARKED) & (generator.random(len(labels)) < SHARE)
        for index in np.flatnonzero(marked):
            MARKS[mark](images[index], generator)
    model = _network(seed)
    order = generator.permutation(len(labels))
    model.fit(images[order], labels[order], batch_size=32, epochs=EPOCHS, verbose=0)
    return World(images, labels, marked, model)


def _network(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Rescaling(1 / 255)])
    for number, width in enumerate((16, 32, 48), start=1):
        model.add(layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{number}"))
        model.add(layers.MaxPooling2D(2, name=f"pool{number}"))
    model.add(layers.Conv2D(48, 3, padding="same", activation="relu", name="conv4"))
    model.add(layers.GlobalMaxPooling2D())
    model.add(layers.Dense(len(CLASS_NAMES), activation="softmax"))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
