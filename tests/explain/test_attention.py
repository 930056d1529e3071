"""AttentionExplainer, and both rollouts: twins in NumPy float64, scores computed by hand from the weights."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.twins.attention import gradient_twin, rollout_twin
from tests.zoo.transformers import WIDTH, block, pictures, seeded, vit, windowed
from tf_gradcam._explain.attention import METHODS, AttentionExplainer, gradient_rollout, rollout
from tf_gradcam._models.preprocessing import ImageRangeWarning


def random_scores(generator: np.random.Generator) -> list[np.ndarray]:
    scores = generator.uniform(size=(3, 2, 4, 5, 5)).astype(np.float32)
    return list(scores / scores.sum(axis=-1, keepdims=True))


def test_rollout_equals_its_twin() -> None:
    scores = random_scores(np.random.default_rng(0))
    received = rollout([tf.constant(layer) for layer in scores]).numpy()
    np.testing.assert_allclose(received, rollout_twin(scores), rtol=1e-5)
    np.testing.assert_allclose(received.sum(axis=-1), 1, rtol=1e-5)


def test_gradient_rollout_equals_its_twin() -> None:
    generator = np.random.default_rng(1)
    scores = random_scores(generator)
    gradients = [generator.normal(size=layer.shape).astype(np.float32) for layer in scores]
    received = gradient_rollout([tf.constant(a) for a in scores], [tf.constant(g) for g in gradients]).numpy()
    np.testing.assert_allclose(received, gradient_twin(scores, gradients), rtol=1e-4, atol=1e-6)


def test_order_of_layers_counts() -> None:
    scores = [tf.constant(layer) for layer in random_scores(np.random.default_rng(2))]
    assert np.abs(rollout(scores) - rollout(scores[::-1])).max() > 1e-3


def scores_by_hand(model: keras.Model, images: np.ndarray, number: int) -> np.ndarray:
    """softmax(q k / sqrt(d)) of one layer, from its weights."""
    layer = model.get_layer(f"block{number}_attention")
    tokens = keras.Model(model.input, model.get_layer(f"block{number}_norm").output)(images).numpy()
    weights = {"/".join(w.path.split("/")[-2:]): w.numpy().astype(np.float64) for w in layer.weights if w.shape}
    query, key = (
        np.einsum("btc,cnd->bntd", tokens, weights[f"{name}/kernel"]) + weights[f"{name}/bias"][:, None]
        for name in ("query", "key")
    )
    powers = np.exp(query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1]))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize(("patch", "prefix", "grid"), [(4, 1, (2, 3)), (2, 3, (4, 6)), (4, 0, (2, 3))])
def test_rollout_of_a_model_follows_its_weights(patch: int, prefix: int, grid: tuple[int, int]) -> None:
    model, images = vit(patch, prefix), pictures()
    matrix = rollout_twin([scores_by_hand(model, images, number) for number in range(2)])
    row = matrix[:, 0, prefix:] if prefix else matrix.mean(axis=1)
    explanation = AttentionExplainer(model)(images)
    np.testing.assert_allclose(explanation.raw, row.reshape(2, *grid), rtol=1e-4)
    assert explanation.image_size == (8, 12)


def test_gradient_rollout_of_one_layer_follows_the_slope_of_the_score() -> None:
    """With one layer the row is mean relu(G A); G is measured by moving the attention a little."""
    model, images = vit(4, 1, depth=1), pictures(1)
    layer, head = model.get_layer("block0_attention"), model.get_layer("head")
    cut = [model.get_layer(name).output for name in ("block0_norm", "positions")]
    normed, tokens = keras.Model(model.input, cut)(images)
    rest = keras.Model(model.get_layer("block0_attended").output, head.input)
    scores = scores_by_hand(model, images, 0).astype(np.float32)

    def logit(matrix: np.ndarray) -> float:
        value = np.einsum("btc,cnd->bntd", normed, layer.value_dense.kernel) + layer.value_dense.bias.numpy()[:, None]
        mixed = np.einsum("bntd,ndc->btc", matrix @ value, layer.output_dense.kernel) + layer.output_dense.bias.numpy()
        return float((rest(tokens.numpy() + mixed).numpy() @ head.kernel.numpy() + head.bias.numpy())[0, 2])

    expected = np.zeros(6)
    for head_number in range(2):
        for patch in range(6):
            step = np.zeros_like(scores)
            step[0, head_number, 0, 1 + patch] = 1e-2
            slope = (logit(scores + step) - logit(scores - step)) / 2e-2
            expected[patch] += max(0.0, slope * scores[0, head_number, 0, 1 + patch]) / 2
    received = AttentionExplainer(model, "gradient_rollout")(images, target=2).raw.ravel()
    assert expected.max() > 1e-3
    np.testing.assert_allclose(received, expected, rtol=2e-2, atol=1e-4)


def test_classes_differ_in_gradient_rollout_alone() -> None:
    model, images = vit(4, 1), pictures()
    for method, differ in (("rollout", False), ("gradient_rollout", True)):
        explain = AttentionExplainer(model, method, class_names=["a", "b", "c", "d"])
        first, second = explain(images, "a"), explain(images, "b")
        assert bool(np.abs(first.raw - second.raw).max() > 1e-5) is differ
        assert first.labels == ["a", "a"]


def test_target_that_looks_past_attention_is_refused() -> None:
    images = keras.Input((8, 12, 3))
    tokens = layers.Reshape((-1, WIDTH))(layers.Conv2D(WIDTH, 4, strides=4)(images))
    mean = layers.GlobalAveragePooling1D()
    outputs = [layers.Dense(2)(mean(tokens)), layers.Dense(2)(mean(layers.MultiHeadAttention(2, 3)(tokens, tokens)))]
    model = seeded(keras.Model(images, outputs))
    with pytest.raises(ValueError, match="does not depend on any attention layer"):
        AttentionExplainer(model, "gradient_rollout")
    assert AttentionExplainer(model, "rollout")(pictures()).raw.shape == (2, 2, 3)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_model_is_not_changed(method: str) -> None:
    model, images = vit(4, 1), pictures()
    before = model(images).numpy()
    AttentionExplainer(model, method)(images)
    np.testing.assert_array_equal(model(images).numpy(), before)


@pytest.mark.parametrize("method", METHODS)
def test_map_of_an_image_that_is_not_finite_is_blank_and_says_why(method: str) -> None:
    images = pictures()
    images[1, 2, 3] = np.nan
    explanation = AttentionExplainer(vit(4, 1), method)(images)
    assert explanation.heatmaps[0].max() == 1
    assert explanation.heatmaps[1].max() == 0
    assert explanation.diagnosis[0] is None
    assert "NaN" in str(explanation.diagnosis[1])


@pytest.mark.parametrize("method", METHODS[1:])
def test_map_of_gradients_that_are_all_negative_says_so(method: str) -> None:
    """Each token hands on ones, and the score is minus their sum: it falls with every look."""
    images = keras.Input((8, 12, 3))
    tokens = layers.Reshape((-1, WIDTH))(layers.Conv2D(WIDTH, 4, strides=4)(images))
    attention, head = layers.MultiHeadAttention(2, 3), layers.Dense(2)
    model = keras.Model(images, head(layers.GlobalAveragePooling1D()(attention(tokens, tokens))))
    parts = ((attention.value_dense, 0, 1), (attention.output_dense, 1, 0), (head, -1, 0))
    for layer, kernel, bias in parts:
        layer.set_weights([np.full(layer.kernel.shape, kernel), np.full(layer.bias.shape, bias)])
    explanation = AttentionExplainer(model, method)(pictures(), 0)
    assert explanation.raw.max() == 0
    assert all("every cell speaks against" in str(sentence) for sentence in explanation.diagnosis)


# Half precision.


def faint_vit(policy: str, scale: float) -> keras.Model:
    """Attention and head add little, so their product, the gradient, is `scale` squared times that of `vit`."""
    keras.config.set_dtype_policy(policy)
    try:
        model = vit(4, 1)
    finally:
        keras.config.set_dtype_policy("float32")
    kernels = [model.get_layer(f"block{number}_attention").output_dense.kernel for number in range(2)]
    for kernel in (*kernels, model.get_layer("head").kernel):
        kernel.assign(scale * kernel)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS[1:])
@pytest.mark.parametrize("scale", [1.0, 5e-4])
def test_half_precision_gives_the_float32_map(method: str, scale: float) -> None:
    """The smallest number of float16 is 6e-8, about what the second scale leaves of the gradients."""
    images = pictures(4)
    half, full = (
        AttentionExplainer(faint_vit(policy, scale), method)(images, 1) for policy in ("mixed_float16", "float32")
    )
    assert half.raw.dtype == np.float32
    np.testing.assert_allclose(half.heatmaps, full.heatmaps, rtol=0, atol=2e-2)


# Images of a wrong range.


def scaling_vit() -> keras.Model:
    """Wants RGB in 0..255."""
    images = keras.Input((8, 12, 3))
    return keras.Model(images, vit(4, 1)(layers.Rescaling(1 / 127.5, -1)(images)))


@pytest.mark.parametrize("method", METHODS)
def test_images_of_a_wrong_range_warn_at_the_callers_line(method: str) -> None:
    explain = AttentionExplainer(scaling_vit(), method)
    photos = np.random.default_rng(0).uniform(0, 255, (2, 8, 12, 3)).astype(np.float32)
    explain(photos)  # right, and warnings are errors
    with pytest.warns(ImageRangeWarning, match=r"expects RGB in 0\.\.255") as caught:
        explain(photos / 255)
    assert [warning.filename for warning in caught] == [__file__]


def convolutional() -> keras.Model:
    return keras.Sequential([keras.Input((8, 12, 3)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(2)])


def crossed() -> keras.Model:
    images = keras.Input((8, 12, 3))
    tokens = layers.Reshape((-1, WIDTH))(layers.Conv2D(WIDTH, 4, strides=4)(images))
    other = layers.Dense(WIDTH)(tokens)
    mixed = layers.MultiHeadAttention(2, 3)(tokens, other)
    return seeded(keras.Model(images, layers.Dense(2)(layers.GlobalAveragePooling1D()(mixed))))


class Query(layers.Layer):
    """A learned query, the same for every image."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.query = self.add_weight(shape=(1, 1, shape[-1]), name="query")

    def call(self, tokens: keras.KerasTensor) -> keras.KerasTensor:
        return 0 * tokens[:, :1] + self.query


def pooled_by_attention() -> keras.Model:
    images = keras.Input((8, 12, 3))
    tokens = block(layers.Reshape((-1, WIDTH))(layers.Conv2D(WIDTH, 4, strides=4)(images)), "block")
    pooled = layers.MultiHeadAttention(2, 3)(query=Query()(tokens), value=tokens)
    return seeded(keras.Model(images, layers.Dense(2)(layers.Flatten()(pooled))))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (convolutional, "Expected a model with keras.layers.MultiHeadAttention"),
        (crossed, "cross attention"),
        (pooled_by_attention, "pooling by a query of its own"),
        (windowed, "fit no such grid"),
    ],
)
def test_other_models_are_refused_in_words(build: Any, message: str) -> None:
    model = build()
    for method in METHODS if build is not windowed else METHODS[:2]:
        with pytest.raises(ValueError, match=message):
            AttentionExplainer(model, method)


def test_windows_with_a_grid_of_their_own_are_refused_too() -> None:
    with pytest.raises(ValueError, match="inside windows"):
        AttentionExplainer(windowed(), token_grid=(2, 2))(pictures())


def test_unknown_method_lists_the_known() -> None:
    with pytest.raises(ValueError, match="rollout"):
        AttentionExplainer(vit(), "rollouts")
