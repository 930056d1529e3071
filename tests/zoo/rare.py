"""More styles for the table of `models`: heads and layers that are rare, each with its reference by hand.

Importing this enters them into `STYLES`.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops

from tests.zoo.styles import (
    HEIGHT,
    WIDTH,
    Built,
    chain,
    conv,
    conv_stack,
    dense,
    head_style,
    image_input,
    pool,
    pooling,
    randomise,
    reference_of,
    signed_logit,
    style,
)


@style("functional", "head", "ordinal", activation="sigmoid", target=1)
def ordinal() -> Built:
    """Three thresholds of one grade: unit k says "above k"."""
    head = layers.Dense(3, activation="sigmoid", name="thresholds")
    model, reference = head_style(pooling(), head)
    return model, "conv2", reference(lambda F: dense(head, pool(F)))


@style("functional", "head", "regression", "hinge", activation=None, target=lambda outputs: outputs[:, 0])
def hinge() -> Built:
    """One unit in [-1, 1], trained with a hinge loss: its value is explained as it is."""
    head = layers.Dense(1, activation="tanh", name="head")
    model, reference = head_style(pooling(), head)
    return model, "conv2", reference(lambda F: tf.tanh(dense(head, pool(F))))


@style("functional", "outputs", "dict", "detector", target=lambda outputs: outputs["scores"][:, 7, 2], activation=None)
def detector() -> Built:
    """A box and class scores for every cell, as one-stage detectors have them: cell 7, class 2 is explained."""
    images = image_input()
    conv1, conv2, conv3 = conv_stack()
    boxes, scores = layers.Conv2D(4, 1, name="boxes"), layers.Conv2D(3, 1, name="scores")
    flat = layers.Reshape((-1, 4), name="box"), layers.Reshape((-1, 3), name="score")
    features = chain(conv1, conv2, conv3)(images)
    model = keras.Model(images, {"boxes": flat[0](boxes(features)), "scores": flat[1](scores(features))})
    randomise(model)

    def back(A: tf.Tensor, images: tf.Tensor) -> dict[str, tf.Tensor]:
        F = conv3(A)
        cells = [tf.einsum("bhwc,ck->bhwk", F, one.kernel.value[0, 0]) + one.bias.value for one in (boxes, scores)]
        merged = [tf.reshape(part, (tf.shape(part)[0], -1, part.shape[-1])) for part in cells]
        return {"boxes": merged[0], "scores": merged[1]}

    return model, "conv2", reference_of(chain(conv1, conv2), back)


@style(
    "functional", "autoencoder", "dense_outputs", activation=None,
    target=lambda outputs: tf.reduce_mean(outputs[:, 2:6, 3:9], axis=(1, 2, 3)),
)  # fmt: skip
def autoencoder() -> Built:
    """The picture again: what a corner of it is made from."""
    images = image_input()
    encode, code = conv("encode", strides=2), conv("code", 3, strides=2)
    up, decode = layers.Conv2DTranspose(4, 3, strides=4, padding="same", name="up"), layers.Conv2D(3, 1, name="decode")
    model = randomise(keras.Model(images, chain(encode, code, up, decode)(images)))

    def back(A: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        shape = (tf.shape(A)[0], HEIGHT, WIDTH, 4)
        larger = tf.nn.conv2d_transpose(A, up.kernel.value, shape, strides=4, padding="SAME") + up.bias.value
        return tf.einsum("bhwc,ck->bhwk", larger, decode.kernel.value[0, 0]) + decode.bias.value

    return model, "code", reference_of(chain(encode, code), back)


@style("functional", "head", "binary", "discriminator", activation="sigmoid", target=1, tolerance=1e-4)
def discriminator() -> Built:
    """A GAN's critic: strides, leaky units, no pooling, one unit of two sides."""
    images = image_input()
    first, second = conv("first", strides=2, activation=None), conv("second", 5, strides=2, activation=None)
    leak, flat = layers.LeakyReLU(negative_slope=0.2), layers.Flatten()
    head = layers.Dense(1, activation="sigmoid", name="real")
    model = randomise(keras.Model(images, head(flat(leak(second(leak(first(images))))))))

    def back(A: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        F = tf.nn.leaky_relu(A, 0.2)
        return dense(head, tf.reshape(F, (tf.shape(F)[0], -1)))

    def front(images: tf.Tensor) -> tf.Tensor:
        return second(tf.nn.leaky_relu(first(images), 0.2))

    return model, "second", reference_of(front, back, signed_logit)


@style("functional", "head", "cosine", activation=None)
def cosine_head() -> Built:
    """Metric learning: the classes are directions, their scores cosines."""
    directions = keras.Variable(keras.random.normal((5, 4), seed=5), trainable=False, name="directions")

    class Cosine(layers.Layer):
        def call(self, features: Any) -> Any:
            return ops.matmul(
                ops.normalize(features, axis=-1), ops.normalize(ops.convert_to_tensor(directions), axis=0)
            )

    model, reference = head_style(pooling(), Cosine(name="cosine"))

    def rest(F: tf.Tensor) -> tf.Tensor:
        return tf.matmul(tf.math.l2_normalize(pool(F), axis=-1), tf.math.l2_normalize(directions.value, axis=0))

    return model, "conv2", reference(rest)
