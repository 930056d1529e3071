"""Weights and maps of each rule in worlds small enough to work out by hand.

Also tests _rules/eigen.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.features import GRID, SCALES, draw, heatmap, raw_map, relu, scaled
from tests.twins.gradients import assert_close
from tf_gradcam import METHODS
from tf_gradcam._rules.eigen import first_component

pytestmark = pytest.mark.core


def grid(*rows: list[float]) -> np.ndarray:
    """One image of one channel, (1, H, W, 1)."""
    return np.array(rows, np.float32)[None, :, :, None]


def weights(name: str, activations: np.ndarray, *others: np.ndarray) -> np.ndarray:
    tensors = [tf.constant(array) for array in others] or [None]
    return METHODS[name](tf.constant(activations), *tensors).numpy()


def pooled_linear_head() -> dict[str, np.ndarray]:
    """Two channels of 1 x 4 cells behind global average pooling and the kernel column (8, -4): gradients 2 and -1.

    The first channel is 1, 2, 3, 6 (mean 3), the second -1, 2, 0, -3 (mean -0.5): the score is 3 * 8 + 0.5 * 4 = 26.
    """
    activations = np.array([[[[1, -1], [2, 2], [3, 0], [6, -3]]]], np.float32)
    return {"activations": activations, "gradients": np.broadcast_to(np.float32([2, -1]), activations.shape)}


@pytest.mark.parametrize("name", ["gradcam", "xgradcam", "hirescam"])
def test_rule_on_a_pooled_linear_head_sums_to_the_score(name: str) -> None:
    raw = raw_map(name, pooled_linear_head())
    np.testing.assert_array_equal(raw, [[[3.0, 2.0, 6.0, 15.0]]])
    assert raw.sum() == 26.0


def test_cam_on_a_pooled_linear_head_has_the_kernel_as_weights() -> None:
    head = pooled_linear_head()
    np.testing.assert_array_equal(weights("cam", *head.values()), [[[[8.0, -4.0]]]])
    np.testing.assert_array_equal(raw_map("cam", head), 4 * raw_map("gradcam", head))


def test_cam_requires_a_pooled_linear_tail() -> None:
    required = {name: getattr(rule, "requires", None) for name, rule in METHODS.items()}
    assert {name: tail for name, tail in required.items() if tail} == {"cam": "pooled linear tail"}


def test_gradcam_pp_by_hand() -> None:
    """The sum of activations is 4: the gradient 1 weighs 1 / (2 + 4), the gradient 0.5 weighs 0.5 / (2 + 2)."""
    received = weights("gradcam_pp", grid([1, 3], [0, 0]), grid([1, 0.5], [-7, 0]))
    np.testing.assert_allclose(received, [[[[1 / 6 + 1 / 8]]]], rtol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_gradcam_pp_of_activations_that_sum_to_zero_is_half_of_the_positive_gradients(scale: float) -> None:
    """An epsilon of 1e-6 in the denominator 2 G^2 would leave 2e-10 of the smallest."""
    received = weights("gradcam_pp", grid([1, -1, 0]), np.float32(scale) * grid([3, 1, -2]))
    np.testing.assert_allclose(received, [[[[2.0 * scale]]]], rtol=1e-6)


def test_gradcam_pp_of_large_gradients_counts_the_positive_ones() -> None:
    """G / (2 + S G) tends to 1 / S: two positive gradients, the sum of activations 4."""
    received = weights("gradcam_pp", grid([1, 3, 0]), grid([1e30, 1e25, -1e30]))
    np.testing.assert_allclose(received, [[[[2 / 4]]]], rtol=1e-6)


def test_gradcam_pp_is_zero_on_its_pole() -> None:
    """The sum is -2: the gradient 1 meets the pole, the gradient 3 weighs 3 / (2 - 6)."""
    np.testing.assert_array_equal(weights("gradcam_pp", grid([-1, -1]), grid([1, 3])), [[[[-0.75]]]])


def test_gradcam_pp_heatmap_depends_on_the_scale_of_the_score() -> None:
    arrays = draw(GRID)
    assert np.abs(heatmap("gradcam_pp", scaled(arrays, 1e3)) - heatmap("gradcam_pp", arrays)).max() > 0.01


def test_xgradcam_is_the_mean_gradient_weighted_by_the_activations() -> None:
    """(1 * 5 + 3 * 1) / (1 + 3)."""
    np.testing.assert_array_equal(weights("xgradcam", grid([1, 3], [0, 0]), grid([5, 1], [9, -9])), [[[[2.0]]]])


def test_xgradcam_of_a_negative_sum_is_the_same_formula() -> None:
    """(-1 * 5 - 3 * 1) / (-1 - 3): a channel below zero everywhere is weighted as its mirror image above zero."""
    np.testing.assert_array_equal(weights("xgradcam", grid([-1, -3]), grid([5, 1])), [[[[2.0]]]])


@pytest.mark.parametrize(
    ("activations", "expected"),
    [([5.0, -5.0], 4.0), ([5.5, -4.5], 4.0), ([6.0, -4.0], (6 * 6 - 4 * 2) / 2), ([0.0, 0.0], 4.0)],
    ids=["cancelled", "nine tenths cancelled", "less", "dead"],
)
def test_xgradcam_of_cancelling_activations_is_the_plain_mean(activations: list[float], expected: float) -> None:
    np.testing.assert_allclose(weights("xgradcam", grid(activations), grid([6, 2])), [[[[expected]]]], rtol=1e-6)


def test_xgradcam_weights_stay_below_ten_times_the_largest_gradient() -> None:
    arrays = draw((50, 2, 3, 40))
    received = np.abs(weights("xgradcam", arrays["activations"], arrays["gradients"]))
    assert (received <= 10.0 * np.abs(arrays["gradients"]).max(axis=(1, 2), keepdims=True) * (1 + 1e-6)).all()


def test_elementwise_and_layercam_differ_where_activations_are_negative() -> None:
    """Products 6, -6, -6, 6: layercam keeps the positive gradients, elementwise the positive products."""
    arrays = {"activations": grid([2, 2, -2, -2]), "gradients": grid([3, -3, 3, -3])}
    np.testing.assert_array_equal(raw_map("layercam", arrays), [[[6.0, 0.0, -6.0, 0.0]]])
    np.testing.assert_array_equal(raw_map("gradcam_elementwise", arrays), [[[6.0, 0.0, 0.0, 6.0]]])


def test_elementwise_equals_layercam_for_positive_activations() -> None:
    arrays = draw(GRID, relu)
    assert_close(raw_map("gradcam_elementwise", arrays), raw_map("layercam", arrays))


def test_shapleycam_without_curvature_is_gradcam() -> None:
    arrays = draw(GRID)
    flat = {**arrays, "curvature": np.zeros(GRID, np.float32)}
    np.testing.assert_array_equal(raw_map("shapleycam", flat), raw_map("gradcam", arrays))


def test_shapleycam_takes_back_half_of_the_curvature() -> None:
    """Gradients 5 and 1, curvature 4 and -2: the mean of 5 - 2 and 1 + 1."""
    np.testing.assert_array_equal(weights("shapleycam", grid([1, 1]), grid([5, 1]), grid([4, -2])), [[[[2.5]]]])


@pytest.mark.parametrize("shape", [(4, 2, 3, 9), (4, 3, 4, 5)], ids=["more channels", "more cells"])
@pytest.mark.parametrize("scale", [1e-30, -1.0, 1e30])
def test_eigencam_of_one_pattern_is_its_profile_over_the_channels(shape: tuple[int, ...], scale: float) -> None:
    """Features pattern * profile of any sign and size: the weights are the unit profile, the map's sum is positive."""
    generator = np.random.default_rng(0)
    pattern, profile = generator.normal(size=(*shape[:-1], 1)), generator.normal(size=shape[-1])
    sums = scale * pattern.sum(axis=(1, 2, 3))
    received = weights("eigencam", (scale * pattern * profile).astype(np.float32))
    expected = np.sign(sums)[:, None] * profile / np.linalg.norm(profile)
    np.testing.assert_allclose(received[:, 0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("cells", [2, 3], ids=["as many cells as channels", "more cells"])
def test_eigencam_of_equally_strong_patterns_takes_the_largest_sum(cells: int) -> None:
    """Two channels, each one cell: of all directions (cos, sin) the map (cos, sin) sums highest at (1, 1) / sqrt 2."""
    received = weights("eigencam", np.eye(cells, 2, dtype=np.float32)[None])
    np.testing.assert_allclose(received, np.full((1, 1, 2), np.sqrt(0.5)), rtol=1e-6)


def test_eigencam_without_a_sign_is_zero() -> None:
    """The mirrored picture is the negative one: either sign would break the symmetry."""
    np.testing.assert_array_equal(weights("eigencam", grid([1, -1])), [[[[0.0]]]])


def test_eigencam_is_not_centred() -> None:
    """The level that all cells share is the strongest pattern of a channel that hardly varies."""
    activations = np.concatenate([grid([10, 10, 10, 10]), grid([0, 2, 0, -2])], axis=-1)
    np.testing.assert_allclose(weights("eigencam", activations), [[[[1.0, 0.0]]]], atol=1e-6)


def test_eigengradcam_weights_its_pattern_by_the_gradients() -> None:
    """Products (3, 6) and (0, 0): the pattern is the first channel alone, its weights are the gradients 3 and 2."""
    activations = np.concatenate([grid([1, 3]), grid([5, 7])], axis=-1)
    gradients = np.concatenate([grid([3, 2]), grid([0, 0])], axis=-1)
    np.testing.assert_allclose(weights("eigengradcam", activations, gradients), gradients, atol=1e-6)


def test_fem_by_hand() -> None:
    """Nine cells of 1 and one of 11: mean 2, deviation 3, threshold 8; of 7 and nine of 1: 1.6, 1.8, 5.2."""
    loud, mild = grid([1, 1, 1, 1, 1], [1, 1, 1, 1, 11]), grid([7, 1, 1, 1, 1], [1, 1, 1, 1, 1])
    received = weights("fem", np.concatenate([loud, mild], axis=-1))
    np.testing.assert_allclose(received, [[[1.6, 0, 0, 0, 0], [0, 0, 0, 0, 2.0]]], rtol=1e-6)


@pytest.mark.parametrize("value", [0.1, 1e-3, -0.27])
def test_fem_of_a_channel_that_is_equal_everywhere_is_zero(value: float) -> None:
    """None of these values is a float32: their mean may fall a digit below them, and must not let them all pass."""
    np.testing.assert_array_equal(weights("fem", np.full((1, 7, 11, 3), value, np.float32)), np.zeros((1, 7, 11)))


def test_random_weights_are_uniform() -> None:
    """4000 draws: the mean of U(-1, 1) scatters by 0.009, the mean square 1/3 by 0.005, each eighth by 0.005."""
    received = weights("random", draw((100, 3, 4, 40))["activations"])
    assert received.shape == (100, 1, 1, 40)
    assert abs(received.mean()) < 0.04
    assert abs((received**2).mean() - 1 / 3) < 0.02
    counts, _ = np.histogram(received, bins=8, range=(-1.0, 1.0))
    np.testing.assert_allclose(counts / received.size, np.full(8, 1 / 8), atol=0.021)


def test_random_weights_differ_from_image_to_image() -> None:
    received = weights("random", draw((100, 3, 4, 40))["activations"])[:, 0, 0]
    assert len(np.unique(received, axis=0)) == 100
    assert abs(np.corrcoef(received[:-1].ravel(), received[1:].ravel())[0, 1]) < 0.07  # four deviations of 1/sqrt(3960)


def test_random_weights_do_not_hang_on_the_last_digits() -> None:
    """Convolutions of another batch size differ there."""
    activations = draw((100, 3, 4, 40), relu)["activations"]
    noise = np.random.default_rng(1).uniform(-3e-7, 3e-7, activations.shape).astype(np.float32)
    np.testing.assert_array_equal(weights("random", activations * (1 + noise)), weights("random", activations))


def test_first_component_keeps_an_infinite_image_to_itself() -> None:
    features = draw(GRID)["activations"]
    expected = first_component(tf.constant(features)).numpy()
    features[1, 2, 3, 4] = np.inf
    received = first_component(tf.constant(features)).numpy()
    np.testing.assert_array_equal(received[[0, 2]], expected[[0, 2]])
    assert np.isnan(received[1]).all()
