"""Is a model right for the right reason? The same training twice, once with a mark in the images of one class.

python examples/audit_a_dataset.py reports

Hospitals burn letters into the corners of their scans, photographers of one breed sign their pictures. Here a small
bright square stands in the corner of nine in ten slices of one class, in a second copy of the data it does not. A small
network learns each copy. Both are accurate; the audit tells the one that reads the square. Open
reports/marked/index.html and reports/clean/index.html beside each other.

Needs the extra `audit`: pip install "tf-gradcam[audit]".
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam.audit import audit
from tf_gradcam.demo import CLASS_NAMES, phantom_slices

SIZE = 64
MARKED = CLASS_NAMES.index("meningioma")
SHARE = 0.9  # of the slices of that class


def with_squares(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Copy the slices (N, 64, 64, 3); most of one class get a square of 6 x 6 pixels in a corner."""
    marked = images.copy()
    chosen = (labels == MARKED) & (np.random.default_rng(0).random(len(labels)) < SHARE)
    marked[chosen, -8:-2, -8:-2] = 200
    return marked


def trained(images: np.ndarray, labels: np.ndarray, epochs: int) -> keras.Model:
    """Train a small network on these slices."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Rescaling(1 / 255)])
    for number, width in enumerate((16, 32, 48), start=1):
        model.add(layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{number}"))
        model.add(layers.MaxPooling2D(2, name=f"pool{number}"))
    model.add(layers.Conv2D(48, 3, padding="same", activation="relu", name="conv4"))
    model.add(layers.GlobalMaxPooling2D(name="pool"))
    model.add(layers.Dense(len(CLASS_NAMES), activation="softmax", name="predictions"))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    order = np.random.default_rng(0).permutation(len(labels))
    model.fit(images[order], labels[order], batch_size=32, epochs=epochs, verbose=0)
    return model


def main() -> None:
    """Train on each copy, audit each model, print the findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="folder for the two reports")
    parser.add_argument("--slices", type=int, default=640, help="number of slices; fewer give a worse network")
    parser.add_argument("--epochs", type=int, default=12)
    arguments = parser.parse_args()

    phantom = phantom_slices(arguments.slices, seed=77, size=SIZE)
    copies = {"marked": with_squares(phantom.images, phantom.labels), "clean": phantom.images}
    for name, images in copies.items():
        model = trained(images, phantom.labels, arguments.epochs)
        data = tf.data.Dataset.from_tensor_slices((images, phantom.labels)).batch(32)  # or a folder, or a CSV
        # 12 images are enough to see the method's metrics; a real audit takes the default of 48.
        result = audit(model, data, arguments.directory / name, class_names=list(CLASS_NAMES), num_images=12)
        print(f"{name}: {result.accuracy:.1%} of its slices right, {len(result.findings)} suspects tested")
        for finding in result.shortcuts:
            print(f"    SHORTCUT {finding.sentence}")
        if not result.shortcuts:
            print("    no shortcut was found")


if __name__ == "__main__":
    main()
