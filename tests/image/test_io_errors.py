"""Everything that can be wrong with an image file, and with the place where one shall be written."""

import contextlib
import os
import shutil
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.pictures import FORMATS, encoded, random_photo, write
from tf_gradcam.image.io import MAX_PIXELS, load_image, save_image


@pytest.mark.parametrize("size", [224, (0, 10), (6.0, 10.0), (6, 10, 3)])
def test_load_refuses_size(tmp_path, size):
    with pytest.raises(ValueError, match=r"size \(height, width\) in pixels as two positive integers"):
        load_image(write(tmp_path, encoded(random_photo(), "PNG")), size)


def test_load_refuses_interpolation(tmp_path):
    with pytest.raises(ValueError, match=r"Unknown interpolation 'nearst'. Did you mean 'nearest'"):
        load_image(write(tmp_path, encoded(random_photo(), "PNG")), (6, 10), "nearst")


def test_load_refuses_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No image file '.*dog.jpg'. Check the path"):
        load_image(tmp_path / "dog.jpg")
    with pytest.raises(FileNotFoundError, match=r"dog.jpg': there is no folder '.*missing'"):
        load_image(tmp_path / "missing" / "dog.jpg")


def test_load_refuses_folder(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"Expected an image file, received the folder"):
        load_image(tmp_path)


def test_load_refuses_empty_file(tmp_path):
    with pytest.raises(ValueError, match=r"picture' is empty \(0 bytes\)"):
        load_image(write(tmp_path, b""))


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        *FORMATS.items(),
        ("JPEG", {"progressive": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": False}),
    ],
)
def test_load_refuses_truncated_file(tmp_path, capfd, file_format, options, kept):
    """No half picture, and nothing on the terminal but the error: the decoder is not even asked."""
    data = encoded(random_photo(48, 80), file_format, **options)
    with pytest.raises(ValueError, match=r"picture' is (truncated|damaged or cut short).*Copy or download it again"):
        load_image(write(tmp_path, data[: int(len(data) * kept)]))
    assert capfd.readouterr() == ("", "")


def test_load_refuses_jpeg_without_end_marker_and_accepts_what_follows_one(tmp_path):
    data = encoded(random_photo(48, 80), "JPEG")
    assert load_image(write(tmp_path, data + b"trailer of a camera")).shape == (48, 80, 3)
    with pytest.raises(ValueError, match=r"JPEG file .* is truncated"):
        load_image(write(tmp_path, data[:-2]))


def test_load_is_not_deceived_by_the_end_marker_of_a_thumbnail(tmp_path):
    thumbnail = encoded(random_photo(), "JPEG")
    data = encoded(random_photo(48, 80), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0" + thumbnail)
    assert load_image(write(tmp_path, data)).shape == (48, 80, 3)
    with pytest.raises(ValueError, match=r"JPEG file .* is truncated"):
        load_image(write(tmp_path, data[:-2]))


def test_load_refuses_damaged_file(tmp_path, capfd):
    data = bytearray(encoded(random_photo(48, 80), "PNG"))
    data[len(data) // 2] ^= 0x10
    with pytest.raises(ValueError, match=r"PNG file .*picture' is damaged: its checksums do not fit. Copy or download"):
        load_image(write(tmp_path, bytes(data)))
    assert capfd.readouterr() == ("", "")


def test_load_refuses_what_the_decoder_cannot_read(tmp_path):
    data = encoded(random_photo(48, 80), "WEBP", lossless=True)
    start = data.index(b"VP8L") + 13
    with pytest.raises(ValueError, match=r"cannot decode the WebP file .*it is damaged.*Convert it to PNG"):
        load_image(write(tmp_path, data[:start] + bytes(200) + data[start + 200 :]))


@pytest.mark.parametrize(
    ("start", "looks"),
    [
        (b"GIF89a", "a GIF"),
        (b"\0\0\0\x18ftypheic", "a HEIC or AVIF"),
        (b"\0" * 128 + b"DICM", "a DICOM file"),
        (b"<!DOCTYPE html>", "HTML, SVG or XML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"%PDF-1.7", "a PDF document"),
        (b"hello", "none of these formats"),
    ],
)
def test_load_refuses_what_is_no_image(tmp_path, start, looks):
    with pytest.raises(ValueError, match=rf"Expected a JPEG, PNG, WebP, BMP or TIFF image, but '.*picture' .*{looks}"):
        load_image(write(tmp_path, start + bytes(100)))


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def absurd_headers():
    """Valid beginnings of files that claim 100 000 x 100 000 pixels, or what the format has for the most."""
    side = 100_000
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    yield "PNG", b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    yield "BMP", struct.pack("<2sIIIIiiHHI", b"BM", 100, 0, 54, 40, side, -side, 1, 24, 0).ljust(100, b"\0")
    jpeg = bytearray(encoded(random_photo(), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    struct.pack_into(">HH", jpeg, frame + 5, 65_000, 65_000)
    yield "JPEG", bytes(jpeg)
    yield "WEBP", b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + b"\0" * 4 + 2 * (side - 1).to_bytes(3, "little")
    yield "TIFF", struct.pack("<4sIHHHIIHHII", b"II*\0", 8, 2, 256, 4, 1, side, 257, 4, 1, side)


@pytest.mark.parametrize("file_format", FORMATS)
def test_load_refuses_absurd_size_before_decoding(tmp_path, capfd, file_format):
    with pytest.raises(ValueError, match=rf"at most {MAX_PIXELS} pixels, but '.*picture' says that it has \d+ x \d+"):
        load_image(write(tmp_path, dict(absurd_headers())[file_format]))
    assert capfd.readouterr() == ("", "")


def test_load_refuses_picture_without_pixels(tmp_path):
    bitmap = struct.pack("<2sIIIIiiHHI", b"BM", 54, 0, 54, 40, 0, 10, 1, 24, 0).ljust(54, b"\0")
    with pytest.raises(ValueError, match=r"header of the image file .* is damaged or cut short"):
        load_image(write(tmp_path, bitmap))


@pytest.fixture
def unprivileged():
    """A folder outside of the superuser's, for a process that is none while the test runs."""
    if not hasattr(os, "geteuid"):
        pytest.skip("file permissions are those of POSIX")
    folder = Path(tempfile.mkdtemp())
    user = os.geteuid()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        if user == 0:
            folder.chmod(0o755)
            stack.callback(os.seteuid, 0)
        yield folder, lambda: os.seteuid(65534) if user == 0 else None
    assert os.geteuid() == user


def test_load_refuses_file_without_permission(unprivileged):
    folder, drop_rights = unprivileged
    path = folder / "secret.png"
    path.write_bytes(encoded(random_photo(), "PNG"))
    path.chmod(0)
    drop_rights()
    with pytest.raises(PermissionError, match=r"No permission to read '.*secret.png'"):
        load_image(path)


def test_save_refuses_folder_without_permission(unprivileged):
    folder, drop_rights = unprivileged
    folder.chmod(0o555)
    drop_rights()
    with pytest.raises(PermissionError, match=r"Cannot write 'map.png': no permission in the folder .*Choose another"):
        save_image(folder / "map.png", random_photo())
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name", ["map.gif", "map", "map.npy", ".png"])
def test_save_refuses_suffix(tmp_path, name):
    with pytest.raises(ValueError, match=rf"Expected '{name}' to end in one of \.png, \.jpg"):
        save_image(tmp_path / name, random_photo())


@pytest.mark.parametrize(
    "photo", [np.zeros((6, 10, 3)), np.zeros((6, 10), np.uint8), np.zeros((6, 10, 4), np.uint8), None]
)
def test_save_refuses_what_is_no_photo(tmp_path, photo):
    with pytest.raises(ValueError, match=r"Expected a photo, uint8 \(H, W, 3\), received"):
        save_image(tmp_path / "map.png", photo)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "width"), [("map.webp", 16_384), ("map.jpg", 65_501), ("map.png", 0)])
def test_save_refuses_what_the_format_cannot_hold(tmp_path, name, width):
    with pytest.raises(ValueError, match=rf"Cannot write {width} x 1 pixels as '{name}'"):
        save_image(tmp_path / name, np.zeros((1, width, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_save_refuses_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Cannot write 'map.png': there is no folder '.*missing'. Create it"):
        save_image(tmp_path / "missing" / "map.png", random_photo())
    assert not list(tmp_path.iterdir())


def test_save_refuses_file_as_folder(tmp_path):
    (tmp_path / "maps").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match=r"'.*maps' is a file. Name a folder"):
        save_image(tmp_path / "maps" / "map.png", random_photo())


def test_save_refuses_folder_as_file(tmp_path):
    (tmp_path / "map.png").mkdir()
    with pytest.raises(IsADirectoryError, match=r"received the folder '.*map.png'"):
        save_image(tmp_path / "map.png", random_photo())


def test_save_leaves_old_file_and_nothing_else_when_it_fails(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    (tmp_path / "map.png").write_bytes(b"old")
    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match=r"No space left on device"):
        save_image(tmp_path / "map.png", random_photo())
    assert [path.name for path in tmp_path.iterdir()] == ["map.png"]
    assert (tmp_path / "map.png").read_bytes() == b"old"
