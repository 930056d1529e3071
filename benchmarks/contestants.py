"""The contestants: the plain prediction, this package, and the published recipes.

A contestant is built from (model, images, layer) and returns a call without arguments. Every call takes images as NumPy
arrays and hands back NumPy arrays: nothing is left on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.pairs import Call
from tf_gradcam import Explainer, make_gradcam_heatmap

FORWARD = "F"


@dataclass(frozen=True)
class Contestant:
    """A measured function and the largest batch that it is measured with; a larger one takes too long."""

    make: Callable[[keras.Model, np.ndarray, str], Call]
    largest_batch: int = 64


def forward(model: keras.Model, images: np.ndarray, layer: str = "") -> Call:
    """Return F, the compiled prediction for images of exactly this shape; `layer` is not used."""
    compiled = tf.function(lambda batch: model(batch, training=False), autograph=False)
    concrete = compiled.get_concrete_function(tf.TensorSpec(images.shape, images.dtype))
    return lambda: concrete(tf.constant(images)).numpy()


def ours(model: keras.Model, images: np.ndarray, layer: str, freeze: bool = False) -> Call:
    """Return an `Explainer` call with all results: maps, probabilities, scores, labels, diagnosis."""
    explainer = Explainer(model, layer, freeze=freeze)

    def call() -> Any:
        explanation = explainer(images)
        told = explanation.scores, explanation.labels, explanation.diagnosis
        return explanation.heatmaps, explanation.probabilities, told

    return call


def drop_in(model: keras.Model, images: np.ndarray, layer: str) -> Call:
    """Return a call of this package's `make_gradcam_heatmap`."""
    return lambda: make_gradcam_heatmap(images, model, layer)


def recipe(model: keras.Model, images: np.ndarray, layer: str) -> Call:
    """Return keras.io's recipe, changed only to explain a whole batch, each image for its own top class.

    Source: https://keras.io/examples/vision/grad_cam/.
    """

    def call() -> Any:
        grad_model = keras.models.Model(model.inputs[0], [model.get_layer(layer).output, model.outputs[0]])
        with tf.GradientTape() as tape:
            activations, outputs = grad_model(images)
            scores = tf.gather(outputs, tf.argmax(outputs, axis=1), batch_dims=1)
        gradients = tape.gradient(scores, activations)
        weights = tf.reduce_mean(gradients, axis=(1, 2))
        return _heatmaps(activations, weights[:, None, None]).numpy(), outputs.numpy()

    return call


def compiled_split(model: keras.Model, images: np.ndarray, layer: str) -> Call:
    """Return Keras's two halves in one compiled function; the tape watches the second."""
    cut = model.get_layer(layer).output
    extractor, tail = keras.Model(model.inputs[0], cut), keras.Model(cut, model.outputs[0])

    @tf.function(autograph=False)
    def explain(batch: Any) -> Any:
        activations = extractor(batch, training=False)
        with tf.GradientTape() as tape:
            tape.watch(activations)
            outputs = tail(activations, training=False)
            scores = tf.reduce_max(outputs, axis=1)
        weights = tf.reduce_mean(tape.gradient(scores, activations), axis=(1, 2), keepdims=True)
        return _heatmaps(activations, weights), outputs

    return lambda: [tensor.numpy() for tensor in explain(tf.constant(images))]


CONTESTANTS = {
    FORWARD: Contestant(forward),
    "Explainer": Contestant(ours),
    "Explainer(freeze=True)": Contestant(partial(ours, freeze=True)),
    "compiled split": Contestant(compiled_split),
    "make_gradcam_heatmap": Contestant(drop_in, largest_batch=1),
    "keras.io recipe": Contestant(recipe, largest_batch=8),
}


def makers(
    model: keras.Model, images: np.ndarray, layer: str, names: Iterable[str] = tuple(CONTESTANTS)
) -> dict[str, Callable[[], Call]]:
    """Return the contestants for `pairs.compare`, F first, without those with a smaller largest batch."""
    chosen = [name for name in names if len(images) <= CONTESTANTS[name].largest_batch]
    return {name: partial(CONTESTANTS[name].make, model, images, layer) for name in chosen}


def _heatmaps(activations: Any, weights: Any) -> Any:
    maps = tf.nn.relu(tf.reduce_sum(activations * weights, axis=-1))
    return tf.math.divide_no_nan(maps, tf.reduce_max(maps, axis=(1, 2), keepdims=True))
