"""The pass asks a model as it was asked the first time, as often as a rule says, and in portions that fit."""

from __future__ import annotations

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
from tests.zoo.styles import STYLES, chain, randomise
from tf_gradcam import split_model
from tf_gradcam._explain import probing as probe
from tf_gradcam._explain.passes import GradientPass
from tf_gradcam._explain.probing import ProbingPass
from tf_gradcam._rules.contract import Probe
from tf_gradcam._rules.gradients import gradcam
from tf_gradcam._rules.probing import ablationcam, scorecam

TOP = np.full(3, -1, np.int32)


@pytest.fixture(scope="module")
def case() -> Case:
    return small_case()


# Answers

ASKED = [
    "functional", "nested_twice", "uint8_input", "residual_branch", "dense_block", "two_inputs_dict", "siamese",
    "photo_and_masked_words", "shared_layer", "two_outputs_list", "u_net", "sigmoid_unit_class_0", "multi_label",
    "regression", "subclassed", "layer_inside_a_layer", "mixed_float16", "mixed_bfloat16", "float64",
    "unknown_image_size", "named_tail", "time_distributed",
]  # fmt: skip


@pytest.mark.parametrize("name", first(4, ASKED))
def test_unchanged_copies_score_what_their_images_score(name: str) -> None:
    """In another order and number than the batch: classes, frontier, masks and further inputs go with the copies."""
    style = STYLES[name]
    model, layer, reference = style.build()
    images = style.images(3)
    split = split_model(model, layer, style.classifier_layers)
    owners = np.array([2, 0, 0, 1, 2])

    def rule(probe: Probe) -> np.ndarray:
        again = probe.score_images(owners, lambda rows: probe.images[owners[rows]])
        assert_close(again, probe.confidences[owners], style.tolerance)
        again = probe.score_activations(owners, lambda rows: probe.activations[owners[rows]])
        assert_close(again, probe.scores[owners], style.tolerance)
        return np.ones_like(probe.activations)

    is_callable = callable(style.target)
    classes = np.full(3, -1 if is_callable else style.target, np.int32)
    results = ProbingPass(split, style.target if is_callable else None, rule)(split.inputs.flatten(images), classes)
    expected, _, _ = reference(images, style.target)
    assert_close(results.raw, expected.sum(axis=-1), style.tolerance)


def test_pass_returns_what_the_gradient_pass_returns(case: Case) -> None:
    split = split_model(case.model, "conv2")
    arrays = split.inputs.flatten(IMAGES)
    probing = ProbingPass(split, None, ablationcam)
    expected = GradientPass(split, None, gradcam)(arrays, TOP)
    results = probing(arrays, TOP)
    assert [(array.shape, array.dtype) for array in results] == [(array.shape, array.dtype) for array in expected]
    for name in ("outputs", "probabilities", "scores", "class_indices", "finite_images"):
        np.testing.assert_allclose(getattr(results, name), getattr(expected, name), rtol=1e-5)
    assert (probing.has_open_head, probing.class_count) == (True, CLASSES)


def test_gradient_peaks_are_the_largest_weights(case: Case) -> None:
    weights = -np.arange(12.0).reshape(3, 1, 1, 4)
    results = case.explain(lambda probe: weights)
    np.testing.assert_array_equal(results.gradient_peaks, [3.0, 7.0, 11.0])
    assert_close(results.raw, np.sum(weights * case.front(IMAGES).numpy(), axis=-1))


def test_compiled_once_whatever_the_batch(case: Case) -> None:
    def both(probe: Probe) -> np.ndarray:
        return scorecam(probe) + ablationcam(probe)

    split = split_model(case.model, "conv2")
    compiled = ProbingPass(split, None, both)
    assert compiled.trace_count == 1
    for count in (3, 1, 2, 3):
        compiled(split.inputs.flatten(IMAGES[:count]), TOP[:count])
        assert compiled.trace_count == 3


def test_model_is_unchanged(case: Case) -> None:
    before = [np.array(weight) for weight in case.model.get_weights()], case.model.predict(IMAGES, verbose=0)
    nodes = [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in case.model.layers]
    for name in RULES:
        case.explain(configured(name))
    after = [np.array(weight) for weight in case.model.get_weights()], case.model.predict(IMAGES, verbose=0)
    keras.tree.map_structure(np.testing.assert_array_equal, after, before)
    assert [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in case.model.layers] == nodes


@pytest.mark.parametrize("side", [0, 1])
def test_sigmoid_unit_is_confident_in_either_class(side: int) -> None:
    style = STYLES["sigmoid_unit_class_1"]
    model, layer, _ = style.build()
    images = style.images(2)
    outputs = model.predict(images, verbose=0)[:, 0]
    seen: list[np.ndarray] = []

    def watched(probe: Probe) -> np.ndarray:
        seen.append(probe.confidences)
        return scorecam(probe)

    explain(model, layer, watched, images, classes=[side, side])
    np.testing.assert_allclose(seen[0], outputs if side else 1.0 - outputs, rtol=1e-5)


@pytest.mark.parametrize("name", RULES)
def test_half_precision_gives_maps_of_single_precision(name: str) -> None:
    model, layer, _ = STYLES["mixed_float16"].build()
    results = explain(model, layer, configured(name), STYLES["mixed_float16"].images(2))
    assert results.raw.dtype == results.heatmaps.dtype == np.float32
    assert np.isfinite(results.raw).all()
    np.testing.assert_array_equal(results.heatmaps.max(axis=(1, 2)), 1.0)


def test_images_of_whole_numbers_are_rounded() -> None:
    inputs = keras.Input((6, 10, 3), dtype="uint8")
    conv = layers.Conv2D(2, 3, name="conv")
    total = layers.Lambda(lambda images: keras.ops.sum(keras.ops.cast(images, "float32"), axis=(1, 2, 3)))
    features = layers.GlobalAveragePooling2D()(conv(layers.Rescaling(1.0)(inputs)))
    model = keras.Model(inputs, {"sum": total(inputs), "features": features})
    images = np.full((1, 6, 10, 3), 7, np.uint8)

    def rule(probe: Probe) -> np.ndarray:
        answers = probe.score_images(np.zeros(4, int), lambda rows: np.stack([values[row] for row in rows]))
        np.testing.assert_array_equal(answers, [180 * 2.0, 180 * 3.0, 0.0, 180 * 255.0])
        return probe.activations

    values = np.stack([np.full((6, 10, 3), value, np.float32) for value in (2.4, 2.6, -3.0, 300.0)])
    explain(model, "conv", rule, images, target=lambda outputs: outputs["sum"])


# How often the model runs


class Counter(layers.Layer):
    """Passes its input on, and notes how many images came through when the model runs."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.passed = np.zeros(1, np.int64)

    def call(self, features: Any) -> Any:
        tf.numpy_function(self._note, [tf.shape(features)[0]], [])
        return features

    def _note(self, count: np.ndarray) -> None:
        self.passed += count


@pytest.mark.parametrize(
    ("name", "whole", "tail"),
    [
        ("scorecam", 1 + CHANNELS, 1 + CHANNELS),
        ("faster_scorecam", 1 + 2, 1 + 2),
        ("sscam", 1 + 3 * CHANNELS, 1 + 3 * CHANNELS),
        ("iscam", 1 + 3 * CHANNELS, 1 + 3 * CHANNELS),
        ("ablationcam", 1, 1 + CHANNELS),
    ],
)
def test_model_runs_as_often_as_the_rule_says(name: str, whole: int, tail: int) -> None:
    before, after = Counter(name="before"), Counter(name="after")
    inputs = keras.Input((6, 10, 3))
    conv = layers.Conv2D(CHANNELS, 3, activation="relu", name="conv")
    steps = [before, conv, after, layers.GlobalAveragePooling2D(), layers.Dense(CLASSES)]
    model = randomise(keras.Model(inputs, chain(*steps)(inputs)))
    explain(model, "conv", configured(name), IMAGES)
    assert int(before.passed[0]) == whole * len(IMAGES)
    assert int(after.passed[0]) == tail * len(IMAGES)


@pytest.mark.parametrize("name", RULES)
def test_progress_rises_to_its_total(name: str, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "CHUNK_BYTES", 1)
    heard: list[tuple[int, int]] = []
    case.explain(configured(name), progress=lambda done, total: heard.append((done, total)))
    passes = {"faster_scorecam": 2, "sscam": 3 * CHANNELS, "iscam": 3 * CHANNELS}.get(name, CHANNELS)
    total = passes * len(IMAGES)
    assert heard == [(done, total) for done in range(1, total + 1)]


@pytest.mark.parametrize(("name", "bytes_each"), [("scorecam", 720), ("sscam", 720), ("ablationcam", 300)])
@pytest.mark.parametrize("length", [1, 5, 7])
def test_memory_bounds_how_many_run_at_a_time(
    name: str, bytes_each: int, length: int, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model's largest tensor is the image, 6 x 10 x 3 floats of 4 bytes; the tail's that of conv3, 3 x 5 x 5."""
    expected = case.explain(configured(name)).raw
    lengths: list[int] = []

    def watched(probe: Probe) -> np.ndarray:
        ask = probe._ask
        probe._ask = lambda what, chunk, owners: lengths.append(len(chunk)) or ask(what, chunk, owners)
        return configured(name)(probe)

    monkeypatch.setattr(probe, "CHUNK_BYTES", length * bytes_each + bytes_each - 1)
    assert_close(case.explain(watched).raw, expected)
    total = len(IMAGES) * CHANNELS * OPTIONS.get(name, {}).get("samples", 1)
    assert lengths == [length] * (total // length) + [total % length] * (total % length > 0)


def test_free_image_size_is_counted_by_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    model, layer, _ = STYLES["unknown_image_size"].build()
    monkeypatch.setattr(probe, "CHUNK_BYTES", 5 * 24 * IMAGES[0].nbytes)
    sizes: list[int] = []

    def rule(probe: Probe) -> np.ndarray:
        probe.score_images(np.zeros(12, int), lambda rows: sizes.append(len(rows)) or IMAGES[[0] * len(rows)])
        return probe.activations

    explain(model, layer, rule, IMAGES)
    assert sizes == [5, 5, 2]


# Rules of the user's own


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (lambda probe: np.ones((3, 4)), r"Expected weights of shape \(3, 1, 1, 4\).*received \(3, 4\)"),
        (lambda probe: probe.score_images([3], lambda rows: probe.images[rows]), r"owners \(N,\) of 0 to 2"),
        (lambda probe: probe.score_images([-1], lambda rows: probe.images[rows]), r"owners \(N,\) of 0 to 2"),
        (
            lambda probe: probe.score_images([0, 1], lambda rows: probe.images[:1]),
            r"Expected images of shape \(2, 6, 10, 3\), received \(1, 6, 10, 3\)",
        ),
        (
            lambda probe: probe.score_activations([0], lambda rows: probe.images[:1]),
            r"Expected activations of shape \(1, 3, 5, 4\), received \(1, 6, 10, 3\)",
        ),
    ],
)
def test_mistake_of_a_rule_is_named(rule: Any, sentence: str, case: Case) -> None:
    with pytest.raises(ValueError, match=sentence):
        case.explain(rule)


def test_layer_whose_first_axis_is_no_batch_is_refused() -> None:
    """Cells are put into the batch before the layer, and taken out behind it."""
    images = keras.Input((6, 10, 3))
    merged = layers.Lambda(lambda values: keras.ops.reshape(values, (-1, 2, 5, 3)), output_shape=(2, 5, 3))(images)
    conv = layers.Conv2D(4, 1, name="conv")(merged)
    parted = layers.Lambda(lambda values: keras.ops.reshape(values, (-1, 6, 10, 4)), output_shape=(6, 10, 4))(conv)
    model = randomise(keras.Model(images, layers.Dense(2)(layers.GlobalAveragePooling2D()(parted))))
    with pytest.raises(ValueError, match="'conv' cannot be explained: its first axis counts windows or frames"):
        explain(model, "conv", ablationcam, IMAGES)
