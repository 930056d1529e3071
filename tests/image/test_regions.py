"""Hot regions of a map and their boxes, on maps drawn with letters: '.' is cold, '#' is hot, a digit tenths."""

from __future__ import annotations

import numpy as np
import pytest

from tf_gradcam.image.regions import Box, boxes_of


def drawing(*rows: str) -> np.ndarray:
    heat = {".": 0.0, "#": 1.0}
    return np.array([[heat.get(letter, int(letter) / 10 if letter.isdigit() else 0) for letter in row] for row in rows])


def boxes(*rows: str, threshold: float = 0.15) -> list[Box]:
    return boxes_of(drawing(*rows).astype(np.float32), threshold)


def test_box_ends_behind_the_region() -> None:
    assert boxes(
        "......",
        "..##..",
        "..#...",
    ) == [Box(xmin=2, ymin=1, xmax=4, ymax=3)]


def test_box_of_one_pixel_has_sides_of_one() -> None:
    assert boxes("...", "..#") == [(2, 1, 3, 2)]


def test_box_of_everything() -> None:
    assert boxes("##", "##", "##") == [(0, 0, 2, 3)]


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    assert boxes("#..", ".#.", "..#") == [(0, 0, 3, 3)]


def test_pixels_apart_are_regions_apart() -> None:
    assert sorted(boxes("#.#", "...", "#.#")) == [(0, 0, 1, 1), (0, 2, 1, 3), (2, 0, 3, 1), (2, 2, 3, 3)]


def test_largest_region_comes_first_by_its_pixels_not_its_box() -> None:
    """The diagonal has the larger box (9 pixels against 6), the block more hot pixels (6 against 3)."""
    assert boxes(
        "#....##",
        ".#...##",
        "..#..##",
    ) == [(5, 0, 7, 3), (0, 0, 3, 3)]


def test_threshold_is_a_part_of_the_maximum() -> None:
    """The maximum is 0.8: half of it is 0.4."""
    rows = ("48.", "3.4")
    assert boxes(*rows, threshold=0.5) == [(0, 0, 3, 2)]
    assert boxes(*rows, threshold=0.51) == [(1, 0, 2, 1)]


def test_maximum_itself_is_hot() -> None:
    assert boxes(".7", "..", threshold=1.0) == [(1, 0, 2, 1)]


def test_blank_map_has_no_region() -> None:
    assert boxes("...", "...") == []


def test_map_that_is_not_a_number_has_no_region() -> None:
    assert boxes_of(np.full((2, 3), np.nan, np.float32), 0.15) == []


@pytest.mark.parametrize("threshold", [0, -1, 1.5, np.nan])
def test_threshold_outside_0_to_1_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=rf"relative to the maximum, above 0 and at most 1, received {threshold}"):
        boxes("#", threshold=threshold)


def test_map_is_left_as_it_is() -> None:
    heatmap = drawing("#.", ".5").astype(np.float32)
    heatmap.flags.writeable = False
    boxes_of(heatmap, 0.15)
