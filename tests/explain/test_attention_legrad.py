"""LeGrad: a twin in NumPy float64 that knows no gradient but moves each attention score, and the blocks it needs."""

from __future__ import annotations

from math import erf
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.helpers.slow import first
from tests.twins.attention import legrad_twin
from tests.zoo.transformers import (
    CLASSES,
    WIDTH,
    Block,
    block,
    nested_block,
    parallel_block,
    pictures,
    post_norm_block,
    seeded,
    vit,
)
from tf_gradcam._explain.attention import AttentionExplainer, legrad
from tf_gradcam._models.graph import Graph
from tf_gradcam._models.transformers import block_ends


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e4])
def test_legrad_equals_its_twin(scale: float) -> None:
    gradients = list((scale * np.random.default_rng(0).normal(size=(3, 2, 4, 5, 5))).astype(np.float32))
    received = legrad([tf.constant(layer) for layer in gradients]).numpy()
    np.testing.assert_allclose(received, legrad_twin(gradients), rtol=1e-5)


class ByHand:
    """The pre-norm transformer of tests/zoo/transformers.py in NumPy float64, its attention scores open to change."""

    def __init__(self, model: keras.Model, prefix: int):
        self.prefix = prefix
        self.weights = {layer.name: [w.numpy().astype(np.float64) for w in layer.weights] for layer in model.layers}
        for layer in model.layers:
            if isinstance(layer, layers.MultiHeadAttention):
                named = {"/".join(w.path.split("/")[-2:]): w.numpy().astype(np.float64) for w in layer.weights}
                self.weights[layer.name] = [
                    named[f"{part}/{kind}"]
                    for part in ("query", "key", "value", "attention_output")
                    for kind in ("kernel", "bias")
                ]

    def norm(self, tokens: np.ndarray, name: str) -> np.ndarray:
        gain, shift = self.weights[name]
        centred = tokens - tokens.mean(axis=-1, keepdims=True)
        return gain * centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-3) + shift

    def scores(self, tokens: np.ndarray, name: str) -> np.ndarray:
        query_kernel, query_bias, key_kernel, key_bias = self.weights[f"{name}_attention"][:4]
        normed = self.norm(tokens, f"{name}_norm")
        query = np.einsum("btc,cnd->bntd", normed, query_kernel) + query_bias[:, None]
        key = np.einsum("btc,cnd->bntd", normed, key_kernel) + key_bias[:, None]
        powers = np.exp(query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1]))
        return powers / powers.sum(axis=-1, keepdims=True)

    def block(self, tokens: np.ndarray, name: str, scores: np.ndarray) -> np.ndarray:
        value_kernel, value_bias, out_kernel, out_bias = self.weights[f"{name}_attention"][4:]
        value = np.einsum("btc,cnd->bntd", self.norm(tokens, f"{name}_norm"), value_kernel) + value_bias[:, None]
        tokens = tokens + np.einsum("bntd,ndc->btc", scores @ value, out_kernel) + out_bias
        kernel, bias = self.weights[f"{name}_mlp"]
        hidden = self.norm(tokens, f"{name}_norm2") @ kernel + bias
        return tokens + hidden * (1 + np.vectorize(erf)(hidden / np.sqrt(2))) / 2

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        normed = self.norm(tokens, "norm")
        kernel, bias = self.weights["head"]
        return (normed[:, 0] if self.prefix else normed.mean(axis=1)) @ kernel + bias

    def slopes(self, tokens: np.ndarray, name: str, classes: np.ndarray) -> np.ndarray:
        """Of the block's own score with respect to its attention scores, by moving each to both sides."""
        scores, step = self.scores(tokens, name), 1e-5
        slopes = np.zeros_like(scores)
        for place in np.ndindex(*scores.shape[1:]):
            sides = []
            for sign in (1, -1):
                moved = scores.copy()
                moved[(slice(None), *place)] += sign * step
                sides.append(self.logits(self.block(tokens, name, moved))[np.arange(len(tokens)), classes])
            slopes[(slice(None), *place)] = (sides[0] - sides[1]) / (2 * step)
        return slopes


def slopes_by_hand(model: keras.Model, images: np.ndarray, prefix: int, classes: np.ndarray) -> list[np.ndarray]:
    """Per block (B, N, T, T)."""
    hand = ByHand(model, prefix)
    tokens = keras.Model(model.input, model.get_layer("positions").output)(images).numpy().astype(np.float64)
    slopes = []
    for name in [layer.name.removesuffix("_mlp") for layer in model.layers if layer.name.endswith("_mlp")]:
        slopes.append(hand.slopes(tokens, name, classes))
        tokens = hand.block(tokens, name, hand.scores(tokens, name))
    logits = np.log(model(images).numpy())
    np.testing.assert_allclose(np.diff(hand.logits(tokens)), np.diff(logits), rtol=1e-3, atol=1e-4)  # the same model
    return slopes


@pytest.mark.parametrize(
    ("patch", "prefix", "depth", "grid"),
    first(1, [(4, 1, 3, (2, 3)), (4, 0, 3, (2, 3)), (4, 3, 2, (2, 3)), (2, 2, 1, (4, 6))]),
)
def test_map_of_a_model_follows_the_slopes_of_the_scores(
    patch: int, prefix: int, depth: int, grid: tuple[int, int]
) -> None:
    model, images, classes = vit(patch, prefix, depth), pictures(), np.array([2, 1])
    slopes = slopes_by_hand(model, images, prefix, classes)
    expected = legrad_twin(slopes)[:, prefix:].reshape(2, *grid)
    explanation = AttentionExplainer(model, "legrad")(images, classes)
    assert expected.min(initial=np.inf, where=expected > 0) > 1e-5  # far above what the steps leave open
    np.testing.assert_allclose(explanation.raw, expected, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(explanation.heatmaps, explanation.raw / explanation.raw.max((1, 2), keepdims=True))
    assert explanation.method == "legrad"


def test_class_token_looks_by_its_own_row_and_a_mean_by_all() -> None:
    """The head reads one token, so no other row of the same layer moves the layer's score."""
    for prefix, rows in ((1, 1), (0, 6)):
        for layer in slopes_by_hand(vit(4, prefix), pictures(1), prefix, np.array([0])):
            assert (np.abs(layer[0]).max(axis=(0, 2)) > 1e-6).sum() == rows


def test_top_class_is_that_of_the_model_at_every_layer() -> None:
    model, images = vit(4, 1, depth=3), pictures(8)
    top = model(images).numpy().argmax(axis=-1)
    explain = AttentionExplainer(model, "legrad")
    own = [
        keras.Model(model.get_layer("norm").input, model.output)(
            keras.Model(model.input, model.get_layer(f"block{number}").output)(images)
        )
        for number in range(2)
    ]
    assert any((scores.numpy().argmax(axis=-1) != top).any() for scores in own)  # or the test proves nothing
    np.testing.assert_array_equal(explain(images).raw, explain(images, top).raw)
    np.testing.assert_array_equal(explain(images).class_indices, top)


def test_callable_target_is_asked_at_every_layer() -> None:
    model, images = vit(4, 1), pictures()
    explain = AttentionExplainer(model, "legrad")
    np.testing.assert_allclose(
        explain(images, lambda outputs: 3.0 * outputs[:, 2]).raw, 3 * explain(images, 2).raw, rtol=1e-5
    )


def test_scores_are_those_of_the_model() -> None:
    """Though no gradient passes between the blocks."""
    model, images = vit(4, 1, depth=3), pictures()
    explanation = AttentionExplainer(model, "legrad")(images, 1)
    np.testing.assert_allclose(explanation.probabilities, model(images), rtol=1e-5)
    np.testing.assert_allclose(explanation.scores, explanation.outputs[:, 1], rtol=1e-6)


def test_batch_equals_single_images() -> None:
    model, images = vit(4, 1), pictures(3)
    explain = AttentionExplainer(model, "legrad")
    single = [explain(images[index : index + 1], 0).raw[0] for index in range(3)]
    np.testing.assert_allclose(explain(images, 0).raw, single, rtol=1e-4, atol=1e-7)


# Where the blocks end.


def ends_of(model: keras.Model) -> list[str]:
    return [end.path for end in block_ends(Graph(model))]


@pytest.mark.parametrize(
    ("build", "ends"),
    [
        (block, ["block0", "block1", "block2"]),
        (post_norm_block, ["block0", "block1", "block2"]),
        (parallel_block, ["block0", "block1", "block2"]),
        (nested_block, ["block0/inner", "block1/inner", "block2/inner"]),
    ],
)
@pytest.mark.parametrize("prefix", [0, 1])
def test_last_block_ends_before_the_final_normalisation(build: Block, ends: list[str], prefix: int) -> None:
    assert ends_of(vit(4, prefix, depth=3, build=build)) == ends


def test_blocks_of_a_backbone_are_found_inside_it() -> None:
    whole = vit(4, 1, depth=2)
    backbone = keras.Model(whole.input, whole.get_layer("norm").output, name="backbone")
    images = keras.Input((8, 12, 3))
    model = keras.Model(images, whole.get_layer("head")(backbone(images)[:, 0]))
    assert ends_of(model) == ["backbone/block0", "backbone/block1"]
    received = AttentionExplainer(model, "legrad")(pictures(), 0)
    np.testing.assert_allclose(received.raw, AttentionExplainer(whole, "legrad")(pictures(), 0).raw, rtol=1e-5)


def test_single_block_needs_no_end() -> None:
    """Its score is that of the model, wherever the block ends."""
    assert ends_of(vit(4, 1, depth=1)) == []


def test_parallel_layers_share_the_score_of_their_block() -> None:
    """Two equal layers side by side have equal gradients, so half of them is the map of one."""
    model, images = vit(4, 1, build=parallel_block), pictures()
    for number in range(2):
        first, second = (model.get_layer(f"block{number}_{side}") for side in "ab")
        second.set_weights(first.get_weights())
    both = AttentionExplainer(model, "legrad")(images, 0).raw
    seen = []
    for number in range(2):
        tokens = keras.Model(model.input, model.get_layer(f"block{number}_norm").input)(images)
        rest = model.get_layer(f"block{number}_a")
        normed = model.get_layer(f"block{number}_norm")(tokens)
        value = tf.einsum("btc,cnd->bntd", normed, rest.value_dense.kernel) + rest.value_dense.bias[:, None]
        _, scores = rest(normed, normed, return_attention_scores=True)
        with tf.GradientTape() as tape:
            tape.watch(scores)
            one = tf.einsum("bntd,ndc->btc", scores @ value, rest.output_dense.kernel) + rest.output_dense.bias
            other = rest(normed, normed)
            read = model.get_layer("norm")(tokens + one + other)[:, 0]
            score = (read @ model.get_layer("head").kernel)[:, 0]
        seen.append(tape.gradient(score, scores).numpy())
    np.testing.assert_allclose(both, legrad_twin(seen)[:, 1:].reshape(2, 2, 3), rtol=1e-3, atol=1e-7)


def tokens_of(images: Any) -> Any:
    return layers.Reshape((-1, WIDTH))(layers.Conv2D(WIDTH, 4, strides=4)(images))


def unlike() -> keras.Model:
    """The last block has no second half."""
    images = keras.Input((8, 12, 3))
    tokens = block(block(tokens_of(images), "one"), "two")
    normed = layers.LayerNormalization()(tokens)
    tokens = layers.Add(name="end")([tokens, layers.MultiHeadAttention(2, 3)(normed, normed)])
    return seeded(keras.Model(images, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(tokens))))


def skipping() -> keras.Model:
    """The last block adds what the first one had."""
    images = keras.Input((8, 12, 3))
    first = block(tokens_of(images), "one")
    tokens = layers.Add()([block(block(first, "two"), "three"), first])
    return seeded(keras.Model(images, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(tokens))))


def supervised() -> keras.Model:
    """A second output reads the first block."""
    images = keras.Input((8, 12, 3))
    first = block(tokens_of(images), "one")
    pool = layers.GlobalAveragePooling1D()
    outputs = [layers.Dense(CLASSES)(pool(tokens)) for tokens in (block(first, "two"), first)]
    return seeded(keras.Model(images, outputs))


def narrowing() -> keras.Model:
    """Fewer channels behind the first block."""
    images = keras.Input((8, 12, 3))
    tokens = layers.Dense(4)(block(tokens_of(images), "one"))
    tokens = layers.Add()([tokens, layers.MultiHeadAttention(2, 3)(tokens, tokens)])
    return seeded(keras.Model(images, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(tokens))))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (unlike, "Expected encoder blocks that are alike"),
        (skipping, "Expected encoder blocks that are alike"),
        (supervised, "received an output that reads tokens before it"),
        (narrowing, "on a trunk of tokens"),
    ],
)
def test_models_without_clear_blocks_are_refused_in_words(build: Any, message: str) -> None:
    model = build()
    with pytest.raises(ValueError, match=message):
        AttentionExplainer(model, "legrad")
    assert AttentionExplainer(model, "gradient_rollout")(pictures()).raw.max() > 0  # as the sentence advises


@pytest.mark.slow
def test_second_output_that_reads_the_last_block_is_followed() -> None:
    images = keras.Input((8, 12, 3))
    tokens = block(block(tokens_of(images), "one"), "two")
    read = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(tokens))
    outputs = [layers.Dense(CLASSES)(read), layers.Dense(2)(read)]
    both = seeded(keras.Model(images, outputs))
    second = AttentionExplainer(both, "legrad")(pictures(), lambda outputs: outputs[1][:, 1])
    alone = AttentionExplainer(keras.Model(images, outputs[1]), "legrad")(pictures(), 1)
    np.testing.assert_allclose(second.raw, alone.raw, rtol=1e-5)
