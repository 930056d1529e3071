"""Results of an audit: plain data, so that the page, the command line and a notebook show the same. NumPy only.

Axis legend: N images of the data set, K classes, H x W cells of the layer, H0 x W0 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tf_gradcam.audit.answers import ModelAnswer, answers_of, digits_of
from tf_gradcam.audit.duplicates import DuplicateGroup, find_duplicates
from tf_gradcam.audit.label_errors import LabelError, find_label_errors
from tf_gradcam.audit.rows import Rows
from tf_gradcam.audit.scores import (
    ErrorScore,
    LabelScore,
    SegmentationScore,
    error_score,
    label_scores,
    segmentation_score,
)
from tf_gradcam.metrics.intervals import Interval

MIN_IMAGES = 5  # of a class, or that show a suspect: below, an interval says nothing


@dataclass(frozen=True)
class Metric:
    """A metric of a method's heatmaps over a sample of the data set.

    Attributes:
        name: such as "deletion AUC".
        method: key of `METHODS`, or the baselines "random" and "centre".
        interval: mean over the images.
        count: number of images.
        better: "higher" or "lower".
    """

    name: str
    method: str
    interval: Interval
    count: int
    better: str


@dataclass(frozen=True)
class SanityCheck:
    """A test that heatmaps change when the learned weights are replaced by random ones (Adebayo 2018).

    Attributes:
        name: "weights" (cascading randomisation) or "logits" (head alone).
        stages: the layers down to which all weights were random, from the output down.
        similarities: rank correlation with the heatmaps of the trained model, one per stage.
        is_passed: False if the heatmaps stay the same although the model is random.
        sentence: the verdict.
    """

    name: str
    stages: list[str]
    similarities: list[Interval]
    is_passed: bool
    sentence: str


@dataclass(frozen=True)
class Finding:
    """A suspected shortcut of a class, a label, or high or low values, tested by intervention.

    Attributes:
        class_index: index of the class or label; of a regression 0 for high and 1 for low values.
        label: name of the class or label, or such as "high age".
        kind: "place" (a fixed region), "mark" (a patch that moves) or "tint" (a colour of the whole image).
        is_shortcut: True if erasing or pasting changes predictions more than a random region does, and the region does
            not hold content (it is drawn the same in every image, is empty in other images, or lies outside the boxes).
        sentence: the finding in one sentence with its numbers.
        reason: why it counts as a shortcut, or why not.
        images: rows that show it, as positions in the table, the clearest first.
        heat_share: share of the heat inside the region, mean over `images`; NaN for a tint.
        area_share: share of the image that the region covers.
        before: probability of the class or label for the unchanged images; of a regression, the value.
        erased: the same with the region erased, by the fill that leaves most of it.
        control: the same with an equally large random region erased by the same fill.
        pasted: share of images of other classes, or without the label, that are predicted as this class or label once
            the region is pasted in; of a regression, the mean value of the opposite images once it is pasted in.
        pasted_control: the same for an equally large region pasted from elsewhere in the same images.
        region: (H0, W0) float32 in [0, 1]; None for a tint.
        picture: (h, w, 3) uint8 RGB, examples: unchanged, erased, control, pasted.
        is_unsure: True if it is not called a shortcut, but the images are too few to exclude that it is.
        others: of a regression, the mean value of the opposite images as they are; else None.
        effect: the larger of the two effects beyond their controls; 1 is a class that appears or vanishes altogether,
            or the difference between high and low values.
        suspect: what was erased and pasted, as arrays by name: see `Suspect`; its members are positions in the table.
    """

    class_index: int
    label: str
    kind: str
    is_shortcut: bool
    sentence: str
    reason: str
    images: list[int]
    heat_share: float
    area_share: float
    before: Interval
    erased: Interval
    control: Interval
    pasted: Interval
    pasted_control: Interval
    region: np.ndarray | None = None
    picture: np.ndarray | None = None
    is_unsure: bool = False
    others: Interval | None = None
    effect: float = 0.0
    suspect: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class ClassLook:
    """The places that the model looks at in the images that get one answer: a class, a label, high values.

    Attributes:
        class_index: position of the answer in `AuditResult.answers`: the predicted class or label.
        count: number of images that get the answer.
        mean_map: (H, W) float32, mean of the heatmaps, each divided by its sum before (of a signed one, by the sum of
            its absolute values); a blank one counts as zeros.
        repetition: mean correlation of a heatmap with the mean of the others, in [-1, 1]: near 1 if the model looks at
            the same place in every image. NaN below two images.
        clusters: number of images in each cluster of heatmaps, the cluster most unlike the rest first.
        cluster_maps: (clusters, H, W) float32, mean heatmap of each cluster.
        cluster_rows: rows of each cluster, as positions in the table.
    """

    class_index: int
    count: int
    mean_map: np.ndarray
    repetition: float
    clusters: list[int] = field(default_factory=list)
    cluster_maps: np.ndarray | None = None
    cluster_rows: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True)
class AuditResult:
    """The result of an audit: the table of images, and all that follows from it.

    Attributes:
        rows: N rows, one per image, as `Rows`: `rows.label`, or by name `rows["label"]`.
        class_names: K names of classes or labels; of a regression, the name of its value.
        looks: one `ClassLook` per answer that at least one image gets.
        findings: shortcuts first, then the tested suspects that are not shortcuts.
        metrics: metrics of the method and of the baselines.
        sanity: the sanity checks that were run.
        about: model, layer, method, data, versions, date and other conditions of the audit.
        image_size: (H0, W0) of the model's input.
        directory: folder of the report.
        task: "classification", "multilabel", "regression" or "segmentation".
        thresholds: (K,) of the labels of a multi-label model.
        unit: of the values of a regression.
    """

    rows: Rows
    class_names: list[str]
    looks: list[ClassLook]
    findings: list[Finding]
    metrics: list[Metric]
    sanity: list[SanityCheck]
    about: Mapping[str, Any]
    image_size: tuple[int, int]
    directory: Path
    task: str = "classification"
    thresholds: tuple[float, ...] = ()
    unit: str = ""

    @cached_property
    def answers(self) -> list[ModelAnswer]:
        """The answers that the model can give, and the images that get each."""
        return answers_of(self.task, self.rows, self.class_names, self.thresholds, self.unit)

    @property
    def digits(self) -> int:
        """Decimals of values in the report: three digits of their spread."""
        known = self.rows.score[self.rows.is_done]
        return digits_of(float(known.max() - known.min()) if len(known) else 0.0)

    def in_words(self, value: float, sign: str = "") -> str:
        """Return a value with its unit as text; `sign` "+" for a difference."""
        return f"{value:{sign}.{self.digits}f} {self.unit}".rstrip()

    @cached_property
    def duplicates(self) -> list[DuplicateGroup]:
        """Groups of images that are the same picture, the largest first."""
        return find_duplicates(self.rows)

    @cached_property
    def label_errors(self) -> list[LabelError]:
        """Images whose class in the data set is probably wrong; empty for other tasks than classification."""
        return find_label_errors(self.rows, self.duplicates) if self.task == "classification" else []

    @property
    def shortcuts(self) -> list[Finding]:
        """The findings that are shortcuts."""
        return [finding for finding in self.findings if finding.is_shortcut]

    @property
    def untested(self) -> list[str]:
        """Answers with fewer than `MIN_IMAGES` images to test a suspect on, the most images first."""
        if self.task == "segmentation":  # whose suspects are not tested at all
            return []
        tested = {look.class_index for look in self.looks}
        counts = {
            answer.name: len(answer.own) for answer in self.answers if answer.index in tested and not answer.is_signed
        }
        few = [name for name, count in counts.items() if count < MIN_IMAGES]
        return sorted(few, key=lambda name: -counts[name])

    @property
    def is_labelled(self) -> np.ndarray:
        """(N,) bool: the image was explained, and its true class, a true label or its true value is known."""
        return self.rows.is_labelled

    @property
    def accuracy(self) -> float:
        """Share of the labelled images whose top class is the true one; NaN without classes."""
        known = self._has_class
        return float((self.rows.predicted == self.rows.label)[known].mean()) if known.any() else float("nan")

    @property
    def confusion(self) -> np.ndarray:
        """(K, K) int64 counts of the labelled images: rows are true classes, columns predicted ones."""
        count, known = len(self.class_names), self._has_class
        cells = self.rows.label[known].astype(np.int64) * count + self.rows.predicted[known]
        return np.bincount(cells, minlength=count * count).reshape(count, count)

    @property
    def _has_class(self) -> np.ndarray:
        return self.rows.is_done & (self.rows.label >= 0)

    @cached_property
    def label_scores(self) -> list[LabelScore]:
        """Of a multi-label model: a score for each label, their mean, and all labels together; else empty."""
        if self.task != "multilabel" or not self.is_labelled.any():
            return []
        known = self.is_labelled
        return label_scores(
            self.rows.probabilities[known],
            self.rows.truth[known],
            np.array(self.thresholds),
            self.class_names,
        )

    @cached_property
    def error_score(self) -> ErrorScore | None:
        """Of a regression whose true values are known: the errors; else None."""
        known = self.is_labelled
        if self.task != "regression" or not known.any():
            return None
        return error_score(self.rows.score[known], self.rows.truth[known, 0])

    @cached_property
    def segmentation_score(self) -> SegmentationScore | None:
        """Of a segmentation with masks of true classes: intersections over unions; else None."""
        known = self.is_labelled
        if self.task != "segmentation" or not known.any():
            return None
        return segmentation_score(self.rows.truth[known], self.class_names)
