"""FullGrad: its terms sum to the score, its map is the twin's, and it asks for what it can explain."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.twins.fullgrad import TWINS
from tf_gradcam import METHODS, Explainer
from tf_gradcam._explain.fullgrad import FullGradPass
from tf_gradcam._models.reader import ModelReader

SHAPE = (6, 10, 3)
layers = keras.layers
IMAGES = np.random.default_rng(2).uniform(0, 255, (3, *SHAPE)).astype(np.float32)
TOP = np.full(3, -1, np.int32)


def relu_net(nested: bool = False) -> keras.Model:
    """Scaling, convolutions, a branch with batch normalisation, pooling, Dense: piecewise linear, with biases."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input(SHAPE)
    hidden = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    hidden = layers.Conv2D(4, 3, padding="same", activation="relu", bias_initializer="random_normal")(hidden)
    branch = layers.DepthwiseConv2D(3, padding="same", bias_initializer="random_normal")(hidden)
    branch = layers.BatchNormalization(
        beta_initializer="random_normal", moving_mean_initializer="random_normal", gamma_initializer="random_normal"
    )(branch)
    hidden = layers.ReLU()(layers.Add()([hidden, branch]))
    hidden = layers.MaxPooling2D()(hidden)
    if nested:
        backbone = keras.Model(inputs, hidden)
        inputs = keras.Input(SHAPE)
        hidden = backbone(inputs)
    hidden = layers.Dense(5, activation="relu", bias_initializer="random_normal")(layers.Flatten()(hidden))
    outputs = layers.Dense(3, activation="softmax", bias_initializer="random_normal")(hidden)
    return keras.Model(inputs, outputs)


def scores_and_sums(model: keras.Model, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The top classes' scores (B,), and what all inputs and biases add to them, (B,)."""
    fullgrad = FullGradPass(ModelReader(model), None, METHODS["fullgrad"])
    contributions = tf.function(fullgrad.contributions, autograph=False)
    scored, _, of_inputs, of_biases = contributions([tf.constant(images)], tf.constant(TOP))
    return scored.scores.numpy(), sum(term.numpy().reshape(3, -1).sum(axis=1) for term in [*of_inputs, *of_biases])


@pytest.mark.parametrize("nested", [False, True])
def test_terms_of_a_relu_net_sum_to_the_score(nested: bool) -> None:
    """The paper's completeness: pixels times gradient plus every bias times its gradient is the logit."""
    model = relu_net(nested)
    results = FullGradPass(ModelReader(model), None, METHODS["fullgrad"])([IMAGES], TOP)
    logits = np.log(model(IMAGES).numpy())
    differences = np.diff(np.sort(logits, axis=1), axis=1)  # of a softmax the logits are known up to a constant
    np.testing.assert_allclose(np.diff(np.sort(results.outputs, axis=1), axis=1), differences, rtol=1e-3, atol=1e-4)
    scores, sums = scores_and_sums(model, IMAGES)
    np.testing.assert_allclose(scores, results.scores, rtol=1e-6)
    np.testing.assert_allclose(sums, scores, rtol=1e-4, atol=1e-5)


def test_terms_do_not_sum_to_the_score_of_a_curved_net() -> None:
    """Else the test above would pass for anything."""
    inputs = keras.Input(SHAPE)
    hidden = layers.Conv2D(4, 3, activation="tanh", bias_initializer="random_normal")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(hidden)))
    scores, sums = scores_and_sums(model, IMAGES / 100)
    assert np.abs(sums - scores).max() > 1e-2


def test_rule_equals_its_twin() -> None:
    generator = np.random.default_rng(3)
    shapes = [(2, 6, 10, 3), (2, 6, 10, 4), (2, 3, 5, 2), (2, 3, 5, 2)]
    contributions = [generator.normal(0, 10.0 ** -(2 * i), shape).astype(np.float32) for i, shape in enumerate(shapes)]
    contributions[3][0] = 0.5  # one image without any difference
    actual = METHODS["fullgrad"]([tf.constant(terms) for terms in contributions])
    np.testing.assert_allclose(actual, TWINS["fullgrad"](contributions), rtol=1e-5, atol=1e-6)


def test_contributions_are_gradient_times_value_by_hand() -> None:
    """One convolution without activation, pooled: the bias term of a channel is w_k b_k / cells in every cell."""
    inputs = keras.Input(SHAPE)
    hidden = layers.Conv2D(2, 1, name="conv")(inputs)
    model = keras.Model(inputs, layers.Dense(1, use_bias=False, name="head")(layers.GlobalAveragePooling2D()(hidden)))
    model.get_layer("conv").set_weights([np.ones((1, 1, 3, 2), np.float32), np.array([3.0, -6.0], np.float32)])
    model.get_layer("head").set_weights([np.array([[1.0], [2.0]], np.float32)])
    of_biases = FullGradPass(ModelReader(model), None, lambda terms: tf.reduce_sum(terms[1], axis=-1))
    of_pixels = FullGradPass(ModelReader(model), None, lambda terms: tf.reduce_sum(terms[0], axis=-1))
    # 60 cells: (1 * 3 + 2 * -6) / 60 in each; the pixels' gradient is (1 + 2) / 60.
    np.testing.assert_allclose(of_biases([IMAGES], TOP).raw, np.full((3, 6, 10), -9 / 60), rtol=1e-5)
    np.testing.assert_allclose(of_pixels([IMAGES], TOP).raw, IMAGES.sum(axis=-1) * 3 / 60, rtol=1e-5)


def test_explainer_gives_the_map_at_the_size_of_the_input() -> None:
    explanation = Explainer(relu_net(), method="fullgrad", class_names=["a", "b", "c"])(IMAGES, target="b")
    assert explanation.heatmaps.shape == (3, 6, 10)
    assert explanation.layer_name == "all layers"
    assert explanation.labels == ["b"] * 3
    np.testing.assert_allclose(explanation.heatmaps.max(axis=(1, 2)), 1.0)


def test_batch_equals_single_images() -> None:
    explainer = Explainer(relu_net(), method="fullgrad")
    batch = explainer(IMAGES)
    for index in range(3):
        np.testing.assert_allclose(batch.raw[index], explainer(IMAGES[index : index + 1]).raw[0], rtol=2e-4, atol=1e-5)


def test_layer_and_align_are_refused() -> None:
    for arguments in ({"layer": 1}, {"align": "measured"}, {"classifier_layers": ["dense"]}):
        with pytest.raises(ValueError, match="reads all layers"):
            Explainer(relu_net(), method="fullgrad", **arguments)


def test_subclassed_model_is_refused() -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = layers.Conv2D(2, 3)
            self.head = layers.Dense(2)

        def call(self, inputs: Any) -> Any:
            return self.head(tf.reduce_mean(self.convolution(inputs), [1, 2]))

    model = Own()
    model(IMAGES)
    with pytest.raises(ValueError, match="Expected a functional or Sequential model for FullGrad"):
        Explainer(model, method="fullgrad")(IMAGES)
