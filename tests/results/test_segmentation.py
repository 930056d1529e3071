"""Predicted masks of a batch."""

from __future__ import annotations

import numpy as np

from tf_gradcam._results.segmentation import Segmentation

PREDICTED = np.array([[[0, 0, 2], [2, 2, 2]], [[1, 1, 1], [1, 1, -1]]], np.int32)


def masks(has_none: bool = True) -> Segmentation:
    return Segmentation(PREDICTED, PREDICTED == 2, np.array([2, 2], np.int32), False, 3, has_none)


def test_shares_are_of_the_cells_the_largest_first() -> None:
    assert masks().shares(0) == [(2, 4 / 6), (0, 2 / 6)]
    assert masks().shares(1) == [(1, 5 / 6), (-1, 1 / 6)]


def test_values_are_classes_or_behind_none() -> None:
    np.testing.assert_array_equal(masks(has_none=False).values(0), PREDICTED[0])
    np.testing.assert_array_equal(masks().values(1), PREDICTED[1] + 1)
    np.testing.assert_array_equal(masks().values(1, (4, 6)), (PREDICTED[1] + 1).repeat(2, 0).repeat(2, 1))


def test_some_and_all_images_keep_their_masks() -> None:
    whole = masks()
    again = Segmentation.joined([whole[:1], whole[1:]])
    assert len(again) == len(whole) == 2
    assert len(whole[:1]) == 1
    np.testing.assert_array_equal(again.predicted, whole.predicted)
    np.testing.assert_array_equal(again.inside, whole.inside)
    np.testing.assert_array_equal(again.explained, whole.explained)
    assert again.has_none
