"""Faithfulness metrics: insertion and deletion, drop and increase of confidence, ROAD.

Axis legend: H0 x W0 pixels, C channels, S steps. `predict` takes images (N, H0, W0, C) in model range and gives the
probability of the explained class, (N,).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tf_gradcam._errors import require
from tf_gradcam.image.opencv import opencv

Predict = Callable[[np.ndarray], np.ndarray]  # images or photos (n, ...) -> probabilities (n, K), or (n,) of one class

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_NOISE = 0.01  # of the image's standard deviation
_BLUR_SIDE, _BLUR_SIGMA = 31, 10.0  # pixels: erases what is finer than a tenth of a 224 px picture
# Step down and right to four of the eight neighbours, the others are their opposites; direct ones count twice.
_NEIGHBOURS = (((0, 1), 1 / 6), ((1, 0), 1 / 6), ((1, 1), 1 / 12), ((1, -1), 1 / 12))


def road_score(
    predict: Predict, image: np.ndarray, heatmap: np.ndarray, shares: Sequence[float] = SHARES, *, seed: int = 0
) -> float:
    """Return the ROAD score: half the probability kept without cold pixels, minus half that kept without hot ones.

    Higher is better; random heatmaps score 0.

    Args:
        predict: images (N, H0, W0, C) -> probabilities (N,) of the explained class.
        image: (H0, W0, C) float32, model range.
        heatmap: (H0, W0); only its order matters, equal pixels are removed in reading order.
        shares: shares of the pixels that are removed, each in (0, 1). Defaults to 0.1, 0.2, ..., 0.9.
        seed: of the noise.

    Returns:
        float in [-0.5, 0.5]: (mean probability, the least relevant first - mean probability, the most relevant first)
        / 2 over the shares.

    Raises:
        ImportError: SciPy is not installed.
        ValueError: the sizes differ, or a share is not in (0, 1).

    Source: Rong et al. 2022, https://arxiv.org/abs/2202.00449; the two orders in one number as `ROADCombined` of
    https://github.com/jacobgil/pytorch-grad-cam. Deviation: probabilities; there, any score.
    """
    hot, cold = road_paths(image, heatmap, shares, seed=seed)
    return float(np.mean(predict(cold), dtype=np.float64) - np.mean(predict(hot), dtype=np.float64)) / 2


def road_paths(
    image: np.ndarray, heatmap: np.ndarray, shares: Sequence[float] = SHARES, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Remove the hottest, and the coldest, pixels of an image, and impute them.

    Args, Raises: as `road_score`.

    Returns:
        Two (S, H0, W0, C) float32: the most relevant first (MoRF), whose probabilities should be low, and the least
        relevant first (LeRF), whose should be high.
    """
    _check_sizes(image, heatmap)
    if not len(shares) or not all(0 < share < 1 for share in shares):
        raise ValueError(f"Expected shares between 0 and 1, received {tuple(shares)}.")
    generator = np.random.default_rng(seed)
    rank = heat_ranks(heatmap)
    counts = [min(max(1, round(share * heatmap.size)), heatmap.size - 1) for share in shares]
    hot = [impute(image, rank < count, generator) for count in counts]
    cold = [impute(image, rank >= heatmap.size - count, generator) for count in counts]
    return np.stack(hot), np.stack(cold)


def impute(image: np.ndarray, removed: np.ndarray, generator: np.random.Generator | None = None) -> np.ndarray:
    """Fill removed pixels from their neighbours, by noisy linear imputation.

    Args:
        image: (H0, W0, C) float, any range.
        removed: (H0, W0) bool; at least one pixel is left.
        generator: of the noise; None for no noise.

    Returns:
        (H0, W0, C) float32, unchanged outside `removed`. A removed pixel is the weighted mean of its neighbours inside
        the image, 1/6 for each direct and 1/12 for each diagonal one, plus Gaussian noise.

    Raises:
        ImportError: SciPy is not installed.
        ValueError: the sizes differ, or no pixel is left.

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
    """Return the (U, U) sparse matrix and the (U, C) right side of: sum of weights * (pixel - neighbour) = 0."""
    sparse: Any = require("scipy.sparse", "audit")
    number = np.full(removed.shape, -1)
    count = int(removed.sum())
    number[removed] = np.arange(count)
    place = np.arange(removed.size).reshape(removed.shape)
    diagonal, right = np.zeros(count), np.zeros((count, values.shape[1]))
    rows, columns, entries = [], [], []
    for step, weight in _NEIGHBOURS:
        (near, far), (near_place, far_place) = _pairs(number, step), _pairs(place, step)
        # A pair of neighbours counts once for each of its two pixels that was removed.
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
    """Return the values of all pixels with a neighbour one step away, and the neighbours' values, flat."""
    down, right = step
    height, width = grid.shape
    near = grid[: height - down, max(0, -right) : width - max(0, right)]
    far = grid[down:, max(0, right) : width - max(0, -right)]
    return near.ravel(), far.ravel()


def _solve(matrix: Any, right: np.ndarray) -> np.ndarray:
    linalg: Any = require("scipy.sparse.linalg", "audit")
    # The matrix is symmetric and diagonally dominant: no pivoting and a suitable ordering are several times as fast.
    factors = linalg.splu(
        matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True, "Equil": False}
    )
    return factors.solve(right)


def highlight(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Keep the hot part of an image, and replace the rest by the image's mean colour.

    Args:
        image: (H0, W0, C) float32, model range.
        heatmap: (H0, W0), at least 0; divided by its maximum.

    Returns:
        (H0, W0, C) float32: each pixel is a mixture of the image, weighted by its heat, and the mean colour.

    Raises:
        ValueError: the sizes differ, the heat is negative, or the heatmap is blank.

    Source: Chattopadhay et al. 2018 (Grad-CAM++), section 5.1, https://arxiv.org/abs/1710.11063. Deviation: there the
    image is multiplied by the heatmap, so that cold pixels become 0, which is black for one model, and grey or the mean
    colour of a data set for another; here they get the image's own mean colour, for any range.
    """
    _check_sizes(image, heatmap)
    if not (heatmap.min() >= 0 and heatmap.max() > 0):
        raise ValueError(
            f"Expected heat of 0 or more that is not 0 everywhere, received {heatmap.min():.4g} to {heatmap.max():.4g}."
        )
    heat = (heatmap / heatmap.max())[..., None]
    return (heat * image + (1 - heat) * image.mean(axis=(0, 1))).astype(np.float32)


def drop_percent(before: ArrayLike, after: ArrayLike) -> np.ndarray:
    """Return the drop of each probability in per cent when only the hot part is shown; lower is better.

    The mean over images is the "average drop".

    Args:
        before: (N,) probabilities of the explained class for the images, in [0, 1].
        after: (N,) probabilities for the highlighted images.

    Returns:
        (N,) float64 in [0, 100]; a gain counts as 0, and a probability of 0 as NaN.

    Raises:
        ValueError: the probabilities leave [0, 1], or their numbers differ.

    Source: Chattopadhay et al. 2018, section 5.1 (i), https://arxiv.org/abs/1710.11063. Deviation: none.
    """
    full, part = _probabilities(before, after)
    lost = np.full(full.shape, np.nan)
    return np.divide(100 * np.maximum(0, full - part), full, out=lost, where=full > 0)


def increase_percent(before: ArrayLike, after: ArrayLike) -> np.ndarray:
    """Return 100 if the class is more probable when only the hot part is shown, else 0; higher is better.

    The mean over images is the "increase in confidence". A certain class cannot become more probable, so an
    overconfident model has low values with every method.

    Args, Returns, Raises: as `drop_percent`, without NaN.

    Source: Chattopadhay et al. 2018, section 5.1 (ii), https://arxiv.org/abs/1710.11063. Deviation: none.
    """
    full, part = _probabilities(before, after)
    return 100.0 * (part > full)


def _probabilities(before: ArrayLike, after: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    full, part = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if full.ndim != 1 or full.shape != part.shape:
        raise ValueError(f"Expected two (N,) arrays of probabilities, received {full.shape} and {part.shape}.")
    both = np.concatenate([full, part])
    if len(both) and not (both.min() >= 0 and both.max() <= 1 + 1e-6):
        raise ValueError(f"Expected probabilities in [0, 1], received {both.min():.4g} to {both.max():.4g}.")
    return full, part


def deletion_auc(predict: Predict, image: np.ndarray, heatmap: np.ndarray, num_steps: int = 20) -> float:
    """Return the area under the score curve as the hottest pixels are erased; lower is better.

    Args:
        predict: images (N, H0, W0, C) -> probabilities (N,).
        image: (H0, W0, C) float32, model range.
        heatmap: (H0, W0); only its order matters, equal pixels are erased in reading order.
        num_steps: number of equal parts, at least 1. Defaults to 20.

    Returns:
        float in [0, 1], the mean probability along the path, by the trapezoidal rule.

    Raises:
        ValueError: `image` and `heatmap` differ in height or width, or `num_steps < 1`.

    Source: Petsiuk et al. 2018 (RISE), https://arxiv.org/abs/1806.07421. Deviation: an erased pixel gets the image's
    own mean colour, not a fixed one.
    """
    return area(predict(deletion_path(image, heatmap, num_steps)))


def insertion_auc(predict: Predict, image: np.ndarray, heatmap: np.ndarray, num_steps: int = 20) -> float:
    """Return the area under the score curve as a blurred image gets its hottest pixels back; higher is better.

    Args, Returns, Raises: as `deletion_auc`.

    Source: Petsiuk et al. 2018 (RISE), https://arxiv.org/abs/1806.07421. Deviation: a blur of 31 pixels, sigma 10.
    """
    return area(predict(insertion_path(image, heatmap, num_steps)))


def deletion_path(image: np.ndarray, heatmap: np.ndarray, num_steps: int) -> np.ndarray:
    """Return the images of `deletion_auc`, (S + 1, H0, W0, C): from the image to its mean colour."""
    return exchange_path(image, np.broadcast_to(image.mean(axis=(0, 1)), image.shape), heatmap, num_steps)


def insertion_path(image: np.ndarray, heatmap: np.ndarray, num_steps: int) -> np.ndarray:
    """Return the images of `insertion_auc`, (S + 1, H0, W0, C): from the blurred image to the image."""
    blurred = opencv().GaussianBlur(image, (_BLUR_SIDE, _BLUR_SIDE), _BLUR_SIGMA)
    # OpenCV drops the axis of a single channel.
    return exchange_path(blurred.reshape(image.shape), image, heatmap, num_steps)


def exchange_path(start: np.ndarray, end: np.ndarray, heatmap: np.ndarray, num_steps: int) -> np.ndarray:
    """Replace the pixels of `start` by the pixels of `end` in S equal parts, the hottest first.

    Returns:
        (S + 1, H0, W0, C) float32; the first is `start`, the last `end`.

    Raises:
        ValueError: the sizes differ, or `num_steps < 1`.
    """
    if num_steps < 1:
        raise ValueError(f"Expected num_steps of at least 1, received {num_steps}.")
    _check_sizes(start, heatmap)
    limits = np.linspace(0, heatmap.size, num_steps + 1)
    exchanged = heat_ranks(heatmap) < limits[:, None, None]
    return np.where(exchanged[..., None], end, start).astype(np.float32)


def area(probabilities: np.ndarray) -> float:
    """Return the area under a curve of (S + 1,) probabilities over a length of 1, by the trapezoidal rule."""
    values = np.asarray(probabilities, np.float64)
    return float((values[:-1] + values[1:]).mean() / 2)


def _check_sizes(image: np.ndarray, heatmap: np.ndarray) -> None:
    if image.shape[:2] != heatmap.shape:
        raise ValueError(
            f"Expected an image and a heatmap of one height and width, received {image.shape} and {heatmap.shape}: "
            "resize the map with explanation.resized()."
        )


def heat_ranks(heatmap: np.ndarray) -> np.ndarray:
    """Return the ranks, (H0, W0) int64: 0 for the hottest pixel; equal pixels in reading order."""
    ranks = np.empty(heatmap.shape, np.int64)
    ranks.flat[np.argsort(-heatmap, axis=None, kind="stable")] = np.arange(heatmap.size)
    return ranks
