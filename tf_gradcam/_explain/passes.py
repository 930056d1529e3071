"""What is compiled: a forward pass, the tape over the tail, the rule; traced once for each kind of target.

Axis legend: B batch, H x W cells of the layer, C channels, K classes, H0 x W0 pixels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam._errors import Message
from tf_gradcam._explain.fusion import Progress
from tf_gradcam._models.frozen import FrozenWeights
from tf_gradcam._models.head import Head, open_head, probabilities
from tf_gradcam._models.split import SplitModel
from tf_gradcam._rules.contract import Rule, all_finite, combine, needs_of, normalise, peaks
from tf_gradcam.targets.base import Target, as_two_sides, called
from tf_gradcam.targets.classes import TOP_CLASS, class_count, class_probabilities, class_scores

Arrays = dict[str, np.ndarray]

# Gradients of float16 activations underflow at 6e-8: the score is scaled up before and down again in float32.
_HALF_PRECISION_SCALE = 256.0


class Pass:
    """A compiled function of images and class indices, for class targets or for one callable.

    A subclass sets `_compiled`, or brings a `__call__` of its own where one function is not enough.

    Args:
        target: None for class targets, or a callable.
        freeze: whether the weights become constants of what is compiled.

    Attributes:
        trace_count: how often Python was run to compile it.
        head_kind: "softmax", "sigmoid" or "linear", how the explained output ends.
        class_count: how many classes it tells apart, None where its values are no classes.
    """

    def __init__(self, target: Target | None, freeze: bool = False):
        self.target = target
        self._freeze = freeze
        self._frozen: list[FrozenWeights] = []
        self._compiled: Any = None
        self.trace_count = 0
        self.head_kind = "linear"
        self.class_count: int | None = None

    def compile(self, function: Callable[..., Any], signature: Sequence[Any]) -> Any:
        """`function(*tensors)` as a graph with free batch size; traced now, so that its errors come now."""

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
        """Refuse to run with constants that are no longer the model's weights.

        Raises:
            ValueError: a weight changed since it was frozen; it is named.
        """
        for frozen in self._frozen:
            changed = frozen.changed()
            if changed is not None:
                raise ValueError(
                    f"Expected the weights that were frozen, but '{changed}' has changed since: build a new Explainer, "
                    "or use freeze=False, which reads the weights at every call."
                )

    @property
    def frozen_bytes(self) -> int:
        """Memory of the weights that were copied into constants."""
        return sum(frozen.byte_count for frozen in self._frozen)

    def explained(self, outputs: Any, indices: Any) -> dict[str, Any]:
        """Scores (B,) of the target and what else is told of the outputs, inside the graph being traced."""
        heads = keras.tree.map_structure(open_head, outputs)
        # A model of several outputs is explained at its first one, unless a callable says otherwise.
        first: Head = keras.tree.flatten(heads)[0]
        self.head_kind = first.kind
        self.class_count = class_count(first)
        if self.target is None:
            scores, classes = class_scores(first, indices)
            confidences = class_probabilities(first, classes)
        else:
            scores = self._called(keras.tree.map_structure(_told_to_targets, heads))
            classes, confidences = tf.fill(tf.shape(indices), TOP_CLASS), scores
        return {
            "outputs": first.logits,
            "probabilities": probabilities(first),
            "scores": scores,
            "confidences": confidences,
            "class_indices": classes,
        }

    def _called(self, outputs: Any) -> Any:
        assert self.target is not None
        scores = called(self.target, outputs)
        if not tf.is_tensor(scores) or scores.shape.rank != 1:
            received = f"shape {tuple(scores.shape)}" if tf.is_tensor(scores) else type(scores).__name__
            raise ValueError(f"Expected target to return one score per image, a tensor (B,), received {received}.")
        return tf.cast(scores, tf.float32)

    def __call__(self, arrays: Sequence[Any], indices: np.ndarray, progress: Progress | None = None) -> Arrays:
        """Maps of a batch and what they explain.

        Args:
            arrays: the model's inputs as `ModelInputs.flatten` returns them.
            indices: (B,) int32 classes, -1 for an image's own top class.
            progress: called with (done, total) as the work goes on.

        Returns:
            raw and heatmaps (B, H, W); outputs (B, K); probabilities (B, K) where the outputs are classes; scores,
            confidences, class_indices, gradient_peaks, finite_images (B,).
        """
        results = {name: value.numpy() for name, value in self._compiled(*arrays, indices).items()}
        if progress is not None:
            progress(1, 1)
        return results


def _told_to_targets(head: Head) -> Any:
    """The logits that a target is called with; of one sigmoid unit, class targets may take either side."""
    return as_two_sides(head.logits) if class_count(head) == 2 and head.logits.shape[-1] == 1 else head.logits


class SplitPass(Pass):
    """A pass over a split model by a rule of activations and gradients."""

    def __init__(self, split: SplitModel, target: Target | None, rule: Rule, freeze: bool = False):
        super().__init__(target, freeze)
        self.split = split
        self.rule = rule
        self.needs = needs_of(rule)

    def mapped(self, cut: list[Any], indices: Any) -> dict[str, Any]:
        """Scores, the map before relu, and the peak that tells a zero gradient; inside the graph being traced."""
        results, gradients, curvature = self._differentiate(cut, indices)
        activations = tf.cast(cut[0], tf.float32)
        arguments = [activations, gradients]
        if curvature is not None:
            arguments.append(curvature)
        used = activations if self.needs == "activations" else gradients
        return results | {"raw": combine(self.rule(*arguments), activations), "gradient_peaks": peaks(used)}

    def _differentiate(self, cut: list[Any], indices: Any) -> tuple[dict[str, Any], Any, Any]:
        """Scores of the tail, their gradients, and the curvature H A where the rule asks for it; float32."""
        with tf.GradientTape(watch_accessed_variables=False) as second:
            if self.needs == "curvature":
                second.watch(cut[0])
            with tf.GradientTape(watch_accessed_variables=False, persistent=cut[0].dtype == tf.float16) as first:
                first.watch(cut[0])
                results = self.explained(self.split.finish(cut), indices)
            (gradients,) = scaled_gradients(first, results["scores"], cut[:1])
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
        return results, gradients, curvature


def scaled_gradients(tape: tf.GradientTape, scores: Any, sources: Sequence[Any]) -> list[Any]:
    """Gradients of the sum of `scores` (B,) with respect to each of `sources`, float32; None where none leads there.

    Those of float16 are taken of the scaled score, and of the score itself for an image where that overflows: the tape
    must then be persistent.
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
    """Images to maps in one graph: extractor, tape over the tail, rule, combination."""

    def __init__(self, split: SplitModel, target: Target | None, rule: Rule, freeze: bool = False):
        super().__init__(split, target, rule, freeze)
        self._compiled = self.compile(self._explain, [*split.inputs.specs, tf.TensorSpec((None,), tf.int32)])

    def _explain(self, *tensors: Any) -> dict[str, Any]:
        inputs, indices = tensors[:-1], tensors[-1]
        results = self.mapped(self.split.extract(inputs), indices)
        results["finite_images"] = all_finite(inputs[self.split.inputs.image_index])
        results["heatmaps"] = normalise(results["raw"], results["finite_images"])
        return {name: value for name, value in results.items() if value is not None}
