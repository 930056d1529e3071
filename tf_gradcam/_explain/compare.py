"""Comparisons on one image: methods side by side, and layers through the depth of the network.

Axis legend: H0 x W0 pixels, H x W cells of the layer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._explain.fusion import Explain, check_explainer, resolved_target
from tf_gradcam._figures.captions import headline
from tf_gradcam._figures.sheet import CAPTION, GREY, MARGIN, RED, SCALE, Sheet, alpha_of, best_columns, shown_photo
from tf_gradcam._models.inputs import one_image
from tf_gradcam._models.keras_internals import has_learned_weights
from tf_gradcam._models.layers import find_layer, is_spatial, layer_rows
from tf_gradcam._models.reader import ModelReader, reader_of
from tf_gradcam._results.explanation import Explanation
from tf_gradcam._rules.contract import Rule, needs_of
from tf_gradcam._rules.table import METHODS, find_method
from tf_gradcam.image.overlay import paint, to_photo

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_DEPTH_GAP = 0.1
_DEPTH_HEIGHTS = (1.3, 2.2)  # lowest and highest panel: depth is read from left to right, in one row where it fits
_ASPECTS = (0.6, 1.8)  # narrowest and widest panel, in heights
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
    reader = reader_of(model)
    for layer in through_the_depth(reader) if layers is None else layers:
        explanation = Explainer(reader, layer, rule, class_names=class_names)(images, target)
        if len(explanation) != 1 or explanation.heatmaps.ndim != 3:
            raise ValueError(
                f"Expected one map (1, H, W) of a picture at '{explanation.layer_name}', received "
                f"{explanation.heatmaps.shape}."
            )
        target = resolved_target(explanation, target)
        explanations.append(explanation)
    return _depth_figure(explanations, name, picture)


def through_the_depth(model: keras.Model | ModelReader) -> list[str]:
    """Paths of a few layers from the first to the default one, see `plot_layers`."""
    reader = reader_of(model)
    found = find_layer(reader)
    calls = [call for call in found.view.calls if not call.is_model]
    trunk: list[tuple[str, tuple[int | None, ...]]] = []  # path and grid
    learned: set[tuple[int | None, ...]] = {found.call.shape[1:-1]}  # no grids of padding or pooling alone
    for row, call in zip(layer_rows(reader), calls, strict=True):
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


def _depth_figure(explanations: Sequence[Explanation], method: str, photo: np.ndarray | None) -> Figure:
    first = explanations[0]
    size = first.image_size if photo is None else photo.shape[:2]
    count = len(explanations) + (photo is not None)
    aspect, whole = float(np.clip(size[1] / size[0], *_ASPECTS)), _WIDEST - MARGIN - SCALE
    height = float(np.clip((whole / count - _DEPTH_GAP) / aspect, *_DEPTH_HEIGHTS))
    width = height * aspect
    columns = min(count, int((whole + 1e-9) / (width + _DEPTH_GAP)))
    rows, step = -(-count // columns), CAPTION + height + _ROW_GAP
    sheet = Sheet(MARGIN + columns * (width + _DEPTH_GAP) + SCALE, _TITLE + rows * step)
    sheet.title(headline(first))
    sheet.text(f"{method}, from layer to layer", MARGIN, 0.3, sheet.width - 2 * MARGIN, 7.5, GREY)
    background = np.full((*size, 3), 255, np.uint8) if photo is None else photo
    for index, explanation in enumerate([*([] if photo is None else [None]), *explanations]):
        row, column = divmod(index, columns)
        left, top = MARGIN + column * (width + _DEPTH_GAP), _TITLE + row * step
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


_GAP, _NAME, _ROW_GAP, _TITLE, _LINE = 0.08, 0.16, 0.1, 0.56, 0.14
_WIDEST = 10.5
_MORE = 0.1  # weight than other figures give a map: the maps are what is compared
_HEIGHTS = {2: 2.4, 5: 1.9, 11: 1.6}  # of a panel, for up to so many
_SMALLEST = 1.35


@dataclass(frozen=True, repr=False)
class Comparison:
    """One image, explained in several ways.

    Attributes:
        explanations: name -> `Explanation` of the one image, in the order that was asked for.
        refused: name -> why a method does not hold for this model; only where no methods were named.
        photo: (H0, W0, 3) uint8 RGB, or None.
    """

    explanations: dict[str, Explanation]
    refused: dict[str, str] = field(default_factory=dict)
    photo: np.ndarray | None = None

    @cached_property
    def figure(self) -> Figure:
        """Matplotlib Figure: the photo, then each map painted on it (without a photo the maps alone), on one scale."""
        return _figure(self)

    def _repr_html_(self) -> str:
        """The figure, as notebooks ask for it."""
        return str(self.figure._repr_html_())

    def __repr__(self) -> str:
        refused = f", refused={list(self.refused)}" if self.refused else ""
        return f"Comparison({list(self.explanations)}{refused})"


def compare(
    model_or_explainers: Any,
    image: Any,
    methods: Sequence[Any] | str | None = None,
    *,
    layer: Any = None,
    target: Any = None,
    photo: Any = None,
    class_names: Sequence[str] | Mapping[int, str] | None = None,
) -> Comparison:
    """What several methods see in one image, side by side.

        compare(model, image, photo=photo).figure.savefig("methods.pdf")
        compare(model, image, ["gradcam", "layercam"], photo=photo, target="beagle", class_names=names)
        compare({"one layer": explainer, "three": fuse(explainers)}, image, photo=photo)

    Args:
        model_or_explainers: a Keras model, or {name: explainer}, anything that is called like an `Explainer`.
        image: (H0, W0, 3) or (1, H0, W0, 3) as the model expects it.
        methods: keys of `METHODS` or callables. None for all methods but those that run the model again and again,
            "all" for these too, which takes minutes; of both, methods that do not hold for this model are named with
            the reason. Not for explainers.
        layer: as `Explainer`; not for explainers. A method of all layers, such as FullGrad, has no layer.
        class_names: as `Explainer`; not for explainers.
        target: as `Explainer`, the same for all; None for the top class that the first of them sees.
        photo: the picture to paint on, (H0, W0, 3) uint8 RGB of any size; None shows the maps alone.

    Returns:
        `Comparison`. Its scale is the part of each map's own maximum: raw values of different methods have different
        units.

    Raises:
        TypeError: neither a model nor explainers, or as `Explainer`.
        ValueError: several images, or no picture; `methods`, `layer` or `class_names` given for explainers; two methods
            of one name; a method that was asked for and does not hold for this model; or as `Explainer`.

    Cost: for a model, one `Explainer` a method is built and compiled; see `tf-gradcam methods` for what each costs.
    """
    images = one_image(image)
    photo = None if photo is None else to_photo(photo)
    is_given = isinstance(model_or_explainers, Mapping)
    if is_given:
        makers = _given(model_or_explainers, methods, layer, class_names)
    else:
        makers = _made(model_or_explainers, _named(methods), layer, class_names)
    explanations: dict[str, Explanation] = {}
    refused: dict[str, str] = {}
    for name, make in makers.items():
        try:
            explanation = make()(images, target)
        except ValueError as error:
            # The first of all methods is Grad-CAM, which holds for every model: what it refuses is the model or image.
            if is_given or methods not in (None, "all") or not explanations:
                raise
            refused[name] = str(error)
            continue
        _check_picture(explanation)
        explanations[name] = explanation
        target = resolved_target(explanation, target)
    return Comparison(explanations, refused, photo)


def _check_picture(explanation: Explanation) -> None:
    if len(explanation) != 1 or explanation.heatmaps.ndim != 3:
        raise ValueError(f"Expected one map (1, H, W) of a picture to compare, received {explanation.heatmaps.shape}.")


def _given(explainers: Mapping[str, Explain], *unused: Any) -> dict[str, Callable[[], Explain]]:
    if any(argument is not None for argument in unused):
        raise ValueError("Expected no methods, layer or class_names beside explainers, which have their own.")
    if not explainers:
        raise ValueError("Expected at least one explainer to compare, received none.")
    for explainer in explainers.values():
        check_explainer(explainer)
    return {str(name): functools.partial(_itself, explainer) for name, explainer in explainers.items()}


def _itself(explainer: Explain) -> Explain:
    return explainer


def _named(methods: Any) -> Any:
    if methods == "all":
        return list(METHODS)
    if methods is None:
        return [name for name, rule in METHODS.items() if needs_of(rule) != "probing"]
    return methods


def _made(model: Any, methods: Any, layer: Any, class_names: Any) -> dict[str, Callable[[], Explain]]:
    """Explainers are built one after the other, so that only one compiled model is held at a time."""
    if isinstance(methods, str) or not isinstance(methods, Iterable) or not methods:
        raise ValueError(f"Expected methods as a list of at least one, received {methods!r}.")
    named = [find_method(method) for method in methods]
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        raise ValueError(f"Expected methods of different names, received {names}. Name them: pass {{name: explainer}}.")
    reader = reader_of(model)
    return {name: functools.partial(_explainer, reader, layer, rule, class_names) for name, rule in named}


def _explainer(model: Any, layer: Any, rule: Rule, class_names: Any) -> Explainer:
    """A method of the whole network takes no layer."""
    return Explainer(model, None if needs_of(rule) == "network" else layer, rule, class_names=class_names)


def _figure(comparison: Comparison) -> Figure:
    explanations = comparison.explanations
    first = next(iter(explanations.values()))
    photo = None if comparison.photo is None else shown_photo(comparison.photo)
    size = first.image_size if photo is None else photo.shape[:2]
    count = len(explanations) + (photo is not None)
    height = next((height for most, height in _HEIGHTS.items() if count <= most), _SMALLEST)
    width = height * min(max(size[1] / size[0], 0.6), 1.8)
    columns = min(best_columns(count, width + _GAP, height + _NAME), int((_WIDEST - SCALE) / (width + _GAP)))
    rows, step = -(-count // columns), _NAME + height + _ROW_GAP
    across = columns * (width + _GAP)
    bottom = len(comparison.refused) * _LINE
    sheet = Sheet(MARGIN + across + SCALE, _TITLE + rows * step + bottom + MARGIN)
    sheet.title(headline(first))
    layers = dict.fromkeys(explanation.layer_name for explanation in explanations.values())
    sheet.text(f"at {', '.join(layers)}", MARGIN, 0.3, sheet.width - 2 * MARGIN, 7.5, GREY)
    for index, (name, color, picture) in enumerate(_panels(comparison, photo, size)):
        row, column = divmod(index, columns)
        left, top = MARGIN + column * (width + _GAP), _TITLE + row * step
        sheet.text(name, left, top, width, 7.5, color)
        sheet.picture(picture, left, top + _NAME, width, height)
    sheet.scale(sheet.width - SCALE, _TITLE + _NAME, rows * step - _NAME - _ROW_GAP, first.signed, None)
    for index, (name, reason) in enumerate(comparison.refused.items()):
        line = _TITLE + rows * step + 0.05 + index * _LINE
        sheet.text(f"without {name}: {reason}", MARGIN, line, sheet.width - 2 * MARGIN, 6.5, GREY)
    return sheet.figure


def _panels(
    comparison: Comparison, photo: np.ndarray | None, size: Sequence[int]
) -> Iterator[tuple[str, str, np.ndarray]]:
    """What stands above each panel, its colour, and the picture."""
    background = np.full((*size, 3), 255, np.uint8) if photo is None else photo
    if photo is not None:
        yield "photo", GREY, photo
    for name, explanation in comparison.explanations.items():
        values = explanation.shown_at(0, size)
        alpha = 1.0 if photo is None else alpha_of(explanation) + _MORE
        picture = paint(background, values, explanation.signed, alpha)
        yield (name, "black", picture) if values.any() else (f"{name}: blank", RED, picture)
