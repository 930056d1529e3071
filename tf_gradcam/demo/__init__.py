"""The demo: phantom slices with true masks, the bundled model, and the share of heat on the tumour.

    tf-gradcam demo --out demo

Works offline. `phantom_slices` makes labelled slices for notebooks and tests, `load_demo_model` loads a small trained
classifier for them, with the layer names of VGG16. Axis letters: N slices, S pixels a side, H x W cells of the layer.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_gradcam._files.atomic import made_folder, write_bytes
from tf_gradcam.demo.phantom import CLASS_NAMES, Phantom, phantom_slices
from tf_gradcam.image.overlay import overlay_heatmap
from tf_gradcam.image.resize import resize_heatmaps

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

__all__ = [
    "CLASSIFIER_LAYERS",
    "CLASS_NAMES",
    "LAYER_NAME",
    "DemoRow",
    "Phantom",
    "load_demo_model",
    "phantom_slices",
    "run_demo",
]

LAYER_NAME = "block5_conv3"
CLASSIFIER_LAYERS = ["block5_pool", "flatten", "fc1", "fc2", "predictions"]
_MODEL_FILE = "demo_vgg16.keras"
_SHOWN = len(CLASS_NAMES)  # slices in the picture; the classes cycle, so each is there once


@dataclass(frozen=True)
class DemoRow:
    """Result of one slice: its classes and the share of heat on the tumour.

    truth, prediction: class names.
    probability: of the prediction, in [0, 1].
    layer: the explained layer.
    heat_share: share of the heat inside the true mask, in [0, 1]; NaN for a blank map; None without a tumour.
    mask_share: share of the image inside the mask, the score of an even map; None without a tumour.
    """

    truth: str
    prediction: str
    probability: float
    layer: str
    heat_share: float | None
    mask_share: float | None

    def __str__(self) -> str:
        classes = f"True: {self.truth:<10}  Predicted: {self.prediction:<10} {self.probability:7.1%}"
        return f"{classes}  {self.layer}  {self.heat}"

    @property
    def heat(self) -> str:
        """The share of heat in the mask, as text."""
        if self.heat_share is None or self.mask_share is None:
            return "no tumour"
        if np.isnan(self.heat_share):
            return "the map is blank"
        return f"{self.heat_share:.1%} of the heat on {self.mask_share:.1%} of the image"


def load_demo_model() -> keras.Model:
    """Load the bundled classifier of phantom slices, a narrow VGG16; each call returns a new model.

    It takes (N, 224, 224, 3) RGB 0..255 and returns the probabilities of `CLASS_NAMES`. Layers have the names of
    `keras.applications.VGG16`, with `rescaling` before them. Trained by `python -m training.demo_model`.

    Returns:
        keras.Model, not compiled.
    """
    import keras

    with as_file(files("tf_gradcam.demo") / _MODEL_FILE) as path:
        return keras.models.load_model(path, compile=False, safe_mode=True)


def run_demo(directory: str | os.PathLike[str], count: int = 4, seed: int = 2026) -> list[DemoRow]:
    """Explain slices that the model has not seen, and write `demo.png`: slice, true mask, map and overlay.

    Args:
        directory: folder for the picture, created if it does not exist.
        count: number of slices, at least 1; the picture shows the first four, one of each class. Defaults to 4.
        seed: of the slices, see `phantom_slices`. The training's seeds begin at 1,000,000. Defaults to 2026.

    Returns:
        list of `count` rows; `str(row)` is a line to print.

    Raises:
        ValueError: if `count < 1` or `seed < 0`.
        OSError: a folder that cannot be created or written.
    """
    from tf_gradcam._explain.drop_in import make_gradcam_heatmap

    phantom = phantom_slices(count, seed)
    folder = made_folder(directory, "directory")
    model = load_demo_model()
    probabilities = np.concatenate([np.asarray(model(image[None], training=False)) for image in phantom.images])
    heatmaps = np.stack(
        [make_gradcam_heatmap(image[None], model, LAYER_NAME, CLASSIFIER_LAYERS) for image in phantom.images]
    )
    resized = resize_heatmaps(heatmaps, phantom.images.shape[1:3])
    rows = [
        _row(int(label), outputs, heatmap, mask)
        for label, outputs, heatmap, mask in zip(phantom.labels, probabilities, resized, phantom.masks, strict=True)
    ]
    picture = io.BytesIO()
    _figure(phantom, resized, rows[:_SHOWN]).savefig(picture, format="png", dpi=120)
    write_bytes(folder / "demo.png", picture.getvalue())
    return rows


def _row(label: int, probabilities: np.ndarray, heatmap: np.ndarray, mask: np.ndarray) -> DemoRow:
    heat_share = mask_share = None
    if mask.any():
        total = float(heatmap.sum(dtype=np.float64))
        heat_share = float(heatmap[mask].sum(dtype=np.float64)) / total if total > 0 else float("nan")
        mask_share = float(mask.mean())
    best = int(probabilities.argmax())
    return DemoRow(
        CLASS_NAMES[label], CLASS_NAMES[best], float(probabilities[best]), LAYER_NAME, heat_share, mask_share
    )


def _figure(phantom: Phantom, heatmaps: np.ndarray, rows: list[DemoRow]) -> Figure:
    """Draw a line of four panels per row, without pyplot's global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.6, 2.85 * len(rows) + 0.3), layout="constrained")
    lines = figure.subplots(len(rows), 4, squeeze=False)
    drawn: Any = None
    for line, row, image, mask, heatmap in zip(lines, rows, phantom.images, phantom.masks, heatmaps, strict=False):
        photo = image.astype(np.uint8)
        titles = (
            f"slice: {row.truth}",
            "true mask: no tumour" if row.mask_share is None else f"true mask: {row.mask_share:.1%} of the image",
            f"map: {row.prediction} {row.probability:.1%}",
            "overlay" if row.heat_share is None else f"overlay: {row.heat_share:.1%} in the mask",
        )
        line[0].imshow(photo)
        line[1].imshow(mask, cmap="gray", vmin=0, vmax=1)
        drawn = line[2].imshow(heatmap, cmap="viridis", vmin=0, vmax=1)
        line[3].imshow(overlay_heatmap(photo, heatmap, colormap="heat"))
        for panel, title in zip(line, titles, strict=True):
            panel.set_title(title, fontsize=9)
            panel.set_axis_off()
        if row.mask_share is not None:
            line[3].contour(mask, levels=[0.5], colors="white", linewidths=1.0)
    figure.colorbar(
        drawn, ax=lines, fraction=0.03, aspect=30 * len(rows) / 4 + 5, label="relative to the map's maximum"
    )
    figure.suptitle(f"Grad-CAM of the bundled model at {LAYER_NAME}; white: border of the true mask", fontsize=11)
    return figure
