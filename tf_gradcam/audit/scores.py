"""How often a model is right: of labels precision, recall and average precision; of values the error; of masks IoU.

NumPy only.

Axis legend: N images, K labels, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tf_gradcam.metrics.intervals import Interval, bootstrap_interval, wilson_interval

_RESAMPLES = 1000  # of the images, for intervals of average precision and of means over labels
_MAX_WORK = (
    5e7  # drawn numbers in all, for seconds: with many images and labels there are fewer resamples, at least 100
)
_DRAWN_AT_ONCE = 2**22
_BINS = 6  # of the true values
_MIN_BIN = 5  # images of a bin


@dataclass(frozen=True)
class LabelScore:
    """How well one label is recognised, or all of them.

    Attributes:
        label: name of the label; "mean over labels", or "all labels together".
        count: number of images that have the label, among those for which it is known.
        above: number of these images where the label is above its threshold.
        threshold: of its probability; NaN for several labels.
        precision: share of the images above the threshold that have the label.
        recall: share of the images with the label that are above the threshold.
        average_precision: area under the step-wise curve of precision over recall.
    """

    label: str
    count: int
    above: int
    threshold: float
    precision: Interval
    recall: Interval
    average_precision: Interval


@dataclass(frozen=True)
class ValueBin:
    """Images whose true values lie between `low` and `high`.

    Attributes:
        low, high: smallest and largest true value.
        count: number of images.
        truth: mean of the true values.
        predicted: mean of the predicted values.
        bias: mean of predicted - true.
    """

    low: float
    high: float
    count: int
    truth: float
    predicted: Interval
    bias: Interval


@dataclass(frozen=True)
class ErrorScore:
    """How far predicted values are from the true ones, in their unit.

    Attributes:
        count: number of images whose true value is known.
        error: mean of the absolute error.
        bias: mean of predicted - true: above zero if the model overestimates.
        baseline: mean absolute error of always predicting the mean of the true values.
        bins: images in order of their true values, in groups of about equal size.
    """

    count: int
    error: Interval
    bias: Interval
    baseline: Interval
    bins: list[ValueBin]


@dataclass(frozen=True)
class RegionScore:
    """How well the pixels of one class are found.

    Attributes:
        label: name of the class.
        count: number of images with a pixel of the class, among those with a mask.
        predicted: number of these images where a pixel is predicted as the class.
        share: share of the known pixels that are of the class.
        iou: intersection over union: pixels rightly predicted as the class, over those that are of it, are predicted as
            it, or both; over all images together.
        recall: share of the pixels of the class that are predicted as it.
        precision: share of the pixels predicted as the class that are of it.
    """

    label: str
    count: int
    predicted: int
    share: float
    iou: Interval
    recall: Interval
    precision: Interval


@dataclass(frozen=True)
class SegmentationScore:
    """How well a segmentation is right, with 95 % intervals by the bootstrap over images.

    Attributes:
        count: number of images with a mask.
        mean_iou: mean over the classes that are in any mask or prediction.
        accuracy: share of the known pixels whose class is right.
        classes: one score for each class.
    """

    count: int
    mean_iou: Interval
    accuracy: Interval
    classes: list[RegionScore]


def segmentation_score(truth: np.ndarray, names: Sequence[str], seed: int = 0) -> SegmentationScore:
    """Return intersections over unions.

    Args:
        truth: (N, 3 K) as `Rows.truth` of a segmentation: the shares of an image's cells that are of each class, that
            are rightly predicted as it, and that are predicted as it where the class is known.
        names: K classes.
        seed: of the resamples.
    """
    count, width = len(truth), len(names)
    of_class, hit, given = (truth[:, start : start + width].astype(np.float64) for start in (0, width, 2 * width))
    resamples = int(np.clip(_MAX_WORK // max(1, count * width), 100, _RESAMPLES)) if count > 1 else 0
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(count, np.full(count, 1 / count), resamples) if resamples else np.zeros((0, count))
    drawn = np.concatenate([np.ones((1, count)), weights])
    true, right, taken = drawn @ of_class, drawn @ hit, drawn @ given
    iou, recall, precision = _share(right, true + taken - right), _share(right, true), _share(right, taken)
    some = np.isfinite(iou)
    mean = _share(np.where(some, iou, 0).sum(axis=1), some.sum(axis=1))
    known = true[0].sum() if width > 1 else float(count)
    accuracy = _share(right.sum(axis=1), true.sum(axis=1))
    if width == 1:  # the pixels outside of the only class are right too
        accuracy = 1 - (true + taken - 2 * right)[:, 0] / count
    classes = [
        RegionScore(
            name,
            int((of_class[:, label] > 0).sum()),
            int((given[:, label] > 0).sum()),
            float(true[0, label] / known) if known else math.nan,
            *(_interval(each[0, label], each[1:, label]) for each in (iou, recall, precision)),
        )
        for label, name in enumerate(names)
    ]
    return SegmentationScore(count, _interval(mean[0], mean[1:]), _interval(accuracy[0], accuracy[1:]), classes)


def image_ious(truth: np.ndarray) -> np.ndarray:
    """Return (N, K) intersections over unions of each image; NaN for a class that is neither there nor predicted."""
    width = truth.shape[1] // 3
    of_class, hit, given = (truth[:, start : start + width].astype(np.float64) for start in (0, width, 2 * width))
    return _share(hit, of_class + given - hit)


def average_precision(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the area under the step-wise curve of precision over recall.

    Args:
        scores: (N,), such as probabilities; equal ones are one step.
        truth: (N,) bool.
        weights: (R, N), at least 0, such as how often each image was drawn; None for 1.

    Returns:
        (R,) float64, or (1,) without weights: the sum over steps of the recall gained times the precision there; NaN
        without a true image.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.metrics.average_precision_score.html. Deviation:
    NaN instead of 0 without a true image.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)) if len(scores) else np.zeros(0, int)
    drawn = np.ones((1, len(scores))) if weights is None else weights[:, order].astype(np.float64)
    hits = np.cumsum(drawn * truth[order], axis=1)[:, ends]
    taken = np.cumsum(drawn, axis=1)[:, ends]
    gained = np.diff(hits, axis=1, prepend=0.0)
    precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
    total = gained.sum(axis=1)
    area = (gained * precision).sum(axis=1)
    return np.divide(area, total, out=np.full(len(total), np.nan), where=total > 0)


def label_scores(
    probabilities: np.ndarray,
    truth: np.ndarray,
    thresholds: np.ndarray,
    names: Sequence[str],
    seed: int = 0,
) -> list[LabelScore]:
    """Return a score for each label, then the mean over labels, and all labels together.

    Args:
        probabilities: (N, K).
        truth: (N, K), 1 or 0; NaN where unknown.
        thresholds: (K,) of the probabilities.
        names: K labels.
        seed: of the resamples.

    Returns:
        K + 2 scores. A precision and a recall have Wilson's interval; an average precision, and a score of several
        labels, have the bootstrap's interval over images. The mean over labels leaves out those without a number.
    """
    count, width = truth.shape
    known, above = np.isfinite(truth), probabilities > thresholds
    hit = known & (truth == 1)
    scores = []
    whole = _of_labels(probabilities, hit, known, above, np.ones((1, count)))
    resamples = int(np.clip(_MAX_WORK // max(1, count * width), 100, _RESAMPLES)) if count > 1 else 0
    rows = max(1, _DRAWN_AT_ONCE // max(1, count * width))
    generator = np.random.default_rng(seed)
    parts = [
        _of_labels(
            probabilities,
            hit,
            known,
            above,
            generator.multinomial(count, np.full(count, 1 / count), min(rows, resamples - start)),
        )
        for start in range(0, resamples, rows)
    ]
    drawn = np.concatenate(parts) if parts else np.full((0, 3, width + 2), np.nan)
    for label, name in enumerate(names):
        right, taken = int((hit & above)[:, label].sum()), int((known & above)[:, label].sum())
        total = int(hit[:, label].sum())
        precision, recall = wilson_interval(right, taken), wilson_interval(right, total)
        average = _interval(whole[0, 2, label], drawn[:, 2, label])
        scores.append(LabelScore(name, total, taken, float(thresholds[label]), precision, recall, average))
    for place, name in ((width, "mean over labels"), (width + 1, "all labels together")):
        of_all = [_interval(whole[0, kind, place], drawn[:, kind, place]) for kind in range(3)]
        scores.append(LabelScore(name, int(hit.sum()), int((known & above).sum()), math.nan, *of_all))
    return scores


def _of_labels(
    probabilities: np.ndarray, hit: np.ndarray, known: np.ndarray, above: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return (R, 3, K + 2) precision, recall and average precision: of each label, their mean, and of all together."""
    width = hit.shape[1]
    found = np.full((len(weights), 3, width + 2), np.nan)
    right = weights @ (hit & above).astype(np.float64)
    taken, total = weights @ (known & above).astype(np.float64), weights @ hit.astype(np.float64)
    found[:, 0, :width], found[:, 1, :width] = _share(right, taken), _share(right, total)
    for label in range(width):
        at = known[:, label]
        found[:, 2, label] = average_precision(probabilities[at, label], hit[at, label], weights[:, at])
    for kind in range(3):
        values = found[:, kind, :width]
        some = np.isfinite(values)
        found[:, kind, width] = _share(np.where(some, values, 0).sum(axis=1), some.sum(axis=1))
    found[:, 0, -1] = _share(right.sum(axis=1), taken.sum(axis=1))
    found[:, 1, -1] = _share(right.sum(axis=1), total.sum(axis=1))
    image = np.nonzero(known)[0]
    found[:, 2, -1] = average_precision(probabilities[known], hit[known], weights[:, image])
    return found


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0)


def _interval(value: float, drawn: np.ndarray) -> Interval:
    """Return a value with the range of 95 % of the drawn ones."""
    some = drawn[np.isfinite(drawn)]
    if not math.isfinite(value) or len(some) < 2:
        return Interval(float(value), math.nan, math.nan)
    low, high = np.percentile(some, [2.5, 97.5])
    return Interval(float(value), min(float(low), float(value)), max(float(high), float(value)))


def error_score(predicted: np.ndarray, truth: np.ndarray, seed: int = 0) -> ErrorScore:
    """Return the errors of predicted values.

    Args:
        predicted, truth: (N,), finite.
        seed: of the bootstrap's intervals.
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    error = predicted - truth
    distance = np.abs(truth - truth.mean()) if len(truth) else truth
    return ErrorScore(
        len(truth),
        bootstrap_interval(np.abs(error), seed=seed),
        bootstrap_interval(error, seed=seed),
        bootstrap_interval(distance, seed=seed),
        [
            ValueBin(
                float(truth[at].min()),
                float(truth[at].max()),
                len(at),
                float(truth[at].mean()),
                bootstrap_interval(predicted[at], seed=seed),
                bootstrap_interval(error[at], seed=seed),
            )
            for at in _bins(truth)
        ],
    )


def _bins(truth: np.ndarray) -> list[np.ndarray]:
    """Return positions in order of the values, in groups of about equal size; equal values stay together."""
    count = int(np.clip(len(truth) // _MIN_BIN, 1, _BINS))
    edges = np.unique(np.quantile(truth, np.linspace(0, 1, count + 1)[1:-1])) if count > 1 else np.zeros(0)
    place = np.searchsorted(edges, truth, side="left")
    return [np.flatnonzero(place == number) for number in np.unique(place)]
