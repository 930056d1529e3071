"""Pictures inside the report: each is stored once as JPEG, up to a budget of bytes.

Axis legend: H x W cells of the heatmap, H0 x W0 pixels of the model's input.
"""

from __future__ import annotations

import base64
from typing import NamedTuple

import numpy as np

from tf_gradcam.audit.rows import Rows
from tf_gradcam.image.opencv import opencv
from tf_gradcam.image.overlay import paint
from tf_gradcam.image.resize import resize_heatmaps

_MAP_SIDE = 112  # longer side of a heatmap, pixels
_QUALITY = 82  # of JPEG
_REGION_SIDE = 192  # longer side of a photo with a marked region, pixels
_DIMMED = 0.55  # brightness outside a region
_TINT = 0.45  # weight of a region's colour
_MARKED = np.array([255, 110, 40], np.float32)  # orange is visible on black and on white


class Picture(NamedTuple):
    """A picture in the store: its key, and its size in pixels."""

    key: str
    width: int
    height: int


class Shot(NamedTuple):
    """A row's thumbnail, plain and with its heatmap; None if the heatmap is blank."""

    plain: Picture
    heat: Picture | None


class PictureStore:
    """A store of pictures as data URLs, up to a budget of bytes in all.

    Attributes:
        urls: (picture, data URL) in the order of storing.
        is_full: True once a picture did not fit.
        spent: bytes so far.
    """

    def __init__(self, budget: int):
        self.urls: list[tuple[Picture, str]] = []
        self.is_full = False
        self.spent = 0
        self._budget = budget

    def add(self, key: str, jpegs: list[tuple[bytes, int, int]], ends: str = "ph") -> list[Picture] | None:
        """Store pictures that belong together, all or none; return None if they do not fit.

        The key of each ends in a letter of `ends`: p for a plain picture, h for one with heat.
        """
        urls = ["data:image/jpeg;base64," + base64.b64encode(data).decode("ascii") for data, _, _ in jpegs]
        weight = sum(map(len, urls))
        if self.spent + weight > self._budget:
            self.is_full = True
            return None
        self.spent += weight
        pictures = [Picture(f"{key}{ends[place]}", *jpeg[1:]) for place, jpeg in enumerate(jpegs)]
        self.urls += zip(pictures, urls, strict=True)
        return pictures

    def add_photo(self, key: str, photo: np.ndarray, quality: int = _QUALITY) -> Picture | None:
        """Store a photo (H0, W0, 3) uint8 RGB."""
        stored = self.add(key, [_encoded(photo, quality)])
        return stored[0] if stored else None


class RowPictures:
    """The thumbnails of a table's rows, painted with their heatmaps on demand and kept in the store.

    Args:
        rows: the table.
        store: of the pictures.
        is_signed: whether the heatmaps have a side for and a side against.
    """

    def __init__(self, rows: Rows, store: PictureStore, is_signed: bool = False):
        self._rows, self._store, self._is_signed = rows, store, is_signed
        self._shots: dict[tuple[int, int | None], Shot | None] = {}
        self._plain: dict[int, Picture] = {}

    def __call__(self, row: int, label: int | None = None) -> Shot | None:
        """Return the pictures of a row, with the map of one label if it is named; None without pictures or room."""
        key = row, label
        if key not in self._shots:
            self._shots[key] = self._shot(row, label)
        return self._shots[key]

    def photo(self, row: int) -> np.ndarray | None:
        """Return the pixels of the thumbnail, RGB; None if there are none."""
        return _decoded(bytes(self._rows.thumbnail[row]))

    def _shot(self, row: int, label: int | None) -> Shot | None:
        photo = None if self._store.is_full else self.photo(row)
        if photo is None:
            return None
        if row not in self._plain:  # all labels of an image share it
            jpeg = bytes(self._rows.thumbnail[row]), photo.shape[1], photo.shape[0]
            stored = self._store.add(f"r{row}", [jpeg])
            if not stored:
                return None
            self._plain[row] = stored[0]
        heatmap = self._rows.heatmap[row] if label is None else self._rows.maps_of(label, np.array([row]))[0]
        key = f"r{row}" if label is None else f"r{row}-{label}"
        painted = self._painted(photo, heatmap)
        heat = self._store.add(key, painted, "h") if painted else None
        return Shot(self._plain[row], heat[0] if heat else None)

    def _painted(self, photo: np.ndarray, heatmap: np.ndarray) -> list[tuple[bytes, int, int]]:
        """Return the photo painted with a heatmap, as JPEG; nothing for a blank one."""
        heat = readable(heatmap, self._is_signed)
        return [_encoded(paint(photo, heat, signed=self._is_signed), _QUALITY)] if np.abs(heat).max() > 0 else []


def readable(heatmap: np.ndarray, is_signed: bool = False) -> np.ndarray:
    """Clip a heatmap to [0, 1], a signed one to [-1, 1], (H, W) float32; NaN becomes 0."""
    least = -1.0 if is_signed else 0.0
    return np.clip(np.nan_to_num(np.asarray(heatmap, np.float32), nan=0.0, posinf=1.0, neginf=least), least, 1)


def paint_map(heatmap: np.ndarray, image_size: tuple[int, int], is_signed: bool = False) -> np.ndarray:
    """Paint a heatmap (H, W) relative to its largest absolute value, with the proportions of the image; uint8 RGB."""
    values = np.nan_to_num(np.asarray(heatmap, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    values = values if is_signed else np.maximum(values, 0)
    peak = float(np.abs(values).max())
    values = values / peak if peak > 0 else np.zeros_like(values)
    scale = _MAP_SIDE / max(image_size)
    size = (max(1, round(image_size[0] * scale)), max(1, round(image_size[1] * scale)))
    shown = resize_heatmaps(values[None], size)[0]
    return paint(None, shown, is_signed)


def mark_region(photo: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Mark a region on a photo by a tint, relative to the region's maximum, and an outline; darken the rest.

    Args:
        photo: (h, w, 3) uint8 RGB.
        region: (H0, W0) in [0, 1], of any size.

    Returns:
        uint8 RGB with the photo's proportions.
    """
    cv2 = opencv()
    scale = _REGION_SIDE / max(photo.shape[:2])
    size = (max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale)))  # width, height
    values = cv2.resize(readable(region), size, interpolation=cv2.INTER_AREA)
    values = values / max(float(values.max()), 1e-6)
    large = cv2.resize(photo, size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
    light = values[..., None]
    mixed = large * (_DIMMED + (1 - _DIMMED) * light) * (1 - _TINT * light) + _MARKED * _TINT * light
    inside = (values > 0.5).astype(np.uint8)
    outline = cv2.dilate(inside, np.ones((3, 3), np.uint8)) > inside
    return np.where(outline[..., None], _MARKED, np.rint(mixed)).astype(np.uint8)


def _encoded(photo: np.ndarray, quality: int) -> tuple[bytes, int, int]:
    cv2 = opencv()
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(photo[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes(), photo.shape[1], photo.shape[0]


def _decoded(data: bytes) -> np.ndarray | None:
    if not data.startswith(b"\xff\xd8"):
        return None
    cv2 = opencv()
    photo = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if photo is None else np.ascontiguousarray(photo[..., ::-1])
