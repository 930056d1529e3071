"""Measure how often `tf_gradcam.rank_scalings` finds the scaling that a network was trained with.

    python -m benchmarks.scaling --out DIR [--data DATA] [--only ResNet50,...] [--steps 60]

Trains the smallest member of every family of keras.applications from random weights on phantom slices, under several
scalings, with its own preprocessing layers and without; one .keras file each in DIR, kept and not trained again. Then
ranks the scalings of each file on new slices, and prints a Markdown table; `--steps 0` ranks what is there. With DATA
(the folder of real weights and photographs) also MobileNet with ImageNet's weights and VGG16 trained on MRI slices, and
VGG16 and VGG19 trained from ImageNet's kernels: from random weights they learn nothing in so few steps.
Each network is ranked twice: with moving statistics of momentum 0.9 ("settled"), and with those that the momentum of
its layers leaves after so few steps ("as built"). Several hours on one core.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from benchmarks.data import SIZE, load_mobilenet
from tf_gradcam import rank_scalings
from tf_gradcam.demo import CLASS_NAMES, phantom_slices
from tf_gradcam.image import load_image

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
    "VGG16": (48, ("raw", "unit", "caffe")),
    "Xception": (71, ("raw", "unit", "tf")),
    "InceptionV3": (75, ("raw", "unit", "tf")),
    "ConvNeXtTiny": (32, ("raw", "unit", "torch", "own raw", "own unit", "own tf")),
    "VGG19": (48, ("raw", "unit", "caffe")),
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


def network(family: str, side: int, own: bool, root: Path | None) -> keras.Model:
    """Return a family's network as a layer of a classifier, as fine-tuners build it; VGG with ImageNet's kernels."""
    options = {}
    if family in ("MobileNetV3Small", "EfficientNetV2B0", "ConvNeXtTiny"):
        options["include_preprocessing"] = own
    build = getattr(keras.applications, family)
    base = build(weights=None, include_top=False, input_shape=(side, side, 3), **options)
    if root is not None and family.startswith("VGG"):
        copy_kernels(load_vgg(root), base)
    inputs = keras.Input((side, side, 3))
    features = L.GlobalAveragePooling2D()(base(inputs))
    return keras.Model(inputs, L.Dense(len(CLASS_NAMES), activation="softmax")(features))


def load_vgg(root: Path) -> keras.Model:
    """Return VGG16 trained on MRI slices / 255; its convolutions are those of ImageNet."""
    return keras.saving.load_model(root / "vgg16_brain_mri" / "vgg16_brain_mri.keras", compile=False)


def copy_kernels(trained: keras.Model, base: keras.Model) -> None:
    """Copy the convolutions by name; what VGG19 has more begins as identities, so that it returns the same."""
    weights = {layer.name: layer.get_weights() for layer in trained.layers}
    for layer in base.layers:
        if isinstance(layer, L.Conv2D):
            same = np.pad(np.eye(layer.filters)[None, None], ((1, 1), (1, 1), (0, 0), (0, 0)))
            layer.set_weights(weights.get(layer.name, [same, np.zeros(layer.filters)]))


def statistics_of(model: keras.Model) -> list[tuple[L.BatchNormalization, np.ndarray]]:
    """Return each batch normalisation with its moving mean and variance, (2, C)."""
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, L.BatchNormalization)]
    return [(layer, np.stack([layer.moving_mean.numpy(), layer.moving_variance.numpy()])) for layer in layers]


def train(missing: list[Trained], steps: int, root: Path | None) -> None:
    """Train one network under several scalings, and write each with the statistics that its own momentum leaves."""
    keras.utils.set_random_seed(0)
    family, side, scaling, _ = missing[0]
    model = network(family, side, scaling.startswith("own"), root)
    slices = phantom_slices(512, 1_000_000, side)
    layers = [layer for layer, _ in statistics_of(model)]
    momenta = [layer.momentum for layer in layers]
    rate, batch_size = (1e-3, 8) if layers else (3e-5 if family.startswith("VGG") else 3e-4, 16)
    steps *= 1 if layers else 2  # without stored statistics only what was learned can tell
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


class Ranked(NamedTuple):
    """The ranking of the scalings on one draw of photos: a line of DIR/rankings.jsonl."""

    network: str
    statistics: str
    true: str
    photos: int
    evidence: str
    best: str
    is_wrong_warning: bool
    scores: dict[str, float]


def ranked(model: keras.Model, names: tuple[str, str, str], draws: Iterable[np.ndarray]) -> Iterator[Ranked]:
    """Yield a ranking for each draw of photos."""
    for photos in draws:
        ranking = rank_scalings(model, photos)
        warns = ranking.is_clear(names[2])
        yield Ranked(*names, len(photos), ranking.evidence, ranking.best, warns, ranking.scores)


def rank_trained(trained: Trained) -> Iterator[Ranked]:
    """Rank a network of a family on new slices: five draws of 16, five of four."""
    model = keras.saving.load_model(trained.file, compile=False)
    slices = phantom_slices(100, 7, trained.side).images
    draws = [*np.split(slices[:80], 5), *np.split(slices[80:], 5)]
    layers = [layer for layer, _ in statistics_of(model)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.9  # as it was trained
    yield from ranked(model, (trained.file.stem, "settled", trained.mode), draws)
    if layers:
        as_built = np.load(trained.file.with_suffix(".npz")).values()
        for layer, momentum, (mean, variance) in zip(layers, momenta, as_built, strict=True):
            layer.momentum = momentum
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)
        yield from ranked(model, (trained.file.stem, "as built", trained.mode), draws)


def rank_real(root: Path) -> Iterator[Ranked]:
    """Rank MobileNet on photographs and VGG16 on MRI slices: random draws of 16, for MobileNet also of four."""
    random = np.random.default_rng(0)
    files = sorted((root / "photos").glob("*.jpg"))
    sizes = [16] * 10 + [4] * 10
    photos = (np.stack([load_image(file, SIZE) for file in random.choice(files, size, False)]) for size in sizes)
    yield from ranked(load_mobilenet(root), ("MobileNet of ImageNet", "settled", "tf"), photos)
    folders = [sorted(folder.glob("*.jpg")) for folder in sorted((root / "brain_mri").iterdir())]
    draws = [[file for files in folders for file in random.choice(files, 4, False)] for _ in range(2)]
    photos = (np.stack([load_image(file, (240, 240)) for file in draw]) for draw in draws)
    yield from ranked(load_vgg(root), ("VGG16 of MRI slices", "settled", "unit"), photos)


def table(rows: list[Ranked]) -> str:
    """Return the Markdown table: right rankings and wrong warnings by network and number of photos."""
    lines = ["| networks | evidence | photos | right | wrong warnings |", "| --- | --- | ---: | ---: | ---: |"]
    groups: dict[tuple[str, str, int], list[Ranked]] = {}
    for row in rows:
        kind = row.network if " of " in row.network else f"families, statistics {row.statistics}"
        groups.setdefault((kind, row.evidence, row.photos), []).append(row)
    for (kind, evidence, photos), group in sorted(groups.items()):
        right, wrong = sum(row.best == row.true for row in group), sum(row.is_wrong_warning for row in group)
        lines.append(f"| {kind} | {evidence} | {photos} | {right} of {len(group)} | {wrong} of {len(group)} |")
    return "\n".join(lines)


def main() -> None:
    """Train what is missing, rank what is not ranked, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained networks")
    parser.add_argument("--data", type=Path, help="the folder of weights and photographs")
    parser.add_argument("--only", type=lambda text: text.split(","), help="families, by commas; default all")
    parser.add_argument(
        "--steps", type=int, default=60, help="training steps, twice that for VGG and ConvNeXt; default 60"
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    wanted = all_trained(arguments.out, arguments.only)
    missing = [trained for trained in wanted if arguments.steps and not trained.file.exists()]
    if arguments.data is None:
        missing = [trained for trained in missing if not trained.family.startswith("VGG")]
    for _, group in itertools.groupby(missing, lambda trained: (trained.family, trained.scaling.startswith("own"))):
        train(list(group), arguments.steps, arguments.data)
        keras.backend.clear_session()
    log = arguments.out / "rankings.jsonl"
    rows = [Ranked(**json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []
    done = {row.network for row in rows}
    todo = [rank_trained(trained) for trained in wanted if trained.file.exists() and trained.file.stem not in done]
    if arguments.data and "MobileNet of ImageNet" not in done:
        todo.append(rank_real(arguments.data))
    for rankings in todo:
        new = list(rankings)
        with log.open("a") as lines:
            lines.writelines(json.dumps(row._asdict()) + "\n" for row in new)
        rows += new
        print(new[0].network, *(f"{row.best}{'!' * row.is_wrong_warning}" for row in new), flush=True)
        keras.backend.clear_session()
    print(table(rows))


if __name__ == "__main__":
    main()
