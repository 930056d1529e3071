"""Tiny detectors: one trained in seconds on two coloured shapes on noise, and heads of other kinds on the same body."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

SIZE = (48, 64)  # height, width
NAMES = ["red square", "blue disc"]
STRIDES = (4, 8)
ROWS = [(SIZE[0] // stride, SIZE[1] // stride) for stride in STRIDES]
ROW_COUNT = sum(height * width for height, width in ROWS)
_LARGE = 13  # pixels, from which a shape belongs to the coarse level


class Scenes(NamedTuple):
    images: np.ndarray  # (B, 48, 64, 3) float32 in [0, 1]
    boxes: np.ndarray  # (B, 2, 4) float32, (x1, y1, x2, y2) in pixels
    classes: np.ndarray  # (B, 2) int


def scenes(count: int, seed: int, classes: tuple[int, int] | None = None) -> Scenes:
    """Two shapes on noise, one in each half; `classes` of the left and the right one, None for any."""
    generator = np.random.default_rng(seed)
    images = generator.uniform(0.2, 0.6, (count, *SIZE, 3)).astype(np.float32)
    boxes, kinds = np.zeros((count, 2, 4), np.float32), np.zeros((count, 2), int)
    down, right = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    for number in range(count):
        for half in range(2):
            side = int(generator.choice([8, 9, 10, 16, 18, 20]))
            x = int(generator.integers(half * 32 + 1, half * 32 + 31 - side))
            y = int(generator.integers(1, SIZE[0] - 1 - side))
            kind = int(generator.integers(2)) if classes is None else classes[half]
            inside = (right >= x) & (right < x + side) & (down >= y) & (down < y + side)
            if kind == 1:
                inside = (right - x - side / 2) ** 2 + (down - y - side / 2) ** 2 <= (side / 2) ** 2
            images[number][inside] = [(0.9, 0.1, 0.1), (0.1, 0.1, 0.9)][kind]
            boxes[number, half], kinds[number, half] = (x, y, x + side, y + side), kind
    return Scenes(images, boxes, kinds)


def centres() -> np.ndarray:
    """The middle (x, y) of the cell of each row and its stride, (N, 3)."""
    parts = []
    for stride, (height, width) in zip(STRIDES, ROWS, strict=True):
        y, x = np.mgrid[:height, :width]
        parts.append(np.stack([(x + 0.5) * stride, (y + 0.5) * stride, np.full_like(x, stride)], -1).reshape(-1, 3))
    return np.concatenate(parts).astype(np.float32)


@keras.saving.register_keras_serializable("tests")
class Boxes(keras.layers.Layer):
    """Four numbers of each row as (x, y, width, height) in pixels."""

    def call(self, values: Any) -> Any:
        cells = keras.ops.convert_to_tensor(centres())
        middle = cells[:, :2] + values[..., :2] * cells[:, 2:]
        return keras.ops.concatenate([middle, keras.ops.exp(values[..., 2:]) * cells[:, 2:]], axis=-1)


def features() -> tuple[Any, Any, Any]:
    """The parts of the body: image, boxes (B, N, 4) and logits (B, N, K), of a pyramid of two levels."""
    layers = keras.layers
    image = keras.Input((*SIZE, 3), name="image")

    def convolved(tensor: Any, filters: int, strides: int, name: str) -> Any:
        return layers.Conv2D(filters, 3, strides, padding="same", activation="relu", name=name)(tensor)

    fine = convolved(convolved(image, 12, 2, "stem"), 16, 2, "stage2")
    coarse = convolved(fine, 24, 2, "stage3")
    coarse = convolved(coarse, 24, 1, "level3")
    up = layers.UpSampling2D(name="up")(layers.Conv2D(16, 1, name="narrow")(coarse))
    fine = layers.Add(name="merged")([fine, up])
    fine = convolved(fine, 24, 1, "level2")
    boxes, logits = [], []
    for number, level in enumerate((fine, coarse), start=2):
        box = layers.Conv2D(4, 1, name=f"box{number}")(level)
        boxes.append(layers.Reshape((-1, 4), name=f"boxes{number}")(box))
        score = layers.Conv2D(len(NAMES), 1, bias_initializer=keras.initializers.Constant(-3.0), name=f"class{number}")
        logits.append(layers.Reshape((-1, len(NAMES)), name=f"classes{number}")(score(level)))
    merge = layers.Concatenate(axis=1, name="rows")
    return image, Boxes(name="boxes")(merge(boxes)), layers.Concatenate(axis=1, name="logits")(logits)


LEVELS = ["level3", "level2"]  # in the order of execution


def targets_of(data: Scenes) -> np.ndarray:
    """The wanted raw rows and where there is a shape, (B, N, 4 + K + 1)."""
    cells = centres()
    wanted = np.zeros((len(data.images), ROW_COUNT, 5 + len(NAMES)), np.float32)
    for number, (boxes, kinds) in enumerate(zip(data.boxes, data.classes, strict=True)):
        for (x1, y1, x2, y2), kind in zip(boxes, kinds, strict=True):
            stride = STRIDES[int(x2 - x1 >= _LARGE)]
            far = np.abs(cells[:, :2] - [(x1 + x2) / 2, (y1 + y2) / 2]).max(-1) + 1000 * (cells[:, 2] != stride)
            row = wanted[number, far.argmin()]
            row[:4] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
            row[4 + kind] = row[-1] = 1
    return wanted


def _loss(wanted: Any, rows: Any) -> Any:
    there = wanted[..., -1]
    scores = tf.clip_by_value(rows[..., 4:], 1e-6, 1 - 1e-6)
    labels = wanted[..., 4:-1]
    entropy = -(8 * labels * tf.math.log(scores) + (1 - labels) * tf.math.log(1 - scores))
    distance = tf.reduce_sum(tf.abs(rows[..., :4] - wanted[..., :4]), axis=-1) / 8
    return tf.reduce_sum(tf.reduce_sum(entropy, -1) + there * distance, -1)


@cache
def trained() -> keras.Model:
    """A detector with raw outputs (B, N, 4 + K): (x, y, width, height) in pixels, and probabilities."""
    keras.utils.set_random_seed(3)
    image, boxes, logits = features()
    scores = keras.layers.Activation("sigmoid", name="scores")(logits)
    model = keras.Model(image, keras.layers.Concatenate(name="raw")([boxes, scores]), name="tiny_detector")
    data = scenes(512, seed=1)
    model.compile(keras.optimizers.Adam(6e-3), _loss, jit_compile=False, steps_per_execution=16)
    model.fit(data.images, targets_of(data), batch_size=32, epochs=18, verbose=0)
    return model
