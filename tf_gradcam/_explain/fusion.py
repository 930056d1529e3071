"""Fusion of the maps of several explainers, and progress for all wrappers.

Axis legend: B images, N cells of a layer (any number of spatial axes).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np

from tf_gradcam._errors import joined_messages, unknown_name
from tf_gradcam._models.reader import Images
from tf_gradcam._results.diagnosis import FLAT_TOGETHER, NONE_FOR, is_flat
from tf_gradcam._results.explanation import Explanation
from tf_gradcam.image.resize import Placement, Unplaced, positive_share, sample_maps
from tf_gradcam.targets.base import TargetLike

Progress = Callable[[int, int], object]

_STEPS = 100  # of each run, whose amount of work is known only as it goes on


class ExplainerLike(Protocol):
    """Callable from images and a target to an `Explanation`; `progress` is passed by name, and only if given."""

    def __call__(
        self, images: Images, target: TargetLike = None, *, progress: Progress | None = None
    ) -> Explanation: ...


class Runs:
    """Sequence of explainer calls with common progress.

    Args:
        count: number of calls.
        progress: called with (done, total), 100 steps per call; `done` only rises. None for no progress.
    """

    def __init__(self, count: int, progress: Progress | None = None):
        self._total = count * _STEPS
        self._progress = progress
        self._finished = 0
        self._reported = 0

    def __call__(self, explainer: ExplainerLike, images: Images, target: TargetLike = None) -> Explanation:
        """Call an explainer; it counts as finished when it returns, whatever it reported."""
        listener: dict[str, Any] = {} if self._progress is None else {"progress": self._report}
        explanation = explainer(images, target, **listener)
        self._report(1, 1)
        self._finished += 1
        return explanation

    def _report(self, done: int, total: int) -> None:
        """Report progress that never falls, although a rule may ask for more probes than at first."""
        reached = self._finished * _STEPS + _STEPS * done // max(total, 1)
        if self._progress is not None and reached > self._reported:
            self._reported = reached
            self._progress(reached, self._total)


_SHALLOW_GAIN = 2.0
_CANCELLED = (
    "the maps of the layers {layers} have no heat in common: no cell is hot in all of them; fuse fewer, or by mean"
)


def fuse(explainers: Sequence[ExplainerLike], how: Literal["mean", "max", "product"] = "mean") -> ExplainerLike:
    """Fuse maps of several layers: coarse layers know the class, fine layers the place.

        fuse([Explainer(model, layer) for layer in ("conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu")])

    Each map is normalised by itself and resized to the cells of the finest layer; they are combined cell by cell.

    Args:
        explainers: at least one, for example `Explainer`s of one model at several layers.
        how: "mean"; "max", the largest value, after tanh(2 M) lifts weak values in maps of all layers finer than the
            coarsest; "product", which keeps what all layers share. Defaults to "mean".

    Returns:
        A callable `(images, target=None, *, progress=None) -> Explanation`; `progress` is called with (done, total) of
        all runs together. Scores, labels, probabilities and, for target=None, the class come from the first explainer;
        `raw` is the combination, from -1 to 1 for a signed target. The callable raises ValueError if maps have
        different numbers of axes, models different numbers of classes, or maps are signed and `how` is "product".

    Raises:
        TypeError: one explainer instead of a list, or items that are not callable.
        ValueError: no explainer, or an unknown `how`.

    Source: mean as in https://github.com/jacobgil/pytorch-grad-cam; maximum with tanh(2 M / max M) on shallow layers,
    Jiang et al. 2021, eq. 9, https://doi.org/10.1109/TIP.2021.3089943. Deviation: "shallow" is every layer finer than
    the coarsest; the value farthest from zero is the largest of signed maps.
    Cost: as all explainers together: each runs the model.
    """
    if how not in _COMBINE:
        raise ValueError(unknown_name("way to fuse", str(how), _COMBINE))
    if callable(explainers):
        raise TypeError(
            f"Expected a list of explainers to fuse, received one {type(explainers).__name__}. Pass one for each "
            "layer, fuse([Explainer(model, name) for name in layers]), or Explainer(model, layer=[...])."
        )
    if not isinstance(explainers, Iterable):
        raise TypeError(f"Expected a list of explainers to fuse, received {type(explainers).__name__}.")
    parts = list(explainers)
    if not parts:
        raise ValueError("Expected at least one explainer to fuse, received none.")
    for part in parts:
        check_explainer(part)
    return functools.partial(_fused, parts, how)


def _fused(
    parts: Sequence[ExplainerLike],
    how: str,
    images: Images,
    target: TargetLike = None,
    *,
    progress: Progress | None = None,
) -> Explanation:
    run = Runs(len(parts), progress)
    first = run(parts[0], images, target)
    same = resolved_target(first, target)
    explanations = [first, *(run(part, images, same) for part in parts[1:])]
    _check_classes(explanations)
    return combined(explanations, how)


def combined(explanations: Sequence[Explanation], how: str) -> Explanation:
    first = explanations[0]
    shapes = [explanation.raw.shape for explanation in explanations]
    layers = [explanation.layer_name for explanation in explanations]
    if len({len(shape) for shape in shapes}) > 1:
        raise ValueError(f"Expected layers with the same axes to fuse, received maps {shapes} of {layers}.")
    if first.signed and how == "product":
        raise ValueError(
            "Expected how='mean' or 'max' for a signed target, received 'product': the product of two negative cells "
            "would be positive."
        )
    finest = max(explanations, key=lambda explanation: explanation.raw[0].size)
    grid, placement = _joint_cells(explanations, finest)
    maps = [_placed(explanation, grid, placement) for explanation in explanations]
    coarsest = min(explanation.raw[0].size for explanation in explanations)
    shallow = [explanation.raw[0].size > coarsest for explanation in explanations]
    raw = _COMBINE[how](maps, shallow)
    methods = dict.fromkeys(explanation.method for explanation in explanations)
    return first.with_raw(
        raw,
        layer_name=" + ".join(layers),
        method=f"{' and '.join(methods)}, fused by {how}",
        placement=placement,
        diagnosis=joint_diagnosis(raw, explanations, _CANCELLED.format(layers=layers)),
    )


def _check_classes(explanations: Sequence[Explanation]) -> None:
    """Check that a class index means one class in all models; a callable target chooses what it reads."""
    if any((explanation.class_indices < 0).any() for explanation in explanations):
        return
    counts = [
        (explanation.outputs if explanation.probabilities is None else explanation.probabilities).shape[-1]
        for explanation in explanations
    ]
    if len(set(counts)) > 1:
        raise ValueError(
            f"Expected explainers of models with the same classes to fuse, received models of {counts} classes. Pass a "
            "callable target that suits all of them, or fuse models of one set of classes."
        )


def _joint_cells(
    explanations: Sequence[Explanation], finest: Explanation
) -> tuple[tuple[int, ...], Placement | Unplaced]:
    """Return the largest number of cells along each axis, and where they lie: as the finest layer's, subdivided."""
    own = finest.placement
    grid = tuple(max(sides) for sides in zip(*(part.raw.shape[1:] for part in explanations), strict=True))
    is_one_grid = {part.raw.shape[1:] for part in explanations} == {grid}
    if is_one_grid and (all(part.placement == own or (part.unplaced and finest.unplaced) for part in explanations)):
        return grid, own
    places = [part.placement for part in explanations]
    pictures = {(place.input_index, place.image_size, getattr(place, "axes", ())) for place in places}
    if isinstance(own, Unplaced) or len(pictures) > 1 or any(part.unplaced for part in explanations):
        of_parts = [
            f"'{part.layer_name}' {part.raw.shape[1:]} of {part.image_size}, {part.unplaced or 'known'}"
            for part in explanations
        ]
        raise ValueError(
            f"Expected layers whose cells are places in one input to fuse, received {'; '.join(of_parts)}. Explain "
            "each by itself."
        )
    parts = [count / cells for count, cells in zip(finest.raw.shape[1:], grid, strict=True)]
    scale = tuple(pixels * part for pixels, part in zip(own.scale, parts, strict=True))
    start = tuple(at + (new - old) / 2 for at, new, old in zip(own.start, scale, own.scale, strict=True))
    return grid, replace(own, scale=scale, start=start)


def _placed(explanation: Explanation, grid: tuple[int, ...], placement: Placement | Unplaced) -> np.ndarray:
    """Resize the maps of a layer to a grid of cells at other places."""
    own = explanation.placement
    if isinstance(own, Unplaced) or isinstance(placement, Unplaced) or own == placement:
        return explanation.shown
    to_cells = zip(placement.centres(grid), own.start, own.scale, strict=True)
    return sample_maps(explanation.shown, [(centres - start) / scale for centres, start, scale in to_cells])


def _mean(maps: Sequence[np.ndarray], shallow: Sequence[bool]) -> np.ndarray:
    del shallow
    return np.stack(maps).mean(axis=0)


def _max(maps: Sequence[np.ndarray], shallow: Sequence[bool]) -> np.ndarray:
    """Return the largest values; maps are divided by their maxima already, so shallow layers need only the tanh."""
    largest = np.zeros_like(maps[0])
    for values, is_shallow in zip(maps, shallow, strict=True):
        scaled = np.tanh(np.float32(_SHALLOW_GAIN) * values) if is_shallow else values
        largest = np.where(np.abs(scaled) > np.abs(largest), scaled, largest)
    return largest


def _product(maps: Sequence[np.ndarray], shallow: Sequence[bool]) -> np.ndarray:
    del shallow
    return np.stack(maps).prod(axis=0)


_COMBINE: dict[str, Callable[[Sequence[np.ndarray], Sequence[bool]], np.ndarray]] = {
    "mean": _mean,
    "max": _max,
    "product": _product,
}


def check_explainer(explainer: object) -> None:
    """Raise a TypeError if `explainer` cannot be called on images."""
    if not callable(explainer):
        remedy = " Pass what made it, and call the result on the images." if isinstance(explainer, Explanation) else ""
        raise TypeError(
            "Expected an explainer, a callable (images, target=None) -> Explanation such as Explainer(model), received "
            f"{type(explainer).__name__}.{remedy}"
        )


def resolved_target(explanation: Explanation, target: TargetLike) -> TargetLike:
    """Return the target that explains the same again: the chosen classes, else `target` itself."""
    if callable(target) or (explanation.class_indices < 0).any():
        return target
    return explanation.class_indices


def joint_diagnosis(raw: np.ndarray, explanations: Sequence[Explanation], cancelled: str) -> list[str | None]:
    """Return per image the diagnosis of a joint map, None where it can be read.

    Args:
        raw: (B, N) the joint map before relu.
        explanations: its parts, of the same B images.
        cancelled: the reason if every part can be read, but the joint map is blank.
    """
    joint: list[str | None] = []
    first = explanations[0]
    for index, heatmap in enumerate(positive_share(raw)):
        of_parts = [explanation.diagnosis[index] for explanation in explanations]
        reasons = joined_messages(dict.fromkeys(reason for reason in of_parts if reason is not None))
        if heatmap.any():
            flat = FLAT_TOGETHER if is_flat(raw[index]) else None
            joint.append(flat if None in of_parts else reasons)
        elif first.signed and raw[index].min() < 0:
            joint.append(NONE_FOR.format(label=first.labels[index]))
        else:
            joint.append(reasons or cancelled)
    return joint
