"""Places where the cells of every family of `keras.applications` look, against those where their maps are drawn.

All kernels average, so that the gradient of a cell by the pixels is its receptive field, whatever the picture. Pooling
by the maximum averages too, gates (squeeze and excitation) are held, and layer normalisations, which remove what all
channels share, are left out: none of these moves a cell. Two groups of cells in the middle of a long picture, whose
fields no border cuts, give offset and scale; the error at the ends of the map follows, as places are a straight line.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import applications, layers

from tf_gradcam import split_model
from tf_gradcam.image.resize import Placement

# Pixels by which the cells look beside their places. Where it is not 0, padding is asymmetric: the shift is left out of
# the places, since trained weights make up for most of it.
SHIFTS = {
    "VGG16": 0.0,
    "ResNet50": -15.5,
    "ResNet50V2": -15.5,
    "InceptionV3": 0.0,
    "InceptionResNetV2": 0.0,
    "Xception": -0.5,
    "MobileNet": 15.5,
    "MobileNetV2": 15.5,
    "MobileNetV3Small": 15.5,
    "DenseNet121": -1.5,
    "NASNetMobile": 8.8,
    "EfficientNetB0": 15.5,
    "EfficientNetV2B0": 15.5,
    "ConvNeXtTiny": 0.0,
}
# Half a minute each to build and trace.
QUICK = ("MobileNetV2", "MobileNetV3Small", "ResNet50V2")
ERROR = 0.1  # pixels
LONG = 1056
SHORT = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 75}  # of valid padding; 32 for the others
DARK = 1e-3  # pixels of the picture: no ReLU6 is full


class Held(layers.GlobalAveragePooling2D):
    """Pooling without a gradient."""

    def call(self, inputs: Any) -> Any:
        return tf.stop_gradient(super().call(inputs))


class Skipped(layers.LayerNormalization):
    """No normalisation."""

    def call(self, inputs: Any) -> Any:
        return inputs


def make_averaging(layer: Any) -> None:
    """Let a layer do what stands for it in a network of averages."""
    if isinstance(layer, layers.MaxPooling2D):
        layer.pool_mode = "average"
    for kind, other in ((layers.GlobalAveragePooling2D, Held), (layers.LayerNormalization, Skipped)):
        if isinstance(layer, kind):
            object.__setattr__(layer, "__class__", other)


def application(name: str, size: tuple[int, int]) -> keras.Model:
    options = {"MobileNetV3Small", "EfficientNetV2B0", "ConvNeXtTiny"}
    plain: dict[str, Any] = {"include_preprocessing": False} if name in options else {}
    if name == "MobileNet":
        plain["alpha"] = 0.25
    model = getattr(applications, name)(weights=None, include_top=False, input_shape=(*size, 3), **plain)
    for layer in model.layers:
        make_averaging(layer)
        for weight in layer.weights:
            shape = weight.shape
            if len(shape) > 1:
                is_depthwise = "depthwise" in weight.path or isinstance(layer, layers.DepthwiseConv2D)
                weight.assign(np.full(shape, 1 / np.prod(shape[: 2 if is_depthwise else -1])))
            elif "gamma" in weight.name:
                weight.assign(np.ones(shape))
    head = [layers.GlobalAveragePooling2D(), layers.Dense(2)]
    return keras.Sequential([keras.Input((*size, 3)), model, *head])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in QUICK else pytest.mark.soak) for name in SHIFTS]
)
def test_cells_of_an_application_look_where_their_map_is_drawn(name: str) -> None:
    axis = list(SHIFTS).index(name) % 2  # down for one family, to the right for the next
    size = (LONG, SHORT.get(name, 32)) if axis == 0 else (SHORT.get(name, 32), LONG)
    split = split_model(application(name, size))
    image = tf.fill((1, *size, 3), DARK)
    cells = tuple(split.extract([image])[0].shape[1:3])
    placement = split.placement(cells, [image])
    assert isinstance(placement, Placement)
    across, middle = cells[1 - axis] // 2, cells[axis] // 2
    groups = np.array([range(middle - 4, middle - 1), range(middle + 2, middle + 5)])

    @tf.function
    def field(group: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(image)
            activations = split.extract([image])[0]
            line = activations[0, :, across] if axis == 0 else activations[0, across]
            score = tf.reduce_sum(tf.gather(line, group))
        return tf.reduce_sum(tape.gradient(score, image), axis=[0, 2 - axis, 3])

    errors = []
    for group in groups:
        energy = field(tf.constant(group)).numpy().astype(np.float64)
        looks = energy @ (np.arange(LONG) + 0.5) / energy.sum()
        errors.append(looks - placement.start[axis] - placement.scale[axis] * group.mean())
    slope = (errors[1] - errors[0]) / (groups[1].mean() - groups[0].mean())
    ends = [errors[0] + slope * (index - groups[0].mean()) for index in (0, cells[axis] - 1)]
    keras.backend.clear_session()
    np.testing.assert_allclose(ends, [SHIFTS[name]] * 2, atol=ERROR)
