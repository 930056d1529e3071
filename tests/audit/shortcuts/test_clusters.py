"""Clusters of maps: blobs in known places."""

from __future__ import annotations

import numpy as np
import pytest

from tf_gradcam.audit.shortcuts.clusters import cluster, heat_shares, repetition


def blobs(places: list[tuple[float, float]], seed: int = 0, size: tuple[int, int] = (10, 14)) -> np.ndarray:
    """(N, 10, 14) a soft spot for each place, a little moved and with noise."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    maps = []
    for top, left in places:
        centre = np.array([top, left]) + generator.normal(0, 0.3, 2)
        spot = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / 4)
        maps.append(spot + generator.uniform(0, 0.05, size))
    return np.stack(maps)


def test_shares_sum_to_one_and_blank_maps_stay_zero() -> None:
    maps = blobs([(2, 2), (5, 9)])
    maps[1] = 0
    np.testing.assert_allclose(heat_shares(maps).sum((1, 2)), [1, 0], atol=1e-6)


def test_two_places_are_two_clusters_the_unlike_one_first() -> None:
    """40 maps look at one place and 12 at another: the small cluster lies farther from the mean of the rest."""
    maps = blobs([(2, 2)] * 40 + [(7, 11)] * 12)
    groups = cluster(maps)
    assert sorted(sorted(group.tolist()) for group in groups) == [list(range(40)), list(range(40, 52))]


def test_one_place_is_one_cluster() -> None:
    assert len(cluster(blobs([(5, 7)] * 30))) == 1


def test_three_places_are_three_clusters_whatever_their_order() -> None:
    places = [(1, 1), (8, 2), (4, 12)] * 15
    groups = cluster(blobs(places))
    assert sorted(tuple(group.tolist()) for group in groups) == [tuple(range(k, 45, 3)) for k in range(3)]


def test_blank_maps_belong_nowhere() -> None:
    maps = blobs([(2, 2)] * 12)
    maps[3] = 0
    assert 3 not in np.concatenate(cluster(maps))
    assert cluster(np.zeros((4, 5, 6))) == []


def test_few_maps_are_one_cluster() -> None:
    assert [group.tolist() for group in cluster(blobs([(2, 2), (8, 12)] * 3))] == [list(range(6))]


def test_clusters_do_not_depend_on_how_strong_maps_are() -> None:
    maps = blobs([(2, 2)] * 15 + [(7, 11)] * 15)
    scaled = maps * np.random.default_rng(1).uniform(0.1, 10, (30, 1, 1))
    assert [g.tolist() for g in cluster(maps)] == [g.tolist() for g in cluster(scaled)]


def test_repetition_is_one_for_copies_and_about_zero_for_places_at_random() -> None:
    assert repetition(np.repeat(blobs([(5, 7)]), 8, axis=0)) == pytest.approx(1)
    generator = np.random.default_rng(0)
    anywhere = blobs([(float(a), float(b)) for a, b in generator.uniform(0, 1, (60, 2)) * [9, 13]])
    assert abs(repetition(anywhere)) < 0.25


def test_repetition_of_one_map_is_unknown() -> None:
    assert np.isnan(repetition(blobs([(5, 7)])))
    assert np.isnan(repetition(np.ones((5, 3, 4))))
