"""A folder for each class becomes samples; what cannot become one is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.pictures import encoded, random_photo, smooth_photo
from training.data.folder import Samples, read_folder
from training.data.pipeline import arrays


def photo_in(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The photo as the model gets it."""
    photos, _ = arrays(Samples(path.parent, (path,), np.zeros(1, np.int32), ("a",)), size)
    return photos[0]


def fill(root: Path, **counts: int) -> Path:
    """Folders of the names given, each with so many PNG files a0.png, a1.png, ..."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"a{number}.png").write_bytes(encoded(random_photo(), "PNG"))
    return root


def test_samples_are_sorted_by_class_and_name(tmp_path: Path) -> None:
    fill(tmp_path, red=2, blue=1, green=3)
    (tmp_path / "green" / "B.JPEG").write_bytes(encoded(smooth_photo(), "JPEG"))
    samples = read_folder(tmp_path)
    names = ["blue/a0.png", "green/B.JPEG", "green/a0.png", "green/a1.png", "green/a2.png"]
    names += ["red/a0.png", "red/a1.png"]
    assert [samples.name(index) for index in range(len(samples))] == names
    assert list(samples.files) == [tmp_path / name for name in names]
    assert samples.class_names == ("blue", "green", "red")
    assert samples.labels.tolist() == [0, 1, 1, 1, 1, 2, 2]
    assert samples.labels.dtype == np.int32
    assert samples.broken == ()


def test_files_are_absolute_where_the_folder_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "data", red=1, blue=1)
    monkeypatch.chdir(tmp_path)
    samples = read_folder("data")
    assert samples.root == tmp_path / "data"
    assert samples.files == (tmp_path / "data" / "blue" / "a0.png", tmp_path / "data" / "red" / "a0.png")


def test_hidden_and_foreign_files_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, red=1, blue=1)
    for name in (".cache/a.png", "__MACOSX/red/._a0.png", "red/.hidden.png", "red/readme.txt", "notes.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"none of them is read")
    samples = read_folder(tmp_path)
    assert [samples.name(index) for index in range(len(samples))] == ["blue/a0.png", "red/a0.png"]


def test_taken_samples_keep_order_and_classes(tmp_path: Path) -> None:
    samples = read_folder(fill(tmp_path, red=2, blue=2))
    taken = samples.take(np.array([3, 1]))
    assert [taken.name(index) for index in range(2)] == ["red/a1.png", "blue/a1.png"]
    assert taken.labels.tolist() == [1, 0]
    assert taken.class_names == samples.class_names
    assert len(samples.take([])) == 0


def test_limit_draws_evenly_over_classes(tmp_path: Path) -> None:
    """Of 9, 2 and 5 images, 10 are 4 + 2 + 4: in turn 3, 3, then 2, then 2 of the two classes left."""
    fill(tmp_path, large=9, small=2, tiny=5)
    samples = read_folder(tmp_path, limit=10)
    assert np.bincount(samples.labels).tolist() == [4, 2, 4]
    assert list(samples.files) == sorted(samples.files)


def test_limit_draws_by_seed(tmp_path: Path) -> None:
    fill(tmp_path, red=30, blue=30)
    drawn = [read_folder(tmp_path, limit=10, seed=seed).files for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("limit", [-1, 0, 1])
def test_limit_below_one_of_each_class_is_refused(tmp_path: Path, limit: int) -> None:
    with pytest.raises(ValueError, match=rf"limit of at least 2, .*received {limit}"):
        read_folder(fill(tmp_path, red=3, blue=3), limit=limit)


@pytest.mark.parametrize("kind", ["empty", "text", "truncated JPEG", "truncated PNG", "a flipped bit", "a GIF"])
def test_broken_files_are_listed_and_skipped(tmp_path: Path, kind: str) -> None:
    fill(tmp_path, red=2, blue=2)
    jpeg, png = encoded(smooth_photo(), "JPEG"), encoded(random_photo(), "PNG")
    contents = {"empty": b"", "text": b"hello", "truncated JPEG": jpeg[: len(jpeg) // 2]}
    contents |= {"truncated PNG": png[: len(png) - 20], "a GIF": encoded(random_photo(), "GIF")}
    middle = len(png) // 2
    contents["a flipped bit"] = png[:middle] + bytes([png[middle] ^ 1]) + png[middle + 1 :]
    broken = tmp_path / "blue" / "a0.png"
    broken.write_bytes(contents[kind])
    samples = read_folder(tmp_path)
    assert [samples.name(index) for index in range(len(samples))] == ["blue/a1.png", "red/a0.png", "red/a1.png"]
    assert len(samples.broken) == 1
    assert repr(str(broken)) in samples.broken[0]


def test_conversions_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, red=1, blue=1)
    (tmp_path / "red" / "grey.png").write_bytes(encoded(random_photo()[..., 0], "PNG"))
    (tmp_path / "red" / "alpha.png").write_bytes(encoded(random_photo(channels=4), "PNG"))
    (tmp_path / "blue" / "deep.png").write_bytes(encoded(np.full((6, 10), 65535, np.uint16), "PNG"))
    assert len(read_folder(tmp_path)) == 5
    told = "Converted to 8-bit RGB when read: 1 grey, 1 with 16 bits, 1 with alpha (dropped); 5 images in all.\n"
    assert capsys.readouterr().err == told


def test_nothing_is_told_where_nothing_is_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read_folder(fill(tmp_path, red=1, blue=1))
    assert capsys.readouterr().err == ""


def test_a_class_whose_name_is_no_unicode_is_named(tmp_path: Path) -> None:
    """As Linux allows it: byte 255 arrives in Python as U+DCFF."""
    fill(tmp_path, blue=1, **{"a\udcff": 1})
    with pytest.raises(ValueError, match=r"names in UTF-8, received 'a\\udcff'\. Rename the folder"):
        read_folder(tmp_path)


def test_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"The folder '.*absent' does not exist\. Name a folder"):
        read_folder(tmp_path / "absent")


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "data.txt").touch()
    with pytest.raises(NotADirectoryError, match=r"received '.*data\.txt'"):
        read_folder(tmp_path / "data.txt")


def test_no_images_are_named(tmp_path: Path) -> None:
    fill(tmp_path, red=0, blue=0)
    (tmp_path / "loose.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"received none\. 1 images are in '.*' itself"):
        read_folder(tmp_path)


def test_a_data_set_of_two_parts_is_not_taken_for_two_classes(tmp_path: Path) -> None:
    for part in ("Testing", "Training"):
        fill(tmp_path / part, red=1, blue=1)
    with pytest.raises(ValueError, match=r"received none\. Try one of the folders in it: '.*Testing', '.*Training'"):
        read_folder(tmp_path)


def test_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least two classes, received the one folder 'red'"):
        read_folder(fill(tmp_path, red=2))


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    fill(tmp_path, red=2, blue=0, green=0)
    with pytest.raises(ValueError, match="received none in 'blue', 'green'"):
        read_folder(tmp_path)


def test_a_class_of_broken_images_alone_is_named(tmp_path: Path) -> None:
    fill(tmp_path, red=2, blue=1)
    (tmp_path / "blue" / "a0.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"only broken ones in 'blue'. The image file '.*a0\.png' is empty"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("RGB", [[10, 20, 30]]), ("RGBA", [[10, 20, 30]]), ("L", [[18, 18, 18]]), ("P", [[10, 20, 30]])],
)
def test_pixels_are_rgb_whatever_is_stored(tmp_path: Path, mode: str, expected: list[list[int]]) -> None:
    """Grey of (10, 20, 30) is 0.299 * 10 + 0.587 * 20 + 0.114 * 30 = 18.15."""
    picture = Image.fromarray(np.full((6, 10, 3), (10, 20, 30), np.uint8))
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(picture.quantize() if mode == "P" else picture.convert(mode), "PNG"))
    np.testing.assert_array_equal(photo_in(path, (6, 10)), np.broadcast_to(expected, (6, 10, 3)))


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    """65535 / 257 = 255; 128 / 257 rounds to 0, 129 / 257 to 1."""
    path = tmp_path / "deep.png"
    path.write_bytes(encoded(np.array([[0, 128, 129, 257, 65535]], np.uint16), "PNG"))
    assert photo_in(path, (1, 5))[0, :, 0].tolist() == [0, 0, 1, 1, 255]


def test_photos_are_upright(tmp_path: Path) -> None:
    """EXIF orientation 6 means: turn by a quarter clockwise."""
    picture, exif = Image.fromarray(smooth_photo()), Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", "JPEG", exif=exif, quality=95)
    photo = photo_in(tmp_path / "turned.jpg", (80, 48))
    np.testing.assert_allclose(photo, np.rot90(smooth_photo(), -1).astype(int), atol=10)


def test_resizing_averages_where_it_shrinks_and_keeps_axes(tmp_path: Path) -> None:
    photo, path = random_photo(6, 10), tmp_path / "photo.png"
    path.write_bytes(encoded(photo, "PNG"))
    means = photo.reshape(2, 3, 5, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(photo_in(path, (2, 5)), means, atol=0.5)
    assert photo_in(path, (12, 5)).shape == (12, 5, 3)


def test_a_jpeg_that_holds_a_thumbnail_is_still_seen_to_be_cut(tmp_path: Path) -> None:
    """The thumbnail's end is in the file, the picture's is not."""
    fill(tmp_path, red=1, blue=1)
    thumbnail = encoded(smooth_photo(), "JPEG")
    exif = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail
    jpeg = encoded(smooth_photo(), "JPEG", exif=exif)
    assert thumbnail in jpeg
    (tmp_path / "red" / "whole.jpg").write_bytes(jpeg)
    (tmp_path / "red" / "cut.jpg").write_bytes(jpeg[:-40])
    samples = read_folder(tmp_path)
    assert "red/whole.jpg" in [samples.name(index) for index in range(len(samples))]
    assert [("cut.jpg" in line, "truncated" in line) for line in samples.broken] == [(True, True)]
