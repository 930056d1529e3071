"""Interventions: a region erased, a region of other images pasted in, an equally large one elsewhere. NumPy and OpenCV.

Axis legend: N images, H0 x W0 pixels. Photos are (N, H0, W0, 3) float32 in 0..255; a region is (H0, W0) bool, or one an
image, (N, H0, W0) bool.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tf_gradcam.image.opencv import opencv

_TRIES = 200  # places looked at for a region elsewhere; the one that overlaps least is taken
_MOST_MOVABLE = 0.5  # of the image: the box around a region beyond which it has no other place to go (a frame)


def erase(photos: np.ndarray, region: np.ndarray, fill: str) -> np.ndarray:
    """The images without what lies in the region.

    Args:
        photos: (N, H0, W0, 3) float32, 0..255.
        region: (H0, W0) bool, or (N, H0, W0).
        fill: a key of `FILLS`: "blur" (a Gaussian as wide as the region), "mean" (mean colour of the rest of the image)
            or "inpaint" (grown in from the border, Telea 2004).

    Returns:
        (N, H0, W0, 3) float32; unchanged outside the region.

    Raises:
        KeyError: unknown fill.
    """
    regions = np.broadcast_to(region, photos.shape[:-1])
    paint = FILLS[fill]
    return np.stack([_erased(photo, one, paint) for photo, one in zip(photos, regions, strict=True)])


def _erased(photo: np.ndarray, region: np.ndarray, paint: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    if not region.any():
        return photo
    return np.where(region[..., None], paint(photo, region), photo).astype(np.float32)


def _blurred(photo: np.ndarray, region: np.ndarray) -> np.ndarray:
    sigma = max(2.0, 0.5 * float(np.sqrt(region.sum())))
    return opencv().GaussianBlur(photo, (0, 0), sigma)


def _mean(photo: np.ndarray, region: np.ndarray) -> np.ndarray:
    return photo[~region].mean(axis=0) if not region.all() else photo.mean(axis=(0, 1))


def _inpainted(photo: np.ndarray, region: np.ndarray) -> np.ndarray:
    cv2 = opencv()
    # Edges of what was there bleed over the border by a pixel or two (JPEG, resizing), and would be grown in again.
    wide = cv2.dilate(region.astype(np.uint8), np.ones((3, 3), np.uint8))
    whole = np.clip(np.round(photo), 0, 255).astype(np.uint8)
    return cv2.inpaint(whole, wide, 3, cv2.INPAINT_TELEA).astype(np.float32)


FILLS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "blur": _blurred,
    "mean": _mean,
    "inpaint": _inpainted,
}


def paste(photos: np.ndarray, donors: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The images with the pixels that the donors have in the region.

    Args:
        photos, donors: (N, H0, W0, 3) float32, one donor an image.
        region: (H0, W0) bool, or (N, H0, W0).

    Returns:
        (N, H0, W0, 3) float32; unchanged outside the region.
    """
    return np.where(np.broadcast_to(region, photos.shape[:-1])[..., None], donors, photos).astype(np.float32)


def elsewhere(region: np.ndarray, generator: np.random.Generator, avoid: np.ndarray | None = None) -> np.ndarray:
    """An equally large region at a random other place: what a suspected region is compared with.

    The region keeps its shape where there is room; a frame around the image, which has no other place, becomes a
    square of the same area.

    Args:
        region: (H0, W0) bool.
        generator: of the random place.
        avoid: (H0, W0) bool, what it should not overlap; the region itself by default.

    Returns:
        (H0, W0) bool, of as many pixels up to rounding.
    """
    avoid = region if avoid is None else avoid
    shape = _box_of(region)
    if shape.size > _MOST_MOVABLE * region.size:
        height = min(region.shape[0], max(1, round(float(np.sqrt(region.sum())))))
        shape = np.ones((height, min(region.shape[1], max(1, round(region.sum() / height)))), bool)
    room = [whole - part + 1 for whole, part in zip(region.shape, shape.shape, strict=True)]
    best, least = np.zeros_like(region), np.inf
    for _ in range(_TRIES):
        top, left = (int(generator.integers(free)) for free in room)
        candidate = np.zeros_like(region)
        candidate[top : top + shape.shape[0], left : left + shape.shape[1]] = shape
        overlap = (candidate & avoid).sum()
        if overlap < least:
            best, least = candidate, overlap
        if not overlap:
            break
    return best


def _box_of(region: np.ndarray) -> np.ndarray:
    """The region inside the smallest box around it."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return region[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def place_in_words(region: np.ndarray) -> str:
    """Where a region lies: "the lower right corner", "the centre", "the upper edge", "the frame"."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    height, width = region.shape
    # Where the middle of the box lies, and how much of the image it spans, along each axis, in parts of the image.
    (down, tall), (right, wide) = (
        ((part[0] + part[-1] + 1) / 2 / whole, (part[-1] + 1 - part[0]) / whole)
        for part, whole in ((rows, height), (columns, width))
    )
    if tall > 0.8 and wide > 0.8:
        return "the frame of the image" if region.mean() < 0.5 else "the whole image"
    vertical = "" if tall > 0.8 else "upper" if down < 1 / 3 else "lower" if down > 2 / 3 else "middle"
    horizontal = "" if wide > 0.8 else "left" if right < 1 / 3 else "right" if right > 2 / 3 else "middle"
    if not vertical or not horizontal:
        side = vertical or horizontal
        return f"the {side} edge" if side != "middle" else "a band through the middle"
    if vertical == horizontal == "middle":
        return "the centre"
    if "middle" in (vertical, horizontal):
        return f"the {(horizontal if vertical == 'middle' else vertical)} middle"
    return f"the {vertical} {horizontal} corner"
