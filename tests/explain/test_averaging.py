"""Mirrored, zoomed and noisy copies, with explainers that see what is written here; and eigen smoothing.

Also tests _rules/eigen_smooth.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.explanations import first_channel, seeing
from tests.zoo.styles import photos, plain_model
from tf_gradcam import METHODS, Explainer
from tf_gradcam._explain.averaging import augment, smooth
from tf_gradcam._explain.fusion import fuse
from tf_gradcam._explain.passes import combine
from tf_gradcam._rules.eigen_smooth import eigen_smooth
from tf_gradcam.image.resize import Placement, exact_zoom, zoom_matrix

PICTURES = np.random.default_rng(0).random((2, 6, 10, 3)).astype(np.float32)


# Mirrored copies.


def test_explainer_that_mirrors_with_the_picture_sees_no_more() -> None:
    augmented = augment(seeing(first_channel))(PICTURES)
    np.testing.assert_array_equal(augmented.raw, PICTURES[..., 0])


def test_explainer_that_looks_left_looks_to_both_sides() -> None:
    """It always sees [4, 2, 0]; brought back from the mirrored copy that is [0, 2, 4]."""
    augmented = augment(seeing(lambda images: [[[4.0, 2.0, 0.0]] * 2]))(np.zeros((1, 2, 3, 1)))
    np.testing.assert_array_equal(augmented.raw, [[[2.0, 2.0, 2.0]] * 2])


def test_mirrored_picture_has_the_mirrored_map_in_any_network() -> None:
    explainer = augment(Explainer(plain_model(), "conv2"))
    there, back = explainer(photos(2), 1), explainer(photos(2)[:, :, ::-1], 1)
    np.testing.assert_allclose(back.raw, there.raw[:, :, ::-1], rtol=1e-5, atol=1e-6)


def test_top_class_of_the_picture_is_explained_in_its_copies() -> None:
    explainer = seeing(first_channel, classes=[1, 0])
    augment(explainer)(PICTURES)
    (plain, mirrored) = explainer.calls
    assert plain[1] is None
    np.testing.assert_array_equal(mirrored[1], [1, 0])
    np.testing.assert_array_equal(mirrored[0], PICTURES[:, :, ::-1])


def test_mirrored_cells_look_beside_their_tiles_on_the_other_side() -> None:
    """Cells that look 1 px right: what is in column 2 stands in column 1, and mirrored, of the copy, in column 3."""
    looks_right = seeing(lambda images: np.roll(first_channel(images), -1, axis=2), offset=(0.0, 1.0))
    picture = np.zeros((1, 1, 6, 1))
    picture[0, 0, 2] = 1.0
    augmented = augment(looks_right)(picture)
    np.testing.assert_array_equal(augmented.raw, picture[..., 0])
    assert augmented.offset == (0.0, 0.0)


def test_volume_is_mirrored_in_its_width() -> None:
    explainer = seeing(first_channel)
    volume = np.random.default_rng(0).random((1, 3, 4, 5, 1))
    np.testing.assert_allclose(augment(explainer)(volume).raw, volume[..., 0], rtol=1e-6)
    np.testing.assert_array_equal(explainer.calls[1][0], volume[:, :, :, ::-1])


@pytest.mark.parametrize("names", [None, ("photo", "vector")])
def test_only_pictures_of_several_inputs_are_mirrored(names: tuple[str, str] | None) -> None:
    vectors = np.ones((2, 4))
    images = dict(zip(names, (PICTURES, vectors), strict=True)) if names else [PICTURES, vectors]
    explainer = seeing(lambda inputs: first_channel(inputs["photo" if names else 0]))
    augment(explainer)(images)
    given = explainer.calls[1][0]
    picture, vector = given.values() if names else given
    assert type(given) is type(images)
    np.testing.assert_array_equal(picture, PICTURES[:, :, ::-1])
    np.testing.assert_array_equal(vector, vectors)


# The spread of the copies.


def test_spread_of_flips_is_half_the_difference_of_the_two_maps() -> None:
    """The maps are [1, 1/2, 0] and, brought back from the mirrored copy, [0, 1/2, 1]."""
    augmented = augment(seeing(lambda images: [[[4.0, 2.0, 0.0]] * 2]))(np.zeros((1, 2, 3, 1)))
    np.testing.assert_allclose(augmented.spread, [[[0.5, 0.0, 0.5]] * 2], atol=1e-7)


def test_spread_counts_only_the_copies_that_show_a_cell() -> None:
    """Twice as large, the copy shows the middle two of four cells, where its map is 1 and the plain one 0."""
    maps = iter([[[[1.0, 0.0, 0.0, 1.0]] * 4], [[[1.0] * 4] * 4]])
    augmented = augment(seeing(lambda images: next(maps)), False, (1.0, 2.0))(np.zeros((1, 4, 4, 1)))
    np.testing.assert_allclose(augmented.spread[0, 1:3], [[0.0, 0.5, 0.5, 0.0]] * 2, atol=1e-6)
    np.testing.assert_array_equal(augmented.spread[0, [0, 3]], 0.0)


def test_spread_of_noisy_copies_is_that_of_their_own_maps() -> None:
    """Maps [1, 0], [0, 1] and [0, 1], of any scale: a share of 1/3 in a cell has the deviation sqrt(2)/3."""
    maps = iter([[[[9.0, 9.0]]], [[[5.0, 0.0]]], [[[0.0, 2.0]]], [[[0.0, 7.0]]]])
    smoothed = smooth(seeing(lambda images: next(maps)), copies=3)(np.zeros((1, 1, 2, 1)))
    np.testing.assert_allclose(smoothed.spread, np.full((1, 1, 2), np.sqrt(2) / 3), rtol=1e-6)


def test_spread_goes_with_its_image_and_not_with_other_maps() -> None:
    augmented = augment(seeing(first_channel))(np.stack([PICTURES[0], PICTURES[0, :, ::-1]]))
    np.testing.assert_array_equal(augmented.part(slice(1, 2)).spread, augmented.spread[1:])
    assert fuse([augment(seeing(first_channel))])(PICTURES).spread is None
    assert seeing(first_channel)(PICTURES).spread is None


# Zoomed copies.


def test_zoomed_in_by_hand() -> None:
    """Twice as long, pixel p samples (p + 1/2) / 2 - 1/2; the middle four of eight are kept."""
    np.testing.assert_allclose(zoom_matrix(4, 2.0) @ [0, 1, 2, 3], [0.75, 1.25, 1.75, 2.25])


def test_zoomed_out_by_hand() -> None:
    """Half as long: each pixel takes 1, 3/4 and 1/4 parts of the nearest three; the edge pixels are repeated."""
    np.testing.assert_allclose(zoom_matrix(4, 0.5) @ [0, 2, 4, 6], [1.25, 1.25, 4.75, 4.75])


@pytest.mark.parametrize("zoom", [0.01, 0.3, 0.8, 1.0, 1.1, 1.25, 7.0])
@pytest.mark.parametrize("side", [1, 6, 7, 224])
def test_zoomed_constant_is_the_constant_and_symmetric(side: int, zoom: float) -> None:
    matrix = zoom_matrix(side, zoom)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-12)
    assert matrix.min() >= 0


def test_exact_zoom_adds_as_many_pixels_on_both_sides() -> None:
    assert exact_zoom(10, 1.25) == 1.2  # one pixel on either side, not 1.25
    assert exact_zoom(10, 0.5) == 0.6
    assert exact_zoom(7, 1e-9) == 1 / 7


@pytest.mark.parametrize("zoom", [0.6, 1.4])
def test_map_brought_back_has_its_values_where_they_were(zoom: float) -> None:
    """A map of positions: where the content is `zoom` times as long, a cell at place p shows what was at p / zoom."""
    centres = np.broadcast_to(np.arange(10) - 4.5, (1, 10, 10))
    augmented = augment(seeing(lambda images: centres / zoom), False, (zoom,))(np.zeros((1, 10, 10, 1)))
    np.testing.assert_allclose(augmented.raw[0, 2:8, 2:8], centres[0, 2:8, 2:8], rtol=1e-6)


def test_cells_are_averaged_over_the_copies_that_show_them() -> None:
    augmented = augment(seeing(lambda images: np.ones((2, 6, 10))), False, (1.0, 2.0))(PICTURES)
    np.testing.assert_allclose(augmented.raw, 1.0)


def test_cells_that_no_copy_shows_are_zero() -> None:
    """Twice as long, centres at most a quarter of the side from the middle are shown: 4 of 6 rows, 6 of 10 columns."""
    augmented = augment(seeing(lambda images: np.ones((2, 6, 10))), False, (2.0,))(PICTURES)
    expected = np.zeros((6, 10))
    expected[1:5, 2:8] = 1
    np.testing.assert_array_equal(augmented.raw[0], expected)


def test_slope_survives_zooming_away_from_the_edges() -> None:
    """An explainer that sees brightness, on a picture that brightens evenly, by 1 a row: no copy is a tenth off."""
    slope = np.broadcast_to(np.arange(40.0)[:, None, None], (1, 40, 40, 1))
    augmented = augment(seeing(first_channel), True, (0.8, 1.0, 1.25))(slope)
    np.testing.assert_allclose(augmented.raw[0, 8:-8], slope[0, 8:-8, :, 0], atol=0.1 / 3)


def test_zoomed_bytes_stay_bytes() -> None:
    explainer = seeing(first_channel)
    augment(explainer, False, (0.7, 1.4))((255 * PICTURES).astype(np.uint8))
    assert {images.dtype for images, _ in explainer.calls} == {np.dtype(np.uint8)}
    assert explainer.calls[1][0].shape == PICTURES.shape


def test_depth_is_not_zoomed() -> None:
    explainer = seeing(first_channel)
    volume = np.zeros((1, 3, 6, 6, 1))
    volume[:, 1] = 1.0
    augment(explainer, False, (0.5,))(volume)
    np.testing.assert_allclose(explainer.calls[1][0], volume)


# Noisy copies.


def test_copies_without_noise_are_the_picture() -> None:
    smoothed = smooth(seeing(first_channel), copies=4, noise=0)(PICTURES)
    np.testing.assert_array_equal(smoothed.raw, PICTURES[..., 0])


def test_map_is_the_mean_over_the_copies() -> None:
    explainer = seeing(first_channel)
    smoothed = smooth(explainer, copies=3)(PICTURES)
    noisy = [images for images, _ in explainer.calls[1:]]
    assert len(noisy) == 3
    np.testing.assert_allclose(smoothed.raw, np.mean([images[..., 0] for images in noisy], axis=0), rtol=1e-6)


def test_noise_is_a_part_of_the_range_of_each_image() -> None:
    """Grey, with a black and a white pixel to span the range; the second image has a hundred times the contrast."""
    images = np.full((2, 60, 100, 3), 0.5)
    images[:, 0, 0], images[:, 0, 1] = 0.0, 1.0
    images[1] = 100 * images[1] - 50
    explainer = seeing(first_channel)
    smooth(explainer, copies=1, noise=0.1)(images)
    noise = explainer.calls[1][0] - images
    np.testing.assert_allclose(noise[:, 1:].std(axis=(1, 2, 3)), [0.1, 10.0], rtol=0.03)
    np.testing.assert_allclose(noise[1], 100 * noise[0], atol=1e-4)


def test_noisy_values_stay_within_those_of_the_image() -> None:
    explainer = seeing(first_channel)
    smooth(explainer, copies=2, noise=2.0)((255 * PICTURES).astype(np.uint8))
    noisy = explainer.calls[1][0]
    assert noisy.dtype == np.uint8
    for image, plain in zip(noisy, (255 * PICTURES).astype(np.uint8), strict=True):
        assert (image.min(), image.max()) == (plain.min(), plain.max())


def test_seed_makes_the_noise() -> None:
    maps = [smooth(seeing(first_channel), copies=2, seed=seed)(PICTURES).raw for seed in (0, 0, 1)]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert np.abs(maps[0] - maps[2]).max() > 0.01


def test_noisy_batch_is_its_single_images() -> None:
    explainer = smooth(Explainer(plain_model(), "conv2"), copies=2)
    whole = explainer(photos(3))
    singles = [explainer(image[None]) for image in photos(3)]
    np.testing.assert_allclose(whole.raw, np.concatenate([single.raw for single in singles]), rtol=1e-4, atol=1e-5)


def test_top_class_of_the_picture_is_explained_in_its_noisy_copies() -> None:
    explainer = seeing(first_channel, classes=[1, 0])
    smoothed = smooth(explainer, copies=2)(PICTURES)
    assert [type(target) for _, target in explainer.calls] == [type(None), np.ndarray, np.ndarray]
    assert smoothed.labels == ["moon", "sun"]
    np.testing.assert_array_equal(explainer.calls[0][0], PICTURES)


def test_words_are_no_pictures() -> None:
    explainer = seeing(lambda inputs: first_channel(inputs[0]))
    words = np.arange(8).reshape(2, 4)
    smooth(explainer, copies=1)([PICTURES, words])
    np.testing.assert_array_equal(explainer.calls[1][0][1], words)


def test_signals_can_be_smoothed() -> None:
    signal = np.random.default_rng(0).random((2, 30, 1))
    assert smooth(seeing(first_channel), copies=2)(signal).raw.shape == (2, 30)


# Around each other.


def test_wrappers_wrap_each_other_and_say_so() -> None:
    model = plain_model()
    layers = [Explainer(model, name, "layercam") for name in ("conv2", "conv3")]
    explanation = smooth(augment(fuse(layers, "max"), True, (0.9, 1.0)), copies=2)(photos(2))
    assert explanation.method == "layercam, fused by max, mean over flips and scales 0.9, 1, mean over 2 noisy copies"
    assert explanation.layer_name == "conv2 + conv3"
    assert explanation.diagnosis == [None, None]
    assert explanation.heatmaps.max(axis=(1, 2)).tolist() == [1.0, 1.0]
    plain = layers[0](photos(2))
    np.testing.assert_allclose(explanation.scores, plain.scores, rtol=1e-5)
    np.testing.assert_allclose(explanation.probabilities, plain.probabilities, rtol=1e-5)
    assert fuse([augment(layers[0]), smooth(layers[1], copies=1)])(photos(1)).heatmaps.max() == 1.0


@pytest.mark.parametrize("wrap", [augment, smooth, lambda explainer: augment(explainer, True, (0.5, 2.0))])
def test_image_that_is_not_finite_spoils_no_other(wrap: Any) -> None:
    images = PICTURES.copy()
    images[0, 2, 3] = np.inf

    def look(batch: np.ndarray) -> np.ndarray:  # as in a network, one such pixel reaches every cell
        return np.where(np.isfinite(batch).all((1, 2, 3), keepdims=True)[..., 0], first_channel(batch), np.nan)

    explanation = wrap(seeing(look, offset=(1.0, 1.0)))(images)
    assert "the image holds NaN or infinite values" in str(explanation.diagnosis[0])
    assert not explanation.heatmaps[0].any()
    assert explanation.diagnosis[1] is None
    assert explanation.heatmaps[1].max() == 1.0


def test_blank_copies_give_the_reason_of_the_map() -> None:
    (reason,) = augment(seeing(lambda images: -np.ones((1, 6, 10))))(PICTURES[:1]).diagnosis
    assert reason.count("every cell speaks against 'sun'") == 1


def test_copies_that_cancel_say_so() -> None:
    """Hot on the left, cold on the right, and the other way round once it is mirrored back."""
    halves = np.concatenate([np.ones((1, 6, 5)), -np.ones((1, 6, 5))], axis=2)
    explanation = augment(seeing(lambda images: halves))(PICTURES[:1])
    assert "the maps of the copies cancel" in explanation.diagnosis[0]


@pytest.mark.parametrize(
    ("wrap", "runs"),
    [
        (lambda explainer: augment(explainer), 2),
        (lambda explainer: augment(explainer, scales=(0.8, 1.0, 1.25)), 6),
        (lambda explainer: augment(explainer, False, (0.8, 1.25)), 3),  # and the images as they are
        (lambda explainer: smooth(explainer, copies=3), 4),
    ],
)
def test_progress_is_told_over_all_copies(wrap: Any, runs: int) -> None:
    heard: list[tuple[int, int]] = []
    wrap(seeing(first_channel))(PICTURES, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(100 * run, 100 * runs) for run in range(1, runs + 1)]


def test_probing_methods_tell_their_progress_through_the_wrappers() -> None:
    heard: list[tuple[int, int]] = []
    explainer = smooth(augment(Explainer(plain_model(), "conv2", "ablationcam")), copies=1)
    explainer(photos(1), progress=lambda done, total: heard.append((done, total)))
    assert heard == sorted(set(heard))
    assert heard[-1] == (200, 200)


# What is refused.


@pytest.mark.parametrize("wrap", [augment, smooth])
def test_what_cannot_be_called_is_refused(wrap: Any) -> None:
    with pytest.raises(TypeError, match="Expected an explainer"):
        wrap("gradcam")


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, -2.0), (np.inf,), (np.nan,)])
def test_augment_refuses_scales(scales: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="Expected scales as at least one number above 0"):
        augment(seeing(first_channel), scales=scales)


@pytest.mark.parametrize("raw", [np.ones((1, 5)), np.ones((1, 5, 5))])
def test_augment_refuses_what_has_no_left_and_right(raw: np.ndarray) -> None:
    with pytest.raises(ValueError, match="Expected maps with the axes of pictures to mirror or zoom"):
        augment(seeing(lambda _: raw, image_size=(5,)))(np.ones((1, 5, 1)))


@pytest.mark.parametrize("options", [{"copies": 0}, {"noise": -0.1}, {"noise": np.nan}, {"noise": np.inf}])
def test_smooth_refuses(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"Expected {next(iter(options))}"):
        smooth(seeing(first_channel), **options)


@pytest.mark.parametrize("options", [{"copies": 2.5}, {"seed": "zero"}])
def test_smooth_refuses_what_is_no_integer(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="integer"):
        smooth(seeing(first_channel), **options)


# Eigen smoothing.

GENERATOR = np.random.default_rng(3)
ACTIVATIONS, GRADIENTS = (GENERATOR.normal(0.3, 1.0, (2, 6, 10, 5)).astype(np.float32) for _ in range(2))


def strongest_pattern(products: np.ndarray) -> np.ndarray:
    """The first singular value times the first left singular vector, signed to a positive sum."""
    left, values, _ = np.linalg.svd(products.reshape(60, 5).astype(np.float64), full_matrices=False)
    pattern = values[0] * left[:, 0]
    return (pattern * np.sign(pattern.sum())).reshape(6, 10)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("gradcam", GRADIENTS.mean(axis=(1, 2), keepdims=True)),
        ("hirescam", GRADIENTS),
        ("layercam", np.maximum(GRADIENTS, 0)),
    ],
)
def test_eigen_smoothing_is_the_first_component_of_the_products(name: str, weights: np.ndarray) -> None:
    smoothed = combine(eigen_smooth(name)(tf.constant(ACTIVATIONS), tf.constant(GRADIENTS)), tf.constant(ACTIVATIONS))
    expected = [strongest_pattern(products) for products in weights * ACTIVATIONS]
    np.testing.assert_allclose(smoothed.numpy(), expected, rtol=1e-3, atol=1e-4)


def test_eigen_smoothed_rule_is_a_rule() -> None:
    explanation = Explainer(plain_model(), "conv2", eigen_smooth("gradcam_pp"))(photos(2))
    assert explanation.method == "eigen_smooth(gradcam_pp)"
    assert explanation.heatmaps.max(axis=(1, 2)).tolist() == [1.0, 1.0]


def test_eigen_smoothing_keeps_what_a_rule_declares() -> None:
    for name in ("shapleycam", "eigencam", "cam"):
        plain, smoothed = METHODS[name], eigen_smooth(name)
        assert getattr(smoothed, "needs", None) == getattr(plain, "needs", None)
        assert getattr(smoothed, "requires", None) == getattr(plain, "requires", None)


def test_eigen_smoothing_of_a_map_is_refused() -> None:
    with pytest.raises(ValueError, match="received 'fem', which returns the map itself"):
        eigen_smooth("fem")(tf.constant(ACTIVATIONS), tf.constant(GRADIENTS))


def test_eigen_smoothing_of_a_probing_rule_is_refused() -> None:
    def asking(probe: Any) -> Any:
        return probe

    asking.needs = "probing"  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="received 'asking', which runs the model by itself"):
        eigen_smooth(asking)


def test_eigen_smoothing_of_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown method 'gradcam1'"):
        eigen_smooth("gradcam1")


# Cells at other places than tiles.


def test_mirrored_copies_of_a_crop_are_averaged_where_both_see() -> None:
    """The explainer sees columns 1 to 4 of 6, and mirrored, of the picture, the same: the mean is the picture there."""
    placement = Placement(0, (1, 6), (0, 1), (1.0, 1.0), (0.5, 1.5), "arithmetic", reach=((0, 1), (1, 5)))
    picture = np.arange(6.0).reshape(1, 1, 6, 1)
    augmented = augment(seeing(lambda images: images[:, :, 1:5, 0], placement=placement), True, (1.0, 2.0))(picture)
    assert augmented.placement == placement
    np.testing.assert_allclose(augmented.raw, picture[:, :, 1:5, 0], atol=0.3)
    np.testing.assert_allclose(
        augment(seeing(lambda images: images[:, :, 1:5, 0], placement=placement))(picture).raw, picture[:, :, 1:5, 0]
    )


def test_cells_that_one_mirrored_copy_misses_come_from_the_other() -> None:
    """The explainer sees the left half; mirrored, it sees the right half, which has no cells."""
    placement = Placement(0, (1, 6), (0, 1), (1.0, 1.0), (0.5, 0.5), "arithmetic", reach=((0, 1), (0, 3)))
    picture = np.arange(6.0).reshape(1, 1, 6, 1)
    augmented = augment(seeing(lambda images: images[:, :, :3, 0], placement=placement))(picture)
    np.testing.assert_array_equal(augmented.raw, [[[0.0, 1.0, 2.0]]])


def test_turned_maps_are_mirrored_along_the_width_of_the_picture() -> None:
    """Behind a Permute the map's first axis is the picture's width."""
    placement = Placement(0, (2, 3), (1, 0), (1.0, 1.0), (0.5, 0.5), "probes")
    picture = np.arange(6.0).reshape(1, 2, 3, 1)
    turned = seeing(lambda images: images[..., 0].transpose(0, 2, 1), placement=placement)
    np.testing.assert_allclose(augment(turned)(picture).raw, picture[..., 0].transpose(0, 2, 1))
