"""Suspects written beside a report come back as they were."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from tests.audit.shortcuts.test_evidence import CLASS_1, PLACE, images, looks_at_the_mark, sample
from tf_gradcam.audit.shortcuts.evidence import gather_evidence
from tf_gradcam.audit.shortcuts.findings import find
from tf_gradcam.audit.shortcuts.stored import SUSPECTS, from_arrays, read_suspect, to_arrays, write_suspects
from tf_gradcam.audit.shortcuts.suspects import Suspect

TINT = Suspect("tint", "colour", np.arange(3), tone=(np.ones((2, 2)), np.array([[1.0, 8.0], [1.0, 0.0]])))
MARK = Suspect(
    "mark",
    "drawn alike",
    np.array([4, 2]),
    places=np.array([[-1, 3], [5, 0]]),
    patch=np.full((2, 3, 3), 250, np.float32),
    patch_region=np.array([[True, False, True], [True, True, True]]),
)


@pytest.mark.parametrize("suspect", [PLACE, MARK, TINT], ids=lambda one: one.kind)
def test_suspect_comes_back_as_it_was(suspect: Suspect, tmp_path: Path) -> None:
    write_suspects([to_arrays(TINT), to_arrays(suspect)], tmp_path / SUSPECTS)
    found = read_suspect(tmp_path / SUSPECTS, 1)
    assert found is not None
    for one in fields(Suspect):
        before, after = getattr(suspect, one.name), getattr(found, one.name)
        assert type(after) is type(before)
        np.testing.assert_array_equal(np.asarray(after), np.asarray(before))
    assert read_suspect(tmp_path / SUSPECTS, 2) is None


def test_finding_holds_what_was_tested_with_rows_of_the_table() -> None:
    """The sample's rows begin at 100, and the members of the suspect are those of the finding."""
    finding = find(sample(images(0, True), images(1, False)), looks_at_the_mark)[0]
    suspect = from_arrays(finding.suspect)
    assert suspect.members.tolist() == finding.images
    assert suspect.region is not None
    np.testing.assert_array_equal(suspect.region, finding.region > 0)
    again = gather_evidence(suspect, CLASS_1, images(0, True), images(1, False), looks_at_the_mark)
    assert again.before == finding.before


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    write_suspects([to_arrays(PLACE)], tmp_path / SUSPECTS)
    content = (tmp_path / SUSPECTS).read_bytes()
    (tmp_path / SUSPECTS).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="damaged, or was not written by an audit"):
        read_suspect(tmp_path / SUSPECTS, 0)
    with pytest.raises(FileNotFoundError):
        read_suspect(tmp_path / "nothing.npz", 0)
