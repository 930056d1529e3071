"""Which layer is explained: found by name, path, index or object, or chosen by rule; and the list of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TypeAlias

import keras

from tf_gradcam._errors import Message, unknown_name
from tf_gradcam._models.graph import Call, Graph
from tf_gradcam._models.keras_internals import sublayers
from tf_gradcam._models.reader import ModelReader, is_input_layer, shown
from tf_gradcam._models.watched import WatchedModel

View = Graph | WatchedModel
LayerLike: TypeAlias = str | int | keras.layers.Layer  # name or "outer/inner" path, index into `model.layers`, object

# Operations that move, drop or scale values and learn nothing about the picture.
_PASSIVE = re.compile(r"Pool|Drop|Identity|Pad|Reshape|Permute|Flatten|Crop|Random|Resc|Resiz|Transpose|UpSampling")
_HEAD = re.compile(r"Activation|Softmax|Sigmoid|Reshape|Identity|Drop|Flatten")


@dataclass(frozen=True)
class FoundLayer:
    """A layer call and the view of the model that it was found in."""

    view: View
    call: Call


@dataclass(frozen=True)
class LayerRow:
    """One row of `list_layers`.

    Attributes:
        path: what `layer=` takes.
        type: class of the layer.
        output_shape: (B, H, W, C) with None for what is free.
        stride: input pixels per cell, (vertical, horizontal), or None.
        explainable: whether a heatmap can be made here.
        reason: why not, or "".
        default: whether `layer=None` chooses it.
        offset: (down, right) pixels by which its cells look beside their tile; None unless measured.
    """

    path: str
    type: str
    output_shape: tuple[int | None, ...]
    stride: tuple[float, ...] | None
    explainable: bool
    reason: str
    default: bool
    offset: tuple[float, float] | None = None


def find_layer(reader: ModelReader, layer: LayerLike | None = None) -> FoundLayer:
    """The call that `layer` names.

    Args:
        reader: the model.
        layer: a name or "outer/inner" path (`name[0]` for the first of several calls, the last otherwise), an index
            into `model.layers`, a layer object, or None for the default: walking back from the first output, the first
            tensor that every path passes, with a spatial size above 1x1, that is no pooling, dropout, identity, padding
            or reshaping; of the tokens of a transformer, those that the last attention reads, inside a layer that holds
            several attentions.

    Raises:
        TypeError: no such kind of layer argument.
        ValueError: an unknown or ambiguous name, or a layer that cannot be explained.
    """
    if layer is None:
        return _default(reader)
    if isinstance(layer, str):
        found = _by_name(reader, layer)
    elif isinstance(layer, bool) or not isinstance(layer, (Integral, keras.layers.Layer, keras.Operation)):
        remedy = " For the tensor give its layer: model.get_layer(name)." if keras.KerasTensor is type(layer) else ""
        raise TypeError(
            f"Expected `layer` as a name, path, index, layer object or None, received {type(layer).__name__}.{remedy}"
        )
    else:
        found = _by_object(reader, reader.top_level(int(layer)) if isinstance(layer, Integral) else layer)
    reason = why_not(found)
    if reason:
        raise ValueError(_with_remedy(f"Layer '{found.call.path}' cannot be explained: {reason}.", reader))
    return found


def _by_name(reader: ModelReader, name: str) -> FoundLayer:
    paths: list[str] = []
    for view in reader.views():
        calls, numbered = _calls_named(view, name), re.fullmatch(r"(.+)\[(\d+)\]", name)
        if not calls and numbered:
            calls = _calls_named(view, numbered[1])
        else:
            numbered = None
        if len(different := dict.fromkeys(call.path for call in calls)) > 1:
            raise ValueError(f"Layer name '{name}' is not unique: pass one of {list(different)}.")
        if numbered:
            calls = calls[int(numbered[2]) :][:1]
        if calls:
            reaching = [call for call in calls if view.reaches_output(call)]
            return FoundLayer(view, (reaching or calls)[-1])
        paths += [call.path for call in view.calls]
    fact = unknown_name("layer", name, paths)
    raise ValueError(Message(fact, "list_layers(model) shows all.", "`tf-gradcam layers MODEL` shows all."))


def _calls_named(view: View, name: str) -> list[Call]:
    """The calls at the path `name`, else those whose path ends in it."""
    calls = [call for call in view.calls if call.path == name]
    return calls or [call for call in view.calls if call.path.endswith(f"/{name}")]


def _by_object(reader: ModelReader, layer: keras.layers.Layer) -> FoundLayer:
    for view in reader.views():
        calls = [call for call in view.calls if call.operation is layer]
        reaching = [call for call in calls if view.reaches_output(call)]
        if calls:
            return FoundLayer(view, (reaching or calls)[-1])
    if is_input_layer(layer):
        raise ValueError(f"Layer '{layer.name}' is an input: it holds the picture itself, explain a layer behind it.")
    raise ValueError(
        f"Layer object '{layer.name}' is not called by model '{reader.name}': pass one of this very model's layers, "
        "or a name from list_layers(model)."
    )


def _default(reader: ModelReader) -> FoundLayer:
    rank = len(reader.inputs.image_shape)
    best: FoundLayer | None = None
    for view in reader.views():
        best = _default_in(view, rank) or best
        if best and not _hides_tokens(best):
            return best
    if best:
        return best
    fact = f"Model '{reader.name}' has no layer with a spatial extent that every path to the output passes."
    raise ValueError(_with_remedy(fact, reader))


def _default_in(view: View, rank: int) -> FoundLayer | None:
    heads = tuple(f"{c.path}/" for c in view.calls if _is_attention(c.operation))  # what is inside has no cells
    calls = [call for call in reversed(view.calls) if not call.path.startswith(heads)]
    found = [FoundLayer(view, call) for call in calls if _can_be_default(view, call)]
    # A map over the picture before a map over tokens: the rank of the images first.
    for same_rank in (True, False):
        for candidate in found:
            if (len(candidate.call.shape) == rank) == same_rank and view.is_cut_point(candidate.call):
                return _before_last_attention(candidate, found) if rank == 4 else candidate
    return None


def _hides_tokens(found: FoundLayer) -> bool:
    """Whether a layer of the graph holds a whole encoder: the tokens between its attentions are no call there."""
    if not isinstance(found.view, Graph):
        return False
    after = found.view.operations_after(found.call)
    if any(map(_attends, after)):
        return any(_attention_count(operation) > 1 for operation in after)
    return _attention_count(found.call.operation) > 0


def _attention_count(operation: keras.Operation) -> int:
    """How many attentions a layer calls that is none itself."""
    if _is_attention(operation) or not isinstance(operation, keras.layers.Layer):
        return 0
    paths = [path for path, layer in sublayers(operation) if _is_attention(layer)]
    return sum(not any(path.startswith(f"{outer}/") for outer in paths) for path in paths)


def _before_last_attention(chosen: FoundLayer, found: Sequence[FoundLayer]) -> FoundLayer:
    """The last tokens (B, T, C) made of `chosen` that attention still mixes, else `chosen`; `found` from the last on.

    Behind the last attention a class token alone may be read: no gradient leads to the patches there. Before it, where
    a normalisation stands between, the normalised tokens are taken, though a residual branch goes round them: a
    normalisation undoes any scaling, so before it gradient times activation sums to zero in every patch that a class
    token sees through it alone, and `hirescam` would draw rounding errors.
    """
    if len(chosen.call.shape) == 3:
        followers = found
    else:
        # A map over the picture is kept unless tokens made of it are attended to again.
        made = chosen.view.operations_after(chosen.call)
        followers = [one for one in found if any(one.call.operation is operation for operation in made)]
    for candidate in followers:
        after = candidate.view.operations_after(candidate.call)
        if len(candidate.call.shape) != 3 or not any(map(_attends, after)):
            continue
        is_read = "Normalization" in type(candidate.call.operation).__name__ and _is_attention(after[0])
        if is_read or candidate.view.is_cut_point(candidate.call):
            return candidate
    return chosen


def _attends(operation: keras.Operation) -> bool:
    """Whether it is attention between tokens, or a layer that holds such."""
    inner = [layer for _, layer in sublayers(operation)] if isinstance(operation, keras.layers.Layer) else []
    return any(map(_is_attention, [operation, *inner]))


def _is_attention(operation: keras.Operation) -> bool:
    return "Attention" in type(operation).__name__


def _can_be_default(view: View, call: Call) -> bool:
    kind = type(call.operation).__name__
    if call.is_model or _PASSIVE.search(kind) or why_not(FoundLayer(view, call)):
        return False
    if not is_spatial(call.shape) or not view.has_learned(call):
        return False
    return any(not is_head(operation) for operation in view.operations_after(call))


def is_head(operation: keras.Operation) -> bool:
    """Whether an operation only squashes or reshapes: behind it come the same scores."""
    return bool(_HEAD.search(type(operation).__name__))


def is_spatial(shape: Sequence[int | None]) -> bool:
    """Whether there is more than one cell."""
    return len(shape) >= 3 and any(side != 1 for side in shape[1:-1])


def why_not(found: FoundLayer) -> str:
    """Why a layer cannot be explained, or ""."""
    shape, operation = found.call.shape, found.call.operation
    if len(shape) < 3:
        return f"its output {shown(shape)} has no spatial extent"
    if getattr(operation, "data_format", None) == "channels_first":
        return "its channels come first, and the maps need channels_last"
    if not found.view.reaches_output(found.call):
        return "it is not on the way to the output"
    if found.view.is_end(found.call):
        return "it is the output itself: nothing comes after it"
    return ""


def _with_remedy(fact: str, reader: ModelReader) -> Message:
    """The message of a layer that cannot be explained, with the layers that can."""
    paths = []
    for view in reader.views():
        for call in view.calls:
            if not call.is_model and is_spatial(call.shape) and not why_not(FoundLayer(view, call)):
                paths.append(call.path)
    if not paths:
        rule = "No layer of this model can be explained: that takes cells, channels last, on the way to the output."
        return Message(f"{fact} {rule}")
    examples = f"for example one of {list(dict.fromkeys(paths))[-4:]}."
    return Message(fact, f"Pass layer=, {examples}", f"Pass --layer, {examples}")


def layer_rows(reader: ModelReader) -> list[LayerRow]:
    """All calls of a model in the order of execution, see `list_layers`."""
    try:
        default: FoundLayer | None = find_layer(reader)
    except ValueError:
        default = None
    image = reader.inputs.image_shape
    rows: list[LayerRow] = []
    view = default.view if default else next(reader.views())
    shapes = view.known_shapes(reader.inputs.specs)
    times = [call.path for call in view.calls]
    for number, call in enumerate(view.calls):
        if call.is_model:
            continue
        path = call.path
        if times.count(path) > 1:
            path += f"[{times[:number].count(path)}]"
        shape = shapes[number]
        reason = why_not(FoundLayer(view, call))
        rows.append(
            LayerRow(
                path,
                type(call.operation).__name__,
                shape,
                _stride(image, shape),
                not reason,
                reason,
                default is not None and call == default.call,
            )
        )
    return rows


def _stride(image: Sequence[int | None], shape: Sequence[int | None]) -> tuple[float, ...] | None:
    if len(shape) != len(image) or len(shape) < 3:
        return None
    pairs = list(zip(image[1:-1], shape[1:-1], strict=True))
    if any(pixels is None or not cells for pixels, cells in pairs):
        return None
    return tuple(pixels / cells for pixels, cells in pairs)  # type: ignore[operator]
