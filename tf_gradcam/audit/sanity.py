"""Sanity checks: heatmaps must change when weights are randomised.

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
from tf_gradcam._rules.table import MethodName, find_method
from tf_gradcam.audit.result import SanityCheck
from tf_gradcam.metrics.intervals import Interval, bootstrap_interval
from tf_gradcam.metrics.similarity import rank_correlations, structural_similarities

Stage = tuple[str, list[Any]]  # the path of a layer, its variables
Explain = Callable[[np.ndarray, list[int]], np.ndarray]  # images, class indices -> heatmaps (N, H, W)

SIMILARITIES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "rank correlation": rank_correlations,
    "structural similarity": structural_similarities,
}
_TRUNCATION = 2.0  # standard deviations; weights are drawn within
_SURVIVAL_LIMIT = 0.5  # mean similarity from which maps count as unchanged
_BATCH_SIZE = 32  # images explained in a call


@contextlib.contextmanager
def restored(variables: Sequence[Any]) -> Iterator[None]:
    """Restore the variables at the end of the block, bit for bit, even after an exception."""
    values = [np.array(variable.numpy()) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def randomise(variables: Sequence[Any], generator: np.random.Generator) -> None:
    """Replace learned values by random ones of the same size, so that activations neither explode nor vanish.

    Float kernels (rank 2 or more) are drawn from a normal distribution of mean 0, truncated at two standard deviations,
    with the kernel's own root mean square. Other variables (biases, the scales and statistics of a normalisation,
    quantised kernels) are shuffled, so that a variance stays positive.

    Args:
        variables: Keras variables, written in place.
        generator: of the random values.

    Source: Adebayo et al. 2018, section 3.1. Deviation: there each layer is initialised as before its training; a
    loaded model does not always know how.
    """
    for variable in variables:
        value = np.array(variable.numpy())
        # NumPy reports bfloat16 as kind "V".
        if value.ndim >= 2 and value.dtype.kind in "fV":
            size = float(np.sqrt(np.mean(np.square(value.astype(np.float64)))))
            drawn = _truncated_normal(value.shape, generator)
            variable.assign((drawn * (size / np.sqrt(np.mean(drawn**2)))).astype(value.dtype))
        else:
            variable.assign(generator.permutation(value.ravel()).reshape(value.shape))


def _truncated_normal(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    drawn = generator.standard_normal(shape)
    while (beyond := np.abs(drawn) > _TRUNCATION).any():
        drawn[beyond] = generator.standard_normal(int(beyond.sum()))
    return drawn


def learned_layers(model: Any) -> list[Stage]:
    """List the layers with learned weights as (path, Keras variables), from the output down; each variable once.

    A shared layer stands at its last call. A block has only the variables that belong to none of its listed layers. The
    values of a `Normalization` layer, which scales images, are not learned.

    Raises:
        TypeError, ValueError: as `ModelReader`; the model does not have learned weights.
    """
    calls = next(ModelReader(model).views()).calls
    listed = {id(call.operation) for call in calls}
    taken = {id(weight) for _, layer in sublayers(model) if not has_learned_weights(layer) for weight in layer.weights}
    stages: list[Stage] = []
    for call in reversed(calls):
        parts = [layer for _, layer in _parts(call.operation) if id(layer) in listed]
        later = {id(weight) for layer in parts for weight in layer.weights}
        weights = getattr(call.operation, "weights", [])
        own = [weight for weight in weights if id(weight) not in taken | later]
        if own:
            taken |= {id(weight) for weight in own}
            stages.append((call.path, own))
    rest = [weight for weight in model.weights if id(weight) not in taken]
    if rest:
        stages.append((f"the rest of {model.name}", rest))
    if not stages:
        raise ValueError(
            f"Expected a model with learned weights, but '{model.name}' does not have any. Skip the sanity checks."
        )
    return stages


def _parts(operation: Any) -> list[tuple[str, Any]]:
    return sublayers(operation) if isinstance(operation, keras.layers.Layer) else []


def grouped(layers: list[Stage], num_stages: int) -> list[Stage]:
    """Join neighbouring layers, from the output down, into at most `num_stages` groups, the first the head alone.

    Returns:
        (path of the lowest layer, variables) of each group.

    Raises:
        ValueError: `num_stages` is below 1.
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


def sanity_checks(
    model: Any,
    images: Any,
    class_indices: Sequence[int] | np.ndarray,
    *,
    layer: Any = None,
    method: MethodName | Rule = "gradcam",
    scaling: str | None = None,
    similarity: str = "rank correlation",
    seed: int = 0,
    **options: Any,
) -> list[SanityCheck]:
    """Run both sanity checks of one method: "weights" and "logits".

    A separate explainer reads the weights at every call, so frozen explainers of the caller are not affected. The
    model's weights are restored bit for bit, even after an exception; the states of optimizer, metrics and random
    generators are not touched.

    Args:
        model: a built Keras 3 model.
        images: (N, H0, W0, C) as the model expects them; a list or dict for a model of several inputs. 16 to 64 images
            are enough.
        class_indices: (N,) int, the class, label or value that is explained in each image, for the trained and the
            random models. Maps of a value are compared with their signs: what raised it and now lowers it has changed.
        layer, method, scaling: as `Explainer`.
        similarity: a key of `SIMILARITIES`. Defaults to the rank correlation.
        seed: of the random weights and of the intervals.
        **options: further ones of `Explainer`: task, class_names.

    Returns:
        Two `SanityCheck`; a trustworthy method passes both.

    Raises:
        TypeError, ValueError: as `Explainer`; the model does not have learned weights; the similarity is unknown.
    """
    name, _ = find_method(method)
    explain = explained_by(Explainer(model, layer, method, scaling=scaling, **options))
    how: dict[str, Any] = {"method": name, "similarity": similarity, "seed": seed}
    return [
        check_weights(model, explain, images, class_indices, **how),
        check_logits(model, explain, images, class_indices, **how),
    ]


def explained_by(explainer: Any) -> Explain:
    """Return a function (images, class indices) -> heatmaps (N, H, W), of a value with their signs."""
    return lambda images, indices: explainer(images, indices).shown


def check_weights(
    model: Any,
    explain: Explain,
    images: Any,
    class_indices: Sequence[int] | np.ndarray,
    *,
    method: str,
    similarity: str = "rank correlation",
    seed: int = 0,
    num_stages: int = 8,
    num_draws: int = 3,
) -> SanityCheck:
    """Randomise the weights layer by layer from the output down, and compare the heatmaps.

    Args:
        model: the model that `explain` explains.
        explain: (images, class indices) -> heatmaps (N, H, W); reads the weights of `model` at every call.
        images, class_indices, similarity, seed: as `sanity_checks`.
        method: name of the method, for the sentence.
        num_stages: number of comparisons, the first with a random head, the last with all weights random; 1 for all
            weights at once. Defaults to 8.
        num_draws: number of random models, averaged per image, at least 1. Defaults to 3.

    Returns:
        `SanityCheck` "weights": `stages` are the paths of the layers down to which all weights are random. It is passed
        if the last similarity is below 0.5.

    Raises:
        ValueError: there are no learned weights or no images, the similarity is unknown, or a number is below 1.
    """
    layers = learned_layers(model)
    groups = grouped(layers, num_stages)
    similarities = _compare(groups, explain, images, class_indices, similarity, seed, num_draws)
    below = next((at for at, found in enumerate(similarities) if found.value < _SURVIVAL_LIMIT), len(groups))
    where = f", and below 0.5 from '{groups[below][0]}' on down" if below < len(groups) - 1 else ""
    return _verdict("weights", method, groups, similarities, similarity, "all its weights are random", where)


def check_logits(
    model: Any,
    explain: Explain,
    images: Any,
    class_indices: Sequence[int] | np.ndarray,
    *,
    method: str,
    similarity: str = "rank correlation",
    seed: int = 0,
    num_draws: int = 8,
) -> SanityCheck:
    """Randomise the head alone, which separates the classes, and compare the heatmaps.

    A heatmap that stays the same shows what is conspicuous in the image, not what speaks for the class.

    Args, Raises: as `check_weights`.

    Returns:
        `SanityCheck` "logits" with one stage.
    """
    head = learned_layers(model)[:1]
    similarities = _compare(head, explain, images, class_indices, similarity, seed, num_draws)
    return _verdict("logits", method, head, similarities, similarity, "its head is random")


def _verdict(
    name: str,
    method: str,
    stages: Sequence[Stage],
    similarities: list[Interval],
    similarity: str,
    condition: str,
    where: str = "",
) -> SanityCheck:
    last = similarities[-1]
    numbers = f"{similarity} {last.value:.2f} ({last.low:.2f} to {last.high:.2f})"
    if np.isnan(last.value):
        sentence = f"The maps of '{method}' have no pattern in any image, so this check cannot compare them."
    elif last.value < _SURVIVAL_LIMIT:
        sentence = f"The maps of '{method}' change when {condition}: {numbers}{where}."
    else:
        sentence = (
            f"The maps of '{method}' stay the same when {condition}: {numbers}. They show the image rather than what "
            "the model has learned: do not trust them."
        )
    return SanityCheck(name, [path for path, _ in stages], similarities, bool(last.value < _SURVIVAL_LIMIT), sentence)


def _compare(
    stages: Sequence[Stage],
    explain: Explain,
    images: Any,
    class_indices: Sequence[int] | np.ndarray,
    similarity: str,
    seed: int,
    num_draws: int,
) -> list[Interval]:
    """Return the similarity with the trained model's heatmaps, as stage after stage becomes random."""
    if similarity not in SIMILARITIES:
        raise ValueError(unknown_name("similarity", similarity, SIMILARITIES))
    if num_draws < 1:
        raise ValueError(f"Expected num_draws of at least 1, received {num_draws}.")
    indices = [int(index) for index in class_indices]
    count = len(keras.tree.flatten(images)[0])
    if not count or count != len(indices):
        raise ValueError(
            f"Expected at least one image and a class index for each, received {count} and {len(indices)}."
        )
    trained = _maps(explain, images, indices)
    found = np.empty((num_draws, len(stages), count))
    for draw in range(num_draws):
        generator = np.random.default_rng([seed, draw])
        with restored([variable for _, variables in stages for variable in variables]):
            for number, (_, variables) in enumerate(stages):
                randomise(variables, generator)
                found[draw, number] = _alike(trained, _maps(explain, images, indices), SIMILARITIES[similarity])
    return [bootstrap_interval(row, seed=seed) for row in found.mean(axis=0)]


def _maps(explain: Explain, images: Any, indices: list[int]) -> np.ndarray:
    parts = [slice(start, start + _BATCH_SIZE) for start in range(0, len(indices), _BATCH_SIZE)]
    some = [keras.tree.map_structure(lambda array, part=part: array[part], images) for part in parts]
    maps = np.concatenate([np.asarray(explain(one, indices[part])) for one, part in zip(some, parts, strict=True)])
    return maps.astype(np.float64)


def _alike(trained: np.ndarray, others: np.ndarray, compare: Callable[..., np.ndarray]) -> np.ndarray:
    """Return (N,) similarities; NaN if the trained model's heatmap is constant, 0 if only the other one is."""
    flat = trained.reshape(len(trained), -1), others.reshape(len(others), -1)
    has_pattern, has_still = (maps.max(axis=1) > maps.min(axis=1) for maps in flat)
    values = np.full(len(trained), np.nan)
    values[has_pattern] = 0.0
    both = has_pattern & has_still
    values[both] = compare(trained[both], others[both])
    return values
