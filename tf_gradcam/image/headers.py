"""Headers of image files, read before decoding: format, size, orientation, and whether the file is whole.

Decoders do not check this: some return a half grey picture for a truncated file, or take all memory for a header that
claims 100 000 x 100 000 pixels. Only the few fields needed are read, of JPEG, PNG, WebP, BMP and TIFF files.
"""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from typing import NamedTuple

# Marker of a JPEG segment. In compressed data 0xFF is followed by 0x00 or by a restart marker, 0xD0 to 0xD7.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_JPEG_END, _JPEG_SCAN, _JPEG_APP1 = 0xD9, 0xDA, 0xE1
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_ORIENTATION, _TIFF_EXTRA_SAMPLES = 256, 257, 274, 338
_TIFF_BITS, _TIFF_COLOURS, _MAX_PAGES = 258, 262, 10_000
_TIFF_PARTS = ((273, 279), (324, 325))  # (starts, lengths) of the strips, of the tiles
_TIFF_WORDS = {3: "H", 4: "I"}
_MAX_SCANS = 100  # each takes a decoder through the whole picture; encoders write about ten
_PNG_PICTURE = (b"IHDR", b"PLTE", b"IDAT", b"IEND")  # the chunks that a picture needs

# Other formats often found under the name of an image: (position, bytes, description).
_FOREIGN = (
    (0, b"GIF8", "a GIF, convert it to PNG"),
    (4, b"ftyp", "a HEIC or AVIF image or a video, convert it to JPEG or PNG"),
    (128, b"DICM", "a DICOM file"),
    (0, b"%PDF", "a PDF document"),
    (0, b"version https://git-lfs", "a Git LFS pointer, fetch the file itself with `git lfs pull`"),
    (0, b"<", "HTML, SVG or XML text"),
)


class Header(NamedTuple):
    """Header of an image file.

    width, height: pixels as stored, before any rotation.
    orientation: EXIF orientation, 1 to 8, that is left to apply after decoding.
    whole: False where the file ends before its picture does.
    sound: False where the checksums of a PNG do not fit its contents.
    alpha_flag: position of the byte by which a TIFF says that its colours are not multiplied by alpha.
    frames: number of frames of an animation, or of pages.
    is_still: False where an animated PNG has a picture that is not a frame.
    colours: TIFF's number of the colours: 0 white is zero, 1 grey, 2 RGB, 3 palette, 5 CMYK, 6 YCbCr, 8 CIELAB.
    colours_flag: position of the byte that holds this number.
    bits: of a channel of a PNG or TIFF.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    whole: bool = True
    alpha_flag: int | None = None
    sound: bool = True
    frames: int = 1
    is_still: bool = True
    colours: int = 2
    colours_flag: int = 0
    bits: int = 8


def read_header(data: bytes) -> Header | None:
    """Return the header of a JPEG, PNG, WebP, BMP or TIFF file; None if it is damaged or cut short.

    Raises:
        ValueError: another format, with what the bytes look like; a JPEG of more than 100 scans.
    """
    try:
        if data[:3] == b"\xff\xd8\xff":
            return _jpeg(data)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return _png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        if data[:2] == b"BM":
            return _bmp(data)
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _tiff(data)
    except (struct.error, KeyError):
        return None
    looks = [what for position, sign, what in _FOREIGN if data[position:].startswith(sign)]
    raise ValueError(f"it looks like {looks[0]}" if looks else "its first bytes match none of these formats")


def _jpeg(data: bytes) -> Header | None:
    width = height = position = scans = 0
    orientation = 1
    while (marker := _JPEG_MARKER.search(data, position)) and marker[1][0] != _JPEG_END:
        position = marker.end()
        if marker[1][0] in (0xD8, 0x01):  # start of image, private: the only other markers without a length
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if marker[1][0] in _JPEG_FRAMES and not width:
            height, width = struct.unpack_from(">HH", data, position + 3)
        elif marker[1][0] == _JPEG_SCAN:
            scans += 1
            if scans > _MAX_SCANS:
                raise ValueError(f"it is a JPEG of more than {_MAX_SCANS} scans, made to take a decoder for ever")
        elif marker[1][0] == _JPEG_APP1 and data.startswith(b"Exif\0\0", position + 2):
            orientation = _exif_orientation(data[position + 8 : position + length])
        position += length
    if not marker and not width:
        return None
    return Header("JPEG", width, height, orientation, whole=marker is not None)


def _png(data: bytes) -> Header | None:
    first, width, height = struct.unpack_from(">4sII", data, 12)
    if first != b"IHDR":
        return None
    position, orientation, kind, sound = 8, 1, b"", True
    frames, is_animated, is_still = 0, False, True
    while position + 12 <= len(data) and kind != b"IEND":  # a chunk: length, kind, content, checksum
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"eXIf":
            orientation = _exif_orientation(data[position + 8 : position + 8 + length])
        elif kind in (b"acTL", b"fcTL"):
            is_animated, frames = True, frames + (kind == b"fcTL")
        elif kind in _PNG_PICTURE and position + 12 + length <= len(data):
            (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
            sound = sound and zlib.crc32(memoryview(data)[position + 4 : position + 8 + length]) == checksum
            is_still = is_still and (kind != b"IDAT" or not is_animated or frames > 0)
        position += 12 + length
    whole = kind == b"IEND" and position <= len(data)
    is_still = is_still or frames == 0  # an animation without frames is none
    return Header(
        "PNG",
        width,
        height,
        orientation,
        whole=whole,
        sound=sound,
        frames=max(1, frames),
        is_still=is_still,
        bits=data[24],
    )


def without_animation(data: bytes) -> bytes:
    """Return a PNG file with its picture alone; decoders that know animations return a frame instead."""
    kept, position = [data[:8]], 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind not in (b"acTL", b"fcTL", b"fdAT"):
            kept.append(data[position : position + 12 + length])
        position += 12 + length
    return b"".join(kept)


def _webp(data: bytes) -> Header:
    (size,) = struct.unpack_from("<I", data, 4)
    position, orientation, frames = 12, 1, 0
    if data[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(side, "little") for side in struct.unpack_from("3s3s", data, 24))
    elif data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            exif = data[position + 8 : position + 8 + length]
            orientation = _exif_orientation(exif.removeprefix(b"Exif\0\0"))
        frames += kind == b"ANMF"
        position += 8 + length + length % 2
    return Header("WebP", width, height, orientation, whole=len(data) >= 8 + size, frames=max(1, frames))


def _bmp(data: bytes) -> Header:
    pixels, header_size = struct.unpack_from("<II", data, 10)
    if header_size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    stride = (abs(width) * bits + 31) // 32 * 4
    run_length = compression in (1, 2)  # rows of no fixed length; the decoder notices a missing one
    whole = run_length or len(data) >= pixels + stride * abs(height)
    return Header("BMP", abs(width), abs(height), whole=whole)


def _tiff(data: bytes) -> Header:
    wanted = {_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, _TIFF_COLOURS, _TIFF_EXTRA_SAMPLES}
    tags = _tiff_tags(data, wanted.union(*_TIFF_PARTS))

    def numbers(tag: int) -> tuple[int, ...]:
        return tags[tag].values if tag in tags else ()

    whole = all(
        start + length <= len(data)
        for starts, lengths in _TIFF_PARTS
        for start, length in zip(numbers(starts), numbers(lengths), strict=False)
    )
    alpha_flag = None
    if numbers(_TIFF_EXTRA_SAMPLES)[:1] == (2,):  # two bytes, low byte first where the file begins with "II"
        alpha_flag = tags[_TIFF_EXTRA_SAMPLES].position + (data[:2] == b"MM")
    # The orientation stays 1: libtiff applies a TIFF's own, whatever it is asked.
    width, height = tags[_TIFF_WIDTH].values[0], tags[_TIFF_HEIGHT].values[0]
    colours = tags.get(_TIFF_COLOURS, _Tag(0, (2,)))
    return Header(
        "TIFF",
        width,
        height,
        whole=whole,
        alpha_flag=alpha_flag,
        frames=_tiff_pages(data),
        colours=colours.values[0],
        colours_flag=colours.position + (data[:2] == b"MM"),
        bits=max(numbers(_TIFF_BITS) or (1,)),
    )


def _tiff_pages(data: bytes) -> int:
    """Return the number of directories, up to one that is damaged or seen before."""
    order = "<" if data[:2] == b"II" else ">"
    seen: set[int] = set()
    with contextlib.suppress(struct.error):
        (directory,) = struct.unpack_from(order + "I", data, 4)
        while directory and directory not in seen and len(seen) < _MAX_PAGES:
            (count,) = struct.unpack_from(order + "H", data, directory)
            seen.add(directory)
            (directory,) = struct.unpack_from(order + "I", data, directory + 2 + 12 * count)
    return max(1, len(seen))


class _Tag(NamedTuple):
    position: int
    values: tuple[int, ...]


def _tiff_tags(data: bytes, wanted: set[int]) -> dict[int, _Tag]:
    """Return the tags in the first directory of a TIFF file, or of EXIF data, which have the same form.

    The first of repeated tags counts, as in libtiff: else a file could show this reader a small picture and the decoder
    a large one, or have one long array read as often as it has entries.
    """
    order = "<" if data[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, directory)
    tags: dict[int, _Tag] = {}
    left = set(wanted)
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind, length = struct.unpack_from(order + "HHI", data, entry)
        if tag not in left:
            continue
        left.remove(tag)
        if kind not in _TIFF_WORDS or not length:
            continue
        words = f"{order}{length}{_TIFF_WORDS[kind]}"
        inside = struct.calcsize(words) <= 4
        position = entry + 8 if inside else struct.unpack_from(order + "I", data, entry + 8)[0]
        tags[tag] = _Tag(position, struct.unpack_from(words, data, position))
    return tags


def _exif_orientation(exif: bytes) -> int:
    """Return 1 to 8; damaged EXIF data count as missing, since the picture is still good."""
    try:
        orientation = _tiff_tags(exif, {_TIFF_ORIENTATION})[_TIFF_ORIENTATION].values[0]
    except (struct.error, KeyError):
        return 1
    return orientation if 1 <= orientation <= 8 else 1
