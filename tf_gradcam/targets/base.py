"""The parts of targets: values that compare equal, and checked access to outputs.

Axis legend: B images, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_gradcam._files.class_names import ClassNames
from tf_gradcam._models.reader import shown
from tf_gradcam._models.split import of_all_classes

Target = Callable[[Any], tf.Tensor]
Class = int | str | None
# What `target=` takes: None for each image's top class, a class, one for each image, or a callable outputs -> (B,).
TargetLike: TypeAlias = Class | np.integer[Any] | Sequence[Class | np.integer[Any]] | NDArray[Any] | Target

# The marks on a tensor.
_TWO_SIDES, _RAW, _LABELS, _PLACE = (f"tf_gradcam_{mark}" for mark in ("two_sides", "raw", "labels", "place"))


class NamedTarget:
    """A target that is a frozen dataclass: equal arguments make equal targets, which share one compiled pass.

    Attributes:
        signed: whether the score balances two sides, so that negative values of its map before relu have a meaning.
    """

    signed: ClassVar[bool] = False
    classes: ClassVar[tuple[str, ...]] = ()  # the fields that hold classes

    def __call__(self, outputs: Any) -> tf.Tensor:
        raise NotImplementedError

    def label(self, names: ClassNames, unit_count: int | None = None) -> str:
        """Return the name of the score in figures.

        Args:
            names: of the classes.
            unit_count: outputs of the model, 1 for a single unit, whose positive side is class 1.
        """
        raise NotImplementedError

    def sides(self, names: ClassNames, unit_count: int | None = None) -> tuple[str, str] | None:
        """Return what negative and positive values of a signed map speak for, None where words alone say it."""
        return None

    def of_outputs(self, values: np.ndarray, names: ClassNames) -> NamedTarget:
        """Return the target that this one is for an image of outputs `values`, where they decide."""
        return self

    @property
    def __name__(self) -> str:
        return self.label(ClassNames(None))

    def resolved(self, **changes: Any) -> NamedTarget:
        """Return the target with indices in place of the names of classes."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def _set(self, **values: Any) -> None:
        """Normalise arguments for comparison; only during `__post_init__`."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


def with_indices(target: Any, index_of: Callable[[str], int]) -> Target:
    """Return a target with indices in place of the names of its classes.

    Args:
        target: any; returned unchanged unless a `NamedTarget`.
        index_of: class name -> class index; its errors pass through.
    """
    if not isinstance(target, NamedTarget):
        return target
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(target):  # type: ignore[arg-type]
        value = getattr(target, field.name)
        if isinstance(value, NamedTarget):
            changes[field.name] = with_indices(value, index_of)
        elif field.name in target.classes and isinstance(value, tuple):
            changes[field.name] = tuple(index_of(item) if isinstance(item, str) else item for item in value)
        elif field.name in target.classes and isinstance(value, str):
            changes[field.name] = index_of(value)
    return target.resolved(**changes) if changes else target


@dataclass(frozen=True, repr=False)
class FrozenArray:
    """An array that can be compared and hashed; `np.asarray` gives it back."""

    shape: tuple[int, ...]
    dtype: str
    data: bytes

    @classmethod
    def of(cls, array: Any) -> FrozenArray:
        array = np.asarray(array)
        return cls(array.shape, array.dtype.str, array.tobytes())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.frombuffer(self.data, self.dtype).reshape(self.shape).astype(dtype or self.dtype)

    def __repr__(self) -> str:
        return f"array of shape {self.shape}"


def name_of(target: object, names: ClassNames | None = None, unit_count: int | None = None) -> str:
    """Return the label of a target, with the names of its classes if known."""
    if isinstance(target, NamedTarget) and names is not None:
        return target.label(names, unit_count)
    return getattr(target, "__name__", type(target).__name__)


def labels_of(target: object, outputs: np.ndarray, names: ClassNames) -> list[str]:
    """Return the label of a target for each image of outputs (B, ..., K)."""
    if isinstance(target, NamedTarget):
        target = [target.of_outputs(values, names) for values in outputs]
        return [name_of(each, names, outputs.shape[-1]) for each in target]
    return [name_of(target, names, outputs.shape[-1])] * len(outputs)


def sides_of(target: object, outputs: np.ndarray, names: ClassNames) -> list[tuple[str, str]] | None:
    """Return the sides of a signed target for each image of outputs (B, ..., K), None where it does not name them."""
    if not isinstance(target, NamedTarget):
        return None
    sides = [target.of_outputs(values, names).sides(names, outputs.shape[-1]) for values in outputs]
    return None if None in sides else sides  # type: ignore[return-value]


def label_of(index: Class, names: ClassNames) -> str:
    """Return the label of a class: its name in the list, else the class as passed."""
    if index is None:
        return "top class"
    if isinstance(index, str):
        return names.label(names.index(index)) if names.is_given else index
    return names.label(index)


def is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def as_position(value: Any) -> int:
    """Check a position in the outputs."""
    if not is_integer(value):
        raise TypeError(f"Expected a position in the outputs as an integer, received {value!r}.")
    if value < 0:
        raise ValueError(f"Expected a position of 0 or more, received {value}.")
    return int(value)


def as_class(value: Any, *, or_top: bool = False) -> Class:
    """Check a class index or name, or None for the top class if allowed."""
    if isinstance(value, str) or (value is None and or_top):
        return value
    if not is_integer(value):
        raise TypeError(f"Expected a class index or name{', or None' if or_top else ''}, received {value!r}.")
    if value < 0:
        raise ValueError(f"Expected a class index of 0 or more, received {value}.")
    return int(value)


def one_output(outputs: Any, target: object) -> tf.Tensor:
    """Return the output of a model with one output, as a tensor."""
    if isinstance(outputs, (list, tuple, dict)):
        names = list(outputs) if isinstance(outputs, dict) else list(range(len(outputs)))
        raise ValueError(f"Expected one output for {target!r}, received {names}. Pass OutputOf(one of them, target).")
    return tf.convert_to_tensor(outputs)


def of_rank(outputs: Any, rank: int, target: object) -> tf.Tensor:
    values = one_output(outputs, target)
    if values.shape.rank != rank:
        raise ValueError(f"Expected outputs of {rank} axes for {target!r}, received shape {shown(values.shape)}.")
    return values


def called(target: Any, outputs: Any) -> tf.Tensor:
    """Call a target on outputs.

    Raises:
        ValueError: a callable of the user's own fails on them, for example with an index beyond the outputs.
    """
    if isinstance(target, NamedTarget):
        return target(outputs)
    try:
        return target(outputs)
    except (ValueError, TypeError, IndexError, tf.errors.InvalidArgumentError) as error:
        reason = str(error).strip().partition("\n")[0].partition(" for '{{")[0].rstrip(".")
        raise ValueError(
            f"Expected a target that takes outputs {described(outputs)}, but '{name_of(target)}' fails on them: "
            f"{reason}."
        ) from error


def described(outputs: Any) -> str:
    """Return the shape of an output, or the shapes of several in their structure."""
    if isinstance(outputs, dict):
        return "{" + ", ".join(f"'{name}': {described(part)}" for name, part in outputs.items()) + "}"
    if isinstance(outputs, (list, tuple)):
        return "[" + ", ".join(map(described, outputs)) + "]"
    return shown(outputs.shape)


def as_two_sides(logit: tf.Tensor) -> tf.Tensor:
    """Mark the logit (B, 1) of one sigmoid unit: unlike a value (B, 1) it has two classes, no and yes."""
    setattr(logit, _TWO_SIDES, True)
    return logit


def with_raw_output(logits: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    """Mark logits with the output that the model makes of them, for targets that read it."""
    setattr(logits, _RAW, output)
    return logits


def raw_output(logits: tf.Tensor) -> tf.Tensor:
    """Return the output that a model makes of logits: its own mark, else the logits themselves."""
    return getattr(logits, _RAW, logits)


def as_labels(logits: tf.Tensor) -> tf.Tensor:
    """Mark logits of which each one is a label by itself, as sigmoids have them."""
    setattr(logits, _LABELS, True)
    return logits


def are_labels(logits: tf.Tensor) -> bool:
    """Return whether each logit is a label by itself."""
    return hasattr(logits, _LABELS)


def with_place(logits: tf.Tensor, place: Any) -> tf.Tensor:
    """Mark logits with what came beside the images: the mask or the point of each."""
    setattr(logits, _PLACE, place)
    return logits


def place_of(logits: tf.Tensor) -> Any:
    """Return what came beside the images, None without."""
    return getattr(logits, _PLACE, None)


def class_logits(outputs: Any, target: object) -> tf.Tensor:
    """Return the logits (B, K) of at least two classes; for one sigmoid unit, minus its logit and its logit."""
    logits = of_rank(outputs, 2, target)
    if logits.shape[-1] != 1:
        return logits
    if not hasattr(logits, _TWO_SIDES):
        raise ValueError(
            f"Expected outputs of at least two classes for {target!r}, received {shown(logits.shape)} without a "
            "final sigmoid. One unit is Unit(0), or Unit(0, positive=False) for the other side; one value is Value(0)."
        )
    return of_all_classes(logits, 2)


def column(values: tf.Tensor, index: Class, target: object) -> tf.Tensor:
    """Return the outputs (B, ..., K) at one position of the last axis, (B, ...)."""
    return values[..., _known(values, index, target)]


def chosen_classes(logits: tf.Tensor, index: Class, target: object) -> tf.Tensor:
    """Return (B,) int32: `index` for every image, or the top class of each."""
    if index is None:
        return tf.argmax(logits, axis=-1, output_type=tf.int32)
    return tf.fill(tf.shape(logits)[:1], _known(logits, index, target))


def without(logits: tf.Tensor, chosen: tf.Tensor, value: float) -> tf.Tensor:
    """Return logits (B, K) with `value` at the classes `chosen` (B,)."""
    return tf.where(tf.one_hot(chosen, tf.shape(logits)[-1], True, False), value, logits)


def pick(logits: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Return the logits (B,) of the classes `chosen` (B,), or (B, R) of (B, R)."""
    return tf.gather(logits, chosen, axis=1, batch_dims=1)


def _known(values: tf.Tensor, index: Class, target: object) -> int:
    if isinstance(index, str):
        raise ValueError(
            f"Expected class indices in {target!r}, received the name '{index}': no names are known here. "
            "Pass class_names=[...], or an index."
        )
    assert index is not None
    count = values.shape[-1]
    if count is not None and index >= count:
        raise ValueError(f"Expected an index below {count} in {target!r}, for outputs {shown(values.shape)}.")
    return index
