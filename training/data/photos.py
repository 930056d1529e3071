"""Photos from files: the one way in which a training reads pixels, whatever feeds the model.

Axis legend: H0 x W0 pixels.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_BEGINNINGS = (_JPEG, _PNG, b"BM", b"II*\0", b"MM\0*")  # and WebP; versions of OpenCV differ in what else they read

_PROGRESS_FROM = 1000  # files; fewer are read before anyone asks
_Result = TypeVar("_Result")


class Decoded(NamedTuple):
    """The pixels of a file, (H0, W0, 3) uint8 RGB, and how they were stored: "RGB", "grey", "alpha" or "16-bit"."""

    photo: np.ndarray
    stored: str


def read_photo(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """The picture in a file as RGB, upright, as `tf_gradcam` reads it for an explanation.

    Args:
        path: a JPEG, PNG, WebP, BMP or TIFF file.
        size: (H0, W0), proportions not kept; None for the stored size.

    Returns:
        (H0, W0, 3) uint8 RGB.

    Raises:
        ValueError: a file that is empty, truncated, damaged or no picture.
        OSError: a file that cannot be read.
    """
    photo = decode(path.read_bytes()).photo
    return photo if size is None else resize(photo, size)


def decode(data: bytes) -> Decoded:
    """The pixels of an image file: grey and palette become RGB, alpha is dropped, 16 bits become `value / 257`.

    Raises:
        ValueError: bytes that are empty, truncated, damaged or no picture.
    """
    import cv2

    if not data:
        raise ValueError("the file is empty")
    if not (data.startswith(_BEGINNINGS) or (data[:4], data[8:12]) == (b"RIFF", b"WEBP")):
        raise ValueError("it is no JPEG, PNG, WebP, BMP or TIFF image")
    if _is_cut(data):
        raise ValueError("the file is truncated")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ValueError("it is damaged, or of a rare kind")
    stored = "grey" if pixels.ndim == 2 else "alpha" if _has_alpha(data) or pixels.shape[2] == 4 else "RGB"
    if pixels.dtype == np.uint16:
        pixels, stored = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8), "16-bit"
    if pixels.dtype != np.uint8:
        raise ValueError(f"it holds {pixels.dtype}, of unknown range, where 8 or 16 bits are expected")
    rgb = pixels[..., None].repeat(3, axis=2) if pixels.ndim == 2 else pixels[..., 2::-1]
    return Decoded(np.ascontiguousarray(rgb), stored)


def resize(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The photo at `size` (H0, W0): averaged over areas where it shrinks, bilinear where it grows."""
    import cv2

    # In two steps, because INTER_AREA averages only where neither side grows.
    height, width = (min(old, new) for old, new in zip(photo.shape, size, strict=False))
    shrunk = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, size[::-1], interpolation=cv2.INTER_LINEAR)


def in_threads(
    function: Callable[[Path], _Result], files: Sequence[Path], verb: str | None = None
) -> Iterator[_Result]:
    """`function(file)` of every file, in their order; OpenCV and reading release Python's lock, so threads help.

    Args:
        function: called in several threads at once.
        files: what it is called with.
        verb: what is done ("Checked"), for a line of progress on stderr where there are many files.
    """
    with ThreadPoolExecutor(thread_count()) as pool:
        told = time.monotonic()
        for count, result in enumerate(pool.map(function, files), start=1):
            yield result
            if verb and len(files) >= _PROGRESS_FROM and (time.monotonic() > told + 5 or count == len(files)):
                told = time.monotonic()
                print(f"{verb} {count:,} of {len(files):,} images", file=sys.stderr, flush=True)


def thread_count() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_cut(data: bytes) -> bool:
    """Whether the end of a JPEG or PNG is missing; some versions of OpenCV then paint the rest grey."""
    if data.startswith(_JPEG):  # in the compressed scan, 0xFF is followed by 0x00 or a restart marker alone
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    return data.startswith(_PNG) and b"IEND" not in data


def _has_alpha(data: bytes) -> bool:
    """Whether a PNG says so; OpenCV drops alpha before anyone sees it."""
    return data.startswith(_PNG) and data[25] in (4, 6)
