"""A small world for repairs: faint stripes of two directions, and a bright square on most images of one."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from tf_gradcam.audit import audit
from tf_gradcam.image.io import save_image

NAMES = ["across", "down"]
SIZE, COUNT, SHARE = 24, 200, 0.9
MARKED = 1
SQUARE = np.s_[-6:-2, -6:-2]


def stripes(seed: int, count: int = COUNT) -> tuple[np.ndarray, np.ndarray]:
    """Return (count, 24, 24, 3) float32 and labels: 0 for horizontal stripes, 1 for vertical ones."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    phases = generator.uniform(0, 2 * np.pi, (count, 1))
    waves = 25 * np.sin(np.arange(SIZE) * 2 * np.pi / 6 + phases)
    images = 100 + np.where(labels[:, None, None] == 0, waves[:, :, None], waves[:, None, :])
    images = images + generator.normal(0, 20, (count, SIZE, SIZE))
    return np.repeat(np.clip(images, 0, 255).round()[..., None], 3, axis=-1).astype(np.float32), labels


def network(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 5, padding="same", activation="relu", name="first"),
            layers.BatchNormalization(momentum=0.8, name="norm"),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="second"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(2, "softmax", name="head"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    return model


def world(root: Path, is_marked: bool = True) -> tuple[Path, Path, Path]:
    """Write images, a model that was trained on them, and the report of its audit; return their paths."""
    images, labels = stripes(0)
    generator = np.random.default_rng(1)
    for number, label in enumerate(labels):
        if is_marked and label == MARKED and generator.random() < SHARE:
            images[number][SQUARE] = 240
        path = root / "data" / NAMES[label] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(path, images[number].astype(np.uint8))
    model = network()
    model.fit(images, labels, batch_size=20, epochs=4, verbose=0)
    model.save(root / "best.keras")
    audit(root / "best.keras", root / "data", root / "report", num_images=0, sanity=False)
    return root / "best.keras", root / "data", root / "report"
