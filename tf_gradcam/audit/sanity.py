"""Sanity checks: maps must change when weights are randomised.

Axis legend: N images, H x W cells, D draws of random weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from tf_gradcam._errors import unknown_name
from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._models.keras_internals import has_learned_weights, sublayers
from tf_gradcam._models.reader import ModelReader
from tf_gradcam._rules.contract import Rule
from tf_gradcam._rules.table import find_method
from tf_gradcam.audit.result import SanityCheck
from tf_gradcam.metrics.intervals import Interval, bootstrap_interval
from tf_gradcam.metrics.similarity import rank_correlations, structural_similarities

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
        TypeError, ValueError: as `ModelReader`; a model without learned weights.
    """
    calls = next(ModelReader(model).views()).calls
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


Explain = Callable[[np.ndarray, list[int]], np.ndarray]

SIMILARITIES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "rank correlation": rank_correlations,
    "structural similarity": structural_similarities,
}
_LIMIT = 0.5  # mean similarity from which on maps have survived
_AT_ONCE = 32  # images explained in a call


def sanity_checks(
    model: Any,
    images: np.ndarray,
    class_indices: Sequence[int] | np.ndarray,
    *,
    layer: Any = None,
    method: str | Rule = "gradcam",
    similarity: str = "rank correlation",
    seed: int = 0,
) -> list[SanityCheck]:
    """Both checks of one method: "weights" and "logits".

    The maps are made by an explainer of their own that reads the weights at every call, so that frozen explainers of
    the caller neither disturb nor notice it. The model is borrowed: its weights are the same bit for bit afterwards,
    also where the work ends in an exception; the states of optimizer, metrics and random generators are not touched.

    Args:
        model: a built Keras 3 model.
        images: (N, H0, W0, C) as the model expects them; 16 to 64 are enough.
        class_indices: (N,) int, the class that is explained in each, of the trained and of the random model.
        layer, method: as `Explainer`.
        similarity: a key of `SIMILARITIES`. Defaults to the rank correlation.
        seed: of the random weights and of the intervals.

    Returns:
        Two `SanityCheck`; a method is trustworthy that passes both.

    Raises:
        TypeError, ValueError: as `Explainer`; a model without learned weights; an unknown similarity.
    """
    name, _ = find_method(method)
    explain = explained_by(Explainer(model, layer, method))
    options: dict[str, Any] = {"method": name, "similarity": similarity, "seed": seed}
    return [
        check_weights(model, explain, images, class_indices, **options),
        check_logits(model, explain, images, class_indices, **options),
    ]


def explained_by(explainer: Any) -> Explain:
    """The heatmaps of an explainer, (images, class indices) -> (N, H, W)."""
    return lambda images, indices: explainer(images, indices).heatmaps


def check_weights(
    model: Any,
    explain: Explain,
    images: np.ndarray,
    class_indices: Sequence[int] | np.ndarray,
    *,
    method: str,
    similarity: str = "rank correlation",
    seed: int = 0,
    num_stages: int = 8,
    num_draws: int = 3,
) -> SanityCheck:
    """Cascading randomisation: layer by layer from the output down, until no learned weight is left.

    Args:
        model: what `explain` explains.
        explain: (images, class indices) -> maps (N, H, W), that reads the weights of `model` at every call.
        images, class_indices, similarity, seed: as `sanity_checks`.
        method: what it is called in the sentence.
        num_stages: how often maps are compared on the way, the first time with the head alone random, the last time
            with everything; 1 for everything at once. Defaults to 8.
        num_draws: how many random models, averaged image by image, at least 1. Defaults to 3.

    Returns:
        `SanityCheck` "weights": `stages` are the paths of the layers down to which all is random; it is passed if the
        last similarity is below 0.5.

    Raises:
        ValueError: no learned weights, no images, an unknown similarity, numbers below 1.
    """
    layers = learned_layers(model)
    groups = grouped(layers, num_stages)
    similarities = _compare(groups, explain, images, class_indices, similarity, seed, num_draws)
    last = similarities[-1]
    below = next((at for at, one in enumerate(similarities) if one.value < _LIMIT), len(groups))
    where = f", and from '{groups[below][0]}' on down they lose it" if below < len(groups) - 1 else ""
    return _verdict("weights", method, groups, similarities, similarity, "all its weights are random", last, where)


def check_logits(
    model: Any,
    explain: Explain,
    images: np.ndarray,
    class_indices: Sequence[int] | np.ndarray,
    *,
    method: str,
    similarity: str = "rank correlation",
    seed: int = 0,
    num_draws: int = 8,
) -> SanityCheck:
    """The head alone is random: what tells the classes apart is gone, what sees the image is as it was.

    A map that stays is the same for every class: it shows what is conspicuous, not what speaks for the class.

    Args, Raises: as `check_weights`.

    Returns:
        `SanityCheck` "logits" of one stage.
    """
    head = learned_layers(model)[:1]
    similarities = _compare(head, explain, images, class_indices, similarity, seed, num_draws)
    return _verdict("logits", method, head, similarities, similarity, "its head is random", similarities[-1], "")


def _verdict(
    name: str,
    method: str,
    stages: Sequence[Stage],
    similarities: list[Interval],
    similarity: str,
    what: str,
    last: Interval,
    where: str,
) -> SanityCheck:
    numbers = f"{similarity} {last.value:.2f} ({last.low:.2f} to {last.high:.2f})"
    if np.isnan(last.value):
        sentence = f"Maps of '{method}' have no pattern in any image, so there is nothing that could change."
    elif last.value < _LIMIT:
        sentence = f"Maps of '{method}' change when {what}: {numbers}{where}."
    else:
        sentence = (
            f"Maps of '{method}' survive when {what}: {numbers}. They show the images more than what the model "
            "learned of them: do not trust them."
        )
    return SanityCheck(name, [path for path, _ in stages], similarities, bool(last.value < _LIMIT), sentence)


def _compare(
    stages: Sequence[Stage],
    explain: Explain,
    images: np.ndarray,
    class_indices: Sequence[int] | np.ndarray,
    similarity: str,
    seed: int,
    num_draws: int,
) -> list[Interval]:
    """Similarity of the maps with those of the trained model, as stage after stage becomes random."""
    if similarity not in SIMILARITIES:
        raise ValueError(unknown_name("similarity", similarity, SIMILARITIES))
    if num_draws < 1:
        raise ValueError(f"Expected num_draws of at least 1, received {num_draws}.")
    indices = [int(index) for index in class_indices]
    if not len(images) or len(images) != len(indices):
        raise ValueError(f"Expected images and a class index for each, received {len(images)} and {len(indices)}.")
    trained = _maps(explain, images, indices)
    found = np.empty((num_draws, len(stages), len(images)))
    for draw in range(num_draws):
        generator = np.random.default_rng([seed, draw])
        with restored([variable for _, variables in stages for variable in variables]):
            for number, (_, variables) in enumerate(stages):
                randomise(variables, generator)
                found[draw, number] = _alike(trained, _maps(explain, images, indices), SIMILARITIES[similarity])
    return [bootstrap_interval(row, seed=seed) for row in found.mean(axis=0)]


def _maps(explain: Explain, images: np.ndarray, indices: list[int]) -> np.ndarray:
    parts = [slice(start, start + _AT_ONCE) for start in range(0, len(images), _AT_ONCE)]
    maps = np.concatenate([np.asarray(explain(images[part], indices[part])) for part in parts])
    return maps.astype(np.float64)


def _alike(trained: np.ndarray, others: np.ndarray, compare: Callable[..., np.ndarray]) -> np.ndarray:
    """(N,) similarities; NaN where the trained map has no pattern, 0 where the other has none left."""
    flat = trained.reshape(len(trained), -1), others.reshape(len(others), -1)
    has_pattern, has_still = (maps.max(axis=1) > maps.min(axis=1) for maps in flat)
    values = np.full(len(trained), np.nan)
    values[has_pattern] = 0.0
    both = has_pattern & has_still
    values[both] = compare(trained[both], others[both])
    return values
