"""Similarity of heatmaps: by the order of their cells, or by their structure. NumPy and OpenCV only.

Axis legend: N maps, H x W cells.
"""

from __future__ import annotations

import numpy as np

from tf_gradcam.image.opencv import opencv

_SIGMA = 1.5  # cells, of the window of the structural similarity
_MEAN, _CONTRAST = 0.01**2, 0.03**2  # the paper's constants, for values in [0, 1]


def rank_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation of each pair of heatmaps; 1 is the same order of cells.

    Args:
        first, second: (N, H, W) float, any range.

    Returns:
        (N,) float64 in [-1, 1]; NaN if one heatmap of the pair is constant, and so has no order.

    Raises:
        ValueError: the shapes differ, or are not (N, H, W).

    Source: Spearman 1904; as a measure of heatmaps, Adebayo et al. 2018, https://arxiv.org/abs/1810.03292. Equal cells
    have the mean of their ranks. Deviation: none.
    """
    pairs = _pairs(first, second)
    return np.array([correlation(_ranks(a), _ranks(b)) for a, b in zip(*pairs, strict=True)])


def structural_similarities(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the structural similarity of each pair of heatmaps; 1 for two equal ones.

    Args:
        first, second: (N, H, W) float in [0, 1].

    Returns:
        (N,) float64 in [-1, 1], the mean over the cells.

    Raises:
        ValueError: the shapes differ, or are not (N, H, W).

    Source: Wang et al. 2004, eq. 13, https://doi.org/10.1109/TIP.2003.819861: Gaussian window of 11 cells and sigma
    1.5. Deviation: heatmaps are mirrored at their edges, so that a heatmap smaller than the window has a value.
    """
    pairs = _pairs(first, second)
    return np.array([_structure(a, b) for a, b in zip(*pairs, strict=True)])


def _pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.ndim != 3 or a.shape != b.shape:
        raise ValueError(f"Expected two (N, H, W) arrays of maps, received {a.shape} and {b.shape}.")
    return a, b


def _ranks(heatmap: np.ndarray) -> np.ndarray:
    """Return the ranks from 0; equal cells have the mean of their ranks."""
    _, place, counts = np.unique(heatmap.ravel(), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[place]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation of two flat arrays; NaN if one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else float("nan")


def _structure(a: np.ndarray, b: np.ndarray) -> float:
    cv2 = opencv()

    def local_mean(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (11, 11), _SIGMA, borderType=cv2.BORDER_REFLECT)

    mean_a, mean_b = local_mean(a), local_mean(b)
    spread = local_mean(a * a) - mean_a**2 + local_mean(b * b) - mean_b**2
    common = local_mean(a * b) - mean_a * mean_b
    light = (2 * mean_a * mean_b + _MEAN) / (mean_a**2 + mean_b**2 + _MEAN)
    return float(np.mean(light * (2 * common + _CONTRAST) / (spread + _CONTRAST)))
