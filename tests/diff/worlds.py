"""Models of red, blue and green photos of 6 x 10 pixels, whose maps one can do in one's head.

The layer `hue` has a channel for each colour, 1 where a pixel has it in full and 0 where it has another. Class 0 scores
the mean of red, class 1 that of blue, and `green` says how much class 0 gets from the mean of green: then its map is
`green` times as hot on green pixels as on red ones.
"""

from pathlib import Path

import keras
import numpy as np

from tests.helpers.redblue import HEIGHT, WIDTH, write_photo

COLOURS = {"red": (200, 0, 0), "blue": (0, 0, 100), "green": (0, 200, 0), "black": (0, 0, 0)}
# Rank correlation of the maps of `photo(red=3, blue=4, green=3)` in the models with green=0 and green=3. Ranks of the
# first: 42 cells without red 20.5, 18 red ones 50.5. Of the second: 24 blue 11.5, 18 red 32.5, 18 green 50.5. Around
# their mean 29.5: 24 * 9 * 18 + 18 * 21 * 3 - 18 * 9 * 21, by the root of both sums of squares.
MOVED = 1620 / np.sqrt((42 * 9**2 + 18 * 21**2) * (24 * 18**2 + 18 * 3**2 + 18 * 21**2))


def model(green=0.0, *, scale=1.0, size=(HEIGHT, WIDTH), order=(0, 1), activation="softmax", rescaling=1 / 255):
    """Return a model of the classes red and blue, in `order`."""
    hue = keras.layers.Conv2D(3, 1, activation="relu", name="hue")
    layers = [keras.layers.Rescaling(rescaling, name="scale")] if rescaling else []
    head = keras.layers.Dense(len(order), activation=activation, name="classes")
    pooled = keras.layers.GlobalAveragePooling2D(name="mean")
    network = keras.Sequential([keras.Input((*size, 3)), *layers, hue, pooled, head], name="hues")
    kernel = np.full((3, 3), -1.0)
    np.fill_diagonal(kernel, 1)
    hue.set_weights([kernel[None, None][..., [0, 2, 1]], np.zeros(3)])
    weights = np.array([[1, 0], [0, 1], [green, 0]])
    head.set_weights([scale * weights[:, list(order)], np.zeros(len(order))])
    return network


def photo(**columns):
    """Return (6, 10, 3) uint8 with so many columns of each colour, from the left."""
    row = np.array([COLOURS[name] for name, count in columns.items() for _ in range(count)], np.uint8)
    assert row.shape == (WIDTH, 3)
    return np.broadcast_to(row, (HEIGHT, WIDTH, 3)).copy()


PLAIN = photo(red=6, blue=4)
GREENISH = photo(red=3, blue=4, green=3)
BLUE = photo(blue=7, red=3)
BLACK = photo(black=10)


def folder(path, **photos):
    """Write photos/<class>/<name>.png by names such as red_plain; return the folder."""
    for name, pixels in photos.items():
        write_photo(Path(path, "photos", name.split("_")[0]), f"{name}.png", pixels)
    return Path(path, "photos")
