"""Image files of every kind, read and written; Pillow is the other side and the referee."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.helpers.pictures import FORMATS, LOSSLESS, encoded, random_photo, smooth_photo, write
from tf_gradcam.image.io import load_image, save_image

pytestmark = pytest.mark.core


@pytest.mark.parametrize("file_format", LOSSLESS)
def test_load_reads_rgb_as_written(tmp_path, file_format):
    photo = random_photo()
    loaded = load_image(write(tmp_path, encoded(photo, file_format, **LOSSLESS[file_format])))
    assert loaded.dtype == np.uint8
    assert loaded.flags.c_contiguous
    assert loaded.flags.writeable
    np.testing.assert_array_equal(loaded, photo)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_load_reads_jpeg(tmp_path, options):
    photo = smooth_photo()
    loaded = load_image(write(tmp_path, encoded(photo, "JPEG", quality=95, **options)))
    np.testing.assert_allclose(loaded.astype(int), photo, atol=8)


@pytest.mark.parametrize("file_format", LOSSLESS)
def test_load_drops_alpha_and_keeps_colours(tmp_path, file_format):
    """Also where alpha is 0, and also from TIFF, whose decoder would multiply colours by alpha."""
    rgba = random_photo(channels=4)
    rgba[0, :, 3] = 0
    loaded = load_image(write(tmp_path, encoded(rgba, file_format, **LOSSLESS[file_format])))
    np.testing.assert_array_equal(loaded, rgba[..., :3])


@pytest.mark.parametrize("order", ["<", ">"])
def test_load_drops_alpha_of_tiff_in_either_byte_order(tmp_path, order):
    """A TIFF by hand: eight tags, four samples of eight bits, the fourth an alpha that is not multiplied in."""
    rgba = random_photo(channels=4)
    short = {256: 10, 257: 6, 262: 2, 273: 200, 277: 4, 279: rgba.size, 338: 2}
    entries = {tag: struct.pack(order + "HHIHxx", tag, 3, 1, value) for tag, value in short.items()}
    entries[258] = struct.pack(order + "HHII", 258, 3, 4, 180)
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, len(entries))
    data = (head + b"".join(entries[tag] for tag in sorted(entries))).ljust(180, b"\0")
    data = (data + struct.pack(order + "4H", 8, 8, 8, 8)).ljust(200, b"\0") + rgba.tobytes()
    loaded = load_image(write(tmp_path, data))
    np.testing.assert_array_equal(loaded, rgba[..., :3])


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [
        *[(mode, "PNG") for mode in ("L", "LA", "P", "1")],
        *[(mode, "TIFF") for mode in ("L", "LA", "P", "1", "CMYK")],
        *[(mode, "BMP") for mode in ("L", "P", "1")],
        *[(mode, "JPEG") for mode in ("L", "CMYK")],
    ],
)
def test_load_makes_rgb_of_other_modes(tmp_path, mode, file_format):
    data = encoded(Image.fromarray(smooth_photo()).convert(mode), file_format)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_allclose(load_image(write(tmp_path, data)).astype(int), expected, atol=1)  # CMYK rounds otherwise


def test_load_drops_transparency_of_palette(tmp_path):
    picture = Image.fromarray(random_photo()).quantize(5)
    loaded = load_image(write(tmp_path, encoded(picture, "PNG", transparency=0)))
    np.testing.assert_array_equal(loaded, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_load_scales_16_bits_to_8(tmp_path, file_format):
    """v / 257 to nearest: 128 is still 0 and 129 is 1, and 65535 is 255."""
    values = np.array([[0, 128, 129, 385, 386, 257 * 100, 257 * 100 + 128, 65406, 65407, 65535]], np.uint16)
    loaded = load_image(write(tmp_path, encoded(values, file_format)))
    expected = np.array([0, 0, 1, 1, 2, 100, 100, 254, 255, 255])
    np.testing.assert_array_equal(loaded[0], np.repeat(expected[:, None], 3, axis=1))


@pytest.mark.parametrize("values", [np.full((6, 10), 0.5, np.float32), np.full((6, 10), 70000, np.int32)])
def test_load_refuses_pixels_of_unknown_range(tmp_path, values):
    with pytest.raises(ValueError, match=rf"8 or 16 bits a channel, but .*picture' holds {values.dtype}"):
        load_image(write(tmp_path, encoded(values, "TIFF")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_load_applies_orientation(tmp_path, file_format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(smooth_photo(), file_format, exif=exif, **FORMATS[file_format])
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert expected.shape == ((80, 48, 3) if orientation > 4 else (48, 80, 3))
    np.testing.assert_allclose(load_image(write(tmp_path, data)).astype(int), expected, atol=1)


def test_load_orientation_6_by_hand(tmp_path):
    """Orientation 6: the stored top row is the right column of the picture."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = random_photo()
    loaded = load_image(write(tmp_path, encoded(photo, "PNG", exif=exif)))
    np.testing.assert_array_equal(loaded[:, -1], photo[0])


def test_load_ignores_damaged_exif(tmp_path):
    photo = smooth_photo()
    data = encoded(photo, "JPEG", quality=95, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12")
    assert load_image(write(tmp_path, data)).shape == photo.shape


@pytest.mark.parametrize("name", ["grün 🐕.jpg", "two words.jpg", "no_suffix", "wrong.png", "-o.jpg", "a%20b.jpg"])
def test_load_reads_any_file_name(tmp_path, name):
    assert load_image(write(tmp_path, encoded(smooth_photo(), "JPEG"), name)).shape == (48, 80, 3)


def test_load_takes_path_as_string(tmp_path):
    assert load_image(str(write(tmp_path, encoded(random_photo(), "PNG")))).shape == (6, 10, 3)


@pytest.mark.parametrize("size", [(6, 10), (3, 5), (31, 9), (224, 224), (5, 299), (97, 128), (1, 1), (600, 331)])
@pytest.mark.parametrize("stored", [(6, 10), (48, 80), (331, 500)])
def test_load_nearest_takes_the_pixels_that_pillow_takes(tmp_path, stored, size):
    picture = Image.fromarray(random_photo(*stored))
    loaded = load_image(write(tmp_path, encoded(picture, "PNG")), size, "nearest")
    np.testing.assert_array_equal(loaded, np.asarray(picture.resize(size[::-1], Image.Resampling.NEAREST)))


def test_load_area_averages_blocks(tmp_path):
    """Thirds of 6 x 9: every pixel is the mean of a block of 2 x 3, rounded."""
    photo = random_photo(6, 9)
    expected = np.rint(photo.reshape(3, 2, 3, 3, 3).mean(axis=(1, 3)))
    np.testing.assert_allclose(load_image(write(tmp_path, encoded(photo, "PNG")), (3, 3)).astype(int), expected, atol=1)


def test_load_area_enlarges_bilinearly(tmp_path):
    """Two columns to four by hand: 0 and 200 give 0, 50, 150, 200."""
    photo = np.repeat(np.array([[[0], [200]]], np.uint8), 3, axis=2)
    loaded = load_image(write(tmp_path, encoded(photo, "PNG")), (1, 4))
    np.testing.assert_array_equal(loaded[0, :, 0], [0, 50, 150, 200])


def test_load_area_shrinks_one_side_and_enlarges_the_other(tmp_path):
    """Four rows to two are means (50 and 150), two columns to four are as above on each."""
    photo = np.repeat(np.array([[0, 0], [100, 100], [100, 100], [200, 200]], np.uint8)[..., None], 3, axis=2)
    photo[:, 1] = 0
    loaded = load_image(write(tmp_path, encoded(photo, "PNG")), (2, 4))
    np.testing.assert_allclose(loaded[..., 0], [[50, 37.5, 12.5, 0], [150, 112.5, 37.5, 0]], atol=0.5)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif", ".tiff", ".PNG"])
def test_save_keeps_every_pixel(tmp_path, suffix):
    photo = random_photo()
    save_image(tmp_path / f"grün{suffix}", photo)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"grün{suffix}")), photo)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_save_writes_jpeg(tmp_path, suffix):
    photo = smooth_photo()
    save_image(str(tmp_path / f"map{suffix}"), photo)
    saved = Image.open(tmp_path / f"map{suffix}")
    assert saved.format == "JPEG"
    np.testing.assert_allclose(np.asarray(saved).astype(int), photo, atol=8)


def test_save_replaces_a_file_and_leaves_no_other(tmp_path):
    (tmp_path / "map.png").write_bytes(b"old")
    save_image(tmp_path / "map.png", random_photo())
    assert [path.name for path in tmp_path.iterdir()] == ["map.png"]
    assert load_image(tmp_path / "map.png").shape == (6, 10, 3)


def test_save_honours_the_umask(tmp_path):
    """Not the rights of a temporary file, which nobody else may read."""
    (tmp_path / "plain").write_bytes(b"")
    save_image(tmp_path / "map.png", random_photo())
    assert (tmp_path / "map.png").stat().st_mode == (tmp_path / "plain").stat().st_mode
