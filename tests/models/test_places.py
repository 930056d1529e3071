"""Places of cells: by probes where arithmetic does not know, and drawn within a pixel of what is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tf_gradcam import Explainer, split_model
from tf_gradcam._models.places import Cells, probe

SIZE = (40, 48)


class Hidden(layers.Layer):
    """A function that arithmetic cannot see into."""

    def __init__(self, function: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.function, self.shape = function, shape

    def call(self, images: Any) -> Any:
        result = tf.numpy_function(lambda x: self.function(x).astype(np.float32), [images], tf.float32)
        return tf.ensure_shape(result, (None, *self.shape))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (None, *self.shape)


def probed(function: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]) -> Cells | str | None:
    images = keras.Input((*SIZE, 3))
    cells = Hidden(function, shape)(images)
    model = keras.Model(images, layers.Dense(2)(layers.Flatten()(cells)))
    split = split_model(model, model.layers[1])
    return probe(split.extract_unseen, split.inputs)


def pooled(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), 10, 4, 12, 4, 3).mean(axis=(2, 4))


def test_probes_see_places_through_global_mixing() -> None:
    """A tenth of the mean of all cells is added to each, as attention does."""
    found = probed(lambda x: pooled(x) + 0.1 * pooled(x).mean(axis=(1, 2), keepdims=True), (10, 12, 3))
    assert isinstance(found, Cells)
    assert [(axis.source, axis.step, axis.at(0)) for axis in found.axes if axis] == [((0, 1), 4, 2), ((0, 2), 4, 2)]


def test_probes_see_turned_axes() -> None:
    found = probed(lambda x: pooled(x).transpose(0, 2, 1, 3), (12, 10, 3))
    assert isinstance(found, Cells)
    assert found.sources == [(0, 2), (0, 1)]


def test_probes_see_a_small_crop() -> None:
    """Two fifths of the picture: most spots move nothing. Rows 10 to 33 in cells of 4, columns 16 to 47 too."""
    found = probed(lambda x: x[:, 10:34, 16:48].reshape(len(x), 6, 4, 8, 4, 3).mean(axis=(2, 4)), (6, 8, 3))
    assert isinstance(found, Cells)
    for axis, start in zip(found.axes, (12, 18), strict=True):
        assert axis is not None
        np.testing.assert_allclose((axis.step, axis.at(0)), (4, start), atol=1)


def test_probes_refuse_what_follows_no_place() -> None:
    mixing = np.random.default_rng(0).normal(size=(40 * 48, 6 * 7))
    found = probed(lambda x: np.einsum("bnc,nm->bmc", x.reshape(len(x), -1, 3), mixing).reshape(-1, 6, 7, 3), (6, 7, 3))
    assert found == "the cells of its axis 1 do not follow places in the picture"


def test_dead_layers_are_undecided() -> None:
    assert probed(lambda x: 0 * pooled(x), (10, 12, 3)) is None


STACKS: dict[str, Callable[[], list[Any]]] = {
    "valid": lambda: [layers.Conv2D(1, 3, 2), layers.Conv2D(1, 3)],
    "crop": lambda: [layers.Cropping2D(((8, 2), (0, 12))), layers.Conv2D(1, 3, padding="same")],
    "centre crop": lambda: [layers.CenterCrop(24, 24), layers.AveragePooling2D(2)],
    "pad": lambda: [layers.ZeroPadding2D(((8, 0), (0, 16))), layers.AveragePooling2D(2), layers.Conv2D(1, 1)],
    "resize": lambda: [layers.Resizing(20, 20), layers.Conv2D(1, 3, padding="same")],
    "permute": lambda: [layers.Permute((2, 1, 3)), layers.AveragePooling2D(2), layers.Conv2D(1, 1)],
    "row left over": lambda: [layers.Cropping2D(((0, 1), (0, 1))), layers.AveragePooling2D(4), layers.Conv2D(1, 1)],
}


@pytest.mark.parametrize("name", STACKS)
def test_heat_of_a_dot_is_where_the_dot_is(name: str) -> None:
    """One bright square; all kernels are positive, so the map's centroid is the dot's, within a pixel of bias."""
    model = keras.Sequential(
        [keras.Input((*SIZE, 1)), *STACKS[name](), layers.GlobalAveragePooling2D(), layers.Dense(1)]
    )
    for weight in model.weights:
        weight.assign(np.full(weight.shape, 1.0 if len(weight.shape) > 1 else 0.0))
    corners = [(row, column) for row in range(12, 20) for column in range(16, 24)]
    pictures = np.zeros((len(corners), *SIZE, 1), np.float32)
    for picture, (row, column) in zip(pictures, corners, strict=True):
        picture[row : row + 4, column : column + 4] = 1
    explanation = Explainer(model, len(model.layers) - 3)(pictures, lambda outputs: outputs[:, 0])
    maps = explanation.resized()
    rows, columns = (np.arange(side) + 0.5 for side in SIZE)
    centroids = np.stack([maps.sum(axis=2) @ rows, maps.sum(axis=1) @ columns], axis=1)
    centroids /= maps.sum(axis=(1, 2))[:, None]
    np.testing.assert_allclose((centroids - np.array(corners) - 2).mean(axis=0), (0, 0), atol=1)
