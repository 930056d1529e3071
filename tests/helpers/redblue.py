"""A network that one can do in one's head, and photos for it.

It takes RGB images of 6 x 10 pixels in 0..255, divides them by 255, and lets its layer `hue` see in each pixel how much
redder than blue it is (channel 0) and how much bluer than red (channel 1). Class 0, red, scores the mean of the
first, class 1, blue, that of the second. So the gradient of a class is 1/60 everywhere in its own channel and 0 in the
other, and its Grad-CAM is its own channel, divided by its maximum.
"""

from pathlib import Path

import keras
import numpy as np

from tests.helpers.pictures import encoded, write

HEIGHT, WIDTH = 6, 10
RED_COLUMNS = 4
RED, BLUE = (200, 0, 0), (0, 0, 100)

# 4 of 10 columns are red with 200/255, 6 are blue with 100/255.
RED_SCORE = 0.4 * 200 / 255
BLUE_SCORE = 0.6 * 100 / 255
RED_PROBABILITY = 1 / (1 + np.exp(BLUE_SCORE - RED_SCORE))


def red_blue_model(*head, size=(HEIGHT, WIDTH)):
    """`head` replaces the softmax over the two means."""
    hue = keras.layers.Conv2D(2, 1, activation="relu", name="hue")
    head = head or (keras.layers.Dense(2, activation="softmax", name="classes"),)
    model = keras.Sequential(
        [
            keras.Input((*size, 3)),
            keras.layers.Rescaling(1 / 255, name="scale"),
            hue,
            keras.layers.GlobalAveragePooling2D(name="mean"),
            *head,
        ],
        name="red_blue",
    )
    hue.set_weights([np.array([[[[1, -1], [0, 0], [-1, 1]]]], np.float32), np.zeros(2)])
    if head[0].name == "classes":
        head[0].set_weights([np.eye(2), np.zeros(2)])
    return model


def red_blue_photo(scale=1, columns=RED_COLUMNS):
    """(6 scale, 10 scale, 3) uint8: the left columns red, the others blue."""
    photo = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    photo[:, :columns] = RED
    photo[:, columns:] = BLUE
    return photo.repeat(scale, axis=0).repeat(scale, axis=1)


def red_blue_heatmap():
    """Grad-CAM of class 0: (6, 10), 1 where the photo is red."""
    return np.broadcast_to(np.arange(WIDTH) < RED_COLUMNS, (HEIGHT, WIDTH)).astype(np.float32)


def write_photo(folder, name="photo.png", photo=None):
    """The path of a new PNG file."""
    path = Path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write(path.parent, encoded(red_blue_photo() if photo is None else photo, "PNG"), path.name)
