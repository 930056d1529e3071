"""Cards of a page: an image of the table with its heat, what it was taken for, and what it is.

Axis legend: K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tf_gradcam.audit.report import text as pagetext
from tf_gradcam.audit.report.pictures import RowPictures, Shot
from tf_gradcam.audit.result import AuditResult

_RUNNER_UP = 0.05  # probability from which on the second class is told


class Card(NamedTuple):
    """An image and its caption.

    Attributes:
        shot: its pictures; None where there are none.
        file: as the caption names it.
        kind: "right", "wrong", or "" where the truth is not known.
        predicted, truth: names of classes; truth is "" where it is not known.
        probability: of the predicted class, as text.
        next: the second class and its probability, as text; "" below 0.05.
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
        """The card for those who do not see the picture."""
        told = f"{self.file}, predicted {self.predicted} {self.probability}"
        if self.kind == "wrong":
            told += f", truly {self.truth}"
        return f"{told}, with heatmap" if self.shot and self.shot.heat else told


class Gallery(NamedTuple):
    """Cards, and how many images there are that could have one."""

    cards: list[Card]
    total: int


class CardMaker:
    """Cards of the rows of a result.

    Args:
        result: the audit's.
        pictures: of its rows.
    """

    def __init__(self, result: AuditResult, pictures: RowPictures):
        self._result, self._pictures = result, pictures
        self._folder = pagetext.common_folder([str(path) for path in result.rows["file"]])

    def file(self, row: int) -> str:
        """The row's file inside the folder that all files share; "image 12" where there is none."""
        rows = self._result.rows
        return str(rows["file"][row]).removeprefix(self._folder) or f"image {int(rows['index'][row])}"

    def card(self, row: int) -> Card:
        """The card of an explained row."""
        rows, names = self._result.rows, self._result.class_names
        truth, predicted = int(rows["label"][row]), int(rows["predicted"][row])
        return Card(
            self._pictures(row),
            self.file(row),
            "" if truth < 0 else "right" if truth == predicted else "wrong",
            names[predicted],
            names[truth] if truth >= 0 else "",
            pagetext.probability(float(rows["probability"][row])),
            self._next(row, predicted),
        )

    def gallery(self, rows: Sequence[int] | np.ndarray, most: int) -> Gallery:
        """Cards of the first rows that have a picture."""
        return Gallery([self.card(int(row)) for row in rows[:most]], len(rows))

    def with_pictures(self, rows: Iterable[int]) -> list[Card]:
        """Cards of those rows for which there is a picture, and room for it."""
        return [self.card(int(row)) for row in rows if self._pictures(int(row))]

    def _next(self, row: int, predicted: int) -> str:
        values = np.array(self._result.rows["probabilities"][row], np.float64)
        if len(values) < 2:
            return ""
        values[predicted] = -1
        second = int(np.nanargmax(values))
        if values[second] < _RUNNER_UP:
            return ""
        return f"{self._result.class_names[second]} {pagetext.probability(float(values[second]))}"
