"""Explain the boxes of a detector: one map for each detection, all from one forward pass.

python examples/detector.py detections.png

A tiny detector with two levels of a pyramid learns, in less than a minute, to find red squares and blue discs on noise.
The script prints, for each detection of a new scene, how much of its map's heat lies in its own box and in the other
boxes, writes a picture, and explains one box by itself.
"""

from __future__ import annotations

import sys
import time

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam import Explainer, targets

HEIGHT, WIDTH = 48, 96
NAMES = ["red square", "blue disc"]
STRIDES = (4, 8)
SIDES = (8, 9, 10, 16, 18, 20)  # of the shapes; from 13 pixels on, the coarse level has to find them


def scenes(count: int, seed: int) -> tuple[np.ndarray, list[list[tuple[int, ...]]]]:
    """Draw three shapes on noise; return the pictures and (x, y, side, class) of each shape."""
    generator = np.random.default_rng(seed)
    pictures = generator.uniform(0.2, 0.6, (count, HEIGHT, WIDTH, 3)).astype("float32")
    down, right = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    shapes = []
    for picture in pictures:
        shapes.append([])
        for third in range(3):
            side, kind = int(generator.choice(SIDES)), int(generator.integers(2))
            x, y = (
                int(generator.integers(third * 32 + 1, third * 32 + 31 - side)),
                int(generator.integers(1, 47 - side)),
            )
            square = (right >= x) & (right < x + side) & (down >= y) & (down < y + side)
            disc = (right - x - side / 2) ** 2 + (down - y - side / 2) ** 2 <= (side / 2) ** 2
            picture[[square, disc][kind]] = [(0.9, 0.1, 0.1), (0.1, 0.1, 0.9)][kind]
            shapes[-1].append((x, y, side, kind))
    return pictures, shapes


def cells() -> np.ndarray:
    """Return the middle (x, y) and the stride of the cell of each row, (N, 3)."""
    grids = [np.mgrid[: HEIGHT // stride, : WIDTH // stride].reshape(2, -1).T[:, ::-1] for stride in STRIDES]
    rows = [
        np.c_[(grid + 0.5) * stride, np.full(len(grid), stride)] for grid, stride in zip(grids, STRIDES, strict=True)
    ]
    return np.concatenate(rows).astype("float32")


def detector() -> keras.Model:
    """Return a network with raw outputs (B, N, 4 + K): the offset and the size of a box in cells, and logits."""
    conv = keras.layers.Conv2D
    options = {"padding": "same", "activation": "relu"}
    image = keras.Input((HEIGHT, WIDTH, 3))
    fine = conv(16, 3, 2, **options)(conv(12, 3, 2, **options)(image))
    coarse = conv(24, 3, **options, name="level_8")(conv(24, 3, 2, **options)(fine))
    fine = keras.layers.Add()([fine, keras.layers.UpSampling2D()(conv(16, 1)(coarse))])
    fine = conv(24, 3, **options, name="level_4")(fine)
    rows = [keras.layers.Reshape((-1, 4 + len(NAMES)))(conv(4 + len(NAMES), 1)(level)) for level in (fine, coarse)]
    return keras.Model(image, keras.layers.Concatenate(axis=1)(rows))


def decode(outputs):
    """Read raw outputs: boxes (B, N, 4) as (x1, y1, x2, y2) in pixels, and scores (B, N, K) in [0, 1]."""
    place = tf.constant(cells())
    middle = place[:, :2] + outputs[..., :2] * place[:, 2:]
    half = tf.exp(outputs[..., 2:4]) * place[:, 2:] / 2
    return tf.concat([middle - half, middle + half], axis=-1), tf.sigmoid(outputs[..., 4:])


def wanted(shapes: list[list[tuple[int, ...]]]) -> np.ndarray:
    """Return the rows that training asks for, and where there is a shape, (B, N, 4 + K + 1)."""
    place = cells()
    rows = np.zeros((len(shapes), len(place), 5 + len(NAMES)), "float32")
    for number, row in enumerate(rows):
        for x, y, side, kind in shapes[number]:
            middle = np.array([x, y]) + side / 2
            far = np.abs(place[:, :2] - middle).max(-1) + 1000 * (place[:, 2] != STRIDES[side >= 13])
            at = int(far.argmin())
            row[at, :2] = (middle - place[at, :2]) / place[at, 2]
            row[at, 2:4] = np.log(side / place[at, 2])
            row[at, 4 + kind] = row[at, -1] = 1
    return rows


def loss(rows, outputs):
    labels = rows[..., 4:-1]
    of_class = tf.nn.weighted_cross_entropy_with_logits(labels, outputs[..., 4:], pos_weight=8.0)
    of_box = tf.reduce_sum(tf.abs(rows[..., :4] - outputs[..., :4]), -1) * rows[..., -1]
    return tf.reduce_sum(tf.reduce_sum(of_class, -1) + 2 * of_box, -1)


def main(path: str) -> None:
    keras.utils.set_random_seed(1)
    model = detector()
    pictures, shapes = scenes(512, seed=1)
    model.compile(keras.optimizers.Adam(6e-3), loss)
    start = time.perf_counter()
    model.fit(pictures, wanted(shapes), batch_size=32, epochs=20, verbose=0)
    print(f"trained in {time.perf_counter() - start:.0f} s")

    images, _ = scenes(8, seed=7)
    image = images[:1]
    explainer = Explainer(model, method="hirescam", class_names=NAMES, decode=decode)
    (found,) = explainer.detections(image)
    print(f"maps at {explainer.layer_name}")
    for detection, own, others in zip(found, found.energy, found.energy_of_others, strict=True):
        print(f"{detection}: {own:.0%} of the heat in its box, {others:.0%} in the others")
    found.plot((image[0] * 255).astype("uint8")).savefig(path, dpi=150)

    best = found[0]
    explanation = explainer(image, targets.Box(best.label, best.box))
    print(f"{explanation.labels[0]}: logit {explanation.scores[0]:.1f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "detections.png")
