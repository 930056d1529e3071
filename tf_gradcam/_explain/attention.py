"""Attention maps of transformers: rollout, gradient rollout and LeGrad.

Axis legend: B images, H x W patches, H0 x W0 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from tf_gradcam._errors import unknown_name
from tf_gradcam._explain.fusion import Progress
from tf_gradcam._explain.passes import Pass, Peaks, Scored, all_finite, peaks, scaled_gradients, to_arrays
from tf_gradcam._files.class_names import ClassNames, ClassNamesLike, check_classes, class_indices
from tf_gradcam._models.graph import Call, Graph, Step
from tf_gradcam._models.inner_attention import (
    AttentionScores,
    Block,
    all_wrapped,
    blocks_wrapped,
    check_attention,
    holders_of_attention,
    inner_blocks,
    is_attention,
    operations_before,
)
from tf_gradcam._models.keras_internals import call_in_inference
from tf_gradcam._models.reader import Images, ModelReader, built_again, check_eager, reader_of
from tf_gradcam._models.task import task_of
from tf_gradcam._models.transformers import NO_BLOCKS, TokenLayout, block_ends, find_layout
from tf_gradcam._results.explanation import Explanation, MapArrays
from tf_gradcam.image.resize import plain_placement
from tf_gradcam.targets.base import Target, TargetLike, labels_of, sides_of, with_indices


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
        self._view = reader.graph or next(reader.views())
        self._method, self._token_grid = method, token_grid
        self._is_half_precision = reader.is_half_precision
        self._ends: list[Call] = []  # of blocks in the graph
        self._blocks: list[Block] = []  # of attention inside other layers
        if method == "legrad":
            self._find_blocks()
        self._compiled = self.compile(self._explain, [*self.inputs.specs, tf.TensorSpec((None,), tf.int32)])

    def _find_blocks(self) -> None:
        view = self._view
        check_attention(view, self.inputs.specs, REMEDY)  # before messages that advise another method
        if isinstance(view, Graph) and all(is_attention(layer) for _, layer in holders_of_attention(view)):
            self._ends = block_ends(view)
        else:
            self._blocks = inner_blocks(view, self.inputs.specs)

    def _explain(self, *tensors: Any) -> tuple[Scored, Any, Any, Any]:
        inputs, indices = list(tensors[:-1]), tensors[-1]
        tape = tf.GradientTape(watch_accessed_variables=False, persistent=self._is_half_precision)
        reading = AttentionScores(self._view, tape.watch, REMEDY)
        with tape, reading.wrapping():
            scored, explained, outputs = self._forward(inputs, indices)
        before = operations_before(outputs)  # of what a `call` of its own runs, some may lead nowhere
        seen = [scores for scores in reading.seen if id(scores.op) in before]
        if not seen:
            raise ValueError(f"Expected a model that calls its attention layers, received one that does not. {REMEDY}")
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

    def _forward(self, inputs: list[Any], indices: Any) -> tuple[Scored, Any, Any]:
        """Return the scores of the outputs, the score to differentiate, and the outputs.

        For LeGrad the score to differentiate is the sum over all blocks. The head computes a block's own score from its
        tokens; the last block's is the model's. No gradient passes from a block to the one before it, so one backward
        pass gives each layer the gradient of its own block's score.
        """
        if self._ends:
            return self._forward_to_ends(inputs, indices)
        if self._blocks:
            return self._forward_through_blocks(inputs, indices)
        outputs = self._view.forward(inputs)
        scored = self.explained(outputs, indices)
        return scored, scored.scores, outputs

    def _forward_to_ends(self, inputs: list[Any], indices: Any) -> tuple[Scored, Any, Any]:
        """Do so for blocks in the graph: the head is the part of the graph behind the last one."""
        graph = self._view
        assert isinstance(graph, Graph)
        block_results: dict[int, Any] = {}
        fences = {end.slot for end in self._ends[:-1]}

        def instead(step: Step) -> Callable[..., Any] | None:
            return None if fences.isdisjoint(step.outputs) else _fenced(step, block_results)

        values = graph.run(graph.ancestors(graph.outputs), graph.enter(inputs), instead)
        outputs = graph.pack_outputs(values)
        scored = self.explained(outputs, indices)
        score = scored.scores
        head = graph.halves(self._ends[-1])[1]
        beside = [values[slot] for slot in graph.frontier(self._ends[-1].slot, graph.outputs)]
        for end in self._ends[:-1]:
            score += self.explained(head([block_results[end.slot], *beside]), scored.class_indices).scores
        return scored, score, outputs

    def _forward_through_blocks(self, inputs: list[Any], indices: Any) -> tuple[Scored, Any, Any]:
        """Do so for blocks that are layers: the head is the model run again, with the tokens as the last one's."""
        results: dict[int, Any] = {}
        last = len(self._blocks) - 1

        def fence(position: int, run: Callable[[], Any]) -> Any:
            results[position] = run()
            return results[position] if position == last else _mapped(tf.stop_gradient, results[position])

        with all_wrapped(blocks_wrapped(self._blocks, fence)):
            outputs = self._view.forward(inputs)
        scored = self.explained(outputs, indices)
        score = scored.scores
        for number, block in enumerate(self._blocks[:-1]):
            tokens = keras.tree.flatten(results[number])[block.slot]
            score += self.explained(self._head(inputs, results, tokens), scored.class_indices).scores
        return scored, score, outputs

    def _head(self, inputs: list[Any], results: dict[int, Any], tokens: Any) -> Any:
        """Return the outputs with `tokens` in place of those of the last block; no block runs again."""
        last = len(self._blocks) - 1
        marks: list[Any] = []

        def given(position: int, run: Callable[[], Any]) -> Any:
            if position < last:
                marked = _mapped(tf.identity, results[position])
                marks.extend(filter(tf.is_tensor, keras.tree.flatten(marked)))
                return marked
            flat = keras.tree.flatten(results[last])
            flat[self._blocks[last].slot] = tokens
            return keras.tree.pack_sequence_as(results[last], flat)

        with all_wrapped(blocks_wrapped(self._blocks, given)):
            outputs = self._view.forward(inputs)
        before = operations_before(outputs)
        if any(id(mark.op) in before for mark in marks):
            raise ValueError(
                "Expected outputs that read the tokens of the last block alone, received an output that reads tokens "
                f"before it. {NO_BLOCKS}"
            )
        return outputs

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


def _fenced(step: Step, results_of: dict[int, Any]) -> Callable[..., Any]:
    """Return a call of a step that records its results by their slots and passes them on without gradient."""
    called = step.function or step.operation

    def fenced(*args: Any, **kwargs: Any) -> Any:
        results = call_in_inference(called, *args, **kwargs)
        results_of.update(zip(step.outputs, keras.tree.flatten(results), strict=True))
        return keras.tree.map_structure(tf.stop_gradient, results)

    return fenced


def _mapped(function: Callable[[Any], Any], results: Any) -> Any:
    """Apply a function to the tensors among the results of a layer, which may hold None too."""
    return keras.tree.map_structure(lambda item: function(item) if tf.is_tensor(item) else item, results)


class AttentionExplainer:
    """Explainer of vision transformers by the attention scores of all `keras.layers.MultiHeadAttention` layers.

    These layers may be in the model's graph, inside other layers (as in the ViT of keras_hub), or in a `call` of the
    model's own.

    The map of a rollout is the row of the first token if the model has prefix tokens (class token), else the mean
    row. LeGrad applies the model's head, and a callable target, to the tokens of every block and takes the gradient of
    that score.

    Args:
        model: a built Keras 3 model; it is not changed.
        method: "rollout", the same for every class, or "gradient_rollout" or "legrad", of the explained score.
        class_names: names in class order, or {index: name}; targets may then be names.
        token_grid: (rows, columns) of the patches; None to find them, as `Explainer`.

    Raises:
        TypeError: not a Keras 3 model.
        ValueError: an unknown method; a model without such layers; attention from one sequence to another, or inside
            windows; for "legrad", blocks that differ.
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
        self._task = task_of(self._reader, None, self._class_names).name
        if self._task == "regression":
            self._class_names.noun = "value"
        self._token_grid = token_grid
        self._arguments = {"method": method, "class_names": class_names, "token_grid": token_grid}
        self._passes: dict[Target | None, AttentionPass] = {}
        self._pass(None)

    def __reduce__(self) -> tuple[Any, ...]:
        return built_again, (AttentionExplainer, self._reader.saved(), self._arguments, self._reader.losses)

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
            sides=sides_of(target, results.outputs, names) if called else None,
        )

    def _pass(self, target: Target | None) -> AttentionPass:
        compiled = self._passes.get(target)
        if compiled is None:  # class targets and the last callable are kept; another thread may keep another
            compiled = AttentionPass(self._reader, target, self.method, self._token_grid, self._task)
            kept: dict[Target | None, AttentionPass] = {None: self._passes[None]} if None in self._passes else {}
            self._passes = {**kept, target: compiled}
        return compiled


def _check_model(reader: ModelReader) -> None:
    view = reader.graph or next(reader.views())
    if not any(is_attention(layer) for _, layer in holders_of_attention(view)):
        raise ValueError(
            f"Expected a model with keras.layers.MultiHeadAttention, received '{reader.name}' without. {REMEDY}"
        )
