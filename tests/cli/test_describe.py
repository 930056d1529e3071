"""The command `tf-gradcam describe`, and what the other commands read from a described file."""

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from tests.helpers.redblue import write_photo
from tf_gradcam import describe
from tf_gradcam.__main__ import main

L = keras.layers


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    silent = [keras.Input((6, 10, 3)), L.Conv2D(2, 1), L.GlobalAveragePooling2D(), L.Softmax()]
    keras.Sequential(silent).save("model.keras")
    (tmp_path / "names.txt").write_text("red\nblue\n")
    write_photo(tmp_path)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_description_is_printed_once(folder):
    options = ("--preprocess", "unit", "--class-names", "names.txt", "--task", "classification")
    result = run("describe", "model.keras", *options)
    assert result.stdout == "scaling: unit\nclass names: red, blue (2)\ntask: classification\n"
    assert result.stderr == ""
    assert run("describe", "model.keras").stdout == result.stdout


def test_described_file_needs_no_options(folder):
    describe("model.keras", preprocess="unit", class_names=["red", "blue"], task="classification")
    result = run("explain", "photo.png", "--model", "model.keras", "--target", "blue", "--out", "maps")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "tf-gradcam: task: classification, as the model's file says.",
        "tf-gradcam: scaling: unit (RGB in [0, 1]), as the model's file says.",
    ]
    assert "unit, as the model's file says" in (folder / "maps" / "manifest.csv").read_text()


def test_choice_on_the_command_line_comes_before_the_file(folder):
    describe("model.keras", preprocess="unit", task="classification")
    chosen = ("--preprocess", "tf", "--task", "multilabel")
    result = run("explain", "photo.png", "--model", "model.keras", *chosen, "--out", "maps")
    assert (result.exit_code, "Expected a unit for each label" in result.stderr) == (2, True)
    result = run("explain", "photo.png", "--model", "model.keras", *chosen[:2], "--out", "maps")
    assert result.stderr.endswith("tf-gradcam: scaling: tf (RGB in [-1, 1]), as you chose.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.keras", "--preprocess", "255"], "Unknown preprocessing mode '255'. Known: 'raw', 'unit'"),
        (["model.keras", "--task", "guess"], "Unknown task 'guess'"),
        (["nowhere.keras"], "There is no model file 'nowhere.keras'"),
        (["names.txt"], "names.txt"),
        ([], "Missing argument 'MODEL'"),
    ],
)
def test_wrong_use_is_one_line_and_status_two(folder, arguments, message):
    result = run("describe", *arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert message in line


def test_scaling_of_a_file_is_that_of_the_images(folder):
    """A network whose output is the mean of its input: the description decides what arrives."""
    tell = keras.Sequential([keras.Input((6, 10, 3)), L.Conv2D(1, 1, kernel_initializer="ones"), L.Flatten()])
    tell.save("tell.keras")
    describe("tell.keras", preprocess="unit")
    from tf_gradcam import find_preprocessing

    scale = find_preprocessing("tell.keras")
    assert (scale.mode, scale.source) == ("unit", "file")
    np.testing.assert_allclose(scale(np.full((1, 6, 10, 3), 51)), 0.2, rtol=1e-6)
