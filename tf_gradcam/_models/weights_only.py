"""Weights without layers, in an HDF5 file: names, shapes, and the network of keras.applications that has them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

# Numbers in the weights of each network of keras.applications without its head, for RGB: no two have the same.
_TRUNKS = {
    87566464: "ConvNeXtBase",
    196230336: "ConvNeXtLarge",
    49454688: "ConvNeXtSmall",
    27820128: "ConvNeXtTiny",
    348147968: "ConvNeXtXLarge",
    7037504: "DenseNet121",
    12642880: "DenseNet169",
    18321984: "DenseNet201",
    4049571: "EfficientNetB0",
    6575239: "EfficientNetB1",
    7768569: "EfficientNetB2",
    10783535: "EfficientNetB3",
    17673823: "EfficientNetB4",
    28513527: "EfficientNetB5",
    40960143: "EfficientNetB6",
    64097687: "EfficientNetB7",
    5919312: "EfficientNetV2B0",
    6931124: "EfficientNetV2B1",
    8769374: "EfficientNetV2B2",
    12930622: "EfficientNetV2B3",
    117746848: "EfficientNetV2L",
    53150388: "EfficientNetV2M",
    20331360: "EfficientNetV2S",
    54336736: "InceptionResNetV2",
    21802784: "InceptionV3",
    3228864: "MobileNet",
    2257984: "MobileNetV2",
    2996352: "MobileNetV3Large",
    939120: "MobileNetV3Small",
    84887922: "NASNetLarge",
    4269716: "NASNetMobile",
    42658176: "ResNet101",
    42626560: "ResNet101V2",
    58370944: "ResNet152",
    58331648: "ResNet152V2",
    23587712: "ResNet50",
    23564800: "ResNet50V2",
    14714688: "VGG16",
    20024384: "VGG19",
    20861480: "Xception",
}
_SHOWN = 4  # dense layers in the message


class SavedWeights(NamedTuple):
    """Weights in a file.

    Attributes:
        layers: (name, shapes of its weights) of each layer, in the order of the file.
        network: the network of keras.applications that has these weights in front of its head; None if unknown.
    """

    layers: list[tuple[str, list[tuple[int, ...]]]]
    network: str | None

    @property
    def dense(self) -> list[tuple[int, ...]]:
        """The shapes of dense kernels: of layers with one matrix, and a bias or none."""
        return [shapes[-1] for _, shapes in map(_by_rank, self.layers) if list(map(len, shapes)) in ([2], [1, 2])]

    @property
    def class_count(self) -> int | None:
        """The width of the last dense layer, or of the last convolution of 1 x 1 without one."""
        kernels = self.dense or [shape for _, shapes in self.layers for shape in shapes if shape[:2] == (1, 1)]
        return kernels[-1][-1] if kernels else None

    def __str__(self) -> str:
        kernels = [shape for _, shapes in self.layers for shape in shapes if len(shape) == 4]
        widths = [shape[3] if shape[3] > 1 else shape[2] for shape in kernels]  # 1 in depthwise kernels
        plural = "s" if len(kernels) > 1 else ""
        parts = [f"{len(self.layers)} layers with weights, from '{self.layers[0][0]}' to '{self.layers[-1][0]}'"]
        parts += [f"{len(kernels)} convolution{plural} of {min(widths)} to {max(widths)} channels"] if kernels else []
        parts += [f"Dense {', '.join(map(str, self.dense[-_SHOWN:]))}"] if self.dense else []
        return ", ".join(parts) + (f": {self.network}" if self.network else "")


def _by_rank(layer: tuple[str, list[tuple[int, ...]]]) -> tuple[str, list[tuple[int, ...]]]:
    return layer[0], sorted(layer[1], key=len)


def read_weights(path: Path) -> SavedWeights:
    """Read which weights an HDF5 file holds; no layers if it was not written by Keras.

    Raises:
        OSError: the file is damaged.
    """
    import h5py

    with h5py.File(path, "r") as file:
        layers = [
            layer
            for layer in (_legacy(file) if {"layer_names", "layer_names0"} & set(file.attrs) else _of_keras3(file))
            if layer[1]
        ]
    return SavedWeights(layers, _network(layers))


def _legacy(file: Any) -> Iterator[tuple[str, list[tuple[int, ...]]]]:
    """Yield the layers of Keras 1 and 2, in the order of the network."""
    parts = sorted(key for key in file.attrs if re.fullmatch(r"layer_names\d*", key))  # a long list is in parts
    for name in (name for part in parts for name in file.attrs[part]):
        name = name.decode() if isinstance(name, bytes) else str(name)
        group = file.get(name)
        if group is not None:
            yield name, _shapes(group)


def _of_keras3(file: Any) -> Iterator[tuple[str, list[tuple[int, ...]]]]:
    """Yield the layers of Keras 3, which are sorted by their names: conv2d, conv2d_1, ..., dense."""
    for root in (file[name] for name in ("layers", "_layer_checkpoint_dependencies") if name in file):
        for name in sorted(root, key=lambda name: [int(part) if part.isdigit() else part for part in _split(name)]):
            yield name, _shapes(root[name])


def _split(name: str) -> list[str]:
    return re.split(r"(\d+)", name)


def _shapes(group: Any) -> list[tuple[int, ...]]:
    """Return the shapes of all weights below a group; seeds of random numbers are no weights."""
    import h5py

    shapes = []

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and item.shape:
            shapes.append(tuple(item.shape))

    group.visititems(add)
    return shapes


def _network(layers: list[tuple[str, list[tuple[int, ...]]]]) -> str | None:
    """Return the network whose numbers are those of one layer (a backbone inside), or of all but some in the head."""
    counts = [sum(map(math.prod, shapes)) for _, shapes in layers]
    for count in counts:
        if count in _TRUNKS:
            return _TRUNKS[count]
    heads = [at for at, (_, shapes) in enumerate(layers) if any(len(shape) == 2 for shape in shapes)]
    for first in (*(len(heads) - kept for kept in range(min(len(heads), 4) + 1)), 0):
        rest = sum(counts) - sum(counts[at] for at in heads[first:])
        for other in (
            0,
            *counts,
        ):  # one more layer of the head: a normalisation, or a convolution in place of dense ones
            if rest - other in _TRUNKS:
                return _TRUNKS[rest - other]
    total = 0
    for count in counts:  # of Keras 2: the layers come in their order, and what follows the backbone is the head
        total += count
        if total in _TRUNKS:
            return _TRUNKS[total]
    return None
