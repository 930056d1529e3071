"""What is read off a map of 4 x 4 or 6 x 10 pixels: hot pixels by any threshold, the largest region, outlines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.helpers.explanations import explained
from tf_gradcam.image.regions import Box, contours_of, hot_pixels, largest_of, regions_of

GROUPS = np.array(
    [
        [0.1, 0.1, 0.2, 0.9],
        [0.1, 0.2, 0.9, 1.0],
        [0.1, 0.2, 1.0, 1.0],
        [0.1, 0.1, 0.2, 1.0],
    ],
    np.float32,
)
COUNTED = (np.arange(60, dtype=np.float32)[::-1].reshape(6, 10) + 1) / 60  # 1, 59/60, ... 1/60
TWO = np.zeros((6, 10), np.float32)
TWO[1:4, 1:5] = 1.0
TWO[2, 2:4] = 0.0  # a hole
TWO[5, 8] = TWO[4, 9] = 0.5
EXPLANATION = explained([TWO, np.zeros((6, 10)), 7 * COUNTED])


# Thresholds.


def test_otsu_splits_the_two_groups() -> None:
    """Ten pixels of 0.1 and 0.2, six of 0.9 and 1: any other split leaves more variance within."""
    np.testing.assert_array_equal(hot_pixels(GROUPS, "otsu"), GROUPS >= 0.9)


def test_otsu_does_not_depend_on_the_scale() -> None:
    np.testing.assert_array_equal(hot_pixels(0.3 * GROUPS, "otsu"), hot_pixels(GROUPS, "otsu"))


def test_otsu_of_a_map_that_is_equal_everywhere_is_everywhere() -> None:
    assert hot_pixels(np.full((4, 4), 0.25, np.float32), "otsu").all()


@pytest.mark.parametrize(("threshold", "count"), [("p95", 3), ("p50", 30), ("p0", 60), ("p100", 1), ("p97.5", 2)])
def test_percentile_counts_pixels(threshold: str, count: int) -> None:
    """Of 1 to 60 the 95th percentile is 1 + 0.95 * 59 = 57.05, so 58 to 60 are hot; the 97.5th is 58.5."""
    hot = hot_pixels(COUNTED, threshold)
    np.testing.assert_array_equal(np.flatnonzero(hot), np.arange(count))


def test_pixels_of_no_heat_are_never_hot() -> None:
    """Two thirds of the map are zero, and so is its median: hot are the 12 pixels above."""
    assert hot_pixels(TWO, "p50").sum() == np.count_nonzero(TWO)


def test_part_of_the_maximum() -> None:
    np.testing.assert_array_equal(hot_pixels(0.1 * GROUPS, 0.9), GROUPS >= 0.9)
    assert hot_pixels(COUNTED, 0.15).sum() == 52  # from 9 of 60


@pytest.mark.parametrize("threshold", [0.15, "otsu", "p95"])
def test_blank_map_has_no_hot_pixel(threshold: Any) -> None:
    assert not hot_pixels(np.zeros((4, 4), np.float32), threshold).any()
    assert regions_of(np.zeros((4, 4), np.float32), threshold) == []
    assert contours_of(np.zeros((4, 4), np.float32), threshold) == []


# Regions.


def test_regions_are_the_largest_first() -> None:
    """Ten pixels of a ring; two that touch at a corner."""
    ring, corner = regions_of(TWO, 0.15)
    assert (ring.box, ring.area) == (Box(1, 1, 5, 4), 10)
    assert (corner.box, corner.area) == (Box(8, 4, 10, 6), 2)
    np.testing.assert_array_equal(corner.pixels, [[False, True], [True, False]])


def test_regions_of_one_size_come_from_top_to_bottom() -> None:
    boxes = [region.box for region in regions_of(np.array([[0, 0, 1], [0, 0, 0], [1, 0, 1]], np.float32), 0.5)]
    assert boxes == [(2, 0, 3, 1), (0, 2, 1, 3), (2, 2, 3, 3)]


def test_largest_region_alone() -> None:
    np.testing.assert_array_equal(largest_of(TWO, 0.15), TWO == 1.0)


def test_contour_runs_around_the_region_through_its_corners() -> None:
    """Outlines hold x before y; the hole has none."""
    ring, corner = contours_of(TWO, 0.15)
    assert {tuple(point) for point in ring.tolist()} == {(1, 1), (1, 3), (4, 3), (4, 1)}
    assert {tuple(point) for point in corner.tolist()} == {(9, 4), (8, 5)}
    assert ring.dtype == np.int32
    assert ring.shape == (4, 2)


def test_contour_of_one_pixel_is_the_pixel() -> None:
    (outline,) = contours_of(COUNTED, "p100")
    np.testing.assert_array_equal(outline, [[0, 0]])


# The batch.


def test_each_map_is_read_by_itself() -> None:
    binary = EXPLANATION.binary()
    assert binary.shape == (3, 6, 10)
    assert binary.dtype == bool
    np.testing.assert_array_equal(binary[0], TWO > 0)
    assert binary.sum(axis=(1, 2)).tolist() == [12, 0, 52]
    assert EXPLANATION.binary("p95")[2].sum() == 3
    assert EXPLANATION.largest_component().sum(axis=(1, 2)).tolist() == [10, 0, 52]
    assert [len(boxes) for boxes in EXPLANATION.boxes()] == [2, 0, 1]
    # Otsu's variance between the classes: zero against the rest 0.1344, all but the ones against the ones 0.1334.
    assert [len(outlines) for outlines in EXPLANATION.contours("otsu")] == [2, 0, 1]
    assert EXPLANATION.boxes(0.6) == [[Box(1, 1, 5, 4)], [], [Box(0, 0, 10, 3)]]


def test_maps_are_read_at_the_size_of_the_input() -> None:
    """Two cells [0, 1] over four pixels: 0, 1/4, 3/4, 1."""
    explanation = explained([[[0.0, 5.0]]], image_size=(2, 4))
    np.testing.assert_array_equal(explanation.binary(0.5), [[[False, False, True, True]] * 2])
    assert explanation.boxes(0.5) == [[Box(2, 0, 4, 2)]]


# What is refused.


@pytest.mark.parametrize("threshold", ["otzu", "95", "p101", "p-1", "p", ""])
def test_unknown_threshold_is_refused(threshold: str) -> None:
    with pytest.raises(ValueError, match="'otsu', or a percentile such as 'p95', received"):
        EXPLANATION.binary(threshold)


@pytest.mark.parametrize("threshold", [0, -0.1, 1.5, float("nan"), float("inf")])
def test_part_outside_0_to_1_is_refused(threshold: float) -> None:
    for read in (EXPLANATION.binary, EXPLANATION.boxes, EXPLANATION.contours, EXPLANATION.largest_component):
        with pytest.raises(ValueError, match="relative to the maximum, above 0 and at most 1, received"):
            read(threshold)


@pytest.mark.parametrize("threshold", [None, True, [0.5]])
def test_threshold_of_another_kind_is_refused(threshold: Any) -> None:
    with pytest.raises(TypeError, match="Expected threshold as a number, 'otsu', or a percentile"):
        EXPLANATION.boxes(threshold)
