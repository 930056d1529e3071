"""The page of a comparison and its numbers, in the style of the audit's report.

Axis legend: N images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tf_gradcam._diff.result import ModelDiff
from tf_gradcam._errors import require
from tf_gradcam._files.atomic import write_bytes
from tf_gradcam.audit.report.listing import jpeg_size
from tf_gradcam.audit.report.page import asset, content_hash, page_environment, write_json
from tf_gradcam.audit.report.pictures import Picture, PictureStore, colour_bar
from tf_gradcam.audit.report.text import base_name, format_number, format_probability

_CARDS = 24  # most of each gallery
_BUDGET = 11_000_000  # bytes of pictures: a page below 15 MB with its text


class DiffCard(NamedTuple):
    """An image with the maps of both models.

    Attributes:
        photo: None where it is gone, old_heat, new_heat: None where the map is blank.
        old, new: answers with their probabilities, alike: similarity of the maps with its p-value.
        file: its name, truth: the true class, "" where unknown.
    """

    photo: Picture | None
    old_heat: Picture | None
    new_heat: Picture | None
    old: str
    new: str
    alike: str
    file: str
    truth: str


def write_diff(
    result: ModelDiff, directory: Path, larger: Callable[[Sequence[int]], Iterator[tuple[int, bytes]]]
) -> None:
    """Write index.html and diff.json, each whole or not at all.

    Args:
        result: of the comparison.
        directory: created if it does not exist.
        larger: rows -> (row, JPEG), as `ModelUnderAudit.larger`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_json(_numbers(result), directory / "diff.json")
    galleries = {
        "moved": result.movers[:_CARDS].tolist(),
        "changed": result.changes[:_CARDS].tolist(),
        "blank": np.flatnonzero(np.isnan(result.images.similarity) & result.images.is_done)[:_CARDS].tolist(),
    }
    rows = sorted({row for gallery in galleries.values() for row in gallery})
    store = PictureStore(_BUDGET)
    cards = {row: _card(result, row, photo, store) for row, photo in (larger(rows) if rows else ())}
    markup, style = require("markupsafe", extra="audit"), asset("report.css") + _style()
    page = (
        page_environment("tf_gradcam._diff")
        .get_template("diff.html.j2")
        .render(
            result=result,
            old=base_name(result.about["old"]),
            new=base_name(result.about["new"]),
            galleries={name: [cards[row] for row in gallery] for name, gallery in galleries.items()},
            totals={
                "moved": len(result.movers),
                "changed": len(result.changes),
                "blank": int((np.isnan(result.images.similarity) & result.images.is_done).sum()),
                "failed": int((~result.images.is_done).sum()),
            },
            urls=store.urls,
            scale=colour_bar("0", "the map's maximum"),
            style=markup.Markup(style),
            style_hash=content_hash(style),
        )
    )
    write_bytes(directory / "index.html", str(page).encode("utf-8"))


def _style() -> str:
    from importlib.resources import files

    return files("tf_gradcam._diff").joinpath("templates").joinpath("diff.css").read_text("utf-8").replace("\r\n", "\n")


def _card(result: ModelDiff, row: int, photo: bytes, store: PictureStore) -> DiffCard:
    images = result.images
    width, height = jpeg_size(photo) or (1, 1)
    plain = store.add(Picture(f"r{row}p", width, height), photo) if photo else None
    old_heat = store.add_heat(f"r{row}-old", images.old_map[row], plain) if plain else None
    new_heat = store.add_heat(f"r{row}-new", images.new_map[row], plain) if plain else None
    similarity, p_value = images.similarity[row], result.p_value[row]
    alike = "unknown" if np.isnan(similarity) else f"{format_number(similarity, 2)}, p = {format_number(p_value, 3)}"
    label = int(images.label[row])
    return DiffCard(
        plain,
        old_heat,
        new_heat,
        f"{images.old_answer[row]} {format_probability(images.old_probability[row])}",
        f"{images.new_answer[row]} {format_probability(images.new_probability[row])}",
        alike,
        base_name(str(images.file[row])),
        result.class_names[label] if label >= 0 else "",
    )


def _numbers(result: ModelDiff) -> dict[str, Any]:
    images = result.images
    names = ("file", "label", "error", "old_answer", "new_answer", "old_probability", "new_probability", "is_changed")
    columns: dict[str, np.ndarray] = {name: getattr(images, name) for name in names}
    columns |= {"similarity": images.similarity, "p_value": result.p_value, "is_moved": result.is_moved}
    columns |= {"is_blank_old": images.is_blank_old, "is_blank_new": images.is_blank_new}
    shares = ("changed", "moved", "undefined", "failed", "similarity", "null_similarity")
    return {
        "about": dict(result.about),
        "task": result.task,
        "class_names": list(result.class_names),
        **{name: vars(getattr(result, name)) for name in shares},
        "accuracy": {name: vars(value) for name, value in result.accuracies.items()},
        "classes": [asdict(one) for one in result.classes],
        "images": [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)],
    }
