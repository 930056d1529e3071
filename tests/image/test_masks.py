"""Masks of pixels: colours, indexed PNG files, regions read from files, outlines."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tf_gradcam.image.masks import (
    RegionFiles,
    class_colors,
    colored,
    encoded_mask,
    nearest,
    outlined,
    read_classes,
    read_region,
)

INSIDE = np.zeros((6, 10), bool)
INSIDE[1:4, 2:7] = True


def write(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values.astype(np.uint8)).save(path)
    return path


def test_colours_are_those_of_pascal_voc() -> None:
    """Published with the development kit of VOC: background, aeroplane, bicycle, bird, ..., void."""
    expected = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    colors = class_colors()
    assert {index: tuple(map(int, colors[index])) for index in expected} == expected
    assert tuple(map(int, colors[255])) == (224, 224, 192)
    assert len({tuple(color) for color in colors.tolist()}) == 256


def test_mask_file_holds_indices_and_shows_colours(tmp_path: Path) -> None:
    values = np.arange(60).reshape(6, 10)
    path = tmp_path / "mask.png"
    path.write_bytes(encoded_mask(values))
    picture = Image.open(path)
    assert picture.mode == "P"
    np.testing.assert_array_equal(np.asarray(picture), values)
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), colored(values))


def test_mask_file_of_more_than_256_classes_is_grey_of_16_bits(tmp_path: Path) -> None:
    values = np.arange(60).reshape(6, 10) * 1000
    path = tmp_path / "mask.png"
    path.write_bytes(encoded_mask(values))
    np.testing.assert_array_equal(np.asarray(Image.open(path)), values)
    assert colored(values).shape == (6, 10, 3)


@pytest.mark.parametrize(("size", "rows", "columns"), [((3, 5), [1, 3, 5], [1, 3, 5, 7, 9]), ((2, 2), [1, 4], [2, 7])])
def test_nearest_takes_the_value_at_the_centre(size: tuple[int, int], rows: list[int], columns: list[int]) -> None:
    values = np.arange(60).reshape(6, 10)
    np.testing.assert_array_equal(nearest(values, size), values[np.ix_(rows, columns)])


def test_nearest_repeats_cells_where_it_enlarges() -> None:
    values = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(nearest(values, (4, 9)), values.repeat(2, 0).repeat(3, 1))


@pytest.mark.parametrize("white", [1, 255])
def test_region_of_a_file_is_what_is_not_black(tmp_path: Path, white: int) -> None:
    np.testing.assert_array_equal(read_region(write(tmp_path / "a.png", INSIDE * white)), INSIDE)


def test_predicted_mask_is_a_region_again(tmp_path: Path) -> None:
    (tmp_path / "a.mask.png").write_bytes(encoded_mask(INSIDE * 3))
    np.testing.assert_array_equal(read_region(tmp_path / "a.mask.png"), INSIDE)


def test_region_without_a_pixel_or_with_blurred_edges_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a pixel that is not black, received .*empty.png' without one"):
        read_region(write(tmp_path / "empty.png", np.zeros((6, 10))))
    Image.fromarray((INSIDE * 255).astype(np.uint8)).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"received the JPEG .* Save it as PNG") as refused:
        read_region(tmp_path / "a.jpg")
    assert "a.jpg" in str(refused.value)
    read_region(write(tmp_path / "a.png", INSIDE))  # as the message says


def test_one_file_is_the_mask_of_every_image_of_its_size(tmp_path: Path) -> None:
    masks = RegionFiles(write(tmp_path / "mask.png", INSIDE), [])
    np.testing.assert_array_equal(masks.of_image(tmp_path / "x.jpg", (6, 10)), INSIDE)
    message = "the picture's size, 12 wide and 8 high, received .*mask.png', 10 wide and 6 high"
    with pytest.raises(ValueError, match=message):
        masks.of_image(tmp_path / "y.jpg", (8, 12))
    with pytest.raises(ValueError, match="10 wide and 6 high"):
        masks.of_image(tmp_path / "turned.jpg", (10, 6))


def test_folder_has_a_mask_for_each_image_by_its_stem_or_its_folder_and_stem(tmp_path: Path) -> None:
    (tmp_path / "masks" / "second").mkdir(parents=True)
    write(tmp_path / "masks" / "a.png", INSIDE)
    write(tmp_path / "masks" / "second" / "a.png", ~INSIDE)
    first, second, third = Path("first/a.jpg"), Path("second/a.jpg"), Path("first/b.jpg")
    masks = RegionFiles(tmp_path / "masks", [first, second, third])
    np.testing.assert_array_equal(masks.of_image(first, (6, 10)), INSIDE)
    np.testing.assert_array_equal(masks.of_image(second, (6, 10)), ~INSIDE)
    with pytest.raises(FileNotFoundError, match=r"has no mask 'b.png' of this image. Add it"):
        masks.of_image(third, (6, 10))
    write(tmp_path / "masks" / "b.png", INSIDE)
    masks.of_image(third, (6, 10))
    with pytest.raises(ValueError, match=r"to hold masks of some of the 1 images, .* such as 'c.png'; it holds none"):
        RegionFiles(tmp_path / "masks", [Path("c.jpg")])
    with pytest.raises(FileNotFoundError, match="No image file"):
        RegionFiles(tmp_path / "absent.png", [])


def test_outline_lies_on_both_sides_of_the_edge() -> None:
    """Of rows 1 to 4 and columns 2 to 7, the inner ones are rows 2, 3 and columns 3 to 6."""
    photo = np.full((7, 10, 3), 100, np.uint8)
    inside, inner, around = (np.zeros((7, 10), bool) for _ in range(3))
    inside[1:5, 2:8], inner[2:4, 3:7], around[0:6, 1:9] = True, True, True
    drawn = outlined(photo, inside)
    light, dark = (drawn == 255).all(-1), (drawn == 0).all(-1)
    np.testing.assert_array_equal(light, inside & ~inner)
    np.testing.assert_array_equal(dark, around & ~inside)
    assert (drawn[inner] == 100).all()
    assert (photo == 100).all()


def test_outline_of_everything_is_no_line_and_of_one_cell_can_be_seen() -> None:
    photo = np.full((60, 100, 3), 100, np.uint8)
    np.testing.assert_array_equal(outlined(photo, np.ones((6, 10), bool)), photo)
    point = np.zeros((60, 100), bool)
    point[30, 50] = True
    assert (outlined(photo, point) == 255).all(-1).sum() >= 4


# Classes.


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("has_palette", [True, False])
def test_classes_are_the_indices_of_a_file_of_any_depth(tmp_path: Path, bits: int, has_palette: bool) -> None:
    """Written by hand: one line of the 2**bits lowest indices, of 1, 2 or 4 bits packed into bytes."""
    indices = np.arange(min(2**bits, 16))
    packed = np.packbits((indices[:, None] >> np.arange(bits)[::-1]) & 1)
    header = struct.pack(">IIBBBBB", len(indices), 1, bits, 3 if has_palette else 0, 0, 0, 0)
    palette = np.random.default_rng(0).integers(0, 256, 3 * 2**bits, np.uint8).tobytes()
    chunks = [(b"IHDR", header), *([(b"PLTE", palette), (b"tRNS", b"\0")] if has_palette else [])]
    chunks += [(b"IDAT", zlib.compress(b"\0" + packed.tobytes())), (b"IEND", b"")]
    path = tmp_path / "mask.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    )
    np.testing.assert_array_equal(read_classes(path), indices[None])


def test_written_mask_is_read_as_its_classes(tmp_path: Path) -> None:
    for name, values in (("few", np.arange(60).reshape(6, 10)), ("many", np.arange(60).reshape(6, 10) * 1000)):
        (tmp_path / name).write_bytes(encoded_mask(values))
        np.testing.assert_array_equal(read_classes(tmp_path / name), values)


def test_classes_of_colours_or_blurred_edges_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (6, 10, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"class indices, grey or with a palette, received the colours of .*a.png"):
        read_classes(tmp_path / "a.png")
    Image.fromarray(INSIDE.astype(np.uint8)).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"received the JPEG .*a.jpg', which blurs edges. Save it as PNG"):
        read_classes(tmp_path / "a.jpg")
    grey = np.repeat(INSIDE[..., None].astype(np.uint8), 3, axis=2)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_classes(tmp_path / "grey.png"), INSIDE)
