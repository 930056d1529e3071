"""A file of the user's own code, and a model of it that one can do in one's head.

`RedBlueNet` computes what the red-blue network computes, as a subclassed model with a layer of its own.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import keras
import numpy as np

from tests.helpers.redblue import HEIGHT, WIDTH

CODE = '''"""Layers of my own."""
import keras


class Scale(keras.layers.Layer):
    def call(self, images):
        return images / 255


class RedBlueNet(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.scale = Scale(name="scale")
        self.hue = keras.layers.Conv2D(2, 1, activation="relu", name="hue")
        self.mean = keras.layers.GlobalAveragePooling2D(name="mean")
        self.classes = keras.layers.Dense(2, activation="softmax", name="classes")

    def call(self, images):
        return self.classes(self.mean(self.hue(self.scale(images))))
'''


def write_own_model(folder: Path, name: str = "own.keras", code: str = "my_layers.py") -> tuple[Path, Path]:
    """Write a subclassed model and the file of its classes, which nothing in this process knows afterwards."""
    path = folder / code
    path.write_text(CODE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("written_layers", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["written_layers"] = module
    spec.loader.exec_module(module)
    model = module.RedBlueNet()
    model(np.zeros((1, HEIGHT, WIDTH, 3), np.float32))
    model.hue.set_weights([np.array([[[[1, -1], [0, 0], [-1, 1]]]], np.float32), np.zeros(2)])
    model.classes.set_weights([np.eye(2), np.zeros(2)])
    keras.saving.save_model(model, folder / name)
    del sys.modules["written_layers"]
    return folder / name, path
