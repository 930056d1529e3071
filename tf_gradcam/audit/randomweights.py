"""Random weights in the place of learned ones, layer by layer from the output down, and the learned ones put back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from tf_gradcam._models.keras_internals import has_learned_weights, sublayers
from tf_gradcam._models.reader import BorrowedModel

Stage = tuple[str, list[Any]]  # the path of a layer, its variables

_FURTHEST = 2.0  # standard deviations beyond which no weight is drawn


@contextlib.contextmanager
def restored(variables: Sequence[Any]) -> Iterator[None]:
    """Within, variables may be written; afterwards they are what they were, bit for bit, whatever happened."""
    values = [np.array(variable.numpy()) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def randomise(variables: Sequence[Any], generator: np.random.Generator) -> None:
    """Put random values in the place of learned ones, of the same size so that activations neither explode nor die.

    Kernels (rank 2 and more, floats) are drawn from a normal distribution of mean 0, truncated at two standard
    deviations, with the kernel's own root mean square. All else (biases, the scales and statistics of a normalisation,
    quantised kernels) is shuffled, so that a variance stays positive.

    Args:
        variables: of Keras, written in place.
        generator: of the draws.

    Source: Adebayo et al. 2018, section 3.1. Deviation: there each layer is initialised anew as before its training,
    which a loaded model does not always know how to do.
    """
    for variable in variables:
        value = np.array(variable.numpy())
        # Those of bfloat16 are of a kind of their own to NumPy.
        if value.ndim >= 2 and value.dtype.kind in "fV":
            size = float(np.sqrt(np.mean(np.square(value.astype(np.float64)))))
            drawn = _truncated_normal(value.shape, generator)
            variable.assign((drawn * (size / np.sqrt(np.mean(drawn**2)))).astype(value.dtype))
        else:
            variable.assign(generator.permutation(value.ravel()).reshape(value.shape))


def _truncated_normal(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    drawn = generator.standard_normal(shape)
    while (beyond := np.abs(drawn) > _FURTHEST).any():
        drawn[beyond] = generator.standard_normal(int(beyond.sum()))
    return drawn


def learned_layers(model: Any) -> list[Stage]:
    """The layers that carry learned weights and their own variables, from the output down.

    Shared ones count with their last call; a block only with what is not of a layer that is called by itself. The
    values of a `Normalization`, which says how images are scaled, are not learned.

    Args:
        model: a built Keras 3 model.

    Returns:
        (path, Keras variables) of each layer, no variable twice.

    Raises:
        TypeError, ValueError: as `BorrowedModel`; a model without learned weights.
    """
    calls = next(BorrowedModel(model).views()).calls
    listed = {id(call.operation) for call in calls}
    taken = {id(weight) for _, layer in sublayers(model) if not has_learned_weights(layer) for weight in layer.weights}
    found: list[Stage] = []
    for call in reversed(calls):
        parts = [layer for _, layer in _parts(call.operation) if id(layer) in listed]
        later = {id(weight) for layer in parts for weight in layer.weights}
        weights = getattr(call.operation, "weights", [])
        own = [weight for weight in weights if id(weight) not in taken | later]
        if own:
            taken |= {id(weight) for weight in own}
            found.append((call.path, own))
    rest = [weight for weight in model.weights if id(weight) not in taken]
    if rest:
        found.append((f"the rest of {model.name}", rest))
    if not found:
        raise ValueError(f"Expected a model with learned weights, but '{model.name}' has none to randomise.")
    return found


def _parts(operation: Any) -> list[tuple[str, Any]]:
    return sublayers(operation) if isinstance(operation, keras.layers.Layer) else []


def grouped(layers: list[Stage], num_stages: int) -> list[Stage]:
    """At most `num_stages` groups of neighbours, the first of them the head alone; each named by its lowest layer.

    Args:
        layers: from the output down, at least one.
        num_stages: at least 1, which makes one group of all.

    Raises:
        ValueError: `num_stages` below 1.
    """
    if num_stages < 1:
        raise ValueError(f"Expected num_stages of at least 1, received {num_stages}.")
    count = min(num_stages, len(layers))
    first = 1 if count > 1 else len(layers)
    ends = np.linspace(first, len(layers), count).round().astype(int).tolist()
    starts = [0, *ends[:-1]]
    return [
        (layers[end - 1][0], [variable for _, variables in layers[start:end] for variable in variables])
        for start, end in zip(starts, ends, strict=True)
    ]
