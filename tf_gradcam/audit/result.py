"""What an audit found: plain data, so that the page, the command line and a notebook show the same. NumPy only.

Axis legend: N images of the data set, K classes, H x W cells of the layer, H0 x W0 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tf_gradcam.audit.rows import Rows
from tf_gradcam.metrics.intervals import Interval


@dataclass(frozen=True)
class Metric:
    """One number about a method's maps over a sample of the data set.

    Attributes:
        name: such as "deletion AUC".
        method: key of `METHODS`, or the baselines "random" and "centre".
        interval: mean over the images.
        count: how many images.
        better: "higher" or "lower".
    """

    name: str
    method: str
    interval: Interval
    count: int
    better: str


@dataclass(frozen=True)
class SanityCheck:
    """Whether maps change when what they claim to explain is destroyed (Adebayo 2018).

    Attributes:
        name: "weights" (cascading randomisation) or "logits" (head alone).
        stages: what was randomised so far, from the output down.
        similarities: rank correlation of the maps with those of the trained model, one a stage.
        is_passed: False where maps survive a randomised model.
        sentence: the verdict in words.
    """

    name: str
    stages: list[str]
    similarities: list[Interval]
    is_passed: bool
    sentence: str


@dataclass(frozen=True)
class Finding:
    """Something that a class is recognised by, tested by intervention.

    Attributes:
        class_index: of the class that it speaks for.
        label: its name.
        kind: "place" (a fixed region), "mark" (a patch that moves) or "tint" (a colour of the whole image).
        is_shortcut: True only where erasing, pasting and the comparison with a random region all say so, and what was
            found is no content of the image (drawn the same in every image, or where the others are empty).
        sentence: the finding in one sentence with its numbers.
        reason: why it is called a shortcut, or why not.
        images: rows (positions in the table) that show it, the clearest first.
        heat_share: mean share of the heat of those images inside the region; NaN for a tint.
        area_share: share of the image that the region covers.
        before: probability of the class as the images are.
        erased: the same with the region erased, the fill that leaves most.
        control: the same with an equally large random region erased, same fill.
        pasted: share of images of other classes that turn into this class when it is pasted into them.
        pasted_control: the same for an equally large region pasted from elsewhere of the same images.
        region: (H0, W0) float32 in [0, 1], the region; None for a tint.
        picture: uint8 (h, w, 3), examples: as it is, erased, control, pasted.
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


@dataclass(frozen=True)
class ClassLook:
    """Where the images of one predicted class are looked at.

    Attributes:
        class_index: the predicted class.
        count: images behind it.
        mean_map: (H, W) float32, the mean of the maps, each of sum 1 before; zeros where there is no image.
        repetition: mean correlation of single maps with the mean of the others, in [-1, 1]: near 1 where every image is
            looked at in the same place. NaN below two images.
        clusters: number of images in each cluster of maps, the one most unlike the rest first.
        cluster_maps: (clusters, H, W) float32, their mean maps.
        cluster_rows: rows (positions in the table) of each cluster.
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
    """All that an audit knows.

    Attributes:
        rows: N rows, one per image, as `Rows`: `rows.label`, or by name `rows["label"]`.
        class_names: K names.
        looks: one a class that was predicted at least once.
        findings: shortcuts first, then what was tested and is none.
        metrics: of the method and of the baselines.
        sanity: the checks that were run.
        about: what the numbers hold for: model, layer, method, data, versions, command, date.
        image_size: (H0, W0) of the model's input.
        directory: where the report lies.
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

    @property
    def shortcuts(self) -> list[Finding]:
        """The findings that are called shortcuts."""
        return [finding for finding in self.findings if finding.is_shortcut]

    @property
    def is_labelled(self) -> np.ndarray:
        """(N,) bool: the image was explained, and its true class is known."""
        return self.rows.is_labelled

    @property
    def accuracy(self) -> float:
        """Share of the labelled images whose top class is the true one; NaN where none is labelled."""
        known = self.is_labelled
        return float((self.rows.predicted == self.rows.label)[known].mean()) if known.any() else float("nan")

    @property
    def confusion(self) -> np.ndarray:
        """(K, K) int64: row the true class, column the predicted one, of the labelled images."""
        count, known = len(self.class_names), self.is_labelled
        cells = self.rows.label[known].astype(np.int64) * count + self.rows.predicted[known]
        return np.bincount(cells, minlength=count * count).reshape(count, count)
