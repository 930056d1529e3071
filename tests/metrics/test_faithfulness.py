"""Insertion and deletion in worlds whose answer can be done in the head."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tf_gradcam.metrics.faithfulness import (
    area,
    deletion_auc,
    deletion_path,
    exchange_path,
    insertion_auc,
    insertion_path,
)

ONES = np.ones((2, 2, 3), np.float32)


def test_path_exchanges_the_hottest_pixels_first() -> None:
    """Heat 4, 3, 2, 1 in the order a b / c d: after k of four parts the k hottest are exchanged."""
    heatmap = np.array([[2.0, 4.0], [1.0, 3.0]])
    path = exchange_path(ONES, 5 * ONES, heatmap, 4)[..., 0]
    expected = [[[1, 1], [1, 1]], [[1, 5], [1, 1]], [[1, 5], [1, 5]], [[5, 5], [1, 5]], [[5, 5], [5, 5]]]
    np.testing.assert_array_equal(path, expected)


def test_deletion_of_a_model_that_counts_one_pixel() -> None:
    """The score is the left upper pixel, 1, and the mean colour is 1/4.

    Hottest first the curve is 1, .25, .25, .25, .25, whose mean by trapezoids is (.625 + 3 * .25) / 4 = .34375; coldest
    first it is 1, 1, 1, 1, .25, so (3 + .625) / 4.
    """
    image = np.zeros((2, 2, 3), np.float32)
    image[0, 0] = 1.0
    heatmap = np.array([[4.0, 3.0], [2.0, 1.0]])
    right = deletion_auc(lambda images: images[:, 0, 0, 0], image, heatmap, 4)
    wrong = deletion_auc(lambda images: images[:, 0, 0, 0], image, -heatmap, 4)
    np.testing.assert_allclose([right, wrong], [0.34375, 0.90625], rtol=1e-6)


def test_insertion_is_higher_for_the_right_order() -> None:
    """A bright dot on black that the blur spreads out: putting it back first raises the score at once."""
    image = np.zeros((6, 10, 3), np.float32)
    image[2, 7] = 1.0
    heatmap = image[..., 0]
    right = insertion_auc(lambda images: images[:, 2, 7, 0], image, heatmap, 10)
    wrong = insertion_auc(lambda images: images[:, 2, 7, 0], image, -heatmap, 10)
    # The dot is back after the first of ten parts, so nine and a half of ten are 1 but for what the blur leaves.
    assert 0.95 <= right < 0.97
    assert wrong < 0.1


def test_only_the_order_of_the_heatmap_matters() -> None:
    generator = np.random.default_rng(0)
    image, heatmap = generator.random((6, 10, 3), np.float32), generator.random((6, 10))
    predict = lambda images: images[:, :3].mean(axis=(1, 2, 3))  # noqa: E731
    assert deletion_auc(predict, image, heatmap) == deletion_auc(predict, image, heatmap**3 * 10)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="num_steps of at least 1"):
        deletion_auc(lambda images: images[:, 0, 0, 0], ONES, np.ones((2, 2)), 0)
    with pytest.raises(ValueError, match="one height and width"):
        insertion_auc(lambda images: images[:, 0, 0, 0], ONES, np.ones((3, 2)))


def test_paths_begin_and_end_where_they_say() -> None:
    """Deletion from the image to its mean colour; insertion from something blurred to the image."""
    image, heatmap = np.random.default_rng(1).random((6, 10, 3), np.float32), np.random.default_rng(2).random((6, 10))
    deletion, insertion = deletion_path(image, heatmap, 4), insertion_path(image, heatmap, 4)
    np.testing.assert_array_equal(deletion[0], image)
    np.testing.assert_allclose(deletion[-1], np.broadcast_to(image.mean(axis=(0, 1)), image.shape), rtol=1e-6)
    np.testing.assert_array_equal(insertion[-1], image)
    assert (insertion[0].std(axis=(0, 1)) < 0.2 * image.std(axis=(0, 1))).all()


def test_images_of_one_channel_keep_it() -> None:
    image, heatmap = np.random.default_rng(1).random((6, 10, 1), np.float32), np.random.default_rng(2).random((6, 10))
    assert insertion_path(image, heatmap, 4).shape == deletion_path(image, heatmap, 4).shape == (5, 6, 10, 1)


def test_area_is_the_sum_of_its_trapezoids() -> None:
    curve = np.random.default_rng(3).random(8)
    expected = sum((left + right) / 2 / 7 for left, right in itertools.pairwise(curve))
    np.testing.assert_allclose(area(curve), expected, rtol=1e-12)
