"""Two parts of the samples: even over classes, the same everywhere, and no twin on both sides."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from training.data.folder import Samples
from training.data.split import Parts, counted, fold, leaks, split, validation_table


def samples_of(*counts: int, root: str = "/data") -> Samples:
    """So many samples of each class a, b, ...; nothing here reads their files."""
    names = [chr(ord("a") + label) for label in range(len(counts))]
    files = [Path(root, name, f"{number:03}.png") for name, count in zip(names, counts, strict=True)
             for number in range(count)]  # fmt: skip
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return Samples(Path(root), tuple(files), labels, tuple(names))


def validation_names(samples: Samples, parts: Parts) -> set[str]:
    return {samples.name(index) for index in parts.validation}


def test_parts_are_stratified_and_whole() -> None:
    samples = samples_of(50, 20, 11)
    parts = split(samples)
    assert np.bincount(samples.labels[parts.validation]).tolist() == [10, 4, 2]  # 2.2 rounds to 2
    assert sorted([*parts.training, *parts.validation]) == list(range(81))
    assert (np.diff(parts.training) > 0).all()
    assert (np.diff(parts.validation) > 0).all()


@pytest.mark.parametrize(("fraction", "expected"), [(0.01, [1, 1]), (0.99, [4, 1]), (0.5, [2, 1])])
def test_each_part_has_each_class(fraction: float, expected: list[int]) -> None:
    samples = samples_of(5, 2)
    parts = split(samples, fraction)
    assert np.bincount(samples.labels[parts.validation]).tolist() == expected


def test_the_seed_decides() -> None:
    samples = samples_of(50, 50)
    chosen = [tuple(split(samples, seed=seed).validation) for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_each_sample_is_drawn_as_often_as_another() -> None:
    """Over 400 seeds each of 20 is expected 80 times, with a standard deviation of 8."""
    samples = samples_of(10, 10)
    drawn = np.zeros(20)
    for seed in range(400):
        drawn[split(samples, seed=seed).validation] += 1
    assert drawn.sum() == 400 * 4
    assert np.abs(drawn - 80).max() < 5 * 8


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(20), 2)])
def test_names_decide_and_not_their_order(groups: np.ndarray | None) -> None:
    samples = samples_of(20, 20)
    order = np.random.default_rng(0).permutation(40)
    elsewhere = samples_of(20, 20, root="/another/place").take(order)
    here = split(samples, groups=groups)
    there = split(elsewhere, groups=None if groups is None else groups[order] + 7)
    assert validation_names(samples, here) == validation_names(elsewhere, there)


def test_groups_stay_on_one_side() -> None:
    """Five groups of three and 15 single samples in either class: there are enough single ones to fill up to 6."""
    samples = samples_of(30, 30)
    of_class = np.concatenate([np.repeat(np.arange(5), 3), np.arange(10, 25)])
    groups = np.concatenate([of_class, of_class + 100])
    for seed in range(20):
        parts = split(samples, seed=seed, groups=groups)
        assert not set(groups[parts.validation]) & set(groups[parts.training])
        assert np.bincount(samples.labels[parts.validation]).tolist() == [6, 6]
        assert (parts.leaked, parts.groups, parts.duplicates) == (0, 40, 30)


def test_groups_over_two_classes_stay_on_one_side() -> None:
    """Ten twins of which one is filed under a, the other under b."""
    samples = samples_of(30, 30)
    groups = np.concatenate([np.arange(30), np.arange(10), np.arange(40, 60)])
    for seed in range(20):
        parts = split(samples, seed=seed, groups=groups)
        assert not set(groups[parts.validation]) & set(groups[parts.training])
        assert np.bincount(samples.labels[parts.validation]).tolist() == [6, 6]


def test_a_class_of_large_groups_still_has_validation_samples() -> None:
    """Groups of 5, 7 and 8: none fits into the 4 wanted of 20, so the smallest is taken whole."""
    samples = samples_of(20, 20)
    groups = np.concatenate([np.repeat([0, 1, 2], [8, 5, 7]), np.arange(100, 120)])
    for seed in range(10):
        parts = split(samples, seed=seed, groups=groups)
        assert np.bincount(samples.labels[parts.validation]).tolist() == [5, 4]
        assert leaks(parts, groups) == 0


def test_names_that_are_no_unicode_are_drawn_and_written() -> None:
    """As Linux allows them: byte 255 arrives in Python as U+DCFF."""
    files = tuple(Path("/data/a", name) for name in ("1.png", "\udcff.png"))
    samples = Samples(Path("/data"), files, np.zeros(2, np.int32), ("a",))
    assert len(split(samples, 0.5).validation) == 1
    table = validation_table(samples, Parts(np.array([0]), np.array([1]), 0, 2, 0))
    assert table == b"Filename,Target\na/\xff.png,a\n"


def test_leaks_count_validation_samples_with_a_twin_in_training() -> None:
    """Validation 1 and 3 have the twins 0 and 2, validation 5 has its twin 4 beside it, 6 none."""
    groups = np.array([8, 8, 9, 9, 7, 7, 6, 5])
    parts = Parts(np.array([0, 2, 7]), np.array([1, 3, 4, 5, 6]), 0, 0, 0)
    assert leaks(parts, groups) == 2
    told = counted(parts, groups)
    assert (told.leaked, told.groups, told.duplicates) == (2, 5, 6)
    np.testing.assert_array_equal(told.validation, parts.validation)


def test_a_naive_split_leaks_where_everything_has_a_twin() -> None:
    samples = samples_of(40, 40)
    groups = np.tile(np.arange(40), 2)
    assert leaks(split(samples), groups) > 0
    assert leaks(split(samples, groups=groups), groups) == 0


@pytest.mark.parametrize("fraction", [0, 1, -0.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1, received"):
        split(samples_of(5, 5), fraction)


def test_a_class_of_fewer_images_than_parts_is_named() -> None:
    with pytest.raises(ValueError, match=r"at least 2 images of each class, .*received 1 of 'b'"):
        split(samples_of(5, 1))


def test_a_class_of_one_group_is_named() -> None:
    with pytest.raises(ValueError, match="images of 'b' in both parts"):
        split(samples_of(5, 4), groups=np.array([0, 1, 2, 3, 4, 9, 9, 9, 9]))


def test_groups_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a group for each of the 10 samples, received \(3,\)"):
        split(samples_of(5, 5), groups=np.arange(3))


def test_validation_samples_are_written_as_csv() -> None:
    files = (Path("/data/a, b/x.png"), Path("/data/a, b/y.png"), Path("/data/ü/é.png"))
    samples = Samples(Path("/data"), files, np.array([0, 0, 1], np.int32), ("a, b", "ü"))
    table = validation_table(samples, Parts(np.array([0]), np.array([1, 2]), 0, 3, 0)).decode()
    assert table == 'Filename,Target\n"a, b/y.png","a, b"\nü/é.png,ü\n'
    assert [row["Target"] for row in csv.DictReader(io.StringIO(table))] == ["a, b", "ü"]


@pytest.mark.parametrize("clean", [True, False])
def test_each_sample_validates_in_one_fold_and_twins_in_the_same(clean: bool) -> None:
    """Files n and n + 10 of a class are twins; 50, 30 and 20 samples give folds of about 12.5, 7.5 and 5."""
    samples = samples_of(50, 30, 20)
    groups = 100 * samples.labels + np.array([int(file.stem) % 10 for file in samples.files])
    folds = [fold(samples, number, 4, 42, groups if clean else None) for number in range(1, 5)]
    everywhere = np.sort(np.concatenate([parts.validation for parts in folds]))
    assert everywhere.tolist() == list(range(100))
    for parts in folds:
        assert sorted([*parts.training, *parts.validation]) == list(range(100))
        counts = np.bincount(samples.labels[parts.validation], minlength=3)
        assert (abs(counts - [12.5, 7.5, 5]) <= (5 if clean else 0.5)).all()  # a group of class a has 5 samples
        assert (leaks(parts, groups) == 0) == clean


def test_folds_of_another_seed_are_others() -> None:
    samples = samples_of(20, 20)
    one, same, other = (fold(samples, 1, 2, seed).validation.tolist() for seed in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.parametrize(("number", "count"), [(0, 5), (6, 5), (1, 1)])
def test_a_fold_that_is_not_there_is_refused(number: int, count: int) -> None:
    with pytest.raises(ValueError, match=rf"Expected a fold of 1 to \d, received {number} of {count}"):
        fold(samples_of(5, 5), number, count)


def test_the_first_fold_is_refused_where_a_later_one_is() -> None:
    with pytest.raises(ValueError, match=r"at least 5 images of each class, .*received 3 of 'b'.*lower --folds"):
        fold(samples_of(10, 3), 1, 5)
    groups = np.concatenate([np.arange(10), 90 + np.arange(6) // 3])  # two groups of b for three folds
    with pytest.raises(ValueError, match="images of 'b' in both parts"):
        fold(samples_of(10, 6), 1, 3, groups=groups)
