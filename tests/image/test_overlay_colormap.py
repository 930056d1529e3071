"""Colour maps by name, from OpenCV and from Matplotlib."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from tf_gradcam.image.overlay import colormap_colors


def test_jet_runs_from_dark_blue_to_dark_red():
    """Jet by definition: half blue, blue at 1/8, green in the middle, red at 7/8, half red."""
    colors = colormap_colors("jet")
    assert colors.shape == (256, 3)
    assert colors.dtype == np.uint8
    np.testing.assert_array_equal(colors[0], [0, 0, 128])
    np.testing.assert_array_equal(colors[255], [128, 0, 0])
    np.testing.assert_allclose(colors[32], [0, 0, 255], atol=4)
    np.testing.assert_allclose(colors[128], [128, 255, 128], atol=4)
    np.testing.assert_allclose(colors[223], [255, 0, 0], atol=4)


@pytest.mark.parametrize("name", ["viridis", "inferno", "magma", "plasma", "cividis", "turbo"])
def test_maps_of_both_libraries_agree(name):
    expected = np.rint(255 * matplotlib.colormaps[name](np.arange(256))[:, :3])
    np.testing.assert_allclose(colormap_colors(name).astype(float), expected, atol=2)


def test_shared_name_means_opencv():
    """OpenCV's rainbow begins with red, Matplotlib's ends with it."""
    np.testing.assert_array_equal(colormap_colors("rainbow")[0], [255, 0, 0])
    np.testing.assert_array_equal(colormap_colors("rainbow_r")[0], [255, 0, 0])


def test_maps_of_matplotlib_alone():
    np.testing.assert_array_equal(colormap_colors("gray"), np.repeat(np.arange(256)[:, None], 3, axis=1))
    np.testing.assert_array_equal(colormap_colors("gray_r"), colormap_colors("gray")[::-1])


def test_map_of_few_colors_is_spread_over_the_heat():
    """tab10 has ten colours: the first must paint the first tenth, the last the last."""
    colors = colormap_colors("tab10")
    first, last = (np.rint(255 * np.array(matplotlib.colormaps["tab10"].colors[index])) for index in (0, 9))
    np.testing.assert_array_equal(colors[:25], np.tile(first, (25, 1)))
    np.testing.assert_array_equal(colors[-25:], np.tile(last, (25, 1)))


@pytest.mark.parametrize(("name", "nearest"), [("jett", "jet"), ("Viridis", "viridis"), ("blues", "Blues")])
def test_unknown_map_lists_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"Unknown colour map '{name}'.*'{nearest}'"):
        colormap_colors(name)


def test_map_without_name_is_refused():
    with pytest.raises(TypeError, match="name of a colour map, such as 'jet', received int"):
        colormap_colors(2)


def test_maps_of_opencv_import_no_matplotlib():
    program = (
        "import sys; from tf_gradcam.image.overlay import colormap_colors; colormap_colors('jet'); "
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
