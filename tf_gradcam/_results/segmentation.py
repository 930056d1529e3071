"""The predicted masks of a segmentation, and the part of each that a map explains.

Axis legend: B images, H1 x W1 cells of the output (any number of spatial axes), H0 x W0 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tf_gradcam.image.masks import nearest


@dataclass(frozen=True)
class Segmentation:
    """Predicted masks of a batch.

    Attributes:
        predicted: (B, H1, W1) int32, the class of each cell; -1 where none of several labels, or not the only one, is
            predicted.
        inside: (B, H1, W1) bool, the cells whose logits are explained.
        explained: (B,) int32, the explained class.
        is_given: whether `inside` was given, as a mask or a point; else it is where the class is predicted.
        class_count: K; 2 for one unit of two sides.
        has_none: whether a cell may have no class. In `values` 0 is then none, and class k is k + 1.
    """

    predicted: NDArray[np.int32]
    inside: NDArray[np.bool_]
    explained: NDArray[np.int32]
    is_given: bool = False
    class_count: int = 0
    has_none: bool = False

    def __len__(self) -> int:
        return len(self.predicted)

    def __getitem__(self, rows: slice) -> Segmentation:
        return replace(self, predicted=self.predicted[rows], inside=self.inside[rows], explained=self.explained[rows])

    @staticmethod
    def joined(parts: Sequence[Segmentation]) -> Segmentation:
        """Return the masks of several batches, in their order."""
        return replace(
            parts[0],
            predicted=np.concatenate([part.predicted for part in parts]),
            inside=np.concatenate([part.inside for part in parts]),
            explained=np.concatenate([part.explained for part in parts]),
        )

    def values(self, index: int, size: Sequence[int] | None = None) -> NDArray[np.uint16]:
        """Return mask `index` as it is drawn and written.

        Args:
            size: (H0, W0) by nearest cells; None for the cells.

        Returns:
            (H0, W0) uint16.
        """
        values = (self.predicted[index] + int(self.has_none)).astype(np.uint16)
        return values if size is None else nearest(values, size)

    def shares(self, index: int) -> list[tuple[int, float]]:
        """Return the classes in mask `index` with their share of its cells, the largest first; -1 for none."""
        classes, counts = np.unique(self.predicted[index], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return [(int(classes[k]), float(counts[k] / self.predicted[index].size)) for k in order]
