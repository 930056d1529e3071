"""Pictures: photos in, heatmaps painted on them, no framework but NumPy and OpenCV.

This is the door to the modules below it: `imagefile` (files), `colormap` (colours), `interpolation` (sizes).
Axis letters: H x W cells of the heatmap, H0 x W0 pixels.
"""

from __future__ import annotations

import numbers
import os

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_gradcam.image.colormap import colormap_colors
from tf_gradcam.image.io import Photo, load_image, save_image
from tf_gradcam.image.resize import interpolation_matrix, resize_heatmaps

__all__ = [
    "colormap_colors",
    "interpolation_matrix",
    "load_image",
    "overlay_heatmap",
    "resize_heatmaps",
    "save_image",
    "to_photo",
]


def overlay_heatmap(image: ArrayLike, heatmap: ArrayLike, alpha: float = 0.4, colormap: str = "jet") -> Photo:
    """The heatmap in colours over the photo: `photo * (1 - alpha) + colour * alpha`, rounded to nearest.

        overlay_heatmap(photo, heatmap)
        overlay_heatmap(photo, heatmap, alpha=1, colormap="viridis")    # the colours alone

    Args:
        image: (H0, W0, 3) or (H0, W0), a photo as `to_photo` accepts it: uint8, or floats in 0..255.
        heatmap: (H, W) in [0, 1], resized by `resize_heatmaps` where it is not of the size of the image. A
            heat of 0 has the first of the map's 256 colours, 1 the last, one between them the nearest.
        alpha: weight of the heatmap in [0, 1]: 0 is the photo byte for byte, 1 the colours. Defaults to 0.4.
        colormap: a name that `colormap_colors` knows. Defaults to "jet".

    Returns:
        (H0, W0, 3) uint8 RGB, a new array.

    Raises:
        TypeError: if `alpha` is no number, `colormap` no string, or an array not numeric.
        ValueError: if `image` is no photo; if `heatmap` is not of rank 2, has NaN or leaves [0, 1]; if
            `alpha` leaves [0, 1]; if the colour map is unknown.
    """
    photo = to_photo(image)
    heat = _check_heatmap(heatmap)
    if not isinstance(alpha, numbers.Real):
        raise TypeError(f"Expected alpha, the weight of the heatmap, as a number, received {alpha!r}.")
    if not 0 <= alpha <= 1:
        raise ValueError(f"Expected alpha, the weight of the heatmap, in [0, 1], received {alpha!r}.")
    colors = colormap_colors(colormap)
    if heat.shape != photo.shape[:2]:
        heat = resize_heatmaps(heat[None], photo.shape[:2])[0]
    levels = np.rint(heat * 255).astype(np.uint8)

    # 256 photo values and 256 heat levels have 65 536 blends a channel: each is computed once, in float64,
    # and the pixels look theirs up. Blending every pixel in float64 would take gigabytes for a large photo.
    weight, values = float(alpha), np.arange(256.0)
    overlay = np.empty_like(photo)
    for channel in range(3):
        blends = np.rint(values * (1 - weight) + colors[:, channel, None] * weight).astype(np.uint8)
        overlay[..., channel] = blends[levels, photo[..., channel]]
    return overlay


def to_photo(image: ArrayLike) -> Photo:
    """An array of pixel values 0..255 as a photo, uint8 RGB.

    Args:
        image: (H0, W0, 3) RGB, or (H0, W0) or (H0, W0, 1) grey; integers or floats in 0..255. Floats are
            rounded to nearest.

    Returns:
        (H0, W0, 3) uint8 RGB, a new array.

    Raises:
        TypeError: if the values are neither integers nor floats.
        ValueError: if the shape is another one, or there is no pixel; if a value is NaN or leaves 0..255; if
            the values are floats that are not all 0 and none is above 1, so that they may be meant as 0..1.
    """
    if isinstance(image, (str, bytes, os.PathLike)):
        name = os.fsdecode(image)
        raise TypeError(f"Expected pixels, received the path '{name}'. Read it with load_image('{name}').")
    pixels = _one_array(image, "an image")
    if pixels.dtype.kind not in "uif":
        raise TypeError(f"Expected pixels as integers or floats in 0..255, received {pixels.dtype}.")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
        raise ValueError(
            "Expected one image of shape (height, width, 3) or (height, width), received "
            f"{np.shape(image)}. Take one of a batch with `images[0]`, drop alpha with `image[..., :3]`."
        )
    if pixels.dtype != np.uint8:
        low, high = pixels.min(), pixels.max()
        if not (low >= 0 and high <= 255):  # also false for NaN
            raise ValueError(
                f"Expected pixels in 0..255, received {low:g}..{high:g}. "
                "Pass the photo, not the preprocessed input of the model."
            )
        if pixels.dtype.kind == "f" and 0 < high <= 1:
            raise ValueError(
                f"Expected pixels in 0..255, received floats in {low:g}..{high:g}, perhaps meant as 0..1. "
                "Multiply them by 255, or pass uint8."
            )
        pixels = np.rint(pixels).astype(np.uint8)
    return np.array(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), order="C")


def _one_array(values: ArrayLike, what: str) -> NDArray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"Expected {what} as one array, received rows of different lengths.") from error


def _check_heatmap(heatmap: ArrayLike) -> NDArray[np.float32]:
    heat = _one_array(heatmap, "a heatmap")
    if heat.dtype.kind not in "uif":
        raise TypeError(f"Expected a heatmap of floats in [0, 1], received {heat.dtype}.")
    if heat.ndim != 2 or not heat.size:
        raise ValueError(
            f"Expected one heatmap of shape (H, W), received {heat.shape}. Take one of a batch with `heatmaps[0]`."
        )
    if not (heat.min() >= 0 and heat.max() <= 1):  # also false for NaN
        raise ValueError(
            f"Expected a heatmap in [0, 1], received {heat.min():g}..{heat.max():g}. "
            "Set negative values and NaN to 0, then divide by the maximum."
        )
    return heat.astype(np.float32)
