"""Attention maps of transformers: rollout, gradient rollout and LeGrad.

Axis legend: B images, H x W patches, H0 x W0 pixels.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from tf_gradcam._errors import unknown_name
from tf_gradcam._explain.fusion import Progress
from tf_gradcam._explain.passes import Pass, Peaks, Scored, all_finite, peaks, scaled_gradients, to_arrays
from tf_gradcam._files.class_names import ClassNames, ClassNamesLike, check_classes, class_indices
from tf_gradcam._models.graph import Call, Step
from tf_gradcam._models.keras_internals import call_in_inference, sublayers
from tf_gradcam._models.reader import Images, ModelReader, built_again, check_eager, reader_of
from tf_gradcam._models.transformers import TokenLayout, attention_steps, block_ends, find_layout
from tf_gradcam._results.explanation import Explanation, MapArrays
from tf_gradcam.image.resize import plain_placement
from tf_gradcam.targets.base import Target, TargetLike, labels_of, with_indices


def rollout(scores: Sequence[Any]) -> Any:
    """Return the flow of each token into each: attention, averaged over heads, multiplied from layer to layer.

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
    """Return the relevance of each token for each, from attention that would raise the score.

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


def legrad(gradients: Sequence[Any]) -> Any:
    """Return each token's mean positive gradient, over all layers, of the layer's own score.

    Args:
        gradients: per layer (B, N, T, T) float32, of that layer's own score with respect to its attention scores: the
            score that the model's head gives to the tokens of that layer.

    Returns:
        (B, T) float32, not negative: the mean over layers, heads and rows of relu(gradient).

    Source: Bousselham et al. 2024, section 3, https://arxiv.org/abs/2404.03214. Deviation: the paper's head reads the
    mean of all tokens of a layer, also where the model was trained to read its class token; here it reads what the
    model reads, so that the last layer's score is the model's own. The map is divided by its maximum like every other,
    not stretched from its minimum. Attention that pools tokens by a query of its own is not supported.
    """
    layers = [tf.reduce_mean(tf.nn.relu(gradient), axis=[1, 2]) for gradient in gradients]
    return tf.add_n(layers) / len(layers)


AttentionMethod = Literal["rollout", "gradient_rollout", "legrad"]
METHODS: tuple[AttentionMethod, ...] = ("rollout", "gradient_rollout", "legrad")
REMEDY = "Use Explainer, which needs no attention scores."


class AttentionPass(Pass):
    """Pass from images to maps in one graph: model with recorded attention scores, rule, grid."""

    def __init__(
        self, reader: ModelReader, target: Target | None, method: str, token_grid: Any, task: str | None = None
    ):
        super().__init__(reader.inputs, target, task=task)
        assert reader.graph is not None
        self._graph = reader.graph
        self._method, self._token_grid = method, token_grid
        self._is_half_precision = reader.is_half_precision
        self._ends: list[Call] = block_ends(self._graph) if method == "legrad" else []
        self._compiled = self.compile(self._explain, [*self.inputs.specs, tf.TensorSpec((None,), tf.int32)])

    def _explain(self, *tensors: Any) -> tuple[Scored, Any, Any, Any]:
        inputs, indices = list(tensors[:-1]), tensors[-1]
        seen: list[Any] = []
        with tf.GradientTape(watch_accessed_variables=False, persistent=self._is_half_precision) as tape:
            scored, explained = self._forward(inputs, indices, tape, seen)
        counts = {(tensor.shape[-2], tensor.shape[-1]) for tensor in seen}
        if len(counts) != 1:
            raise ValueError(f"Expected the same tokens in every attention layer, received {sorted(counts)}. {REMEDY}")
        layout = find_layout(seen[0].shape[-1], self.inputs.image_shape, self._token_grid)
        if self._method == "rollout":
            maps = _on_grid(rollout([tf.cast(tensor, tf.float32) for tensor in seen]), layout)
            largest = peaks(maps)
        else:
            gradients = _gradients(tape, explained, seen)
            maps = self._by_gradients(seen, gradients, layout)
            largest = tf.reduce_max([peaks(gradient) for gradient in gradients], axis=0)
        return scored, maps, largest, all_finite(inputs[self.inputs.image_index])

    def explain_batch(self, arrays: Sequence[Any], indices: Any, progress: Progress) -> MapArrays:
        """Explain a batch; raise a ValueError for attention inside windows."""
        scored, maps, largest, finite_images = self._compiled(*arrays, indices)
        if len(maps) != len(indices):
            raise ValueError(
                f"Expected attention over all tokens of an image, received {len(maps)} matrices for {len(indices)} "
                f"images: it looks inside windows. {REMEDY}"
            )
        results: MapArrays = to_arrays(scored.with_maps(maps, Peaks(largest), finite_images))
        progress(1, 1)
        return results

    def _forward(self, inputs: list[Any], indices: Any, tape: tf.GradientTape, seen: list[Any]) -> tuple[Scored, Any]:
        """Return the scores of the outputs, and the score to differentiate: for LeGrad the sum over all blocks.

        The head computes a block's own score from its tokens; the last block's is the model's. No gradient passes from
        a block to the one before it, so one backward pass gives each layer the gradient of its own block's score.
        """
        graph = self._graph
        block_results: dict[int, Any] = {}
        fences = {end.slot for end in self._ends[:-1]}

        def instead(step: Step) -> Callable[..., Any] | None:
            attend = _noting(step, tape, seen)
            return attend if fences.isdisjoint(step.outputs) else _fenced(step, attend, block_results)

        values = graph.run(graph.ancestors(graph.outputs), graph.enter(inputs), instead)
        scored = self.explained(graph.pack_outputs(values), indices)
        score = scored.scores
        if self._ends:
            head = graph.halves(self._ends[-1])[1]
            beside = [values[slot] for slot in graph.frontier(self._ends[-1].slot, graph.outputs)]
            for end in self._ends[:-1]:
                score += self.explained(head([block_results[end.slot], *beside]), scored.class_indices).scores
        return scored, score

    def _by_gradients(self, seen: list[Any], gradients: list[Any], layout: TokenLayout) -> Any:
        if self._method == "gradient_rollout":
            return _on_grid(gradient_rollout([tf.cast(tensor, tf.float32) for tensor in seen], gradients), layout)
        return layout.to_grid(legrad(gradients)[..., None])[..., 0]


def _on_grid(relevance: Any, layout: TokenLayout) -> Any:
    """Return maps (B, H, W) of relevance (B, T, T): the row of the class token, or the mean row."""
    row = relevance[:, 0] if layout.prefix else tf.reduce_mean(relevance, axis=1)
    return layout.to_grid(row[..., None])[..., 0]


def _gradients(tape: tf.GradientTape, score: Any, seen: Sequence[Any]) -> list[Any]:
    """Return the gradients of the summed score, float32; zero for a layer that leads only to other outputs."""
    gradients = scaled_gradients(tape, score, seen)
    if all(gradient is None for gradient in gradients):
        raise ValueError(f"The score does not depend on any attention layer: no gradient leads there. {REMEDY}")
    return [
        tf.zeros_like(scores, tf.float32) if gradient is None else gradient
        for gradient, scores in zip(gradients, seen, strict=True)
    ]


def _noting(step: Step, tape: tf.GradientTape, seen: list[Any]) -> Callable[..., Any] | None:
    """Return a call of an attention layer that records its scores, None for other steps."""
    layer = step.operation
    if not isinstance(layer, keras.layers.MultiHeadAttention):
        return None

    def attend(query: Any, value: Any, key: Any = None, **arguments: Any) -> Any:
        tape.watch(query)
        with_scores = arguments | {"return_attention_scores": True}
        result, scores = call_in_inference(layer, query, value, key, **with_scores)
        seen.append(scores)
        return (result, scores) if arguments.get("return_attention_scores", False) else result

    return attend


def _fenced(step: Step, function: Callable[..., Any] | None, results_of: dict[int, Any]) -> Callable[..., Any]:
    """Return a call of a step that records its results by their slots and passes them on without gradient."""
    called = function or step.function or step.operation

    def fenced(*args: Any, **kwargs: Any) -> Any:
        results = call_in_inference(called, *args, **kwargs)
        results_of.update(zip(step.outputs, keras.tree.flatten(results), strict=True))
        return keras.tree.map_structure(tf.stop_gradient, results)

    return fenced


class AttentionExplainer:
    """Explainer of vision transformers by the attention scores of all `keras.layers.MultiHeadAttention` layers.

    The map of a rollout is the row of the first token if the model has prefix tokens (class token), else the mean
    row. LeGrad applies the model's head, and a callable target, to the tokens of every block and takes the gradient of
    that score.

    Args:
        model: a functional or Sequential Keras 3 model; it is not changed.
        method: "rollout", the same for every class, or "gradient_rollout" or "legrad", of the explained score.
        class_names: names in class order, or {index: name}; targets may then be names.
        token_grid: (rows, columns) of the patches; None to find them, as `Explainer`.

    Raises:
        TypeError: not a Keras 3 model.
        ValueError: an unknown method; a model without such layers or without a graph; attention from one sequence to
            another, inside windows, or inside a layer of another class; for "legrad", blocks that differ.
    """

    def __init__(
        self,
        model: keras.Model,
        method: AttentionMethod = "rollout",
        *,
        class_names: ClassNamesLike | None = None,
        token_grid: Sequence[int] | None = None,
    ):
        if method not in METHODS:
            raise ValueError(unknown_name("method", str(method), METHODS))
        self.method = method
        self._reader = reader_of(model)
        _check_model(self._reader)
        self._class_names = ClassNames(class_names)
        self._token_grid = token_grid
        self._arguments = {"method": method, "class_names": class_names, "token_grid": token_grid}
        self._passes: dict[Target | None, AttentionPass] = {}
        self._pass(None)

    def __reduce__(self) -> tuple[Any, ...]:
        return built_again, (AttentionExplainer, self._reader.saved(), self._arguments)

    def __call__(self, images: Images, target: TargetLike = None, *, progress: Progress | None = None) -> Explanation:
        """Explain a batch; arguments and errors as `Explainer`.

        Returns:
            `Explanation` of the B images; `raw` (B, H, W) float32 is at least 0.
        """
        check_eager()
        inputs = self._reader.inputs
        arrays = inputs.flatten(images)
        self._reader.warn_of_range(arrays[inputs.image_index])
        count, called = int(arrays[0].shape[0]), callable(target)
        indices = class_indices(None if called else target, count, self._class_names)
        compiled = self._pass(with_indices(target, self._class_names.index) if called else None)
        check_classes(indices, compiled.class_count, self._class_names)
        results = compiled(arrays, indices, progress)
        names, index = self._class_names, inputs.image_index
        labels = labels_of(target, results.outputs, names) if called else names.labels(results.class_indices)
        return Explanation(
            results,
            labels=labels,
            layer_name="all attention layers",
            method=self.method,
            placement=plain_placement(results.heatmaps.shape[1:], arrays[index].shape[1:], index),
            input_names=inputs.names,
            has_open_head=compiled.has_open_head,
            class_names=self._class_names.by_index,
            signed=getattr(target, "signed", False),
        )

    def _pass(self, target: Target | None) -> AttentionPass:
        compiled = self._passes.get(target)
        if compiled is None:  # class targets and the last callable are kept; another thread may keep another
            task = "classification" if self._class_names.are_two else None
            compiled = AttentionPass(self._reader, target, self.method, self._token_grid, task)
            kept: dict[Target | None, AttentionPass] = {None: self._passes[None]} if None in self._passes else {}
            self._passes = {**kept, target: compiled}
        return compiled


def _check_model(reader: ModelReader) -> None:
    graph = reader.graph
    if graph is None:
        raise ValueError(
            f"Expected a functional or Sequential model, received '{reader.name}', whose graph is known only to "
            f"Python: its attention scores cannot be read. {REMEDY}"
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
            f"whose scores cannot be read. {REMEDY}"
        )
    steps = attention_steps(graph)
    if not steps:
        raise ValueError(
            f"Expected a model with keras.layers.MultiHeadAttention, received '{reader.name}' without. {REMEDY}"
        )
    for step in steps:
        arguments = step.arguments
        read = inspect.signature(step.operation.call).bind(*arguments.args, **arguments.kwargs).arguments
        if any(given is not None and given is not read["query"] for given in (read["value"], read.get("key"))):
            raise ValueError(
                f"Expected tokens that attend to each other, received layer '{step.path}', whose query and value "
                f"differ (cross attention, or pooling by a query of its own). {REMEDY}"
            )
