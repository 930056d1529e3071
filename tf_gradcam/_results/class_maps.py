"""The result of `Explainer.class_maps`: heatmaps of several classes of each image.

Axis legend: B images, K classes asked for, H x W cells of the layer (any number of spatial axes).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tf_gradcam._results.explanation import Explanation, MapArrays
from tf_gradcam.image.io import Photos
from tf_gradcam.image.overlay import Look

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_PER_CLASS = ("raw", "heatmaps", "scores", "class_indices", "gradient_peaks", "activation_peaks", "roundings")


class ClassMaps:
    """Heatmaps of several classes of each image.

    Attributes:
        heatmaps: (B, K, H, W) float32 in [0, 1]: after relu, each divided by its own maximum; a zero map stays zero.
        raw: (B, K, H, W) float32 before relu and normalising; on one scale for all classes of an image.
        scores: (B, K) float32, the classes' scores before the softmax.
        probabilities: (B, K) float32, the classes' probabilities; None where the outputs are values.
        class_indices: (B, K) int32.
        labels: B lists of K names.
        above: (B, K) bool, whether the class is above its threshold; None where no thresholds were given. Figures and
            files leave out those that are not, but for the most probable class of an image that has none.
        layer_name: path of the layer.
        method: name of the rule.
    """

    def __init__(
        self,
        arrays: MapArrays,
        *,
        labels: Sequence[Sequence[str]],
        layer_name: str,
        method: str,
        thresholds: np.ndarray | None = None,
        **options: Any,
    ):
        self.heatmaps = arrays.heatmaps
        self.raw = arrays.raw
        self.scores = arrays.scores
        self.class_indices = arrays.class_indices
        self.labels = [list(row) for row in labels]
        self.layer_name = layer_name
        self.method = method
        of_all = arrays.probabilities
        self.probabilities = None if of_all is None else np.take_along_axis(of_all, self.class_indices, axis=1)
        self.above = None
        if thresholds is not None and self.probabilities is not None:
            self.above = self.probabilities > thresholds[self.class_indices]
        self._arrays = arrays
        self._options = {"layer_name": layer_name, "method": method, **options}  # of each class's `Explanation`

    def __len__(self) -> int:
        return len(self.heatmaps)

    def of_class(self, position: int) -> Explanation:
        """Return the B maps at one position of the axis K as an `Explanation` (overlay, plot, boxes, save).

        Args:
            position: 0 to K - 1; with `top=`, 0 is each image's best class.

        Raises:
            ValueError: a position outside the axis K.
        """
        count = self.heatmaps.shape[1]
        if not 0 <= position < count:
            raise ValueError(f"Expected a position below {count}, the number of maps of an image, received {position}.")
        of_one = {name: getattr(self._arrays, name)[:, position] for name in _PER_CLASS}
        return Explanation(
            self._arrays._replace(**of_one), labels=[row[position] for row in self.labels], **self._options
        )

    def of_each_class(self) -> list[Explanation]:
        """Return `of_class` of all K positions."""
        return [self.of_class(position) for position in range(self.heatmaps.shape[1])]

    @property
    def asked(self) -> NDArray[np.bool_]:
        """(B, K), whether a map was asked for; the others fill up the axis K."""
        if self.above is None:
            return np.ones(self.class_indices.shape, bool)
        asked = self.above.copy()
        asked[~asked.any(axis=1), 0] = True  # the most probable one comes first
        return asked

    def plot(self, photos: Photos | None = None, colormap: str | None = None, threshold: float = 0.0) -> Figure:
        """Draw a row for each image: its maps, one per class, under the class and its probability.

        Args:
            photos: B photos (H0, W0, 3) uint8 RGB, of any sizes, under and before the maps; None for the maps alone.
            colormap, threshold: as `Explanation.plot`.

        Returns:
            Matplotlib Figure; `figure.savefig(path)` writes it.

        Raises:
            TypeError: paths instead of photos.
            ValueError: the number of photos is not the number of images; maps that are not pictures; over 50 classes.
        """
        from tf_gradcam._figures.side_by_side import class_figure

        look = Look(threshold=threshold, colormap=colormap)
        return class_figure(self.of_each_class(), self.asked, photos, look)

    def save(self, directory: str | os.PathLike[str], photos: Photos | None = None) -> list[Path]:
        """Write the maps as arrays and, on photos, as overlays.

        Args:
            directory: folder, created if it does not exist.
            photos: B photos (H0, W0, 3) uint8 RGB, of any sizes, or None.

        Returns:
            Paths of the files: `<number>.class-<index>.heatmap.npy` (H, W) float32 and, with photos,
            `<number>.class-<index>.overlay.png`, class by class; a class that was asked for twice has
            one file.

        Raises:
            TypeError, ValueError, OSError: as `Explanation.save`, before anything is written.
        """
        written: dict[Path, None] = {}
        for place, explanation in enumerate(self.of_each_class()):
            stems = [
                f"{number:04d}.class-{index}" if self.asked[number, place] else None
                for number, index in enumerate(explanation.class_indices)
            ]
            written |= dict.fromkeys(explanation.save_as(stems, directory, photos))
        return list(written)

    def __repr__(self) -> str:
        return (
            f"ClassMaps(images={len(self)}, heatmaps={self.heatmaps.shape}, layer={self.layer_name!r}, "
            f"method={self.method!r})"
        )
