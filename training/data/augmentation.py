"""What the training images are varied by; layers of Keras, so that every backend can."""

from __future__ import annotations

import keras

DEGREES = 10


def augmentation(seed: int, degrees: float = DEGREES) -> keras.Sequential:
    """Half of the images mirrored left to right, all turned by up to `degrees` either way; black where nothing is.

    Args:
        seed: of the draws.
        degrees: the largest angle.
    """
    return keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal", seed=seed, dtype="float32"),
            keras.layers.RandomRotation(degrees / 360, fill_mode="constant", seed=seed + 1, dtype="float32"),
        ],
        name="augmentation",
    )
