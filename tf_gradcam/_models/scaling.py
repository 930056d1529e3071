"""Ranking of input scalings: which one agrees with what the model remembers of its training.

A batch normalisation stores the mean and the variance of what reached it during training. The first one on the way
from the input is compared with what reaches it under each scaling: its values follow the scale of the images, while
behind it every scale looks alike. Axis legend: B pictures, H0 x W0 pixels, C channels, K classes, N steps of training.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_gradcam._errors import unknown_name
from tf_gradcam._files.class_names import ClassNames
from tf_gradcam._models.graph import Graph
from tf_gradcam._models.keras_internals import sublayers
from tf_gradcam._models.preprocessing import MODES, Preprocessing
from tf_gradcam._models.reader import ModelReader, reader_of
from tf_gradcam._models.split import open_head, probabilities
from tf_gradcam._models.task import task_of
from tf_gradcam._models.watched import WatchedModel, wrapped

STATISTICS, ACTIVITY, LABELS, NOTHING = "batch normalisation", "activity and confidence", "labels", "nothing"
_MAX_PHOTOS, _CHUNK = 16, 8
_SETTLED, _MAX_STEPS = 1e-3, 1000  # share of initial statistics that does not matter; further steps that are tried
_USUAL = ("unit", "raw", "tf", "torch", "caffe", "standard", "raw16")  # of networks whose layers show none, first
_WORST = 99.0  # of a response that is not finite
_WRONG_AT_MOST = 0.01  # probability that labels prefer the worse of two modes so much by chance
_FEW = 4  # photos that may clear an assumption; twice as many of known classes, of which most are right


@dataclass(frozen=True)
class ScalingRanking:
    """The scalings of photos that were tried on a model, best first.

    Attributes:
        modes: keys of `MODES`, best first.
        scores: mode -> score, lower is better; comparable within one ranking.
        evidence: what the scores measure: "batch normalisation" (divergence of what reaches the first one from its
            stored statistics, 0 for none), "activity and confidence" (1 less the information, in [0, 1], that the
            predictions hold about the pictures, or about their classes if labels are given), "labels" (share of wrong
            predictions), or "nothing": this model and these pictures cannot tell, and the order means nothing.
        beaten: the modes that the best one clearly beats.
    """

    modes: tuple[str, ...]
    scores: dict[str, float]
    evidence: str
    beaten: frozenset[str]

    @property
    def best(self) -> str:
        """The mode with the lowest score."""
        return self.modes[0]

    def is_clear(self, over: str) -> bool:
        """Return whether the best mode clearly beats the mode `over`.

        Raises:
            ValueError: `over` is not among the modes.
        """
        if over not in self.scores:
            raise ValueError(unknown_name("preprocessing mode", over, self.modes))
        return over in self.beaten

    def __str__(self) -> str:
        if self.evidence == NOTHING:
            return "The scaling cannot be told from this model and these pictures."
        scores = ", ".join(f"{mode} {self.scores[mode]:.2f}" for mode in self.modes)
        doubtful = [mode for mode in self.modes[1:] if mode not in self.beaten]
        sure = f"not clearly better than {', '.join(doubtful)}" if doubtful else "clearly the best"
        return f"{self.best} is {sure} by {self.evidence} (lower is better): {scores}."


class _Memory(NamedTuple):
    """Moving averages (C,) of the first batch normalisation, and possible shares of their initial 0 and 1 in them."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    initial: NDArray[np.float64]


def usual_modes(channels: int) -> list[str]:
    """Return the modes that images of so many channels may have, without the rare one of files of 16 bits."""
    return [mode for mode in MODES if mode != "raw16" and (channels == 3 or mode not in ("torch", "caffe"))]


def rank_scalings(
    model: keras.Model | ModelReader,
    photos: NDArray[Any],
    *,
    labels: Sequence[int] | NDArray[Any] | None = None,
    modes: Sequence[str] | None = None,
) -> ScalingRanking:
    """Rank the scalings of photos by how well they agree with what the model remembers of its training.

    Args:
        model: any built Keras 3 model of one image input; left unchanged.
        photos: (B, H0, W0, C) RGB 0..255 at the model's input size; the first 16 are used, with `labels` all. Without
            labels they are taken to be of several classes, if the model has no batch normalisation to ask.
        labels: (B,) class index of each photo. If they separate the scalings, the share of wrong predictions decides.
            Defaults to None.
        modes: the scalings to try, keys of `MODES`. Defaults to all that the channels allow, without "raw16".

    Returns:
        `ScalingRanking`. Its evidence is "nothing" for a model that does not show its scaling: one of several inputs,
        or one without batch normalisation and without classes.

    Raises:
        ValueError: an unknown mode, photos of another shape than the model's input, labels of another length, or a
            model that is not built.
    """
    photos, names = np.asarray(photos), tuple(modes or usual_modes(np.shape(photos)[-1]))
    if labels is not None and len(labels) != len(photos):
        raise ValueError(f"Expected one label for each of {len(photos)} photos, received {len(labels)}.")
    return _rank(_Probe(reader_of(model)), photos, labels, names)


def rank_if_doubtful(
    model: keras.Model | ModelReader,
    photos: NDArray[Any],
    assumed: str,
    labels: Sequence[int] | None,
    modes: Sequence[str] | None,
) -> ScalingRanking | None:
    """Rank as `rank_scalings`, or return None if some of the photos show that no mode clearly beats `assumed`.

    That costs a few predictions, where a ranking costs those of all photos under all modes.
    """
    probe = _Probe(reader_of(model))
    some = np.linspace(0, len(photos) - 1, min(len(photos), _FEW if labels is None else 2 * _FEW)).round().astype(int)
    if labels is not None and probe.class_count:
        is_doubtful = np.mean(probe.classes(assumed, photos[some]).argmax(1) == np.take(labels, some)) < 0.75
    else:
        first, least = _rank(probe, photos[some], None, (assumed,)), 0.0
        if first.evidence == ACTIVITY:  # of so many classes, so few predictions cannot tell more
            least = 1 - math.log(min(len(photos), probe.class_count)) / math.log(probe.class_count)
        is_doubtful = _is_clear(least, first.scores[assumed], first.evidence, len(photos))
    return _rank(probe, photos, labels, tuple(modes or usual_modes(photos.shape[-1]))) if is_doubtful else None


def _rank(
    probe: _Probe, photos: NDArray[Any], labels: Sequence[int] | NDArray[Any] | None, modes: tuple[str, ...]
) -> ScalingRanking:
    """Order the modes by score; the best one beats those that are clearly worse.

    Predictions that are sure of every photo have the score 0 under several modes: the more usual one comes first.
    Photos of one class by `labels` leave the information out: the right scaling has none, as a broken one may have.
    """
    for mode in modes:
        Preprocessing(None, mode)  # checks the name
    first = photos[:_MAX_PHOTOS]
    photos = first if labels is None else photos
    probe.check(photos)
    evidence, scores, classes = NOTHING, dict.fromkeys(modes, 0.0), {}
    if (probe.memory is None or labels is not None) and probe.class_count:
        classes = {mode: probe.classes(mode, photos) for mode in modes}
    if probe.memory is not None:
        evidence, memory = STATISTICS, probe.memory
        scores = {mode: _divergence(memory, *probe.moments(mode, first)) for mode in modes}
    elif classes and (labels is None or len(set(labels)) > 1):
        evidence, scores = ACTIVITY, {mode: 1 - _information(values, labels) for mode, values in classes.items()}
    best = min(scores.values())
    beaten = frozenset(mode for mode in modes if _is_clear(best, scores[mode], evidence, len(first)))
    order = sorted(modes, key=lambda mode: (round(scores[mode], 2), _USUAL.index(mode)))
    ranking = ScalingRanking(tuple(order), scores, evidence, beaten)
    if labels is not None and classes:
        return _by_labels({mode: values.argmax(1) == labels for mode, values in classes.items()}, ranking)
    return ranking


def _is_clear(best: float, other: float, evidence: str, count: int) -> bool:
    """Return whether a score is clearly better than another one.

    Measured on ImageNet's MobileNet with 400 draws of photographs and of MRI slices: the true scaling lost by at most
    0.97 with one photo, 0.72 with two, 0.27 with four, 0.15 with eight, 0.00 with 16, and fitted within 0.04 + 0.5 /
    count; kernels that changed fast in their last steps cost up to 0.2. A distance of 3 is a factor of 6 in scale, more
    than a contrast. Predictions of VGG preferred another scaling by at most 0.32 with four photos, 0.09 with 16.
    """
    if evidence == ACTIVITY:
        return best <= 0.5 and other - best >= 0.3 + 0.8 / count
    is_far = best <= 1 and other - best >= 3
    return is_far or (best <= 0.04 + 0.5 / count and other - best >= max(1.5 / count, 0.3))


def _by_labels(hits: Mapping[str, NDArray[np.bool_]], ranking: ScalingRanking) -> ScalingRanking:
    """Order the modes by their share of wrong predictions.

    The best of `ranking` stays first where its share is the lowest within chance. What it clearly beats by either
    evidence is beaten; `ranking` itself is returned where labels add nothing to that.
    """
    scores = {mode: float(1 - right.mean()) for mode, right in hits.items()}
    modes = tuple(sorted(ranking.modes, key=scores.__getitem__))  # stable: equal shares keep the order of `ranking`
    beaten = frozenset(mode for mode in modes if _is_better(hits[modes[0]], hits[mode]))
    if ranking.evidence != NOTHING and ranking.best not in beaten:
        beaten = frozenset(mode for mode in modes if _is_better(hits[ranking.best], hits[mode]))
        if beaten <= ranking.beaten:
            return ranking
        modes = (ranking.best, *(mode for mode in modes if mode != ranking.best))
        beaten |= ranking.beaten
    return ScalingRanking(modes, scores, LABELS, beaten)


def _is_better(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> bool:
    """Return whether `first` is right where `second` is wrong more often than chance allows: a one-sided sign test."""
    wins, losses = int((first & ~second).sum()), int((second & ~first).sum())
    tail = sum(math.comb(wins + losses, count) for count in range(wins, wins + losses + 1))
    return tail / 2 ** (wins + losses) <= _WRONG_AT_MOST


class _Arrived(BaseException):
    """Ends a trace with the input of the first batch normalisation; no layer that catches `Exception` stops it."""


class _Probe:
    """A model that is asked for what reaches its first batch normalisation with a memory, and for its predictions.

    Attributes:
        memory: of that batch normalisation; None if there is none.
    """

    def __init__(self, reader: ModelReader):
        self._inputs, self._view = reader.inputs, reader.graph or next(reader.views())
        self._takes_photos = len(reader.inputs.names) == 1 and reader.inputs.specs[0].dtype.is_floating
        self._task = task_of(reader, None, ClassNames(None)).name  # values are not predictions that may be sure
        options = {"autograph": False, "input_signature": reader.inputs.specs}
        self._moments = tf.function(self._trace_moments, **options)
        self._classes = tf.function(self._trace_classes, **options)
        self._layers = _normalisations(self._view)
        self._first: Any = None
        if self._layers and self._takes_photos:
            self._moments.get_concrete_function()
        self.memory = None if self._first is None else _memory(self._first, self._layers)

    @cached_property
    def class_count(self) -> int:
        """K of the first output; 0 if it is not classes."""
        return int(self._classes.get_concrete_function().output_shapes[-1]) if self._takes_photos else 0

    def check(self, photos: NDArray[Any]) -> None:
        """Check the shape of photos, if the model takes photos at all."""
        if self._takes_photos:
            self._inputs.flatten(photos)

    def _trace_moments(self, *images: Any) -> Any:
        values, axis = tf.zeros((1, 0), tf.float64), 1
        try:
            with contextlib.ExitStack() as stack:
                for layer in self._layers:
                    stack.enter_context(wrapped(layer, self._stop_at(layer)))
                self._view.forward(list(images))
        except _Arrived as arrived:
            values, axis = tf.cast(arrived.args[0], tf.float64), self._first.axis
        axes = [number for number in range(values.shape.rank) if number != axis % values.shape.rank]
        return tf.reduce_mean(tf.stack([values, values**2]), [number + 1 for number in axes])

    def _stop_at(self, layer: Any) -> Callable[..., Any]:
        def stop(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            self._first = layer
            raise _Arrived(args[0] if args else kwargs["inputs"])

        return stop

    def _trace_classes(self, *images: Any) -> Any:
        head = open_head(keras.tree.flatten(self._view.forward(list(images)))[0], self._task)
        values = None if head.class_count is None else probabilities(head)
        return tf.zeros((tf.shape(images[0])[0], 0)) if values is None else values

    def _run(self, function: Callable[[Any], Any], mode: str, photos: NDArray[Any]) -> list[Any]:
        """Run a function on chunks of photos; the last one is filled up for a model that fixes its batch size."""
        size = self._inputs.batch_size or _CHUNK
        if self._inputs.batch_size:
            photos = photos[np.arange(-(-len(photos) // size) * size) % len(photos)]
        convert, kind = Preprocessing(None, mode), self._inputs.specs[0].dtype
        chunks = [convert(photos[start : start + size]) for start in range(0, len(photos), size)]
        return [(len(chunk), np.asarray(function(tf.cast(chunk, kind)), np.float64)) for chunk in chunks]

    def moments(self, mode: str, photos: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and variance, (C,) each, of what the photos are when they arrive."""
        counts, chunks = zip(*self._run(self._moments, mode, photos), strict=True)
        with np.errstate(all="ignore"):  # half precision overflows in a wrong mode
            mean, square = np.average(chunks, axis=0, weights=counts)
            return mean, np.maximum(square - mean**2, 0)

    def classes(self, mode: str, photos: NDArray[Any]) -> NDArray[np.float64]:
        """Return the probabilities of the classes, (B, K); 0 where they are not finite."""
        values = np.concatenate([values for _, values in self._run(self._classes, mode, photos)])
        return np.nan_to_num(values[: len(photos)])


def _normalisations(view: Graph | WatchedModel) -> list[Any]:
    """Return the batch normalisations that kept statistics while the model learned.

    Left out are those without a memory (mean 0 and one variance, as written by converters that fold them into
    convolutions), and those of a frozen part: they remember the training before, not that of the layers behind.
    """
    if isinstance(view, Graph):
        steps = [(step.path, step.operation) for step in view.steps if isinstance(step.operation, keras.layers.Layer)]
        fixed = [step.path for step in view.steps if step.arguments.kwargs.get("training") is False]
    else:
        steps, fixed = [("", view.model)], []
    learning: dict[int, Any] = {}
    frozen: dict[int, Any] = {}
    for path, layer in steps:
        is_fixed = any(f"{path}/".startswith(f"{other}/") for other in fixed)
        for inner in (layer, *(deeper for _, deeper in sublayers(layer))):
            (frozen if is_fixed or not inner.trainable else learning)[id(inner)] = inner
    chosen = learning if any(layer.trainable_weights for layer in learning.values()) else {**frozen, **learning}
    return [
        layer
        for layer in chosen.values()
        if isinstance(layer, keras.layers.BatchNormalization)
        and (np.any(layer.moving_mean) or np.ptp(np.asarray(layer.moving_variance)) > 0)
    ]


def _memory(first: Any, layers: Sequence[Any]) -> _Memory:
    """Return what the first of the batch normalisations keeps.

    After N steps the initial mean 0 and variance 1 still have the share momentum ** N in every moving average: so N is
    a whole number, and at least so large that no variance of the model is below that share.
    """
    mean, variance = (np.asarray(value, np.float64) for value in (first.moving_mean, first.moving_variance))
    least = min(1.0, *(np.min(layer.moving_variance) for layer in layers if layer.momentum == first.momentum))
    initial = np.zeros(1)
    if 0 < first.momentum < 1 and least > _SETTLED:
        steps = max(math.ceil(math.log(least) / math.log(first.momentum) - 1e-3), 1)
        initial = np.append(first.momentum ** (steps + np.arange(_MAX_STEPS)), 0.0)
    return _Memory(mean, variance, initial)


def _divergence(memory: _Memory, mean: NDArray[np.float64], variance: NDArray[np.float64]) -> float:
    """Return log(1 + J) of the median channel; J is the symmetric Kullback-Leibler divergence of two Gaussians."""
    initial = memory.initial[:, None]
    with np.errstate(all="ignore"):  # half precision overflows in a wrong mode
        # A dead channel has no variance; an average of float32 is rounded, by much of a small part of it.
        floor = 1e-3 * np.median(variance) + 2e-6 * initial / (1 - initial) + 1e-30
        ours, theirs = variance + floor, np.maximum(memory.variance - initial, 0) / (1 - initial) + floor
        square = (mean - memory.mean / (1 - initial)) ** 2
        divergences = ((ours + square) / theirs + (theirs + square) / ours) / 2 - 1
        scores = np.log1p(np.median(divergences, axis=1))
    return float(np.nan_to_num(scores, nan=_WORST, posinf=_WORST).min())


def _information(classes: NDArray[np.float64], labels: Sequence[int] | NDArray[Any] | None = None) -> float:
    """Return the information that predictions (B, K) hold about the pictures, relative to log K.

    With labels (B,) of several classes it is the information about the class, relative to the most that it can be. How
    classes are numbered does not matter.
    """
    groups = np.arange(len(classes)) if labels is None else np.unique(labels, return_inverse=True)[1]
    sizes = np.bincount(groups) / len(groups)
    means = np.stack([classes[groups == group].mean(0) for group in range(len(sizes))])
    most = math.log(classes.shape[1]) if labels is None else float(_entropy(sizes))
    return float(_entropy(classes.mean(0)) - sizes @ _entropy(means)) / most


def _entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entropy along the last axis, in nats."""
    p = np.clip(p, 1e-12, 1)
    return np.asarray(-np.sum(p * np.log(p), axis=-1))
