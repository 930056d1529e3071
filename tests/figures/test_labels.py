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


def test_longer_text_takes_more_room_and_a_very_long_one_ends_in_an_ellipsis() -> None:
    def width(text: str) -> int:
        return int((with_text(PHOTO, text) != PHOTO).any((0, 2)).sum())

    assert width("3") < width("31.2 years") < width("31.2 years" * 20) <= 160
    np.testing.assert_array_equal(with_text(PHOTO, "31.2 years" * 20), with_text(PHOTO, "31.2 years" * 30))


@pytest.mark.parametrize("size", [(6, 10), (20, 160), (96, 12)])
def test_picture_too_small_for_it_is_unchanged(size: tuple[int, int]) -> None:
    photo = np.full((*size, 3), 7, np.uint8)
    np.testing.assert_array_equal(with_text(photo, "31.2 years"), photo)


def test_letters_that_the_font_lacks_are_question_marks_without_a_warning() -> None:
    np.testing.assert_array_equal(with_text(PHOTO, "31 歳"), with_text(PHOTO, "31 ?"))
    assert (with_text(PHOTO, "31 °") != with_text(PHOTO, "31 ?")).any()
