"""The settings of a training; they are written into its folder and are enough to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

PHANTOM_SLICES = 480


@dataclass(frozen=True)
class DataConfig:
    """The images of a training, and their split.

    data: a folder with a folder for each class, a .zip of one, its URL, or "phantom" for generated slices.
    sha256: checksum of the zip, or None.
    exclude: a CSV file whose first column names files to leave out, relative to `data`; None for none.
    apart_from: a folder of images like `data`; images with a twin there are left out, so that it can be a test set.
        None for none.
    boxes: a CSV file of true boxes, its file names relative to `data`; None for none, and for those of phantom
        slices.
    classes: number of classes to use, the first ones by name; None for all.
    limit: the largest number of samples, drawn evenly over the classes; None for all.
    split: "clean" keeps (nearly) identical images on one side; "naive" does not compare them.
    validation: share of each class in the validation part.
    folds, fold: train `folds` times, so that each image validates once; the number of this one, from 1. None for one
        training, with `validation`.
    """

    data: str
    sha256: str | None = None
    exclude: str | None = None
    apart_from: str | None = None
    boxes: str | None = None
    classes: int | None = None
    limit: int | None = None
    split: str = "clean"
    validation: float = 0.2
    folds: int | None = None
    fold: int | None = None
    image_size: int = 224
    batch_size: int = 32
    seed: int = 42


@dataclass(frozen=True)
class Stage:
    """A stage of the training: its epochs, its trained blocks, its learning rate.

    unfreeze: number of blocks that are trained beside the head, None for all.
    learning_rate: the highest one; with `decay` it falls to zero along a cosine.
    warmup: epochs in which the rate first rises from zero along a line; they count towards `epochs`.
    """

    name: str
    epochs: int
    unfreeze: int | None
    learning_rate: float
    decay: bool = False
    warmup: float = 0.0


@dataclass(frozen=True)
class TrainingConfig:
    """The network and its optimisation.

    weight_decay is decoupled (Loshchilov & Hutter 2019): each step takes `learning_rate * weight_decay` of a kernel
    off, beside the step of Adam. As an L2 term in the loss, Adam would divide it by the size of the gradients, so that
    the weights with the largest gradients would be held least, and mixed precision would scale it with the loss.
    Biases and batch normalisation are left alone. At a rate of 1e-4 and a decay of 5e-4 that is 5e-8 of a kernel a
    step: next to nothing.

    dropout: rate before `dense`, and before fc1 and fc2 where there are any; in training alone.
    fc_units: of fc1 and fc2; None for those of the network.
    label_smoothing, mixup, class_weights: see `loop.loss`; `mixup` is its alpha, 0 for none.
    patience: epochs without a better one after which a stage ends; None for never.
    augmentation: "light" or "strong", see `data.pipeline.augmentation`.
    cache_features: keep what the frozen layers compute on disk; None does so where that is possible.
    feature_copies: of each training picture, the first without augmentation; never more than a stage has epochs.
    """

    backbone: str
    stages: tuple[Stage, ...]
    weights: str = "imagenet"
    backbone_arguments: Mapping[str, Any] = field(default_factory=dict)
    dropout: float = 0.2
    fc_units: int | None = None
    label_smoothing: float = 0.0
    mixup: float = 0.0
    class_weights: bool = False
    patience: int | None = None
    augmentation: str = "light"
    weight_decay: float = 5e-4
    precision: str = "float32"
    strategy: str = "none"
    cache_features: bool | None = None
    feature_copies: int = 4
    layers: tuple[str | None, str | None] = (None, None)  # explained at the end: the last, and an intermediate one


RANDOM_RATE = 1e-3  # of a stage that begins with random weights


def phantom_defaults(data: DataConfig, training: TrainingConfig) -> tuple[DataConfig, TrainingConfig]:
    """Return the settings of a training on phantom slices that learns on a CPU in a minute, with the same stages.

    The bundled network has trained convolutions; fc1, fc2 and the last layer are new. It takes ten times the rates of
    ImageNet's large networks. From random weights a network needs more slices and more minutes than a trial has.
    """
    stages = tuple(
        Stage(stage.name, epochs, min(stage.unfreeze or 0, 1), 10 * stage.learning_rate, decay=True)
        for stage, epochs in zip(training.stages, (10, 4), strict=False)
    )
    layers = ("block5_conv3", "block4_conv3")
    return (
        replace(data, limit=PHANTOM_SLICES, image_size=224, batch_size=16),
        replace(training, backbone="demo", weights="demo", stages=stages, precision="float32", layers=layers),
    )


def random_defaults(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Return stages for a network of random weights: frozen random blocks learn nothing, and 1e-4 is slow."""
    return tuple(replace(stage, unfreeze=None, learning_rate=RANDOM_RATE) for stage in stages)
