"""Fused maps of several explainers, and the progress that wrappers share.

Axis legend: B images, N cells of a layer (any number of spatial axes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from tf_gradcam._errors import unknown_name
from tf_gradcam._models.reader import Images
from tf_gradcam._results.diagnosis import FLAT_TOGETHER, NONE_FOR, is_flat
from tf_gradcam._results.explanation import Explanation
from tf_gradcam.image.resize import positive_share, resize_maps
from tf_gradcam.targets.base import TargetLike

Progress = Callable[[int, int], object]

_STEPS = 100  # of each run, since how much it has to do is known only as it goes on


class ExplainerLike(Protocol):
    """What `Explainer` is, and what wraps one: images and a target in, an `Explanation` out.

    `progress` is given by name, and only where somebody listens.
    """

    def __call__(
        self, images: Images, target: TargetLike = None, *, progress: Progress | None = None
    ) -> Explanation: ...


class Runs:
    """Runs explainers one after the other.

    Args:
        count: how many runs there will be.
        progress: called with (done, total): 100 steps a run, in which `done` only ever rises; None for nobody to tell.
    """

    def __init__(self, count: int, progress: Progress | None = None):
        self._total = count * _STEPS
        self._progress = progress
        self._finished = 0
        self._told = 0

    def __call__(self, explainer: ExplainerLike, images: Images, target: TargetLike = None) -> Explanation:
        """Do one of the runs; it counts as finished when the explainer returns, whatever that reported."""
        told: dict[str, Any] = {} if self._progress is None else {"progress": self._tell}
        explanation = explainer(images, target, **told)
        self._tell(1, 1)
        self._finished += 1
        return explanation

    def _tell(self, done: int, total: int) -> None:
        """A rule may ask for more than it first did: what was told once stays told."""
        reached = self._finished * _STEPS + _STEPS * done // max(total, 1)
        if self._progress is not None and reached > self._told:
            self._told = reached
            self._progress(reached, self._total)


_SHALLOW_GAIN = 2.0
_CANCELLED = (
    "the maps of the layers {layers} leave no heat together: no cell is hot in all of them; fuse fewer, or by mean"
)


def fuse(explainers: Sequence[ExplainerLike], how: Literal["mean", "max", "product"] = "mean") -> ExplainerLike:
    """One map of several layers: coarse ones say what, fine ones where.

        fuse([Explainer(model, layer) for layer in ("conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu")])

    Each map is normalised by itself and resized to the grid of the finest layer; they are combined cell by cell.

    Args:
        explainers: at least one, such as `Explainer`s of one model at several layers.
        how: "mean"; "max", the largest, after tanh(2 M) on the maps of all layers that are finer than the coarsest,
            which lifts their weak values; "product", which keeps what all layers agree on. Defaults to "mean".

    Returns:
        A callable `(images, target=None, *, progress=None) -> Explanation`; `progress` is called with (done, total) of
        all runs together. Scores, labels, probabilities and, for target=None, the class are those of the first
        explainer; `raw` is the combination, of a signed target from -1 to 1. The callable raises ValueError where maps
        have different numbers of axes, the models tell different numbers of classes apart, or maps are signed and `how`
        is "product".

    Raises:
        TypeError: one explainer instead of a list, or no callables.
        ValueError: no explainer, or an unknown `how`.

    Source: mean as in https://github.com/jacobgil/pytorch-grad-cam; maximum with tanh(2 M / max M) on shallow layers,
    Jiang et al. 2021, eq. 9, https://doi.org/10.1109/TIP.2021.3089943. Deviation: "shallow" is every layer finer than
    the coarsest; of signed maps the value farthest from zero counts as the largest.
    Cost: as all explainers together: each runs the model by itself.
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

    def fused(images: Images, target: TargetLike = None, *, progress: Progress | None = None) -> Explanation:
        run = Runs(len(parts), progress)
        first = run(parts[0], images, target)
        same = resolved_target(first, target)
        explanations = [first, *(run(part, images, same) for part in parts[1:])]
        _check_classes(explanations)
        return _combined(explanations, how)

    return fused


def _combined(explanations: Sequence[Explanation], how: str) -> Explanation:
    first = explanations[0]
    shapes = [explanation.raw.shape for explanation in explanations]
    layers = [explanation.layer_name for explanation in explanations]
    if len({len(shape) for shape in shapes}) > 1:
        raise ValueError(f"Expected layers with the same axes to fuse, received maps {shapes} of {layers}.")
    if first.signed and how == "product":
        raise ValueError(
            "Expected how='mean' or 'max' for a signed target, received 'product': two cells that speak against would "
            "multiply to one that speaks for."
        )
    grid = tuple(max(sides) for sides in zip(*(shape[1:] for shape in shapes), strict=True))
    finest = max(explanations, key=lambda explanation: explanation.raw[0].size)
    maps = [_placed(explanation, grid, finest.shifts) for explanation in explanations]
    coarsest = min(explanation.raw[0].size for explanation in explanations)
    shallow = [explanation.raw[0].size > coarsest for explanation in explanations]
    raw = _COMBINE[how](maps, shallow)
    methods = dict.fromkeys(explanation.method for explanation in explanations)
    return first.with_raw(
        raw,
        layer_name=" + ".join(layers),
        method=f"{' and '.join(methods)}, fused by {how}",
        offset=finest.offset,
        diagnosis=joint_diagnosis(raw, explanations, _CANCELLED.format(layers=layers)),
    )


def _check_classes(explanations: Sequence[Explanation]) -> None:
    """A class index must mean one class in all models; a callable target says by itself what it reads."""
    if any((explanation.class_indices < 0).any() for explanation in explanations):
        return
    counts = [
        (explanation.outputs if explanation.probabilities is None else explanation.probabilities).shape[-1]
        for explanation in explanations
    ]
    if len(set(counts)) > 1:
        raise ValueError(
            f"Expected explainers of models with the same classes to fuse, received models of {counts} classes. Pass a "
            "callable as target that suits all of them, or fuse models of one set of classes."
        )


def _placed(explanation: Explanation, grid: tuple[int, ...], offset: Sequence[float]) -> np.ndarray:
    """The normalised maps of a layer on the grid of the finest, whose cells look `offset` pixels beside their tiles."""
    shifts = [own - other for own, other in zip(explanation.shifts, offset, strict=True)]
    return on_grid(explanation.shown, grid, shifts, explanation.image_size)


def _mean(maps: Sequence[np.ndarray], shallow: Sequence[bool]) -> np.ndarray:
    del shallow
    return np.stack(maps).mean(axis=0)


def _max(maps: Sequence[np.ndarray], shallow: Sequence[bool]) -> np.ndarray:
    """Already divided by their maxima, the maps of shallow layers only miss the tanh."""
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
    """Refuse what cannot be called on images, in words."""
    if not callable(explainer):
        remedy = " Pass what made it, and call the result on the images." if isinstance(explainer, Explanation) else ""
        raise TypeError(
            "Expected an explainer, a callable (images, target=None) -> Explanation such as Explainer(model), received "
            f"{type(explainer).__name__}.{remedy}"
        )


def resolved_target(explanation: Explanation, target: TargetLike) -> TargetLike:
    """The target that explains the same once more: the classes that were chosen, else `target` itself."""
    if callable(target) or (explanation.class_indices < 0).any():
        return target
    return explanation.class_indices


def on_grid(
    maps: np.ndarray, grid: tuple[int, ...], shifts: Sequence[float], image_size: tuple[int, ...]
) -> np.ndarray:
    """Maps (B, N) on another grid, shifted by pixels of the input; those that are not finite become NaN throughout."""
    if maps.shape[1:] == grid and not any(shifts):
        return maps
    is_finite = np.isfinite(maps).all(axis=tuple(range(1, maps.ndim)))
    in_cells = [shift * cells / pixels for shift, cells, pixels in zip(shifts, grid, image_size, strict=True)]
    moved = resize_maps(np.where(np.isfinite(maps), maps, 0), grid, in_cells)
    moved[~is_finite] = np.nan
    return moved


def joint_diagnosis(raw: np.ndarray, explanations: Sequence[Explanation], cancelled: str) -> list[str | None]:
    """Per image why several maps together say nothing, None where the joint map can be read.

    Args:
        raw: (B, N) the joint map before relu.
        explanations: its parts, of the same B images.
        cancelled: the reason where every part can be read, but what they make together is blank.
    """
    joint: list[str | None] = []
    first = explanations[0]
    for index, heatmap in enumerate(positive_share(raw)):
        told = [explanation.diagnosis[index] for explanation in explanations]
        reasons = "; ".join(dict.fromkeys(reason for reason in told if reason is not None))
        if heatmap.any():
            flat = FLAT_TOGETHER if is_flat(raw[index]) else None
            joint.append(flat if None in told else reasons)
        elif first.signed and raw[index].min() < 0:
            joint.append(NONE_FOR.format(label=first.labels[index]))
        else:
            joint.append(reasons or cancelled)
    return joint
