"""Maps of a batch as numbers and as pictures: other sizes, overlays, regions. NumPy arrays, no framework.

Axis legend: B images, H x W cells of the layer, H0 x W0 pixels. Maps of signals (B, T) and of volumes or frames
(B, D, H, W) are held as well: H x W then stands for their axes, H0 x W0 for those of the model's input.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from tf_gradcam.image.painting import paint
from tf_gradcam.image.regions import Box, Threshold, boxes_of, contours_of, hot_pixels, largest_of
from tf_gradcam.image.spatial import check_sides, resize_maps, signed_share


class Heatmaps:
    """Maps of a batch.

    Attributes:
        heatmaps: (B, H, W) float32 in [0, 1]: after relu, each divided by its maximum; a zero map stays zero.
        raw: (B, H, W) float32 before relu and normalising.
        layer_name: path of the layer.
        image_size: (H0, W0) of the model's input; (T0,) for signals, (D0, H0, W0) for volumes.
        offset: (down, right) pixels by which the maps are shifted when they are resized; zero unless measured.
        signed: whether what speaks against is shown as well: pictures then show `signed_heatmaps`.
    """

    def __init__(
        self,
        heatmaps: np.ndarray,
        raw: np.ndarray,
        *,
        layer_name: str,
        image_size: tuple[int, ...],
        offset: tuple[float, ...] = (0.0, 0.0),
        signed: bool = False,
    ):
        self.heatmaps = heatmaps
        self.raw = raw
        self.layer_name = layer_name
        self.image_size = image_size
        self.offset = offset
        self.signed = signed

    def __len__(self) -> int:
        return len(self.heatmaps)

    @cached_property
    def signed_heatmaps(self) -> np.ndarray:
        """(B, H, W) float32 in [-1, 1]: `raw`, each map divided by its largest absolute value; zero stays zero."""
        return signed_share(self.raw)

    @property
    def shown(self) -> np.ndarray:
        """(B, H, W) float32, what pictures show: `signed_heatmaps` of a signed target, else `heatmaps`."""
        return self.signed_heatmaps if self.signed else self.heatmaps

    @property
    def shifts(self) -> tuple[float, ...]:
        """`offset` with one number per axis of the input, whatever its rank."""
        return self.offset if any(self.offset) else (0.0,) * len(self.image_size)

    def resized(self, size: Sequence[int] | None = None) -> np.ndarray:
        """Heatmaps at the size of a picture: bilinear with half-pixel centres, mirrored input to mirrored output.

        Args:
            size: (height, width) in pixels, (length,) for signals, (depth, height, width) for volumes; None for the
                model's input.

        Returns:
            (B, H0, W0) float32 in [0, 1], shifted by the measured offset where `align="measured"` was asked for.

        Raises:
            ValueError: `size` is not one positive number per axis, or the layer has other axes than the input.
        """
        return self._resize(self.heatmaps, size)

    def _resize(self, maps: np.ndarray, size: Sequence[int] | None) -> np.ndarray:
        rank = len(self.image_size)
        if maps.ndim - 1 != rank:
            raise ValueError(
                f"Expected maps with the {rank} axes {self.image_size} of the input, received {maps.shape}: layer "
                f"'{self.layer_name}' is no picture of it. Use .heatmaps."
            )
        sides = check_sides(self.image_size if size is None else size, rank)
        shifts = zip(self.shifts, sides, self.image_size, strict=True)
        return resize_maps(maps, sides, [shift * side / pixels for shift, side, pixels in shifts])

    def shown_at(self, index: int, size: Sequence[int]) -> np.ndarray:
        """(H0, W0) float32, map `index` of `shown` at another size; errors as `resized`."""
        return self._resize(self.shown[index][None], size)[0]

    def overlay(self, photos: Any, alpha: float = 0.4, colormap: str | None = None) -> np.ndarray:
        """Heatmaps painted on photos; of a signed target, what speaks for in one colour and what against in another.

        Args:
            photos: (B, H0, W0, 3) uint8 RGB, of any one size.
            alpha: weight of the heatmap in [0, 1]; 0 returns the photos byte for byte. Signed maps have this weight
                where they are -1 or 1, and none where they are zero. Defaults to 0.4.
            colormap: name of a colour map of OpenCV or Matplotlib. Defaults to "jet"; for signed maps, of which the two
                ends count, to "bwr": red for, blue against.

        Returns:
            (B, H0, W0, 3) uint8 RGB.

        Raises:
            TypeError: paths instead of photos.
            ValueError: another number of photos than of maps, photos of several sizes, maps that are no pictures, or as
                `overlay_heatmap`.
        """
        self.check_photos(photos)
        sizes = {np.shape(photo)[:2] for photo in photos}
        if len(sizes) > 1:
            raise ValueError(
                f"Expected photos of one size, received {sorted(sizes)}: use overlay_of(index, photo) for each."
            )
        return np.stack([self.overlay_of(index, photo, alpha, colormap) for index, photo in enumerate(photos)])

    def overlay_of(self, index: int, photo: Any, alpha: float = 0.4, colormap: str | None = None) -> np.ndarray:
        """The overlay of map `index` on a photo (H0, W0, 3) uint8 of any size; else as `overlay`."""
        self._check_pictures()
        _check_no_path(photo)
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)) or not -len(self) <= index < len(self):
            raise IndexError(f"Expected index, the number of a map, from 0 to {len(self) - 1}, received {index!r}.")
        return paint(photo, self.shown_at(index, np.shape(photo)[:2]), self.signed, alpha, colormap)

    def check_photos(self, photos: Any) -> None:
        """Refuse what is not one photo per map, in words."""
        _check_no_path(photos)
        if not hasattr(photos, "__len__"):
            remedy = " np.asarray(picture)[None] is one." if type(photos).__module__.startswith("PIL.") else ""
            raise TypeError(
                f"Expected {len(self)} photos in an array or a list, received {type(photos).__name__}.{remedy}"
            )
        if len(photos) != len(self):
            is_one = np.ndim(photos) == 3 and np.shape(photos)[-1] == 3
            remedy = " A single photo needs a batch axis: photo[None]." if is_one else ""
            raise ValueError(f"Expected {len(self)} photos, one per map, received {len(photos)}.{remedy}")
        for photo in photos:
            _check_no_path(photo)

    def _check_pictures(self) -> None:
        if self.heatmaps.ndim - 1 == len(self.image_size) != 2:
            raise ValueError(
                f"Expected maps of pictures (B, H, W), received {self.heatmaps.shape}. Use plot(photos) for signals, "
                "volumes and frames, or resized() and then overlay_heatmap for one slice of them."
            )

    def _read(self, read: Callable[[np.ndarray, Threshold], Any], threshold: Threshold) -> list[Any]:
        self._check_pictures()
        return [read(heatmap, threshold) for heatmap in self.resized()]

    def binary(self, threshold: Threshold = 0.15) -> np.ndarray:
        """The hot pixels of each heatmap, at the size of the model's input.

        Args:
            threshold: part of each map's maximum, above 0 and at most 1; "otsu" for the level that splits the map's
                values best in two; "p95" for its 95th percentile, any from p0 to p100. Defaults to the paper's 0.15.

        Returns:
            (B, H0, W0) bool; all False for a blank map.

        Raises:
            TypeError, ValueError: another threshold; maps that are no pictures.

        Source: Selvaraju et al. 2017, section 4.1, https://arxiv.org/abs/1610.02391.
        """
        return np.stack(self._read(hot_pixels, threshold))

    def largest_component(self, threshold: Threshold = 0.15) -> np.ndarray:
        """(B, H0, W0) bool, the largest connected region of `binary(threshold)` alone; none for a blank map."""
        return np.stack(self._read(largest_of, threshold))

    def boxes(self, threshold: Threshold = 0.15) -> list[list[Box]]:
        """Per image the bounding boxes `Box(xmin, ymin, xmax, ymax)` of the connected regions of `binary(threshold)`,
        in pixels of the model's input, the largest region first; empty for a blank map.
        """
        return self._read(boxes_of, threshold)

    def contours(self, threshold: Threshold = 0.15) -> list[list[np.ndarray]]:
        """Per image the outer outlines of the same regions in the same order, each (P, 2) int32 pixels (x, y)."""
        return self._read(contours_of, threshold)


def _check_no_path(photo: Any) -> None:
    if isinstance(photo, (str, bytes, os.PathLike)):
        name = os.fsdecode(photo)
        raise TypeError(
            f"Expected photos as arrays (H0, W0, 3) uint8, received the path '{name}'. Read it with "
            f"tf_gradcam.image.load_image('{name}')."
        )
