"""Verdicts of `tf-gradcam explain --verdict`: a line for each picture, and a column of the manifest."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.helpers import app_tasks
from tests.helpers.pictures import encoded
from tests.helpers.spots import IMAGES, spots_model
from tf_gradcam._cli.main import main

HOLDS = "The map holds: erasing the hottest 5 % of the picture takes the "


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, image in zip(("one", "two"), IMAGES, strict=False):
        Path(f"{name}.png").write_bytes(encoded(image.astype(np.uint8), "PNG"))
    Path("black.png").write_bytes(encoded(np.zeros_like(IMAGES[0], np.uint8), "PNG"))
    return tmp_path


def rows() -> list[dict[str, str]]:
    with open("maps/manifest.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_picture_has_its_verdict(folder: Path) -> None:
    spots_model().save("spots.keras")
    arguments = ["explain", "one.png", "black.png", "two.png", "--model", "spots.keras", "--out", "maps"]
    result = CliRunner().invoke(main, [*arguments, "--verdict"])
    assert result.exit_code == 0, result.output
    assert result.output.count(f"\n  {HOLDS}probability from 1.00 to 0.02; ") == 2
    verdicts = [row["verdict"] for row in rows()]
    assert [text.startswith(HOLDS) for text in verdicts] == [True, False, True]
    assert verdicts[1].startswith("This map cannot be judged: ")
    assert "holds" not in CliRunner().invoke(main, [*arguments, "--overwrite"]).output
    assert {row["verdict"] for row in rows()} == {""}


def test_each_map_of_a_picture_has_its_verdict(folder: Path) -> None:
    spots_model("sigmoid").save("spots.keras")
    arguments = ["one.png", "--model", "spots.keras", "--task", "multilabel", "--target", "0,1", "--out", "maps"]
    result = CliRunner().invoke(main, ["explain", *arguments, "--verdict"])
    assert f"  class 0: {HOLDS}" in result.output
    assert "  class 1: This map cannot be judged: " in result.output
    assert [row["verdict"].startswith(HOLDS) for row in rows()] == [True, False]


def test_segmentation_is_refused_before_the_first_picture(folder: Path) -> None:
    app_tasks.segmentation_model().save("mask.keras")
    result = CliRunner().invoke(main, ["explain", "one.png", "--model", "mask.keras", "--out", "maps", "--verdict"])
    assert result.exit_code == 2
    assert "received one of segmentation. Leave --verdict out." in result.stderr
    assert not Path("maps").exists()
