"""A model of each task that one can do in one's head: each sees how red and how blue a picture is, see `redblue`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from tests.helpers.redblue import BLUE_SCORE, HEIGHT, RED_SCORE, WIDTH, red_blue_model, red_blue_photo

NAMES = ["red", "blue"]
# Red and blue as the photo of `redblue` is; all red; all blue.
IMAGES = np.stack([red_blue_photo(columns=columns) for columns in (4, 10, 0)]).astype(np.float32)
REDNESS = [RED_SCORE, 200 / 255, 0.0]
BLUENESS = [BLUE_SCORE, 0.0, 100 / 255]


def sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def with_head(units: int, activation: str | None, kernel: Any, bias: Any, size: Any = (HEIGHT, WIDTH)) -> keras.Model:
    head = layers.Dense(units, activation, name="head")
    model: keras.Model = red_blue_model(head, size=size)
    head.set_weights([np.array(kernel, np.float32), np.array(bias, np.float32)])
    return model


def of_classes() -> keras.Model:
    """A softmax of the redness and the blueness."""
    model: keras.Model = red_blue_model()
    return model


def of_labels(size: Any = (HEIGHT, WIDTH)) -> keras.Model:
    """Two sigmoid units, of ten times the redness less two and of ten times the blueness less two."""
    return with_head(2, "sigmoid", 10 * np.eye(2), [-2, -2], size)


def of_value(size: Any = (HEIGHT, WIDTH)) -> keras.Model:
    """Ten times the redness less ten times the blueness."""
    return with_head(1, None, [[10], [-10]], [0], size)


def of_pair(size: Any = (HEIGHT, WIDTH)) -> keras.Model:
    """One sigmoid unit: whether it is more red than blue."""
    return with_head(1, "sigmoid", [[10], [-10]], [0], size)


def of_logit(size: Any = (HEIGHT, WIDTH)) -> keras.Model:
    """The same unit without its sigmoid, compiled with the loss that has it."""
    model = with_head(1, None, [[10], [-10]], [0], size)
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    return model


def of_pixels() -> keras.Model:
    """Probabilities of red and of blue of each pixel, at the layer `fine`."""
    model = red_blue_model()
    fine, mask = layers.Conv2D(2, 1, name="fine"), layers.Conv2D(2, 1, activation="softmax", name="mask")
    made = keras.Model(model.inputs, mask(fine(model.get_layer("hue").output)))
    for layer in (fine, mask):
        layer.set_weights([np.eye(2, dtype=np.float32)[None, None], np.zeros(2)])
    return made


def of_boxes() -> keras.Model:
    """Raw rows (B, 2, 4 + 2): the left and the right half of the picture, as centre and size, and their two scores.

    A score is the sigmoid of eight times the redness or blueness there, less three.
    """
    model = red_blue_model()
    cells = layers.Identity(name="cells")(model.get_layer("hue").output)
    halves = layers.Reshape((2, 2))(layers.AveragePooling2D((6, 5))(cells))
    scores = layers.Activation("sigmoid")(layers.Rescaling(8.0, -3.0)(halves))
    sides = layers.Dense(8, name="sides")
    boxes = layers.Reshape((2, 4))(sides(layers.Flatten()(halves)))
    made = keras.Model(model.inputs, layers.Concatenate()([boxes, scores]))
    sides.set_weights([np.zeros((4, 8)), np.array([2.5, 3.0, 5.0, 6.0, 7.5, 3.0, 5.0, 6.0])])
    return made
