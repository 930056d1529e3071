"""The pictures that a training leaves: its samples, its predictions, its errors, its Grad-CAM maps.

Axis legend: N samples, K classes, H0 x W0 pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from training.data.pipeline import arrays
from training.report.cards import BLACK, GREY, Card, Section, card_figure, save_figure
from training.report.charts import calibration_figure, confusion_figure
from training.report.evaluate import calibrate, confusion_matrix
from training.report.predictions import SEED, Predictions, predictions_of, spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from training.data.folder import Samples
    from training.data.parts import Parts

_COLUMNS = 6
_MOST = 30  # photos of one figure


def write_figures(
    folder: Path,
    *,
    model: keras.Model,
    samples: Samples,
    parts: Parts,
    outputs: np.ndarray,
    image_size: tuple[int, int],
    layers: Sequence[str | None],
) -> list[Path]:
    """Write all figures of a run as PNG; only the photos that are shown are read.

    Args:
        folder: made where it does not exist.
        model: (N, H0, W0, 3) float32 RGB 0..255 to (N, K) probabilities.
        samples: all samples, `parts` the indices of those for training and for validation.
        outputs: (N, K) probabilities of the N validation samples, in their order.
        image_size: (H0, W0).
        layers: the last layer to explain and an intermediate one; None is the model's default, and the last layer of
            more cells before it.

    Returns:
        Paths of the files. Without the three of Grad-CAM, and a line on stderr that says so, where Keras does not run
        on TensorFlow.

    Raises:
        ValueError: `outputs` not (N, K), another number of `layers` than two, or as `tf_gradcam.Explainer`.
        OSError: a folder that cannot be written.
    """
    shown = predictions_of(samples.take(parts.validation), outputs)
    if len(layers) != 2:
        raise ValueError(f"Expected two layers, the last and an intermediate one, received {list(layers)}.")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in _figures(samples.take(parts.training), shown, image_size).items():
        written.append(folder / f"{name}.png")
        save_figure(written[-1], draw())
    if keras.backend.backend() != "tensorflow":
        print(
            f"No Grad-CAM figures: they need TensorFlow, and Keras runs on {keras.backend.backend()}. Explain the "
            "saved model with `tf-gradcam explain` and KERAS_BACKEND=tensorflow.",
            file=sys.stderr,
        )
        return written
    from training.report.gradcam_figures import write_gradcam_figures

    last, intermediate = layers
    return written + write_gradcam_figures(folder, model, shown, image_size, last, intermediate)


def _figures(training: Samples, shown: Predictions, image_size: tuple[int, int]) -> dict[str, Callable[[], Figure]]:
    """What needs no model: file name -> how it is drawn, so that one figure is held at a time."""
    names = training.class_names
    matrix = confusion_matrix(shown.samples.labels.astype(np.int64), shown.predicted, len(names))
    return {
        "training_samples": lambda: samples_figure(training, image_size),
        "predictions": lambda: predictions_figure(shown, image_size),
        "misclassified": lambda: misclassified_figure(shown, image_size),
        "confusion_matrix": lambda: confusion_figure(matrix, names),
        "calibration": lambda: calibration_figure(calibrate(shown.confidences, shown.right)),
    }


def samples_figure(samples: Samples, image_size: tuple[int, int]) -> Figure:
    """Some training photos of every class, or one each of as many classes as there is room for."""
    count = len(samples.class_names)
    each = _COLUMNS if count <= 5 else max(1, _MOST // count)
    chosen = spread(samples.labels, min(count * each, _MOST))
    photos, labels = arrays(samples.take(chosen), image_size)
    cards = [Card([photo], [(samples.class_names[k], BLACK)]) for photo, k in zip(photos, labels, strict=True)]
    title = f"{len(chosen)} of {len(samples):,} training samples"
    sizes = np.bincount(samples.labels, minlength=count)
    told = f"{sizes.min():,}" if sizes.min() == sizes.max() else f"{sizes.min():,} to {sizes.max():,}"
    height, width = image_size
    note = f"{count} classes of {told} samples; at {width} x {height} pixels as the model sees them, not yet augmented"
    columns = 5 if len(cards) % 5 == 0 < len(cards) % _COLUMNS else _COLUMNS
    return card_figure(title, [note], [Section("", cards)], columns)


def predictions_figure(shown: Predictions, image_size: tuple[int, int]) -> Figure:
    """Validation photos drawn at random, with what the model says of them."""
    count = min(len(shown.samples), _MOST)
    chosen = np.sort(np.random.default_rng(SEED).choice(len(shown.samples), count, replace=False))
    right = int(shown.right.sum())
    title = f"{count} of {len(shown.samples):,} validation samples, drawn at random"
    note = f"Over all, {right:,} of {len(shown.samples):,} are right ({shown.right.mean():.1%})."
    cards = _cards(shown, chosen, image_size)
    return card_figure(title, [note], [Section("", cards)], _COLUMNS)


def misclassified_figure(shown: Predictions, image_size: tuple[int, int]) -> Figure:
    """The errors that the model was surest of, with the names of their files; or that there are none."""
    errors, total = shown.errors, len(shown.samples)
    if not len(errors):
        return card_figure(f"None misclassified: all {total:,} validation samples are right", [], [], 1)
    chosen = errors[:_MOST]
    title = f"{len(errors):,} of {total:,} validation samples are misclassified ({len(errors) / total:.1%})"
    note = "All of them" if len(chosen) == len(errors) else f"The {len(chosen)} that the model was surest of"
    cards = _cards(shown, chosen, image_size, has_name=True)
    columns = max(3, min(len(cards), _COLUMNS))  # three are as wide as the title
    return card_figure(title, [f"{note}, most confident first."], [Section("", cards)], columns)


def _cards(shown: Predictions, chosen: np.ndarray, image_size: tuple[int, int], has_name: bool = False) -> list[Card]:
    photos, _ = arrays(shown.samples.take(chosen), image_size)
    cards = []
    for photo, index in zip(photos, chosen, strict=True):
        name = [(shown.samples.name(int(index)).rpartition("/")[2], GREY)] if has_name else []
        cards.append(Card([photo], shown.lines(int(index)) + name))
    return cards
