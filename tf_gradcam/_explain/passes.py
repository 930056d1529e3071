"""Compiled passes: forward pass, tape over the tail, rule, relu; traced once for each kind of target.

Axis legend: B batch, H x W cells of the layer, C channels, K classes, H0 x W0 pixels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam._errors import Message
from tf_gradcam._explain.fusion import Progress
from tf_gradcam._files.class_names import TOP_CLASS
from tf_gradcam._models.frozen import FrozenWeights
from tf_gradcam._models.graph import first_output
from tf_gradcam._models.reader import ModelInputs
from tf_gradcam._models.split import (
    Head,
    SplitModel,
    WithPlace,
    class_probabilities,
    class_scores,
    open_head,
    probabilities,
)
from tf_gradcam._results.explanation import MapArrays
from tf_gradcam._rules.contract import Rule
from tf_gradcam._rules.table import needs_of
from tf_gradcam.targets.base import Target, as_labels, as_two_sides, called, with_place, with_raw_output

# Gradients of float16 activations underflow at 6e-8: the score is scaled up before and down again in float32.
_HALF_PRECISION_SCALE = 256.0
NOT_FINITE = (
    "Expected images of finite numbers, received NaN or infinite values in every image: check how they were loaded and "
    "scaled."
)
# Of the largest term: the error of an activation in halves; four times the error of a term in float32.
_ROUNDINGS = {tf.float16: 2.0**-10, tf.bfloat16: 2.0**-7}


class Peaks(NamedTuple):
    """The largest values behind a map, per image, for its diagnosis; tensors, described in `MapArrays`."""

    gradient_peaks: tf.Tensor
    activation_peaks: tf.Tensor | None = None
    roundings: tf.Tensor | None = None


class Scored(NamedTuple):
    """Scores of the target and all outputs; tensors.

    Attributes:
        outputs: (B, K) float32, the scores before a final softmax or sigmoid.
        probabilities: (B, K) float32, None where the outputs are values.
        scores: (B,) float32, the target's.
        confidences: (B,) float32, the probability of the explained class; the score where the target is a callable.
        class_indices: (B,) int32, -1 for a callable.
    """

    outputs: tf.Tensor
    probabilities: tf.Tensor | None
    scores: tf.Tensor
    confidences: tf.Tensor
    class_indices: tf.Tensor

    def with_maps(self, raw: Any, peaks: Peaks, finite_images: Any) -> MapArrays:
        """Return the arrays of an explanation, still as tensors, with normalised maps."""
        heatmaps = normalise(raw, finite_images)
        outputs, probabilities, scores, _, classes = self
        return MapArrays(
            raw, heatmaps, outputs, probabilities, scores, classes, finite_images=finite_images, **peaks._asdict()
        )


def to_arrays(tensors: Any) -> Any:
    """Convert a structure of tensors to NumPy arrays; the only way from tensors to results."""
    return tf.nest.map_structure(lambda tensor: None if tensor is None else tensor.numpy(), tensors)


class Pass:
    """Compiled function of images and class indices, for class targets or for one callable.

    A subclass sets `_compiled`, or overrides `explain_batch` where one function is not enough.

    Args:
        inputs: of the model.
        target: None for class targets, or a callable.
        freeze: whether the weights become constants of the compiled graph.
        task: of the model, None where it is not known, see `open_head`.

    Attributes:
        trace_count: number of compilations.
        has_open_head: whether the scores of the explained output come before a final softmax or sigmoid.
        head_kind: of the explained output, see `Head.kind`.
        class_count: number of its classes, 1 for a value, None where its values are not (B, K).
    """

    def __init__(self, inputs: ModelInputs, target: Target | None, freeze: bool = False, task: str | None = None):
        self.inputs = inputs
        self.target = target
        self._freeze = freeze
        self._task = task
        self._frozen: list[FrozenWeights] = []
        self._compiled: Any = None
        self.trace_count = 0
        self.has_open_head = False
        self.head_kind = ""
        self.class_count: int | None = None

    def compile(self, function: Callable[..., Any], signature: Sequence[Any]) -> Any:
        """Compile `function(*tensors)` with free batch size; traced now, so that errors are raised now."""
        frozen = FrozenWeights() if self._freeze else None

        def traced(*tensors: Any) -> Any:
            self.trace_count += 1
            with frozen.read_as_constants() if frozen else contextlib.nullcontext():
                return function(*tensors)

        concrete = tf.function(traced, input_signature=list(signature), autograph=False).get_concrete_function()
        if frozen:
            self._frozen.append(frozen)
        return concrete

    def check_weights(self) -> None:
        """Raise a ValueError with the name of a weight that changed since it was frozen."""
        for frozen in self._frozen:
            changed = frozen.changed()
            if changed is not None:
                raise ValueError(
                    f"Expected the weights that were frozen, but '{changed}' has changed since: build a new Explainer, "
                    "or use freeze=False, which reads the weights at every call."
                )

    @property
    def frozen_bytes(self) -> int:
        """Bytes of the weights that were copied into constants."""
        return sum(frozen.byte_count for frozen in self._frozen)

    def explained(self, outputs: Any, indices: Any) -> Scored:
        """Return scores (B,) of the target and all outputs, inside the graph being traced."""
        outputs, place = outputs if isinstance(outputs, WithPlace) else (outputs, None)
        # A model of several outputs is explained at its first one, unless a callable says otherwise. The names are its.
        explained = first_output(outputs)
        heads = keras.tree.map_structure(
            lambda output: open_head(output, self._task if output is explained else None), outputs
        )
        first: Head = first_output(heads)
        self.has_open_head, self.head_kind = first.is_open, first.kind
        self.class_count = first.class_count
        if self.target is None:
            scores, classes = class_scores(first, indices, explained is not outputs)
            confidences = class_probabilities(first, classes)
        else:
            scores = self._called(keras.tree.map_structure(lambda head: _target_input(head, place), heads))
            classes, confidences = tf.fill(tf.shape(indices), TOP_CLASS), scores
        values = first.logits[:, None] if first.logits.shape.rank == 1 else first.logits
        return Scored(values, probabilities(first), scores, confidences, classes)

    def _called(self, outputs: Any) -> Any:
        assert self.target is not None
        scores = called(self.target, outputs)
        if not tf.is_tensor(scores) or scores.shape.rank != 1:
            received = f"shape {tuple(scores.shape)}" if tf.is_tensor(scores) else type(scores).__name__
            raise ValueError(f"Expected target to return one score per image, a tensor (B,), received {received}.")
        return tf.cast(scores, tf.float32)

    def __call__(self, arrays: Sequence[Any], indices: np.ndarray, progress: Progress | None = None) -> MapArrays:
        """Explain a batch.

        Args:
            arrays: the model's inputs as `ModelInputs.flatten` returns them.
            indices: (B,) int32 classes, -1 for an image's own top class.
            progress: called with (done, total) during the work.
        """
        size = self.inputs.batch_size
        batches, finished = -(-len(indices) // size) if size else 1, 0

        def report(done: int, total: int) -> None:
            if progress is not None:
                progress(finished * total + done, batches * total)

        def run(rows: list[Any]) -> MapArrays:
            nonlocal finished
            results = self.explain_batch(rows[:-1], rows[-1], report)
            finished += 1
            return results

        results = self.around_bad_images([*arrays, indices], lambda rows: in_batches(size, rows, run))
        known = np.isnan(results.scores) & (indices >= 0)
        return results._replace(class_indices=np.where(known, indices, results.class_indices))

    def around_bad_images(self, arrays: list[Any], run: Callable[[list[Any]], MapArrays]) -> MapArrays:
        """Return `run(arrays)`, without the bad images where tf.debugging.enable_check_numerics refuses them."""
        try:
            return with_probabilities(run(arrays))
        except tf.errors.InvalidArgumentError:
            good = all_finite(tf.convert_to_tensor(arrays[self.inputs.image_index])).numpy()
            if good.all():
                raise
            if not good.any():
                raise ValueError(NOT_FINITE) from None
        some = [array[good] if isinstance(array, np.ndarray) else tf.boolean_mask(array, good) for array in arrays]
        return _spread(with_probabilities(run(some)), good)

    def explain_batch(self, arrays: Sequence[Any], indices: np.ndarray, progress: Progress) -> MapArrays:
        """Explain a batch of a size that the model takes."""
        results: MapArrays = to_arrays(self._compiled(*arrays, indices))
        progress(1, 1)
        return results


def _spread(results: MapArrays, good: np.ndarray) -> MapArrays:
    """Return the results of the images `good` (B,) among all B; the others have blank maps and NaN for numbers."""

    def spread(values: np.ndarray | None) -> np.ndarray | None:
        if values is None:
            return None
        filled = np.full((len(good), *values.shape[1:]), np.nan if values.dtype.kind == "f" else 0, values.dtype)
        filled[good] = values
        return filled

    everywhere: MapArrays = tf.nest.map_structure(spread, results)
    return everywhere._replace(heatmaps=np.nan_to_num(everywhere.heatmaps))


def in_batches(size: int | None, arrays: Sequence[Any], run: Callable[[list[Any]], Any]) -> Any:
    """Return `run(arrays)`, in batches of exactly `size` rows where a model has a fixed batch size.

    Args:
        size: rows of a batch, None for any number.
        arrays: each (B, ...).
        run: arrays (size, ...) -> a structure of arrays (size, ...) or None. The last batch is filled up by repeats of
            the last row, which are dropped from its results.
    """
    count = len(arrays[0])
    if size is None or size == count:
        return run(list(arrays))
    parts = []
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        batch = [tf.gather(array, rows) if tf.is_tensor(array) else np.asarray(array)[rows] for array in arrays]
        kept = count - start
        parts.append(tf.nest.map_structure(lambda part, kept=kept: None if part is None else part[:kept], run(batch)))
    return tf.nest.map_structure(lambda *some: None if some[0] is None else np.concatenate(some), *parts)


def with_probabilities(results: MapArrays) -> MapArrays:
    """Return results without probabilities where bounded outputs turn out to be none, see `split.probabilities`."""
    values = results.probabilities
    if values is None or not (values < 0).any():
        return results
    is_none = ((values < 0) & np.isfinite(results.outputs.sum(-1, keepdims=True))).any()
    return results._replace(probabilities=None if is_none else np.where(values < 0, np.float32(np.nan), values))


def _target_input(head: Head, place: Any) -> Any:
    """Return the logits that a target is called with, both sides of one unit of two classes; values at every place."""
    logits = with_raw_output(head.output if head.kind == "value" else head.logits, head.output)
    if place is not None:
        logits = with_place(logits, place)
    if head.kind == "sigmoid":
        logits = as_labels(logits)
    return as_two_sides(logits) if head.is_pair else logits


class SplitPass(Pass):
    """Pass over a split model by a rule of activations and gradients; `options` as `Pass`."""

    def __init__(self, split: SplitModel, target: Target | None, rule: Rule, *options: Any):
        super().__init__(split.inputs, target, *options)
        self.split = split
        self.rule = rule
        self.needs = needs_of(rule)

    def mapped(self, cut: list[Any], indices: Any) -> tuple[Scored, Any, Peaks]:
        """Return scores, the map before relu, and the peaks of its inputs; inside the graph being traced."""
        scored, gradients, curvature = self._differentiate(cut, indices)
        activations = tf.cast(cut[0], tf.float32)
        arguments = [activations, gradients]
        if curvature is not None:
            arguments.append(curvature)
        frames = len(self.split.found.frames)
        if frames:  # one map per frame, as if each frame were an image
            arguments = list(map(_frames_as_images, arguments))
        weights = self.rule(*arguments)
        raw = combine(weights, arguments[0])
        peaks_read = peaks_of(arguments[self.needs != "activations"], weights, arguments[0], cut[0].dtype)
        if frames:
            raw = tf.reshape(raw, tf.shape(activations)[:-1])
            peaks_read = Peaks(*(tf.reduce_max(tf.reshape(each, [-1, frames]), axis=1) for each in peaks_read))
        return scored, raw, peaks_read

    def _differentiate(self, cut: list[Any], indices: Any) -> tuple[Scored, Any, Any]:
        """Return scores of the tail, their gradients, and the curvature H A if the rule needs it; float32."""
        with tf.GradientTape(watch_accessed_variables=False) as second:
            if self.needs == "curvature":
                second.watch(cut[0])
            with tf.GradientTape(watch_accessed_variables=False, persistent=cut[0].dtype == tf.float16) as first:
                first.watch(cut[0])
                scored = self.explained(self.split.finish(cut), indices)
            (gradients,) = scaled_gradients(first, scored.scores, cut[:1])
            if gradients is None:
                fact = (
                    f"The score does not depend on layer '{self.split.layer_name}': no gradient leads there. Choose a "
                    "layer on the way to the explained output, see"
                )
                raise ValueError(Message(fact, "list_layers(model).", "`tf-gradcam layers MODEL`."))
            slope = tf.reduce_sum(gradients * tf.stop_gradient(tf.cast(cut[0], tf.float32)))
        curvature = None
        if self.needs == "curvature":  # none at all where the tail is piecewise linear
            curvature = second.gradient(slope, cut[0], unconnected_gradients=tf.UnconnectedGradients.ZERO)
            curvature = tf.cast(curvature, tf.float32)
        return scored, gradients, curvature


def scaled_gradients(tape: tf.GradientTape, scores: Any, sources: Sequence[Any]) -> list[Any]:
    """Return gradients of the summed `scores` (B,) with respect to each of `sources`, float32, None where unconnected.

    Gradients of float16 come from the scaled score, and from the score itself for an image where that overflows: the
    tape must then be persistent.
    """
    if all(source.dtype != tf.float16 for source in sources):
        plain = tape.gradient(scores, list(sources))
        return [None if gradient is None else tf.cast(gradient, tf.float32) for gradient in plain]
    scale = tf.fill(tf.shape(scores), _HALF_PRECISION_SCALE)
    scaled = tape.gradient(scores, list(sources), output_gradients=scale)
    return [
        None if large is None else _unscaled(large, small)
        for large, small in zip(scaled, tape.gradient(scores, list(sources)), strict=True)
    ]


def _unscaled(scaled: Any, plain: Any) -> Any:
    fits = tf.reshape(all_finite(scaled), [-1, *[1] * (scaled.shape.rank - 1)])
    return tf.where(fits, tf.cast(scaled, tf.float32) / _HALF_PRECISION_SCALE, tf.cast(plain, tf.float32))


class GradientPass(SplitPass):
    """Pass from images to maps in one graph: extractor, tape over the tail, rule, combination."""

    def __init__(self, split: SplitModel, target: Target | None, rule: Rule, *options: Any):
        super().__init__(split, target, rule, *options)
        self._compiled = self.compile(self._explain, [*split.inputs.specs, tf.TensorSpec((None,), tf.int32)])

    def _explain(self, *tensors: Any) -> MapArrays:
        inputs, indices = tensors[:-1], tensors[-1]
        scored, raw, of_map = self.mapped(self.split.extract(inputs), indices)
        return scored.with_maps(raw, of_map, all_finite(inputs[self.split.inputs.image_index]))


def _frames_as_images(tensor: Any) -> Any:
    """Reshape frames (B, T, H, W, C) to images (B * T, H, W, C)."""
    images = tf.reshape(tensor, tf.concat([[-1], tf.shape(tensor)[2:]], axis=0))
    return tf.ensure_shape(images, [None, *tensor.shape[2:]])


def combine(weights: Any, activations: Any) -> Any:
    """Return the map before relu: the sum over channels of weights times activations.

    Args:
        weights: (B, H, W, C) float32, or 1 in place of H and W where a channel has one weight; or the map, (B, H, W).
        activations: (B, H, W, C) float32, any number of spatial axes.

    Returns:
        (B, H, W) float32.

    Raises:
        ValueError: weights of another rank, or not a tensor.
    """
    rank = activations.shape.rank
    if not tf.is_tensor(weights):
        raise ValueError(
            f"Expected a method to return a tensor of weights of shape {tuple(activations.shape)}, or the map "
            f"(B, H, W), received {type(weights).__name__}."
        )
    if weights.shape.rank == rank - 1 and weights.shape.is_compatible_with(activations.shape[:-1]):
        return weights  # a rule that is not a weighted sum returns the map itself
    if weights.shape.rank != rank:
        raise ValueError(
            f"Expected a method to return weights of shape {tuple(activations.shape)}, 1 in place of H and W "
            f"where a channel has one weight, or the map (B, H, W); received {tuple(weights.shape)}."
        )
    if all(side == 1 for side in weights.shape[1:-1]):
        # One weight per channel is a matrix product, which saves a product the size of the activations.
        shape = tf.shape(activations)
        cells = tf.reshape(activations, [shape[0], -1, shape[-1]])
        flat = tf.linalg.matmul(cells, tf.reshape(weights, [shape[0], shape[-1], 1]))
        return tf.reshape(flat, shape[:-1])
    return tf.reduce_sum(weights * activations, axis=-1)


def normalise(raw: Any, readable: Any = True) -> Any:
    """Return relu of each image's map divided by its maximum; a map without a positive finite maximum is zero.

    Args:
        raw: (B, H, W) float32.
        readable: (B,) bool, False for an image that is not finite: its map is zero, whatever its outputs.

    Returns:
        (B, H, W) float32 in [0, 1].
    """
    positive = tf.nn.relu(raw)
    peak = tf.reduce_max(positive, axis=list(range(1, len(raw.shape))), keepdims=True)
    good = tf.reshape(all_finite(raw) & readable, tf.shape(peak)) & (peak > 0.0)
    return tf.where(good, positive / tf.where(good, peak, 1.0), 0.0)


def all_finite(values: Any) -> Any:
    """Return (B,) bool, whether all values of an image are finite."""
    if not values.dtype.is_floating:
        return tf.ones(tf.shape(values)[:1], tf.bool)
    return tf.reduce_all(tf.math.is_finite(values), axis=list(range(1, len(values.shape))))


def peaks(values: Any) -> Any:
    """Return (B,), the largest absolute value of an image."""
    return tf.reduce_max(tf.abs(values), axis=list(range(1, len(values.shape))))


def peaks_of(read: Any, weights: Any, activations: Any, dtype: tf.DType) -> Peaks:
    """Return the peaks of a map that a rule made of `read` where the layer computes in `dtype`; a map has no sum."""
    largest = peaks(activations)
    is_sum = weights.shape.rank == activations.shape.rank
    error = rounding_of(dtype) * peaks(weights) * largest if is_sum else tf.zeros_like(largest)
    return Peaks(peaks(read), largest, error)


def rounding_of(dtype: tf.DType) -> float:
    """Return the rounding error of a sum, relative to its largest term, where a layer computes in `dtype`."""
    return _ROUNDINGS.get(dtype, 2.0**-21)
