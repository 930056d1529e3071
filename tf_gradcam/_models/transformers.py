"""Transformers: tokens as a grid of patches, and the ends of encoder blocks.

Axis legend: B images, T tokens, P prefix tokens (class token, registers), H x W patches, C channels, H0 x W0 pixels.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import keras
import tensorflow as tf

from tf_gradcam._errors import Message
from tf_gradcam._models.graph import Call, Graph, Step
from tf_gradcam._models.keras_internals import mask_of
from tf_gradcam._models.layers import cells_at
from tf_gradcam._models.places import Cells, sizes_of
from tf_gradcam._models.reader import shown
from tf_gradcam._models.split import SplitModel

NO_BLOCKS = "Use method='gradient_rollout', which needs no blocks."


def attention_steps(graph: Graph) -> list[Step]:
    """Return the calls of attention layers that lead to the outputs, in the order of execution."""
    steps = graph.ancestors(graph.outputs)
    return [step for step in steps if isinstance(step.operation, keras.layers.MultiHeadAttention)]


def block_ends(graph: Graph) -> list[Call]:
    """Return the output of each encoder block, from the first block to the last.

    The trunk consists of the tensors of the attention layers' shape that every path to the output passes. A block
    begins where its attention layers leave the trunk (parallel ones are one block) and ends where the next block
    begins. The last block ends after the same operations as the others, before a final normalisation.

    Args:
        graph: of a model with attention layers.

    Returns:
        One `Call` per block; an empty list for a single block, whose end cannot be found.

    Raises:
        ValueError: no such trunk, blocks that are not alike, or outputs that bypass the last block.
    """
    attention = attention_steps(graph)
    if len(attention) == 1:
        return []
    trunk = _trunk(graph, attention)
    entries = sorted({_entry(graph, step, trunk) for step in attention})
    if entries[0] < 0:
        raise ValueError(
            f"Expected attention on a trunk of tokens that every path to the output passes, received layer "
            f"'{attention[0].path}' before any. {NO_BLOCKS}"
        )
    if len(entries) == 1:
        return []
    blocks = [_kinds(trunk[start + 1 : end + 1]) for start, end in pairwise(entries)]
    rest = _kinds(trunk[entries[-1] + 1 :])
    if any(block != blocks[0] for block in [*blocks, rest[: len(blocks[0])]]):
        raise ValueError(
            "Expected encoder blocks that are alike, as in ViT, to find where the last one ends, received blocks whose "
            f"tokens pass {blocks}, and after them {rest}. {NO_BLOCKS}"
        )
    last = entries[-1] + len(blocks[0])
    _check_outputs(graph, trunk[last])
    return [trunk[index] for index in (*entries[1:], last)]


def _trunk(graph: Graph, attention: Sequence[Step]) -> list[Call]:
    shape = graph.shapes[attention[-1].outputs[0]]
    calls = {
        call.slot: call for call in reversed(graph.calls)
    }  # where nested models return a layer's output, the layer
    return [calls[slot] for slot in sorted(calls) if graph.shapes[slot] == shape and graph.is_cut_point(calls[slot])]


def _entry(graph: Graph, step: Step, trunk: Sequence[Call]) -> int:
    """Return the index of the last tensor of the trunk before a step, or -1."""
    read = set(step.sources.values())
    read.update(slot for before in graph.ancestors(read) for slot in before.outputs)
    return max((index for index, call in enumerate(trunk) if call.slot in read), default=-1)


def _kinds(calls: Sequence[Call]) -> list[str]:
    return [type(call.operation).__name__ for call in calls]


def _check_outputs(graph: Graph, end: Call) -> None:
    """Check that the outputs read no tokens of attention beside the output of the last block."""
    beside = graph.ancestors(graph.frontier(end.slot, graph.outputs))
    if any(isinstance(step.operation, keras.layers.MultiHeadAttention) for step in beside):
        raise ValueError(
            f"Expected outputs that read the tokens of the last block alone, '{end.path}', received an output that "
            f"reads tokens before it. {NO_BLOCKS}"
        )


_MAX_PREFIX_TOKENS = 8  # a class token, a distillation token and some registers


@dataclass(frozen=True)
class TokenLayout:
    """The positions of an image's patches among its tokens.

    Attributes:
        prefix: number of prefix tokens.
        grid: (rows, columns) of the patches, which follow row by row.
    """

    prefix: int
    grid: tuple[int, int]

    def to_grid(self, tokens: Any) -> Any:
        """Return the patches (B, H, W, C) of tokens (B, T, C)."""
        return tf.reshape(tokens[:, self.prefix :], [-1, *self.grid, tokens.shape[-1]])

    def to_tokens(self, prefix: Any, patches: Any) -> Any:
        """Join the prefix (B, P, C) and patches (B, H, W, C) to tokens (B, T, C)."""
        flat = tf.reshape(patches, [-1, self.grid[0] * self.grid[1], patches.shape[-1]])
        return flat if self.prefix == 0 else tf.concat([prefix, flat], axis=1)


def find_layout(
    token_count: int | None, image_shape: Sequence[int | None], token_grid: Sequence[int] | None = None
) -> TokenLayout:
    """Find the grid of patches from the number of tokens and the size of the image.

    Patches are square and tile the image: their side divides H0 and W0. Of the prefixes of 0 to 8 tokens that leave
    such a grid of at least two patches, the smallest counts.

    Args:
        token_count: T.
        image_shape: (B, H0, W0, 3) of the model's images.
        token_grid: (rows, columns) if known; all tokens before the patches are the prefix.

    Raises:
        TypeError: `token_grid` is not a pair of whole numbers.
        ValueError: no such grid; more patches in `token_grid` than tokens; T is unknown.
    """
    height, width = image_shape[1:3]
    images = f"images {shown(image_shape)}"
    remedies = (
        "Pass token_grid=(rows, columns), or explain a layer (B, H, W, C).",
        "Explain a layer (B, H, W, C), or pass token_grid=(rows, columns) in Python.",
    )
    if token_count is None:
        raise ValueError(
            f"Expected a layer with a fixed number of tokens for {images}, received (B, None, C). Build the model for "
            "images of one size, or explain a layer (B, H, W, C)."
        )
    if token_grid is not None:
        rows, columns = _checked_grid(token_grid)
        if rows * columns > token_count:
            raise ValueError(
                f"Expected token_grid of at most {token_count} patches, the layer's tokens, received {rows} x {columns}"
                f" = {rows * columns}."
            )
        return TokenLayout(token_count - rows * columns, (rows, columns))
    if height is None or width is None:
        fact = f"Expected images of a known size to find the grid of {token_count} tokens, received {images}."
        raise ValueError(Message(fact, *remedies))
    sides = [side for side in range(1, max(height, width)) if height % side == 0 and width % side == 0]
    grids = {height // side * (width // side): (height // side, width // side) for side in sides}
    for prefix in range(_MAX_PREFIX_TOKENS + 1):
        grid = grids.get(token_count - prefix)
        if grid is not None:
            return TokenLayout(prefix, grid)
    fact = (
        f"Expected tokens of square patches that tile {images}, after at most {_MAX_PREFIX_TOKENS} prefix tokens, "
        f"received {token_count} tokens, which fit no such grid."
    )
    raise ValueError(Message(fact, *remedies))


def _checked_grid(token_grid: Any) -> tuple[int, int]:
    try:
        sides = [operator.index(side) for side in token_grid]
    except TypeError:
        raise TypeError(f"Expected token_grid as two whole numbers (rows, columns), received {token_grid!r}.") from None
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"Expected token_grid as two positive numbers (rows, columns), received {token_grid!r}.")
    return sides[0], sides[1]


def are_tokens(shape: Sequence[int | None], image_shape: Sequence[int | None]) -> bool:
    """Return whether a layer (B, T, C) holds tokens of images; signals have inputs of rank 3."""
    return len(shape) == 3 and len(image_shape) == 4


def on_grid(split: SplitModel, token_grid: Sequence[int] | None = None) -> SplitModel:
    """Return the split with the layer's patches as activations (B, H, W, C); the prefix tokens join the frontier.

    Every rule then sees a grid, and probing changes a channel in the patches alone, not in the class token.

    Args:
        split: cut at any layer; returned unchanged if the layer does not hold tokens of images, or tokens that move
            along one axis of the picture alone, such as time steps of a spectrogram.
        token_grid: (rows, columns), or None to find them, see `find_layout`.

    Raises:
        TypeError, ValueError: as `find_layout`; a `token_grid` for a layer without tokens; tokens with a mask, or that
            do not follow places in the picture.
    """
    if not are_tokens(split.activation_shape, split.inputs.image_shape):
        if token_grid is not None:
            raise ValueError(
                f"Expected token_grid only for a layer (B, T, C) of a model of images, received {token_grid!r} for "
                f"layer '{split.layer_name}' {shown(split.activation_shape)}. Leave it out."
            )
        return split
    cells = _known_cells(split) if token_grid is None else None
    if cells is not None and len(cells.axes) == 1:
        return split
    if cells is None or cells.prefix is None:
        layout = find_layout(_token_count(split), split.inputs.image_shape, token_grid)
    else:
        rows, columns = (axis.size for axis in cells.axes if axis is not None)
        layout = TokenLayout(cells.prefix, (rows, columns))
    name = split.layer_name

    def extract(inputs: Sequence[Any]) -> list[Any]:
        tokens, *frontier = split.extract_unseen(inputs)
        if mask_of(tokens) is not None:
            raise ValueError(f"Expected tokens of an image at layer '{name}', received tokens with a mask, as of text.")
        prefix = [tokens[:, : layout.prefix]] if layout.prefix else []
        return [layout.to_grid(tokens), *prefix, *frontier]

    def finish(tensors: Sequence[Any]) -> Any:
        patches, *others = tensors
        prefix = None
        if layout.prefix and others:
            prefix = others.pop(0)
        elif layout.prefix:
            # Patches alone, from the test of `linear_tail`: zeros show whether the tail reads the prefix.
            prefix = tf.zeros((tf.shape(patches)[0], layout.prefix, patches.shape[-1]), patches.dtype)
        return split.finish([layout.to_tokens(prefix, patches), *others])

    gridded = SplitModel(split.inputs, split.found, extract, finish)
    gridded.activation_shape = (split.activation_shape[0], *layout.grid, split.activation_shape[-1])
    gridded.is_given = token_grid is not None
    if cells is None and token_grid is None and None not in split.inputs.image_shape[1:]:
        _checked_cells(gridded, gridded.cells(sizes_of(split.inputs.specs)))
    return gridded


def _known_cells(split: SplitModel) -> Cells | None:
    """Return the cells of tokens where the axes of the picture can be followed to them.

    Raises:
        ValueError: they can, and the tokens do not follow places.
    """
    if None in split.inputs.image_shape[1:]:
        return None
    cells = cells_at(split.inputs, split.found)
    return None if cells is None else _checked_cells(split, cells)


def _checked_cells(split: SplitModel, cells: Cells | str | None) -> Cells | None:
    if not isinstance(cells, str):
        return cells
    raise ValueError(
        Message(
            f"Layer '{split.layer_name}' cannot be explained: {cells}.",
            "Pass another layer, see list_layers(model), or token_grid=(rows, columns) if its tokens are patches.",
            "Pass another --layer, see `tf-gradcam layers MODEL`.",
        )
    )


def _token_count(split: SplitModel) -> int | None:
    """Return T, from the whole model if a nested one leaves it open."""
    view, call = split.found.view, split.found.call
    return call.shape[1] or view.known_shapes(split.inputs.specs)[view.calls.index(call)][1]
