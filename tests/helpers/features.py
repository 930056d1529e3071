"""Drawn activations and gradients, and the rules run on them the way the explainer runs them.

Axis legend: B batch, cells any number of spatial axes, C channels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tf_gradcam import METHODS
from tf_gradcam._explain.passes import combine, normalise

Arrays = dict[str, np.ndarray]
Change = Callable[[np.ndarray], np.ndarray]

GRID = (3, 6, 10, 5)
SHAPES = {"signal": (2, 7, 4), "grid": GRID, "volume": (2, 3, 4, 5, 6), "more channels than cells": (2, 2, 3, 9)}
SCALES = [1e-8, 1e-4, 1.0, 1e4]
NEEDS = {name: getattr(rule, "needs", "gradients") for name, rule in METHODS.items()}
BLIND = [name for name, what in NEEDS.items() if what == "activations"]
SEEING = [name for name, what in NEEDS.items() if what in ("gradients", "curvature")]
RULES = [name for name in METHODS if name in BLIND or name in SEEING]


def relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0.0)


def silu(values: np.ndarray) -> np.ndarray:
    return values / (1.0 + np.exp(-values))


def draw(shape: tuple[int, ...], activation: Change = silu, scale: float = 1.0, seed: int = 0) -> Arrays:
    """Activations, gradients and curvature, float32; one activation in four is off, one gradient in four zero."""
    generator = np.random.default_rng(seed)
    activations = activation(generator.normal(0.3, 1.5, shape)) * (generator.random(shape) > 0.25)
    gradients = generator.normal(0.0, scale, shape) * (generator.random(shape) > 0.25)
    drawn = {"activations": activations, "gradients": gradients, "curvature": generator.normal(0.0, scale, shape)}
    return {name: array.astype(np.float32) for name, array in drawn.items()}


def argument_count(name: str) -> int:
    return 3 if NEEDS[name] == "curvature" else 2


@functools.cache
def compiled(name: str, rank: int, channels: int) -> Callable[..., tf.Tensor]:
    """The rule as the explainer runs it: inside a graph, with batch and cells unknown."""
    spec = tf.TensorSpec([*[None] * (rank - 1), channels], tf.float32)

    def raw(activations: tf.Tensor, *others: tf.Tensor) -> tf.Tensor:
        return combine(METHODS[name](activations, *others), activations)

    return tf.function(raw, input_signature=[spec] * argument_count(name), autograph=False)


def raw_map(name: str, arrays: Arrays) -> np.ndarray:
    activations = arrays["activations"]
    function = compiled(name, activations.ndim, activations.shape[-1])
    return function(*list(arrays.values())[: argument_count(name)]).numpy()


def heatmap(name: str, arrays: Arrays) -> np.ndarray:
    return normalise(tf.constant(raw_map(name, arrays))).numpy()


def changed(arrays: Arrays, change: Change) -> Arrays:
    return {name: change(array) for name, array in arrays.items()}


def scaled(arrays: Arrays, factor: float) -> Arrays:
    """The same image, its score multiplied by `factor`."""
    slopes = {name: np.float32(factor) * arrays[name] for name in ("gradients", "curvature")}
    return {"activations": arrays["activations"], **slopes}
