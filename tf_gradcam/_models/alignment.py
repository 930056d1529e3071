"""The offset of a layer's cells: from the centre of a cell's tile to the centre of its receptive field.

Upsampling centres each cell in its tile of the image. Asymmetric `same` padding shifts the receptive field away from
the tile, and training makes up for a part of the shift, so the offset is measured on the given model.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_gradcam._models.split import SplitModel, noise_images
from tf_gradcam.image.resize import Placement

_DEFAULT_SIDE = 224  # pixels, where the model takes any size
_IMAGE_COUNT = 4
_CELLS = 3  # by _CELLS innermost cells: the border cuts their receptive fields least, and alike on both sides


def measure_offset(
    split: SplitModel, value_range: tuple[float, float] = (0.0, 1.0), seed: int = 0
) -> tuple[float, float]:
    """Return the offset of a layer's cells, as the centroid of the input gradient's energy.

    On noise images, for each of the innermost cells, the gradient of its activations (all channels, signs drawn at
    random) with respect to the pixels is squared, and the centroid of that energy is compared with the place of the
    cell by arithmetic, see `places`. The mean over cells and images is the offset.

    Args:
        split: a model cut at a layer (B, H, W, C).
        value_range: lowest and highest value of the noise, as in the model's images. Defaults to (0, 1).
        seed: of the noise and the signs. Defaults to 0.

    Returns:
        (down, right) in pixels of the model's input.

    Raises:
        ValueError: a layer or input without two spatial axes, or no gradient from the layer to the pixels.

    Source: measured effective receptive field, after Luo et al. 2016, https://arxiv.org/abs/1701.04128. Deviation: the
    energy of the gradient, not its mean.
    """
    shape = split.inputs.image_shape
    if len(shape) != 4 or len(split.activation_shape) != 4:
        raise ValueError(
            f"Expected images (B, H0, W0, 3) and a layer (B, H, W, C) to measure an offset, received {shape} and "
            f"{split.activation_shape}. Leave align=False."
        )
    inputs = noise_images(split.inputs, _IMAGE_COUNT, _DEFAULT_SIDE, value_range, seed)
    cells = split.extract(inputs)[0].shape[1:3]
    signs = tf.cast(np.random.default_rng(seed).choice([-1.0, 1.0], split.activation_shape[-1]), tf.float32)
    energy = tf.function(
        lambda row, column, *tensors: _energy(split, list(tensors), row, column, signs), autograph=False
    )
    placement = split.placement(cells, inputs)
    if not isinstance(placement, Placement) or placement.axes != (0, 1):
        placement = Placement.tiles(cells, inputs[split.inputs.image_index].shape[1:3])
    offsets = []
    for row in _innermost(cells[0]):
        for column in _innermost(cells[1]):
            place = np.add(placement.start, np.multiply(placement.scale, (row, column))) / placement.image_size
            offsets.append(_centroid(energy(tf.constant(row), tf.constant(column), *inputs).numpy()) - place)
    finite = [offset for offset in offsets if np.isfinite(offset).all()]
    if not finite:
        raise ValueError(f"No gradient leads from layer '{split.layer_name}' to the pixels: leave align=False.")
    mean = np.mean(finite, axis=0) * inputs[split.inputs.image_index].shape[1:3]
    return float(mean[0]), float(mean[1])


def _energy(
    split: SplitModel, inputs: list[tf.Tensor], row: tf.Tensor, column: tf.Tensor, signs: tf.Tensor
) -> tf.Tensor:
    """Return the energy (H0, W0) of the gradient of one cell by the pixels, summed over images and channels."""
    pixels = inputs[split.inputs.image_index]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(pixels)
        activations = tf.cast(split.extract(inputs)[0], tf.float32)
        score = tf.reduce_sum(activations[:, row, column, :] * signs)
    gradient = tape.gradient(score, pixels)
    if gradient is None:  # pixels of whole numbers, or a layer that does not read them
        return tf.zeros(tf.shape(pixels)[1:3])
    return tf.reduce_sum(tf.square(gradient), axis=[0, 3])


def _innermost(count: int) -> range:
    """Return the middle cells, as many on both sides of the centre."""
    kept = min(count, _CELLS if count % 2 else _CELLS + 1)
    return range((count - kept) // 2, (count + kept) // 2)


def _centroid(energy: np.ndarray) -> np.ndarray:
    """Return the centre of mass (vertical, horizontal) as fractions of the image."""
    total = energy.sum(dtype=np.float64)
    if not total > 0:
        return np.array([np.nan, np.nan])
    height, width = energy.shape
    rows, columns = energy.sum(axis=1, dtype=np.float64), energy.sum(axis=0, dtype=np.float64)
    down, right = np.dot(rows, np.arange(height) + 0.5) / height, np.dot(columns, np.arange(width) + 0.5) / width
    return np.array([down, right]) / total
