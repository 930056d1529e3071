"""Boxes out of CSV files and masks out of folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.data import boxed_photos
from tests.helpers.data import ROOT, needs
from tf_gradcam.audit.annotations import BoxTable, MaskFolder
from tf_gradcam.image.io import save_image
from tf_gradcam.image.opencv import opencv


def table(folder: Path, text: str) -> Path:
    path = folder / "boxes.csv"
    path.write_text(text, encoding="utf-8")
    return path


def photo_file(path: Path, height: int = 6, width: int = 10) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(path, np.zeros((height, width, 3), np.uint8))
    return str(path)


def mask_file(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = opencv().imencode(".png", pixels)
    assert done
    path.write_bytes(data.tobytes())


# Boxes.


def test_box_is_scaled_to_the_size_that_is_asked_for(tmp_path: Path) -> None:
    """20 x 12 pixels: columns 4 to 10 and rows 2 to 8 of them are columns 2 to 5 and rows 1 to 4 of 10 x 6."""
    path = table(tmp_path, "file,xmin,ymin,xmax,ymax,width,height\na.png,4,2,10,8,20,12\n")
    boxes = BoxTable(path, ["there/a.png"])
    np.testing.assert_allclose(boxes.boxes[0], [[0.2, 1 / 6, 0.5, 2 / 3]], rtol=1e-12)
    expected = np.zeros((6, 10))
    expected[1:4, 2:5] = 1
    region = boxes.region(0, (6, 10))
    assert region.dtype == np.float32
    np.testing.assert_allclose(region, expected, atol=1e-6)


def test_size_is_read_from_the_image_where_the_table_has_none(tmp_path: Path) -> None:
    file = photo_file(tmp_path / "a.png")
    boxes = BoxTable(table(tmp_path, "filename,xmin,ymin,xmax,ymax\na.png,0,0,5,6\n"), [file])
    np.testing.assert_allclose(boxes.boxes[0], [[0, 0, 0.5, 1]], rtol=1e-12)


def test_several_lines_are_several_boxes(tmp_path: Path) -> None:
    """Two boxes that share a column: the union counts it once."""
    lines = "file,xmin,ymin,xmax,ymax,width,height\na.png,0,0,2,6,10,6\na.png,1,0,3,6,10,6\n"
    region = BoxTable(table(tmp_path, lines), ["a.png"]).region(0, (6, 10))
    np.testing.assert_allclose(region.sum(), 3 * 6, rtol=1e-6)


def test_line_belongs_to_the_image_whose_path_ends_in_it(tmp_path: Path) -> None:
    """Whole folders are compared, not letters: "cat/1.png" is not the end of "bobcat/1.png"."""
    path = table(tmp_path, "file,xmin,ymin,xmax,ymax,width,height\ncat/1.png,0,0,1,1,2,2\nno.png,0,0,1,1,2,2\n")
    boxes = BoxTable(path, ["x/bobcat/1.png", "x/cat/1.png", "x/cat/2.png"])
    assert boxes.known.tolist() == [False, True, False]
    assert not boxes.region(0, (6, 10)).any()


def test_absolute_and_windows_paths_are_understood(tmp_path: Path) -> None:
    for name in (str(tmp_path / "dog" / "1.png"), "dog\\1.png", "./dog/1.png"):
        path = table(tmp_path, f"file,xmin,ymin,xmax,ymax,width,height\n{name},0,0,1,1,2,2\n")
        assert BoxTable(path, [str(tmp_path / "dog" / "1.png")]).known.all()


def test_name_that_fits_two_images_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "file,xmin,ymin,xmax,ymax,width,height\n1.png,0,0,1,1,2,2\n")
    with pytest.raises(ValueError, match=r"'1.png' in line 2 of .* fits 2 images.* Write the folder before the name"):
        BoxTable(path, ["cat/1.png", "dog/1.png"])


def test_quotes_brackets_and_other_scripts_in_names(tmp_path: Path) -> None:
    name = 'a "b" <c>, 狗.png'
    path = table(
        tmp_path, f'file,xmin,ymin,xmax,ymax,width,height\n"{name.replace(chr(34), chr(34) * 2)}",0,0,1,1,2,2\n'
    )
    assert BoxTable(path, [f"x/{name}"]).known.all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,xmin,ymin,xmax\na.png,0,0,1\n", "Expected a column 'ymax'"),
        ("image,xmin,ymin,xmax,ymax\na.png,0,0,1,1\n", "Expected a column 'file'"),
        ("", "Expected a column 'xmin'"),
        ("file,xmin,ymin,xmax,ymax,width,height\na.png,0,0,one,1,2,2\n", "Expected numbers .* line 2"),
        ("file,xmin,ymin,xmax,ymax,width,height\na.png,0,0,1\n", "Expected numbers .* line 2"),
        ("file,xmin,ymin,xmax,ymax,width,height\na.png,0,0,3,1,2,2\n", "inside 2 x 2 pixels in line 2"),
        ("file,xmin,ymin,xmax,ymax,width,height\na.png,1,0,1,1,2,2\n", "with an area"),
        ("file,xmin,ymin,xmax,ymax,width,height\na.png,0,0,nan,1,2,2\n", "with an area"),
        ("file,xmin,ymin,xmax,ymax,width,height\n,0,0,1,1,2,2\n", "name of a file in line 2"),
        ("file,xmin,ymin,xmax,ymax,width,height\nb.png,0,0,1,1,2,2\n", r"no line fits any.* such as 'x/a\.png'"),
    ],
)
def test_bad_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BoxTable(table(tmp_path, text), ["x/a.png"])


def test_missing_and_foreign_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Expected a CSV file of boxes.*does not exist"):
        BoxTable(tmp_path / "none.csv", ["a.png"])
    (tmp_path / "latin.csv").write_bytes("file\nfränzi.png".encode("latin-1"))
    with pytest.raises(ValueError, match="in UTF-8"):
        BoxTable(tmp_path / "latin.csv", ["a.png"])


@needs("dog_breeds_boxes.csv", "dog_breeds")
def test_boxes_of_the_dogs_are_those_of_their_table() -> None:
    photos = boxed_photos(ROOT)
    boxes = BoxTable(ROOT / "dog_breeds_boxes.csv", [str(photo.path) for photo in photos])
    assert boxes.known.all()
    np.testing.assert_allclose(np.concatenate(boxes.boxes), [photo.box for photo in photos], rtol=1e-12)


# Masks.


@pytest.mark.parametrize("value", [1, 255])
@pytest.mark.parametrize("kind", ["grey", "grey of 16 bits", "colours", "colours and alpha"])
def test_everything_but_zero_is_inside(tmp_path: Path, kind: str, value: int) -> None:
    """One pixel of 6 x 10, in one channel; alpha is full everywhere and means nothing."""
    pixels = {
        "grey": np.zeros((6, 10), np.uint8),
        "grey of 16 bits": np.zeros((6, 10), np.uint16),
        "colours": np.zeros((6, 10, 3), np.uint8),
        "colours and alpha": np.zeros((6, 10, 4), np.uint8),
    }[kind]
    pixels[2, 7] = value if pixels.ndim == 2 else [0, value, *[0] * (pixels.shape[2] - 2)]
    if pixels.shape[-1] == 4:
        pixels[..., 3] = 255
    mask_file(tmp_path / "a.png", pixels)
    expected = np.zeros((6, 10))
    expected[2, 7] = 1
    region = MaskFolder(tmp_path, ["x/a.jpg"]).region(0, (6, 10))
    assert region.dtype == np.float32
    np.testing.assert_array_equal(region, expected)


def test_smaller_size_has_the_part_inside(tmp_path: Path) -> None:
    """12 x 20 with one column filled, which is half of a column of 10."""
    pixels = np.zeros((12, 20), np.uint8)
    pixels[:, 4] = 255
    mask_file(tmp_path / "a.png", pixels)
    expected = np.zeros((6, 10))
    expected[:, 2] = 0.5
    np.testing.assert_allclose(MaskFolder(tmp_path, ["a.jpg"]).region(0, (6, 10)), expected, atol=1e-6)


def test_larger_size_keeps_its_edges(tmp_path: Path) -> None:
    pixels = np.eye(2, dtype=np.uint8)
    mask_file(tmp_path / "a.png", pixels)
    region = MaskFolder(tmp_path, ["a.jpg"]).region(0, (6, 10))
    np.testing.assert_array_equal(region, np.kron(pixels, np.ones((3, 5))))


def test_mask_in_the_folder_of_its_image_goes_first(tmp_path: Path) -> None:
    mask_file(tmp_path / "cat" / "1.png", np.ones((6, 10), np.uint8))
    mask_file(tmp_path / "1.png", np.zeros((6, 10), np.uint8))
    masks = MaskFolder(tmp_path, ["x/cat/1.jpg", "x/dog/1.jpg", "x/dog/2.jpg"])
    assert masks.known.tolist() == [True, True, False]
    assert [masks.region(position, (6, 10)).mean() for position in range(3)] == [1.0, 0.0, 0.0]


def test_mask_of_two_images_is_refused(tmp_path: Path) -> None:
    mask_file(tmp_path / "1.png", np.ones((6, 10), np.uint8))
    with pytest.raises(ValueError, match=r"fits both 'cat/1.jpg' and 'dog/1.jpg'"):
        MaskFolder(tmp_path, ["cat/1.jpg", "dog/1.jpg"])


def test_bad_folder_and_bad_mask_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="Expected a folder of masks"):
        MaskFolder(tmp_path / "none", ["a.jpg"])
    with pytest.raises(ValueError, match=r"it holds none|such as 'a\.png'"):
        MaskFolder(tmp_path, ["a.jpg"])
    for data in (b"", b"no picture"):
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(ValueError, match="cannot be decoded"):
            MaskFolder(tmp_path, ["a.jpg"]).region(0, (6, 10))
