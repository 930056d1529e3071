"""Explain one sigmoid unit from both sides: what speaks for the one class, and what for the other.

python examples/binary.py binary.png

A tiny network learns, in seconds, which of two shapes on a noisy picture is the larger one. It ends in one sigmoid
unit, the probability of the second class, "white square"; the first class, "black disc", has the rest. For a few new
pictures the script prints how much of each side's heat lies on its shape, and it draws the maps. The last picture has
no square: its map for one is scaled by its own maximum as all maps are, and the script prints how small that is.
"""

from __future__ import annotations

import sys
import time

import keras
import numpy as np

from tf_gradcam import Explainer

HEIGHT, WIDTH = 48, 96
NAMES = ["black disc", "white square"]
LIGHT = [20, 235]


def scenes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw one or both shapes on noise; return RGB pictures, the larger shape, and where each is, (B, 2, H0, W0)."""
    generator = np.random.default_rng(seed)
    pictures = generator.uniform(50, 150, (count, HEIGHT, WIDTH, 3)).astype("uint8")
    places = np.zeros((count, 2, HEIGHT, WIDTH), bool)
    down, right = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for picture, place in zip(pictures, places, strict=True):
        alone = int(generator.choice([-1, -1, 0, 1]))  # -1: both shapes
        for kind, half in enumerate(generator.permutation(2)):
            side = int(generator.integers(12, 28))
            x, y = 48 * half + int(generator.integers(1, 47 - side)), int(generator.integers(1, 47 - side))
            square = (right >= x) & (right < x + side) & (down >= y) & (down < y + side)
            disc = (right - x - side / 2) ** 2 + (down - y - side / 2) ** 2 <= (side / 2) ** 2
            if alone in (-1, kind):
                place[kind] = (disc, square)[kind]
                picture[place[kind]] = LIGHT[kind]
    areas = places.sum((2, 3))
    return pictures, (areas[:, 1] > areas[:, 0]).astype("float32"), places


def network() -> keras.Model:
    """Return two convolutions, global pooling and one sigmoid unit: RGB 0..255 to the probability of the square."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((HEIGHT, WIDTH, 3)),
            layers.Rescaling(1 / 127.5, offset=-1),
            layers.Conv2D(12, 3, 2, padding="same", activation="relu"),
            layers.Conv2D(24, 3, 2, padding="same", activation="relu", name="features"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1, activation="sigmoid", name="square"),
        ]
    )


def trained() -> keras.Model:
    """Return the network, trained on generated pictures."""
    keras.utils.set_random_seed(1)
    pictures, truth, _ = scenes(512, seed=1)
    model = network()
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")
    model.fit(pictures, truth, batch_size=32, epochs=25, verbose=0)
    return model


def main(path: str) -> None:
    start = time.perf_counter()
    model = trained()
    print(f"trained in {time.perf_counter() - start:.0f} s")

    photos, _, where = scenes(3, seed=22)
    explainer = Explainer(model, class_names=NAMES)
    print(explainer.task.statement)
    maps = explainer.class_maps(photos)  # of both sides, from one forward pass
    for side, explanation in enumerate(maps.of_each_class()):
        heat = explanation.resized()
        for index in np.flatnonzero(where[:, side].any((1, 2))):
            inside, probability = where[index, side], maps.probabilities[index, side]
            share = heat[index][inside].sum() / heat[index].sum()
            part = f"{share:.0%} of the heat on {inside.mean():.0%} of the picture"
            print(f"picture {index}: {NAMES[side]} {probability:.0%}, {part}")
    maps.plot(photos).savefig(path, dpi=150)

    disc, square = explainer(photos, 0), explainer(photos, "white square")  # a side by its number or its name
    for index, (one, other) in enumerate(zip(disc.raw, square.raw, strict=True)):
        print(f"picture {index}: at most {one.max():.2f} for {NAMES[0]}, {other.max():.2f} for {NAMES[1]}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "binary.png")
