"""Localisation against boxes, on maps whose answer is plain."""

from __future__ import annotations

import numpy as np
import pytest

from tf_gradcam.metrics import box_share, energy_in_box, pointing_hit


def hot_pixel(row: int, column: int) -> np.ndarray:
    heatmap = np.zeros((6, 10), np.float32)
    heatmap[row, column] = 1.0
    return heatmap


def test_energy_counts_pixels_inside_the_half_open_box() -> None:
    """Heat 1 at (row 2, column 7): inside [7, 8) x [2, 3), outside of the box that ends where it begins."""
    assert energy_in_box(hot_pixel(2, 7), (7, 2, 8, 3)) == 1.0
    assert energy_in_box(hot_pixel(2, 7), (0, 0, 7, 6)) == 0.0
    assert energy_in_box(hot_pixel(2, 7), (0, 0, 10, 2)) == 0.0


def test_energy_of_a_cut_pixel_is_the_part_inside() -> None:
    """A box from 7.25 covers three quarters of column 7, one from row 2.5 half of row 2: 3/8 of the pixel."""
    np.testing.assert_allclose(energy_in_box(hot_pixel(2, 7), (7.25, 2.5, 10, 6)), 0.375, rtol=1e-12)


def test_energy_of_an_even_map_is_the_share_of_the_box() -> None:
    np.testing.assert_allclose(energy_in_box(np.full((6, 10), 0.3, np.float32), (1, 2, 6, 5)), 15 / 60, rtol=1e-6)
    assert box_share((6, 10), (1, 2, 6, 5)) == 15 / 60


def test_energy_does_not_depend_on_the_scale_of_the_map() -> None:
    heatmap = np.random.default_rng(0).random((6, 10), np.float32)
    box = (1.5, 0.0, 7.0, 4.25)
    np.testing.assert_allclose(energy_in_box(heatmap * 1e-3, box), energy_in_box(heatmap, box), rtol=1e-6)


def test_blank_map_has_no_share_and_no_hit() -> None:
    assert np.isnan(energy_in_box(np.zeros((6, 10)), (0, 0, 5, 5)))
    assert np.isnan(pointing_hit(np.zeros((6, 10)), (0, 0, 5, 5)))


def test_pointing_hit_is_the_place_of_the_hottest_pixel() -> None:
    assert pointing_hit(hot_pixel(5, 0), (0, 5, 1, 6)) == 1.0
    assert pointing_hit(hot_pixel(5, 0), (1, 0, 10, 6)) == 0.0


def test_pointing_hit_of_equal_pixels_is_their_part_inside() -> None:
    """Hot at columns 1 and 8 of one row; the box holds the first."""
    assert pointing_hit(hot_pixel(3, 1) + hot_pixel(3, 8), (0, 0, 5, 6)) == 0.5


@pytest.mark.parametrize(
    "box", [(0, 0, 11, 6), (0, 0, 10, 7), (-1, 0, 5, 5), (3, 3, 3, 5), (4, 3, 3, 5), (0, 0, np.nan, 5)]
)
def test_box_outside_the_image_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"Expected a box .* inside 10 x 6 pixels"):
        energy_in_box(np.ones((6, 10)), box)


def test_negative_heat_and_wrong_rank_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected heat of 0 or more"):
        energy_in_box(-hot_pixel(0, 0), (0, 0, 5, 5))
    with pytest.raises(ValueError, match="Expected one heatmap"):
        pointing_hit(np.ones((2, 6, 10)), (0, 0, 5, 5))
