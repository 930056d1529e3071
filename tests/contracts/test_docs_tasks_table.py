"""The table "task by door" of the manual: every cell that says yes has a run, every other one a reason.

Cells of Python, the command line and the callback run here, on models that one can do in one's head; cells of the web
page and the audit name the tests that run them.
"""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
from click.testing import CliRunner

from tests.contracts.pages import ROOT, TEXTS
from tests.helpers.redblue import red_blue_photo, write_photo
from tests.helpers.redblue_tasks import (
    IMAGES,
    of_boxes,
    of_classes,
    of_labels,
    of_pair,
    of_pixels,
    of_value,
)
from tests.helpers.slow import first
from tf_gradcam import Explainer
from tf_gradcam._cli.main import main
from tf_gradcam.callbacks import GradCAMCallback

DOORS = ("Python", "command line", "web page", "audit", "callback")
BUILT: dict[str, Callable[[], keras.Model]] = {
    "classification": of_classes,
    "binary": of_pair,
    "multilabel": of_labels,
    "regression": of_value,
    "segmentation": of_pixels,
    "detection": of_boxes,
}
# Of one picture: the number of maps, and options of the command line.
MAPS = {
    "classification": (1, ()),
    "binary": (1, ("--target", "0")),
    "multilabel": (2, ()),
    "regression": (1, ("--unit", "years")),
    "segmentation": (1, ("--target", "0")),
    "detection": (2, ("--decode", "center_xywh")),
}
TESTED_ELSEWHERE = {
    "web page": {
        "classification": "tests/browser/test_page.py::test_layer_method_class_and_contrast_change_the_map",
        "binary": "tests/browser/test_tasks.py::test_both_sides_are_shown",
        "multilabel": "tests/browser/test_tasks.py::test_labels_above_the_threshold_are_shown_together",
        "regression": "tests/browser/test_tasks.py::test_value_and_its_unit_are_shown_and_compared",
        "segmentation": "tests/browser/test_tasks.py::test_pixel_is_clicked",
        "detection": "tests/browser/test_tasks.py::test_box_is_clicked",
    },
    "audit": {
        "classification": "tests/audit/test_run.py::test_every_file_is_a_row_with_its_label",
        "binary": "tests/audit/test_mapper.py::test_one_sigmoid_unit_is_two_classes",
        "multilabel": "tests/audit/test_tasks.py::test_command_audits_labels_and_says_the_task",
        "regression": "tests/audit/test_tasks.py::test_command_audits_values_and_says_the_unit",
        "segmentation": "tests/audit/test_tasks_segmentation.py::test_command_line_audits_a_segmentation",
    },
}


def table() -> dict[tuple[str, str], str]:
    """Return the text of each cell, by task and door."""
    text = TEXTS["docs/tasks.md"].partition("## Task by door")[2].partition("\n## ")[0]
    head, _, *rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    assert tuple(head) == ("task", *DOORS)
    return {
        (re.sub(r"\[(\w+)\]\(.*\)", r"\1", row[0]), door): cell
        for row in rows
        for door, cell in zip(DOORS, row[1:], strict=True)
    }


CELLS = table()


def cases(*doors: str) -> list[tuple[str, str]]:
    return [at for at, cell in CELLS.items() if at[1] in doors and not cell.startswith("no")]


def test_table_has_every_task_and_every_cell_says_yes_or_why_not() -> None:
    assert {task for task, _ in CELLS} == set(BUILT)
    for cell in CELLS.values():
        assert cell
        assert not cell.startswith("no") or re.fullmatch(r"no: .{10,}", cell)


@pytest.mark.parametrize("task", first(2, [task for task, _ in cases("Python")]))
def test_python_explains_the_task_by_the_call_of_the_table(task: str) -> None:
    model, images = BUILT[task](), IMAGES[:1]
    names = ["no", "yes"] if task == "binary" else ["road", "sky"]
    options: dict[str, Any] = {"decode": "center_xywh"} if task == "detection" else {}
    explainer = Explainer(model, class_names=None if task == "regression" else names, **options)
    assert explainer.task.name == ("classification" if task == "binary" else task)
    for call in re.findall(r"`([^`]+)`", CELLS[task, "Python"]):
        names_there = {"explainer": explainer, "images": images, "model": model, "Explainer": Explainer}
        if not call.startswith(("explainer", "Explainer")):
            call = f"explainer.{call}"
        result = eval(call, names_there)
        heatmaps = result[0].maps.heatmaps if task == "detection" else result.heatmaps
        assert heatmaps.max() == 1


@pytest.mark.parametrize("task", first(2, [task for task, _ in cases("command line")]))
def test_command_line_explains_the_task(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    BUILT[task]().save("model.keras")
    write_photo(tmp_path, "photo.png", red_blue_photo())
    count, options = MAPS[task]
    words = ["explain", "photo.png", "--model", "model.keras", *options, "--out", "maps"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    with open("maps/manifest.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["done"] * count
    assert {row["task"] for row in rows} == {"classification" if task == "binary" else task}
    assert len(list(Path("maps").glob("*.overlay.png"))) == count
    said = CELLS[task, "command line"]
    assert all(word in main.commands["explain"].get_help(done_context()) for word in re.findall(r"`(--\w+)", said))


def done_context() -> Any:
    import click

    return click.Context(main.commands["explain"])


@pytest.mark.parametrize("task", first(2, [task for task, _ in cases("callback")]))
def test_callback_draws_the_task(task: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"decode": "center_xywh"} if task == "detection" else {}
    callback = GradCAMCallback(IMAGES[:1], tmp_path, **options)
    callback.set_params({"epochs": 1})
    callback.set_model(BUILT[task]())
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    assert callback.task is not None
    assert callback.task.name == ("classification" if task == "binary" else task)
    assert (tmp_path / "epoch_0000.png").stat().st_size > 1000


@pytest.mark.parametrize(("task", "door"), cases("web page", "audit"))
def test_cell_of_the_page_or_the_audit_has_a_test(task: str, door: str) -> None:
    path, _, name = TESTED_ELSEWHERE[door][task].partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
