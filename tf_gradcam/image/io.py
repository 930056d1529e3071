"""Image files: reading and writing of whole pictures, or an error."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tf_gradcam._errors import nearest_files, unknown_name, warn
from tf_gradcam._files.atomic import checked_path, write_bytes
from tf_gradcam._files.opening import check_regular
from tf_gradcam.image.headers import Header, read_header, without_animation
from tf_gradcam.image.opencv import opencv
from tf_gradcam.image.resize import check_size

Photo = NDArray[np.uint8]
Photos: TypeAlias = Sequence[NDArray[Any]] | NDArray[Any]  # B photos (H0, W0, 3) uint8 RGB, in a list of any sizes
Interpolation = Literal["area", "nearest"]

MAX_PIXELS = 178_956_970  # half a gigabyte of RGB; Pillow draws the line at the same number
_MAX_BYTES = 2**31  # 16 bits of RGB and alpha for each of these pixels, and a third more

_LARGE = 2**25  # pixels: 33 million, beyond which a picture may be read at a part of its size
_MOST_OF_16_BITS = 2**14  # values below, up to 14 bits, leave a picture of 16 bits nearly black
_CIELAB, _TIFF_COLOURS = 8, (0, 1, 2, 3, 5, 6)
_D50 = np.array([0.9642, 1.0, 0.8249], np.float32)
# Linear sRGB of XYZ under D50, by Bradford's adaptation: http://www.brucelindbloom.com (RGB/XYZ matrices).
_SRGB_OF_D50 = np.array(
    [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]],
    np.float32,
)

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")

# By EXIF orientation: the function from stored rows and columns to the picture.
_UPRIGHT: dict[int, Callable[[NDArray], NDArray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}


def load_image(
    path: str | os.PathLike[str], size: tuple[int, int] | None = None, interpolation: Interpolation = "area"
) -> Photo:
    """Read an image file, upright, as RGB.

    The bytes, not the name, tell JPEG, PNG, WebP, BMP and TIFF apart. The orientation of EXIF data or TIFF tags is
    applied (Keras ignores EXIF). Grey, palette, CMYK and CIELAB pictures become RGB. Alpha is dropped and not blended
    with a background, as in Keras. 16 bits are scaled to 8, `value / 257` rounded (Keras clips grey ones at 255); where
    they use less than a quarter of their range, as exports of 12-bit scanners do, the picture's largest value becomes
    255. Colour profiles are ignored. Of an animation or a file of several pages the first picture is read. A warning
    (`ModelWarning`) reports a stretch or a choice of pages. A JPEG of more than 33 million pixels that is resized by
    area is decoded at 1/2, 1/4 or 1/8 of its size.

    Args:
        path: the file.
        size: (height, width) in pixels, proportions not kept; None for the stored size.
        interpolation: "area" averages where it shrinks and is bilinear where it enlarges; "nearest" takes the same
            pixels as `keras.utils.load_img(path, target_size=size)`. Defaults to "area".

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: if the path is not a file that can be read.
        ValueError: if the file is empty, truncated, damaged, of another format, of more than `MAX_PIXELS` pixels by its
            header (which is read first), or neither 8 nor 16 bits deep; if `size` is not two positive integers; if
            `interpolation` is unknown.
        TypeError: if `path` is not a path.
        OSError: if the path is a pipe, a socket or a device, of more than 2 GiB, or cannot be read for another reason.
    """
    if size is not None:
        size = check_size(size)
        if size[0] * size[1] > MAX_PIXELS:
            raise ValueError(f"Expected size of at most {MAX_PIXELS} pixels in all, received {size}.")
    if interpolation not in _RESIZE:
        raise ValueError(unknown_name("interpolation", str(interpolation), _RESIZE))
    picture = read_picture(path, size if interpolation == "area" else None)
    for note in picture.notes:
        warn(f"'{path}': {note}.")
    return picture.photo if size is None else _RESIZE[interpolation](picture.photo, size)


class ReadPicture(NamedTuple):
    """A picture as it was read.

    Attributes:
        photo: (H, W, 3) uint8 RGB.
        notes: what was chosen or changed to read it.
        digest: hexadecimal, of the bytes of the file.
        size_note: the part of its size at which it was read, "" for its own.
        bits: of a channel of the file.
        size: (height, width) of the upright picture in the file, before its size was divided.
    """

    photo: Photo
    notes: list[str]
    digest: str
    size_note: str = ""
    bits: int = 8
    size: tuple[int, int] = (0, 0)

    @property
    def note(self) -> str:
        """All notes, for whoever shows the photo itself."""
        return "; ".join(filter(None, [*self.notes, self.size_note]))


def read_picture(path: str | os.PathLike[str], least: tuple[int, int] | None = None) -> ReadPicture:
    """Read an image file as `load_image` does, with notes in place of warnings.

    Args:
        path: the file.
        least: (height, width) that is enough: a picture of more than 33 million pixels is then read at 1/2, 1/4 or 1/8
            of its size, not below this. None for every pixel.
    """
    data, header = read_checked(path)
    divisor = _divisor(header, least)
    photo, notes = _decode(data, header, repr(str(path)), divisor)
    of_size = f"it is very large and is read at 1/{divisor} of its size" if divisor > 1 else ""
    size = (header.height, header.width) if header.orientation < 5 else (header.width, header.height)
    digest = hashlib.blake2b(data, digest_size=8).hexdigest()
    return ReadPicture(photo, notes, digest, of_size, header.bits, size)


def _divisor(header: Header, least: tuple[int, int] | None) -> int:
    """Return 1, 2, 4 or 8: by what a very large picture may be divided for an image of the size `least`."""
    if least is None or header.width * header.height <= _LARGE:
        return 1
    sides = (header.height, header.width)
    needed = least if header.orientation < 5 else least[::-1]
    # Sides that are not multiples are rounded up: 64 cells keep that below a sixty-fourth.
    fitting = [d for d in (2, 4, 8) if all(a // d >= max(b, 64) for a, b in zip(sides, needed, strict=True))]
    small = [d for d in fitting if header.width * header.height <= d * d * _LARGE]
    return (small or [1, *fitting][-1:])[0]


def save_image(path: str | os.PathLike[str], photo: Photo) -> None:
    """Write a picture to a file, whole or not at all.

    PNG, WebP, BMP and TIFF keep every pixel; JPEG is written with quality 95.

    Args:
        path: the file, replaced if it exists. Its suffix names the format: .png, .jpg, .jpeg, .webp, .bmp, .tif, .tiff.
        photo: (H, W, 3) uint8 RGB.

    Raises:
        ValueError: if the suffix is another one, `photo` is not uint8 of that shape, or the format cannot hold it
            (sides end at 16 383 pixels in WebP and at 65 500 in JPEG).
        FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError: if the folder does not exist or is a
            file, the path is a folder, or writing is not permitted.
        OSError: if writing fails for another reason, such as a full disk.
    """
    path = checked_path(path, "the file to write")
    write_bytes(path, encoded_image(path, photo))


def read_checked(path: str | os.PathLike[str]) -> tuple[bytes, Header]:
    """Return the bytes of an image file that can be decoded, and its header; errors as `load_image`."""
    path = checked_path(path, "the image file")
    data = _read(path)
    return data, _check(data, repr(str(path)))


def _read(path: Path) -> bytes:
    try:
        _check_file(path)
        return path.read_bytes()
    except FileNotFoundError as error:
        if path.parts[:1] in (("http:",), ("https:",)):
            raise FileNotFoundError(
                f"Expected an image file, received the address {str(path)!r}. Download it first."
            ) from error
        where = "" if path.parent.is_dir() else f": there is no folder {str(path.parent)!r}"
        raise FileNotFoundError(f"No image file {str(path)!r}{where}. {nearest_files(path)}") from error
    except (IsADirectoryError, PermissionError) as error:
        if path.is_dir():  # Windows calls this a lack of permission
            raise IsADirectoryError(f"Expected an image file, received the folder {str(path)!r}.") from error
        raise PermissionError(f"No permission to read {str(path)!r}. Change its rights.") from error
    except OSError as error:  # a loop of links, a name too long, a failing disk
        if error.strerror is None:
            raise
        raise OSError(f"Cannot read the image file {str(path)!r}: {error.strerror}. Check the path.") from error


def _check_file(path: Path) -> None:
    """Raise an error for a file without an end, or larger than the memory, before it is read."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError
    check_regular(path, "an image file")
    if status.st_size > _MAX_BYTES:
        raise OSError(
            f"Expected an image file of at most {_MAX_BYTES} bytes, but {str(path)!r} has {status.st_size}. If it is "
            "an image, scale it down with another program."
        )


def _check(data: bytes, name: str) -> Header:
    again = "Copy or download it again."
    if not data:
        raise ValueError(f"The image file {name} is empty (0 bytes). {again}")
    try:
        header = read_header(data)
    except ValueError as error:
        raise ValueError(f"Expected a JPEG, PNG, WebP, BMP or TIFF image, but {name} is not one: {error}.") from None
    if header is None or not (header.width and header.height):
        raise ValueError(f"The header of the image file {name} is damaged or cut short. {again}")
    if header.width * header.height > MAX_PIXELS:
        raise ValueError(
            f"Expected an image of at most {MAX_PIXELS} pixels, but {name} says that it has {header.width} x "
            f"{header.height}. If that is true, scale it down with another program."
        )
    if not header.whole:
        raise ValueError(f"The {header.format} file {name} is truncated: its picture is not complete. {again}")
    if not header.sound:  # the decoder would refuse it too, and print to the terminal
        raise ValueError(f"The {header.format} file {name} is damaged: its checksums do not fit. {again}")
    return header


def _decode(data: bytes, header: Header, name: str, divisor: int = 1) -> tuple[Photo, list[str]]:
    cv2 = opencv()
    notes = []
    is_lab = header.colours == _CIELAB and header.bits == 8
    if (header.colours not in _TIFF_COLOURS and not is_lab) or (header.colours in (0, 3, 5, 6) and header.bits > 8):
        raise ValueError(
            f"The TIFF {name} has colours that are not read (photometric interpretation {header.colours}, "
            f"{header.bits} bits). Convert it to an RGB PNG with another program."
        )
    if header.frames > 1 or not header.is_still:
        kind = ("page" if header.format == "TIFF" else "frame") + "s" * (header.frames > 1)
        which = f"the first of its {header.frames} {kind} is used"
        notes.append(which if header.is_still else f"its still picture is used, not its {header.frames} {kind}")
    if header.format == "PNG" and b"acTL" in data:
        data = without_animation(data)
    buffer = np.frombuffer(bytearray(data), np.uint8)
    if is_lab:
        buffer[header.colours_flag] = 2  # "RGB", or libtiff would convert colours by another white
    if header.alpha_flag is not None:
        buffer[header.alpha_flag] = 1  # "multiplied already", or libtiff would multiply colours by alpha
    # Without rotation: which formats OpenCV rotates depends on its version.
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION
    if divisor > 1 and header.format == "JPEG":
        flags = getattr(cv2, f"IMREAD_REDUCED_COLOR_{divisor}") | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        stored = cv2.imdecode(buffer, flags)
    except cv2.error:
        stored = None
    if stored is None:
        raise ValueError(
            f"OpenCV {cv2.__version__} cannot decode the {header.format} file {name}: it is damaged, or of a "
            "rare kind. Convert it to PNG with another program."
        )
    if is_lab:
        stored = _of_cielab(stored[..., ::-1])[..., ::-1]
    if stored.dtype == np.uint16:
        largest = int(stored.max())
        if 0 < largest < _MOST_OF_16_BITS:
            notes.append(
                f"its 16-bit values end at {largest}, so {largest} becomes white, for the model too; to scale it in "
                "another way, save it with 8 bits"
            )
        white = largest if 0 < largest < _MOST_OF_16_BITS else 65535
        stored = ((stored.astype(np.uint32) * 510 + white) // (2 * white)).astype(np.uint8)
    if divisor > 1:
        size = [-(-side // divisor) for side in (header.width, header.height)]
        if list(stored.shape[1::-1]) != size:
            stored = cv2.resize(stored, size, interpolation=cv2.INTER_AREA)
    if stored.dtype != np.uint8:
        raise ValueError(
            f"Expected 8 or 16 bits a channel, but {name} holds {stored.dtype}, of unknown range. "
            "Scale it to 0..255 and save it as an 8-bit PNG."
        )
    upright = _UPRIGHT[header.orientation](stored)
    # Not NumPy's `[..., ::-1]`: its copy took as long as half of the decoding.
    return cv2.cvtColor(upright, cv2.COLOR_GRAY2RGB if upright.ndim == 2 else cv2.COLOR_BGR2RGB), notes


def _of_cielab(stored: NDArray[np.uint8]) -> Photo:
    """Return sRGB of CIELAB as TIFF stores it: L of 255 is 100, a and b are signed; white is D50."""
    lightness = (stored[..., 0] * np.float32(100 / 255) + 16) / 116
    a, b = (stored[..., channel].astype(np.int8).astype(np.float32) for channel in (1, 2))
    roots = np.stack([lightness + a / 500, lightness, lightness - b / 200], axis=-1)
    xyz = np.where(roots > 6 / 29, roots**3, 3 * (6 / 29) ** 2 * (roots - 4 / 29)) * _D50
    linear = np.clip(xyz @ _SRGB_OF_D50.T, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * srgb).astype(np.uint8)


def encoded_image(path: Path, photo: Photo) -> bytes:
    """Return the content of the file that `save_image` writes."""
    suffix, name = path.suffix.lower(), repr(path.name)
    if suffix not in _SUFFIXES:
        raise ValueError(f"Expected {name} to end in one of {', '.join(_SUFFIXES)}. Rename it.")
    if not isinstance(photo, np.ndarray) or photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        kind = f"{photo.dtype} {photo.shape}" if isinstance(photo, np.ndarray) else type(photo).__name__
        raise ValueError(f"Expected a photo, uint8 (H, W, 3), received {kind}. `to_photo` makes one.")
    cv2 = opencv()
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if suffix in (".jpg", ".jpeg") else []
    try:
        done, data = cv2.imencode(suffix, np.ascontiguousarray(photo[..., ::-1]), options)
    except cv2.error:
        done = False
    if not done:
        height, width = photo.shape[:2]
        raise ValueError(f"Cannot write {width} x {height} pixels as {name}. Save as .png, or scale down.")
    return data.tobytes()


def resize_by_area(photo: Photo, size: tuple[int, int]) -> Photo:
    """Shrink a photo first, then enlarge it: OpenCV's INTER_AREA averages only where neither side grows."""
    cv2 = opencv()
    height, width = (min(old, new) for old, new in zip(photo.shape, size, strict=False))
    shrunk = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, size[::-1], interpolation=cv2.INTER_LINEAR)


def _resize_by_nearest(photo: Photo, size: tuple[int, int]) -> Photo:
    # As Pillow: the steps from pixel to pixel are added up, and so is its rounding error, which decides where a pixel
    # lies between two. OpenCV's INTER_NEAREST_EXACT decides otherwise in version 4.9.
    sides = zip(photo.shape, size, strict=False)
    rows, columns = (
        np.add.accumulate([0.5 * old / new, *[old / new] * (new - 1)]).astype(np.intp) for old, new in sides
    )
    return photo[rows[:, None], columns]


_RESIZE = {"area": resize_by_area, "nearest": _resize_by_nearest}
