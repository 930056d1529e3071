"""The command line, as a user meets it: exit status, files, and one line on stderr for each thing that is wrong.

Also tests _cli/app.py, _cli/audit.py, _cli/explain.py, _cli/group.py, _cli/info.py, _cli/options.py.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import tf_gradcam
from benchmarks.data import MOBILENET
from tests.helpers.app_tasks import multilabel_model
from tests.helpers.data import ROOT, needs
from tests.helpers.own_code import write_own_model
from tests.helpers.redblue import (
    RED_PROBABILITY,
    RED_SCORE,
    red_blue_heatmap,
    red_blue_model,
    red_blue_photo,
    write_photo,
)
from tf_gradcam._cli.main import main
from tf_gradcam._cli.options import METHOD_NAMES
from tf_gradcam._errors import install_command
from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._files.manifest import COLUMNS
from tf_gradcam._models.preprocessing import MODES
from tf_gradcam._rules.table import METHODS

pytestmark = pytest.mark.core
L = keras.layers
PHOTO_SHARE = f"{RED_PROBABILITY:.4f}"


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "red_blue.keras"
    red_blue_model().save(path)
    return str(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a photo and the names of the classes."""
    monkeypatch.chdir(tmp_path)
    write_photo(tmp_path)
    (tmp_path / "names.txt").write_text("red\nblue\n")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def explain(*arguments, model):
    """Of options given twice the last one counts."""
    return run("explain", "--model", model, "--class-names", "names.txt", "--out", "maps", *arguments)


def manifest(folder="maps"):
    with open(Path(folder, "manifest.csv"), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names(folder="maps"):
    return sorted(path.name for path in Path(folder).iterdir())


TASK = "tf-gradcam: task: classification, as its output is a softmax of 2 classes. Say another by --task.\n"
OWN = f"{TASK}tf-gradcam: scaling: raw (RGB in 0..255), from the model's own Rescaling layer.\n"


def test_explain_writes_map_overlay_and_manifest(folder, model_file):
    result = explain("photo.png", model=model_file)
    assert (result.exit_code, result.stderr) == (0, OWN)
    assert names() == ["manifest.csv", "photo.heatmap.npy", "photo.overlay.png"]
    np.testing.assert_allclose(np.load("maps/photo.heatmap.npy"), red_blue_heatmap(), atol=1e-6)
    assert np.asarray(Image.open("maps/photo.overlay.png")).shape == (6, 10, 3)
    (row,) = manifest()
    assert tuple(row) == COLUMNS
    assert float(row.pop("score")) == pytest.approx(RED_SCORE, rel=1e-5)
    assert row.pop("probability") == f"{RED_PROBABILITY:.6g}"
    assert row == {
        **{"output": "", "diagnosis": "", "note": "", "stem": "photo", "map": "", "unit": ""},
        "task": "classification",
        "file": "photo.png",
        "status": "done",
        "class": "0",
        "label": "red",
        "layer": "hue",
        "method": "gradcam",
        "scaling": "raw, from the model's own Rescaling layer",
        "inputs": "",
        "mask": "",
        "saved": "overlay heatmap",
        "verdict": "",
        "error": "",
    }


def test_explain_prints_what_it_settled_and_the_top_classes(folder, model_file):
    lines = explain("photo.png", model=model_file).stdout.splitlines()
    assert lines == [
        "red_blue: layer hue, gradcam, images of 6 x 10 as RGB in 0..255",
        "photo.png: red",
        f"  {PHOTO_SHARE}  red",
        f"  {1 - RED_PROBABILITY:.4f}  blue",
        "1 of 1 images explained, see maps",
    ]


def test_explain_shows_why_a_map_is_blank(folder, model_file):
    write_photo(folder, "blue.png", red_blue_photo(columns=0))
    result = explain("blue.png", "--target", "red", model=model_file)
    assert result.exit_code == 0
    (note,) = (line for line in result.stdout.splitlines() if line.startswith("  note: "))
    assert "every cell speaks against 'red'" in note
    assert note.endswith("or look at explanation.raw in Python")
    assert manifest()[0]["diagnosis"] == note.removeprefix("  note: ")


def test_second_run_replaces_resumes_or_overwrites_as_the_user_says(folder, model_file):
    explain("photo.png", model=model_file)
    write_photo(folder, "second.png")
    again = explain("photo.png", model=model_file)
    assert again.exit_code == 0
    assert "note: 'maps' has results of 1 of these images, which this run replaces. Add --resume" in again.stderr
    resumed = explain("photo.png", "second.png", "--resume", model=model_file)
    assert (resumed.exit_code, resumed.stdout.splitlines()[0]) == (
        0,
        "1 of 2 images are done already (layer hue, gradcam)",
    )
    assert "received both" in explain("photo.png", "--resume", "--overwrite", model=model_file).stderr
    assert "replaces" not in explain("photo.png", "--overwrite", "--method", "hirescam", model=model_file).stderr
    assert {row["file"]: row["method"] for row in manifest()} == {"photo.png": "hirescam", "second.png": "gradcam"}


def test_picture_whose_overlay_has_no_place_leaves_no_heatmap(folder, model_file):
    (folder / "maps" / "photo.overlay.png").mkdir(parents=True)
    write_photo(folder, "second.png")
    result = explain("photo.png", "second.png", model=model_file)
    assert result.exit_code == 1
    assert [row["status"] for row in manifest()] == ["failed", "done"]
    assert names() == ["manifest.csv", "photo.overlay.png", "second.heatmap.npy", "second.overlay.png"]


@pytest.mark.parametrize("command", [("explain", "photo.png"), ("audit", "."), ("demo",)])
def test_empty_name_of_the_folder_is_refused(folder, command):
    model = () if command == ("demo",) else ("--model", "m.keras")
    result = run(*command, *model, "--out", "")
    assert result.exit_code == 2
    assert "received an empty name" in result.stderr
    assert not result.stdout


def test_options_reach_the_maps(folder, model_file):
    explain("photo.png", "--alpha", 0, "--target", "BLUE", "--method", "hirescam", "--layer", "hue", model=model_file)
    np.testing.assert_array_equal(np.asarray(Image.open("maps/photo.overlay.png")), red_blue_photo())
    np.testing.assert_allclose(np.load("maps/photo.heatmap.npy"), 1 - red_blue_heatmap(), atol=1e-6)
    (row,) = manifest()
    assert (row["label"], row["method"], row["layer"]) == ("blue", "hirescam", "hue")


def test_colormap_and_alpha_one_are_the_colours_alone(folder, model_file):
    explain("photo.png", "--alpha", 1, "--colormap", "gray", model=model_file)
    overlay = np.asarray(Image.open("maps/photo.overlay.png"))
    np.testing.assert_array_equal(overlay, (255 * red_blue_heatmap()).astype(np.uint8)[..., None].repeat(3, axis=-1))


def test_photo_is_untouched_below_the_map_threshold(folder, model_file):
    """The map is a ramp between 1 and 0; "gray" paints its cold half black without a threshold."""
    explain("photo.png", "--alpha", 1, "--colormap", "gray", "--map-threshold", 0.5, model=model_file)
    overlay, photo = np.asarray(Image.open("maps/photo.overlay.png")), red_blue_photo()
    cold = red_blue_heatmap() < 0.5
    np.testing.assert_array_equal(overlay[cold], photo[cold])
    assert (overlay[~cold] != photo[~cold]).any(axis=-1).all()


def test_folders_and_patterns_are_explained_in_order_without_overwriting(folder, model_file):
    write_photo(folder, "one/photo.png")
    write_photo(folder, "two/photo.png", red_blue_photo(columns=9))
    result = explain("photo.png", "one", "tw?/*.png", "--batch-size", 2, model=model_file)
    assert result.exit_code == 0
    assert [row["file"] for row in manifest()] == ["photo.png", "one/photo.png", "two/photo.png"]
    assert [name for name in names() if name.endswith(".npy")] == [
        "photo-2.heatmap.npy",
        "photo-3.heatmap.npy",
        "photo.heatmap.npy",
    ]
    assert np.load("maps/photo-3.heatmap.npy")[0].sum() == pytest.approx(9)


def test_overlays_of_an_earlier_run_are_no_images(folder, model_file):
    explain("photo.png", model=model_file)
    explain(".", "--out", "again", model=model_file)
    assert [row["file"] for row in manifest("again")] == ["photo.png"]


def test_bad_image_fails_alone_with_status_one(folder, model_file):
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes((folder / "photo.png").read_bytes()[:-30])
    result = explain("empty.png", "photo.png", "nowhere.png", "cut.png", model=model_file)
    assert result.exit_code == 1
    assert [row["status"] for row in manifest()] == ["failed", "done", "failed", "failed"]
    lines = result.stderr.splitlines()
    for line in OWN.splitlines():
        lines.remove(line)
    assert len(lines) == 3
    for line, name in zip(lines, ("empty.png", "nowhere.png", "cut.png"), strict=True):
        assert line.startswith("tf-gradcam: ")
        assert name in line
    assert [row["error"] for row in manifest() if row["error"]] == [line.removeprefix("tf-gradcam: ") for line in lines]
    assert "1 of 4 images explained" in result.stdout
    assert names() == ["manifest.csv", "photo.heatmap.npy", "photo.overlay.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layer", "hues"], "Unknown layer 'hues'. Did you mean 'hue'? `tf-gradcam layers MODEL` shows all"),
        (["--layer", "classes"], "has no spatial extent. Pass --layer, for example one of ['scale', 'hue']"),
        (["--layer", "hue", "--method", "fullgrad"], "reads all layers at the size of the input: leave --layer and"),
        (["--target", "reed"], "Unknown class 'reed'. Did you mean 'red'"),
        (["--target", "2"], "class index below 2"),
        (["--method", "gradcan"], "Unknown method 'gradcan'. Did you mean 'gradcam'"),
        (["--colormap", "jett"], "Unknown colour map 'jett'. Did you mean 'jet'"),
        (["--preprocess", "cafe"], "Unknown preprocessing mode 'cafe'. Did you mean 'caffe'"),
        (["--size", "7"], "the model's own size 6 x 10, received 7 x 7"),
        (["--weights", "imagenet"], "is a file with its own arguments and weights"),
        (["--weights", "nowhere.weights.h5"], "There is no file of weights 'nowhere.weights.h5'"),
        (["--alpha", "2"], "Invalid value for '--alpha': 2.0 is not in the range"),
        (["--batch-size", "0"], "Invalid value for '--batch-size'"),
        (["--align", "yes"], "Invalid value for '--align'"),
        (["--class-names", "nowhere.txt"], "Cannot read the class names 'nowhere.txt'"),
        (["--class-names", "one.txt"], "Expected names of 2 classes, received 1: is this the list"),
        (["--class-names", "three.txt"], "Expected names of 2 classes, received 3"),
        (["--model", "VGG17"], "Unknown model 'VGG17'. Did you mean"),
        (["--model", "nowhere.keras"], "There is no model file 'nowhere.keras'"),
        (["--model", "red_blue.kers"], "'red_blue.kers' looks like a model file. There is no"),
        (["--out", "photo.png"], "Cannot write to the folder 'photo.png': it is a file"),
        (["--out", "photo.png/maps"], "Cannot write to the folder 'photo.png/maps': it is a file"),
        (["nothing*"], "No file matches the pattern 'nothing*'"),
        (["--opt"], "No such option"),
    ],
)
def test_wrong_use_is_one_line_and_status_two_before_anything_is_written(folder, model_file, options, message):
    (folder / "one.txt").write_text("red\n")
    (folder / "three.txt").write_text("red\ngreen\nblue\n")
    before = names(".")
    result = explain("photo.png", *options, model=model_file)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("tf-gradcam: ")
    assert message in line
    assert names(".") == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing command. See `tf-gradcam --help`"),
        (["explain"], "Missing argument 'IMAGE...'. See `tf-gradcam explain --help`"),
        (["explain", "a.png", "--out", "maps"], "Missing option '--model'"),
        (["explain", "a.png", "--model", "VGG16"], "Missing option '--out'"),
        (["explian"], "No such command 'explian'"),
        (["layers"], "Missing argument 'MODEL'"),
        (["layers", "VGG17"], "Unknown model 'VGG17'"),
        (["methods", "gradcam"], "Got unexpected extra argument (gradcam)"),
    ],
)
def test_wrong_command_is_one_line_and_status_two(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("tf-gradcam: ")
    assert message in line


def test_target_may_be_a_name_that_is_a_number(folder, model_file):
    (folder / "names.txt").write_text("1\n0\n")
    explain("photo.png", "--target", "1", model=model_file)
    assert [(row["class"], row["label"]) for row in manifest()] == [("0", "1")]


def test_target_by_name_needs_names(folder, model_file):
    result = run("explain", "photo.png", "--model", model_file, "--target", "red", "--out", "maps")
    assert result.exit_code == 2
    assert "Give names by --class-names" in result.stderr


def test_classes_without_names_are_told_by_their_numbers(folder, model_file):
    result = run("explain", "photo.png", "--model", model_file, "--out", "maps")
    assert f"photo.png: class 0\n  {PHOTO_SHARE}  class 0\n" in result.stdout
    assert [(row["class"], row["label"]) for row in manifest()] == [("0", "class 0")]


def with_names(folder, names):
    path = folder / "best.keras"
    red_blue_model().save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("class_names.json", json.dumps(names))
    return path


def test_names_inside_the_models_file_are_shown(folder):
    path = with_names(folder, ["rouge", "bleu"])
    result = run("explain", "photo.png", "--model", path, "--target", "bleu", "--out", "maps")
    assert (result.exit_code, result.stderr) == (0, OWN)
    assert f"photo.png: bleu\n  {PHOTO_SHARE}  rouge\n" in result.stdout
    assert (
        f"photo.png: blue\n  {PHOTO_SHARE}  red\n"
        in explain("photo.png", "--target", "blue", "--overwrite", model=path).stdout
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [(["rouge"], "one per class, received 1."), ({"0": 1}, 'received {"0": 1}')],
)
def test_wrong_names_inside_the_models_file_are_one_line(folder, names, message):
    result = run("explain", "photo.png", "--model", with_names(folder, names), "--out", "maps")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert message in line


def test_model_of_own_classes_names_its_remedy_and_is_explained_by_it(folder):
    model, _ = write_own_model(folder)
    result = explain("photo.png", "--preprocess", "raw", model=model)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.endswith(
        "it needs 'RedBlueNet', a class of your own. Name the Python file that defines 'RedBlueNet', and its code is "
        "run: --import FILE."
    )
    result = explain("photo.png", "--preprocess", "raw", "--import", "my_layers.py", model=model)
    assert result.exit_code == 0
    note, *_ = result.stderr.splitlines()
    assert note == f"tf-gradcam: note: The code in '{folder / 'my_layers.py'}' was run, as you asked."
    assert ": layer hue, gradcam" in result.stdout
    np.testing.assert_array_equal(np.load("maps/photo.heatmap.npy"), red_blue_heatmap())
    (row,) = manifest()
    assert row["label"] == "red"
    np.testing.assert_allclose(
        [float(row["probability"]), float(row["score"])], [RED_PROBABILITY, RED_SCORE], rtol=1e-5
    )


def test_layers_of_a_model_of_own_classes_are_listed(folder):
    model, _ = write_own_model(folder)
    result = run("layers", model, "--import", "my_layers")
    assert result.exit_code == 0
    assert "hue" in result.stdout
    assert run("layers", model).stderr.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ["explain", "photo.png", "--out", "maps", "--model"],
        ["layers"],
        ["audit", "data", "--out", "r", "--model"],
        ["app", "--model"],
    ],
)
def test_every_command_that_opens_a_model_file_takes_code(folder, model_file, command):
    write_photo(folder, "data/red/1.png")
    result = run(*command, model_file, "--import", "nowhere.py")
    assert result.exit_code == 2
    assert result.stderr == "tf-gradcam: There is no Python file 'nowhere.py'. Check the path.\n"


def test_code_for_a_network_by_name_is_refused(folder):
    write_own_model(folder)
    result = run("layers", "MobileNet", "--import", "my_layers.py")
    assert result.exit_code == 2
    assert "received the network 'MobileNet', which needs none. Leave --import out." in result.stderr


@pytest.mark.parametrize("code", ["import sys; sys.exit(0)", "raise SystemExit('bye')", "1 / 0", "def (", None])
def test_code_that_fails_is_one_line_and_exit_status_2(folder, model_file, code):
    if code is not None:
        Path("my_layers.py").write_text(code)
    result = explain("photo.png", "--import", "my_layers.py", model=model_file)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "'my_layers.py'" in line
    assert not Path("maps").exists()


def aged_model(path):
    """The red-blue network with an age, by which it multiplies the scores."""
    image, age = keras.Input((6, 10, 3), name="image"), keras.Input((1,), name="age")
    base = red_blue_model()
    scores = L.Multiply()([base.get_layer("mean")(base.get_layer("hue")(base.get_layer("scale")(image))), age])
    keras.Model([image, age], base.get_layer("classes")(scores), name="aged").save(path)
    return path


def scores_of(folder="maps"):
    return {Path(row["file"]).name: (float(row["score"] or "nan"), row["inputs"]) for row in manifest(folder)}


def test_further_input_of_a_number_counts_for_every_image(folder):
    write_photo(folder, "other.png")
    model = aged_model("aged.keras")
    result = explain("photo.png", "other.png", "--batch-size", "1", "--input", "age=62", model=model)
    assert result.exit_code == 0
    assert "layer hue" in result.stdout
    assert scores_of() == dict.fromkeys(["photo.png", "other.png"], (pytest.approx(62 * RED_SCORE, rel=1e-5), "age=62"))
    np.testing.assert_array_equal(np.load("maps/photo.heatmap.npy"), red_blue_heatmap())


def test_table_gives_each_image_its_own_input_and_one_without_a_row_fails_alone(folder):
    """Each score is its own age times that of the picture, in whatever batch and order the images come."""
    ages = {f"{name}.png": age for name, age in zip("abcde", (3, 1, 4, 1, 5), strict=True)}
    for name in ages:
        write_photo(folder, name)
    lines = "".join(f"{name},{age}\n" for name, age in reversed(ages.items()))
    Path("ages.csv").write_text(f"file,age\n{lines}")
    model = aged_model("aged.keras")
    arguments = ["*.png", "--batch-size", "4", "--input", "age=ages.csv"]
    result = explain(*arguments, model=model)
    assert result.exit_code == 1
    assert "tf-gradcam: 'photo.png': 'ages.csv' has no row for it, and the model needs the input 'age'. Add one.\n" in (
        result.stderr
    )
    expected = {name: (pytest.approx(age * RED_SCORE, rel=1e-5), f"age={age}") for name, age in ages.items()}
    found = scores_of()
    assert found.pop("photo.png")[1] == ""
    assert found == expected
    Path("ages.csv").write_text(f"file,age\n{lines}photo.png,9\n")
    result = explain(*arguments, "--resume", model=model)
    assert (result.exit_code, "1 of 1 images explained" in result.stdout) == (0, True)
    assert scores_of() == {**expected, "photo.png": (pytest.approx(9 * RED_SCORE, rel=1e-5), "age=9")}


def test_input_that_the_model_refuses_fails_alone_and_in_one_line(folder):
    """The layer knows the numbers 0 to 2."""
    image, kind = keras.Input((6, 10, 3), name="image"), keras.Input((), dtype="int32", name="kind")
    known = L.Embedding(3, 2)(kind)
    features = L.GlobalAveragePooling2D()(L.Conv2D(2, 1)(image))
    keras.Model([image, kind], L.Dense(2)(L.Concatenate()([features, known]))).save("kinds.keras")
    write_photo(folder, "other.png")
    Path("kinds.csv").write_text("file,kind\nphoto.png,1\nother.png,9\n")
    raw = ["photo.png", "other.png", "--preprocess", "raw"]
    result = explain(*raw, "--input", "kind=kinds.csv", model="kinds.keras")
    assert (result.exit_code, "1 of 2 images explained" in result.stdout) == (1, True)
    assert "tf-gradcam: 'other.png': The model fails: InvalidArgumentError: " in result.stderr
    result = explain(*raw, "--input", "kind=9", "--out", "nines", model="kinds.keras")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.endswith("Is each --input in its range?")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "missing is 'age' (B, 1). Give each by --input NAME=VALUE"),
        (["--input", "ages=3"], "Unknown input 'ages'. Did you mean 'age'"),
        (["--input", "age=1,2"], "Expected the input 'age' of shape (1,) or (1, 1), received (2,) in '1,2'"),
        (
            ["--input", "age=3", "--preprocess", "detect"],
            "cannot be detected from pictures alone, as the model has seve",
        ),
    ],
)
def test_wrong_further_input_is_one_line(folder, given, message):
    result = explain("photo.png", *given, model=aged_model("aged.keras"))
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert message in line


def test_doors_without_further_inputs_name_one_that_has_them(folder):
    model = aged_model("aged.keras")
    write_photo(folder, "data/red/1.png")
    result = run("audit", "data", "--model", model, "--out", "report")
    assert result.exit_code == 2
    assert "missing is 'age' (B, 1). Give each by --input NAME=VALUE" in result.stderr
    result = run("app", "--model", model, "--port", "0")
    assert "Explain it by `tf-gradcam explain --input NAME=VALUE`." in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "detecting"], "Unknown task 'detecting'. Did you mean 'detection'?"),
        (["--task", "segmentation"], "for the task segmentation, received an output (B, 3)."),
        (["--unit", "years"], "Expected a unit for values only, received unit='years' for the task multilabel."),
        (["--decode", "xyxy"], "Expected --decode for a model that finds boxes, received it for a multilabel model."),
        (["--threshold", "2"], "2.0 is not in the range 0<=x<=1"),
    ],
)
def test_page_refuses_what_its_model_is_not(folder, options, message):
    multilabel_model().save("labels.keras")
    result = run("app", "--model", "labels.keras", "--port", "0", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_model_with_its_further_inputs_fixed_is_one_of_one_input(folder):
    """The remedy that an audit names."""
    model = keras.saving.load_model(aged_model("aged.keras"))
    image = keras.Input((6, 10, 3))
    value = 62 * keras.ops.ones_like(image[:, 0, 0, :1])
    keras.Model(image, model([image, value])).save("fixed.keras")
    result = explain("photo.png", "--layer", "aged/hue", "--preprocess", "raw", model="fixed.keras")
    assert result.exit_code == 0, result.stderr
    assert scores_of() == {"photo.png": (pytest.approx(62 * RED_SCORE, rel=1e-5), "")}


def test_model_that_does_not_say_what_it_wants_gets_a_note(folder):
    silent = keras.Sequential([keras.Input((6, 10, 3)), L.Conv2D(2, 1), L.GlobalAveragePooling2D()])
    silent.save("silent.keras")
    result = run("explain", "photo.png", "--model", "silent.keras", "--out", "maps")
    assert result.exit_code == 0
    line, task = result.stderr.splitlines()
    assert line.startswith("tf-gradcam: note: ")
    assert "it receives RGB in 0..255" in line
    assert task.startswith(
        "tf-gradcam: task: classification, taking its 2 outputs without an activation for the logits"
    )
    result = run("explain", "photo.png", "--model", "silent.keras", "--preprocess", "unit", "--out", "unit")
    assert result.stderr == f"{task}\ntf-gradcam: scaling: unit (RGB in [0, 1]), as you chose.\n"
    assert "as RGB in [0, 1]" in result.stdout


def test_choice_of_the_user_is_not_argued_with_where_one_picture_cannot_tell(folder, model_file):
    result = explain("photo.png", "--preprocess", "unit", model=model_file)
    assert result.stderr == f"{TASK}tf-gradcam: scaling: unit (RGB in [0, 1]), as you chose.\n"


@pytest.mark.slow
def test_network_by_name_takes_arguments_and_weights(folder):
    arguments = ["--model-arg", "alpha=0.25", "--model-arg", "input_shape=(32, 48, 3)", "--model-arg", "classes=2"]
    network = keras.applications.MobileNet(alpha=0.25, input_shape=(32, 48, 3), classes=2, weights=None)
    network.save_weights("narrow.weights.h5")
    result = explain("photo.png", *arguments, "--weights", "narrow.weights.h5", model="mobilenet")
    assert result.exit_code == 0
    assert "scaling: tf (RGB in [-1, 1]), assumed, because the backbone is MobileNet" in result.stderr
    assert "images of 32 x 48 as RGB in [-1, 1]" in result.stdout
    result = explain("photo.png", *arguments, "--weights", "none", model="mobilenet")
    assert result.exit_code == 0
    assert "note: The weights are random" in result.stderr
    result = explain("photo.png", "--weights", "narrow.weights.h5", model="mobilenet")
    assert result.exit_code == 2
    assert "--model-arg alpha=0.75" in result.stderr


def test_weights_that_cannot_be_downloaded_name_the_remedy(folder, monkeypatch):
    def fail(*args, **kwargs):
        print("Downloading data from https://example.org")
        raise Exception("URL fetch failure on https://example.org")  # as keras does

    monkeypatch.setattr(keras.src.utils.file_utils, "get_file", fail)
    result = explain("photo.png", model="MobileNet")
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.endswith("Without a network, give a file: --weights FILE.")


def test_error_in_the_program_is_one_line_that_says_how_to_see_more(folder, model_file, monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr("tf_gradcam._models.open_model.load_network", fail)
    result = explain("photo.png", model=model_file)
    assert result.exit_code == 1
    assert result.stderr == (
        "tf-gradcam: Unexpected ZeroDivisionError: division by zero. Set TF_GRADCAM_TRACEBACK=1 in the environment to "
        "see where.\n"
    )
    monkeypatch.setenv("TF_GRADCAM_TRACEBACK", "1")
    assert isinstance(explain("photo.png", model=model_file).exception, ZeroDivisionError)


def test_layers_lists_a_models_layers(model_file):
    result = run("layers", model_file)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["layer", "scale", "hue", "mean", "classes"]
    assert lines[2].endswith("yes, the default")


def test_layers_needs_no_weights():
    result = run("layers", "mobilenet", "--model-arg", "alpha=0.25")
    assert result.exit_code == 0
    assert "conv_pw_13_relu" in next(line for line in result.stdout.splitlines() if line.endswith("the default"))


def test_methods_lists_the_table():
    result = run("methods")
    assert result.exit_code == 0
    assert [line for line in result.stdout.splitlines() if not line.startswith(" ")] == list(METHODS)


@pytest.mark.skipif(
    not (Path(tf_gradcam.__file__).parent / "demo" / "demo_vgg16.keras").exists(),
    reason="the bundled model is not there yet",
)
def test_demo_writes_its_picture_and_prints_a_line_a_slice(folder):
    result = run("demo", "--out", "shown")
    assert (result.exit_code, result.stderr) == (0, "")
    assert names("shown") == ["demo.png"]
    lines = result.stdout.splitlines()
    assert lines[-1] == f"see {Path('shown', 'demo.png')}"
    assert len(lines) == 5  # one slice of each of four classes


def test_methods_of_the_option_are_those_of_the_table():
    assert list(METHOD_NAMES) == list(METHODS)


@pytest.mark.parametrize("command", ["explain", "audit"])
def test_shell_completes_methods_without_tensorflow(command):
    script = """
import sys
from tf_gradcam._cli.main import main
try:
    main(prog_name="tf-gradcam")
finally:
    print("imported", sorted({"tensorflow", "keras", "numpy"} & set(sys.modules)))
"""
    asked = {"_TF_GRADCAM_COMPLETE": "bash_complete", "COMP_WORDS": f"tf-gradcam {command} --method grad"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=environment(COMP_CWORD="3", **asked),
        check=True,
        timeout=60,
    )
    expected = [f"plain,{name}" for name in METHODS if name.startswith("grad")]
    assert done.stdout.splitlines() == [*expected, "imported []"]


def test_summaries_of_commands_are_whole():
    text = run("--help").stdout.partition("Commands:")[2]
    assert {line.split()[0] for line in text.splitlines() if line} == set(main.commands)
    assert "..." not in text


@pytest.mark.parametrize("extra", ["app", "audit"])
def test_help_names_the_extra_in_one_line(extra):
    lines = run(extra, "--help").stdout.splitlines()
    assert any(line.endswith(install_command(extra)) for line in lines)


def test_help_names_every_preprocessing_mode():
    text = run("explain", "--help").stdout
    assert all(mode in text for mode in (*MODES, "auto", "detect", "none"))


def environment(**changes):
    return {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"} | changes


def test_help_and_wrong_use_import_neither_tensorflow_nor_numpy():
    script = """
import sys
import tf_gradcam
from tf_gradcam._cli.main import main
for arguments in (["--help"], ["explain", "--help"], ["--version"], ["explain"], ["nonsense"], []):
    try:
        main(arguments)
    except SystemExit as end:
        print("status", end.code)
print("imported", sorted({"tensorflow", "keras", "numpy", "cv2", "matplotlib"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=True, timeout=60
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("status")] == ["status 0"] * 3 + ["status 2"] * 3
    assert lines[-1] == "imported []"
    assert len(done.stderr.splitlines()) == 3


def start(folder, *arguments, program=("-m", "tf_gradcam"), **options):
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        cwd=folder,
        env=environment(PYTHONPATH=str(Path(__file__).parents[2])),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.slow
def test_program_says_nothing_on_stderr_but_its_own_line(folder, model_file):
    (folder / "bad.png").write_text("no image")
    process = start(folder, "explain", "photo.png", "bad.png", "--out", "maps", "--model", model_file)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    *said, line = errors.splitlines()
    assert said == OWN.splitlines()
    assert line.startswith("tf-gradcam: ")
    assert "bad.png" in line


# The program, on a disk that does not answer where one image lies.
WAITING = """
import time
from tf_gradcam.image import io as imagefile
read = imagefile._read
imagefile._read = lambda path: time.sleep(1000) if path.name == "waiting.png" else read(path)
from tf_gradcam._cli.main import main
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are those of POSIX")
@pytest.mark.parametrize("how", ["SIGINT", pytest.param("SIGKILL", marks=pytest.mark.slow)])
def test_interrupted_run_leaves_whole_rows(folder, model_file, how):
    """The third image never comes: there the run waits to be interrupted."""
    write_photo(folder, "second.png")
    images = ["photo.png", "second.png", "waiting.png", "never.png"]
    options = ("--batch-size", 1, "--out", "maps", "--model", model_file)
    process = start(folder, "explain", *images, *options, program=("-c", WAITING))
    deadline = time.monotonic() + 100
    path = folder / "maps" / "manifest.csv"
    while not (path.exists() and path.read_bytes().count(b"\n") == 3) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(getattr(signal, how))
    _, errors = process.communicate(timeout=60)
    assert [row["file"] for row in manifest(folder / "maps")] == ["photo.png", "second.png"]
    assert names(folder / "maps") == [
        "manifest.csv",
        "photo.heatmap.npy",
        "photo.overlay.png",
        "second.heatmap.npy",
        "second.overlay.png",
    ]
    expected = (130, f"{OWN}tf-gradcam: Interrupted.\n") if how == "SIGINT" else (-signal.SIGKILL, OWN)
    assert (process.returncode, errors) == expected


@needs(MOBILENET, "photos")
def test_real_network_sees_the_afghan_hound(folder):
    """On the photograph the dog's head is in the upper right; that is where the heat is."""
    weights = ROOT / MOBILENET / "mobilenet_0.75_224_imagenet.weights.h5"
    result = run(
        *("explain", ROOT / "photos" / "n02088094_Afghan_hound.jpg", "--model", "MobileNet", "--weights", weights),
        *("--model-arg", "alpha=0.75", "--class-names", ROOT / MOBILENET / "imagenet_classes.txt", "--out", "maps"),
    )
    assert result.exit_code == 0
    _, line = result.stderr.splitlines()  # the weights show that the assumption is right
    assert line.startswith("tf-gradcam: scaling: tf (RGB in [-1, 1]), assumed, because the backbone is MobileNet; if")
    assert "layer conv_pw_13_relu, gradcam, images of 224 x 224 as RGB in [-1, 1]" in result.stdout
    (row,) = manifest()
    assert (row["class"], row["label"]) == ("160", "Afghan hound, Afghan")
    heatmap = np.load("maps/n02088094_Afghan_hound.heatmap.npy")
    assert heatmap.shape == (7, 7)
    row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
    assert row < 3.5 < column


@pytest.mark.parametrize(("count", "is_frozen"), [(3, True), (2, False)])
def test_weights_are_constants_where_many_images_share_them(folder, model_file, monkeypatch, count, is_frozen):
    asked = []

    class Watched(Explainer):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            asked.append(options["freeze"])

    monkeypatch.setattr("tf_gradcam._explain.explainer.Explainer", Watched)
    monkeypatch.setattr("tf_gradcam._cli.explain._FREEZE_FROM", 3)
    for number in range(count):
        shutil.copy("photo.png", f"{number}.png")
    result = explain(*(f"{number}.png" for number in range(count)), model=model_file)
    assert result.exit_code == 0
    assert asked == [is_frozen]
    np.testing.assert_allclose(np.load("maps/0.heatmap.npy"), red_blue_heatmap(), atol=1e-6)


@pytest.fixture
def outputs_file(folder):
    """A file with a dict of outputs: `hue` has two classes, `age` is a value."""
    images = keras.Input((6, 10, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 1, name="cells")(images))
    outputs = {"hue": keras.layers.Dense(2, activation="softmax")(pooled), "age": keras.layers.Dense(1)(pooled)}
    keras.Model(images, outputs).save("outputs.keras")
    write_photo(folder, "photo.png")
    return "outputs.keras"


def test_explain_names_the_explained_output_and_how_to_choose_another(outputs_file):
    result = run("explain", "photo.png", "--model", outputs_file, "--out", "first")
    assert (result.exit_code, "output hue: layer cells" in result.stdout) == (0, True)
    assert "Of the outputs ['hue', 'age'], 'hue' is explained. Choose another by --output." in result.stderr


def test_explain_prints_a_value_as_a_value(outputs_file):
    result = run("explain", "photo.png", "--model", outputs_file, "--output", "age", "--out", "second")
    assert result.exit_code == 0
    assert "output age: layer cells" in result.stdout
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("photo.png: "))
    name, label, value = line.split()
    assert (name, label) == ("photo.png:", "value")
    assert np.isfinite(float(value))
    assert "Of the outputs" not in result.stderr


def test_explain_refuses_an_unknown_output_in_one_line(outputs_file):
    result = run("explain", "photo.png", "--model", outputs_file, "--output", "aeg", "--out", "third")
    assert (result.exit_code, result.stderr.strip().splitlines()[-1]) == (
        2,
        "tf-gradcam: Unknown output 'aeg'. Did you mean 'age'?",
    )


# Tasks.


@pytest.fixture
def labels_file(folder):
    """Two sigmoid units: eight times the mean of redness less one, and of blueness."""
    head = L.Dense(2, activation="sigmoid", name="labels")
    model = red_blue_model(head)
    head.set_weights([8 * np.eye(2), -np.ones(2)])
    model.save("labels.keras")
    return "labels.keras"


def test_explain_writes_a_map_for_each_label_and_says_the_task(labels_file):
    result = explain("photo.png", model=labels_file)
    assert result.exit_code == 0
    assert "tf-gradcam: task: multilabel, as its output is 2 sigmoid units. Say another by --task.\n" in result.stderr
    assert "photo.png: red; blue\n" in result.stdout
    ends = ("heatmap.npy", "overlay.png")
    assert names() == ["manifest.csv", *(f"photo.class-{number}.{end}" for number in (0, 1) for end in ends)]
    rows = manifest()
    assert [(row["label"], row["map"], row["task"]) for row in rows] == [
        ("red", "class-0", "multilabel"),
        ("blue", "class-1", "multilabel"),
    ]


def test_threshold_decides_which_labels_have_a_map_and_old_maps_go(labels_file):
    explain("photo.png", model=labels_file)
    result = explain("photo.png", "--overwrite", "--threshold", "1=0.9", model=labels_file)
    assert result.exit_code == 0
    assert names() == ["manifest.csv", "photo.class-0.heatmap.npy", "photo.class-0.overlay.png"]
    explain("photo.png", "--overwrite", "--target", "red", model=labels_file)
    assert names() == ["manifest.csv", "photo.heatmap.npy", "photo.overlay.png"]


def test_image_of_several_maps_is_done_when_all_of_them_are_there(labels_file):
    explain("photo.png", model=labels_file)
    assert "1 of 1 images are done already" in explain("photo.png", "--resume", model=labels_file).stdout
    Path("maps/photo.class-1.heatmap.npy").unlink()
    assert "1 of 1 images explained" in explain("photo.png", "--resume", model=labels_file).stdout
    assert len(manifest()) == 2


@pytest.mark.parametrize(
    ("text", "label"),
    [("red vs blue", "red - blue"), ("not red", "against red"), ("red,blue", "red; blue"), ("top1", "red")],
)
def test_text_of_a_target_is_understood(folder, model_file, text, label):
    result = explain("photo.png", "--target", text, model=model_file)
    assert result.exit_code == 0
    assert f"photo.png: {label}\n" in result.stdout


def test_value_has_its_unit(outputs_file):
    result = run("explain", "photo.png", "--model", outputs_file, "--output", "age", "--unit", "years", "--out", "maps")
    assert result.exit_code == 0
    (row,) = manifest()
    assert (row["task"], row["unit"]) == ("regression", "years")
    assert f"photo.png: value {row['score']} years\n" in result.stdout


def test_value_of_another_picture_is_a_reference(outputs_file):
    write_photo(Path(), "other photo.png", red_blue_photo(columns=9))
    options = ("--model", outputs_file, "--output", "age", "--unit", "years", "--target", "near other photo.png")
    result = run("explain", "photo.png", *options, "--out", "maps")
    assert result.exit_code == 0
    (row,) = manifest()
    assert row["label"].endswith(" years, the value of other photo.png")
    assert f"photo.png: {row['label']}: " in result.stdout
    result = run("explain", "photo.png", *options[:-1], "near othr photo.png", "--out", "maps")
    assert result.exit_code == 2
    assert "There is no such file. Did you mean 'other photo.png'" in result.stderr.splitlines()[-1]


def test_logits_of_a_file_that_was_trained_on_labels_are_labels(folder):
    """The loss is in the file; the model is loaded without it."""
    head = L.Dense(2, name="labels")
    model = red_blue_model(head)
    head.set_weights([8 * np.eye(2), -np.ones(2)])
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    for name in ("labels.keras", "labels.h5"):
        model.save(name)
        result = explain("photo.png", "--overwrite", model=name)
        assert result.exit_code == 0
        assert "task: multilabel, as it was trained with binary_crossentropy on logits. Say another" in result.stderr
        assert [row["label"] for row in manifest()] == ["red", "blue"]
        scores = [float(row["score"]) for row in manifest()]
        assert [float(row["probability"]) for row in manifest()] == pytest.approx(1 / (1 + np.exp(-np.array(scores))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--task", "classify"), "Unknown task 'classify'. Did you mean 'classification'"),
        (("--task", "regression"), "Expected values (B,) or (B, K), without a softmax for the task regression"),
        (("--unit", "years"), "Expected a unit for values only, received unit='years' for the task classification"),
        (("--threshold", "0.9"), "Expected no threshold where one class is explained or classes are named"),
        (
            ("--decode", "center_xywh"),
            "Expected --decode for a model that finds boxes, received it for",
        ),
        (("--threshold", "2"), "Expected thresholds from 0 to 1, received '2'"),
        (("--threshold", "red:0.5"), "Expected a number, or NAME=NUMBER,NAME=NUMBER, received 'red:0.5'"),
        (("--target", "red vs red"), "Expected two different classes"),
        (("--target", "all", "--method", "scorecam"), "again for each class: name one class by --target."),
    ],
)
def test_task_that_does_not_fit_is_one_line(folder, model_file, options, message):
    result = explain("photo.png", *options, model=model_file)
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
    assert message in result.stderr
