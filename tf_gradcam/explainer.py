"""The spine: extractor, tape over the tail, rule, combination, relu, normalisation.

Axis legend: B batch, H x W cells of the layer, C channels, K classes, H0 x W0 pixels.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam.alignment import measure_offset
from tf_gradcam.borrowed import parts_of
from tf_gradcam.explanation import Explanation
from tf_gradcam.head import Head, open_head, probabilities
from tf_gradcam.methods import Rule, find_method
from tf_gradcam.preprocessing import find_preprocessing, range_warning
from tf_gradcam.split import split_model
from tf_gradcam.targets import TOP_CLASS, ClassNames, Target, class_count, class_indices, class_scores

# Gradients of float16 activations underflow at 6e-8: the score is scaled up before and down again in float32.
_HALF_PRECISION_SCALE = 256.0
_KEPT_TARGETS = 8  # compiled functions of callable targets, the oldest dropped first


class Explainer:
    """Heatmaps of one model at one layer, compiled once.

    Args:
        model: any built Keras 3 model. It is borrowed: weights, flags, graph and outputs stay as they are.
        layer: name, "outer/inner" path, index into `model.layers`, or layer object; None for the last spatial layer
            that every path to the output passes.
        method: a key of `METHODS`, or a callable (activations, gradients) -> weights of the same contract.
        classifier_layers: names of the layers behind `layer`, called in this order; None cuts the tail out of the
            graph.
        class_names: names in class order, or {index: name}; targets may then be names, and results carry them.
        align: False for plain upsampling, or "measured" to shift the map to where the trained cells look.

    Raises:
        TypeError: `model` is no Keras 3 model, or an argument of the wrong kind.
        ValueError: unknown layer, method or `align`; a layer that cannot be explained; classifier layers that do not
            compute what the model computes.

    Example:
        >>> Explainer(model)(images).heatmaps                       # each image's top class
        >>> Explainer(model, "block5_conv3", class_names=names)(images, target="beagle").overlay(photos)
    """

    def __init__(
        self,
        model: keras.Model,
        layer: Any = None,
        method: str | Rule = "gradcam",
        *,
        classifier_layers: Sequence[Any] | None = None,
        class_names: Sequence[str] | Mapping[int, str] | None = None,
        align: bool | str = False,
    ):
        self.method, self._rule = find_method(method)
        if align not in (False, "measured"):
            raise ValueError(f"Expected align=False or align='measured', received {align!r}.")
        self._class_names = ClassNames(class_names)
        self.split = split_model(model, layer, classifier_layers)
        self._parts = parts_of(model)
        self._preprocessing = find_preprocessing(model)
        self.layer_name = self.split.layer_name
        self.offset = (0.0, 0.0)
        if align:
            self.offset = measure_offset(self.split, self._preprocessing.value_range or (0.0, 1.0))
        self.trace_count = 0
        self._compiled: OrderedDict[Any, Any] = OrderedDict()

    def __call__(self, images: Any, target: Any = None) -> Explanation:
        """Explain a batch.

        Args:
            images: (B, H0, W0, 3) as the model expects them; a list or dict for a model of several inputs.
            target: None for each image's top class, a class index or name, one of either per image, or a callable
                outputs -> (B,) on the scores before the softmax.

        Returns:
            `Explanation` of the B images.

        Raises:
            TypeError: images that are no numbers, a target of no known kind.
            ValueError: wrong rank, size or channels; no finite image at all; an unknown class.
        """
        arrays = self.split.inputs.flatten(images)
        photos = arrays[self.split.inputs.image_index]
        self._warn_of_range(photos)
        is_callable = callable(target)
        count = int(arrays[0].shape[0])
        indices = class_indices(None if is_callable else target, count, self._class_names)
        compiled = self._function(target if is_callable else None)
        self._check_classes(indices)
        results = {name: value.numpy() for name, value in compiled(*arrays, indices).items()}
        if not results["finite_images"].any():
            raise ValueError(
                "Expected images of finite numbers, received NaN or infinite values in every image: "
                "check how they were loaded and scaled."
            )
        return Explanation(
            results,
            labels=self._labels(results["class_indices"], target),
            layer_name=self.layer_name,
            method=self.method,
            image_size=tuple(photos.shape[1:-1]),
            has_open_head=self._head_kind != "linear",
            offset=self.offset,
            class_names=self._class_names.by_index,
        )

    def fits(self, model: keras.Model) -> bool:
        """Whether `model` is still made of the layers and variables that this explainer was built from.

        Changed weights are no other model: they are read at every call.
        """
        return parts_of(model) == self._parts

    def _function(self, target: Target | None) -> Any:
        """The compiled function for class targets (None) or for one callable."""
        if target not in self._compiled:
            signature = [*self.split.inputs.specs, tf.TensorSpec((None,), tf.int32)]

            def explain(*tensors: Any) -> dict[str, Any]:
                return self._explain(tensors[:-1], tensors[-1], target)

            function = tf.function(explain, input_signature=signature, autograph=False)
            self._compiled[target] = function.get_concrete_function()
            if len(self._compiled) > _KEPT_TARGETS:
                oldest = next(key for key in self._compiled if key is not None)
                del self._compiled[oldest]
        return self._compiled[target]

    def _explain(self, inputs: Sequence[Any], indices: Any, target: Target | None) -> dict[str, Any]:
        """Trace the whole recipe; runs in Python once per kind of target."""
        self.trace_count += 1
        tensors = self.split.extract(inputs)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(tensors[0])
            heads = keras.tree.map_structure(open_head, self.split.finish(tensors))
            first = _first(heads)
            scores, classes = self._scores(heads, first, indices, target)
            scale = 1.0 if tensors[0].dtype in (tf.float32, tf.float64) else _HALF_PRECISION_SCALE
            total = tf.reduce_sum(scores) * scale
        gradients = tape.gradient(total, tensors[0])
        if gradients is None:
            raise ValueError(
                f"The score does not depend on layer '{self.layer_name}': no gradient leads there. Choose a layer "
                "on the way to the explained output, see list_layers(model)."
            )
        activations = tf.cast(tensors[0], tf.float32)
        gradients = tf.cast(gradients, tf.float32) / scale
        raw = combine(self._rule(activations, gradients), activations)
        self._head_kind = first.kind
        self._class_count = class_count(first)
        results = {
            "raw": raw,
            "heatmaps": normalise(raw),
            "outputs": first.logits,
            "probabilities": probabilities(first),
            "scores": scores,
            "class_indices": classes,
            "gradient_peaks": tf.reduce_max(tf.abs(gradients), axis=list(range(1, len(gradients.shape)))),
            "finite_images": all_finite(inputs[self.split.inputs.image_index]),
        }
        return {name: value for name, value in results.items() if value is not None}

    def _scores(self, heads: Any, first: Head, indices: Any, target: Target | None) -> tuple[Any, Any]:
        if target is None:
            return class_scores(first, indices)
        scores = tf.convert_to_tensor(target(keras.tree.map_structure(lambda head: head.logits, heads)))
        if scores.shape.rank != 1:
            raise ValueError(
                f"Expected target to return one score per image, shape (B,), received shape {tuple(scores.shape)}."
            )
        return tf.cast(scores, tf.float32), tf.fill(tf.shape(indices), TOP_CLASS)

    def _check_classes(self, indices: np.ndarray) -> None:
        if self._class_count is None:
            return
        self._class_names.check_count(self._class_count)
        if indices.max() >= self._class_count:
            raise ValueError(
                f"Expected a class index below {self._class_count}, the number of classes of the model, "
                f"received {indices.max()}."
            )

    def _labels(self, classes: np.ndarray, target: Any) -> list[str]:
        if callable(target):
            return [getattr(target, "__name__", type(target).__name__)] * len(classes)
        return [self._class_names.label(index) for index in classes]

    def _warn_of_range(self, images: Any) -> None:
        sentence = range_warning(np.asarray(images), self._preprocessing)
        if sentence:
            warnings.warn(sentence, UserWarning, stacklevel=3)


def combine(weights: Any, activations: Any) -> Any:
    """The map before relu: sum over channels of weights times activations.

    Args:
        weights: (B, H, W, C) float32, or 1 in place of H and W where a channel has one weight; or the map, (B, H, W).
        activations: (B, H, W, C) float32, any number of spatial axes.

    Returns:
        (B, H, W) float32.
    """
    if weights.shape.rank < activations.shape.rank:
        return weights  # a rule that is no weighted sum gives the map itself
    if all(side == 1 for side in weights.shape[1:-1]):
        # One weight per channel is a matrix product, which saves a product the size of the activations.
        shape = tf.shape(activations)
        cells = tf.reshape(activations, [shape[0], -1, shape[-1]])
        flat = tf.linalg.matmul(cells, tf.reshape(weights, [shape[0], shape[-1], 1]))
        return tf.reshape(flat, shape[:-1])
    return tf.reduce_sum(weights * activations, axis=-1)


def normalise(raw: Any) -> Any:
    """relu, then each image's map divided by its maximum; a map without a positive finite maximum is zero.

    Args:
        raw: (B, H, W) float32.

    Returns:
        (B, H, W) float32 in [0, 1].
    """
    positive = tf.nn.relu(raw)
    peak = tf.reduce_max(positive, axis=list(range(1, len(raw.shape))), keepdims=True)
    good = tf.reshape(all_finite(raw), tf.shape(peak)) & (peak > 0.0)
    return tf.where(good, positive / tf.where(good, peak, 1.0), 0.0)


def all_finite(values: Any) -> Any:
    """(B,) bool: whether all values of an image are finite."""
    if not values.dtype.is_floating:
        return tf.ones(tf.shape(values)[:1], tf.bool)
    return tf.reduce_all(tf.math.is_finite(values), axis=list(range(1, len(values.shape))))


def _first(heads: Any) -> Head:
    """The output that classes are counted in: a model of several outputs is explained at its first one."""
    return keras.tree.flatten(heads)[0]
