"""FullGrad: the score as a sum of contributions of the pixels and of every bias of the network.

Axis legend: B images, H x W cells of a layer, C channels, H0 x W0 pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_gradcam._explain.passes import Pass, Peaks, Scored, all_finite, peaks
from tf_gradcam._models.graph import Graph, Step
from tf_gradcam._models.keras_internals import call_in_inference, without_activation
from tf_gradcam._models.reader import ModelReader
from tf_gradcam._models.split import WithPlace
from tf_gradcam._results.explanation import MapArrays
from tf_gradcam.targets.base import Target

# Layers that are affine before their activation: a kernel or scale, and a bias.
_AFFINE = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
    keras.layers.BatchNormalization,
    keras.layers.Normalization,
    keras.layers.Rescaling,
)


class FullGradPass(Pass):
    """Compiled pass from images and class indices to FullGrad maps.

    Args:
        reader: a model with a graph; every layer with a bias takes part.
        rule: (B, H, W, C) contributions of the pixels and of each spatial layer's bias -> (B, H0, W0) map.
        target, options: as `Pass`.
        place: of the mask or point that the target reads for each image; None without.

    Raises:
        ValueError: a model whose graph is known only to Python.
    """

    def __init__(
        self,
        reader: ModelReader,
        target: Target | None,
        rule: Callable[..., Any],
        *options: Any,
        place: tf.TensorSpec | None = None,
    ):
        if reader.graph is None:
            raise ValueError(
                f"Expected a functional or Sequential model for FullGrad, received '{reader.name}', whose graph is "
                "known only to Python: the biases inside its call cannot be read. Use another method."
            )
        super().__init__(reader.inputs, target, *options)
        self._graph: Graph = reader.graph
        self._rule = rule
        places = [] if place is None else [place]
        self._compiled = self.compile(self._explain, [*self.inputs.specs, *places, tf.TensorSpec((None,), tf.int32)])

    def _explain(self, *tensors: Any) -> MapArrays:
        index = self.inputs.image_index
        pixels = tensors[index]
        count = len(self.inputs.specs)
        given = self.contributions(list(tensors[:count]), tensors[-1], *tensors[count:-1])
        scored, pixel_gradients, of_inputs, of_biases = given
        spatial = [of_inputs[index], *(term for term in of_biases if term.shape.rank == pixels.shape.rank)]
        return scored.with_maps(self._rule(spatial), Peaks(peaks(pixel_gradients)), all_finite(pixels))

    def contributions(
        self, inputs: list[Any], indices: Any, place: Any = None
    ) -> tuple[Scored, Any, list[Any], list[Any]]:
        """Return the scores, the gradient of the pixels, and the contributions of each input and each bias.

        The contributions of a piecewise linear network sum to its scores.
        """
        affine: list[tuple[Any, Any]] = []  # (result before the activation, the same for an input of zeros)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            outputs = self._graph.forward(inputs, lambda step: _recorded(step, affine))
            scored = self.explained(outputs if place is None else WithPlace(outputs, place), indices)
            total = tf.reduce_sum(scored.scores)
        sources = [*inputs, *(before for before, _ in affine)]
        gradients = tape.gradient(total, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        values = [*inputs, *(bias for _, bias in affine)]
        terms = [tf.cast(g, tf.float32) * tf.cast(v, tf.float32) for g, v in zip(gradients, values, strict=True)]
        return scored, gradients[self.inputs.image_index], terms[: len(inputs)], terms[len(inputs) :]


def _recorded(step: Step, affine: list[tuple[Any, Any]]) -> Callable[..., Any] | None:
    """Return a call of an affine layer that records its preactivation and its bias, None for other steps."""
    layer = step.operation
    if step.function is not None or not isinstance(layer, _AFFINE):
        return None
    plain = without_activation(layer)
    activation = getattr(layer, "activation", None) or (lambda tensor: tensor)

    def call(tensor: Any, **arguments: Any) -> Any:
        before = call_in_inference(plain, tensor, **arguments)
        # An affine map of zeros is its bias, the implicit one of batch normalisation included.
        affine.append((before, call_in_inference(plain, tf.zeros_like(tensor[:1]), **arguments)))
        return activation(before)

    return call
