"""Maps of any number of spatial axes, brought to one scale and to one grid. NumPy only.

Axis legend: B batch, N cells of the layer (any number of spatial axes: T, H x W, D x H x W), N0 the same of the input.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_gradcam.image.resize import check_size, resize_heatmaps

Maps = NDArray[np.float32]

_EXAMPLES = {1: "(length,), such as (1000,)", 3: "(depth, height, width), such as (32, 128, 128)"}


def positive_share(raw: np.ndarray) -> Maps:
    """relu, then each map divided by its maximum; a map without a positive finite maximum is zero.

    Args:
        raw: (B, N) float32.

    Returns:
        (B, N) float32 in [0, 1].
    """
    return _share(np.maximum(raw, 0), raw)


def signed_share(raw: np.ndarray) -> Maps:
    """Each map divided by its largest absolute value; a map that is not finite, or zero, is zero.

    Args:
        raw: (B, N) float32.

    Returns:
        (B, N) float32 in [-1, 1]; the sign is that of `raw`, zero stays zero.
    """
    return _share(raw, raw)


def _share(values: np.ndarray, raw: np.ndarray) -> Maps:
    axes = tuple(range(1, raw.ndim))
    peaks = np.abs(values).max(axis=axes, keepdims=True)
    good = np.isfinite(raw).all(axis=axes, keepdims=True) & (peaks > 0)
    shares = np.zeros(raw.shape, np.float32)
    return np.divide(values, peaks, out=shares, where=np.broadcast_to(good, raw.shape), casting="same_kind")


def resize_maps(maps: np.ndarray, size: Sequence[int], offset: Sequence[float] | None = None) -> Maps:
    """Maps at another size along every spatial axis: as `resize_heatmaps`, whatever the number of axes.

    Linear along each axis, half-pixel centres, edges replicated; mirrored maps give mirrored results bit for bit, no
    value leaves the range of its map, and the same size is the identity.

    Args:
        maps: (B, N) finite numbers, at least one spatial axis.
        size: one positive integer per spatial axis.
        offset: one number per spatial axis, in units of the result, by which maps are shifted towards higher indices.

    Returns:
        (B, N0) float32. Beside it, one map at a time is held in float64.

    Raises:
        ValueError: another number of sides than of spatial axes, no positive integers, or maps that are not finite.
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
    """One map: all axes but the last two one by one, those two as a picture; a signal is a picture of one row."""
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
    """`rank` positive integers, or a ValueError that says so."""
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
