"""A model cut at a layer into an extractor and a tail, and the end of the tail: class scores, a pooled linear layer.

Axis legend: B batch, H x W cells of the layer (any number of spatial axes), C channels, K outputs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_gradcam._errors import Message, unknown_name
from tf_gradcam._files.class_names import TOP_CLASS
from tf_gradcam._models.axes import AxisTrace
from tf_gradcam._models.graph import Call, Graph, Step, first_output
from tf_gradcam._models.keras_internals import call_in_inference, reading_scope
from tf_gradcam._models.layers import (
    FoundLayer,
    LayerLike,
    calls_named,
    cells_at,
    find_layer,
    is_head,
    is_plain,
    pictures_of,
)
from tf_gradcam._models.places import Cells, Shapes, are_signals, axes_behind, cells_of, place, probe
from tf_gradcam._models.reader import Images, ModelInputs, ModelReader, reader_of, shown
from tf_gradcam.image.resize import Placement, Unplaced


class SplitModel:
    """The two halves of a model: `tail(extractor(images))` equals `model(images)`.

    Attributes:
        layer_name: path of the layer that the model is cut at.
        activation_shape: (B, H, W, C) of the activations, None for a free axis.
        inputs: of the extractor.
        pictures: positions of the inputs that the layer may belong to, the best first.
        offset: pixels by which the cells are measured to look beside their places, for each axis of the map.
        stretch: their measured distance as a multiple of the placed one, likewise.
    """

    def __init__(
        self,
        inputs: ModelInputs,
        found: FoundLayer,
        extract: Callable[[Sequence[tf.Tensor]], list[tf.Tensor]],
        finish: Callable[[Sequence[tf.Tensor]], Any],
    ):
        self.inputs = inputs
        self.found = found
        self.layer_name = found.name
        self.activation_shape = found.shape
        self.pictures = [inputs.image_index]
        self.extract_unseen = extract
        self.finish = finish  # [activations, *frontier] -> the model's outputs, for use inside a tf.function
        self.offset: tuple[float, ...] = (0.0, 0.0)
        self.stretch: tuple[float, ...] = (1.0, 1.0)
        self.is_given = False  # whether the user says that the cells tile the picture
        self._cells: dict[Shapes, Cells | str | None] = {}

    def extract(self, inputs: Sequence[Any]) -> list[Any]:
        """Compute [activations, *frontier] from flat inputs, for use inside a tf.function.

        What becomes of the picture's axes is read from that function's graph, which spares `cells` another trace.
        """
        tensors = self.extract_unseen(inputs)
        shapes = tuple(tuple(tensor.shape[1:]) for tensor in inputs)
        if not tf.is_symbolic_tensor(tensors[0]) or shapes in self._cells or any(None in shape for shape in shapes):
            return tensors
        cells = cells_of(AxisTrace(inputs).of(tensors[0]), are_signals(shapes))
        if cells is not None:
            self._cells[shapes] = cells
        return tensors

    def cells(self, shapes: Shapes) -> Cells | str | None:
        """Return the cells of the layer for inputs of `shapes`, or why they are not places; None if not known."""
        if shapes not in self._cells:
            cells = cells_of(axes_behind(self.extract_unseen, self.inputs.specs, shapes), are_signals(shapes))
            self._cells[shapes] = probe(self.extract_unseen, self.inputs, shapes) if cells is None else cells
        cells = self._cells[shapes]
        return None if self.is_given and isinstance(cells, str) else cells

    def placement(self, cells: Sequence[int], arrays: Sequence[Any]) -> Placement | Unplaced:
        """Return where the cells of a map lie in the input that the layer belongs to."""
        placement = place(self.cells, cells, arrays, self.inputs.image_index, self.found.frame)
        is_measured = any(self.offset) or set(self.stretch) != {1.0}
        return self._measured(placement, cells) if is_measured and isinstance(placement, Placement) else placement

    def _measured(self, placement: Placement, cells: Sequence[int]) -> Placement:
        rows = zip(cells, placement.scale, placement.start, self.offset, self.stretch, strict=True)
        start = tuple(at + by - scale * (times - 1) * (count - 1) / 2 for count, scale, at, by, times in rows)
        scales = tuple(scale * times for scale, times in zip(placement.scale, self.stretch, strict=True))
        return replace(placement, scale=scales, start=start, known_by="measured")

    def release_model(self) -> None:
        """Release the model: a graph keeps its layers, a model without a graph must be kept by the caller."""
        if not isinstance(self.found.view, Graph):
            self.found.view.release()

    def extractor(self, images: Images) -> tf.Tensor:
        """Compute the activations of the layer.

        Args:
            images: (B, H0, W0, 3) as the model expects it; a list or dict for a model of several inputs.

        Returns:
            (B, H, W, C) tensor of activations; if other paths lead to the output (a residual branch, further inputs), a
            list of the activations and the frontier: the other tensors that the tail needs.

        Raises:
            TypeError, ValueError: `images` do not match the model's inputs, or its fixed batch size.
        """
        arrays = self.inputs.flatten(images)
        if self.inputs.batch_size not in (None, len(arrays[0])):
            raise ValueError(
                f"Expected a batch of {self.inputs.batch_size} images, the size that the model fixes, received "
                f"{len(arrays[0])}. Explainer(model)(images) takes any number."
            )
        tensors = self.extract([tf.convert_to_tensor(array) for array in arrays])
        return tensors[0] if len(tensors) == 1 else tensors

    def tail(self, activations: NDArray[Any] | tf.Tensor) -> Any:
        """Compute the model's outputs from activations.

        Args:
            activations: a result of `extractor`, or tensors of the same shapes.

        Returns:
            The outputs in the model's own structure.

        Raises:
            ValueError: activations of another shape.
        """
        is_list = isinstance(activations, (list, tuple))
        tensors = [tf.convert_to_tensor(t) for t in (activations if is_list else [activations]) if t is not None]
        if not tensors or not tensors[0].shape.is_compatible_with((None, *self.activation_shape[1:])):
            received = tuple(tensors[0].shape) if tensors else None
            raise ValueError(
                f"Expected activations {shown(self.activation_shape)} as extractor(images) returns them, received "
                f"{received}."
            )
        return self.finish(tensors)

    def __repr__(self) -> str:
        return f"SplitModel(layer_name={self.layer_name!r}, activation_shape={self.activation_shape})"


class WithPlace(NamedTuple):
    """The outputs of a model, and what came beside its images."""

    outputs: Any
    place: tf.Tensor


class PlacedSplit(SplitModel):
    """A split model with one more input behind the others: a mask or a point of each image, which the target reads.

    It passes the tail as a frontier tensor does, so that probes get what belongs to their image.
    """

    def __init__(self, plain: SplitModel, spec: tf.TensorSpec):
        vars(self).update(vars(plain))
        self._plain = plain
        inputs = plain.inputs
        self.inputs = replace(
            inputs, names=[*inputs.names, "place"], specs=[*inputs.specs, spec], picture=inputs.image_index
        )
        self.finish = lambda tensors: WithPlace(plain.finish(tensors[:-1]), tensors[-1])

    def extract(self, inputs: Sequence[Any]) -> list[Any]:
        return [*self._plain.extract(inputs[:-1]), inputs[-1]]

    def placement(self, cells: Sequence[int], arrays: Sequence[Any]) -> Placement | Unplaced:
        return self._plain.placement(cells, arrays[:-1])


def split_model(
    model: keras.Model | ModelReader,
    layer: LayerLike | None = None,
    classifier_layers: Sequence[LayerLike] | None = None,
) -> SplitModel:
    """Cut a model in two at a layer.

    Args:
        model: any built Keras 3 model: functional, Sequential, nested, subclassed.
        layer: name ("block5_conv3"), path into nested models ("efficientnetv2-s/top_activation"), index into
            `model.layers`, layer object, or None for the last spatial layer that every path to the output passes.
        classifier_layers: names of the layers after it, called in this order; None cuts the tail out of the graph,
            which also works if it branches.

    Returns:
        `SplitModel`. It uses the model's own layers; the model is not changed and no node is added to it.

    Raises:
        TypeError: `model` is not a Keras 3 model, or `layer` is of another type.
        ValueError: the layer is unknown, ambiguous, without spatial extent or not on the way to the output; the
            classifier layers do not compute the model's output, or stop before it (a final activation may be left out).
    """
    reader = reader_of(model)
    found = find_layer(reader, layer)
    extract, finish = found.view.halves(*(found.frames or [found.call]))
    if classifier_layers is not None:
        extract, finish = _named_halves(reader, found, classifier_layers)
    pictures = pictures_of(reader.inputs, found)
    split = SplitModel(replace(reader.inputs, picture=pictures[0]), found, extract, finish)
    split.pictures = pictures
    cells = None if is_plain(found.view) else cells_at(reader.inputs, found)
    return _with_channels_last(split) if isinstance(cells, Cells) and cells.channels_first else split


def _with_channels_last(split: SplitModel) -> SplitModel:
    """Return a split at a layer (B, C, H, W) with activations (B, H, W, C)."""
    rank = len(split.activation_shape)
    last, first = [0, *range(2, rank), 1], [0, rank - 1, *range(1, rank - 1)]

    def extract(inputs: Sequence[Any]) -> list[Any]:
        activations, *frontier = split.extract_unseen(inputs)
        return [tf.transpose(activations, last), *frontier]

    def finish(tensors: Sequence[Any]) -> Any:
        return split.finish([tf.transpose(tensors[0], first), *tensors[1:]])

    turned = SplitModel(split.inputs, split.found, extract, finish)
    turned.activation_shape = tuple(split.activation_shape[axis] for axis in last)
    turned.pictures = split.pictures
    return turned


def _named_halves(reader: ModelReader, found: FoundLayer, names: Sequence[LayerLike]) -> tuple[Callable, Callable]:
    """Build the published construction: the named layers called in order, checked against the model."""
    graph = found.view
    if not isinstance(graph, Graph):
        raise ValueError(
            f"Expected classifier_layers=None for '{reader.name}', which does not have a graph of layers, received a "
            "list. Leave it out: the tail then runs the model itself."
        )
    names = names.tolist() if isinstance(names, np.ndarray) else names
    if not isinstance(names, (list, tuple)) or not names:
        raise ValueError(f"Expected classifier_layers as a list of layer names, received {names!r}.")
    calls = [_named_call(graph, name) for name in names]
    extract_all, _ = graph.halves(found.call)

    def extract(inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        return extract_all(inputs)[:1]

    def finish(tensors: Sequence[tf.Tensor]) -> Any:
        result = tensors[0]
        with reading_scope():
            for call in calls:
                result = call_in_inference(call.operation, result)
        return result

    _check_chain(reader, found, calls, extract, finish)
    _check_end(reader, graph, calls)
    return extract, finish


def _check_end(reader: ModelReader, graph: Graph, calls: list[Call]) -> None:
    """Check that a list ends at the output or its logits, not at hidden units."""
    rest = graph.path_between(calls[-1], graph.first)
    if missing := [step.path for step in rest if step.function is None and not is_head(step.operation)]:
        raise ValueError(
            f"The layers {[call.path for call in calls]} stop before the output of '{reader.name}': their scores are "
            f"hidden units, not classes. Missing from the list: {missing}. Name every layer from the cut to the output "
            "in order, or leave classifier_layers out."
        )


def _named_call(graph: Graph, name: LayerLike) -> Call:
    wanted = getattr(name, "name", name)
    calls = calls_named(graph, str(wanted))
    if not calls:
        raise ValueError(unknown_name("classifier layer", str(wanted), [call.path for call in graph.calls]))
    return calls[-1]


def _check_chain(
    reader: ModelReader, found: FoundLayer, calls: list[Call], extract: Callable, finish: Callable
) -> None:
    """Compare the chain with the model's own value at its end, on seeded noise."""
    graph = found.view
    assert isinstance(graph, Graph)
    end = calls[-1].slot
    names = [call.path for call in calls]
    missed = [s.path for s in graph.path_between(found.call, end) if s.function is None and not _covered(s.path, names)]
    probe = noise_images(reader.inputs, 1, 64)
    expected = np.asarray(graph.run(graph.ancestors([end]), graph.enter(probe))[end], np.float64)
    remedy = "Name every layer from the cut to the output in order, or leave classifier_layers out."
    missing = f"Missing from the list: {missed}. " if missed else ""
    try:
        received = np.asarray(finish(extract(probe)), np.float64)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"The layers {names} cannot be called one after the other on '{found.call.path}': {reason} "
            f"{missing}{remedy}"
        ) from error
    if received.shape != expected.shape:
        raise ValueError(
            f"The layers {names} on '{found.call.path}' give an output of shape {received.shape}, the model gives "
            f"{expected.shape}. {missing}{remedy}"
        )
    difference = float(np.max(np.abs(received - expected), initial=0.0))
    tolerance = 1e-5 if not reader.is_half_precision else 2e-2  # sums of halves: three digits
    if not difference <= tolerance * max(1.0, float(np.max(np.abs(expected), initial=0.0))):
        raise ValueError(
            f"The layers {names} on '{found.call.path}' do not compute what the model computes: the largest difference "
            f"is {difference:.3g}. {missing}{remedy}"
        )


def _covered(path: str, names: list[str]) -> bool:
    return any(path == name or path.startswith(f"{name}/") for name in names)


def noise_images(
    inputs: ModelInputs, count: int, default_side: int, value_range: tuple[float, float] = (0.0, 1.0), seed: int = 0
) -> list[tf.Tensor]:
    """Return a batch of uniform noise images, a tensor per input: `count`, or as many as the model takes at a time.

    Free axes have `default_side` pixels.
    """
    generator = np.random.default_rng(seed)
    count = inputs.batch_size or count
    shapes = [[count, *(side or default_side for side in spec.shape[1:])] for spec in inputs.specs]
    noise = (generator.uniform(*value_range, shape) for shape in shapes)
    return [tf.cast(values, spec.dtype) for values, spec in zip(noise, inputs.specs, strict=True)]


_SQUASHING = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
_KEEPS_ORDER = {"Identity", "Cast", "Reshape", "Squeeze", "ExpandDims"}
_OPENED = frozenset(_SQUASHING.values())
_UNSURE = ("bounded", "length")  # the values show whether they are probabilities


@dataclass(frozen=True)
class Head:
    """An output of a model, with the scores before its final activation.

    Attributes:
        logits: float32, the shape of `output`; `output` itself without a final softmax or sigmoid, less 1/2 for one
            unit (of each place) that is a probability, so that its sign tells its two classes apart; of values with
            places (B, ..., K), their means over the places (B, K).
        output: float32, as the model returns it.
        kind: "softmax", "log_softmax" or "sigmoid", the function from `logits` to `output`; "probability" for other
            values that cannot leave [0, 1], such as an average of sigmoids; "length" for the lengths of vectors, as of
            capsules; "bounded" for values that have another limit, which logits do not have; "labels" for logits of
            which each one is a label, "value" for values, both only where the task says so; else "linear".
        is_pair: whether one unit means two classes, by the sign of `logits`.
    """

    logits: tf.Tensor
    output: tf.Tensor
    kind: str
    is_pair: bool = False

    @property
    def is_open(self) -> bool:
        """True where `logits` come before a final softmax or sigmoid."""
        return self.kind in _OPENED

    @property
    def class_count(self) -> int | None:
        """Number of classes or values, 2 for a pair; None where the output is not (B, K)."""
        shape = self.logits.shape
        if self.kind == "value" and shape.rank == 1:
            return 1
        if shape.rank != 2 or shape[-1] is None:
            return None
        return 2 if self.is_pair else int(shape[-1])


def open_head(output: tf.Tensor, task: str | None = None) -> Head:
    """Return the scores before the final softmax or sigmoid of a symbolic output.

    Args:
        output: (B, ...) output of a model, a tensor of the graph being traced.
        task: of the model, where it is known: for "classification" one unit without a sigmoid is the logit of the
            second of two classes, for "multilabel" units without an activation are logits of labels, and for
            "regression" all outputs are values.

    Returns:
        `Head` with the input of the final softmax or sigmoid, cast to float32. Reshapes, casts and identities after it
        (1x1-convolution heads, mixed precision, inference dropout) keep the order of the values and are skipped.
    """
    if task == "regression":
        values = tf.cast(output, tf.float32)
        has_places = values.shape.rank is not None and values.shape.rank > 2
        means = tf.reduce_mean(values, axis=list(range(1, values.shape.rank - 1))) if has_places else values
        return Head(means, values, "value")
    tensor = output
    while tensor.op.type in _KEEPS_ORDER and tensor.op.inputs:
        tensor = tensor.op.inputs[0]
    kind = _SQUASHING.get(tensor.op.type, "linear")
    is_unit = output.shape.rank is not None and output.shape.rank >= 2 and output.shape[-1] == 1
    can_be_pair = is_unit and output.shape.rank == 2
    output = tf.cast(output, tf.float32)
    if kind in _OPENED:
        logits = tf.cast(tensor.op.inputs[0], tf.float32)
        reshaped = tf.reshape(logits, tf.shape(output))
        reshaped.set_shape(output.shape)
        return Head(reshaped, output, kind, can_be_pair and kind == "sigmoid")
    low, high = value_range(tensor)
    if low >= 0 and high <= 1 + 1e-6:  # the weights of an average sum to one within rounding
        return Head(output - 0.5 if is_unit else output, output, "probability", can_be_pair)
    kind = "linear" if math.isinf(low) and math.isinf(high) else "bounded"
    if tensor.op.type == "Sqrt" and _behind_sum(tensor.op.inputs[0]) is not None:
        kind = "length"
    if task == "multilabel" and kind == "linear":
        kind = "labels"
    return Head(output, output, kind, can_be_pair and task == "classification" and low < 0 < high)


def probabilities(head: Head) -> tf.Tensor | None:
    """Return the probabilities of the classes, or None for values (regression).

    Returns:
        (B, K) float32: the model's own where its outputs are probabilities, also if they do not sum to one; (B, 2) for
        one unit of two classes, the second column its value; the softmax or sigmoid of a model that ends in logits.
        Outputs that may be logits and sum to one (after a softmax inside a tf.function of the model's own) are returned
        unchanged. Bounded outputs are probabilities where they sum to one (sparsemax), lengths where they are at most 1
        (capsules); elsewhere they are -1.
    """
    output = head.output
    if head.is_pair and head.kind not in _UNSURE:
        positive = tf.sigmoid(output) if head.kind == "linear" else output
        return tf.concat([1.0 - positive, positive], axis=-1)
    if head.kind == "log_softmax":
        return tf.exp(output)
    if head.class_count == 1 or head.kind == "value":
        return None
    if head.kind == "labels":
        return tf.sigmoid(output)
    if head.is_open or head.kind == "probability":
        return output
    if output.shape.rank != 2 or head.is_pair:
        return None
    fits = tf.reduce_all(output <= 1, axis=-1) if head.kind == "length" else are_probabilities(output)
    other = tf.nn.softmax(output) if head.kind == "linear" else tf.fill(tf.shape(output), -1.0)
    return tf.where(fits[:, None], output, other)


def are_probabilities(output: tf.Tensor) -> tf.Tensor:
    """Return (B,) bool: rows (B, K) without a negative value whose sum is one, to three digits for half precision."""
    sums_to_one = tf.abs(tf.reduce_sum(output, axis=-1) - 1.0) < 1e-3
    return tf.logical_and(tf.reduce_all(output >= 0.0, axis=-1), sums_to_one)


def of_all_classes(values: Any, class_count: int | None) -> Any:
    """Return values (..., K) of every class; for one unit of two classes, class 0 has minus its value."""
    return tf.concat([-values, values], axis=-1) if class_count == 2 and values.shape[-1] == 1 else values


def class_scores(head: Head, indices: tf.Tensor, has_others: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the scores (B,) of the classes `indices` (B,), and these indices with each top class filled in.

    A value (B, 1) does not have classes: its score is the value, its index stays -1. Of several values the first takes
    the place of a top class. An error names the way to another output where the model `has_others`.
    """
    if head.class_count is None:
        fact = f"Expected outputs of shape (B, K) for a class target, received {tuple(head.logits.shape)}."
        remedy = "ass target= a callable that takes the outputs and returns one score per image."
        others = "{} chooses another output." if has_others else ""
        raise ValueError(
            Message(fact, f"P{remedy} {others.format('output=')}", f"In Python, p{remedy} {others.format('--output')}")
        )
    if head.class_count == 1:
        return tf.reshape(head.logits, [-1]), tf.fill(tf.shape(indices), TOP_CLASS)
    logits = of_all_classes(head.logits, head.class_count)
    is_value = head.kind == "value"
    top = tf.zeros_like(indices) if is_value else tf.argmax(logits, axis=-1, output_type=tf.int32)
    chosen = tf.where(indices < 0, top, indices)
    return tf.gather(logits, chosen, axis=1, batch_dims=1), chosen


def class_probabilities(head: Head, indices: tf.Tensor) -> tf.Tensor:
    """Return the probabilities (B,) of the classes `indices` (B,), or their scores if these are not probabilities."""
    values = None if head.kind in _UNSURE else probabilities(head)
    if values is None:
        return class_scores(head, indices)[0]
    return tf.gather(values, indices, axis=1, batch_dims=1)


Limits = tuple[float, float]

# Operations whose values have limits whatever they are given; others are unknown, and so are their values.
_LIMITS: dict[str, Limits] = {
    **dict.fromkeys(("Softmax", "Sigmoid"), (0.0, 1.0)),
    **dict.fromkeys(("Tanh", "Softsign", "Erf"), (-1.0, 1.0)),
    **dict.fromkeys(("Relu", "Softplus", "Exp", "Square", "Abs", "Sqrt", "Rsqrt"), (0.0, math.inf)),
    "Relu6": (0.0, 6.0),
    "LogSoftmax": (-math.inf, 0.0),
}
_KEEPS_LIMITS = {"IdentityN", "StopGradient", "PreventGradient", "Transpose", "StridedSlice", "Slice", "GatherV2"} | {
    *("GatherNd", "Pack", "ConcatV2", "Tile", "BroadcastTo", "Mean", "Max", "Min", "ReverseV2", "SelectV2"),
    *_KEEPS_ORDER,
}
_KEEPS_PROBABILITIES = {"Square", "Sqrt", "Abs", "Pow", "Prod"}
_MAX_DEPTH = 40  # operations from the output; a head has a few
_UNKNOWN = (-math.inf, math.inf)


def value_range(tensor: tf.Tensor, depth: int = 0) -> Limits:
    """Return limits that the values of a symbolic tensor cannot leave, by interval arithmetic over its operations.

    Averages, slices and products of softmaxes and sigmoids stay in [0, 1]; what a layer with weights returns has no
    limits.
    """
    operation = tensor.op
    kind = operation.type
    if kind == "Const":
        value = np.asarray(tf.get_static_value(tensor))
        return (float(value.min()), float(value.max())) if value.size and value.dtype.kind in "fiu" else _UNKNOWN
    parts = [item for item in operation.inputs if item.dtype.is_floating] if depth < _MAX_DEPTH else []
    if not parts:
        return _LIMITS.get(kind, _UNKNOWN)
    limits = [value_range(item, depth + 1) for item in parts]
    (low, high), (low2, high2) = limits[0], limits[-1]
    if kind in _KEEPS_LIMITS:
        return min(item[0] for item in limits), max(item[1] for item in limits)
    if kind in ("AddV2", "Add", "AddN", "BiasAdd"):
        return sum(item[0] for item in limits), sum(item[1] for item in limits)
    if kind == "Sub":
        return low - high2, high - low2
    if kind == "Neg":
        return -high, -low
    if kind in ("Maximum", "Minimum"):
        pick = max if kind == "Maximum" else min
        return pick(low, low2), pick(high, high2)
    if kind == "Mul":
        return _corners(limits, lambda a, b: 0.0 if 0 in (a, b) else a * b)
    if kind in ("RealDiv", "DivNoNan"):
        if low >= 0 and _behind_sum(parts[1]) is parts[0]:
            return 0.0, 1.0  # a softmax by hand
        return _corners(limits, lambda a, b: a / b if not math.isinf(a) else a) if low2 > 0 else _UNKNOWN
    if kind == "Sum":
        return 0.0 if low >= 0 else -math.inf, 0.0 if high <= 0 else math.inf
    if kind == "Exp":
        return math.exp(min(low, 700.0)), math.exp(high) if high < 700 else math.inf
    if kind == "Log":
        return -math.inf, math.log(high) if 0 < high < math.inf else math.inf
    if kind == "ClipByValue":
        return max(low, limits[1][0]), min(high, high2)
    if kind in _KEEPS_PROBABILITIES and low >= 0 and high <= 1 and (kind != "Pow" or low2 >= 0):
        return 0.0, 1.0
    return _LIMITS.get(kind, _UNKNOWN)


def _corners(limits: list[Limits], combine: Callable[[float, float], float]) -> Limits:
    values = [combine(a, b) for a in limits[0] for b in limits[-1]]
    return min(values), max(values)


def _behind_sum(tensor: tf.Tensor) -> tf.Tensor | None:
    """Return what a tensor is the sum of, which a small number may keep away from zero; None if it is not a sum."""
    while tensor.op.type in (*_KEEPS_ORDER, "Maximum", "AddV2") and tensor.op.inputs:
        tensor = next((item for item in tensor.op.inputs if item.op.type != "Const"), tensor.op.inputs[0])
    return tensor.op.inputs[0] if tensor.op.type == "Sum" else None


# A tail as a word of one letter a step: k keeps the values, r their order, p pools, d is linear, s squashes.
_POOLED_LINEAR = re.compile("k*p[kr]*d[kr]*(s[kr]*)?")
_LINEAR = {"Dense", "Conv1D", "Conv2D", "Conv3D"}
_SQUASHING_ACTIVATIONS = {"softmax", "log_softmax", "sigmoid"}


class LinearTail:
    """A tail whose logits are `mean(activations over the cells) @ kernel + bias`.

    The gradient of logit k is then kernel[:, k] / (H * W) in every cell.
    """

    def __init__(self, layer: Any):
        self._layer = layer

    def kernel(self) -> Any:
        """Read the kernel (C, K) float32 from the layer's variables."""
        with reading_scope():
            kernel = keras.ops.cast(keras.ops.convert_to_tensor(self._layer.kernel), "float32")
        return tf.reshape(kernel, kernel.shape[-2:])  # a 1x1 convolution has further axes of one

    def bias(self) -> Any:
        """Read the bias (K,) float32, or 0."""
        with reading_scope():
            return keras.ops.cast(self._layer.bias, "float32") if self._layer.use_bias else 0.0


def linear_tail(split: SplitModel) -> LinearTail | None:
    """Return the tail as global average pooling and one linear layer, or None if it is not of this kind.

    The graph shows it, and a test confirms it: on seeded noise the formula must give the tail's own logits.

    Args:
        split: the model, cut at a layer.

    Returns:
        `LinearTail` of the model's first output; None also if some output does not depend on the layer alone.
    """
    graph, call = split.found.view, split.found.call
    if not isinstance(graph, Graph) or graph.frontier(call.slot, graph.outputs):
        return None  # a branch around the layer, or an output that does not depend on it
    steps = graph.path_between(call, graph.first)
    word = "".join(_letter(step) for step in steps)
    if not _POOLED_LINEAR.fullmatch(word):
        return None
    tail = LinearTail(steps[word.index("d")].operation)
    return tail if _agrees(tail, split) else None


def _letter(step: Step) -> str:
    operation, kind = step.operation, type(step.operation).__name__
    activation = getattr(getattr(operation, "activation", None), "__name__", "linear")
    if step.function is not None or kind in ("Dropout", "Identity") or (kind, activation) == ("Activation", "linear"):
        return "k"  # a step with a function is the entrance of a nested model
    if kind in ("Flatten", "Reshape"):
        return "r"
    if kind.startswith("GlobalAveragePooling") and operation.data_format == "channels_last":
        return "p"
    if kind in _LINEAR and _is_plain(operation) and activation in {"linear", *_SQUASHING_ACTIVATIONS}:
        return "d"
    if kind in ("Softmax", "LogSoftmax", "Sigmoid") or (kind == "Activation" and activation in _SQUASHING_ACTIVATIONS):
        return "s"
    return "?"


def _is_plain(layer: Any) -> bool:
    """Return whether a layer is Keras' own, not quantised, and, as a convolution, reads one cell."""
    if type(layer) is not getattr(keras.layers, type(layer).__name__) or getattr(layer, "quantization_mode", None):
        return False
    return set(getattr(layer, "kernel_size", (1,))) == {1} and getattr(layer, "groups", 1) == 1


def _agrees(tail: LinearTail, split: SplitModel) -> bool:
    """Return whether the formula gives the tail's own logits."""
    shape = [
        split.inputs.batch_size or 2,
        *(3 + axis if side is None else side for axis, side in enumerate(split.activation_shape[1:])),
    ]
    generator = np.random.default_rng(0)
    # Each channel has a mean of its own: pooled noise without one is nearly zero.
    noise: np.ndarray = generator.normal(size=shape) + generator.normal(
        size=[shape[0], *[1] * (len(shape) - 2), shape[-1]]
    )

    def compared(activations: Any) -> tuple[Any, Any]:
        first = first_output(split.finish([activations]))
        pooled = tf.reduce_mean(activations, axis=list(range(1, activations.shape.rank - 1)))
        return open_head(first).logits, tf.matmul(pooled, tail.kernel()) + tail.bias()

    traced = tf.function(compared, [tf.TensorSpec(shape, tf.float32)], autograph=False).get_concrete_function()
    received, expected = traced(tf.constant(noise, tf.float32))  # a graph, although functions may run eagerly
    if received.shape != expected.shape:
        return False
    is_half = "16" in str(getattr(tail._layer, "compute_dtype", ""))
    difference = float(np.max(np.abs(received.numpy() - expected.numpy())))
    return difference <= (2e-2 if is_half else 1e-4) * float(np.max(np.abs(expected.numpy())))
