"""Resizing of heatmaps against the definition, by hand, and against OpenCV."""

import cv2
import numpy as np
import pytest

from tf_gradcam.image.resize import interpolation_matrix, resize_heatmaps

SIZES = [((7, 7), (224, 224)), ((3, 5), (6, 10)), ((1, 1), (6, 10)), ((1, 4), (9, 7)), ((12, 20), (5, 8))]


def random_maps(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def bilinear_value(heatmap: np.ndarray, row: float, column: float) -> float:
    """The definition: a tent around each cell, cell centres at whole numbers, edges replicated."""
    total = 0.0
    for i in range(-1, heatmap.shape[0] + 1):
        for j in range(-1, heatmap.shape[1] + 1):
            weight = max(0.0, 1.0 - abs(row - i)) * max(0.0, 1.0 - abs(column - j))
            inside = heatmap[min(max(i, 0), heatmap.shape[0] - 1), min(max(j, 0), heatmap.shape[1] - 1)]
            total += weight * float(inside)
    return total


def test_interpolation_matrix_two_to_four_by_hand():
    """Pixel centres 0.5, 1.5, 2.5, 3.5 of 4 lie at cells -0.25 (edge), 0.25, 0.75, 1.25 (edge)."""
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    np.testing.assert_array_equal(interpolation_matrix(2, 4), expected)


def test_interpolation_matrix_offset_by_hand():
    """Shifted by half a pixel, pixels 1, 2, 3 lie at cells 0.0, 0.5, 1.0, and pixel 0 beyond the edge."""
    expected = [[1, 0], [1, 0], [0.5, 0.5], [0, 1]]
    np.testing.assert_array_equal(interpolation_matrix(2, 4, offset=0.5), expected)


@pytest.mark.parametrize(("cells", "pixels", "offset"), [(7, 224, 0.0), (5, 3, 0.3), (1, 6, 2.0), (4, 9, -7.7)])
def test_interpolation_matrix_rows_sum_to_one(cells, pixels, offset):
    matrix = interpolation_matrix(cells, pixels, offset)
    assert matrix.shape == (pixels, cells)
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, rtol=1e-15)


@pytest.mark.parametrize(("cells", "pixels"), [(0, 4), (4, 0), (2.5, 4)])
def test_interpolation_matrix_refuses_counts(cells, pixels):
    with pytest.raises(ValueError, match=r"Expected \(cells, pixels\) as two positive integers"):
        interpolation_matrix(cells, pixels)


def test_interpolation_matrix_refuses_offset():
    with pytest.raises(ValueError, match="finite numbers in pixels"):
        interpolation_matrix(2, 4, float("nan"))


def test_resize_two_to_four_by_hand():
    heatmap = np.array([[0.0, 4.0], [8.0, 12.0]])
    expected = [[0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]]
    np.testing.assert_array_equal(resize_heatmaps(heatmap[None], (4, 4)), [expected])


@pytest.mark.parametrize("offset", [(0.0, 0.0), (1.3, -2.6)])
def test_resize_follows_definition(offset):
    heatmaps, (height, width) = random_maps((2, 3, 4)), (7, 10)
    expected = np.empty((2, height, width))
    for index, p, q in np.ndindex(expected.shape):
        row = np.clip((p + 0.5 - offset[0]) * 3 / height - 0.5, 0, 2)
        column = np.clip((q + 0.5 - offset[1]) * 4 / width - 0.5, 0, 3)
        expected[index, p, q] = bilinear_value(heatmaps[index], row, column)
    actual = resize_heatmaps(heatmaps, (height, width), offset)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("cells", "size"), SIZES)
def test_resize_equals_product_of_matrices(cells, size):
    heatmaps, offset = random_maps((2, *cells)), (0.7, -3.25)
    rows = interpolation_matrix(cells[0], size[0], offset[0])
    columns = interpolation_matrix(cells[1], size[1], offset[1])
    expected = np.einsum("pi,bij,qj->bpq", rows, heatmaps.astype(np.float64), columns)
    np.testing.assert_allclose(resize_heatmaps(heatmaps, size, offset), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("cells", "size"), SIZES)
def test_resize_equals_opencv(cells, size):
    heatmap = random_maps(cells)
    expected = cv2.resize(heatmap, size[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(resize_heatmaps(heatmap[None], size)[0], expected, atol=1e-5)


@pytest.mark.parametrize(("cells", "size"), [*SIZES, ((7, 11), (299, 331)), ((10, 13), (123, 77))])
def test_resize_is_equivariant_to_mirroring_bit_for_bit(cells, size):
    heatmaps = random_maps((3, *cells))
    resized = resize_heatmaps(heatmaps, size)
    np.testing.assert_array_equal(resize_heatmaps(heatmaps[:, ::-1], size), resized[:, ::-1])
    np.testing.assert_array_equal(resize_heatmaps(heatmaps[:, :, ::-1], size), resized[:, :, ::-1])


def test_resize_mirrors_offsets_too():
    heatmaps, size = random_maps((1, 7, 5)), (60, 47)
    shifted = resize_heatmaps(heatmaps, size, (3.5, -1.0))
    mirrored = resize_heatmaps(heatmaps[:, ::-1, ::-1], size, (-3.5, 1.0))
    np.testing.assert_array_equal(mirrored, shifted[:, ::-1, ::-1])


@pytest.mark.parametrize(("cells", "size"), [*SIZES, ((7, 11), (299, 331))])
def test_resize_stays_in_range(cells, size):
    """Also of a constant map, where any rounding upwards would show."""
    for heatmap in (random_maps(cells), np.full(cells, np.float32(0.1)), np.full(cells, np.float32(1 / 3))):
        resized = resize_heatmaps(heatmap[None], size, (0.4, 0.9))
        assert resized.min() >= heatmap.min()
        assert resized.max() <= heatmap.max()


def test_resize_to_same_size_is_identity():
    heatmaps = random_maps((2, 6, 10))
    np.testing.assert_array_equal(resize_heatmaps(heatmaps, (6, 10)), heatmaps)


def test_resize_offset_of_whole_cells_shifts_the_grid():
    """On cells of 32 x 32 pixels, an offset of (32, -64) moves them one down and two to the left.

    Half a cell at the bottom and the left is apart: there the cells that moved out of sight still count.
    """
    heatmaps = random_maps((1, 4, 6))
    shifted = heatmaps[:, [0, 0, 1, 2]][:, :, [2, 3, 4, 5, 5, 5]]
    expected = resize_heatmaps(shifted, (128, 192))
    actual = resize_heatmaps(heatmaps, (128, 192), (32, -64))
    np.testing.assert_array_equal(actual[:, :-16, 16:], expected[:, :-16, 16:])


def test_resize_offset_shifts_the_pixels_and_replicates_the_edge():
    heatmaps = random_maps((1, 4, 6))
    plain = resize_heatmaps(heatmaps, (50, 70))
    shifted = resize_heatmaps(heatmaps, (50, 70), (3, -5))
    np.testing.assert_allclose(shifted[:, 3:, :-5], plain[:, :-3, 5:], rtol=1e-6)
    np.testing.assert_array_equal(shifted[:, :3], np.repeat(shifted[:, 3:4], 3, axis=1))


def test_resize_of_no_maps():
    assert resize_heatmaps(np.zeros((0, 3, 5)), (6, 10)).shape == (0, 6, 10)


@pytest.mark.parametrize("shape", [(6, 10), (1, 6, 10, 3), (1, 0, 10)])
def test_resize_refuses_rank(shape):
    with pytest.raises(ValueError, match=r"heatmaps of shape \(B, H, W\), received"):
        resize_heatmaps(np.zeros(shape), (6, 10))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_resize_refuses_non_finite(bad):
    with pytest.raises(ValueError, match="finite heatmaps"):
        resize_heatmaps(np.full((1, 2, 2), bad), (6, 10))


@pytest.mark.parametrize("size", [224, (224,), (6, 10, 3), (0, 10), (6, -10), (6.0, 10.0), "224", None])
def test_resize_refuses_size(size):
    with pytest.raises(ValueError, match=r"size \(height, width\) in pixels as two positive integers"):
        resize_heatmaps(np.zeros((1, 3, 5)), size)


@pytest.mark.parametrize("offset", [1.0, (1.0,), (np.nan, 0.0), ("a", 0), None])
def test_resize_refuses_offset(offset):
    with pytest.raises(ValueError, match=r"offset \(dy, dx\) of finite numbers"):
        resize_heatmaps(np.zeros((1, 3, 5)), (6, 10), offset)
