"""How well a heatmap points at a thing: localisation against boxes. NumPy only.

Axis legend: H0 x W0 pixels. A box is (xmin, ymin, xmax, ymax) in pixels, the right and lower edge not part of it; its
borders need not be whole, a pixel that it cuts counts by the part inside.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def energy_in_box(heatmap: np.ndarray, box: Sequence[float]) -> float:
    """Share of the heat that lies inside the box; higher is better.

    A map without information has the share of the image that the box covers: compare with `box_share`.

    Args:
        heatmap: (H0, W0) float, at least 0.
        box: (xmin, ymin, xmax, ymax) in pixels of the heatmap.

    Returns:
        float in [0, 1]; NaN for a blank map, which has no heat to share.

    Raises:
        ValueError: a box outside the image or without area, negative heat.

    Source: energy-based pointing game, Wang et al. 2020 (Score-CAM), eq. 5, https://arxiv.org/abs/1910.01279.
    Deviation: pixels cut by the border of the box count by the part inside.
    """
    rows, columns = _coverage(heatmap, box)
    if heatmap.min() < 0:
        raise ValueError(f"Expected heat of 0 or more, received a minimum of {heatmap.min():.4g}.")
    total = float(heatmap.sum(dtype=np.float64))
    return float(rows @ heatmap.astype(np.float64) @ columns) / total if total > 0 else float("nan")


def pointing_hit(heatmap: np.ndarray, box: Sequence[float]) -> float:
    """Whether the hottest pixel lies in the box, 1 or 0; higher is better.

    Photographers centre their subject: compare with the hit of the image's centre and with `box_share`.

    Args:
        heatmap: (H0, W0) float.
        box: (xmin, ymin, xmax, ymax) in pixels of the heatmap.

    Returns:
        1.0 or 0.0, or the part of the hottest pixels that lie inside where several are equally hot; NaN for a blank
        map.

    Raises:
        ValueError: a box outside the image or without area.

    Source: pointing game, Zhang et al. 2016, https://arxiv.org/abs/1608.00507. Deviation: no tolerance around the box.
    """
    rows, columns = _coverage(heatmap, box)
    if not heatmap.max() > 0:
        return float("nan")
    hottest = np.argwhere(heatmap == heatmap.max())
    # A pixel is in the box when its centre is: when at least half of it is covered along both axes.
    return float(np.mean([(rows[y] >= 0.5) and (columns[x] >= 0.5) for y, x in hottest]))


def box_share(size: tuple[int, int], box: Sequence[float]) -> float:
    """Share of an image of `size` (height, width) that the box covers: what a map without information scores."""
    return energy_in_box(np.ones(size), box)


def _coverage(heatmap: np.ndarray, box: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """How much of each row and of each column of pixels lies inside the box, in [0, 1]."""
    if heatmap.ndim != 2:
        raise ValueError(f"Expected one heatmap (H0, W0), received shape {heatmap.shape}.")
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
