"""The answers that a model gives over a data set: a class (of an image, or of pixels), a label, a high or a low value.

What an audit asks is the same for all of them: which images get the answer, what their maps have in common, and whether
a change of the image takes the answer away. A task is one function in `_ANSWERS`. NumPy only.

Axis legend: N images, n of them, K outputs, H x W cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tf_gradcam.audit.rows import Rows


@dataclass(frozen=True)
class AnswerReading:
    """Reading of an answer from predictions, so that images before and after a change can be compared.

    Attributes:
        column: of the predictions (n, K).
        task: of the model.
        threshold: probability above which a label is the answer.
        sign: -1 if a lower value is more of the answer, else 1.
        gap: distance between the answer and its opposite: 1 for probabilities; for values the difference between the
            mean of the images that get the answer and the mean of the others.
        unit: of values, such as "years".
    """

    column: int
    task: str = "classification"
    threshold: float = math.nan
    sign: int = 1
    gap: float = 1.0
    unit: str = ""

    @property
    def is_value(self) -> bool:
        """True if the answer is a value, else a probability."""
        return self.task == "regression"

    def number(self, value: float) -> str:
        """Return a probability or a value as text, with as many digits as the gap suggests."""
        return f"{value:.{digits_of(self.gap) if self.is_value else 2}f}"

    def in_words(self, value: float) -> str:
        """Return a probability, or a value with its unit."""
        return f"{self.number(value)} {self.unit if self.is_value else ''}".rstrip()

    def measured(self, predictions: np.ndarray) -> np.ndarray:
        """Return (n,) probabilities of the answer, or values."""
        found: np.ndarray = predictions[:, self.column]
        return found

    def turned(self, predictions: np.ndarray) -> np.ndarray:
        """Return (n,) float64: 1 where the model gives the answer, else 0; of a value, the value."""
        if self.is_value:
            found = self.measured(predictions)
        elif math.isnan(self.threshold):
            found = predictions.argmax(axis=1) == self.column
        else:
            found = self.measured(predictions) > self.threshold
        return np.asarray(found, np.float64)


def digits_of(gap: float) -> int:
    """Return the decimals of values that differ by about `gap`: three digits of the difference."""
    if not (math.isfinite(gap) and gap > 0):
        return 2
    return int(np.clip(2 - math.floor(math.log10(gap)), 0, 6))


@dataclass(frozen=True, eq=False)
class ModelAnswer:
    """One answer of a model, and the images of a data set that get it.

    Attributes:
        index: position among the answers: the class, the label, or the group of values.
        name: such as "beagle" or "high age".
        members: (n,) int64, positions of the images that get the answer.
        done: (N,) bool, the images that were explained.
        read_truth: returns (N,) int8: 1 if the answer is right by the data set, 0 if it is wrong, -1 if unknown.
        measured: (N,) float32, probability of the answer, or the value; NaN if failed.
        kinds: (N,) int64; images of different kinds take turns among the others.
        maps: positions (n,) -> (n, H, W) float32, what speaks for the answer, at least 0; signed if `is_signed`.
        reading: how further predictions are read.
        opposite: positions of the images that suspects are pasted into; None for all that neither get the answer nor
            should.
        is_signed: True if the maps have a side for and a side against.
    """

    index: int
    name: str
    members: np.ndarray
    done: np.ndarray
    read_truth: Callable[[], np.ndarray]
    measured: np.ndarray
    kinds: np.ndarray
    maps: Callable[[np.ndarray], np.ndarray]
    reading: AnswerReading
    opposite: np.ndarray | None = None
    is_signed: bool = False

    @property
    def given(self) -> np.ndarray:
        """(N,) bool, the model gives the answer."""
        mask = np.zeros(len(self.done), bool)
        mask[self.members] = True
        return mask

    @property
    def truth(self) -> np.ndarray:
        """(N,) int8: 1 if the answer is right by the data set, 0 if it is wrong, -1 if unknown."""
        return self.read_truth()

    @property
    def own(self) -> np.ndarray:
        """Positions of the images that suspects are tested on: they get the answer, and it is not known to be wrong."""
        return self.members[self.truth[self.members] != 0]

    @property
    def others(self) -> np.ndarray:
        """Positions of the images that suspects are pasted into; empty if no suspects are tested."""
        if self.opposite is not None:
            return self.opposite
        return np.flatnonzero(self.done & ~self.given & (self.truth != 1))


def answers_of(
    task: str, rows: Rows, names: Sequence[str], thresholds: Sequence[float] | np.ndarray = (), unit: str = ""
) -> list[ModelAnswer]:
    """Return the answers of a model over the rows of its audit.

    Args:
        task: of the model.
        rows: the table.
        names: of the K classes or labels; of a regression, of its value.
        thresholds: (K,) of a multi-label model.
        unit: of a value.
    """
    return _ANSWERS[task](rows, names, np.asarray(thresholds, np.float64), unit)


def _classes(rows: Rows, names: Sequence[str], thresholds: np.ndarray, unit: str) -> list[ModelAnswer]:
    done, whole = rows.is_done, _whole(rows)
    kinds = np.where(rows.label >= 0, rows.label, rows.predicted).astype(np.int64)

    def answer(index: int, name: str) -> ModelAnswer:
        def truth() -> np.ndarray:
            return np.where(rows.label < 0, -1, rows.label == index).astype(np.int8)

        members, measured = np.flatnonzero(done & (rows.predicted == index)), rows.probabilities[:, index]
        return ModelAnswer(index, name, members, done, truth, measured, kinds, whole, AnswerReading(index))

    return [answer(index, name) for index, name in enumerate(names)]


def _labels(rows: Rows, names: Sequence[str], thresholds: np.ndarray, unit: str) -> list[ModelAnswer]:
    done, kinds = rows.is_done, rows.predicted.astype(np.int64)

    def answer(index: int, name: str) -> ModelAnswer:
        def maps(chosen: np.ndarray) -> np.ndarray:
            return rows.maps_of(index, chosen)

        def truth() -> np.ndarray:
            column = rows.truth[:, index]
            return np.where(np.isnan(column), -1, np.nan_to_num(column)).astype(np.int8)

        threshold, measured = float(thresholds[index]), rows.probabilities[:, index]
        members = np.flatnonzero(done & (measured > threshold))
        reading = AnswerReading(index, "multilabel", threshold)
        return ModelAnswer(index, name, members, done, truth, measured, kinds, maps, reading)

    return [answer(index, name) for index, name in enumerate(names)]


def _values(rows: Rows, names: Sequence[str], thresholds: np.ndarray, unit: str) -> list[ModelAnswer]:
    """Return the upper and the lower third of the predicted values, and the images far above and below the truth."""
    (name,), done, value, whole = names, rows.is_done, rows.score, _whole(rows)
    unknown, kinds = np.full(len(done), -1, np.int8), np.zeros(len(done), np.int64)
    column = int(rows.predicted[done][0]) if done.any() else 0
    low, high = np.quantile(value[done], [1 / 3, 2 / 3]) if done.any() else (0.0, 0.0)
    upper = np.flatnonzero(done & (value >= high) & (value > low))
    lower = np.flatnonzero(done & (value <= low) & (value < high))
    gap = float(value[upper].mean() - value[lower].mean()) if len(upper) and len(lower) else 1.0

    def answer(
        index: int, words: str, members: np.ndarray, opposite: np.ndarray, sign: int, is_signed: bool
    ) -> ModelAnswer:
        def maps(chosen: np.ndarray) -> np.ndarray:
            return whole(chosen) if is_signed else np.maximum(sign * whole(chosen), 0)

        reading = AnswerReading(column, "regression", sign=sign, gap=gap, unit=unit)
        return ModelAnswer(
            index,
            f"{words} {name}",
            members,
            done,
            lambda: unknown,
            value,
            kinds,
            maps,
            reading,
            opposite,
            is_signed,
        )

    error, known, none = value - rows.truth[:, 0], rows.is_labelled, np.zeros(0, np.int64)
    far = np.abs(error[known]).mean() if known.any() else math.inf
    return [
        answer(0, "high", upper, lower, 1, False),
        answer(1, "low", lower, upper, -1, False),
        answer(2, "overestimated", np.flatnonzero(known & (error > far)), none, 1, True),
        answer(3, "underestimated", np.flatnonzero(known & (error < -far)), none, -1, True),
    ]


def _regions(rows: Rows, names: Sequence[str], thresholds: np.ndarray, unit: str) -> list[ModelAnswer]:
    """Return the classes of a segmentation, each with the images that have a map of it; no suspects are tested."""
    done, kinds, none = rows.is_done, rows.predicted.astype(np.int64), np.zeros(0, np.int64)
    is_mapped = np.zeros((len(done), len(names)), bool)
    for row, classes in enumerate(rows.mapped):
        is_mapped[row, classes] = True

    def answer(index: int, name: str) -> ModelAnswer:
        def truth() -> np.ndarray:
            share = rows.truth[:, index]
            return np.where(np.isnan(share), -1, np.nan_to_num(share) > 0).astype(np.int8)

        def maps(chosen: np.ndarray) -> np.ndarray:
            return rows.maps_of(index, chosen)

        members, measured = np.flatnonzero(done & is_mapped[:, index]), rows.probabilities[:, index]
        reading = AnswerReading(index, "segmentation", 0.0)
        return ModelAnswer(index, name, members, done, truth, measured, kinds, maps, reading, none)

    return [answer(index, name) for index, name in enumerate(names)]


def _whole(rows: Rows) -> Callable[[np.ndarray], np.ndarray]:
    return lambda chosen: rows.heatmap[chosen].astype(np.float32)


_ANSWERS: dict[str, Callable[[Rows, Sequence[str], np.ndarray, str], list[ModelAnswer]]] = {
    "classification": _classes,
    "multilabel": _labels,
    "regression": _values,
    "segmentation": _regions,
}
