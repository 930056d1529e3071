"""Heatmaps painted over photos: colour maps, signed colours, opacity."""

from __future__ import annotations

import numbers
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_gradcam._errors import unknown_name
from tf_gradcam.image.io import Photo
from tf_gradcam.image.opencv import opencv
from tf_gradcam.image.resize import resize_heatmaps

HEAT = "heat"  # the default: the colours of viridis, the more of them the hotter
_OF_HEAT, _OF_SIGNED = "viridis", "bwr"
_STEPS = 127  # levels of a signed map on either side of zero, which has a colour of its own
_PREFIX = "COLORMAP_"


@dataclass(frozen=True)
class Look:
    """The colours of a map, and their weight on a photo.

    Attributes:
        alpha: weight of the colours, in [0, 1].
        threshold: value relative to the map's maximum, of signed maps its absolute value, below which the photo is
            untouched, in [0, 1]; 0 for none.
        colormap: a name that `colormap_colors` knows; None for "heat".
    """

    alpha: float = 0.4
    threshold: float = 0.0
    colormap: str | None = None


DEFAULT_LOOK = Look()


def colormap_colors(name: str) -> NDArray[np.uint8]:
    """Return the 256 colours of a map: row 0 paints a heat of 0, row 255 a heat of 1.

    Of a name that both have, OpenCV's colours count: most published Grad-CAM pictures use its jet, and
    Matplotlib need not be imported. The two agree within 2 of 255 levels, except jet (the same ends, other steps), hot,
    hsv, ocean, pink, and rainbow, which OpenCV runs from red to violet.

    Args:
        name: "heat", which has the colours of viridis, an OpenCV name in lower case ("jet", "turbo", ...), or a
            Matplotlib name ("Reds", "viridis_r", ...).

    Returns:
        (256, 3) uint8 RGB.

    Raises:
        TypeError: if `name` is not a string.
        ValueError: if neither library knows the name; the nearest ones are listed.
    """
    if not isinstance(name, str):
        raise TypeError(f"Expected the name of a colour map, such as 'jet', received {type(name).__name__}.")
    cv2 = opencv()
    name = _OF_HEAT if name == HEAT else name
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
    raise ValueError(unknown_name("colour map", name, [HEAT, *of_opencv, *colormaps]))


def overlay_heatmap(
    image: ArrayLike, heatmap: ArrayLike, alpha: float = 0.4, colormap: str = "jet", threshold: float = 0.0
) -> Photo:
    """Paint a heatmap over a photo: `photo * (1 - alpha) + colour * alpha`, rounded to nearest.

        overlay_heatmap(photo, heatmap)
        overlay_heatmap(photo, heatmap, colormap="heat")    # cold regions show the photo as it is
        overlay_heatmap(photo, heatmap, alpha=1, colormap="viridis")    # the colours alone

    The weight of "heat" grows with the heat: `min(1, 2 * alpha * heat)` in place of `alpha`, which is that of a heat of
    one half.

    Args:
        image: (H0, W0, 3) or (H0, W0), a photo as `to_photo` accepts it: uint8, or floats in 0..255.
        heatmap: (H, W) in [0, 1], resized by `resize_heatmaps` to the size of the image. A heat of 0 has the first of
            the map's 256 colours, 1 the last, a value between them the nearest.
        alpha: weight of the heatmap in [0, 1]: 0 is the photo byte for byte, 1 the colours. Defaults to 0.4.
        colormap: a name that `colormap_colors` knows. Defaults to "jet".
        threshold: heat in [0, 1] below which the photo is untouched. Defaults to 0, none.

    Returns:
        (H0, W0, 3) uint8 RGB, a new array.

    Raises:
        TypeError: if `alpha` or `threshold` is not a number, `colormap` not a string, or an array not numeric.
        ValueError: if `image` is not a photo; if `heatmap` is not of rank 2, has NaN or leaves [0, 1]; if `alpha` or
            `threshold` leaves [0, 1]; if the colour map is unknown.
    """
    if colormap is None:  # of `Look` the default
        colormap_colors(colormap)
    return paint(to_photo(image), heatmap, False, Look(alpha, threshold, colormap))  # `paint` takes None


def paint(photo: ArrayLike | None, values: ArrayLike, signed: bool, look: Look = DEFAULT_LOOK) -> Photo:
    """Paint a map over a photo: `photo * (1 - w) + colour * w`, rounded to nearest, where `w = min(1, alpha * f)`.

    - A map of [0, 1] has f = 2 * value in "heat", so that cold regions show the photo as it is and `alpha` is the
      weight of one half, and f = 1 in all other colours.
    - A signed map of [-1, 1] has f = abs(value), and the last colour above zero, the first below: of "heat" red and
      blue, those of "bwr".
    - Below the threshold f is 0.

    Args:
        photo: (H0, W0, 3) or (H0, W0), as `to_photo` accepts it; None for the colours alone, as `colors_of`.
        values: (H, W), resized to the size of the photo.
        signed: whether the map has a side for and a side against.
        look: the colours and their weight.

    Returns:
        (H0, W0, 3) uint8 RGB, a new array.

    Raises:
        TypeError, ValueError: as `overlay_heatmap`.
    """
    check_look(look)
    under = None if photo is None else to_photo(photo)
    heat = _check_signed(values) if signed else _check_heatmap(values)
    if under is not None and heat.shape != under.shape[:2]:
        heat = resize_heatmaps(heat[None], (under.shape[0], under.shape[1]))[0]
    rows = (np.rint(heat * _STEPS) + _STEPS if signed else np.rint(heat * 255)).astype(np.uint8)
    if under is None:
        painted = colors_of(signed, look)[rows]
    else:
        # 256 colours and 256 values of a photo have 65 536 blends per channel: each is computed once, in float64, and
        # looked up by the pixels. Blending every pixel in float64 would take gigabytes for a large photo.
        blends, painted = _blends(signed, look), np.empty_like(under)
        for channel in range(3):
            painted[..., channel] = blends[channel][rows, under[..., channel]]
    if look.threshold > 0:  # of the value itself, not of its nearest colour
        cold = np.abs(heat) < np.float32(look.threshold)
        painted[cold] = 255 if under is None else under[cold]
    return painted


def colors_of(signed: bool, look: Look = DEFAULT_LOOK) -> NDArray[np.uint8]:
    """Return the colours of a map alone, as in colour bars, from the lowest value to the highest.

    "heat" does not fade here, so that its lightness grows with the value. A signed map lies on white.

    Args:
        signed: whether the map has a side for and a side against.
        look: the colours; those below the threshold are white.

    Returns:
        uint8 RGB: (256, 3) for the values 0..1; of signed maps (255, 3) for -1..1, row 127 for zero.

    Raises:
        TypeError, ValueError: as `colormap_colors`.
    """
    if signed:
        colors = _blends(signed, Look(1.0, colormap=look.colormap))[:, :, 255].T
    else:
        colors = colormap_colors(look.colormap or HEAT)
    cold = np.abs(np.linspace(-1 if signed else 0, 1, len(colors))) < look.threshold
    return np.where(cold[:, None], np.uint8(255), colors)


def _blends(signed: bool, look: Look) -> NDArray[np.uint8]:
    """Return the blend of each colour of a map with each value of a photo, (3 channels, N colours, 256 values)."""
    name = look.colormap or HEAT
    if signed:
        steps = np.arange(-_STEPS, _STEPS + 1)
        colors = colormap_colors(_OF_SIGNED if name == HEAT else name)[np.where(steps < 0, 0, -1)]
        weights = look.alpha * np.abs(steps) / _STEPS
    else:
        colors = colormap_colors(name)
        weights = np.minimum(2 * look.alpha * np.arange(256) / 255, 1) if name == HEAT else np.full(256, look.alpha)
    weights = weights.astype(np.float64)[:, None]
    photo_parts = np.arange(256.0) * (1 - weights)
    return np.stack([np.rint(photo_parts + color[:, None] * weights).astype(np.uint8) for color in colors.T])


def check_look(look: Look) -> None:
    """Raise the errors of `overlay_heatmap` for an opacity, a threshold or a colour map."""
    for name, what, value in (
        ("alpha", "weight of the heatmap", look.alpha),
        ("threshold", "least heat that is painted", look.threshold),
    ):
        if not isinstance(value, numbers.Real):
            raise TypeError(f"Expected {name}, the {what}, as a number, received {value!r}.")
        if not 0 <= value <= 1:
            raise ValueError(f"Expected {name}, the {what}, in [0, 1], received {value!r}.")
    colormap_colors(look.colormap or HEAT)


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


def _check_signed(signed: ArrayLike) -> NDArray[np.float32]:
    values = np.asarray(signed)
    if values.ndim != 2 or values.dtype.kind != "f" or not (values.size and values.min() >= -1 and values.max() <= 1):
        raise ValueError(
            f"Expected one signed map, floats (H, W) in [-1, 1], received {values.dtype} {values.shape}"
            f"{f' in {values.min():g}..{values.max():g}' if values.size and values.dtype.kind in 'if' else ''}."
        )
    return values.astype(np.float32)
