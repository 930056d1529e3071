"""Twins are found whatever was done to one of them, and different pictures are none."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers import data
from tests.helpers.pictures import encoded
from training.data.duplicates import (
    LOOKS_ALIKE,
    across,
    duplicate_groups,
    fingerprints,
    groups_of,
    perceptual_hashes,
)


def scene(seed: int, height: int = 60, width: int = 100) -> np.ndarray:
    """Soft spots of colour, so that JPEG and a change of size leave it nearly as it is."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def write(folder: Path, *pictures: np.ndarray | bytes) -> list[Path]:
    """Files 000.png, 001.png, ...; bytes are written as they are."""
    files = []
    for number, picture in enumerate(pictures):
        files.append(folder / f"{number:03}.png")
        files[-1].write_bytes(picture if isinstance(picture, bytes) else encoded(picture, "PNG"))
    return files


def brightened(photo: np.ndarray, levels: int) -> np.ndarray:
    return (photo // 2 + 60 + levels).astype(np.uint8)  # within 60..187, so that nothing is clipped


TWINS = {
    "identical": lambda photo: encoded(photo, "PNG"),
    "another format": lambda photo: encoded(photo, "JPEG", quality=85),
    "another size": lambda photo: cv2.resize(photo, (200, 120), interpolation=cv2.INTER_CUBIC),
    "one bright pixel": lambda photo: np.where(np.arange(photo.size).reshape(photo.shape) < 3, 255, photo),
    "mirrored": lambda photo: photo[:, ::-1],
    "upside down": lambda photo: photo[::-1],
    "both": lambda photo: photo[::-1, ::-1],
    "mirrored in another size": lambda photo: cv2.resize(photo, (50, 30), interpolation=cv2.INTER_AREA)[:, ::-1],
}


@pytest.mark.parametrize("kind", TWINS)
def test_twins_are_in_one_group(tmp_path: Path, kind: str) -> None:
    twin = TWINS[kind](scene(0))
    twin = twin if isinstance(twin, bytes) else np.ascontiguousarray(twin, np.uint8)
    groups = duplicate_groups(write(tmp_path, scene(1), scene(0), scene(2), twin))
    assert groups.tolist() == [0, 1, 2, 1]
    assert groups.dtype == np.int32


def test_different_pictures_are_in_groups_of_their_own(tmp_path: Path) -> None:
    files = write(tmp_path, *(scene(seed) for seed in range(40)))
    assert duplicate_groups(files).tolist() == list(range(40))


def test_the_mean_difference_decides(tmp_path: Path) -> None:
    """One level brighter everywhere is a twin, three levels are none, though the hash is the same."""
    photo = brightened(scene(0), 0)
    files = write(tmp_path, photo, brightened(scene(0), 1), brightened(scene(0), 4))
    hashes = fingerprints(files).hashes
    assert hashes[0] == hashes[1] == hashes[2]
    assert duplicate_groups(files).tolist() == [0, 0, 1]


def test_dark_pictures_of_different_things_are_no_twins(tmp_path: Path) -> None:
    """A spot of 12 x 20 pixels, 20 levels bright, in another place: 2 * 20 * 4 % = 1.6 levels, but another hash."""
    left, right = np.zeros((2, 60, 100), np.uint8)
    left[6:18, 5:25] = right[40:52, 60:80] = 20
    files = write(tmp_path, left, right)
    thumbnails = fingerprints(files).thumbnails.astype(int)
    assert np.abs(thumbnails[0] - thumbnails[1]).mean() < 2
    assert duplicate_groups(files).tolist() == [0, 1]


def test_twins_of_twins_are_twins(tmp_path: Path) -> None:
    """Each is 1.5 levels from the next, the ends are 3 apart."""
    steps = [brightened(scene(0), level) for level in (0, 1, 3, 4)]
    files = write(tmp_path, steps[0], steps[3], steps[1], steps[2])
    assert duplicate_groups(files[:2]).tolist() == [0, 1]
    assert duplicate_groups(write(tmp_path, *(brightened(scene(0), level) for level in range(5)))).tolist() == [0] * 5


def test_fine_differences_count_though_their_average_is_none(tmp_path: Path) -> None:
    """A chessboard of 4 levels up and down, a pixel of the thumbnail each: neither cells nor low frequencies see it."""
    photo = cv2.resize(scene(0), (32, 32), interpolation=cv2.INTER_AREA) // 2 + 60
    rows, columns = np.mgrid[0:32, 0:32]
    board = np.where((rows + columns) % 2, 4, -4)[..., None]
    files = write(tmp_path, photo, (photo + board).astype(np.uint8), (photo + board // 4).astype(np.uint8))
    hashes = [int(each) for each in fingerprints(files).hashes]
    assert all((hashes[0] ^ each).bit_count() <= 10 for each in hashes)
    assert duplicate_groups(files).tolist() == [0, 1, 0]


def test_flat_pictures_are_twins_by_their_level(tmp_path: Path) -> None:
    """A black one of another size is a twin of a black one, a white one is not."""
    black = np.zeros((6, 10, 3), np.uint8)
    files = write(tmp_path, black, black + 255, black, np.zeros((12, 10, 3), np.uint8))
    assert duplicate_groups(files).tolist() == [0, 1, 0, 0]


def test_blocks_find_what_comparing_all_pairs_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dull twin: every pair in every flip, in full. The noise spans the limit, and blocks of 7 divide nothing."""
    monkeypatch.setattr("training.data.duplicates._ROWS", 7)
    rng = np.random.default_rng(0)
    photos = []
    for seed in range(10):
        base = scene(seed % 5) // 2 + 60
        noise = rng.integers(-1, 2, (8, 8, 1)) * (1 + seed % 5)
        rough = cv2.resize(noise.astype(np.float32), (100, 60), interpolation=cv2.INTER_NEAREST)[..., None]
        photos.append(np.clip(base + rough, 0, 255).astype(np.uint8)[:, :: rng.choice([-1, 1])])
    files = write(tmp_path, *(np.ascontiguousarray(photo) for photo in photos))
    prints = fingerprints(files)
    expected = []
    for i in range(10):
        for j in range(10):
            for flip in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                other = prints.thumbnails[j : j + 1, :: flip[0], :: flip[1]]
                bits = (int(prints.hashes[i]) ^ int(perceptual_hashes(other)[0])).bit_count()
                if bits <= 10 and np.abs(prints.thumbnails[i].astype(int) - other[0]).mean() < 2:
                    expected.append((i, j))
    assert across(files, files) == sorted(set(expected))
    assert 10 < len(set(expected)) < 100


def test_pairs_across_two_sets_are_listed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    files = write(tmp_path, scene(0), scene(1), scene(2))
    others = write(tmp_path / "other", scene(2), scene(3), np.ascontiguousarray(scene(0)[:, ::-1]), scene(2))
    assert across(files, others) == [(0, 2), (2, 0), (2, 3)]


def test_hashes_are_those_of_the_definition() -> None:
    """The cosine transform as the sum that it is; 64 frequencies in the order of reading, the first the highest bit."""
    thumbnail = cv2.cvtColor(scene(0, 32, 32), cv2.COLOR_RGB2GRAY)
    places, frequencies = np.arange(32), np.arange(8)
    cosines = np.cos(np.pi * (2 * places[None] + 1) * frequencies[:, None] / 64) * np.sqrt(2 / 32)
    cosines[0] /= np.sqrt(2)
    lowest = (cosines @ thumbnail.astype(float) @ cosines.T).ravel()
    expected = int("".join("1" if value > np.median(lowest) else "0" for value in lowest), 2)
    assert int(perceptual_hashes(thumbnail[None])[0]) == expected


def test_no_file_and_no_pair_are_no_error(tmp_path: Path) -> None:
    assert duplicate_groups([]).tolist() == []
    assert across([], write(tmp_path, scene(0))) == []
    assert across(write(tmp_path, scene(0)), []) == []


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"The image file '.*000\.png' is empty"):
        duplicate_groups(write(tmp_path, b""))


@data.needs("brain_mri", "brain_mri_pretrain", "brain_mri_pretrain_duplicates.csv")
def test_the_listed_twins_of_the_scans_are_found() -> None:
    """The list was made without this program: identical files, and thumbnails that differ by less than 2 levels.

    Forty listed pairs, every 26th, are found; the other pairs found among these files are flipped ones.
    """
    with open(data.ROOT / "brain_mri_pretrain_duplicates.csv", newline="", encoding="utf-8") as file:
        rows = [(row["brain_mri_file"], row["pretrain_file"]) for row in csv.DictReader(file)]
    checked = rows[::26]
    names, other_names = (sorted(set(column)) for column in zip(*checked, strict=True))
    files = [data.ROOT / "brain_mri" / name for name in names]
    others = [data.ROOT / "brain_mri_pretrain" / name for name in other_names]
    pairs = across(files, others)
    found = {(names[i], other_names[j]) for i, j in pairs}
    assert set(checked) <= found
    thumbnails, other_thumbnails = (fingerprints(each).thumbnails.astype(int) for each in (files, others))
    for i, j in pairs:
        if (names[i], other_names[j]) not in rows:
            assert np.abs(thumbnails[i] - other_thumbnails[j]).mean() >= 2


def test_pictures_that_look_alike_are_more_than_twins(tmp_path: Path) -> None:
    """Brighter by 4 levels: not twins, which differ by less than 2, but alike; by 10 levels neither."""
    noise = np.random.default_rng(0).integers(0, 200, (32, 32), np.uint8)
    files = []
    for number, more in enumerate((0, 4, 14)):
        files.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(files[-1]), noise + np.uint8(more))
    prints = fingerprints(files)
    assert groups_of(prints).tolist() == duplicate_groups(files).tolist() == [0, 1, 2]
    assert groups_of(prints, LOOKS_ALIKE).tolist() == [0, 0, 1]
