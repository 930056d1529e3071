"""How often `tf_gradcam.rank_scalings` finds the scaling that a network was trained with.

    python -m benchmarks.scaling --out DIR [--data DATA] [--only ResNet50,...] [--steps 60]

Trains the smallest member of every family of keras.applications from random weights on phantom slices, under several
scalings, with its own preprocessing layers and without; one .keras file each in DIR, kept and not trained again. Then
ranks the scalings of each file on 16 new slices, and prints a Markdown table. With DATA (the folder of real weights
and photographs) also MobileNet with ImageNet's weights and VGG16 trained on MRI slices. Each network is ranked twice:
with the moving statistics of the momentum 0.9 ("settled"), and with those that the momentum of its layers leaves after
so few steps ("as built"). Two hours on one core.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from tf_gradcam.demo import CLASS_NAMES, phantom_slices

L = keras.layers
# Family: smallest side in pixels, scalings of the training; "own" builds the network with its preprocessing layers.
FAMILIES = {
    "MobileNet": (32, ("raw", "unit", "tf")),
    "MobileNetV2": (32, ("raw", "unit", "tf")),
    "MobileNetV3Small": (32, ("raw", "unit", "tf", "own raw", "own unit", "own tf")),
    "EfficientNetB0": (32, ("own raw", "own unit", "own tf")),
    "EfficientNetV2B0": (32, ("raw", "unit", "torch", "own raw", "own unit", "own tf")),
    "ResNet50": (32, ("raw", "unit", "caffe")),
    "ResNet50V2": (32, ("raw", "unit", "tf")),
    "DenseNet121": (32, ("raw", "unit", "torch")),
    "VGG16": (32, ("raw", "unit", "caffe")),
    "Xception": (71, ("raw", "unit", "tf")),
    "InceptionV3": (75, ("raw", "unit", "tf")),
    "ConvNeXtTiny": (32, ("raw", "unit", "torch", "own raw", "own unit", "own tf")),
    "VGG19": (32, ("raw", "unit", "caffe")),
    "NASNetMobile": (32, ("raw", "unit", "tf")),
    "InceptionResNetV2": (75, ("raw", "unit", "tf")),
}


class Trained(NamedTuple):
    """A trained network of a family: its scaling, "own" if its preprocessing layers are inside, its file."""

    family: str
    side: int
    scaling: str
    file: Path

    @property
    def mode(self) -> str:
        return self.scaling.rpartition(" ")[2]


def scaled(photos: np.ndarray, mode: str) -> np.ndarray:
    """Return photos (B, H0, W0, 3) RGB 0..255 as a training would scale them; an implementation of its own."""
    if mode == "unit":
        return photos / np.float32(255)
    if mode in ("tf", "torch", "caffe"):
        return keras.applications.imagenet_utils.preprocess_input(np.array(photos), mode=mode)
    if mode == "standard":
        centred = photos - photos.mean(axis=(1, 2, 3), keepdims=True)
        return centred / photos.std(axis=(1, 2, 3), keepdims=True)
    return photos


def network(family: str, side: int, own: bool) -> keras.Model:
    """Return a family's network from random weights as a layer of a classifier, as fine-tuners build it."""
    options = {}
    if family in ("MobileNetV3Small", "EfficientNetV2B0", "ConvNeXtTiny"):
        options["include_preprocessing"] = own
    build = getattr(keras.applications, family)
    base = build(weights=None, include_top=False, input_shape=(side, side, 3), **options)
    inputs = keras.Input((side, side, 3))
    features = L.GlobalAveragePooling2D()(base(inputs))
    return keras.Model(inputs, L.Dense(len(CLASS_NAMES), activation="softmax")(features))


def statistics_of(model: keras.Model) -> list[tuple[L.BatchNormalization, np.ndarray]]:
    """Return each batch normalisation with its moving mean and variance, (2, C)."""
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, L.BatchNormalization)]
    return [(layer, np.stack([layer.moving_mean.numpy(), layer.moving_variance.numpy()])) for layer in layers]


def train(missing: list[Trained], steps: int) -> None:
    """Train one network under several scalings, and write each with the statistics that its own momentum leaves."""
    keras.utils.set_random_seed(0)
    family, side, scaling, _ = missing[0]
    model = network(family, side, scaling.startswith("own"))
    slices = phantom_slices(512, 1_000_000, side)
    layers = [layer for layer, _ in statistics_of(model)]
    momenta = [layer.momentum for layer in layers]
    rate, batch_size = (1e-3, 8) if layers else (1e-4, 16)
    steps *= 1 if layers else 4  # without stored statistics only what was learned can tell
    model.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False
    )
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    initial = [variable.numpy() for variable in variables]
    for trained in missing:
        start = time.perf_counter()
        for variable, value in zip(variables, initial, strict=True):
            variable.assign(value)
        for layer in layers:
            layer.momentum = 0.9
        images, order = scaled(slices.images, trained.mode), np.random.default_rng(0)
        before = as_built = [values for _, values in statistics_of(model)]
        for _ in range(steps):
            chosen = order.choice(len(images), batch_size, replace=False)
            loss, accuracy = model.train_on_batch(images[chosen], slices.labels[chosen])
            after = [values for _, values in statistics_of(model)]
            batch = [(new - 0.9 * old) / 0.1 for new, old in zip(after, before, strict=True)]
            as_built = [m * old + (1 - m) * new for m, old, new in zip(momenta, as_built, batch, strict=True)]
            before = after
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        np.savez(trained.file.with_suffix(".npz"), *as_built)
        model.save(trained.file)
        seconds = time.perf_counter() - start
        print(f"{family} {trained.scaling}: loss {loss:.3f}, accuracy {accuracy:.2f}, {seconds:.0f} s", flush=True)


def all_trained(folder: Path, only: list[str] | None) -> list[Trained]:
    names = only or list(FAMILIES)
    return [
        Trained(name, FAMILIES[name][0], scaling, folder / f"{name}-{scaling.replace(' ', '-')}.keras")
        for name in names
        for scaling in FAMILIES[name][1]
    ]


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained networks")
    parser.add_argument("--only", type=lambda text: text.split(","), help="families, by commas; default all")
    parser.add_argument(
        "--steps",
        type=int,
        default=60,
        help="training steps, four times that for VGG; default 60",
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    missing = [trained for trained in all_trained(arguments.out, arguments.only) if not trained.file.exists()]
    for _, group in itertools.groupby(missing, lambda trained: (trained.family, trained.scaling.startswith("own"))):
        train(list(group), arguments.steps)
        keras.backend.clear_session()


if __name__ == "__main__":
    main()
