"""Where the cells of a layer lie in the picture: arithmetic along the graph, and probes where that does not know.

Axis legend: B batch, H x W cells of the layer (any number of spatial axes), T tokens, C channels, H0 x W0 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import tensorflow as tf

from tf_gradcam._models.axes import BATCH, Axis, AxisTrace, Factor, InputAxis, Traced, is_place, size_of
from tf_gradcam._models.reader import ModelInputs
from tf_gradcam.image.resize import Placement, Unplaced, plain_placement

Shapes: TypeAlias = tuple[tuple[int, ...], ...]  # of the inputs, without the batch axis

_BATCH_SIZE = 1009  # of traces: with a known size TensorFlow knows all shapes; a prime, unlike any other axis
_DEFAULT_SIDE = 224  # pixels, where the model takes any size


@dataclass(frozen=True)
class Cells:
    """Cells whose axes are places in one picture.

    Attributes:
        axes: for each axis of the map how it moves along an input; None for an axis of one cell, a factor without
            source for frequencies of a signal.
        prefix: number of tokens before those of the grid where tokens (B, T, C) have rows and columns, else None.
        chosen: pixel coordinate on each axis of the input that has one index left, such as the frame of a video.
        channels_first: whether the layer is (B, C, ...).
        known_by: as in `Placement`.
    """

    axes: tuple[Factor | None, ...]
    prefix: int | None = None
    chosen: dict[InputAxis, float] = field(default_factory=dict)
    channels_first: bool = False
    known_by: Literal["arithmetic", "probes"] = "arithmetic"

    @property
    def sources(self) -> list[InputAxis]:
        return [axis.source for axis in self.axes if axis is not None and axis.source is not None]


def traced_axes(view: Any, specs: Sequence[Any]) -> list[Traced | None]:
    """Return the axes of every call of a view (a graph or a watched model), for inputs of the shapes in `specs`."""
    shapes = sizes_of(specs)
    if shapes not in view.axes:
        view.axes[shapes] = _traced(view.symbolic, specs, shapes) or [Traced(None)] * len(view.calls)
    return view.axes[shapes]


def are_signals(shapes: Shapes) -> bool:
    """Return whether no input has two axes beside channels."""
    return all(len(shape) <= 2 for shape in shapes)


def sizes_of(specs: Sequence[Any]) -> Shapes:
    return tuple(tuple(side or _DEFAULT_SIDE for side in spec.shape[1:]) for spec in specs)


def axes_behind(extract: Callable[[list[Any]], list[Any]], specs: Sequence[Any], shapes: Shapes) -> Traced | None:
    """Return the axes of the activations of an extractor, see `SplitModel`."""
    traced = _traced(lambda specs: _symbolic(extract, specs), specs, shapes)
    return Traced(None) if traced is None else traced[0]


def _symbolic(extract: Callable[[list[Any]], list[Any]], specs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    traced: list[list[Any]] = []

    def run(*inputs: Any) -> None:
        traced.extend([list(inputs), extract(list(inputs))[:1]])

    tf.function(run, autograph=False).get_concrete_function(*specs)
    return traced[0], traced[1]


def _traced(
    symbolic: Callable[[Sequence[Any]], Any], specs: Sequence[Any], shapes: Shapes
) -> list[Traced | None] | None:
    for batch in (_BATCH_SIZE, None):  # a model that only takes batches of its own size is traced without one
        sized = [tf.TensorSpec((batch, *shape), spec.dtype) for spec, shape in zip(specs, shapes, strict=True)]
        try:
            inputs, tensors, *_ = symbolic(sized)
        except Exception:  # whatever the model raises at this size
            continue
        trace = AxisTrace(inputs)
        return [trace.of(tensor) for tensor in tensors]
    return None


def cells_of(traced: Traced | None, is_signal: bool = False) -> Cells | str | None:
    """Return the cells of a layer (B, ..., C), the reason why they are not places, or None where that is not known.

    Of a signal, one axis that follows its samples is enough: the other one may be frequencies.
    """
    if traced is None:
        return "it does not depend on the input"
    if traced.axes is None:
        return None
    batch, *axes = traced.axes
    if len(batch) != 1 or batch[0].source != BATCH:
        return "its first axis counts windows or frames, not images alone"
    cells = _cells(axes[:-1], axes[-1], traced, is_signal)
    if isinstance(cells, str) and not isinstance(first := _cells(axes[1:], axes[0], traced, False), str):
        return replace(first, channels_first=True)
    return cells


def _cells(axes: list[Axis], channels: Axis, traced: Traced, is_signal: bool) -> Cells | str:
    prefix = None
    if len(axes) == 1:
        (tokens,) = axes
        if len(tokens) == 1 and tokens[0].joined is not None:
            prefix, tokens = tokens[0].joined
        if len(tokens) == 2:
            prefix, axes = prefix or 0, [tokens[:1], tokens[1:]]
        elif prefix is not None:
            axes = [tokens]
    factors: list[Factor | None] = []
    for number, axis in enumerate(axes, 1):
        one = axis[0] if len(axis) == 1 else None
        if axis and (one is None or one.source in (None, BATCH) or one.is_inner):
            if not is_signal or is_place(axis):
                return _NO_PLACE.format(number)
            one = Factor(size_of(axis))
        factors.append(one)
    cells = Cells(tuple(factors), prefix, traced.chosen)
    if not cells.sources:
        return _NO_PLACE.format(1)
    if len({source[0] for source in cells.sources}) > 1 or len(set(cells.sources)) < len(cells.sources):
        return "its axes do not move along different axes of one picture"
    if any(factor is not None and factor.source is not None and factor.step <= 0 for factor in factors):
        return "its cells run backwards along the picture"
    if any(factor.source in cells.sources or factor.joined for factor in channels):
        return "its last axis holds places of the picture too, not channels"
    return cells


_NO_PLACE = "the cells of its axis {} do not follow places in the picture"


def placement_of(cells: Cells, counts: Sequence[int], shapes: Shapes) -> Placement:
    """Return the placement of a map of `counts` cells on the inputs of `shapes`."""
    index = cells.sources[0][0]
    shape, used = shapes[index], [axis - 1 for _, axis in cells.sources]
    picture = list(range(len(shape)))
    if len(shape) - 1 not in used:
        picture.pop()  # channels last
    elif len(shape) > 1 and 0 not in used:
        picture = sorted(used)  # channels first, or frames
    frame = None
    at = cells.chosen.get((index, 1))
    if at is not None and len(picture) == 3 and 0 not in used:  # one frame of a video
        picture, frame = picture[1:], int(at)
    free = [axis for axis in picture if axis not in used]
    rows = []  # axis of the picture, scale, start and reach of each axis of the map
    for count, cell in zip(counts, cells.axes, strict=True):
        if cell is None and free:
            axis = free.pop(0)
            cell = Factor(count, (index, axis + 1), shape[axis] / count, shape[axis] / 2)
        if cell is None or cell.source is None:
            rows.append((-1, 1.0, 0.5, (0.0, float(count))))
            continue
        side = shape[cell.source[1] - 1]
        scale, start = cell.step, cell.at(0)
        if math.isclose(scale, side / count) and math.isclose(start, side / count / 2):
            scale, start = side / count, side / count / 2
        reach = (max(0.0, cell.cover[0]), min(float(side), cell.cover[1]))
        rows.append((picture.index(cell.source[1] - 1), scale, start, reach))
    axes, scales, starts, reaches = zip(*rows, strict=True)
    sides = tuple(shape[axis] for axis in picture)
    is_whole = all(axis < 0 or reach == (0.0, sides[axis]) for axis, reach in zip(axes, reaches, strict=True))
    return Placement(index, sides, axes, scales, starts, cells.known_by, None if is_whole else reaches, frame)


def place(
    cells_for: Callable[[Shapes], Cells | str | None],
    counts: Sequence[int],
    arrays: Sequence[Any],
    index: int,
    frame: int | None = None,
) -> Placement | Unplaced:
    """Return where the cells of a map lie in the picture, or why that is not known.

    Args:
        cells_for: `SplitModel.cells` of the layer, for inputs of given shapes.
        counts: number of cells along each axis of the map.
        arrays: the model's inputs, in flat order.
        index: which of them is the picture where nothing is known of the cells.
        frame: of a clip, likewise.
    """
    shapes = tuple(tuple(map(int, array.shape[1:])) for array in arrays)
    plain = plain_placement(counts, shapes[index], index, frame)
    cells = cells_for(shapes)
    if isinstance(cells, str):
        return Unplaced(index, plain.image_size, cells)
    if cells is None or len(cells.axes) != len(counts):
        return plain
    return placement_of(cells, counts, shapes)


_PROBES = 24  # pictures with one changed spot
_SPOT = 1 / 32  # of the picture's sides
_FEWEST = 8  # spots that move a cell; those outside of a crop do not
_SURE, _UNSURE = 0.8, 0.5  # share of the spots' variance that a place explains


def probe(
    extract: Callable[[list[Any]], list[Any]], inputs: ModelInputs, shapes: Shapes | None = None
) -> Cells | str | None:
    """Return the cells of a layer by changing one spot of a picture of noise at a time and seeing which cells move.

    Mixing over the whole picture (attention, squeeze and excitation) moves all cells a little, so each spot counts at
    the cell that moves most. An axis is a place if the spots' positions along one axis of the picture explain it.

    Args:
        extract: flat inputs -> [activations (B, H, W, C), ...].
        inputs: of the model.
        shapes: of the inputs, without the batch axis; None for their own.

    Returns:
        The cells; the reason why they are not places; None if that cannot be told: no or too few cells move, whole
        numbers as input, or moves that are neither.
    """
    specs, index = inputs.specs, inputs.image_index
    shapes = shapes or sizes_of(specs)
    if not specs[index].dtype.is_floating:
        return None
    generator = np.random.default_rng(0)
    picture = shapes[index][:-1] or shapes[index]
    sides = [max(1, round(side * _SPOT)) for side in picture]
    corners = generator.integers(np.subtract(picture, sides) + 1, size=(_PROBES, len(picture)))
    batch = [np.repeat(generator.uniform(size=(1, *shape)), 1 + _PROBES, axis=0) for shape in shapes]
    for number, corner in enumerate(corners, 1):
        spot = tuple(slice(at, at + length) for at, length in zip(corner, sides, strict=True))
        values = batch[index][number][spot]
        values += 1.0 - 2.0 * (values > 0.5)
    tensors = [tf.cast(array, spec.dtype) for array, spec in zip(batch, specs, strict=True)]
    try:
        activations = np.asarray(tf.cast(extract(tensors)[0], tf.float32))
    except Exception:  # whatever the model raises for noise
        return None
    moves = np.abs(activations[1:] - activations[:1]).sum(axis=-1, dtype=np.float64)
    counts = moves.shape[1:]
    flat = moves.reshape(_PROBES, -1)
    peaks = flat.max(axis=1)
    seen = np.isfinite(peaks) & (peaks > 1e-6 * max(float(np.abs(activations[0]).sum(axis=-1).max()), 1e-12))
    if seen.sum() < _FEWEST:
        return None
    cells = np.stack(np.unravel_index(flat.argmax(axis=1), counts), axis=1)[seen]
    spots = (corners + np.divide(sides, 2))[seen]
    axes: list[Factor | None] = []
    for number, count in enumerate(counts):
        if count == 1:
            axes.append(None)
            continue
        fits = [_fit(spots[:, axis], cells[:, number]) for axis in range(len(picture))]
        best = int(np.argmax([explained for explained, *_ in fits]))
        explained, step, start = fits[best]
        if explained < _SURE or step <= 0:
            return None if explained > _UNSURE and step > 0 else _NO_PLACE.format(number + 1)
        tile, middle = picture[best] / count, start + step * (count - 1) / 2
        if abs(step * count - picture[best]) < 2 * tile and abs(middle - picture[best] / 2) < tile:
            step, middle = tile, picture[best] / 2  # within the error of probes
        axes.append(Factor(count, (index, best + 1), step, middle, cover=(0.0, float(picture[best]))))
    result = Cells(tuple(axes), known_by="probes")
    if not result.sources or len(set(result.sources)) < len(result.sources):
        return "its axes do not move along different axes of one picture"
    return result


def _fit(spots: np.ndarray, cells: np.ndarray) -> tuple[float, float, float]:
    """Return how well cells = (spots - start) / step holds: the explained share of the variance, step and start."""
    slope, spread = np.cov(spots, cells, bias=True)[0, 1], spots.var() * cells.var()
    if spread == 0 or slope == 0:
        return 0.0, 0.0, 0.0
    step = spots.var() / slope
    return float(slope**2 / spread), float(step), float(spots.mean() - step * cells.mean())
