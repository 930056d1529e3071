"""Cards and galleries of the report: choice and captions of images.

Axis legend: K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tf_gradcam.audit.report.pictures import RowPictures, Shot
from tf_gradcam.audit.report.text import common_folder, format_probability
from tf_gradcam.audit.result import AuditResult
from tf_gradcam.audit.rows import turns_of

_MIN_SECOND = 0.05  # probability below which the second class is left out


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


def blank_rows(result: AuditResult) -> dict[str, np.ndarray]:
    """Return the explained rows with a blank heatmap, by diagnosis, the most frequent first."""
    rows = result.rows
    return _by_text(np.flatnonzero(rows.is_done & (rows.diagnosis != "")), rows.diagnosis)


def failed_rows(result: AuditResult) -> dict[str, np.ndarray]:
    """Return the rows that failed, by error, the most frequent first."""
    return _by_text(np.flatnonzero(~result.rows.is_done), result.rows.error)


def confusion_cells(result: AuditResult) -> dict[tuple[int, int], np.ndarray]:
    """Return the rows of each cell (true, predicted) of the confusion matrix, the most confident first."""
    rows = result.rows
    members = np.flatnonzero(result.is_labelled)
    members = members[np.argsort(-rows.probability[members], kind="stable")]
    codes = rows.label[members].astype(np.int64) * len(result.class_names) + rows.predicted[members]
    order = np.argsort(codes, kind="stable")
    found, starts = np.unique(codes[order], return_index=True)
    groups = np.split(members[order], starts[1:]) if len(found) else []
    return {
        divmod(int(code), len(result.class_names)): group for code, group in zip(found.tolist(), groups, strict=True)
    }


def most_confused(confusion: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Return up to `limit` cells (true, predicted) off the diagonal of (K, K) counts, the largest first."""
    errors = confusion * ~np.eye(len(confusion), dtype=bool)
    order = np.argsort(-errors, axis=None, kind="stable")[:limit]
    return [divmod(int(place), len(confusion)) for place in order if errors.flat[place]]


def take_turns(groups: list[np.ndarray], limit: int) -> list[tuple[int, int]]:
    """Return (group, row): the first row of every group, then the second of every group, up to `limit` of each."""
    return [
        (number, int(group[turn])) for turn in range(limit) for number, group in enumerate(groups) if turn < len(group)
    ]


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
        shot: its pictures; None if there are none.
        file: name of the file in the caption.
        kind: "right", "wrong", or "" if the true class is unknown.
        predicted, truth: names of classes; `truth` is "" if unknown.
        probability: probability of the predicted class, as text.
        next: second class and its probability, as text; "" below 0.05.
    """

    shot: Shot | None
    file: str
    kind: str
    predicted: str
    truth: str
    probability: str
    next: str

    @property
    def words(self) -> str:
        """The alternative text of the picture."""
        text = f"{self.file}. Predicted: {self.predicted} {self.probability}"
        if self.kind == "wrong":
            text += f". True: {self.truth}"
        return f"{text}. With heatmap" if self.shot and self.shot.heat else text


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

    def card(self, row: int) -> Card:
        """Return the card of an explained row."""
        rows, names = self._result.rows, self._result.class_names
        truth, predicted = int(rows.label[row]), int(rows.predicted[row])
        return Card(
            self._pictures(row),
            self.file(row),
            "" if truth < 0 else "right" if truth == predicted else "wrong",
            names[predicted],
            names[truth] if truth >= 0 else "",
            format_probability(float(rows.probability[row])),
            self._next(row, predicted),
        )

    def gallery(self, rows: Sequence[int] | np.ndarray, limit: int) -> Gallery:
        """Return the cards of the first rows, up to `limit`."""
        return Gallery([self.card(int(row)) for row in rows[:limit]], len(rows))

    def with_pictures(self, rows: Iterable[int]) -> list[Card]:
        """Return the cards of the rows with a picture that fits into the page."""
        return [self.card(int(row)) for row in rows if self._pictures(int(row))]

    def _next(self, row: int, predicted: int) -> str:
        values = np.array(self._result.rows.probabilities[row], np.float64)
        if len(values) < 2:
            return ""
        values[predicted] = -1
        second = int(np.nanargmax(values))
        if values[second] < _MIN_SECOND:
            return ""
        return f"{self._result.class_names[second]} {format_probability(float(values[second]))}"
