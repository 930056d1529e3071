"""What is left of the probability when only the hot part of an image is shown. NumPy only.

Axis legend: N images, H0 x W0 pixels, C channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def highlight(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """The image as far as it is hot, its own mean colour elsewhere.

    Args:
        image: (H0, W0, C) float32, model range.
        heatmap: (H0, W0), at least 0; divided by its maximum.

    Returns:
        (H0, W0, C) float32: each pixel mixed of the image (as much as its heat) and the mean colour.

    Raises:
        ValueError: sizes that differ, negative heat, a blank map.

    Source: Chattopadhay et al. 2018 (Grad-CAM++), section 5.1, https://arxiv.org/abs/1710.11063. Deviation: there the
    image is multiplied by the map, so that cold pixels become the number 0, which is black for one model, grey or the
    mean colour of a data set for another; here they get the image's own mean colour, whatever the model's range.
    """
    if image.shape[:2] != heatmap.shape:
        raise ValueError(
            f"Expected an image and a heatmap of one height and width, received {image.shape} and {heatmap.shape}: "
            "resize the map with explanation.resized()."
        )
    if not (heatmap.min() >= 0 and heatmap.max() > 0):
        raise ValueError(
            f"Expected heat of 0 or more that is not 0 everywhere, received {heatmap.min():.4g} to {heatmap.max():.4g}."
        )
    heat = (heatmap / heatmap.max())[..., None]
    return (heat * image + (1 - heat) * image.mean(axis=(0, 1))).astype(np.float32)


def drop_percent(before: ArrayLike, after: ArrayLike) -> np.ndarray:
    """How many per cent of each probability are lost when only the hot part is shown; lower is better.

    The mean over images is the "average drop".

    Args:
        before: (N,) probabilities of the explained class of the images, in [0, 1].
        after: (N,) of the highlighted images.

    Returns:
        (N,) float64 in [0, 100]; a gain counts as 0, NaN where there was nothing to lose.

    Raises:
        ValueError: probabilities that leave [0, 1], or of different numbers of images.

    Source: Chattopadhay et al. 2018, section 5.1 (i), https://arxiv.org/abs/1710.11063. Deviation: none.
    """
    full, part = _probabilities(before, after)
    lost = np.full(full.shape, np.nan)
    return np.divide(100 * np.maximum(0, full - part), full, out=lost, where=full > 0)


def increase_percent(before: ArrayLike, after: ArrayLike) -> np.ndarray:
    """100 where the class is more probable when only the hot part is shown, else 0; higher is better.

    The mean over images is the "increase in confidence". A class that is already certain cannot become more probable:
    a model that is sure of everything has low numbers with every method.

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
