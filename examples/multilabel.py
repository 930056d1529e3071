"""Explain the labels of a multi-label model: one map for each label above its threshold, all from one forward pass.

python examples/multilabel.py multilabel.png

A tiny network learns, in seconds, which of three shapes are in a noisy picture. It ends in logits and is trained with
binary cross entropy, so the explainer knows that each output is a label of its own. For each label of a few new
pictures the script prints how much of the map's heat lies on that shape, and it draws the maps.
"""

from __future__ import annotations

import sys
import time

import keras
import numpy as np

from tf_gradcam import Explainer

HEIGHT, WIDTH = 48, 96
NAMES = ["red square", "blue disc", "green bar"]
COLORS = [(230, 25, 25), (25, 25, 230), (25, 200, 25)]


def scenes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw each shape with probability 1/2 on noise; return RGB pictures and where each shape is, (B, K, H0, W0)."""
    generator = np.random.default_rng(seed)
    pictures = generator.uniform(50, 150, (count, HEIGHT, WIDTH, 3)).astype("uint8")
    places = np.zeros((count, len(NAMES), HEIGHT, WIDTH), bool)
    down, right = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for picture, place in zip(pictures, places, strict=True):
        for kind, third in enumerate(generator.permutation(3)):
            side = int(generator.integers(12, 20))
            x, y = 32 * third + int(generator.integers(1, 31 - side)), int(generator.integers(1, 47 - side))
            bar = (right >= x) & (right < x + side) & (down >= y) & (down < y + side // 2)
            square = (right >= x) & (right < x + side) & (down >= y) & (down < y + side)
            disc = (right - x - side / 2) ** 2 + (down - y - side / 2) ** 2 <= (side / 2) ** 2
            if generator.random() < 0.5:
                place[kind] = (square, disc, bar)[kind]
                picture[place[kind]] = COLORS[kind]
    return pictures, places


def network() -> keras.Model:
    """Return two convolutions, global pooling and a logit for each label: RGB 0..255 to (B, K)."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((HEIGHT, WIDTH, 3)),
            layers.Rescaling(1 / 127.5, offset=-1),
            layers.Conv2D(12, 3, 2, padding="same", activation="relu"),
            layers.Conv2D(24, 3, 2, padding="same", activation="relu", name="features"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(NAMES), name="labels"),
        ]
    )


def main(path: str) -> None:
    keras.utils.set_random_seed(1)
    pictures, places = scenes(512, seed=1)
    model = network()
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.BinaryCrossentropy(from_logits=True))
    start = time.perf_counter()
    model.fit(pictures, places.any((2, 3)).astype("float32"), batch_size=32, epochs=25, verbose=0)
    print(f"trained in {time.perf_counter() - start:.0f} s")

    photos, where = scenes(3, seed=15)
    explainer = Explainer(model, class_names=NAMES)
    print(explainer.task.statement)
    maps = explainer.class_maps(photos, above=0.5)
    for number, explanation in enumerate(maps.of_each_class()):
        heat = explanation.resized()
        for index in np.flatnonzero(maps.above[:, number]):
            label, inside = explanation.labels[index], where[index, explanation.class_indices[index]]
            share = heat[index][inside].sum() / heat[index].sum()
            probability = maps.probabilities[index, number]
            part = f"{share:.0%} of the heat on {inside.mean():.0%} of the picture"
            print(f"picture {index}: {label} {probability:.0%}, {part}")
    maps.plot(photos).savefig(path, dpi=150)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "multilabel.png")
