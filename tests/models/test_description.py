"""Scaling, class names and task inside a model's file."""

import json
import os
import zipfile

import keras
import numpy as np
import pytest

from tests.helpers.redblue import red_blue_model, red_blue_photo
from tf_gradcam import describe
from tf_gradcam._models.description import Description, description_inside

L = keras.layers
NOTHING = Description()


@pytest.fixture(params=["model.keras", "model.h5", "renamed.keras"])
def model_file(request, tmp_path):
    """A zip, an HDF5 file, and an HDF5 file that is named as a zip."""
    if request.param != "renamed.keras":
        red_blue_model().save(tmp_path / request.param)
        return tmp_path / request.param
    red_blue_model().save(tmp_path / "model.h5")
    return (tmp_path / "model.h5").rename(tmp_path / request.param)


@pytest.fixture
def zipped(tmp_path):
    red_blue_model().save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def with_member(path, content, name="tf_gradcam.json", compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "a", compression) as archive:
        archive.writestr(name, content)
    return path


def test_file_of_keras_says_nothing(model_file):
    assert description_inside(model_file) == NOTHING
    assert str(NOTHING) == "scaling: not said\nclass names: not said\ntask: not said"


def test_what_is_written_is_read_back_part_by_part(model_file):
    describe(model_file, preprocess="unit")
    describe(model_file, class_names=["red", "blue"])
    written = describe(model_file, task="classification")
    assert written == description_inside(model_file) == Description("unit", ["red", "blue"], "classification")
    assert str(written) == "scaling: unit\nclass names: red, blue (2)\ntask: classification"
    assert describe(model_file, preprocess="none").preprocess == "raw"


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_keras_loads_a_described_file_as_before(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    red_blue_model().save(path)
    describe(path, preprocess="raw", class_names={1: "blue", 0: "red"}, task="classification")
    images = red_blue_photo()[None].astype("float32")
    np.testing.assert_array_equal(keras.saving.load_model(path)(images), red_blue_model()(images))
    red_blue_model().load_weights(path)


def test_names_of_every_class_of_a_large_table_fit_into_hdf5(tmp_path):
    """An attribute of HDF5 holds 64 KiB; these names take more."""
    model = keras.Sequential([keras.Input((2, 2, 3)), L.Flatten(), L.Dense(5000)])
    model.save(tmp_path / "model.h5")
    names = [f"class number {index} of many" for index in range(5000)]
    describe(tmp_path / "model.h5", class_names=names)
    assert description_inside(tmp_path / "model.h5").class_names == names


def test_names_come_from_a_file_of_names(tmp_path, zipped):
    (tmp_path / "names.txt").write_text("Käse\nbrot\n", encoding="utf-8")
    assert describe(zipped, class_names=tmp_path / "names.txt").class_names == ["Käse", "brot"]


def test_names_written_by_hand_are_read_and_move_into_the_description(zipped):
    with_member(zipped, '["red", "blue"]', "class_names.json")
    assert description_inside(zipped) == Description(None, ["red", "blue"])
    describe(zipped, preprocess="tf")
    assert description_inside(zipped) == Description("tf", ["red", "blue"])
    members = zipfile.ZipFile(zipped).namelist()
    assert members.count("tf_gradcam.json") == 1
    assert "class_names.json" not in members


def test_reading_and_writing_nothing_new_leave_the_file(model_file):
    describe(model_file, preprocess="unit")
    before = model_file.stat().st_mtime_ns, model_file.read_bytes()
    describe(model_file)
    describe(model_file, preprocess="unit")
    assert (model_file.stat().st_mtime_ns, model_file.read_bytes()) == before


def test_file_is_written_whole_or_not_at_all(monkeypatch, zipped):
    before = zipped.read_bytes()

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left on device"):
        describe(zipped, preprocess="unit")
    assert zipped.read_bytes() == before
    assert [path.name for path in zipped.parent.iterdir()] == ["model.keras"]


def test_rights_of_the_file_and_a_link_to_it_stay(tmp_path, zipped):
    zipped.chmod(0o640)
    (tmp_path / "link.keras").symlink_to(zipped)
    describe(tmp_path / "link.keras", preprocess="unit")
    assert (tmp_path / "link.keras").is_symlink()
    assert (zipped.stat().st_mode & 0o777, description_inside(zipped).preprocess) == (0o640, "unit")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preprocess": "untit"}, r"Unknown preprocessing mode 'untit'\. Did you mean 'unit'"),
        ({"preprocess": "detect"}, r"Unknown preprocessing mode 'detect'"),
        ({"task": "classify"}, r"Unknown task 'classify'\. Did you mean 'classification'"),
        ({"class_names": ["red"]}, r"Expected 2 class names for '.*', one per unit of its last layer, received 1"),
        ({"class_names": {0: "red", 2: "blue"}}, r"a name for each class from 0 on, received names for \[0, 2\]"),
        ({"class_names": []}, r"a name for each class from 0 on, received names for \[\]"),
    ],
)
def test_wrong_description_is_refused_and_not_written(zipped, options, message):
    before = zipped.read_bytes()
    with pytest.raises(ValueError, match=message):
        describe(zipped, **options)
    assert zipped.read_bytes() == before


def test_names_of_another_kind_are_refused(zipped):
    with pytest.raises(TypeError, match="Expected class_names as a list of names"):
        describe(zipped, class_names=3)


@pytest.mark.parametrize("nested", [False, True])
def test_names_are_counted_against_the_last_layer_of_a_functional_model(tmp_path, nested):
    inputs = keras.Input((2, 2, 3))
    head = keras.Sequential([L.Flatten(), L.Dense(3)]) if nested else L.Dense(3)
    keras.Model(inputs, head(inputs if nested else L.Flatten()(inputs))).save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="Expected 3 class names"):
        describe(tmp_path / "model.keras", class_names=["a", "b"])
    assert describe(tmp_path / "model.keras", class_names=["a", "b", "c"]).class_names == ["a", "b", "c"]


def test_one_unit_may_have_two_names(tmp_path):
    keras.Sequential([keras.Input((2, 2, 3)), L.Flatten(), L.Dense(1)]).save(tmp_path / "model.keras")
    assert describe(tmp_path / "model.keras", class_names=["no", "yes"]).class_names == ["no", "yes"]


def test_weights_alone_are_not_a_model_to_describe(tmp_path):
    red_blue_model().save_weights(tmp_path / "only.weights.h5")
    with pytest.raises(ValueError, match=r"only\.weights\.h5' holds weights, not a model"):
        describe(tmp_path / "only.weights.h5", preprocess="unit")


def test_unpacked_file_is_read_and_not_written(tmp_path, zipped):
    describe(zipped, preprocess="unit")
    with zipfile.ZipFile(zipped) as archive:
        archive.extractall(tmp_path / "model")
    assert description_inside(tmp_path / "model") == Description("unit")
    with pytest.raises(ValueError, match=r"but '.*' is an unpacked .keras file\. Load the model and save it"):
        describe(tmp_path / "model", preprocess="tf")


def test_other_file_is_refused(tmp_path):
    (tmp_path / "model.keras").write_text("no model")
    with pytest.raises(ValueError, match=r"model\.keras'"):
        describe(tmp_path / "model.keras", preprocess="unit")


def test_missing_model_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no model file '.*nowhere.keras'"):
        describe(tmp_path / "nowhere.keras")
    with pytest.raises(FileNotFoundError, match=r"Cannot read the model file '.*nowhere.keras': No such file"):
        description_inside(tmp_path / "nowhere.keras")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("unit", r"Expected 'tf_gradcam.json' in '.*model.keras' to be JSON, but it is not"),
        ('["red", "blue"]', r"to be a JSON object, received \[\"red\", \"blue\"\]"),
        ('{"preprocess": "255"}', r"Unknown preprocessing mode of 'tf_gradcam.json' in '.*' '255'"),
        ('{"preprocess": ["unit"]}', r"Unknown preprocessing mode of"),
        ('{"task": 3}', r"Unknown task of 'tf_gradcam.json' in '.*' '3'"),
        ('{"class_names": [1, 2]}', r"received \[1, 2\]"),
        (b'{"class_names": ["caf\xe9"]}', "Expected UTF-8"),
        (b"{" + b" " * 2**22 + b"}", "at most 4194304 bytes"),
        ("[" * 10_000, "to be JSON, but it is not"),
    ],
)
def test_malformed_description_is_an_error_in_words(zipped, content, message):
    with pytest.raises(ValueError, match=message):
        description_inside(with_member(zipped, content))


def test_parts_of_later_versions_are_left_alone(zipped):
    with_member(zipped, json.dumps({"preprocess": "unit", "colour": "blue"}))
    assert description_inside(zipped) == Description("unit")


def test_description_that_unpacks_to_gigabytes_is_not_unpacked(zipped, monkeypatch):
    """A member that says it is short, and is not: no more is read than may be."""
    with_member(zipped, b" " * 2**25)
    asked = []
    read = zipfile.ZipExtFile.read
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda file, count=-1: asked.append(count) or read(file, count))
    with pytest.raises(ValueError, match="at most 4194304 bytes"):
        description_inside(zipped)
    assert asked == [2**22 + 1]


def test_damaged_description_is_an_error_in_words(zipped):
    with_member(zipped, '["red", "blue"]', "class_names.json", zipfile.ZIP_STORED)
    zipped.write_bytes(zipped.read_bytes().replace(b'["red", "blue"]', b'["rad", "blue"]'))
    with pytest.raises(ValueError, match=r"'class_names.json' in .* cannot be unpacked: Bad CRC"):
        description_inside(zipped)
