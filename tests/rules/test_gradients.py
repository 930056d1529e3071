"""Every rule equals its twin, and obeys the laws that hold for all.

Also tests _rules/contract.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.features import (
    BLIND,
    GRID,
    RULES,
    SCALES,
    SEEING,
    SHAPES,
    changed,
    draw,
    heatmap,
    raw_map,
    relu,
    scaled,
    silu,
)
from tests.twins.gradients import assert_close, twin_map
from tf_gradcam import METHODS
from tf_gradcam._explain.passes import combine, normalise

pytestmark = pytest.mark.core

# Twins


@pytest.mark.parametrize("activation", [relu, silu])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", RULES)
def test_rule_equals_its_twin_on_any_number_of_axes(name: str, shape: tuple[int, ...], activation: Any) -> None:
    arrays = draw(shape, activation)
    assert_close(raw_map(name, arrays), twin_map(name, arrays))


@pytest.mark.parametrize("activation", [relu, silu])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", SEEING)
def test_rule_equals_its_twin_for_tiny_and_huge_gradients(name: str, scale: float, activation: Any) -> None:
    arrays = draw(GRID, activation, scale, seed=1)
    assert_close(raw_map(name, arrays), twin_map(name, arrays))
    expected = normalise(tf.constant(twin_map(name, arrays))).numpy()
    assert expected.max() == 1.0
    np.testing.assert_allclose(heatmap(name, arrays), expected, rtol=0.0, atol=2e-5)


@pytest.mark.parametrize("name", RULES)
def test_rule_equals_its_twin_with_a_dead_channel(name: str) -> None:
    arrays = draw(GRID)
    arrays["activations"][..., 2] = 0.0
    assert_close(raw_map(name, arrays), twin_map(name, arrays))


# Laws


@pytest.mark.parametrize("name", RULES)
def test_batch_equals_single_images(name: str) -> None:
    arrays = draw(GRID)
    singles = [raw_map(name, changed(arrays, lambda array, b=b: array[b : b + 1]))[0] for b in range(GRID[0])]
    assert_close(raw_map(name, arrays), np.stack(singles))


@pytest.mark.parametrize("name", [name for name in RULES if name != "random"])
def test_order_of_channels_changes_nothing(name: str) -> None:
    """`random` alone tells channels apart by their place."""
    arrays = draw(GRID)
    order = [3, 0, 4, 1, 2]
    assert_close(raw_map(name, changed(arrays, lambda array: array[..., order])), raw_map(name, arrays))


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("name", RULES)
def test_mirrored_features_mirror_the_map(name: str, axis: int) -> None:
    arrays = draw(GRID)
    mirrored = raw_map(name, changed(arrays, lambda array: np.flip(array, axis)))
    assert_close(mirrored, np.flip(raw_map(name, arrays), axis))
    assert not np.allclose(mirrored, raw_map(name, arrays))


@pytest.mark.parametrize("name", SEEING)
def test_zero_gradient_gives_a_zero_map(name: str) -> None:
    arrays = scaled(draw(GRID), 0.0)
    np.testing.assert_array_equal(raw_map(name, arrays), np.zeros(GRID[:-1]))
    np.testing.assert_array_equal(heatmap(name, arrays), np.zeros(GRID[:-1]))


@pytest.mark.parametrize("name", RULES)
def test_zero_activations_give_a_zero_map_to_their_image_alone(name: str) -> None:
    arrays = draw(GRID)
    expected = raw_map(name, arrays)
    expected[1] = 0.0
    arrays["activations"][1] = 0.0
    assert_close(raw_map(name, arrays), expected)


@pytest.mark.parametrize("name", RULES)
def test_nan_stays_with_its_image(name: str) -> None:
    arrays = draw(GRID)
    expected = raw_map(name, arrays)
    changed(arrays, lambda array: array[1].fill(np.nan))
    received = raw_map(name, arrays)
    assert_close(received[[0, 2]], expected[[0, 2]])
    np.testing.assert_array_equal(heatmap(name, arrays)[1], np.zeros(GRID[1:-1]))


@pytest.mark.parametrize("factor", [1e-6, 3.0, 1e3])
@pytest.mark.parametrize("name", [name for name in RULES if name != "gradcam_pp"])
def test_scale_of_the_score_leaves_the_heatmap(name: str, factor: float) -> None:
    arrays = draw(GRID)
    expected = heatmap(name, arrays)
    assert expected.max() == 1.0
    np.testing.assert_allclose(heatmap(name, scaled(arrays, factor)), expected, rtol=0.0, atol=2e-5)


@pytest.mark.parametrize("name", ["gradcam", "xgradcam", "hirescam", "shapleycam", "cam"])
def test_counterfactual_is_the_map_of_the_negated_score(name: str) -> None:
    arrays = draw(GRID)
    assert_close(raw_map(name, scaled(arrays, -1.0)), -raw_map(name, arrays))


@pytest.mark.parametrize("name", BLIND)
def test_class_agnostic_rule_never_looks_at_gradients(name: str) -> None:
    activations = tf.constant(draw(GRID)["activations"])
    without = combine(METHODS[name](activations, None), activations).numpy()
    assert_close(without, raw_map(name, draw(GRID, scale=7.0)))
