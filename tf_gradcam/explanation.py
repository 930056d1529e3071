"""The result: heatmaps with what they explain, and the pictures made of them. NumPy arrays, no framework.

Axis legend: B images, H x W cells of the layer, K classes, H0 x W0 pixels.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_gradcam.atomic import write_array
from tf_gradcam.diagnosis import diagnose
from tf_gradcam.image import overlay_heatmap
from tf_gradcam.imagefile import save_image
from tf_gradcam.interpolation import check_size, resize_heatmaps
from tf_gradcam.regions import Box, boxes_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Explanation:
    """Heatmaps of a batch and what they explain.

    Attributes:
        heatmaps: (B, H, W) float32 in [0, 1]: after relu, each divided by its maximum; a zero map stays zero.
        raw: (B, H, W) float32 before relu and normalising.
        outputs: (B, K) float32, the scores before a final softmax or sigmoid (of a model's first output).
        probabilities: (B, K) float32, (B, 2) for one sigmoid unit; None where the outputs are values.
        scores: (B,) float32, what was explained.
        class_indices: (B,) int, the explained classes; -1 for a callable target.
        labels: B names of what was explained.
        layer_name: path of the layer.
        method: name of the rule.
        image_size: (H0, W0) pixels of the model's input.
        offset: (down, right) pixels by which the maps are shifted when they are resized; zero unless measured.
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        *,
        labels: Sequence[str],
        layer_name: str,
        method: str,
        image_size: tuple[int, ...],
        has_open_head: bool,
        offset: tuple[float, float] = (0.0, 0.0),
        class_names: Mapping[int, str] | None = None,
    ):
        self.heatmaps = arrays["heatmaps"]
        self.raw = arrays["raw"]
        self.outputs = arrays["outputs"]
        self.probabilities = arrays.get("probabilities")
        self.scores = arrays["scores"]
        self.class_indices = arrays["class_indices"]
        self.labels = list(labels)
        self.layer_name = layer_name
        self.method = method
        self.image_size = image_size
        self.offset = offset
        self._gradient_peaks = arrays["gradient_peaks"]
        self._finite_images = arrays["finite_images"]
        self._has_open_head = has_open_head
        self._class_names = class_names or {}

    def __len__(self) -> int:
        return len(self.heatmaps)

    @cached_property
    def diagnosis(self) -> list[str | None]:
        """Per image None, or a sentence on why the map is blank and what to do."""
        return [
            diagnose(
                self.raw[index],
                gradient_peak=float(self._gradient_peaks[index]),
                finite_image=bool(self._finite_images[index]),
                saturated_probability=self._saturated_probability(index),
                layer=self.layer_name,
                label=self.labels[index],
                score=float(self.scores[index]),
            )
            for index in range(len(self))
        ]

    def _saturated_probability(self, index: int) -> float | None:
        """The explained value where it is itself a probability, 0 or 1 to seven digits."""
        score = float(self.scores[index])
        return score if not self._has_open_head and min(abs(score), abs(1 - score)) < 1e-7 else None

    def top(self, count: int = 5) -> list[list[tuple[str, float]]]:
        """The most probable classes of each image: (label, probability), best first.

        Args:
            count: how many, at least 1; fewer where there are fewer classes. Defaults to 5.

        Raises:
            ValueError: `count` below 1, or outputs that are no classes.
        """
        if count < 1:
            raise ValueError(f"Expected count of at least 1, received {count}.")
        if self.probabilities is None or self.probabilities.ndim != 2:
            raise ValueError(f"Expected outputs that are classes, received values of shape {self.outputs.shape}.")
        best = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :count]
        return [
            [(self._class_names.get(int(k), str(int(k))), float(row[k])) for k in order]
            for row, order in zip(self.probabilities, best, strict=True)
        ]

    def resized(self, size: tuple[int, int] | None = None) -> np.ndarray:
        """Heatmaps at the size of a picture: bilinear with half-pixel centres, mirrored input to mirrored output.

        Args:
            size: (height, width) in pixels; None for the model's input.

        Returns:
            (B, H0, W0) float32 in [0, 1], shifted by the measured offset where `align="measured"` was asked for.

        Raises:
            ValueError: `size` is not two positive numbers, or the layer is no picture.
        """
        return self._resize(self.heatmaps, size)

    def _resize(self, heatmaps: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        if heatmaps.ndim != 3 or len(self.image_size) != 2:
            raise ValueError(
                f"Expected maps (B, H, W) of pictures, received {heatmaps.shape}: layer '{self.layer_name}' is no "
                "picture. Use .heatmaps."
            )
        height, width = check_size(self.image_size if size is None else size)
        down, right = self.offset
        offset = (down * height / self.image_size[0], right * width / self.image_size[1])
        return resize_heatmaps(heatmaps, (height, width), offset)

    def overlay(self, photos: Any, alpha: float = 0.4, colormap: str = "jet") -> np.ndarray:
        """Heatmaps painted on photos.

        Args:
            photos: (B, H0, W0, 3) uint8 RGB, of any one size.
            alpha: weight of the heatmap in [0, 1]; 0 returns the photos byte for byte. Defaults to 0.4.
            colormap: name of a colour map of OpenCV or Matplotlib. Defaults to "jet".

        Returns:
            (B, H0, W0, 3) uint8 RGB.

        Raises:
            ValueError: another number of photos than of maps, photos of several sizes, or as `overlay_heatmap`.
        """
        self._check_photos(photos)
        sizes = {np.shape(photo)[:2] for photo in photos}
        if len(sizes) > 1:
            raise ValueError(
                f"Expected photos of one size, received {sorted(sizes)}: use overlay_of(index, photo) for each."
            )
        return np.stack([self.overlay_of(index, photo, alpha, colormap) for index, photo in enumerate(photos)])

    def overlay_of(self, index: int, photo: Any, alpha: float = 0.4, colormap: str = "jet") -> np.ndarray:
        """The overlay of map `index` on a photo (H0, W0, 3) uint8 of any size; else as `overlay`."""
        height, width = np.shape(photo)[:2]
        heatmap = self._resize(self.heatmaps[index][None], (height, width))[0]
        return overlay_heatmap(photo, heatmap, alpha, colormap)

    def _check_photos(self, photos: Any) -> None:
        if len(photos) != len(self):
            raise ValueError(f"Expected {len(self)} photos, one per map, received {len(photos)}.")

    def boxes(self, threshold: float = 0.15) -> list[list[Box]]:
        """Bounding boxes of the hot regions, in pixels of the model's input.

        Args:
            threshold: part of each map's maximum, above 0 and at most 1. Defaults to the paper's 0.15.

        Returns:
            Per image a list of `Box(xmin, ymin, xmax, ymax)`, the largest region first; empty for a blank map.

        Raises:
            ValueError: `threshold` outside (0, 1].

        Source: Selvaraju et al. 2017, section 4.1, https://arxiv.org/abs/1610.02391.
        """
        return [boxes_of(heatmap, threshold) for heatmap in self.resized()]

    def plot(self, photos: Any = None) -> Figure:
        """A figure with a row per image: the photo, the map with its colour bar, the overlay.

        Args:
            photos: B photos (H0, W0, 3) uint8 RGB, of any sizes; None shows the maps alone.

        Returns:
            Matplotlib Figure; `figure.savefig(path)` writes it.

        Raises:
            ValueError: another number of photos than of maps.
        """
        from tf_gradcam.plot import explanation_figure

        if photos is not None:
            self._check_photos(photos)
        return explanation_figure(self, photos)

    def save(self, directory: str | os.PathLike[str], photos: Any = None) -> list[Path]:
        """Write the maps as arrays and, on photos, as overlays.

        Args:
            directory: folder, made where it does not exist.
            photos: B photos (H0, W0, 3) uint8 RGB, of any sizes, or None.

        Returns:
            Paths of the files: `<number>.heatmap.npy` (H, W) float32 and, with photos, `<number>.overlay.png`.

        Raises:
            ValueError: another number of photos than of maps.
            OSError: a folder that cannot be written.
        """
        if photos is not None:
            self._check_photos(photos)
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for index in range(len(self)):
            written.append(folder / f"{index:04d}.heatmap.npy")
            write_array(written[-1], self.heatmaps[index])
            if photos is not None:
                written.append(folder / f"{index:04d}.overlay.png")
                save_image(written[-1], self.overlay_of(index, photos[index]))
        return written

    def __repr__(self) -> str:
        return (
            f"Explanation(images={len(self)}, heatmaps={self.heatmaps.shape}, layer={self.layer_name!r}, "
            f"method={self.method!r})"
        )
