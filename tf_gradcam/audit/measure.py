"""Metrics of a method's heatmaps on a sample of images, beside random and centred heatmaps. NumPy, OpenCV, SciPy.

Axis legend: N images, K classes, H x W cells, H0 x W0 pixels, C channels, P perturbed images.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tf_gradcam.audit.result import Metric
from tf_gradcam.image.resize import resize_heatmaps
from tf_gradcam.metrics.faithfulness import (
    Predict,
    area,
    deletion_path,
    drop_percent,
    highlight,
    increase_percent,
    insertion_path,
    road_paths,
)
from tf_gradcam.metrics.intervals import bootstrap_interval
from tf_gradcam.metrics.localisation import energy_in_region, iou_at, pointing_hit_in_region, sparsity

Join = Callable[[np.ndarray, np.ndarray], Any]

_NUM_STEPS = 10  # of insertion and deletion
_ROAD_SHARES = (0.2, 0.5, 0.8)  # few, because imputation takes up to 0.3 s per share at 224 x 224
_LOWER_IS_BETTER = {"deletion AUC", "average drop %", "ROAD, hottest first"}
_LOWER_CHANGES = ("insertion, ", "ROAD, coldest first, ")  # of values


def measure(
    explainer: Any,
    predict: Predict,
    images: np.ndarray,
    class_indices: Sequence[int] | np.ndarray,
    *,
    boxes: Sequence[np.ndarray | None] | None = None,
    masks: Sequence[np.ndarray | None] | None = None,
    method: str = "gradcam",
    seed: int = 0,
    num_images: int = 32,
    batch_size: int = 32,
    unit: str | None = None,
    join: Join | None = None,
) -> list[Metric]:
    """Measure a method's heatmaps, and the baselines "random" and "centre", over the same images.

    "random" is noise with as many cells as the method's heatmaps, resized in the same way; "centre" is a Gaussian at
    the centre with a sigma of a quarter of each side. Images whose heatmap is blank are left out for all three. An
    image without a box, or without probability to lose, is left out of that metric: see `Metric.count`.

    Of values the change is measured, in their unit, whether up or down: deletion of what counts changes the value at
    once, and insertion brings it back at once. Drop and increase of confidence are parts of a probability, which a
    value does not have.

    Args:
        explainer: an `Explainer`, or a callable (images, target) whose result has `heatmaps` (N, H, W) and
            `resized(size)`.
        predict: images (B, H0, W0, C) -> probabilities (B, K), or values.
        images: (N, H0, W0, C) float32, model range.
        class_indices: (N,) int, the class, label or value that is explained in each image.
        boxes: N regions (H0, W0) in [0, 1]; None for an image without a box.
        masks: N regions (H0, W0) in [0, 1]; None for an image without a mask.
        method: name of the method in the result.
        seed: of the sample, the noise and the intervals.
        num_images: most images that are drawn, at least 1. Defaults to 32.
        batch_size: images per call of `explainer` and of `predict`. Defaults to 32.
        unit: of values, such as "years" or ""; None for probabilities.
        join: (B, H0, W0, C) images, perhaps changed, and their positions (B,) in `images` -> the inputs of `explainer`
            and `predict`; None for the images themselves. For a model of several inputs.

    Returns:
        One `Metric` per quantity and method, the method's own first; empty if every heatmap is blank.

    Raises:
        ImportError: SciPy is not installed.
        ValueError: the numbers of images, class indices, boxes and masks differ; regions have another size than the
            images; `predict` does not return (B, K) probabilities; `num_images` or `batch_size` is below 1.

    Source: see each metric. Deviations: insertion and deletion in 10 steps, ROAD at 20, 50 and 80 % of the pixels.
    """
    indices = np.asarray(class_indices)
    known = {"box": boxes, "mask": masks}
    _check(images, indices, known, num_images, batch_size)
    picked = np.sort(np.random.default_rng(seed).permutation(len(images))[:num_images])
    images, indices = images[picked], indices[picked]
    joined = join or (lambda images, positions: images)
    cells, own = _explained(explainer, joined, images, picked, indices, batch_size)
    shown = own.max(axis=(1, 2)) > 0
    if not shown.any():
        return []
    images, picked, indices, own = images[shown], picked[shown], indices[shown], own[shown]
    regions = {kind: [given[position] for position in picked] for kind, given in known.items() if given is not None}

    def probability(batches: Iterable[np.ndarray], repeats: int = 1) -> np.ndarray:
        return _of_class(predict, joined, batches, picked.repeat(repeats), indices.repeat(repeats))

    before = probability(_batches(images, batch_size))
    metrics = []
    change = None if unit is None else f"change in {unit}" if unit else "change of the value"
    for name, maps in {method: own, **_baselines(own.shape, cells, seed)}.items():
        values = _faithfulness(probability, images, maps, before, seed, batch_size, change)
        for kind, given in regions.items():
            values |= _localisation(maps, given, kind)
        values["sparsity"] = np.array([sparsity(heatmap) for heatmap in maps])
        metrics += [_metric(key, name, column, seed) for key, column in values.items()]
    return metrics


def _check(images: np.ndarray, indices: np.ndarray, known: dict[str, Any], num_images: int, batch_size: int) -> None:
    if images.ndim != 4 or indices.shape != (len(images),) or not len(images):
        raise ValueError(
            f"Expected images (N, H0, W0, C) and a class index for each, received {images.shape} and {indices.shape}."
        )
    for kind, given in known.items():
        if given is None:
            continue
        if len(given) != len(images):
            raise ValueError(f"Expected a {kind} or None for each of {len(images)} images, received {len(given)}.")
        shapes = {np.shape(region) for region in given if region is not None}
        if shapes - {images.shape[1:3]}:
            raise ValueError(f"Expected regions of {images.shape[1:3]} pixels, received {sorted(shapes)}.")
    if num_images < 1 or batch_size < 1:
        raise ValueError(f"Expected num_images and batch_size of at least 1, received {num_images} and {batch_size}.")


def _explained(
    explainer: Any, join: Join, images: np.ndarray, positions: np.ndarray, indices: np.ndarray, batch_size: int
) -> tuple[tuple[int, int], np.ndarray]:
    """Return (H, W) of the explainer's heatmaps, and the heatmaps at the size of the images, (N, H0, W0)."""
    maps, cells = [], (0, 0)
    size = images.shape[1:3]
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        inputs = join(images[part], positions[part])
        explanation = explainer(inputs, [int(index) for index in indices[part]])
        maps.append(explanation.resized(size))
        cells = explanation.heatmaps.shape[1:]
    return cells, np.concatenate(maps)


def _baselines(shape: tuple[int, ...], cells: tuple[int, int], seed: int) -> dict[str, np.ndarray]:
    """Return heatmaps that depend on neither image nor model, by name."""
    count, height, width = shape
    noise = np.random.default_rng(seed).random((count, *cells), np.float32)
    y, x = ((np.arange(side) + 0.5) / side - 0.5 for side in (height, width))
    centre = np.exp(-(y[:, None] ** 2 + x**2) / (2 * 0.25**2)).astype(np.float32)
    return {"random": resize_heatmaps(noise, (height, width)), "centre": np.broadcast_to(centre, shape)}


def _faithfulness(
    probability: Callable[[Iterable[np.ndarray], int], np.ndarray],
    images: np.ndarray,
    maps: np.ndarray,
    before: np.ndarray,
    seed: int,
    batch_size: int,
    change: str | None,
) -> dict[str, np.ndarray]:
    """Return (N,) values of each metric that needs further predictions; `change` names that of a value."""
    paths = _perturbed(images, maps, seed)
    parts = 2 * (_NUM_STEPS + 1) + 1 + 2 * len(_ROAD_SHARES)
    found = probability(_rebatched(paths, batch_size), parts).reshape(len(images), parts)
    cuts = np.cumsum([_NUM_STEPS + 1, _NUM_STEPS + 1, 1, len(_ROAD_SHARES)])
    if change is not None:
        found = np.abs(found - before[:, None])
    deletion, insertion, after, hot, cold = np.split(found, cuts, axis=1)
    if change is not None:
        return {
            f"insertion, {change} left": np.array([area(curve) for curve in insertion]),
            f"deletion, {change}": np.array([area(curve) for curve in deletion]),
            f"ROAD, {change}": (hot.mean(axis=1) - cold.mean(axis=1)) / 2,
            f"ROAD, hottest first, {change}": hot.mean(axis=1),
            f"ROAD, coldest first, {change}": cold.mean(axis=1),
        }
    return {
        "insertion AUC": np.array([area(curve) for curve in insertion]),
        "deletion AUC": np.array([area(curve) for curve in deletion]),
        "average drop %": drop_percent(before, after[:, 0]),
        "increase in confidence %": increase_percent(before, after[:, 0]),
        "ROAD": (cold.mean(axis=1) - hot.mean(axis=1)) / 2,
        "ROAD, hottest first": hot.mean(axis=1),
        "ROAD, coldest first": cold.mean(axis=1),
    }


def _perturbed(images: np.ndarray, maps: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Yield (P, H0, W0, C) of each image in turn; threads prepare the next ones while the model runs."""

    def make(position: int) -> np.ndarray:
        image, heatmap = images[position], maps[position]
        hot, cold = road_paths(image, heatmap, _ROAD_SHARES, seed=seed + position)
        deletion, insertion = deletion_path(image, heatmap, _NUM_STEPS), insertion_path(image, heatmap, _NUM_STEPS)
        return np.concatenate([deletion, insertion, highlight(image, heatmap)[None], hot, cold])

    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        ahead = [pool.submit(make, position) for position in range(min(workers, len(images)))]
        for position in range(len(images)):
            result = ahead.pop(0).result()
            if position + workers < len(images):
                ahead.append(pool.submit(make, position + workers))
            yield result


def _batches(images: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(images), batch_size):
        yield images[start : start + batch_size]


def _rebatched(paths: Iterable[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
    """Yield the images of all paths in batches of one size; the last one may be smaller."""
    waiting: list[np.ndarray] = []
    count = 0
    for path in paths:
        waiting.append(path)
        count += len(path)
        if count >= batch_size:
            together = np.concatenate(waiting)
            full = count - count % batch_size
            yield from _batches(together[:full], batch_size)
            waiting, count = [together[full:]], count - full
    if count:
        yield np.concatenate(waiting)


def _of_class(
    predict: Predict, join: Join, batches: Iterable[np.ndarray], positions: np.ndarray, indices: np.ndarray
) -> np.ndarray:
    """Return (N,) float64, the probability of each image's class."""
    found: list[np.ndarray] = []
    start = 0
    for batch in batches:
        part = slice(start, start + len(batch))
        probabilities = np.asarray(predict(join(batch, positions[part])))
        own = indices[part]
        if probabilities.ndim != 2 or len(probabilities) != len(batch) or probabilities.shape[1] <= own.max():
            raise ValueError(
                f"Expected predict to give probabilities of {len(batch)} images and at least {own.max() + 1} classes, "
                f"received shape {probabilities.shape}."
            )
        found.append(probabilities[np.arange(len(batch)), own].astype(np.float64))
        start += len(batch)
    return np.concatenate(found)


def _localisation(maps: np.ndarray, regions: Sequence[np.ndarray | None], kind: str) -> dict[str, np.ndarray]:
    scores: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        f"energy in {kind}": energy_in_region,
        f"pointing game in {kind}": pointing_hit_in_region,
        f"IoU with {kind} at 0.15": iou_at,
    }
    values = np.full((len(scores), len(maps)), np.nan)
    for position, (heatmap, region) in enumerate(zip(maps, regions, strict=True)):
        if region is not None and np.any(region):
            values[:, position] = [score(heatmap, region) for score in scores.values()]
    return dict(zip(scores, values, strict=True))


def _metric(name: str, method: str, values: np.ndarray, seed: int) -> Metric:
    interval = bootstrap_interval(values, seed=seed)
    count = int(np.isfinite(values).sum())
    is_lower = name in _LOWER_IS_BETTER or name.startswith(_LOWER_CHANGES)
    return Metric(name, method, interval, count, "lower" if is_lower else "higher")
