"""The result of comparing two models over a data set.

Axis legend: N images, J null maps of an image, K classes or labels, H x W cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from tf_gradcam._diff.evidence import LEVEL
from tf_gradcam.audit.gate import Quantity
from tf_gradcam.metrics.intervals import Interval, bootstrap_interval, wilson_interval

QUANTITIES = (
    Quantity(name="changed", meaning="share of the images whose answer changed", is_fault=True),
    Quantity(name="moved", meaning="share of the images with the same answer whose evidence moved", is_fault=True),
    Quantity(name="undefined", meaning="share of the images without a similarity", is_fault=True),
    Quantity(name="failed", meaning="share of the images that were not compared", is_fault=True),
    Quantity(name="similarity", meaning="mean rank correlation of the maps"),
)


@dataclass
class ImageChanges:
    """The changes in each of N images, in the order of the data set.

    Attributes:
        file, label: of the data set; label -1 is unknown.
        error: why the image could not be compared, "" where it could.
        old_top, new_top: most probable class of each model, by the old model's numbers; the maps are of `old_top`.
        old_probability, new_probability: of `old_top` and of `new_top`.
        old_answer, new_answer: in words.
        is_changed: the answers differ.
        similarity: rank correlation of `old_map` and `new_map`; NaN where one of them is blank.
        is_blank_old, is_blank_new: the map shows no place before another.
        old_map, new_map: (N, H, W) in [0, 1].
        null: (N, J) similarities without a new model.
        null_top: (N, J) most probable class of the models that were trained again; -1 for changed copies.
    """

    file: NDArray[np.object_]
    label: NDArray[np.int32]
    error: NDArray[np.object_]
    old_top: NDArray[np.int64]
    new_top: NDArray[np.int64]
    old_probability: NDArray[np.float64]
    new_probability: NDArray[np.float64]
    old_answer: NDArray[np.object_]
    new_answer: NDArray[np.object_]
    is_changed: NDArray[np.bool_]
    similarity: NDArray[np.float64]
    is_blank_old: NDArray[np.bool_]
    is_blank_new: NDArray[np.bool_]
    old_map: NDArray[np.float32]
    new_map: NDArray[np.float32]
    null: NDArray[np.float64]
    null_top: NDArray[np.int64]

    @classmethod
    def unknown(
        cls, file: np.ndarray, label: np.ndarray, error: Sequence[str], size: tuple[int, int], null_count: int
    ) -> ImageChanges:
        """Return the rows of images that are not compared yet."""
        count = len(file)
        column = lambda value, *shape: np.full((count, *shape), value)  # noqa: E731
        return cls(
            file, label, np.array(error, object),
            column(-1), column(-1), column(np.nan), column(np.nan),
            np.full(count, "", object), np.full(count, "", object),
            column(False), column(np.nan), column(False), column(False),
            column(np.float32(0), *size), column(np.float32(0), *size),
            column(np.nan, null_count), column(-1, null_count),
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: Sequence[ImageChanges]) -> ImageChanges:
        return cls(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(cls)))

    @property
    def is_done(self) -> NDArray[np.bool_]:
        return np.asarray(self.error == "", bool)


@dataclass(frozen=True)
class ClassChanges:
    """The changes of the images of which the old model says one class.

    Attributes:
        index, name: of the class.
        count: images.
        changed: share of the images whose answer changed.
        moved: share of the images with the same answer whose evidence moved.
        similarity: mean rank correlation of the maps.
    """

    index: int
    name: str
    count: int
    changed: Interval
    moved: Interval
    similarity: Interval


@dataclass(frozen=True)
class ModelDiff:
    """Two models over a data set: which answers changed, and which evidence moved though the answer stayed.

    Intervals hold 95 %: of shares Wilson's, which also tell how little 0 of 12 images say; of similarities the
    percentile bootstrap.

    Attributes:
        images: what changed in each image, `ImageChanges`.
        p_value: (N,) share of the null similarities that are as low; NaN where there is no similarity.
        class_names: K names.
        task: "classification" or "multilabel".
        about: conditions by name.
        seed: of the intervals.
    """

    images: ImageChanges
    p_value: NDArray[np.float64]
    class_names: list[str]
    task: str
    about: dict[str, str]
    seed: int = 0

    @property
    def is_tested(self) -> NDArray[np.bool_]:
        """(N,) bool: the answer stayed, and the maps have a similarity."""
        return ~self.images.is_changed & ~np.isnan(self.p_value)

    @property
    def is_moved(self) -> NDArray[np.bool_]:
        """(N,) bool: the answer stayed, and the maps are less alike than 95 % of the null."""
        return self.is_tested & (np.nan_to_num(self.p_value, nan=1.0) <= LEVEL + 1e-9)

    @property
    def changed(self) -> Interval:
        """Share of the compared images whose answer changed."""
        return _share(self.images.is_changed, self.images.is_done)

    @property
    def moved(self) -> Interval:
        """Share of the tested images whose evidence moved; about 0.05 where only chance is at work."""
        return _share(self.is_moved, self.is_tested)

    @property
    def undefined(self) -> Interval:
        """Share of the compared images without a similarity: the map of a model is blank."""
        return _share(np.isnan(self.images.similarity), self.images.is_done)

    @property
    def failed(self) -> Interval:
        """Share of the images that could not be compared."""
        return _share(~self.images.is_done, np.ones(len(self.images.file), bool))

    @property
    def similarity(self) -> Interval:
        """Mean rank correlation of the two models' maps."""
        return bootstrap_interval(self.images.similarity, seed=self.seed)

    @property
    def quantities(self) -> dict[str, Interval]:
        """The numbers that a condition of `--fail-on` can name."""
        return {quantity.name: getattr(self, quantity.name) for quantity in QUANTITIES}

    @property
    def null_similarity(self) -> Interval:
        """Mean rank correlation without a new model."""
        known = ~np.isnan(self.images.null).all(axis=1)
        return bootstrap_interval(np.nanmean(self.images.null[known], axis=1), seed=self.seed)

    @property
    def accuracies(self) -> dict[str, Interval]:
        """Share of right answers of the old, the new and each retrained model; empty without known classes."""
        images = self.images
        known = images.is_done & (images.label >= 0)
        if self.task != "classification" or not known.any():
            return {}
        tops = {"old": images.old_top, "new": images.new_top}
        if (images.null_top >= 0).any():
            tops |= {f"retrained {number}": top for number, top in enumerate(images.null_top.T, 1)}
        return {name: _share(top == images.label, known) for name, top in tops.items()}

    @property
    def classes(self) -> list[ClassChanges]:
        """The changes of each class that the old model predicts, by its number."""
        images, found = self.images, []
        for index in np.unique(images.old_top[images.is_done]).tolist():
            own = images.is_done & (images.old_top == index)
            found.append(
                ClassChanges(
                    index,
                    self.class_names[index],
                    int(own.sum()),
                    _share(images.is_changed, own),
                    _share(self.is_moved, own & self.is_tested),
                    bootstrap_interval(images.similarity[own], seed=self.seed),
                )
            )
        return found

    @property
    def movers(self) -> NDArray[np.int64]:
        """Rows whose evidence moved, the least similar first."""
        rows = np.flatnonzero(self.is_moved)
        return rows[np.argsort(self.images.similarity[rows], kind="stable")]

    @property
    def changes(self) -> NDArray[np.int64]:
        """Rows whose answer changed, the most certain first: by the lower of both probabilities."""
        rows = np.flatnonzero(self.images.is_changed)
        certain = np.minimum(self.images.old_probability, self.images.new_probability)[rows]
        return rows[np.argsort(-certain, kind="stable")]

    def lines(self) -> list[str]:
        """Return the result in words, a line for each number."""
        images = self.images
        found = [
            f"answer changed: {_counted(images.is_changed, images.is_done, self.changed)}",
            f"evidence moved, answer the same: {_counted(self.is_moved, self.is_tested, self.moved)}"
            + (f"; {LEVEL:g} is expected by chance" if self.is_tested.any() else ""),
            f"similarity of the maps (rank correlation): {self.similarity}; "
            f"of {self.about['compared with']}: {self.null_similarity}",
        ]
        if self.accuracies:
            found.append("accuracy: " + ", ".join(f"{name} {value}" for name, value in self.accuracies.items()))
        blank = np.isnan(images.similarity) & images.is_done
        if blank.any():
            old, new = (int((blank & which).sum()) for which in (images.is_blank_old, images.is_blank_new))
            found.append(
                f"no similarity, as a map is blank: {_counted(blank, images.is_done, self.undefined)}: "
                f"{old} of the old model, {new} of the new one"
            )
        if not images.is_done.all():
            found.append(f"not compared: {int((~images.is_done).sum())}, the first: {images.error[~images.is_done][0]}")
        return found


def _share(hits: np.ndarray, among: np.ndarray) -> Interval:
    return wilson_interval(int((hits & among).sum()), int(among.sum()))


def _counted(hits: np.ndarray, among: np.ndarray, share: Interval) -> str:
    return f"{int((hits & among).sum())} of {int(among.sum())}, {share}" if among.any() else "no image to test"
