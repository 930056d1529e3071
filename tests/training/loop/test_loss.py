"""The loss of a training against its formulas, in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from training.loop.loss import CrossEntropy, Mixing, balanced

LABELS = np.array([0, 2, 1, 2, 2], np.int32)


@pytest.fixture(scope="module")
def probabilities() -> np.ndarray:
    values = np.random.default_rng(0).uniform(0.1, 1, (5, 3))
    return (values / values.sum(axis=1, keepdims=True)).astype(np.float32)


def of(loss: CrossEntropy, labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    return np.asarray(loss.call(keras.ops.convert_to_tensor(labels), keras.ops.convert_to_tensor(probabilities)))


def mixed(alpha: float = 0.4) -> tuple[Mixing, np.ndarray, np.ndarray, float]:
    """A layer after a batch, the batch, what became of it, and its share."""
    layer = Mixing(alpha, seed=0)
    batch = np.random.default_rng(1).normal(size=(5, 2, 3)).astype(np.float32)
    return layer, batch, np.asarray(layer(batch, training=True)), float(layer.share)


def test_without_options_it_is_the_cross_entropy(probabilities):
    np.testing.assert_allclose(
        of(CrossEntropy(), LABELS, probabilities), -np.log(probabilities[range(5), LABELS]), 1e-5
    )


def test_smoothing_shares_a_part_of_the_target_over_all_classes(probabilities):
    expected = -0.7 * np.log(probabilities[range(5), LABELS]) - 0.3 * np.log(probabilities).mean(axis=1)
    np.testing.assert_allclose(of(CrossEntropy(0.3), LABELS, probabilities), expected, 1e-5)


def test_balanced_weights_give_each_class_the_same_share():
    """Of N samples and K classes each class weighs N / K."""
    weights = balanced(LABELS, 3)
    np.testing.assert_allclose(np.bincount(LABELS, weights[LABELS]), [5 / 3] * 3)


def test_weights_are_those_of_the_true_class(probabilities):
    weights = np.array([2.0, 3.0, 5.0])
    expected = of(CrossEntropy(), LABELS, probabilities) * weights[LABELS]
    np.testing.assert_allclose(of(CrossEntropy(weights=weights), LABELS, probabilities), expected, 1e-5)


def test_each_sample_is_mixed_with_the_one_before():
    _, batch, result, share = mixed()
    assert 0.5 <= share < 1
    for place in range(5):
        np.testing.assert_allclose(result[place], share * batch[place] + (1 - share) * batch[place - 1], 1e-5, 1e-6)


def test_losses_are_mixed_as_the_samples_are(probabilities):
    layer, _, _, share = mixed()
    plain = [of(CrossEntropy(), labels, probabilities) for labels in (LABELS, np.roll(LABELS, 1))]
    expected = share * plain[0] + (1 - share) * plain[1]
    np.testing.assert_allclose(of(CrossEntropy(mixing=layer), LABELS, probabilities), expected, 1e-5)


def test_nothing_is_mixed_in_inference_and_the_loss_knows(probabilities):
    layer, batch, _, _ = mixed()
    np.testing.assert_array_equal(layer(batch), batch)
    plain = of(CrossEntropy(), LABELS, probabilities)
    np.testing.assert_allclose(of(CrossEntropy(mixing=layer), LABELS, probabilities), plain, 1e-5)


def test_a_share_is_drawn_for_each_batch_from_the_folded_beta_distribution():
    """The mean of max(b, 1 - b) for b of Beta(1, 1), the uniform distribution, is 3/4, its variance 1/48."""
    layer = Mixing(1.0, seed=0)
    shares = []
    for _ in range(400):
        layer(np.zeros((2, 1), np.float32), training=True)
        shares.append(float(layer.share))
    assert abs(np.mean(shares) - 0.75) < 4 * (1 / 48 / 400) ** 0.5


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="XLA of JAX can draw it")
def test_a_model_that_mixes_trains_where_xla_is_asked_for(probabilities):
    """As Keras does by itself where TensorFlow has a GPU; XLA cannot draw a share there."""
    inputs = keras.Input((3,))
    mixing = Mixing(1.0, seed=0)
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(mixing(inputs)))
    with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`"):
        model.compile("sgd", CrossEntropy(mixing=mixing), jit_compile=True)
    assert np.isfinite(model.fit(probabilities, LABELS, verbose=0).history["loss"]).all()


def test_a_model_that_mixes_tells_the_plain_loss_of_the_validation(probabilities):
    inputs = keras.Input((3,))
    mixing = Mixing(1.0, seed=0)
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax", kernel_initializer="identity")(mixing(inputs)))
    model.compile(keras.optimizers.SGD(0.0), CrossEntropy(mixing=mixing))
    fed = np.log(probabilities)  # softmax turns them back
    history = model.fit(fed, LABELS, validation_data=(fed, LABELS), epochs=3, verbose=0).history
    plain = float(of(CrossEntropy(), LABELS, probabilities).mean())
    np.testing.assert_allclose(history["val_loss"], [plain] * 3, 1e-5)
    assert not np.isclose(history["loss"], plain, rtol=1e-4).any()
