"""Class targets.

Axis legend: B images, K classes. A class is an index, a name (see `with_indices`), or, where documented, None for each
image's top class. One sigmoid unit is two classes: class 1 has its logit, class 0 minus its logit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tf_gradcam._files.class_names import ClassNames
from tf_gradcam._models.reader import shown
from tf_gradcam.targets.base import (
    Class,
    NamedTarget,
    Target,
    as_class,
    called,
    chosen_classes,
    class_logits,
    column,
    is_integer,
    label_of,
    name_of,
    of_rank,
    pick,
    without,
)

_REFERENCES = 3  # nearest classes that Finer-CAM compares with


@dataclass(frozen=True)
class ClassScore(NamedTarget):
    """The score of one class; inside other targets a class index or name is enough.

    Args:
        index: class of outputs (B, K), or None for each image's top class.
    """

    index: Class
    classes: ClassVar = ("index",)

    def __post_init__(self) -> None:
        self._set(index=as_class(self.index, or_top=True))

    def __call__(self, outputs: Any) -> tf.Tensor:
        logits = class_logits(outputs, self)
        return pick(logits, chosen_classes(logits, self.index, self))

    def label(self, names: ClassNames, unit_count: int | None = None) -> str:
        return label_of(self.index, names)


@dataclass(frozen=True)
class Unit(NamedTarget):
    """One sigmoid unit, from either side: the evidence for yes, or for no.

    Args:
        index: unit of outputs (B, K), a label of a multi-label model, or 0 for a single unit; the name of a class of a
            single unit means the side of that class.
        positive: False for minus the logit. Defaults to True.
    """

    index: Class = 0
    positive: bool = True
    classes: ClassVar = ("index",)

    def __post_init__(self) -> None:
        self._set(index=as_class(self.index), positive=bool(self.positive))

    def __call__(self, outputs: Any) -> tf.Tensor:
        logits = of_rank(outputs, 2, self)
        if logits.shape[-1] == 1 and self.index != 0:
            raise ValueError(
                f"Expected Unit(0), or Unit(0, positive=False) for the other side, of the only unit of outputs "
                f"{shown(logits.shape)}, received {self!r}."
            )
        logit = column(logits, self.index, self)
        return logit if self.positive else -logit

    def resolved(self, **changes: Any) -> NamedTarget:
        """Return the score of the class that the name means: one side of a single unit."""
        own = ClassScore(changes["index"])
        return own if self.positive else Counterfactual(own)

    def label(self, names: ClassNames, unit_count: int | None = None) -> str:
        index = 1 if unit_count == 1 and self.index == 0 else self.index
        is_class = isinstance(index, str) or index in names.by_index
        label = label_of(index, names) if is_class else f"unit {self.index}"
        return label if self.positive else f"not {label}"


@dataclass(frozen=True)
class MultiLabel(NamedTarget):
    """The sum of the logits of several labels; its map before relu is the sum of their maps.

    Args:
        indices: labels of outputs (B, K), at least one.
    """

    indices: tuple[Class, ...]
    classes: ClassVar = ("indices",)

    def __post_init__(self) -> None:
        if not isinstance(self.indices, (list, tuple, range)) or len(self.indices) == 0:
            raise ValueError(f"Expected indices as a list of at least one label, received {self.indices!r}.")
        self._set(indices=tuple(as_class(index) for index in self.indices))

    def __call__(self, outputs: Any) -> tf.Tensor:
        logits = of_rank(outputs, 2, self)
        if logits.shape[-1] == 1:
            raise ValueError(
                f"Expected outputs of several labels for {self!r}, received {shown(logits.shape)}. One unit is "
                "Unit(0), or Unit(0, positive=False) for the other side."
            )
        return tf.add_n([column(logits, index, self) for index in self.indices])

    def label(self, names: ClassNames, unit_count: int | None = None) -> str:
        return " + ".join(label_of(index, names) for index in self.indices)


@dataclass(frozen=True)
class Counterfactual(NamedTarget):
    """The evidence against a target: minus its score.

    Args:
        target: a callable, or a class, or None for each image's top class.

    Source: Selvaraju et al. 2017, counterfactual explanations, https://arxiv.org/abs/1610.02391. Deviation: none.
    """

    target: Class | Target
    signed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._set(target=as_target(self.target))

    def __call__(self, outputs: Any) -> tf.Tensor:
        return -called(self.target, outputs)

    def label(self, names: ClassNames, unit_count: int | None = None) -> str:
        return f"against {name_of(self.target, names, unit_count)}"

    def sides(self, names: ClassNames, unit_count: int | None = None) -> tuple[str, str] | None:
        name = name_of(self.target, names, unit_count)
        return f"for {name}", f"against {name}"

    def of_outputs(self, values: np.ndarray, names: ClassNames) -> NamedTarget:
        return Counterfactual(self.target.of_outputs(values, names)) if isinstance(self.target, NamedTarget) else self


@dataclass(frozen=True)
class Contrast(NamedTarget):
    """The contrast between two classes: the difference of their scores.

    Args:
        index: class of outputs (B, K), or None for each image's top class.
        against: the other class, or None for each image's best class except `index`. An image whose top class is
            `against` has the score zero and a blank map.
    """

    index: Class = None
    against: Class = None
    signed: ClassVar[bool] = True
    classes: ClassVar = ("index", "against")

    def __post_init__(self) -> None:
        self._set(index=as_class(self.index, or_top=True), against=as_class(self.against, or_top=True))
        if self.index is not None and self.index == self.against:
            raise ValueError(f"Expected two different classes, received {self.index!r} twice.")

    def __call__(self, outputs: Any) -> tf.Tensor:
        logits = class_logits(outputs, self)
        chosen = chosen_classes(logits, self.index, self)
        others = without(logits, chosen, logits.dtype.min) if self.against is None else logits
        return pick(logits, chosen) - pick(logits, chosen_classes(others, self.against, self))

    def label(self, names: ClassNames, unit_count: int | None = None) -> str:
        other = "runner-up" if self.against is None else label_of(self.against, names)
        return f"{label_of(self.index, names)} - {other}"

    def sides(self, names: ClassNames, unit_count: int | None = None) -> tuple[str, str] | None:
        other = "the runner-up" if self.against is None else label_of(self.against, names)
        return f"for {other}", f"for {label_of(self.index, names)}"

    def of_outputs(self, values: np.ndarray, names: ClassNames) -> NamedTarget:
        """Return the contrast of the two classes that it is for these logits; unchanged where an image has only one."""
        logits = np.array([-values[0], values[0]]) if values.shape == (1,) else values
        index, against = (names.index(one) if isinstance(one, str) else one for one in (self.index, self.against))
        index = int(logits.argmax()) if index is None else index
        others = np.where(np.arange(len(logits)) == index, -np.inf, logits)
        against = int(others.argmax()) if against is None else against
        return self if index == against else Contrast(index, against)


@dataclass(frozen=True)
class Finer(NamedTarget):
    """The difference of a class from similar ones: its score less a part of the mean score of the nearest classes.

    Args:
        index: class of outputs (B, K), or None for each image's top class.
        references: number of nearest classes, whose scores differ least from its own, above or below; at most K - 1.
            None for the paper's 3, or all others of a model of fewer classes.
        strength: the part, finite and at least 0; 0 explains the class alone. Defaults to the paper's 0.6.

    Source: Zhang et al. 2025, Finer-CAM, https://arxiv.org/abs/2501.11309: y_c - strength * y_d, averaged over the
    references d before the relu. Deviation: of the paper's two ways to find references, the cosine of the classifier's
    weights and the scores, only the second; by distance, as in the authors' code, so a class other than the top class
    has neighbours on both sides. That code also weights the references by their probabilities; here the weights are
    equal.
    """

    index: Class = None
    references: int | None = None
    strength: float = 0.6
    signed: ClassVar[bool] = True
    classes: ClassVar = ("index",)

    def __post_init__(self) -> None:
        if self.references is not None and (not is_integer(self.references) or self.references < 1):
            raise ValueError(f"Expected references as a number of classes of at least 1, received {self.references!r}.")
        if not 0.0 <= self.strength < math.inf:
            raise ValueError(f"Expected strength of at least 0, received {self.strength!r}.")
        self._set(index=as_class(self.index, or_top=True), strength=float(self.strength))

    def __call__(self, outputs: Any) -> tf.Tensor:
        logits = class_logits(outputs, self)
        others = logits.shape[-1] - 1
        count = min(_REFERENCES, others) if self.references is None else self.references
        if count > others:
            raise ValueError(
                f"Expected at most {others} references for {others + 1} classes, received {count}. Pass references=."
            )
        chosen = chosen_classes(logits, self.index, self)
        own = pick(logits, chosen)
        distances = without(tf.abs(logits - own[:, None]), chosen, logits.dtype.max)
        nearest = tf.math.top_k(-distances, count).indices
        return own - self.strength * tf.reduce_mean(pick(logits, nearest), axis=-1)

    def label(self, names: ClassNames, unit_count: int | None = None) -> str:
        return f"{label_of(self.index, names)} - {self.strength:g} * nearest {self.references or _REFERENCES}"

    def sides(self, names: ClassNames, unit_count: int | None = None) -> tuple[str, str] | None:
        return f"for the {self.references or _REFERENCES} nearest classes", f"for {label_of(self.index, names)}"


def as_target(value: Class | Target) -> Target:
    """Return a callable unchanged, and a class (None: each image's top class) as its score."""
    return value if callable(value) else ClassScore(value)
