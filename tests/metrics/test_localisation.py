"""Localisation against boxes and regions, and sparsity, on maps whose answer is plain."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tf_gradcam.metrics.localisation import (
    box_region,
    box_share,
    energy_in_box,
    energy_in_region,
    iou_at,
    pointing_hit,
    pointing_hit_in_region,
    sparsity,
)


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


# Regions.


def test_region_of_a_box_says_the_same_as_the_box() -> None:
    heatmap = np.random.default_rng(1).random((6, 10))
    box = (1.25, 0.5, 7.0, 4.75)
    region = box_region((6, 10), box)
    np.testing.assert_allclose(energy_in_region(heatmap, region), energy_in_box(heatmap, box), rtol=1e-12)
    np.testing.assert_allclose(region.sum(), 5.75 * 4.25, rtol=1e-12)
    for pixel, is_hit in (((2, 1), 1.0), ((2, 0), 0.0), ((4, 6), 1.0), ((5, 6), 0.0)):
        assert pointing_hit_in_region(hot_pixel(*pixel), region) == pointing_hit(hot_pixel(*pixel), box) == is_hit


def test_energy_in_a_drawn_region() -> None:
    """Heat 1, 2 / 3, 4, of which the region holds the diagonal: 5 of 10."""
    heatmap = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert energy_in_region(heatmap, np.eye(2, dtype=bool)) == 0.5


def test_pointing_in_a_region_of_equal_pixels_is_their_part_inside() -> None:
    region = np.zeros((6, 10), bool)
    region[3, 1] = True
    assert pointing_hit_in_region(hot_pixel(3, 1) + hot_pixel(3, 8) + hot_pixel(0, 0), region) == pytest.approx(1 / 3)


def test_iou_counts_hot_pixels_and_region() -> None:
    """Hot from half of the maximum: columns 2 to 5 of one row. The region is columns 4 to 9: 2 shared of 8."""
    heatmap, region = np.zeros((6, 10), np.float32), np.zeros((6, 10), bool)
    heatmap[1, 2:6], heatmap[1, 6] = (0.5, 1.0, 0.8, 0.6), 0.4
    region[1, 4:10] = True
    assert iou_at(heatmap, region, 0.5) == 2 / 8
    assert iou_at(heatmap, region, 0.4) == 3 / 8


def test_iou_of_a_cut_pixel_is_the_part_inside() -> None:
    """One hot pixel and a box that covers it by half and half of the next: 0.5 shared of 1.5."""
    assert iou_at(hot_pixel(2, 7), box_region((6, 10), (7.5, 2, 8.5, 3))) == 0.5 / 1.5


def test_iou_is_one_for_the_region_itself_and_zero_for_its_opposite() -> None:
    region = np.random.default_rng(2).random((6, 10)) > 0.5
    assert iou_at(region.astype(np.float32), region) == 1.0
    assert iou_at((~region).astype(np.float32), region) == 0.0


def test_blank_map_has_no_value_in_a_region() -> None:
    blank, region = np.zeros((6, 10)), np.ones((6, 10), bool)
    assert np.isnan(
        [energy_in_region(blank, region), pointing_hit_in_region(blank, region), iou_at(blank, region)]
    ).all()
    assert np.isnan(sparsity(blank))


@pytest.mark.parametrize("measure", [energy_in_region, pointing_hit_in_region, iou_at])
def test_region_that_fits_not_is_refused(measure: Callable[..., float]) -> None:
    with pytest.raises(ValueError, match="a region of its size"):
        measure(hot_pixel(0, 0), np.ones((10, 6)))
    with pytest.raises(ValueError, match="not empty"):
        measure(hot_pixel(0, 0), np.zeros((6, 10)))
    with pytest.raises(ValueError, match=r"a region in \[0, 1\]"):
        measure(hot_pixel(0, 0), np.full((6, 10), 255))


def test_negative_heat_in_a_region_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected heat of 0 or more"):
        energy_in_region(-hot_pixel(0, 0), np.ones((6, 10)))
    with pytest.raises(ValueError, match="Expected heat of 0 or more"):
        sparsity(-hot_pixel(0, 0))
    with pytest.raises(ValueError, match="Expected one heatmap"):
        sparsity(np.ones(5))


# Sparsity.


def test_sparsity_of_an_even_map_is_zero_and_of_one_pixel_nearly_one() -> None:
    np.testing.assert_allclose(sparsity(np.full((6, 10), 0.3)), 0.0, atol=1e-12)
    np.testing.assert_allclose(sparsity(hot_pixel(2, 3)), 59 / 60, rtol=1e-12)


def test_sparsity_is_the_mean_difference_of_pixels() -> None:
    """The Gini index a second way: mean of |a - b| over all pairs, divided by twice the mean."""
    heatmap = np.random.default_rng(3).random((6, 10))
    differences = np.abs(heatmap.ravel()[:, None] - heatmap.ravel())
    np.testing.assert_allclose(sparsity(heatmap), differences.mean() / (2 * heatmap.mean()), rtol=1e-12)
    np.testing.assert_allclose(sparsity(7 * heatmap[::-1, ::-1]), sparsity(heatmap), rtol=1e-12)
