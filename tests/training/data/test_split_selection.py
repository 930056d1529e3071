"""Which samples take part: classes, exclusions, and what another set holds too."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from training.data.folder import read_folder
from training.data.phantom import write_phantom
from training.data.split import apart, without


@pytest.fixture
def samples(tmp_path):
    """Three pictures of noise in each of three classes."""
    generator = np.random.default_rng(0)
    for name in ("ant", "bee", "cat"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(3):
            picture = generator.integers(0, 256, (5, 7, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "set" / name / f"{number}.png"), cv2.resize(picture, (70, 50)))
    return read_folder(tmp_path / "set")


def names(samples) -> list[str]:
    return [samples.name(index) for index in range(len(samples))]


def test_first_classes_are_the_first_by_name(samples):
    kept = read_folder(samples.root, classes=2)
    assert kept.class_names == ("ant", "bee")
    assert {name.split("/")[0] for name in names(kept)} == {"ant", "bee"}
    assert kept.labels.max() == 1


def test_limit_is_drawn_over_the_first_classes(samples):
    """Of three classes of three images, the other one has no part in the draw."""
    assert np.bincount(read_folder(samples.root, limit=4, classes=2).labels).tolist() == [2, 2]
    assert len(read_folder(samples.root, limit=2, classes=2)) == 2


def test_broken_images_of_other_classes_are_not_read(samples):
    for file in (samples.root / "cat").iterdir():
        file.write_bytes(b"")
    assert read_folder(samples.root, classes=2).broken == ()


@pytest.mark.parametrize("count", [1, 4])
def test_a_number_of_classes_that_there_is_not_is_refused(samples, count):
    with pytest.raises(ValueError, match=f"Expected 2 to 3 classes, received {count}"):
        read_folder(samples.root, classes=count)


def test_without_leaves_out_what_the_first_column_names(samples, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text('file,twin\n"ant/1.png",bee/0.png\ncat\\2.png,\nabsent/0.png,\n\n')
    left_out = set(names(samples)) - set(names(without(samples, table)))
    assert left_out == {"ant/1.png", "cat/2.png"}


def test_without_reads_a_table_that_has_no_header(samples, tmp_path):
    (tmp_path / "table.txt").write_text("ant/1.png\ncat/2.png\n")
    left_out = set(names(samples)) - set(names(without(samples, tmp_path / "table.txt")))
    assert left_out == {"ant/1.png", "cat/2.png"}


def test_without_leaves_nothing_out_where_only_other_classes_are_named(samples, tmp_path):
    (tmp_path / "table.csv").write_text("file\ncat/1.png\n")
    kept = read_folder(samples.root, classes=2)
    assert names(without(kept, tmp_path / "table.csv")) == names(kept)


@pytest.mark.parametrize("name", ["dog/1.png", "{root}/ant/1.png", "../set/ant/1.png"])
def test_without_refuses_a_table_of_other_names(samples, tmp_path, name):
    (tmp_path / "table.csv").write_text(f"file\n{name.format(root=samples.root)}\n")
    with pytest.raises(ValueError, match=re.escape("such as ant/0.png; it names none")):
        without(samples, tmp_path / "table.csv")


def test_apart_leaves_out_twins_of_another_set(samples, tmp_path):
    """One picture occurs there at another size and quality, one mirrored."""
    for name in ("one", "two"):
        (tmp_path / "other" / name).mkdir(parents=True)
    larger = cv2.resize(cv2.imread(str(samples.files[0])), (140, 100))
    cv2.imwrite(str(tmp_path / "other" / "one" / "a.jpg"), larger)
    cv2.imwrite(str(tmp_path / "other" / "two" / "b.png"), cv2.imread(str(samples.files[5]))[:, ::-1])
    left_out = set(names(samples)) - set(names(apart(samples, tmp_path / "other")))
    assert left_out == {"ant/0.png", "bee/2.png"}


def test_apart_refuses_to_leave_nothing(samples):
    with pytest.raises(ValueError, match="All 9 images have a twin"):
        apart(samples, samples.root)


def test_phantom_is_drawn_once(tmp_path):
    folder = write_phantom(tmp_path / "phantom", 8, 1, 32)
    drawn = read_folder(folder)
    assert np.bincount(drawn.labels).tolist() == [2, 2, 2, 2]
    times = [file.stat().st_mtime_ns for file in drawn.files]
    assert write_phantom(folder, 8, 1, 32) == folder
    assert [file.stat().st_mtime_ns for file in drawn.files] == times
    assert [item.name for item in tmp_path.iterdir()] == ["phantom"]


def test_phantom_of_other_settings_is_drawn_anew(tmp_path):
    """As after a start with other options that failed, or was killed while it drew."""
    (tmp_path / ".phantom" / "glioma").mkdir(parents=True)
    (tmp_path / ".phantom" / "glioma" / "slice_00100.png").write_bytes(b"of a killed process")
    folder = write_phantom(tmp_path / "phantom", 8, 1, 32)
    assert len(read_folder(folder)) == 8
    first = {file.name: file.read_bytes() for file in read_folder(folder).files}
    other = read_folder(write_phantom(folder, 4, 2, 32))
    assert len(other) == 4
    assert not any(first[file.name] == file.read_bytes() for file in other.files)
