"""Regions of a heatmap: the connected pixels above a threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tf_gradcam.opencv import opencv


class Box(NamedTuple):
    """A rectangle in pixels; the right and lower edge are not part of it."""

    xmin: int
    ymin: int
    xmax: int
    ymax: int


def boxes_of(heatmap: np.ndarray, threshold: float) -> list[Box]:
    """Bounding boxes of the connected regions of at least `threshold` times the maximum, the largest first.

    Args:
        heatmap: (H0, W0) float32 in [0, 1].
        threshold: part of the maximum, above 0 and at most 1.

    Returns:
        One `Box` per region (pixels that touch at a side or corner), none for a blank map.

    Raises:
        ValueError: `threshold` outside (0, 1].

    Source: Selvaraju et al. 2017, section 4.1 (15 % of the maximum), https://arxiv.org/abs/1610.02391.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"Expected threshold as a part of the maximum, above 0 and at most 1, received {threshold}.")
    peak = heatmap.max()
    if not peak > 0:
        return []
    hot = (heatmap >= threshold * peak).astype(np.uint8)
    _, _, rows, _ = opencv().connectedComponentsWithStats(hot, connectivity=8)
    # Row 0 is the background; a row is left, top, width, height, area.
    largest_first = sorted(rows[1:].tolist(), key=lambda row: -row[4])
    return [Box(left, top, left + width, top + height) for left, top, width, height, _ in largest_first]
