"""Attention layers, wherever they are: in the model's graph, inside other layers, or in a `call` of its own.

The `call` of a layer is wrapped while the model is traced, see `wrapped`; the model itself stays unchanged.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import keras
import tensorflow as tf

from tf_gradcam._models.graph import Graph
from tf_gradcam._models.keras_internals import sublayers
from tf_gradcam._models.transformers import NO_BLOCKS
from tf_gradcam._models.watched import WatchedModel, wrapped

Wrapper: TypeAlias = Callable[..., Any]  # called as wrapper(layer.call, *args, **kwargs) in place of layer.call


def holders_of_attention(view: Graph | WatchedModel) -> list[tuple[str, Any]]:
    """Return (path, layer) of each attention layer that may lead to the outputs, and of each layer that holds one."""
    if isinstance(view, Graph):
        steps = view.ancestors(view.outputs)
        called = [step for step in steps if step.function is None]  # the others enter a nested model
        top = [(step.path, step.operation) for step in called if isinstance(step.operation, keras.layers.Layer)]
    else:
        top = sublayers(view.model)
    found: dict[int, tuple[str, Any]] = {}
    for path, layer in top:
        for inner_path, inner in [(path, layer), *sublayers(layer, f"{path}/")]:
            if is_attention(inner) or any(is_attention(deeper) for _, deeper in sublayers(inner)):
                found.setdefault(id(inner), (inner_path, inner))
    return list(found.values())


def is_attention(layer: Any) -> bool:
    return isinstance(layer, keras.layers.MultiHeadAttention)


@contextlib.contextmanager
def all_wrapped(wrappers: Sequence[tuple[Any, Wrapper]]) -> Iterator[None]:
    """Replace the `call` of several layers within, see `wrapped`."""
    with contextlib.ExitStack() as stack:
        for layer, wrapper in wrappers:
            stack.enter_context(wrapped(layer, wrapper))
        yield


class AttentionScores:
    """The scores of the attention layers of a model, read while it is traced: `with scores.wrapping(): ...`.

    Args:
        view: of the model.
        watch: called with the query of each call before it runs.
        remedy: the end of messages.

    Attributes:
        seen: the scores (B, N, T, T) of each call, in the order of execution.
    """

    def __init__(self, view: Graph | WatchedModel, watch: Callable[[Any], None], remedy: str):
        self.seen: list[Any] = []
        self._held = [(path, layer) for path, layer in holders_of_attention(view) if is_attention(layer)]
        self._watch, self._remedy = watch, remedy
        self._refusals: list[str] = []  # raised behind the run: Keras would put a message of its own around an error

    @contextlib.contextmanager
    def wrapping(self) -> Iterator[None]:
        """Read the scores of the calls that are made within.

        Raises:
            ValueError: at the end, for tokens that attend to others, and a layer that does not return its scores.
        """
        with all_wrapped([(layer, self._reading(path)) for path, layer in self._held]):
            yield
        if self._refusals:
            raise ValueError(f"{self._refusals[0]} {self._remedy}")

    def _reading(self, path: str) -> Wrapper:
        def attend(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            signature = inspect.signature(call)
            if "return_attention_scores" not in signature.parameters:
                self._refusals.append(
                    f"Expected an attention layer that returns its scores, received '{path}', whose `call` does not."
                )
                return call(*args, **kwargs)
            bound = signature.bind(*args, **kwargs)
            given = bound.arguments
            others = (given["value"], given.get("key"))
            if any(other is not None and _origin(other) is not _origin(given["query"]) for other in others):
                self._refusals.append(
                    f"Expected tokens that attend to each other, received layer '{path}', whose query and value "
                    "differ (cross attention, or pooling by a query of its own)."
                )
            is_asked = given.get("return_attention_scores", False)
            given["return_attention_scores"] = True
            self._watch(given["query"])
            result, scores = call(*bound.args, **bound.kwargs)
            self.seen.append(scores)
            return (result, scores) if is_asked else result

        return attend


def _origin(tensor: Any) -> Any:
    """Return the tensor before casts: Keras casts each argument of a layer by itself."""
    while tensor.op.type in ("Cast", "Identity"):
        tensor = tensor.op.inputs[0]
    return tensor


def check_attention(view: Graph | WatchedModel, specs: Sequence[Any], remedy: str) -> None:
    """Check that the scores of all attention layers can be read, as `AttentionScores` does, for inputs of `specs`."""
    scores = AttentionScores(view, lambda query: None, remedy)

    def run(*inputs: Any) -> None:
        with scores.wrapping():
            view.forward(list(inputs))

    tf.function(run, autograph=False).get_concrete_function(*specs)


class Block(NamedTuple):
    """One call of a layer that is an encoder block.

    Attributes:
        layer: the block.
        number: of the call among those of the layer, from 0.
        slot: the position of the tokens among the tensors that it returns.
    """

    layer: Any
    number: int
    slot: int


@dataclass
class _Open:
    """A call of a layer, while it runs and after."""

    layer: Any
    path: str
    number: int
    tokens: Any  # its first tensor
    attention_count: int = 0
    results: list[Any] = field(default_factory=list)

    @property
    def slot(self) -> int | None:
        """The position of the first result of the shape of the tokens, None without one."""
        shape = self.tokens.shape
        alike = (n for n, result in enumerate(self.results) if tf.is_tensor(result) and result.shape == shape)
        return next(alike, None)


def inner_blocks(view: Graph | WatchedModel, specs: Sequence[Any]) -> list[Block]:
    """Return the encoder blocks of a model whose attention is inside other layers, in the order of their calls.

    The block of an attention layer is the outermost layer that holds no other attention; each reads the tokens that
    the one before returned.

    Args:
        view: of the model.
        specs: of its inputs.

    Returns:
        One `Block` for each; an empty list for a single one, whose end does not matter.

    Raises:
        ValueError: the blocks are not alike, or do not read each other's tokens.
    """
    running: list[_Open] = []
    chains: list[list[_Open]] = []  # from the outermost layer to the attention layer
    counts: dict[int, int] = {}

    def watching(path: str, layer: Any) -> Wrapper:
        def watch(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            number = counts.get(id(layer), 0)
            counts[id(layer)] = number + 1
            tokens = next(filter(tf.is_tensor, keras.tree.flatten((args, kwargs))), None)
            running.append(opened := _Open(layer, path, number, tokens))
            if is_attention(layer):
                chains.append(list(running))
            try:
                result = call(*args, **kwargs)
            finally:
                running.pop()
            opened.results = keras.tree.flatten(result)
            return result

        return watch

    def run(*inputs: Any) -> None:
        chains.clear()  # TensorFlow traces twice where layers make their variables
        counts.clear()
        before = operations_before(view.forward(list(inputs)))
        chains[:] = [chain for chain in chains if id(chain[-1].results[0].op) in before]

    holders = holders_of_attention(view)
    with all_wrapped([(layer, watching(path, layer)) for path, layer in holders]):
        tf.function(run, autograph=False).get_concrete_function(*specs)
    for opened in itertools.chain.from_iterable(chains):
        opened.attention_count += 1
    blocks = [next(opened for opened in chain if opened.attention_count == 1) for chain in chains]
    if len(blocks) < 2:
        return []
    are_alike = len({type(block.layer) for block in blocks}) == 1 and all(block.slot is not None for block in blocks)
    if not are_alike or any(
        before.results[before.slot or 0] is not after.tokens for before, after in itertools.pairwise(blocks)
    ):
        raise ValueError(
            "Expected encoder blocks that are alike, each a layer that reads the tokens of the one before, received "
            f"attention in {[block.path for block in blocks[:4]]}. {NO_BLOCKS}"
        )
    return [Block(block.layer, block.number, block.slot or 0) for block in blocks]


def blocks_wrapped(
    blocks: Sequence[Block], instead: Callable[[int, Callable[[], Any]], Any]
) -> list[tuple[Any, Wrapper]]:
    """Return wrappers that hand on `instead(position, run)` in place of the results of each block, for one run.

    Args:
        blocks: of `inner_blocks`.
        instead: called with the position of a block and a function that runs it and returns what it returns.
    """
    positions = {(id(block.layer), block.number): position for position, block in enumerate(blocks)}

    def wrapper_of(layer: Any) -> Wrapper:
        count = 0

        def wrapper(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            nonlocal count
            position, count = positions.get((id(layer), count)), count + 1
            return call(*args, **kwargs) if position is None else instead(position, lambda: call(*args, **kwargs))

        return wrapper

    layers = {id(block.layer): block.layer for block in blocks}
    return [(layer, wrapper_of(layer)) for layer in layers.values()]


def operations_before(outputs: Any) -> set[int]:
    """Return the identities of the operations that symbolic outputs are computed with."""
    waiting, known = [tensor.op for tensor in keras.tree.flatten(outputs)], set[int]()
    while waiting:
        operation = waiting.pop()
        if id(operation) not in known:
            known.add(id(operation))
            waiting += [tensor.op for tensor in operation.inputs]
    return known
