"""Cards and galleries of the report: choice and captions of images.

Axis legend: N rows, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tf_gradcam.audit.answers import ModelAnswer
from tf_gradcam.audit.report.pictures import RowPictures, Shot
from tf_gradcam.audit.report.text import common_folder, format_probability
from tf_gradcam.audit.result import AuditResult
from tf_gradcam.audit.rows import turns_of
from tf_gradcam.audit.scores import image_ious

_MIN_SECOND = 0.05  # probability below which the second class is left out
_MAX_ALSO = 3  # other labels in the caption of one


def right_rows(result: AuditResult) -> np.ndarray:
    """Return the rows whose top class is the true one, the most confident first."""
    return _by_confidence(result, result.is_labelled & (result.rows.predicted == result.rows.label))


def wrong_rows(result: AuditResult) -> np.ndarray:
    """Return the rows whose top class is not the true one, the most confident first."""
    return _by_confidence(result, result.is_labelled & (result.rows.predicted != result.rows.label))


def unlabelled_rows(result: AuditResult) -> np.ndarray:
    """Return the rows without a true class, the most confident first."""
    return _by_confidence(result, result.rows.is_done & (result.rows.label < 0))


def uncertain_rows(result: AuditResult) -> np.ndarray:
    """Return the explained rows, the lowest probability of the top class first."""
    members = np.flatnonzero(result.rows.is_done)
    return members[np.argsort(result.rows.probability[members], kind="stable")]


def found_rows(answer: ModelAnswer) -> np.ndarray:
    """Return the rows that rightly get the answer, the most confident first."""
    return _by_measure(answer, answer.given & (answer.truth == 1), -1)


def missed_rows(answer: ModelAnswer) -> np.ndarray:
    """Return the rows that should get the answer and do not, the lowest probability first."""
    return _by_measure(answer, answer.done & ~answer.given & (answer.truth == 1), 1)


def false_rows(answer: ModelAnswer) -> np.ndarray:
    """Return the rows that wrongly get the answer, the most confident first."""
    return _by_measure(answer, answer.given & (answer.truth == 0), -1)


def unknown_rows(answer: ModelAnswer) -> np.ndarray:
    """Return the rows that get the answer, where nobody knows whether they should, the most confident first."""
    return _by_measure(answer, answer.given & (answer.truth < 0), -1)


def _by_measure(answer: ModelAnswer, chosen: np.ndarray, sign: int) -> np.ndarray:
    members = np.flatnonzero(chosen)
    return members[np.argsort(sign * answer.measured[members], kind="stable")]


def errors_of(result: AuditResult) -> np.ndarray:
    """Return (N,) predicted - true values; NaN where one is unknown."""
    error: np.ndarray = np.where(result.is_labelled, result.rows.score - result.rows.truth[:, 0], np.nan)
    return error


def over_rows(result: AuditResult) -> np.ndarray:
    """Return the overestimated rows, the largest error first."""
    error = errors_of(result)
    members = np.flatnonzero(error > 0)
    return members[np.argsort(-error[members], kind="stable")]


def under_rows(result: AuditResult) -> np.ndarray:
    """Return the underestimated rows, the largest error first."""
    error = errors_of(result)
    members = np.flatnonzero(error < 0)
    return members[np.argsort(error[members], kind="stable")]


def best_rows(result: AuditResult) -> np.ndarray:
    """Return the rows of known values, the smallest error first."""
    error = np.abs(errors_of(result))
    members = np.flatnonzero(np.isfinite(error))
    return members[np.argsort(error[members], kind="stable")]


def lowest_iou_rows(result: AuditResult) -> np.ndarray:
    """Return the rows with a mask of true classes, the lowest mean IoU over the classes of the image first."""
    mean = mean_ious(result)
    members = np.flatnonzero(result.is_labelled & np.isfinite(mean))
    return members[np.argsort(mean[members], kind="stable")]


def mean_ious(result: AuditResult) -> np.ndarray:
    """Return (N,) means over the classes that are in the image or predicted there; NaN where there is none."""
    ious = image_ious(result.rows.truth)
    some = np.isfinite(ious)
    mean = np.where(some, ious, 0).sum(axis=1) / np.maximum(1, some.sum(axis=1))
    return np.where(some.any(axis=1), mean, np.nan)


def lowest_iou_of(result: AuditResult, index: int) -> np.ndarray:
    """Return the rows where a class is true or predicted, the lowest IoU of it first."""
    ious = image_ious(result.rows.truth)[:, index]
    members = np.flatnonzero(result.is_labelled & np.isfinite(ious))
    return members[np.argsort(ious[members], kind="stable")]


def largest_rows(answer: ModelAnswer) -> np.ndarray:
    """Return the rows with a map of a class, the largest predicted share first."""
    return _by_measure(answer, answer.given, -1)


def extreme_rows(result: AuditResult, sign: int) -> np.ndarray:
    """Return the explained rows, the highest value first (sign 1) or the lowest (sign -1)."""
    members = np.flatnonzero(result.rows.is_done)
    return members[np.argsort(-sign * result.rows.score[members], kind="stable")]


def worst_rows(result: AuditResult) -> np.ndarray:
    """Return all rows, the worst first; those that failed come last.

    Worst are confident errors, then the least certain; the largest error of a value; the lowest mean IoU.
    """
    rows, known = result.rows, result.is_labelled
    badness = -np.nan_to_num(rows.probability, nan=0.0).astype(np.float64)
    if result.task == "classification":
        badness = np.where(known & (rows.predicted != rows.label), 1 - badness, badness)
    elif result.task == "multilabel":
        badness += np.array([len(mistaken_labels(result, row)) for row in range(len(known))])
    elif result.task == "regression":
        badness = np.nan_to_num(np.abs(errors_of(result)), nan=-1.0)
    elif known.any():
        badness = np.where(known, 1 - np.nan_to_num(mean_ious(result), nan=1.0), -1.0)
    return np.lexsort((-badness, ~rows.is_done))


def mistaken_labels(result: AuditResult, row: int) -> list[int]:
    """Return the labels that an image has and does not get, or gets and does not have."""
    truth = result.rows.truth[row]
    given = result.rows.probabilities[row] > np.asarray(result.thresholds)
    return [int(label) for label in np.flatnonzero(np.isfinite(truth) & (given != (truth == 1)))]


def blank_rows(result: AuditResult) -> dict[str, np.ndarray]:
    """Return the explained rows with a blank heatmap, by diagnosis, the most frequent first."""
    rows = result.rows
    return _by_text(np.flatnonzero(rows.is_done & (rows.diagnosis != "")), rows.diagnosis)


def failed_rows(result: AuditResult) -> dict[str, np.ndarray]:
    """Return the rows that failed, by error, the most frequent first."""
    return _by_text(np.flatnonzero(~result.rows.is_done), result.rows.error)


def most_confused(confusion: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Return up to `limit` cells (true, predicted) off the diagonal of (K, K) counts, the largest first."""
    errors = confusion * ~np.eye(len(confusion), dtype=bool)
    order = np.argsort(-errors, axis=None, kind="stable")[:limit]
    return [divmod(int(place), len(confusion)) for place in order if errors.flat[place]]


def _by_confidence(result: AuditResult, chosen: np.ndarray) -> np.ndarray:
    """Sort the rows of a mask, the most confident first; with the same two decimals the classes take turns."""
    members = np.flatnonzero(chosen)
    members = members[np.argsort(-result.rows.probability[members], kind="stable")]
    predicted, probability = result.rows.predicted[members], result.rows.probability[members]
    return members[np.lexsort((predicted, turns_of(predicted), -np.round(probability, 2)))]


def _by_text(members: np.ndarray, texts: np.ndarray) -> dict[str, np.ndarray]:
    groups: dict[str, list[int]] = {}
    for row in members.tolist():
        groups.setdefault(str(texts[row]), []).append(row)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return {text: np.array(group, np.int64) for text, group in ordered}


class Card(NamedTuple):
    """An image and its caption.

    Attributes:
        row: its position in the table.
        shot: its pictures; None if there are none.
        file: name of the file in the caption.
        kind: "right", "wrong", or "" if that is not known, or is a matter of degree.
        predicted: name of the class, the label or the value.
        probability: probability of the predicted class or label, or the value, as text.
        remark: what the data set says otherwise, such as "✗ true:" before the true class; "" for nothing.
        truth: name of the true class; "" if unknown.
        next: what else is predicted, such as the second class with its probability; "" for nothing.
    """

    row: int
    shot: Shot | None
    file: str
    kind: str
    predicted: str
    probability: str
    remark: str = ""
    truth: str = ""
    next: str = ""

    @property
    def words(self) -> str:
        """The alternative text of the picture."""
        text = f"{self.file}. Predicted: {self.predicted} {self.probability}"
        if self.remark:
            remark = f"{self.remark.removeprefix(_CROSS)} {self.truth}".strip()
            text += f". {remark[0].upper()}{remark[1:]}"
        return f"{text}. With heatmap" if self.shot and self.shot.heat else text


_CROSS = "✗ "


class Gallery(NamedTuple):
    """Cards, and the number of images that they are taken from."""

    cards: list[Card]
    total: int


class CardMaker:
    """A maker of cards for the rows of a result, with their pictures."""

    def __init__(self, result: AuditResult, pictures: RowPictures):
        self._result, self._pictures = result, pictures
        self._folder = common_folder([str(path) for path in result.rows.file])

    def file(self, row: int) -> str:
        """Return the row's path inside the folder that all files share; "image 12" if it has no path."""
        rows = self._result.rows
        return str(rows.file[row]).removeprefix(self._folder) or f"image {int(rows.index[row])}"

    def card(self, row: int, answer: ModelAnswer | None = None) -> Card:
        """Return the card of an explained row; of several labels with the map of one, if its answer is named."""
        has_map = answer is not None and (
            self._result.task == "multilabel" or answer.index in self._result.rows.mapped[row]
        )
        label = answer.index if answer is not None and has_map else None
        return self.caption(row, answer)._replace(shot=self._pictures(row, label))

    def caption(self, row: int, answer: ModelAnswer | None = None) -> Card:
        """Return the card of an explained row without its pictures."""
        if self._result.task == "multilabel":
            return self._of_labels(row, answer)
        if self._result.task == "regression":
            return self._of_value(row)
        if self._result.task == "segmentation":
            return self._of_regions(row, answer)
        rows, names = self._result.rows, self._result.class_names
        truth, predicted = int(rows.label[row]), int(rows.predicted[row])
        kind = "" if truth < 0 else "right" if truth == predicted else "wrong"
        return Card(
            row,
            None,
            self.file(row),
            kind,
            names[predicted],
            format_probability(float(rows.probability[row])),
            f"{_CROSS}true:" if kind == "wrong" else "",
            names[truth] if kind == "wrong" else "",
            self._next(row, predicted),
        )

    def _of_labels(self, row: int, answer: ModelAnswer | None) -> Card:
        answers = self._result.answers
        of = answers[int(self._result.rows.predicted[row])] if answer is None else answer
        is_given, truth = row in of.members, int(of.truth[row])
        remark = ""
        if truth >= 0 and is_given != (truth == 1):
            remark = f"{_CROSS}false alarm" if is_given else f"{_CROSS}missed, threshold {of.reading.threshold:g}"
        others = [one for one in self._result.rows.mapped[row].tolist() if one != of.index]
        return Card(
            row,
            None,
            self.file(row),
            "" if truth < 0 else "wrong" if remark else "right",
            of.name,
            format_probability(float(of.measured[row])),
            remark,
            next=f"also {', '.join(answers[one].name for one in others[:_MAX_ALSO])}" if others else "",
        )

    def _of_regions(self, row: int, answer: ModelAnswer | None) -> Card:
        rows, result = self._result.rows, self._result
        index = int(rows.predicted[row]) if answer is None else answer.index
        share, remark = f"{rows.probabilities[row, index]:.1%}", ""
        if result.is_labelled[row]:
            ious = image_ious(rows.truth[row : row + 1])[0]
            if answer is None:
                remark = f"mean IoU {np.nanmean(ious):.2f}" if np.isfinite(ious).any() else ""
            else:
                remark = f"IoU {np.nan_to_num(ious[index]):.2f}, true {rows.truth[row, index]:.1%}"
        return Card(row, None, self.file(row), "", result.class_names[index], share, remark)

    def _of_value(self, row: int) -> Card:
        rows, result = self._result.rows, self._result
        value, truth = float(rows.score[row]), float(rows.truth[row, 0])
        remark = (
            "" if np.isnan(truth) else f"true {result.in_words(truth)}, error {result.in_words(value - truth, '+')}"
        )
        name = result.class_names[0]
        return Card(row, None, self.file(row), "", name, result.in_words(value), remark)

    def gallery(self, rows: Sequence[int] | np.ndarray, limit: int, answer: ModelAnswer | None = None) -> Gallery:
        """Return the cards of the first rows, up to `limit`."""
        return Gallery([self.card(int(row), answer) for row in rows[:limit]], len(rows))

    def with_pictures(self, rows: Iterable[int], answer: ModelAnswer | None = None) -> list[Card]:
        """Return the cards of the rows with a picture that fits into the page."""
        cards = (self.card(int(row), answer) for row in rows)
        return [card for card in cards if card.shot]

    def _next(self, row: int, predicted: int) -> str:
        values = np.array(self._result.rows.probabilities[row], np.float64)
        if len(values) < 2:
            return ""
        values[predicted] = -1
        second = int(np.nanargmax(values))
        if values[second] < _MIN_SECOND:
            return ""
        return f"then {self._result.class_names[second]} {format_probability(float(values[second]))}"
