"""How much of the heat lies on the dog: MobileNet on photographs with boxes.

    python -m benchmarks.localisation --data DATA [--model RUN/best.keras]

DATA holds `mobilenet_0.75_224_imagenet/`, `dog_breeds/` and its two tables. Each photograph is squashed to 224 x 224
and explained for its true breed at the default layer: of MobileNet on ImageNet, or of a model of `training.dog_breeds`,
for the breeds that it knows. Prints a Markdown table: mean and 95 % bootstrap interval of the
share of heat inside the box, of all photographs and of those whose box covers less than 35 % of the picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from tests.helpers.data import BoxedPhoto, boxed_photos, load_mobilenet
from tf_gradcam import Explainer
from tf_gradcam._files.class_names import class_names_inside
from tf_gradcam._models.reader import ModelReader
from tf_gradcam.image.io import load_image
from tf_gradcam.metrics.localisation import box_share, energy_in_box, pointing_hit

SIZE = (224, 224)
BATCH = 32
SMALL = 0.35  # of the picture


def trained_breeds(file: Path, photos: list[BoxedPhoto]) -> tuple[keras.Model, list[BoxedPhoto]]:
    """A model with class names inside, and the photographs of its classes with its own class indices."""
    names = class_names_inside(file)
    if names is None:
        raise SystemExit(f"Expected class names inside '{file}', as training.dog_breeds writes them; there are none.")
    known = [photo for photo in photos if photo.path.parent.name in names]
    model = keras.saving.load_model(file, compile=False)
    return model, [photo._replace(class_index=names.index(photo.path.parent.name)) for photo in known]


def heat_in_boxes(
    explainer: Explainer, preprocess: Callable[[np.ndarray], np.ndarray], photos: list[BoxedPhoto]
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) energy in the box and (N,) pointing hits, blank maps counted as 0."""
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


def interval(values: np.ndarray, seed: int = 0) -> str:
    """Mean with its 95 % bootstrap interval."""
    generator = np.random.default_rng(seed)
    means = generator.choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{values.mean():.3f} ({low:.3f}-{high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of weights and photographs")
    parser.add_argument("--model", type=Path, help="best.keras of a run of training.dog_breeds")
    arguments = parser.parse_args()
    photos = boxed_photos(arguments.data)
    if arguments.model is None:
        model, _ = load_mobilenet(arguments.data)
    else:
        model, photos = trained_breeds(arguments.model, photos)
    preprocess = ModelReader(model).preprocessing
    shares = np.array([box_share(SIZE, photo.box * SIZE[0]) for photo in photos])
    small = shares < SMALL
    centre = np.array([np.all(photo.box[:2] <= 0.5) and np.all(photo.box[2:] > 0.5) for photo in photos], float)
    rows = [("no map: image share of the box, hit of the centre", shares, centre)]
    for name, align in (("plain", False), ("measured alignment", "measured")):
        explainer = Explainer(model, align=align)
        down, right = explainer.offset
        rows.append(
            (f"{name} ({down:+.1f} px down, {right:+.1f} px right)", *heat_in_boxes(explainer, preprocess, photos))
        )
    plain = rows[1][1]
    what = f"Grad-CAM, {len(photos)} photographs ({small.sum()} small boxes)"
    print(f"| {what} | energy in box, all | small | pointing, all | small |")
    print("| --- | --- | --- | --- | --- |")
    for name, energy, hits in rows:
        cells = [interval(energy), interval(energy[small]), interval(hits), interval(hits[small])]
        print(f"| {name} | {' | '.join(cells)} |")
    gain = rows[2][1] - plain
    print(f"\nGain of the alignment, photograph by photograph: {interval(gain)}, small boxes {interval(gain[small])}.")


if __name__ == "__main__":
    main()
