"""The family as a table, and as the explainer runs it on a model."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.features import RULES
from tests.helpers.slow import every, first
from tests.twins import fullgrad as fullgrad_twin
from tests.twins import probing as probing_twins
from tests.twins.gradients import TWINS, assert_close, twin_map
from tf_gradcam import METHODS, Explainer
from tf_gradcam._explain.passes import normalise
from tf_gradcam._rules.table import describe, find_method

pytestmark = pytest.mark.core
IMAGES = np.random.default_rng(4).random((3, 6, 10, 3), np.float32)

# The table


def test_every_method_has_a_twin() -> None:
    twins = {**TWINS, **probing_twins.TWINS, **fullgrad_twin.TWINS}
    assert set(twins) == set(METHODS)
    assert len(twins) == len(TWINS) + len(probing_twins.TWINS) + len(fullgrad_twin.TWINS)


def test_method_names_are_those_of_their_rules() -> None:
    assert [rule.__name__ for rule in METHODS.values()] == list(METHODS)


def test_the_default_method_comes_first() -> None:
    assert next(iter(METHODS)) == "gradcam"


@pytest.mark.parametrize("name", METHODS)
def test_method_says_what_it_does_and_costs_and_where_it_comes_from(name: str) -> None:
    info = describe(name)
    assert info.name == name
    assert info.summary.endswith(".")
    assert "\n" not in info.summary
    assert "forward pass" in info.cost
    assert "https://" in info.source
    assert "Deviation" not in info.source
    assert "Deviation: " in (METHODS[name].__doc__ or "")


def test_describe_reads_the_docstring() -> None:
    def loudest(activations: Any, gradients: Any) -> Any:
        """Only the loudest channel counts.

        Source: a letter of
        1805, p. 3. Deviation: none.
        Cost: 1 forward pass and
            a stamp.
        """

    info = describe(loudest)
    assert (info.name, info.summary) == ("loudest", "Only the loudest channel counts.")
    assert (info.source, info.cost) == ("a letter of 1805, p. 3", "1 forward pass and a stamp")


def test_describe_of_a_rule_without_docstring_is_empty() -> None:
    info = describe(lambda activations, gradients: gradients)
    assert (info.summary, info.cost, info.source) == ("", "", "")


def test_find_method_takes_names_and_callables() -> None:
    assert find_method("layercam") == ("layercam", METHODS["layercam"])
    assert find_method(normalise) == ("normalise", normalise)


def test_unknown_method_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"Unknown method 'grad-cam'\. Did you mean 'gradcam'"):
        find_method("grad-cam")


def test_method_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="method as a name or a callable, received int"):
        find_method(3)  # type: ignore[arg-type]


# Models


def classifier(activation: str, tail: list[keras.layers.Layer]) -> keras.Model:
    keras.utils.set_random_seed(3)
    images = keras.Input((6, 10, 3))
    features = images
    layers = [keras.layers.Conv2D(7, 3, padding="same", activation=activation, name="features"), *tail]
    for layer in layers:
        features = layer(features)
    return keras.Model(images, features)


def pooled(activation: str, use_bias: bool = False) -> keras.Model:
    keras.utils.set_random_seed(2)  # an initializer draws its seed when it is made
    dense = keras.layers.Dense(4, use_bias=use_bias, bias_initializer="ones")
    return classifier(activation, [keras.layers.GlobalAveragePooling2D(), dense])


@functools.cache
def explained(activation: str, method: str, use_bias: bool = False) -> Any:
    return Explainer(pooled(activation, use_bias), "features", method)(IMAGES, target=1)


@pytest.mark.parametrize("use_bias", first(1, [True, False]))
@pytest.mark.parametrize("activation", first(1, ["relu", "silu"]))
def test_maps_of_a_pooled_linear_tail_sum_to_the_score(activation: str, use_bias: bool) -> None:
    """The bias, here one, belongs to no cell. Cells of either sign cancel, so their absolute sum sets the tolerance."""
    for method in ("gradcam", "xgradcam", "hirescam", "shapleycam"):
        explanation = explained(activation, method, use_bias)
        tolerance = 2e-6 * np.abs(explanation.raw).sum(axis=(1, 2)).max()
        received = explanation.raw.sum(axis=(1, 2)) + use_bias
        np.testing.assert_allclose(received, explanation.scores, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("method", ["xgradcam", "hirescam", "shapleycam"])
@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_rules_agree_with_gradcam_on_a_pooled_linear_tail(activation: str, method: str) -> None:
    assert_close(explained(activation, method).raw, explained(activation, "gradcam").raw)


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_cam_is_the_kernel_times_the_activations(activation: str) -> None:
    model = pooled(activation)
    activations = np.asarray(model.get_layer("features")(IMAGES))
    raw = explained(activation, "cam").raw
    assert_close(raw, activations @ np.asarray(model.layers[-1].kernel)[:, 1])
    assert_close(raw, 60 * explained(activation, "gradcam").raw)


def test_shapleycam_of_a_quadratic_score_is_half_of_gradcam() -> None:
    """y = sum_k v_k p_k^2 of the pooled activations p: H A equals the gradient, so G - H A / 2 is half of it."""
    square = keras.layers.Lambda(lambda features: features**2)
    model = classifier("silu", [keras.layers.GlobalAveragePooling2D(), square, keras.layers.Dense(4)])
    gradcam, shapleycam = (Explainer(model, "features", method) for method in ("gradcam", "shapleycam"))
    assert_close(shapleycam(IMAGES, target=1).raw, 0.5 * gradcam(IMAGES, target=1).raw)


@functools.cache
def bent() -> keras.Model:
    """A tail with slopes that differ from cell to cell and with curvature."""
    conv = keras.layers.Conv2D(5, 3, activation="tanh")
    return classifier("silu", [conv, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)])


@functools.cache
def derivatives() -> dict[str, np.ndarray]:
    """Activations, gradients and curvature of class 1, taken apart from the package: forward over reverse."""
    first, *tail = bent().layers[1:]
    activations = first(IMAGES)
    with tf.autodiff.ForwardAccumulator(activations, activations) as accumulator:
        with tf.GradientTape() as tape:
            tape.watch(activations)
            outputs = activations
            for layer in tail:
                outputs = layer(outputs)
            score = tf.reduce_sum(outputs[:, 1])
        gradients = tape.gradient(score, activations)
    arrays = {"activations": activations, "gradients": gradients, "curvature": accumulator.jvp(gradients)}
    return {name: np.asarray(array) for name, array in arrays.items()}


@pytest.mark.parametrize("name", every(3, [name for name in RULES if not getattr(METHODS[name], "requires", None)]))
def test_explainer_equals_the_twin_on_a_curved_tail(name: str) -> None:
    explanation = Explainer(bent(), "features", name)(IMAGES, target=1)
    expected = twin_map(name, derivatives())
    assert_close(explanation.raw, expected, 2e-5)
    np.testing.assert_allclose(explanation.heatmaps, normalise(tf.constant(expected)), rtol=0.0, atol=1e-4)
