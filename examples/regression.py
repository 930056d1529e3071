"""Explain a value: what in a picture raises it, what lowers it, and what tells it from the value of another picture.

python examples/regression.py regression.png

A tiny network learns, in seconds, to add up the points of a noisy picture: a yellow square adds its area, a green
disc takes it away, a violet bar does not count. The script prints how much of the heat that raises the value lies on
the square, and how much of the heat that lowers it on the disc. It draws the maps with the value and its unit.
"""

from __future__ import annotations

import sys
import time

import keras
import numpy as np

from tf_gradcam import Explainer
from tf_gradcam.targets import Distance

HEIGHT, WIDTH = 48, 96
COLORS = [(235, 220, 40), (30, 180, 60), (180, 60, 200)]  # yellow squares, green discs, violet bars


def scenes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw shapes on noise; return RGB pictures, their points, and where each shape is, (B, 3, H0, W0)."""
    generator = np.random.default_rng(seed)
    pictures = generator.uniform(50, 150, (count, HEIGHT, WIDTH, 3)).astype("uint8")
    places = np.zeros((count, 3, HEIGHT, WIDTH), bool)
    down, right = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for picture, place in zip(pictures, places, strict=True):
        for kind, third in enumerate(generator.permutation(3)):
            side = int(generator.integers(12, 20))
            x, y = 32 * third + int(generator.integers(1, 31 - side)), int(generator.integers(1, 47 - side))
            bar = (right >= x) & (right < x + side) & (down >= y) & (down < y + side // 2)
            square = (right >= x) & (right < x + side) & (down >= y) & (down < y + side)
            disc = (right - x - side / 2) ** 2 + (down - y - side / 2) ** 2 <= (side / 2) ** 2
            if generator.random() < 0.7:
                place[kind] = (square, disc, bar)[kind]
                picture[place[kind]] = COLORS[kind]
    areas = places.sum((2, 3))
    return pictures, ((areas[:, 0] - areas[:, 1]) / 100).astype("float32"), places


def network() -> keras.Model:
    """Return two convolutions, global pooling and one number: RGB 0..255 to points."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((HEIGHT, WIDTH, 3)),
            layers.Rescaling(1 / 127.5, offset=-1),
            layers.Conv2D(12, 3, 2, padding="same", activation="relu"),
            layers.Conv2D(24, 3, 2, padding="same", activation="relu", name="features"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1, name="points"),
        ]
    )


def main(path: str) -> None:
    keras.utils.set_random_seed(1)
    pictures, points, _ = scenes(512, seed=1)
    model = network()
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    start = time.perf_counter()
    model.fit(pictures, points, batch_size=32, epochs=25, verbose=0)
    print(f"trained in {time.perf_counter() - start:.0f} s")

    photos, truth, where = scenes(4, seed=5)
    explainer = Explainer(model, unit="points")
    print(explainer.task.statement)
    explanation = explainer(photos)
    maps = np.stack([explanation.shown_at(index) for index in range(len(photos))])
    for index, value in enumerate(explanation.values):
        line = f"picture {index}: {value:.2f} points, true {truth[index]:.2f}"
        for kind, sign, verb in ((0, 1, "raises"), (1, -1, "lowers")):
            heat, inside = np.maximum(sign * maps[index], 0), where[index, kind]
            if inside.any():
                share = heat[inside].sum() / heat.sum()
                line += f"; {share:.0%} of what {verb} it on {inside.mean():.0%} of the picture"
        print(line)
    explanation.with_photos(photos).plot().savefig(path, dpi=150)

    reference = explanation.values[1]
    near = explainer(photos[:1], Distance(reference, of="picture 1"))
    print(f"{near.labels[0]}: {near.values[0]:.2f} points, {-near.scores[0]:.2f} away")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "regression.png")
