"""Maps at the places of their cells: against the definition, and against plain resizing where they are tiles."""

import dataclasses

import numpy as np
import pytest

from tf_gradcam.image.resize import Placement, place_maps, plain_placement, resize_heatmaps


def random_maps(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("cells", "picture", "size"), [((3, 4), (6, 10), None), ((3, 4), (7, 10), (21, 5)), ((1, 7), (1, 50), None)]
)
def test_tiles_equal_plain_resizing_bit_for_bit(cells, picture, size):
    maps = random_maps((2, *cells))
    expected = resize_heatmaps(maps, size or picture)
    np.testing.assert_array_equal(place_maps(maps, Placement.tiles(cells, picture), size), expected)


def test_shifted_tiles_equal_plain_resizing_with_offset():
    maps, tiles = random_maps((2, 3, 5)), Placement.tiles((3, 5), (6, 10))
    shifted = dataclasses.replace(tiles, start=(tiles.start[0] + 0.5, tiles.start[1] - 1.0))
    np.testing.assert_array_equal(place_maps(maps, shifted), resize_heatmaps(maps, (6, 10), (0.5, -1.0)))
    np.testing.assert_array_equal(place_maps(maps, shifted, (12, 20)), resize_heatmaps(maps, (12, 20), (1.0, -2.0)))


def test_affine_cells_by_hand():
    """Cells of a signal of 8 samples at 2.5 and 5.5: edges extend; between them a third of the way per sample."""
    placement = Placement(0, (8,), (0,), (3.0,), (2.5,), "arithmetic")
    actual = place_maps(np.array([[3.0, 6.0]]), placement)
    np.testing.assert_allclose(actual, [[3, 3, 3, 4, 5, 6, 6, 6]], rtol=1e-6)


def test_map_is_zero_where_nothing_reaches_the_layer():
    """A model that crops samples 2 to 5 of 8 into two cells."""
    placement = Placement(0, (8,), (0,), (2.0,), (3.0,), "arithmetic", reach=((2.0, 6.0),))
    actual = place_maps(np.array([[4.0, 8.0]]), placement)
    np.testing.assert_allclose(actual, [[0, 0, 4, 5, 7, 8, 0, 0]], rtol=1e-6)
    assert not place_maps(np.array([[4.0, 8.0]]), placement, (16,))[0, [0, 3, 12, 15]].any()


def test_turned_axes_are_turned_back():
    maps, tiles = random_maps((2, 5, 3)), Placement.tiles((3, 5), (6, 10))
    turned = Placement(0, (6, 10), (1, 0), tiles.scale[::-1], tiles.start[::-1], "probes", ((0, 7), (0, 6)))
    expected = place_maps(maps.transpose(0, 2, 1), tiles)
    expected[:, :, 7:] = 0
    np.testing.assert_allclose(place_maps(maps, turned), expected, rtol=1e-6, atol=1e-7)


def test_axes_without_cells_repeat_the_map():
    """Time steps of frames (T0, H0, W0) are everywhere in their frame."""
    placement = Placement(0, (3, 2, 4), (0,), (1.0,), (0.5,), "probes")
    actual = place_maps(np.array([[1.0, 2.0, 3.0]]), placement)
    np.testing.assert_array_equal(actual[0], np.broadcast_to(np.array([1, 2, 3])[:, None, None], (3, 2, 4)))


def test_only_some_slices_are_computed():
    placement = Placement(0, (9, 6, 8), (2, 0), (2.0, 3.0), (1.0, 1.5), "probes", reach=((0, 8), (2, 9)))
    maps = random_maps((2, 4, 3))
    chosen = np.array([1, 4, 5])
    np.testing.assert_array_equal(place_maps(maps, placement, None, chosen), place_maps(maps, placement)[:, chosen])


@pytest.mark.parametrize(
    ("cells", "shape", "image_size"),
    [
        ((3, 5), (6, 10, 3), (6, 10)),
        ((3, 5), (6, 10), (6, 10)),
        ((5,), (50, 2), (50,)),
        ((5,), (50,), (50,)),
        ((2, 3, 5), (4, 6, 10, 1), (4, 6, 10)),
        ((2, 3, 5), (4, 6, 10), (4, 6, 10)),
    ],
)
def test_plain_placement_is_tiles_of_an_input_with_or_without_channels(cells, shape, image_size):
    assert plain_placement(cells, shape, 1) == Placement.tiles(cells, image_size, 1)


def test_plain_placement_of_one_frame_is_a_picture():
    placement = plain_placement((3, 5), (4, 6, 10, 3), frame=2)
    assert placement == dataclasses.replace(Placement.tiles((3, 5), (6, 10)), frame=2)


def test_plain_placement_of_time_steps_covers_frames():
    placement = plain_placement((4,), (4, 6, 10, 3))
    assert (placement.image_size, placement.axes, placement.scale) == ((4, 6, 10), (0,), (1.0,))


@pytest.mark.parametrize(("cells", "shape"), [((3, 5), (784,)), ((3,), (4, 6, 10, 3)), ((3,), (6, 10, 3))])
def test_plain_placement_is_unknown_where_the_axes_differ(cells, shape):
    assert "the input has" in plain_placement(cells, shape).reason


@pytest.mark.parametrize(("cells", "side", "scale"), [(8, 299, 32.0), (5, 47, 8.0), (6, 64, 9.7)])
def test_symmetric_placement_mirrors_bit_for_bit(cells, side, scale):
    placement = Placement(0, (side,), (0,), (scale,), ((side - scale * (cells - 1)) / 2,), "arithmetic")
    maps = random_maps((3, cells))
    np.testing.assert_array_equal(place_maps(maps[:, ::-1], placement), place_maps(maps, placement)[:, ::-1])


def test_offset_is_from_the_middle_of_the_picture_to_the_middle_of_the_map():
    assert Placement.tiles((3, 7), (10, 33)).offset_of((3, 7)) == (0.0, 0.0)
    assert Placement(0, (8,), (0,), (2.0,), (2.0,), "arithmetic").offset_of((3,)) == (0.0,)
    assert Placement(0, (8,), (0,), (2.0,), (1.0,), "arithmetic").offset_of((3,)) == (-1.0,)
