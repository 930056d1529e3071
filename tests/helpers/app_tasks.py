"""Networks of each task that one can do in one's head, on the red and blue photo: see `redblue`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tests.helpers.redblue import BLUE_SCORE, HEIGHT, RED_SCORE, WIDTH, red_blue_model

L = keras.layers
LABELS = ["red", "blue", "green"]
UNIT = "degrees"
# Their logits are 10 * score - 1 for red and blue, -2 for green.
LOGITS = np.array([10 * RED_SCORE - 1, 10 * BLUE_SCORE - 1, -2.0])
PROBABILITIES = 1 / (1 + np.exp(-LOGITS))
VALUES = np.array([10 * RED_SCORE - 10 * BLUE_SCORE + 5, 2 * BLUE_SCORE])
PAIR_LOGIT = 4 * RED_SCORE - 4 * BLUE_SCORE
BOXES = [(0.0, 0.0, 4.0, 6.0), (4.0, 0.0, 10.0, 6.0)]  # the red half and the blue one


def _with_weights(head: Any, kernel: Any, bias: Any) -> keras.Model:
    model = red_blue_model(head)
    head.set_weights([np.array(kernel, np.float32), np.array(bias, np.float32)])
    return model


def multilabel_model() -> keras.Model:
    """Three labels: red and blue are in the photo, green is not."""
    return _with_weights(L.Dense(3, "sigmoid", name="labels"), [[10, 0, 0], [0, 10, 0]], [-1, -1, -2])


def binary_model() -> keras.Model:
    """One unit: more red than blue."""
    return _with_weights(L.Dense(1, "sigmoid", name="pair"), [[4], [-4]], [0])


def regression_model(values: int = 2) -> keras.Model:
    """Red raises the first value and blue lowers it; blue raises the second."""
    kernel = np.array([[10, 0], [-10, 2]])[:, :values]
    return _with_weights(L.Dense(values, name="values"), kernel, np.array([5, 0])[:values])


def segmentation_model() -> keras.Model:
    """Red or blue for each pixel: a U-Net whose layers hand on what `hue` sees."""
    image = keras.Input((HEIGHT, WIDTH, 3), name="image")
    hue = L.Conv2D(2, 1, activation="relu", name="hue")
    seen = hue(L.Rescaling(1 / 255, name="scale")(image))
    layers = [L.Conv2D(2, 1, activation="relu", name=name) for name in ("bottleneck", "decoder")]
    mask = L.Conv2D(2, 1, activation="softmax", name="mask")
    deep = layers[0](L.AveragePooling2D(2, name="pool")(seen))
    joined = L.Add(name="joined")([seen, L.UpSampling2D(2, name="up")(deep)])
    model = keras.Model(image, mask(layers[1](joined)), name="unet")
    hue.set_weights([np.array([[[[1, -1], [0, 0], [-1, 1]]]], np.float32), np.zeros(2)])
    for layer in (*layers, mask):
        layer.set_weights([np.eye(2, dtype=np.float32)[None, None], np.zeros(2)])
    return model


def detection_model() -> keras.Model:
    """Two boxes that never move, (x1, y1, x2, y2) in pixels: red on the left, blue on the right, by `LOGITS`."""
    trunk = red_blue_model(L.Identity(name="means"))
    sides = L.Dense(8, name="sides")
    scores = L.Dense(4, "sigmoid", name="scores")
    means = trunk.outputs[0]
    boxes = L.Reshape((2, 4), name="boxes")(sides(means))
    classes = L.Reshape((2, 2), name="classes")(scores(means))
    model = keras.Model(trunk.inputs, L.Concatenate(name="raw")([boxes, classes]), name="two_boxes")
    sides.set_weights([np.zeros((2, 8)), np.array(BOXES).ravel()])
    scores.set_weights([np.array([[10, 0, 0, 0], [0, 0, 0, 10]]), np.array([-1, -6, -6, -1])])
    return model
