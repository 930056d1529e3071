"""The networks that are measured: real architectures with random weights and active batch normalisations.

The weights do not matter to the time unless a number is denormal or a softmax saturates. A batch normalisation that
changes nothing could be dropped by a compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from tf_gradcam.image import load_image

_BYTES, _UNIT, _CENTRED = (0.0, 255.0), (-1.0, 1.0), (-103.9, 151.0)  # the ranges that the families take


@dataclass(frozen=True)
class Network:
    """A network by name.

    Attributes:
        build: function that returns the model.
        size: (H0, W0) of its images.
        value_range: lowest and highest value of its images.
        layer: the explained layer, the default of `Explainer`.
        torch: name in torchvision.models and the path of the same layer there, or None.
        preprocessing: `preprocess` of an audit and of `tf-gradcam explain`.
        has_linear_head: True if the layer is pooled into one dense layer.
    """

    build: Callable[[], keras.Model]
    size: tuple[int, int]
    value_range: tuple[float, float]
    layer: str
    torch: tuple[str, str] | None = None
    preprocessing: str = "raw"
    has_linear_head: bool = True

    def model(self, policy: str = "float32") -> keras.Model:
        """Return the network under a dtype policy of Keras, the same at every call."""
        keras.utils.set_random_seed(0)
        with _policy(policy):
            model = self.build()
        stir(model, self.images(2))
        return model

    def images(self, batch: int) -> np.ndarray:
        """Return noise over the whole range, (batch, H0, W0, 3) float32."""
        noise = np.random.default_rng(batch).uniform(*self.value_range, size=(batch, *self.size, 3))
        return noise.astype(np.float32)

    def read(self, path: Path) -> np.ndarray:
        """Return a file as the model takes it, (H0, W0, 3) float32; the scaling is that of `keras.applications`."""
        photo = load_image(path, self.size).astype(np.float32)
        if self.preprocessing == "raw":
            return photo
        return keras.applications.imagenet_utils.preprocess_input(photo, mode=self.preprocessing)


def stir(model: keras.Model, images: np.ndarray, seed: int = 0) -> None:
    """Give every batch normalisation random scales and shifts, and the statistics of these images.

    With other statistics, values would grow from block to block until the softmax saturates.
    """
    random = np.random.default_rng(seed)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momentums = [layer.momentum for layer in norms]
    for layer in norms:
        for variable, low, high in ((layer.gamma, 0.8, 1.2), (layer.beta, -0.2, 0.2)):
            if variable is not None:
                variable.assign(random.uniform(low, high, size=variable.shape))
        layer.momentum = 0.0  # one pass sets the statistics
    if norms:
        model(images, training=True)
    for layer, momentum in zip(norms, momentums, strict=True):
        layer.momentum = momentum


def tiny() -> keras.Model:
    """Return a convolution, a normalisation and a head: the cost of a call is then the cost around the graph."""
    inputs = keras.Input((20, 24, 3))
    hidden = keras.layers.Conv2D(4, 3, use_bias=False, name="conv")(inputs)
    hidden = keras.layers.ReLU(name="cells")(keras.layers.BatchNormalization()(hidden))
    pooled = keras.layers.GlobalAveragePooling2D()(hidden)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(pooled), name="tiny")


def _published(name: str) -> Callable[[], keras.Model]:
    return lambda: getattr(keras.applications, name)(weights=None)


@contextmanager
def _policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


NETWORKS = {
    "VGG16": Network(
        _published("VGG16"),
        (224, 224),
        _CENTRED,
        "block5_conv3",
        ("vgg16", "features.29"),
        preprocessing="caffe",
        has_linear_head=False,
    ),
    "ResNet50": Network(
        _published("ResNet50"), (224, 224), _CENTRED, "conv5_block3_out", ("resnet50", "layer4.2"), "caffe"
    ),
    "MobileNetV2": Network(
        _published("MobileNetV2"), (224, 224), _UNIT, "out_relu", ("mobilenet_v2", "features.18"), "tf"
    ),
    "EfficientNetV2S": Network(
        _published("EfficientNetV2S"), (384, 384), _BYTES, "top_activation", ("efficientnet_v2_s", "features.7")
    ),
    "Tiny": Network(tiny, (20, 24), _UNIT, "cells"),
}
MEASURED = [name for name in NETWORKS if name != "Tiny"]
