"""Suspects in small pictures: what is drawn alike, where heat gathers, a tint, a mark that moves."""

from __future__ import annotations

import numpy as np
import pytest

from tf_gradcam.audit.shortcuts.suspects import (
    channel_relation,
    drawn_places,
    find_marks,
    heat_in,
    hot_places,
    is_drawn_alike,
    is_empty_elsewhere,
    retoned,
    tints,
)

SIZE = (32, 48)
COUNT = 24


def scenes(seed: int, count: int = COUNT) -> np.ndarray:
    """(count, 32, 48, 3) grey scenes that differ everywhere but in a black frame of three pixels."""
    generator = np.random.default_rng(seed)
    coarse = generator.uniform(30, 220, (count, 8, 12))
    images = np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2) + generator.normal(0, 6, (count, *SIZE))
    images = np.clip(images, 0, 255)
    images[:, :3], images[:, -3:], images[:, :, :3], images[:, :, -3:] = 0, 0, 0, 0
    return np.repeat(images[..., None], 3, axis=-1).astype(np.float32)


def marked(seed: int, share: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """Scenes with a bright square in the lower right on a share of them, and which have it."""
    images = scenes(seed)
    has = np.arange(COUNT) < round(share * COUNT)
    images[has, -8:-4, -9:-4] = 250
    return images, has


def test_drawn_place_is_the_mark_and_its_members_are_those_that_have_it() -> None:
    images, has = marked(1)
    (found,) = drawn_places(images, scenes(2))
    assert found.kind == "place"
    assert found.region is not None
    assert found.region[-8:-4, -9:-4].all()  # all of the mark, and at most what the joining of pixels adds around it
    assert found.region.sum() <= 8 * 9
    np.testing.assert_array_equal(np.sort(found.members), np.flatnonzero(has))


def test_nothing_is_drawn_where_all_images_differ_or_all_are_dark() -> None:
    assert drawn_places(scenes(1), scenes(2)) == []


def test_what_a_part_of_the_others_has_too_is_not_drawn() -> None:
    """A place that is dark in all images of a class and in a fifth of the others is the size of a head, no mark."""
    images, others = scenes(1), scenes(2)
    images[:, 4:10, 4:12] = 0
    others[: COUNT // 5 + 1, 4:10, 4:12] = 0
    assert drawn_places(images, others) == []


def test_few_images_raise_no_suspicion() -> None:
    images, _ = marked(1)
    assert drawn_places(images[:3], scenes(2)) == []
    assert tints(images[:3], scenes(2)) == []
    assert find_marks(images[:7], np.ones((7, 4, 6)), scenes(2)) == []
    region = np.ones(SIZE, bool)
    assert not is_drawn_alike(images[:3], scenes(2), region)
    assert not is_empty_elsewhere(images[:3], scenes(2), region)


def test_drawn_alike_asks_the_region_alone() -> None:
    images, _ = marked(1, share=1)
    here, away = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    here[-10:-2, -12:-2], away[4:14, 4:14] = True, True
    assert is_drawn_alike(images, scenes(2), here)
    assert not is_drawn_alike(images, scenes(2), away)


def test_empty_elsewhere_is_something_where_the_others_have_nothing() -> None:
    """A scribble that differs from image to image, in the black frame."""
    images, others = scenes(1), scenes(2)
    region = np.zeros(SIZE, bool)
    region[:3, 10:20] = True
    assert not is_empty_elsewhere(images, others, region)
    images[:, region] = np.random.default_rng(0).uniform(0, 255, (COUNT, int(region.sum()), 1))
    assert is_empty_elsewhere(images, others, region)
    assert not is_drawn_alike(images, others, region)


def spots(places: list[tuple[int, int]]) -> np.ndarray:
    """(n, 8, 12) maps with one hot cell and its neighbours at half of it."""
    maps = np.zeros((len(places), 8, 12), np.float32)
    for one, (row, column) in zip(maps, places, strict=True):
        one[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = 0.3
        one[row, column] = 1
    return maps


def test_hot_place_lies_around_the_hot_cell() -> None:
    maps = spots([(6, 10)] * 6)
    (found,) = hot_places(maps, np.arange(6), SIZE, "mean map")
    assert found.region is not None
    middle = np.argwhere(found.region).mean(axis=0)
    np.testing.assert_allclose(middle, [6.5 * 4 - 0.5, 10.5 * 4 - 0.5], atol=0.6)  # of the cell, in pixels
    assert found.members.tolist() == list(range(6))


def test_hot_place_tells_which_images_are_looked_at_there() -> None:
    maps = spots([(6, 10)] * 5 + [(1, 1)] * 2)
    found = hot_places(maps, np.arange(7), SIZE, "mean map")
    assert sorted(found[0].members.tolist()) == [0, 1, 2, 3, 4]


def test_heat_everywhere_is_no_place() -> None:
    assert hot_places(np.ones((5, 8, 12), np.float32), np.arange(5), SIZE, "mean map") == []
    assert hot_places(np.zeros((5, 8, 12), np.float32), np.arange(5), SIZE, "mean map") == []


def test_heat_in_is_the_share_of_an_even_map() -> None:
    region = np.zeros(SIZE, bool)
    region[:16, :24] = True
    np.testing.assert_allclose(heat_in(np.ones((2, 8, 12), np.float32), region), [0.25, 0.25], rtol=1e-6)
    assert heat_in(np.zeros((1, 8, 12), np.float32), region)[0] == 0


# Tints.


def tinted(images: np.ndarray) -> np.ndarray:
    images = images.copy()
    images[..., 0] = images[..., 0] * 0.9 + 14
    return images


def test_channel_relation_of_grey_is_one_and_zero() -> None:
    np.testing.assert_allclose(channel_relation(scenes(0)), np.broadcast_to([1, 0], (COUNT, 2, 2)), atol=1e-3)


def test_channel_relation_of_a_tint_is_what_was_done() -> None:
    relation = channel_relation(tinted(scenes(0)))
    np.testing.assert_allclose(relation[:, 0], np.broadcast_to([0.9, 14], (COUNT, 2)), rtol=1e-3)
    np.testing.assert_allclose(relation[:, 1], np.broadcast_to([1, 0], (COUNT, 2)), atol=1e-3)


def test_tint_is_found_and_its_members_have_it() -> None:
    images = scenes(1)
    images[:20] = tinted(images[:20])
    (found,) = tints(images, scenes(2))
    assert found.kind == "tint"
    assert found.members.tolist() == list(range(20))


def test_colours_that_overlap_are_no_tint() -> None:
    generator = np.random.default_rng(3)
    sets = []
    for mean in (0, 4):
        images = scenes(mean)
        images[..., 0] = np.clip(images[..., 0] + generator.normal(mean, 8, (COUNT, 1, 1)), 0, 255)
        sets.append(images)
    assert tints(*sets) == []
    assert tints(scenes(1), scenes(2)) == []


def test_retoning_undoes_a_tint() -> None:
    images = np.clip(scenes(1), 20, 220)
    grey, tint = np.array([[1.0, 0], [1, 0]]), np.array([[0.9, 14], [1, 0]])
    np.testing.assert_allclose(retoned(tinted(images), tint, grey), images, atol=1e-3)
    np.testing.assert_allclose(retoned(images, grey, tint), tinted(images), atol=1e-3)


# Marks that move.


def stamped(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scenes with a cross of 5 x 5 at places at random, these (top, left), and maps that are hot there."""
    generator = np.random.default_rng(seed)
    images = scenes(seed)
    places = np.stack([generator.integers(4, 22, COUNT), generator.integers(4, 38, COUNT)], axis=-1)
    cross = np.full((5, 5, 1), 10, np.float32)
    cross[2], cross[:, 2] = 250, 250
    for image, (top, left) in zip(images, places, strict=True):
        image[top : top + 5, left : left + 5] = cross
    cells = [((top + 2) // 4, (left + 2) // 4) for top, left in places]
    return images, places, spots(cells)


def test_mark_is_found_where_it_lies() -> None:
    images, places, maps = stamped(5)
    (found,) = find_marks(images, maps, scenes(6))
    assert found.kind == "mark"
    assert found.places is not None
    assert found.patch_region is not None
    assert len(found.members) >= 0.9 * COUNT
    middles = found.places + (np.array(found.patch_region.shape) - 1) / 2
    np.testing.assert_allclose(middles, places[found.members] + 2, atol=2.01)


def test_scenes_without_a_mark_have_none() -> None:
    _, _, maps = stamped(5)
    assert find_marks(scenes(7), maps, scenes(6)) == []


def test_a_patch_that_the_others_have_too_is_no_mark() -> None:
    images, _, maps = stamped(5)
    others, _, _ = stamped(8)
    assert find_marks(images, maps, others) == []


@pytest.mark.parametrize("amount", [0.0, 40.0])
def test_a_spot_that_changes_from_image_to_image_is_no_mark(amount: float) -> None:
    """Even blobs of another size and strength each: with nothing drawn alike there is nothing to call a mark."""
    generator = np.random.default_rng(9)
    images = scenes(9)
    _, places, maps = stamped(9)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    for image, (top, left) in zip(images, places, strict=True):
        spot = np.exp(-((rows - top - 2) ** 2 + (columns - left - 2) ** 2) / generator.uniform(3, 14))
        image += (generator.uniform(amount, 3 * amount + 1) * spot)[..., None].astype(np.float32)
    assert find_marks(np.clip(images, 0, 255), maps, scenes(6)) == []
