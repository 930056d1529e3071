"""The images of a repair: the suspect is found again, and copies stay on one side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.repairs import NAMES, SQUARE, network, stripes
from tf_gradcam.audit.mapper import AuditMapper
from tf_gradcam.audit.shortcuts.evidence import stamp
from tf_gradcam.audit.shortcuts.suspects import Suspect, channel_relation
from tf_gradcam.audit.sources import Samples, find_samples
from tf_gradcam.image.io import save_image
from tf_gradcam.repair.samples import RepairSamples, _find_again, read_samples

GENERATOR = np.random.default_rng(0)
SHOWN = np.arange(40) % 4 != 0  # three quarters show what is planted


def photos() -> np.ndarray:
    return stripes(0, 40)[0]


def found(suspect: Suspect, images: np.ndarray, examples: np.ndarray) -> Suspect:
    return _find_again(suspect, images.astype(np.uint8), examples.astype(np.uint8))


def test_square_is_found_where_it_was_drawn() -> None:
    images = photos()
    images[SHOWN, SQUARE[0], SQUARE[1]] = 240
    region = np.zeros(images.shape[1:3], bool)
    region[-8:, -8:] = True
    suspect = Suspect("place", "drawn alike", np.arange(3), region=region)
    assert found(suspect, images, images[SHOWN][:9]).members.tolist() == np.flatnonzero(SHOWN).tolist()


def test_place_without_a_drawing_is_in_every_image() -> None:
    region = np.zeros((24, 24), bool)
    region[:8, :8] = True
    suspect = Suspect("place", "mean map", np.arange(3), region=region)
    assert len(found(suspect, photos(), photos()[:9]).members) == 40


def test_mark_is_found_at_its_place_also_beyond_the_edge() -> None:
    images, patch = photos(), np.full((5, 5, 3), 20, np.float32)
    patch[2] = patch[:, 2] = 250
    whole = np.ones((5, 5), bool)
    places = np.stack([GENERATOR.integers(-2, 21, 40), GENERATOR.integers(-2, 21, 40)], axis=-1)
    for row in np.flatnonzero(SHOWN):
        images[row] = stamp(images[row], patch, whole, places[row])
    suspect = Suspect("mark", "drawn alike", np.arange(3), places=places[:3], patch=patch, patch_region=whole)
    again = found(suspect, images, images[:3])
    inside = SHOWN & (places >= 0).all(axis=1) & (places <= 19).all(axis=1)
    assert set(np.flatnonzero(inside)) <= set(again.members.tolist()) <= set(np.flatnonzero(SHOWN).tolist())
    assert again.places is not None
    at = dict(zip(again.members.tolist(), again.places.tolist(), strict=True))
    assert all(at[row] == places[row].tolist() for row in np.flatnonzero(inside))


def test_tint_is_found_by_the_nearer_colour() -> None:
    images = photos()
    images[SHOWN, ..., 0] += 12
    tone = tuple(np.median(channel_relation(images[rows]), axis=0) for rows in (SHOWN, ~SHOWN))
    suspect = Suspect("tint", "colour", np.arange(3), tone=tone)
    assert found(suspect, images, images[:3]).members.tolist() == np.flatnonzero(SHOWN).tolist()


def test_suspect_of_some_images_keeps_their_places() -> None:
    suspect = Suspect("mark", "", np.array([2, 5, 7]), places=np.array([[2, 0], [5, 0], [7, 0]]))
    labels = np.array([0, 1, 1, 1, 0, 1, 0, 1])
    images = np.zeros((8, 4, 4, 3), np.uint8)
    given = RepairSamples([""] * 8, np.arange(8), images, labels, np.zeros(8, bool), 1, suspect)
    some = given.of(np.array([7, 0, 2]))
    assert some.members.tolist() == [2, 7]
    assert some.places is not None
    assert some.places.tolist() == [[2, 0], [7, 0]]
    assert given.shown_share == 3 / 5


# From files.

REGION = np.zeros((24, 24), bool)
REGION[SQUARE] = True


@pytest.fixture(scope="module")
def mapper() -> AuditMapper:
    return AuditMapper(network(), class_names=NAMES, preprocess="raw", freeze=False)


@pytest.fixture
def source(tmp_path: Path) -> Samples:
    """40 images of each class, the first ten of each twice, and a square on those of the second class."""
    images, labels = stripes(0, 80)
    images[labels == 1, SQUARE[0], SQUARE[1]] = 240
    for number, label in enumerate(labels):
        for name in (f"{number:02d}.png", f"{number:02d}copy.png")[: 1 + (number < 20)]:
            (tmp_path / NAMES[label]).mkdir(exist_ok=True)
            save_image(tmp_path / NAMES[label] / name, images[number].astype(np.uint8))
    return find_samples(tmp_path)


def suspect_in(source: Samples) -> Suspect:
    return Suspect("place", "drawn alike", np.flatnonzero(source.labels == 1)[:10], region=REGION)


def test_held_out_part_is_of_every_class_and_copies_stay_together(mapper: AuditMapper, source: Samples) -> None:
    samples = read_samples(mapper, source, suspect_in(source), 1, 0.3, seed=0)
    assert len(samples.files) == 100
    assert len(samples.suspect.members) == 50
    for label in (0, 1):
        files = {
            Path(samples.files[row]).name[:2] for row in np.flatnonzero(samples.held_out & (samples.labels == label))
        }
        assert len(files) == 12  # 0.3 of 40 different ones
    side = dict(zip((Path(file).stem for file in samples.files), samples.held_out, strict=True))
    assert all(side[name] == side[f"{name}copy"] for name in side if f"{name}copy" in side)


def test_other_seed_holds_other_images_out(mapper: AuditMapper, source: Samples) -> None:
    one, other = (read_samples(mapper, source, suspect_in(source), 1, 0.3, seed).held_out for seed in (0, 1))
    assert (one != other).any()


def test_images_without_labels_are_refused(mapper: AuditMapper, source: Samples) -> None:
    unknown = replace(source, labels=np.full(len(source), -1, np.int32))
    with pytest.raises(ValueError, match="Expected labelled images, but the class of none is known"):
        read_samples(mapper, unknown, suspect_in(source), 1, 0.3, seed=0)


def test_one_class_alone_is_refused(mapper: AuditMapper, source: Samples) -> None:
    same = replace(source, labels=np.where(source.labels == 1, 1, -1).astype(np.int32))
    with pytest.raises(ValueError, match=r"at least 5 images of other classes to train on .* received 0 and 0"):
        read_samples(mapper, same, suspect_in(source), 1, 0.3, seed=0)


def test_unreadable_files_are_left_out_with_a_warning(mapper: AuditMapper, source: Samples) -> None:
    Path(source.files[0]).write_bytes(b"no image")
    with pytest.warns(UserWarning, match="1 image cannot be read, and is left out"):
        samples = read_samples(mapper, source, suspect_in(source), 1, 0.3, seed=0)
    assert len(samples.files) == 99
    assert samples.rows.tolist() == list(range(1, 100))
