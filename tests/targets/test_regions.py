"""The target of a segmentation by itself, and as an explainer binds it; see also test_outputs.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tf_gradcam._files.class_names import ClassNames
from tf_gradcam.targets import OutputOf, Region
from tf_gradcam.targets.base import as_labels
from tf_gradcam.targets.regions import bound, check_mask, place_spec, region_in

PIXELS = np.random.default_rng(1).normal(size=(2, 3, 5, 4)).astype(np.float32)
MASKS = np.random.default_rng(2).random((2, 3, 5)) < 0.4
NONE, PAIR = ClassNames(None), ClassNames(["road", "rest"])


def parts(
    region: Region, outputs: np.ndarray, place: Any = None, names: ClassNames = NONE, labels: bool = False
) -> Any:
    own = bound(region, (6, 10), names)
    return own.parts(tf.constant(outputs), place, labels)


def test_mask_of_each_image_is_its_own() -> None:
    expected = [PIXELS[number, MASKS[number], 2].sum() for number in range(2)]
    np.testing.assert_allclose(Region(2, MASKS)(PIXELS), expected, rtol=1e-5)


def test_point_of_each_image_is_its_own() -> None:
    """Of 3 rows and 5 columns: row 0 and column 4; row 2 and column 0."""
    target = Region(1, point=[(0.9, 0.1), (0.0, 0.99)])
    np.testing.assert_allclose(target(PIXELS), [PIXELS[0, 0, 4, 1], PIXELS[1, 2, 0, 1]], rtol=1e-6)


def test_largest_class_is_that_of_the_place() -> None:
    best = PIXELS.argmax(-1)
    at_point = Region(point=(0.5, 0.5))(PIXELS)
    np.testing.assert_allclose(at_point, PIXELS[:, 1, 2].max(-1), rtol=1e-6)
    counts = [np.bincount(best[number][MASKS[number]], minlength=4) for number in range(2)]
    expected = [PIXELS[number, MASKS[number], counts[number].argmax()].sum() for number in range(2)]
    np.testing.assert_allclose(Region(None, MASKS)(PIXELS), expected, rtol=1e-5)
    everywhere = [
        PIXELS[number, ..., np.bincount(best[number].ravel(), minlength=4).argmax()].sum() for number in (0, 1)
    ]
    np.testing.assert_allclose(Region(None, "all")(PIXELS), everywhere, rtol=1e-5)


@pytest.mark.parametrize("name", ["background", "Background", "__background__", "bg"])
def test_background_is_the_largest_class_only_where_there_is_no_other(name: str) -> None:
    """Of 15 cells: 9 background, 4 road, 2 car; and a picture of nothing else."""
    names = ClassNames([name, "road", "car"])
    cells = np.zeros((2, 3, 5), int)
    cells[0].flat[:6] = [1, 1, 1, 1, 2, 2]
    read = parts(Region(), np.eye(3, dtype=np.float32)[cells], names=names)
    np.testing.assert_array_equal(read.explained, [1, 0])
    np.testing.assert_array_equal(read.inside, [cells[0] == 1, cells[1] == 0])
    places = np.full((2, 2), 0.9, np.float32)
    at_point = parts(Region(point=(0.9, 0.9)), np.eye(3, dtype=np.float32)[cells], places, names)
    np.testing.assert_array_equal(at_point.explained, [0, 0])
    without = parts(Region(), np.eye(3, dtype=np.float32)[cells], names=ClassNames(["ground", "road", "car"]))
    np.testing.assert_array_equal(without.explained, [0, 0])


def test_bound_targets_of_different_masks_are_equal_and_read_them_beside_the_images() -> None:
    first, second = (bound(Region(2, mask), (6, 10), NONE) for mask in (MASKS[0], MASKS))
    assert first == second
    assert first != bound(Region(1, MASKS), (6, 10), NONE)
    assert place_spec(first) == tf.TensorSpec((None, None, None), tf.bool)
    assert place_spec(bound(Region(2, point=(0, 0)), (6, 10), NONE)) == tf.TensorSpec((None, 2), tf.float32)
    assert place_spec(bound(Region(2), (6, 10), NONE)) is None
    assert place_spec(bound(Region(2, "all"), (6, 10), NONE)) is None
    inner = bound(OutputOf("mask", Region(2, MASKS)), (6, 10), NONE)
    assert region_in(inner) == first
    assert place_spec(len) is None


def test_mask_at_the_size_of_the_picture_is_read_at_the_centres_of_the_cells() -> None:
    """Of 6 rows and 10 columns, 3 and 5 cells read rows 1, 3, 5 and columns 1, 3, 5, 7, 9."""
    mask = np.random.default_rng(3).random((2, 6, 10)) < 0.5
    inside = parts(Region(2, mask), PIXELS, mask).inside
    np.testing.assert_array_equal(inside, mask[:, 1::2, 1::2])


def test_masks_and_points_come_for_every_image() -> None:
    np.testing.assert_array_equal(Region(2, MASKS[0]).place_for(3, (6, 10)), np.stack([MASKS[0]] * 3))
    np.testing.assert_array_equal(Region(2, MASKS).place_for(2, (6, 10)), MASKS)
    np.testing.assert_allclose(Region(2, point=(0.5, 0.25)).place_for(2, (6, 10)), [[0.5, 0.25]] * 2)
    assert Region(2).place_for(2, (6, 10)) is None
    with pytest.raises(ValueError, match="one mask for all images or one for each of 3, received 2"):
        Region(2, MASKS).place_for(3, (6, 10))
    with pytest.raises(ValueError, match="one point for all images or one for each of 3, received 1"):
        Region(2, point=[(0.5, 0.5)]).place_for(3, (6, 10))


def test_size_of_a_mask_is_that_of_the_picture_or_of_the_output() -> None:
    check_mask(MASKS, (3, 5), (6, 10))
    check_mask(MASKS, (6, 10), (3, 5))
    with pytest.raises(ValueError, match=r"size 6 x 10 .height x width. or of the output's, 12 x 20, received 3 x 5"):
        check_mask(MASKS, (12, 20), (6, 10))


def test_one_class_is_predicted_where_its_logit_is_above_zero() -> None:
    unit = PIXELS[..., :1]
    read = parts(Region(), unit)
    np.testing.assert_array_equal(read.inside, unit[..., 0] > 0)
    np.testing.assert_array_equal(read.predicted, np.where(unit[..., 0] > 0, 0, -1))
    assert (read.class_count, read.has_none) == (1, True)
    with pytest.raises(ValueError, match="Expected index 0, as it has a single class"):
        parts(Region(1), unit)


@pytest.mark.parametrize(("index", "sign"), [(1, 1), (0, -1), (None, 1)])
def test_two_names_make_one_unit_two_sides(index: int | None, sign: int) -> None:
    """Class 1 is what the unit finds, class 0 the rest; without a class it is what the unit finds."""
    logit = PIXELS[..., 0] * sign
    read = parts(Region(index), PIXELS[..., :1], names=PAIR)
    np.testing.assert_array_equal(read.scores, logit)
    np.testing.assert_array_equal(read.inside, logit > 0)
    np.testing.assert_array_equal(read.predicted, PIXELS[..., 0] > 0)
    np.testing.assert_array_equal(read.explained, [1 if index is None else index] * 2)
    assert (read.class_count, read.has_none) == (2, False)


def test_labels_are_predicted_each_by_itself() -> None:
    read = parts(Region(2), PIXELS, labels=True)
    np.testing.assert_array_equal(read.inside, PIXELS[..., 2] > 0)
    best = PIXELS.argmax(-1)
    np.testing.assert_array_equal(read.predicted, np.where(PIXELS.max(-1) > 0, best, -1))
    marked = as_labels(tf.constant(PIXELS))
    np.testing.assert_allclose(Region(2)(marked), np.maximum(PIXELS[..., 2], 0).sum((1, 2)), rtol=1e-5)


def test_outputs_without_a_class_axis_or_with_flattened_cells_are_pictures() -> None:
    flat = PIXELS.reshape(2, 15, 4)
    np.testing.assert_array_equal(parts(Region(2), flat).inside, parts(Region(2), PIXELS).inside)
    alone = parts(Region(0), PIXELS[..., 0])
    np.testing.assert_array_equal(alone.inside, PIXELS[..., 0] > 0)
    with pytest.raises(ValueError, match=r"segmentation outputs \(B, H, W, K\)"):
        parts(Region(0), PIXELS[:, 0, 0])


def test_labels_name_class_and_place_of_each_image() -> None:
    names, explained = ClassNames(["sky", "road"]), np.array([1, 0])
    assert Region().labels_of(explained, names) == ["region of road", "region of sky"]
    assert Region(point=(0.5, 0.25)).labels_of(explained, names) == ["road at 50%, 25%", "sky at 50%, 25%"]
    points = Region(point=[(0.5, 0.25), (0, 0)])
    assert points.labels_of(explained, names) == ["road at 50%, 25%", "sky at 0%, 0%"]
    assert points.label(names) == "the largest class at a point"
    assert Region(1, MASKS).labels_of(explained, names) == ["road in the mask", "sky in the mask"]


def test_masks_of_photos_come_to_the_size_of_the_model() -> None:
    mask = np.arange(60).reshape(6, 10) % 3 == 0
    fitted = Region(2, mask).for_photos(slice(0, 2), [(6, 10), (6, 10)], (3, 5))
    np.testing.assert_array_equal(np.asarray(fitted.mask), [mask[1::2, 1::2]] * 2)
    each = Region(2, MASKS).for_photos(slice(1, 2), [(12, 20)], (6, 10))
    np.testing.assert_array_equal(np.asarray(each.mask), MASKS[1:])
    points = Region(2, point=[(0.5, 0.25), (0, 0)]).for_photos(slice(1, 2), [(6, 10)], (3, 5))
    np.testing.assert_array_equal(np.asarray(points.point), [(0, 0)])
    for target in (Region(2), Region(2, "all"), Region(2, point=(0.5, 0.5))):
        assert target.for_photos(slice(0, 2), [(6, 10)] * 2, (3, 5)) == target
