"""A planted shortcut is repaired, from the report to the saved model; wrong use is refused.

Also tests _cli/repair.py, repair/measure.py, repair/picture.py and repair/reports.py.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.helpers.repairs import NAMES, SQUARE, stripes, world
from tf_gradcam import describe
from tf_gradcam._cli.main import main
from tf_gradcam.metrics import Interval
from tf_gradcam.repair import RepairNumbers, RepairResult, repair
from tf_gradcam.repair.run import _verdict

SETTINGS: dict[str, Any] = {"epochs": 60, "learning_rate": 3e-3}


class Planted:
    """A world with a square, and the paths of its model, data and report."""

    def __init__(self, root: Path):
        self.root = root
        self.model, self.data, self.report = world(root)

    def repaired(self, out: Path, **options: Any) -> RepairResult:
        return repair(self.model, self.data, self.report, out, **options)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def result(planted: Planted) -> RepairResult:
    before = planted.model.read_bytes()
    found = planted.repaired(planted.root / "repaired", **SETTINGS)
    assert planted.model.read_bytes() == before
    return found


def test_square_says_nothing_after_the_repair(result: RepairResult) -> None:
    assert result.before.is_pasted
    assert result.before.pasting.value > 0.9
    assert not result.after.is_used
    assert result.is_removed
    assert result.verdict.startswith("REPAIRED `down`")


def test_saved_model_is_right_about_new_images_with_the_square_on_either_class(result: RepairResult) -> None:
    """Half of the images with a square are of each class: a model that follows it is right about half of them."""
    images, labels = stripes(5)
    images[:, SQUARE[0], SQUARE[1]] = 240
    model = keras.saving.load_model(result.model)
    predicted = model.predict(images, verbose=0).argmax(axis=1)
    assert (predicted == labels).mean() > 0.7
    assert describe(result.model).class_names == NAMES


def test_numbers_are_those_of_the_files(result: RepairResult, planted: Planted) -> None:
    folder = result.model.parent
    numbers = json.loads((folder / "repair.json").read_text(encoding="utf-8"))
    assert numbers["after"]["pasting"]["value"] == pytest.approx(result.after.pasting.value)
    assert numbers["is_removed"] is True
    assert (folder / "repair.png").read_bytes().startswith(b"\x89PNG")
    with open(folder / "held_out.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == numbers["about"]["images"]["held out"] == 60
    assert all(Path(row["file"]).parent.name == row["label"] for row in rows)
    model = keras.saving.load_model(planted.model)
    images = np.stack([keras.utils.img_to_array(keras.utils.load_img(row["file"])) for row in rows])
    truth = np.array([NAMES.index(row["label"]) for row in rows])
    accuracy = (model.predict(images, verbose=0).argmax(axis=1) == truth).mean()
    assert result.before.accuracy.value == pytest.approx(accuracy)


def test_text_has_both_columns(result: RepairResult) -> None:
    head, *lines = str(result).splitlines()
    assert head.split() == ["before", "after"]
    assert [line.split("  ")[0] for line in lines] == [
        "effect of erasing it",
        "effect of pasting it",
        "accuracy, held-out images",
        "accuracy, with it erased",
    ]
    assert str(result.after.pasting) in lines[1]


@pytest.mark.slow
def test_model_in_memory_is_left_as_it_was(planted: Planted, tmp_path: Path) -> None:
    """The report is of the file, whose digest a model in memory does not have: it is audited again."""
    from tf_gradcam.audit import audit

    model = keras.saving.load_model(planted.model)
    audit(model, planted.data, tmp_path / "report", num_images=0, sanity=False)
    before = [weight.numpy() for weight in model.weights]
    found = repair(model, planted.data, tmp_path / "report", tmp_path / "out", epochs=1)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    changed = keras.saving.load_model(found.model).weights
    assert any((weight.numpy() != value).any() for weight, value in zip(changed, before, strict=True))


def test_folder_of_a_run_stands_for_its_best_model(planted: Planted, tmp_path: Path) -> None:
    found = repair(planted.root, planted.data, planted.report, tmp_path, epochs=1)
    assert (
        found.about["model before"]
        == json.loads((planted.report / "rows/run.json").read_text())["fingerprint"]["weights"]
    )


@pytest.mark.slow
def test_repair_follows_its_seed(planted: Planted, tmp_path: Path) -> None:
    one, same = (planted.repaired(tmp_path / name, epochs=1, seed=3) for name in ("one", "same"))
    assert one.before == same.before
    assert one.after.pasting.value == pytest.approx(same.after.pasting.value, abs=0.05)


# Wrong use.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"finding": 9}, "no finding 9 in '.*'. It has 1 to"),
        ({"from_layer": "secnd"}, "Unknown layer with weights 'secnd'. Did you mean 'second'"),
        ({"how": "agument"}, "Unknown way to repair 'agument'. Did you mean 'augment'"),
        ({"epochs": 0}, "epochs at least 1, received 0"),
        ({"learning_rate": 0.0}, "learning_rate above 0, received 0.0"),
        ({"held_out": 1.0}, "held_out between 0 and 1, received 1.0"),
        (
            {"held_out": 0.02},
            "at least 5 images of `down` that show it to train on and as many to test, received .* and 2",
        ),
    ],
)
def test_wrong_argument_is_refused(options: dict[str, Any], message: str, planted: Planted, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        planted.repaired(tmp_path, **{**SETTINGS, **options})


def test_report_of_another_model_is_refused(planted: Planted, tmp_path: Path) -> None:
    model = keras.saving.load_model(planted.model)
    model.layers[-1].bias.assign(model.layers[-1].bias + 1)
    model.save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match=r"is of another model. Give the model that was audited, or audit again"):
        repair(tmp_path / "other.keras", planted.data, planted.report, tmp_path / "out")


def test_report_of_other_images_is_refused(planted: Planted, tmp_path: Path) -> None:
    shutil.copytree(planted.data, tmp_path / "data")
    with pytest.raises(ValueError, match="is of other images or labels"):
        repair(planted.model, tmp_path / "data", planted.report, tmp_path / "out")


def changed_report(planted: Planted, folder: Path, **values: Any) -> Path:
    """Return a copy of the report with other values in audit.json."""
    shutil.copytree(planted.report, folder)
    numbers = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    (folder / "audit.json").write_text(json.dumps({**numbers, **values}), encoding="utf-8")
    return folder


def test_clean_report_is_refused(planted: Planted, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no shortcut, so there is nothing to repair.$"):
        planted_with(planted, changed_report(planted, tmp_path / "none", findings=[]), tmp_path)
    finding = {**json.loads((planted.report / "audit.json").read_text())["findings"][0], "is_shortcut": False}
    with pytest.raises(ValueError, match=r"Its strongest suspect is `down`.* use finding=1"):
        planted_with(planted, changed_report(planted, tmp_path / "harmless", findings=[finding]), tmp_path)


def planted_with(planted: Planted, report: Path, out: Path) -> None:
    repair(planted.model, planted.data, report, out)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": "regression"}, "Expected an audit of classes.* of the task regression"),
        ({"findings": [{"is_shortcut": True}]}, "damaged: 'kind' is missing"),
        ({"findings": [{"is_shortcut": True, "kind": "place"}]}, "damaged: 'class_index' is missing"),
        ({"findings": [{"is_shortcut": True, "kind": "noise"}]}, "finding 1 is of the kind noise. Choose another by"),
        ({"findings": [{"is_shortcut": True, "kind": "mark", "classes": [0, 1]}]}, "is shared by several classes"),
    ],
)
def test_unfit_report_is_refused(values: dict[str, Any], message: str, planted: Planted, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        planted_with(planted, changed_report(planted, tmp_path / "report", **values), tmp_path)


def test_folder_without_a_report_is_refused(planted: Planted, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Expected the folder of an audit's report"):
        planted_with(planted, tmp_path / "nothing", tmp_path)


def test_report_of_an_earlier_version_is_refused(planted: Planted, tmp_path: Path) -> None:
    shutil.copytree(planted.report, tmp_path / "report")
    (tmp_path / "report" / "findings.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"findings\.npz"):
        planted_with(planted, tmp_path / "report", tmp_path)


def test_own_model_is_not_replaced(planted: Planted, tmp_path: Path) -> None:
    shutil.copy(planted.model, tmp_path / "model.keras")
    with pytest.raises(ValueError, match="Expected another folder than that of the model"):
        repair(tmp_path, planted.data, planted.report, tmp_path)


# The verdict.

NONE, LARGE = Interval(0.0, -0.02, 0.02), Interval(0.9, 0.8, 1.0)


def numbers(pasting: Interval, accuracy: float, is_pasted: bool) -> RepairNumbers:
    return RepairNumbers(
        NONE, pasting, Interval(0.9, 0.8, 1.0), Interval(accuracy, accuracy - 0.05, accuracy + 0.05), False, is_pasted
    )


USED, CLEAN = numbers(LARGE, 0.8, True), numbers(NONE, 0.8, False)


@pytest.mark.parametrize(
    ("before", "after", "is_removed", "words"),
    [
        (USED, CLEAN, True, "REPAIRED `down` does not use it any more"),
        (USED, USED, False, "NOT REPAIRED `down` still uses it: pasting it turns 90% of the others"),
        (
            USED,
            numbers(NONE, 0.69, False),
            False,
            "NOT REPAIRED .* the accuracy with it erased fell from 0.800 to 0.690",
        ),
        (USED, numbers(NONE, 0.71, False), True, "REPAIRED"),
        (USED, replace(CLEAN, erasing=Interval(-0.2, -0.3, -0.1)), True, "REPAIRED .* against .* erasing it adds 0.20"),
        (USED, replace(CLEAN, erasing=Interval(-0.2, -0.5, 0.1)), True, "REPAIRED .* on held-out images.$"),
        (CLEAN, CLEAN, True, "Nothing to repair on the held-out images"),
    ],
)
def test_verdict_says_whether_it_helped(
    before: RepairNumbers, after: RepairNumbers, is_removed: bool, words: str
) -> None:
    verdict = _verdict("down", before, after)
    assert verdict[0] is is_removed
    assert re.match(words, verdict[1])


# The command.


def command(planted: Planted, out: Path, *options: str) -> Result:
    given = [str(planted.root), str(planted.data), "--report", str(planted.report), "--out", str(out), *options]
    return CliRunner().invoke(main, ["repair", *given])


def test_command_prints_both_columns_and_ends_by_the_verdict(planted: Planted, tmp_path: Path) -> None:
    ran = command(planted, tmp_path / "out", "--epochs", "1", "--learning-rate", "1e-6")
    assert ran.exit_code == 1, ran.output  # a millionth changes nothing
    assert ran.stdout.startswith("finding 1: `down`")
    assert "trained from 'second' on, with 140 images; 60 are held out" in ran.stdout
    assert "effect of pasting it" in ran.stdout
    assert "NOT REPAIRED `down` still uses it" in ran.stdout


def test_command_refuses_in_one_line(planted: Planted, tmp_path: Path) -> None:
    ran = command(planted, tmp_path / "out", "--finding", "9")
    assert ran.exit_code == 2
    assert "There is no finding 9" in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
