"""The image reader against files that nobody meant well: mutated, cut, lying about their size, endless.

Whatever the bytes are, `load_image` gives a photo or one error in words, in bounded memory and time. `pytest -m soak`
runs 100 000 mutations in place of some hundreds.

Also tests image/headers.py.
"""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.pictures import encoded, smooth_photo, write
from tests.helpers.slow import every
from tf_gradcam.audit.annotations import MaskFolder
from tf_gradcam.image.headers import read_header
from tf_gradcam.image.io import MAX_PIXELS, load_image, read_picture

ROOT = Path(__file__).parents[2]
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")
MUTATIONS = 60  # of each format in the suite
MOST_SECONDS = 5.0  # for one file; a photo of a few pixels takes a millisecond, the machine may be busy
MOST_MEGABYTES = 1500  # on top of the process: half a gigabyte of RGB pixels, and what a decoder holds beside them


def animation(file_format: str) -> bytes:
    """Two frames, or two pages."""
    stream = io.BytesIO()
    first, second = Image.fromarray(smooth_photo(24, 40)), Image.fromarray(smooth_photo(24, 40)[::-1].copy())
    first.save(stream, file_format, save_all=True, append_images=[second])
    return stream.getvalue()


def whole_files(file_format: str) -> list[bytes]:
    """Good files of every kind that a format has."""
    photo = smooth_photo(24, 40)
    turned = Image.Exif()
    turned[274] = 6
    palette = Image.fromarray(photo).quantize(16)
    deep = photo[..., 0].astype(np.uint16) * 257
    kinds: dict[str, list[bytes]] = {
        "PNG": [
            encoded(photo, "PNG"),
            encoded(photo, "PNG", exif=turned),
            encoded(palette, "PNG"),
            encoded(deep, "PNG"),
            animation("PNG"),
        ],
        "JPEG": [
            encoded(photo, "JPEG"),
            encoded(photo, "JPEG", progressive=True, exif=turned),
            encoded(Image.fromarray(photo).convert("CMYK"), "JPEG"),
        ],
        "TIFF": [
            encoded(photo, "TIFF"),
            *(encoded(photo, "TIFF", compression=f"tiff_{kind}") for kind in ("lzw", "jpeg", "adobe_deflate")),
            animation("TIFF"),
        ],
        "WEBP": [
            encoded(photo, "WEBP"),
            encoded(photo, "WEBP", lossless=True),
            encoded(photo, "WEBP", exif=turned),
            animation("WEBP"),
        ],
        "BMP": [encoded(photo, "BMP"), encoded(palette, "BMP")],
    }
    return kinds[file_format]


_EDGES = (0, 1, 2, 4, 7, 8, 16, 0x7F, 0x80, 0xFE, 0xFF)


def mutated(data: bytes, moments: random.Random) -> bytes:
    """A few bytes changed, dropped or repeated, mostly where the headers are: at the beginning, in TIFF at the end."""
    changed = bytearray(data)
    for _ in range(moments.choice([1, 1, 1, 2, 3, 8])):
        reach = min(len(changed), moments.choice([64, 64, len(changed)]))
        if reach < 20:
            break
        place = moments.randrange(reach)
        if moments.random() < 0.2:
            place = len(changed) - 1 - moments.randrange(min(len(changed), 220))
        kind = moments.randrange(6)
        if kind == 0:
            changed[place] = moments.randrange(256)
        elif kind == 1:
            changed[place] ^= 1 << moments.randrange(8)
        elif kind == 2:
            for number in range(place, min(len(changed), place + moments.choice([2, 4, 8]))):
                changed[number] = moments.choice(_EDGES)
        elif kind == 3:
            del changed[place : place + moments.randrange(1, 16)]
        elif kind == 4:
            changed[place:place] = moments.randbytes(moments.randrange(1, 16))
        else:
            begin = moments.randrange(len(changed))
            changed[place:place] = changed[begin : begin + moments.randrange(64)]
    return bytes(changed)


def fuzz(file_format: str, count: int, folder: Path, seed: int) -> dict[str, int]:
    """How many mutations were read and how many refused; anything else is a failure that names its seed."""
    moments, wholes = random.Random(f"{file_format} {seed}"), whole_files(file_format)
    path, told = folder / "picture", {"read": 0, "refused": 0}
    for number in range(count):
        path.write_bytes(mutated(moments.choice(wholes), moments))
        begun = time.perf_counter()
        try:
            photo = read_picture(path).photo
        except ValueError as error:
            told["refused"] += 1
            if "picture" not in str(error):
                pytest.fail(f"seed {seed}, number {number}: {error}")
        else:
            assert photo.dtype == np.uint8, f"seed {seed}, number {number}"
            assert photo.ndim == 3, f"seed {seed}, number {number}"
            assert photo.shape[2] == 3, f"seed {seed}, number {number}"
            assert 0 < photo.size <= 3 * MAX_PIXELS, f"seed {seed}, number {number}"
            told["read"] += 1
        assert time.perf_counter() - begun < MOST_SECONDS, f"seed {seed}, number {number}"
    return told


@pytest.mark.parametrize("file_format", FORMATS)
def test_mutated_file_is_a_photo_or_an_error_in_words(tmp_path: Path, file_format: str) -> None:
    told = fuzz(file_format, MUTATIONS, tmp_path, seed=0)
    assert told["refused"] > MUTATIONS // 10  # else the mutations miss what is read


@pytest.mark.soak
@pytest.mark.parametrize("file_format", FORMATS)
def test_twenty_thousand_mutated_files_of_a_format(tmp_path: Path, file_format: str) -> None:
    before = peak_megabytes()
    fuzz(file_format, 20_000, tmp_path, seed=1)
    assert peak_megabytes() - before < MOST_MEGABYTES


def peak_megabytes() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def tiff(entries: list[tuple[int, int, int, int]], behind: bytes = b"") -> bytes:
    """A TIFF file of one directory, (tag, kind, count, value) each, and what lies behind it."""
    lines = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<4sIH", b"II*\0", 8, len(entries)) + lines + bytes(4) + behind


def tiff_of(width: int, height: int, *others: tuple[int, int, int, int], data: bytes = b"") -> bytes:
    """One strip of grey pixels, packed by Deflate."""
    rest = [*others, (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    entries = [(256, 4, 1, width), (257, 4, 1, height), *rest]
    start = 8 + 2 + 12 * (len(entries) + 3) + 4
    return tiff([*entries, (273, 4, 1, start), (278, 4, 1, height), (279, 4, 1, len(data))], data)


def lying_tiff() -> bytes:
    """A directory that has the size twice: libtiff takes the first, 17 000 x 17 000."""
    data = zlib.compress(bytes(17_000 * 17_000), 9)
    start = 8 + 2 + 12 * 11 + 4
    entries = [(256, 4, 1, 17_000), (256, 4, 1, 10), (257, 4, 1, 17_000), (257, 4, 1, 6), (258, 3, 1, 8)]
    entries += [(259, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, start), (277, 3, 1, 1), (278, 4, 1, 17_000)]
    return tiff([*entries, (279, 4, 1, len(data))], data)


def endless_tiff() -> bytes:
    """10 000 entries of one tag, each an array of the whole file."""
    size = 4_000_000
    return tiff([(256, 4, 1, 10), (257, 4, 1, 6)] + [(273, 4, size // 4 - 100_000, 8)] * 10_000, bytes(size))


def endless_exif() -> bytes:
    """50 segments with 4 000 orientations, each an array of the whole segment."""
    exif = b"Exif\0\0" + tiff([(274, 3, 14_000, 8)] * 4_000, bytes(10_000))
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    photo = encoded(smooth_photo(), "JPEG")
    return photo[:2] + segment * 50 + photo[2:]


def endless_jpeg() -> bytes:
    """A progressive picture whose last scan is there 2 000 times."""
    photo = encoded(np.full((3000, 3000, 3), 120, np.uint8), "JPEG", progressive=True)
    scan = photo[photo.rindex(b"\xff\xda") : -2]
    return photo[:-2] + scan * 2000 + b"\xff\xd9"


def swollen_png() -> bytes:
    """A gigabyte of zeros, packed, as colour profile and as text."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(1024)) + packer.flush()
    photo = encoded(smooth_photo(), "PNG")
    return photo[:33] + png_chunk(b"iCCP", b"x\0\0" + packed) + png_chunk(b"zTXt", b"y\0\0" + packed) + photo[33:]


def flat_png(frames: int = 1) -> bytes:
    """As many pixels as are allowed, in some kilobytes; or several such frames."""
    stream = io.BytesIO()
    pages = [Image.new("L", (13_000, 13_000), number) for number in range(frames)]
    pages[0].save(stream, "PNG", **({"save_all": True, "append_images": pages[1:]} if frames > 1 else {}))
    return stream.getvalue()


def small_canvas_webp() -> bytes:
    """A canvas of 10 x 6 that says so, around a picture of 16 383 x 16 383 that says so."""
    bits = (16_383 - 1) | (16_383 - 1) << 14
    inner = b"VP8L" + struct.pack("<IBI", 5, 0x2F, bits) + b"\0"
    outer = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (9).to_bytes(3, "little") + (5).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 4 + len(outer) + len(inner)) + b"WEBP" + outer + inner


# What is made, and the words of its refusal; None where it is a good picture for all that.
BOMBS: dict[str, tuple[Callable[[], bytes], str | None]] = {
    "tiff that has its size twice": (lying_tiff, "at most 178956970 pixels"),
    "tiff with one tag again and again": (endless_tiff, "cannot decode|damaged|truncated"),
    "tiff with a tile of half a gigapixel": (
        lambda: tiff_of(10, 6, (258, 3, 1, 8), (322, 4, 1, 2**15), (323, 4, 1, 2**14), data=zlib.compress(bytes(60))),
        "cannot decode|damaged",
    ),
    "tiff of 64-bit numbers": (
        lambda: tiff_of(13_000, 13_000, (258, 3, 1, 64), (339, 3, 1, 3), data=zlib.compress(bytes(10**8), 9)),
        "cannot decode|8 or 16 bits",
    ),
    "tiff whose size is no integer": (
        lambda: tiff([(256, 5, 1, 8), (256, 4, 1, 10), (257, 4, 1, 6)], bytes(100)),
        "header .* is damaged",
    ),
    "jpeg whose orientation is there again and again": (endless_exif, None),
    "jpeg of 2000 scans": (endless_jpeg, "more than 100 scans"),
    "png with a gigabyte as colour profile": (swollen_png, None),
    "png of 169 million equal pixels": (flat_png, None),
    "png of four such frames": (lambda: flat_png(4), None),
    "webp larger than its canvas": (small_canvas_webp, "cannot decode|at most|truncated|damaged"),
}
QUICK = [name for name in BOMBS if "169 million" not in name and "frames" not in name]

_OF_ITS_OWN = """
import resource, sys
from tf_gradcam.image.io import load_image
from tf_gradcam.image.opencv import opencv
opencv()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
try:
    print("read", load_image(sys.argv[1]).shape)
except ValueError as error:
    print("refused", error)
print(peak() - before)
"""


def told_of(data: bytes, folder: Path) -> tuple[str, int]:
    """What a process of its own says of a file, and by how many megabytes it grew."""
    path = write(folder, data)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _OF_ITS_OWN, str(path)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]
    words, megabytes = done.stdout.strip().rsplit("\n", 1)
    return words, int(megabytes)


def check_bomb(name: str, folder: Path) -> None:
    make, refusal = BOMBS[name]
    data = make()
    begun = time.perf_counter()
    words, megabytes = told_of(data, folder)
    assert time.perf_counter() - begun < 30
    assert megabytes < MOST_MEGABYTES
    if refusal is None:
        assert words.startswith("read"), words
    else:
        import re

        assert words.startswith("refused"), words
        assert re.search(refusal, words), words


@pytest.mark.skipif(os.name == "nt", reason="the peak of a process's memory is asked of POSIX")
@pytest.mark.parametrize("name", every(3, QUICK))
def test_bomb_takes_neither_memory_nor_time(tmp_path: Path, name: str) -> None:
    check_bomb(name, tmp_path)


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # of Pillow, which makes them
@pytest.mark.parametrize("name", [name for name in BOMBS if name not in QUICK])
def test_largest_picture_takes_the_memory_of_its_pixels(tmp_path: Path, name: str) -> None:
    check_bomb(name, tmp_path)


def test_first_of_two_tags_counts_as_in_the_decoder() -> None:
    header = read_header(tiff([(256, 4, 1, 70), (256, 4, 1, 10), (257, 3, 1, 50), (257, 3, 1, 6)]))
    assert header is not None
    assert (header.width, header.height) == (70, 50)


def test_scans_of_usual_pictures_are_few() -> None:
    for progressive in (False, True):
        data = encoded(smooth_photo(), "JPEG", progressive=progressive)
        assert data.count(b"\xff\xda") <= 12
        assert read_header(data) is not None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name are those of POSIX")
def test_pipe_and_device_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero")):
        with pytest.raises(OSError, match=rf"but '{path}' is a (pipe|device). Copy its content to a file"):
            load_image(path)


def test_file_larger_than_any_picture_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with open(path, "wb") as file:
        file.truncate(2**40)  # holes: it takes no room on the disk
    with pytest.raises(OSError, match=r"image file of at most 2147483648 bytes, but '.*huge.png' has 1099511627776"):
        load_image(path)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_loop_of_links_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(OSError, match=r"Cannot read the image file '.*a.png': Too many levels of symbolic links"):
        load_image(tmp_path / "a.png")


def test_mask_is_read_with_the_same_care(tmp_path: Path) -> None:
    write(tmp_path, tiff_of(20_000, 20_000, (258, 3, 1, 8)), "a.png")
    with pytest.raises(ValueError, match=r"mask as a PNG picture, but '.*a.png' cannot be decoded: .*at most"):
        MaskFolder(tmp_path, ["a.jpg"])
