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
