"""Average drop and increase in confidence, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tf_gradcam.metrics.faithfulness import drop_percent, highlight, increase_percent


def test_highlighted_image_is_mixed_of_itself_and_its_mean() -> None:
    """Values 0, 4 / 8, 0, mean 3; heat 0, 1 / 0.5, 0.25 of the maximum."""
    image = np.array([[0.0, 4.0], [8.0, 0.0]], np.float32)[..., None]
    heatmap = np.array([[0.0, 2.0], [1.0, 0.5]])
    np.testing.assert_allclose(highlight(image, heatmap)[..., 0], [[3.0, 4.0], [5.5, 2.25]], rtol=1e-6)


def test_even_map_shows_the_whole_image() -> None:
    image = np.random.default_rng(0).random((6, 10, 3), np.float32)
    np.testing.assert_allclose(highlight(image, np.full((6, 10), 0.3)), image, rtol=1e-6)


def test_highlighting_does_not_depend_on_the_models_range() -> None:
    """The same picture in 0..255 and in -1..1: the same picture comes out in each."""
    generator = np.random.default_rng(1)
    image, heatmap = 255 * generator.random((6, 10, 3), np.float32), generator.random((6, 10))
    np.testing.assert_allclose(highlight(image / 127.5 - 1, heatmap), highlight(image, heatmap) / 127.5 - 1, atol=1e-6)


def test_drop_is_the_lost_part_in_per_cent() -> None:
    """Of 0.8 a quarter is lost; a gain is no loss; of 0.5 all is lost."""
    np.testing.assert_allclose(drop_percent([0.8, 0.4, 0.5], [0.6, 0.9, 0.0]), [25.0, 0.0, 100.0], rtol=1e-12)


def test_drop_of_nothing_is_nan() -> None:
    np.testing.assert_array_equal(drop_percent([0.0, 0.5], [0.1, 0.5]), [np.nan, 0.0])


def test_increase_is_a_share_of_images() -> None:
    np.testing.assert_array_equal(increase_percent([0.8, 0.4, 0.5], [0.6, 0.9, 0.5]), [0.0, 100.0, 0.0])


def test_drop_and_increase_exclude_each_other() -> None:
    before, after = np.random.default_rng(0).random((2, 100))
    assert not ((drop_percent(before, after) > 0) & (increase_percent(before, after) > 0)).any()


def test_bad_arguments_are_refused() -> None:
    image = np.ones((6, 10, 3), np.float32)
    with pytest.raises(ValueError, match="one height and width"):
        highlight(image, np.ones((10, 6)))
    with pytest.raises(ValueError, match="not 0 everywhere"):
        highlight(image, np.zeros((6, 10)))
    with pytest.raises(ValueError, match="heat of 0 or more"):
        highlight(image, np.linspace(-1, 1, 60).reshape(6, 10))
    with pytest.raises(ValueError, match="two \\(N,\\) arrays"):
        drop_percent([0.5, 0.5], [0.5])
    with pytest.raises(ValueError, match=r"probabilities in \[0, 1\]"):
        increase_percent([3.0], [0.5])
