"""Sizes: bilinear matrices, maps of any number of axes, and zoom.

Axis legend: B batch, N cells of the layer (any number of spatial axes: T, H x W, D x H x W), N0 pixels of the input.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


def interpolation_matrix(cells: int, pixels: int, offset: float = 0.0) -> NDArray[np.float64]:
    """Return the bilinear weights of one axis, the matrix that turns values of cells into values of pixels.

    Each row sums to 1 and has at most two entries above 0. The centre of pixel `p` samples the cells at
    `(p + 0.5 - offset) * cells / pixels - 0.5`, clipped to the centres of the first and last cell.

    Args:
        cells, pixels: number of each, at least 1.
        offset: pixels by which the map is shifted towards higher indices. Defaults to 0.

    Returns:
        (pixels, cells) float64.

    Raises:
        ValueError: if `cells` or `pixels` is not a positive integer, or `offset` is not finite.
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
    """Resize heatmaps to the image, with the value of each cell at the centre of its tile.

    Mirrored cells give mirrored pixels bit for bit, no value leaves the range of its map, and the same size is the
    identity. The numbers equal `cv2.resize` with `INTER_LINEAR` and `tf.image.resize` with "bilinear". A smaller size
    samples the map; it does not average.

    Args:
        heatmaps: (B, H, W), any finite range; read as float32.
        size: (height, width) in pixels.
        offset: (dy, dx) pixels of the result, by which maps are shifted down and right; edges are replicated.

    Returns:
        (B, H0, W0) float32.

    Raises:
        ValueError: if `heatmaps` is not of rank 3, is empty, or holds NaN or infinity; if `size` is not two positive
            integers; if `offset` is not two finite numbers.
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

    # Two products and their sum, not a matrix product: a sum of two does not depend on its order, so mirrored maps are
    # equal in every bit. In float64, so that rounding to float32 brings each value back into its range.
    near = _neighbours(cells.shape[2], width, dx)
    lines = cells[:, :, near.below] * near.weight_below + cells[:, :, near.above] * near.weight_above
    near = _neighbours(cells.shape[1], height, dy)
    below, above = lines[:, near.below], lines[:, near.above]
    below *= near.weight_below[:, None]
    above *= near.weight_above[:, None]
    pixels = np.empty((len(cells), height, width), np.float32)
    return np.add(below, above, out=pixels, casting="same_kind")


def check_size(size: Any, name: str = "size (height, width) in pixels") -> tuple[int, int]:
    """Return `size` as two positive integers, or raise a ValueError."""
    try:
        first, second = (operator.index(number) for number in size)
    except (TypeError, ValueError):
        first = second = 0
    if first < 1 or second < 1:
        raise ValueError(f"Expected {name} as two positive integers, such as (224, 224), received {size!r}.")
    return first, second


class _Neighbours(NamedTuple):
    """Cells around each pixel: the last one whose centre is not beyond the pixel's, the next, and their weights."""

    below: NDArray[np.intp]
    above: NDArray[np.intp]
    weight_below: NDArray[np.float64]
    weight_above: NDArray[np.float64]


def _neighbours(cells: int, pixels: int, offset: float) -> _Neighbours:
    # Positions are counted in units of 1 / (2 * pixels) of a cell, where they are whole numbers if the offset is one.
    # Each weight is then the rounding of one division, and mirrored pixels have the same two weights.
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


def exact_zoom(side: int, zoom: float) -> float:
    """Return the nearest zoom that adds or removes whole pixels, the same number on both sides; content remains."""
    margin = max(round(side * (zoom - 1) / 2), -((side - 1) // 2))
    return (side + 2 * margin) / side


def zoom_matrix(side: int, zoom: float) -> NDArray[np.float64]:
    """Return the linear weights of an axis's pixels in the zoomed axis, (side, side); rows sum to 1.

    Where the content shrinks, each pixel averages all pixels that fall on it, weighted by distance, and edge pixels are
    repeated over the margins.
    """
    length = round(side * exact_zoom(side, zoom))
    margin = abs(length - side) // 2
    if length >= side:
        return interpolation_matrix(side, length)[margin : margin + side]
    shrunk = interpolation_matrix(length, side).T
    shrunk /= shrunk.sum(axis=1, keepdims=True)
    return shrunk[np.clip(np.arange(side) - margin, 0, length - 1)]


def unzoom_matrix(cells: int, zoom: float) -> NDArray[np.float64]:
    """Return the linear weights, (cells, cells), that bring a map of the zoomed axis back to the axis."""
    places = np.clip(_zoomed_centres(cells, zoom) * cells - 0.5, 0, cells - 1)
    below = np.floor(places).astype(np.intp)
    matrix = np.zeros((cells, cells))
    rows = np.arange(cells)
    matrix[rows, below] = 1 - (places - below)
    matrix[rows, np.minimum(below + 1, cells - 1)] += places - below
    return matrix


def coverage(cells: int, zoom: float) -> NDArray[np.bool_]:
    """Return whether the zoomed axis still shows the centre of each cell, (cells,)."""
    return np.abs(_zoomed_centres(cells, zoom) - 0.5) < 0.5 + 1e-9


def _zoomed_centres(cells: int, zoom: float) -> NDArray[np.float64]:
    """Return the centre of each cell on the zoomed axis, from 0 to 1."""
    return ((np.arange(cells) + 0.5) / cells - 0.5) * zoom + 0.5


Maps = NDArray[np.float32]

_EXAMPLES = {1: "(length,), such as (1000,)", 3: "(depth, height, width), such as (32, 128, 128)"}


def positive_share(raw: np.ndarray) -> Maps:
    """Return relu of maps (B, N), each divided by its maximum; a map without a positive finite maximum is zero."""
    return _share(np.maximum(raw, 0), raw)


def signed_share(raw: np.ndarray) -> Maps:
    """Return maps (B, N), each divided by its largest absolute value; a map that is not finite, or zero, is zero."""
    return _share(raw, raw)


def _share(values: np.ndarray, raw: np.ndarray) -> Maps:
    axes = tuple(range(1, raw.ndim))
    peaks = np.abs(values).max(axis=axes, keepdims=True)
    good = np.isfinite(raw).all(axis=axes, keepdims=True) & (peaks > 0)
    shares = np.zeros(raw.shape, np.float32)
    return np.divide(values, peaks, out=shares, where=np.broadcast_to(good, raw.shape), casting="same_kind")


def resize_maps(maps: np.ndarray, size: Sequence[int], offset: Sequence[float] | None = None) -> Maps:
    """Resize maps along every spatial axis: as `resize_heatmaps`, for any number of axes.

    Maps (B, N) become (B, N0) float32; `size` and `offset` have one number per spatial axis. One map at a time is held
    in float64. Raises a ValueError for another size, or maps that are not finite.
    """
    rank = maps.ndim - 1
    sides = check_sides(size, rank)
    shifts = tuple(offset or (0.0,) * rank)
    if rank == 2:
        return resize_heatmaps(maps, (sides[0], sides[1]), (shifts[0], shifts[1]))
    resized = np.empty((len(maps), *sides), np.float32)
    for index, cells in enumerate(maps):
        resized[index] = _resize_one(cells, sides, shifts)
    return resized


def _resize_one(cells: np.ndarray, sides: tuple[int, ...], shifts: Sequence[float]) -> Maps:
    """Resize one map: leading axes one by one, the last two as a picture; a signal is a picture of one row."""
    if cells.ndim == 1:
        return resize_heatmaps(cells[None, None], (1, sides[0]), (0.0, shifts[0]))[0, 0]
    for axis in range(cells.ndim - 2):
        before, behind = cells.shape[:axis], cells.shape[axis + 1 :]
        # Seen as (before, axis, behind) the array is a stack of pictures whose width stays.
        stack = cells.reshape(math.prod(before), cells.shape[axis], math.prod(behind))
        stack = resize_heatmaps(stack, (sides[axis], stack.shape[2]), (shifts[axis], 0.0))
        cells = stack.reshape(*before, sides[axis], *behind)
    pictures = cells.reshape(-1, *cells.shape[-2:])
    resized = resize_heatmaps(pictures, (sides[-2], sides[-1]), (shifts[-2], shifts[-1]))
    return resized.reshape(sides)


def check_sides(size: Any, rank: int) -> tuple[int, ...]:
    """Return `size` as `rank` positive integers, or raise a ValueError."""
    if rank == 2:
        return check_size(size)
    try:
        sides = tuple(operator.index(side) for side in size)
    except TypeError:
        sides = ()
    if len(sides) != rank or min(sides, default=0) < 1:
        wanted = _EXAMPLES.get(rank, f"{rank} numbers")
        raise ValueError(f"Expected size as positive integers {wanted}, received {size!r}.")
    return sides
