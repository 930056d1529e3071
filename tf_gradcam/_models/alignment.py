"""The places where cells are measured to look, beside their places by arithmetic or probes (see `places`).

Asymmetric `same` padding shifts a cell's receptive field away from its place, and training makes up for a part of the
shift, so the offset is measured on the given model. The distance between cells is not measured where arithmetic gives
it, as the product of the strides: borders cut receptive fields, and a straight line through all cells of MobileNet at
224 px has 30.2 and 31.0 px a cell in place of 32. It is measured where arithmetic does not know an operation.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_gradcam._models.split import SplitModel, noise_images
from tf_gradcam.image.resize import Placement

_DEFAULT_SIDE = 224  # pixels, where the model takes any size
_IMAGE_COUNT = 4
_CELLS = 3  # by _CELLS innermost cells: the border cuts their receptive fields least, and alike on both sides
_MOST_CELLS = 16  # of a line, to measure its scale
_WIDTH = 2.0  # standard deviations: a receptive field that is this far from the border is not cut

Pixels = tuple[float, ...]


def measure_places(
    split: SplitModel, value_range: tuple[float, float] = (0.0, 1.0), seed: int = 0
) -> tuple[Pixels, Pixels]:
    """Return offset and stretch of a layer's cells, by the centroids of the input gradient's energy.

    On noise images, for each of the innermost cells, the gradient of its activations (all channels, signs drawn at
    random) with respect to the pixels is squared, and the centroid of that energy is compared with the place of the
    cell. The mean over cells and images is the offset. Where the places come from probes, a straight line is fitted to
    the centroids of a row and a column of cells, those left out whose energy reaches the border of what the layer sees.

    Args:
        split: a model cut at a layer (B, H, W, C).
        value_range: lowest and highest value of the noise, as in the model's images. Defaults to (0, 1).
        seed: of the noise and the signs. Defaults to 0.

    Returns:
        For each axis of the map, pixels from the middle of all places to where they are measured; and the measured
        distance of neighbours as a multiple of the placed one, 1 where arithmetic gives it or all cells are cut.

    Raises:
        ValueError: a layer or input without two spatial axes, cells that are not places in it, or no gradient from the
            layer to the pixels.

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
    cells = tuple(split.extract(inputs)[0].shape[1:3])
    placement = split.placement(cells, inputs)
    if not isinstance(placement, Placement) or sorted(placement.axes) != [0, 1]:
        reason = getattr(placement, "reason", f"they have the axes {placement.image_size}")
        raise ValueError(
            f"Expected a layer whose cells are places in the picture to measure an offset, received "
            f"'{split.layer_name}': {reason}. Leave align=False."
        )
    signs = tf.cast(np.random.default_rng(seed).choice([-1.0, 1.0], split.activation_shape[-1]), tf.float32)
    is_last = tuple(inputs[split.inputs.image_index].shape[1:3]) == placement.image_size
    energy = tf.function(
        lambda row, column, *tensors: _energy(split, list(tensors), row, column, signs, is_last), autograph=False
    )

    def profiles(row: int, column: int) -> list[np.ndarray]:
        """Return the energy of a cell along the picture's axis of each axis of the map."""
        picture = energy(tf.constant(row), tf.constant(column), *inputs).numpy().astype(np.float64)
        return [picture.sum(axis=1 - axis) for axis in placement.axes]

    inner = [(row, column) for row in _innermost(cells[0]) for column in _innermost(cells[1])]
    offsets = np.array([[_centroid(one)[0] for one in profiles(*cell)] for cell in inner])
    offsets -= np.array(placement.start) + np.array(placement.scale) * inner
    offsets = offsets[np.isfinite(offsets).all(axis=1)]
    if not len(offsets):
        raise ValueError(f"No gradient leads from layer '{split.layer_name}' to the pixels: leave align=False.")
    offset, stretch = offsets.mean(axis=0), np.ones(2)
    if placement.known_by != "arithmetic":
        for axis, (count, scale, start) in enumerate(zip(cells, placement.scale, placement.start, strict=True)):
            chosen = np.unique(np.linspace(0, count - 1, _MOST_CELLS).astype(int))
            middle = [(int(at), cells[1] // 2) if axis == 0 else (cells[0] // 2, int(at)) for at in chosen]
            line = _line(chosen, np.array([profiles(*cell)[axis] for cell in middle]))
            if line is not None:
                stretch[axis] = line[0] / scale
                offset[axis] = np.polyval(line, (count - 1) / 2) - start - scale * (count - 1) / 2
    return tuple(map(float, offset)), tuple(map(float, stretch))


def _line(cells: np.ndarray, energies: np.ndarray) -> np.ndarray | None:
    """Return scale and start of the straight line through the centroids of uncut cells; None for fewer than three."""
    seen = np.flatnonzero(energies.sum(axis=0) > 0)
    places = np.array([_centroid(energy) for energy in energies])
    low, high = places[:, 0] - _WIDTH * places[:, 1], places[:, 0] + _WIDTH * places[:, 1]
    is_whole = (low >= seen[0]) & (high <= seen[-1] + 1)
    return np.polyfit(cells[is_whole], places[is_whole, 0], 1) if is_whole.sum() >= _CELLS else None


def _energy(
    split: SplitModel, inputs: list[tf.Tensor], row: tf.Tensor, column: tf.Tensor, signs: tf.Tensor, is_last: bool
) -> tf.Tensor:
    """Return the energy (H0, W0) of the gradient of one cell by the pixels, summed over images and channels.

    `is_last` says whether the channels come last.
    """
    pixels = inputs[split.inputs.image_index]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(pixels)
        activations = tf.cast(split.extract(inputs)[0], tf.float32)
        score = tf.reduce_sum(activations[:, row, column, :] * signs)
    gradient = tape.gradient(score, pixels)
    if gradient is None:  # pixels of whole numbers, or a layer that does not read them
        gradient = tf.zeros(tf.shape(pixels))
    return tf.reduce_sum(tf.square(gradient), axis=[0, 3 if is_last else 1])


def _innermost(count: int) -> range:
    """Return the middle cells, as many on both sides of the centre."""
    kept = min(count, _CELLS if count % 2 else _CELLS + 1)
    return range((count - kept) // 2, (count + kept) // 2)


def _centroid(energy: np.ndarray) -> tuple[float, float]:
    """Return the centre of mass of energies along a line of pixels, and the standard deviation."""
    total, pixels = energy.sum(), np.arange(len(energy)) + 0.5
    if not total > 0:
        return np.nan, np.nan
    centre = float(energy @ pixels / total)
    return centre, float(np.sqrt(energy @ (pixels - centre) ** 2 / total))
