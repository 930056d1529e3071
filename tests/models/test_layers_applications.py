"""The default layer on every family of `keras.applications`: the last map before the pooling.

Weights are random, as the choice reads the graph alone. Sizes are small, but leave a last map of 2 x 2 cells
or more: at their smallest most families end in a single cell, which no heatmap can be made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import pytest
from keras import applications, layers

from tf_gradcam import list_layers, split_model

READ_BY_POOLING = None  # numbered by Keras as models are built: known by its place, not by its name


@dataclass(frozen=True)
class Family:
    """The smallest member of a family, and where its default heatmap belongs."""

    size: int
    layer: str | None
    kind: str
    larger: tuple[str, ...] = ()
    kind_in_backbone: str | None = None  # where include_top=False ends in another layer


FAMILIES = {
    "VGG16": Family(32, "block5_conv3", "Conv2D"),
    "VGG19": Family(32, "block5_conv4", "Conv2D"),
    "ResNet50": Family(64, "conv5_block3_out", "Activation", ("ResNet101", "ResNet152")),
    "ResNet50V2": Family(64, "post_relu", "Activation", ("ResNet101V2", "ResNet152V2")),
    "DenseNet121": Family(64, "relu", "Activation", ("DenseNet169", "DenseNet201")),
    "InceptionV3": Family(107, "mixed10", "Concatenate"),
    "InceptionResNetV2": Family(107, "conv_7b_ac", "Activation"),
    "Xception": Family(71, "block14_sepconv2_act", "Activation"),
    "MobileNet": Family(64, "conv_pw_13_relu", "ReLU"),
    "MobileNetV2": Family(64, "out_relu", "ReLU"),
    "MobileNetV3Small": Family(64, READ_BY_POOLING, "Activation"),
    "MobileNetV3Large": Family(64, READ_BY_POOLING, "Activation"),
    "EfficientNetB0": Family(
        64, "top_activation", "Activation", tuple(f"EfficientNetB{digit}" for digit in range(1, 8))
    ),
    "EfficientNetV2B0": Family(
        64,
        "top_activation",
        "Activation",
        tuple(f"EfficientNetV2{end}" for end in ("B1", "B2", "B3", "S", "M", "L")),
    ),
    "NASNetMobile": Family(64, READ_BY_POOLING, "Activation", ("NASNetLarge",)),
    "ConvNeXtTiny": Family(
        64,
        READ_BY_POOLING,
        "Add",
        tuple(f"ConvNeXt{end}" for end in ("Small", "Base", "Large", "XLarge")),
        "LayerNormalization",  # of the Add, cell by cell; with a top it comes after the pooling
    ),
}


@dataclass
class Member:
    """One architecture, whole and as the backbone of a fine-tuned model."""

    name: str
    family: Family

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.family.size, self.family.size, 3)

    @cached_property
    def model(self) -> keras.Model:
        return getattr(applications, self.name)(weights=None, classes=10, input_shape=self.shape)

    @cached_property
    def backbone(self) -> keras.Model:
        return getattr(applications, self.name)(weights=None, include_top=False, input_shape=self.shape)

    @cached_property
    def fine_tuned(self) -> keras.Model:
        head = [layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")]
        return keras.Sequential([layers.Input(self.shape), self.backbone, *head])

    @property
    def expected(self) -> str:
        return self.family.layer or read_by_pooling(self.model)

    @property
    def expected_in_backbone(self) -> str:
        """A numbered name differs between two models; the backbone ends in it."""
        if self.family.layer:
            return self.family.layer
        return self.backbone.outputs[0]._keras_history.operation.name


def read_by_pooling(model: keras.Model) -> str:
    pooling = [layer for layer in model.layers if isinstance(layer, layers.GlobalAveragePooling2D)]
    return pooling[-1].input._keras_history.operation.name


QUICK = {"VGG16", "MobileNetV3Small"}  # the others take seconds to build


@pytest.fixture(
    scope="module",
    params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES],
)
def member(request: pytest.FixtureRequest) -> Any:
    yield Member(request.param, FAMILIES[request.param])
    keras.backend.clear_session()


def test_default_layer_is_the_last_map(member: Member) -> None:
    split = split_model(member.model)
    assert split.layer_name == member.expected
    assert min(split.activation_shape[1:3]) >= 2


def test_list_layers_marks_the_default(member: Member) -> None:
    rows = list_layers(member.model)
    (default,) = [row for row in rows if row.default]
    assert (default.path, default.type) == (member.expected, member.family.kind)
    assert default.explainable


def test_default_layer_inside_a_backbone_is_the_same(member: Member) -> None:
    split = split_model(member.fine_tuned)
    assert split.layer_name == f"{member.backbone.name}/{member.expected_in_backbone}"


def test_list_layers_marks_the_default_inside_a_backbone(member: Member) -> None:
    (default,) = [row for row in list_layers(member.fine_tuned) if row.default]
    assert default.path == f"{member.backbone.name}/{member.expected_in_backbone}"
    assert default.type == (member.family.kind_in_backbone or member.family.kind)


LARGER = {name: family for family in FAMILIES.values() for name in family.larger}


@pytest.mark.soak
@pytest.mark.parametrize("name", LARGER)
def test_default_layer_of_larger_members(name: str) -> None:
    larger = Member(name, LARGER[name])
    assert split_model(larger.model).layer_name == larger.expected
    keras.backend.clear_session()


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_split_reproduces_the_application(name: str) -> None:
    """Softmax outputs of random networks are near 0.1; the same layers run in the same order."""
    whole = Member(name, FAMILIES[name])
    images = np.random.default_rng(0).uniform(0.0, 255.0, (2, *whole.shape)).astype("float32")
    split = split_model(whole.model)
    expected = whole.model(images, training=False)
    np.testing.assert_allclose(split.tail(split.extractor(images)), expected, rtol=1e-5, atol=1e-6)
    keras.backend.clear_session()
