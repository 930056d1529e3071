"""Small pictures of what a model was given: JPEG bytes, and photos back from preprocessed images.

Axis legend: B images, H0 x W0 pixels, C channels.
"""

from __future__ import annotations

import numpy as np

from tf_gradcam.image.opencv import opencv

_QUALITY = 80
_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
_CAFFE_MEAN = np.array([103.939, 116.779, 123.68], np.float32)  # BGR


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


def photos_of(images: np.ndarray, mode: str) -> np.ndarray:
    """Photos that preprocessing turned into these images, rounded.

    Args:
        images: (B, H0, W0, 1 or 3), as the model takes them; finite.
        mode: of their preprocessing, a key of `MODES`; with any other, each image's lowest value becomes black and its
            highest white.

    Returns:
        (B, H0, W0, 3) uint8 RGB.
    """
    values = np.asarray(images, np.float32)
    if mode == "unit":
        values = values * 255
    elif mode == "tf":
        values = (values + 1) * 127.5
    elif mode == "torch":
        values = (values * _IMAGENET_DEVIATION + _IMAGENET_MEAN) * 255
    elif mode == "caffe":
        values = (values + _CAFFE_MEAN)[..., ::-1]
    elif mode != "raw":
        low, high = (function(values, axis=(1, 2, 3), keepdims=True) for function in (np.min, np.max))
        values = (values - low) * (255 / np.maximum(high - low, np.float32(1e-12)))
    photos = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return np.array(np.broadcast_to(photos, (*photos.shape[:-1], 3)))
