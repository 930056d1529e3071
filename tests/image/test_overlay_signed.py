"""Signed maps: what speaks for and what against, in colours from which the sign can be read back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.helpers.explanations import explained
from tf_gradcam._figures.canvas import color_scale
from tf_gradcam.image.overlay import Look, colormap_colors, colors_of, paint

RAW = [[[-4.0, 0.0, 2.0], [1.0, -1.0, 0.0]], [[0.0] * 3] * 2, [[-0.5, -1.0, -2.0], [-4.0, -8.0, -1.0]]]
SHARES = [[[-1.0, 0.0, 0.5], [0.25, -0.25, 0.0]], [[0.0] * 3] * 2, [[-1 / 16, -1 / 8, -1 / 4], [-1 / 2, -1.0, -1 / 8]]]
SIGNED = explained(RAW, signed=True)
GREY = np.full((3, 2, 3, 3), 100, np.uint8)
RED, BLUE = [255, 0, 0], [0, 0, 255]


def test_signed_heatmaps_are_parts_of_the_largest_absolute_value() -> None:
    np.testing.assert_array_equal(SIGNED.signed_heatmaps, SHARES)
    assert SIGNED.signed_heatmaps.dtype == np.float32


def test_heatmaps_of_a_signed_target_stay_positive() -> None:
    np.testing.assert_array_equal(SIGNED.heatmaps[0], [[0.0, 0.0, 1.0], [0.5, 0.0, 0.0]])
    np.testing.assert_array_equal(SIGNED.resized(), SIGNED.heatmaps)


def test_map_that_is_not_finite_is_zero() -> None:
    explanation = explained([[[np.nan, -1.0]], [[np.inf, -1.0]], [[1.0, -2.0]]], signed=True)
    np.testing.assert_array_equal(explanation.signed_heatmaps, [[[0, 0]], [[0, 0]], [[0.5, -1.0]]])


def test_pictures_show_the_sign_only_where_the_target_has_one() -> None:
    assert SIGNED.shown is SIGNED.signed_heatmaps
    plain = explained(RAW)
    assert not plain.signed
    assert plain.shown is plain.heatmaps


# Colours.


def test_colours_run_from_blue_over_white_to_red() -> None:
    colors = colors_of(True)
    assert colors.shape == (255, 3)
    np.testing.assert_array_equal(colors[[0, 127, 254]], [BLUE, [255] * 3, RED])
    np.testing.assert_array_equal(colors, colors[::-1, ::-1])  # -v has the colour of v with red and blue exchanged


def test_any_colour_map_gives_its_two_ends() -> None:
    colors = colors_of(True, Look(colormap="viridis"))
    np.testing.assert_array_equal(colors[[0, 254]], colormap_colors("viridis")[[0, 255]])
    np.testing.assert_array_equal(colors[127], [255] * 3)


def test_overlay_by_hand() -> None:
    """100 with alpha 0.4: at -1 all channels go 40 % of the way to blue, at 1/2 20 % of the way to red."""
    overlay = SIGNED.overlay(GREY)
    np.testing.assert_array_equal(overlay[0, 0, 0], [60, 60, 162])
    half = np.rint(127 * 0.5) / 127  # the nearest of 127 steps
    np.testing.assert_array_equal(overlay[0, 0, 2], np.rint(100 + 0.4 * half * (np.array(RED) - 100)))
    np.testing.assert_array_equal(overlay[0, 0, 1], [100] * 3)


def test_zero_leaves_the_photo_as_it_is() -> None:
    photos = np.random.default_rng(0).integers(0, 256, (3, 2, 3, 3), np.uint8)
    np.testing.assert_array_equal(SIGNED.overlay(photos, alpha=1.0)[1], photos[1])
    np.testing.assert_array_equal(SIGNED.overlay(photos, alpha=0), photos)


@pytest.mark.parametrize("grey", [0, 60, 128, 255])
def test_sign_and_size_are_read_back_from_the_picture(grey: int) -> None:
    """On a grey g, red less blue is alpha * v * 255 whatever g is; rounding adds at most 1 and half a step of v."""
    signed = np.linspace(-1, 1, 60, dtype=np.float32).reshape(6, 10)
    overlay = paint(np.full((6, 10), grey, np.uint8), signed, True).astype(int)
    read = (overlay[..., 0] - overlay[..., 2]) / (0.4 * 255)
    np.testing.assert_allclose(read, signed, atol=1 / (0.4 * 255) + 0.5 / 127)


def test_mirrored_sign_exchanges_red_and_blue() -> None:
    signed = np.random.default_rng(1).uniform(-1, 1, (6, 10)).astype(np.float32)
    photo = np.full((6, 10, 3), 77, np.uint8)
    np.testing.assert_array_equal(paint(photo, -signed, True), paint(photo, signed, True)[..., ::-1])


def test_signed_map_is_resized_to_the_photo() -> None:
    """Two cells [-1, 1] over four pixels: -1, -1/2, 1/2, 1."""
    overlay = paint(np.zeros((1, 4, 3), np.uint8), np.array([[-1.0, 1.0]]), True, Look(1.0))
    np.testing.assert_array_equal(overlay[0], [BLUE, [0, 0, 129], [129, 0, 0], RED])  # 64/127 of 255, rounded


# Figures.


def test_figure_has_symmetric_limits_and_the_signed_map() -> None:
    figure = SIGNED.plot(GREY)
    pictures = [axes.images[0] for axes in figure.axes if axes.images]
    heatmaps = [picture for picture in pictures if picture.get_array().ndim == 2]
    np.testing.assert_array_equal(heatmaps[0].get_array(), SHARES[0])
    assert {image.get_clim() for image in heatmaps} == {(-1.0, 1.0)}
    (bar,) = (axes for axes in figure.axes if not axes.images)
    assert bar.get_ylim() == (-1.0, 1.0)


@pytest.mark.parametrize("signed", [True, False])
def test_panel_has_the_colours_of_overlays(signed: bool) -> None:
    """A signed map painted fully on white, "jet" alone: pixel by pixel, for values between the steps too."""
    values = np.linspace(-1 if signed else 0, 1, 1001, dtype=np.float32)[None]
    explanation = explained(values[None], signed=signed)
    colormap = None if signed else "jet"
    painted = explanation.overlay(np.full((1, 1, 1001, 3), 255, np.uint8), 1.0, colormap)[0]
    colors, norm = color_scale(signed, Look(colormap=colormap))
    drawn = np.rint(255 * colors(norm(explanation.shown[0]))[..., :3])
    halfway = np.abs((127 if signed else 255) * values % 1 - 0.5) < 1e-3  # either colour is the nearest
    np.testing.assert_array_equal(drawn[~halfway], painted[~halfway])


def test_map_that_only_speaks_against_is_no_blank_picture() -> None:
    """Its heatmap is blank, and the diagnosis says so; the signed picture shows it."""
    against = explained([RAW[2]], signed=True)
    assert "every cell speaks against 'sun' and none for it, so the heatmap is blank" in str(against.diagnosis[0])
    assert not any("blank" in text.get_text() for text in against.plot().texts)


# What is refused.


@pytest.mark.parametrize(
    "signed",
    [np.zeros(3), np.zeros((1, 2, 2)), np.array([[np.nan]]), np.array([[1.5]]), np.zeros((0, 2)), np.ones((2, 2), int)],
)
def test_overlay_signed_refuses_map(signed: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"Expected one signed map, floats \(H, W\) in \[-1, 1\], received"):
        paint(np.zeros((4, 4, 3), np.uint8), signed, True)


@pytest.mark.parametrize(
    ("options", "message"), [({"alpha": 2}, "alpha"), ({"colormap": "bwrr"}, "Unknown colour map")]
)
def test_overlay_signed_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paint(np.zeros((4, 4, 3), np.uint8), np.zeros((2, 2)), True, Look(**options))
