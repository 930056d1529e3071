"""Tiny trained models of each task, on three coloured shapes on noise whose places are known.

A value is raised by red squares and lowered by blue discs; green bars do not count.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import keras
import numpy as np

SIZE = (48, 64)  # height, width
NAMES = ["red square", "blue disc", "green bar"]
REGIONS = ["background", *NAMES]
_COLOURS = [(230, 25, 25), (25, 25, 230), (25, 200, 25)]
_THIRD = SIZE[1] // 3  # of the width, for each shape


class Shapes(NamedTuple):
    images: np.ndarray  # (B, 48, 64, 3) uint8
    masks: np.ndarray  # (B, 48, 64) int, 0 for the background, 1 + kind for a shape

    @property
    def labels(self) -> np.ndarray:
        """(B, 3) 0 or 1, whether each kind is there."""
        return np.stack([(self.masks == 1 + kind).any((1, 2)) for kind in range(3)], 1).astype(np.int64)

    @property
    def values(self) -> np.ndarray:
        """(B,) float32, the area of red squares less that of blue discs, in hundreds of pixels."""
        red, blue = ((self.masks == 1 + kind).sum((1, 2)) for kind in (0, 1))
        return ((red - blue) / 100.0).astype(np.float32)


def shapes(count: int, seed: int, there: tuple[int, ...] | None = None) -> Shapes:
    """Draw scenes; `there` names the kinds in each of them, None for each with probability 1/2."""
    generator = np.random.default_rng(seed)
    images = generator.uniform(50, 150, (count, *SIZE, 3)).astype(np.uint8)
    masks = np.zeros((count, *SIZE), np.int64)
    down, right = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    for image, mask in zip(images, masks, strict=True):
        for kind, third in enumerate(generator.permutation(3)):
            is_there = generator.random() < 0.5 if there is None else kind in there
            side = int(generator.integers(10, 18))
            x = third * _THIRD + int(generator.integers(1, _THIRD - side))
            y = int(generator.integers(1, SIZE[0] - 1 - side))
            inside = (right >= x) & (right < x + side) & (down >= y) & (down < y + (side if kind == 0 else side // 2))
            if kind == 1:
                inside = (right - x - side / 2) ** 2 + (down - y - side / 2) ** 2 <= (side / 2) ** 2
            if is_there:
                image[inside], mask[inside] = _COLOURS[kind], 1 + kind
    return Shapes(images, masks)


def _trunk(strides: int) -> tuple[Any, Any]:
    layers = keras.layers
    image = keras.Input((*SIZE, 3), name="image")
    tensor = layers.Rescaling(1 / 255, name="scale")(image)
    tensor = layers.Conv2D(12, 3, strides, padding="same", activation="relu", name="stem")(tensor)
    return image, layers.Conv2D(24, 3, 2, padding="same", activation="relu", name="features")(tensor)


def _trained(model: keras.Model, targets: np.ndarray, loss: str, epochs: int) -> keras.Model:
    model.compile(keras.optimizers.Adam(1e-2), loss, jit_compile=False, steps_per_execution=16)
    model.fit(shapes(512, seed=1).images.astype(np.float32), targets, batch_size=32, epochs=epochs, verbose=0)
    return model


def _vector(units: int, activation: str | None, name: str) -> keras.Model:
    keras.utils.set_random_seed(3)
    image, features = _trunk(strides=2)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    return keras.Model(image, keras.layers.Dense(units, activation, name=name)(pooled), name=f"tiny_{name}")


@cache
def multilabel() -> keras.Model:
    """Three sigmoid units: which kinds are there."""
    return _trained(_vector(3, "sigmoid", "labels"), shapes(512, seed=1).labels, "binary_crossentropy", 50)


@cache
def binary() -> keras.Model:
    """One sigmoid unit: whether a red square is there."""
    return _trained(_vector(1, "sigmoid", "pair"), shapes(512, seed=1).labels[:, :1], "binary_crossentropy", 20)


@cache
def regression() -> keras.Model:
    """One value: `Shapes.values`."""
    return _trained(_vector(1, None, "area"), shapes(512, seed=1).values, "mse", 40)


@cache
def segmentation() -> keras.Model:
    """A class of each pixel: (B, 48, 64, 4) probabilities of `REGIONS`, by a small U-Net."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    image, features = _trunk(strides=1)
    stem = features._keras_history.operation.input
    deep = layers.Conv2D(24, 3, 2, padding="same", activation="relu", name="bottleneck")(features)
    up = layers.UpSampling2D(4, interpolation="bilinear", name="up")(deep)
    joined = layers.Concatenate(name="joined")([stem, up])
    fine = layers.Conv2D(12, 3, padding="same", activation="relu", name="decoder")(joined)
    model = keras.Model(image, layers.Conv2D(4, 1, activation="softmax", name="mask")(fine), name="tiny_unet")
    return _trained(model, shapes(512, seed=1).masks[..., None], "sparse_categorical_crossentropy", 6)
