"""A network whose evidence is known, for pictures of 20 x 32 pixels in 0..255: red and blue spots on black.

A cell of `spots` is how far a pixel is above one half, relative to 255, in red (channel 0) or in blue (channel 1). So
the mean of a full spot of n pixels on a picture of N is n / 2N. The score of class 0 is 400 times the mean of red less
4, of class 1 800 times the mean of blue less 4, of class 2 always 0. A blur over the whole picture leaves nothing above
one half.
"""

from __future__ import annotations

import keras
import numpy as np

HEIGHT, WIDTH = 20, 32
GAIN, BIAS = 400.0, -4.0  # of class 0
L = keras.layers


def spots_model(head: str = "softmax", has_age: bool = False) -> keras.Model:
    inputs = keras.Input((HEIGHT, WIDTH, 3))
    spots = L.Conv2D(2, 1, activation="relu", name="spots")
    scale = L.Rescaling(1 / 255)
    score = L.Dense(3, activation=head, name="classes")
    outputs = score(L.GlobalAveragePooling2D()(spots(scale(inputs))))
    spots.set_weights([np.array([[[[1, 0], [0, 0], [0, 1]]]], np.float32), np.full(2, -0.5)])
    score.set_weights([np.array([[GAIN, 0, 0], [0, 2 * GAIN, 0]]), np.array([BIAS, BIAS, 0])])
    if not has_age:
        return keras.Model(inputs, outputs)
    age = keras.Input((1,))
    return keras.Model([inputs, age], L.Add()([outputs, L.Dense(3, kernel_initializer="zeros")(age)]))


def picture(red: tuple[int, int] = (2, 3), blue: tuple[int, int] | None = None) -> np.ndarray:
    """A red spot of 6 x 5 pixels, and a blue one of 3 x 5."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    image[red[0] : red[0] + 6, red[1] : red[1] + 5, 0] = 255
    if blue is not None:
        image[blue[0] : blue[0] + 3, blue[1] : blue[1] + 5, 2] = 255
    return image


IMAGES = np.stack([picture(), picture((9, 22)), picture((7, 13))])
SCORE = GAIN * 30 / 2 / (HEIGHT * WIDTH) + BIAS
BEFORE, WITHOUT = (np.exp(score) / (np.exp(score) + np.exp(BIAS) + 1) for score in (SCORE, BIAS))
