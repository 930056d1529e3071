"""Tiny vision transformers of keras.layers.MultiHeadAttention, weights set by seed."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

SIZE = (8, 12)  # not square, so that a swap of axes fails
CLASSES = 4
WIDTH = 6


class PrefixTokens(layers.Layer):
    """Puts learned tokens before the patches."""

    def __init__(self, count: int, **options: object):
        super().__init__(**options)
        self.count = count

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.tokens = self.add_weight(shape=(1, self.count, shape[-1]), name="tokens")

    def call(self, patches: keras.KerasTensor) -> keras.KerasTensor:
        prefix = ops.broadcast_to(self.tokens, (ops.shape(patches)[0], *self.tokens.shape[1:]))
        return ops.concatenate([prefix, patches], axis=1)


class Positions(layers.Layer):
    def build(self, shape: tuple[int | None, ...]) -> None:
        self.positions = self.add_weight(shape=(1, *shape[1:]), name="positions")

    def call(self, tokens: keras.KerasTensor) -> keras.KerasTensor:
        return tokens + self.positions


def block(tokens: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Pre-norm encoder block; its results are `<name>_attended` and `<name>`."""
    normed = layers.LayerNormalization(name=f"{name}_norm")(tokens)
    attention = layers.MultiHeadAttention(num_heads=2, key_dim=3, dropout=0.3, name=f"{name}_attention")
    tokens = layers.Add(name=f"{name}_attended")([tokens, attention(normed, normed)])
    hidden = layers.LayerNormalization(name=f"{name}_norm2")(tokens)
    hidden = layers.Dense(WIDTH, activation="gelu", name=f"{name}_mlp")(hidden)
    return layers.Add(name=name)([tokens, hidden])


def post_norm_block(tokens: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """The block of the first transformers, normalised behind each sum; sums written as operators."""
    attention = layers.MultiHeadAttention(num_heads=2, key_dim=3, name=f"{name}_attention")
    tokens = layers.LayerNormalization(name=f"{name}_attended")(tokens + attention(tokens, tokens))
    hidden = layers.Dense(WIDTH, activation="gelu", name=f"{name}_mlp")(tokens)
    return layers.LayerNormalization(name=name)(tokens + hidden)


def parallel_block(tokens: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Two attention layers side by side."""
    normed = layers.LayerNormalization(name=f"{name}_norm")(tokens)
    both = [layers.MultiHeadAttention(num_heads=2, key_dim=3, name=f"{name}_{side}")(normed, normed) for side in "ab"]
    return layers.Add(name=name)([tokens, *both])


def nested_block(tokens: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """A block that is a model of its own."""
    inside = keras.Input(tokens.shape[1:])
    return keras.Model(inside, block(inside, "inner"), name=name)(tokens)


class EncoderBlock(layers.Layer):
    """Pre-norm attention as one layer."""

    def __init__(self, **options: object):
        super().__init__(**options)
        self.norm = layers.LayerNormalization(name="norm")
        self.attention = layers.MultiHeadAttention(num_heads=2, key_dim=3, name="attention")

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.norm.build(shape)
        self.attention.build(shape, shape)

    def call(self, tokens: keras.KerasTensor) -> keras.KerasTensor:
        normed = self.norm(tokens)
        return tokens + self.attention(normed, normed)


class Encoder(layers.Layer):
    """Two such blocks as one layer."""

    def __init__(self, **options: object):
        super().__init__(**options)
        self.blocks = [EncoderBlock(name=f"inner{number}") for number in range(2)]

    def build(self, shape: tuple[int | None, ...]) -> None:
        for inner in self.blocks:
            inner.build(shape)

    def call(self, tokens: keras.KerasTensor) -> keras.KerasTensor:
        for inner in self.blocks:
            tokens = inner(tokens)
        return tokens


def one_layer_block(tokens: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return EncoderBlock(name=name)(tokens)


def one_layer_encoder(tokens: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return Encoder(name=name)(tokens)


Block = Callable[[keras.KerasTensor, str], keras.KerasTensor]


def vit(
    patch: int = 4, prefix: int = 1, depth: int = 2, size: tuple[int, int] = SIZE, build: Block = block
) -> keras.Model:
    """A vision transformer: the class token is read where there is one, else the mean of all tokens."""
    images = keras.Input((*size, 3), name="images")
    patches = layers.Conv2D(WIDTH, patch, strides=patch, name="patches")(images)
    tokens = layers.Reshape((-1, WIDTH), name="tokens")(patches)
    if prefix:
        tokens = PrefixTokens(prefix, name="prefix")(tokens)
    tokens = Positions(name="positions")(tokens)
    for number in range(depth):
        tokens = build(tokens, f"block{number}")
    tokens = layers.LayerNormalization(name="norm")(tokens)
    read = tokens[:, 0] if prefix else layers.GlobalAveragePooling1D(name="pool")(tokens)
    return seeded(keras.Model(images, layers.Dense(CLASSES, "softmax", name="head")(read)))


def windowed() -> keras.Model:
    """Attention inside windows of 2 x 2 cells, on a grid before and after, as in Swin."""
    images = keras.Input((*SIZE, 3), name="images")
    cells = layers.Conv2D(WIDTH, 2, strides=2, name="patches")(images)  # 4 x 6
    for number in range(2):
        normed = layers.LayerNormalization(name=f"norm{number}")(cells)
        windows = ops.reshape(normed, (-1, 2, 2, 3, 2, WIDTH))
        windows = ops.reshape(ops.transpose(windows, (0, 1, 3, 2, 4, 5)), (-1, 4, WIDTH))
        mixed = layers.MultiHeadAttention(num_heads=2, key_dim=3, name=f"attention{number}")(windows, windows)
        mixed = ops.transpose(ops.reshape(mixed, (-1, 2, 3, 2, 2, WIDTH)), (0, 1, 3, 2, 4, 5))
        cells = layers.Add(name=f"stage{number}")([cells, ops.reshape(mixed, (-1, 4, 6, WIDTH))])
    pooled = layers.GlobalAveragePooling2D(name="pool")(cells)
    return seeded(keras.Model(images, layers.Dense(CLASSES, name="head")(pooled)))


class SubclassedViT(keras.Model):
    """The same with a `call` of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = layers.Conv2D(WIDTH, 4, strides=4, name="patches")
        self.flatten = layers.Reshape((6, WIDTH), name="tokens")
        self.prefix = PrefixTokens(1, name="prefix")
        self.norms = [layers.LayerNormalization(name=f"norm{number}") for number in range(2)]
        self.attentions = [layers.MultiHeadAttention(2, 3, name=f"attention{number}") for number in range(2)]
        self.last_norm = layers.LayerNormalization(name="last_norm")
        self.head = layers.Dense(CLASSES, name="head")

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        tokens = self.prefix(self.flatten(self.patches(images)))
        for norm, attention in zip(self.norms, self.attentions, strict=True):
            normed = norm(tokens)
            tokens = tokens + attention(normed, normed)
        return self.head(self.last_norm(tokens)[:, 0])


class SubclassedBlocks(keras.Model):
    """A `call` of its own over blocks that are layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = layers.Conv2D(WIDTH, 4, strides=4, name="patches")
        self.flatten = layers.Reshape((6, WIDTH), name="tokens")
        self.prefix = PrefixTokens(1, name="prefix")
        self.encoder = Encoder(name="encoder")
        self.head = layers.Dense(CLASSES, name="head")

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        return self.head(self.encoder(self.prefix(self.flatten(self.patches(images))))[:, 0])


def subclassed_vit(build: type[keras.Model] = SubclassedViT) -> keras.Model:
    model = build()
    model(np.zeros((1, *SIZE, 3), np.float32))
    return seeded(model)


def seeded(model: keras.Model) -> keras.Model:
    generator = np.random.default_rng(3)
    for weight in model.weights:
        if "seed" not in weight.path:
            weight.assign(float("gamma" in weight.path) + generator.normal(scale=0.5, size=weight.shape))
    return model


def pictures(count: int = 2, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(7).normal(size=(count, *size, 3)).astype(np.float32)
