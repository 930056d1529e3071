"""The target of one box of a detector.

Axis legend: B images, N rows of raw outputs, K classes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam._files.class_names import ClassNames
from tf_gradcam._models.detectors import Detector, Size, overlaps
from tf_gradcam.targets.base import Class, NamedTarget, as_class, label_of, raw_output


@dataclass(frozen=True)
class Box(NamedTarget):
    """The score of one box of a detector: its class's logit in the raw row whose box overlaps it best.

    A row is what one anchor, query or cell of the detector predicts. Only an `Explainer` can call this target: it knows
    how the model's raw outputs are read, see its `decode`. With objectness the score is the sum of both logits; where
    the logits are not known it is the score in [0, 1].

    Args:
        index: class index or name.
        box: (x1, y1, x2, y2) in pixels of the model's input, as `Explainer.detections` and `Explanation.boxes` have it.

    Raises:
        TypeError: a class or box of another kind.
        ValueError: a box without an area; when it is explained, a box that does not overlap any detection of the image,
            whose message names the nearest.
    """

    index: Class
    box: tuple[float, float, float, float]
    detector: Detector | None = field(default=None, repr=False, kw_only=True)
    size: Size = field(default=(0, 0), repr=False, kw_only=True)
    row: int | None = field(default=None, repr=False, kw_only=True)  # where it is the same for all images
    classes: ClassVar = ("index",)

    def __post_init__(self) -> None:
        self._set(index=as_class(self.index), box=as_box(self.box))

    def __call__(self, outputs: Any) -> tf.Tensor:
        if self.detector is None:
            raise ValueError(
                f"Expected {self!r} to be explained by an Explainer, which knows how raw outputs are read, received a "
                "call. Pass it as target= of an Explainer(model)."
            )
        rows = self.detector.rows_of(keras.tree.map_structure(raw_output, outputs), self.size)
        if self.index >= self.detector.class_count:  # type: ignore[operator]
            raise ValueError(
                f"Expected a class below {self.detector.class_count}, the number of classes of the detector, received "
                f"{self.index}."
            )
        logits = rows.logits[..., self.index]
        if self.row is not None:  # methods that change the activations must not move to another row
            return logits[:, self.row]
        best = tf.argmax(overlaps(rows.boxes, self.box), axis=-1, output_type=tf.int32)
        return tf.gather(logits, best, axis=1, batch_dims=1)

    def label(self, names: ClassNames, unit_count: int | None = None) -> str:
        return f"{label_of(self.index, names)} at ({', '.join(f'{side:g}' for side in self.box)})"


def as_box(box: Any) -> tuple[float, float, float, float]:
    """Check a box (x1, y1, x2, y2)."""
    try:
        sides = np.asarray(box, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"Expected a box as four numbers (x1, y1, x2, y2), received {box!r}.") from error
    if sides.shape != (4,):
        raise TypeError(f"Expected a box as four numbers (x1, y1, x2, y2), received {box!r}.")
    x1, y1, x2, y2 = (float(side) for side in sides)
    if not (np.isfinite(sides).all() and x1 < x2 and y1 < y2):
        raise ValueError(f"Expected a box (x1, y1, x2, y2) with x1 < x2 and y1 < y2 in pixels, received {box!r}.")
    return x1, y1, x2, y2


def boxes_in(target: Any) -> list[Box]:
    """Return the boxes in a target, which may hold other targets."""
    if isinstance(target, Box):
        return [target]
    if not isinstance(target, NamedTarget):
        return []
    parts = (getattr(target, item.name) for item in dataclasses.fields(target))  # type: ignore[arg-type]
    return [box for part in parts for box in boxes_in(part)]


def bound(target: Any, detector: Detector, size: Size, boxes: Any) -> Any:
    """Return a target whose boxes are read by a detector.

    Args:
        size: (H0, W0) of the input.
        boxes: (B, N, 4), all rows of the images to be explained.
    """
    if isinstance(target, Box):
        best = np.unique(tf.argmax(overlaps(boxes, target.box), axis=-1).numpy())
        row = int(best[0]) if len(best) == 1 else None
        return dataclasses.replace(target, detector=detector, size=size, row=row)
    if not boxes_in(target):
        return target
    fields = dataclasses.fields(target)
    changes = {item.name: bound(getattr(target, item.name), detector, size, boxes) for item in fields}
    return target.resolved(**changes)
