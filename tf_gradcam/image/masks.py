"""Masks: a class for each pixel as an indexed PNG, a region of pixels read from a file, and its outline on a photo.

Axis legend: H x W cells of a mask, H0 x W0 pixels of a picture.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_gradcam.image.io import Photo, read_checked, read_picture
from tf_gradcam.image.opencv import opencv

_LINE = 160  # a line is this part of the shorter side wide, at least one pixel
_LIGHT, _DARK = (255, 255, 255), (0, 0, 0)


def class_colors() -> NDArray[np.uint8]:
    """Return the colours (256, 3) of the PASCAL VOC data set, where 0 is black: the bits of an index, spread evenly."""
    index = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= (((index >> channel) & 1) << (7 - bit)).astype(np.uint8)
        index >>= 3
    return colors


def colored(values: NDArray[Any]) -> Photo:
    """Return the picture (H, W, 3) uint8 of a mask of indices; colours repeat beyond 255."""
    return class_colors()[np.where(values > 255, 1 + values % 255, values)]


def encoded_mask(values: NDArray[np.integer]) -> bytes:
    """Return a PNG file whose values are indices of classes: with the colours of `class_colors` up to 255.

    Readers of palettes (`PIL.Image.open`) get the indices, viewers the colours; higher indices are grey of 16 bits.

    Args:
        values: (H, W) from 0 to 65535.
    """
    is_indexed = int(values.max(initial=0)) <= 255
    palette = [(b"PLTE", class_colors().tobytes())] if is_indexed else []
    return _png(values.astype(np.uint8 if is_indexed else ">u2"), 3 if is_indexed else 0, palette)


def encoded_region(inside: NDArray[np.bool_]) -> bytes:
    """Return a grey PNG file of a region (H, W): 255 inside, 0 outside."""
    return _png(np.where(inside, 255, 0).astype(np.uint8), 0)


def _png(rows: NDArray[Any], kind: int, palette: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Return a PNG file of values (H, W) of 8 or 16 bits, grey (kind 0) or with a palette (3)."""
    lines = b"".join(b"\0" + row.tobytes() for row in rows)  # each line begins with its filter, none
    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], 8 * rows.dtype.itemsize, kind, 0, 0, 0)
    parts = [(b"IHDR", header), *palette, (b"IDAT", zlib.compress(lines, 6)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def nearest(mask: NDArray[Any], size: Sequence[int]) -> NDArray[Any]:
    """Resize a mask (H, W) to (H0, W0): each pixel has the value of the cell that its centre lies in."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(mask.shape[:2], size, strict=True))
    return mask[rows[:, None], columns]


def read_region(path: str | os.PathLike[str]) -> NDArray[np.bool_]:
    """Read the region that a mask file draws: every pixel that is not black.

    Args:
        path: a picture that keeps every pixel: PNG, BMP, TIFF or WebP.

    Returns:
        (H0, W0) bool, upright as `load_image` reads it.

    Raises:
        ValueError: a JPEG file, whose edges are blurred; a mask without a pixel; a file that is not a picture.
        OSError: as `load_image`.
    """
    _, header = read_checked(path)
    if header.format == "JPEG":
        raise ValueError(
            f"Expected a mask that keeps every pixel, received the JPEG '{path}', which blurs edges. Save it as PNG."
        )
    inside = np.asarray(read_picture(path).photo.any(axis=-1))
    if not inside.any():
        raise ValueError(
            f"Expected a mask with a pixel that is not black, received '{path}' without one. Paint the region white."
        )
    return inside


def read_classes(path: str | os.PathLike[str]) -> NDArray[np.int32]:
    """Read the class of each pixel from a mask file of indices.

    Args:
        path: a grey picture, or one with a palette, whose indices count and not its colours; PNG, or another format
            that keeps every pixel.

    Returns:
        (H0, W0) int32; 255 usually means unknown.

    Raises:
        ValueError: a JPEG file; a picture of colours; a file that is not a picture.
        OSError: as `load_image`.
    """
    data, header = read_checked(path)
    if header.format == "JPEG":
        raise ValueError(
            f"Expected a mask that keeps every pixel, received the JPEG '{path}', which blurs edges. Save it as PNG."
        )
    if header.format == "PNG":
        data = _with_indices(data)
    cv2 = opencv()
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    if stored is None:
        raise ValueError(f"OpenCV {cv2.__version__} cannot decode the mask '{path}'. Save it as a grey PNG.")
    if stored.ndim == 3:
        if (stored != stored[..., :1]).any():
            raise ValueError(
                f"Expected a mask of class indices, grey or with a palette, received the colours of '{path}'. Save the "
                "index of each pixel's class, such as by PIL.Image.fromarray(indices.astype('uint8'))."
            )
        stored = stored[..., 0]
    if header.bits < 8:  # decoders spread 1, 2 and 4 bits over 0 to 255
        stored = stored // (255 // (2**header.bits - 1))
    return stored.astype(np.int32)


def _with_indices(data: bytes) -> bytes:
    """Return a PNG whose palette is grey, so that its colours are its indices; other files unchanged."""
    start, parts, bits = 8, [data[:8]], data[24]
    while start + 8 <= len(data):
        length = struct.unpack(">I", data[start : start + 4])[0]
        name, content = data[start + 4 : start + 8], data[start + 8 : start + 8 + length]
        if name == b"PLTE":
            step = 255 // (2**bits - 1) if bits < 8 else 1
            content = bytes(min(255, index * step) for index in range(length // 3) for _ in range(3))
        if name != b"tRNS":
            parts.append(_chunk(name, content))
        start += 12 + length
    return b"".join(parts)


class RegionFiles:
    """The mask of each image: one file for all, or a folder with one for each.

    Args:
        path: a mask file as `read_region` takes it, or a folder that holds `<stem>.png` for an image `<stem>.jpg`, or
            `<folder of the image>/<stem>.png`.
        images: the image files.

    Raises:
        FileNotFoundError: `path` does not exist.
        ValueError: the file is not a mask; the folder has a mask of none of the images.
    """

    def __init__(self, path: Path, images: Sequence[Path]):
        self._path = path
        self._mask = None if path.is_dir() else read_region(path)
        if self._mask is None and not any(map(self._find, images)):
            example = f", such as '{images[0].stem}.png'" if images else ""
            raise ValueError(
                f"Expected '{path}' to hold masks of some of the {len(images)} images, named as they are with the "
                f"suffix .png{example}; it holds none. Check the names."
            )

    def of_image(self, image: Path, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the mask of an image of (height, width) pixels.

        Raises:
            FileNotFoundError: the folder has none for it.
            OSError, ValueError: as `read_region`; a mask of another size.
        """
        file = self._path if self._mask is not None else self._find(image)
        if file is None:
            raise FileNotFoundError(
                f"The folder '{self._path}' has no mask '{image.stem}.png' of this image. Add it, or leave the image "
                "out."
            )
        mask = read_region(file) if self._mask is None else self._mask
        if mask.shape != tuple(size):
            raise ValueError(
                f"Expected a mask of the picture's size, {size[1]} wide and {size[0]} high, received '{file}', "
                f"{mask.shape[1]} wide and {mask.shape[0]} high. Paint it on this picture, or give a folder of masks."
            )
        return mask

    def _find(self, image: Path) -> Path | None:
        name = f"{image.stem}.png"
        places = (self._path / image.parent.name / name, self._path / name)
        return next((place for place in places if place.exists()), None)


def outlined(photo: Photo, inside: NDArray[np.bool_]) -> Photo:
    """Return a photo (H0, W0, 3) with the outline of a region: a light line within, a dark one around it.

    A region smaller than the lines is enlarged; there is no line along the borders of the picture.

    Args:
        photo: uint8 RGB.
        inside: (H, W), brought to the photo's size by `nearest`.
    """
    region = nearest(inside, photo.shape[:2]).astype(np.uint8)
    width = max(1, round(min(photo.shape[:2]) / _LINE))
    if region.sum() < (4 * width) ** 2:
        region = _grown(region, width)
    drawn = photo.copy()
    drawn[(_grown(region, width) - region).astype(bool)] = _DARK
    drawn[(region - _shrunk(region, width)).astype(bool)] = _LIGHT
    return drawn


def _grown(region: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    return np.asarray(opencv().dilate(region, np.ones((2 * width + 1, 2 * width + 1), np.uint8)))


def _shrunk(region: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    return np.asarray(opencv().erode(region, np.ones((2 * width + 1, 2 * width + 1), np.uint8)))
