"""Guided backpropagation and Guided Grad-CAM: gradients of the pixels, guided by the ReLUs.

Axis legend: B images, H0 x W0 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._explain.passes import Pass, in_batches
from tf_gradcam._files.class_names import ClassNames, ClassNamesLike, check_classes, class_indices
from tf_gradcam._models.keras_internals import sublayers
from tf_gradcam._models.layers import LayerLike
from tf_gradcam._models.reader import Images, ModelReader, built_again, check_eager
from tf_gradcam._models.task import task_of
from tf_gradcam._rules.contract import Rule
from tf_gradcam._rules.table import MethodName
from tf_gradcam.targets.base import Target, TargetLike

_SMOOTH = {"silu", "swish", "gelu", "hard_silu", "hard_swish", "elu", "selu", "celu", "softplus", "mish", "leaky_relu"}


@tf.RegisterGradient("TfGradcamGuidedRelu")
def _guided_relu(operation: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    """Pass a gradient where the input and the gradient are positive."""
    return tf.where((operation.inputs[0] > 0) & (gradient > 0), gradient, tf.zeros_like(gradient))


@tf.RegisterGradient("TfGradcamGuidedRelu6")
def _guided_relu6(operation: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    """Pass a gradient as `_guided_relu`, where the input is also below 6."""
    entered = operation.inputs[0]
    return tf.where((entered > 0) & (entered < 6) & (gradient > 0), gradient, tf.zeros_like(gradient))


_GUIDED = {"Relu": "TfGradcamGuidedRelu", "Relu6": "TfGradcamGuidedRelu6"}


class GuidedBackprop:
    """Gradients of a score with respect to the pixels, let through each ReLU only where they are positive.

    The gradient is overridden in the traced graph, for every ReLU and ReLU6 in it, of any layer or operation, nested or
    not; the model is not changed.

    Args:
        model: any built Keras 3 model whose activations are ReLU or ReLU6.
        class_names: names in class order, or {index: name}; targets may then be names.

    Raises:
        TypeError: not a Keras 3 model.
        ValueError: a model without ReLU, or with smooth activations (SiLU, GELU, ...), which cannot be guided.

    Source: Springenberg et al. 2014, section 3.4, https://arxiv.org/abs/1412.6806. Deviation: none. Known limit: it
    recovers edges of the picture for nearly any weights (Adebayo et al. 2018, https://arxiv.org/abs/1810.03292): use it
    to sharpen a map, not as evidence.
    """

    def __init__(self, model: keras.Model, class_names: ClassNamesLike | None = None):
        self._reader = reader = ModelReader(model)
        smooth = sorted(set(_smooth_activations(model)))
        if smooth:
            raise ValueError(
                f"Expected a model of ReLUs, received '{model.name}' with {smooth}: guided backpropagation lets "
                "gradients pass where a ReLU is open, and these are never closed. Use Explainer with another method."
            )
        self.inputs = reader.inputs
        self._forward = next(reader.views()).forward
        self._class_names = ClassNames(class_names)
        self.task = task_of(reader, None, self._class_names).name
        self._name = model.name
        self._arguments = {"class_names": class_names}
        self._passes: dict[Target | None, _GuidedPass] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return built_again, (GuidedBackprop, self._reader.saved(), self._arguments, self._reader.losses)

    def __call__(self, images: Images, target: TargetLike = None) -> NDArray[np.float32]:
        """Compute the guided gradients of a batch.

        Args:
            images: (B, H0, W0, 3) as the model expects them; a list or dict for a model of several inputs.
            target: as an explainer's call.

        Returns:
            (B, H0, W0, 3) float32, signed.

        Raises:
            TypeError, ValueError: as `Explainer`.
        """
        check_eager()
        arrays = self.inputs.flatten(images)
        called = target if callable(target) else None
        indices = class_indices(None if called else target, int(arrays[0].shape[0]), self._class_names)
        guided = self._passes.get(called)
        if guided is None:
            guided = _GuidedPass(self, called)
            self._passes = {called: guided}  # the last kind of target is kept; another thread may keep another
        check_classes(indices, guided.class_count, self._class_names)
        gradients: np.ndarray = in_batches(
            self.inputs.batch_size, [*arrays, indices], lambda rows: guided.run(*rows).numpy()
        )
        return gradients

    def gradients(self, evaluate: Pass, inputs: Sequence[tf.Tensor], indices: tf.Tensor) -> tf.Tensor:
        """Override the ReLUs' gradient, run, differentiate; inside the graph being traced."""
        graph = tf.compat.v1.get_default_graph()
        before = len(graph.get_operations())
        with graph.gradient_override_map(_GUIDED):
            outputs = self._forward(inputs)
        if not any(operation.type in _GUIDED for operation in graph.get_operations()[before:]):
            raise ValueError(
                f"Expected a model of ReLUs, found none in '{self._name}': guided backpropagation has nothing to "
                "guide. Use Explainer with another method."
            )
        scores = evaluate.explained(outputs, indices).scores
        # tf.gradients honours the override; a GradientTape looks the gradient up by the operation's type.
        (gradient,) = tf.gradients(tf.reduce_sum(scores), [inputs[self.inputs.image_index]])
        return tf.cast(gradient, tf.float32)


class _GuidedPass(Pass):
    """Compiled pass from images and class indices to guided gradients."""

    def __init__(self, guided: GuidedBackprop, target: Target | None):
        super().__init__(guided.inputs, target, task=guided.task)
        signature = [*guided.inputs.specs, tf.TensorSpec((None,), tf.int32)]
        self.run = self.compile(lambda *tensors: guided.gradients(self, tensors[:-1], tensors[-1]), signature)


def guided_gradcam(
    model: keras.Model,
    images: Images,
    layer: LayerLike | Sequence[LayerLike] | None = None,
    target: TargetLike = None,
    *,
    method: MethodName | Rule = "gradcam",
    class_names: ClassNamesLike | None = None,
) -> NDArray[np.float32]:
    """Multiply guided gradients by the upsampled heatmap: fine detail in the place of the class.

    Args:
        model: any built Keras 3 model of ReLUs.
        images: (B, H0, W0, 3) as the model expects them.
        layer: of the heatmap, as `Explainer`.
        target: as `Explainer`.
        method: of the heatmap, as `Explainer`. Defaults to "gradcam".
        class_names: as `Explainer`.

    Returns:
        (B, H0, W0, 3) float32, signed.

    Raises:
        TypeError, ValueError: as `GuidedBackprop` and `Explainer`.

    Source: Selvaraju et al. 2017, section 3.2, https://arxiv.org/abs/1610.02391. Deviation: none.
    """
    guided = GuidedBackprop(model, class_names)(images, target)
    heatmaps = Explainer(model, layer, method, class_names=class_names)(images, target).resized()
    return guided * heatmaps[..., None]


def _smooth_activations(model: keras.Model) -> list[str]:
    smooth = []
    for _, layer in sublayers(model):
        activation = getattr(layer, "activation", None)
        names = [getattr(activation, "__name__", ""), type(layer).__name__]
        smooth += [name for name in names if name.lower() in _SMOOTH or name in ("LeakyReLU", "PReLU")]
    return smooth
