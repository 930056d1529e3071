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

from tf_gradcam.alignment import measure_offset
from tf_gradcam.borrowed import parts_of
from tf_gradcam.classes import ClassNames, check_classes, class_indices
from tf_gradcam.explanation import Explanation
from tf_gradcam.methods import Rule, find_method
from tf_gradcam.passes import GradientPass
from tf_gradcam.preprocessing import find_preprocessing, range_warning
from tf_gradcam.split import split_model
from tf_gradcam.targets import Target

_KEPT_TARGETS = 8  # compiled passes of callable targets, the oldest dropped first


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
        self._passes: OrderedDict[Target | None, GradientPass] = OrderedDict()

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
        compiled = self._pass(target if is_callable else None)
        check_classes(indices, compiled.class_count, self._class_names)
        results = compiled(arrays, indices)
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
            has_open_head=compiled.head_kind != "linear",
            offset=self.offset,
            class_names=self._class_names.by_index,
        )

    def fits(self, model: keras.Model) -> bool:
        """Whether `model` is still made of the layers and variables that this explainer was built from.

        Changed weights are no other model: they are read at every call.
        """
        return parts_of(model) == self._parts

    def _pass(self, target: Target | None) -> GradientPass:
        """The compiled pass for class targets (None) or for one callable."""
        if target not in self._passes:
            self._passes[target] = GradientPass(self.split, target, self._rule)
            if len(self._passes) > _KEPT_TARGETS:
                del self._passes[next(key for key in self._passes if key is not None)]
        return self._passes[target]

    @property
    def trace_count(self) -> int:
        """How often Python was run to compile a pass; it stays while images and class targets change."""
        return sum(compiled.trace_count for compiled in self._passes.values())

    def _labels(self, classes: np.ndarray, target: Any) -> list[str]:
        if callable(target):
            return [getattr(target, "__name__", type(target).__name__)] * len(classes)
        return [self._class_names.label(index) for index in classes]

    def _warn_of_range(self, images: Any) -> None:
        sentence = range_warning(np.asarray(images), self._preprocessing)
        if sentence:
            warnings.warn(sentence, UserWarning, stacklevel=3)
