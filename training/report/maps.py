"""Grad-CAM of a trained classifier: the explained layers, their figures, the share of the heat in the true boxes.

Axis legend: N samples, n boxes of a sample, H0 x W0 pixels.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np

from tf_gradcam.metrics import Interval, bootstrap_interval, box_region, energy_in_region, pointing_hit_in_region

from ..data.pipeline import arrays
from ..model.backbone import part_of
from .evaluate import Predictions, distinct, spread
from .grid import colors_of, photo_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tf_gradcam import Explainer, Explanation

_MERGES = ("Add", "Concatenate")
_NOT_LEARNED = re.compile("Padding|Pooling|Cropping|Dropout|Reshape|Identity")
_SHOWN = 6  # right predictions that are explained, and as many wrong ones
_METHODS = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM"}
_BATCH = 32
_CORNER = (0.03, 0.03)  # of a panel, from below
_ON_PICTURE: dict[str, Any] = {
    "fontsize": 6.5,
    "color": "white",
    "va": "bottom",
    "clip_on": True,
    "bbox": {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1.2},
}
_SAME = 0.01  # of a map's maximum; a difference below it cannot be seen
_POOLED = (
    "HiResCAM gives the same maps: the head averages the cells of this layer, so the gradient of a channel is equal in "
    "all of them."
)


class Maps(NamedTuple):
    """The explainers of a run: Grad-CAM at the last and at an intermediate layer, HiResCAM at the last.

    is_pooled: True if global average pooling takes the last one of these layers.
    """

    last: Explainer
    intermediate: Explainer
    hirescam: Explainer
    is_pooled: bool


def maps_of(model: keras.Model, class_names: Sequence[str], layers: Sequence[str | None]) -> Maps | None:
    """Return the explainers of a model; None, and a line on stderr, if Keras does not run on TensorFlow.

    Args:
        model: (N, H0, W0, 3) float32 RGB 0..255 to (N, K) probabilities.
        class_names: K names.
        layers: the last layer to explain and an intermediate one; None for the model's default, and for the output
            of the last part of a block before it that has more cells.

    Raises:
        ValueError: there are not two `layers`, or as `tf_gradcam.Explainer`.
    """
    if len(layers) != 2:
        raise ValueError(f"Expected two layers, the last and an intermediate one, received {list(layers)}.")
    if keras.backend.backend() != "tensorflow":
        print(
            "No Grad-CAM: its figures and the heat in boxes need TensorFlow, and Keras runs on "
            f"{keras.backend.backend()}. Explain the saved model with `tf-gradcam explain` and "
            "KERAS_BACKEND=tensorflow.",
            file=sys.stderr,
        )
        return None
    from tf_gradcam import Explainer

    last = Explainer(model, layers[0], class_names=list(class_names))
    inside = Explainer(model, layers[1] or finer_layer(model, last.layer_name), class_names=list(class_names))
    hirescam = Explainer(model, layers[0], "hirescam", class_names=list(class_names))
    averaged = [layer.input for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)]
    outputs = [layer.output for layer in model.layers if layer.name == last.layer_name]
    return Maps(last, inside, hirescam, any(each is output for each in averaged for output in outputs))


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


def localise(maps: Maps, shown: Predictions, image_size: tuple[int, int]) -> dict[str, Any] | None:
    """Measure the heat of Grad-CAM for the true class against the true boxes.

    Args:
        maps: of `maps_of`.
        shown: the predictions of samples that have `boxes`.
        image_size: (H0, W0).

    Returns:
        dict for JSON, or None if no sample has a box:
        images: number of images with a box.
        share_of_picture: mean share of the picture inside the boxes, the energy of a map without information.
        centre_in_box: share of images whose centre is in a box, the pointing game of a map without information.
        layers: {name: energy_in_box, pointing_game, each with `_interval`, [low, high] of 95 %, and blank_maps}. A
            blank map counts as 0. See `tf_gradcam.metrics`. The boxes of an image count as one region.
    """
    samples = shown.samples
    known = [index for index, boxes in enumerate(samples.boxes or ()) if len(boxes)]
    if not known:
        return None
    explainers = {explainer.layer_name: explainer for explainer in (maps.last, maps.intermediate)}
    scores: dict[str, list[tuple[float, float]]] = {name: [] for name in explainers}
    shares, centres = [], []
    for start in range(0, len(known), _BATCH):
        batch = samples.take(known[start : start + _BATCH])
        photos, labels = arrays(batch, image_size)
        regions = [box_area(boxes, image_size) for boxes in batch.boxes or ()]
        shares += [float(region.mean()) for region in regions]
        centres += [_has_centre(boxes) for boxes in batch.boxes or ()]
        for name, explainer in explainers.items():
            heatmaps = explainer(photos.astype(np.float32), target=labels.tolist()).resized()
            scores[name] += [
                (energy_in_region(heatmap, region), pointing_hit_in_region(heatmap, region))
                for heatmap, region in zip(heatmaps, regions, strict=True)
            ]
    layers: dict[str, dict[str, Any]] = {}
    for name, pairs in scores.items():
        energies, hits = np.array(pairs).T
        layers[name] = {
            **_with_interval("energy_in_box", bootstrap_interval(np.nan_to_num(energies))),
            **_with_interval("pointing_game", bootstrap_interval(np.nan_to_num(hits))),
            "blank_maps": int(np.isnan(energies).sum()),
        }
    return {
        "images": len(known),
        **_with_interval("share_of_picture", bootstrap_interval(shares)),
        **_with_interval("centre_in_box", bootstrap_interval(centres)),
        "layers": layers,
    }


def box_area(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Return the part of each pixel inside any of n boxes (n, 4), given in parts of the picture: (H0, W0) in [0, 1]."""
    height, width = image_size
    area = np.zeros(image_size)
    for box in boxes:
        area = np.maximum(area, box_region(image_size, box * [width, height, width, height]))
    return area


def _has_centre(boxes: np.ndarray) -> bool:
    return bool(((boxes[:, :2] <= 0.5) & (boxes[:, 2:] > 0.5)).all(axis=1).any())


def _with_interval(name: str, interval: Interval) -> dict[str, Any]:
    """Return the mean and its ends for JSON, which does not have NaN: a single image has no interval."""
    ends = [None if np.isnan(end) else end for end in (interval.low, interval.high)]
    return {name: interval.value, f"{name}_interval": ends}


def map_figures(maps: Maps, shown: Predictions, image_size: tuple[int, int]) -> dict[str, Callable[[], Figure]]:
    """Return functions that draw the figures of maps; each explains the predicted class, right or wrong.

    HiResCAM has a figure where its maps differ visibly from those of Grad-CAM; else a line says that and why.
    """
    chosen = shown_samples(shown)
    last, hirescam = (explained(explainer, shown, chosen, image_size) for explainer in (maps.last, maps.hirescam))
    difference = float(np.abs(last.heatmaps - hirescam.heatmaps).max(initial=0))
    is_same = difference < _SAME
    reason = _POOLED if maps.is_pooled else f"HiResCAM's maps differ from these by less than {_SAME:.0%}."
    figures = {
        "gradcam_last": lambda: gradcam_figure(last, shown, chosen, reason if is_same else ""),
        "gradcam_intermediate": lambda: gradcam_figure(
            explained(maps.intermediate, shown, chosen, image_size), shown, chosen
        ),
    }
    if not is_same:
        figures["gradcam_hirescam"] = lambda: methods_figure([last, hirescam], shown, chosen)
    return figures


def shown_samples(shown: Predictions) -> np.ndarray:
    """Return the indices of right predictions of each class and of the most confident errors, no two of them twins."""
    groups = shown.samples.groups
    errors = distinct(shown.errors, groups)[:_SHOWN]
    right = np.flatnonzero(shown.right)
    if groups is not None:
        right = right[~np.isin(groups[right], groups[errors])]
    drawn = spread(shown.samples.labels[right], _SHOWN, None if groups is None else groups[right])
    return np.concatenate([right[drawn], errors])


def explained(explainer: Explainer, shown: Predictions, chosen: np.ndarray, image_size: tuple[int, int]) -> Explanation:
    """Explain the predicted classes of the chosen samples; the result holds the photos and the true classes."""
    photos, labels = arrays(shown.samples.take(chosen), image_size)
    explanation = explainer(photos.astype(np.float32), target=shown.predicted[chosen].tolist())
    return explanation.with_photos(photos, labels)


def gradcam_figure(explanation: Explanation, shown: Predictions, chosen: np.ndarray, note: str = "") -> Figure:
    """Draw photo, map and overlay of the chosen samples with their predicted and true classes, and their boxes.

    Args:
        explanation: of `explained`.
        shown: the predictions.
        chosen: indices of the samples.
        note: a line under the title.
    """
    figure = explanation.plot()
    width, height = figure.get_size_inches()
    figure.text(0.12 / width, 1 - 0.235 / height, note, fontsize=6.5, color="0.4", va="top", parse_math=False)
    panels, heatmaps = iter(figure.axes), explanation.resized()
    for index, sample in enumerate(chosen):
        is_blank = explanation.diagnosis[index] is not None  # a reason stands in place of the overlay
        card = [next(panels) for _ in range(2 if is_blank else 3)]
        boxes = _boxes_of(shown, sample)
        of_picture, of_heat = _notes(boxes, [heatmaps[index]])
        _draw_boxes(card, boxes, [of_picture, "", of_heat])
    return figure


def methods_figure(explanations: Sequence[Explanation], shown: Predictions, chosen: np.ndarray) -> Figure:
    """Draw each chosen photo beside its overlay by each method, with the boxes.

    Args:
        explanations: of `explained`, of several methods at one layer.
        shown, chosen: as `gradcam_figure`.
    """
    photos: Any = explanations[0].photos
    methods = [_METHODS[explanation.method] for explanation in explanations]
    overlays = [explanation.overlay(photos) for explanation in explanations]
    captions = [line for index in chosen for line in (shown.caption(int(index)), *([method] for method in methods))]
    each = 1 + len(methods)
    figure = photo_grid(
        f"{' and '.join(methods)} at {explanations[0].layer_name}",
        "The evidence for each predicted class, right or wrong.",
        [picture for row in zip(photos, *overlays, strict=True) for picture in row],
        captions,
        [color for color in colors_of(shown, chosen) for _ in range(each)],
        columns=2 * each,
    )
    heatmaps = [explanation.resized() for explanation in explanations]
    for index, sample in enumerate(chosen):
        boxes = _boxes_of(shown, sample)
        notes = _notes(boxes, [of_method[index] for of_method in heatmaps])
        _draw_boxes(figure.axes[each * index : each * (index + 1)], boxes, notes)
    return figure


def _boxes_of(shown: Predictions, sample: int) -> np.ndarray:
    """Return the boxes of a sample, (n, 4); none where they are not known."""
    return np.zeros((0, 4)) if shown.samples.boxes is None else shown.samples.boxes[sample]


def _notes(boxes: np.ndarray, heatmaps: Sequence[np.ndarray]) -> list[str]:
    """Return the size of the boxes, and the share of each map's heat inside; "" for a blank map."""
    area = box_area(boxes, heatmaps[0].shape)
    if not area.any():
        return [""] * (1 + len(heatmaps))
    kind = "boxes" if len(boxes) > 1 else "box"
    energies = [energy_in_region(heatmap, area) for heatmap in heatmaps]
    inside = ["" if np.isnan(energy) else f"{energy:.1%} of the heat inside" for energy in energies]
    return [f"{kind}: {area.mean():.1%} of the picture", *inside]


def _draw_boxes(panels: Sequence[Axes], boxes: np.ndarray, notes: Sequence[str]) -> None:
    """Outline the boxes in each panel, and write the notes into the lower left corners."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    edge = [withStroke(linewidth=2.2, foreground="black")]  # white on black is seen on any colour
    for axes, note in zip(panels, notes, strict=False):
        picture: Any = axes.images[0].get_array()
        height, width = picture.shape[:2]
        for xmin, ymin, xmax, ymax in boxes * [width, height, width, height]:
            place = (xmin - 0.5, ymin - 0.5)  # of the outer edges of pixels; their centres are whole numbers
            outline = Rectangle(
                place, xmax - xmin, ymax - ymin, fill=False, edgecolor="white", linewidth=1, path_effects=edge
            )
            axes.add_patch(outline)
        if note:
            axes.text(*_CORNER, note, transform=axes.transAxes, **_ON_PICTURE)
