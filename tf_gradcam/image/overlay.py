"""Heatmaps painted over photos: colour maps, signed colours, opacity."""

from __future__ import annotations

import numbers
import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_gradcam._errors import unknown_name
from tf_gradcam.image.io import Photo
from tf_gradcam.image.opencv import opencv
from tf_gradcam.image.resize import resize_heatmaps

_PREFIX = "COLORMAP_"


def colormap_colors(name: str) -> NDArray[np.uint8]:
    """Return the 256 colours of a map: row 0 paints a heat of 0, row 255 a heat of 1.

    Of a name that both have, OpenCV's colours count: most published Grad-CAM pictures use its jet, and
    Matplotlib need not be imported. The two agree within 2 of 255 levels, except jet (the same ends, other steps), hot,
    hsv, ocean, pink, and rainbow, which OpenCV runs from red to violet.

    Args:
        name: an OpenCV name in lower case ("jet", "turbo", ...), or a Matplotlib name ("Reds", "viridis_r", ...).

    Returns:
        (256, 3) uint8 RGB.

    Raises:
        TypeError: if `name` is not a string.
        ValueError: if neither library knows the name; the nearest ones are listed.
    """
    if not isinstance(name, str):
        raise TypeError(f"Expected the name of a colour map, such as 'jet', received {type(name).__name__}.")
    cv2 = opencv()
    code = getattr(cv2, _PREFIX + name.upper(), None) if name.islower() else None
    if code is not None:
        levels = np.arange(256, dtype=np.uint8)[:, None]
        bgr = cv2.applyColorMap(levels, code)[:, 0]
        return np.ascontiguousarray(bgr[:, ::-1])

    from matplotlib import colormaps  # not above: importing it takes longer than drawing an overlay

    if name in list(colormaps):
        rgb = colormaps[name](np.linspace(0.0, 1.0, 256))[:, :3]
        return np.rint(255 * rgb).astype(np.uint8)
    of_opencv = sorted(key[len(_PREFIX) :].lower() for key in dir(cv2) if key.startswith(_PREFIX))
    raise ValueError(unknown_name("colour map", name, [*of_opencv, *colormaps]))


def overlay_heatmap(image: ArrayLike, heatmap: ArrayLike, alpha: float = 0.4, colormap: str = "jet") -> Photo:
    """Paint a heatmap over a photo: `photo * (1 - alpha) + colour * alpha`, rounded to nearest.

        overlay_heatmap(photo, heatmap)
        overlay_heatmap(photo, heatmap, alpha=1, colormap="viridis")    # the colours alone

    Args:
        image: (H0, W0, 3) or (H0, W0), a photo as `to_photo` accepts it: uint8, or floats in 0..255.
        heatmap: (H, W) in [0, 1], resized by `resize_heatmaps` to the size of the image. A heat of 0 has the first of
            the map's 256 colours, 1 the last, a value between them the nearest.
        alpha: weight of the heatmap in [0, 1]: 0 is the photo byte for byte, 1 the colours. Defaults to 0.4.
        colormap: a name that `colormap_colors` knows. Defaults to "jet".

    Returns:
        (H0, W0, 3) uint8 RGB, a new array.

    Raises:
        TypeError: if `alpha` is not a number, `colormap` not a string, or an array not numeric.
        ValueError: if `image` is not a photo; if `heatmap` is not of rank 2, has NaN or leaves [0, 1]; if `alpha`
            leaves [0, 1]; if the colour map is unknown.
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

    # 256 photo values and 256 heat levels have 65 536 blends per channel: each is computed once, in float64, and looked
    # up by the pixels. Blending every pixel in float64 would take gigabytes for a large photo.
    weight, values = float(alpha), np.arange(256.0)
    overlay = np.empty_like(photo)
    for channel in range(3):
        blends = np.rint(values * (1 - weight) + colors[:, channel, None] * weight).astype(np.uint8)
        overlay[..., channel] = blends[levels, photo[..., channel]]
    return overlay


def to_photo(image: ArrayLike) -> Photo:
    """Convert pixel values 0..255 to a photo, uint8 RGB.

    Args:
        image: (H0, W0, 3) RGB, or (H0, W0) or (H0, W0, 1) grey; integers, or floats in 0..255, rounded to nearest.

    Returns:
        (H0, W0, 3) uint8 RGB, a new array.

    Raises:
        TypeError: if the values are neither integers nor floats.
        ValueError: if the shape is another one, or empty; if a value is NaN or leaves 0..255; if the values are floats
            up to 1 that are not all 0, so that they may be meant as 0..1.
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


_STEPS = 127  # levels on either side of zero, which has a colour of its own


def diverging_colors(colormap: str = "bwr") -> NDArray[np.uint8]:
    """Return the colours of a signed map on white: 127 below zero, white, 127 above.

    Args:
        colormap: a name that `colormap_colors` knows; only its first and last colour count. Defaults to "bwr".

    Returns:
        (255, 3) uint8 RGB: row 0 paints -1, row 127 zero, row 254 one.

    Raises:
        TypeError, ValueError: as `colormap_colors`.
    """
    return _blends(colormap, 1.0)[:, 255]


def overlay_signed(image: ArrayLike, signed: ArrayLike, alpha: float = 0.4, colormap: str = "bwr") -> Photo:
    """Paint a signed map over a photo: the larger the absolute value, the less of the photo shows.

        photo * (1 - alpha * abs(v)) + end * alpha * abs(v)

    where `end` is the last colour of the map for v above zero, the first for v below. Zero shows the photo unchanged.

    Args:
        image: (H0, W0, 3) or (H0, W0), a photo as `to_photo` accepts it.
        signed: (H, W) in [-1, 1], resized to the size of the image.
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
    """Return the blend of each level with each value of a photo, channel by channel, (255, 256, 3)."""
    colors = colormap_colors(colormap).astype(np.float64)
    steps = np.arange(-_STEPS, _STEPS + 1)
    ends = np.where(steps[:, None] < 0, colors[0], colors[-1])[:, None]
    weights = (alpha * np.abs(steps) / _STEPS)[:, None, None]
    return np.rint(np.arange(256.0)[:, None] * (1 - weights) + ends * weights).astype(np.uint8)


def paint(photo: Any, values: np.ndarray, signed: bool, alpha: float = 0.4, colormap: str | None = None) -> Photo:
    """Paint a map on a photo: by `overlay_signed` ("bwr" by default) if signed, else by `overlay_heatmap` ("jet")."""
    if signed:
        return overlay_signed(photo, values, alpha, colormap or "bwr")
    return overlay_heatmap(photo, values, alpha, colormap or "jet")


def colors_of(signed: bool, colormap: str | None = None) -> NDArray[np.uint8]:
    """Return the colours of `paint` from the lowest value to the highest: (255, 3) for signed maps, else (256, 3)."""
    return diverging_colors(colormap or "bwr") if signed else colormap_colors(colormap or "jet")
