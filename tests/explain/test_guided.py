"""Guided backpropagation: derived by hand on one ReLU, compared with a network whose ReLUs are rewritten."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_gradcam import Explainer
from tf_gradcam._explain.guided import GuidedBackprop, guided_gradcam

SHAPE = (6, 10, 3)
layers = keras.layers


@tf.custom_gradient
def rewritten_relu(entered: Any) -> Any:
    """The paper's rule written out once more: where(entered > 0 and gradient > 0, gradient, 0)."""
    result = tf.maximum(entered, 0.0)
    return result, lambda gradient: gradient * tf.cast(entered > 0, tf.float32) * tf.cast(gradient > 0, tf.float32)


def build(activation: Any, nested: bool = False, seed: int = 3) -> keras.Model:
    """Two convolutions; the same seed gives the same weights whatever the activation."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(SHAPE)
    hidden = layers.Conv2D(4, 3, padding="same", activation=activation, bias_initializer="random_normal")(inputs)
    hidden = layers.Conv2D(5, 3, strides=2, activation=activation)(hidden)
    if nested:
        backbone = keras.Model(inputs, hidden, name="backbone")
        inputs = keras.Input(SHAPE)
        hidden = backbone(inputs)
    outputs = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(hidden))
    return keras.Model(inputs, outputs)


def images(count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, *SHAPE)).astype(np.float32)


def expected_gradients(batch: np.ndarray, class_index: int) -> np.ndarray:
    """Backpropagation through the network of rewritten ReLUs, the logits by the kernel of its last layer."""
    model = build(rewritten_relu)
    pixels = tf.constant(batch)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        hidden = pixels
        for layer in model.layers[1:-1]:
            hidden = layer(hidden)
        kernel, bias = model.layers[-1].weights
        score = tf.reduce_sum((tf.matmul(hidden, kernel) + bias)[:, class_index])
    return tape.gradient(score, pixels).numpy()


@pytest.mark.parametrize("nested", [False, True])
def test_guided_gradients_equal_those_of_rewritten_relus(nested: bool) -> None:
    actual = GuidedBackprop(build("relu", nested))(images(), target=1)
    expected = expected_gradients(images(), 1)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_guided_gradients_differ_from_plain_ones() -> None:
    """Else the override would not be in force, and the test above could not tell."""
    model, pixels = build("relu"), tf.constant(images())
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        score = tf.reduce_sum(model(pixels)[:, 1])
    plain = tape.gradient(score, pixels).numpy()
    guided = GuidedBackprop(model)(images(), target=1)
    assert np.abs(guided / np.abs(guided).max() - plain / np.abs(plain).max()).max() > 0.1


def test_relu6_passes_between_zero_and_six_alone() -> None:
    """y = relu6(w * x) for w = 1 and -1, score = y: at x = 3, 7 and -3 the slopes are 1, 0, 0 and 0, 0, -1 -> guided as
    they are, but behind a kernel of -1 the gradient that arrives is negative and is stopped."""
    inputs = keras.Input((1, 3, 1))
    outputs = layers.ReLU(6.0)(inputs)
    outputs = layers.Conv2D(2, 1, use_bias=False, name="both_signs")(outputs)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(outputs))
    model.get_layer("both_signs").set_weights([np.array([[[[1.0, -1.0]]]], np.float32)])
    pixels = np.array([3.0, 7.0, -3.0], np.float32).reshape(1, 1, 3, 1)
    for_it = GuidedBackprop(model)(pixels, target=0)
    against = GuidedBackprop(model)(pixels, target=1)
    np.testing.assert_allclose(for_it[0, 0, :, 0], [1 / 3, 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(against, 0)


def test_plain_operations_and_subclassed_models_are_guided_too() -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = layers.Conv2D(2, 1, use_bias=False)
            self.head = layers.Dense(2)

        def call(self, inputs: Any) -> Any:
            return self.head(tf.reduce_mean(tf.nn.relu(self.convolution(inputs)), [1, 2]))

    model = Own()
    model(images())
    model.convolution.set_weights([np.array([[[[1.0, 0.0]] * 3]], np.float32).reshape(1, 1, 3, 2)])
    model.head.set_weights([np.array([[2.0, -2.0], [0.0, 0.0]], np.float32), np.zeros(2, np.float32)])
    # The first unit is the sum of the channels: its ReLU is open where that is positive, with a slope of 2 / 60 for
    # class 0.
    open_cells = images().sum(axis=-1, keepdims=True) > 0
    np.testing.assert_allclose(
        GuidedBackprop(model)(images(), target=0), np.broadcast_to(open_cells * 2 / 60, images().shape), rtol=1e-5
    )
    np.testing.assert_array_equal(GuidedBackprop(model)(images(), target=1), 0)


def test_model_is_unchanged() -> None:
    model = build("relu")
    before, config, weights = model.predict(images(), verbose=0), model.get_config(), model.get_weights()
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    GuidedBackprop(model)(images())
    np.testing.assert_array_equal(model.predict(images(), verbose=0), before)
    assert model.get_config() == config
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), weights, strict=True))
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes
    pixels = tf.constant(images())
    with tf.GradientTape() as tape:  # the user's own gradients are plain again
        tape.watch(pixels)
        score = tf.reduce_sum(model(pixels)[:, 1])
    assert (tape.gradient(score, pixels).numpy() < 0).any()


def test_batch_equals_single_images() -> None:
    guided = GuidedBackprop(build("relu"), class_names=["a", "b", "c"])
    batch = guided(images(), target=["a", "c", "b"])
    for index, name in enumerate(["a", "c", "b"]):
        single = guided(images()[index : index + 1], target=name)[0]
        np.testing.assert_allclose(batch[index], single, rtol=1e-5, atol=1e-8)


def test_guided_gradcam_is_the_product_with_the_upsampled_map() -> None:
    model = build("relu")
    expected = GuidedBackprop(model)(images(), 2) * Explainer(model)(images(), 2).resized()[..., None]
    np.testing.assert_allclose(guided_gradcam(model, images(), target=2), expected, rtol=1e-6)


@pytest.mark.parametrize("activation", ["silu", "gelu", "leaky_relu"])
def test_smooth_activations_are_refused(activation: str) -> None:
    with pytest.raises(ValueError, match=f"Expected a model of ReLUs, received .* with .*{activation}"):
        GuidedBackprop(build(activation))


def test_model_without_any_relu_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected a model of ReLUs, found none"):
        GuidedBackprop(build("linear"))(images())


def test_unknown_class_is_refused() -> None:
    with pytest.raises(ValueError, match="class index below 3"):
        GuidedBackprop(build("relu"))(images(), target=3)
