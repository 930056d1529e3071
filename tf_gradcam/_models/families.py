"""The architectures of keras.applications, recognised in any graph that holds their first convolution.

A model's own name does not last (a head built on `base.output` drops it), its layers' names do. Names
alone are no proof, since own networks borrow them, so the widths that an architecture fixes and its first
kernel are compared too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ANY = None  # a layer that is there, whatever its width


@dataclass(frozen=True)
class Family:
    """One module of keras.applications and the layers that betray it.

    Attributes:
        name: the module ("vgg16", "resnet_v2", ...).
        mode: the scaling that the first convolution was trained on, also where keras.applications builds that
            arithmetic into the model.
        kernel, stride: of the first convolution, pixels.
        layers: pattern of a layer's name -> number of filters; the first entry is the first convolution.
    """

    name: str
    mode: str
    kernel: int
    stride: int
    layers: dict[str, int | None]


# The first that fits is taken. EfficientNetV2-S, -M and -L divide by 128 where the mode "tf" divides by
# 127.5: the images are at most 0.008 apart.
FAMILIES = (
    Family("vgg19", "caffe", 3, 1, {"block1_conv1": 64, "block1_conv2": 64, "block3_conv4": 256}),
    Family("vgg16", "caffe", 3, 1, {"block1_conv1": 64, "block1_conv2": 64, "block2_conv1": 128}),
    Family("xception", "tf", 3, 2, {"block1_conv1": 32, "block1_conv2": 64, "block2_sepconv1": 128}),
    Family("resnet_v2", "tf", 7, 2, {"conv1_conv": 64, "conv2_block1_preact_bn": ANY}),
    Family("resnet", "caffe", 7, 2, {"conv1_conv": 64, "conv1_bn": ANY, "conv2_block1_1_conv": 64}),
    Family("densenet", "torch", 7, 2, {"conv1_conv": 64, "conv1_bn": ANY, "conv2_block1_1_conv": 128}),
    Family("inception_v3", "tf", 3, 2, {r"conv2d(_\d+)?": 32, "mixed0": ANY, "mixed1": ANY}),
    Family("inception_resnet_v2", "tf", 3, 2, {r"conv2d(_\d+)?": 32, "mixed_5b": ANY}),
    Family("mobilenet", "tf", 3, 2, {"conv1": ANY, "conv_dw_1": ANY, "conv_pw_1": ANY}),
    Family("mobilenet_v2", "tf", 3, 2, {"Conv1": ANY, "expanded_conv_depthwise": ANY}),
    Family("mobilenet_v3", "tf", 3, 2, {"conv": 16, "expanded_conv_depthwise": ANY}),
    Family("efficientnet", "torch", 3, 2, {"stem_conv": ANY, "block1a_dwconv": ANY}),
    Family("efficientnet_v2", "tf", 3, 2, {"stem_conv": 24, "block1b_project_conv": 24}),
    Family("efficientnet_v2", "tf", 3, 2, {"stem_conv": 32, "block1d_project_conv": 32}),
    Family("efficientnet_v2", "torch", 3, 2, {"stem_conv": ANY, "block1a_project_conv": ANY}),
    Family("nasnet", "tf", 3, 2, {"stem_conv1": ANY, "reduction_conv_1_stem_1": ANY}),
    Family("convnext", "torch", 4, 4, {r".+_stem_conv": ANY, r".+_stem_layernorm": ANY}),
)

# Their `preprocess_input` returns its argument: the arithmetic is a layer of the model, or was left out of it.
PASS_THROUGH = {"mobilenet_v3", "efficientnet", "efficientnet_v2", "convnext"}


def find_family(first: Any, layers: Mapping[str, Any]) -> Family | None:
    """The family whose first convolution this is, or None.

    Args:
        first: the layer with a kernel that an image meets first.
        layers: name -> layer, those of the model that holds `first`, itself included.
    """
    if not getattr(first, "kernel_size", None):
        return None
    return next((family for family in FAMILIES if _fits(family, first, layers)), None)


def _fits(family: Family, first: Any, layers: Mapping[str, Any]) -> bool:
    entry, *others = family.layers.items()
    return (
        tuple(first.kernel_size) == (family.kernel, family.kernel)
        and tuple(first.strides) == (family.stride, family.stride)
        and _is_layer(first, *entry)
        and all(any(_is_layer(layer, *other) for layer in layers.values()) for other in others)
    )


def _is_layer(layer: Any, pattern: str, filters: int | None) -> bool:
    same_name = re.fullmatch(pattern, layer.name) is not None
    return same_name and filters in (ANY, getattr(layer, "filters", None))
