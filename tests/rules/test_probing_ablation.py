"""Ablation-CAM where its weights can be worked out by hand, and where there is little to ablate."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.helpers.probing_cases import CHANNELS, CLASSES, IMAGES, Case, assert_close, explain, small_case
from tests.twins.probing import TWINS
from tests.zoo.styles import chain, dense, pool, randomise
from tf_gradcam._results.diagnosis import diagnose
from tf_gradcam._rules.contract import Probe
from tf_gradcam._rules.probing import ablationcam


@pytest.fixture(scope="module")
def case() -> Case:
    return small_case()


@pytest.mark.parametrize("bias", [0.0, -9.0])
def test_ablationcam_behind_pooling_and_dense_is_kernel_times_mean(bias: float) -> None:
    """The score is y = sum_k W_k mean(A_k) + bias: without channel k, less by W_k mean(A_k)."""
    images = keras.Input((6, 10, 3))
    conv, head = layers.Conv2D(CHANNELS, 3, activation="relu", name="conv"), layers.Dense(CLASSES, name="head")
    model = randomise(keras.Model(images, chain(conv, layers.GlobalAveragePooling2D(), head)(images)))
    head.bias.assign(np.full(CLASSES, bias))
    seen: list[np.ndarray] = []

    def rule(probe: Probe) -> np.ndarray:
        seen.append(ablationcam(probe))
        return seen[0]

    scores = explain(model, "conv", rule, classes=[1, 1, 1]).scores
    means = conv(IMAGES).numpy().mean(axis=(1, 2))
    kernel = head.kernel.numpy()[:, 1]
    np.testing.assert_allclose(scores, means @ kernel + bias, rtol=1e-5)
    assert bias == 0.0 or scores.max() < 0.0
    expected = kernel * means / np.abs(scores)[:, np.newaxis]
    np.testing.assert_allclose(seen[0], expected[:, np.newaxis, np.newaxis], atol=1e-5 * np.abs(expected).max())


def test_ablationcam_of_a_zero_score_is_finite_and_keeps_its_heatmap(case: Case) -> None:
    """Dividing by abs(y) scales a map; the heatmap is the same without."""
    outputs = case.back(case.front(IMAGES)).numpy()[:, 1]
    shifted = case.explain(ablationcam, target=lambda outputs: outputs[:, 1])
    for b, own in enumerate(outputs):
        zero = case.explain(ablationcam, IMAGES[b : b + 1], target=lambda outputs, own=own: outputs[:, 1] - own)
        np.testing.assert_allclose(zero.scores, 0.0, atol=1e-7)
        assert np.isfinite(zero.raw).all()
        np.testing.assert_allclose(zero.heatmaps, shifted.heatmaps[b : b + 1], atol=1e-4)


def test_ablationcam_of_a_score_without_the_layer_is_zero_and_diagnosed(case: Case) -> None:
    results = case.explain(ablationcam, target=lambda outputs: 0.0 * outputs[:, 0])
    np.testing.assert_array_equal(results.gradient_peaks, 0.0)
    np.testing.assert_array_equal(results.heatmaps, 0.0)
    told = {"finite_image": True, "saturated_probability": None, "layer": "conv2", "label": "", "score": 0.0}
    sentence = diagnose(results.raw[0], gradient_peak=0.0, **told)
    assert "does not change with layer 'conv2'" in str(sentence)


def test_ablationcam_holds_fixed_what_bypasses_the_layer() -> None:
    """A branch around the layer and a second input: the score is that of pool(A + early) beside the vector."""
    vectors = np.random.default_rng(8).normal(size=(3, 2)).astype(np.float32)
    photo, vector = keras.Input((6, 10, 3)), keras.Input((2,))
    conv1, conv2 = (layers.Conv2D(CHANNELS, 3, padding="same", activation="relu", name=f"conv{i}") for i in (1, 2))
    head = layers.Dense(CLASSES, activation="softmax")
    early = conv1(photo)
    features = layers.GlobalAveragePooling2D()(layers.Add()([conv2(early), early]))
    model = randomise(keras.Model([photo, vector], head(layers.Concatenate()([features, vector]))))
    by_hand = conv1(IMAGES)
    activations = conv2(by_hand).numpy()

    def score(changed: np.ndarray, b: int) -> float:
        joined = tf.concat([pool(changed + by_hand[b : b + 1]), vectors[b : b + 1]], axis=1)
        return float(dense(head, joined)[0, 2])

    weights = TWINS["ablationcam"](activations, IMAGES, score, score)
    raw = explain(model, "conv2", ablationcam, [IMAGES, vectors], classes=[2, 2, 2]).raw
    assert_close(raw, np.einsum("bk,bijk->bij", weights, activations))


@pytest.mark.parametrize("shape", [(12, 3), (4, 5, 3, 2)], ids=["signal", "volume"])
def test_ablationcam_takes_any_number_of_axes(shape: tuple[int, ...]) -> None:
    kind = {2: layers.Conv1D, 4: layers.Conv3D}[len(shape)]
    signals = np.random.default_rng(5).normal(size=(2, *shape)).astype(np.float32)
    conv, last = (kind(CHANNELS, 3, padding="same", activation="relu", name=name) for name in ("conv", "last"))
    head = layers.Dense(CLASSES, name="head")
    inputs = keras.Input(shape)
    pooling = {2: layers.GlobalAveragePooling1D, 4: layers.GlobalAveragePooling3D}[len(shape)]()
    model = randomise(keras.Model(inputs, chain(conv, last, pooling, head)(inputs)))
    activations = conv(signals).numpy()

    def score(changed: np.ndarray, b: int) -> float:
        return float(head(pooling(last(changed[np.newaxis])))[0, 1])

    weights = TWINS["ablationcam"](activations, signals, score, score)
    results = explain(model, "conv", ablationcam, signals, classes=[1, 1])
    assert_close(results.raw, np.einsum("bk,b...k->b...", weights, activations))
