"""The settings of an explanation, and what they ask of the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tf_gradcam._rules.table import MethodName
from tf_gradcam.targets.classes import Contrast
from tf_gradcam.targets.outputs import Distance
from tf_gradcam.targets.regions import Region
from tf_gradcam.targets.text import Asked

ALL, TOP_THREE = "all", "top3"  # of labels, values or boxes: a map of each
REGION, EVERYWHERE, POINT = "region", "all", "point"  # of a segmentation
_BOX = re.compile(r"box (\d{1,3})")


@dataclass(frozen=True)
class Question:
    """The settings of an explanation.

    Attributes:
        layer: path of a layer.
        method: key of `METHODS`.
        target: index of a class, label or value; "box 2"; `ALL` or `TOP_THREE`; None for the usual one of the task:
            the top class, both sides of one unit, the labels above their threshold, the first value, the largest class
            of a segmentation or the one at its point, the best box.
        against: index of the class that the target is compared with, or None.
        mode: key of `MODES`: the pixel values that the model gets.
        above: threshold of the probabilities of labels, or of the scores of boxes; None for the usual one.
        near: a reference for a value, or None.
        where: of a segmentation: `REGION`, `EVERYWHERE`, or a point (x, y) as shares of the width and the height.
        is_one: whether one map is wanted where several are usual: of the top label, the predicted side, the best box.
    """

    layer: str
    method: MethodName
    target: int | str | None
    against: int | None
    mode: str
    above: float | None = None
    near: float | None = None
    where: str | tuple[float, float] = REGION
    is_one: bool = False


def asked_of(question: Question, task: str, labels: Sequence[str], is_pair: bool) -> Asked:
    """Return what a question asks of a model.

    Args:
        task: of the model.
        labels: names of its classes.
        is_pair: whether its one output has two sides.

    Raises:
        ValueError: a reference for several values.
    """
    target = question.target
    if task == "detection":
        return _of_boxes(question, labels)
    if task == "segmentation":
        return Asked(target if question.where == REGION else _region(question))
    if isinstance(target, str):
        if question.near is not None and task == "regression":
            raise ValueError("Expected one value near a reference, received all values. Choose one under Value.")
        if not question.is_one:
            return Asked(top=3) if target == TOP_THREE else Asked(is_all=True)
        target = None
    if task == "regression":
        if not isinstance(question.where, str):
            return Asked(Region(target or 0, point=question.where))
        return Asked(target if question.near is None else Distance(question.near, target or 0))
    if target is None and question.against is None and not question.is_one:
        if is_pair:
            return Asked(is_all=True)
        if task == "multilabel":
            return Asked(is_above=True)
    return Asked(target if question.against is None else Contrast(target, question.against))


def _of_boxes(question: Question, labels: Sequence[str]) -> Asked:
    """Return the boxes that are explained, as `Explainer.detections` takes them."""
    target = question.target
    if target == ALL and not question.is_one:
        return Asked()
    wanted: Any = 0 if target is None or target == ALL else box_number(target)
    return Asked([labels[target] if isinstance(target, int) else wanted])


def _region(question: Question) -> Region:
    target: Any = question.target
    if isinstance(question.where, str):
        return Region(target, "all")
    return Region(target, point=question.where)


def box_number(target: int | str) -> int | None:
    """Return the number in "box 2", None for another target."""
    found = _BOX.fullmatch(str(target))
    return None if found is None else int(found[1])


def label_of(asked: Asked, label: str, top: str, labels: list[str]) -> str:
    """Name what was explained: both classes of a contrast, else the explanation's own `label`.

    Args:
        top: name of the top class.
    """
    target = asked.target
    if not isinstance(target, Contrast):
        return label
    chosen = top if target.index is None else labels[int(target.index)]
    return f"{chosen} against {labels[int(target.against)]}"  # type: ignore[arg-type]
