"""Signed maps in colours: red for what speaks for, blue for what speaks against, nothing at zero.

Axis letters: H x W cells of the map, H0 x W0 pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_gradcam.image.colormap import colormap_colors
from tf_gradcam.image.io import Photo
from tf_gradcam.image.overlay import overlay_heatmap, to_photo
from tf_gradcam.image.resize import resize_heatmaps

_STEPS = 127  # levels on either side of zero; an even number of colours would have none for zero itself


def diverging_colors(colormap: str = "bwr") -> NDArray[np.uint8]:
    """The colours of a signed map on white: 127 below zero, white, 127 above.

    Args:
        colormap: a name that `colormap_colors` knows; only its first and last colour count. Defaults to "bwr".

    Returns:
        (255, 3) uint8 RGB: row 0 paints -1, row 127 zero, row 254 one.

    Raises:
        TypeError, ValueError: as `colormap_colors`.
    """
    return _blends(colormap, 1.0)[:, 255]


def overlay_signed(image: ArrayLike, signed: ArrayLike, alpha: float = 0.4, colormap: str = "bwr") -> Photo:
    """A signed map in colours over the photo: the stronger a pixel speaks, the less of the photo shows.

        photo * (1 - alpha * abs(v)) + end * alpha * abs(v)

    where `end` is the last colour of the map for v above zero, the first for v below. Zero leaves the photo as it is.

    Args:
        image: (H0, W0, 3) or (H0, W0), a photo as `to_photo` accepts it.
        signed: (H, W) in [-1, 1], resized where it is not of the size of the image.
        alpha: weight of the colour where the map is -1 or 1, in [0, 1]. Defaults to 0.4.
        colormap: a name that `colormap_colors` knows. Defaults to "bwr", from blue to red.

    Returns:
        (H0, W0, 3) uint8 RGB, a new array.

    Raises:
        TypeError, ValueError: as `overlay_heatmap`; `signed` is not of rank 2, has NaN or leaves [-1, 1].
    """
    photo = to_photo(image)
    overlay_heatmap(photo[:1, :1], np.zeros((1, 1)), alpha, colormap)  # checks the two
    values = np.asarray(signed)
    if values.ndim != 2 or values.dtype.kind != "f" or not (values.size and values.min() >= -1 and values.max() <= 1):
        raise ValueError(
            f"Expected one signed map, floats (H, W) in [-1, 1], received {values.dtype} {values.shape}"
            f"{f' in {values.min():g}..{values.max():g}' if values.size and values.dtype.kind in 'if' else ''}."
        )
    if values.shape != photo.shape[:2]:
        values = resize_heatmaps(values[None], (photo.shape[0], photo.shape[1]))[0]
    levels = np.rint(values * _STEPS).astype(np.intp) + _STEPS
    blends = _blends(colormap, float(alpha))
    overlay = np.empty_like(photo)
    for channel in range(3):
        overlay[..., channel] = blends[levels, photo[..., channel], channel]
    return overlay


def _blends(colormap: str, alpha: float) -> NDArray[np.uint8]:
    """(255, 256, 3): what each level makes of each value of a photo, channel by channel."""
    colors = colormap_colors(colormap).astype(np.float64)
    steps = np.arange(-_STEPS, _STEPS + 1)
    ends = np.where(steps[:, None] < 0, colors[0], colors[-1])[:, None]
    weights = (alpha * np.abs(steps) / _STEPS)[:, None, None]
    return np.rint(np.arange(256.0)[:, None] * (1 - weights) + ends * weights).astype(np.uint8)
