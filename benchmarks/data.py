"""The folder of real weights and photographs that some benchmarks take as DATA.

It holds `mobilenet_0.75_224_imagenet/`, `dog_breeds/`, `dog_breeds_boxes.csv` and `dog_breeds_classes.csv`.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from tf_gradcam.metrics import box_share

MOBILENET = "mobilenet_0.75_224_imagenet"
SIZE = (224, 224)  # pixels of the images
SMALL = 0.35  # of the picture; a box below it is small


class BoxedPhoto(NamedTuple):
    """A dog photograph: its file, the index of its class, its box relative to the picture."""

    path: Path
    class_index: int
    box: np.ndarray  # (4,) xmin, ymin, xmax, ymax in [0, 1]


def load_mobilenet(root: Path, side: int = SIZE[0]) -> keras.Model:
    """Return MobileNet 0.75 with ImageNet weights, which were trained at 224 px."""
    model = keras.applications.MobileNet(input_shape=(side, side, 3), alpha=0.75, weights=None)
    model.load_weights(root / MOBILENET / "mobilenet_0.75_224_imagenet.weights.h5")
    return model


def boxed_photos(root: Path) -> list[BoxedPhoto]:
    """Return all dog photographs that have a box, in the order of the table; classes are ImageNet's."""
    with open(root / "dog_breeds_classes.csv", newline="", encoding="utf-8") as file:
        indices = {row["folder"]: int(row["imagenet_index"]) for row in csv.DictReader(file)}
    photos = []
    with open(root / "dog_breeds_boxes.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            sides = [float(row["width"]), float(row["height"])] * 2
            box = np.array([float(row[side]) for side in ("xmin", "ymin", "xmax", "ymax")]) / sides
            folder = row["filename"].split("/")[0]
            photos.append(BoxedPhoto(root / "dog_breeds" / row["filename"], indices[folder], box.clip(0, 1)))
    return photos


def without_map(photos: list[BoxedPhoto]) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of no map at all, (N,) each: the image share of each box, and 1 where the centre is in it."""
    shares = np.array([box_share(SIZE, photo.box * SIZE[0]) for photo in photos])
    centre = np.array([np.all(photo.box[:2] <= 0.5) and np.all(photo.box[2:] > 0.5) for photo in photos], float)
    return shares, centre
