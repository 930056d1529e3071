"""Maps of a transformer from what its tokens attend to: attention rollout, gradient rollout, LeGrad.

Axis legend: B images, H x W patches, H0 x W0 pixels.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_gradcam._errors import unknown_name
from tf_gradcam._explain.attentionpass import METHODS, REMEDY, AttentionPass
from tf_gradcam._models.encoder import attention_steps
from tf_gradcam._models.keras_internals import sublayers
from tf_gradcam._models.preprocessing import find_preprocessing, warn_of_range
from tf_gradcam._models.reader import BorrowedModel
from tf_gradcam._results.explanation import Explanation
from tf_gradcam._rules.maps import normalise
from tf_gradcam.targets.base import with_indices
from tf_gradcam.targets.classes_scores import ClassNames, check_classes, class_indices
from tf_gradcam.targets.outputs import Target


class AttentionExplainer:
    """Maps of a vision transformer from the attention scores of all its `keras.layers.MultiHeadAttention` layers.

    The map of a rollout is the row of the first token where there are prefix tokens (class token), else the mean of all
    rows. LeGrad asks what the model's head makes of the tokens of every block, and for the gradient of that score; of a
    callable target too, which is asked at every block.

    Args:
        model: a functional or Sequential Keras 3 model; it is not changed.
        method: "rollout", the same for every class, or "gradient_rollout" or "legrad", of the explained score.
        class_names: names in class order, or {index: name}; targets may then be names.
        token_grid: (rows, columns) of the patches; None to find them, as `Explainer`.

    Raises:
        TypeError: no Keras 3 model.
        ValueError: an unknown method; a model without such layers or without a graph; attention from one sequence to
            another, inside windows, or inside a layer of another class; for "legrad", blocks that are not alike.
    """

    def __init__(
        self,
        model: keras.Model,
        method: str = "rollout",
        *,
        class_names: Sequence[str] | Mapping[int, str] | None = None,
        token_grid: Sequence[int] | None = None,
    ):
        if method not in METHODS:
            raise ValueError(unknown_name("method", str(method), METHODS))
        self.method = method
        self._borrowed = BorrowedModel(model)
        _check_model(self._borrowed)
        self._preprocessing = find_preprocessing(model)
        self._class_names = ClassNames(class_names)
        self._token_grid = token_grid
        self._passes: dict[Target | None, AttentionPass] = {}
        self._pass(None)

    def __call__(self, images: Any, target: Any = None) -> Explanation:
        """Explain a batch.

        Args:
            images: (B, H0, W0, 3) as the model expects them.
            target: None for each image's top class, a class index or name, one of either per image, or a callable.

        Returns:
            `Explanation` of the B images; `raw` (B, H, W) is not negative.

        Raises:
            TypeError, ValueError: as `Explainer`.
        """
        inputs = self._borrowed.inputs
        arrays = inputs.flatten(images)
        warn_of_range(arrays[inputs.image_index], self._preprocessing)
        count, called = int(arrays[0].shape[0]), callable(target)
        indices = class_indices(None if called else target, count, self._class_names)
        compiled = self._pass(with_indices(target, self._class_names.index) if called else None)
        check_classes(indices, compiled.class_count, self._class_names)
        results = {name: value.numpy() for name, value in compiled.run(*arrays, indices).items()}
        if len(results["raw"]) != count:
            raise ValueError(
                f"Expected attention over all tokens of an image, received {len(results['raw'])} matrices for {count} "
                f"images: it looks inside windows. {REMEDY}"
            )
        results["heatmaps"] = normalise(tf.constant(results["raw"]), results["finite_images"]).numpy()
        name = getattr(target, "__name__", type(target).__name__)
        return Explanation(
            results,
            labels=[name if called else self._class_names.label(index) for index in results["class_indices"]],
            layer_name="all attention layers",
            method=self.method,
            image_size=tuple(arrays[inputs.image_index].shape[1:-1]),
            has_open_head=compiled.head_kind != "linear",
            class_names=self._class_names.by_index,
            signed=getattr(target, "signed", False),
        )

    def _pass(self, target: Target | None) -> AttentionPass:
        found = self._passes.get(target)
        if found is None:  # class targets and the last callable are kept; another thread may keep another
            found = AttentionPass(self._borrowed, target, self.method, self._token_grid)
            kept: dict[Target | None, AttentionPass] = {None: self._passes[None]} if None in self._passes else {}
            self._passes = {**kept, target: found}
        return found


def _check_model(borrowed: BorrowedModel) -> None:
    graph = borrowed.graph
    if graph is None:
        raise ValueError(
            f"Expected a functional or Sequential model, received '{borrowed.name}', whose graph only Python knows: "
            f"its attention scores cannot be asked for. {REMEDY}"
        )
    attention = keras.layers.MultiHeadAttention
    operations = [step.operation for step in graph.ancestors(graph.outputs) if step.function is None]
    hidden = [
        layer.name
        for layer in operations
        if isinstance(layer, keras.layers.Layer) and not isinstance(layer, attention)
        if any(isinstance(inner, attention) for _, inner in sublayers(layer))
    ]
    if hidden:
        raise ValueError(
            f"Expected attention layers in the model's graph, received layers {hidden[:3]} with attention inside, "
            f"whose scores cannot be asked for. {REMEDY}"
        )
    steps = attention_steps(graph)
    if not steps:
        raise ValueError(
            f"Expected a model with keras.layers.MultiHeadAttention, received '{borrowed.name}' without. {REMEDY}"
        )
    for step in steps:
        arguments = step.arguments
        read = inspect.signature(step.operation.call).bind(*arguments.args, **arguments.kwargs).arguments
        if any(given is not None and given is not read["query"] for given in (read["value"], read.get("key"))):
            raise ValueError(
                f"Expected tokens that attend to each other, received layer '{step.path}', whose query and value "
                f"differ (cross attention, or pooling by a query of its own). {REMEDY}"
            )
