"""Test-time averaging for any method: mean maps over mirrored and zoomed copies of the images, or over noisy ones.

Axis legend: B images, H0 x W0 pixels, H x W cells of the layer. `augment` and `smooth` take and return explainers,
callables (images, target=None) -> Explanation: they wrap each other and `fuse`.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from tf_gradcam._explain.fusion import (
    ExplainerLike,
    Progress,
    Runs,
    check_explainer,
    joint_diagnosis,
    resolved_target,
)
from tf_gradcam._models.reader import Images
from tf_gradcam._results.explanation import Explanation
from tf_gradcam.image.resize import Placement, Unplaced, exact_zoom, sample_maps, zoom_matrix
from tf_gradcam.targets.base import TargetLike
from tf_gradcam.targets.regions import mirrored, region_in

_MAX_SCALE = 100  # beyond it a copy shows less than a pixel of most pictures, and its matrices take all memory
_CANCELLED = "the maps of the copies cancel: none of them is blank, but no cell is positive in their mean; look at .raw"


def augment(explainer: ExplainerLike, flips: bool = True, scales: Sequence[float] = (1.0,)) -> ExplainerLike:
    """Average maps over mirrored and zoomed copies of each image, each aligned with the image.

        augment(Explainer(model))
        augment(Explainer(model), scales=(0.8, 1.0, 1.25))

    The picture keeps its size, so any model will do: above 1 the content grows about the centre and its border is lost,
    below 1 it shrinks and its edge pixels are repeated around it. A cell is averaged over the copies that show it. Raw
    maps are averaged: they are in the unit of the one score, and a copy with little evidence counts little.

    Args:
        explainer: an `Explainer`, or the result of `fuse`, `smooth` or `augment`.
        flips: whether each copy is also mirrored left to right. Defaults to True.
        scales: factors of the content's height and width, above 0, rounded to whole pixels. Defaults to (1.0,).

    Returns:
        A callable `(images, target=None, *, progress=None) -> Explanation`; `progress` is called with (done, total) of
        all copies together. In a list or dict, all inputs that are pictures are changed alike. Scores, labels,
        probabilities and, for target=None, the class come from the unchanged images; `spread` is the standard deviation
        of the copies' maps. The mask or point of a `targets.Region` is mirrored with the images. It raises ValueError
        for signals, for maps with other axes than the images, and for a mask or point in zoomed copies.

    Raises:
        TypeError: not a callable.
        ValueError: no scale, or a scale outside (0, 100].

    Source: implementation practice, https://github.com/jacobgil/pytorch-grad-cam. Deviation: that library averages maps
    that are normalised one by one, over mirrored and brightened copies.
    Cost: one call of the explainer a copy, and one for the images as they are.
    """
    check_explainer(explainer)
    zooms = _checked_scales(scales)
    copies = [(zoom, flip) for zoom in zooms for flip in ((False, True) if flips else (False,))]
    kinds = [*(["flips"] if flips else []), *([f"scales {', '.join(f'{z:g}' for z in zooms)}"] if zooms != [1] else [])]
    return functools.partial(_augmented, explainer, copies, " and ".join(kinds))


def _augmented(
    explainer: ExplainerLike,
    copies: Sequence[tuple[float, bool]],
    kinds: str,
    images: Images,
    target: TargetLike = None,
    *,
    progress: Progress | None = None,
) -> Explanation:
    region, zooms = region_in(target), list(dict.fromkeys(zoom for zoom, _ in copies))
    if region is not None and region.place_kind and zooms != [1]:
        raise ValueError(
            "Expected no zoomed copies for a mask or a point, received the scales "
            f"{', '.join(f'{zoom:g}' for zoom in zooms)}. Use scales=[1], or explain a class."
        )
    run = Runs(1 + sum(copy != (1, False) for copy in copies), progress)
    plain = run(explainer, images, target)
    placement = _placement_of_pictures(plain)
    same = resolved_target(plain, target)
    if any(flip for _, flip in copies):
        placement = _mirrored_mean(plain, placement)
    views = []
    for zoom, flip in copies:
        change = functools.partial(copied, zoom=zoom, flip=flip, rank=len(plain.image_size))
        is_plain = (zoom, flip) == (1, False)
        explanation = plain if is_plain else run(explainer, changed(images, change), mirrored(same) if flip else same)
        views.append(brought_back(explanation, zoom, flip, placement))
    seen = np.stack([view.seen for view in views])[:, None]  # the same cells of every image
    raw = _mean_where_seen(np.stack([view.raw for view in views]), seen)
    shown = np.stack([view.shown for view in views])
    spread = np.sqrt(_mean_where_seen((shown - _mean_where_seen(shown, seen)) ** 2, seen))
    return plain.with_raw(
        raw,
        layer_name=plain.layer_name,
        method=f"{plain.method}, mean over {kinds}" if kinds else plain.method,
        placement=placement,
        diagnosis=joint_diagnosis(raw, [view.explanation for view in views], _CANCELLED),
        spread=spread,
    )


class _Copy(NamedTuple):
    """Maps of one copy, aligned with the image, and the cells that it shows."""

    explanation: Explanation
    raw: np.ndarray
    shown: np.ndarray
    seen: np.ndarray


def copied(array: np.ndarray, zoom: float, flip: bool, rank: int) -> np.ndarray:
    """Zoom and mirror pictures (B, ..., H0, W0, C), or pictures without an axis of channels, which have `rank` axes."""
    if array.ndim == rank + 1 <= 4:
        return copied(array[..., None], zoom, flip, rank)[..., 0]
    result = array[..., ::-1, :] if flip else array
    if zoom == 1:
        return result
    rows, columns = (zoom_matrix(side, zoom) for side in array.shape[-3:-1])
    with np.errstate(invalid="ignore"):  # an image that is not finite stays so, and its explanation says so
        result = np.einsum("ij,...jkc->...ikc", rows, result, optimize=True)
        return as_type(np.einsum("ij,...kjc->...kic", columns, result, optimize=True), array)


def _mirrored_mean(plain: Explanation, placement: Placement) -> Placement:
    """Return the placement with its cells halfway between their places and their places in the mirrored picture."""
    width = len(plain.image_size) - 1
    number, start, reach = placement.axes.index(width), list(placement.start), list(placement.reach or ())
    side, scale, count = plain.image_size[width], placement.scale[number], plain.raw.shape[1 + number]
    if reach:
        first, last = reach[number]
        if abs(first - (side - last)) > scale:
            return placement  # the copies see different parts of the picture
        reach[number] = min(first, side - last), max(last, side - first)
    start[number] = (side - scale * (count - 1)) / 2
    return replace(placement, start=tuple(start), reach=tuple(reach) or None)


def brought_back(explanation: Explanation, zoom: float, flip: bool, placement: Placement) -> _Copy:
    """Sample the maps of a copy at the cells of `placement`, whose centres it shows or does not show."""
    own, rank, cells = explanation.placement, len(explanation.image_size), explanation.raw.shape[1:]
    assert isinstance(own, Placement)
    positions, seen = [], np.ones((1,) * len(cells), bool)
    for number, places in enumerate(placement.centres(cells)):
        axis = own.axes[number]
        side = explanation.image_size[axis]
        if axis >= rank - 2:
            places = (places - side / 2) * exact_zoom(side, zoom) + side / 2
        if flip and axis == rank - 1:
            places = side - places
        positions.append((places - own.start[number]) / own.scale[number])
        first, last = own.reach[number] if own.reach else (0.0, side)
        margin = 1e-9 * side
        within = (places > first - margin) & (places < last + margin)
        seen = seen & within.reshape([-1 if axis == number else 1 for axis in range(len(cells))])
    raw, shown = (sample_maps(maps, positions) for maps in (explanation.raw, explanation.shown))
    return _Copy(explanation, raw, shown, seen)


def _mean_where_seen(copies: np.ndarray, seen: np.ndarray) -> np.ndarray:
    counts = seen.sum(axis=0, dtype=np.float32)
    return np.where(seen, copies, 0).sum(axis=0, dtype=np.float32) / np.maximum(counts, 1)


def smooth(explainer: ExplainerLike, copies: int = 8, noise: float = 0.1, seed: int = 0) -> ExplainerLike:
    """Average maps over noisy copies of each image; evidence that depends on single pixels averages out.

        smooth(Explainer(model), copies=16)

    Args:
        explainer: an `Explainer`, or the result of `fuse`, `augment` or `smooth`.
        copies: number of copies, at least 1. Defaults to 8.
        noise: standard deviation of the noise, relative to each image's range of values; at least 0. Defaults to 0.1.
        seed: of the noise. Every image gets the same noise, so that a batch gives the maps of its single images.

    Returns:
        A callable `(images, target=None, *, progress=None) -> Explanation`; `progress` is called with (done, total) of
        all copies together. In a list or dict, all inputs that are pictures are changed. `raw` is the mean of the
        copies' raw maps, `spread` the standard deviation of their maps. Scores, labels, probabilities and, for
        target=None, the class come from the unchanged images.

    Raises:
        TypeError: not a callable; `copies` or `seed` not an integer.
        ValueError: `copies` below 1, `noise` negative or not finite.

    Source: Smilkov et al. 2017, SmoothGrad, section 3, https://arxiv.org/abs/1706.03825. Deviation: maps, not gradients
    of pixels; noisy values are clipped to the image's own range, so that no model gets impossible values.
    Cost: one call of the explainer a copy, and one for the images as they are.
    """
    check_explainer(explainer)
    try:
        count, seed = operator.index(copies), operator.index(seed)
    except TypeError as error:
        raise TypeError(f"Expected copies and seed as integers, received {copies!r} and {seed!r}.") from error
    if count < 1:
        raise ValueError(f"Expected copies of at least 1, received {copies}.")
    if not 0 <= noise < math.inf:
        raise ValueError(f"Expected noise relative to the image's range, 0 or more, received {noise}.")
    return functools.partial(_smoothed, explainer, count, noise, seed)


def _smoothed(
    explainer: ExplainerLike,
    count: int,
    noise: float,
    seed: int,
    images: Images,
    target: TargetLike = None,
    *,
    progress: Progress | None = None,
) -> Explanation:
    run = Runs(1 + count, progress)
    plain = run(explainer, images, target)
    same = resolved_target(plain, target)
    explanations = []
    for copy in range(count):
        draw = np.random.default_rng([seed, copy])
        noisy = changed(images, functools.partial(with_noise, noise=noise, draw=draw))
        explanations.append(run(explainer, noisy, same))
    raw = np.stack([explanation.raw for explanation in explanations]).mean(axis=0)
    return plain.with_raw(
        raw,
        layer_name=plain.layer_name,
        method=f"{plain.method}, mean over {count} noisy copies",
        placement=plain.placement,
        diagnosis=joint_diagnosis(raw, explanations, _CANCELLED),
        spread=np.stack([explanation.shown for explanation in explanations]).std(axis=0),
    )


def with_noise(array: np.ndarray, noise: float, draw: np.random.Generator) -> np.ndarray:
    values = array.astype(np.result_type(array.dtype, np.float32), copy=False)
    axes = tuple(range(1, array.ndim))
    low, high = values.min(axis=axes, keepdims=True), values.max(axis=axes, keepdims=True)
    with np.errstate(invalid="ignore"):
        noisy = values + noise * (high - low) * draw.standard_normal(array.shape[1:], np.float32)
        return as_type(np.clip(noisy, low, high), array)


def as_type(values: np.ndarray, array: np.ndarray) -> np.ndarray:
    """Convert values to the type of `array`, rounded for whole numbers."""
    return (np.rint(values) if array.dtype.kind in "iu" else values).astype(array.dtype)


def is_of_parts(images: Any) -> bool:
    """Return whether images are a list or dict for a model of several inputs."""
    return isinstance(images, Mapping) or (
        isinstance(images, (list, tuple)) and any(np.ndim(part) > 3 for part in images)
    )


def changed(images: Any, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Change the pictures of a model's input: in a list or dict, arrays of at least four axes, else of most axes."""
    if not is_of_parts(images):
        return change(np.asarray(images))
    items = images.items() if isinstance(images, Mapping) else enumerate(images)
    arrays = {key: np.asarray(part) for key, part in items}
    rank = min(4, max(array.ndim for array in arrays.values()))
    results = {key: change(array) if array.ndim >= rank else array for key, array in arrays.items()}
    return results if isinstance(images, Mapping) else list(results.values())


def _placement_of_pictures(explanation: Explanation) -> Placement:
    rank, placement = len(explanation.image_size), explanation.placement
    if isinstance(placement, Unplaced) or rank < 2 or not {rank - 2, rank - 1} <= set(placement.axes):
        raise ValueError(
            f"Expected maps with the axes of pictures to mirror or zoom, received maps {explanation.raw.shape} of "
            f"inputs {explanation.image_size}, which cannot be mirrored or zoomed. Use smooth(explainer) instead."
        )
    return placement


def _checked_scales(scales: Sequence[float]) -> list[float]:
    try:
        zooms = [float(scale) for scale in scales]
    except (TypeError, ValueError):
        zooms = []
    if not zooms or not all(0 < zoom <= _MAX_SCALE for zoom in zooms):
        raise ValueError(
            f"Expected scales as at least one number above 0 and at most {_MAX_SCALE}, such as (0.8, 1.0), received "
            f"{scales!r}."
        )
    return zooms
