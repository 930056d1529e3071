"""Small pictures: JPEG bytes, and photos no larger than what is shown.

Axis legend: H0 x W0 pixels, C channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tf_gradcam.image.opencv import opencv
from tf_gradcam.image.overlay import to_photo

_QUALITY = 80


def thumbnail(photo: np.ndarray, side: int) -> bytes:
    """The photo as a JPEG whose longer side has at most `side` pixels, proportions kept.

    Args:
        photo: (H0, W0, 3) uint8 RGB.
        side: pixels, at least 1; a smaller photo stays as it is.
    """
    cv2 = opencv()
    colors = np.ascontiguousarray(shrunk(photo, side)[..., ::-1])
    _, data = cv2.imencode(".jpg", colors, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return bytes(data)


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """An image whose longer side has at most `side` pixels, each the mean of those that it stands for.

    Args:
        image: (H0, W0, C) uint8 or float32.
        side: pixels, at least 1; a smaller image stays as it is.
    """
    height, width, channels = image.shape
    scale = side / max(height, width)
    if scale >= 1:
        return image
    cv2 = opencv()
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).reshape(*size[::-1], channels)


def shown_photo(photo: ArrayLike, side: int = 640) -> np.ndarray:
    """A photo as (H0, W0, 3) uint8 RGB, shrunk where it has more pixels than a panel can show; errors as `to_photo`."""
    return shrunk(to_photo(photo), side)
