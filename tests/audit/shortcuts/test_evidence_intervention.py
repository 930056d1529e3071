"""Interventions on pictures whose right answer is known to the pixel."""

from __future__ import annotations

import numpy as np
import pytest

from tf_gradcam.audit.shortcuts.evidence import FILLS, elsewhere, erase, paste, place_in_words

SIZE = (24, 40)


def box(top: int, left: int, height: int, width: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    region = np.zeros(size, bool)
    region[top : top + height, left : left + width] = True
    return region


@pytest.fixture
def photos() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (3, *SIZE, 3)).astype(np.float32)


@pytest.mark.parametrize("fill", FILLS)
def test_erase_leaves_all_pixels_outside_as_they_are(photos: np.ndarray, fill: str) -> None:
    region = box(3, 5, 6, 9)
    erased = erase(photos, region, fill)
    np.testing.assert_array_equal(erased[:, ~region], photos[:, ~region])
    assert (erased[:, region] != photos[:, region]).mean() > 0.9


@pytest.mark.parametrize("fill", FILLS)
def test_erase_takes_a_mark_off_an_even_picture(fill: str) -> None:
    """A mark of 5 x 5 on grey: what is grown in or averaged is grey; a blur leaves less than half."""
    region = box(10, 30, 5, 5)
    photos = np.full((1, *SIZE, 3), 80, np.float32)
    photos[:, region] = 250
    left = np.abs(erase(photos, region, fill)[:, region] - 80).max()
    assert left < (85 if fill == "blur" else 3)


def test_erase_takes_a_region_for_each_image(photos: np.ndarray) -> None:
    regions = np.stack([box(0, 0, 4, 4), box(8, 8, 4, 4), np.zeros(SIZE, bool)])
    erased = erase(photos, regions, "mean")
    for photo, one, region in zip(photos, erased, regions, strict=True):
        np.testing.assert_array_equal(one[~region], photo[~region])
        if region.any():
            np.testing.assert_allclose(
                one[region], np.broadcast_to(photo[~region].mean(0), one[region].shape), rtol=1e-5
            )


def test_erase_does_not_write_into_the_photos(photos: np.ndarray) -> None:
    before = photos.copy()
    erase(photos, box(2, 2, 5, 5), "blur")
    np.testing.assert_array_equal(photos, before)


def test_paste_takes_the_region_of_the_donors(photos: np.ndarray) -> None:
    region = box(15, 30, 9, 10)
    pasted = paste(photos, photos[::-1], region)
    np.testing.assert_array_equal(pasted[:, region], photos[::-1][:, region])
    np.testing.assert_array_equal(pasted[:, ~region], photos[:, ~region])


@pytest.mark.parametrize("region", [box(18, 32, 6, 8), box(0, 0, 2, 40), box(4, 4, 1, 1)])
def test_elsewhere_is_as_large_and_apart(region: np.ndarray) -> None:
    for seed in range(10):
        other = elsewhere(region, np.random.default_rng(seed))
        assert other.sum() == region.sum()
        assert not (other & region).any()


def test_elsewhere_of_a_frame_is_a_square_of_its_area() -> None:
    frame = np.ones(SIZE, bool)
    frame[2:-2, 2:-2] = False
    other = elsewhere(frame, np.random.default_rng(1))
    assert other.sum() == pytest.approx(frame.sum(), rel=0.06)
    assert (other & frame).sum() < 0.5 * other.sum()


def test_elsewhere_follows_its_generator() -> None:
    region = box(3, 3, 4, 4)
    one, same, other = (elsewhere(region, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert (one == same).all()
    assert (one != other).any()


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (box(18, 32, 6, 8), "the lower right corner"),
        (box(0, 0, 3, 3), "the upper left corner"),
        (box(0, 0, 2, 40), "the upper edge"),
        (box(0, 37, 24, 3), "the right edge"),
        (box(10, 16, 4, 8), "the centre"),
        (box(19, 17, 4, 6), "the lower middle"),
        (box(10, 1, 4, 6), "the left middle"),
        (box(0, 0, 24, 40), "the whole image"),
        (box(0, 18, 24, 4), "a band through the middle"),
    ],
)
def test_place_in_words(region: np.ndarray, words: str) -> None:
    assert place_in_words(region) == words


def test_frame_is_called_one() -> None:
    frame = np.ones(SIZE, bool)
    frame[2:-2, 2:-2] = False
    assert place_in_words(frame) == "the frame of the image"
