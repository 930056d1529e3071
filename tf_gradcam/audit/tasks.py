"""What an audit does with a model of each task: which maps it makes of an image, and what it reads from a data set.

Axis legend: B images, K outputs, M labels above their thresholds, H x W cells, H0 x W0 pixels.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam._errors import Message
from tf_gradcam._explain.class_maps import Thresholds, check_rule, threshold_of_each
from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._files.class_names import ClassNames
from tf_gradcam._results.explanation import Explanation
from tf_gradcam._rules.table import find_method
from tf_gradcam.audit.rows import nothing_mapped, ragged
from tf_gradcam.audit.sources import DatasetSource, Samples, find_samples
from tf_gradcam.audit.truth import find_labels, find_masks, find_values, read_labels, read_values
from tf_gradcam.image.masks import nearest, read_classes
from tf_gradcam.targets.regions import Region

Data: TypeAlias = "str | os.PathLike[str] | tf.data.Dataset"


class Explained(NamedTuple):
    """Columns of `Rows` of B explained images.

    Attributes:
        is_finite: (B,) bool, the outputs are numbers.
        columns: predicted, probability, probabilities, score, heatmap, diagnosis, mapped, maps.
    """

    is_finite: np.ndarray
    columns: dict[str, np.ndarray]


class AuditTask(ABC):
    """The audit of a model of one task.

    Args:
        explainer: of the model.
        names: of its outputs; None if unknown.
        threshold: of labels; only of a multi-label model.
        target: name or number of the audited value; only of a regression.

    Attributes:
        width: number of classes or labels, whose probabilities the rows hold; 0 for values.
        truth_width: number of columns of `truth` in the rows.
        names: of the classes or labels; of a regression, of the audited value.
        thresholds: (K,) of labels; empty for others.

    Raises:
        ValueError: an option of another task, or outputs that cannot be audited.
    """

    name: ClassVar[str]
    is_tested: ClassVar[bool] = True  # whether suspects are tested by intervention, and the method measured

    def __init__(
        self, explainer: Explainer, names: Sequence[str] | None, threshold: Thresholds | None, target: str | None
    ):
        self.explainer = explainer
        self.names: list[str] = []
        self.width = self.truth_width = 0
        self.thresholds = np.zeros(0)
        self._given_names = names
        if threshold is not None and not isinstance(self, MultilabelTask):
            fact = f"Expected no threshold for the task {self.name}, received {threshold!r}. It is for labels:"
            raise ValueError(
                Message(
                    fact,
                    "leave threshold out, or pass task='multilabel'.",
                    "leave --threshold out, or use --task multilabel.",
                )
            )
        if target is not None and not isinstance(self, RegressionTask):
            fact = f"Expected no target for the task {self.name}, received {target!r}: all its answers are audited."
            raise ValueError(Message(fact, "Leave target out.", "Leave --target out."))

    @abstractmethod
    def explain(self, images: Any) -> Explanation:
        """Explain images as for their main map, and learn the number of outputs from the first ones."""

    @abstractmethod
    def explained(
        self, images: Any, cells: tuple[int, int], masks: Sequence[np.ndarray | None] | None = None
    ) -> Explained:
        """Return the columns of images; maps are resized to `cells`.

        Args:
            images: (B, H0, W0, C) as the model takes them; a list or dict for a model of several inputs.
            masks: of a segmentation, the true class of each pixel of each image, as `true_classes` reads it.
        """

    def predictions(self, explainer: Explainer, images: Any) -> np.ndarray:
        """Return what answers are read from, (B, K): probabilities, unless the task has values."""
        found = explainer(images).probabilities
        assert found is not None
        return found

    @abstractmethod
    def source(
        self, data: Data, names: Sequence[str] | None, classes: Any, truth: Any = None
    ) -> Samples | DatasetSource:
        """Return the images of a data set with what it says of them.

        Args:
            data: of the audit.
            names: of the model's outputs; None if unknown.
            classes: a table of folders.
            truth: a folder of masks of true classes, for a segmentation.
        """

    def true_classes(self, mask: str, size: tuple[int, int]) -> np.ndarray | None:
        """Return the true class of each pixel of a picture of (height, width), None if unknown."""
        return None

    def about(self) -> dict[str, str]:
        """Return the conditions of the audit that only this task has."""
        return {}

    def fingerprint(self) -> dict[str, str]:
        """Return the texts that decide the rows and that only this task has."""
        return {}

    def _columns(self, explanation: Explanation, cells: tuple[int, int], is_finite: np.ndarray) -> Explained:
        """Return the columns of one map for each image."""
        count = len(explanation)
        probabilities = explanation.probabilities
        if probabilities is None or not self.width:
            probabilities = np.zeros((count, 0), np.float32)
        predicted = explanation.class_indices
        rows = np.arange(count)
        columns = {
            "predicted": predicted,
            "probability": probabilities[rows, predicted] if self.width else np.full(count, np.nan, np.float32),
            "probabilities": probabilities,
            "score": explanation.scores,
            "heatmap": _resized(explanation, cells),
            "diagnosis": np.array([text or "" for text in explanation.diagnosis], object),
            **nothing_mapped(count, cells),
        }
        return Explained(is_finite, columns)


class ClassificationTask(AuditTask):
    """One class of an image: the map of its top class."""

    name = "classification"

    def explain(self, images: Any) -> Explanation:
        explanation = self.explainer(images)
        if explanation.probabilities is None or explanation.probabilities.ndim != 2:
            fact = (
                f"Expected a model whose outputs are classes, (B, K), received values of shape "
                f"{explanation.outputs.shape}. Audit values by"
            )
            raise ValueError(Message(fact, "task='regression'.", "--task regression."))
        self.width = explanation.probabilities.shape[1]
        self.names = ClassNames(self._given_names).labels(range(self.width))
        return explanation

    def explained(self, images: Any, cells: tuple[int, int], masks: Any = None) -> Explained:
        explanation = self.explainer(images)
        return self._columns(explanation, cells, _are_finite(explanation.probabilities))

    def source(
        self, data: Data, names: Sequence[str] | None, classes: Any, truth: Any = None
    ) -> Samples | DatasetSource:
        _check_no_truth(truth, self.name)
        if isinstance(data, (str, os.PathLike)):
            return find_samples(data, names, classes)
        return DatasetSource(data, names)


class MultilabelTask(AuditTask):
    """Any number of labels of an image: a map of each label above its threshold, from one forward pass."""

    name = "multilabel"

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self._threshold: Thresholds = 0.5 if arguments[2] is None else arguments[2]
        try:
            check_rule(find_method(self.explainer.method)[1])
        except ValueError:
            fact = (
                f"Expected a method of one forward pass for an audit of several labels, received "
                f"'{self.explainer.method}', which runs the network again for each label."
            )
            raise ValueError(Message(fact, "Use method='gradcam'.", "Use --method gradcam.")) from None

    def explain(self, images: Any) -> Explanation:
        first = self.explainer.class_maps(images, top=1).of_class(0)
        probabilities = first.probabilities
        if probabilities is None or first.outputs.shape[1] < 2:
            fact = (
                f"Expected a unit for each label, (B, K), for an audit of the task multilabel, received outputs of "
                f"shape {first.outputs.shape}: one unit is a question with two sides."
            )
            raise ValueError(Message(fact, "Pass task='classification'.", "Use --task classification."))
        self.width = self.truth_width = probabilities.shape[1]
        known = ClassNames(self._given_names)
        self.names = known.labels(range(self.width))
        self.thresholds = threshold_of_each(self._threshold, self.width, known)
        return first

    def explained(self, images: Any, cells: tuple[int, int], masks: Any = None) -> Explained:
        maps = self.explainer.class_maps(images, above=dict(enumerate(self.thresholds.tolist())))
        assert maps.above is not None
        each = maps.of_each_class()
        placed = np.stack([_resized(one, cells) for one in each], axis=1)
        found = self._columns(each[0], cells, _are_finite(each[0].probabilities))
        found.columns["diagnosis"] = np.array(
            [_first_text(each, at, maps.asked[at]) for at in range(len(maps))], object
        )
        pairs = list(zip(maps.class_indices, placed, maps.above, strict=True))
        found.columns["mapped"] = ragged([indices[above] for indices, _, above in pairs], np.int32)
        found.columns["maps"] = ragged([images[above] for _, images, above in pairs], np.float16)
        return found

    def source(
        self, data: Data, names: Sequence[str] | None, classes: Any, truth: Any = None
    ) -> Samples | DatasetSource:
        _check_no_truth(truth, self.name)
        if isinstance(data, (str, os.PathLike)):
            return find_labels(data, names, self.width, classes)
        return DatasetSource(data, names, read_labels(self.width))

    def about(self) -> dict[str, str]:
        same = len(set(self.thresholds.tolist())) == 1
        each = [f"{name} {number:g}" for name, number in zip(self.names, self.thresholds, strict=True)]
        return {"thresholds": f"{self.thresholds[0]:g}" if same else ", ".join(each)}

    def fingerprint(self) -> dict[str, str]:
        return {"thresholds": ", ".join(f"{number:g}" for number in self.thresholds)}


class RegressionTask(AuditTask):
    """A value of an image: the signed map of what raises it and what lowers it."""

    name = "regression"
    truth_width = 1

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.truth_width = 1
        self._target = arguments[3]
        self._index = self._count = 0

    def explain(self, images: Any) -> Explanation:
        known = ClassNames(self._given_names)
        known.noun = "value"
        self._index = 0 if self._target is None else known.index_in(str(self._target))
        explanation = self.explainer(images, self._index)
        self._count = explanation.outputs.shape[1]
        self.names = [known.label(self._index if self._count > 1 else -1)]
        return explanation

    def explained(self, images: Any, cells: tuple[int, int], masks: Any = None) -> Explained:
        explanation = self.explainer(images, self._index)
        found = self._columns(explanation, cells, np.isfinite(explanation.scores))
        found.columns["predicted"] = np.full(len(explanation), self._index)  # a single value has no index there
        return found

    def predictions(self, explainer: Explainer, images: Any) -> np.ndarray:
        found: np.ndarray = explainer(images, self._index).outputs
        return found

    def source(
        self, data: Data, names: Sequence[str] | None, classes: Any, truth: Any = None
    ) -> Samples | DatasetSource:
        _check_no_truth(truth, self.name)
        if isinstance(data, (str, os.PathLike)):
            return find_values(data, self.names[0], classes, is_named=names is not None)
        return DatasetSource(data, self.names, read_values(self._index, self._count))

    def about(self) -> dict[str, str]:
        if self._count < 2:
            return {}
        text = f"'{self.names[0]}', number {self._index} of {self._count}"
        first = Message(f"{text}.", "Choose another by target=.", "Choose another by --target.")
        return {"value": first if self._target is None else text}

    def fingerprint(self) -> dict[str, str]:
        return {"value": str(self._index)}


_LEAST_SHARE = 0.01  # of the cells of an image, from which on a predicted class has a map of its own
IGNORED = 255  # in a mask of classes: unknown


class SegmentationTask(AuditTask):
    """A class of each pixel: a map of each predicted region, and the predicted mask compared with a true one.

    Suspects are not tested by intervention: erasing a part of a picture takes away the pixels of its class there,
    whatever the model looks at.
    """

    name = "segmentation"
    is_tested = False

    def explain(self, images: Any) -> Explanation:
        explanation = self.explainer(images)
        masks = explanation.segmentation
        if masks is None or masks.predicted.ndim != 3:
            raise ValueError(
                f"Expected a segmentation of pictures, (B, H, W, K), for an audit, received outputs of shape "
                f"{explanation.outputs.shape}. Explain its pictures one by one."
            )
        self.width = masks.class_count
        self.truth_width = 3 * self.width
        self._is_unit = self.width == 1 or (self.width == 2 != explanation.outputs.shape[-1])
        self._cells = masks.predicted.shape[1:]
        self.names = ClassNames(self._given_names).labels(range(self.width))
        return explanation

    def explained(self, images: Any, cells: tuple[int, int], masks: Any = None) -> Explained:
        main = self.explainer(images)
        predicted, largest = main.segmentation.predicted, main.segmentation.explained  # type: ignore[union-attr]
        shares = np.stack([(predicted == label).mean(axis=(1, 2)) for label in range(self.width)], axis=1)
        count = len(main)
        mapped, maps = [list[int]() for _ in range(count)], [list[np.ndarray]() for _ in range(count)]
        placed = _resized(main, cells)
        for label in range(self.width):
            chosen = np.flatnonzero(shares[:, label] >= _LEAST_SHARE)
            others = chosen[largest[chosen] != label]
            found = dict(zip(chosen.tolist(), placed[chosen], strict=True))
            if len(others):  # one compiled pass serves all classes: each region is its mask
                some = keras.tree.map_structure(lambda array, rows=others: array[rows], images)
                own = self.explainer(some, Region(None, predicted[others] == label))
                found |= dict(zip(others.tolist(), _resized(own, cells), strict=True))
            for row in chosen.tolist():
                mapped[row].append(label)
                maps[row].append(found[row])
        columns = {
            "predicted": largest,
            "probability": shares[np.arange(count), largest],
            "probabilities": shares,
            "score": main.scores,
            "heatmap": placed,
            "diagnosis": np.array([text or "" for text in main.diagnosis], object),
            "mapped": ragged([np.array(each, np.int32) for each in mapped], np.int32),
            "maps": ragged([np.array(each, np.float16).reshape(-1, *cells) for each in maps], np.float16),
            "truth": self._compared(predicted, masks),
        }
        axes = tuple(range(1, main.outputs.ndim))
        return Explained(np.asarray(np.isfinite(main.outputs).all(axis=axes)), columns)

    def _compared(self, predicted: np.ndarray, masks: Sequence[np.ndarray | None] | None) -> np.ndarray:
        """Return `Rows.truth` of predicted masks (B, H, W)."""
        compared = np.full((len(predicted), 3, self.width), np.nan, np.float32)
        for row, mask in enumerate(masks or []):
            if mask is None:
                continue
            true = nearest(mask, self._cells)
            for label in range(self.width):
                of_class, given = true == label, (predicted[row] == label) & (true != IGNORED)
                compared[row, :, label] = of_class.mean(), (of_class & given).mean(), given.mean()
        return compared.reshape(len(predicted), -1)

    def true_classes(self, mask: str, size: tuple[int, int]) -> np.ndarray | None:
        """Return (height, width) int32 of a mask file, 255 where unknown, -1 outside of the only class.

        Raises:
            OSError, ValueError: as `read_classes`; a mask of another size than the picture, or an unknown class.
        """
        if not mask:
            return None
        classes = read_classes(mask)
        if classes.shape != tuple(size):
            raise ValueError(
                f"Expected a mask of the picture's size, {size[1]} wide and {size[0]} high, received '{mask}', "
                f"{classes.shape[1]} wide and {classes.shape[0]} high. Resize it by the nearest pixel."
            )
        if self._is_unit:  # 0 and 255, or 0 and 1
            return np.where(classes > 0, self.width - 1, self.width - 2).astype(np.int32)
        beyond = classes[(classes >= self.width) & (classes != IGNORED)]
        if beyond.size:
            raise ValueError(
                f"Expected classes from 0 to {self.width - 1}, and {IGNORED} where unknown, received {beyond.max()} in "
                f"'{mask}'. Correct the mask."
            )
        return classes

    def predictions(self, explainer: Explainer, images: Any) -> np.ndarray:
        masks = explainer(images).segmentation
        assert masks is not None
        return np.stack([(masks.predicted == label).mean(axis=(1, 2)) for label in range(self.width)], axis=1)

    def source(
        self, data: Data, names: Sequence[str] | None, classes: Any, truth: Any = None
    ) -> Samples | DatasetSource:
        if not isinstance(data, (str, os.PathLike)):
            raise ValueError(
                "Expected a folder or a CSV file with the columns file,mask for an audit of a segmentation, received "
                f"{type(data).__name__}. Write its pictures and masks as files."
            )
        return find_masks(data, truth, classes)

    def about(self) -> dict[str, str]:
        return {
            "cells of the predicted masks": " x ".join(map(str, self._cells)),
            "not tested": "shortcuts and the method's quality: changing a part of a picture changes the class of its "
            "pixels, whatever the model looks at.",
        }


def _check_no_truth(truth: Any, task: str) -> None:
    if truth is not None:
        fact = f"Expected no masks of true classes for the task {task}, received '{truth}'."
        raise ValueError(Message(fact, "Leave truth out.", "Leave --truth out."))


_TASKS: dict[str, type[AuditTask]] = {
    task.name: task for task in (ClassificationTask, MultilabelTask, RegressionTask, SegmentationTask)
}


def audit_task(
    explainer: Explainer, names: Sequence[str] | None, threshold: Thresholds | None, target: str | None
) -> AuditTask:
    """Return the audit of the model's task.

    Raises:
        ValueError: a task without an audit; as `AuditTask`.
    """
    found = _TASKS.get(explainer.task.name)
    if found is None:
        fact = f"Expected a model of {', '.join(_TASKS)} for an audit, received the task {explainer.task}. Explain its"
        raise ValueError(
            Message(
                fact,
                f"pictures by Explainer(model){'.detections(images)' if explainer.task.name == 'detection' else ''}.",
                "pictures by `tf-gradcam explain`.",
            )
        )
    return found(explainer, names, threshold, target)


def _are_finite(probabilities: np.ndarray | None) -> np.ndarray:
    """Return (B,) bool from probabilities (B, K)."""
    assert probabilities is not None
    return np.isfinite(probabilities).all(axis=1)


def _first_text(maps: Sequence[Explanation], at: int, are_asked: np.ndarray) -> str:
    """Return the first reason why a map of an image shows nothing, "" if all of them show something."""
    texts = [one.diagnosis[at] for one, is_asked in zip(maps, are_asked, strict=True) if is_asked]
    return next(filter(None, texts), "")


def strengths(explanation: Explanation) -> Explanation:
    """Return the maps without their signs: what matters for a value, whether it raises or lowers it."""
    if not explanation.signed:
        return explanation
    return explanation.with_raw(
        np.abs(explanation.raw),
        layer_name=explanation.layer_name,
        method=explanation.method,
        placement=explanation.placement,
        diagnosis=explanation.diagnosis,
    )


def _resized(explanation: Explanation, cells: tuple[int, int]) -> np.ndarray:
    """Return the maps that pictures show, (B, H, W), at another size."""
    if not explanation.signed:
        return explanation.resized(cells)
    return np.stack([explanation.shown_at(at, cells) for at in range(len(explanation))])
