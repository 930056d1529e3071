"""Class targets, and the scores of classes.

Axis legend: B images, K classes. A class is an index, its name (see `with_indices`), or, where it says so, None for
each image's top class. One sigmoid unit is two classes, as everywhere: class 1 has its logit, class 0 minus its logit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tf_gradcam._errors import Message, unknown_name
from tf_gradcam._models.head import Head, probabilities
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
    shown,
    without,
)

TOP_CLASS = -1  # in an array of class indices: each image's own best class


class ClassNames:
    """Names of the classes, by index and back.

    Args:
        names: sequence of names in class order, or a mapping from index to name; None where there are none.

    Raises:
        TypeError: neither, or a name that is no string.
        ValueError: a mapping with one class twice, as "1" and 1.
    """

    def __init__(self, names: Sequence[str] | Mapping[int, str] | None):
        if names is not None and (isinstance(names, str) or not isinstance(names, (Sequence, Mapping, np.ndarray))):
            remedy = ""
            if isinstance(names, str):
                remedy = " Of a file: open(path).read().splitlines()."
            raise TypeError(f"Expected class_names as a list of names, received {type(names).__name__}.{remedy}")
        items = list(names.items() if isinstance(names, Mapping) else enumerate([] if names is None else names))
        for index, name in items:
            if not (str(index).isdecimal() and isinstance(name, str)):  # "3" as well: so JSON spells the keys
                is_turned = isinstance(index, str) and isinstance(name, (int, np.integer))
                remedy = " Turn it around: {index: name for name, index in class_names.items()}." if is_turned else ""
                raise TypeError(
                    "Expected class_names as a list of strings or a mapping {index: string}, received "
                    f"{name!r} for class {index!r}.{remedy}"
                )
        self.by_index = {int(index): str(name) for index, name in items}
        if len(self.by_index) < len(items):
            raise ValueError(f"Expected each class once in class_names, received the keys {[key for key, _ in items]}.")
        self.is_given = names is not None
        self._is_list = self.is_given and not isinstance(names, Mapping)

    def label(self, index: int) -> str:
        """The name of class `index`, its number where it has none."""
        return self.by_index.get(int(index), str(int(index)))

    def index(self, name: str) -> int:
        """The class called `name`, whatever its case; underscores and spaces are one, and so are synonyms between
        commas.

        Raises:
            ValueError: no names are known, or not this one; several classes have it.
        """
        if not self.is_given:
            fact = f"Expected a class index as target, received the name '{name}': no names are known."
            raise ValueError(Message(fact, "Pass class_names=[...].", "Give names by --class-names."))
        found = [index for index, known in self.by_index.items() if _plain(known) == _plain(name)]
        if not found:  # ImageNet's names list synonyms: "Afghan hound, Afghan"
            parts = {index: map(_plain, known.split(",")) for index, known in self.by_index.items()}
            found = [index for index, synonyms in parts.items() if _plain(name) in synonyms]
        if not found:
            raise ValueError(unknown_name("class", name, self.by_index.values()))
        if len(found) > 1:  # ImageNet has two cranes
            raise ValueError(f"Class name '{name}' is not unique: pass one of the indices {found}.")
        return found[0]

    def check_count(self, class_count: int) -> None:
        """As many names as classes, where they come as a list.

        Raises:
            ValueError: another number of names.
        """
        count = len(self.by_index)
        if max(self.by_index, default=0) >= class_count or (self._is_list and count != class_count):
            fact = f"Expected names of {class_count} classes, received {count}: is this the list of another model?"
            raise ValueError(
                Message(fact, "A mapping {index: name} may leave classes out.", "Name each by --class-names.")
            )


def _plain(name: str) -> str:
    return name.replace("_", " ").strip().casefold()


def class_indices(target: Any, image_count: int, names: ClassNames) -> np.ndarray:
    """Class indices (B,) int32 for None, an index, a name, or one of either per image.

    Raises:
        TypeError: neither.
        ValueError: unknown name, or another number of targets than of images.
    """
    if target is None:
        return np.full(image_count, TOP_CLASS, np.int32)
    if isinstance(target, (str, int, np.integer)) and not isinstance(target, bool):
        target = [target] * image_count
    elif hasattr(target, "__array__"):
        target = np.asarray(target)
        if target.dtype.kind == "f" and target.ndim:
            raise TypeError(
                f"Expected a class index or name per image as target, received floats of shape {target.shape}: scores "
                "or one-hot labels? target.argmax(-1) are their classes, None is each image's top class."
            )
        target = target.tolist()
        target = [target] * image_count if isinstance(target, int) else target
    if isinstance(target, bool) or not isinstance(target, (list, tuple)):
        raise TypeError(
            "Expected target as None, a class index, a class name, one of these per image, or a callable "
            f"outputs -> (B,), received {type(target).__name__}."
        )
    if len(target) != image_count:
        raise ValueError(f"Expected one target per image, {image_count} in all, received {len(target)}.")
    return np.array([_one_class(item, names) for item in target], np.int32)


def check_classes(indices: np.ndarray, class_count: int | None, names: ClassNames) -> None:
    """Indices and names within the classes of the model, where its outputs are classes.

    Raises:
        ValueError: an index that is no class, or names of another number of classes.
    """
    if class_count is None:
        return
    names.check_count(class_count)
    if indices.max() >= class_count:
        remedy = ""
        if class_count == 1:
            remedy = "One unit without a sigmoid is a value: what makes it small is target=Unit(0, positive=False)"
        fact = (
            f"Expected a class index below {class_count}, the number of classes of the model, received {indices.max()}."
        )
        raise ValueError(Message(fact, f"{remedy}." if remedy else "", f"{remedy} in Python." if remedy else ""))


def _one_class(item: Any, names: ClassNames) -> int:
    if item is None:
        return TOP_CLASS
    if isinstance(item, str):
        return names.index(item)
    if isinstance(item, (int, np.integer)) and not isinstance(item, bool):
        if not 0 <= item <= np.iinfo(np.int32).max:
            raise ValueError(f"Expected a class index of 0 or more, below the number of classes, received {item}.")
        return int(item)
    raise TypeError(f"Expected a class index or name per image, received {item!r}.")


def class_count(head: Head) -> int | None:
    """How many classes an output tells apart: a single sigmoid unit two; None where its values are no classes."""
    shape = head.logits.shape
    if shape.rank != 2 or shape[-1] is None:
        return None
    return 2 if shape[-1] == 1 and head.kind == "sigmoid" else int(shape[-1])


def class_scores(head: Head, indices: Any) -> tuple[Any, Any]:
    """Scores (B,) of the classes `indices` (B,), and those indices with each top class filled in.

    One sigmoid unit is two classes: the logit speaks for class 1, minus the logit for class 0.
    """
    if class_count(head) is None:
        fact = f"Expected outputs of shape (B, K) for a class target, received {tuple(head.logits.shape)}."
        remedy = "pass target= a callable that takes the outputs and returns one score per image."
        raise ValueError(Message(fact, remedy.capitalize(), f"In Python, {remedy}"))
    logits = head.logits
    if logits.shape[-1] == 1 and head.kind == "sigmoid":
        logits = tf.concat([-logits, logits], axis=-1)
    top = tf.argmax(logits, axis=-1, output_type=tf.int32)
    chosen = tf.where(indices < 0, top, indices)
    return tf.gather(logits, chosen, axis=1, batch_dims=1), chosen


def class_probabilities(head: Head, indices: Any) -> Any:
    """Probabilities (B,) of the classes `indices` (B,); their outputs where those are no probabilities."""
    values = probabilities(head)
    return tf.gather(head.output if values is None else values, indices, axis=1, batch_dims=1)


_REFERENCES = 3  # nearest classes that Finer-CAM compares with


@dataclass(frozen=True)
class ClassScore(NamedTarget):
    """The score of one class; as a part of other targets, a plain class index or name does the same.

    Args:
        index: class of outputs (B, K), or None for each image's top class.
    """

    index: Class
    classes: ClassVar = ("index",)

    def __post_init__(self) -> None:
        self._set(index=as_class(self.index, or_top=True))

    def __call__(self, outputs: Any) -> Any:
        logits = class_logits(outputs, self)
        return pick(logits, chosen_classes(logits, self.index, self))

    @property
    def __name__(self) -> str:
        return label_of(self.index)


@dataclass(frozen=True)
class Unit(NamedTarget):
    """One sigmoid unit, from either side: what speaks for yes, or what speaks for no.

    Args:
        index: unit of outputs (B, K): 0 for the only one, a label of a multi-label model; by name, of the only one,
            the side of that class.
        positive: False for minus the logit. Defaults to True.
    """

    index: Class = 0
    positive: bool = True
    classes: ClassVar = ("index",)

    def __post_init__(self) -> None:
        self._set(index=as_class(self.index), positive=bool(self.positive))

    def __call__(self, outputs: Any) -> Any:
        logits = of_rank(outputs, 2, self)
        if logits.shape[-1] == 1 and self.index != 0:
            raise ValueError(
                f"Expected Unit(0), or Unit(0, positive=False) for the other side, of the only unit of outputs "
                f"{shown(logits)}, received {self!r}."
            )
        logit = column(logits, self.index, self)
        return logit if self.positive else -logit

    def resolved(self, **changes: Any) -> NamedTarget:
        """A name means a class, of which one sigmoid unit has two: its sides."""
        own = ClassScore(changes["index"])
        return own if self.positive else Counterfactual(own)

    @property
    def __name__(self) -> str:
        label = self.index if isinstance(self.index, str) else f"unit {self.index}"
        return label if self.positive else f"not {label}"


@dataclass(frozen=True)
class MultiLabel(NamedTarget):
    """Several labels at once: the sum of their logits, so the map before relu is the sum of theirs.

    Args:
        indices: labels of outputs (B, K), at least one.
    """

    indices: tuple[Class, ...]
    classes: ClassVar = ("indices",)

    def __post_init__(self) -> None:
        if not isinstance(self.indices, (list, tuple, range)) or len(self.indices) == 0:
            raise ValueError(f"Expected indices as a list of at least one label, received {self.indices!r}.")
        self._set(indices=tuple(as_class(index) for index in self.indices))

    def __call__(self, outputs: Any) -> Any:
        logits = of_rank(outputs, 2, self)
        if logits.shape[-1] == 1:
            raise ValueError(
                f"Expected outputs of several labels for {self!r}, received {shown(logits)}. One unit is Unit(0), or "
                "Unit(0, positive=False) for the other side."
            )
        return tf.add_n([column(logits, index, self) for index in self.indices])

    @property
    def __name__(self) -> str:
        return " + ".join(label_of(index) for index in self.indices)


@dataclass(frozen=True)
class Counterfactual(NamedTarget):
    """What speaks against: minus the score of another target.

    Args:
        target: a callable, or a class, or None for each image's top class.

    Source: Selvaraju et al. 2017, counterfactual explanations, https://arxiv.org/abs/1610.02391. Deviation: none.
    """

    target: Any
    signed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._set(target=as_target(self.target))

    def __call__(self, outputs: Any) -> Any:
        return -called(self.target, outputs)

    @property
    def __name__(self) -> str:
        return f"against {name_of(self.target)}"


@dataclass(frozen=True)
class Contrast(NamedTarget):
    """Why this class and not that one: the difference of their scores.

    Args:
        index: class of outputs (B, K), or None for each image's top class.
        against: the other class, or None for each image's best class beside `index`. An image whose top class it is
            itself has nothing to contrast: score zero, blank map.
    """

    index: Class = None
    against: Class = None
    signed: ClassVar[bool] = True
    classes: ClassVar = ("index", "against")

    def __post_init__(self) -> None:
        self._set(index=as_class(self.index, or_top=True), against=as_class(self.against, or_top=True))
        if self.index is not None and self.index == self.against:
            raise ValueError(f"Expected two different classes, received {self.index!r} twice.")

    def __call__(self, outputs: Any) -> Any:
        logits = class_logits(outputs, self)
        chosen = chosen_classes(logits, self.index, self)
        others = without(logits, chosen, logits.dtype.min) if self.against is None else logits
        return pick(logits, chosen) - pick(logits, chosen_classes(others, self.against, self))

    @property
    def __name__(self) -> str:
        return f"{label_of(self.index)} - {'runner-up' if self.against is None else label_of(self.against)}"


@dataclass(frozen=True)
class Finer(NamedTarget):
    """What tells a class from those that look like it: its score less a part of the mean score of the nearest.

    Args:
        index: class of outputs (B, K), or None for each image's top class.
        references: how many nearest classes, those whose scores differ least from its own, above or below; at most
            K - 1. None for the paper's 3, or all others of a model of fewer classes.
        strength: the part, finite and at least 0; 0 explains the class alone. Defaults to the paper's 0.6.

    Source: Zhang et al. 2025, Finer-CAM, https://arxiv.org/abs/2501.11309: y_c - strength * y_d, averaged over the
    references d before the relu. Deviation: of the paper's two ways to find references, the cosine of the classifier's
    weights and the scores, only the second; by distance, as in the authors' code, so a class that is not the top one
    has neighbours on both sides. That code also weights the references by their probabilities; here all count alike.
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

    def __call__(self, outputs: Any) -> Any:
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

    @property
    def __name__(self) -> str:
        return f"{label_of(self.index)} - {self.strength:g} * nearest {self.references or _REFERENCES}"


def as_target(value: Any) -> Target:
    """A callable as it is, a class (None: each image's top class) as its score."""
    return value if callable(value) else ClassScore(value)
