"""The figures of a finished run: its samples, its predictions, its errors, its charts, its Grad-CAM maps.

Axis legend: N samples, K classes, H0 x W0 pixels.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tf_gradcam.image import save_image

from ..data.pipeline import arrays
from ..model.backbone import part_of
from .charts import DPI, calibration_figure, confusion_figure, shortened
from .evaluate import SEED, Predictions, calibrate, confusion_matrix, predictions_of, spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..data.folder import Samples
    from ..data.split import Parts

_MERGES = ("Add", "Concatenate")
_NOT_LEARNED = re.compile("Padding|Pooling|Cropping|Dropout|Reshape|Identity")
GREEN, RED = "#1b6e3c", "#b00020"
_COLUMNS = 6
_MOST_PHOTOS = 30  # in one figure
_MAPS = 6  # right predictions that are explained, and as many wrong ones
_METHODS = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM"}
_PANEL = 1.55  # side of a square picture in inches; others have its area
_ASPECTS = (0.5, 2.0)  # the narrowest and the widest picture, in heights
_TEXT = 8  # points
_LETTERS_AN_INCH = 72 / (0.65 * _TEXT)


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
    """Write all figures of a run as PNG; only the photos in them are read.

    Args:
        folder: made if it does not exist.
        model: (N, H0, W0, 3) float32 RGB 0..255 to (N, K) probabilities.
        samples: all samples, `parts` the indices for training and for validation.
        outputs: (N, K) probabilities of the N validation samples, in their order.
        image_size: (H0, W0).
        layers: the last layer to explain and an intermediate one; None for the model's default, and for the output
            of the last part of a block before it that has more cells.

    Returns:
        Paths of the files. If Keras does not run on TensorFlow, the three of Grad-CAM are missing, and a line on stderr
        says so.

    Raises:
        ValueError: `outputs` is not (N, K), there are not two `layers`, or as `tf_gradcam.Explainer`.
        OSError: the folder cannot be written.
    """
    shown = predictions_of(samples.take(parts.validation), outputs)
    if len(layers) != 2:
        raise ValueError(f"Expected two layers, the last and an intermediate one, received {list(layers)}.")
    folder.mkdir(parents=True, exist_ok=True)
    training, names = samples.take(parts.training), samples.class_names
    matrix = confusion_matrix(shown.samples.labels.astype(np.int64), shown.predicted, len(names))
    figures: dict[str, Callable[[], Figure]] = {  # functions, so that one figure is in memory at a time
        "training_samples": lambda: samples_figure(training, image_size),
        "predictions": lambda: predictions_figure(shown, image_size),
        "misclassified": lambda: misclassified_figure(shown, image_size),
        "confusion_matrix": lambda: confusion_figure(matrix, names),
        "calibration": lambda: calibration_figure(calibrate(shown.confidences, shown.right)),
    }
    if keras.backend.backend() == "tensorflow":
        figures |= _gradcam_figures(model, shown, image_size, *layers)
    else:
        print(
            f"No Grad-CAM figures: they need TensorFlow, and Keras runs on {keras.backend.backend()}. Explain the "
            "saved model with `tf-gradcam explain` and KERAS_BACKEND=tensorflow.",
            file=sys.stderr,
        )
    written = []
    for name, draw in figures.items():
        written.append(folder / f"{name}.png")
        save_figure(written[-1], draw())
    return written


def samples_figure(samples: Samples, image_size: tuple[int, int]) -> Figure:
    """Draw training photos of every class, or one each of as many classes as there is room for."""
    count = len(samples.class_names)
    each = _COLUMNS if count <= 5 else max(1, _MOST_PHOTOS // count)
    chosen = spread(samples.labels, min(count * each, _MOST_PHOTOS))
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
    count = min(total, _MOST_PHOTOS)
    chosen = np.sort(np.random.default_rng(SEED).choice(total, count, replace=False))
    return photo_grid(
        f"{count} of {total:,} validation samples, drawn at random",
        f"Of all samples, {right:,} of {total:,} are right ({right / total:.1%}).",
        arrays(shown.samples.take(chosen), image_size)[0],
        [shown.caption(int(index)) for index in chosen],
        _colors(shown, chosen),
    )


def misclassified_figure(shown: Predictions, image_size: tuple[int, int]) -> Figure:
    """Draw the most confident errors with their file names, or write that there are no errors."""
    errors, total = shown.errors, len(shown.samples)
    if not len(errors):
        return photo_grid(f"All {total:,} validation samples are right", "No sample is misclassified.", [], [])
    chosen = errors[:_MOST_PHOTOS]
    note = "All of them" if len(chosen) == len(errors) else f"The {len(chosen)} most confident"
    return photo_grid(
        f"{len(errors):,} of {total:,} validation samples are misclassified ({len(errors) / total:.1%})",
        f"{note}, the most confident first.",
        arrays(shown.samples.take(chosen), image_size)[0],
        [[*shown.caption(int(index)), shown.samples.name(int(index)).rpartition("/")[2]] for index in chosen],
        _colors(shown, chosen),
    )


def _gradcam_figures(
    model: keras.Model, shown: Predictions, image_size: tuple[int, int], last: str | None, intermediate: str | None
) -> dict[str, Callable[[], Figure]]:
    """Return functions that draw the Grad-CAM figures; each explains the predicted class, right or wrong."""
    from tf_gradcam import Explainer

    right = np.flatnonzero(shown.right)
    chosen = np.concatenate([right[spread(shown.samples.labels[right], _MAPS)], shown.errors[:_MAPS]])
    names = shown.samples.class_names
    at_last = Explainer(model, last, class_names=names)
    inside = Explainer(model, intermediate or finer_layer(model, at_last.layer_name), class_names=names)
    hirescam = Explainer(model, last, "hirescam", class_names=names)
    return {
        "gradcam_last": lambda: gradcam_figure(at_last, shown, chosen, image_size),
        "gradcam_intermediate": lambda: gradcam_figure(inside, shown, chosen, image_size),
        "gradcam_hirescam": lambda: methods_figure([at_last, hirescam], shown, chosen, image_size),
    }


def finer_layer(model: keras.Model, path: str) -> str:
    """Return the output of the last part of a block before `path` that has more cells, or `path` if there is none.

    The output of a part is its last layer, or the sum or the concatenation behind it: other layers without a number of
    their own may belong to the part that follows. Padding, pooling and dropout are not learned, so the layer before
    them is taken. A part that ends on fewer cells is passed over as a whole.
    """
    from tf_gradcam import list_layers

    rows = [row for row in list_layers(model) if row.explainable and len(row.output_shape) == 4]
    index = [row.path for row in rows].index(path)
    outputs, part = {}, None
    for row in rows[:index]:
        own = part_of(row.path.partition("/")[0])
        part = own or part
        if part and (own or row.type in _MERGES) and not _NOT_LEARNED.search(row.type):
            outputs[part] = row
    finer = [row.path for row in outputs.values() if (row.output_shape[1] or 0) > (rows[index].output_shape[1] or 0)]
    return finer[-1] if finer else path


def gradcam_figure(explainer: Any, shown: Predictions, chosen: np.ndarray, image_size: tuple[int, int]) -> Figure:
    """Draw photo, map and overlay of the chosen samples, with predicted and true class.

    Args:
        explainer: a `tf_gradcam.Explainer`.
        shown: the predictions.
        chosen: indices of the samples.
        image_size: (H0, W0).
    """
    photos, labels = arrays(shown.samples.take(chosen), image_size)
    explanation = explainer(photos.astype(np.float32), target=shown.predicted[chosen].tolist())
    return explanation.plot(photos, labels=labels)


def methods_figure(
    explainers: Sequence[Any], shown: Predictions, chosen: np.ndarray, image_size: tuple[int, int]
) -> Figure:
    """Draw each chosen photo beside its overlay by each method.

    Args:
        explainers: `tf_gradcam.Explainer`s of several methods at one layer.
        shown, chosen, image_size: as `gradcam_figure`.
    """
    photos, _ = arrays(shown.samples.take(chosen), image_size)
    classes = shown.predicted[chosen].tolist()
    overlays = [explainer(photos.astype(np.float32), target=classes).overlay(photos) for explainer in explainers]
    methods = [_METHODS[explainer.method] for explainer in explainers]
    pictures = [picture for row in zip(photos, *overlays, strict=True) for picture in row]
    captions = [line for index in chosen for line in (shown.caption(int(index)), *([method] for method in methods))]
    return photo_grid(
        f"{' and '.join(methods)} at {explainers[0].layer_name}",
        "The evidence for each predicted class, right or wrong.",
        pictures,
        captions,
        [color for color in _colors(shown, chosen) for _ in range(1 + len(methods))],
        columns=2 * (1 + len(methods)),
    )


def _colors(shown: Predictions, chosen: np.ndarray) -> list[str]:
    return [GREEN if right else RED for right in shown.right[chosen]]


def photo_grid(
    title: str,
    note: str,
    photos: Sequence[np.ndarray] | np.ndarray,
    captions: Sequence[Sequence[str]],
    colors: Sequence[str] | None = None,
    columns: int = _COLUMNS,
) -> Figure:
    """Draw photos of one size in rows, with a caption over each.

    Args:
        title: the line over everything.
        note: the line under it.
        photos: N photos (H0, W0, 3) uint8 RGB.
        captions: the lines over each photo; a line that is wider than the photo is cut.
        colors: of the captions; None for black.
        columns: photos in a row.
    """
    from matplotlib.figure import Figure

    rows = -(-len(photos) // columns)
    aspect = float(np.clip(photos[0].shape[1] / photos[0].shape[0], *_ASPECTS)) ** 0.5 if rows else 1.0
    width, height = _PANEL * aspect, _PANEL / aspect
    lines = max((len(caption) for caption in captions), default=0)
    size = (max(columns * (width + 0.1), 6.5), rows * (height + 0.15 * lines + 0.15) + 0.6)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    heading = "\n".join(shortened(line, int(size[0] * _LETTERS_AN_INCH)) for line in (title, note))
    figure.suptitle(heading, x=0.1 / size[0], ha="left", fontsize=_TEXT + 1, parse_math=False)
    panels: Any = figure.subplots(rows, columns, squeeze=False).flat if rows else []
    for axes in figure.axes:
        axes.set_axis_off()
    for axes, photo, caption, color in zip(panels, photos, captions, colors or ["black"] * len(photos), strict=False):
        text = "\n".join(shortened(line, int(width * _LETTERS_AN_INCH)) for line in caption)
        axes.imshow(photo)
        axes.set_title(text, loc="left", fontsize=_TEXT, color=color, pad=2, parse_math=False)
    return figure


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, whole or not at all, and free its pictures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    save_image(path, np.array(canvas.buffer_rgba())[..., :3])
    figure.clear()
