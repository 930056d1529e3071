"""Labels that are probably wrong: by hand, and in a world where they were planted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.audits import plain_rows
from tests.helpers.planted import world
from tf_gradcam.audit import LabelError, audit
from tf_gradcam.audit.duplicates import DuplicateGroup
from tf_gradcam.audit.label_errors import find_label_errors
from tf_gradcam.audit.rows import Rows
from tf_gradcam.demo.phantom import CLASS_NAMES, phantom_slices
from tf_gradcam.image.io import save_image


def rows_of(labels: list[int], probabilities: list[list[float]]) -> Rows:
    table = np.array(probabilities)
    rows = plain_rows(np.array(labels), table.argmax(axis=1), np.zeros((len(labels), 2, 3)), table.shape[1])
    return replace(rows, probabilities=table)


# Class 0 is found with 0.9, 0.7 and 0.2 in its images, 0.6 on average; class 1 with 0.8, 0.6 and 0.25: 0.55.
LABELS = [0, 0, 0, 1, 1, 1]
TABLE = [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.2, 0.8], [0.4, 0.6], [0.75, 0.25]]


def test_confident_disagreement_is_that_of_the_class_averages_the_largest_first() -> None:
    found = find_label_errors(rows_of(LABELS, TABLE), [])
    assert [(one.row, one.label, one.likely, one.twin) for one in found] == [(2, 0, 1, None), (5, 1, 0, None)]
    np.testing.assert_allclose([one.margin for one in found], [0.6, 0.5], rtol=1e-6)


def test_disagreement_below_the_average_of_the_class_is_an_error_of_the_model() -> None:
    """With 0.55 the last image lies below the average 0.6 of class 0, and at 0.6 on it."""
    for value, rows in ((0.55, [2]), (0.6001, [2, 5])):
        table = [*TABLE[:5], [value, 1 - value]]
        assert [one.row for one in find_label_errors(rows_of(LABELS, table), [])] == rows


def test_unlabelled_and_failed_images_and_classes_without_images_say_nothing() -> None:
    rows = rows_of([0, 0, -1, 1, 1], [[0.9, 0.1, 0], [0.1, 0, 0.9], [0, 1, 0], [0.1, 0.9, 0], [0.9, 0.1, 0]])
    rows.status[4] = "failed"
    rows.probabilities[4], rows.predicted[4] = np.nan, -1
    assert find_label_errors(rows, []) == []


def test_of_twins_the_label_that_the_model_finds_less_probable_is_wrong_and_comes_first() -> None:
    """Of rows 3 and 1, which are one picture, 1 is labelled 0 with 0.7, and 3 labelled 1 with 0.8."""
    found = find_label_errors(rows_of(LABELS, TABLE), [DuplicateGroup([1, 3], 1.0), DuplicateGroup([0, 1], 1.0)])
    assert found[0] == LabelError(1, 0, 1, pytest.approx(0.3 - 0.7), 3)
    assert [one.row for one in found] == [1, 2, 5]


def test_twins_of_which_one_has_no_label_do_not_disagree() -> None:
    rows = rows_of([1, -1, 1], [[0.1, 0.9], [0.9, 0.1], [0.1, 0.9]])
    assert find_label_errors(rows, [DuplicateGroup([0, 1, 2], 1.0)]) == []


@pytest.mark.slow
def test_planted_copies_and_label_swaps_are_found(tmp_path: Path) -> None:
    """400 new slices, of which 20 have another label; 8 are there again as JPEG, 4 of them with another label, and 4
    mirrored, which is another picture. The model has not seen them."""
    slices = phantom_slices(400, seed=99, size=64)
    images, true = slices.images.astype(np.uint8), np.array(slices.labels)
    generator = np.random.default_rng(1)
    labels = true.copy()
    swapped = generator.choice(np.arange(50, 400), 20, replace=False)
    labels[swapped] = (labels[swapped] + generator.integers(1, 4, 20)) % 4

    def path(number: int, label: int, name: str) -> Path:
        (tmp_path / "data" / CLASS_NAMES[label]).mkdir(parents=True, exist_ok=True)
        return tmp_path / "data" / CLASS_NAMES[label] / f"{number:03d}{name}"

    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        save_image(path(number, label, ".png"), image)
    for number in range(8):
        small = cv2.resize(images[number], (48, 48), interpolation=cv2.INTER_AREA) if number % 2 else images[number]
        label = (labels[number] + (number < 4)) % 4
        cv2.imwrite(str(path(number, label, ".jpg")), small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 60])
    for number in range(8, 12):
        save_image(path(number, labels[number], "m.png"), images[number][:, ::-1])

    model = world(None, 0).model
    result = audit(
        model, tmp_path / "data", tmp_path / "out", class_names=list(CLASS_NAMES), num_images=0, sanity=False
    )
    names = [Path(file).name for file in result.rows.file]
    assert sorted(sorted(names[row] for row in group.rows) for group in result.duplicates) == [
        [f"{number:03d}.jpg", f"{number:03d}.png"] for number in range(8)
    ]
    twins = [one for one in result.label_errors if one.twin is not None]
    assert {names[one.row][:3] for one in twins} == {f"{number:03d}" for number in range(4)}
    assert {names[one.row][-3:] for one in twins} == {"jpg"}  # the copies have the wrong label
    found = {int(names[one.row][:3]) for one in result.label_errors if one.twin is None}
    assert len(found & set(swapped.tolist())) >= 16
    assert len(found - set(swapped.tolist())) <= 20  # of the 380 others: confident errors of the model
