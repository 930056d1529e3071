"""The two layers of a segmentation model that are worth explaining: the coarsest one, and the last of its decoder."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tf_gradcam._models.graph import Call, Graph, first_output
from tf_gradcam._models.layers import (
    FoundLayer,
    View,
    can_be_default,
    find_layer,
    is_head,
    is_spatial,
    why_no_places,
)
from tf_gradcam._models.reader import ModelReader

# Operations that resize the scores of classes, or add those of several depths.
_RESIZES = re.compile(r"UpSampling|Resiz|Interpol|Crop|Pad|Add|Average|Rescaling|Cast")
_TRANSPOSED = re.compile(r"Conv[123]DTranspose|ConvTranspose")
_SIDE_POOLING = 3  # from this stride on an average pooling makes a branch of its own, as in a pyramid of poolings
_SIDE = 256  # pixels, where the model leaves its size free; halved eight times without a rest


class SegmentationLayers(NamedTuple):
    """Paths of the two layers of a segmentation model, the same one in a model that never shrinks its picture.

    Attributes:
        context: the last of the layers with the fewest cells that all others of so few cells lead through (the
            bottleneck of a U-Net): what the prediction of a region takes into account, coarsely.
        detail: the last layer before the scores of the classes that every path passes: which pixels count, finely; near
            the output it repeats much of the predicted mask.
    """

    context: str
    detail: str


def segmentation_layers(reader: ModelReader) -> SegmentationLayers:
    """Return the layers for context and for detail of a model with an output (B, H, W, K).

    Layers of other axes than the picture's (tokens), and branches behind an average pooling of a stride above 2 (the
    pyramid of PSPNet), do not count. A model without such layers gets its usual default for both.

    Args:
        reader: of the model; the first of several outputs counts, unless one was chosen.

    Raises:
        ValueError: a model without any layer that can be explained.

    Source: Vinogradova et al. 2020, Seg-Grad-CAM, https://arxiv.org/abs/2002.11434, explains the bottleneck of a U-Net.
    """
    if reader.first_key is not None:
        reader = reader.with_output(next(iter(reader.outputs)))
    default = find_layer(reader)
    view, rank = default.view, len(reader.inputs.image_shape)
    class_count = first_output(reader.traced_ends()).shape[-1]
    calls = [call for call in view.calls if len(call.shape) == rank and is_spatial(call.shape)]

    def fits(call: Call) -> bool:
        is_feature = can_be_default(view, call) and not _is_scores(view, call, class_count)
        return is_feature and not why_no_places(reader, FoundLayer(view, call))

    cuts = (call for call in reversed(calls) if fits(call) and view.is_cut_point(call))
    last = next(cuts, default.call)
    detail = default if last == default.call else FoundLayer(view, last)
    cells = _cell_counts(reader, view)
    if cells is None:
        return SegmentationLayers(detail.name, detail.name)
    beside = _beside(view) if isinstance(view, Graph) else set()
    if last.slot not in beside:  # else the pooling is on the way of everything
        calls = [call for call in calls if call.slot not in beside]
    coarsest = _coarsest(view, [call for call in calls if not call.is_model], cells, fits) or last
    return SegmentationLayers(detail.name if coarsest == last else FoundLayer(view, coarsest).name, detail.name)


def _coarsest(view: View, calls: Sequence[Call], cells: dict[Call, int], fits: Callable[[Call], bool]) -> Call | None:
    """Return the last call of the fewest cells that fits, and that all other calls of so few cells lead through.

    A branch beside it, such as the gate of an attention or a residual path, is passed over.
    """
    for count in sorted({cells[call] for call in calls}):
        level = [call for call in calls if cells[call] == count]
        fitting = filter(fits, reversed(level))
        if not isinstance(view, Graph):
            first = next(fitting, None)
        else:
            behind = set[int]().union(*(view.dependents(call.slot) for call in level))
            found = list(fitting)
            whole = (call for call in found if behind.isdisjoint(view.frontier(call.slot, [view.first])))
            first = next(whole, found[0] if found else None)
        if first is not None:
            return first
    return None


def _is_scores(view: View, call: Call, class_count: int | None) -> bool:
    """Return whether a tensor holds the scores of the classes, which are only resized, added and squashed behind it."""
    if class_count is None or call.shape[-1] != class_count:
        return False
    return all(_keeps_scores(operation, class_count) for operation in view.operations_after(call))


def _keeps_scores(operation: Any, class_count: int) -> bool:
    name = type(operation).__name__
    if _TRANSPOSED.search(name):
        return getattr(operation, "filters", None) == class_count
    return is_head(operation) or bool(_RESIZES.search(name))


def _cell_counts(reader: ModelReader, view: View) -> dict[Call, int] | None:
    """Return the number of cells of each call; None where a model of free size does not take pictures of one size."""
    usual = reader.inputs.usual_size or ()
    specs = [_filled(spec, usual) for spec in reader.inputs.specs]
    try:
        shapes = view.known_shapes(specs)
    except (TypeError, ValueError, tf.errors.InvalidArgumentError):
        return None
    sides = [[side or 1 for side in shape[1:-1]] for shape in shapes]
    return {call: math.prod(each) for call, each in zip(view.calls, sides, strict=True)}


def _filled(spec: tf.TensorSpec, usual: Sequence[int]) -> tf.TensorSpec:
    """Return a spec with a size where it is free."""
    shape = list(spec.shape)
    fitting = list(usual) if len(shape) == len(usual) + 2 else [_SIDE] * max(0, len(shape) - 2)
    inner = [side or other for side, other in zip(shape[1:-1], fitting, strict=True)]
    return tf.TensorSpec([shape[0], *inner, *shape[-1:]] if len(shape) > 2 else shape, spec.dtype)


def _beside(view: Any) -> set[int]:
    """Return the slots that come out of wide average poolings alone."""
    beside: set[int] = set()
    for step in view.steps:
        sources = set(step.sources.values())
        if _is_side_pooling(view, step) or (sources and sources <= beside):
            beside.update(step.outputs)
    return beside


def _is_side_pooling(view: Any, step: Any) -> bool:
    name = type(step.operation).__name__
    if "Resiz" not in name and "AveragePool" not in name:
        return False
    sources = [view.shapes[slot] for slot in step.sources.values()]
    before, behind = sources[0] if sources else (), view.shapes[step.outputs[0]]
    if len(before) == len(behind) and None not in (*before[1:], *behind[1:]):
        sides = zip(before[1:-1], behind[1:-1], strict=True)
        return any(old >= _SIDE_POOLING * new for old, new in sides)
    strides = getattr(step.operation, "strides", None) or 1
    return max(strides if isinstance(strides, (list, tuple)) else [strides]) >= _SIDE_POOLING
