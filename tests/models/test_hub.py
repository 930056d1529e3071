"""Tasks of keras_hub from files and presets: the same outputs as in memory, and every failure in words."""

from __future__ import annotations

import http.server
import json
import re
import sys
import threading
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from tests.zoo.keras_hub import CLASSES, SHAPE, TASKS, classifier_with_preprocessor, keras_hub
from tf_gradcam import explain, load_model
from tf_gradcam._cli.main import main
from tf_gradcam._errors import ModelWarning
from tf_gradcam._models.hub import is_preset, load_preset, needs_keras_hub
from tf_gradcam._models.open_model import open_model

PHOTOS = np.random.default_rng(3).integers(0, 256, (2, *SHAPE), dtype=np.uint8)


@pytest.fixture(scope="module")
def task() -> Any:
    return classifier_with_preprocessor(scale=1 / 200)


@pytest.fixture(scope="module")
def folder(task: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hub") / "preset"
    task.save_to_preset(str(path))
    return path


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_saved_task_comes_back_with_its_preprocessor(task: Any, tmp_path: Path, suffix: str) -> None:
    task.save(tmp_path / f"task{suffix}")
    again = load_model(tmp_path / f"task{suffix}")
    assert type(again) is type(task)
    np.testing.assert_allclose(again.predict(PHOTOS, verbose=0), task.predict(PHOTOS, verbose=0), atol=1e-6)


def test_preset_is_the_task_that_was_saved(task: Any, folder: Path) -> None:
    again = load_model(f"hub:{folder}")
    np.testing.assert_allclose(again.predict(PHOTOS, verbose=0), task.predict(PHOTOS, verbose=0), atol=1e-6)


def test_explain_takes_pictures_and_a_preset(task: Any, folder: Path, tmp_path: Path) -> None:
    keras.utils.save_img(tmp_path / "photo.png", PHOTOS[0], scale=False)
    explanation = explain(tmp_path / "photo.png", f"hub:{folder}")
    np.testing.assert_allclose(explanation.probabilities, task.predict(PHOTOS[:1], verbose=0), atol=1e-5)
    assert explanation.image_size == SHAPE[:2]


def test_size_that_the_task_leaves_free_is_its_preprocessors(tmp_path: Path) -> None:
    keras.utils.save_img(tmp_path / "photo.png", np.tile(PHOTOS[0], (2, 3, 1)), scale=False)
    free = classifier_with_preprocessor(image_shape=(None, None, 3))
    assert explain(tmp_path / "photo.png", free).image_size == SHAPE[:2]
    assert explain(tmp_path / "photo.png", free, size=(40, 64)).image_size == (40, 64)


def test_arguments_reach_the_preset(folder: Path) -> None:
    with pytest.warns(ModelWarning, match="The head of 'hub:.*' is new and random for num_classes=7"):
        assert open_model(f"hub:{folder}", arguments=["num_classes=7"]).model.output_shape == (None, 7)
    with pytest.raises(ValueError, match=r"Unknown argument of VGGImageClassifier 'num_clases'. Did you mean 'num_cl"):
        load_preset(f"hub:{folder}", {"num_clases": 7})


def test_weights_of_a_preset(task: Any, folder: Path, tmp_path: Path) -> None:
    with pytest.warns(ModelWarning, match="The weights are random"):
        random = open_model(f"hub:{folder}", weights="none").model
    assert not np.allclose(random.predict(PHOTOS, verbose=0), task.predict(PHOTOS, verbose=0), atol=1e-6)
    random.save_weights(tmp_path / "other.weights.h5")
    filled = open_model(f"hub:{folder}", weights=str(tmp_path / "other.weights.h5")).model
    np.testing.assert_allclose(filled.predict(PHOTOS, verbose=0), random.predict(PHOTOS, verbose=0), atol=1e-6)
    with pytest.raises(ValueError, match="is a preset with its own weights: leave out the weights 'imagenet'"):
        open_model(f"hub:{folder}", weights="imagenet")


def test_only_names_that_begin_with_hub_are_presets() -> None:
    assert is_preset("hub:./folder")
    assert not any(map(is_preset, ("hub.keras", "VGG16", "./hub:x", Path("hub:x"))))


# Failures.


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("hub:", ValueError, "Expected hub:PRESET, received 'hub:' without a name"),
        ("hub:resnet_50_imagnet", ValueError, "Unknown image preset .* Did you mean 'resnet_50_imagenet'"),
        (
            "hub:bert_tiny_en_uncased",
            ValueError,
            "Expected a preset of an image task .* keras_hub has no such task for",
        ),
        ("hub:./missing", FileNotFoundError, "There is no folder './missing'"),
        ("hub:kaggle://a/b", ValueError, "Cannot load 'hub:kaggle://a/b' as ImageClassifier: .*the form kaggle://"),
    ],
)
def test_wrong_name_is_refused_in_words(name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_model(name)


def test_folder_without_a_preset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one without config.json. Write it in Python by task.save_to_preset"):
        load_model(f"hub:{tmp_path}")


def test_backbone_alone_is_refused_and_the_remedy_works(task: Any, tmp_path: Path) -> None:
    task.backbone.save_to_preset(str(tmp_path / "backbone"))
    with pytest.raises(ValueError, match=r"without a trained head.*num_classes=10, preprocessor=None\), save it by"):
        load_model(f"hub:{tmp_path / 'backbone'}")
    built = keras_hub.models.ImageClassifier.from_preset(
        str(tmp_path / "backbone"), num_classes=10, preprocessor=None, pooling="flatten", pooling_hidden_dim=8
    )
    built.save_to_preset(str(tmp_path / "task"))
    assert load_model(f"hub:{tmp_path / 'task'}").output_shape == (None, 10)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_preset_that_cannot_be_downloaded_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))  # without what was downloaded before
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the port where nothing listens
    with pytest.raises(ConnectionError, match=r"could not be downloaded from .* which cannot be reached") as raised:
        load_model("hub:resnet_18_imagenet")
    assert "load --model hub:FOLDER" in raised.value.args[0].option


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, PermissionError, r"needs an account of Kaggle that may read it .*set KAGGLE_API_TOKEN to a token"),
        (403, ConnectionError, r"could not be downloaded: .*Check its name, the network, and that your account may"),
        (500, ConnectionError, r"could not be downloaded: 500 Server Error"),
    ],
)
def test_refusal_of_the_server_is_said(
    status: int, error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *arguments: Any) -> None:
            pass

    environment = pytest.importorskip("kagglesdk.kaggle_env")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        for key in list(environment._env_to_endpoint):
            monkeypatch.setitem(environment._env_to_endpoint, key, f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(error, match=words):
                load_model("hub:resnet_18_imagenet")
        finally:
            server.shutdown()
            thread.join()


def test_code_in_a_preset_is_not_run(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "preset"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    config = json.loads((copy / "task.json").read_text())
    config["config"]["activation"] = {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}}
    (copy / "task.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="deserialization of a Python lambda"):
        load_model(f"hub:{copy}")
    config["config"]["activation"] = {"module": "keras.utils", "class_name": "function", "config": "get_file"}
    (copy / "task.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"it calls 'keras.utils.get_file' of Keras, which is not part of a layer"):
        load_model(f"hub:{copy}")


def test_missing_keras_hub_is_said_with_its_install_command(
    task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task.save(tmp_path / "task.keras")
    with zipfile.ZipFile(tmp_path / "task.keras") as archive:
        assert needs_keras_hub(json.loads(archive.read("config.json")))
    monkeypatch.setitem(sys.modules, "keras_hub", None)  # as Python marks a package that cannot be imported
    for model in (tmp_path / "task.keras", "hub:resnet_50_imagenet"):
        with pytest.raises(ImportError, match=r"needs the package 'keras_hub', which is not installed. .*pip install"):
            load_model(model)


def test_class_count_of_the_zoo_is_not_that_of_imagenet(folder: Path) -> None:
    opened = open_model(f"hub:{folder}")
    assert (opened.class_names, opened.model.output_shape[-1]) == (None, CLASSES)


# Segmenters and detectors.


@pytest.mark.parametrize("name", TASKS)
def test_segmenter_and_detector_come_back_and_take_pictures(name: str, tmp_path: Path) -> None:
    task, case = TASKS[name].build(), TASKS[name]
    task.save(tmp_path / "task.keras")
    size = task.preprocessor.image_converter.image_size
    photo = np.random.default_rng(4).integers(0, 256, (*size, 3), dtype=np.uint8)
    keras.utils.save_img(tmp_path / "photo.png", photo, scale=False)
    named = (
        pytest.warns(ModelWarning, match=rf"for context\. For detail .*{case.detail}") if case.detail else nullcontext()
    )
    with named:
        explanation = explain(tmp_path / "photo.png", str(tmp_path / "task.keras"), target=case.target)
    assert re.sub(r"(functional|backbone)_\d+/", r"\1/", explanation.layer_name) == case.layer  # numbered by Keras
    assert explanation.heatmaps.shape == (1, *case.grid)
    assert explanation.heatmaps.max() == 1
    assert explanation.image_size == size
    made = task.preprocessor(photo[None])
    np.testing.assert_allclose(explanation.scores[0], case.target(task(made, training=False))[0], rtol=1e-3, atol=1e-4)


# The command line.


def test_command_line_explains_lists_and_audits_a_saved_task(
    task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task.save("task.keras")
    generator = np.random.default_rng(5)
    for number in range(2 * CLASSES):
        file = tmp_path / "pictures" / str(number % CLASSES) / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(file, generator.integers(0, 256, SHAPE, dtype=np.uint8), scale=False)
    commands = [
        ["explain", "pictures", "--model", "task.keras", "--out", "maps"],
        ["layers", "task.keras"],
        ["audit", "pictures", "--model", "task.keras", "--out", "report", "--num-images", "0", "--no-sanity"],
    ]
    for command in commands:
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "maps").glob("*.overlay.png"))) == 2 * CLASSES
    assert (
        "preprocessor (RGB in 0..255, brought to 0 to 1.275), from the model's own preprocessor"
        in (json.loads((tmp_path / "report" / "audit.json").read_text())["about"]["scaling"])
    )
