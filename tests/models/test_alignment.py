"""Where cells look, measured on networks with constant positive kernels, where theory is exact.

With j the product of the strides before a layer of kernel k, stride s and p pixels of padding above and on the left,
the layer shifts the centre of a cell by j * ((k - s) / 2 - p) pixels down and right. TensorFlow's 'same' padding of
k = 3 and s = 2 on an even size pads below and on the right alone: p = 0. All channels and kernel entries are equal, so
the gradient is symmetrical about the centre, and so is its energy, where the border does not cut what a cell sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.zoo.styles import photos, plain_model, two_inputs_list
from tf_gradcam import Explainer, list_layers, split_model
from tf_gradcam._models.alignment import measure_places
from tf_gradcam.image.resize import resize_heatmaps


def measure_offset(*arguments: Any, **options: Any) -> tuple[float, ...]:
    return measure_places(*arguments, **options)[0]


SIZE = (224, 160)  # even after five halvings: 7 x 5 cells
LARGE = (320, 288)  # 10 x 9 cells, for those that see some 200 pixels each way
PIXEL = 1.0


def conv(stride: Any = 1, kernel: int = 3, padding: str = "same") -> layers.Layer:
    """One channel, since equal ones of opposite sign would cancel; entries of 1 / k^2 keep the values of order one."""
    entries = keras.initializers.Constant(1 / kernel**2)
    return layers.Conv2D(
        1, kernel, strides=stride, padding=padding, activation="relu", kernel_initializer=entries, use_bias=False
    )


def pad(above: int, below: int, left: int, right: int) -> layers.Layer:
    return layers.ZeroPadding2D(((above, below), (left, right)))


def network(*stack: layers.Layer, size: Sequence[int | None] = SIZE, dtype: str = "float32") -> keras.Model:
    """The stack, then a head that hangs on its last layer."""
    head = [layers.GlobalAveragePooling2D(), layers.Dense(2)]
    return keras.Sequential([keras.Input((*size, 3), dtype=dtype), *stack, *head])


def measured(*stack: layers.Layer, **options: Any) -> tuple[float, float]:
    return measure_offset(split_model(network(*stack, **options), len(stack) - 1))


def repeated(count: int, *block: Callable[[], layers.Layer]) -> list[layers.Layer]:
    return [make() for _ in range(count) for make in block]


def vgg16(pool: Callable[..., layers.Layer]) -> Any:
    """k = 3, s = 1, p = 1 and pooling k = 2, s = 2, p = 0: (3 - 1) / 2 - 1 = 0 and (2 - 2) / 2 - 0 = 0."""
    blocks = [conv, conv, lambda: pool(2), conv, conv, lambda: pool(2)]
    stack = repeated(1, *blocks) + repeated(2, conv, conv, conv, lambda: pool(2)) + repeated(3, conv)
    return split_model(network(*stack, size=LARGE), len(stack) - 1)


def test_vgg16_with_mean_pooling_looks_straight_ahead() -> None:
    np.testing.assert_allclose(measure_offset(vgg16(layers.AveragePooling2D)), (0, 0), atol=1e-3)


@pytest.mark.slow
def test_vgg16_looks_straight_ahead() -> None:
    """Which of four pixels is the largest is chance, and one channel does not even it out: four seeds do."""
    split = vgg16(layers.MaxPooling2D)
    offsets = [measure_offset(split, seed=seed) for seed in range(4)]
    np.testing.assert_allclose(np.mean(offsets, axis=0), (0, 0), atol=PIXEL)
    np.testing.assert_allclose(offsets, np.zeros((4, 2)), atol=4 * PIXEL)


def test_mobilenet_looks_to_the_lower_right() -> None:
    """Five times k = 3, s = 2, p = 0: j / 2 for j = 1, 2, 4, 8, 16 is 31 / 2. Those of s = 1 between add nothing."""
    stack = repeated(5, lambda: conv(2), conv)
    np.testing.assert_allclose(measured(*stack, size=LARGE), (15.5, 15.5), atol=PIXEL)


def test_offset_at_the_size_of_photographs() -> None:
    """The same without the layers between, whose cells see 63 pixels."""
    np.testing.assert_allclose(measured(*repeated(5, lambda: conv(2))), (15.5, 15.5), atol=PIXEL)


def test_padding_above_and_left_alone_looks_to_the_upper_left() -> None:
    """p = 1 makes each (3 - 2) / 2 - 1 = -1 / 2: minus the shift of padding below and on the right."""
    stack = repeated(5, lambda: pad(1, 0, 1, 0), lambda: conv(2, padding="valid"))
    np.testing.assert_allclose(measured(*stack), (-15.5, -15.5), atol=PIXEL)


def test_padding_on_all_sides_looks_to_the_upper_left_as_well() -> None:
    """As in ResNet50: of an even size, stride 2 never reaches the pixels below and on the right."""
    stack = repeated(5, lambda: pad(1, 1, 1, 1), lambda: conv(2, padding="valid"))
    np.testing.assert_allclose(measured(*stack), (-15.5, -15.5), atol=PIXEL)


def test_even_kernels_of_stride_2_look_straight_ahead() -> None:
    """k = 4, s = 2, p = 1: (4 - 2) / 2 - 1 = 0."""
    np.testing.assert_allclose(measured(*repeated(5, lambda: conv(2, kernel=4))), (0, 0), atol=PIXEL)


def test_offset_is_down_then_right() -> None:
    """Strides of 2 down and 1 to the right: (1 + 2 + 4) / 2 = 3.5 down, none to the right."""
    stack = repeated(3, lambda: conv((2, 1)))
    np.testing.assert_allclose(measured(*stack, size=(48, 40)), (3.5, 0), atol=0.1)
    stack = repeated(3, lambda: conv((1, 2)))
    np.testing.assert_allclose(measured(*stack, size=(40, 48)), (0, 3.5), atol=0.1)


def test_one_layer_by_hand() -> None:
    """Cell i sees pixels 2 i, 2 i + 1 and 2 i + 2: their middle is half a pixel behind that of its own two."""
    np.testing.assert_allclose(measured(conv(2), size=(12, 20)), (0.5, 0.5), atol=1e-3)


def test_free_size_is_measured_too() -> None:
    """On 224 pixels."""
    stack = repeated(3, lambda: conv(2))
    np.testing.assert_allclose(measured(*stack, size=(None, None)), (3.5, 3.5), atol=0.1)


def test_other_inputs_are_no_matter() -> None:
    model, layer, _ = two_inputs_list()
    down, right = measure_offset(split_model(model, layer))
    assert abs(down) < 5
    assert abs(right) < 5


def test_measuring_again_gives_the_same() -> None:
    split = split_model(plain_model())
    assert measure_offset(split) == measure_offset(split)
    assert measure_offset(split, seed=1) != measure_offset(split, seed=2)


def test_half_precision_measures_the_same() -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        offset = measured(conv(2), conv(2), size=(24, 40))
    finally:
        keras.config.set_dtype_policy(policy)
    np.testing.assert_allclose(offset, (1.5, 1.5), atol=0.05)


# The distance between cells.


class CropAndResize(layers.Layer):
    """Rows 16 to 79 and columns 30 to 109 as 48 x 60 pixels, by an operation that arithmetic does not know."""

    def call(self, images: tf.Tensor) -> tf.Tensor:
        box = tf.constant([[16 / 95, 30 / 119, 79 / 95, 109 / 119]])
        count = tf.shape(images)[0]
        return tf.image.crop_and_resize(images, tf.repeat(box, count, axis=0), tf.range(count), (48, 60))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[0], 48, 60, input_shape[-1]


def test_scale_is_measured_where_arithmetic_does_not_know_it() -> None:
    """Pixels of the crop are 63 / 47 and 79 / 59 apart, cells four of them; cell 0 sees pixel 3 of the crop."""
    model = network(CropAndResize(), *repeated(2, lambda: conv(2)), size=(96, 120))
    images = np.random.default_rng(0).random((1, 96, 120, 3), np.float32)
    placed, probed = (Explainer(model, 2, align=align)(images).placement for align in ("measured", False))
    assert (placed.known_by, probed.known_by) == ("measured", "probes")
    steps = np.array([63 / 47, 79 / 59])
    np.testing.assert_allclose(placed.scale, 4 * steps, rtol=0.01)
    np.testing.assert_allclose(placed.start, (16.5, 30.5) + 3 * steps, atol=1)


def test_cut_cells_do_not_tilt_the_measured_line() -> None:
    """A kernel of 9 behind the crop: the outer four of 24 x 30 cells on each side are cut, and lie inward."""
    split = split_model(network(CropAndResize(), conv(2), conv(kernel=9), size=(96, 120)), 2)
    placement, (_, stretch) = split.placement((24, 30), [np.zeros((1, 96, 120, 3))]), measure_places(split)
    np.testing.assert_allclose(np.multiply(placement.scale, stretch), (2 * 63 / 47, 2 * 79 / 59), rtol=0.02)


def test_scale_of_the_arithmetic_is_kept() -> None:
    """Cells 32 px apart that see 127 pixels: the border cuts those of 7 x 5 cells, and a line through them is flat."""
    split = split_model(network(*repeated(5, lambda: conv(2), conv)), 9)
    offset, stretch = measure_places(split)
    assert stretch == (1, 1)
    assert max(offset) > 5


def test_offset_follows_the_axes_of_a_turned_picture() -> None:
    """Behind a Permute, the map's rows are the picture's columns: strides of 2 along them alone."""
    stack = [layers.Permute((2, 1, 3)), *repeated(3, lambda: conv((2, 1)))]
    np.testing.assert_allclose(measured(*stack, size=(40, 48)), (3.5, 0), atol=0.1)


def test_pictures_whose_channels_come_first_are_measured_too() -> None:
    images = keras.Input((3, 48, 40))
    cells = images
    for layer in [layers.Permute((2, 3, 1)), *repeated(3, lambda: conv((2, 1)))]:
        cells = layer(cells)
    model = keras.Model(images, layers.Dense(2)(layers.GlobalAveragePooling2D()(cells)))
    np.testing.assert_allclose(measure_offset(split_model(model, 4)), (3.5, 0), atol=0.1)


# What the explainer makes of it.


def test_aligned_map_is_shifted_by_the_offset_in_proportion_to_the_size() -> None:
    """1.5 pixels of the 24 x 40 input are 3 of 48 rows and 0.75 of 20 columns."""
    model = network(conv(2), conv(2), size=(24, 40))
    model.layers[-1].set_weights([np.ones((1, 2)), np.zeros(2)])  # every map is positive
    images = np.random.default_rng(0).random((2, 24, 40, 3), np.float32)
    plain, aligned = (Explainer(model, 1, align=align)(images, 0) for align in (False, "measured"))
    np.testing.assert_allclose(aligned.offset, (1.5, 1.5), atol=0.05)
    np.testing.assert_array_equal(aligned.heatmaps, plain.heatmaps)
    for size, scales in [((24, 40), (1, 1)), ((48, 20), (2, 0.5)), ((240, 400), (10, 10))]:
        offset = tuple(shift * scale for shift, scale in zip(aligned.offset, scales, strict=True))
        expected = resize_heatmaps(plain.heatmaps, size, offset)
        np.testing.assert_allclose(aligned.resized(size), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(plain.resized(size), resize_heatmaps(plain.heatmaps, size))
    assert np.abs(aligned.resized() - plain.resized()).max() > 0.05


def test_alignment_brings_the_heat_to_what_is_seen() -> None:
    """One bright pixel under a network that looks 3.5 pixels to the lower right.

    The centroid of the plain map misses the pixel by that; the aligned one is a pixel nearer at least both ways.
    """
    model = network(*repeated(3, lambda: conv(2)), size=(48, 64))
    model.layers[-1].set_weights([np.ones((1, 2)), np.zeros(2)])
    # One picture per place of the pixel within a cell: on average the grid of cells favours none.
    pictures = np.zeros((64, 48, 64, 3), np.float32)
    places = [(20 + index // 8, 28 + index % 8) for index in range(64)]
    for picture, (row, column) in zip(pictures, places, strict=True):
        picture[row, column] = 1.0
    misses = {}
    for align in (False, "measured"):
        raw = Explainer(model, 2, align=align)(pictures, 0)
        maps = raw.resized() * raw.raw.max(axis=(1, 2))[:, None, None]  # as bright as they are
        rows, columns = (np.arange(side) + 0.5 for side in (48, 64))
        centroids = np.stack([maps.sum(axis=2) @ rows, maps.sum(axis=1) @ columns], axis=1)
        centroids /= maps.sum(axis=(1, 2))[:, None]
        misses[align] = (centroids - np.array(places) - 0.5).mean(axis=0)
    np.testing.assert_allclose(misses[False], (-3.5, -3.5), atol=0.6)
    np.testing.assert_allclose(misses["measured"], (0, 0), atol=0.6)


def test_plain_maps_have_no_offset() -> None:
    explainer = Explainer(plain_model())
    assert explainer.offset == (0.0, 0.0)
    assert explainer(photos(1)).offset == (0.0, 0.0)


# What cannot be measured.


def refused(model: keras.Model, message: str, layer: Any = None) -> None:
    with pytest.raises(ValueError, match=message + r".*[Ll]eave align=False"):
        Explainer(model, layer, align="measured")


def test_signal_has_no_offset() -> None:
    conv1d = layers.Conv1D(2, 3, name="conv")
    model = keras.Sequential([keras.Input((12, 2)), conv1d, layers.GlobalAveragePooling1D(), layers.Dense(2)])
    refused(model, r"Expected images \(B, H0, W0, 3\) and a layer \(B, H, W, C\) .* \(None, 12, 2\)")


def test_bytes_have_no_gradient() -> None:
    refused(network(layers.Rescaling(1 / 255), conv(), size=(6, 10), dtype="uint8"), "No gradient leads from layer")


class Stopped(layers.Layer):
    def call(self, images: tf.Tensor) -> tf.Tensor:
        return tf.stop_gradient(images)


def test_stopped_gradient_is_no_offset() -> None:
    refused(network(Stopped(), conv(), size=(6, 10)), "No gradient leads from layer .* to the pixels")


class Mixed(layers.Layer):
    """Every cell is a mixture of all pixels, in a loop that arithmetic does not follow."""

    def build(self, input_shape: Any) -> None:
        self.mixture = self.add_weight(shape=(60, 60), initializer="random_normal", trainable=False)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(lambda image: tf.reshape(self.mixture @ tf.reshape(image, (60, 3)), (6, 10, 3)), images)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def test_cells_that_are_not_places_have_no_offset() -> None:
    model = network(Mixed(), conv(kernel=1), size=(6, 10))
    refused(model, r"Expected a layer whose cells are places in the picture .* do not follow places", 1)


def test_dead_layer_has_no_offset() -> None:
    dead = layers.Conv2D(2, 3, activation="relu", bias_initializer=keras.initializers.Constant(-100.0), name="dead")
    refused(network(dead, size=(6, 10)), "No gradient leads from layer 'dead' to the pixels")


def test_list_layers_shows_the_offset_on_request() -> None:
    """One convolution of kernel 3 and stride 2 that pads right and below alone: 1 * ((3 - 2) / 2 - 0) = +0.5 px."""
    model = keras.Sequential(
        [
            keras.Input((32, 48, 3)),
            keras.layers.Conv2D(2, 3, strides=2, padding="same", kernel_initializer="ones", name="conv"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, name="dense"),
        ]
    )
    rows = {row.path: row for row in list_layers(model, offsets=True)}
    np.testing.assert_allclose(rows["conv"].offset, (0.5, 0.5), atol=0.05)
    assert rows["dense"].offset is None
    assert all(row.offset is None for row in list_layers(model))


def test_cells_that_are_stretched_but_not_shifted_are_drawn_so() -> None:
    inputs = keras.Input((8, 12, 1))
    outputs = layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Conv2D(1, 2, strides=2, name="cells")(inputs)))
    split = split_model(keras.Model(inputs, outputs), "cells")
    split.stretch = (0.5, 1.0)
    placement = split.placement((4, 6), [np.zeros((1, 8, 12, 1))])
    assert (placement.scale, placement.start, placement.known_by) == ((1.0, 2.0), (2.5, 1.0), "measured")
