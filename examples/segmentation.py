"""Explain a segmentation: where a class was found, in a part of the picture, and at one pixel.

python examples/segmentation.py pictures

A small U-Net learns, in less than a minute, to find squares, discs and bars on noise; only their outlines tell them
apart. The script explains the squares of two new scenes at the bottleneck, for context, and at the last layer of the
decoder, for detail, prints how much of the heat lies in them, and writes pictures.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import keras
import numpy as np

from tf_gradcam import Explainer, list_layers, metrics, targets

HEIGHT, WIDTH = 64, 96
NAMES = ["background", "square", "disc", "bar"]
COLOUR = (230, 60, 200)


def scenes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw three shapes on noise; return pictures (B, H, W, 3) uint8 and the class of each pixel (B, H, W)."""
    generator = np.random.default_rng(seed)
    pictures = generator.uniform(50, 150, (count, HEIGHT, WIDTH, 3)).astype("uint8")
    masks = np.zeros((count, HEIGHT, WIDTH), "int32")
    down, right = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for picture, mask in zip(pictures, masks, strict=True):
        for third, kind in enumerate(generator.permutation(3)):
            side = int(generator.integers(14, 26))
            x, y = (
                third * 32 + int(generator.integers(1, 31 - side)),
                int(generator.integers(1, HEIGHT - 1 - side)),
            )
            shape = [
                (right >= x) & (right < x + side) & (down >= y) & (down < y + side),
                (right - x - side / 2) ** 2 + (down - y - side / 2) ** 2 <= (side / 2) ** 2,
                (right >= x) & (right < x + side) & (down >= y) & (down < y + side // 2),
            ][kind]
            picture[shape], mask[shape] = COLOUR, 1 + kind
    return pictures, masks


def unet() -> keras.Model:
    """Return a U-Net of three levels with a class of each pixel, (B, H, W, 4) probabilities."""
    layers = keras.layers

    def conv(filters: int, strides: int = 1, name: str | None = None):
        return layers.Conv2D(filters, 3, strides, padding="same", activation="relu", name=name)

    image = keras.Input((HEIGHT, WIDTH, 3))
    skips = [conv(12)(layers.Rescaling(1 / 255)(image))]
    for filters in (20, 28):
        skips.append(conv(filters, strides=2)(skips[-1]))
    tensor = conv(32, name="bottleneck")(conv(32)(conv(32, strides=2)(skips[-1])))
    for filters, name in ((24, None), (16, None), (12, "decoder")):
        larger = layers.UpSampling2D(interpolation="bilinear")(tensor)
        tensor = conv(filters, name=name)(layers.Concatenate()([larger, skips.pop()]))
    return keras.Model(image, layers.Conv2D(4, 1, activation="softmax", name="mask")(tensor))


def trained() -> keras.Model:
    """Return the U-Net after its training."""
    keras.utils.set_random_seed(1)
    model = unet()
    pictures, masks = scenes(384, seed=1)
    model.compile(keras.optimizers.Adam(6e-3), "sparse_categorical_crossentropy")
    model.fit(pictures.astype("float32"), masks[..., None], batch_size=16, epochs=14, verbose=0)
    return model


def main(folder: str) -> None:
    out = Path(folder)
    out.mkdir(exist_ok=True)
    start = time.perf_counter()
    model = trained()
    photos, truth = scenes(2, seed=7)
    images = photos.astype("float32")
    right = (model.predict(images, verbose=0).argmax(-1) == truth).mean()
    print(f"trained in {time.perf_counter() - start:.0f} s, {right:.1%} of the pixels of two new scenes right")

    # Both layers, as `tf-gradcam layers` marks them.
    for row in list_layers(model):
        if row.role:
            explanation = Explainer(model, row.path, "hirescam", class_names=NAMES)(images, "square")
            explanation.plot(photos).savefig(out / f"{row.role}.png", dpi=150)
            heat = explanation.resized()
            pairs = zip(heat, truth == NAMES.index("square"), strict=True)
            inside = np.mean([metrics.energy_in_region(one, shape.astype(float)) for one, shape in pairs])
            print(f"{row.role}, layer {row.path}: {inside:.0%} of the heat in the square")

    # One pixel: without a class it is the class that is predicted there.
    explainer = Explainer(model, "decoder", class_names=NAMES)
    y, x = np.argwhere(truth[0] == 2).mean(0)
    at_pixel = explainer(images[:1], targets.Region(point=((x + 0.5) / WIDTH, (y + 0.5) / HEIGHT)))
    print(f"pixel ({x:.0f}, {y:.0f}): {at_pixel.labels[0]}")

    # Any part of the picture: here the lower half.
    half = np.zeros((HEIGHT, WIDTH), bool)
    half[HEIGHT // 2 :] = True
    in_half = explainer(images, targets.Region("background", mask=half))
    shares = ", ".join(f"{NAMES[k]} {share:.1%}" for k, share in in_half.segmentation.shares(0))
    print(f"{in_half.labels[0]}; predicted in the first scene: {shares}")
    in_half.save(out, photos)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "segmentation")
