"""The layer to explain: found by name, path, index or object, or chosen by rule; and the rows of all layers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TypeAlias

import keras

from tf_gradcam._errors import Message, unknown_name
from tf_gradcam._models.graph import Call, Graph, Step
from tf_gradcam._models.keras_internals import sublayers
from tf_gradcam._models.places import Cells, cells_of, probe, traced_axes
from tf_gradcam._models.reader import ModelInputs, ModelReader, is_input_layer, shown
from tf_gradcam._models.watched import WatchedModel

View = Graph | WatchedModel
LayerLike: TypeAlias = str | int | keras.layers.Layer  # name or "outer/inner" path, index into `model.layers`, object

# Operations that move, drop or scale values, without learned weights.
_PASSIVE = re.compile(
    r"Pool|Drop|Identity|Pad|Reshape|Permute|Flatten|Crop|Random|Resc|Resiz|(?<!D)Transpose|UpSampling"
)
# Layers of Keras after which cells follow places wherever there is more than one cell.
_PLAIN = re.compile(
    r"(Depthwise|Separable)?Conv[123]D|.*Pooling[123]D|.*Normalization|Normalize|Activation|.*ReLU|.*ELU|Relu6?|Silu|Gelu"
    r"|HardS.*|Sigmoid|Softmax|Add|Subtract|Multiply|Average|Maximum|Minimum|TrueDivide|.*Dropout.*|GaussianNoise|Rescaling"
    r"|ZeroPadding[123]D|Cropping[123]D|UpSampling[123]D|Random(Flip|Rot|Zoom|Tran|Cont|Bri|Hue|Sat|Col).*|Identity"
    r"|LayerScale|StochasticDepth|InputLayer|Dense"
)
_HEAD = re.compile(r"Activation|Softmax|Sigmoid|Reshape|Identity|Drop|Flatten")


@dataclass(frozen=True)
class FoundLayer:
    """A call of a layer, and the view of the model that contains it."""

    view: View
    call: Call
    frames: tuple[Call, ...] = ()  # the calls for each frame of a clip, where the layer stands for all of them

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(B, H, W, C), or (B, T, H, W, C) of all frames."""
        shape = self.call.shape
        return (shape[0], len(self.frames), *shape[1:]) if self.frames else shape

    @property
    def name(self) -> str:
        """The path, with the number of the call or tensor where the layer has several: `name[1]`, "att[1]"."""
        same = [call for call in self.view.calls if call.path == self.call.path]
        return self.call.path if self.frames or len(same) < 2 else f"{self.call.path}[{same.index(self.call)}]"

    @property
    def frame(self) -> int | None:
        """The frame of a clip that the call belongs to, None for a call that is not made for each frame."""
        is_one = not self.frames and isinstance(self.view, WatchedModel) and self.view.is_each_frame(self.call)
        return self.call.slot if is_one else None


@dataclass(frozen=True)
class LayerRow:
    """One row of `list_layers`.

    Attributes:
        path: the value for `layer=`.
        type: class of the layer.
        output_shape: (B, H, W, C), None for a free axis.
        stride: input pixels per cell, (vertical, horizontal), or None.
        explainable: whether a heatmap can be made here.
        reason: why it cannot be explained, or "".
        default: whether `layer=None` chooses it.
        role: of a segmentation, "context" for the coarsest layer and "detail" for the last one before the scores, where
            these are two; else "".
        offset: (down, right) pixels from the tile of a cell to its receptive field; None unless measured.
    """

    path: str
    type: str
    output_shape: tuple[int | None, ...]
    stride: tuple[float, ...] | None
    explainable: bool
    reason: str
    default: bool
    offset: tuple[float, float] | None = None
    role: str = ""


def find_layer(reader: ModelReader, layer: LayerLike | None = None) -> FoundLayer:
    """Find the call that `layer` names.

    Args:
        reader: the model.
        layer: a name or "outer/inner" path (`name[0]` for the first of several calls; without a number the last, or
            all calls of a layer that is called once for each frame of a clip), an index
            into `model.layers`, a layer object, or None for the default: walking back from the first output, the first
            tensor that every path passes, larger than 1x1, that does not come from pooling, dropout, identity, padding
            or reshaping; in a transformer the tokens that the last attention reads, also inside a layer that holds
            several attentions.

    Raises:
        TypeError: `layer` is of another type.
        ValueError: an unknown or ambiguous name, or a layer that cannot be explained.
    """
    if layer is None:
        return _default(reader)
    if isinstance(layer, str):
        found = _by_name(reader, layer)
    elif isinstance(layer, bool) or not isinstance(layer, (Integral, keras.layers.Layer, keras.Operation)):
        remedy = " Pass the layer of a tensor: model.get_layer(name)." if keras.KerasTensor is type(layer) else ""
        raise TypeError(
            f"Expected `layer` as a name, path, index, layer object or None, received {type(layer).__name__}.{remedy}"
        )
    else:
        found = _by_object(reader, reader.top_level(int(layer)) if isinstance(layer, Integral) else layer)
    reason = why_not(found) or why_no_places(reader, found)
    if reason:
        raise ValueError(_with_remedy(f"Layer '{found.call.path}' cannot be explained: {reason}.", reader))
    return found


def _by_name(reader: ModelReader, name: str) -> FoundLayer:
    paths: list[str] = []
    for view in reader.views():
        calls, numbered = calls_named(view, name), re.fullmatch(r"(.+)\[(\d+)\]", name)
        if not calls and numbered:
            calls = calls_named(view, numbered[1])
        else:
            numbered = None
        if len(different := dict.fromkeys(call.path for call in calls)) > 1:
            raise ValueError(f"Layer name '{name}' is not unique: pass one of {list(different)}.")
        if numbered:
            calls = calls[int(numbered[2]) :][:1]
        if calls:
            return _found(view, calls)
        paths += [call.path for call in view.calls]
    fact = unknown_name("layer", name, paths)
    raise ValueError(Message(fact, "list_layers(model) shows all.", "`tf-gradcam layers MODEL` shows all."))


def _found(view: View, calls: list[Call]) -> FoundLayer:
    """Return all calls of a layer that is called once for each frame of a clip, else the last on the way to the end."""
    call = _last_to_output(view, calls)
    is_each_frame = len(calls) > 1 and isinstance(view, WatchedModel) and view.is_each_frame(call)
    return FoundLayer(view, call, tuple(calls) if is_each_frame else ())


def _last_to_output(view: View, calls: list[Call]) -> Call:
    return ([call for call in calls if view.reaches_output(call)] or calls)[-1]


def calls_named(view: View, name: str) -> list[Call]:
    """Return the calls at the path `name`, or else the calls whose path ends in it."""
    calls = [call for call in view.calls if call.path == name]
    return calls or [call for call in view.calls if call.path.endswith(f"/{name}")]


def _by_object(reader: ModelReader, layer: keras.layers.Layer) -> FoundLayer:
    for view in reader.views():
        calls = [call for call in view.calls if call.operation is layer]
        if calls:
            return _found(view, calls)
    if is_input_layer(layer):
        raise ValueError(f"Layer '{layer.name}' is an input, which holds the image itself. Pass a layer after it.")
    raise ValueError(
        f"Layer object '{layer.name}' is not called by model '{reader.name}'. Pass a layer of this model, or a name "
        "from list_layers(model)."
    )


def _default(reader: ModelReader) -> FoundLayer:
    best: FoundLayer | None = None
    for view in reader.views():
        best = _default_in(reader, view) or best
        if best and not _hides_tokens(best):
            return best
    if best:
        return best
    fact = f"Model '{reader.name}' has no layer with a spatial extent that every path to the output passes."
    raise ValueError(_with_remedy(fact, reader))


def _default_in(reader: ModelReader, view: View) -> FoundLayer | None:
    rank = len(reader.inputs.image_shape)
    heads = tuple(f"{c.path}/" for c in view.calls if _is_attention(c.operation))  # layers inside do not have cells
    calls = [call for call in reversed(view.calls) if not call.path.startswith(heads)]
    candidates = [FoundLayer(view, call) for call in calls if can_be_default(view, call)]
    # Layers whose cells follow places come before all others, and layers of the images' rank before tokens.
    placed = [item for item in candidates if follows_places(reader, item)]
    for allowed in (placed, [item for item in candidates if not why_no_places(reader, item)]):
        for same_rank in (True, False):
            for candidate in allowed:
                if (len(candidate.call.shape) == rank) == same_rank and view.is_cut_point(candidate.call):
                    return _before_last_attention(candidate, allowed) if rank == 4 else candidate
    return None


def follows_places(reader: ModelReader, found: FoundLayer) -> bool:
    """Return whether the cells of a layer follow places in the input, none of them mixed over time by a recurrence."""
    view, call = found.view, found.call
    if is_plain(view):
        return True
    traced = traced_axes(view, reader.inputs.specs)[view.calls.index(call)]
    if traced is not None and traced.is_recurrent:
        return False
    cells = cells_of(traced)
    if cells is None and len(call.shape) == len(reader.inputs.image_shape):
        cells = probe(view.halves(call)[0], reader.inputs)
    return not isinstance(cells, str)


def is_plain(view: View) -> bool:
    """Return whether a graph consists of layers behind which cells follow places, so that tracing it tells no more."""
    return isinstance(view, Graph) and all(map(_is_plain_step, view.steps, itertools.repeat(view.shapes)))


def _is_plain_step(step: Step, shapes: Sequence[tuple[int | None, ...]]) -> bool:
    kind, shape = type(step.operation), shapes[step.outputs[0]]
    if step.function is not None or not is_spatial(shape):  # a model's entrance; squeeze and excitation, heads
        return True
    if getattr(step.operation, "data_format", None) == "channels_first" or not kind.__module__.startswith("keras."):
        return False
    is_of_channels = kind.__name__ == "Concatenate" and step.operation.axis in (-1, len(shape) - 1)
    return is_of_channels or bool(_PLAIN.fullmatch(kind.__name__))


def cells_at(inputs: ModelInputs, found: FoundLayer) -> Cells | str | None:
    """Return the cells of a layer by arithmetic, see `places.cells_of`."""
    return cells_of(traced_axes(found.view, inputs.specs)[found.view.calls.index(found.call)])


def why_no_places(reader: ModelReader, found: FoundLayer) -> str:
    """Return the reason why the map of a layer of pictures could not lie over the picture, or ""."""
    if len(reader.inputs.image_shape) < 4 or len(found.call.shape) < 4 or is_plain(found.view):
        return ""
    cells = cells_at(reader.inputs, found)
    return cells if isinstance(cells, str) else ""


def _hides_tokens(found: FoundLayer) -> bool:
    """Return whether a layer of the graph holds a whole encoder, whose tokens are not calls of the graph."""
    if not isinstance(found.view, Graph):
        return False
    after = found.view.operations_after(found.call)
    if any(map(_attends, after)):
        return any(_attention_count(operation) > 1 for operation in after)
    return _attention_count(found.call.operation) > 0


def _attention_count(operation: keras.Operation) -> int:
    """Return the number of attentions inside a layer that is not an attention itself."""
    if _is_attention(operation) or not isinstance(operation, keras.layers.Layer):
        return 0
    paths = [path for path, layer in sublayers(operation) if _is_attention(layer)]
    return sum(not any(path.startswith(f"{outer}/") for outer in paths) for path in paths)


def _before_last_attention(chosen: FoundLayer, candidates: Sequence[FoundLayer]) -> FoundLayer:
    """Return the last tokens (B, T, C) made of `chosen` that attention mixes, else `chosen`; the last candidate first.

    After the last attention the head may read the class token alone, and no gradient reaches the patches. If a
    normalisation stands before that attention, its output is taken, although a residual branch bypasses it: a
    normalisation undoes any scaling, so before it gradient times activation sums to zero in every patch that a class
    token sees through it alone, and `hirescam` would draw rounding errors.
    """
    if len(chosen.call.shape) == 3:
        followers = candidates
    else:
        # A layer with a grid is kept unless attention reads tokens made of it.
        later = chosen.view.operations_after(chosen.call)
        followers = [item for item in candidates if any(item.call.operation is operation for operation in later)]
    for candidate in followers:
        after = candidate.view.operations_after(candidate.call)
        if len(candidate.call.shape) != 3 or not any(map(_attends, after)):
            continue
        is_read = "Normalization" in type(candidate.call.operation).__name__ and _is_attention(after[0])
        if is_read or candidate.view.is_cut_point(candidate.call):
            return candidate
    return chosen


def _attends(operation: keras.Operation) -> bool:
    """Return whether an operation is attention between tokens, or a layer that holds one."""
    inner = [layer for _, layer in sublayers(operation)] if isinstance(operation, keras.layers.Layer) else []
    return any(map(_is_attention, [operation, *inner]))


def _is_attention(operation: keras.Operation) -> bool:
    return "Attention" in type(operation).__name__


def can_be_default(view: View, call: Call) -> bool:
    kind = type(call.operation).__name__
    if call.is_model or _PASSIVE.search(kind) or why_not(FoundLayer(view, call)):
        return False
    if not is_spatial(call.shape) or not view.has_learned(call):
        return False
    return any(not is_head(operation) for operation in view.operations_after(call))


def is_head(operation: keras.Operation) -> bool:
    """Return whether an operation only squashes or reshapes the scores."""
    return bool(_HEAD.search(type(operation).__name__))


def is_spatial(shape: Sequence[int | None]) -> bool:
    """Return whether a shape has more than one cell."""
    return len(shape) >= 3 and any(side != 1 for side in shape[1:-1])


def why_not(found: FoundLayer) -> str:
    """Return the reason why a layer cannot be explained, or ""."""
    shape = found.call.shape
    if len(shape) < 3:
        return f"its output {shown(shape)} has no spatial extent"
    if not found.view.reaches_output(found.call):
        return "it is not on the way to the output"
    if found.view.is_end(found.call):
        return "it is the output itself: nothing comes after it"
    return ""


def _with_remedy(fact: str, reader: ModelReader) -> Message:
    """Return the message of a layer that cannot be explained, with the layers that can."""
    paths = []
    for view in reader.views():
        for call in view.calls:
            if not call.is_model and is_spatial(call.shape) and not why_not(FoundLayer(view, call)):
                paths.append(call.path)
    if not paths:
        rule = "No layer of this model can be explained: a layer needs cells, channels last and a path to the output."
        return Message(f"{fact} {rule}")
    examples = f"for example one of {list(dict.fromkeys(paths))[-4:]}."
    return Message(fact, f"Pass layer=, {examples}", f"Pass --layer, {examples}")


def layer_rows(reader: ModelReader, exact: bool = False) -> list[LayerRow]:
    """Return a row for each call of a model in the order of execution, see `list_layers`.

    Args:
        reader: the model.
        exact: whether to trace a model of plain layers too, whose strides are else the picture divided by the cells.
    """
    try:
        default: FoundLayer | None = find_layer(reader)
    except ValueError:
        default = None
    rows: list[LayerRow] = []
    view = default.view if default else next(reader.views())
    shapes = view.known_shapes(reader.inputs.specs)
    paths = [call.path for call in view.calls]
    for number, call in enumerate(view.calls):
        if call.is_model:
            continue
        path = call.path
        if paths.count(path) > 1:
            path += f"[{paths[:number].count(path)}]"
        found, kind, shape = FoundLayer(view, call), type(call.operation).__name__, shapes[number]
        reason = why_not(found) or why_no_places(reader, found)
        is_default = default is not None and call == default.call
        image = reader.inputs.specs[pictures_of(reader.inputs, found)[0]].shape
        stride = _stride(image, shape)
        if stride is not None and (exact or not is_plain(view)):
            stride = _true_stride(cells_at(reader.inputs, found), stride)
        rows.append(LayerRow(path, kind, shape, stride, not reason, reason, is_default))
    return rows


def _true_stride(cells: Cells | str | None, tiles: tuple[float, ...]) -> tuple[float, ...] | None:
    """Return pixels per cell along each axis; `tiles` where they are not known, None where cells are not places."""
    if cells is None:
        return tiles
    if isinstance(cells, str) or len(cells.axes) != len(tiles):
        return None
    return tuple(tile if axis is None else axis.step for tile, axis in zip(tiles, cells.axes, strict=True))


def pictures_of(inputs: ModelInputs, found: FoundLayer) -> list[int]:
    """Return the inputs that a layer may belong to, the best first.

    They reach the layer and have its rank, if any has it; those that its cells divide into squares come first.
    """
    shape, reaching = found.shape, found.view.inputs_before(found.call) or [inputs.image_index]
    ranks = [inputs.specs[number].shape.rank or 0 for number in reaching]
    best = len(shape) if len(shape) in ranks else max(min(rank, 4) for rank in ranks)
    fitting = [number for number, rank in zip(reaching, ranks, strict=True) if rank == best or best == 4 < rank]

    def is_stretched(number: int) -> bool:
        return len(set(_stride(inputs.specs[number].shape, shape) or [0])) > 1

    return sorted(fitting, key=is_stretched)


def _stride(image: Sequence[int | None], shape: Sequence[int | None]) -> tuple[float, ...] | None:
    if len(shape) != len(image) or len(shape) < 3:
        return None
    pairs = list(zip(image[1:-1], shape[1:-1], strict=True))
    if any(pixels is None or not cells for pixels, cells in pairs):
        return None
    return tuple(pixels / cells for pixels, cells in pairs)  # type: ignore[operator]
