"""Two classes of noisy photos, green and red, a model that tells them apart, and what a figure shows of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import keras
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.data.folder import Samples, read_folder

SIZE = (12, 20)  # pixels of a photo
NAMES = ("green", "red")
LONG = "American Staffordshire terrier, Staffordshire terrier, American pit bull terrier, pit bull terrier"


def photo_of(number: int, channel: int) -> np.ndarray:
    """Dark noise, and a bright spot of one colour in a place of its own."""
    photo = np.random.default_rng(number).integers(0, 40, (*SIZE, 3), np.uint8)
    row, column = number % 3 * 4, number % 5 * 4
    photo[row : row + 4, column : column + 4, channel] = 255
    return photo


def write_folder(root: Path, names: tuple[str, ...] = NAMES, count: int = 6) -> Samples:
    """A folder per class; photos of class k have spots in channel 1 - k % 2: green, red, green, ..."""
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(count):
            photo = photo_of(number + label * count, 1 - label % 2)
            cv2.imwrite(str(root / name / f"{name}_{number}.png"), photo[..., ::-1])
    return read_folder(root)


def color_model(green: float = 1.0, red: float = 1.0) -> keras.Model:
    """It sees green and red, means them over the photo, and calls it what there is more of.

    `cells` passes green and red on, so the map of class k at `cells` is channel k of the photo, where its factor is
    positive; `doubled` before it holds twice as much, which changes no map.
    """
    inputs = keras.Input((*SIZE, 3))
    hidden = keras.layers.Conv2D(3, 1, use_bias=False, name="doubled")(inputs)
    hidden = keras.layers.Conv2D(2, 1, use_bias=False, name="cells")(hidden)
    hidden = keras.layers.GlobalAveragePooling2D()(hidden)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="dense")(hidden))
    model.get_layer("doubled").set_weights([2 * np.eye(3, dtype=np.float32)[None, None]])
    model.get_layer("cells").set_weights([np.array([[[[0, 0.5], [0.5, 0], [0, 0]]]], np.float32)])
    model.get_layer("dense").set_weights([np.diag([green, red]).astype(np.float32), np.zeros(2, np.float32)])
    return model


def outputs_of(samples: Samples, wrong: dict[int, float] | None = None, confidence: float = 0.9) -> np.ndarray:
    """Probabilities of two classes: right with `confidence`, but for {index: confidence} of wrong ones."""
    outputs = np.empty((len(samples), 2))
    for index, label in enumerate(samples.labels):
        predicted = 1 - label if index in (wrong or {}) else label
        outputs[index, predicted] = (wrong or {}).get(index, confidence)
        outputs[index, 1 - predicted] = 1 - outputs[index, predicted]
    return outputs


def pictures(figure: Figure) -> list[np.ndarray]:
    """The pictures in a figure in their order; a colour bar is none."""
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def texts(figure: Figure) -> list[str]:
    """Every line of text over the panels of a figure."""
    written = [*figure.texts, *(axes.title for axes in figure.axes), *(axes._left_title for axes in figure.axes)]
    return [line for text in written for line in text.get_text().splitlines()]


def check_layout(figure: Figure) -> None:
    """Nothing overlaps and nothing leaves the figure: panels, lines of text, names on axes."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # lays it out
    renderer = canvas.get_renderer()
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    boxes += [text.get_window_extent(renderer) for text in figure.texts if text.get_text()]
    width, height = figure.get_size_inches() * figure.dpi
    for index, box in enumerate(boxes):
        assert -1 <= box.x0 <= box.x1 <= width + 1
        assert -1 <= box.y0 <= box.y1 <= height + 1
        assert not any(box.overlaps(other) for other in boxes[:index])
