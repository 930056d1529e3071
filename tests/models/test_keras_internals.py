"""Layers called in a graph as Keras calls them eagerly."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.helpers.slow import first
from tf_gradcam import Explainer
from tf_gradcam.targets import Element


@pytest.mark.parametrize(
    ("interpolation", "policy"),
    first(1, [("bilinear", "float32"), ("bilinear", "mixed_float16"), ("bicubic", "float32"), ("nearest", "float32")]),
)
def test_upsampling_of_a_free_size_is_that_of_a_fixed_one(interpolation: str, policy: str) -> None:
    def build(size: tuple[int | None, int | None]) -> keras.Model:
        keras.utils.set_random_seed(1)
        images = keras.Input((*size, 3))
        cells = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="cells", dtype=policy)(images)
        larger = keras.layers.UpSampling2D((2, 3), interpolation=interpolation, dtype=policy)(cells)
        return keras.Model(images, keras.layers.Conv2D(2, 1, dtype="float32")(larger))

    images = np.random.default_rng(0).random((2, 6, 10, 3), np.float32)
    free, fixed = (Explainer(build(size), "cells")(images, Element(3, 4, 1)) for size in ((None, None), (6, 10)))
    largest, rounding = np.abs(free.raw).max(), 2.0**-10 if "16" in policy else 1e-6
    assert largest > 1e-4
    np.testing.assert_allclose(free.raw / largest, fixed.raw / largest, atol=4 * rounding)
    np.testing.assert_allclose(free.outputs, fixed.outputs, atol=4 * rounding)
    np.testing.assert_allclose(free.outputs, build((None, None)).predict(images, verbose=0), rtol=1e-2, atol=1e-3)


@keras.saving.register_keras_serializable("tests")
class Resized(keras.layers.Layer):
    """Resizes, then normalises; its `call` takes no `training`, and Resizing is called with it by default."""

    def __init__(self, **options: object):
        super().__init__(**options)
        self.resizing, self.norm = keras.layers.Resizing(6, 10), keras.layers.BatchNormalization()

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        return self.norm(self.resizing(images))


def test_layers_inside_a_layer_that_takes_no_training_infer_too() -> None:
    images = keras.Input((8, 12, 3))
    cells = keras.layers.Conv2D(4, 3, padding="same", name="cells")(images)
    model = keras.Model(images, keras.layers.Flatten()(keras.layers.Conv2D(2, 6)(Resized()(cells))))
    pictures = np.random.default_rng(0).random((2, 8, 12, 3), np.float32)
    explanation = Explainer(model, "cells")(pictures, Element(1))
    np.testing.assert_allclose(explanation.outputs, model.predict(pictures, verbose=0), rtol=1e-4, atol=1e-5)
