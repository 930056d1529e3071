"""Photos for tests of pictures, and files of them as Pillow writes them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {}, "WEBP": {"lossless": True, "exact": True}}
FORMATS = {**LOSSLESS, "JPEG": {"quality": 95}}


def random_photo(height=6, width=10, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def smooth_photo(height=48, width=80):
    """No symmetry, and little that JPEG changes: red grows to the right, green downwards."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.dstack([columns * 255 // width, rows * 255 // height, np.full_like(rows, 60)]).astype(np.uint8)


def encoded(image, file_format, **options):
    """The bytes of a file; `image` is an array or a picture of Pillow."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def write(folder, data, name="picture"):
    """The path of a new file; its name says nothing about its format."""
    path = Path(folder, name)
    path.write_bytes(data)
    return path
