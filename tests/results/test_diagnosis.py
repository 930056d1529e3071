"""Why a map says nothing: each of the causes provoked by a model that has it, and told with its remedy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.helpers.drawing import drawn
from tf_gradcam import Explainer, Explanation
from tf_gradcam._errors import for_command_line, for_page
from tf_gradcam._results.diagnosis import diagnose
from tf_gradcam.targets.classes import Counterfactual

IMAGES = np.random.default_rng(0).uniform(0.1, 1.0, (2, 6, 10, 1)).astype(np.float32)


def explained(*head: keras.layers.Layer, images: np.ndarray = IMAGES, target: Any = 0) -> Explanation:
    """At the layer `cells`, which doubles the picture; behind it the mean of the cells, then `head`."""
    cells = layers.Conv2D(1, 1, kernel_initializer=keras.initializers.Constant(2.0), name="cells")
    model = keras.Sequential([keras.Input((6, 10, 1)), cells, layers.GlobalAveragePooling2D(), *head])
    return Explainer(model, "cells")(images, target)


def dense(*kernel: float, bias: float = 0.0, activation: Any = None) -> layers.Dense:
    """One unit per number."""
    weights = keras.initializers.Constant(np.array([kernel]))
    return layers.Dense(len(kernel), activation, kernel_initializer=weights, bias_initializer=constant(bias))


def constant(value: float) -> keras.initializers.Initializer:
    return keras.initializers.Constant(value)


def only_sentence(explanation: Explanation) -> str:
    """What is said of all images alike, once their maps were found to be blank."""
    assert len(set(explanation.diagnosis)) == 1
    np.testing.assert_array_equal(explanation.heatmaps, np.zeros_like(explanation.heatmaps))
    sentence = explanation.diagnosis[0]
    assert sentence is not None
    return sentence


def test_map_that_can_be_read_needs_no_words() -> None:
    explanation = explained(dense(1.0, -1.0))
    assert explanation.diagnosis == [None, None]
    assert explanation.heatmaps.max() == 1.0


def test_class_that_every_cell_speaks_against() -> None:
    explanation = explained(dense(1.0, -1.0), target=1)
    assert "every cell speaks against 'class 1'" in str(explanation.diagnosis[0])
    assert "layer 'cells'" in str(explanation.diagnosis[0])
    assert f"{explanation.scores[0]:.4g}" in str(explanation.diagnosis[0])
    assert "explain the predicted class" in str(explanation.diagnosis[0])
    np.testing.assert_array_equal(explanation.heatmaps, np.zeros((2, 6, 10)))
    assert (explanation.raw < 0).all()


def test_dead_unit_behind_the_layer() -> None:
    """A relu whose bias of -100 no picture overcomes: nothing that the layer does reaches the score."""
    sentence = only_sentence(explained(dense(1.0, bias=-100.0, activation="relu"), dense(1.0, -1.0, bias=0.3)))
    assert "gradient is zero everywhere" in sentence
    assert "layer 'cells'" in sentence
    assert "choose another layer or target" in sentence


@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_dead_unit_is_no_probability_when_the_logit_is_0_or_1(bias: float) -> None:
    """The most usual dead head: all activations are 0, and with them both logits. Two zeros are no probabilities."""
    explanation = explained(dense(1.0, bias=-100.0, activation="relu"), dense(1.0, -1.0, bias=bias))
    np.testing.assert_array_equal(explanation.outputs, np.full((2, 2), bias))
    assert "gradient is zero everywhere" in only_sentence(explanation)


class HiddenSoftmax(layers.Layer):
    """A softmax of logits 1e4 apart in a function of its own, which cannot be opened."""

    @tf.function
    def call(self, features: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(features * tf.constant([1e4, -1e4]))


@pytest.mark.parametrize(("target", "probability"), [(0, "1.000000"), (1, "0.000000")])
def test_saturated_probability(target: int, probability: str) -> None:
    explanation = explained(HiddenSoftmax(), target=target)
    assert explanation.scores.tolist() == [1.0 - target] * 2
    sentence = only_sentence(explanation)
    assert f"the score is saturated: it is a probability of {probability}" in sentence
    assert "end it with such a layer, or let it return logits" in sentence


def test_saturated_softmax_that_can_be_opened_is_no_trouble() -> None:
    explanation = explained(dense(1e4, -1e4), layers.Softmax())
    assert explanation.probabilities[:, 0].tolist() == [1.0, 1.0]
    assert explanation.diagnosis == [None, None]


def test_clipped_value_is_not_called_a_probability() -> None:
    """A value of 5, clipped: its gradient is zero, but it is no probability."""
    sentence = only_sentence(explained(layers.Lambda(lambda features: tf.clip_by_value(100.0 * features, 0.0, 5.0))))
    assert "gradient is zero everywhere" in sentence
    assert "saturated" not in sentence


def test_layer_of_one_cell() -> None:
    images = keras.Input((6, 10, 1))
    steps = [layers.Conv2D(2, 1, name="cells"), layers.Conv2D(2, (6, 10), name="whole"), layers.Flatten()]
    steps += [layers.Dense(2)]
    outputs: Any = images
    for step in steps:
        outputs = step(outputs)
    explanation = Explainer(keras.Model(images, outputs), "whole")(IMAGES, 0)
    assert explanation.raw.shape == (2, 1, 1)
    for sentence in explanation.diagnosis:
        assert "layer 'whole' has a single cell per image" in str(sentence)
        assert "choose an earlier layer, such as 'cells'" in str(sentence)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_image_is_told_apart_from_its_neighbour(bad: float) -> None:
    images = IMAGES.copy()
    images[1, 0, 0] = bad
    explanation = explained(dense(1.0, -1.0), images=images)
    assert explanation.diagnosis[0] is None
    assert "the image holds NaN or infinite values" in str(explanation.diagnosis[1])
    assert "check how it was loaded and scaled" in str(explanation.diagnosis[1])


def test_model_that_overflows() -> None:
    """1e30 squared is beyond float32, though the picture is not."""
    head = [layers.Lambda(lambda features: tf.square(features * 1e30)), dense(1.0, 1.0)]
    sentence = only_sentence(explained(*head))
    assert "map holds NaN or infinite values although the image does not" in sentence
    assert "load the model in float32" in sentence


def test_half_precision_that_overflows() -> None:
    """Pixels of 1e3 times a kernel of 1e3 are 1e6, beyond the 65504 of float16."""
    cells = layers.Conv2D(1, 1, kernel_initializer=constant(1e3), name="cells", dtype="mixed_float16")
    model = keras.Sequential([keras.Input((6, 10, 1)), cells, layers.GlobalAveragePooling2D(), dense(1.0, 1.0)])
    assert "although the image does not" in only_sentence(Explainer(model, "cells")(1e3 + 0 * IMAGES, 0))


def test_weights_that_are_not_finite() -> None:
    assert "non-finite weights" in only_sentence(explained(dense(float("nan"), 1.0)))


def test_black_picture() -> None:
    """Nothing is active, so no cell speaks for or against; the sentence does not blame the class or the gradient."""
    sentence = only_sentence(drawn(np.zeros((1, 6, 10))))
    assert sentence.startswith("all activations of layer 'cells' are zero here")
    assert "explain the predicted class" not in sentence


def test_diagnosis_is_one_per_image() -> None:
    """A picture of two colours, a white one, a black one, and one that is not finite."""
    images = np.stack([np.eye(6, 10), np.ones((6, 10)), np.zeros((6, 10)), np.full((6, 10), np.nan)])
    drawing, white, black, bad = drawn(images).diagnosis
    assert drawing is None
    assert "the map is the same everywhere" in str(white)
    assert "all activations of layer 'cells' are zero" in str(black)
    assert "the image holds NaN" in str(bad)


def test_cause_that_lies_deepest_is_told() -> None:
    """An image that is not finite makes a map that is not, of which one cell is one: the first cause is the cause."""
    given: dict[str, Any] = {"saturated_probability": None, "layer": "conv", "label": "cat", "score": 1.0}
    bad, blank, one = np.full((6, 10), np.nan), np.zeros((6, 10)), np.full((1, 1), np.nan)
    assert "the image holds" in str(diagnose(bad, gradient_peak=np.nan, finite_image=False, **given))
    assert "the map holds" in str(diagnose(one, gradient_peak=1.0, finite_image=True, **given))
    assert "the map holds" in str(diagnose(blank, gradient_peak=np.inf, finite_image=True, **given))
    assert "single cell" in str(diagnose(blank[:1, :1], gradient_peak=0.0, finite_image=True, **given))


GIVEN: dict[str, Any] = {
    **{"gradient_peak": 1.0, "finite_image": True, "saturated_probability": None},
    **{"layer": "conv", "label": "cat", "score": 1.0},
}
SLOPE = np.linspace(1.0, 2.0, 60).reshape(6, 10)


# Maps that are the same everywhere.


def test_flat_map_is_told_with_its_layer_and_remedy() -> None:
    """One colour, one value: 2 times the pixel in every cell."""
    explanation = explained(dense(1.0, -1.0), images=np.full((1, 6, 10, 1), 0.5, np.float32))
    np.testing.assert_array_equal(explanation.heatmaps, np.ones((1, 6, 10)))
    (sentence,) = explanation.diagnosis
    assert "the map is the same everywhere: all cells of layer 'cells' count alike for 'class 0'" in str(sentence)
    assert "choose an earlier layer" not in str(sentence)  # there is none
    assert "no earlier layer of the model has several cells" in str(sentence)


@pytest.mark.parametrize(("slope", "is_flat"), [(1e-6, True), (1e-4, False)])
def test_flat_is_what_only_rounding_tells_apart(slope: float, is_flat: bool) -> None:
    raw = (1 + slope * (SLOPE - 1)).astype(np.float32)
    assert (diagnose(raw, **GIVEN) is not None) is is_flat
    assert (diagnose(1e-20 * raw, **GIVEN) is not None) is is_flat


def test_flat_map_that_speaks_against_is_told_as_blank() -> None:
    assert "every cell speaks against 'cat'" in str(diagnose(-np.ones((6, 10)), **GIVEN))


# Signed maps.


def test_signed_map_that_only_speaks_against_points_to_its_picture() -> None:
    """The score is minus the class's own: all cells are below zero, and the signed picture shows by how much."""
    explanation = explained(dense(1.0, -1.0), target=Counterfactual(0))
    assert (explanation.signed_heatmaps < 0).all()
    assert "speaks against 'against class 0' and none for it" in only_sentence(explanation)
    assert "see explanation.signed_heatmaps" in only_sentence(explanation)


def test_signed_map_is_blank_or_flat_like_any_other() -> None:
    assert diagnose(SLOPE - 1.5, **GIVEN, signed=True) is None
    assert "the same everywhere" in str(diagnose(-np.ones((6, 10)), **GIVEN, signed=True))
    assert "are negative or zero" in str(diagnose(np.zeros((6, 10)), **GIVEN, signed=True))
    assert "its contributions cancel out" in str(diagnose(SLOPE * 1e-8, **GIVEN, signed=True, rounding=1e-6))
    assert "activations of layer 'conv' are zero" in str(
        diagnose(np.zeros((6, 10)), **GIVEN, signed=True, activation_peak=0.0)
    )


# Rules that look at no gradient.


@pytest.mark.parametrize("method", ["random", "eigencam", "fem"])
def test_rule_of_activations_is_not_told_of_gradients(method: str) -> None:
    """A black picture: the layer's activations are all zero, and what they are weighed by does not count."""
    cells = layers.Conv2D(2, 1, use_bias=False, name="cells")
    model = keras.Sequential([keras.Input((6, 10, 1)), cells, layers.GlobalAveragePooling2D(), layers.Dense(2)])
    sentence = only_sentence(Explainer(model, "cells", method)(0 * IMAGES, 0))
    assert "all activations of layer 'cells' are zero" in sentence
    assert "gradient" not in sentence


def test_blank_map_of_random_weights_is_not_called_a_matter_of_the_class() -> None:
    """Four positive channels, ordered by chance: on which side of zero their weighted sum lies is chance as well."""
    draw = np.random.default_rng(5)
    pictures = draw.uniform(0.1, 1.0, (32, 6, 10, 4)).astype(np.float32)
    cells = layers.Conv2D(4, 1, name="cells")
    model = keras.Sequential([keras.Input((6, 10, 4)), cells, layers.GlobalAveragePooling2D(), layers.Dense(2)])
    cells.set_weights([np.eye(4)[None, None], np.ones(4)])
    explanation = Explainer(model, "cells", "random")(pictures, 0)
    blank = [told for told, raw in zip(explanation.diagnosis, explanation.raw, strict=True) if raw.max() <= 0]
    assert blank
    for sentence in blank:
        assert "no cell of layer 'cells' is above zero; this method reads the activations only" in str(sentence)
        assert "gradient" not in str(sentence)


def test_rule_that_asks_the_model_again_is_not_told_of_gradients() -> None:
    given = {**GIVEN, "gradient_peak": 0.0, "needs": "probing"}
    assert "no channel of layer 'conv' changes the score" in str(diagnose(np.zeros((6, 10)), **given))


def test_class_maps_tell_what_their_rule_looks_at() -> None:
    cells = layers.Conv2D(2, 1, use_bias=False, name="cells")
    model = keras.Sequential([keras.Input((6, 10, 1)), cells, layers.GlobalAveragePooling2D(), layers.Dense(2)])
    maps = Explainer(model, "cells", "eigencam").class_maps(0 * IMAGES)
    assert "all activations of layer 'cells' are zero" in only_sentence(maps.of_class(1))


# Four causes of a map that shows nothing, each with a remedy that is then followed.


def kinds_model(kind: str, dtype: str = "float32") -> keras.Model:
    """Two classes over the mean of two channels of layer `late`, behind the layer `early` of the same cells."""
    late: Any = {
        "dead": layers.Conv2D(2, 1, activation="relu", bias_initializer=constant(-100.0), name="late", dtype=dtype),
        "flat": layers.Conv2D(2, (6, 10), padding="same", kernel_initializer="zeros", name="late", dtype=dtype),
    }.get(kind, layers.Conv2D(2, 1, kernel_initializer="ones", name="late", dtype=dtype))
    head = {
        "against": dense_of([[-1.0, -2.0], [-1.0, -2.0]]),
        "zero": dense_of([[0.0, 0.0], [0.0, 0.0]]),
        "cancelled": dense_of([[1.0, -1.0], [-1.0, 1.0]]),
    }.get(kind, dense_of([[1.0, -1.0], [1.0, -1.0]]))
    if kind == "flat":
        late.bias_initializer = constant(1.0)
    first = layers.Conv2D(2, 1, kernel_initializer="ones", name="early")
    steps = [keras.Input((6, 10, 1)), first, late, layers.GlobalAveragePooling2D(), head]
    model = keras.Sequential([*steps, layers.Softmax()])
    if kind == "cancelled":  # thirds and tenths, a few roundings apart
        late.set_weights([np.full((1, 1, 2, 2), 1 / 3), np.array([0.1, 0.1 + 3e-8])])
    return model


def dense_of(kernel: list[list[float]]) -> layers.Dense:
    return layers.Dense(2, kernel_initializer=keras.initializers.Constant(np.array(kernel)), use_bias=False)


KINDS = {
    "dead": "all activations of layer 'late' are zero here",
    "against": "every cell speaks against 'class 0'",
    "zero": "the gradient is zero everywhere",
    "flat": "the map is the same everywhere",
    "cancelled": "its contributions cancel out, up to rounding",
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_blank_maps_are_told_apart(kind: str) -> None:
    for sentence in Explainer(kinds_model(kind), "late")(IMAGES).diagnosis:
        assert str(sentence).startswith(KINDS[kind]) or KINDS[kind] in str(sentence)
        assert sum(words in str(sentence) for words in KINDS.values()) == 1


@pytest.mark.parametrize("kind", ["dead", "against", "flat", "cancelled"])
def test_kinds_are_the_same_in_maps_of_many_classes(kind: str) -> None:
    explainer = Explainer(kinds_model(kind), "late")
    assert explainer.class_maps(IMAGES).of_class(0).diagnosis == explainer(IMAGES, 0).diagnosis


@pytest.mark.parametrize("method", ["gradcam_pp", "hirescam", "layercam", "eigengradcam", "scorecam", "ablationcam"])
def test_dead_layer_is_called_dead_by_every_method(method: str) -> None:
    for sentence in Explainer(kinds_model("dead"), "late", method)(IMAGES).diagnosis:
        assert KINDS["dead"] in str(sentence)


def test_remedy_for_the_predicted_class_is_not_to_explain_it() -> None:
    predicted, other = (Explainer(kinds_model("against"), "late")(IMAGES[:1], target) for target in (None, 1))
    assert "explain the predicted class" not in str(predicted.diagnosis[0])
    assert "choose another method; choose an earlier layer, such as 'early'" in str(predicted.diagnosis[0])
    assert "explain the predicted class (target=None)" in str(other.diagnosis[0])


def test_layer_that_the_remedy_names_can_be_explained() -> None:
    model = kinds_model("dead")
    sentence = Explainer(model, "late")(IMAGES).diagnosis[0]
    assert "choose another layer (list_layers(model) lists them)" in str(sentence)
    assert Explainer(model, "early")(IMAGES).diagnosis != [sentence] * 2


@pytest.mark.parametrize("kind", ["dead", "against", "flat"])
def test_remedies_have_a_spelling_for_each_place(kind: str) -> None:
    sentence = Explainer(kinds_model(kind), "late")(IMAGES).diagnosis[0]
    assert "list_layers(model)" in str(sentence)
    assert "`tf-gradcam layers MODEL`" in for_command_line(sentence)
    for code in ("list_layers", "tf-gradcam", "explanation.", "target="):
        assert code not in for_page(sentence)
    assert "layer" in for_page(sentence)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_flat_within_the_rounding_of_halves(dtype: str) -> None:
    """A slope of half a rounding of the layer's precision is no place; forty roundings are one."""
    step = {"float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    model = kinds_model("readable", dtype)
    for size, is_flat in ((0.4, True), (40.0, False)):
        images = np.full((1, 6, 10, 1), 0.25, np.float32)
        images[:, :3] *= 1 + size * step
        assert ("same everywhere" in str(Explainer(model, "late")(images).diagnosis[0])) is is_flat


def test_sum_that_cancels_up_to_rounding_is_not_drawn_as_a_place() -> None:
    """The two channels cancel to 1e-8 or so, which normalised would look like a map."""
    explanation = Explainer(kinds_model("cancelled"), "late")(IMAGES, 0)
    assert 0 < np.abs(explanation.raw).max() < 1e-7
    assert all(KINDS["cancelled"] in str(sentence) for sentence in explanation.diagnosis)
