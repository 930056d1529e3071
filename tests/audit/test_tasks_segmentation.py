"""The audit of a segmentation whose predictions and errors can be counted: each pixel has the class of its colour.

Also tests audit/truth.py, audit/scores.py and audit/report.
"""

from __future__ import annotations

import json
import os
import pickle
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tf_gradcam._cli.main import main
from tf_gradcam._errors import for_command_line
from tf_gradcam.audit import AuditResult, Rows, audit
from tf_gradcam.audit.engines import _Actor
from tf_gradcam.audit.mapper import AuditMapper
from tf_gradcam.audit.scores import image_ious, segmentation_score
from tf_gradcam.audit.truth import find_masks

pytest.importorskip("pyarrow", reason="the extra audit is not installed")

SIZE = (6, 10)
NAMES = ["red", "green", "blue"]
COUNT = 6


def model_of(units: int = 3) -> keras.Model:
    """The class of a pixel is its strongest colour; of one unit, whether it is more than half red."""
    image = keras.Input((*SIZE, 3))
    scaled = keras.layers.Rescaling(1 / 255)(image)
    hue = keras.layers.Conv2D(3, 1, activation="relu", name="hue")
    pixels = keras.layers.Conv2D(units, 1, activation="softmax" if units > 1 else "sigmoid", name="pixels")
    model = keras.Model(image, pixels(hue(scaled)), name="colours")
    hue.set_weights([np.eye(3, dtype=np.float32)[None, None], np.zeros(3, np.float32)])
    kernel = 9 * np.eye(3, units, dtype=np.float32)[None, None]
    pixels.set_weights([kernel, np.full(units, -4.5 if units == 1 else 0, np.float32)])
    return model


def predicted(number: int) -> np.ndarray:
    """Return the classes of picture `number`: red, with `number` columns of green, and a row of blue below."""
    classes = np.zeros(SIZE, np.int64)
    classes[:, :number] = 1
    classes[5] = 2
    return classes


def true(number: int) -> np.ndarray:
    """Return the true classes: one column of green less to the left than predicted; the upper right pixel unknown."""
    classes = predicted(number)
    classes[:5, max(0, number - 1)] = 0
    classes[0, 9] = 255
    return classes


def write(folder: Path) -> None:
    """Write pictures of twice the size of the model's, and masks."""
    for name in ("pictures", "masks"):
        (folder / name).mkdir()
    for number in range(COUNT):
        colours = 255 * np.eye(3, dtype=np.uint8)[predicted(number)]
        Image.fromarray(colours.repeat(2, 0).repeat(2, 1)).save(folder / f"pictures/{number}.png")
        mask = true(number).astype(np.uint8).repeat(2, 0).repeat(2, 1)
        Image.fromarray(mask).save(folder / f"masks/{number}.png")
    (folder / "names.txt").write_text("\n".join(NAMES))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with what `write` writes."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    """The audit of all pictures and masks."""
    folder = tmp_path_factory.mktemp("audited")
    write(folder)
    options = {"truth": folder / "masks", "class_names": NAMES, "method": "hirescam"}
    return audit(model_of(), folder / "pictures", folder / "report", **options)  # type: ignore[arg-type]


@cache
def mapper_of(units: int = 3, names: tuple[str, ...] | None = tuple(NAMES)) -> AuditMapper:
    return AuditMapper(model_of(units), class_names=names)


def rows_of(mapper: AuditMapper, data: str = "pictures", truth: str | None = "masks") -> Rows:
    """Return the rows of a data set, without the report."""
    return mapper(mapper.task.source(data, None, None, truth).rows(0, COUNT))  # type: ignore[union-attr]


def expected_ious() -> list[float]:
    """Count intersections and unions over all pictures, by hand."""
    hits, unions = np.zeros(3), np.zeros(3)
    for number in range(COUNT):
        is_known = true(number) != 255
        for label in range(3):
            of_class, given = true(number) == label, (predicted(number) == label) & is_known
            hits[label] += (of_class & given).sum()
            unions[label] += (of_class | given).sum()
    return (hits / unions).tolist()


def run(folder: Path, model: Any = None, data: Any = "pictures", **options: Any) -> Any:
    options = {"truth": "masks", "class_names": NAMES, **options}
    return audit(model_of() if model is None else model, data, folder / "report", **options)


def test_iou_of_each_class_is_the_one_that_is_counted(audited: AuditResult) -> None:
    result = audited
    found = result.segmentation_score
    assert found is not None
    assert found.count == COUNT
    np.testing.assert_allclose([one.iou.value for one in found.classes], expected_ious(), rtol=1e-5)
    np.testing.assert_allclose(found.mean_iou.value, np.mean(expected_ious()), rtol=1e-5)
    # Of 59 known pixels in each of 6 pictures, 5 are wrong in each with a column of green.
    np.testing.assert_allclose(found.accuracy.value, 1 - 25 / (59 * 6), rtol=1e-5)
    assert [one.count for one in found.classes] == [6, 4, 6]
    assert [one.predicted for one in found.classes] == [6, 5, 6]
    for one in (found.mean_iou, found.accuracy):
        assert one.low <= one.value <= one.high
    assert result.findings == []
    assert result.untested == []


def test_each_class_of_an_image_has_a_map_of_its_own_region(audited: AuditResult) -> None:
    """A map of this model lies where the colour of its class is."""
    rows = audited.rows
    assert rows.mapped[0].tolist() == [0, 2]
    assert rows.mapped[3].tolist() == [0, 1, 2]
    np.testing.assert_allclose(rows.probabilities[3], [35 / 60, 15 / 60, 10 / 60], rtol=1e-5)
    for place, label in enumerate(rows.mapped[3]):
        np.testing.assert_allclose(rows.maps[3][place], predicted(3) == label, atol=1e-3)
    np.testing.assert_array_equal(rows.predicted, [0] * 5 + [0])
    np.testing.assert_allclose(rows.heatmap[3], rows.maps[3][0], atol=1e-3)


def test_report_and_numbers_hold_the_scores(audited: AuditResult) -> None:
    page = (audited.directory / "index.html").read_text(encoding="utf-8")
    for text in ("Intersection over union of each class", "Mean IoU", "Lowest mean IoU", "Shortcuts are not tested"):
        assert text in page
    assert "No shortcut was found" not in page
    numbers = json.loads((audited.directory / "audit.json").read_text())
    assert numbers["task"] == "segmentation"
    assert numbers["segmentation"]["mean_iou"]["value"] == pytest.approx(np.mean(expected_ious()))
    assert [one["label"] for one in numbers["segmentation"]["classes"]] == NAMES
    assert [one["label"] for one in numbers["classes"]] == NAMES
    assert "not tested" in audited.about


def test_table_of_masks_gives_the_same_as_two_folders(folder: Path) -> None:
    lines = ["file,mask", *(f"pictures/{number}.png,masks/{number}.png" for number in range(COUNT))]
    (folder / "table.csv").write_text("\n".join(lines))
    both = rows_of(mapper_of()), rows_of(mapper_of(), "table.csv", None)
    np.testing.assert_allclose(both[0].truth, both[1].truth)
    np.testing.assert_allclose(both[0].probabilities, both[1].probabilities)


def test_worker_of_ray_reads_the_masks(folder: Path) -> None:
    """A worker gets the names of files as bytes."""
    mapper = mapper_of()
    columns = mapper.task.source("pictures", None, None, "masks").rows(0, COUNT)  # type: ignore[union-attr]
    encoded = {name: np.array([os.fsencode(one) for one in columns[name]], object) for name in ("file", "mask")}
    worker = _Actor(mapper.arguments, str(folder))
    (rows,) = worker({**columns, **encoded})["rows"]
    np.testing.assert_allclose(pickle.loads(rows).truth, rows_of(mapper).truth)


def test_images_without_a_mask_are_explained_and_not_scored(folder: Path) -> None:
    (folder / "masks" / "0.png").unlink()
    rows = rows_of(mapper_of())
    assert rows.is_labelled.tolist() == [False] + [True] * 5
    assert rows.is_done.all()
    assert find_masks("pictures", "masks").note == ("1 of 6 images have no mask in 'masks', such as 'pictures/0.png'.")
    with pytest.warns(UserWarning, match="no IoU is computed. Give masks of them by truth=FOLDER"):
        unknown = run(folder / "unknown", truth=None)
    assert unknown.segmentation_score is None
    assert "Lowest IoU" not in (folder / "unknown" / "report" / "index.html").read_text()


def test_mask_of_another_size_or_class_fails_its_image_alone(folder: Path) -> None:
    Image.fromarray(np.zeros((6, 10), np.uint8)).save("masks/1.png")
    Image.fromarray(np.full((12, 20), 3, np.uint8)).save("masks/2.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (12, 20, 3), np.uint8)).save("masks/3.png")
    rows = rows_of(mapper_of())
    assert rows.status.tolist() == ["done", "failed", "failed", "failed", "done", "done"]
    assert "the picture's size, 20 wide and 12 high, received 'masks/1.png', 10 wide and 6 high" in rows.error[1]
    assert "classes from 0 to 2, and 255 where unknown, received 3 in 'masks/2.png'" in rows.error[2]
    assert "class indices, grey or with a palette, received the colours of 'masks/3.png'" in rows.error[3]


def test_indices_of_a_palette_count_and_not_its_colours(folder: Path) -> None:
    before = rows_of(mapper_of()).truth
    for number in range(COUNT):
        with Image.open(f"masks/{number}.png") as picture:
            indexed = picture.copy()
        indexed.putpalette(np.random.default_rng(1).integers(0, 256, 768, np.uint8).tolist())
        indexed.save(f"masks/{number}.png")
    assert indexed.mode == "P"
    np.testing.assert_allclose(rows_of(mapper_of()).truth, before)


def test_mask_of_one_unit_is_black_and_white(folder: Path) -> None:
    for number in range(COUNT):
        red = (predicted(number) == 0).astype(np.uint8) * 255
        Image.fromarray(red.repeat(2, 0).repeat(2, 1)).save(f"masks/{number}.png")
    for names in (None, ("rest", "red")):
        mapper = mapper_of(1, names)
        found = segmentation_score(rows_of(mapper).truth, mapper.task.names)
        assert found.mean_iou.value == found.accuracy.value == 1
        assert [one.label for one in found.classes] == list(names or ["class 0"])


def test_score_of_one_class_counts_the_pixels_outside_too() -> None:
    """Of 10 cells, 4 are true, 3 of them found, and 1 other is predicted: 8 are right."""
    found = segmentation_score(np.array([[0.4, 0.3, 0.4]]), ["thing"])
    assert found.classes[0].iou.value == pytest.approx(3 / 5)
    assert found.accuracy.value == pytest.approx(0.8)
    np.testing.assert_allclose(image_ious(np.array([[0.4, 0.3, 0.4], [0, 0, 0]])), [[0.6], [np.nan]])


def test_class_that_is_nowhere_has_no_iou_and_is_not_in_the_mean() -> None:
    found = segmentation_score(np.array([[1.0, 0, 0.5, 0, 0.5, 0]] * 2), ["there", "nowhere"])
    assert found.classes[0].iou.value == 0.5
    assert np.isnan(found.classes[1].iou.value)
    assert found.mean_iou.value == 0.5


# What is refused.


def test_options_of_other_tasks_are_refused_and_the_remedies_work(folder: Path) -> None:
    with pytest.raises(ValueError, match="no boxes or masks of objects for the task segmentation") as refused:
        run(folder, truth=None, masks="masks")
    assert "Masks of true classes are truth=FOLDER." in str(refused.value)
    assert "Masks of true classes are --truth FOLDER." in for_command_line(refused.value)
    layers = [keras.Input((*SIZE, 3)), keras.layers.Conv2D(2, 1), keras.layers.Flatten()]
    classifier = keras.Sequential([*layers, keras.layers.Dense(2, "softmax")])
    with pytest.raises(ValueError, match="Expected no masks of true classes for the task classification"):
        audit(classifier, "pictures", folder / "other", truth="masks")


def test_data_sets_that_cannot_be_are_refused(folder: Path) -> None:
    (folder / "table.csv").write_text("file,label\npictures/0.png,1\n")
    with pytest.raises(ValueError, match=r"the columns 'file' and 'mask' in the first line of 'table.csv'"):
        find_masks("table.csv", None)
    (folder / "table.csv").write_text("file,mask\npictures/0.png,masks/none.png\n")
    with pytest.raises(FileNotFoundError, match=r"There is no mask 'masks/none.png', which row 2 of 'table.csv' names"):
        find_masks("table.csv", None)
    with pytest.raises(ValueError, match=r"in the column 'mask' of 'table.csv', received a folder of masks beside it"):
        find_masks("table.csv", "masks")
    with pytest.raises(NotADirectoryError, match="Expected a folder of masks, received 'nowhere'"):
        find_masks("pictures", "nowhere")
    with pytest.raises(ValueError, match=r"Expected a folder or a CSV file with the columns file,mask"):
        AuditMapper(model_of()).task.source(iter([]), None, None)  # type: ignore[arg-type]


def test_command_line_audits_a_segmentation(folder: Path) -> None:
    model_of().save("model.keras")
    line = ["audit", "pictures", "--model", "model.keras", "--class-names", "names.txt", "--out", "report"]
    done = CliRunner().invoke(main, [*line, "--truth", "masks"])
    assert done.exit_code == 0, done.output
    share = 1 - 25 / (59 * 6)
    expected = f"6 of 6 images explained, mean IoU {np.mean(expected_ious()):.3f}, {share:.2%} of the pixels right"
    assert expected in done.stdout
    assert "Shortcuts are not tested in a segmentation, see the report." in done.stdout
    again = CliRunner().invoke(main, [*line, "--truth", "masks"])  # goes on from the rows that are there
    assert expected in again.stdout
    wrong = CliRunner().invoke(main, [*line[:-1], "second", "--masks", "masks"])
    assert wrong.exit_code == 2
    assert "--truth FOLDER" in wrong.stderr
