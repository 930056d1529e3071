"""Small pictures: JPEG bytes, and photos no larger than a panel.

Axis legend: H0 x W0 pixels, C channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tf_gradcam.image.opencv import opencv
from tf_gradcam.image.overlay import to_photo

_QUALITY = 80


def thumbnail(photo: np.ndarray, side: int) -> bytes:
    """Return a photo (H0, W0, 3) uint8 RGB as a JPEG, `shrunk` to `side` pixels."""
    cv2 = opencv()
    colors = np.ascontiguousarray(shrunk(photo, side)[..., ::-1])
    _, data = cv2.imencode(".jpg", colors, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return bytes(data)


def read_thumbnail(data: bytes) -> np.ndarray | None:
    """Return the pixels of a `thumbnail`, (H0, W0, 3) uint8 RGB; None of other bytes."""
    if not data.startswith(b"\xff\xd8"):
        return None
    cv2 = opencv()
    photo = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if photo is None else np.ascontiguousarray(photo[..., ::-1])


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """Return an image (H0, W0, C) whose longer side has at most `side` pixels, averaged; a smaller image unchanged."""
    height, width, channels = image.shape
    scale = side / max(height, width)
    if scale >= 1:
        return image
    cv2 = opencv()
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).reshape(*size[::-1], channels)


def shown_photo(photo: ArrayLike, side: int = 640) -> np.ndarray:
    """Return a photo as (H0, W0, 3) uint8 RGB, `shrunk` to what a panel can show; errors as `to_photo`."""
    return shrunk(to_photo(photo), side)


def photos_of_slices(volume: np.ndarray, chosen: ArrayLike) -> np.ndarray:
    """Return chosen slices of a volume or clip as uint8; other numbers are stretched over the range of all slices."""
    slices = volume[np.asarray(chosen)]
    if volume.dtype == np.uint8:
        return slices
    low, high = float(np.nanmin(volume)), float(np.nanmax(volume))
    stretched = (np.nan_to_num(slices, nan=low) - low) / (high - low if high > low else 1.0)
    return np.rint(255 * stretched).astype(np.uint8)
