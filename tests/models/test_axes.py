"""Receptive fields by arithmetic, against the input gradients of networks with constant positive kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.helpers.slow import every
from tf_gradcam._models.axes import AxisTrace
from tf_gradcam._models.places import Cells, cells_of

SIZE = (46, 60)


def traced(function: Callable[[Any], Any], shape: tuple[int, ...], batch: int | None = 1009) -> Any:
    """The axes of the function's result for one input."""
    results: list[Any] = []

    def run(images: Any) -> None:
        result = function(images)
        results.append(AxisTrace([images]).of(result))

    tf.function(run, autograph=False).get_concrete_function(tf.TensorSpec((batch, *shape)))
    return results[0]


def cells(stack: list[Any], shape: tuple[int, ...] = (*SIZE, 1)) -> tuple[Cells, keras.Model]:
    model = keras.Sequential([keras.Input(shape), *stack])
    found = cells_of(traced(model, shape))
    assert isinstance(found, Cells), found
    return found, model


def centroids(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the cells of the middle column (H,), down, and of the middle row (W,), to the right.

    The centroid of a cell's gradient by the pixels, where every kernel averages.
    """
    for weight in model.weights:
        is_kernel = len(weight.shape) > 1
        weight.assign(np.full(weight.shape, 1 / np.prod(weight.shape[:-1])) if is_kernel else np.zeros(weight.shape))
    image = tf.constant(np.random.default_rng(0).uniform(0.5, 1, (1, *model.input_shape[1:])), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(image)
        activations = tf.reduce_sum(model(image), axis=-1)[0]
        lines = activations[:, activations.shape[1] // 2], activations[activations.shape[0] // 2]
    looks = []
    for axis, line in enumerate(lines):
        gradient = tape.jacobian(line, image, experimental_use_pfor=False).numpy().sum(axis=(1, -1))
        along = gradient.sum(axis=2 - axis)
        looks.append(along @ (np.arange(along.shape[1]) + 0.5) / along.sum(axis=1))
    return looks[0], looks[1]


def focus(images: Any) -> Any:
    """The four pixels of each 2 x 2 square as channels, as YOLO does."""
    return tf.concat([images[:, row::2, column::2] for row in (0, 1) for column in (0, 1)], axis=-1)


def patches(side: int) -> list[Any]:
    rows, columns = SIZE[0] // side, SIZE[1] // side
    shape = layers.Reshape((rows, side, columns, side))
    return [shape, layers.Permute((1, 3, 2, 4)), layers.Reshape((rows, columns, side * side)), layers.Dense(1)]


def function(call: Callable[[Any], Any]) -> layers.Layer:
    return layers.Lambda(call)


STACKS: dict[str, Callable[[], list[Any]]] = {
    "valid": lambda: [layers.Conv2D(1, 3, 2), layers.Conv2D(1, 3, 2), layers.Conv2D(1, 3)],
    "pooling that leaves a row over": lambda: [layers.AveragePooling2D(2), layers.AveragePooling2D(2)],
    "crop": lambda: [layers.Cropping2D(((7, 3), (2, 11))), layers.Conv2D(1, 3, 2)],
    "centre crop": lambda: [layers.CenterCrop(21, 30), layers.Conv2D(1, 3)],
    "dilated": lambda: [layers.Conv2D(1, 3, dilation_rate=3), layers.AveragePooling2D(3, 2)],
    "dilated by blocks": lambda: [layers.DepthwiseConv2D(3, dilation_rate=2), layers.Conv2D(1, 3)],
    "transposed": lambda: [layers.Conv2D(1, 3), layers.Conv2DTranspose(1, 3, 1)],
    "upsampling": lambda: [layers.Conv2D(1, 3), layers.UpSampling2D(2, interpolation="bilinear")],
    "resizing": lambda: [layers.Resizing(31, 23), layers.Conv2D(1, 3, 2)],
    "slices": lambda: [function(lambda images: images[:, 5:35, ::2]), layers.Conv2D(1, 3)],
    "focus": lambda: [function(focus), layers.Conv2D(1, 3)],
    "space to depth": lambda: [function(lambda images: tf.nn.space_to_depth(images, 2)), layers.Conv2D(1, 3)],
    "patches by reshaping": lambda: patches(2),
    "patches by tf.image": lambda: [
        function(lambda x: tf.image.extract_patches(x, [1, 4, 4, 1], [1, 4, 4, 1], [1, 1, 1, 1], "VALID")),
        layers.Dense(1),
    ],
    "grouped": lambda: [layers.Conv2D(4, 3, 2), layers.Conv2D(4, 3, groups=2)],
}


@pytest.mark.parametrize("name", every(3, STACKS))
def test_cells_lie_where_the_gradient_is(name: str) -> None:
    """Within the border, which cuts no receptive field here but those of bilinear upsampling."""
    found, model = cells(STACKS[name]())
    for number, looks in enumerate(centroids(model)):
        axis = found.axes[number]
        assert axis is not None
        assert axis.source == (0, number + 1)
        places = np.array([axis.at(index) for index in range(axis.size)])
        np.testing.assert_allclose(looks[2:-2], places[2:-2], atol=0.02)


def test_padding_of_the_picture_moves_cells_out_of_it() -> None:
    """Kernels of 3 behind 9 rows of padding: cell 0 has its centre at row 1.5 - 9; no padding on the left."""
    found, _ = cells([layers.ZeroPadding2D(((9, 5), (0, 12))), layers.Conv2D(1, 3)])
    assert [axis.at(0) for axis in found.axes if axis] == [-7.5, 1.5]


@pytest.mark.parametrize(
    "block",
    [
        lambda: [layers.Conv2D(1, 3, 2, padding="same")],
        lambda: [layers.ZeroPadding2D(((0, 1), (0, 1))), layers.Conv2D(1, 3, 2)],
        lambda: [layers.ZeroPadding2D(1), layers.MaxPooling2D(3, 2)],
        lambda: [layers.Conv2D(1, 1, 2)],
        lambda: [layers.Conv2D(1, 3, padding="same"), layers.MaxPooling2D()],
    ],
)
def test_shift_of_asymmetric_padding_is_left_out(block: Callable[[], list[Any]]) -> None:
    """Cells of 8 x 8 pixels are then tiles exactly, as plain resizing draws them."""
    found, _ = cells([layer for _ in range(3) for layer in block()], (48, 64, 1))
    assert [(axis.size, axis.step, axis.at(0)) for axis in found.axes if axis] == [(6, 8.0, 4.0), (8, 8.0, 4.0)]


def test_odd_sides_keep_the_true_scale() -> None:
    """7 pixels become 4 cells 2 pixels apart, which `same` padding centres: 0.5, 2.5, 4.5, 6.5."""
    found, model = cells([layers.Conv2D(1, 3, 2, padding="same")], (7, 15, 1))
    assert [(axis.size, axis.step, axis.at(0)) for axis in found.axes if axis] == [(4, 2.0, 0.5), (8, 2.0, 0.5)]
    np.testing.assert_allclose(centroids(model)[1][1:-1], [2.5, 4.5, 6.5, 8.5, 10.5, 12.5], atol=1e-5)


def test_permute_turns_the_axes() -> None:
    found, _ = cells([layers.Permute((2, 1, 3)), layers.Conv2D(1, 3)])
    assert [axis.source for axis in found.axes if axis] == [(0, 2), (0, 1)]


def test_crop_says_what_reaches_the_layer() -> None:
    """Behind a kernel of 5, a cell reaches 2 pixels beyond its own."""
    found, _ = cells([layers.Conv2D(1, 5, padding="same"), layers.Cropping2D(((10, 0), (0, 20)))])
    assert [axis.cover for axis in found.axes if axis] == [(8.0, 46.0), (0.0, 42.0)]


@pytest.mark.parametrize(
    ("function", "time", "first"),
    [
        (lambda x: tf.signal.stft(x, 24, 8, 32), 1, 12),  # samples 0 to 24
        (lambda x: keras.ops.stft(x, 24, 8, 32)[0], 1, 0),  # 16 samples are added before the first
        (layers.MelSpectrogram(fft_length=32, sequence_stride=8, sampling_rate=400, num_mel_bins=5), 2, 0),
        (keras.Sequential([layers.Reshape((200, 1)), layers.STFTSpectrogram("real", 24, 8, 32)]), 1, 12),
        (lambda x: tf.signal.frame(x, 24, 8), 1, 12),
    ],
)
def test_frames_of_a_signal_lie_where_their_samples_are(function: Callable[[Any], Any], time: int, first: int) -> None:
    """8 samples apart; the other axis is not a place in the signal."""
    found = traced(function, (200,))
    (frames,) = found.axes[time]
    assert (frames.source, frames.step, frames.at(0)) == ((0, 1), 8, first)
    assert not any(factor.source and not factor.is_inner for factor in found.axes[3 - time])


def test_tokens_keep_grid_and_prefix() -> None:
    def model(images: Any) -> Any:
        grid = tf.nn.conv2d(images, tf.ones((4, 4, 1, 8)), 4, "VALID")
        tokens = tf.reshape(grid, (-1, 11 * 15, 8))
        return tf.concat([tf.zeros((tf.shape(tokens)[0], 3, 8)), tokens], axis=1)

    found = cells_of(traced(model, (*SIZE, 1)))
    assert isinstance(found, Cells)
    assert found.prefix == 3
    assert [(axis.size, axis.source, axis.step) for axis in found.axes if axis] == [
        (11, (0, 1), 4.0),
        (15, (0, 2), 4.0),
    ]


def attention(images: Any) -> tuple[Any, Any, Any]:
    """Scores, values per head and output of an attention of two heads over 8 x 8 patches."""
    tokens = tf.reshape(tf.nn.conv2d(images, tf.ones((4, 4, 3, 16)), 4, "VALID"), (-1, 64, 16))
    heads = tf.transpose(tf.reshape(tokens, (-1, 64, 2, 8)), (0, 2, 1, 3))
    scores = tf.nn.softmax(heads @ tf.transpose(heads, (0, 1, 3, 2)))
    mixed = scores @ heads
    return scores, mixed, tf.reshape(tf.transpose(mixed, (0, 2, 1, 3)), (-1, 64, 16))


def test_attention_keeps_places_its_scores_and_heads_do_not() -> None:
    scores, mixed, output = (cells_of(traced(lambda x, n=n: attention(x)[n], (32, 32, 3))) for n in range(3))
    assert scores == "the cells of its axis 1 do not follow places in the picture"
    assert mixed == scores
    assert isinstance(output, Cells)
    assert [axis.size for axis in output.axes if axis] == [8, 8]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda x: tf.einsum("bhwc,qh->bqwc", x, tf.ones((5, 32))), "axis 1 do not follow"),  # learned queries
        (lambda x: tf.reshape(tf.reshape(x, (-1, 3072)) @ tf.ones((3072, 64)), (-1, 4, 4, 4)), "axis 1 do not follow"),
        (lambda x: tf.reshape(x, (-1, 8, 32, 3)), "first axis counts windows"),
        (lambda x: x[:, ::-1], "backwards"),
        (lambda x: x + tf.transpose(x, (0, 2, 1, 3)), "axis 1 do not follow"),
        (lambda x: tf.ones((tf.shape(x)[0], 4, 4, 2)), "does not depend on the input"),
    ],
)
def test_axes_that_are_not_places_have_a_reason(model: Callable[[Any], Any], reason: str) -> None:
    found = cells_of(traced(model, (32, 32, 3)))
    assert isinstance(found, str)
    assert reason in found


def test_channels_first_is_recognised() -> None:
    def model(images: Any) -> Any:
        kernel = tf.ones((3, 3, 3, 4))
        return tf.transpose(tf.nn.conv2d(tf.transpose(images, (0, 2, 3, 1)), kernel, 1, "SAME"), (0, 3, 1, 2))

    found = cells_of(traced(model, (3, 6, 10)))
    assert isinstance(found, Cells)
    assert found.channels_first
    assert [axis.source for axis in found.axes if axis] == [(0, 2), (0, 3)]


def test_frames_that_are_stacked_again_are_places_in_time() -> None:
    conv = layers.TimeDistributed(layers.Conv2D(2, 3))
    found = cells_of(traced(conv, (5, 8, 9, 1)))
    assert isinstance(found, Cells)
    assert [(axis.size, axis.source, axis.at(0)) for axis in found.axes if axis] == [
        (5, (0, 1), 0.5),
        (6, (0, 2), 1.5),
        (7, (0, 3), 1.5),
    ]


def test_loop_over_time_is_recurrent_and_unknown_operations_are_unknown() -> None:
    found = traced(layers.LSTM(3, return_sequences=True), (9, 2))
    assert found.is_recurrent
    assert cells_of(found) is None
    unknown = traced(lambda x: tf.ensure_shape(tf.py_function(lambda y: y, [x], tf.float32), x.shape), (6, 10, 1))
    assert cells_of(unknown) is None


def test_two_inputs_keep_their_own_axes() -> None:
    results: list[Any] = []

    def run(small: Any, large: Any) -> None:
        tensors = [small[:, 2:], large + 1.0, tf.constant(1.0)]
        results.extend(map(AxisTrace([small, large]).of, tensors))

    specs = tf.TensorSpec((None, 6, 10, 1)), tf.TensorSpec((None, 12, 20, 1))
    tf.function(run, autograph=False).get_concrete_function(*specs)
    first, second = (cells_of(result) for result in results[:2])
    assert isinstance(first, Cells)
    assert isinstance(second, Cells)
    assert first.sources == [(0, 1), (0, 2)]
    assert second.sources == [(1, 1), (1, 2)]
    assert results[2] is None
