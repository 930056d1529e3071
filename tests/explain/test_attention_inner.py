"""AttentionExplainer where attention is inside other layers, or in a `call` of the model's own.

The expected maps are those of the same layers in a graph, which test_attention*.py compare with sums by hand.

Also tests _models/inner_attention.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers.slow import first
from tests.zoo.transformers import (
    CLASSES,
    WIDTH,
    Encoder,
    EncoderBlock,
    SubclassedBlocks,
    SubclassedViT,
    block,
    one_layer_block,
    one_layer_encoder,
    pictures,
    seeded,
    subclassed_vit,
    vit,
)
from tf_gradcam._explain.attention import METHODS, AttentionExplainer
from tf_gradcam._models.graph import Graph
from tf_gradcam._models.inner_attention import inner_blocks
from tf_gradcam._models.reader import ModelReader


class Unrolled:
    """Builds a graph of a model's layers, with copies of those that are inside others."""

    def __init__(self) -> None:
        self.copies: list[tuple[Any, Any]] = []

    def copy(self, layer: Any) -> Any:
        name = f"copy{len(self.copies)}"
        self.copies.append((type(layer).from_config({**layer.get_config(), "name": name}), layer))
        return self.copies[-1][0]

    def through(self, layer: Any, tokens: Any) -> Any:
        if isinstance(layer, Encoder):
            for inner in layer.blocks:
                tokens = self.through(inner, tokens)
            return tokens
        if isinstance(layer, EncoderBlock):
            return self.attended(layer.norm, layer.attention, tokens)
        return layer(tokens)

    def attended(self, norm: Any, attention: Any, tokens: Any) -> Any:
        normed = self.copy(norm)(tokens)
        return tokens + self.copy(attention)(normed, normed)

    def model(self, images: Any, outputs: Any) -> keras.Model:
        for copy, layer in self.copies:
            copy.set_weights(layer.get_weights())
        return keras.Model(images, outputs)


def unrolled(model: keras.Model) -> keras.Model:
    """The same layers with the attention in the graph."""
    images, unroll = keras.Input((8, 12, 3)), Unrolled()
    tokens: Any = images
    if isinstance(model, SubclassedBlocks):
        for layer in (model.patches, model.flatten, model.prefix, model.encoder):
            tokens = unroll.through(layer, tokens)
        return unroll.model(images, model.head(tokens[:, 0]))
    for layer in model.layers[1:]:
        if layer.name == "head" and len(tokens.shape) == 3:
            tokens = tokens[:, 0]
        if isinstance(layer, layers.Layer):
            tokens = unroll.through(layer, tokens)
    return unroll.model(images, tokens)


CASES: dict[str, Callable[[], keras.Model]] = {
    "blocks": lambda: vit(4, 1, build=one_layer_block),
    "blocks without a class token": lambda: vit(4, 0, depth=3, build=one_layer_block),
    "encoders of two blocks": lambda: vit(2, 1, build=one_layer_encoder),
    "a call of its own": lambda: subclassed_vit(SubclassedBlocks),
}
every_case = pytest.mark.parametrize("name", first(1, list(CASES)))
NAMES = list(CASES)
PAIRS = [(NAMES[0], "legrad"), (NAMES[2], "gradient_rollout"), (NAMES[3], "rollout")]
OTHERS = [(name, method) for name in CASES for method in METHODS if (name, method) not in PAIRS]


@pytest.mark.parametrize(("name", "method"), first(len(PAIRS), PAIRS + OTHERS))
def test_map_is_that_of_the_same_layers_in_a_graph(name: str, method: str) -> None:
    model, images = CASES[name](), pictures()
    same = unrolled(model)
    np.testing.assert_allclose(same(images).numpy(), model(images).numpy(), rtol=1e-5)
    received, expected = (AttentionExplainer(one, method)(images, 1) for one in (model, same))
    assert expected.raw.max() > 1e-4
    np.testing.assert_allclose(received.raw, expected.raw, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(received.scores, expected.scores, rtol=1e-5)


@every_case
def test_model_is_left_unchanged(name: str) -> None:
    model, images = CASES[name](), pictures()
    before, weights = model(images).numpy(), [weight.numpy() for weight in model.weights]
    calls = [vars(layer).get("call") for layer in model._flatten_layers()]
    AttentionExplainer(model, "legrad")(images)
    np.testing.assert_array_equal(model(images).numpy(), before)
    assert [vars(layer).get("call") for layer in model._flatten_layers()] == calls
    for weight, old in zip(model.weights, weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)


@pytest.mark.parametrize("method", first(1, METHODS[1::-1]))
def test_attention_layers_of_a_call_of_its_own_are_read(method: str) -> None:
    """Its layers are called in the order of a graph, but its sums are known only to Python."""
    model, images = subclassed_vit(), pictures()
    assert isinstance(model, SubclassedViT)
    inputs = keras.Input((8, 12, 3))
    tokens, unroll = model.prefix(model.flatten(model.patches(inputs))), Unrolled()
    for norm, attention in zip(model.norms, model.attentions, strict=True):
        tokens = unroll.attended(norm, attention, tokens)
    same = unroll.model(inputs, model.head(model.last_norm(tokens)[:, 0]))
    received, expected = (AttentionExplainer(one, method)(images, 1) for one in (model, same))
    np.testing.assert_allclose(received.raw, expected.raw, rtol=1e-4, atol=1e-7)


class Aside(keras.Model):
    """Runs an attention layer whose result it drops."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = layers.Conv2D(WIDTH, 4, strides=4, name="patches")
        self.flatten = layers.Reshape((6, WIDTH), name="tokens")
        self.used, self.dropped = (layers.MultiHeadAttention(2, 3, name=name) for name in ("used", "dropped"))
        self.head = layers.Dense(CLASSES, name="head")

    def call(self, images: Any) -> Any:
        tokens = self.flatten(self.patches(images))
        self.dropped(tokens, tokens)
        return self.head(keras.ops.mean(self.used(tokens, tokens), axis=1))


def test_attention_that_leads_nowhere_does_not_count() -> None:
    model = subclassed_vit(Aside)
    before = AttentionExplainer(model)(pictures()).raw
    model.dropped.set_weights([3 * weight for weight in model.dropped.get_weights()])
    np.testing.assert_array_equal(AttentionExplainer(model)(pictures()).raw, before)
    one = AttentionExplainer(model, "legrad")
    assert one(pictures(), 1).raw.max() > 0


def test_blocks_are_the_outermost_layers_of_one_attention() -> None:
    model = vit(2, 1, build=one_layer_encoder)
    blocks = inner_blocks(Graph(model), ModelReader(model).inputs.specs)
    expected = [inner for name in ("block0", "block1") for inner in model.get_layer(name).blocks]
    assert [found.layer for found in blocks] == expected


@pytest.mark.parametrize("method", first(1, METHODS[::-1]))
def test_block_that_is_called_twice_is_two_blocks(method: str) -> None:
    images = keras.Input((8, 12, 3))
    tokens = layers.Reshape((-1, WIDTH))(layers.Conv2D(WIDTH, 4, strides=4)(images))
    shared = EncoderBlock(name="shared")
    tokens = shared(shared(tokens))
    head = layers.Dense(CLASSES)
    model = seeded(keras.Model(images, head(layers.GlobalAveragePooling1D()(tokens))))
    blocks = inner_blocks(Graph(model), ModelReader(model).inputs.specs)
    assert [(found.layer, found.number) for found in blocks] == [(shared, 0), (shared, 1)]
    same = AttentionExplainer(shared_in_a_graph(model, shared, head), method)(pictures(), 2).raw
    np.testing.assert_allclose(AttentionExplainer(model, method)(pictures(), 2).raw, same, rtol=1e-4, atol=1e-7)


def shared_in_a_graph(model: keras.Model, shared: EncoderBlock, head: Any) -> keras.Model:
    images, unroll = keras.Input((8, 12, 3)), Unrolled()
    tokens = model.layers[2](model.layers[1](images))
    for _ in range(2):
        tokens = unroll.attended(shared.norm, shared.attention, tokens)
    return unroll.model(images, head(layers.GlobalAveragePooling1D()(tokens)))


# Refused in words.


class Hiding(layers.Layer):
    """Attention without the sum around it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = layers.MultiHeadAttention(2, 3)

    def call(self, tokens: Any) -> Any:
        return self.attention(tokens, tokens)


def mixed() -> keras.Model:
    """A block in the graph and attention inside a layer."""
    images = keras.Input((8, 12, 3))
    tokens = block(layers.Reshape((-1, WIDTH))(layers.Conv2D(WIDTH, 4, strides=4)(images)), "block")
    return seeded(keras.Model(images, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(Hiding()(tokens)))))


def branches() -> keras.Model:
    """Each layer is the branch of a sum in the graph, not a block."""
    images = keras.Input((8, 12, 3))
    tokens = layers.Reshape((-1, WIDTH))(layers.Conv2D(WIDTH, 4, strides=4)(images))
    for _ in range(2):
        tokens = layers.Add()([tokens, Hiding()(tokens)])
    return seeded(keras.Model(images, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(tokens))))


@pytest.mark.parametrize("build", first(1, [mixed, branches, subclassed_vit]))
def test_legrad_without_blocks_is_refused_and_the_remedy_works(build: Callable[[], keras.Model]) -> None:
    model = build()
    with pytest.raises(
        ValueError, match=r"blocks that are alike, each a layer that reads .*method='gradient_rollout'"
    ) as no:
        AttentionExplainer(model, "legrad")
    assert "Exception encountered" not in str(no.value)
    assert AttentionExplainer(model, "gradient_rollout")(pictures()).raw.max() > 0


class Bypassing(keras.Model):
    """The head reads the first block's tokens beside the last one's."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = layers.Conv2D(WIDTH, 4, strides=4, name="patches")
        self.flatten = layers.Reshape((6, WIDTH), name="tokens")
        self.blocks = [EncoderBlock(name=f"block{number}") for number in range(2)]
        self.head = layers.Dense(CLASSES, name="head")

    def call(self, images: Any) -> Any:
        first = self.blocks[0](self.flatten(self.patches(images)))
        return self.head(keras.ops.mean(first + self.blocks[1](first), axis=1))


def test_output_that_reads_an_earlier_block_is_refused_by_legrad() -> None:
    model = subclassed_vit(Bypassing)
    with pytest.raises(ValueError, match="received an output that reads tokens before it"):
        AttentionExplainer(model, "legrad")


class Crossing(layers.Layer):
    """Tokens that attend to others, inside a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.other = layers.MultiHeadAttention(2, 3, name="crossed"), layers.Dense(WIDTH)

    def call(self, tokens: Any) -> Any:
        return tokens + self.attention(tokens, self.other(tokens))


@pytest.mark.parametrize("method", first(1, METHODS[::-1]))
def test_cross_attention_inside_a_layer_is_refused_in_words(method: str) -> None:
    images = keras.Input((8, 12, 3))
    tokens = Crossing()(layers.Reshape((-1, WIDTH))(layers.Conv2D(WIDTH, 4, strides=4)(images)))
    model = seeded(keras.Model(images, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(tokens))))
    with pytest.raises(ValueError, match=r"^Expected tokens that attend to each other, received layer 'crossing.*/cro"):
        AttentionExplainer(model, method)


class Silent(layers.MultiHeadAttention):
    """Attention with a `call` of its own that returns no scores."""

    def call(self, query: Any, value: Any, key: Any = None) -> Any:
        return super().call(query, value)


def test_attention_without_scores_is_refused_in_words() -> None:
    images = keras.Input((8, 12, 3))
    tokens = layers.Reshape((-1, WIDTH))(layers.Conv2D(WIDTH, 4, strides=4)(images))
    tokens = Silent(2, 3, name="silent")(tokens, tokens)
    model = keras.Model(images, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(tokens)))
    with pytest.raises(
        ValueError, match=r"that returns its scores, received 'silent', whose `call` does not. Use Expl"
    ):
        AttentionExplainer(model)
