"""The axes of a picture, followed through a TensorFlow graph: receptive fields by arithmetic.

Every axis of a tensor is a product of *factors*, the outermost first: `(B, 64, C)` tokens of an 8 x 8 grid have the
factors rows and columns on axis 1. A factor moves along one axis of one input by a number of pixels per index, or is
not a place (channels, attention heads, learned tokens). Convolution, pooling, slices, reshapes, transposes and products
keep factors or end them, exactly; an operation that is not known here leaves its results unknown.

Positions follow the true receptive fields, with one exception: the shift of asymmetric `same` padding is left out, for
which training makes up (see `alignment`). Padding counts as `same` where it is smaller than the kernel that reads it.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tensorflow.python.framework import tensor_util

from tf_gradcam._models.keras_internals import graph_called_by

InputAxis = tuple[int, int]  # (which input, which of its axes)

BATCH: InputAxis = (-1, 0)
_FREE_BATCH = 1_000_003  # stands for a free batch size: a prime, so that no other axis has it as a factor


@dataclass(frozen=True)
class Factor:
    """Indices that move along one axis of an input, or that are not places (`source` is None).

    Attributes:
        size: number of indices.
        source: the axis of an input that they move along.
        step: pixels per index.
        middle: pixel coordinate of the middle of all indices, the first pixel's centre is 0.5.
        field: width of the receptive field in pixels.
        cover: the stretch of pixels (from, to) that reaches the tensor.
        is_inner: whether the indices lie within a patch: the patches are another factor.
        padding: padded indices before and after, until a window reads them.
        dilation: set between `SpaceToBatchND` and `BatchToSpaceND`.
        joined: (number of prefix tokens, factors behind them), where tokens of other kinds stand before the places.
    """

    size: int
    source: InputAxis | None = None
    step: float = 0.0
    middle: float = 0.0
    field: float = 1.0
    cover: tuple[float, float] = (-math.inf, math.inf)
    is_inner: bool = False
    padding: tuple[int, int] = (0, 0)
    dilation: int = 1
    joined: tuple[int, tuple[Factor, ...]] | None = None

    def at(self, index: float) -> float:
        """Return the pixel coordinate of an index."""
        return self.middle + self.step * (index - (self.size - 1) / 2)


Axis = tuple[Factor, ...]


@dataclass(frozen=True)
class Traced:
    """The axes of a tensor that depends on an input.

    Attributes:
        axes: factors of each axis; None where an unknown operation came before.
        is_recurrent: whether a loop over time came before.
        chosen: pixel coordinates on axes that a slice has left at one index, as a frame of a video.
    """

    axes: tuple[Axis, ...] | None
    is_recurrent: bool = False
    chosen: dict[InputAxis, float] = field(default_factory=dict)


class AxisTrace:
    """The axes of all tensors of a graph.

    Args:
        inputs: symbolic tensors of the model's inputs, only the batch size unknown.
    """

    def __init__(self, inputs: Sequence[Any]):
        self._known: dict[int, Traced] = {}  # id(tensor); a tensor without entry is a constant
        graph = inputs[0].graph
        for index, tensor in enumerate(inputs):
            batch, *sides = tensor.shape
            axes = [Factor(side, (index, axis), 1.0, side / 2, 1.0, (0.0, side)) for axis, side in enumerate(sides, 1)]
            if len(sides) > 2 and sides[-1] < min(sides[:-1]):
                axes[-1] = Factor(sides[-1])  # channels
            batch_axis = Factor(batch or _FREE_BATCH, BATCH, 1.0)
            self._known[id(tensor)] = Traced(tuple((factor,) for factor in (batch_axis, *axes)))
        self._follow(graph)

    def of(self, tensor: Any) -> Traced | None:
        """Return the axes of a tensor of the graph; None if it depends on no input."""
        return self._known.get(id(tensor))

    def _follow(self, graph: Any) -> None:
        for op in graph.get_operations():  # in the order of creation, sources first
            if op.type in _CONSTANT or not any(id(tensor) in self._known for tensor in op.inputs):
                continue
            traced = [self._known.get(id(tensor)) for tensor in op.inputs]
            present = [item for item in traced if item is not None]
            is_recurrent = op.type in _LOOPS or any(item.is_recurrent for item in present)
            chosen = _agreed(present)
            if op.type in _CALLS:
                results = self._called(op, traced)
            elif op.type in _RULES and all(item.axes is not None for item in present):
                results = _by_rule(op, traced)
            elif _ELEMENTWISE.fullmatch(op.type) and any(item.axes is not None for item in present):
                # A residual branch around an unknown operation keeps the places.
                results = _by_rule(op, traced)
            else:
                results = [None] * len(op.outputs)
            for output, result in zip(op.outputs, results, strict=False):
                extra = {}
                if isinstance(result, tuple) and result and isinstance(result[0], dict):
                    extra, result = result
                known = Traced(result, is_recurrent, {**chosen, **extra})
                self._known[id(output)] = known if _fits(result, output) else replace(known, axes=None)

    def _called(self, op: Any, traced: Sequence[Traced | None]) -> list[Any]:
        """Follow a function that is called in the graph."""
        inner = graph_called_by(op)
        if inner is None:
            return [None] * len(op.outputs)
        for tensor, known in zip(inner.inputs, traced, strict=True):
            if known is not None:
                self._known[id(tensor)] = known
        self._follow(inner)
        results = [self._known.get(id(tensor)) for tensor in inner.outputs]
        return [None if item is None else item.axes for item in results]


def _agreed(traced: Iterable[Traced]) -> dict[InputAxis, float]:
    """Return the positions that all tensors with a position along an axis share."""
    chosen: dict[InputAxis, set[float]] = {}
    for item in traced:
        for source, position in item.chosen.items():
            chosen.setdefault(source, set()).add(position)
    return {source: positions.pop() for source, positions in chosen.items() if len(positions) == 1}


def size_of(axis: Axis) -> int:
    return math.prod(factor.size for factor in axis)


def _fits(axes: Any, output: Any) -> bool:
    """Return whether axes have the sizes that the graph states."""
    if axes is None or output.shape.rank is None or output.shape.rank != len(axes):
        return False
    is_divided = any(factor.dilation > 1 for axis in axes for factor in axis)
    return is_divided or all(side in (None, size_of(axis)) for axis, side in zip(axes, output.shape, strict=True))


def _no_place(size: int) -> Axis:
    return (Factor(size),) if size > 1 else ()


def is_place(axis: Axis) -> bool:
    return any(factor.source is not None or factor.joined is not None for factor in axis)


def _single(axis: Axis) -> Factor | None:
    """Return the one factor of an axis that moves along a picture, or None."""
    return axis[0] if len(axis) == 1 and axis[0].source is not None else None


def _simplified(factors: Iterable[Factor]) -> Axis:
    """Join neighbours that together move evenly: the two parts of a split axis, and copies of one place."""
    result: list[Factor] = []
    for factor in factors:
        if factor.size == 1 and factor.source is None and factor.joined is None:
            continue
        last = result[-1] if result else None
        if last is not None and last.source is not None and last.joined is None and last.source != BATCH:
            is_rest = (
                factor.source == last.source
                and factor.is_inner
                and math.isclose(last.step, factor.step * factor.size, rel_tol=1e-9)
            )
            is_copy = factor.source is None and factor.joined is None
            if is_rest or is_copy:
                step = last.step / factor.size
                result[-1] = replace(last, size=last.size * factor.size, step=step)
                continue
        result.append(factor)
    return tuple(result)


def _regrouped(factors: Sequence[Factor], sizes: Sequence[int]) -> tuple[Axis, ...] | None:
    """Return the factors of a tensor, row-major, as axes of other sizes; None if they cannot be split so."""
    left = [factor for factor in factors if factor.size > 1]
    axes: list[Axis] = []
    for size in sizes:
        group: list[Factor] = []
        while size > 1:
            if not left:
                return None
            factor = left.pop(0)
            if size % factor.size == 0:
                group.append(factor)
                size //= factor.size
                continue
            if factor.size % size or factor.joined is not None:
                return None
            inner = factor.size // size  # the outer part belongs here, the inner one to the next axis
            group.append(replace(factor, size=size, step=factor.step * inner, padding=(0, 0)))
            left.insert(0, replace(factor, size=inner, middle=0.0, is_inner=True, padding=(0, 0)))
            size = 1
        axes.append(_simplified(group))
    return None if left else tuple(axes)


def _merged(axes: Sequence[Axis], size: int) -> Axis:
    """Return the axis of a sum or product of tensors, each broadcast to `size`."""
    places = [axis for axis in axes if is_place(axis) and size_of(axis) == size]
    if not places:
        return _no_place(size)
    alike = [axis for axis in places if [factor.size for factor in axis] == [factor.size for factor in places[0]]]
    branches = [_branched(factors) for factors in zip(*alike, strict=True)]
    return _no_place(size) if None in branches else tuple(factor for factor in branches if factor is not None)


def _branched(factors: Sequence[Factor]) -> Factor | None:
    """Return a factor of several branches, between their places; None if they move along different axes."""
    places = [factor for factor in factors if factor.source is not None or factor.joined is not None]
    first = places[0] if places else factors[0]
    if first.source is None or all(factor == first for factor in places):
        return first
    places = [factor for factor in places if factor.source is not None and factor.source[0] == first.source[0]]
    if any(one.source != first.source or not math.isclose(one.step, first.step, rel_tol=1e-6) for one in places):
        return None
    return replace(
        first,
        middle=sum(one.middle for one in places) / len(places),
        field=max(one.field for one in places),
        cover=(min(one.cover[0] for one in places), max(one.cover[1] for one in places)),
    )


def _window(axis: Axis, kernel: int, stride: int, dilation: int, count: int, pads: tuple[int, int] | None) -> Axis:
    """Return an axis behind windows of a convolution or pooling; `pads` is None for `same` padding."""
    if kernel == stride == 1 and pads in (None, (0, 0)):
        return axis
    one = _single(axis)
    if one is None or one.source == BATCH:
        return _no_place(count)
    reach = (kernel - 1) * dilation * one.dilation + 1
    count = one.size - reach + 1 if one.dilation > 1 else count
    if pads is not None:
        one = _padded_factor(one, *pads)
        before, after = one.padding
        # A window smaller than the stride counts with the pixels that it skips.
        length = max(reach, stride)
        excess = (count - 1) * stride + length - one.size
        if max(before, after) < length and after + excess >= 0:
            shift = (before - after) / 2  # `same` padding: the middle of what is not padded
        else:
            shift = (stride * (count - 1) + length - one.size) / 2
        one = replace(one, middle=one.middle + one.step * shift)
    width = one.field + (reach - 1) * abs(one.step)
    return (replace(one, size=count, step=one.step * stride, field=width, padding=(0, 0)),)


def _padded_factor(one: Factor, before: int, after: int) -> Factor:
    padding = (one.padding[0] + before, one.padding[1] + after)
    middle = one.middle + one.step * (after - before) / 2
    return replace(one, size=one.size + before + after, middle=middle, padding=padding)


def _padded(axis: Axis, before: int, after: int) -> Axis:
    before, after = int(before), int(after)
    if not before and not after:
        return axis
    one = _single(axis)
    return _no_place(size_of(axis) + before + after) if one is None else (_padded_factor(one, before, after),)


def _sliced(axis: Axis, begin: int, count: int, stride: int = 1) -> Axis:
    size = size_of(axis)
    if begin == 0 and count == size and stride == 1:
        return axis
    one = _single(axis)
    if one is not None and one.source != BATCH:
        ends = sorted((one.at(begin), one.at(begin + (count - 1) * stride)))
        margin = one.field / 2 + abs(one.step) * (abs(stride) - 1)
        cover = (max(one.cover[0], ends[0] - margin), min(one.cover[1], ends[1] + margin))
        middle = one.at(begin + (count - 1) * stride / 2)
        padding = (0, 0)
        if any(one.padding) and stride == 1:  # what is padded on one side and cropped on the other
            padding = (one.padding[0] - begin, one.padding[1] - (size - begin - count))
        return (replace(one, size=count, step=one.step * stride, middle=middle, cover=cover, padding=padding),)
    if len(axis) == 1 and axis[0].joined is not None and stride == 1:
        prefix, factors = axis[0].joined
        if begin <= prefix and begin + count == size == prefix + size_of(factors):
            return factors if begin == prefix else (Factor(count, joined=(prefix - begin, factors)),)
    return _no_place(count)


# Rules: operation, axes of each input (of constants none are places), the inputs as traced -> axes of the output, or a
# list of them for several outputs. Axes may come with the positions of a slice that leaves an axis at one index:
# ({source: position}, axes).
Axes = tuple[Axis, ...]
AxisRule = Callable[[Any, Sequence[Axes], Sequence[Traced | None]], Any]


def _by_rule(op: Any, traced: Sequence[Traced | None]) -> list[Any]:
    try:
        axes = [_axes(item, tensor) for item, tensor in zip(traced, op.inputs, strict=True)]
        results = _RULES.get(op.type, _elementwise)(op, axes, traced)
    except (_UnknownError, ValueError, IndexError, TypeError, KeyError, AttributeError):
        return [None] * len(op.outputs)
    return results if isinstance(results, list) else [results]


class _UnknownError(Exception):
    """An operation that depends on values which the graph does not state."""


def _constant(tensor: Any) -> np.ndarray:
    value = tensor_util.constant_value(tensor)
    if value is None and tensor.op.type in _FOLDED:
        value = _FOLDED[tensor.op.type](*map(_constant, tensor.op.inputs))
    if value is None:
        raise _UnknownError
    return np.asarray(value)


# Operations on indices that TensorFlow does not fold, such as those of frames of a signal.
_FOLDED: dict[str, Callable[..., Any]] = {
    **{"AddV2": np.add, "Sub": np.subtract, "Mul": np.multiply, "FloorDiv": np.floor_divide, "Maximum": np.maximum},
    **{"Reshape": np.reshape, "Range": np.arange, "Pack": lambda *values: np.stack(values)},
}


def _axes(traced: Traced | None, tensor: Any) -> Axes:
    if traced is not None and traced.axes is not None:
        return traced.axes
    return tuple(_no_place(side or 1) for side in tensor.shape)


def _elementwise(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Axes:
    places = range(op.outputs[0].shape.rank, 0, -1)  # shapes are aligned on the right
    return tuple(_broadcast([of[-place] for of in axes if len(of) >= place]) for place in places)


def _broadcast(parts: Sequence[Axis]) -> Axis:
    return _merged(parts, max(map(size_of, parts)))


def _spatial(op: Any, rank: int) -> range:
    return range(2, rank) if _is_channels_first(op) else range(1, rank - 1)


def _is_channels_first(op: Any) -> bool:
    return bool(op.node_def.attr["data_format"].s.startswith(b"NC"))


def _with_channels(op: Any, axes: list[Axis]) -> Axes:
    """Return axes with new channels."""
    axis = 1 if _is_channels_first(op) else -1
    axes[axis] = _no_place(op.outputs[0].shape[axis])
    return tuple(axes)


def _pads(op: Any, axis: int) -> tuple[int, int] | None:
    padding = op.get_attr("padding").decode()
    if padding != "EXPLICIT":
        return None if padding == "SAME" else (0, 0)
    explicit = op.get_attr("explicit_paddings")
    return int(explicit[2 * axis]), int(explicit[2 * axis + 1])


def _windows(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Axes:
    """Follow a convolution, a pooling, or patches as channels."""
    result, attributes = list(axes[0]), op.node_def.attr
    lengths = next((op.get_attr(name) for name in ("ksize", "ksizes") if name in attributes), None)
    dilations = next((op.get_attr(name) for name in ("dilations", "rates") if name in attributes), [1] * len(result))
    for number, axis in enumerate(_spatial(op, len(result))):
        length = lengths[axis] if lengths else op.inputs[1].shape[number]
        stride, count = op.get_attr("strides")[axis], op.outputs[0].shape[axis]
        result[axis] = _window(result[axis], length, stride, dilations[axis], count, _pads(op, axis))
    return tuple(result) if "ksize" in attributes else _with_channels(op, result)


def _transposed(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Axes:
    """Follow a transposed convolution: the windows of its output are the cells of its input."""
    result = list(axes[2])
    strides, dilations = op.get_attr("strides"), op.get_attr("dilations")
    for number, axis in enumerate(_spatial(op, len(result))):
        one, count = _single(result[axis]), op.outputs[0].shape[axis]
        if one is None:
            result[axis] = _no_place(count)
            continue
        # Windows on an axis of one pixel per index tell where the cells of the input lie in the output.
        ruler = (Factor(count, (0, 0), 1.0, (count - 1) / 2),)
        reach, pads = op.inputs[1].shape[number], _pads(op, axis)
        (cells,) = _window(ruler, reach, strides[axis], dilations[axis], one.size, pads) or ruler
        step = one.step / strides[axis]
        middle = one.middle - step * (cells.middle - (count - 1) / 2)
        width = one.field + abs(one.step)
        result[axis] = (replace(one, size=count, step=step, middle=middle, field=width, padding=(0, 0)),)
    return _with_channels(op, result)


def _scaled(axis: Axis, count: int, ratio: float, shift: float = 0.0) -> Axis:
    """Return an axis of `count` indices that are `ratio` old ones apart."""
    one = _single(axis)
    if one is None:
        return _no_place(count)
    middle = one.middle - one.step * shift
    return (replace(one, size=count, step=one.step * ratio, middle=middle, padding=(0, 0)),)


def _resize(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Axes:
    result, names = list(axes[0]), op.node_def.attr
    corners = names["align_corners"].b
    is_centred = names["half_pixel_centers"].b or corners or op.type == "ScaleAndTranslate"
    for axis in (1, 2):
        size, count = size_of(result[axis]), op.outputs[0].shape[axis]
        ratio = (size - 1) / (count - 1) if corners and count > 1 else size / count
        # Old versions left index 0 at index 0.
        result[axis] = _scaled(result[axis], count, ratio, 0.0 if is_centred else (ratio - 1) / 2)
    return tuple(result)


def _shuffle(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Axes:
    """Follow squares of pixels that become channels, or come from them."""
    result = list(axes[0])
    for axis in _spatial(op, 4):
        count = op.outputs[0].shape[axis]
        result[axis] = _scaled(result[axis], count, size_of(result[axis]) / count)
    return _with_channels(op, result)


def _reshape(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Axes:
    factors = [factor for axis in axes[0] for factor in axis]
    total, sizes = math.prod(factor.size for factor in factors), list(op.outputs[0].shape)
    if sizes.count(None) == 1:
        sizes[sizes.index(None)] = total // math.prod(size for size in sizes if size is not None)
    if None in sizes or math.prod(sizes) != total:
        raise _UnknownError
    grouped = _regrouped(factors, sizes)
    return tuple(map(_no_place, sizes)) if grouped is None else grouped


def _inserted(axes: Sequence[Axis], place: int, axis: Axis) -> Axes:
    place = place if place >= 0 else len(axes) + 1 + place
    return (*axes[:place], axis, *axes[place:])


def _squeeze(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Axes:
    shape, named = op.inputs[0].shape, {axis % len(axes[0]) for axis in op.get_attr("squeeze_dims")}
    return tuple(a for n, a in enumerate(axes[0]) if (n not in named if named else shape[n] != 1))


def _reduce(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Axes:
    gone = {int(axis) % len(axes[0]) for axis in np.atleast_1d(_constant(op.inputs[1]))}
    keep = op.type not in ("ArgMax", "ArgMin") and op.get_attr("keep_dims")
    return tuple(() if number in gone else axis for number, axis in enumerate(axes[0]) if keep or number not in gone)


def _tile(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Axes:
    sides = [side or size_of(axis) for axis, side in zip(axes[0], op.outputs[0].shape, strict=True)]
    return tuple(a if size_of(a) == side else _no_place(side) for a, side in zip(axes[0], sides, strict=True))


def _slice(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Axes:
    rows = zip(axes[0], map(int, _constant(op.inputs[1])), map(int, _constant(op.inputs[2])), strict=True)
    return tuple(_sliced(a, begin, size_of(a) - begin if n < 0 else n) for a, begin, n in rows)


def _strided_slice(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Any:
    left = list(axes[0])
    begins, ends, strides = (_constant(tensor) for tensor in op.inputs[1:4])
    masks = {name: op.get_attr(f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    bits = [{name for name, mask in masks.items() if mask >> number & 1} for number in range(len(begins))]
    result: list[Axis] = []
    chosen: dict[InputAxis, float] = {}
    for number, flags in enumerate(bits):
        if "ellipsis" in flags:
            result += [left.pop(0) for _ in range(len(left) - sum("new_axis" not in f for f in bits[number + 1 :]))]
        elif "new_axis" in flags:
            result.append(())
        elif "shrink_axis" in flags:
            chosen |= _position(left.pop(0), int(begins[number]))
        else:
            axis = left.pop(0)
            begin = None if "begin" in flags else int(begins[number])
            end = None if "end" in flags else int(ends[number])
            indices = range(*slice(begin, end, int(strides[number])).indices(size_of(axis)))
            result.append(_sliced(axis, indices.start, len(indices), indices.step))
    return chosen, (*result, *left)


def _position(axis: Axis, index: int) -> dict[InputAxis, float]:
    one = _single(axis)
    return {} if one is None or one.source is None else {one.source: one.at(index % one.size)}


def _concat(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Axes:
    along = int(_constant(op.inputs[-1])) % len(axes[0])
    columns = enumerate(zip(*axes[:-1], strict=True))
    return tuple(_joined(parts) if number == along else _broadcast(parts) for number, parts in columns)


def _joined(axes: Sequence[Axis]) -> Axis:
    """Return the axis of tensors one behind the other."""
    total = sum(map(size_of, axes))
    ones = [one for one in map(_single, axes) if one is not None]
    if len(ones) == len(axes) and len({one.source for one in ones}) == 1:
        gaps = [two.at(0) - one.at(one.size - 1) for one, two in itertools.pairwise(ones)]
        first, last = ones[0], ones[-1]
        if all(math.isclose(gap, first.step) for gap in gaps):
            cover = (min(one.cover[0] for one in ones), max(one.cover[1] for one in ones))
            return (replace(first, size=total, middle=(first.at(0) + last.at(last.size - 1)) / 2, cover=cover),)
    if not is_place(axes[-1]) or any(map(is_place, axes[:-1])):
        return _no_place(total)
    before, axis = sum(map(size_of, axes[:-1])), axes[-1]
    if len(axis) == 1 and axis[0].joined is not None:
        before, axis = before + axis[0].joined[0], axis[0].joined[1]
    return (Factor(total, joined=(before, axis)),)


def _pack(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Axes:
    stacked = _stacked([item.chosen if item else {} for item in traced])
    return _inserted([_broadcast(parts) for parts in zip(*axes, strict=True)], op.get_attr("axis"), stacked)


def _stacked(chosen: Sequence[dict[InputAxis, float]]) -> Axis:
    """Return the axis of slices that are stacked again: a place where their positions are even."""
    for source in chosen[0]:
        positions = [item.get(source, math.nan) for item in chosen]
        steps = np.diff(positions)
        if len(steps) and np.allclose(steps, steps[0]) and steps[0] != 0:
            cover = (min(positions) - abs(steps[0]) / 2, max(positions) + abs(steps[0]) / 2)
            return (Factor(len(chosen), source, float(steps[0]), float(np.mean(positions)), 1.0, cover),)
    return _no_place(len(chosen))


def _unpack(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> list[Any]:
    left = list(axes[0])
    axis = left.pop(op.get_attr("axis"))
    return [(_position(axis, number), tuple(left)) for number in range(len(op.outputs))]


def _split(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> list[Any]:
    place, tensor = (2, 0) if op.type == "SplitV" else (0, 1)
    whole, begin, parts = axes[tensor], 0, []
    along = int(_constant(op.inputs[place])) % len(whole)
    for output in op.outputs:
        count = output.shape[along]
        parts.append((*whole[:along], _sliced(whole[along], begin, count), *whole[along + 1 :]))
        begin += count
    return parts


def _gather(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Any:
    if traced[0] is None:  # an embedding
        return (*axes[1], *map(_no_place, op.outputs[0].shape[len(axes[1]) :]))
    along, indices = int(_constant(op.inputs[2])) % len(axes[0]), _constant(op.inputs[1])
    axis, before, behind = axes[0][along], axes[0][:along], axes[0][along + 1 :]
    if indices.ndim == 0:
        return _position(axis, int(indices)), (*before, *behind)
    steps, one = np.diff(indices, axis=0), _single(axis)
    is_even = steps.size > 0 and bool((steps == steps.flat[0]).all() and steps.flat[0])
    if indices.ndim == 1 and is_even:
        return (*before, _sliced(axis, int(indices[0]), len(indices), int(steps[0])), *behind)
    chosen = list(map(_no_place, indices.shape))
    if indices.ndim == 2 and is_even and one is not None:  # frames of a signal
        step, middle = one.step * float(steps.flat[0]), one.at(float(indices.mean()))
        width = one.field + abs(one.step) * float(np.ptp(indices[0]))
        chosen[0] = (replace(one, size=len(indices), step=step, middle=middle, field=width, padding=(0, 0)),)
    return (*before, *chosen, *behind)


def _product(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Axes:
    """Follow a matrix product: what is summed over is gone."""
    first, second = axes[:2]
    names = ("transpose_a", "transpose_b") if op.type == "MatMul" else ("adj_x", "adj_y")
    row = first[-1 if op.get_attr(names[0]) else -2]
    column = second[-2 if op.get_attr(names[1]) else -1]
    places = range(max(len(first), len(second)), 2, -1)
    return (*(_broadcast([of[-place] for of in (first, second) if len(of) >= place]) for place in places), row, column)


def _einsum(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Axes:
    terms, result = op.get_attr("equation").decode().replace(" ", "").split("->")
    by_letter: dict[str, list[Axis]] = {}
    for term, of in zip(terms.split(","), axes, strict=True):
        head, dots, tail = term.partition("...")
        if dots:
            middle = len(of) - len(head) - len(tail)
            term = head + "".join(chr(0x100 - middle + number) for number in range(middle)) + tail
        for letter, axis in zip(term, of, strict=True):
            by_letter.setdefault(letter, []).append(axis)
    broadcast = "".join(sorted(letter for letter in by_letter if ord(letter) > 0x7F))
    return tuple(_broadcast(by_letter[letter]) for letter in result.replace("...", broadcast))


def _transform(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Axes:
    """Follow a Fourier transform over the last axes, which become frequencies."""
    kept = len(axes[0]) - (int(op.type[-2]) if op.type[-1] == "D" else 1)
    return (*axes[0][:kept], *(_no_place(side or 1) for side in op.outputs[0].shape[kept:]))


def _blocks(op: Any, axes: Sequence[Axes], traced: Sequence[Traced | None]) -> Axes:
    """Follow the two operations around a dilated convolution, between which positions count undivided."""
    result = list(axes[0])
    for axis, (size, border) in enumerate(zip(_constant(op.inputs[1]), _constant(op.inputs[2]), strict=True), 1):
        one, (before, after) = _single(result[axis]), map(int, border)
        if one is None:
            raise _UnknownError
        if op.type == "SpaceToBatchND":
            one = replace(_padded_factor(one, before, after), padding=(0, 0), dilation=int(size))
            result[axis] = (one,)
        else:
            result[axis] = _sliced((replace(one, dilation=1),), before, one.size - before - after)
    return tuple(result)


_NORMALISED = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_RULES: dict[str, AxisRule] = {
    **dict.fromkeys(["Conv2D", "Conv3D", "DepthwiseConv2dNative", "ExtractImagePatches"], _windows),
    **dict.fromkeys(["MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D"], _windows),
    **dict.fromkeys(
        ["Conv2DBackpropInput", "Conv3DBackpropInputV2", "DepthwiseConv2dNativeBackpropInput"], _transposed
    ),
    **dict.fromkeys(
        ["ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea", "ScaleAndTranslate"], _resize
    ),
    **dict.fromkeys(["Mean", "Sum", "Max", "Min", "Prod", "All", "Any", "ArgMax", "ArgMin"], _reduce),
    **dict.fromkeys(
        ["Pad", "PadV2", "MirrorPad"],
        lambda op, axes, _: tuple(itertools.starmap(_padded, zip(axes[0], *_constant(op.inputs[1]).T, strict=True))),
    ),
    **dict.fromkeys(["Split", "SplitV"], _split),
    **dict.fromkeys(["GatherV2", "ResourceGather"], _gather),
    **dict.fromkeys(["MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"], _product),
    **dict.fromkeys([f"{kind}FFT{rank}" for kind in ("", "I", "R", "IR") for rank in ("", "2D", "3D")], _transform),
    **dict.fromkeys(["SpaceToBatchND", "BatchToSpaceND"], _blocks),
    **dict.fromkeys(["SpaceToDepth", "DepthToSpace"], _shuffle),
    "Reshape": _reshape,
    "ExpandDims": lambda op, axes, _: _inserted(axes[0], int(_constant(op.inputs[1])), ()),
    "Squeeze": _squeeze,
    "Transpose": lambda op, axes, _: tuple(axes[0][axis] for axis in _constant(op.inputs[1])),
    "Tile": _tile,
    "Slice": _slice,
    "StridedSlice": _strided_slice,
    "ConcatV2": _concat,
    "Pack": _pack,
    "Unpack": _unpack,
    "Einsum": _einsum,
    **dict.fromkeys(["IdentityN", "BiasAdd", *_NORMALISED], lambda op, axes, _: axes[: len(op.outputs)]),
}
_ELEMENTWISE = re.compile(
    "Abs|Acosh?|Add(N|V2)?|Adjust.*|Angle|Asinh?|Atan(2|h)?|BroadcastTo|Cast|Ceil|CheckNumerics|ClipByValue|Complex(Abs)?"
    "|Conj|Cosh?|Cumprod|Cumsum|Digamma|Div(NoNan)?|Elu|Equal|Erfc?|Exp|Expm1|FakeQuant.*|Floor(Div|Mod)?|Greater(Equal)?"
    "|HSVToRGB|Identity|Imag|Inv|Is(Finite|Inf|Nan)|LRN|LeakyRelu|Less(Equal)?|Lgamma|Log(1p|Softmax)?|Logical(And|Not|Or)"
    "|Maximum|Minimum|Mod|Mul(NoNan)?|Neg|NotEqual|Pow|PreventGradient|RGBToHSV|Real(Div)?|Reciprocal|Relu6?|Rint|Roll"
    "|Round|Rsqrt|Select(V2)?|Selu|Sigmoid|Sign|Sinh?|Snapshot|Softmax|Softplus|Softsign|Sqrt|Square(dDifference)?"
    "|StopGradient|Sub|Tanh?|TruncateDiv|Xdivy|Xlogy"
)
_CONSTANT = frozenset(["Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"])  # only the shape is read
_LOOPS = frozenset(["While", "StatelessWhile", "CudnnRNN", "CudnnRNNV2", "CudnnRNNV3", "Scan"])
_CALLS = frozenset(["PartitionedCall", "StatefulPartitionedCall"])
