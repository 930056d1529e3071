"""The two layers of a segmentation model that are worth explaining."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from tests.zoo.styles import randomise
from tf_gradcam import Explainer, list_layers, split_model
from tf_gradcam._errors import ModelWarning, for_command_line
from tf_gradcam._models.layer_list import layer_table
from tf_gradcam._models.reader import reader_of
from tf_gradcam._models.segmentation import SegmentationLayers, segmentation_layers

SIZE = (16, 24)
CLASSES = 3


def conv(filters: int, name: str, **options: Any) -> layers.Layer:
    return layers.Conv2D(filters, 3, padding="same", activation="relu", name=name, **options)


def unet(size: tuple[int | None, ...] = SIZE, head: str | None = "softmax", classes: int = CLASSES) -> keras.Model:
    """Two levels with skips; each level of the decoder upsamples outside of its convolution."""
    image = keras.Input((*size, 3))
    first = conv(4, "first")(image)
    second = conv(5, "second")(layers.MaxPooling2D(name="pool_1")(first))
    deep = conv(6, "deep_1")(layers.MaxPooling2D(name="pool_2")(second))
    deep = layers.Dropout(0.5, name="drop")(conv(6, "deep_2")(deep))
    up = conv(5, "up_2")(layers.Concatenate()([layers.UpSampling2D()(deep), second]))
    up = conv(4, "up_1")(layers.Concatenate()([layers.UpSampling2D()(up), first]))
    return randomise(keras.Model(image, layers.Conv2D(classes, 1, activation=head, name="mask")(up)))


def encoder_decoder() -> keras.Model:
    """No skips; batch normalisation and activation are layers of their own."""
    image = keras.Input((*SIZE, 3))
    tensor = image
    for filters, name in ((4, "down_1"), (6, "down_2")):
        tensor = layers.Conv2D(filters, 3, 2, padding="same", name=name)(tensor)
        tensor = layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_norm")(tensor))
    for filters, name in ((5, "up_1"), (4, "up_2")):
        tensor = layers.Conv2DTranspose(filters, 3, 2, padding="same", activation="relu", name=name)(tensor)
    scores = layers.Conv2D(CLASSES, 1, name="scores")(tensor)
    return randomise(keras.Model(image, layers.Softmax(name="softmax")(scores)))


def dilated() -> keras.Model:
    """DeepLab: dilated branches and a pooled one, no decoder; the scores of the classes are enlarged."""
    image = keras.Input((*SIZE, 3))
    features = conv(6, "encoder", strides=1)(layers.MaxPooling2D(4)(conv(4, "stem")(image)))
    branches = [conv(4, f"rate_{rate}", dilation_rate=rate)(features) for rate in (1, 2, 3)]
    pooled = layers.Conv2D(4, 1, activation="relu", name="pooled")(
        layers.GlobalAveragePooling2D(keepdims=True)(features)
    )
    branches.append(layers.UpSampling2D((4, 6), interpolation="bilinear")(pooled))
    merged = layers.Conv2D(5, 1, activation="relu", name="merged")(layers.Concatenate()(branches))
    scores = layers.Conv2D(CLASSES, 1, name="scores")(merged)
    large = layers.UpSampling2D(4, interpolation="bilinear", name="enlarged")(scores)
    return randomise(keras.Model(image, layers.Activation("softmax")(large)))


def with_low_level_features() -> keras.Model:
    """DeepLabV3+: the coarse features are enlarged and joined with finer ones."""
    image = keras.Input((*SIZE, 3))
    fine = conv(4, "fine", strides=2)(image)
    coarse = conv(6, "coarse", strides=4)(fine)
    enlarged = layers.UpSampling2D(4, interpolation="bilinear")(conv(5, "pyramid", dilation_rate=2)(coarse))
    joined = conv(4, "refined")(layers.Concatenate()([enlarged, layers.Conv2D(2, 1, name="reduced")(fine)]))
    scores = layers.Conv2D(CLASSES, 1, name="scores")(joined)
    return randomise(keras.Model(image, layers.UpSampling2D(2)(scores)))


def fully_convolutional() -> keras.Model:
    """FCN-16s: scores at two depths, enlarged by transposed convolutions and added."""
    image = keras.Input((*SIZE, 3))
    fine = conv(5, "fine", strides=4)(image)
    coarse = conv(6, "coarse", strides=2)(fine)
    scores = layers.Conv2D(CLASSES, 1, name="scores_coarse")(coarse)
    scores = layers.Conv2DTranspose(CLASSES, 4, 2, padding="same", name="twice")(scores)
    scores = layers.Add(name="sum")([scores, layers.Conv2D(CLASSES, 1, name="scores_fine")(fine)])
    return randomise(
        keras.Model(image, layers.Conv2DTranspose(CLASSES, 8, 4, padding="same", activation="softmax")(scores))
    )


def with_pyramid_of_poolings() -> keras.Model:
    """PSPNet: wide poolings make smaller cells beside the way, which are not a bottleneck."""
    image = keras.Input((*SIZE, 3))
    features = conv(6, "features", strides=2)(image)
    levels = [features]
    for size in (2, 4):
        pooled = conv(2, f"level_{size}")(layers.AveragePooling2D(size, name=f"pool_{size}")(features))
        levels.append(layers.UpSampling2D(size)(pooled))
    wide = conv(2, "level_half")(layers.AveragePooling2D((4, 6), name="pool_half")(features))
    levels.append(layers.UpSampling2D((4, 6))(wide))
    joined = conv(4, "joined")(layers.Concatenate()(levels[:1] + levels[2:]))
    return randomise(keras.Model(image, layers.Conv2D(CLASSES, 1)(joined)))


def ending_in_a_transposed_convolution() -> keras.Model:
    """The U-Net of TensorFlow's tutorial: the last layer both enlarges and scores."""
    image = keras.Input((*SIZE, 3))
    skip = conv(4, "skip", strides=2)(image)
    deep = conv(6, "deep", strides=2)(skip)
    up = layers.Conv2DTranspose(5, 3, 2, padding="same", use_bias=False, name="up")(deep)
    joined = layers.Concatenate(name="joined")([layers.ReLU(name="up_relu")(up), skip])
    return randomise(keras.Model(image, layers.Conv2DTranspose(CLASSES, 3, 2, padding="same")(joined)))


def nested_encoder() -> keras.Model:
    """A backbone of several outputs as one layer, as transfer learning builds it."""
    inner = keras.Input((*SIZE, 3))
    first = conv(4, "block_1", strides=2)(inner)
    backbone = keras.Model(inner, [first, conv(6, "block_2", strides=2)(first)], name="backbone")
    image = keras.Input((*SIZE, 3))
    skip, deep = backbone(image)
    joined = conv(4, "decoder")(layers.Concatenate()([layers.UpSampling2D()(deep), skip]))
    return randomise(keras.Model(image, layers.UpSampling2D()(layers.Conv2D(1, 1, activation="sigmoid")(joined))))


def with_attention_gates() -> keras.Model:
    """Attention U-Net: the coarsest features also open a gate of the skip, by a layer beside the way."""
    image = keras.Input((*SIZE, 3))
    skip = conv(4, "skip")(image)
    deep = conv(6, "deep", strides=2)(skip)
    signal = layers.UpSampling2D()(layers.Conv2D(4, 1, name="gate_signal")(deep))
    gate = layers.Conv2D(1, 1, activation="sigmoid", name="gate")(layers.ReLU()(layers.Add()([skip, signal])))
    joined = layers.Concatenate()([layers.UpSampling2D()(deep), layers.Multiply()([skip, gate])])
    return randomise(keras.Model(image, layers.Conv2D(CLASSES, 1)(conv(4, "fine")(joined))))


def with_residual_decoder() -> keras.Model:
    """Each step of the decoder adds its enlarged input, past its convolution."""
    image = keras.Input((*SIZE, 3))
    deep = conv(6, "deep", strides=2)(conv(4, "stem")(image))
    up = layers.UpSampling2D()(layers.BatchNormalization(name="norm")(conv(4, "coarse")(deep)))
    beside = layers.Conv2D(4, 1, name="beside")(layers.UpSampling2D()(deep))
    return randomise(keras.Model(image, layers.Conv2D(CLASSES, 1)(layers.Add(name="sum")([up, beside]))))


class SubclassedUNet(keras.Model):
    def __init__(self) -> None:
        super().__init__(name="own_unet")
        self.skip, self.deep, self.merge = conv(4, "skip"), conv(6, "deep", strides=2), conv(4, "merge")
        self.up, self.scores = layers.UpSampling2D(name="up"), layers.Conv2D(CLASSES, 1, name="scores")

    def call(self, images: Any) -> Any:
        skip = self.skip(images)
        joined = keras.ops.concatenate([self.up(self.deep(skip)), skip], axis=-1)
        return keras.ops.softmax(self.scores(self.merge(joined)))


def subclassed() -> keras.Model:
    model = SubclassedUNet()
    model(np.zeros((1, *SIZE, 3), np.float32))
    return randomise(model)


def of_two_outputs() -> keras.Model:
    """A second output at half of the size, for deep supervision, has layers of its own."""
    image = keras.Input((*SIZE, 3))
    skip = conv(4, "skip")(image)
    deep = conv(6, "deep", strides=2)(skip)
    fine = conv(4, "fine")(layers.Concatenate()([layers.UpSampling2D()(deep), skip]))
    side = conv(4, "side", strides=2)(deep)
    outputs = [layers.Conv2D(CLASSES, 1, name="mask")(fine), layers.Conv2D(CLASSES, 1, name="half")(side)]
    return randomise(keras.Model(image, outputs))


CASES: dict[str, tuple[Callable[[], keras.Model], str, str]] = {
    "U-Net": (unet, "deep_2", "up_1"),
    "U-Net of free size": (lambda: unet((None, None)), "deep_2", "up_1"),
    "U-Net of logits": (lambda: unet(head=None), "deep_2", "up_1"),
    "U-Net of one class": (lambda: unet(head="sigmoid", classes=1), "deep_2", "up_1"),
    "no skips": (encoder_decoder, "down_2_relu", "up_2"),
    "DeepLab": (dilated, "merged", "merged"),
    "DeepLab with a decoder": (with_low_level_features, "pyramid", "refined"),
    "FCN": (fully_convolutional, "coarse", "fine"),
    "PSPNet": (with_pyramid_of_poolings, "joined", "joined"),
    "last layer transposed": (ending_in_a_transposed_convolution, "deep", "joined"),
    "nested encoder": (nested_encoder, "backbone/block_2", "decoder"),
    "attention gates": (with_attention_gates, "deep", "fine"),
    "residual decoder": (with_residual_decoder, "deep", "sum"),
    "subclassed": (subclassed, "deep", "merge"),
    "two outputs": (of_two_outputs, "deep", "fine"),
}


@pytest.mark.parametrize("name", CASES)
def test_context_is_the_last_layer_of_fewest_cells_and_detail_the_last_before_the_scores(name: str) -> None:
    build, context, detail = CASES[name]
    assert segmentation_layers(reader_of(build())) == SegmentationLayers(context, detail)


def test_layers_of_the_second_output_are_its_own() -> None:
    reader = reader_of(of_two_outputs()).with_output("half")
    assert segmentation_layers(reader) == SegmentationLayers("side", "side")


def test_a_wide_pooling_that_everything_passes_counts() -> None:
    image = keras.Input((*SIZE, 3))
    deep = conv(4, "deep")(layers.AveragePooling2D(4)(conv(4, "stem")(image)))
    scores = layers.Conv2D(CLASSES, 1)(layers.UpSampling2D(4)(deep))
    model = randomise(keras.Model(image, layers.Conv2D(CLASSES, 3, padding="same")(scores)))
    assert segmentation_layers(reader_of(model)).context == "deep"


def test_free_size_that_does_not_fit_leaves_the_layer_for_detail() -> None:
    image = keras.Input((None, None, 3))
    odd = layers.Cropping2D(150, name="crop")(conv(4, "skip")(image))  # more than the pictures that are tried
    model = randomise(keras.Model(image, layers.Conv2D(CLASSES, 1)(conv(4, "last")(odd))))
    assert segmentation_layers(reader_of(model)).detail == "last"


def test_explainer_takes_the_layer_for_context_and_names_the_other() -> None:
    model = unet()
    with pytest.warns(ModelWarning, match="'deep_2' is explained, the coarsest one, for context") as warned:
        explainer = Explainer(model)
    assert explainer.layer_name == "deep_2"
    text = warned[0].message
    assert str(text).endswith("For detail choose layer='up_1'.")
    assert for_command_line(text).endswith("For detail choose --layer up_1.")
    assert Explainer(model, "up_1").layer_name == "up_1"  # as the warning says, and without one


def test_explainer_of_one_grid_says_nothing() -> None:
    assert Explainer(dilated()).layer_name == "merged"


def test_table_of_layers_marks_both() -> None:
    rows = list_layers(unet())
    assert {row.path: (row.default, row.role) for row in rows if row.default or row.role} == {
        "deep_2": (True, "context"),
        "up_1": (False, "detail"),
    }
    lines = layer_table(rows).splitlines()
    assert [line.split()[0] for line in lines if line.endswith("yes, the default, for context")] == ["deep_2"]
    assert [line.split()[0] for line in lines if line.endswith("yes, for detail")] == ["up_1"]
    alone = [(row.path, row.role) for row in list_layers(dilated()) if row.default]
    assert alone == [("merged", "")]


def test_model_is_split_at_both_layers() -> None:
    model = unet()
    images = np.random.default_rng(0).random((2, *SIZE, 3), np.float32)
    expected = model.predict(images, verbose=0)
    for layer in segmentation_layers(reader_of(model)):
        split = split_model(model, layer)
        np.testing.assert_allclose(split.tail(split.extractor(images)), expected, rtol=1e-5, atol=1e-6)
