"""The end of a model opened: what goes into its softmax or sigmoid, wherever that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_gradcam._models.split import are_probabilities, open_head, probabilities

pytestmark = pytest.mark.core
LOGITS = np.array([[1.0, -2.0, 0.5], [30.0, 0.0, -3.0]], np.float32)
DROPOUT = keras.layers.Dropout(0.5)
UNIT = np.array([[2.0], [-0.5]], np.float32)


def opened(head: Callable[[Any], Any], logits: np.ndarray = LOGITS) -> dict[str, Any]:
    """`open_head` of what `head` makes of logits, with `probabilities`, as traced and run."""
    kinds = []

    def run(tensor: tf.Tensor) -> dict[str, Any]:
        found = open_head(head(tensor))
        kinds.append(found.kind)
        values = probabilities(found)
        results = {"logits": found.logits, "output": found.output}
        return results if values is None else {**results, "probabilities": values}

    signature = [tf.TensorSpec((None, *logits.shape[1:]), logits.dtype)]
    results = tf.function(run, input_signature=signature, autograph=False)(logits)
    return {"kind": kinds[0], **{name: value.numpy() for name, value in results.items()}}


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize(
    "head",
    [
        tf.nn.softmax,
        keras.activations.softmax,
        keras.ops.softmax,
        keras.layers.Softmax(),
        keras.layers.Activation("softmax"),
        lambda logits: tf.identity(tf.nn.softmax(logits)),
        lambda logits: tf.reshape(tf.nn.softmax(logits[:, None, None]), (-1, 3)),
        lambda logits: tf.squeeze(tf.nn.softmax(logits[:, None, None]), (1, 2)),
        lambda logits: tf.cast(tf.nn.softmax(logits), tf.float64),
        lambda logits: DROPOUT(keras.ops.softmax(logits), training=False),
    ],
    ids=["tf", "activation", "ops", "layer", "name", "identity", "reshape", "squeeze", "cast", "dropout"],
)
def test_softmax_is_opened(head: Callable[[Any], Any]) -> None:
    """30 over 0 is a probability of 1 to float32: its logarithm could not tell the logits any more."""
    found = opened(head)
    assert found["kind"] == "softmax"
    assert found["logits"].dtype == np.float32
    np.testing.assert_array_equal(found["logits"], LOGITS)
    np.testing.assert_allclose(found["output"], softmax(LOGITS), rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(found["probabilities"], softmax(LOGITS), rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("head", [tf.sigmoid, keras.activations.sigmoid, keras.layers.Activation("sigmoid")])
def test_sigmoid_is_opened(head: Callable[[Any], Any]) -> None:
    """Several units are several questions: each has its own probability."""
    found = opened(head)
    assert found["kind"] == "sigmoid"
    np.testing.assert_array_equal(found["logits"], LOGITS)
    np.testing.assert_allclose(found["probabilities"], 1 / (1 + np.exp(-LOGITS.astype(float))), rtol=1e-6)


def test_one_sigmoid_unit_has_two_probabilities() -> None:
    found = opened(tf.sigmoid, UNIT)
    expected = 1 / (1 + np.exp(-UNIT))
    np.testing.assert_array_equal(found["logits"], UNIT)
    np.testing.assert_allclose(found["probabilities"], np.concatenate([1 - expected, expected], axis=1), rtol=1e-5)


def test_logits_are_taken_as_they_are() -> None:
    found = opened(tf.identity)
    assert found["kind"] == "linear"
    np.testing.assert_array_equal(found["logits"], LOGITS)
    np.testing.assert_allclose(found["probabilities"], softmax(LOGITS), rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize(
    "head",
    [
        lambda logits: tf.nn.softmax(logits) * 2.0,
        lambda logits: 1.0 - tf.sigmoid(logits),
        lambda logits: logits * tf.sigmoid(logits),
        lambda logits: tf.transpose(tf.nn.softmax(tf.transpose(logits))),
        tf.nn.relu,
        tf.tanh,
    ],
    ids=["scaled", "complement", "swish", "transposed", "relu", "tanh"],
)
def test_what_only_resembles_a_softmax_is_not_opened(head: Callable[[Any], Any]) -> None:
    found = opened(head)
    assert found["kind"] in ("linear", "probability", "bounded")
    np.testing.assert_array_equal(found["logits"], head(tf.constant(LOGITS)))


def test_softmax_that_cannot_be_seen_still_gives_probabilities() -> None:
    """Inside a function of the model's own the softmax is one call; its rows sum to one and are no logits."""
    found = opened(tf.function(tf.nn.softmax))
    assert found["kind"] == "linear"
    np.testing.assert_allclose(found["probabilities"], softmax(LOGITS), rtol=1e-6, atol=1e-30)


def test_half_precision_becomes_float32() -> None:
    found = opened(tf.nn.softmax, LOGITS.astype(np.float16))
    assert found["logits"].dtype == found["output"].dtype == found["probabilities"].dtype == np.float32
    np.testing.assert_array_equal(found["logits"], LOGITS)  # all of them are halves exactly


def test_value_has_no_probability() -> None:
    assert "probabilities" not in opened(tf.identity, UNIT)


def test_map_of_values_has_no_probabilities_and_one_of_a_softmax_has() -> None:
    pixels = np.random.default_rng(0).normal(size=(2, 6, 10, 3)).astype(np.float32)
    assert "probabilities" not in opened(tf.identity, pixels)
    found = opened(tf.nn.softmax, pixels)
    np.testing.assert_array_equal(found["logits"], pixels)
    np.testing.assert_allclose(found["probabilities"], softmax(pixels), rtol=1e-5)


def test_are_probabilities_by_hand() -> None:
    rows = np.array([[0.2, 0.8], [0.2, 0.7], [-0.2, 1.2], [0.0, 1.0], [2.0, 3.0], [np.nan, 1.0]], np.float32)
    assert are_probabilities(tf.constant(rows)).numpy().tolist() == [True, False, False, True, False, False]


def test_log_softmax_is_opened_and_its_probabilities_are_its_powers() -> None:
    found = opened(tf.nn.log_softmax)
    assert found["kind"] == "log_softmax"
    np.testing.assert_array_equal(found["logits"], LOGITS)
    np.testing.assert_allclose(found["output"][0], np.log(softmax(LOGITS))[0], rtol=1e-5)
    np.testing.assert_allclose(found["probabilities"], softmax(LOGITS), rtol=1e-5, atol=1e-30)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


# Outputs that cannot leave [0, 1], and what they are for logits z.
OWN_PROBABILITIES: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], np.ndarray]]] = {
    "average": (lambda z: (tf.sigmoid(z) + tf.sigmoid(-z / 2)) / 2, lambda z: (sigmoid(z) + sigmoid(-z / 2)) / 2),
    "weighted average": (
        lambda z: 0.3 * tf.sigmoid(z) + 0.7 * tf.sigmoid(2 * z),
        lambda z: 0.3 * sigmoid(z) + 0.7 * sigmoid(2 * z),
    ),
    "mean of a stack": (
        lambda z: tf.reduce_mean(tf.stack([tf.sigmoid(z), tf.nn.softmax(z)]), axis=0),
        lambda z: (sigmoid(z) + softmax(z)) / 2,
    ),
    "without background": (lambda z: tf.nn.softmax(z)[:, 1:], lambda z: softmax(z)[:, 1:]),
    "product": (lambda z: tf.sigmoid(z) * tf.nn.softmax(z), lambda z: sigmoid(z) * softmax(z)),
    "complement": (lambda z: 1.0 - tf.sigmoid(z), lambda z: 1 - sigmoid(z)),
    "by hand": (
        lambda z: (lambda powers: powers / (1e-20 + tf.reduce_sum(powers, axis=-1, keepdims=True)))(tf.exp(z - 30)),
        softmax,
    ),
    "sigmoid by hand": (lambda z: 1.0 / (1.0 + tf.exp(-z)), sigmoid),
    "noisy or": (lambda z: 1.0 - (1.0 - tf.sigmoid(z)) * (1.0 - tf.sigmoid(z + 1)), None),  # type: ignore[dict-item]
    "clipped": (lambda z: tf.clip_by_value(z, 0.0, 1.0), lambda z: np.clip(z, 0, 1)),
    "geometric mean": (lambda z: tf.sqrt(tf.sigmoid(z) * tf.sigmoid(-z)), lambda z: np.sqrt(sigmoid(z) * sigmoid(-z))),
}


@pytest.mark.parametrize("name", OWN_PROBABILITIES)
def test_outputs_that_cannot_leave_zero_to_one_are_the_models_own_probabilities(name: str) -> None:
    head, by_hand = OWN_PROBABILITIES[name]
    found = opened(head)
    assert found["kind"] == "probability"
    expected = found["output"] if by_hand is None else by_hand(LOGITS)
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(
    "head",
    [tf.nn.relu, tf.tanh, tf.nn.softplus, lambda z: tf.nn.softmax(z) * 2.0],
)
def test_outputs_with_another_limit_are_not_turned_into_probabilities(head: Callable[[Any], Any]) -> None:
    found = opened(head)
    assert found["kind"] == "bounded"
    np.testing.assert_array_equal(found["probabilities"], np.full(LOGITS.shape, -1))


def test_bounded_outputs_that_sum_to_one_are_probabilities() -> None:
    """As those of sparsemax, which ends in a relu."""
    found = opened(lambda z: tf.nn.relu(2.0 * tf.nn.softmax(z) - tf.nn.softmax(z)))
    assert found["kind"] == "bounded"
    np.testing.assert_allclose(found["probabilities"].sum(axis=-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(found["probabilities"], found["output"])


def test_lengths_are_probabilities_where_none_is_above_one() -> None:
    def capsules(z: Any) -> Any:
        return tf.sqrt(tf.reduce_sum(tf.square(tf.stack([z, z], axis=-1)), axis=-1))

    found = opened(capsules, np.array([[0.1, -0.5, 0.2], [0.1, 0.9, 0.2]], np.float32))
    assert found["kind"] == "length"
    np.testing.assert_allclose(found["probabilities"][0], np.sqrt(2) * np.array([0.1, 0.5, 0.2]), rtol=1e-5)
    np.testing.assert_array_equal(found["probabilities"][1], [-1, -1, -1])


def test_average_of_two_units_is_two_classes_told_apart_by_one_half() -> None:
    found = opened(lambda z: (tf.sigmoid(z) + tf.sigmoid(3 * z)) / 2, UNIT)
    positive = (sigmoid(UNIT) + sigmoid(3 * UNIT)) / 2
    np.testing.assert_allclose(found["probabilities"], np.concatenate([1 - positive, positive], axis=1), rtol=1e-5)
    np.testing.assert_allclose(found["logits"], positive - 0.5, rtol=1e-5)
