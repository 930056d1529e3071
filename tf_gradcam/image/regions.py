"""Regions of a heatmap: the connected pixels above a threshold, their boxes and their outlines.

Axis legend: H0 x W0 pixels. A threshold is relative to the map's maximum (0.15), "otsu", or a percentile ("p95").
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tf_gradcam.image.opencv import opencv

Threshold = float | str


class Box(NamedTuple):
    """Rectangle in pixels, without its right and lower edge."""

    xmin: int
    ymin: int
    xmax: int
    ymax: int


class HotRegion(NamedTuple):
    """Region of pixels that touch at a side or a corner."""

    box: Box
    area: int  # pixels
    pixels: NDArray[np.bool_]  # of the box: True inside the region


def hot_pixels(heatmap: np.ndarray, threshold: Threshold) -> NDArray[np.bool_]:
    """Return the pixels of a map that reach a threshold; pixels without heat never do.

    Args:
        heatmap: (H0, W0) float32 in [0, 1].
        threshold: a number, relative to the map's maximum, above 0 and at most 1. "otsu": above the level that splits
            the 256 grey levels of the map into two classes of least variance; every pixel of a map that is equal
            everywhere. "p95": at least the 95th percentile, about the hottest 5 % of the pixels; from 0 to 100.

    Returns:
        (H0, W0) bool; all False for a blank map.

    Raises:
        TypeError: `threshold` is neither a number nor a string.
        ValueError: a number outside (0, 1], or another string.

    Source: Selvaraju et al. 2017, section 4.1 (15 % of the maximum), https://arxiv.org/abs/1610.02391; Otsu 1979,
    https://doi.org/10.1109/TSMC.1979.4310076.
    """
    percentile = _check_threshold(threshold)
    peak = heatmap.max()
    if not peak > 0:
        return np.zeros(heatmap.shape, bool)
    if threshold == "otsu":
        return _above_otsu(heatmap)
    level = np.float32(threshold) * peak if percentile is None else np.percentile(heatmap, percentile)
    return (heatmap >= level) & (heatmap > 0)


def _check_threshold(threshold: Threshold) -> float | None:
    """Return the percentile of a threshold such as "p95", None for the other kinds."""
    if isinstance(threshold, str):
        percentile = re.fullmatch(r"p(\d+(?:\.\d+)?)", threshold)
        if threshold != "otsu" and (percentile is None or float(percentile[1]) > 100):
            raise ValueError(
                "Expected threshold relative to the maximum (0.15), 'otsu', or a percentile such as 'p95', received "
                f"{threshold!r}."
            )
        return float(percentile[1]) if percentile else None
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float, np.integer, np.floating)):
        raise TypeError(
            "Expected threshold as a number, 'otsu', or a percentile such as 'p95', received "
            f"{type(threshold).__name__}."
        )
    if not 0 < threshold <= 1:
        raise ValueError(f"Expected threshold relative to the maximum, above 0 and at most 1, received {threshold}.")
    return None


def _above_otsu(heatmap: np.ndarray) -> NDArray[np.bool_]:
    levels = np.rint(heatmap * (255 / heatmap.max())).astype(np.uint8)
    if levels.min() == levels.max():
        return np.ones(heatmap.shape, bool)
    cv2 = opencv()
    _, hot = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return hot.astype(bool)


def regions_of(heatmap: np.ndarray, threshold: Threshold) -> list[HotRegion]:
    """Return the connected regions of the hot pixels, the largest first, equal sizes from top to bottom.

    Arguments and errors as `hot_pixels`; a blank map does not have regions.
    """
    hot = hot_pixels(heatmap, threshold).astype(np.uint8)
    _, labels, rows, _ = opencv().connectedComponentsWithStats(hot, connectivity=8)
    regions = []
    for label, (left, top, width, height, area) in enumerate(rows.tolist()):
        if label > 0:  # 0 is the background
            pixels = labels[top : top + height, left : left + width] == label
            regions.append(HotRegion(Box(left, top, left + width, top + height), area, pixels))
    return sorted(regions, key=lambda region: (-region.area, region.box.ymin, region.box.xmin))


def boxes_of(heatmap: np.ndarray, threshold: Threshold) -> list[Box]:
    """Return the bounding boxes of the regions; arguments, order and errors as `regions_of`."""
    return [region.box for region in regions_of(heatmap, threshold)]


def contours_of(heatmap: np.ndarray, threshold: Threshold) -> list[NDArray[np.int32]]:
    """Return the outer outlines of the regions; arguments, order and errors as `regions_of`.

    Each is (P, 2) int32, the (x, y) of outermost pixels in their order around the region, without holes; pixels inside
    straight runs are left out.
    """
    cv2 = opencv()
    outlines = []
    for region in regions_of(heatmap, threshold):
        pixels = region.pixels.astype(np.uint8)
        (outline, *_), _ = cv2.findContours(pixels, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=region.box[:2])
        outlines.append(outline.reshape(-1, 2).astype(np.int32))
    return outlines


def outline_of(region: HotRegion) -> NDArray[np.int32]:
    """Return the corners (P, 2) of a region's outer outline, x and y along the edges of its pixels, without holes.

    Pixel 0 reaches from 0 to 1; so a region of one pixel has four corners, and an outline the area of its pixels.
    """
    cv2 = opencv()
    doubled = region.pixels.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    # In a picture of double size an edge lies before each even pixel and behind each odd one.
    (outline, *_), _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    corners = (outline.reshape(-1, 2) + 1) // 2
    is_new = (corners != np.roll(corners, 1, axis=0)).any(axis=1)
    return np.asarray(corners[is_new] + region.box[:2], np.int32)


def largest_of(heatmap: np.ndarray, threshold: Threshold) -> NDArray[np.bool_]:
    """Return the pixels of the largest region, (H0, W0) bool, all False for a blank map; else as `regions_of`."""
    inside = np.zeros(heatmap.shape, bool)
    for region in regions_of(heatmap, threshold)[:1]:
        xmin, ymin, xmax, ymax = region.box
        inside[ymin:ymax, xmin:xmax] = region.pixels
    return inside
