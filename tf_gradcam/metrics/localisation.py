"""Localisation metrics: heatmaps against boxes and regions, and the concentration of heat. NumPy only.

Axis legend: H0 x W0 pixels. A box is (xmin, ymin, xmax, ymax) in pixels; its right and lower edges are outside. Its
borders may be fractions: a pixel that is cut counts by the part inside. A region is (H0, W0) in [0, 1], the part of
each pixel inside the object: a box (`box_region`), several boxes, or a drawn outline.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tf_gradcam.image.regions import Threshold, hot_pixels


def energy_in_box(heatmap: np.ndarray, box: Sequence[float]) -> float:
    """Return the share of the heat inside the box; higher is better.

    Compare with `box_share`, the value of a heatmap without information.

    Args:
        heatmap: (H0, W0) float, at least 0.
        box: (xmin, ymin, xmax, ymax) in pixels of the heatmap.

    Returns:
        float in [0, 1]; NaN for a blank heatmap.

    Raises:
        ValueError: the box is outside the image or has no area; the heat is negative.

    Source: energy-based pointing game, Wang et al. 2020 (Score-CAM), eq. 5, https://arxiv.org/abs/1910.01279.
    Deviation: pixels cut by the border of the box count by the part inside.
    """
    rows, columns = _coverage(heatmap, box)
    total = _total_heat(heatmap)
    return float(rows @ heatmap.astype(np.float64) @ columns) / total if total > 0 else float("nan")


def pointing_hit(heatmap: np.ndarray, box: Sequence[float]) -> float:
    """Return 1 if the hottest pixel lies in the box, else 0; higher is better.

    Photographers centre their subject: compare with the hit of the image's centre and with `box_share`.

    Args:
        heatmap: (H0, W0) float.
        box: (xmin, ymin, xmax, ymax) in pixels of the heatmap.

    Returns:
        1.0 or 0.0, or the share of the hottest pixels inside if several are equally hot; NaN for a blank heatmap.

    Raises:
        ValueError: the box is outside the image or has no area.

    Source: pointing game, Zhang et al. 2016, https://arxiv.org/abs/1608.00507. Deviation: no tolerance around the box.
    """
    rows, columns = _coverage(heatmap, box)
    if not heatmap.max() > 0:
        return float("nan")
    hottest = np.argwhere(heatmap == heatmap.max())
    # A pixel is in the box if its centre is, so if at least half of it is covered along both axes.
    return float(np.mean([(rows[y] >= 0.5) and (columns[x] >= 0.5) for y, x in hottest]))


def energy_in_region(heatmap: np.ndarray, region: np.ndarray) -> float:
    """Return the share of the heat inside the region; higher is better.

    Compare with `region.mean()`, the value of a heatmap without information.

    Args:
        heatmap: (H0, W0) float, at least 0.
        region: (H0, W0) bool, or float in [0, 1].

    Returns:
        float in [0, 1]; NaN for a blank heatmap.

    Raises:
        ValueError: the sizes differ, the region is empty or leaves [0, 1], or the heat is negative.

    Source: as `energy_in_box`. Deviation: any region.
    """
    part = _checked(heatmap, region)
    total = _total_heat(heatmap)
    return float((heatmap * part).sum(dtype=np.float64)) / total if total > 0 else float("nan")


def pointing_hit_in_region(heatmap: np.ndarray, region: np.ndarray) -> float:
    """Return 1 if the hottest pixel lies in the region, else 0; higher is better.

    Args:
        heatmap: (H0, W0) float.
        region: (H0, W0) bool, or float in [0, 1]; a pixel is inside from 0.5 on (at the corner of a box, `pointing_hit`
            requires a half along each axis).

    Returns:
        1.0 or 0.0, or the share of the hottest pixels inside if several are equally hot; NaN for a blank heatmap.

    Raises:
        ValueError: the sizes differ, or the region is empty or leaves [0, 1].

    Source: as `pointing_hit`. Deviation: no tolerance around the region.
    """
    part = _checked(heatmap, region)
    return float((part[heatmap == heatmap.max()] >= 0.5).mean()) if heatmap.max() > 0 else float("nan")


def iou_at(heatmap: np.ndarray, region: np.ndarray, threshold: Threshold = 0.15) -> float:
    """Return the intersection over union of the hot pixels and the region; higher is better.

    The best threshold differs between methods: compare methods at several thresholds, or by `energy_in_region`.

    Args:
        heatmap: (H0, W0) float in [0, 1].
        region: (H0, W0) bool, or float in [0, 1]; of a box by `box_region`.
        threshold: limit of hot pixels, as in `Explanation.binary`: a number relative to the map's maximum, "otsu", or a
            percentile such as "p95". Defaults to 0.15.

    Returns:
        float in [0, 1]; NaN for a blank heatmap.

    Raises:
        TypeError, ValueError: the threshold is of another kind.
        ValueError: the sizes differ, or the region is empty or leaves [0, 1].

    Source: Jaccard index; threshold of Selvaraju et al. 2017, section 4.1, https://arxiv.org/abs/1610.02391. Deviation:
    the hot pixels are compared with the region; there, the box around their largest connected part.
    """
    part = _checked(heatmap, region)
    hot = hot_pixels(heatmap, threshold)
    if not hot.any():
        return float("nan")
    # A pixel that is partly inside intersects by that part.
    return float(np.where(hot, part, 0).sum() / np.where(hot, 1, part).sum())


def sparsity(heatmap: np.ndarray) -> float:
    """Return the concentration of the heat as a Gini index; higher is sparser and easier to read, not more correct.

    Args:
        heatmap: (H0, W0) float, at least 0.

    Returns:
        float in [0, 1): 0 if all pixels are equally hot, 1 - 1 / (H0 W0) if one pixel has all the heat; NaN for a blank
        heatmap.

    Raises:
        ValueError: the heat is negative, or the heatmap is not (H0, W0).

    Source: Chalasani et al. 2020, section 4, https://arxiv.org/abs/1810.06583; Hurley & Rickard 2009. Deviation: none.
    """
    _check_rank(heatmap)
    total = _total_heat(heatmap)
    heat = np.sort(heatmap, axis=None).astype(np.float64)
    count = heat.size
    weights = 2 * np.arange(1, count + 1) - count - 1
    return float(weights @ heat / (count * total)) if total > 0 else float("nan")


def box_region(size: tuple[int, int], box: Sequence[float]) -> np.ndarray:
    """Return the part of each pixel inside the box, (H0, W0) float64 in [0, 1], for an image of `size`.

    Args:
        size: (height, width) of the image in pixels.
        box: (xmin, ymin, xmax, ymax) in pixels.

    Raises:
        ValueError: the box is outside the image or has no area.
    """
    rows, columns = _coverage(np.empty(size), box)
    return np.outer(rows, columns)


def box_share(size: tuple[int, int], box: Sequence[float]) -> float:
    """Return the share of an image of `size` (height, width) inside the box: the value of an uninformative heatmap."""
    return energy_in_box(np.ones(size), box)


def _checked(heatmap: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Check a region, and return it as (H0, W0) float64."""
    if heatmap.ndim != 2 or heatmap.shape != np.shape(region):
        raise ValueError(
            f"Expected one heatmap (H0, W0) and a region of its size, received {heatmap.shape} and {np.shape(region)}."
        )
    part = np.asarray(region, np.float64)
    if not (part.min() >= 0 and part.max() <= 1 and part.any()):
        raise ValueError(
            f"Expected a region in [0, 1] that is not empty, received {part.min():.4g} to {part.max():.4g}."
        )
    return part


def _check_rank(heatmap: np.ndarray) -> None:
    if heatmap.ndim != 2:
        raise ValueError(f"Expected one heatmap (H0, W0), received shape {heatmap.shape}.")


def _total_heat(heatmap: np.ndarray) -> float:
    if heatmap.min() < 0:
        raise ValueError(f"Expected heat of 0 or more, received a minimum of {heatmap.min():.4g}.")
    return float(heatmap.sum(dtype=np.float64))


def _coverage(heatmap: np.ndarray, box: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the parts of each row and of each column of pixels inside the box, in [0, 1]."""
    _check_rank(heatmap)
    height, width = heatmap.shape
    xmin, ymin, xmax, ymax = (float(side) for side in box)
    if not (0 <= xmin < xmax <= width and 0 <= ymin < ymax <= height):
        raise ValueError(
            f"Expected a box (xmin, ymin, xmax, ymax) with an area inside {width} x {height} pixels, "
            f"received {tuple(box)}."
        )
    return _axis_coverage(height, ymin, ymax), _axis_coverage(width, xmin, xmax)


def _axis_coverage(pixels: int, start: float, end: float) -> np.ndarray:
    left = np.arange(pixels)
    return np.clip(np.minimum(left + 1, end) - np.maximum(left, start), 0.0, 1.0)
