"""The list of all images: columns for the script of the page, and pictures in files beside it.

Axis legend: N rows.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_gradcam._files.atomic import made_folder, write_bytes
from tf_gradcam.audit.report.cards import CardMaker, errors_of, mean_ious, mistaken_labels, worst_rows
from tf_gradcam.audit.report.pictures import heat_layer
from tf_gradcam.audit.report.text import escape_invisible
from tf_gradcam.audit.result import AuditResult

FOLDER = "images"  # beside the page
LISTED = 10_000  # rows in the page, and pictures beside it: 1 MB of text, and 230 MB of photos

LargerPhotos = Callable[[Sequence[int]], Iterable[tuple[int, bytes]]]  # rows -> (row, JPEG; b"" if there is none)


def write_pictures(result: AuditResult, folder: Path, larger: LargerPhotos | None = None) -> dict[int, tuple[int, int]]:
    """Write a photo and the layer of its heatmap for each of the worst rows, as `images/12.jpg` and `images/12.webp`.

    Args:
        result: of the audit.
        folder: of the page.
        larger: photos to write in place of the thumbnails.

    Returns:
        (width, height) of the photos by row.
    """
    rows, sizes = result.rows, dict[int, tuple[int, int]]()
    listed = [int(row) for row in worst_rows(result)[:LISTED] if rows.is_done[row] and rows.thumbnail[row]]
    if not listed:
        return sizes
    images = made_folder(folder / FOLDER, "images")
    for row, photo in larger(listed) if larger else ((row, b"") for row in listed):
        data = photo or bytes(rows.thumbnail[row])
        size = jpeg_size(data)
        if size is None:
            continue
        sizes[row] = size
        write_bytes(images / f"{row}.jpg", data)
        layer = heat_layer(rows.heatmap[row], size[::-1], result.task == "regression")
        if layer:
            write_bytes(images / f"{row}.webp", layer)
    return sizes


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) from a JPEG's frame header; None for other data."""
    at = 2
    while data.startswith(b"\xff\xd8") and at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in (0xC0, 0xC1, 0xC2):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def listing(result: AuditResult, cards: CardMaker, sizes: dict[int, tuple[int, int]]) -> str:
    """Return the columns as JSON that can stand in a page; texts that occur often are numbers of a list.

    Keys: total, folder, names of classes, texts; of each row its number in the table, file, kind ("right", "wrong",
    "failed" or ""), words of its card, true and given classes, why (diagnosis or error), note, size of its photo (0 x 0
    without one), whether it has heat; and the numbers that rows are sorted by.
    """
    order = worst_rows(result)[:LISTED].tolist()
    texts: dict[str, int] = {}

    def place(text: str) -> int:
        return texts.setdefault(escape_invisible(text), len(texts))

    rows = [list(_row(result, cards, row, sizes.get(row, (0, 0)), place)) for row in order]
    numbers = {
        name: [_number(value) for value in np.asarray(values, np.float64)[order]]
        for name, values in _numbers(result).items()
    }
    columns = {
        "total": len(result.rows.index),
        "folder": FOLDER,
        "names": [escape_invisible(name) for name in result.class_names],
        "texts": list(texts),
        "rows": rows,
        "numbers": numbers,
    }
    return json.dumps(columns, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _row(
    result: AuditResult, cards: CardMaker, row: int, size: tuple[int, int], place: Callable[[str], int]
) -> Iterator[Any]:
    """Yield the values of a row, in the order that the script reads."""
    rows = result.rows
    yield row
    yield escape_invisible(cards.file(row))
    if rows.is_done[row]:
        card, kind = cards.caption(row), cards.caption(row).kind
        if result.task == "multilabel" and result.is_labelled[row]:
            kind = "wrong" if mistaken_labels(result, row) else "right"
        words = [kind, card.predicted, card.probability, card.remark, card.truth, card.next]
    else:
        words = ["failed", "", "", "", "", ""]
    yield from map(place, words)
    yield place(str(rows.diagnosis[row] or rows.error[row]))
    yield place(str(rows.note[row]))
    yield from size
    yield int(np.abs(np.nan_to_num(rows.heatmap[row])).max() > 0)
    yield from _classes(result, row)


def _classes(result: AuditResult, row: int) -> list[list[int]]:
    """Return the true and the given classes of a row."""
    rows = result.rows
    if result.task == "classification":
        return [[int(index)] if index >= 0 else [] for index in (rows.label[row], rows.predicted[row])]
    if result.task == "regression":
        return [[], []]
    truth = rows.truth[row, : len(result.class_names)]
    return [np.flatnonzero(np.nan_to_num(truth) > 0).tolist(), rows.mapped[row].tolist()]


def _numbers(result: AuditResult) -> dict[str, np.ndarray]:
    """Return the columns that rows are sorted by, by name."""
    if result.task == "regression":
        return {"value": result.rows.score, "error": np.abs(errors_of(result))}
    if result.task == "segmentation":
        return {"mean IoU": mean_ious(result), "share of the class": result.rows.probability}
    return {"confidence": result.rows.probability}


def _number(value: float) -> float | None:
    return round(value, 5) if np.isfinite(value) else None
