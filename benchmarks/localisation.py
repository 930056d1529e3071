"""The share of heat on the dog: Grad-CAM on photographs with boxes, drawn in three ways.

    python -m benchmarks.localisation --data DATA [--model VGG16|RUN/best.keras] [--layer NAME] [--photos 880]

DATA holds `mobilenet_0.75_224_imagenet/`, `dog_breeds/` and its two tables; for VGG16 also `vgg16_brain_mri/`, whose
convolutions are those of ImageNet, and `dog_breeds_cropped/`. Each photograph is squashed to the model's size and
explained for its true breed at the default layer, or at a named one: by MobileNet for ImageNet's classes, by VGG16 with
a linear classifier of the 11 breeds that is fitted to 40 cropped photographs of each, or by a model of
`training.dog_breeds` for the breeds that it knows. The same maps are drawn as tiles, where the cells look by arithmetic
(the default), and where they are measured to look. Prints a Markdown table: mean and 95 % bootstrap interval of the
share of heat in the box, for all photographs and for those whose box covers less than 35 % of the picture.
"""

from __future__ import annotations

import argparse
import copy
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.data import SIZE, SMALL, BoxedPhoto, boxed_photos, load_mobilenet, without_map
from tf_gradcam import Explainer, describe
from tf_gradcam.image import load_image
from tf_gradcam.metrics import bootstrap_interval, energy_in_box, pointing_hit

BATCH = 32
Preprocess = Callable[[np.ndarray], np.ndarray]


def trained_breeds(file: Path, photos: list[BoxedPhoto]) -> tuple[keras.Model, list[BoxedPhoto]]:
    """Return a model of `training.dog_breeds`, and the photographs of its breeds with its own class indices."""
    try:
        names = describe(file).class_names
    except (OSError, ValueError) as error:
        raise SystemExit(f"Expected a model as training.dog_breeds writes it: {error}") from None
    if names is None:
        raise SystemExit(f"Expected class names inside '{file}', as training.dog_breeds writes them.")
    known = [photo for photo in photos if photo.path.parent.name in names]
    model = keras.saving.load_model(file, compile=False)
    return model, [photo._replace(class_index=names.index(photo.path.parent.name)) for photo in known]


def vgg16(root: Path, side: int, photos: list[BoxedPhoto]) -> tuple[keras.Model, list[BoxedPhoto]]:
    """Return VGG16 with a ridge regression on its pooled features, and the photographs with its class indices."""
    source = keras.saving.load_model(root / "vgg16_brain_mri" / "vgg16_brain_mri.keras", compile=False)
    backbone = keras.applications.VGG16(include_top=False, weights=None, input_shape=(side, side, 3))
    for layer in backbone.layers:
        layer.set_weights(source.get_layer(layer.name).get_weights() if layer.weights else [])
    features = keras.layers.GlobalAveragePooling2D()(backbone.output)
    model = keras.Model(backbone.inputs, keras.layers.Dense(11)(features))
    names = sorted({photo.path.parent.name for photo in photos})
    files = [file for name in names for file in sorted((root / "dog_breeds_cropped" / name).iterdir())[:_CROPPED]]
    pooled = keras.Model(backbone.inputs, features)
    known = []
    for start in range(0, len(files), BATCH):
        images = np.stack([load_image(file, (side, side)) for file in files[start : start + BATCH]])
        known.append(pooled(keras.applications.vgg16.preprocess_input(images.astype(np.float32))).numpy())
    values, labels = np.concatenate(known), np.array([names.index(file.parent.name) for file in files])
    mean, wanted = values.mean(axis=0), np.eye(len(names))[labels] - 1 / len(names)
    scatter = (values - mean).T @ (values - mean)
    kernel = np.linalg.solve(
        scatter + _RIDGE * np.trace(scatter) / len(mean) * np.eye(len(mean)), (values - mean).T @ wanted
    )
    model.layers[-1].set_weights([kernel, -mean @ kernel])
    return model, [photo._replace(class_index=names.index(photo.path.parent.name)) for photo in photos]


_CROPPED, _RIDGE = 40, 0.1  # photographs of each breed; of the mean variance


def heat_in_boxes(
    explainer: Explainer, preprocess: Preprocess, photos: list[BoxedPhoto], side: int, offset: tuple[float, float]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return, for each way of drawing, energies in the boxes (N,) and pointing hits (N,); a blank map counts as 0."""
    results: dict[str, tuple[list[float], list[float]]] = {way: ([], []) for way in WAYS}
    for start in range(0, len(photos), BATCH):
        batch = photos[start : start + BATCH]
        images = np.stack([load_image(photo.path, (side, side)) for photo in batch]).astype(np.float32)
        explanation = explainer(preprocess(images), target=[photo.class_index for photo in batch])
        own: Any = explanation.placement
        moved = tuple(at + pixels for at, pixels in zip(own.start, offset, strict=True))
        tiles = tuple(side / count for side, count in zip(own.image_size, explanation.heatmaps.shape[1:], strict=True))
        halves = tuple(pixels / 2 for pixels in tiles)
        placements = (replace(own, scale=tiles, start=halves), own, replace(own, start=moved))
        for way, placement in zip(WAYS, placements, strict=True):
            drawn = copy.copy(explanation)
            drawn.placement = placement
            for heatmap, photo in zip(drawn.resized(), batch, strict=True):
                results[way][0].append(np.nan_to_num(energy_in_box(heatmap, photo.box * side)))
                results[way][1].append(np.nan_to_num(pointing_hit(heatmap, photo.box * side)))
    return {way: (np.array(energies), np.array(hits)) for way, (energies, hits) in results.items()}


WAYS = ("tiles", "default", "measured")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of weights and photographs")
    parser.add_argument("--model", help="VGG16, or best.keras of a run of training.dog_breeds; default MobileNet")
    parser.add_argument("--side", type=int, default=SIZE[0], help="pixels of the input of MobileNet or VGG16")
    parser.add_argument("--layer", help="name of the explained layer; default the one that Explainer takes")
    parser.add_argument("--photos", type=int, help="number of photographs, evenly spaced; default all")
    arguments = parser.parse_args()
    side, photos = arguments.side, evenly(boxed_photos(arguments.data), arguments.photos)
    preprocess: Preprocess
    if arguments.model is None:
        model, preprocess = load_mobilenet(arguments.data, side), keras.applications.mobilenet.preprocess_input
    elif arguments.model == "VGG16":
        model, photos = vgg16(arguments.data, side, photos)
        preprocess = keras.applications.vgg16.preprocess_input
    else:
        model, photos = trained_breeds(Path(arguments.model), photos)
        preprocess = np.asarray  # the model scales by itself
    shares, centre = without_map(photos)
    small = shares < SMALL
    offset = Explainer(model, arguments.layer, align="measured").offset
    explainer = Explainer(model, arguments.layer)
    results = heat_in_boxes(explainer, preprocess, photos, side, offset)
    rows = {"no map: image share of the box, hit of the centre": (shares, centre), **results}
    print(
        f"| Grad-CAM at {explainer.layer_name}, {side} px, {len(photos)} photographs ({small.sum()} small boxes) "
        "| energy in box, all | small | pointing, all | small |"
    )
    print("| --- | --- | --- | --- | --- |")
    for name, (energy, hits) in rows.items():
        cells = [str(bootstrap_interval(values)) for values in (energy, energy[small], hits, hits[small])]
        print(f"| {name} | {' | '.join(cells)} |")
    print("\nMeasured to look {:+.1f} px down, {:+.1f} px right of the default.".format(*offset))
    for before, after in itertools.pairwise(WAYS):
        gain = results[after][0] - results[before][0]
        print(
            f"Gain of {after} over {before} for each photograph: {bootstrap_interval(gain)}, small boxes "
            f"{bootstrap_interval(gain[small])}."
        )


def evenly(photos: list[BoxedPhoto], count: int | None) -> list[BoxedPhoto]:
    """Return `count` evenly spaced photographs, or all; the table goes breed by breed."""
    if count is None:
        return photos
    return [photos[index] for index in np.linspace(0, len(photos), count, endpoint=False).astype(int)]


if __name__ == "__main__":
    main()
