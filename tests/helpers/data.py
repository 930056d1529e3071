"""The folder of real weights and photographs, where there is one."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

ROOT = Path(os.environ.get("TF_GRADCAM_DATA", Path(__file__).parents[3] / "shared" / "data"))
MOBILENET = "mobilenet_0.75_224_imagenet"


def needs(*parts: str) -> pytest.MarkDecorator:
    """Skips a test, with the reason, where the data is absent."""
    missing = [part for part in parts if not (ROOT / part).exists()]
    return pytest.mark.skipif(bool(missing), reason=f"no {missing} in {ROOT}; set TF_GRADCAM_DATA")


class BoxedPhoto(NamedTuple):
    """A dog photograph: its file, the ImageNet index of its breed, and its box in parts of the picture."""

    path: Path
    class_index: int
    box: np.ndarray  # (4,) xmin, ymin, xmax, ymax in [0, 1]


def load_mobilenet(root: Path = ROOT):
    """MobileNet 0.75 at 224 px with ImageNet weights, and its class names."""
    import keras

    model = keras.applications.MobileNet(input_shape=(224, 224, 3), alpha=0.75, weights=None)
    folder = root / MOBILENET
    model.load_weights(folder / "mobilenet_0.75_224_imagenet.weights.h5")
    return model, (folder / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines()


def boxed_photos(root: Path = ROOT) -> list[BoxedPhoto]:
    """All dog photographs that have a box, in the order of the table."""
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
