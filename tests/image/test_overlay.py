"""Overlays pixel by pixel from the definition: photo * (1 - alpha) + colour * alpha, rounded to nearest."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.pictures import random_photo
from tf_gradcam.image.overlay import Look, colormap_colors, colors_of, overlay_heatmap, paint, to_photo
from tf_gradcam.image.resize import resize_heatmaps

pytestmark = pytest.mark.core
FIRST, LAST = (0, 0, 128), (128, 0, 0)  # jet's ends, RGB


def random_heatmap(height: int = 6, width: int = 10) -> np.ndarray:
    return np.random.default_rng(1).random((height, width), np.float32)


def blend_by_pixel(photo: np.ndarray, heatmap: np.ndarray, alpha: float, colormap: str) -> np.ndarray:
    """The definition, one number at a time: "heat" has twice the weight at its hottest, and none at a heat of 0."""
    colors, overlay = colormap_colors("viridis" if colormap == "heat" else colormap), np.empty_like(photo)
    for row, column, channel in np.ndindex(photo.shape):
        level = round(float(heatmap[row, column]) * 255)
        weight = min(1.0, 2 * alpha * level / 255) if colormap == "heat" else alpha
        color = int(colors[level, channel])
        overlay[row, column, channel] = round(int(photo[row, column, channel]) * (1 - weight) + color * weight)
    return overlay


@pytest.mark.parametrize(("heat", "color"), [(0.0, FIRST), (1.0, LAST)])
@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.4, 0.5, 1.0])
def test_overlay_of_one_heat_by_hand(heat, color, alpha):
    """Photo 100 everywhere: at alpha 0.5 a heat of 1 gives (0.5 * 100 + 0.5 * 128, 50, 50) = (114, 50, 50)."""
    photo = np.full((6, 10, 3), 100, np.uint8)
    expected = [round(100 * (1 - alpha) + level * alpha) for level in color]
    overlay = overlay_heatmap(photo, np.full((6, 10), heat), alpha)
    assert overlay.dtype == np.uint8
    np.testing.assert_array_equal(overlay, np.tile(np.array(expected), (6, 10, 1)))


def test_overlay_paints_the_hot_pixel_hot():
    """One hot cell in a cold map, at its place: the hottest pixel has the last colour, the others the first."""
    heatmap = np.zeros((6, 10))
    heatmap[1, 7] = 1
    overlay = overlay_heatmap(np.zeros((6, 10, 3), np.uint8), heatmap, alpha=1)
    expected = np.tile(np.array(FIRST), (6, 10, 1))
    expected[1, 7] = LAST
    np.testing.assert_array_equal(overlay, expected)


@pytest.mark.parametrize("colormap", ["heat", "jet", "viridis", "Reds"])
@pytest.mark.parametrize("alpha", [0, 0.1, 0.3, 0.4, 0.5, 0.77, 1])
def test_overlay_follows_the_definition(alpha, colormap):
    photo, heatmap = random_photo(), random_heatmap()
    expected = blend_by_pixel(photo, heatmap, alpha, colormap)
    np.testing.assert_array_equal(overlay_heatmap(photo, heatmap, alpha, colormap), expected)


def test_overlay_defaults_are_four_tenths_of_jet():
    photo, heatmap = random_photo(), random_heatmap()
    expected = blend_by_pixel(photo, heatmap, 0.4, "jet")
    np.testing.assert_array_equal(overlay_heatmap(photo, heatmap), expected)


@pytest.mark.parametrize("colormap", ["heat", "jet"])
def test_overlay_with_alpha_0_is_the_photo_in_a_new_array(colormap):
    photo = random_photo()
    overlay = overlay_heatmap(photo, random_heatmap(3, 5), alpha=0, colormap=colormap)
    assert overlay.tobytes() == photo.tobytes()
    assert not np.shares_memory(overlay, photo)


@pytest.mark.parametrize("alpha", [0.4, 1.0])
def test_heat_of_0_is_the_photo_byte_for_byte(alpha):
    photo = random_photo()
    overlay = overlay_heatmap(photo, np.zeros((3, 5)), alpha, "heat")
    assert overlay.tobytes() == photo.tobytes()
    assert not np.shares_memory(overlay, photo)


@pytest.mark.parametrize("colormap", ["heat", "jet"])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
def test_photo_is_untouched_below_the_threshold_and_the_rest_as_without(colormap, threshold):
    photo, heatmap = random_photo(), random_heatmap()
    heatmap[0, :3] = 0.299, 0.3, 1.0  # below the threshold, at it, and the maximum
    painted = overlay_heatmap(photo, heatmap, 0.4, colormap)
    expected = np.where((heatmap < np.float32(threshold))[..., None], photo, painted)
    np.testing.assert_array_equal(overlay_heatmap(photo, heatmap, 0.4, colormap, threshold), expected)


def test_map_without_a_photo_has_its_own_colours_and_white_below_the_threshold():
    """In "heat" they do not fade, so that the map alone and its bar have the lightness of its values."""
    heatmap = random_heatmap()
    alone = paint(None, heatmap, False, Look(threshold=0.5))
    expected = colormap_colors("viridis")[np.rint(255 * heatmap).astype(int)]
    np.testing.assert_array_equal(alone, np.where((heatmap < 0.5)[..., None], 255, expected))
    np.testing.assert_array_equal(colors_of(False, Look(threshold=0.5))[[0, 127]], np.full((2, 3), 255))
    np.testing.assert_array_equal(colors_of(False, Look(threshold=0.5))[128:], colormap_colors("viridis")[128:])


def test_overlay_resizes_the_heatmap():
    photo, heatmap = random_photo(60, 100), random_heatmap(3, 5)
    resized = resize_heatmaps(heatmap[None], (60, 100))[0]
    np.testing.assert_array_equal(overlay_heatmap(photo, heatmap), overlay_heatmap(photo, resized))


def test_overlay_is_equivariant_to_mirroring():
    photo, heatmap = random_photo(61, 103), random_heatmap(3, 5)
    mirrored = overlay_heatmap(photo[:, ::-1], heatmap[:, ::-1])
    np.testing.assert_array_equal(mirrored, overlay_heatmap(photo, heatmap)[:, ::-1])


def test_overlay_leaves_its_arguments_alone():
    photo, heatmap = random_photo(), random_heatmap(3, 5)
    photo.flags.writeable = heatmap.flags.writeable = False
    overlay_heatmap(photo, heatmap)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_overlay_refuses_alpha(alpha):
    with pytest.raises(ValueError, match=r"alpha, the weight of the heatmap, in \[0, 1\]"):
        overlay_heatmap(random_photo(), random_heatmap(), alpha)


def test_overlay_refuses_alpha_that_is_no_number():
    with pytest.raises(TypeError, match="as a number, received 'jet'"):
        overlay_heatmap(random_photo(), random_heatmap(), "jet")


@pytest.mark.parametrize("bad", [-0.01, 1.01, np.nan, np.inf, 255.0])
def test_overlay_refuses_heat_outside_0_to_1(bad):
    heatmap = random_heatmap()
    heatmap[2, 3] = bad
    with pytest.raises(ValueError, match=r"heatmap in \[0, 1\], received .*divide by the maximum"):
        overlay_heatmap(random_photo(), heatmap)


@pytest.mark.parametrize("shape", [(1, 6, 10), (6, 10, 1), (60,), (0, 10)])
def test_overlay_refuses_rank_of_heatmap(shape):
    with pytest.raises(ValueError, match=r"one heatmap of shape \(H, W\), received"):
        overlay_heatmap(random_photo(), np.zeros(shape))


def test_overlay_refuses_heatmap_of_bits():
    with pytest.raises(TypeError, match=r"heatmap of floats in .*received bool"):
        overlay_heatmap(random_photo(), np.zeros((6, 10), bool))


def test_overlay_refuses_unknown_colormap():
    with pytest.raises(ValueError, match=r"Unknown colour map 'jett'. Did you mean 'jet'"):
        overlay_heatmap(random_photo(), random_heatmap(), colormap="jett")


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16, np.float16, np.float32, np.float64])
def test_photo_of_any_numbers_in_0_to_255(dtype):
    photo = random_photo()
    converted = to_photo(photo.astype(dtype))
    assert converted.dtype == np.uint8
    np.testing.assert_array_equal(converted, photo)
    assert not np.shares_memory(converted, photo)


def test_photo_rounds_floats_to_nearest():
    values = np.array([[0.4, 0.6, 99.4, 99.6, 254.6, 255.0]])
    np.testing.assert_array_equal(to_photo(values)[0, :, 0], [0, 1, 99, 100, 255, 255])


@pytest.mark.parametrize("shape", [(6, 10), (6, 10, 1)])
def test_photo_of_grey_values_has_equal_channels(shape):
    grey = random_photo()[..., 0]
    photo = to_photo(grey.reshape(shape))
    assert photo.flags.c_contiguous
    assert photo.flags.writeable
    np.testing.assert_array_equal(photo, np.dstack([grey, grey, grey]))


def test_photo_of_zeros_is_black():
    np.testing.assert_array_equal(to_photo(np.zeros((6, 10))), np.zeros((6, 10, 3)))


@pytest.mark.parametrize("high", [1.0, 0.3])
def test_photo_refuses_floats_that_may_mean_0_to_1(high):
    with pytest.raises(ValueError, match=r"perhaps meant as 0..1. Multiply them by 255"):
        to_photo(np.linspace(0, high, 60).reshape(6, 10))


@pytest.mark.parametrize("bad", [-1.0, 256.0, np.nan, np.inf])
def test_photo_refuses_values_outside_0_to_255(bad):
    pixels = random_photo().astype(np.float32)
    pixels[2, 3, 1] = bad
    with pytest.raises(ValueError, match=r"pixels in 0..255, received .*not the preprocessed input"):
        to_photo(pixels)


@pytest.mark.parametrize("shape", [(1, 6, 10, 3), (6, 10, 4), (60,), (6, 0, 3)])
def test_photo_refuses_shape(shape):
    with pytest.raises(ValueError, match=r"one image of shape .*received .*`images\[0\]`"):
        to_photo(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [bool, complex, object])
def test_photo_refuses_what_is_no_number(dtype):
    with pytest.raises(TypeError, match=r"integers or floats in 0..255, received"):
        to_photo(np.zeros((6, 10, 3), dtype))


@pytest.mark.parametrize("image", ["cat.png", Path("cat.png")])
def test_path_in_place_of_a_photo_is_told_the_way_to_one(image):
    with pytest.raises(TypeError, match=r"Expected pixels, received the path 'cat\.png'\. Read it with load_image"):
        overlay_heatmap(image, random_heatmap())
