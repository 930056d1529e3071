"""Planted duplicates are found, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.audits import plain_rows
from tests.helpers.data import ROOT, needs
from tf_gradcam.audit.duplicates import find_duplicates
from tf_gradcam.audit.rows import Rows
from tf_gradcam.image.io import load_image
from tf_gradcam.image.thumbnails import thumbnail

SIZE = (120, 160)


def photo_of(seed: int) -> np.ndarray:
    """Soft random colours with a little noise: as different from another seed's as two photographs."""
    generator = np.random.default_rng(seed)
    colours = cv2.resize(generator.uniform(0, 255, (6, 8, 3)), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(colours + generator.normal(0, 3, colours.shape), 0, 255).astype(np.uint8)


def saved(photo: np.ndarray, quality: int, scale: float) -> np.ndarray:
    """The photo scaled and saved as JPEG, as another program reads it."""
    size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(small), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def rows_of(photos: Sequence[np.ndarray], digests: Sequence[str] = ()) -> Rows:
    count = len(photos)
    rows = plain_rows(np.zeros(count), np.zeros(count), np.zeros((count, 2, 3)))
    digests = list(digests) or [""] * count
    thumbnails = [thumbnail(photo, 96) for photo in photos]
    return replace(rows, thumbnail=np.array(thumbnails, object), digest=np.array(digests, object))


def groups_of(*given: object) -> list[list[int]]:
    return [group.rows for group in find_duplicates(rows_of(*given))]


@pytest.mark.parametrize(("quality", "scale"), [(30, 1), (50, 1), (90, 0.5), (75, 0.75), (90, 1.5)])
def test_photo_saved_or_scaled_again_is_found_among_others(quality: int, scale: float) -> None:
    photos = [photo_of(seed) for seed in range(20)]
    copies = [saved(photos[number], quality, scale) for number in (3, 11)]
    (one, other) = find_duplicates(rows_of([*photos, *copies]))
    assert sorted([one.rows, other.rows]) == [[3, 20], [11, 21]]
    assert 0.98 <= one.similarity < 1


def test_mirrored_and_cropped_copies_are_not_found() -> None:
    photo = photo_of(0)
    assert groups_of([photo, photo[:, ::-1], photo[::-1], photo[:96, :128]]) == []


@pytest.mark.parametrize(("side", "is_found"), [(4, True), (10, False)])
def test_a_detail_tells_pictures_apart_if_it_is_large_enough(side: int, is_found: bool) -> None:
    """A square around a corner of four cells of 7.5 x 10 pixels, 60 grey levels brighter: one of 4 pixels changes each
    cell by 60 * 4 / 75 = 3, one of 10 pixels by 60 * 25 / 75 = 20. The correlation stays above 0.99."""
    photo = np.full((*SIZE, 3), 80, np.uint8)
    photo[:, :80] = 160
    other = photo.copy()
    other[15 - side // 2 : 15 + side // 2, 40 - side // 2 : 40 + side // 2] += 60
    assert groups_of([photo, other]) == ([[0, 1]] if is_found else [])


def test_copies_of_a_copy_are_one_group_and_the_largest_comes_first() -> None:
    photos = [photo_of(seed) for seed in range(4)]
    again = saved(photos[2], 90, 1)
    given = [*photos, again, saved(again, 70, 0.6), photos[2], photos[0]]
    assert groups_of(given) == [[2, 4, 5, 6], [0, 7]]


def test_same_bytes_are_the_same_whatever_the_pixels_and_plain_pictures_are_not_compared() -> None:
    plain = [np.full((*SIZE, 3), grey, np.uint8) for grey in (40, 40, 90)]
    groups = find_duplicates(rows_of([*plain, photo_of(0), photo_of(1)], ["a", "b", "c", "d", "d"]))
    assert [(group.rows, group.similarity) for group in groups] == [([0, 1], 1), ([3, 4], 1)]


def test_failed_rows_and_rows_without_a_picture_are_left_out() -> None:
    rows = rows_of([photo_of(0)] * 4)
    rows.status[1] = "failed"
    rows.thumbnail[2] = b""
    assert [group.rows for group in find_duplicates(rows)] == [[0, 3]]
    assert find_duplicates(rows.take(np.array([1, 2]))) == []


def test_blocks_of_comparisons_do_not_change_the_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    photos = [photo_of(seed) for seed in range(9)]
    photos += [saved(photos[seed], 60, 1) for seed in (8, 0, 4, 0)]
    expected = [[0, 10, 12], [4, 11], [8, 9]]
    for block in (1, 5, 512):
        monkeypatch.setattr("tf_gradcam.audit.duplicates._BLOCK", block)
        assert sorted(groups_of(photos)) == expected


@needs("dog_breeds", "dog_breeds_cropped", "photos")
@pytest.mark.slow
def test_photographs_have_no_duplicates_until_some_are_saved_again() -> None:
    """2513 different photographs; of 80 that are saved again, as JPEG of quality 50 or at half their size, all."""
    files = [
        path
        for name in ("dog_breeds", "dog_breeds_cropped", "photos")
        for path in sorted(Path(ROOT, name).rglob("*.jpg"))
    ]
    photos = [load_image(path, (96, 96)) for path in files]
    assert groups_of(photos) == []
    chosen = np.random.default_rng(0).choice(880, 80, replace=False)
    again = [saved(load_image(files[row]), *((50, 1), (90, 0.5))[number % 2]) for number, row in enumerate(chosen)]
    found = groups_of([*(load_image(files[row]) for row in chosen), *again])
    assert sorted(found) == [[number, 80 + number] for number in range(80)]
