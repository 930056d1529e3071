"""Pictures of a kept map: painted anew for each opacity, threshold and colour map; the model is not asked again.

Axis legend: H0 x W0 pixels.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tf_gradcam.image.opencv import opencv
from tf_gradcam.image.painting import colors_of, paint
from tf_gradcam.image.regions import hot_pixels

if TYPE_CHECKING:
    from tf_gradcam._results.explanation import Explanation
    from tf_gradcam.image.io import Photo

_FAST = 1  # of PNG's ten levels: three times as fast as the usual one, a tenth larger


@dataclass(frozen=True)
class Look:
    """How a map is painted.

    alpha: weight of the map, in [0, 1].
    threshold: part of the map's maximum below which the photo is left as it is, in [0, 1]; 0 for none.
    colormap: a name that `colormap_colors` knows; None for the usual one, of a signed map another than of a heatmap.
    """

    alpha: float = 0.4
    threshold: float = 0.0
    colormap: str | None = None


def overlay_picture(explanation: Explanation, photo: Photo, look: Look, index: int = 0) -> Photo:
    """(H0, W0, 3) uint8 RGB: the map painted on a photo of any size, where it is above the threshold."""
    values = explanation.shown_at(index, photo.shape[:2])
    overlay = paint(photo, values, explanation.signed, look.alpha, look.colormap)
    return np.where(_is_shown(values, look)[..., None], overlay, photo)


def map_picture(explanation: Explanation, size: Sequence[int], look: Look, index: int = 0) -> Photo:
    """(H0, W0, 3) uint8 RGB: the colours alone, white below the threshold."""
    values = explanation.shown_at(index, size)
    white = np.full((*values.shape, 3), 255, np.uint8)
    colors = paint(white, values, explanation.signed, 1.0, look.colormap)
    return np.where(_is_shown(values, look)[..., None], colors, white)


def _is_shown(values: np.ndarray, look: Look) -> np.ndarray:
    """(H0, W0) bool; of a signed map both sides count."""
    if look.threshold <= 0:
        return np.ones(values.shape, bool)
    return hot_pixels(np.abs(values), look.threshold)


def shown_share(explanation: Explanation, size: Sequence[int], look: Look, index: int = 0) -> float:
    """The part of the picture that is above the threshold."""
    return float(_is_shown(explanation.shown_at(index, size), look).mean())


def png_bytes(photo: Photo, level: int | None = None) -> bytes:
    """A photo as a PNG file, which keeps every pixel.

    Args:
        photo: (H0, W0, 3) uint8 RGB.
        level: of packing, 0 to 9; None for OpenCV's own.
    """
    cv2 = opencv()
    options = [] if level is None else [cv2.IMWRITE_PNG_COMPRESSION, level]
    _, data = cv2.imencode(".png", np.ascontiguousarray(photo[..., ::-1]), options)
    return bytes(data.tobytes())


def data_uri(photo: Photo) -> str:
    """A photo for the `src` of an image, so that the page needs no file for it."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(photo, _FAST)).decode("ascii")


def css_gradient(signed: bool, colormap: str | None) -> str:
    """The colours of `paint` from left to right, as CSS."""
    colors = colors_of(signed, colormap)
    steps = colors[np.linspace(0, len(colors) - 1, 24).round().astype(int)]
    return "linear-gradient(to right, " + ", ".join("rgb({}, {}, {})".format(*color) for color in steps) + ")"
