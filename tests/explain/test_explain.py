"""Files in, an explanation out: the photographs attached, and the numbers of the command line and the page."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import tf_gradcam
from tests.helpers.redblue import RED_PROBABILITY, RED_SCORE, red_blue_heatmap, red_blue_model, red_blue_photo
from tests.helpers.redblue import write_photo as write
from tf_gradcam import Explainer, Explanation, explain, get_img_array
from tf_gradcam._app.model import AppModel, load_app_model
from tf_gradcam._app.worker import Job
from tf_gradcam._cli.main import main
from tf_gradcam.image import load_image
from tf_gradcam.targets import Contrast

NAMES = ["red", "blue"]


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return red_blue_model()


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_map_and_photo_of_one_file(tmp_path: Path, model: keras.Model) -> None:
    """The photo is twice the model's size: averaged 2 x 2 it is the one whose map is known."""
    photo = red_blue_photo(scale=2)
    explanation = explain(write(tmp_path, photo=photo), model, class_names=NAMES)
    np.testing.assert_allclose(explanation.heatmaps, red_blue_heatmap()[None], atol=1e-6)
    np.testing.assert_allclose(explanation.scores, [RED_SCORE], rtol=1e-5)
    np.testing.assert_allclose(explanation.probabilities[0, 0], RED_PROBABILITY, rtol=1e-5)
    assert explanation.labels == ["red"]
    (kept,) = explanation.photos
    np.testing.assert_array_equal(kept, photo)
    assert kept.dtype == np.uint8


def test_plot_needs_nothing_more(tmp_path: Path, model: keras.Model) -> None:
    figure = explain(write(tmp_path, photo=red_blue_photo(scale=4)), model).plot()
    shown = [image.get_array() for axes in figure.axes for image in axes.get_images()]
    assert any(np.shape(array)[:2] == (24, 40) for array in shown)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_batches_are_one_explanation(tmp_path: Path, model: keras.Model, batch_size: int) -> None:
    """Photos of any sizes; each map is the one of its photo explained alone."""
    paths = [write(tmp_path, f"{number}.png", noise(7 + number, 9, number)) for number in range(5)]
    together = explain(paths, model, batch_size=batch_size)
    alone = [explain(path, model) for path in paths]
    assert len(together) == len(together.labels) == len(together.diagnosis) == len(together.photos) == 5
    for name in ("heatmaps", "raw", "signed_heatmaps", "outputs", "probabilities", "scores", "class_indices"):
        expected = np.concatenate([getattr(one, name) for one in alone])
        np.testing.assert_allclose(getattr(together, name), expected, rtol=1e-5, atol=1e-7, err_msg=name)
    assert [photo.shape for photo in together.photos] == [(7 + number, 9, 3) for number in range(5)]
    assert together.resized().shape == (5, 6, 10)


def test_layers_that_are_fused_keep_their_diagnosis_through_the_joining(tmp_path: Path, model: keras.Model) -> None:
    blue = write(tmp_path, "blue.png", red_blue_photo(columns=0))
    paths = [write(tmp_path), blue]
    one, both = (explain(paths, model, target=0, layer=["scale", "hue"], batch_size=size) for size in (1, 2))
    assert len(one.diagnosis) == 2
    assert one.diagnosis == both.diagnosis


def test_files_are_found_as_the_command_line_finds_them(
    tmp_path: Path, model: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, columns in (("photos/b.png", 4), ("photos/deep/a.png", 2), ("c.png", 9)):
        write(tmp_path, name, red_blue_photo(columns=columns))
    folder, pattern, several = (
        explain(images, model, target=0) for images in ("photos", "photos/**/*.png", ["c.png", Path("photos")])
    )
    red = [explanation.heatmaps.sum(axis=(1, 2)).round().tolist() for explanation in (folder, pattern, several)]
    assert red == [[6 * 4, 6 * 2], [6 * 4, 6 * 2], [6 * 9, 6 * 4, 6 * 2]]  # six rows of each red column


@pytest.mark.parametrize("target", [["blue", 0, None], np.array([1, 0, 0])], ids=["list", "array"])
def test_targets_are_one_per_image_across_batches(tmp_path: Path, model: keras.Model, target: Any) -> None:
    paths = [write(tmp_path, f"{number}.png") for number in range(3)]
    explanation = explain(paths, model, target=target, class_names=NAMES, batch_size=2)
    assert explanation.class_indices.tolist() == [1, 0, 0]


def test_callable_target_is_of_all_batches(tmp_path: Path, model: keras.Model) -> None:
    paths = [write(tmp_path, f"{number}.png") for number in range(3)]
    explanation = explain(paths, model, target=Contrast("red", "blue"), class_names=NAMES, batch_size=2)
    assert explanation.signed
    assert explanation.class_indices.tolist() == [-1] * 3


def test_model_may_be_a_file_and_names_a_file(tmp_path: Path, model: keras.Model) -> None:
    model.save(tmp_path / "model.keras")
    (tmp_path / "names.txt").write_text("rouge\nbleu\n")
    path = write(tmp_path)
    for file in (tmp_path / "model.keras", str(tmp_path / "model.keras")):
        explanation = explain(path, file, class_names=tmp_path / "names.txt", method="hirescam", layer="hue")
        assert (explanation.labels, explanation.method, explanation.layer_name) == (["rouge"], "hirescam", "hue")


def test_size_and_preprocessing_reach_the_images(tmp_path: Path) -> None:
    free = red_blue_model(size=(None, None))
    path = write(tmp_path)
    assert explain(path, free, size=(12, 20)).image_size == (12, 20)
    scores = explain(path, free, size=(6, 10), preprocess="unit").scores  # chosen, so not warned of
    np.testing.assert_allclose(scores, [RED_SCORE / 255], rtol=1e-5)


# One file, three doors.


def probabilities_of_the_command(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> np.ndarray:
    """Return the probabilities of the command: the last call of its explainer; the first tries the model out."""
    seen: list[Explanation] = []
    call = Explainer.__call__

    def recorded(self: Explainer, *given: Any, **options: Any) -> Explanation:
        seen.append(call(self, *given, **options))
        return seen[-1]

    with monkeypatch.context() as patched:
        patched.setattr(Explainer, "__call__", recorded)
        done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return seen[-1].probabilities


@pytest.mark.parametrize("preprocess", ["raw", "tf"])
def test_command_line_page_and_python_give_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preprocess: str
) -> None:
    """The photo's sides are no multiples of the model's, so that another resizing gives other numbers."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.GlobalAveragePooling2D()]
    head = keras.layers.Dense(5, activation="softmax")
    scale = [keras.layers.Rescaling(1 / 255)] if preprocess == "raw" else [keras.layers.Rescaling(0.5, offset=0.5)]
    network = keras.Sequential([keras.Input((24, 32, 3)), *scale, *layers, head])
    network.save(tmp_path / "model.keras")
    path, file = write(tmp_path, "photo.png", noise(53, 77)), str(tmp_path / "model.keras")

    python = explain(path, file)
    command = ["explain", str(path), "--model", file, "--out", str(tmp_path / "maps")]
    line = probabilities_of_the_command(monkeypatch, command)
    page: AppModel = load_app_model(file)
    assert page.mode == preprocess
    (shown,) = page.explain(Path(path), page.default_question, Job(lambda job: None)).explanations.values()
    page.close()
    np.testing.assert_array_equal(python.probabilities, line)
    np.testing.assert_array_equal(python.probabilities, shown.probabilities)
    np.testing.assert_array_equal(python.heatmaps[0], np.load(tmp_path / "maps" / "photo.heatmap.npy"))
    np.testing.assert_array_equal(python.heatmaps, shown.heatmaps)
    if preprocess == "raw":
        area, nearest = (get_img_array(path, (24, 32), interpolation=way) for way in ("area", "nearest"))
        np.testing.assert_array_equal(Explainer(network)(area).probabilities, python.probabilities)
        assert (Explainer(network)(nearest).probabilities != python.probabilities).any()


def test_image_array_takes_the_nearest_pixels_unless_asked(tmp_path: Path) -> None:
    path = write(tmp_path, "photo.png", noise(53, 77))
    as_keras = np.asarray(keras.utils.load_img(path, target_size=(24, 32)), np.float32)[None]
    np.testing.assert_array_equal(get_img_array(path, (24, 32)), as_keras)
    np.testing.assert_array_equal(get_img_array(path, (24, 32), "area")[0], load_image(path, (24, 32)))
    with pytest.raises(ValueError, match=r"Unknown interpolation 'aera'\. Did you mean 'area'"):
        get_img_array(path, (24, 32), interpolation="aera")


# What is wrong.


def test_file_that_cannot_be_read_raises_with_its_name(tmp_path: Path, model: keras.Model) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png"):
        explain([write(tmp_path), tmp_path / "broken.png"], model)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        explain(tmp_path / "nowhere.png", model)


def test_file_too_large_for_the_memory_raises_with_its_name(
    tmp_path: Path, model: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, least: tuple[int, int]) -> None:
        raise MemoryError

    monkeypatch.setattr("tf_gradcam._explain.batch.read_picture", fail)
    with pytest.raises(MemoryError, match=r"photo\.png': The memory is too small for this image"):
        explain(write(tmp_path), model)


@pytest.mark.parametrize(
    ("images", "options", "error", "words"),
    [
        (np.zeros((1, 6, 10, 3)), {}, TypeError, r"received ndarray\. Arrays are explained by Explainer\(model\)"),
        (3, {}, TypeError, "as a file, a folder, a pattern or a list of these, received int"),
        ([], {}, ValueError, "at least one image file, received an empty list"),
        ("photo.png", {"batch_size": 0}, ValueError, "batch_size of at least 1, received 0"),
        ("photo.png", {"target": [0, 1]}, ValueError, "one target per image, 1 in all, received 2"),
        ("photo.png", {"method": "gradcan"}, ValueError, "Did you mean 'gradcam'"),
        ("photo.png", {"preprocess": "touch"}, ValueError, "Did you mean 'torch'"),
        ("photo.png", {"size": 7}, ValueError, "two positive integers"),
        ("photo.png", {"size": (7, 7)}, ValueError, "the model's own size 6 x 10, received 7 x 7"),
    ],
)
def test_wrong_use_is_refused(
    tmp_path: Path,
    model: keras.Model,
    monkeypatch: pytest.MonkeyPatch,
    images: Any,
    options: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    with pytest.raises(error, match=words):
        explain(images, model, **options)


def test_signature_is_the_contract() -> None:
    signature = inspect.signature(tf_gradcam.explain)
    defaults = {name: value.default for name, value in signature.parameters.items()}
    empty = inspect.Parameter.empty
    assert defaults == {
        **{"images": empty, "model": empty, "target": None, "layer": None, "method": "gradcam", "class_names": None},
        **{"preprocess": "auto", "size": None, "align": False, "batch_size": 8, "output": None, "task": None},
        "unit": None,
    }
