"""Attention maps of keras_hub's transformers, whose blocks are layers inside one layer, against sums by hand.

The scores come from the weights, in NumPy float64; gradients are those of a forward pass that is written out here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.twins.attention import gradient_twin, legrad_twin, rollout_twin
from tests.zoo.keras_hub import CASES, TARGET
from tests.zoo.styles import chain, dense
from tf_gradcam import AttentionExplainer


@dataclass
class Block:
    """An encoder block: its first normalisation, its attention layer, and the rest of the block."""

    norm: Any
    attention: Any
    rest: Callable[[Any, Any], Any]  # (tokens before, result of the attention layer) to the tokens after

    def scores(self, tokens: Any) -> Any:
        """softmax(q k / sqrt(d)), (B, N, T, T)."""
        normed = self.norm(tokens)
        query, key = (
            tf.einsum("btc,cnd->bntd", normed, part.kernel) + part.bias[:, None]
            for part in (self.attention.query_dense, self.attention.key_dense)
        )
        powers = tf.exp(tf.einsum("bntd,bnsd->bnts", query, key) / np.sqrt(query.shape[-1]).astype(np.float32))
        return powers / tf.reduce_sum(powers, axis=-1, keepdims=True)

    def __call__(self, tokens: Any, scores: Any) -> Any:
        value, output = self.attention.value_dense, self.attention.output_dense
        values = tf.einsum("btc,cnd->bntd", self.norm(tokens), value.kernel) + value.bias[:, None]
        mixed = tf.einsum("bnts,bnsd,ndc->btc", scores, values, output.kernel) + output.bias
        return self.rest(tokens, mixed)


@dataclass
class ByHand:
    """A transformer: what makes its tokens, its blocks, and what makes the logits of the last block's tokens."""

    front: Callable[[Any], Any]
    blocks: list[Block]
    head: Callable[[Any], Any]
    prefix: int

    def scores_in_numpy(self, images: np.ndarray) -> list[np.ndarray]:
        tokens, seen = self.front(images), []
        for block in self.blocks:
            normed = block.norm(tokens).numpy().astype(np.float64)
            query, key = (
                np.einsum("btc,cnd->bntd", normed, part.kernel.numpy()) + part.bias.numpy()[:, None]
                for part in (block.attention.query_dense, block.attention.key_dense)
            )
            powers = np.exp(query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1]))
            seen.append(powers / powers.sum(axis=-1, keepdims=True))
            tokens = block(tokens, seen[-1].astype(np.float32))
        return seen

    def gradients(self, images: np.ndarray, through_blocks: bool) -> list[np.ndarray]:
        """Of the score by each layer's scores; of each block's own score unless it goes `through_blocks`."""
        seen, own = [], []
        with tf.GradientTape(persistent=True) as tape:
            tokens = self.front(images)
            for block in self.blocks:
                seen.append(block.scores(tokens if through_blocks else tf.stop_gradient(tokens)))
                tokens = block(tokens if through_blocks else tf.stop_gradient(tokens), seen[-1])
                own.append(self.head(tokens)[:, TARGET])
        scores = [own[-1]] * len(own) if through_blocks else own
        return [tape.gradient(score, layer).numpy() for score, layer in zip(scores, seen, strict=True)]

    def on_grid(self, row: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        return row[:, self.prefix :].reshape(-1, *grid)

    def row(self, matrix: np.ndarray) -> np.ndarray:
        return matrix[:, 0] if self.prefix else matrix.mean(axis=1)


def vit(model: Any) -> ByHand:
    embed, encoder = model.backbone.layers[1:]
    blocks = [
        Block(b.layer_norm_1, b.mha, lambda x, mixed, b=b: (y := x + mixed) + b.mlp(b.layer_norm_2(y)))
        for b in encoder.encoder_layers
    ]
    has_token = model.pooling == "token"

    def head(tokens: Any) -> Any:
        normed = encoder.layer_norm(tokens)
        return dense(model.output_dense, normed[:, 0] if has_token else tf.reduce_mean(normed, axis=1))

    return ByHand(embed, blocks, head, int(has_token))


def deit(model: Any) -> ByHand:
    embed, encoder = model.backbone.layers[1:]
    blocks = [
        Block(b.layer_norm_1, b.mha, lambda x, mixed, b=b: b.output_layer(b.mlp(b.layer_norm_2(x + mixed)), x + mixed))
        for b in encoder.encoder_layers
    ]
    return ByHand(embed, blocks, lambda tokens: dense(model.output_dense, encoder.layer_norm(tokens)[:, 0]), 2)


def dinov2(model: Any) -> ByHand:
    inner, head = model.get_layer("backbone"), model.get_layer("head")
    layers = {layer.name: layer for layer in inner.layers}
    encoder = layers["encoder"]
    blocks = [
        Block(
            b.norm1,
            b.attention.attention,
            lambda x, mixed, b=b: (y := x + b.layer_scale1(mixed)) + b.layer_scale2(b.mlp(b.norm2(y))),
        )
        for b in encoder.layers
    ]
    names = list(layers)
    front = layers[names[names.index("encoder") - 1]]
    last = layers[names[names.index("encoder") + 1]]
    return ByHand(chain(front), blocks, lambda tokens: dense(head, last(tokens)[:, 0]), 5)


BY_HAND = {"vit_class_token": vit, "vit_mean": vit, "deit": deit, "dinov2": dinov2}
every_transformer = pytest.mark.parametrize("name", BY_HAND)


def hand_of(name: str) -> tuple[Any, ByHand, np.ndarray]:
    model, images = CASES[name].build()[0], CASES[name].images()
    hand = BY_HAND[name](model)
    tokens = hand.front(images)
    for block in hand.blocks:
        tokens = block(tokens, block.scores(tokens))
    logits = AttentionExplainer(model)(images, TARGET).outputs
    np.testing.assert_allclose(hand.head(tokens).numpy(), logits, rtol=1e-4, atol=1e-5)  # the same model
    return model, hand, images


def test_no_transformer_of_the_zoo_is_left_out() -> None:
    assert set(BY_HAND) == {name for name, case in CASES.items() if not case.attention}


@every_transformer
def test_rollout_follows_the_weights(name: str) -> None:
    model, hand, images = hand_of(name)
    expected = hand.on_grid(hand.row(rollout_twin(hand.scores_in_numpy(images))), CASES[name].grid)
    np.testing.assert_allclose(AttentionExplainer(model)(images).raw, expected, rtol=1e-4)


@every_transformer
def test_gradient_rollout_follows_the_gradient_by_hand(name: str) -> None:
    model, hand, images = hand_of(name)
    matrix = gradient_twin(hand.scores_in_numpy(images), hand.gradients(images, through_blocks=True))
    expected = hand.on_grid(hand.row(matrix), CASES[name].grid)
    received = AttentionExplainer(model, "gradient_rollout")(images, TARGET).raw
    assert expected.max() > 1e-5
    np.testing.assert_allclose(received, expected, rtol=1e-3, atol=1e-4 * expected.max())


@every_transformer
def test_legrad_follows_the_gradients_of_the_blocks_own_scores(name: str) -> None:
    model, hand, images = hand_of(name)
    expected = hand.on_grid(legrad_twin(hand.gradients(images, through_blocks=False)), CASES[name].grid)
    received = AttentionExplainer(model, "legrad")(images, TARGET).raw
    assert expected.max() > 1e-5
    np.testing.assert_allclose(received, expected, rtol=1e-3, atol=1e-4 * expected.max())


@every_transformer
def test_model_is_left_unchanged(name: str) -> None:
    model, images = CASES[name].build()[0], CASES[name].images()
    before, weights = model(images).numpy(), [weight.numpy() for weight in model.weights]
    AttentionExplainer(model, "legrad")(images)
    np.testing.assert_array_equal(model(images).numpy(), before)
    assert all("call" not in vars(layer) for layer in model._flatten_layers())
    for weight, old in zip(model.weights, weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)
