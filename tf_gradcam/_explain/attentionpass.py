"""Images to maps by the attention scores of all layers, in one graph: forward pass, tape, rule, grid.

Axis legend: B images, N heads, T tokens, C channels, H x W patches. Attention scores (B, N, T, T) are those after the
softmax.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from tf_gradcam._explain.attentionrules import gradient_rollout, legrad, rollout
from tf_gradcam._explain.passes import Pass, scaled_gradients
from tf_gradcam._models.encoder import block_ends
from tf_gradcam._models.graph import Call, Step
from tf_gradcam._models.keras_internals import call_in_inference
from tf_gradcam._models.reader import BorrowedModel
from tf_gradcam._models.transformers import TokenLayout, find_layout
from tf_gradcam._rules.maps import all_finite, peaks
from tf_gradcam.targets.outputs import Target

METHODS = ("rollout", "gradient_rollout", "legrad")
REMEDY = "Use Explainer, which needs no attention scores."


class AttentionPass(Pass):
    """Images and class indices to maps, compiled as `run`."""

    def __init__(self, borrowed: BorrowedModel, target: Target | None, method: str, token_grid: Any):
        super().__init__(target)
        assert borrowed.graph is not None
        self._graph, self._inputs = borrowed.graph, borrowed.inputs
        self._method, self._token_grid = method, token_grid
        self._is_half_precision = borrowed.is_half_precision
        self._ends: list[Call] = block_ends(self._graph) if method == "legrad" else []
        self.run = self.compile(self._explain, [*self._inputs.specs, tf.TensorSpec((None,), tf.int32)])

    def _explain(self, *tensors: Any) -> dict[str, Any]:
        inputs, indices = list(tensors[:-1]), tensors[-1]
        seen: list[Any] = []
        with tf.GradientTape(watch_accessed_variables=False, persistent=self._is_half_precision) as tape:
            results, explained = self._forward(inputs, indices, tape, seen)
        counts = {(tensor.shape[-2], tensor.shape[-1]) for tensor in seen}
        if len(counts) != 1:
            raise ValueError(f"Expected the same tokens in every attention layer, received {sorted(counts)}. {REMEDY}")
        layout = find_layout(seen[0].shape[-1], self._inputs.image_shape, self._token_grid)
        if self._method == "rollout":
            maps = _on_grid(rollout([tf.cast(tensor, tf.float32) for tensor in seen]), layout)
            largest = peaks(maps)
        else:
            gradients = _gradients(tape, explained, seen)
            maps = self._by_gradients(seen, gradients, layout)
            largest = tf.reduce_max([peaks(gradient) for gradient in gradients], axis=0)
        finite = all_finite(inputs[self._inputs.image_index])
        results |= {"raw": maps, "gradient_peaks": largest, "finite_images": finite}
        return {name: value for name, value in results.items() if value is not None}

    def _forward(
        self, inputs: list[Any], indices: Any, tape: tf.GradientTape, seen: list[Any]
    ) -> tuple[dict[str, Any], Any]:
        """What is told of the outputs, and the score to be differentiated: for LeGrad the sum of all blocks' own.

        A block's own score is what the head makes of its tokens; the last block's is the model's. No gradient passes
        from a block to the one before it, so one backward pass gives each layer the gradient of its own block's score.
        """
        graph = self._graph
        found: dict[int, Any] = {}
        fences = {end.slot for end in self._ends[:-1]}

        def instead(step: Step) -> Callable[..., Any] | None:
            attend = _noting(step, tape, seen)
            return attend if fences.isdisjoint(step.outputs) else _fenced(step, attend, found)

        values = graph.run(graph.ancestors(graph.outputs), graph.enter(inputs), instead)
        results = self.explained(graph.pack_outputs(values), indices)
        score = results["scores"]
        if self._ends:
            head = graph.halves(self._ends[-1])[1]
            beside = [values[slot] for slot in graph.frontier(self._ends[-1].slot, graph.outputs)]
            for end in self._ends[:-1]:
                score += self.explained(head([found[end.slot], *beside]), results["class_indices"])["scores"]
        return results, score

    def _by_gradients(self, seen: list[Any], gradients: list[Any], layout: TokenLayout) -> Any:
        if self._method == "gradient_rollout":
            return _on_grid(gradient_rollout([tf.cast(tensor, tf.float32) for tensor in seen], gradients), layout)
        return layout.to_grid(legrad(gradients)[..., None])[..., 0]


def _on_grid(relevance: Any, layout: TokenLayout) -> Any:
    """(B, H, W) of what tokens get from tokens, (B, T, T): the class token, or all in the mean."""
    row = relevance[:, 0] if layout.prefix else tf.reduce_mean(relevance, axis=1)
    return layout.to_grid(row[..., None])[..., 0]


def _gradients(tape: tf.GradientTape, score: Any, seen: Sequence[Any]) -> list[Any]:
    """Of the sum of the score, float32; zero for a layer that leads to other outputs alone."""
    found = scaled_gradients(tape, score, seen)
    if all(gradient is None for gradient in found):
        raise ValueError(f"The score does not depend on any attention layer: no gradient leads there. {REMEDY}")
    return [
        tf.zeros_like(scores, tf.float32) if gradient is None else gradient
        for gradient, scores in zip(found, seen, strict=True)
    ]


def _noting(step: Step, tape: tf.GradientTape, seen: list[Any]) -> Callable[..., Any] | None:
    """The call of an attention layer that notes its scores; None for other steps."""
    layer = step.operation
    if not isinstance(layer, keras.layers.MultiHeadAttention):
        return None

    def attend(query: Any, value: Any, key: Any = None, **arguments: Any) -> Any:
        tape.watch(query)
        asked = partial(call_in_inference, layer, query, value, key)
        result, scores = asked(**arguments | {"return_attention_scores": True})
        given = arguments.get("return_attention_scores", False)
        seen.append(scores)
        return (result, scores) if given else result

    return attend


def _fenced(step: Step, function: Callable[..., Any] | None, found: dict[int, Any]) -> Callable[..., Any]:
    """The call of a step that notes its results by their slots and hands them on without their gradient."""
    called = function or step.function or step.operation

    def fenced(*args: Any, **kwargs: Any) -> Any:
        results = call_in_inference(called, *args, **kwargs)
        found.update(zip(step.outputs, keras.tree.flatten(results), strict=True))
        return keras.tree.map_structure(tf.stop_gradient, results)

    return fenced
