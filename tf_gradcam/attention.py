"""What the tokens of a transformer attend to, followed through all its layers: attention rollout, gradient rollout.

Axis legend: B images, N heads, T tokens, H x W patches, H0 x W0 pixels. Attention scores (B, N, T, T) are those after
the softmax: rows look, columns are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from tf_gradcam.borrowed import BorrowedModel
from tf_gradcam.classes import ClassNames, check_classes, class_indices
from tf_gradcam.explanation import Explanation
from tf_gradcam.graph import Step
from tf_gradcam.keraslayer import call_in_inference, sublayers
from tf_gradcam.maps import all_finite, normalise, peaks
from tf_gradcam.names import unknown_name
from tf_gradcam.passes import Pass
from tf_gradcam.targetparts import with_indices
from tf_gradcam.targets import Target
from tf_gradcam.tokens import find_layout

_REMEDY = "Use Explainer, which needs no attention scores."


def rollout(scores: Sequence[Any]) -> Any:
    """How much of each token arrives in each: attention, averaged over heads, multiplied from layer to layer.

    Args:
        scores: per layer (B, N, T, T) float32, from the first layer on.

    Returns:
        (B, T, T) float32; rows sum to 1.

    Source: Abnar & Zuidema 2020, section 3, https://arxiv.org/abs/2005.00928. Deviation: none; the residual branch
    counts half, 0.5 A + 0.5 I, rows renormalised.
    """
    identity = tf.eye(scores[0].shape[-1] or tf.shape(scores[0])[-1])
    arrived: Any = identity[None]
    for layer in scores:
        mixed = 0.5 * tf.reduce_mean(layer, axis=1) + 0.5 * identity
        arrived = tf.matmul(mixed / tf.reduce_sum(mixed, axis=-1, keepdims=True), arrived)
    return arrived


def gradient_rollout(scores: Sequence[Any], gradients: Sequence[Any]) -> Any:
    """How much each token adds to each, attention counted where more of it would raise the score.

    Args:
        scores: per layer (B, N, T, T) float32, from the first layer on.
        gradients: of the explained score with respect to them, likewise.

    Returns:
        (B, T, T) float32, R - I: the identity, every token's own part, is left out.

    Source: Chefer et al. 2021, eqs. 5 and 6, https://arxiv.org/abs/2103.15679. Deviation: none for the row of a class
    token, which the identity does not reach.
    """
    identity = tf.eye(scores[0].shape[-1] or tf.shape(scores[0])[-1])
    relevance: Any = identity[None]
    for layer, gradient in zip(scores, gradients, strict=True):
        relevance += tf.matmul(tf.reduce_mean(tf.nn.relu(gradient * layer), axis=1), relevance)
    return relevance - identity


METHODS = ("rollout", "gradient_rollout")


class AttentionExplainer:
    """Maps of a vision transformer from the attention scores of all its `keras.layers.MultiHeadAttention` layers.

    The map is the row of the first token where there are prefix tokens (class token), else the mean of all rows.

    Args:
        model: a functional or Sequential Keras 3 model; it is not changed.
        method: "rollout", the same for every class, or "gradient_rollout", of the explained score.
        class_names: names in class order, or {index: name}; targets may then be names.
        token_grid: (rows, columns) of the patches; None to find them, as `Explainer`.

    Raises:
        TypeError: no Keras 3 model.
        ValueError: an unknown method; a model without such layers or without a graph; attention from one sequence to
            another, inside windows, or inside a layer of another class.
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
        self._class_names = ClassNames(class_names)
        self._token_grid = token_grid
        self._passes: dict[Target | None, _AttentionPass] = {}
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
        count, called = int(arrays[0].shape[0]), callable(target)
        indices = class_indices(None if called else target, count, self._class_names)
        compiled = self._pass(with_indices(target, self._class_names.index) if called else None)
        check_classes(indices, compiled.class_count, self._class_names)
        results = {name: value.numpy() for name, value in compiled.run(*arrays, indices).items()}
        if len(results["raw"]) != count:
            raise ValueError(
                f"Expected attention over all tokens of an image, received {len(results['raw'])} matrices for {count} "
                f"images: it looks inside windows. {_REMEDY}"
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

    def _pass(self, target: Target | None) -> _AttentionPass:
        if target not in self._passes:  # class targets and the last callable are kept
            self._passes = {known: made for known, made in self._passes.items() if known is None}
            self._passes[target] = _AttentionPass(self._borrowed, target, self.method, self._token_grid)
        return self._passes[target]


class _AttentionPass(Pass):
    """Images and class indices to maps, compiled."""

    def __init__(self, borrowed: BorrowedModel, target: Target | None, method: str, token_grid: Any):
        super().__init__(target)
        assert borrowed.graph is not None
        self._graph, self._inputs = borrowed.graph, borrowed.inputs
        self._method, self._token_grid = method, token_grid
        self.run = self.compile(self._explain, [*self._inputs.specs, tf.TensorSpec((None,), tf.int32)])

    def _explain(self, *tensors: Any) -> dict[str, Any]:
        inputs, indices = list(tensors[:-1]), tensors[-1]
        seen: list[Any] = []
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            outputs = self._graph.forward(inputs, lambda step: _noting(step, tape, seen))
            results = self.explained(outputs, indices)
        counts = {(tensor.shape[-2], tensor.shape[-1]) for tensor in seen}
        if len(counts) != 1:
            raise ValueError(f"Expected the same tokens in every attention layer, received {sorted(counts)}. {_REMEDY}")
        layout = find_layout(seen[0].shape[-1], self._inputs.image_shape, self._token_grid)
        scores = [tf.cast(tensor, tf.float32) for tensor in seen]
        if self._method == "rollout":
            relevance = rollout(scores)
        else:
            relevance = gradient_rollout(scores, _gradients(tape, results["scores"], seen))
        row = relevance[:, 0] if layout.prefix else tf.reduce_mean(relevance, axis=1)
        raw = layout.to_grid(row[..., None])[..., 0]
        finite = all_finite(inputs[self._inputs.image_index])
        maps = {"raw": raw, "gradient_peaks": peaks(raw), "finite_images": finite}
        return {name: value for name, value in (results | maps).items() if value is not None}


def _gradients(tape: tf.GradientTape, score: Any, seen: list[Any]) -> list[Any]:
    """Of the sum of the score, float32; zero for a layer that leads to other outputs alone."""
    found = tape.gradient(score, seen)
    if all(gradient is None for gradient in found):
        raise ValueError(f"The score does not depend on any attention layer: no gradient leads there. {_REMEDY}")
    pairs = zip(found, seen, strict=True)
    return [tf.zeros_like(a, tf.float32) if g is None else tf.cast(g, tf.float32) for g, a in pairs]


def _noting(step: Step, tape: tf.GradientTape, seen: list[Any]) -> Callable[..., Any] | None:
    """The call of an attention layer that notes its scores; None for other steps."""
    layer = step.operation
    if not isinstance(layer, keras.layers.MultiHeadAttention):
        return None

    def attend(query: Any, value: Any, key: Any = None, **arguments: Any) -> Any:
        if value is not query or (key is not None and key is not query):
            raise ValueError(
                f"Expected tokens that attend to each other, received layer '{step.path}', whose query and value "
                f"differ (cross attention). {_REMEDY}"
            )
        tape.watch(query)
        asked = partial(call_in_inference, layer, query, value, key)
        result, scores = asked(**arguments | {"return_attention_scores": True})
        given = arguments.get("return_attention_scores", False)
        seen.append(scores)
        return (result, scores) if given else result

    return attend


def _check_model(borrowed: BorrowedModel) -> None:
    graph = borrowed.graph
    if graph is None:
        raise ValueError(
            f"Expected a functional or Sequential model, received '{borrowed.name}', whose graph only Python knows: "
            f"its attention scores cannot be asked for. {_REMEDY}"
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
            f"whose scores cannot be asked for. {_REMEDY}"
        )
    if not any(isinstance(layer, attention) for layer in operations):
        raise ValueError(
            f"Expected a model with keras.layers.MultiHeadAttention, received '{borrowed.name}' without. {_REMEDY}"
        )
