"""How much of the score the hot pixels carry: insertion and deletion. NumPy and OpenCV only.

Axis legend: H0 x W0 pixels, C channels, S steps. `predict` takes images (N, H0, W0, C) in model range and gives the
probability of the explained class, (N,).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tf_gradcam.image.opencv import opencv

Predict = Callable[[np.ndarray], np.ndarray]

_BLUR = 31  # pixels of the kernel: erases what is finer than a tenth of a 224 px picture
_SIGMA = 10.0


def deletion_auc(predict: Predict, image: np.ndarray, heatmap: np.ndarray, num_steps: int = 20) -> float:
    """Area under the score curve as the hottest pixels are erased; lower is better.

    Args:
        predict: images (N, H0, W0, C) -> probabilities (N,).
        image: (H0, W0, C) float32, model range.
        heatmap: (H0, W0); only its order matters, equal pixels go in reading order.
        num_steps: number of equal parts, at least 1. Defaults to 20.

    Returns:
        float in [0, 1], the mean probability along the path, by the trapezoidal rule.

    Raises:
        ValueError: `image` and `heatmap` differ in height or width, `num_steps < 1`.

    Source: Petsiuk et al. 2018 (RISE), https://arxiv.org/abs/1806.07421. Deviation: an erased pixel gets the image's
    own mean colour, not a fixed one.
    """
    return area(predict(deletion_path(image, heatmap, num_steps)))


def insertion_auc(predict: Predict, image: np.ndarray, heatmap: np.ndarray, num_steps: int = 20) -> float:
    """Area under the score curve as a blurred image gets its hottest pixels back; higher is better.

    Args, Returns, Raises: as `deletion_auc`.

    Source: Petsiuk et al. 2018 (RISE), https://arxiv.org/abs/1806.07421. Deviation: a blur of 31 pixels, sigma 10.
    """
    return area(predict(insertion_path(image, heatmap, num_steps)))


def deletion_path(image: np.ndarray, heatmap: np.ndarray, num_steps: int) -> np.ndarray:
    """The images of `deletion_auc`, (S + 1, H0, W0, C): from the image to its mean colour."""
    return exchange_path(image, np.broadcast_to(image.mean(axis=(0, 1)), image.shape), heatmap, num_steps)


def insertion_path(image: np.ndarray, heatmap: np.ndarray, num_steps: int) -> np.ndarray:
    """The images of `insertion_auc`, (S + 1, H0, W0, C): from the blurred image to the image."""
    blurred = opencv().GaussianBlur(image, (_BLUR, _BLUR), _SIGMA).reshape(image.shape)  # which lost an axis of one
    return exchange_path(blurred, image, heatmap, num_steps)


def exchange_path(start: np.ndarray, end: np.ndarray, heatmap: np.ndarray, num_steps: int) -> np.ndarray:
    """Images from `start` to `end`, the pixels exchanged part by part from the hottest to the coldest.

    Args:
        start, end: (H0, W0, C) float32.
        heatmap: (H0, W0).
        num_steps: S, at least 1.

    Returns:
        (S + 1, H0, W0, C) float32; the first is `start`, the last `end`.

    Raises:
        ValueError: sizes that differ, `num_steps < 1`.
    """
    if num_steps < 1:
        raise ValueError(f"Expected num_steps of at least 1, received {num_steps}.")
    if start.shape[:2] != heatmap.shape or start.shape != end.shape:
        raise ValueError(
            f"Expected an image and a heatmap of one height and width, received {start.shape} and {heatmap.shape}: "
            "resize the map with explanation.resized()."
        )
    rank = np.empty(heatmap.size, np.int64)
    rank[np.argsort(-heatmap, axis=None, kind="stable")] = np.arange(heatmap.size)
    limits = np.linspace(0, heatmap.size, num_steps + 1)
    exchanged = rank.reshape(heatmap.shape)[None] < limits[:, None, None]
    return np.where(exchanged[..., None], end, start).astype(np.float32)


def area(probabilities: np.ndarray) -> float:
    """Area under a curve of (S + 1,) probabilities over a path of length 1, by the trapezoidal rule."""
    values = np.asarray(probabilities, np.float64)
    return float((values[:-1] + values[1:]).mean() / 2)
