"""ROAD: pixels are removed so that nothing but their content goes, no edge of the hole is left to see. NumPy and SciPy.

A removed pixel becomes the weighted mean of its eight neighbours, removed ones included: one sparse linear system an
image. Plain erasing draws the outline of the map into the image, and a model can read the class off that outline.

Source: Rong et al. 2022, https://arxiv.org/abs/2202.00449. Deviations: see `impute`.

Axis legend: H0 x W0 pixels, C channels, S shares, U removed pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tf_gradcam._extras import require

Predict = Callable[[np.ndarray], np.ndarray]

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_NOISE = 0.01  # of the image's standard deviation
# Step down and right to four of the eight neighbours, the others are their opposites; direct ones count twice.
_STEPS = (((0, 1), 1 / 6), ((1, 0), 1 / 6), ((1, 1), 1 / 12), ((1, -1), 1 / 12))


def road_score(
    predict: Predict, image: np.ndarray, heatmap: np.ndarray, shares: Sequence[float] = SHARES, *, seed: int = 0
) -> float:
    """Half of what the class keeps more when cold pixels go than when hot ones go; higher is better, chance is 0.

    Args:
        predict: images (N, H0, W0, C) -> probabilities (N,) of the explained class.
        image: (H0, W0, C) float32, model range.
        heatmap: (H0, W0); only its order matters, equal pixels go in reading order.
        shares: of the pixels that are removed, each in (0, 1). Defaults to a tenth to nine tenths.
        seed: of the noise.

    Returns:
        float in [-0.5, 0.5]: (mean probability, the least relevant first - mean probability, the most relevant first)
        / 2 over the shares.

    Raises:
        ImportError: SciPy is not installed.
        ValueError: sizes that differ, shares that leave (0, 1).

    Source: Rong et al. 2022, https://arxiv.org/abs/2202.00449; the two orders in one number as `ROADCombined` of
    https://github.com/jacobgil/pytorch-grad-cam. Deviation: probabilities; there, whatever score it is asked for.
    """
    hot, cold = road_paths(image, heatmap, shares, seed=seed)
    return float(np.mean(predict(cold), dtype=np.float64) - np.mean(predict(hot), dtype=np.float64)) / 2


def road_paths(
    image: np.ndarray, heatmap: np.ndarray, shares: Sequence[float] = SHARES, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The image without its hottest pixels and without its coldest ones, imputed.

    Args, Raises: as `road_score`.

    Returns:
        Two (S, H0, W0, C) float32: the most relevant first (MoRF), whose probabilities should be low, and the least
        relevant first (LeRF), whose should be high.
    """
    if image.shape[:2] != heatmap.shape:
        raise ValueError(
            f"Expected an image and a heatmap of one height and width, received {image.shape} and {heatmap.shape}: "
            "resize the map with explanation.resized()."
        )
    if not len(shares) or not all(0 < share < 1 for share in shares):
        raise ValueError(f"Expected shares between 0 and 1, received {tuple(shares)}.")
    generator = np.random.default_rng(seed)
    order = np.argsort(-heatmap, axis=None, kind="stable")
    rank = np.empty(heatmap.shape, np.int64)
    rank.flat[order] = np.arange(heatmap.size)
    counts = [min(max(1, round(share * heatmap.size)), heatmap.size - 1) for share in shares]
    hot = [impute(image, rank < count, generator) for count in counts]
    cold = [impute(image, rank >= heatmap.size - count, generator) for count in counts]
    return np.stack(hot), np.stack(cold)


def impute(image: np.ndarray, removed: np.ndarray, generator: np.random.Generator | None = None) -> np.ndarray:
    """The image with the removed pixels filled in from those around: noisy linear imputation.

    Args:
        image: (H0, W0, C) float, any range.
        removed: (H0, W0) bool, not all of it.
        generator: of the noise; None for none.

    Returns:
        (H0, W0, C) float32, unchanged where nothing was removed. A removed pixel is the mean of its neighbours, 1/6 for
        each direct and 1/12 for each diagonal one, by as many as the image has there, plus Gaussian noise.

    Raises:
        ImportError: SciPy is not installed.
        ValueError: sizes that differ, or no pixel that is left.

    Source: Rong et al. 2022, section 5, https://arxiv.org/abs/2202.00449. Deviation: noise of 0.01 of the image's own
    standard deviation; there 0.01, for images normalised to a standard deviation near 1.
    """
    if removed.shape != image.shape[:2]:
        raise ValueError(f"Expected removed pixels {image.shape[:2]} as the image, received {removed.shape}.")
    if removed.all():
        raise ValueError("Expected at least one pixel that is left to impute from, received none.")
    filled = image.astype(np.float32)
    if not removed.any():
        return filled
    values = image.reshape(removed.size, -1).astype(np.float64)
    matrix, right = _system(removed, values)
    solution = _solve(matrix, right)
    if generator is not None:
        solution += generator.normal(0, _NOISE * values.std(), solution.shape)
    filled[removed] = solution
    return filled


def _system(removed: np.ndarray, values: np.ndarray) -> tuple[Any, np.ndarray]:
    """(U, U) symmetric sparse matrix and (U, C) right side: sum of weights * (pixel - neighbour) is 0."""
    sparse: Any = require("scipy.sparse", "audit")
    number = np.full(removed.shape, -1)
    count = int(removed.sum())
    number[removed] = np.arange(count)
    place = np.arange(removed.size).reshape(removed.shape)
    diagonal, right = np.zeros(count), np.zeros((count, values.shape[1]))
    rows, columns, entries = [], [], []
    for step, weight in _STEPS:
        (near, far), (near_place, far_place) = _pairs(number, step), _pairs(place, step)
        # A pair of neighbours counts for each of its two ends that was removed.
        for mine, other, there in ((near, far, far_place), (far, near, near_place)):
            asked = mine >= 0
            mine, other, there = mine[asked], other[asked], there[asked]
            diagonal[mine] += weight  # each at most once in a step
            open_end = other >= 0
            rows.append(mine[open_end])
            columns.append(other[open_end])
            entries.append(np.full(int(open_end.sum()), -weight))
            right[mine[~open_end]] += weight * values[there[~open_end]]
    indices = np.arange(count)
    rows, columns, entries = [*rows, indices], [*columns, indices], [*entries, diagonal]
    places = np.concatenate(rows), np.concatenate(columns)
    return sparse.csc_matrix((np.concatenate(entries), places), shape=(count, count)), right


def _pairs(grid: np.ndarray, step: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The values of all pixels that have a neighbour one step away, and those of the neighbours, flat."""
    down, right = step
    height, width = grid.shape
    near = grid[: height - down, max(0, -right) : width - max(0, right)]
    far = grid[down:, max(0, right) : width - max(0, -right)]
    return near.ravel(), far.ravel()


def _solve(matrix: Any, right: np.ndarray) -> np.ndarray:
    linalg: Any = require("scipy.sparse.linalg", "audit")
    # Symmetric and diagonally dominant: no pivoting, and an ordering for such matrices, several times as fast.
    factors = linalg.splu(
        matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True, "Equil": False}
    )
    return factors.solve(right)
