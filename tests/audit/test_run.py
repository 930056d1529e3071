"""The audit from end to end, on slices with a planted mark: files in, findings and a page out.

Also tests audit/result.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from tests.helpers.audits import result_of
from tests.helpers.keras2_values import kept, write_h5
from tests.helpers.planted import MARKED, world
from tf_gradcam._cli.main import main
from tf_gradcam._errors import ModelWarning
from tf_gradcam.audit.result import AuditResult
from tf_gradcam.audit.run import _about_pictures, audit
from tf_gradcam.demo.phantom import CLASS_NAMES
from tf_gradcam.image.io import save_image

LABEL = CLASS_NAMES[MARKED]
COUNT = 240  # slices that are audited


class Given:
    """A folder per class, a model file and what is true about them."""

    def __init__(self, root: Path):
        self.world = world("corner", 0)
        self.data, self.model = root / "data", root / "best.keras"
        for number, (image, label) in enumerate(zip(self.world.images[:COUNT], self.world.labels, strict=False)):
            folder = self.data / CLASS_NAMES[label]
            folder.mkdir(parents=True, exist_ok=True)
            save_image(folder / f"{number:03d}.png", image.astype(np.uint8))
        self.world.model.save(self.model)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    return Given(tmp_path_factory.mktemp("audited"))


@pytest.fixture(scope="module")
def result(given: Given, tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    stages: list[str] = []
    out = tmp_path_factory.mktemp("report")
    found = audit(given.model, given.data, out, num_images=6, progress=lambda stage, done, total: stages.append(stage))
    assert {"images", "classes tested", "metrics", "sanity checks"} <= set(stages)
    return found


@pytest.mark.slow
def test_the_planted_mark_is_the_only_shortcut(result: AuditResult) -> None:
    assert [(finding.label, finding.kind) for finding in result.shortcuts] == [(LABEL, "place")]
    assert "lower right corner" in result.shortcuts[0].sentence


@pytest.mark.slow
def test_the_page_and_the_numbers_tell_of_it(result: AuditResult) -> None:
    page = (result.directory / "index.html").read_text(encoding="utf-8")
    assert "lower right corner" in page
    pictures = {path.name for path in (result.directory / "images").glob("*.jpg")}
    assert pictures == {f"{row}.jpg" for row in range(len(result.rows.index))}
    numbers = json.loads((result.directory / "audit.json").read_text(encoding="utf-8"))
    assert numbers["findings"][0]["label"] == LABEL


@pytest.mark.slow
def test_every_file_is_a_row_with_its_label(result: AuditResult, given: Given) -> None:
    files = sorted(given.data.rglob("*.png"))
    assert list(result.rows.file) == [str(path) for path in files]
    assert [CLASS_NAMES[label] for label in result.rows.label] == [path.parent.name for path in files]
    assert result.class_names == list(CLASS_NAMES)


@pytest.mark.slow
def test_rows_are_what_the_model_says(result: AuditResult, given: Given) -> None:
    numbers = [int(Path(file).stem) for file in result.rows.file]
    expected = given.world.model.predict(given.world.images[numbers], verbose=0)
    np.testing.assert_allclose(result.rows.probabilities, expected, atol=1e-4)
    assert result.accuracy == pytest.approx((expected.argmax(1) == given.world.labels[numbers]).mean())
    assert result.confusion.sum() == COUNT


@pytest.mark.slow
def test_metrics_stand_beside_chance_and_the_centre(result: AuditResult) -> None:
    by_method = {metric.method for metric in result.metrics}
    assert by_method == {"gradcam", "random", "centre"}


@pytest.mark.slow
def test_sanity_checks_are_those_of_the_method(result: AuditResult) -> None:
    assert [check.name for check in result.sanity] == ["weights", "logits"]


@pytest.mark.soak
def test_a_second_audit_goes_on_from_the_parts(
    result: AuditResult, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("an image was explained again")

    monkeypatch.setattr("tf_gradcam.audit.mapper.AuditMapper.explain", refuse)
    again = audit(given.model, given.data, result.directory, num_images=0, sanity=False)
    assert [finding.sentence for finding in again.findings] == [finding.sentence for finding in result.findings]
    assert again.metrics == []


@pytest.mark.slow
def test_a_dataset_gives_the_same_findings(result: AuditResult, given: Given, tmp_path: Path) -> None:
    numbers = [int(Path(file).stem) for file in result.rows.file]
    images, labels = given.world.images[numbers], given.world.labels[numbers]
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(50)
    before = [variable.numpy() for variable in given.world.model.variables]
    found = audit(given.world.model, dataset, tmp_path, num_images=0, sanity=False, class_names=list(CLASS_NAMES))
    np.testing.assert_array_equal(found.rows.predicted, result.rows.predicted)
    assert [finding.sentence for finding in found.shortcuts] == [finding.sentence for finding in result.shortcuts]
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert f"over a tf.data.Dataset of {len(numbers)} images</title>" in page
    assert "BatchDataset" not in page
    for variable, value in zip(given.world.model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def run(*arguments: object) -> object:
    return CliRunner().invoke(main, ["audit", *map(str, arguments)])


def test_command_tells_what_was_found_and_what_failed(given: Given, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in CLASS_NAMES:
        (data / name).mkdir(parents=True)
        for path in sorted((given.data / name).iterdir())[:12]:
            (data / name / path.name).write_bytes(path.read_bytes())
    (data / LABEL / "broken.png").write_bytes(b"no picture")
    options = ("--model", given.model, "--out", tmp_path / "out", "--num-images", 0, "--no-sanity")
    told = run(data, *options)
    assert told.exit_code == 1, told.output
    assert "48 of 49 images explained" in told.output
    assert "see " in told.output
    assert (tmp_path / "out" / "index.html").exists()


def test_repair_of_an_old_file_is_on_stderr_and_in_the_report(tmp_path: Path) -> None:
    model = write_h5(tmp_path / "old.h5", kept("operators"))
    for name in "abc":
        (tmp_path / "data" / name).mkdir(parents=True)
        save_image(tmp_path / "data" / name / "1.png", np.full((20, 30, 3), 90, np.uint8))
    out = tmp_path / "out"
    told = run(tmp_path / "data", "--model", model, "--out", out, "--num-images", 0, "--no-sanity")
    note = f"'{model}' was written by Keras 2.15.0 and repaired: "
    assert told.stderr.count(f"note: {note}") == 1
    assert json.loads((out / "audit.json").read_text())["about"]["notes on the model"].startswith(note)
    assert f"{note}tf." in unescape((out / "index.html").read_text())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "spark"}, "Unknown engine 'spark'"),
        ({"boxes": "b.csv", "masks": "m"}, "Expected boxes or masks, received both"),
        ({"class_names": ["a", "b"]}, "4 classes"),
        ({"layer": "nowhere"}, "nowhere"),
        ({"method": "gradcm"}, "gradcam"),
    ],
)
def test_wrong_use_is_told_before_anything_is_written(
    given: Given, tmp_path: Path, options: dict, message: str
) -> None:
    with pytest.raises((ValueError, KeyError), match=message):
        audit(given.model, given.data, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_missing_data_is_told(given: Given, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no data set"):
        audit(given.model, tmp_path / "nothing", tmp_path / "out")


def test_folders_of_other_classes_are_told(given: Given, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        save_image(tmp_path / name / "1.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="4 classes of the model: the data set has 2"):
        audit(given.model, tmp_path, tmp_path / "out")


def test_notes_and_replaced_pictures_are_reported() -> None:
    rows = result_of(count=6, failed=0).rows
    rows = replace(rows, note=np.array(["", "the first of its 3 frames is used", "", "", "", ""], object))
    with pytest.warns(ModelWarning) as warned:
        about = _about_pictures(rows, {"b.png", "a.png"})
    assert about["notes on pictures"] == f"1, such as '{rows.file[1]}': the first of its 3 frames is used"
    assert about["pictures replaced during the audit"].startswith(
        "2, such as 'a.png': they were explained as they were"
    )
    assert [str(one.message).partition(":")[0] for one in warned] == [
        "Notes on pictures",
        "Pictures replaced during the audit",
    ]
    assert _about_pictures(result_of(count=6).rows, set()) == {}
