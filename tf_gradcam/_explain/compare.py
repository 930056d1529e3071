"""Comparisons on one image: methods side by side, and layers through the depth of the network.

Axis legend: H0 x W0 pixels, H x W cells of the layer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._explain.fusion import ExplainerLike, check_explainer, resolved_target
from tf_gradcam._figures.side_by_side import layer_figure, method_figure
from tf_gradcam._files.class_names import ClassNamesLike
from tf_gradcam._models.layer_list import through_the_depth
from tf_gradcam._models.layers import LayerLike
from tf_gradcam._models.reader import Images, ModelReader, one_image, reader_of
from tf_gradcam._results.explanation import Explanation
from tf_gradcam._rules.contract import Rule
from tf_gradcam._rules.table import METHODS, MethodName, find_method, needs_of
from tf_gradcam.image.overlay import to_photo
from tf_gradcam.targets.base import TargetLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_layers(
    model: keras.Model,
    image: Images,
    layers: Sequence[LayerLike] | None = None,
    *,
    target: TargetLike = None,
    method: MethodName | Rule = "gradcam",
    photo: NDArray[Any] | None = None,
    class_names: ClassNamesLike | None = None,
    task: str | None = None,
    unit: str | None = None,
) -> Figure:
    """Draw the evidence for one class, from the edges of the first layers to the objects of the last.

        plot_layers(model, image, photo=photo, target="beagle", class_names=names).savefig("layers.pdf")
        plot_layers(model, image, ["block3_conv3", "block4_conv3", "block5_conv3"])

    Args:
        model: any built Keras 3 model; it is not changed.
        image: (H0, W0, 3) or (1, H0, W0, 3) as the model expects it; a list or dict for a model of several inputs.
        layers: names, paths, indices or objects in any order, as `Explainer`. None for the last learned layer of each
            grid size that every path to the output passes, up to the default layer; if all have one size, as the
            blocks of a transformer, six of them from the first to the last.
        target: as an explainer's call, for all layers; None for the top class.
        method: a key of `METHODS`, or a callable of the same contract. Defaults to "gradcam".
        photo: the picture to paint on, (H0, W0, 3) uint8 RGB of any size; None shows the maps alone.
        class_names: as `Explainer`.
        task: as `Explainer`.
        unit: as `Explainer`.

    Returns:
        Matplotlib Figure, which a notebook shows. Each map has its own maximum: their units differ from layer to layer.

    Raises:
        TypeError, ValueError: several images, a layer instead of a list, a method of all layers at once, maps that are
            not pictures, or as `Explainer`.

    Cost: one `Explainer` per layer is built and compiled, about a second each.
    """
    name, rule = find_method(method)
    if needs_of(rule) == "network":
        raise ValueError(f"Expected a method of one layer, received '{name}', which reads all layers at once.")
    if isinstance(layers, (str, bytes)) or (layers is not None and not len(layers)):
        raise ValueError(f"Expected layers as a list of at least one, received {layers!r}.")
    picture = None if photo is None else to_photo(photo)
    reader = reader_of(model)
    images = one_image(image, _rank(reader))
    explanations: list[Explanation] = []
    for layer in through_the_depth(reader) if layers is None else layers:
        explanation = Explainer(reader, layer, rule, class_names=class_names, task=task, unit=unit)(images, target)
        _check_picture(explanation)
        target = resolved_target(explanation, target)
        explanations.append(explanation)
    return layer_figure(explanations, name, picture)


@dataclass(frozen=True, repr=False)
class Comparison:
    """Explanations of one image by several methods.

    Attributes:
        explanations: name -> `Explanation` of the image, in the order of the arguments.
        refused: name -> the reason why a method does not suit this model; only if no methods were named.
        photo: (H0, W0, 3) uint8 RGB, or None.
    """

    explanations: dict[str, Explanation]
    refused: dict[str, str] = field(default_factory=dict)
    photo: NDArray[np.uint8] | None = None

    @cached_property
    def figure(self) -> Figure:
        """Matplotlib Figure of the photo, then each map painted on it (or the maps alone), on one scale."""
        return method_figure(self.explanations, self.refused, self.photo)

    def _repr_html_(self) -> str:
        return str(self.figure._repr_html_())

    def __repr__(self) -> str:
        refused = f", refused={list(self.refused)}" if self.refused else ""
        return f"Comparison({list(self.explanations)}{refused})"


def compare(
    model_or_explainers: keras.Model | Mapping[str, ExplainerLike],
    image: Images,
    methods: Sequence[MethodName | Rule] | Literal["all"] | None = None,
    *,
    layer: LayerLike | Sequence[LayerLike] | None = None,
    target: TargetLike = None,
    photo: NDArray[Any] | None = None,
    class_names: ClassNamesLike | None = None,
    task: str | None = None,
    unit: str | None = None,
) -> Comparison:
    """Explain one image by several methods, side by side.

        compare(model, image, photo=photo).figure.savefig("methods.pdf")
        compare(model, image, ["gradcam", "layercam"], photo=photo, target="beagle", class_names=names)
        compare({"one layer": explainer, "three": fuse(explainers)}, image, photo=photo)

    Args:
        model_or_explainers: a Keras model, or {name: explainer}, called like an `Explainer`.
        image: (H0, W0, 3) or (1, H0, W0, 3) as the model expects it.
        methods: keys of `METHODS` or callables. None for all methods that run the model once, "all" to add those that
            run it many times, which takes minutes; both list unsuited methods with the reason. Not for explainers.
        layer: as `Explainer`; not for explainers. A method of all layers, such as FullGrad, has no layer.
        class_names: as `Explainer`; not for explainers.
        task: as `Explainer`; not for explainers.
        unit: as `Explainer`; not for explainers.
        target: as `Explainer`, the same for all; None for the top class that the first of them sees.
        photo: the picture to paint on, (H0, W0, 3) uint8 RGB of any size; None shows the maps alone.

    Returns:
        `Comparison`. Its scale is relative to each map's maximum: raw values of methods differ in their units.

    Raises:
        TypeError: neither a model nor explainers, or as `Explainer`.
        ValueError: several images, or no picture; `methods`, `layer`, `class_names`, `task` or `unit` given for
            explainers; two methods of one name; a named method that does not suit this model; or as `Explainer`.

    Cost: for a model, one `Explainer` per method is built and compiled; `tf-gradcam methods` lists the costs.
    """
    is_given = isinstance(model_or_explainers, Mapping)
    photo = None if photo is None else to_photo(photo)
    if is_given:
        images = one_image(image)
        makers = _given(model_or_explainers, methods, layer, class_names, task, unit)
    else:
        reader = reader_of(model_or_explainers)
        images = one_image(image, _rank(reader))
        options = {"class_names": class_names, "task": task, "unit": unit}
        makers = _made(reader, _named(methods), layer, options)
    explanations: dict[str, Explanation] = {}
    refused: dict[str, str] = {}
    for name, make in makers.items():
        try:
            explanation = make()(images, target)
        except ValueError as error:
            # The first method is Grad-CAM, which suits every model: its error is about the model or image.
            if is_given or methods not in (None, "all") or not explanations:
                raise
            refused[name] = str(error)
            continue
        _check_picture(explanation)
        explanations[name] = explanation
        target = resolved_target(explanation, target)
    return Comparison(explanations, refused, photo)


def _rank(reader: ModelReader) -> int:
    """Return the number of axes of the model's images: 3 for grey pictures without an axis of channels, else 4."""
    return 3 if len(reader.inputs.image_shape) == 3 else 4


def _check_picture(explanation: Explanation) -> None:
    if len(explanation) != 1 or explanation.heatmaps.ndim != 3:
        layer, shape = explanation.layer_name, explanation.heatmaps.shape
        raise ValueError(f"Expected one map (1, H, W) of a picture at '{layer}', received {shape}.")


def _given(explainers: Mapping[str, ExplainerLike], *unused: Any) -> dict[str, Callable[[], ExplainerLike]]:
    if any(argument is not None for argument in unused):
        raise ValueError(
            "Expected no methods, layer, class_names, task or unit beside explainers, which have their own."
        )
    if not explainers:
        raise ValueError("Expected at least one explainer to compare, received none.")
    for explainer in explainers.values():
        check_explainer(explainer)
    return {str(name): functools.partial(lambda same: same, explainer) for name, explainer in explainers.items()}


def _named(methods: Sequence[MethodName | Rule] | str | None) -> Any:
    if methods == "all":
        return list(METHODS)
    if methods is None:
        return [name for name, rule in METHODS.items() if needs_of(rule) != "probing"]
    return methods


def _made(
    reader: ModelReader, methods: Any, layer: Any, options: Mapping[str, Any]
) -> dict[str, Callable[[], ExplainerLike]]:
    """Return a maker of each explainer, so that only one compiled model is held at a time."""
    if isinstance(methods, str) or not isinstance(methods, Iterable) or not methods:
        raise ValueError(f"Expected methods as a list of at least one, received {methods!r}.")
    named = [find_method(method) for method in methods]
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        raise ValueError(f"Expected methods of different names, received {names}. Name them: pass {{name: explainer}}.")
    return {name: functools.partial(_explainer, reader, layer, rule, options) for name, rule in named}


def _explainer(
    model: ModelReader, layer: LayerLike | Sequence[LayerLike] | None, rule: Rule, options: Mapping[str, Any]
) -> Explainer:
    taken = None if needs_of(rule) == "network" else layer  # a method of the whole network does not take a layer
    return Explainer(model, taken, rule, **options)
