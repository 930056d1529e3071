"""Pictures inside the report: each is stored once, up to a budget of bytes.

Photos are JPEG. Heat is a layer of its own, a small WebP with an alpha channel. The browser stretches it over
the photo, so that one layer serves the thumbnail and the large picture, and the photo can be seen without heat.

Axis legend: H x W cells of the heatmap, H0 x W0 pixels of the model's input.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from tf_gradcam.audit.rows import Rows
from tf_gradcam.image.opencv import opencv
from tf_gradcam.image.overlay import colors_of, paint
from tf_gradcam.image.resize import resize_heatmaps
from tf_gradcam.image.thumbnails import read_thumbnail

_MEAN_SIDE = 160  # longer side of a mean picture, pixels
_MEAN_ROWS = 64  # images that a mean picture is made of: more look the same
_LAYER_SIDE = 64  # longer side of a heat layer, pixels
_LAYER_QUALITY = 70  # of WebP
_QUALITY = 82  # of JPEG
_STOPS = 16  # steps of a colour bar
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
    """A photo, and the layer of its heatmap; None if that is blank."""

    plain: Picture
    heat: Picture | None


class ColourBar(NamedTuple):
    """The colours of heatmaps as (place in percent, colour), and words for the two ends."""

    stops: list[tuple[float, str]]
    low: str
    high: str


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

    def add(self, picture: Picture, data: bytes) -> Picture | None:
        """Store a JPEG or WebP that is shown at a size; return None if it does not fit."""
        kind = "webp" if data.startswith(b"RIFF") else "jpeg"
        url = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
        if self.spent + len(url) > self._budget:
            self.is_full = True
            return None
        self.spent += len(url)
        self.urls.append((picture, url))
        return picture

    def add_photo(self, key: str, photo: np.ndarray, quality: int = _QUALITY) -> Picture | None:
        """Store a photo (H0, W0, 3) uint8 RGB; its key ends in p."""
        return self.add(Picture(f"{key}p", photo.shape[1], photo.shape[0]), _encoded(photo, quality))

    def add_heat(self, key: str, heatmap: np.ndarray, over: Picture, is_signed: bool = False) -> Picture | None:
        """Store the layer of a heatmap (H, W) over a picture; its key ends in h. None for a blank one."""
        layer = heat_layer(heatmap, (over.height, over.width), is_signed)
        return self.add(Picture(f"{key}h", over.width, over.height), layer) if layer else None


class RowPictures:
    """The thumbnails of a table's rows, with layers of their heatmaps, made on demand and kept in the store.

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
        return read_thumbnail(bytes(self._rows.thumbnail[row]))

    def _shot(self, row: int, label: int | None) -> Shot | None:
        photo = None if self._store.is_full else self.photo(row)
        if photo is None:
            return None
        if row not in self._plain:  # all labels of an image share it
            picture = Picture(f"r{row}p", photo.shape[1], photo.shape[0])
            if not self._store.add(picture, bytes(self._rows.thumbnail[row])):
                return None
            self._plain[row] = picture
        heatmap = self._rows.heatmap[row] if label is None else self._rows.maps_of(label, np.array([row]))[0]
        key = f"r{row}" if label is None else f"r{row}-{label}"
        return Shot(self._plain[row], self._store.add_heat(key, heatmap, self._plain[row], self._is_signed))

    def mean_shot(
        self, key: str, rows: Sequence[int] | np.ndarray, heatmap: np.ndarray, size: tuple[int, int], is_signed: bool
    ) -> Shot | None:
        """Store the mean of some thumbnails below a heatmap, relative to its largest absolute value.

        Args:
            key: of the pictures.
            rows: whose thumbnails are averaged, at most 64 of them; grey if there are none.
            heatmap: (H, W).
            size: (H0, W0), whose proportions the pictures have.
            is_signed: whether the heatmap has two sides.
        """
        if self._store.is_full:
            return None
        plain = self._store.add_photo(key, self._mean(rows, size))
        if plain is None:
            return None
        peak = float(np.abs(np.nan_to_num(heatmap)).max())
        return Shot(plain, self._store.add_heat(key, heatmap / peak if peak > 0 else heatmap, plain, is_signed))

    def _mean(self, rows: Sequence[int] | np.ndarray, size: tuple[int, int]) -> np.ndarray:
        cv2 = opencv()
        scale = _MEAN_SIDE / max(size)
        width, height = max(1, round(size[1] * scale)), max(1, round(size[0] * scale))
        chosen = np.asarray(rows)[np.unique(np.linspace(0, max(0, len(rows) - 1), _MEAN_ROWS).astype(int))[: len(rows)]]
        photos = [photo for row in chosen if (photo := self.photo(int(row))) is not None]
        if not photos:
            return np.full((height, width, 3), 200, np.uint8)
        large = [cv2.resize(photo, (width, height), interpolation=cv2.INTER_LINEAR) for photo in photos]
        return np.rint(np.mean(large, axis=0)).astype(np.uint8)


def heat_layer(heatmap: np.ndarray, size: tuple[int, int], is_signed: bool = False) -> bytes:
    """Return the colours of a heatmap (H, W) and how much they hide, as a WebP with alpha; b"" for a blank heatmap.

    Laid over a photo it shows what `paint` shows.

    Args:
        heatmap: in [0, 1], or in [-1, 1].
        size: (height, width), whose proportions the layer has.
        is_signed: whether the heatmap has two sides.
    """
    heat = readable(heatmap, is_signed)
    if not np.abs(heat).max() > 0:
        return b""
    scale = _LAYER_SIDE / max(size)
    shown = resize_heatmaps(heat[None], (max(1, round(size[0] * scale)), max(1, round(size[1] * scale))))[0]
    steps = np.rint((shown + 1) * 127 if is_signed else shown * 255).astype(int)
    cv2 = opencv()
    _, data = cv2.imencode(".webp", _levels(is_signed)[steps], [cv2.IMWRITE_WEBP_QUALITY, _LAYER_QUALITY])
    return bytes(data)


@cache
def _levels(is_signed: bool) -> np.ndarray:
    """Return the colour and the opacity of each level of heat, (255 or 256, 4) uint8 BGRA.

    `paint` says what becomes of black and of white; their difference is what the colour lets through.
    """
    heat = np.linspace(-1, 1, 255)[None] if is_signed else np.linspace(0, 1, 256)[None]
    black, white = (
        paint(np.full((*heat.shape, 3), level, np.uint8), heat, signed=is_signed)[0].astype(np.float32)
        for level in (0, 255)
    )
    alpha = 255 - (white - black).mean(axis=1, keepdims=True)
    colors = np.clip(black * (255 / np.maximum(alpha, 1)), 0, 255)
    return np.rint(np.concatenate([colors[:, ::-1], alpha], axis=1)).astype(np.uint8)


def colour_bar(low: str, high: str, is_signed: bool = False) -> ColourBar:
    """Return the colours of `paint` from the lowest to the highest value."""
    colors = colors_of(signed=is_signed)
    places = [step / _STOPS for step in range(_STOPS + 1)]
    stops = [(round(100 * place, 2), "#" + bytes(colors[round(place * (len(colors) - 1))]).hex()) for place in places]
    return ColourBar(stops, low, high)


def readable(heatmap: np.ndarray, is_signed: bool = False) -> np.ndarray:
    """Clip a heatmap to [0, 1], a signed one to [-1, 1], (H, W) float32; NaN becomes 0."""
    least = -1.0 if is_signed else 0.0
    return np.clip(np.nan_to_num(np.asarray(heatmap, np.float32), nan=0.0, posinf=1.0, neginf=least), least, 1)


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


def _encoded(photo: np.ndarray, quality: int) -> bytes:
    cv2 = opencv()
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(photo[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(data)
