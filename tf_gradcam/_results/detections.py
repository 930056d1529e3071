"""The result of `Explainer.detections`: the detections of one image and the map of each.

Axis legend: D detections, H x W cells, H0 x W0 pixels. A box is (x1, y1, x2, y2) in pixels of the model's input.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tf_gradcam._files.atomic import encoded_array, made_folder, write_files
from tf_gradcam._results.explanation import Explanation
from tf_gradcam.image.io import Photo, encoded_image
from tf_gradcam.image.overlay import Look
from tf_gradcam.metrics.localisation import box_region, box_share, energy_in_box, energy_in_region

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Detection(NamedTuple):
    """One detection.

    Attributes:
        box: (x1, y1, x2, y2) in pixels of the model's input; it may reach beyond the picture.
        class_index: of its class.
        label: name of its class.
        score: in [0, 1].
        row: number of the raw row that made it, its anchor: `targets.Box(label, box)` explains this row, and of raw
            outputs (B, N, 4 + K) `targets.Element(row, 4 + class_index)`.
    """

    box: tuple[float, float, float, float]
    class_index: int
    label: str
    score: float
    row: int

    def __str__(self) -> str:
        return f"{self.label} {self.score:.2f} at ({', '.join(f'{side:.0f}' for side in self.box)})"


class Detections:
    """Detections of one image, the best first, and a map of each.

    Attributes:
        found: all `Detection`s of the image, the best first.
        chosen: positions in `found` of the D explained detections.
        maps: `Explanation` of the D maps; None where nothing was explained.
        image_size: (H0, W0) of the model's input.
        diagnosis: None, or the reason why nothing was explained.
    """

    def __init__(
        self,
        found: Sequence[Detection],
        chosen: Sequence[int],
        maps: Explanation | None,
        image_size: tuple[int, int],
        diagnosis: str | None = None,
    ):
        self.found = list(found)
        self.chosen = list(chosen)
        self.maps = maps
        self.image_size = image_size
        self.diagnosis = diagnosis

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, position: int) -> Detection:
        return self.found[self.chosen[position]]

    def __iter__(self) -> Iterator[Detection]:
        return (self.found[position] for position in self.chosen)

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(D, 4) float32 boxes of the explained detections."""
        return np.array([item.box for item in self], np.float32).reshape(-1, 4)

    @property
    def scores(self) -> NDArray[np.float32]:
        """(D,) float32 scores in [0, 1]."""
        return np.array([item.score for item in self], np.float32)

    @property
    def labels(self) -> list[str]:
        return [item.label for item in self]

    @cached_property
    def energy(self) -> NDArray[np.float64]:
        """(D,), the share of each map's heat inside its own box; NaN for a blank map. Compare it with `box_shares`."""
        return np.array([self._energy(index) for index in range(len(self))])

    @cached_property
    def energy_of_others(self) -> NDArray[np.float64]:
        """(D,), the share of each map's heat inside the boxes of the other detections and outside its own."""
        return np.array([self._energy_of_others(index) for index in range(len(self))])

    @property
    def box_shares(self) -> NDArray[np.float64]:
        """(D,), the share of the picture inside each box: the `energy` of a map without information."""
        return np.array([0.0 if box is None else box_share(self.image_size, box) for box in map(self._seen, self)])

    def _seen(self, detection: Detection) -> tuple[float, float, float, float] | None:
        """Return the part of a box inside the picture, None where there is none."""
        height, width = self.image_size
        x1, y1, x2, y2 = detection.box
        x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
        return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None

    @cached_property
    def _resized(self) -> NDArray[np.float32]:
        assert self.maps is not None
        return self.maps.resized(self.image_size)

    def _energy(self, index: int) -> float:
        box = self._seen(self[index])
        return float("nan") if box is None else energy_in_box(self._resized[index], box)

    def _energy_of_others(self, index: int) -> float:
        region = np.zeros(self.image_size)
        for position, other in enumerate(self.found):
            box = self._seen(other)
            if position != self.chosen[index] and box is not None:
                region = np.maximum(region, box_region(self.image_size, box))
        own = self._seen(self[index])
        if own is not None:
            region = np.clip(region - box_region(self.image_size, own), 0, 1)
        heatmap = self._resized[index]
        if not region.any():
            return 0.0 if heatmap.any() else float("nan")
        return energy_in_region(heatmap, region)

    def with_boxes(self, position: int, picture: Photo) -> Photo:
        """Draw the boxes of all detections, that of an explained one in white and wider.

        Args:
            position: of the explained detection, from 0 to D - 1.
            picture: (H0, W0, 3) uint8 RGB, of any size, such as `maps.overlay_of(position, photo)`.

        Returns:
            A new picture (H0, W0, 3) uint8.

        Raises:
            IndexError: no such position.
        """
        from tf_gradcam._figures.detections import with_boxes

        return with_boxes(self, position, picture)

    def plot(self, photo: Photo | None = None, colormap: str | None = None, threshold: float = 0.0) -> Figure:
        """Draw the photo with all boxes, then the map of each explained detection with its box.

        Args:
            photo: (H0, W0, 3) uint8 RGB, of any size; None for the maps alone.
            colormap, threshold: as `Explanation.plot`.

        Returns:
            Matplotlib Figure; an image without explained detections is its photo under the `diagnosis`.

        Raises:
            ValueError: more than 50 detections.
        """
        from tf_gradcam._figures.detections import detection_figure

        return detection_figure(self, photo, Look(threshold=threshold, colormap=colormap))

    def save(
        self, directory: str | os.PathLike[str], photo: Photo | None = None, stem: str = "detection"
    ) -> list[Path]:
        """Write the map of each detection as an array and, on a photo, as an overlay with its box.

        Args:
            directory: folder, created if it does not exist.
            photo: (H0, W0, 3) uint8 RGB, of any size, or None.
            stem: beginning of the files' names.

        Returns:
            Paths of `<stem>.<position>-<class>.heatmap.npy` and, with a photo, `<stem>.<position>-<class>.overlay.png`;
            none where nothing was explained.

        Raises:
            ValueError, OSError: as `Explanation.save`.
        """
        from tf_gradcam._figures.detections import detection_overlay

        if self.maps is None:
            return []
        folder, files = made_folder(directory, "directory"), []
        for index, item in enumerate(self):
            name = f"{stem}.{self.chosen[index]}-{item.class_index}"
            files.append((folder / f"{name}.heatmap.npy", encoded_array(self.maps.heatmaps[index])))
            if photo is not None:
                path = folder / f"{name}.overlay.png"
                files.append((path, encoded_image(path, detection_overlay(self, index, photo))))
        write_files(files)
        return [path for path, _ in files]

    def __repr__(self) -> str:
        if self.diagnosis is not None:
            return f"Detections(none explained: {self.diagnosis})"
        return f"Detections({'; '.join(map(str, self))})"
