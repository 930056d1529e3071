"""What a training is told, all of it: written into its folder, and enough to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are parted.

    data: a folder with a folder for each class, a .zip of one, its URL, or "phantom" for generated slices.
    sha256: checksum of the zip, None where none is known.
    exclude: a CSV whose first column names files to leave out, relative to `data`; None for none.
    apart_from: a folder of images like `data`; what has a twin there is left out, so that it can test what was trained
        here. None for none.
    classes: the first so many classes by name; None for all.
    limit: at most so many samples, drawn evenly over the classes; None for all.
    split: "clean" keeps images that are (nearly) the same on one side; "naive" does not look.
    validation: part of each class that validates.
    """

    data: str
    sha256: str | None = None
    exclude: str | None = None
    apart_from: str | None = None
    classes: int | None = None
    limit: int | None = None
    split: str = "clean"
    validation: float = 0.2
    image_size: int = 224
    batch_size: int = 32
    seed: int = 42


@dataclass(frozen=True)
class Stage:
    """A part of the training, with what is frozen and how fast it learns.

    unfreeze: blocks that are trained beside the head, None for all.
    learning_rate: at its start; it falls to zero along a cosine where `decay`.
    """

    name: str
    epochs: int
    unfreeze: int | None
    learning_rate: float
    decay: bool = False


@dataclass(frozen=True)
class TrainingConfig:
    """Which network, and how it learns.

    weight_decay is decoupled (Loshchilov & Hutter 2019): each step takes `learning_rate * weight_decay` of a kernel
    off, beside the step of Adam. As an L2 term in the loss, Adam would divide it by the size of the gradients, so that
    the weights with the largest gradients would be held least, and mixed precision would scale it with the loss.
    Biases and batch normalisation are left alone. At a rate of 1e-4 and a decay of 5e-4 that is 5e-8 of a kernel a
    step: next to nothing.
    """

    backbone: str
    stages: tuple[Stage, ...]
    weights: str = "imagenet"
    backbone_arguments: Mapping[str, Any] = field(default_factory=dict)
    dropout: float = 0.2
    weight_decay: float = 5e-4
    precision: str = "float32"
    strategy: str = "none"
    layers: tuple[str | None, str | None] = (None, None)  # explained at the end: the last, and an intermediate one
