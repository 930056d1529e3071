"""Heatmap resizing: bilinear, half-pixel centres, edges replicated. NumPy only.

A cell is a tile of the image and its value sits at the tile's centre.
Axis letters: B batch, H x W cells, H0 x W0 pixels.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


def interpolation_matrix(cells: int, pixels: int, offset: float = 0.0) -> NDArray[np.float64]:
    """The bilinear weights of one axis: the values of the pixels are this matrix times those of the cells.

    Each row sums to 1 and has at most two entries above 0. The centre of pixel `p` samples the cells at
    `(p + 0.5 - offset) * cells / pixels - 0.5`, clipped to the centres of the first and last cell.

    Args:
        cells: number of cells, at least 1.
        pixels: number of pixels, at least 1.
        offset: pixels by which the map is shifted towards higher indices. Defaults to 0.

    Returns:
        (pixels, cells) float64.

    Raises:
        ValueError: if `cells` or `pixels` is no positive integer, or `offset` is not finite.
    """
    cells, pixels = check_size((cells, pixels), "(cells, pixels)")
    offset, _ = _check_offset((offset, 0.0))
    near = _neighbours(cells, pixels, offset)
    matrix = np.zeros((pixels, cells))
    rows = np.arange(pixels)
    matrix[rows, near.below] = near.weight_below
    matrix[rows, near.above] += near.weight_above  # added: at the last cell both neighbours are that cell
    return matrix


def resize_heatmaps(
    heatmaps: ArrayLike, size: tuple[int, int], offset: tuple[float, float] = (0.0, 0.0)
) -> NDArray[np.float32]:
    """Heatmaps at the size of the image, the value of each cell at the centre of its tile.

    Mirrored cells give mirrored pixels bit for bit, no value leaves the range of its map, and the same size
    is the identity. The numbers are those of `cv2.resize` with `INTER_LINEAR`, and of `tf.image.resize` with
    "bilinear". A smaller size samples the map; it does not average.

    Args:
        heatmaps: (B, H, W), any finite range; read as float32.
        size: (height, width) in pixels.
        offset: (dy, dx) in pixels of the result, by which the maps are shifted down and right; edges are
            replicated. Defaults to no shift.

    Returns:
        (B, H0, W0) float32.

    Raises:
        ValueError: if `heatmaps` is not of rank 3, has no cells, or holds NaN or infinity; if `size` is not
            two positive integers; if `offset` is not two finite numbers.
    """
    height, width = check_size(size)
    dy, dx = _check_offset(offset)
    cells = np.asarray(heatmaps, np.float32)
    if cells.ndim != 3 or 0 in cells.shape[1:]:
        raise ValueError(
            f"Expected heatmaps of shape (B, H, W), received {cells.shape}. Pass one map as `heatmap[None]`."
        )
    if not np.isfinite(cells).all():
        raise ValueError("Expected finite heatmaps, received NaN or infinity. Set those cells to 0 first.")

    # Two products and their sum, not a matrix product: a sum of two does not depend on its order, so mirrored
    # maps agree in every bit. In float64, so that rounding to float32 brings each value back into its range.
    near = _neighbours(cells.shape[2], width, dx)
    lines = cells[:, :, near.below] * near.weight_below + cells[:, :, near.above] * near.weight_above
    near = _neighbours(cells.shape[1], height, dy)
    below, above = lines[:, near.below], lines[:, near.above]
    below *= near.weight_below[:, None]
    above *= near.weight_above[:, None]
    pixels = np.empty((len(cells), height, width), np.float32)
    return np.add(below, above, out=pixels, casting="same_kind")


def check_size(size: Any, name: str = "size (height, width) in pixels") -> tuple[int, int]:
    """Two positive integers, or a ValueError that says so."""
    try:
        first, second = (operator.index(number) for number in size)
    except (TypeError, ValueError):
        first = second = 0
    if first < 1 or second < 1:
        raise ValueError(f"Expected {name} as two positive integers, such as (224, 224), received {size!r}.")
    return first, second


class _Neighbours(NamedTuple):
    """Per pixel: the last cell whose centre is not beyond the pixel's, the next, and the weight of each."""

    below: NDArray[np.intp]
    above: NDArray[np.intp]
    weight_below: NDArray[np.float64]
    weight_above: NDArray[np.float64]


def _neighbours(cells: int, pixels: int, offset: float) -> _Neighbours:
    # Positions are counted in units of 1 / (2 * pixels) of a cell, where they are whole numbers if the offset
    # is one. Each weight is then the rounding of one division, and mirrored pixels have the same two weights.
    unit = 2.0 * pixels
    position = (2.0 * np.arange(pixels) + 1.0 - 2.0 * offset) * cells - pixels
    position = np.clip(position, 0.0, unit * (cells - 1))
    below = np.floor_divide(position, unit)
    distance = position - below * unit
    index = below.astype(np.intp)
    return _Neighbours(index, np.minimum(index + 1, cells - 1), (unit - distance) / unit, distance / unit)


def _check_offset(offset: Any) -> tuple[float, float]:
    try:
        dy, dx = (float(number) for number in offset)
    except (TypeError, ValueError):
        dy = dx = np.nan
    if not np.isfinite([dy, dx]).all():
        raise ValueError(f"Expected an offset (dy, dx) of finite numbers in pixels, received {offset!r}.")
    return dy, dx
