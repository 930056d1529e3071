"""The blocks of a network of keras.applications, read from its layers' names: what is frozen, what is trained.

A block is what the network's authors number: `block6` of EfficientNetV2, `block5` of VGG16, `conv5` of ResNet50,
`stage_3` of ConvNeXt, each depthwise pair of MobileNet. Before them comes the `stem`, behind them the `top`, and last
what is new: the `head`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import keras

STEM, TOP, HEAD = "stem", "top", "head"
HEAD_LAYERS = ("pool", "dropout", "flatten", "fc1", "fc2", "dense")

_NUMBERED = (
    r"stage_?\d+",  # ConvNeXt; its layers have a block's number too
    r"downsampling_block_\d+",
    r"block_?\d+",  # EfficientNet, VGG, MobileNetV2, Xception
    r"conv_(?:dw|pw|pad)_\d+",  # MobileNet
    r"conv\d+_block",  # ResNet, DenseNet
    r"(?:conv|pool)\d(?=_|$)",  # what stands before the first block of a stage
    r"expanded_conv(?:_\d+)?",  # MobileNetV2 and V3
    r"mixed_?\d+",  # Inception
    r"(?:normal|reduction)_conv_\d+",  # NASNet
)
_BLOCK = re.compile("|".join(f"({pattern})" for pattern in _NUMBERED))
_MOBILENET_STEM = re.compile("conv1(_bn|_relu)?")  # while conv1_conv and conv1_pad are of ResNet and DenseNet
_TOP = re.compile(r"top_|post_|Conv_1|out_relu|conv_7b|head_")

# Statistics of a batch normalisation follow the data within 10 batches in place of 100: fine-tuning has few of them,
# and those of ImageNet would still be mixed in when the first epochs are validated.
MOMENTUM = 0.9


def block_of(name: str, before: str) -> str:
    """The block that a layer belongs to.

    Args:
        name: of the layer.
        before: the block of the layer before it, which a layer without a number of its own goes with.
    """
    if name in HEAD_LAYERS:
        return HEAD
    if _TOP.match(name):
        return TOP
    found = _BLOCK.search(name)
    if found is None or (before == STEM and _MOBILENET_STEM.fullmatch(name)):
        return before
    numbers = re.findall(r"\d+", found.group())
    kind = re.split(r"_(?:dw|pw|pad)|\d|_block", found.group())[0].rstrip("_")
    return f"{kind}{numbers[0]}" if numbers else kind


def blocks_of(model: keras.Model) -> dict[str, list[keras.layers.Layer]]:
    """The layers of each block, in the order of the network."""
    found: dict[str, list[keras.layers.Layer]] = {}
    block = STEM
    for layer in model.layers:
        block = block_of(layer.name, block)
        found.setdefault(block, []).append(layer)
    return found


def unfreeze(model: keras.Model, count: int | None) -> list[str]:
    """Freeze all but the last `count` blocks and the head; a frozen batch normalisation stays in inference mode.

    Args:
        model: of `build_classifier`.
        count: blocks to train, the top among them; 0 the head alone, None all.

    Returns:
        Names of the blocks that are trained.

    Raises:
        ValueError: more blocks than there are, or a negative number.
    """
    blocks = blocks_of(model)
    names = [name for name in blocks if name != HEAD and any(layer.weights for layer in blocks[name])]
    if count is not None and not 0 <= count <= len(names):
        raise ValueError(
            f"Expected 0 to {len(names)} blocks to unfreeze, or all, received {count}: the network has {names}."
        )
    trained = [*(names if count is None else names[len(names) - count :]), HEAD]
    for name, layers in blocks.items():
        for layer in layers:
            layer.trainable = name in trained
            if layer.trainable and isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = min(layer.momentum, MOMENTUM)
    return trained


def parameters(model: keras.Model) -> dict[str, int]:
    """Trainable parameters of each block that has any, as the model is now."""
    counts = {name: _count(layers) for name, layers in blocks_of(model).items()}
    return {name: count for name, count in counts.items() if count}


def _count(layers: Iterable[keras.layers.Layer]) -> int:
    sizes = [variable.shape for layer in layers for variable in layer.trainable_weights]
    return sum(math.prod(shape) for shape in sizes)
