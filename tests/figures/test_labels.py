"""Text inside a picture."""

from __future__ import annotations

import numpy as np
import pytest

from tf_gradcam._figures.labels import with_text

PHOTO = np.full((96, 160, 3), 200, np.uint8)


def test_text_is_white_on_dark_in_the_upper_left_corner_alone() -> None:
    before = PHOTO.copy()
    drawn = with_text(PHOTO, "31.2 years")
    np.testing.assert_array_equal(PHOTO, before)
    changed = (drawn != PHOTO).any(-1)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert (rows[0], columns[0]) == (0, 0)
    assert rows[-1] < 96 / 3
    assert columns[-1] < 160
    assert changed[: rows[-1] + 1, : columns[-1] + 1].all()  # a whole rectangle
    inside = drawn[changed]
    assert (inside.min(), inside.max()) == (60, 255)  # three tenths of the light, and letters


def test_longer_text_takes_more_room_and_goes_on_in_the_next_line() -> None:
    def size(text: str) -> tuple[int, int]:
        changed = (with_text(PHOTO, text) != PHOTO).any(-1)
        return int(changed.any(1).sum()), int(changed.any(0).sum())

    short, long, several = size("3"), size("31.2 years"), size("value 7 near 31.2 years of the mother")
    assert short[0] <= long[0] < several[0] < 96 / 3
    assert short[1] < long[1] <= 160
    assert several[1] <= 160
    np.testing.assert_array_equal(with_text(PHOTO, "31.2 years " * 20), PHOTO)  # it would cover the picture


@pytest.mark.parametrize("size", [(6, 10), (20, 160), (96, 12)])
def test_picture_too_small_for_it_is_unchanged(size: tuple[int, int]) -> None:
    photo = np.full((*size, 3), 7, np.uint8)
    np.testing.assert_array_equal(with_text(photo, "31.2 years"), photo)


def test_letters_that_the_font_lacks_are_question_marks_without_a_warning() -> None:
    np.testing.assert_array_equal(with_text(PHOTO, "31 歳"), with_text(PHOTO, "31 ?"))
    assert (with_text(PHOTO, "31 °") != with_text(PHOTO, "31 ?")).any()
