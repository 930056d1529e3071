"""Weights without layers, in an HDF5 file: names, shapes, and the network of keras.applications that has them."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import h5py

# Numbers in the weights of each network of keras.applications without its head, for RGB: no two have the same.
_COUNTS = """
ConvNeXtBase=87566464 ConvNeXtLarge=196230336 ConvNeXtSmall=49454688 ConvNeXtTiny=27820128 ConvNeXtXLarge=348147968
DenseNet121=7037504 DenseNet169=12642880 DenseNet201=18321984 EfficientNetB0=4049571 EfficientNetB1=6575239
EfficientNetB2=7768569 EfficientNetB3=10783535 EfficientNetB4=17673823 EfficientNetB5=28513527 EfficientNetB6=40960143
EfficientNetB7=64097687 EfficientNetV2B0=5919312 EfficientNetV2B1=6931124 EfficientNetV2B2=8769374
EfficientNetV2B3=12930622 EfficientNetV2L=117746848 EfficientNetV2M=53150388 EfficientNetV2S=20331360
InceptionResNetV2=54336736 InceptionV3=21802784 MobileNet=3228864 MobileNetV2=2257984 MobileNetV3Large=2996352
MobileNetV3Small=939120 NASNetLarge=84887922 NASNetMobile=4269716 ResNet101=42658176 ResNet101V2=42626560
ResNet152=58370944 ResNet152V2=58331648 ResNet50=23587712 ResNet50V2=23564800 VGG16=14714688 VGG19=20024384
Xception=20861480
"""
_TRUNKS = {int(count): name for name, count in (pair.split("=") for pair in _COUNTS.split())}
CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # of .keras files; the second before TensorFlow 2.14
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
        return [max(shapes, key=len) for _, shapes in self.layers if sorted(map(len, shapes)) in ([2], [1, 2])]

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


def read_weights(path: Path) -> SavedWeights:
    """Read which weights an HDF5 file holds; no layers if it was not written by Keras.

    Raises:
        OSError: the file is damaged.
    """
    with h5py.File(path, "r") as file:
        groups = [(name, file.get(name)) for name in names_in(file, "layer_names")]
        for root in (file[name] for name in CONTAINERS if name in file):
            groups += sorted(root.items(), key=lambda item: numbered(item[0]))  # Keras 3: conv2d, conv2d_1, ..., dense
        layers = [(name, _shapes(group)) for name, group in groups if group is not None]
    layers = [(name, shapes) for name, shapes in layers if shapes]
    return SavedWeights(layers, _network(layers))


def names_in(group: Any, attribute: str) -> list[str]:
    """Return a list of names of Keras 1 or 2, in its order; HDF5 holds a long one in pieces."""
    pieces = [key for key in group.attrs if re.fullmatch(rf"{attribute}\d*", key)]
    names = [name for piece in sorted(pieces, key=numbered) for name in group.attrs[piece]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def numbered(name: str) -> list[Any]:
    """Return a key that sorts names by their words and numbers."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _shapes(group: Any) -> list[tuple[int, ...]]:
    """Return the shapes of all weights below a group; seeds of random numbers are not weights."""
    shapes: list[tuple[int, ...]] = []

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and item.shape:
            shapes.append(tuple(item.shape))

    group.visititems(add)
    return shapes


def _network(layers: list[tuple[str, list[tuple[int, ...]]]]) -> str | None:
    """Return the network whose number of weights is that of one layer (a backbone inside), or of all without a head."""
    counts = [sum(map(math.prod, shapes)) for _, shapes in layers]
    dense = [at for at, (_, shapes) in enumerate(layers) if any(len(shape) == 2 for shape in shapes)]
    heads = [dense[len(dense) - kept :] for kept in range(min(len(dense), 4) + 1)] + [dense]
    rests = [sum(counts) - sum(counts[at] for at in head) for head in heads]
    # One more layer of the head: a normalisation, or a convolution in place of dense ones.
    rests = [rest - other for rest in rests for other in (0, *counts)]
    # In files of Keras 2 layers come in their order, and what follows the backbone is the head.
    found = (_TRUNKS.get(count) for count in (*counts, *rests, *itertools.accumulate(counts)))
    return next(filter(None, found), None)
