"""Phantom slices: the same for a seed, plausible, and true to their masks. What is checked is read off the pictures."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tf_gradcam.demo.phantom import CLASS_NAMES, Phantom, phantom_slices

SIZE = 112
COUNT = 64


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return phantom_slices(COUNT, seed=3, size=SIZE)


def heads(phantom: Phantom) -> np.ndarray:
    """(N, S, S) bool: the pixels between the first and the last bright one of their row and of their column."""
    bright = phantom.images[..., 0] > 60  # noise stays below: its deviation is at most 0.035 * 255 grey levels
    reach = np.ones_like(bright)
    for axis in (1, 2):
        reach &= np.maximum.accumulate(bright, axis) & np.flip(np.maximum.accumulate(np.flip(bright, axis), axis), axis)
    return reach


def of_class(phantom: Phantom, name: str) -> np.ndarray:
    return np.flatnonzero(phantom.labels == CLASS_NAMES.index(name))


def centre(region: np.ndarray) -> np.ndarray:
    """(row, column) of the centre of gravity, as parts of the picture."""
    return np.argwhere(region).mean(0) / len(region)


def extent(region: np.ndarray) -> np.ndarray:
    """(height, width) of the bounding box, as parts of the picture."""
    return np.ptp(np.argwhere(region), axis=0) / len(region)


def test_phantom_shapes_types_and_range(phantom: Phantom) -> None:
    assert (phantom.images.shape, phantom.images.dtype) == ((COUNT, SIZE, SIZE, 3), np.float32)
    assert (phantom.masks.shape, phantom.masks.dtype) == ((COUNT, SIZE, SIZE), bool)
    assert (phantom.labels.shape, phantom.labels.dtype) == ((COUNT,), np.int64)
    assert phantom.images.min() >= 0
    assert phantom.images.max() <= 255


def test_phantom_is_grey_in_whole_levels(phantom: Phantom) -> None:
    np.testing.assert_array_equal(phantom.images, phantom.images.astype(np.uint8))
    np.testing.assert_array_equal(phantom.images, phantom.images[..., :1].repeat(3, axis=-1))


def test_phantom_is_the_same_for_a_seed_and_another_for_another() -> None:
    first, again, other = (phantom_slices(4, seed, size=48) for seed in (5, 5, 6))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (first.images != other.images).mean() > 0.5


def test_phantom_slice_does_not_depend_on_the_count(phantom: Phantom) -> None:
    for few, many in zip(phantom_slices(5, seed=3, size=SIZE), phantom, strict=True):
        np.testing.assert_array_equal(few, many[:5])


def test_phantom_leaves_the_global_generator_alone() -> None:
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    phantom_slices(1, seed=0, size=32)
    assert np.random.random() == expected


def test_phantom_size_changes_the_pixels_not_the_head(phantom: Phantom) -> None:
    """Half as many pixels a side: blocks of 2 x 2 of the fine mask, counted by majority, are the coarse mask."""
    coarse = phantom_slices(8, seed=3, size=SIZE // 2)
    halved = phantom.masks[:8].reshape(8, SIZE // 2, 2, SIZE // 2, 2).mean((2, 4)) > 0.5
    overlap = (halved & coarse.masks).sum() / (halved | coarse.masks).sum()
    assert overlap > 0.9  # border pixels differ


def test_phantom_classes_cycle(phantom: Phantom) -> None:
    np.testing.assert_array_equal(phantom.labels, np.tile(np.arange(4), COUNT // 4))


def test_phantom_head_is_whole_and_the_background_dark(phantom: Phantom) -> None:
    found = heads(phantom)
    border = np.concatenate([found[:, [0, -1]].reshape(COUNT, -1), found[:, :, [0, -1]].reshape(COUNT, -1)], axis=1)
    assert not border.any()
    share = found.mean((1, 2))
    assert share.min() > 0.2
    assert share.max() < 0.75
    assert phantom.images[~found].mean() < 20


def test_phantom_mask_is_empty_without_a_tumour_only(phantom: Phantom) -> None:
    has_tumour = phantom.labels != CLASS_NAMES.index("notumor")
    np.testing.assert_array_equal(phantom.masks.any((1, 2)), has_tumour)


def test_phantom_mask_is_inside_the_head(phantom: Phantom) -> None:
    assert not (phantom.masks & ~heads(phantom)).any()


def test_phantom_tumours_differ_in_size(phantom: Phantom) -> None:
    area = {name: phantom.masks[of_class(phantom, name)].mean() for name in CLASS_NAMES}
    assert area["glioma"] > area["meningioma"] > area["pituitary"] > area["notumor"] == 0


def test_phantom_glioma_is_in_one_hemisphere(phantom: Phantom) -> None:
    """The midline passes the centre of the head, tilted by some degrees; the tumour's own centre is well beside it."""
    for index in of_class(phantom, "glioma"):
        head, tumour = heads(phantom)[index], phantom.masks[index]
        beside = abs(centre(tumour)[1] - centre(head)[1]) / extent(head)[1]
        assert beside > 0.1


def test_phantom_glioma_is_mixed_and_the_others_even(phantom: Phantom) -> None:
    def spread(name: str) -> float:
        tumours = [phantom.images[index, ..., 0][phantom.masks[index]] for index in of_class(phantom, name)]
        return float(np.mean([pixels.std() / pixels.mean() for pixels in tumours]))

    assert spread("glioma") > 2 * spread("meningioma")
    assert spread("glioma") > 2 * spread("pituitary")


def test_phantom_meningioma_touches_the_skull(phantom: Phantom) -> None:
    """From the mask to the air it is bone and scalp alone: at most 1 - bone_in = 0.15 half heights of the head, and a
    pixel each for the soft borders. A pituitary tumour is far off.
    """

    def gap(index: int) -> float:
        head = heads(phantom)[index]
        air, tumour = np.argwhere(~head), np.argwhere(phantom.masks[index])
        nearest = np.sqrt(((tumour[:, None] - air[None]) ** 2).sum(-1).min())
        return float(nearest / SIZE / (extent(head)[0] / 2))

    slack = 2 / SIZE / 0.33  # two pixels, in half heights of the smallest head
    assert max(gap(index) for index in of_class(phantom, "meningioma")) < 0.15 + slack
    assert min(gap(index) for index in of_class(phantom, "pituitary")) > 0.25


def test_phantom_pituitary_is_near_the_midline_below_the_centre(phantom: Phantom) -> None:
    for index in of_class(phantom, "pituitary"):
        head, tumour = heads(phantom)[index], phantom.masks[index]
        down, across = (centre(tumour) - centre(head)) / (extent(head) / 2)
        assert abs(across) < 0.25  # the head is tilted: 0.43 * sin(20 degrees) = 0.15, over an aspect of 0.76
        assert 0.25 < down < 0.6


def test_phantom_bright_tumours_are_brighter_than_their_brain(phantom: Phantom) -> None:
    for name in ("meningioma", "pituitary"):
        for index in of_class(phantom, name):
            grey, tumour = phantom.images[index, ..., 0], phantom.masks[index]
            assert grey[tumour].mean() > 1.15 * np.median(grey[heads(phantom)[index] & ~tumour])


def test_phantom_classes_do_not_differ_outside_of_the_tumour() -> None:
    """Head size, place and brightness of the rest are drawn alike: two class means of 100 slices differ by less than
    four deviations of such a difference."""
    many = phantom_slices(400, seed=8, size=32)
    found = heads(many)
    rest = np.where(many.masks, np.nan, many.images[..., 0])
    for value in (found.mean((1, 2)), found.argmax(1).mean(-1).astype(float), np.nanmedian(rest, axis=(1, 2))):
        means = value.reshape(100, 4).mean(0)
        error = value.std() / 10
        assert np.ptp(means) < 4 * np.sqrt(2) * error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0, "seed": 0}, "`count` must be at least 1; received 0"),
        ({"count": 1, "seed": -1}, "`seed` must be at least 0; received -1"),
        ({"count": 1, "seed": 0, "size": 31}, "`size` must be at least 32; received 31"),
    ],
)
def test_phantom_refuses(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        phantom_slices(**arguments)


def test_phantom_needs_numpy_alone() -> None:
    program = "import sys, tf_gradcam.demo.phantom; print({'tensorflow', 'keras', 'cv2'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
