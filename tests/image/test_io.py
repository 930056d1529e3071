"""Image files of every kind, read and written; Pillow is the other side and the referee."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from tests.helpers.pictures import FORMATS, LOSSLESS, encoded, random_photo, smooth_photo, write
from tf_gradcam._errors import ModelWarning
from tf_gradcam.image.headers import Header
from tf_gradcam.image.io import _divisor, load_image, read_picture, resize_by_area, save_image

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


# Pictures of which a part is read, or that are changed to be read: each says so.


def noted(path):
    """The photo and the only note of a picture."""
    picture = read_picture(path)
    with pytest.warns(ModelWarning, match=re.escape(picture.notes[0])):
        np.testing.assert_array_equal(load_image(path), picture.photo)
    (note,) = picture.notes
    return picture.photo, note


@pytest.mark.parametrize("largest", [1, 1023, 4095, 16383])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bits_that_use_a_small_part_are_stretched(tmp_path, largest, file_format):
    values = (np.arange(60).reshape(6, 10) * largest / 59).round().astype(np.uint16)
    photo, note = noted(write(tmp_path, encoded(values, file_format)))
    expected = np.floor(values * (255 / largest) + 0.5)
    np.testing.assert_allclose(photo[..., 0], expected, atol=1)
    assert (photo.min(), photo.max()) == (0, 255)
    assert f"its 16-bit values end at {largest}" in note
    assert "for the model too" in note


@pytest.mark.parametrize("largest", [0, 16384, 65535])
def test_16_bits_of_the_whole_range_or_none_are_not_stretched(tmp_path, largest):
    values = np.array([[0, largest]], np.uint16)
    picture = read_picture(write(tmp_path, encoded(values, "PNG")))
    assert picture.photo[0, 1, 0] == (largest + 128) // 257
    assert picture.notes == []


def frames(count=3):
    return [Image.fromarray(np.full((6, 10, 3), 40 * number, np.uint8)) for number in range(1, 1 + count)]


@pytest.mark.parametrize(("file_format", "word"), [("PNG", "frames"), ("WEBP", "frames"), ("TIFF", "pages")])
def test_first_frame_is_read_and_said(tmp_path, file_format, word):
    first, *others = frames()
    options = LOSSLESS.get(file_format, {})
    photo, note = noted(write(tmp_path, encoded(first, file_format, save_all=True, append_images=others, **options)))
    np.testing.assert_array_equal(photo, np.asarray(first))
    assert note == f"the first of its 3 {word} is used"


def test_still_picture_of_an_animation_is_read_as_pillow_does(tmp_path):
    """The default image of an animated PNG that is not a frame: what programs without animations show."""
    still, *others = frames()
    path = write(tmp_path, encoded(still, "PNG", save_all=True, append_images=others, default_image=True))
    photo, note = noted(path)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(photo, np.asarray(opened.convert("RGB")))
    assert note == "its still picture is used, not its 2 frames"
    path = write(tmp_path, encoded(still, "PNG", save_all=True, append_images=others[:1], default_image=True))
    photo, note = noted(path)
    np.testing.assert_array_equal(photo, np.asarray(still))
    assert note == "its still picture is used, not its 1 frame"


def test_animation_without_frames_is_a_still_picture(tmp_path):
    """A chunk that announces two billion frames, and none of them."""
    photo = random_photo()
    data = encoded(photo, "PNG")
    chunk = b"acTL" + struct.pack(">II", 2**31, 0)
    chunk = struct.pack(">I", 8) + chunk + struct.pack(">I", zlib.crc32(chunk))
    picture = read_picture(write(tmp_path, data[:33] + chunk + data[33:]))
    np.testing.assert_array_equal(picture.photo, photo)
    assert picture.notes == []


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_cielab_is_read_by_its_colours(tmp_path, compression):
    """LittleCMS converts sRGB to CIELAB, this package back; eight bits of CIELAB are coarse where it is dark."""
    photo = np.zeros((16, 16, 3), np.uint8)
    photo[..., 0], photo[..., 1] = np.mgrid[0:256:16, 0:256:16]
    photo[:, ::3, 2] = 200
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    stored = ImageCms.profileToProfile(Image.fromarray(photo), srgb, lab, outputMode="LAB")
    read = load_image(write(tmp_path, encoded(stored, "TIFF", compression=compression)))
    difference = np.abs(read.astype(int) - photo)
    assert difference.max() < 16
    assert difference.mean() < 1


@pytest.mark.parametrize(
    ("mode", "file_format"), [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("P", "PNG"), ("P", "TIFF"), ("P", "BMP")]
)
def test_other_colours_are_read_as_pillow_reads_them(tmp_path, mode, file_format):
    stored = Image.fromarray(smooth_photo()).convert(mode)
    path = write(tmp_path, encoded(stored, file_format, **({"quality": 98} if file_format == "JPEG" else {})))
    with Image.open(path) as opened:
        np.testing.assert_allclose(load_image(path), np.asarray(opened.convert("RGB")), atol=3)


@pytest.mark.parametrize(("tag", "value"), [(262, 9), (262, 32803), (262, 5)])
def test_colours_that_are_not_read_are_refused(tmp_path, tag, value):
    data = bytearray(encoded(np.full((6, 10), 4000, np.uint16), "TIFF"))
    (directory,) = struct.unpack_from("<I", data, 4)
    for entry in range(directory + 2, len(data) - 12, 12):
        if struct.unpack_from("<H", data, entry)[0] == tag:
            struct.pack_into("<H", data, entry + 8, value)
            break
    with pytest.raises(ValueError, match=rf"interpretation {value}, 16 bits\). Convert it to an RGB PNG"):
        load_image(write(tmp_path, bytes(data)))


# Very large pictures.


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A JPEG of 6400 x 8000 pixels, and its photo at 100 x 125."""
    photo = np.random.default_rng(1).integers(0, 256, (100, 125, 3), np.uint8)
    photo = np.asarray(Image.fromarray(photo).resize((25, 20)).resize((125, 100), Image.Resampling.BICUBIC))
    wide = Image.fromarray(photo).resize((8000, 6400), Image.Resampling.NEAREST)
    return write(tmp_path_factory.mktemp("large"), encoded(wide, "JPEG", quality=85)), photo


def test_large_jpeg_is_decoded_at_a_part_of_its_size(large):
    path, photo = large
    picture = read_picture(path, (100, 125))
    assert picture.photo.shape == (3200, 4000, 3)
    assert (picture.notes, picture.note) == ([], "it is very large and is read at 1/2 of its size")
    whole = load_image(path, (100, 125))
    np.testing.assert_allclose(resize_by_area(picture.photo, (100, 125)), whole, atol=0)
    assert np.abs(whole.astype(int) - photo).mean() < 2


@pytest.mark.slow
def test_part_of_a_large_jpeg_is_near_the_whole(large):
    """Means of blocks of pixels, in place of the pixels that an average by area would take."""
    path, _ = large
    whole = resize_by_area(read_picture(path).photo, (50, 60))
    assert np.abs(resize_by_area(read_picture(path, (50, 60)).photo, (50, 60)).astype(int) - whole).mean() < 1


@pytest.mark.parametrize(
    ("size", "least", "divisor"),
    [
        ((5000, 5000), (224, 224), 1),  # not large
        ((13000, 13000), (224, 224), 4),
        ((13000, 13000), (4000, 4000), 2),
        ((13000, 13000), (7000, 7000), 1),
        ((13000, 13000), None, 1),
        ((100, 1_000_000), (50, 50), 1),  # a part of 50 rows would be off by a cell
    ],
)
def test_part_is_never_below_what_is_needed(size, least, divisor):
    height, width = size
    assert _divisor(Header("JPEG", width, height), least) == divisor


def test_digest_is_that_of_the_file(tmp_path):
    one, same, other = (
        write(tmp_path, encoded(random_photo(width=side), "PNG"), str(n)) for n, side in enumerate((10, 10, 11))
    )
    assert read_picture(one).digest == read_picture(same).digest != read_picture(other).digest
