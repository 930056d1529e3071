"""Sizes: bilinear matrices, maps of any number of axes, and zoom.

Axis legend: B batch, N cells of the layer (any number of spatial axes: T, H x W, D x H x W), N0 pixels of the input.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_NOT_FINITE = "Expected finite heatmaps, received NaN or infinity. Set those cells to 0 first."


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
    return _matrix(_neighbours(cells, pixels, offset), cells)


def _matrix(near: _Neighbours, cells: int) -> NDArray[np.float64]:
    matrix = np.zeros((len(near.below), cells))
    rows = np.arange(len(near.below))
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
        raise ValueError(_NOT_FINITE)

    return _sampled(cells, _neighbours(cells.shape[1], height, dy), _neighbours(cells.shape[2], width, dx))


def check_size(size: Any, name: str = "size (height, width) in pixels") -> tuple[int, int]:
    """Return `size` as two positive integers, or raise a ValueError."""
    try:
        first, second = (operator.index(number) for number in size)
    except (TypeError, ValueError):
        first = second = 0
    if first < 1 or second < 1:
        raise ValueError(f"Expected {name} as two positive integers, such as (224, 224), received {size!r}.")
    return first, second


_STEPS = 2.0**30  # of a cell, in which positions are rounded: mirrored positions then have the same two weights


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


def _neighbours_of(position: NDArray[np.float64], cells: int) -> _Neighbours:
    """Return the cells around positions in units of cells, where cell 0 is at 0; clipped to the first and last cell."""
    position = np.clip(np.round(position * _STEPS) / _STEPS, 0.0, cells - 1)
    below = np.floor(position)
    index = below.astype(np.intp)
    return _Neighbours(index, np.minimum(index + 1, cells - 1), 1 - (position - below), position - below)


def _sampled(cells: np.ndarray, rows: _Neighbours, columns: _Neighbours) -> Maps:
    """Interpolate pictures (B, H, W) between the neighbours of each row and column."""
    # Two products and their sum, not a matrix product: a sum of two does not depend on its order, so mirrored maps are
    # equal in every bit. In float64, so that rounding to float32 brings each value back into its range.
    lines = cells[:, :, columns.below] * columns.weight_below + cells[:, :, columns.above] * columns.weight_above
    below, above = lines[:, rows.below], lines[:, rows.above]
    below *= rows.weight_below[:, None]
    above *= rows.weight_above[:, None]
    pixels = np.empty((len(cells), len(rows.below), len(columns.below)), np.float32)
    return np.add(below, above, out=pixels, casting="same_kind")


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


def _sampled_maps(maps: np.ndarray, near: Sequence[_Neighbours]) -> Maps:
    """Interpolate maps of any number of axes between the neighbours along each."""
    if not np.isfinite(maps).all():
        raise ValueError(_NOT_FINITE)
    if maps.ndim == 3:
        return _sampled(np.asarray(maps, np.float32), *near)
    sampled = np.empty((len(maps), *(len(axis.below) for axis in near)), np.float32)
    for index, cells in enumerate(np.asarray(maps, np.float32)):
        sampled[index] = _sampled_one(cells, near)
    return sampled


def _sampled_one(cells: np.ndarray, near: Sequence[_Neighbours]) -> Maps:
    """Interpolate one map: leading axes one by one, the last two as a picture; a signal is a picture of one row."""
    if cells.ndim == 1:
        return _sampled(cells[None, None], _neighbours(1, 1, 0.0), near[0])[0, 0]
    for axis in range(cells.ndim - 2):
        before, behind = cells.shape[:axis], cells.shape[axis + 1 :]
        # Seen as (before, axis, behind) the array is a stack of pictures whose width stays.
        stack = cells.reshape(math.prod(before), cells.shape[axis], math.prod(behind))
        stack = _sampled(stack, near[axis], _neighbours(stack.shape[2], stack.shape[2], 0.0))
        cells = stack.reshape(*before, stack.shape[1], *behind)
    pictures = cells.reshape(-1, *cells.shape[-2:])
    sampled = _sampled(pictures, near[-2], near[-1])
    return sampled.reshape(*cells.shape[:-2], *sampled.shape[1:])


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


@dataclass(frozen=True)
class Placement:
    """The places of a map's cells in the picture.

    Attributes:
        input_index: which of the model's inputs is the picture, in flat order.
        image_size: sides of the picture in pixels, in the picture's own order: (H0, W0), (T0,), (D0, H0, W0).
        axes: for each axis of the map the picture axis that it moves along: (0, 1) normally, (1, 0) behind a Permute,
            -1 for an axis that is not a place (frequencies).
        scale: pixels per cell, for each axis of the map.
        start: pixel coordinate of the centre of cell 0, for each axis of the map; the first pixel's centre is 0.5.
        known_by: "tiles" (the cells are assumed to tile the picture), "arithmetic" (of receptive fields), "probes" (of
            perturbed pixels) or "measured" (from gradients).
        reach: for each axis of the map the stretch of pixels (from, to) that reaches the layer at all; None for the
            whole picture. A model that crops sees nothing outside of the crop: the map is zero there.
        frame: the index of the frame where the picture is one frame (H0, W0) of an input (T0, H0, W0, C), else None.
    """

    input_index: int
    image_size: tuple[int, ...]
    axes: tuple[int, ...]
    scale: tuple[float, ...]
    start: tuple[float, ...]
    known_by: Literal["tiles", "arithmetic", "probes", "measured"]
    reach: tuple[tuple[float, float], ...] | None = None
    frame: int | None = None

    @classmethod
    def tiles(cls, cells: Sequence[int], image_size: Sequence[int], input_index: int = 0) -> Placement:
        """Return the placement of cells that tile the picture, axis by axis."""
        scale = tuple(side / count for side, count in zip(image_size, cells, strict=True))
        start = tuple(pixels / 2 for pixels in scale)
        return cls(input_index, tuple(image_size), tuple(range(len(scale))), scale, start, "tiles")

    def centres(self, cells: Sequence[int]) -> list[NDArray[Any]]:
        """Return the pixel coordinates of the cells' centres, for each axis of the map."""
        axes = zip(self.start, self.scale, cells, strict=True)
        return [start + np.arange(count) * scale for start, scale, count in axes]

    def offset_of(self, cells: Sequence[int]) -> tuple[float, ...]:
        """Return the pixels from the middle of the picture to the middle of the map, for each axis of the map."""
        offsets = []
        for axis, scale, start, count in zip(self.axes, self.scale, self.start, cells, strict=True):
            side = self.image_size[axis] if axis >= 0 else scale * count
            is_tile = scale == side / count
            offsets.append(start - scale / 2 if is_tile else start + scale * (count - 1) / 2 - side / 2)
        return tuple(offsets)


@dataclass(frozen=True)
class Unplaced:
    """The reason why the places of a map's cells in the picture are not known.

    Attributes:
        input_index, image_size: as `Placement`.
        reason: a clause about the layer, such as "its axes are channels and rows".
    """

    input_index: int
    image_size: tuple[int, ...]
    reason: str


def plain_placement(
    cells: Sequence[int], input_shape: Sequence[int], input_index: int = 0, frame: int | None = None
) -> Placement | Unplaced:
    """Return tiles of an input (H0, W0, C), or (H0, W0) without an axis of channels, where the numbers of axes fit.

    Args:
        cells: (H, W).
        input_shape: of one image, without the batch axis.
        input_index, frame: as `Placement`; the map of one frame of (T0, H0, W0, C) is a map of (H0, W0).
    """
    shape = tuple(input_shape if frame is None else input_shape[1:])
    picture = shape if len(shape) <= len(cells) or len(shape) == 1 else shape[:-1]
    if len(picture) == len(cells):
        return replace(Placement.tiles(cells, picture, input_index), frame=frame)
    if tuple(cells) == picture[: len(cells)]:  # a step of time for each frame
        ones = (1.0,) * len(cells)
        return Placement(
            input_index, picture, tuple(range(len(cells))), ones, (0.5,) * len(cells), "tiles", None, frame
        )
    reason = f"they have the axes {tuple(cells)}, the input has {picture}"
    return Unplaced(input_index, picture, reason)


def place_maps(
    maps: np.ndarray, placement: Placement, size: Sequence[int] | None = None, only: NDArray[np.intp] | None = None
) -> Maps:
    """Resize maps to the picture, each cell at its place.

    Between the centres of cells, values are interpolated as by `resize_heatmaps`. Edge cells extend to the border of
    the picture, or of `placement.reach`, beyond which nothing reaches the layer and the map is zero. Along picture axes
    that the map does not move along, it repeats.

    Args:
        maps: (B, N) finite.
        placement: of their cells; all axes of more than one cell are places.
        size: sides in pixels of the result; None for the picture's own.
        only: the positions along the first axis of the result to compute; None for all.

    Returns:
        (B, N0) float32; where the cells tile the picture, exactly as `resize_heatmaps`.
    """
    axes, picture = placement.axes, placement.image_size
    if -1 in axes:  # of one cell
        maps = maps.squeeze(tuple(number for number, axis in enumerate(axes, 1) if axis < 0))
    sides = picture if size is None else check_sides(size, len(picture))
    chosen = [np.arange(side) for side in sides]
    if only is not None:
        chosen[0] = only
    reaches = placement.reach or ((-math.inf, math.inf),) * len(axes)
    rows = [row for row in zip(axes, placement.scale, placement.start, reaches, strict=True) if row[0] >= 0]
    near = []
    for count, (axis, scale, start, _) in zip(maps.shape[1:], rows, strict=True):
        whole = _placed(count, sides[axis], picture[axis], scale, start)
        near.append(_Neighbours._make(values[chosen[axis]] for values in whole) if axis == 0 else whole)
    placed = _sampled_maps(maps, near)
    for number, (axis, *_, (first, last)) in enumerate(rows):
        centres = (chosen[axis] + 0.5) * picture[axis] / sides[axis]
        is_outside = (centres < first) | (centres > last)
        placed[(slice(None),) * (number + 1) + (is_outside,)] = 0
    placed = placed.transpose(0, *(np.argsort([row[0] for row in rows]) + 1))
    missing = tuple(axis + 1 for axis in range(len(picture)) if axis not in axes)
    if missing:
        lengths = map(len, chosen)
        placed = np.broadcast_to(np.expand_dims(placed, missing), (len(maps), *lengths)).copy()
    return placed


def _placed(cells: int, pixels: int, side: int, scale: float, start: float) -> _Neighbours:
    """Return the cells around each of `pixels` pixels of an axis that has `side` pixels in the model's input."""
    if scale == side / cells:  # tiles, shifted or not: the arithmetic of `resize_heatmaps`, equal in every bit
        return _neighbours(cells, pixels, (start - scale / 2) * pixels / side)
    # Counted from the middle in exact steps, so that mirrored pixels have the same two weights.
    middle = (side / 2 - start) / scale - (cells - 1) / 2
    from_middle = (np.arange(pixels) + 0.5 - pixels / 2) * (side / pixels / scale) + middle
    return _neighbours_of((cells - 1) / 2 + np.round(from_middle * _STEPS) / _STEPS, cells)


def placement_matrices(cells: Sequence[int], placement: Placement) -> list[NDArray[np.float64]]:
    """Return for each axis of a map the matrix (pixels, cells) by which `place_maps` brings it to the picture's size.

    Args:
        cells: (H, W).
        placement: of the cells; all axes are places.
    """
    reaches = placement.reach or ((-math.inf, math.inf),) * len(placement.axes)
    matrices = []
    rows = zip(cells, placement.axes, placement.scale, placement.start, reaches, strict=True)
    for count, axis, scale, start, (first, last) in rows:
        side = placement.image_size[axis]
        matrix = _matrix(_placed(count, side, side, scale, start), count)
        centres = np.arange(side) + 0.5
        matrix[(centres < first) | (centres > last)] = 0
        matrices.append(matrix)
    return matrices


def sample_maps(maps: np.ndarray, positions: Sequence[NDArray[Any]]) -> Maps:
    """Return maps (B, N) interpolated at positions in cells along each axis; a map that is not finite becomes NaN."""
    is_finite = np.isfinite(maps)
    near = [_neighbours_of(position, count) for position, count in zip(positions, maps.shape[1:], strict=True)]
    sampled = _sampled_maps(np.where(is_finite, maps, 0), near)
    sampled[~is_finite.all(axis=tuple(range(1, maps.ndim)))] = np.nan
    return sampled
