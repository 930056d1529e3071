"""What the controls of the web page offer, and what they ask."""

from __future__ import annotations

from html import escape
from typing import Any

from tf_gradcam._app.apppicture import Look
from tf_gradcam._app.model import AppModel, Question

TOP, NOTHING = -1, -1  # in the lists of classes


def question_of(layer: str, method: str, target: int | None, against: int | None, mode: str) -> Question:
    """What the controls ask; a list that was emptied is as its first entry."""
    chosen = None if target in (None, TOP) else int(target)
    other = None if against in (None, NOTHING) else int(against)
    return Question(layer, method, chosen, other, mode)


def look_of(alpha: float, threshold: float, colormap: str | None) -> Look:
    return Look(min(max(float(alpha), 0.0), 1.0), min(max(float(threshold), 0.0), 1.0), colormap or None)


def class_choices(model: AppModel, first: str) -> list[tuple[str, int]]:
    """Entries of a list of classes; names that several classes have are told apart by their numbers."""
    labels = model.labels
    several = {label for label in labels if labels.count(label) > 1} if len(set(labels)) < len(labels) else set()
    named = [f"{label} ({index})" if label in several else label for index, label in enumerate(labels)]
    return [(first, TOP), *((label, index) for index, label in enumerate(named))]


def layer_choices(model: AppModel) -> list[tuple[str, str]]:
    """Entries of the list of layers, the default marked."""
    return [(_layer_label(row, model), row.path) for row in model.layers]


def _layer_label(row: Any, model: AppModel) -> str:
    cells = " x ".join("any" if side is None else str(side) for side in row.output_shape[1:-1])
    return f"{row.path}  ({cells}){'  default' if row.path == model.default_layer else ''}"


def headline(model: AppModel) -> str:
    """Which model is asked."""
    height, width = model.size
    known = "" if model.mode != "unknown" else "; what values it wants cannot be read from it, so choose them"
    text = f"Model: {model.title}, {len(model.labels)} classes, images of {height} x {width}{known}."
    return f'<p class="tg-model">{escape(text)}</p>'
