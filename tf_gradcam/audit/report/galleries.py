"""Which images of an audit are worth a look: rows of its table, picked and put in order. NumPy only.

Axis legend: N images, K classes.
"""

from __future__ import annotations

import numpy as np

from tf_gradcam.audit.result import AuditResult


def right(result: AuditResult) -> np.ndarray:
    """Rows whose top class is the true one, the most confident first."""
    rows = result.rows
    return _by_confidence(result, np.flatnonzero(result.is_labelled & (rows["predicted"] == rows["label"])))


def wrong(result: AuditResult) -> np.ndarray:
    """Rows whose top class is not the true one, the most confident first."""
    rows = result.rows
    return _by_confidence(result, np.flatnonzero(result.is_labelled & (rows["predicted"] != rows["label"])))


def confident(result: AuditResult) -> np.ndarray:
    """Rows without a true class, the most confident first."""
    rows = result.rows
    return _by_confidence(result, np.flatnonzero((rows["status"] == "done") & (rows["label"] < 0)))


def uncertain(result: AuditResult) -> np.ndarray:
    """Explained rows, that of the lowest probability of the top class first."""
    members = np.flatnonzero(result.rows["status"] == "done")
    return members[np.argsort(result.rows["probability"][members], kind="stable")]


def blank(result: AuditResult) -> dict[str, np.ndarray]:
    """Explained rows whose map says nothing, by diagnosis, the most frequent first."""
    rows = result.rows
    return _by_text(np.flatnonzero((rows["status"] == "done") & (rows["diagnosis"] != "")), rows["diagnosis"])


def failed(result: AuditResult) -> dict[str, np.ndarray]:
    """Rows that failed, by error, the most frequent first."""
    return _by_text(np.flatnonzero(result.rows["status"] != "done"), result.rows["error"])


def cells(result: AuditResult) -> dict[tuple[int, int], np.ndarray]:
    """Rows of each cell of the confusion matrix that has any, the most confident first."""
    rows = result.rows
    members = np.flatnonzero(result.is_labelled)
    members = members[np.argsort(-rows["probability"][members], kind="stable")]
    codes = rows["label"][members].astype(np.int64) * len(result.class_names) + rows["predicted"][members]
    order = np.argsort(codes, kind="stable")
    found, starts = np.unique(codes[order], return_index=True)
    groups = np.split(members[order], starts[1:]) if len(found) else []
    return {
        divmod(int(code), len(result.class_names)): group for code, group in zip(found.tolist(), groups, strict=True)
    }


def confused(confusion: np.ndarray, most: int) -> list[tuple[int, int]]:
    """The cells off the diagonal that have images, (true, predicted), the fullest first.

    Args:
        confusion: (K, K) counts.
        most: cells at most.
    """
    errors = confusion * ~np.eye(len(confusion), dtype=bool)
    order = np.argsort(-errors, axis=None, kind="stable")[:most]
    return [divmod(int(place), len(confusion)) for place in order if errors.flat[place]]


def in_turn(groups: list[np.ndarray], most: int) -> list[tuple[int, int]]:
    """(group, row): the first row of every group, then the second of every one, until `most` of each."""
    return [
        (number, int(group[turn])) for turn in range(most) for number, group in enumerate(groups) if turn < len(group)
    ]


def _by_confidence(result: AuditResult, members: np.ndarray) -> np.ndarray:
    """The most confident first; of those that look equally confident, one of each class after the other."""
    predicted, probability = result.rows["predicted"][members], result.rows["probability"][members]
    order = np.argsort(-probability, kind="stable")
    turn = np.zeros(len(members), np.int64)
    for kind in np.unique(predicted):
        same = order[predicted[order] == kind]
        turn[same] = np.arange(len(same))
    return members[np.lexsort((predicted, turn, -np.round(probability, 2)))]


def _by_text(members: np.ndarray, texts: np.ndarray) -> dict[str, np.ndarray]:
    groups: dict[str, list[int]] = {}
    for row in members.tolist():
        groups.setdefault(str(texts[row]), []).append(row)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return {text: np.array(group, np.int64) for text, group in ordered}
