"""Every probing rule equals its twin and obeys its laws."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.helpers.probing_cases import (
    CHANNELS,
    CLASSES,
    IMAGES,
    OPTIONS,
    RULES,
    Case,
    assert_close,
    configured,
    explain,
    small_case,
)
from tests.helpers.slow import first
from tests.twins.probing import TWINS
from tests.zoo.styles import chain, randomise
from tf_gradcam import split_model
from tf_gradcam._explain.probing import ProbingPass
from tf_gradcam._rules.contract import Probe
from tf_gradcam._rules.probing import ablationcam, faster_scorecam, iscam, scorecam, sscam


@pytest.fixture(scope="module")
def case() -> Case:
    return small_case()


def twin_map(name: str, case: Case, indices: Any) -> np.ndarray:
    activations = case.front(IMAGES).numpy()

    def confidence(image: np.ndarray, b: int) -> float:
        logits = case.back(case.front(tf.constant(image[np.newaxis], "float32"))).numpy().astype(np.float64)[0]
        return float(np.exp(logits[indices[b]]) / np.exp(logits).sum())

    def score(changed: np.ndarray, b: int) -> float:
        return float(case.back(tf.constant(changed[np.newaxis]))[0, indices[b]])

    weights = TWINS[name](activations, IMAGES, confidence, score, **OPTIONS.get(name, {}))
    return np.einsum("bk,bijk->bij", weights, activations.astype(np.float64))


# Rules and twins


def test_every_probing_rule_has_a_twin() -> None:
    assert list(TWINS) == list(RULES)


@pytest.mark.parametrize("activation", first(1, ["relu", "silu"]))
@pytest.mark.parametrize("name", RULES)
def test_rule_equals_its_twin(name: str, activation: str) -> None:
    case = small_case(activation)
    results = case.explain(configured(name), classes=[2, 0, 1])
    expected = twin_map(name, case, [2, 0, 1])
    assert_close(results.raw, expected)
    positive = np.maximum(expected, 0.0)
    assert_close(results.heatmaps, positive / positive.max(axis=(1, 2), keepdims=True))


def test_changed_images_are_scored_in_the_class_of_their_image(case: Case) -> None:
    """With no class given, all masks of an image are asked about the top class of that image, not about their own."""
    top = case.back(case.front(IMAGES)).numpy().argmax(axis=1)
    assert len(set(top)) > 1
    results = case.explain(scorecam)
    np.testing.assert_array_equal(results.class_indices, top)
    assert_close(results.raw, twin_map("scorecam", case, top))


# Laws


@pytest.mark.parametrize("name", RULES)
def test_batch_equals_single_images(name: str, case: Case) -> None:
    compiled = ProbingPass(split_model(case.model, "conv2"), None, configured(name))
    together = compiled([IMAGES], np.array([-1] * len(IMAGES)), None)
    for b in range(len(IMAGES)):
        alone = compiled([IMAGES[b : b + 1]], np.array([-1]), None)
        assert_close(alone.raw, together.raw[b : b + 1])
        np.testing.assert_allclose(alone.gradient_peaks, together.gradient_peaks[b : b + 1], rtol=1e-5)


@pytest.mark.parametrize("name", RULES)
def test_order_of_channels_changes_nothing(name: str, case: Case) -> None:
    order = [2, 0, 3, 1]
    other = small_case()
    kernel, bias = case.model.get_layer("conv2").get_weights()
    other.model.get_layer("conv2").set_weights([kernel[..., order], bias[order]])
    kernel, bias = case.model.get_layer("conv3").get_weights()
    other.model.get_layer("conv3").set_weights([kernel[:, :, order], bias])
    assert_close(other.explain(configured(name)).raw, case.explain(configured(name)).raw)


@pytest.mark.parametrize("name", ["scorecam", "ablationcam"])
def test_mirrored_image_gives_a_mirrored_map(name: str) -> None:
    """Strides would not be mirrored, so the layers have none: maps of 6 x 10 cells."""
    images = keras.Input((6, 10, 3))
    convs = [layers.Conv2D(4, 3, padding="same", activation="relu", name=f"conv{i}") for i in (1, 2)]
    tail = [layers.GlobalAveragePooling2D(), layers.Dense(CLASSES, "softmax")]
    model = randomise(keras.Model(images, chain(*convs, *tail)(images)))
    straight = explain(model, "conv1", RULES[name], IMAGES).raw
    for conv in convs:
        kernel, bias = conv.get_weights()
        conv.set_weights([kernel[:, ::-1], bias])
    assert_close(explain(model, "conv1", RULES[name], IMAGES[:, :, ::-1]).raw, straight[:, :, ::-1])


@pytest.mark.parametrize("rule", [scorecam, faster_scorecam, sscam, iscam])
def test_adding_a_constant_to_all_scores_changes_nothing(rule: Any, case: Case) -> None:
    plain = case.explain(rule, target=lambda outputs: outputs[:, 1])
    shifted = case.explain(rule, target=lambda outputs: outputs[:, 1] + 2.0)
    np.testing.assert_allclose(shifted.scores, plain.scores + 2.0, rtol=1e-6)
    assert_close(shifted.raw, plain.raw)


def test_scaling_the_score_leaves_the_weights_of_ablationcam(case: Case) -> None:
    plain = case.explain(ablationcam, target=lambda outputs: outputs[:, 1])
    scaled = case.explain(ablationcam, target=lambda outputs: 1000.0 * outputs[:, 1])
    assert_close(scaled.raw, plain.raw)


@pytest.mark.parametrize(
    "rule", [partial(sscam, noise=0.0, samples=2), partial(iscam, steps=1), partial(faster_scorecam, channels=9)]
)
def test_rule_becomes_scorecam(rule: Any, case: Case) -> None:
    assert_close(case.explain(rule).raw, case.explain(scorecam).raw)


def test_sscam_repeats_itself_with_its_seed_alone(case: Case) -> None:
    first, again, other = (case.explain(partial(sscam, seed=seed, noise=1.0)).raw for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.0


def test_faster_scorecam_chooses_channels_for_each_image() -> None:
    """Channel 0 varies in the first image alone, channel 1 in the second alone: each is the one that counts."""
    images = np.zeros((2, 6, 10, 3), np.float32)
    images[0, :, :5, 0], images[1, :3, :, 1] = 1.0, 1.0
    inputs = keras.Input((6, 10, 3))
    same = layers.Activation("relu", name="same")(inputs)
    model = randomise(keras.Model(inputs, layers.Dense(2, "softmax")(layers.GlobalAveragePooling2D()(same))))
    raw = explain(model, "same", partial(faster_scorecam, channels=1), images).raw
    np.testing.assert_allclose(raw[0], images[0, :, :, 0])
    np.testing.assert_allclose(raw[1], images[1, :, :, 1])


# Masks


def masked_images(model: keras.Model, layer: str, images: np.ndarray) -> np.ndarray:
    """Return what `scorecam` shows the model: (B, C, H0, W0, 3)."""
    shown: list[np.ndarray] = []

    def rule(probe: Probe) -> np.ndarray:
        score_images = probe.score_images
        probe.score_images = lambda owners, of: score_images(owners, lambda rows: shown.append(of(rows)) or shown[-1])
        return scorecam(probe)

    explain(model, layer, rule, images)
    masked = np.concatenate(shown)
    return masked.reshape(len(images), -1, *masked.shape[1:])


def test_channel_without_contrast_shows_the_model_nothing() -> None:
    """The second channel is 1 everywhere; its mask is zero, so it counts as the black image does."""
    images = IMAGES.copy()
    images[..., 1] = 1.0
    inputs = keras.Input((6, 10, 3))
    same = layers.Activation("linear", name="same")(inputs)
    head = layers.Dense(CLASSES, "softmax")
    model = randomise(keras.Model(inputs, head(layers.GlobalAveragePooling2D()(same))))
    masked = masked_images(model, "same", images)
    np.testing.assert_array_equal(masked[:, 1], 0.0)
    # The mask itself shows where the image is 1: between 0 and 1, both reached.
    for k in (0, 2):
        channel = images[..., k]
        low, high = channel.min(axis=(1, 2), keepdims=True), channel.max(axis=(1, 2), keepdims=True)
        np.testing.assert_allclose(masked[:, k, :, :, 1], (channel - low) / (high - low), atol=1e-6)


def test_masks_behind_a_crop_lie_where_the_map_lies() -> None:
    """Row 0 and the last three columns do not reach the layer, nor the mask; a silu channel goes below zero there."""
    images = keras.Input((6, 10, 3))
    conv = layers.Conv2D(CHANNELS, 1, activation="silu", name="conv")
    steps = [layers.Cropping2D(((1, 0), (0, 3))), conv, layers.GlobalAveragePooling2D(), layers.Dense(2)]
    model = randomise(keras.Model(images, chain(*steps)(images)))
    masked = masked_images(model, "conv", IMAGES)
    cells = conv(IMAGES[:, 1:, :7]).numpy().transpose(0, 3, 1, 2)
    low, high = cells.min(axis=(2, 3), keepdims=True), cells.max(axis=(2, 3), keepdims=True)
    expected = np.zeros((3, CHANNELS, 6, 10))
    expected[:, :, 1:, :7] = (cells - low) / (high - low)
    np.testing.assert_allclose(masked, expected[..., None] * IMAGES[:, None], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", [scorecam, faster_scorecam, sscam, iscam])
def test_images_whose_channels_come_first_are_masked_alike(rule: Any) -> None:
    inputs, turned = keras.Input((6, 10, 3)), keras.Input((3, 6, 10))
    steps = [layers.Conv2D(CHANNELS, 3, name="conv"), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    model = randomise(keras.Model(inputs, chain(*steps)(inputs)))
    other = keras.Model(turned, chain(layers.Permute((2, 3, 1)), *steps)(turned))
    assert_close(explain(other, "conv", rule, IMAGES.transpose(0, 3, 1, 2)).raw, explain(model, "conv", rule).raw)


@pytest.mark.parametrize("rule", [scorecam, faster_scorecam, sscam, iscam])
def test_frames_of_clips_are_not_masked(rule: Any) -> None:
    clips = keras.Input((2, 6, 10, 3))
    conv = layers.TimeDistributed(layers.Conv2D(CHANNELS, 1, name="conv"))
    model = keras.Model(clips, chain(conv, layers.GlobalAveragePooling3D(), layers.Dense(2))(clips))
    with pytest.raises(ValueError, match=r"images \(B, H0, W0, 3\), .*received .*\(1, 2, 6, 10, 3\).*Use ablationcam"):
        explain(model, "conv[0]", rule, np.zeros((1, 2, 6, 10, 3), np.float32))


@pytest.mark.parametrize("name", RULES)
def test_image_that_is_not_finite_leaves_the_others(name: str, case: Case) -> None:
    images = IMAGES.copy()
    images[1, 2, 3, 0] = np.nan
    results = case.explain(configured(name), images)
    np.testing.assert_array_equal(results.finite_images, [True, False, True])
    assert_close(results.raw[[0, 2]], case.explain(configured(name)).raw[[0, 2]])


@pytest.mark.parametrize("value", first(1, [np.nan, np.inf]))
@pytest.mark.parametrize("name", RULES)
def test_activations_that_are_not_finite_give_a_blank_map(name: str, value: float) -> None:
    images = IMAGES.copy()
    images[1, 2, 3, 0] = value
    inputs = keras.Input((6, 10, 3))
    steps = [layers.Activation("linear", name="same"), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    model = randomise(keras.Model(inputs, chain(*steps)(inputs)))
    results = explain(model, "same", configured(name), images)
    assert not np.isfinite(results.raw[1]).all()
    np.testing.assert_array_equal(results.heatmaps[1], 0.0)
    assert_close(results.raw[[0, 2]], explain(model, "same", configured(name)).raw[[0, 2]])


@pytest.mark.parametrize("name", RULES)
def test_dead_layer_gives_a_zero_map(name: str) -> None:
    case = small_case()
    kernel, _ = case.model.get_layer("conv2").get_weights()
    case.model.get_layer("conv2").set_weights([kernel, np.full(CHANNELS, -1e6)])
    results = case.explain(configured(name))
    np.testing.assert_array_equal(results.raw, 0.0)
    np.testing.assert_array_equal(results.heatmaps, 0.0)
    assert np.isfinite(results.gradient_peaks).all()


# Layers that are no pictures; parameters


@pytest.mark.parametrize("rule", [scorecam, faster_scorecam, sscam, iscam])
def test_masking_what_is_no_picture_is_refused(rule: Any) -> None:
    inputs = keras.Input((12, 3))
    conv = layers.Conv1D(CHANNELS, 3, name="conv")
    model = keras.Model(inputs, chain(conv, layers.GlobalAveragePooling1D(), layers.Dense(2))(inputs))
    with pytest.raises(ValueError, match=r"a layer \(B, H, W, C\).*received \(1, 10, 4\).*Use ablationcam"):
        explain(model, "conv", rule, np.zeros((1, 12, 3), np.float32))


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (partial(faster_scorecam, channels=0), "channels as a whole number of at least 1, received 0"),
        (partial(sscam, samples=1.5), "samples as a whole number of at least 1, received 1.5"),
        (partial(sscam, noise=-0.1), "noise of 0 or more, received -0.1"),
        (partial(sscam, noise=float("nan")), "noise of 0 or more, received nan"),
        (partial(iscam, steps=0), "steps as a whole number of at least 1, received 0"),
    ],
)
def test_parameter_out_of_range_is_refused(rule: Any, sentence: str, case: Case) -> None:
    with pytest.raises(ValueError, match=sentence):
        case.explain(rule)
