"""The share of heat on the dog: Grad-CAM on photographs with boxes.

    python -m benchmarks.localisation --data DATA [--model RUN/best.keras] [--photos 880]

DATA holds `mobilenet_0.75_224_imagenet/`, `dog_breeds/` and its two tables. Each photograph is squashed to 224 x 224
and explained for its true breed at the default layer, by MobileNet for ImageNet's classes, or by a model of
`training.dog_breeds` for the breeds that it knows. Prints a Markdown table: mean and 95 % bootstrap interval of the
share of heat in the box, for all photographs and for those whose box covers less than 35 % of the picture.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from benchmarks.data import SIZE, SMALL, BoxedPhoto, boxed_photos, load_mobilenet, without_map
from tf_gradcam import Explainer
from tf_gradcam.image import load_image
from tf_gradcam.metrics import bootstrap_interval, energy_in_box, pointing_hit

BATCH = 32
Preprocess = Callable[[np.ndarray], np.ndarray]


def trained_breeds(file: Path, photos: list[BoxedPhoto]) -> tuple[keras.Model, list[BoxedPhoto]]:
    """Return a model of `training.dog_breeds`, and the photographs of its breeds with its own class indices."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = json.loads(archive.read("class_names.json"))
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise SystemExit(
            f"Expected a model with class names inside, as training.dog_breeds writes it: {error}"
        ) from None
    known = [photo for photo in photos if photo.path.parent.name in names]
    model = keras.saving.load_model(file, compile=False)
    return model, [photo._replace(class_index=names.index(photo.path.parent.name)) for photo in known]


def heat_in_boxes(
    explainer: Explainer, preprocess: Preprocess, photos: list[BoxedPhoto]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the energy in each box, (N,), and the pointing hits, (N,); a blank map counts as 0."""
    energies, hits = [], []
    for start in range(0, len(photos), BATCH):
        batch = photos[start : start + BATCH]
        images = np.stack([load_image(photo.path, SIZE) for photo in batch]).astype(np.float32)
        maps = explainer(preprocess(images), target=[photo.class_index for photo in batch]).resized(SIZE)
        for heatmap, photo in zip(maps, batch, strict=True):
            box = photo.box * SIZE[0]
            energies.append(np.nan_to_num(energy_in_box(heatmap, box)))
            hits.append(np.nan_to_num(pointing_hit(heatmap, box)))
    return np.array(energies), np.array(hits)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of weights and photographs")
    parser.add_argument("--model", type=Path, help="best.keras of a run of training.dog_breeds")
    parser.add_argument("--photos", type=int, help="number of photographs, evenly spaced; default all")
    arguments = parser.parse_args()
    photos = evenly(boxed_photos(arguments.data), arguments.photos)
    preprocess: Preprocess
    if arguments.model is None:
        model, preprocess = load_mobilenet(arguments.data), keras.applications.mobilenet.preprocess_input
    else:
        model, photos = trained_breeds(arguments.model, photos)
        preprocess = np.asarray  # the model scales by itself
    shares, centre = without_map(photos)
    small = shares < SMALL
    rows = [("no map: image share of the box, hit of the centre", shares, centre)]
    for name, align in (("plain", False), ("measured alignment", "measured")):
        explainer = Explainer(model, align=align)
        down, right = explainer.offset
        rows.append(
            (f"{name} ({down:+.1f} px down, {right:+.1f} px right)", *heat_in_boxes(explainer, preprocess, photos))
        )
    print(
        f"| Grad-CAM, {len(photos)} photographs ({small.sum()} small boxes) | energy in box, all | small | "
        "pointing, all | small |"
    )
    print("| --- | --- | --- | --- | --- |")
    for name, energy, hits in rows:
        cells = [str(bootstrap_interval(values)) for values in (energy, energy[small], hits, hits[small])]
        print(f"| {name} | {' | '.join(cells)} |")
    gain = rows[2][1] - rows[1][1]
    print(
        f"\nGain of the alignment for each photograph: {bootstrap_interval(gain)}, small boxes "
        f"{bootstrap_interval(gain[small])}."
    )


def evenly(photos: list[BoxedPhoto], count: int | None) -> list[BoxedPhoto]:
    """Return `count` evenly spaced photographs, or all; the table goes breed by breed."""
    if count is None:
        return photos
    return [photos[index] for index in np.linspace(0, len(photos), count, endpoint=False).astype(int)]


if __name__ == "__main__":
    main()
