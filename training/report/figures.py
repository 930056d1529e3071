"""The figures of a finished run: its learning curves, samples, predictions, errors, charts, Grad-CAM maps.

Axis legend: N samples, K classes, H0 x W0 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tf_gradcam.image import save_image

from ..data.pipeline import arrays
from .charts import calibration_figure, confusion_figure, curves_figure
from .evaluate import SEED, Predictions, calibrate, confusion_matrix, distinct, spread
from .grid import COLUMNS, colors_of, photo_grid
from .maps import Maps, map_figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..data.folder import Samples

_MOST_PHOTOS = 30  # in one figure


def write_figures(
    folder: Path,
    *,
    training: Samples,
    shown: Predictions,
    history: Sequence[Mapping[str, str]],
    best: int,
    maps: Maps | None,
    image_size: tuple[int, int],
) -> list[Path]:
    """Write all figures of a run as PNG; only the photos in them are read, and no two photos of a figure are twins.

    Args:
        folder: made if it does not exist.
        training: the training samples.
        shown: the predictions of the validation samples.
        history: rows of history.csv.
        best: index of the best epoch in `history`.
        maps: the explainers, None for no figures of Grad-CAM.
        image_size: (H0, W0).

    Returns:
        Paths of the files.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = training.class_names
    matrix = confusion_matrix(shown.samples.labels.astype(np.int64), shown.predicted, len(names))
    figures: dict[str, Callable[[], Figure]] = {  # functions, so that one figure is in memory at a time
        "learning_curves": lambda: curves_figure(history, best),
        "training_samples": lambda: samples_figure(training, image_size),
        "predictions": lambda: predictions_figure(shown, image_size),
        "misclassified": lambda: misclassified_figure(shown, image_size),
        "confusion_matrix": lambda: confusion_figure(matrix, names),
        "calibration": lambda: calibration_figure(calibrate(shown.confidences, shown.right)),
    }
    if maps is not None:
        figures |= map_figures(maps, shown, image_size)
    written = []
    for name, draw in figures.items():
        written.append(folder / f"{name}.png")
        save_figure(written[-1], draw())
    return written


def samples_figure(samples: Samples, image_size: tuple[int, int]) -> Figure:
    """Draw training photos of every class, or one each of as many classes as there is room for."""
    count = len(samples.class_names)
    each = COLUMNS if count <= 5 else max(1, _MOST_PHOTOS // count)
    chosen = spread(samples.labels, min(count * each, _MOST_PHOTOS), samples.groups)
    photos, labels = arrays(samples.take(chosen), image_size)
    sizes = np.bincount(samples.labels, minlength=count)
    numbers = f"{sizes.min():,}" if sizes.min() == sizes.max() else f"{sizes.min():,} to {sizes.max():,}"
    height, width = image_size
    return photo_grid(
        f"{len(chosen)} of {len(samples):,} training samples",
        f"{count} classes of {numbers} samples; {width} x {height} pixels, as the model gets them before augmentation",
        photos,
        [[samples.class_names[label]] for label in labels],
    )


def predictions_figure(shown: Predictions, image_size: tuple[int, int]) -> Figure:
    """Draw random validation photos with their predictions."""
    total, right = len(shown.samples), int(shown.right.sum())
    order = np.random.default_rng(SEED).permutation(total)
    chosen = np.sort(distinct(order, shown.samples.groups)[:_MOST_PHOTOS])
    return photo_grid(
        f"{len(chosen)} of {total:,} validation samples, drawn at random",
        f"Of all samples, {right:,} of {total:,} are right ({right / total:.1%}).",
        arrays(shown.samples.take(chosen), image_size)[0],
        [shown.caption(int(index)) for index in chosen],
        colors_of(shown, chosen),
    )


def misclassified_figure(shown: Predictions, image_size: tuple[int, int]) -> Figure:
    """Draw the most confident errors with their file names, or write that there are no errors."""
    errors, total = shown.errors, len(shown.samples)
    if not len(errors):
        return photo_grid(f"All {total:,} validation samples are right", "No sample is misclassified.", [], [])
    apart = distinct(errors, shown.samples.groups)
    chosen = apart[:_MOST_PHOTOS]
    note = "All of them" if len(chosen) == len(apart) else f"The {len(chosen)} most confident"
    note += "" if len(apart) == len(errors) else ", one of each group of near-identical images"
    return photo_grid(
        f"{len(errors):,} of {total:,} validation samples are misclassified ({len(errors) / total:.1%})",
        f"{note}, the most confident first.",
        arrays(shown.samples.take(chosen), image_size)[0],
        [[*shown.caption(int(index)), shown.samples.name(int(index)).rpartition("/")[2]] for index in chosen],
        colors_of(shown, chosen),
    )


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, whole or not at all, and free its pictures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    save_image(path, np.array(canvas.buffer_rgba())[..., :3])
    figure.clear()
