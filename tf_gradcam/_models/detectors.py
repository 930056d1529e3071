"""Detectors: raw outputs read as boxes, scores and classes, non-maximum suppression, and the layers of a pyramid.

Axis legend: B images, N rows of raw outputs (one for each anchor, query or cell), K classes, H0 x W0 pixels. A box is
(x1, y1, x2, y2) in pixels of the model's input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam._errors import Message, unknown_name
from tf_gradcam._models.graph import Call
from tf_gradcam._models.layers import FoundLayer, View, can_be_default, find_layer, is_spatial
from tf_gradcam._models.reader import ModelReader, shown

# Raw outputs -> boxes (B, N, 4) in pixels of the input and scores (B, N, K) in [0, 1], by TensorFlow operations.
Decode: TypeAlias = Callable[[Any], tuple[Any, Any]]
DecodeLike: TypeAlias = str | Decode | None
Size: TypeAlias = tuple[int, int]

FORMATS = ("xyxy", "yxyx", "xywh", "center_xywh", "rel_xyxy", "rel_yxyx", "rel_xywh", "rel_center_xywh")
_EXTRAS = ("objectness", "background", "background_last")
_SURE_ROWS = 100  # best rows, whose boxes show how the boxes are written
_MAX_RELATIVE = 2.0  # larger coordinates of sure boxes are pixels
_MAX_CANDIDATES = 2000  # best rows of an image before non-maximum suppression
_KEEPS_ORDER = ("Identity", "Cast", "Reshape", "Squeeze", "ExpandDims")
_DEFAULT_SIDE = 256  # of an axis that the model leaves free, while the layers of a pyramid are looked for


class RawRows(NamedTuple):
    """Predictions of a batch, a row for each anchor; tensors, float32.

    Attributes:
        boxes: (B, N, 4) in pixels of the model's input.
        scores: (B, N, K) in [0, 1].
        logits: (B, N, K), the scores before a final softmax or sigmoid; `scores` where these are not known.
    """

    boxes: Any
    scores: Any
    logits: Any


@dataclass(frozen=True)
class Detector:
    """Reading of the raw outputs of one model.

    Attributes:
        rows_of: (outputs, size) -> `RawRows`, in a graph or eagerly; size is (H0, W0) of the input.
        class_count: number of classes.
        sentence: what was understood, why, and how to say otherwise.
        is_guessed: whether values, not the caller, decided it.
    """

    rows_of: Callable[[Any, Size], RawRows]
    class_count: int
    sentence: str
    is_guessed: bool = False


@dataclass(frozen=True)
class _Table:
    """Raw outputs as columns of one table: where boxes, scores and objectness stand, and how they are written.

    A place is (position among the flat outputs, axis of the rows, first column, last column or None).
    """

    boxes: tuple[int, int, int, int | None]
    scores: tuple[int, int, int, int | None]
    objectness: tuple[int, int, int, int | None] | None = None
    format: str = ""
    background: int | None = None  # column of the scores: 0, -1, or None
    squash: str = ""  # "sigmoid" or "softmax", to be applied to the scores; "" for probabilities
    squash_objectness: bool = False

    def __call__(self, outputs: Any, size: Size) -> RawRows:
        boxes = tf.cast(_part(outputs, self.boxes)[0], tf.float32)
        own, logits = self._opened(outputs, self.scores, self.squash)
        if self.background is not None:
            kept = slice(1, None) if self.background == 0 else slice(None, -1)
            own, logits = own[..., kept], logits[..., kept]
        if self.objectness is not None:
            there, there_logit = self._opened(outputs, self.objectness, "sigmoid" if self.squash_objectness else "")
            both_open = logits is not own and there_logit is not there
            own = own * there
            logits = logits + there_logit if both_open else own
        return RawRows(to_corners(boxes, self.format, size), own, logits)

    @staticmethod
    def _opened(outputs: Any, place: tuple[int, int, int, int | None], squash: str) -> tuple[Any, Any]:
        """Return scores and their logits, the same tensor where the logits are not known."""
        values, logits = _part(outputs, place)
        values = tf.cast(values, tf.float32)
        if squash:
            return (tf.nn.softmax(values) if squash == "softmax" else tf.sigmoid(values)), values
        return values, values if logits is None else tf.cast(logits, tf.float32)


def flat_outputs(outputs: Any) -> list[tuple[str, Any]]:
    """Return (name, tensor) of every output, in the order of the model's author."""
    if isinstance(outputs, Mapping):
        pairs: Any = outputs.items()
    elif isinstance(outputs, (list, tuple)):
        pairs = enumerate(outputs)
    else:
        return [("", outputs)]
    return [(f"{key}.{inner}".rstrip("."), value) for key, part in pairs for inner, value in flat_outputs(part)]


def _part(outputs: Any, place: tuple[int, int, int, int | None]) -> tuple[Any, Any]:
    """Return columns of an output, (B, N, columns), and the values before a final sigmoid or softmax, None if unknown.

    The values are found in the graph, also in front of a concatenation of boxes and scores or of several levels.
    """
    position, rows, start, stop = place
    output = flat_outputs(outputs)[position][1]
    columns = 3 - rows
    whole = output.shape[columns]
    stop = whole if stop is None else stop
    turn = [0, rows, columns]
    values = output[..., start:stop] if columns == 2 else output[:, start:stop]
    opened = _opened(output, columns, start, stop) if tf.is_symbolic_tensor(output) else None
    if opened is not None:
        opened = tf.reshape(opened, tf.shape(values))
        opened.set_shape(values.shape)
    if columns == 1:
        values, opened = tf.transpose(values, turn), None if opened is None else tf.transpose(opened, turn)
    return values, opened


def _opened(tensor: Any, axis: int, start: int, stop: int) -> Any:
    """Return the logits of columns `start` to `stop` of a symbolic tensor, None where they are not known."""
    while tensor.op.type in ("Identity", "Cast"):
        tensor = tensor.op.inputs[0]
    if tensor.op.type == "ConcatV2" and _axis_of(tensor) == axis:
        at, parts = 0, []
        for part in tensor.op.inputs[:-1]:
            width = part.shape[axis]
            if width is None or (at < start < at + width) or (at < stop < at + width):
                return None
            if start <= at < stop:
                parts.append(part)
            at += width
        logits = [_logits(part) for part in parts]
        return None if any(item is None for item in logits) else tf.concat(logits, axis)
    return _logits(tensor) if (start, stop) == (0, tensor.shape[axis]) else None


def _logits(tensor: Any) -> Any:
    """Return the values before a sigmoid or softmax that makes the tensor, in its shape; None without one."""
    operation = tensor.op
    if operation.type in ("Sigmoid", "Softmax"):
        return operation.inputs[0]
    if operation.type in _KEEPS_ORDER and operation.inputs:
        inner = _logits(operation.inputs[0])
        if inner is None:
            return None
        shaped = tf.reshape(inner, tf.shape(tensor))
        shaped.set_shape(tensor.shape)
        return shaped
    if operation.type == "ConcatV2":
        parts = [_logits(part) for part in operation.inputs[:-1]]
        return None if any(part is None for part in parts) else tf.concat(parts, _axis_of(tensor))
    return None


def _axis_of(concatenation: Any) -> int:
    axis = tf.get_static_value(concatenation.op.inputs[-1])
    return -99 if axis is None else int(axis) % concatenation.shape.rank


def to_corners(boxes: Any, form: str, size: Size) -> Any:
    """Return boxes (..., 4) written in one of `FORMATS` as (x1, y1, x2, y2) in pixels of an input of `size`."""
    a, b, c, d = tf.unstack(boxes, 4, axis=-1)
    kind = form.removeprefix("rel_")
    if kind == "yxyx":
        a, b, c, d = b, a, d, c
    elif kind == "xywh":
        c, d = a + c, b + d
    elif kind == "center_xywh":
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    height, width = size if form.startswith("rel_") else (1, 1)
    return tf.stack([a * width, b * height, c * width, d * height], axis=-1)


def overlaps(boxes: Any, box: Sequence[float]) -> Any:
    """Return the intersection over union (B, N) of boxes (B, N, 4) and one box."""
    corners = tf.constant(np.asarray(box, np.float32))
    low, high = tf.maximum(boxes[..., :2], corners[:2]), tf.minimum(boxes[..., 2:], corners[2:])
    inside = tf.reduce_prod(tf.nn.relu(high - low), axis=-1)
    areas = tf.reduce_prod(tf.nn.relu(boxes[..., 2:] - boxes[..., :2]), axis=-1)
    return tf.math.divide_no_nan(inside, areas + tf.reduce_prod(corners[2:] - corners[:2]) - inside)


# ---------------------------------------------------------------------------------------------------- adapters


def own_detector(model: Any) -> Callable[[Any, Size], RawRows] | None:
    """Return the reading of an object detector of keras_hub, None for another model."""
    kinds = [kind.__name__ for kind in type(model).__mro__ if kind.__module__.startswith("keras_hub.")]
    if "ObjectDetector" not in kinds:
        return None
    anchors = getattr(model, "anchor_generator", None)
    if anchors is not None:
        return _RetinaNet(anchors)
    return _queries if any("DFine" in kind for kind in kinds) else None


@dataclass(frozen=True)
class _RetinaNet:
    """Offsets from anchors, as `RetinaNetObjectDetector.decode_predictions` reads them; it holds no model."""

    anchors: Any

    def __call__(self, outputs: Any, size: Size) -> RawRows:
        by_level = self.anchors(tf.zeros([1, *size, 3]))
        boxes = keras.utils.bounding_boxes.decode_deltas_to_boxes(
            anchors=tf.concat(list(by_level.values()), axis=0),
            boxes_delta=tf.cast(outputs["bbox_regression"], tf.float32),
            encoded_format="center_xywh",
            anchor_format=self.anchors.bounding_box_format,
            box_format="xyxy",
            image_shape=(*size, 3),
        )
        logits = tf.cast(outputs["cls_logits"], tf.float32)
        return RawRows(boxes, tf.sigmoid(logits), logits)


def _queries(outputs: Any, size: Size) -> RawRows:
    """Read the queries of a `DFineObjectDetector`."""
    logits = tf.cast(outputs["logits"], tf.float32)
    return RawRows(
        to_corners(tf.cast(outputs["pred_boxes"], tf.float32), "rel_center_xywh", size), tf.sigmoid(logits), logits
    )


def detector_of(
    outputs: Any,
    size: Size,
    *,
    decode: DecodeLike = None,
    own: Callable[[Any, Size], RawRows] | None = None,
    name_count: int | None = None,
) -> Detector:
    """Return the reading of a model's raw outputs.

    Args:
        outputs: raw outputs of the first images, eager tensors in the model's structure: their values show how boxes
            and scores are written.
        size: (H0, W0) of the input.
        decode: as of `Explainer`.
        own: of `own_detector`.
        name_count: number of named classes, None where none are named.

    Raises:
        TypeError: `decode` is neither a text nor a callable.
        ValueError: an unknown word in `decode`; outputs that are no detector's; a callable that returns nonsense.
    """
    if callable(decode):
        return _decoded(decode, outputs, size, name_count)
    if decode is not None and not isinstance(decode, str):
        raise TypeError(
            f"Expected decode as a function outputs -> (boxes, scores), or as the way boxes are written, one of "
            f"{list(FORMATS)}, received {type(decode).__name__}."
        )
    if own is not None and decode is None:
        rows = own(outputs, size)
        kind = "RetinaNet" if isinstance(own, _RetinaNet) else "D-FINE"
        count = int(rows.scores.shape[-1])
        _check_names(count, name_count)
        return Detector(own, count, f"Read as keras_hub's {kind}: {rows.boxes.shape[1]} rows of {count} classes.")
    return _tabular(outputs, size, *_words(decode), name_count)


def _words(decode: str | None) -> tuple[str, set[str]]:
    """Return the way of boxes, "" if not said, and further words of `decode`."""
    words = [] if decode is None else [word.strip() for word in decode.split("+")]
    for word in words:
        if word not in (*FORMATS, *_EXTRAS):
            raise ValueError(unknown_name("word of decode", word, (*FORMATS, *_EXTRAS)))
    forms = [word for word in words if word in FORMATS]
    if decode is not None and len(forms) != 1:
        raise ValueError(f"Expected one of {list(FORMATS)} in decode, received '{decode}': {len(forms)} of them.")
    return (forms[0] if forms else ""), set(words) - set(forms)


def _tabular(outputs: Any, size: Size, form: str, extras: set[str], name_count: int | None) -> Detector:
    table, kind = _columns_of(outputs, extras, name_count)
    reasons: list[str] = []
    scores = _part(outputs, table.scores)[0].numpy().astype(np.float64)
    finite = np.isfinite(scores).all(axis=(1, 2))
    for place in filter(None, (table.boxes, table.objectness)):
        finite &= np.isfinite(_part(outputs, place)[0].numpy()).all(axis=(1, 2))
    if not finite.any():
        fact = (
            "Expected finite raw outputs, received NaN or infinite values for every image, as of pixels in another "
            "scaling than that of the training."
        )
        raise ValueError(Message(fact, "Scale the images as there.", "Choose it by --preprocess, such as unit."))
    scores = scores[finite]
    is_probability = scores.min() >= -1e-6 and scores.max() <= 1 + 1e-6
    sums_to_one = is_probability and scores.shape[-1] > 1 and np.abs(scores.sum(-1) - 1).max() < 1e-2
    background = _background(scores, extras, sums_to_one, name_count)
    squash = "" if is_probability else "softmax" if background is not None else "sigmoid"
    table = replace(table, background=background, squash=squash)
    reasons.append("scores in [0, 1]" if is_probability else f"scores outside [0, 1], so logits of a {squash}")
    if table.objectness is not None:
        there = _part(outputs, table.objectness)[0].numpy()[finite]
        table = replace(table, squash_objectness=bool(there.min() < -1e-6 or there.max() > 1 + 1e-6))
        reasons.append("objectness times class score")
    if background is not None:
        reasons.append(f"{'first' if background == 0 else 'last'} class taken as background")
    count = scores.shape[-1] - (background is not None)
    _check_names(count, name_count)
    best = _best_scores(table, outputs, size, finite)
    if form:
        reasons.insert(0, f"boxes {form}, as decode= says")
        _check_form(_part(outputs, table.boxes)[0].numpy()[finite], best, form, size)
    else:
        form, why = _form_of(_part(outputs, table.boxes)[0].numpy()[finite].astype(np.float64), best, size)
        reasons.insert(0, f"boxes {form}, because {why}")
    table = replace(table, format=form)
    said = f"Read as {kind} of {count} class{'es' if count != 1 else ''}: {'; '.join(reasons)}."
    other = "Say otherwise by"
    example = f"'{'yxyx' if form == 'xyxy' else 'xyxy'}'"
    sentence = Message(said, f"{other} decode={example} or a function.", f"{other} --decode {example[1:-1]}.")
    return Detector(table, count, sentence, is_guessed=not extras and "because" in reasons[0])


def _best_scores(table: _Table, outputs: Any, size: Size, finite: np.ndarray) -> np.ndarray:
    """Return the best score of every row of the finite images, (B, N)."""
    rows = replace(table, format="xyxy")(outputs, size)
    best: np.ndarray = rows.scores.numpy()[finite].max(-1)
    return best


def _columns_of(outputs: Any, extras: set[str], name_count: int | None) -> tuple[_Table, str]:
    """Return where boxes and scores stand among the raw outputs, and what such a head is called."""
    flat = flat_outputs(outputs)
    ranked = [(number, name, tuple(value.shape)) for number, (name, value) in enumerate(flat) if len(value.shape) == 3]
    if len(ranked) == 1 and len(flat) == 1:
        return _one_table(ranked[0][2], extras, name_count)
    found = [(n, r, w) for n, _, shape in ranked for r, w in _ways(shape) if w == 4]
    for number, rows, _ in _sorted_boxes(found, flat):
        count = _shape_of(ranked, number)[rows]
        others = [(n, name, shape) for n, name, shape in ranked if n != number and count in shape[1:]]
        single = [item for item in others if 1 in item[2][1:]]
        wide = [item for item in others if item not in single]
        objectness = None
        if len(single) == 1 and wide:
            objectness = single[0]
        elif len(single) == 2 and not wide:
            names = ("obj", "center", "conf")
            objectness = next((item for item in single if any(word in item[1].lower() for word in names)), None)
            wide = [item for item in single if item is not objectness] if objectness else []
        elif len(single) == 1:
            wide = single
        if len(wide) > 1:
            words = ("cls", "class", "score", "logit", "conf", "label", "prob")
            wide = [item for item in wide if any(word in item[1].lower() for word in words)] or wide
        if len(wide) == 1:
            own = wide[0]
            table = _Table((number, rows, 0, None), (own[0], _rows_axis(own[2], count), 0, None))
            if objectness is not None:
                table = replace(table, objectness=(objectness[0], _rows_axis(objectness[2], count), 0, None))
            return table, "an SSD head"
    shapes = ", ".join(f"{name or number} {shown(value.shape)}" for number, (name, value) in enumerate(flat))
    raise ValueError(
        "Expected a detector's raw outputs, (B, N, 4 + K), (B, 4 + K, N), or boxes (B, N, 4) and scores (B, N, K), "
        f"received {shapes}. Pass decode=, a function of the outputs that returns (boxes, scores): boxes (B, N, 4) as "
        "(x1, y1, x2, y2) in pixels of the input, scores (B, N, K) in [0, 1]."
    )


def _shape_of(ranked: list[tuple[int, str, tuple[int, ...]]], number: int) -> tuple[int, ...]:
    return next(shape for n, _, shape in ranked if n == number)


def _sorted_boxes(found: list[tuple[int, int, int]], flat: list[tuple[str, Any]]) -> list[tuple[int, int, int]]:
    """Return the outputs that may be the boxes, outputs with such a name first."""
    words = ("box", "loc", "reg", "offset")

    def rank(item: tuple[int, int, int]) -> tuple[bool, bool]:
        return not any(word in flat[item[0]][0].lower() for word in words), item[1] != 1

    return sorted(found, key=rank)


def _ways(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield (axis of the rows, width) of both ways to read (B, N, C)."""
    yield 1, shape[2]
    yield 2, shape[1]


def _rows_axis(shape: tuple[int, ...], count: int) -> int:
    return 1 if shape[1] == count else 2


def _one_table(shape: tuple[int, ...], extras: set[str], name_count: int | None) -> tuple[_Table, str]:
    """Return the columns of a YOLO-like head."""
    ways = sorted(_ways(shape), key=lambda way: way[1])  # fewer columns than rows
    has_objectness = "objectness" in extras
    if name_count is not None:
        fitting = [way for way in ways if way[1] == 4 + has_objectness + name_count]
        if not fitting and not has_objectness:
            fitting = [way for way in ways if way[1] == 5 + name_count]
            has_objectness = bool(fitting)
        if not fitting:
            raise ValueError(
                f"Expected a detector's raw outputs (B, N, 4 + {name_count}), or (B, N, 5 + {name_count}) with "
                f"objectness, for {name_count} class names, received {shown(shape)}. Pass class_names= of the classes "
                "that the model has, or decode=, a function."
            )
        ways = fitting
    elif shape[1] == shape[2]:
        raise ValueError(
            f"Expected more rows than columns in raw outputs {shown(shape)}: which axis holds the boxes cannot be "
            "seen. Pass class_names=, or decode=, a function outputs -> (boxes, scores)."
        )
    ways = [way for way in ways if way[1] >= 5 + has_objectness]
    if not ways:
        raise ValueError(
            f"Expected a detector's raw outputs with at least {5 + has_objectness} columns, four of them of the box, "
            f"received {shown(shape)}. Pass decode=, a function outputs -> (boxes, scores)."
        )
    rows, start = ways[0][0], 4 + has_objectness
    table = _Table((0, rows, 0, 4), (0, rows, start, None), (0, rows, 4, 5) if has_objectness else None)
    axes = ["N", f"{start} + K"] if rows == 1 else [f"{start} + K", "N"]
    return table, f"a YOLO-like head (B, {', '.join(axes)})"


def _background(scores: np.ndarray, extras: set[str], is_softmax: bool, name_count: int | None) -> int | None:
    """Return the column of the background, 0 or -1; None without one."""
    if "background" in extras or "background_last" in extras:
        return 0 if "background" in extras else -1
    columns = scores.shape[-1]
    has_one = columns == name_count + 1 if name_count is not None else is_softmax
    if not has_one:
        return None
    return 0 if scores[..., 0].mean() >= scores[..., -1].mean() else -1


def _check_names(count: int, name_count: int | None) -> None:
    if name_count is not None and name_count != count:
        raise ValueError(
            f"Expected class_names of {count} classes, as many as the detector has, received {name_count} names."
        )


def _sure(boxes: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Return the raw boxes (R, 4) of the rows with the best scores."""
    order = np.argsort(-best, axis=None, kind="stable")[:_SURE_ROWS]
    return np.asarray(boxes.reshape(-1, 4)[order], np.float64)


def _inside(boxes: np.ndarray, form: str, size: Size) -> float:
    """Return the mean part of the boxes that lies inside the picture; 0 for a box without an area."""
    x1, y1, x2, y2 = to_corners(tf.constant(boxes, tf.float64), form, size).numpy().T
    height, width = size
    kept = np.clip(np.minimum(x2, width) - np.maximum(x1, 0), 0, None)
    kept *= np.clip(np.minimum(y2, height) - np.maximum(y1, 0), 0, None)
    areas = (x2 - x1) * (y2 - y1)
    good = (x2 > x1) & (y2 > y1)
    return float(np.where(good, kept / np.where(good, areas, 1), 0).mean())


def _form_of(boxes: np.ndarray, best: np.ndarray, size: Size) -> tuple[str, str]:
    """Return the way in which raw boxes (B, N, 4) are written, and the reason."""
    sure = _sure(boxes, best)
    prefix = "rel_" if np.abs(sure).max() <= _MAX_RELATIVE else ""
    unit = "its numbers are parts of the picture" if prefix else "its numbers are pixels"
    every = boxes.reshape(-1, 4)
    ordered = bool((every[:, 2] > every[:, 0]).all() and (every[:, 3] > every[:, 1]).all())
    if ordered and _inside(sure, f"{prefix}xyxy", size) > 0.5:
        return f"{prefix}xyxy", f"{unit} and the second corner of every row lies behind the first"
    found = {form: _inside(sure, prefix + form, size) for form in ("center_xywh", "xywh", "xyxy")}
    form = max(found, key=lambda key: found[key])
    if found[form] < 0.5:
        raise ValueError(
            "Expected raw boxes in one of the ways "
            f"{list(FORMATS)}, received numbers from {every.min():.3g} to {every.max():.3g} that are boxes inside the "
            f"picture {size} in none of them, such as {np.round(sure[0], 3).tolist()}: they may be offsets from "
            "anchors. Pass decode=, a function of the outputs that returns (boxes, scores)."
        )
    reason = f"{unit} and {found[form]:.0%} of the area of the surest boxes then lies inside the picture"
    return prefix + form, reason


def _check_form(boxes: np.ndarray, best: np.ndarray, form: str, size: Size) -> None:
    sure = _sure(boxes, best)
    if _inside(sure, form, size) == 0:
        raise ValueError(
            f"Expected boxes written as {form}, received rows such as {np.round(sure[0], 3).tolist()}, which are not "
            f"boxes inside the picture {size} then. Pass another way in decode=: {list(FORMATS)}."
        )


def _decoded(decode: Decode, outputs: Any, size: Size, name_count: int | None) -> Detector:
    """Return the reading by a function of the user's own, tried on the first images."""
    name = getattr(decode, "__name__", type(decode).__name__)

    def rows_of(outputs: Any, size: Size) -> RawRows:
        del size
        boxes, scores = called_decode(decode, name, outputs)
        logits = _logits(scores) if tf.is_symbolic_tensor(scores) else None
        scores = tf.cast(scores, tf.float32)
        return RawRows(tf.cast(boxes, tf.float32), scores, scores if logits is None else tf.cast(logits, tf.float32))

    rows = rows_of(outputs, size)
    finite = np.array([np.isfinite(part).all() for part in _by_image(outputs)])
    check_rows(rows, name, finite)
    count = int(rows.scores.shape[-1])
    _check_names(count, name_count)
    sentence = f"Read by decode='{name}': {rows.boxes.shape[1]} rows of {count} class{'es' if count != 1 else ''}."
    return Detector(rows_of, count, sentence)


def _by_image(outputs: Any) -> list[np.ndarray]:
    flat = [np.asarray(value) for _, value in flat_outputs(outputs)]
    count = len(flat[0])
    flat = [values.reshape(count, -1) for values in flat if len(values) == count and values.dtype.kind == "f"]
    return list(np.concatenate(flat, axis=1)) if flat else [np.zeros(1)] * count


_CONTRACT = (
    "boxes (B, N, 4) as (x1, y1, x2, y2) in pixels of the input, and scores (B, N, K) in [0, 1], a row for each raw "
    "anchor, by TensorFlow or keras.ops operations"
)


def called_decode(decode: Decode, name: str, outputs: Any) -> tuple[Any, Any]:
    """Call a user's decode function, its shapes checked.

    Raises:
        ValueError: it fails, or does not return two tensors of the stated shapes.
    """
    try:
        result = decode(outputs)
    except Exception as error:  # of any kind: it is the user's code
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise ValueError(
            f"Expected decode to return {_CONTRACT}; '{name}' fails with {type(error).__name__}: {reason}."
        ) from error
    if isinstance(result, Mapping) or not isinstance(result, (tuple, list)) or len(result) != 2:
        received = f"{type(result).__name__} of {len(result)}" if hasattr(result, "__len__") else type(result).__name__
        raise ValueError(f"Expected decode to return {_CONTRACT}, a pair; '{name}' returned {received}.")
    boxes, scores = (part if tf.is_tensor(part) else None for part in result)
    if boxes is None or scores is None:
        kinds = ", ".join(type(part).__name__ for part in result)
        raise ValueError(f"Expected decode to return tensors, {_CONTRACT}; '{name}' returned {kinds}.")
    shapes = f"{shown(boxes.shape)} and {shown(scores.shape)}"
    is_good = boxes.shape.rank == scores.shape.rank == 3 and boxes.shape[-1] == 4 and scores.shape[-1] not in (None, 0)
    if not is_good or not boxes.shape[:2].is_compatible_with(scores.shape[:2]):
        raise ValueError(f"Expected decode to return {_CONTRACT}; '{name}' returned shapes {shapes}.")
    return boxes, scores


def check_rows(rows: RawRows, name: str, finite: np.ndarray) -> None:
    """Check the values that a user's decode function returned for images whose raw outputs are `finite` (B,)."""
    boxes, scores = rows.boxes.numpy()[finite], rows.scores.numpy()[finite]
    for what, values in (("boxes", boxes), ("scores", scores)):
        if not np.isfinite(values).all():
            image, row = np.argwhere(~np.isfinite(values))[0][:2]
            raise ValueError(
                f"Expected finite {what} from decode, received {values[image, row].tolist()} in row {row} of image "
                f"{image} from '{name}'."
            )
    wrong = np.argwhere((boxes[..., 2] < boxes[..., 0]) | (boxes[..., 3] < boxes[..., 1]))
    if len(wrong):
        image, row = wrong[0]
        raise ValueError(
            f"Expected boxes (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2 from decode, received "
            f"{np.round(boxes[image, row], 3).tolist()} in row {row} of image {image} from '{name}', and "
            f"{len(wrong) - 1} more of the kind. From centres and sides: x1 = x - w / 2, x2 = x + w / 2."
        )
    if scores.size and (scores.min() < -1e-6 or scores.max() > 1 + 1e-6):
        raise ValueError(
            f"Expected scores in [0, 1] from decode, received {scores.min():.4g} to {scores.max():.4g} from '{name}'. "
            "Return tf.sigmoid(scores), or tf.nn.softmax(scores)."
        )


# ------------------------------------------------------------------------------- non-maximum suppression


class Kept(NamedTuple):
    """Detections of one image after non-maximum suppression, best first; arrays of D."""

    rows: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray  # (D, 4) float32


def suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float, overlap: float, limit: int) -> Kept:
    """Return the detections of one image: each row's best class, and of overlapping boxes of a class the best.

    Args:
        boxes: (N, 4).
        scores: (N, K) in [0, 1].
        threshold: lowest score.
        overlap: intersection over union above which the lower score of a class is dropped.
        limit: largest number of detections.
    """
    classes, best = scores.argmax(-1), scores.max(-1)
    candidates = np.flatnonzero(best >= threshold)
    candidates = candidates[np.argsort(-best[candidates], kind="stable")][:_MAX_CANDIDATES]
    kept: list[int] = []
    for index in np.unique(classes[candidates]):
        own = candidates[classes[candidates] == index]
        chosen = tf.image.non_max_suppression(boxes[own][:, [1, 0, 3, 2]], best[own], min(limit, len(own)), overlap)
        kept += own[chosen.numpy()].tolist()
    rows = np.array(sorted(kept, key=lambda row: (-best[row], row))[:limit], np.int32)
    return Kept(rows, classes[rows].astype(np.int32), best[rows].astype(np.float32), boxes[rows].astype(np.float32))


# ------------------------------------------------------------------------------------- layers of a pyramid


def pyramid_layers(reader: ModelReader) -> list[str]:
    """Return the default layers of a detector: of each level of its pyramid, the last that all its rows pass.

    A level is told by the cells of the last tensors before the outputs that have cells of the picture. Without levels
    it is one layer, the default of any model.
    """
    for view in reader.views():
        levels = _levels(view, reader)
        if levels:
            return [FoundLayer(view, call).name for call in levels]
    return [find_layer(reader).name]


def _levels(view: View, reader: ModelReader) -> list[Call]:
    """Return the call of each level in the order of execution; none where a level does not have one."""
    sizes = [[side or _DEFAULT_SIDE for side in spec.shape[1:]] for spec in reader.inputs.specs]
    specs = [
        tf.TensorSpec([reader.inputs.batch_size, *size], spec.dtype)
        for size, spec in zip(sizes, reader.inputs.specs, strict=True)
    ]
    try:
        inputs, tensors, outputs = view.symbolic(specs)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError):  # pictures of that size do not suit the model
        return []
    image = sizes[reader.inputs.image_index]
    grids = {tensor.name for tensor in tensors if _is_grid(tensor.shape, image)}
    ends = _behind(outputs, grids, inputs) & grids
    features = _read_by_weights(outputs, ends, inputs)
    by_name = {tensor.name: tensor for tensor in tensors}
    by_size: dict[tuple[int, ...], list[Any]] = {}
    for name in sorted(ends):
        by_size.setdefault(tuple(by_name[name].shape[1:3]), []).append(by_name[name])
    found = [_last_of_level(view, tensors, level, grids - (ends - features), inputs) for level in by_size.values()]
    return [] if None in found else sorted({call for call in found if call is not None}, key=view.calls.index)


def _is_grid(shape: Any, image: Sequence[int]) -> bool:
    """Return whether a tensor (B, H, W, C) may have the cells of a picture, as wide as they are high to one cell."""
    if shape.rank != 4 or None in shape[1:3] or not is_spatial(tuple(shape)):
        return False
    return abs(shape[1] * image[1] - shape[2] * image[0]) <= max(image[:2])


def _behind(ends: Sequence[Any], stops: set[str], inputs: Sequence[Any]) -> set[str]:
    """Return the names of the tensors of floats, and of the model's inputs, that `ends` are made of, up to `stops`."""
    entries = {tensor.name for tensor in inputs}
    waiting, seen = list(ends), set()
    while waiting:
        tensor = waiting.pop()
        if tensor.name in seen or not (tensor.dtype.is_floating or tensor.name in entries):
            continue
        seen.add(tensor.name)
        if tensor.name not in stops:
            waiting += tensor.op.inputs
    return seen


def _read_by_weights(outputs: Sequence[Any], ends: set[str], inputs: Sequence[Any]) -> set[str]:
    """Return those of `ends` that layers with weights read: features, not yet predictions."""
    region = _behind(outputs, ends, inputs)
    sources: dict[str, set[str]] = {}
    features: set[str] = set()
    for operation in outputs[0].graph.get_operations():  # in the order of their creation
        if not any(tensor.name in region - ends for tensor in operation.outputs):
            continue
        parts = [{item.name} if item.name in ends else sources.get(item.name, set()) for item in operation.inputs]
        own = set().union(*parts)
        sources.update({tensor.name: own for tensor in operation.outputs})
        if any(map(_is_weight, operation.inputs)):
            features |= own
    return features


def _is_weight(tensor: Any) -> bool:
    while tensor.op.type in (*_KEEPS_ORDER, "Transpose") and tensor.op.inputs:
        tensor = tensor.op.inputs[0]
    return tensor.op.type == "ReadVariableOp" or (tensor.dtype == tf.resource and tensor.op.type == "Placeholder")


def _last_of_level(
    view: View, tensors: Sequence[Any], ends: Sequence[Any], allowed: set[str], inputs: Sequence[Any]
) -> Call | None:
    """Return the last call that every path from the inputs to the tensors `ends` of a level passes."""
    entries = {tensor.name for tensor in inputs}
    reaching = _behind(ends, set(), inputs)
    for call, tensor in reversed(list(zip(view.calls, tensors, strict=True))):
        if call.is_model or tensor.name not in allowed & reaching or not can_be_default(view, call):
            continue
        if entries.isdisjoint(_behind(ends, {tensor.name}, inputs)):
            return call
    return None
