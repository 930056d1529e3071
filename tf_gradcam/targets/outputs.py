"""Targets on values, elements, embeddings and one of several outputs.

Axis legend: B images, K classes. Outputs are the scores before a final softmax or sigmoid (logits), float32, in the
model's own structure. Any callable `outputs -> (B,)` is a target.

Equal arguments make equal targets, which share one compiled pass. Targets raise TypeError or ValueError for invalid
arguments when they are created, and ValueError for outputs of the wrong kind on the first call, during tracing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_gradcam._errors import unknown_name
from tf_gradcam._files.class_names import ClassNames
from tf_gradcam._models.reader import shown
from tf_gradcam.targets.base import (
    Class,
    FrozenArray,
    NamedTarget,
    Target,
    as_position,
    called,
    column,
    name_of,
    of_rank,
    one_output,
)
from tf_gradcam.targets.classes import as_target


@dataclass(frozen=True)
class Value(NamedTarget):
    """A value of a regression model; its map shows the evidence for a larger value, and for a smaller one.

    Args:
        index: position in outputs (B, K), or 0 for outputs (B,); of values with places (B, H, W, K), as of a depth
            model, their mean over the places. Defaults to 0.
    """

    index: int = 0
    signed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._set(index=as_position(self.index))

    def __call__(self, outputs: Any) -> tf.Tensor:
        values = one_output(outputs, self)
        if values.shape.rank is None or values.shape.rank > 2:
            places = column(values, self.index, self)
            return tf.reduce_mean(tf.reshape(places, [tf.shape(places)[0], -1]), axis=1)
        return column(values[:, None] if values.shape.rank == 1 else values, self.index, self)

    def label(self, names: ClassNames, unit_count: int | None = None) -> str:
        return names.value_label(self.index, unit_count)


@dataclass(frozen=True)
class Distance(NamedTarget):
    """Minus the distance of a value from a reference; its map shows the evidence that brings them together.

    Its gradient is the value's gradient, with the opposite sign above the reference; at the reference gradient and map
    are zero. The reference may be the value of another picture:

        explainer(images, Distance(explainer(reference).scores[0], of="mother.jpg"))

    Args:
        value: the reference in the units of the model's output, finite.
        index: position of the value, as of `Value`. Defaults to 0.
        of: name of the picture whose value the reference is, for labels. Defaults to "", none.
    """

    value: float
    index: int = 0
    of: str = ""
    signed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float, np.integer, np.floating)):
            raise TypeError(f"Expected value as a number, received {self.value!r}.")
        if not math.isfinite(self.value):
            raise ValueError(f"Expected a finite value, received {self.value!r}.")
        self._set(value=float(self.value), index=as_position(self.index), of=str(self.of))

    def __call__(self, outputs: Any) -> tf.Tensor:
        return -tf.abs(Value(self.index)(outputs) - self.value)

    def label(self, names: ClassNames, unit_count: int | None = None) -> str:
        near = f"{names.value_label(self.index, unit_count)} near {self.value:.4g} {names.unit}".rstrip()
        return f"{near}, the value of {self.of}" if self.of else near


@dataclass(frozen=True, init=False)
class Element(NamedTarget):
    """One number of the outputs, `outputs[:, i, j, ...]`.

    It explains one box of a detector: in raw outputs (B, N, 4 + K), before non-maximum suppression, box n has its score
    of class k at Element(n, 4 + k), and its sides at Element(n, 0) to Element(n, 3). The best box of an image for class
    k is `n = model.predict(images)[0, :, 4 + k].argmax()`.

    Args:
        *index: one position for each axis after the first.
    """

    index: tuple[int, ...]

    def __init__(self, *index: int):
        if not index:
            raise ValueError("Expected a position for each axis of the outputs, received none.")
        self._set(index=tuple(as_position(item) for item in index))

    def __call__(self, outputs: Any) -> tf.Tensor:
        values = of_rank(outputs, 1 + len(self.index), self)
        for axis, (position, length) in enumerate(zip(self.index, values.shape[1:], strict=True), start=1):
            if length is not None and position >= length:
                raise ValueError(
                    f"Expected a position below {length} on axis {axis} of {shown(values.shape)}, received {position}."
                )
        place = (slice(None), *self.index)
        return values[place]

    def label(self, names: ClassNames, unit_count: int | None = None) -> str:
        return f"output[{', '.join(map(str, self.index))}]"


@dataclass(frozen=True)
class Similarity(NamedTarget):
    """Cosine similarity of the outputs and the embedding of another image.

    Args:
        embedding: (D,) numbers, not all zero, such as `model.predict(others)[0]`.
    """

    embedding: NDArray[Any]

    def __post_init__(self) -> None:
        try:
            vector = np.asarray(self.embedding, np.float64)
        except (TypeError, ValueError) as error:
            received = type(self.embedding).__name__
            raise TypeError(f"Expected embedding as an array of numbers (D,), received {received}.") from error
        if vector.ndim != 1:
            raise ValueError(f"Expected an embedding of shape (D,), received {vector.shape}.")
        if not np.isfinite(vector).all() or not vector.any():
            raise ValueError("Expected an embedding of finite numbers that are not all zero.")
        self._set(embedding=FrozenArray.of(vector))

    def __call__(self, outputs: Any) -> tf.Tensor:
        values = of_rank(outputs, 2, self)
        if values.shape[-1] not in (None, *self.embedding.shape):
            raise ValueError(
                f"Expected an embedding of {values.shape[-1]} numbers, as many as the outputs have, received "
                f"{self.embedding.shape[0]}."
            )
        vector = np.asarray(self.embedding)
        unit = tf.constant(vector / np.linalg.norm(vector), values.dtype)
        return tf.linalg.matvec(tf.math.l2_normalize(values, axis=-1), unit)

    def label(self, names: ClassNames, unit_count: int | None = None) -> str:
        return "similarity"


@dataclass(frozen=True)
class OutputOf(NamedTarget):
    """A target on one of several outputs.

    Args:
        output: name in a dict of outputs, or position in a list.
        target: a callable on that output, or a class, or None for each image's top class. Defaults to None.
    """

    output: str | int
    target: Class | Target = None

    def __post_init__(self) -> None:
        output = self.output if isinstance(self.output, str) else as_position(self.output)
        self._set(output=output, target=as_target(self.target))

    @property
    def signed(self) -> bool:  # type: ignore[override]
        return getattr(self.target, "signed", False)

    def __call__(self, outputs: Any) -> tf.Tensor:
        if isinstance(outputs, dict):
            if self.output not in outputs:
                raise ValueError(unknown_name("output", str(self.output), map(str, outputs)))
        elif not isinstance(outputs, (list, tuple)):
            raise ValueError(f"Expected a model of several outputs for {self!r}, received one. Use its target alone.")
        elif isinstance(self.output, str) or self.output >= len(outputs):
            raise ValueError(f"Expected a position below {len(outputs)} in the outputs, received {self.output!r}.")
        return called(self.target, outputs[self.output])

    def label(self, names: ClassNames, unit_count: int | None = None) -> str:
        return f"{self.output if isinstance(self.output, str) else f'output {self.output}'}: {name_of(self.target)}"

    def sides(self, names: ClassNames, unit_count: int | None = None) -> tuple[str, str] | None:
        return self.target.sides(ClassNames(None)) if isinstance(self.target, NamedTarget) else None
