"""The examples, run as a user runs them; smaller where an argument of theirs makes them so."""

from __future__ import annotations

import ast
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

import tf_gradcam
from tests.helpers.notebooks import code_cells, read_notebook, run_notebook
from tf_gradcam._results.explanation import Explanation

EXAMPLES = Path(__file__).parents[2] / "examples"
PICTURES = EXAMPLES.parent / "docs" / "pictures"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def run_example(name: str, *words: str) -> str:
    """What the example prints as a program of its own; an error fails the test with what it said."""
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES.parent), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *words], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs an example in this process, in an empty folder, and gives what it prints: warnings are errors here."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *words: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *words])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    yield run
    keras.config.set_dtype_policy("float32")


def picture_size(path: Path) -> tuple[int, ...]:
    return cv2.imread(str(path)).shape


def percent(line: str) -> float:
    found = re.search(r"([\d.]+)%", line)
    assert found is not None, line
    return float(found[1])


# Scripts.


@pytest.mark.slow
def test_all_methods_draws_every_map(tmp_path: Path) -> None:
    path = tmp_path / "methods.png"
    printed = run_example("all_methods.py", str(path))
    assert picture_size(path) == picture_size(PICTURES / "methods.png")
    assert printed.startswith("glioma")
    assert 50 < percent(printed) <= 100  # on 3 % of the slice


@pytest.mark.slow
def test_any_model_gives_one_map_for_all_wrappings(run_here) -> None:
    lines = run_here("any_model.py").splitlines()
    assert [line.split()[0] for line in lines] == ["demo_vgg16", "nested", "own_layer", "subclassed", "nested"]
    assert len({" ".join(line.split()[1:3]) for line in lines}) == 1  # one class, one probability
    for line in lines:
        assert float(line.split()[-1]) <= 1e-4


@pytest.mark.slow
def test_detector_explains_every_box_inside_it(run_here) -> None:
    printed = run_here("detector.py", "detections.png")
    assert picture_size(Path("detections.png")) == picture_size(PICTURES / "detector.png")
    shares = re.findall(r"\((?:\d+, ){3}\d+\): (\d+)% of the heat in its box, (\d+)% in the others", printed)
    assert len(shares) >= 2
    assert np.mean([float(own) for own, _ in shares]) > 30  # on boxes of 2 to 8 % of the picture
    assert np.mean([float(others) for _, others in shares]) < 10


@pytest.mark.slow
def test_segmentation_explains_both_layers_a_pixel_and_a_part(run_here) -> None:
    printed = run_here("segmentation.py", "pictures")
    shares = {line.split(",")[0]: percent(line) for line in printed.splitlines() if ", layer " in line}
    assert shares["detail"] > 90  # on 7 % of the picture
    assert shares["context"] > 10
    assert percent(printed.splitlines()[0]) > 98
    assert re.search(r"^pixel \(\d+, \d+\): disc at ", printed, flags=re.M)
    names = {path.name for path in Path("pictures").iterdir()}
    assert {"context.png", "detail.png", "0000.overlay.png", "0000.mask.png", "0000.heatmap.npy"} <= names
    assert picture_size(Path("pictures/0000.mask.png")) == (64, 96, 3)


@pytest.mark.slow
def test_binary_explains_each_side_on_its_shape(run_here) -> None:
    printed = run_here("binary.py", "binary.png")
    assert picture_size(Path("binary.png")) == picture_size(PICTURES / "binary.png")
    assert "classification, as its output is one sigmoid unit, with two sides." in printed
    shares = re.findall(r": (black disc|white square) \d+%, (\d+)% of the heat on (\d+)%", printed)
    assert [side for side, _, _ in shares] == ["black disc"] * 3 + ["white square"] * 2
    for _, heat, area in shares:
        assert float(heat) > 4 * float(area)
    disc, square = re.findall(r"^picture 2: at most ([\d.]+) for black disc, ([\d.]+) for", printed, flags=re.M)[0]
    assert float(square) < 0.1 * float(disc)  # there is no square


@pytest.mark.slow
def test_multilabel_explains_every_label_on_its_shape(run_here) -> None:
    printed = run_here("multilabel.py", "multilabel.png")
    assert picture_size(Path("multilabel.png")) == picture_size(PICTURES / "multilabel.png")
    assert "multilabel, as it was trained with binary_crossentropy on logits." in printed
    shares = re.findall(r": (red square|blue disc|green bar) \d+%, (\d+)% of the heat on (\d+)%", printed)
    assert len(shares) == 6  # two, one and three shapes
    assert {label for label, _, _ in shares} == {"red square", "blue disc", "green bar"}
    for _, heat, area in shares:
        assert float(heat) > 5 * float(area)


@pytest.mark.slow
def test_regression_explains_what_raises_and_what_lowers_the_value(run_here) -> None:
    printed = run_here("regression.py", "regression.png")
    assert picture_size(Path("regression.png")) == picture_size(PICTURES / "regression.png")
    values = np.array(re.findall(r": (-?[\d.]+) points, true (-?[\d.]+)", printed), float)
    assert np.abs(values[:, 0] - values[:, 1]).max() < 0.4
    shares = re.findall(r"(\d+)% of what (raises|lowers) it on (\d+)%", printed)
    assert {verb for _, verb, _ in shares} == {"raises", "lowers"}
    for heat, _, area in shares:
        assert float(heat) > 5 * float(area)
    assert re.search(r"value near [\d.]+ points, the value of picture 1: [\d.]+ points, [\d.]+ away", printed)


@pytest.mark.slow
def test_training_callback_leaves_a_picture_every_other_epoch(run_here) -> None:
    printed = run_here("training_callback.py", "pictures", "--epochs", "4", "--slices", "64")
    names = sorted(path.name for path in Path("pictures").iterdir())
    assert names == ["epoch_0000.png", "epoch_0002.png", "epoch_0004.png"]
    assert printed.count("of unseen slices right") == 4
    assert "3 pictures in pictures" in printed
    before, after = (cv2.imread(f"pictures/{name}") for name in (names[0], names[-1]))
    assert before.shape == after.shape
    assert np.any(before != after)


@pytest.mark.slow
def test_audit_finds_the_planted_square_and_nothing_in_the_clean_copy(run_here) -> None:
    for package in ("pyarrow", "sklearn", "scipy", "jinja2"):
        pytest.importorskip(package, reason="the extra audit is not installed")
    printed = run_here("audit_a_dataset.py", "reports", "--slices", "240", "--epochs", "6")
    marked, clean = printed.split("clean:")
    assert re.findall(r"SHORTCUT `(\w+)`.*lower right corner", marked) == ["meningioma"]
    assert "no shortcut was found" in clean
    assert "SHORTCUT" not in clean
    for name in ("marked", "clean"):
        assert (Path("reports") / name / "index.html").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of Ray and of what it brings
def test_ray_cluster_explains_every_slice(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the extra audit is not installed")
    pytest.importorskip("ray.data", reason="the extra ray is not installed")
    printed = run_example("ray_cluster.py", str(tmp_path / "report"), "--slices", "16")
    assert printed.startswith("16 of 16 images explained by 2 workers")
    assert (tmp_path / "report" / "report" / "index.html").stat().st_size > 10_000


@pytest.mark.slow
def test_kaggle_dogs_goes_from_a_folder_to_heatmaps(run_here, tmp_path: Path) -> None:
    printed = run_here("kaggle_dogs.py", "--out", "dogs", "--slices", "60")
    assert "60 photographs of 4 breeds, 12 kept for validation" in printed
    rows = [list(map(int, row.split())) for row in re.findall(r"^ +\w+((?: +\d+){4})$", printed, flags=re.M)]
    assert np.sum(rows) == 12
    right = next(line for line in printed.splitlines() if "kept photographs right" in line)
    assert percent(right) == pytest.approx(100 * np.trace(rows) / 12, abs=0.06)
    assert percent(right) > 60  # 25 by chance
    assert "heatmap (14, 14), hottest at 1.0" in printed
    assert picture_size(tmp_path / "dogs" / "cam.jpg") == (224, 224, 3)
    assert picture_size(tmp_path / "dogs" / "breeds.png")[2] == 3


@pytest.mark.slow
def test_kaggle_dogs_takes_a_folder_of_photographs(run_here, tmp_path: Path) -> None:
    """Of any size, five of each of two breeds: the real data's path is the only thing to change."""
    generator = np.random.default_rng(0)
    for breed, red in (("beagle", 40), ("wolf", 200)):
        (tmp_path / "photographs" / breed).mkdir(parents=True)
        for number in range(5):
            photo = generator.integers(0, 50, (40 + number, 60, 3), np.uint8)
            photo[..., 2] += red
            cv2.imwrite(str(tmp_path / "photographs" / breed / f"{number}.jpg"), photo)
    printed = run_here("kaggle_dogs.py", "--out", "dogs", "--data", "photographs")
    assert "10 photographs of 2 breeds, 2 kept for validation" in printed
    assert picture_size(tmp_path / "dogs" / "cam.jpg") == (44, 60, 3)


@pytest.mark.slow
def test_kaggle_dogs_shows_a_finished_training_on_its_validation_photographs(run_here) -> None:
    """Three slices of each class, of which the run kept two; the bundled model, right about all, stands in for it."""
    slices = tf_gradcam.demo.phantom_slices(40, seed=5)
    names = list(tf_gradcam.demo.CLASS_NAMES)
    rows = []
    for label, name in enumerate(names):
        Path("data", name).mkdir(parents=True)
        for number in range(3):
            image = slices.images[slices.labels == label][number]
            keras.utils.save_img(f"data/{name}/{number}.png", image, scale=False)
        rows += [f"{name}/1.png,{name}", f"{name}/2.png,{name}"]
    Path("run").mkdir()
    Path("run", "validation_samples.csv").write_text("\n".join(["Filename,Target", *rows]))
    tf_gradcam.demo.load_demo_model().save("run/best.keras")
    tf_gradcam.describe("run/best.keras", class_names=names)
    printed = run_here("kaggle_dogs.py", "--data", "data", "--run", "run", "--out", "dogs")
    assert "8 photographs of 4 breeds, 8 kept for validation" in printed
    assert "100.0% of the kept photographs right" in printed
    assert "training photographs" not in printed
    assert picture_size(Path("dogs", "cam.jpg")) == (224, 224, 3)
    with pytest.raises(SystemExit, match="2"):
        run_here("kaggle_dogs.py", "--run", "run", "--out", "dogs")


@pytest.mark.slow
def test_train_and_explain_learns_offline_and_describes_its_model(run_here) -> None:
    printed = run_here("train_and_explain.py", "--out", "run")
    right = next(line for line in printed.splitlines() if "validation photographs right" in line)
    assert percent(right) >= 90
    description = tf_gradcam.describe("run/best.keras")
    assert description.class_names == ["glioma", "meningioma", "notumor", "pituitary"]
    assert description.preprocess == "raw"
    assert picture_size(Path("run", "gradcam.png"))[2] == 3


def test_train_and_explain_fits_on_a_page_and_uses_public_names_alone() -> None:
    text = (EXAMPLES / "train_and_explain.py").read_text()
    assert len(text.splitlines()) < 150
    assert "training" not in {
        str(node.module) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)
    }


@pytest.mark.soak
def test_train_and_explain_takes_a_folder_and_a_file_of_weights(run_here, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name, red in (("beagle", 40), ("wolf", 200)):
        (tmp_path / "photographs" / name).mkdir(parents=True)
        for number in range(5):
            photo = generator.integers(0, 50, (40, 60, 3), np.uint8)
            photo[..., 2] += red
            cv2.imwrite(str(tmp_path / "photographs" / name / f"{number}.jpg"), photo)
    network = keras.applications.EfficientNetV2B0(include_top=False, weights=None)
    network.save_weights("b0.weights.h5")
    words = ["--out", "run", "--data", "photographs", "--weights", "b0.weights.h5", "--epochs", "1", "1"]
    assert "of the validation photographs right" in run_here("train_and_explain.py", *words)
    assert tf_gradcam.describe("run/best.keras").class_names == ["beagle", "wolf"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--out", "old"], "old exists: name a new folder with --out"),
        (["--out", "run", "--data", "gone", "--weights", "imagenet"], "there is no folder gone: name one that holds"),
        (["--out", "run", "--data", "old"], "add --weights imagenet, or a file"),
        (["--out", "run", "--epochs", "0", "0"], "give at least one epoch"),
    ],
)
def test_train_and_explain_refuses_at_once_and_leaves_no_folder(run_here, capsys, words: list[str], expected) -> None:
    Path("old").mkdir()
    with pytest.raises(SystemExit, match="2"):
        run_here("train_and_explain.py", *words)
    assert expected in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["old"]


# Notebooks.


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_format_4_without_outputs(path: Path) -> None:
    notebook = read_notebook(path)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert {cell["cell_type"] for cell in notebook["cells"]} == {"markdown", "code"}
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", name) for name in ids)
    for cell in notebook["cells"]:
        assert cell["metadata"] == {}
        assert all(line.endswith("\n") for line in cell["source"][:-1])
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_imports_public_names_alone(path: Path) -> None:
    public = {"tf_gradcam", *(f"tf_gradcam.{name}" for name in ("audit", "callbacks", "demo", "targets"))}
    for node in ast.walk(ast.parse("\n".join(code_cells(path)))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("tf_gradcam"):
            assert node.module in public
            if node.module == "tf_gradcam":
                assert {alias.name for alias in node.names} <= set(tf_gradcam.__all__)


@pytest.fixture
def notebook_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    pyplot.close("all")


def drawn(shown: list[object]) -> list[str]:
    """The HTML of what a notebook shows by itself; each is a picture."""
    pages = [thing._repr_html_() for thing in shown if isinstance(thing, (Explanation, Figure))]  # type: ignore[union-attr]
    assert all(page.startswith('<img alt="') for page in pages)
    return pages


@pytest.mark.slow
def test_kaggle_dogs_notebook_runs(notebook_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names, shown = run_notebook(EXAMPLES / "kaggle_dogs.ipynb")
    kept = names["kept"]
    assert names["confusion"].sum() == len(kept) == 16
    right = np.trace(names["confusion"]) / 16
    assert right > 0.6
    assert f"{right:.1%} of 16 kept photographs right" in capsys.readouterr().out
    assert names["heatmap"].shape == (14, 14)
    assert picture_size(notebook_folder / "cam.jpg") == (224, 224, 3)
    pages = drawn(shown)
    assert len(pages) >= 2  # a photograph of each breed, and the layers
    for breed in names["breeds"]:
        assert breed in pages[0]


@pytest.mark.slow
def test_brain_mri_notebook_runs(notebook_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names, shown = run_notebook(EXAMPLES / "brain_mri.ipynb")
    printed = capsys.readouterr().out
    assert names["confusion"].sum() == 32
    assert np.trace(names["confusion"]) / 32 > 0.6
    pages = drawn(shown)
    assert len(pages) >= 4  # two layers, all layers, three methods
    assert "block5_conv3" in pages[0]
    assert "block4_conv3" in pages[1]
    shares = {line[:25].strip(): percent(line) for line in printed.splitlines() if re.match("an even|Grad|HiRes", line)}
    assert len(shares) == 4
    assert shares["Grad-CAM, block5_conv3"] > 3 * shares["an even map"]
