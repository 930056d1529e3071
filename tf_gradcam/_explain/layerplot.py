"""One class through the depth of the network: the same picture explained at an early layer, at the last and between.

Axis legend: H0 x W0 pixels, H x W cells of the layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._explain.fusion import resolved_target
from tf_gradcam._figures.captions import headline
from tf_gradcam._figures.sheet import CAPTION, GREY, MARGIN, RED, SCALE, Sheet, alpha_of, shown_photo
from tf_gradcam._models.inputs import one_image
from tf_gradcam._models.keras_internals import has_learned_weights
from tf_gradcam._models.layers import find_layer, is_spatial, layer_rows
from tf_gradcam._models.reader import BorrowedModel
from tf_gradcam._results.explanation import Explanation
from tf_gradcam._rules.contract import Rule, needs_of
from tf_gradcam._rules.table import find_method
from tf_gradcam.image.overlay import to_photo
from tf_gradcam.image.painting import paint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GAP, _ROW_GAP, _TITLE = 0.1, 0.1, 0.56
_WIDEST = 10.5
_HEIGHTS = (1.3, 2.2)  # lowest and highest panel: depth is read from left to right, in one row where it fits
_ASPECTS = (0.6, 1.8)  # narrowest and widest panel, in heights
_MORE = 0.1  # weight than other figures give a map: the maps are what is compared
_FEW, _SPREAD = 3, 6  # grids that say enough; else so many layers, evenly through the depth


def plot_layers(
    model: keras.Model,
    image: Any,
    layers: Sequence[Any] | None = None,
    *,
    target: Any = None,
    method: str | Rule = "gradcam",
    photo: Any = None,
    class_names: Sequence[str] | Mapping[int, str] | None = None,
) -> Figure:
    """What speaks for one class, from the edges of the first layers to the objects of the last.

        plot_layers(model, image, photo=photo, target="beagle", class_names=names).savefig("layers.pdf")
        plot_layers(model, image, ["block3_conv3", "block4_conv3", "block5_conv3"])

    Args:
        model: any built Keras 3 model; it is not changed.
        image: (H0, W0, 3) or (1, H0, W0, 3) as the model expects it; a list or dict of one each for a model of several
            inputs.
        layers: names, paths, indices or objects in any order, as `Explainer` takes them. None for the last learned
            layer of each size of grid that every path to the output passes, up to the default layer; where all have
            one size, as the blocks of a transformer, six of them from the first to the last.
        target: as an explainer's call, the same for all layers; None for the top class.
        method: a key of `METHODS`, or a callable of the same contract. Defaults to "gradcam".
        photo: the picture to paint on, (H0, W0, 3) uint8 RGB of any size; None shows the maps alone.
        class_names: as `Explainer`.

    Returns:
        Matplotlib Figure, which a notebook shows. Each map has its own maximum: their units differ from layer to layer.

    Raises:
        TypeError, ValueError: several images, no or one layer as a name instead of a list, a method of all layers at
            once, maps that are no pictures, or as `Explainer`.

    Cost: one `Explainer` a layer is built and compiled, about a second each.
    """
    name, rule = find_method(method)
    if needs_of(rule) == "network":
        raise ValueError(f"Expected a method of one layer, received '{name}', which looks at all layers at once.")
    if isinstance(layers, (str, bytes)) or (layers is not None and not len(layers)):
        raise ValueError(f"Expected layers as a list of at least one, received {layers!r}.")
    picture = None if photo is None else shown_photo(to_photo(photo))
    images = one_image(image)
    explanations: list[Explanation] = []
    for layer in through_the_depth(model) if layers is None else layers:
        explanation = Explainer(model, layer, rule, class_names=class_names)(images, target)
        if len(explanation) != 1 or explanation.heatmaps.ndim != 3:
            raise ValueError(
                f"Expected one map (1, H, W) of a picture at '{explanation.layer_name}', received "
                f"{explanation.heatmaps.shape}."
            )
        target = resolved_target(explanation, target)
        explanations.append(explanation)
    return _figure(explanations, name, picture)


def through_the_depth(model: keras.Model) -> list[str]:
    """Paths of a few layers from the first to the default one, see `plot_layers`."""
    borrowed = BorrowedModel(model)
    found = find_layer(borrowed)
    calls = [call for call in found.view.calls if not call.is_model]
    trunk: list[tuple[str, tuple[int | None, ...]]] = []  # path and grid
    learned: set[tuple[int | None, ...]] = {found.call.shape[1:-1]}  # no grids of padding or pooling alone
    for row, call in zip(layer_rows(borrowed), calls, strict=True):
        shape = row.output_shape
        is_picture = row.explainable and is_spatial(shape) and len(shape) == len(found.call.shape)
        if is_picture and has_learned_weights(call.operation):
            learned.add(shape[1:-1])
        is_on_way = is_picture and found.view.has_learned(call) and found.view.is_cut_point(call)
        if is_on_way or row.default:
            trunk.append((row.path, shape[1:-1]))
        if row.default:
            break
    last = {grid: path for path, grid in trunk if grid in learned}
    if len(last) >= min(_FEW, len(trunk)):
        return list(last.values())
    chosen = np.unique(np.linspace(0, len(trunk) - 1, _SPREAD).round().astype(int))
    return [trunk[index][0] for index in chosen]


def _figure(explanations: Sequence[Explanation], method: str, photo: np.ndarray | None) -> Figure:
    first = explanations[0]
    size = first.image_size if photo is None else photo.shape[:2]
    count = len(explanations) + (photo is not None)
    aspect, whole = float(np.clip(size[1] / size[0], *_ASPECTS)), _WIDEST - MARGIN - SCALE
    height = float(np.clip((whole / count - _GAP) / aspect, *_HEIGHTS))
    width = height * aspect
    columns = min(count, int((whole + 1e-9) / (width + _GAP)))
    rows, step = -(-count // columns), CAPTION + height + _ROW_GAP
    sheet = Sheet(MARGIN + columns * (width + _GAP) + SCALE, _TITLE + rows * step)
    sheet.title(headline(first))
    sheet.text(f"{method}, from layer to layer", MARGIN, 0.3, sheet.width - 2 * MARGIN, 7.5, GREY)
    background = np.full((*size, 3), 255, np.uint8) if photo is None else photo
    for index, explanation in enumerate([*([] if photo is None else [None]), *explanations]):
        row, column = divmod(index, columns)
        left, top = MARGIN + column * (width + _GAP), _TITLE + row * step
        if explanation is None:
            sheet.text("photo", left, top, width, 7.5, GREY)
            picture = background
        else:
            _draw_lines(sheet, explanation, left, top, width)
            alpha = 1.0 if photo is None else alpha_of(explanation) + _MORE
            picture = paint(background, explanation.shown_at(0, size), explanation.signed, alpha)
        sheet.picture(picture, left, top + CAPTION, width, height)
    sheet.scale(sheet.width - SCALE, _TITLE + CAPTION, rows * step - CAPTION - _ROW_GAP, first.signed, None)
    return sheet.figure


def _draw_lines(sheet: Sheet, explanation: Explanation, left: float, top: float, width: float) -> None:
    """The layer, and how fine its cells are or why its map is blank; of a long path the end tells more."""
    sheet.text(explanation.layer_name.rpartition("/")[2], left, top, width, 7.5)
    reason = explanation.diagnosis[0]
    if reason is not None and not explanation.shown[0].any():
        sheet.text(f"blank: {reason}", left, top + 0.13, width, 6.5, RED)
        return
    cells = " x ".join(map(str, explanation.heatmaps.shape[1:]))
    sheet.text(f"{cells} cells", left, top + 0.13, width, 6.5, GREY)
