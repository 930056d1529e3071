"""What the options of a command ask for."""

import json
import zipfile

import keras
import pytest

from tests.helpers.redblue import red_blue_model
from tf_gradcam._models.open_model import (
    chosen_names,
    chosen_preprocessing,
    chosen_target,
    found_preprocessing,
    names_in_file,
    usual_weights,
)
from tf_gradcam._models.preprocessing import MODES, Preprocessing

L = keras.layers


@pytest.mark.parametrize("mode", MODES)
def test_mode_that_is_asked_for_is_taken(mode):
    assert chosen_preprocessing(mode) == Preprocessing(None, mode)


def test_none_is_raw_and_auto_is_left_to_the_model():
    assert chosen_preprocessing("none") == Preprocessing(None, "raw")
    assert chosen_preprocessing("auto") is None


def test_unknown_mode_names_the_nearest():
    with pytest.raises(ValueError, match=r"Unknown mode of --preprocess 'touch'\. Did you mean 'torch'"):
        chosen_preprocessing("touch")


def test_model_says_what_it_wants(capsys):
    assert found_preprocessing(red_blue_model()) == Preprocessing(None, "raw")
    assert capsys.readouterr().err == ""


def test_model_that_says_nothing_gets_raw_images_and_a_note(capsys):
    model = keras.Sequential([keras.Input((6, 10, 3)), L.Conv2D(2, 3), L.Flatten()], name="silent")
    assert found_preprocessing(model) == Preprocessing(None, "raw")
    assert "note: what silent was trained on cannot be read from it" in capsys.readouterr().err


def test_names_are_read_from_a_file_or_absent(tmp_path):
    (tmp_path / "names.txt").write_text("red\nblue\n")
    assert names_in_file(str(tmp_path / "names.txt")) == ["red", "blue"]
    assert names_in_file(None) is None


def test_file_has_its_own_weights_and_a_name_those_of_imagenet():
    assert usual_weights("model.keras") is None
    assert usual_weights("VGG16") == "imagenet"


def thousand_classes():
    return keras.Sequential([keras.Input((6, 10, 3)), L.Flatten(), L.Dense(1000, kernel_initializer="zeros")])


def test_names_that_are_given_come_before_those_of_imagenet():
    assert chosen_names(["a"], "VGG16", thousand_classes(), "imagenet") == ["a"]


@pytest.mark.parametrize("weights", [None, "none", "own.weights.h5"])
def test_names_are_those_of_imagenet_for_its_weights_alone(weights):
    assert chosen_names(None, "VGG16", thousand_classes(), weights) is None
    assert chosen_names(None, "VGG16", red_blue_model(), "imagenet") is None


@pytest.fixture
def carrying(tmp_path):
    """Writes names into the file of a model."""

    def write(model, names):
        path = tmp_path / "model.keras"
        model.save(path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("class_names.json", json.dumps(names))
        return str(path)

    return write


def test_names_inside_the_models_file_are_taken_where_none_are_given(carrying):
    model = red_blue_model()
    path = carrying(model, ["red", "blue"])
    assert chosen_names(None, path, model, None) == ["red", "blue"]
    assert chosen_names(["r", "b"], path, model, None) == ["r", "b"]


def test_names_inside_of_another_count_are_refused(carrying):
    model = red_blue_model()
    with pytest.raises(ValueError, match=r"'class_names.json' in '.*' to name the 2 classes .* received 3 names"):
        chosen_names(None, carrying(model, ["red", "green", "blue"]), model, None)


def test_one_unit_may_have_two_names_inside(carrying):
    unit = keras.Sequential([keras.Input((6, 10, 3)), L.Flatten(), L.Dense(1, activation="sigmoid")])
    assert chosen_names(None, carrying(unit, ["healthy", "ill"]), unit, None) == ["healthy", "ill"]


def test_names_of_imagenet_out_of_reach_leave_numbers_and_a_note(monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise Exception("URL fetch failure on https://example.org")  # as keras does

    monkeypatch.setattr(keras.src.applications.imagenet_utils, "CLASS_INDEX", None)
    monkeypatch.setattr(keras.src.utils.file_utils, "get_file", fail)
    assert chosen_names(None, "VGG16", thousand_classes(), "imagenet") is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tf-gradcam: note: classes are shown by their numbers. ImageNet's class names could not be")
    assert line.endswith("Give a file of names by --class-names.")


@pytest.mark.parametrize(
    ("text", "names", "target"),
    [
        (None, None, None),
        ("3", None, 3),
        ("3", ["a", "b"], 3),
        ("3", ["a", "b", "c", "d", "3"], 4),
        ("b", ["a", "b"], 1),
    ],
)
def test_target_is_a_name_before_it_is_a_number(text, names, target):
    assert chosen_target(text, names) == target


def test_target_by_name_needs_names():
    with pytest.raises(ValueError, match=r"received the name 'beagle': no names are known\. Pass class_names="):
        chosen_target("beagle", None)
    with pytest.raises(ValueError, match=r"Unknown class 'unknown'"):
        chosen_target("unknown", ["a", "b"])
