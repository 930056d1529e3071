"""Every method on dog photographs with boxes: localisation and faithfulness, against image share and centre.

    python -m benchmarks.method_table --data DATA [--photos 110] [--methods gradcam,layercam]

DATA holds `mobilenet_0.75_224_imagenet/`, `dog_breeds/` and its two tables. The photographs are drawn evenly from all
breeds, squashed to 224 x 224 and explained for their true breed at the default layer. Prints a Markdown table, one row
as soon as a method is done.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks.data import SIZE, SMALL, BoxedPhoto, boxed_photos, load_mobilenet, without_map
from benchmarks.localisation import evenly
from tf_gradcam import METHODS, Explainer
from tf_gradcam.image import load_image
from tf_gradcam.metrics import bootstrap_interval, deletion_auc, energy_in_box, insertion_auc, pointing_hit

BATCH = 11


def scores_of(
    heatmap: np.ndarray, photo: BoxedPhoto, image: np.ndarray, probability: Callable[..., tf.Tensor]
) -> list[float]:
    """Return energy in the box, pointing hit, insertion and deletion of one map; a blank map has energy and hit 0."""
    box = photo.box * SIZE[0]

    def predict(images: np.ndarray) -> np.ndarray:
        return probability(images)[:, photo.class_index].numpy()

    localised = [np.nan_to_num(energy_in_box(heatmap, box)), np.nan_to_num(pointing_hit(heatmap, box))]
    return [*localised, insertion_auc(predict, image, heatmap), deletion_auc(predict, image, heatmap)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of weights and photographs")
    parser.add_argument("--photos", type=int, default=110, help="number of photographs")
    parser.add_argument("--methods", default=",".join(METHODS), help="keys of METHODS, separated by commas")
    arguments = parser.parse_args()
    model = load_mobilenet(arguments.data)
    photos = evenly(boxed_photos(arguments.data), arguments.photos)
    images = np.stack([load_image(photo.path, SIZE) for photo in photos]).astype(np.float32)
    images = keras.applications.mobilenet.preprocess_input(images)
    targets = [photo.class_index for photo in photos]
    probability = tf.function(lambda batch: model(batch, training=False), reduce_retracing=True)
    shares, centre = without_map(photos)
    small = shares < SMALL
    print(f"| {len(photos)} photographs | energy in box | small boxes | pointing | insertion | deletion | s/photo |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    cells = [str(bootstrap_interval(values)) for values in (shares, shares[small], centre)]
    print(f"| no map: share of the box, centre | {' | '.join(cells)} | | | |")
    for name in arguments.methods.split(","):
        explainer = Explainer(model, method=name)
        explainer(images[:1], targets[:1])  # compiles
        started = time.perf_counter()
        maps = [
            heatmap
            for start in range(0, len(images), BATCH)
            for heatmap in explainer(images[start : start + BATCH], targets[start : start + BATCH]).resized(SIZE)
        ]
        seconds = (time.perf_counter() - started) / len(images)
        rows = zip(maps, photos, images, strict=True)
        table = np.array([scores_of(heatmap, photo, image, probability) for heatmap, photo, image in rows])
        columns = [table[:, 0], table[small, 0], *table[:, 1:].T]
        cells = [str(bootstrap_interval(values)) for values in columns]
        print(f"| `{name}` | {' | '.join(cells)} | {seconds:.3f} |", flush=True)


if __name__ == "__main__":
    main()
