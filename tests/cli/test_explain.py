"""The files of `tf-gradcam explain --save`: figures, and the hot regions as boxes, masks and contours."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tests.helpers import app_tasks
from tests.helpers.redblue import red_blue_model, write_photo
from tf_gradcam._cli.main import main


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "red_blue.keras"
    red_blue_model().save(path)
    return str(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a photo of 6 x 10 pixels whose first four columns are red, and the classes' names."""
    monkeypatch.chdir(tmp_path)
    write_photo(tmp_path)
    (tmp_path / "names.txt").write_text("red\nblue\n")
    return tmp_path


def explain(*arguments: str, model: str) -> Any:
    options = ["--model", model, "--class-names", "names.txt", "--out", "maps"]
    return CliRunner().invoke(main, ["explain", *options, *arguments])


def names() -> list[str]:
    return sorted(path.name for path in Path("maps").iterdir())


def coco() -> Any:
    return json.loads(Path("maps/annotations.json").read_text(encoding="utf-8"))


def test_everything_asked_for_is_written_and_nothing_else(folder: Path, model_file: str) -> None:
    result = explain("photo.png", "--save", "figure,boxes", model=model_file)
    assert result.exit_code == 0, result.output
    assert names() == ["annotations.json", "classes.txt", "manifest.csv", "photo.figure.png", "photo.txt"]
    assert np.asarray(Image.open("maps/photo.figure.png").convert("RGB")).std() > 0
    with open("maps/manifest.csv", newline="", encoding="utf-8") as file:
        assert [row["saved"] for row in csv.DictReader(file)] == ["figure boxes"]


def test_hot_region_is_the_red_part_as_box_contour_and_mask(folder: Path, model_file: str) -> None:
    """Four of ten columns, all six rows: centre (2, 3), 4 wide and 6 high."""
    assert explain("photo.png", "--save", "boxes,masks,contours", model=model_file).exit_code == 0
    assert names() == ["annotations.json", "classes.txt", "manifest.csv", "photo.region.png", "photo.txt"]
    assert Path("maps/photo.txt").read_text() == "0 0.200000 0.500000 0.400000 1.000000\n"
    assert Path("maps/classes.txt").read_text() == "red\nblue\n"
    found = coco()
    assert found["images"] == [{"id": 1, "file_name": "photo.png", "width": 10, "height": 6}]
    assert [(each["id"], each["name"]) for each in found["categories"]] == [(1, "red"), (2, "blue")]
    (region,) = found["annotations"]
    assert (region["id"], region["image_id"], region["category_id"], region["iscrowd"]) == (1, 1, 1, 0)
    assert (region["bbox"], region["area"]) == ([0, 0, 4, 6], 24)
    assert set(zip(*[iter(region["segmentation"][0])] * 2, strict=True)) == {(0, 0), (4, 0), (4, 6), (0, 6)}
    mask = np.asarray(Image.open("maps/photo.region.png").convert("L"))
    np.testing.assert_array_equal(mask, np.where(np.arange(10) < 4, 255, 0) * np.ones((6, 1)))


def test_other_pictures_keep_their_regions_and_replaced_ones_have_them_once(folder: Path, model_file: str) -> None:
    Path("second.png").write_bytes(Path("photo.png").read_bytes())
    for arguments in (["photo.png"], ["second.png"], ["photo.png", "second.png"]):
        assert explain(*arguments, "--save", "boxes", model=model_file).exit_code == 0
    found = coco()
    assert [image["file_name"] for image in found["images"]] == ["photo.png", "second.png"]
    assert [(each["id"], each["image_id"]) for each in found["annotations"]] == [(1, 1), (2, 2)]
    assert found["annotations"][0]["segmentation"] == []


def test_resume_explains_what_lacks_a_part_that_is_asked_for(folder: Path, model_file: str) -> None:
    assert explain("photo.png", model=model_file).exit_code == 0
    again = explain("photo.png", "--resume", "--save", "heatmap", model=model_file)
    assert "1 of 1 images are done already" in again.output
    assert "1 of 1 images explained" in explain("photo.png", "--resume", "--save", "boxes", model=model_file).output
    assert "are done already" in explain("photo.png", "--resume", "--save", "boxes", model=model_file).output
    assert "photo.overlay.png" not in names()  # of the earlier run, which this one replaced
    Path("maps/annotations.json").unlink()  # a run that was killed has not written it
    Path("maps/classes.txt").unlink()
    assert "1 of 1 images explained" in explain("photo.png", "--resume", "--save", "boxes", model=model_file).output
    assert len(coco()["annotations"]) == 1


def test_files_of_others_are_not_replaced(folder: Path, model_file: str) -> None:
    Path("maps").mkdir()
    Path("maps/classes.txt").write_text("mine")
    refused = explain("photo.png", "--save", "boxes", model=model_file)
    assert refused.exit_code == 2
    assert "classes.txt' from `tf-gradcam explain`, received another file. Add --overwrite" in refused.stderr
    Path("maps/classes.txt").unlink()
    Path("maps/photo.txt").write_text("mine")
    assert "holds 'photo.txt'" in explain("photo.png", "--save", "boxes", model=model_file).stderr
    assert Path("maps/photo.txt").read_text() == "mine"


def test_own_pictures_are_not_explained_again(folder: Path, model_file: str) -> None:
    for _ in range(2):
        result = explain(".", "--out", ".", "--save", "overlay,figure,masks", model=model_file)
        assert "1 of 1 images explained" in result.output, result.output


def test_unknown_part_is_refused_with_the_nearest(folder: Path, model_file: str) -> None:
    refused = explain("photo.png", "--save", "overlay,box", model=model_file)
    assert refused.exit_code == 2
    assert "Unknown part of the results 'box'. Did you mean 'boxes'" in refused.stderr


@pytest.mark.parametrize("kind", ["multilabel", "segmentation", "detection", "regression"])
def test_regions_of_every_task_have_the_number_of_their_class(folder: Path, kind: str) -> None:
    """The photo is red on the left and blue on the right; every model reads one of both for class 0 and class 1."""
    getattr(app_tasks, f"{kind}_model")().save("model.keras")
    options = ["--model", "model.keras", "--task", kind, "--preprocess", "raw", "--save", "figure,boxes,masks"]
    result = CliRunner().invoke(main, ["explain", "photo.png", *options, "--out", "maps"])
    assert result.exit_code == 0, result.output
    names = [each["name"] for each in coco()["categories"]]
    assert names == (["value 0"] if kind == "regression" else ["class 0", "class 1", "class 2"][: len(names)])
    lines = Path("maps/photo.txt").read_text().splitlines()
    left_of = {float(line.split()[1]) < 0.5: int(line.split()[0]) for line in lines}
    assert left_of[True] == 0 if True in left_of else left_of == {False: 1}
    assert len(list(Path("maps").glob("*.figure.png"))) == len(list(Path("maps").glob("*.region.png")))
