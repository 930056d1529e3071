"""Sanity checks: maps that follow the model pass, maps that survive its destruction do not."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from tf_gradcam import Explainer
from tf_gradcam.audit import sanity
from tf_gradcam.audit.sanity import check_logits, check_weights, explained_by, sanity_checks
from tf_gradcam.metrics.intervals import Interval

IMAGES = np.random.default_rng(3).random((12, 12, 20, 3), np.float32)
CLASSES = np.arange(12) % 4


def trained_model(seed: int = 0) -> keras.Model:
    """A network whose head has another direction for each class."""
    model = keras.Sequential(
        [
            layers.Input((12, 20, 3)),
            layers.Conv2D(8, 3, padding="same", activation="relu", name="conv1"),
            layers.BatchNormalization(name="norm"),
            layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2"),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5, seed=5),
            layers.Dense(4, activation="softmax", name="head"),
        ]
    )
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        size = np.sqrt(2 / np.prod(variable.shape[:-1])) if len(variable.shape) > 1 else 0.1
        drawn = generator.normal(0, size, variable.shape)
        variable.assign(np.abs(drawn) + 0.5 if "variance" in variable.name else drawn)
    return model


def state_of(model: keras.Model) -> list[bytes]:
    """Of everything that has a state: weights, seeds, and the optimizer's."""
    variables = [*model.variables, *(model.optimizer.variables if model.compiled else [])]
    return [np.array(variable.numpy()).tobytes() for variable in variables]


def whole(images: np.ndarray) -> np.ndarray:
    return images.mean(axis=-1)


def brightness(images: np.ndarray, indices: list[int]) -> np.ndarray:
    """Return a map of the image alone, as an edge detector does, without the model."""
    return np.abs(np.diff(whole(images), axis=1, prepend=0))


def centre(images: np.ndarray, indices: list[int]) -> np.ndarray:
    y, x = np.linspace(-1, 1, 12), np.linspace(-1, 1, 20)
    return np.broadcast_to(np.exp(-(y[:, None] ** 2) - x**2), (len(images), 12, 20))


# Verdicts.


def test_gradcam_depends_on_the_head() -> None:
    weights, logits = sanity_checks(trained_model(), IMAGES, CLASSES, layer="conv2")
    assert (weights.name, logits.name) == ("weights", "logits")
    assert logits.is_passed
    assert logits.stages == ["head"]
    assert weights.stages == ["head", "conv2", "norm", "conv1"]
    assert weights.is_passed
    assert "'gradcam' change when its head is random" in logits.sentence


def test_eigencam_does_not_know_the_head() -> None:
    """It reads activations alone: whatever the head, the very same map."""
    logits = sanity_checks(trained_model(), IMAGES, CLASSES, layer="conv2", method="eigencam")[1]
    np.testing.assert_allclose(logits.similarities[0].value, 1.0, rtol=1e-6)
    assert not logits.is_passed
    assert "'eigencam' stay the same when its head is random" in logits.sentence
    assert "do not trust them" in logits.sentence


@pytest.mark.parametrize("explain", [brightness, centre])
def test_map_that_asks_no_model_survives_everything(explain: Any) -> None:
    for check in (check_weights, check_logits):
        found = check(trained_model(), explain, IMAGES, CLASSES, method="m")
        assert not found.is_passed
        np.testing.assert_allclose([one.value for one in found.similarities], 1.0, rtol=1e-12)


def test_noise_that_is_another_at_each_call_passes() -> None:
    """It shows nothing, but nothing that survives: the check is necessary, not sufficient."""
    generator = np.random.default_rng(0)
    found = check_weights(
        trained_model(), lambda images, indices: generator.random((len(images), 12, 20)), IMAGES, CLASSES, method="m"
    )
    assert found.is_passed
    assert all(abs(one.value) < 0.1 for one in found.similarities)


def test_sentence_names_the_layer_from_which_maps_are_lost() -> None:
    """A map that is the kernel of conv2: the same as long as the head alone is random, another from there on."""
    model = trained_model()

    def explain(images: np.ndarray, indices: list[int]) -> np.ndarray:
        kernel = np.array(model.get_layer("conv2").kernel.numpy()).reshape(1, 24, 24)
        return np.repeat(kernel, len(images), axis=0)

    found = check_weights(model, explain, IMAGES, CLASSES, method="m")
    np.testing.assert_allclose(found.similarities[0].value, 1.0)
    assert all(abs(one.value) < 0.2 for one in found.similarities[1:])
    assert "below 0.5 from 'conv2' on down" in found.sentence


def test_blank_map_of_a_random_model_has_not_survived() -> None:
    model = trained_model()
    head = np.array(model.get_layer("head").kernel.numpy())

    def explain(images: np.ndarray, indices: list[int]) -> np.ndarray:
        is_trained = np.array_equal(model.get_layer("head").kernel.numpy(), head)
        return whole(images) * is_trained

    found = check_logits(model, explain, IMAGES, CLASSES, method="m")
    assert found.is_passed
    assert found.similarities == [Interval(0.0, 0.0, 0.0)]


def test_maps_without_a_pattern_say_nothing() -> None:
    found = check_logits(
        trained_model(), lambda images, indices: np.ones((len(images), 12, 20)), IMAGES, CLASSES, method="m"
    )
    assert not found.is_passed
    assert np.isnan(found.similarities[0].value)
    assert "no pattern in any image" in found.sentence


def test_structural_similarity_may_be_asked_for() -> None:
    found = check_logits(trained_model(), centre, IMAGES, CLASSES, method="m", similarity="structural similarity")
    np.testing.assert_allclose(found.similarities[0].value, 1.0, rtol=1e-12)
    assert "structural similarity 1.00" in found.sentence


# The model.


def test_everything_is_put_back_bit_for_bit() -> None:
    model = trained_model()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(IMAGES, CLASSES, verbose=0)
    before, random_state = state_of(model), np.random.get_state()[1].tobytes()
    sanity_checks(model, IMAGES, CLASSES, layer="conv2")
    assert state_of(model) == before
    assert np.random.get_state()[1].tobytes() == random_state


@pytest.mark.parametrize("check", [check_weights, check_logits])
def test_everything_is_put_back_after_an_exception(check: Any) -> None:
    model = trained_model()
    before = state_of(model)
    calls = []

    def explain(images: np.ndarray, indices: list[int]) -> np.ndarray:
        calls.append(state_of(model) != before)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return centre(images, indices)

    with pytest.raises(RuntimeError, match="out of memory"):
        check(model, explain, IMAGES, CLASSES, method="m")
    assert calls == [False, True]  # it was random when that happened
    assert state_of(model) == before


def test_frozen_explainer_is_as_good_afterwards_as_before() -> None:
    model = trained_model()
    frozen = Explainer(model, "conv2", freeze=True)
    before = frozen(IMAGES, CLASSES.tolist()).heatmaps
    weights, _ = sanity_checks(model, IMAGES, CLASSES, layer="conv2")
    assert weights.is_passed  # so it was not the frozen one that was asked
    np.testing.assert_array_equal(frozen(IMAGES, CLASSES.tolist()).heatmaps, before)


def test_frozen_explainer_itself_cannot_be_checked() -> None:
    """Its weights are constants: the change is refused in words, and not taken for maps that survive."""
    model = trained_model()
    frozen = Explainer(model, "conv2", freeze=True)
    frozen(IMAGES, CLASSES.tolist())
    before = state_of(model)
    with pytest.raises(ValueError, match="frozen"):
        check_logits(model, explained_by(frozen), IMAGES, CLASSES, method="gradcam")
    assert state_of(model) == before


def test_fused_layers_and_one_sigmoid_unit_can_be_checked() -> None:
    body = trained_model()
    unit = layers.Dense(1, activation="sigmoid", name="unit")(body.layers[-2].output)
    model = keras.Model(body.inputs, unit)
    before = state_of(model)
    weights, logits = sanity_checks(model, IMAGES, CLASSES % 2, layer=["conv1", "conv2"])
    assert weights.stages[0] == logits.stages[0] == "unit"
    assert all(np.isfinite(one.value) for one in [*weights.similarities, *logits.similarities])
    assert state_of(model) == before


# Numbers.


def test_same_seed_same_numbers() -> None:
    model = trained_model()
    results = [sanity_checks(model, IMAGES, CLASSES, layer="conv2", seed=seed) for seed in (0, 0, 1)]
    assert results[0] == results[1] != results[2]


def test_images_are_explained_in_calls_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanity, "_BATCH_SIZE", 5)
    sizes: list[int] = []

    def explain(images: np.ndarray, indices: list[int]) -> np.ndarray:
        assert len(images) == len(indices)
        sizes.append(len(images))
        return centre(images, indices)

    check_logits(trained_model(), explain, IMAGES, CLASSES, method="m", num_draws=1)
    assert sizes == [5, 5, 2] * 2


def test_bad_arguments_are_refused() -> None:
    model = trained_model()
    with pytest.raises(ValueError, match=r"Unknown similarity 'rank'\. Did you mean 'rank correlation'"):
        sanity_checks(model, IMAGES, CLASSES, layer="conv2", similarity="rank")
    with pytest.raises(ValueError, match="a class index for each, received 12 and 1"):
        check_logits(model, centre, IMAGES, [1], method="m")
    with pytest.raises(ValueError, match="num_draws of at least 1"):
        check_logits(model, centre, IMAGES, CLASSES, method="m", num_draws=0)
    with pytest.raises(ValueError, match="num_stages of at least 1"):
        check_weights(model, centre, IMAGES, CLASSES, method="m", num_stages=0)


# Values.


def test_signed_maps_of_a_value_change_with_the_head_and_activations_alone_do_not() -> None:
    trunk = trained_model()
    pooled = trunk.layers[-2].output
    model = keras.Model(trunk.inputs, layers.Dense(1, name="value")(pooled))
    zeros = [0] * len(IMAGES)
    of_gradients = sanity_checks(model, IMAGES, zeros, layer="conv2", task="regression")
    assert [check.is_passed for check in of_gradients] == [True, True]
    of_activations = sanity_checks(model, IMAGES, zeros, layer="conv2", method="eigencam", task="regression")[1]
    assert not of_activations.is_passed
