"""The model that the tests of probing rules ask, the same model called by hand, and a shortcut through the pass.

6 x 10 pixels, 3 x 5 cells, 4 channels: small, and no two sides alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers

from tests.zoo.styles import chain, dense, pool, randomise
from tf_gradcam import split_model
from tf_gradcam._explain.probing import ProbingPass
from tf_gradcam._results.explanation import MapArrays
from tf_gradcam._rules import probing as perturbation

RULES = {name: rule for name, rule in vars(perturbation).items() if getattr(rule, "needs", None) == "probing"}
OPTIONS: dict[str, dict[str, Any]] = {
    "faster_scorecam": {"channels": 2},
    "sscam": {"samples": 3, "noise": 0.5, "seed": 4},
    "iscam": {"steps": 3},
}
CHANNELS = 4
CLASSES = 3
IMAGES = np.random.default_rng(3).normal(0.2, 1.0, (3, 6, 10, 3)).astype(np.float32)


def configured(name: str) -> Callable[..., np.ndarray]:
    """The rule with parameters small enough for a twin."""
    return partial(RULES[name], **OPTIONS.get(name, {}))


def explain(
    model: keras.Model,
    layer: Any,
    rule: Any,
    images: Any = IMAGES,
    classes: Any = None,
    target: Any = None,
    progress: Any = None,
) -> MapArrays:
    """What the pass returns; `classes` None for each image's top class."""
    split = split_model(model, layer)
    arrays = split.inputs.flatten(images)
    indices = np.array([-1] * len(arrays[0]) if classes is None else classes, np.int32)
    return ProbingPass(split, target, rule)(arrays, indices, progress)


@dataclass
class Case:
    model: keras.Model
    front: Callable[[Any], Any]  # images -> activations
    back: Callable[[Any], Any]  # activations -> scores before the softmax

    def explain(self, rule: Any, images: Any = IMAGES, **options: Any) -> MapArrays:
        return explain(self.model, "conv2", rule, images, **options)


def small_case(activation: str = "relu") -> Case:
    conv1 = layers.Conv2D(5, 3, strides=2, padding="same", activation="relu", name="conv1")
    conv2 = layers.Conv2D(CHANNELS, 3, padding="same", activation=activation, name="conv2")
    conv3 = layers.Conv2D(5, 3, padding="same", activation="relu", name="conv3")
    head = layers.Dense(CLASSES, activation="softmax", name="head")
    images = keras.Input((6, 10, 3))
    model = keras.Model(images, chain(conv1, conv2, conv3, layers.GlobalAveragePooling2D(), head)(images))
    randomise(model, seed=12)
    # Scores of mean 0 and deviation 2 over the images, for each class: so the images differ in their top class.
    features = pool(chain(conv1, conv2, conv3)(IMAGES)).numpy()
    kernel = 2.0 * head.kernel.numpy() / (features @ head.kernel.numpy()).std(axis=0)
    head.set_weights([kernel, -(features @ kernel).mean(axis=0)])
    return Case(model, chain(conv1, conv2), lambda activations: dense(head, pool(conv3(activations))))


def assert_close(actual: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Equal to within `tolerance` of the largest expected value, which is not zero."""
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(actual, expected, rtol=0.0, atol=tolerance * scale)
