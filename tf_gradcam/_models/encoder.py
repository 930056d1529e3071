"""Where the blocks of a transformer's encoder end: the tokens that each hands to the next, and the last to the head."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import keras

from tf_gradcam._models.graph import Call, Graph, Step

_REMEDY = "Use method='gradient_rollout', which needs no blocks."


def attention_steps(graph: Graph) -> list[Step]:
    """The calls of attention layers on the way to the outputs, in the order of execution."""
    steps = graph.ancestors(graph.outputs)
    return [step for step in steps if isinstance(step.operation, keras.layers.MultiHeadAttention)]


def block_ends(graph: Graph) -> list[Call]:
    """What each block of the encoder hands out, from the first block to the last.

    The trunk are the tokens of the attention layers' shape that every path to the output passes. A block begins where
    its attention layers leave the trunk (several side by side are one block) and ends where the next one begins. The
    last one ends as far along the trunk as the others, by the same operations: so a final normalisation is no part
    of it.

    Args:
        graph: of a model with attention layers.

    Returns:
        One `Call` per block; none where there is a single block, whose end is then not told from what follows.

    Raises:
        ValueError: no such trunk, blocks that are not alike, or outputs that do not pass the last one.
    """
    attention = attention_steps(graph)
    if len(attention) == 1:
        return []
    trunk = _trunk(graph, attention)
    entries = sorted({_entry(graph, step, trunk) for step in attention})
    if entries[0] < 0:
        raise ValueError(
            f"Expected attention on a trunk of tokens that every path to the output passes, received layer "
            f"'{attention[0].path}' before any. {_REMEDY}"
        )
    if len(entries) == 1:
        return []
    blocks = [_kinds(trunk[start + 1 : end + 1]) for start, end in pairwise(entries)]
    rest = _kinds(trunk[entries[-1] + 1 :])
    if any(block != blocks[0] for block in [*blocks, rest[: len(blocks[0])]]):
        raise ValueError(
            "Expected encoder blocks that are alike, as in ViT, to find where the last one ends, received blocks whose "
            f"tokens pass {blocks}, and behind them {rest}. {_REMEDY}"
        )
    last = entries[-1] + len(blocks[0])
    _check_outputs(graph, trunk[last])
    return [trunk[index] for index in (*entries[1:], last)]


def _trunk(graph: Graph, attention: Sequence[Step]) -> list[Call]:
    shape = graph.shapes[attention[-1].outputs[0]]
    calls = {call.slot: call for call in reversed(graph.calls)}  # of a layer and the models that hand it on, the layer
    return [calls[slot] for slot in sorted(calls) if graph.shapes[slot] == shape and graph.is_cut_point(calls[slot])]


def _entry(graph: Graph, step: Step, trunk: Sequence[Call]) -> int:
    """Index of the last tensor of the trunk that a step is made from; -1 where there is none."""
    read = set(step.sources.values())
    read.update(slot for before in graph.ancestors(read) for slot in before.outputs)
    return max((index for index, call in enumerate(trunk) if call.slot in read), default=-1)


def _kinds(calls: Sequence[Call]) -> list[str]:
    return [type(call.operation).__name__ for call in calls]


def _check_outputs(graph: Graph, end: Call) -> None:
    """What the outputs need beside the last block's tokens has seen no attention: else they read a block inside."""
    beside = graph.ancestors(graph.frontier(end.slot, graph.outputs))
    if any(isinstance(step.operation, keras.layers.MultiHeadAttention) for step in beside):
        raise ValueError(
            f"Expected outputs that read the tokens of the last block alone, '{end.path}', received one that reads "
            f"tokens before it. {_REMEDY}"
        )
