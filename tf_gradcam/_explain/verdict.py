"""The evidence for and against single maps: erasing, noise and mirroring, a rule of another family.

Axis legend: B images, H0 x W0 pixels, n versions of one image, H x W cells of the layer.
"""

from __future__ import annotations

import functools
from typing import Any, Protocol

import keras
import numpy as np

from tf_gradcam._errors import Message
from tf_gradcam._explain.averaging import as_type, brought_back, changed, copied, is_of_parts, with_noise
from tf_gradcam._explain.fusion import ExplainerLike, Progress, Runs, resolved_target
from tf_gradcam._models.reader import Images
from tf_gradcam._models.task import Task
from tf_gradcam._results.explanation import Explanation
from tf_gradcam._results.verdict import Verdict
from tf_gradcam.image.opencv import opencv
from tf_gradcam.image.resize import Placement
from tf_gradcam.metrics.faithfulness import heat_ranks
from tf_gradcam.metrics.intervals import bootstrap_interval
from tf_gradcam.metrics.similarity import correlation
from tf_gradcam.targets.base import TargetLike

_AREA = 0.25  # of the picture, at most: the hot region
_REGIONS = 24  # random ones
_TRIES, _MOST_OVERLAP = 50, 0.25  # of places for each; of its area with the hot region
_COPIES, _NOISE = 3, 0.05  # as `smooth`: a standard deviation relative to the range of values
_AT_ONCE = 7  # versions of an image in a call
_RUNS = (4 + _REGIONS) // _AT_ONCE + _COPIES + 2  # calls for an image
_TASKS = ("classification", "multilabel", "regression")


class JudgedExplainer(ExplainerLike, Protocol):
    """The explainer of the maps: `other_family` is one by another kind of rule, `runs_once` as in `Explainer`."""

    layer_name: str
    task: Task

    @property
    def other_family(self) -> ExplainerLike: ...
    @property
    def runs_once(self) -> bool: ...


def judge(
    explainer: JudgedExplainer,
    explanation: Explanation,
    images: Images,
    target: TargetLike = None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Judge each map of an explanation by itself; arguments as `Explainer.judge`."""
    _check(explainer, explanation, images, target)
    same: Any = resolved_target(explanation, target)
    run = Runs(_RUNS * len(explanation), progress)
    verdicts: list[Verdict] = []
    for index in range(len(explanation)):
        alone, own = explanation.part(slice(index, index + 1)), same if callable(same) else int(same[index])
        verdicts.append(_judged(run, explainer, alone, row_of(images, index), own, seed))
    return verdicts


def check_task(task: str) -> None:
    """Refuse tasks whose maps explain a region or a box, which erasing moves."""
    if task not in _TASKS:
        fact = (
            f"Expected a model of {', '.join(_TASKS[:-1])} or {_TASKS[-1]} to judge its maps, received one of {task}."
        )
        raise ValueError(Message(fact, "Compare its methods: compare(model, image).", "Leave --verdict out."))


def _check(explainer: JudgedExplainer, explanation: Explanation, images: Images, target: TargetLike) -> None:
    if not isinstance(explanation, Explanation):
        raise TypeError(f"Expected an explanation to judge, received {type(explanation).__name__}.")
    check_task(explainer.task.name)
    explanation.check_pictures()
    if explanation.layer_name != explainer.layer_name:
        raise ValueError(
            f"Expected maps of the explainer's layer '{explainer.layer_name}', received maps of "
            f"'{explanation.layer_name}'. Pass the explainer that made them."
        )
    if target is None and (explanation.class_indices < 0).any():
        raise ValueError("Expected the callable target that the maps explain, received None. Pass target=.")
    count = len(keras.tree.flatten(images)[0]) if is_of_parts(images) else len(np.asarray(images))
    if count != len(explanation):
        raise ValueError(f"Expected the {len(explanation)} images that were explained, received {count}.")


def _judged(run: Runs, explainer: JudgedExplainer, alone: Explanation, image: Any, target: Any, seed: int) -> Verdict:
    other = explainer.other_family
    probe = explainer if explainer.runs_once else other
    draw, heat, partner = np.random.default_rng(seed), alone.resized()[0], run(other, image, target)
    region = (heat_ranks(heat) < round(_AREA * heat.size)) & (heat > 0)
    everything = np.ones_like(region)
    regions = np.stack(
        [~everything, region, _centre(region), everything, *(_elsewhere(region, draw) for _ in range(_REGIONS))]
    )
    before, hot, centre, nothing, *elsewhere = _left(run, probe, image, regions, target).tolist()
    if not np.isclose(before, known := float(_measured(alone)[0]), rtol=0.02, atol=0.02):
        raise ValueError(
            f"Expected the images that were explained, received others: {alone.labels[0]} has {before:.4g} now and "
            f"{known:.4g} in the explanation. Pass what the explainer was called with, scaled alike."
        )
    copies = _maps_of_copies(run, explainer, alone, image, target, draw)
    at_partner = alone.shown_at(0, partner.shown.shape[1:])
    return Verdict(
        label=alone.labels[0],
        before=before,
        erased=hot,
        random=bootstrap_interval(elsewhere, seed=seed),
        rivals=float(np.mean(np.array(elsewhere) <= hot)),
        centre=centre,
        nothing=nothing,
        area=float(region.mean()),
        stability=float(np.min([_similarity(alone.shown, copy) for copy in copies])),
        agreement=_similarity(at_partner, partner.shown),
        other_method=partner.method,
        is_probability=alone.probability(0) is not None,
        unit=alone.unit or "",
        blank=alone.diagnosis[0],
    )


def _similarity(one: np.ndarray, other: np.ndarray) -> float:
    return correlation(*(np.ravel(each).astype(np.float64) for each in (one, other)))


def row_of(images: Any, index: int) -> Any:
    """Return one image of a model's input, with its batch axis."""
    if is_of_parts(images):
        given = list(images) if isinstance(images, tuple) else images
        return keras.tree.map_structure(lambda part: np.asarray(part)[index : index + 1], given)
    return np.asarray(images)[index : index + 1]


def _measured(explanation: Explanation) -> np.ndarray:
    """Return (B,) the probabilities of what is explained, else its scores."""
    found = [explanation.probability(index) for index in range(len(explanation))]
    return explanation.scores if None in found else np.array(found)


def _left(run: Runs, probe: ExplainerLike, image: Any, regions: np.ndarray, target: Any) -> np.ndarray:
    """Return (n,) what is left of the explained class in an image as each region (n, H0, W0) is erased."""
    blurred = changed(image, functools.partial(_blurred, size=regions.shape[1:]))

    def versions(array: np.ndarray, erased: np.ndarray, some: np.ndarray) -> np.ndarray:
        if array.ndim < 3 or array.shape[1:3] != some.shape[1:]:
            return array.repeat(len(some), axis=0)
        return np.where(some.reshape(*some.shape, *[1] * (array.ndim - 3)), erased, array)

    parts = [regions[start : start + _AT_ONCE] for start in range(0, len(regions), _AT_ONCE)]
    trees = [keras.tree.map_structure(functools.partial(versions, some=some), image, blurred) for some in parts]
    return np.concatenate([_measured(run(probe, tree, target)) for tree in trees])


def _blurred(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Blur a picture (1, H0, W0, ...) by half the side of the hot region, so that nothing of its size is left."""
    if array.shape[1:3] != size:  # a picture at another input than the map's
        return array
    sigma = max(2.0, 0.5 * float(np.sqrt(_AREA * np.prod(size))))
    blurred = opencv().GaussianBlur(array[0].astype(np.float32), (0, 0), sigma)
    return as_type(blurred.reshape(array.shape), array)


def _centre(region: np.ndarray) -> np.ndarray:
    """Return an ellipse of as many pixels in the middle of the picture."""
    rows, columns = (np.abs(np.arange(side) - (side - 1) / 2) / side for side in region.shape)
    return heat_ranks(-np.hypot(rows[:, None], columns)) < region.sum()


def _elsewhere(region: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return the region at a random place, mirrored at random; what leaves the picture comes in at the other side."""
    best, least = region, np.inf
    for _ in range(_TRIES):
        moved = np.roll(region, draw.integers(region.shape), axis=(0, 1))
        moved = moved[:: draw.choice([-1, 1]), :: draw.choice([-1, 1])]
        overlap = float((moved & region).sum())
        if overlap < least:
            best, least = moved, overlap
        if overlap <= _MOST_OVERLAP * region.sum():
            break
    return best


def _maps_of_copies(
    run: Runs, explain: ExplainerLike, alone: Explanation, image: Any, target: Any, draw: np.random.Generator
) -> np.ndarray:
    """Return the maps of noisy copies and of the mirrored picture, brought back, (n, H, W)."""
    noisy = functools.partial(with_noise, noise=_NOISE, draw=draw)
    maps = [run(explain, changed(image, noisy), target).shown for _ in range(_COPIES)]
    mirrored = run(explain, changed(image, functools.partial(copied, zoom=1.0, flip=True, rank=2)), target)
    assert isinstance(alone.placement, Placement)
    return np.concatenate([*maps, brought_back(mirrored, 1.0, True, alone.placement).shown])
