"""Classes as targets: their names, their indices, their scores.

Axis legend: B images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_gradcam._errors import unknown_name
from tf_gradcam._models.head import Head, probabilities

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
            raise ValueError(
                f"Expected a class index as target, received the name '{name}': no names are known. "
                "Pass class_names=[...] to the Explainer."
            )
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
            raise ValueError(
                f"Expected class_names for {class_count} classes, received {count}: is this the list of another model? "
                "A mapping {index: name} may leave classes out."
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
            remedy = " One unit without a sigmoid is a value: what makes it small is target=Unit(0, positive=False)."
        raise ValueError(
            f"Expected a class index below {class_count}, the number of classes of the model, received {indices.max()}."
            f"{remedy}"
        )


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
        raise ValueError(
            f"Expected outputs of shape (B, K) for a class target, received {tuple(head.logits.shape)}. "
            "Pass target= a callable that takes the outputs and returns one score per image."
        )
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
