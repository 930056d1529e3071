"""A network that draws: the heatmap of class 0 is the picture it was given, so that pictures can be written by hand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from tf_gradcam import Explainer, Explanation


def drawing_model(height: int, width: int, cell: int = 1) -> keras.Model:
    """Grey images (B, height, width, 1) to two logits; layer `cells` holds the mean of each cell x cell tile.

    logit 0 is the mean of the cells and logit 1 minus that. All gradients of class 0 are 1 / cells and those of
    class 1 its negative, so the map of class 0 is the picture over its maximum, and that of class 1 is blank
    wherever no pixel is negative.
    """
    model = keras.Sequential(
        [
            keras.Input((height, width, 1)),
            layers.AveragePooling2D(cell, name="tiles"),
            layers.Conv2D(1, 1, name="cells"),
            layers.GlobalAveragePooling2D(name="mean"),
            layers.Dense(2, name="head"),
        ]
    )
    model.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1), np.array([[1.0, -1.0]]), np.zeros(2)])
    return model


def drawn(pictures: Any, target: Any = 0, cell: int = 1, **options: Any) -> Explanation:
    """The explanation whose maps are `pictures` (B, H, W), each over its maximum."""
    pictures = np.asarray(pictures, np.float32)
    _, height, width = pictures.shape
    explainer = Explainer(drawing_model(height * cell, width * cell, cell), **options)
    return explainer(pictures.repeat(cell, axis=1).repeat(cell, axis=2)[..., None], target)


def photos_of(explanation: Explanation, height: int | None = None, width: int | None = None) -> np.ndarray:
    """(B, H0, W0, 3) uint8, one random photo per map."""
    size = (height or explanation.image_size[0], width or explanation.image_size[1])
    return np.random.default_rng(1).integers(0, 256, (len(explanation), *size, 3), np.uint8)
