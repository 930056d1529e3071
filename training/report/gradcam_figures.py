"""What a trained classifier's predictions rest on: Grad-CAM of right and wrong ones, at two layers, beside HiResCAM.

Axis legend: B images, H x W cells of the layer, H0 x W0 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from tf_gradcam import Explainer, list_layers
from training.data.pipeline import arrays
from training.report.cards import Card, Section, card_figure, save_figure
from training.report.predictions import Predictions, spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 6  # right predictions, and as many wrong ones
_BESIDE = 4  # where two maps stand beside each photo
_BATCH = 4  # images explained at a time: large networks hold hundreds of MB an image
_METHODS = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM"}


def write_gradcam_figures(
    folder: Path,
    model: keras.Model,
    shown: Predictions,
    image_size: tuple[int, int],
    last: str | None,
    intermediate: str | None,
) -> list[Path]:
    """Write gradcam_last.png, gradcam_intermediate.png and gradcam_hirescam.png.

    Args:
        folder: an existing one.
        model: (B, H0, W0, 3) float32 RGB 0..255 to probabilities; it is borrowed.
        shown: what the model predicted; each prediction itself is explained, right or wrong.
        image_size: (H0, W0).
        last: the layer; None for the model's default.
        intermediate: the layer; None for that of `finer_layer`.

    Returns:
        Paths of the files.
    """
    names = shown.samples.class_names
    groups, few = ([_right(shown, count), shown.errors[:count]] for count in (_SHOWN, _BESIDE))
    at_last = Explainer(model, last, class_names=names)
    inside = Explainer(model, intermediate or finer_layer(model, at_last.layer_name), class_names=names)
    hirescam = Explainer(model, last, "hirescam", class_names=names)
    figures = {
        "gradcam_last": lambda: gradcam_figure("the last layer", [at_last], shown, groups, image_size),
        "gradcam_intermediate": lambda: gradcam_figure("an intermediate layer", [inside], shown, groups, image_size),
        "gradcam_hirescam": lambda: gradcam_figure("the last layer", [at_last, hirescam], shown, few, image_size),
    }
    written = []
    for name, draw in figures.items():
        written.append(folder / f"{name}.png")
        save_figure(written[-1], draw())
    return written


def finer_layer(model: keras.Model, path: str) -> str:
    """The last layer before the one at `path` that has more cells; itself where none has."""
    rows = [row for row in list_layers(model) if row.explainable and len(row.output_shape) == 4]
    index = [row.path for row in rows].index(path)
    finer = [row.path for row in rows[:index] if (row.output_shape[1] or 0) > (rows[index].output_shape[1] or 0)]
    return finer[-1] if finer else path


def gradcam_figure(
    place: str,
    explainers: Sequence[Explainer],
    shown: Predictions,
    groups: Sequence[np.ndarray],
    image_size: tuple[int, int],
) -> Figure:
    """Photos beside the overlay of each explainer.

    Args:
        place: which layer it is, in words.
        explainers: one or several methods at that layer.
        shown: what the model predicted.
        groups: indices of right predictions, and of wrong ones.
        image_size: (H0, W0).
    """
    chosen = np.concatenate(groups)
    photos, _ = arrays(shown.samples.take(chosen), image_size)
    pictures: list[list[np.ndarray | str]] = [[photo] for photo in photos]
    for explainer in explainers:
        overlays, cells = _overlays(explainer, photos, shown.predicted[chosen])
        for row, overlay in zip(pictures, overlays, strict=True):
            row.append(overlay)
    cards = [Card(row, shown.lines(int(index))) for row, index in zip(pictures, chosen, strict=True)]
    methods = [_METHODS[explainer.method] for explainer in explainers]
    title = f"{' and '.join(methods)} at {place}, {explainers[0].layer_name}"
    note = f"Where the evidence for each prediction lies, be it right or wrong, in {cells[0]} x {cells[1]} cells."
    right, wrong = cards[: len(groups[0])], cards[len(groups[0]) :]
    counted = f": {len(wrong)} of {len(shown.errors):,}, most confident first" if wrong else ""
    sections = [
        Section(f"Right predictions: {len(right)} of {shown.right.sum():,}", right, "Every sample is misclassified."),
        Section(f"Wrong predictions{counted}", wrong, "There are none: every validation sample is right."),
    ]
    if len(explainers) == 1:
        return card_figure(title, [note], sections, columns=3, has_scale=True)
    return card_figure(title, [note], sections, columns=2, panel_names=["photo", *methods], has_scale=True)


def _right(shown: Predictions, count: int) -> np.ndarray:
    """Indices of some right predictions, of as many classes as there is room for."""
    right = np.flatnonzero(shown.right)
    return right[spread(shown.samples.labels[right], count)]


def _overlays(
    explainer: Explainer, photos: np.ndarray, classes: np.ndarray
) -> tuple[list[np.ndarray | str], tuple[int, ...]]:
    """Each photo with its map on it, or why its map is blank; and the size of the maps, in cells."""
    drawn: list[np.ndarray | str] = []
    cells: tuple[int, ...] = ()
    for start in range(0, len(photos), _BATCH):
        part = photos[start : start + _BATCH]
        explanation = explainer(part.astype(np.float32), target=classes[start : start + _BATCH].tolist())
        cells = explanation.heatmaps.shape[1:]
        overlays = explanation.overlay(part)
        told = zip(explanation.heatmaps, explanation.diagnosis, overlays, strict=True)
        drawn += [overlay if heatmap.any() else f"Blank map: {reason}" for heatmap, reason, overlay in told]
    return drawn, cells
