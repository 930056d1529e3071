"""Model files are told by their bytes: any name loads, and what is not a model of Keras is called what it is.

`data/keras_2_15.zip` was written by TensorFlow 2.15.1: a Sequential model of 6 x 10 pixels with a frozen convolution
and batch normalisations, as a SavedModel, as a checkpoint, as weights and whole; its images, and its outputs for them.

Also tests _models/saved_model.py and _models/weights_only.py.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from tests.helpers.redblue import red_blue_model, red_blue_photo, write_photo
from tf_gradcam._cli.main import main
from tf_gradcam._errors import for_command_line
from tf_gradcam._models.description import description_inside
from tf_gradcam._models.loading import load_model, load_network, load_weights_file
from tf_gradcam._models.saved_model import _metadata, write_hdf5
from tf_gradcam._models.weights_only import _TRUNKS, read_weights

L = keras.layers
IMAGES = red_blue_photo()[None].astype("float32")


@pytest.fixture(scope="module")
def keras2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras2")
    with zipfile.ZipFile(Path(__file__).parent / "data" / "keras_2_15.zip") as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def model() -> keras.Model:
    return red_blue_model()


def two_colours() -> keras.Model:
    """The network of `data`, as its owner builds it."""
    layers = [
        L.Conv2D(2, 3, use_bias=False),
        L.BatchNormalization(),
        L.ReLU(),
        L.Conv2D(2, 1),
        L.BatchNormalization(),
        L.GlobalAveragePooling2D(),
        L.Dense(2, activation="softmax"),
    ]
    return keras.Sequential([keras.Input((6, 10, 3)), *layers])


def check_outputs(model: keras.Model, keras2: Path) -> None:
    outputs = model(np.load(keras2 / "images.npy"))
    np.testing.assert_allclose(outputs, np.load(keras2 / "outputs.npy"), rtol=1e-5)


# --- Any name.


@pytest.mark.parametrize(
    ("saved", "name"),
    [
        (".h5", "model.keras"),
        (".h5", "model.model"),
        (".h5", "model"),
        (".h5", "MODEL.H5"),
        (".h5", "best.weights.h5"),
        (".keras", "model.h5"),
        (".keras", "model.zip"),
        (".keras", "MODEL.KERAS"),
        (".keras", "a model (1)"),
    ],
)
def test_model_loads_under_any_name(tmp_path: Path, model: keras.Model, saved: str, name: str) -> None:
    model.save(tmp_path / f"saved{saved}")
    path = (tmp_path / f"saved{saved}").rename(tmp_path / name)
    np.testing.assert_array_equal(load_model(path)(IMAGES), model(IMAGES))
    assert description_inside(path).class_names is None
    assert [item.name for item in tmp_path.iterdir()] == [name]


def test_unpacked_keras_file_loads(tmp_path: Path, model: keras.Model) -> None:
    """As macOS leaves a download."""
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        archive.extractall(tmp_path / "model")
    np.testing.assert_array_equal(load_model(tmp_path / "model")(IMAGES), model(IMAGES))
    assert description_inside(tmp_path / "model").class_names is None


def test_one_model_in_a_zip_loads_and_two_are_named(tmp_path: Path, model: keras.Model) -> None:
    """The first as Teachable Machine exports it."""
    model.save(tmp_path / "model.h5")
    with zipfile.ZipFile(tmp_path / "converted_keras.zip", "w") as archive:
        archive.write(tmp_path / "model.h5", "keras_model.h5")
        archive.writestr("labels.txt", "0 red\n1 blue\n")
        archive.writestr("__MACOSX/._keras_model.h5", "x")
    np.testing.assert_array_equal(load_model(tmp_path / "converted_keras.zip")(IMAGES), model(IMAGES))
    with zipfile.ZipFile(tmp_path / "converted_keras.zip", "a") as archive:
        archive.write(tmp_path / "model.h5", "runs/other.h5")
    with pytest.raises(
        ValueError, match=r"one Keras model in the zip .* received keras_model\.h5, runs/other\.h5\. Unpa"
    ):
        load_model(tmp_path / "converted_keras.zip")


@pytest.mark.parametrize("weights", ["model.weights.h5", "model.h5", "old.h5"])
def test_layers_as_json_load_with_their_weights(tmp_path: Path, model: keras.Model, weights: str) -> None:
    (tmp_path / "model.json").write_text(model.to_json())
    model.save_weights(tmp_path / "model.weights.h5")
    model.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5") as source, h5py.File(tmp_path / "old.h5", "w") as target:
        for name in source["model_weights"]:  # weights alone, as Keras 2 writes them
            source.copy(f"model_weights/{name}", target)
        target.attrs.update(source["model_weights"].attrs)
    if weights != "model.weights.h5":  # such layers stand in HDF5 as older versions wrote them
        with h5py.File(tmp_path / "model.h5") as file:
            (tmp_path / "model.json").write_text(file.attrs["model_config"])
    loaded = load_network(str(tmp_path / "model.json"), str(tmp_path / weights))
    np.testing.assert_array_equal(loaded(IMAGES), model(IMAGES))
    with pytest.raises(ValueError, match="holds the layers of a model as JSON, without weights") as caught:
        load_model(tmp_path / "model.json")
    assert for_command_line(caught.value).endswith("Give a file of them too: --weights FILE.")


@pytest.mark.parametrize("weights", ["weights.h5", "model.weights.h5", "model.h5"])
def test_layers_of_keras_2_as_json_load_with_their_weights(keras2: Path, weights: str) -> None:
    check_outputs(load_network(str(keras2 / "model.json"), str(keras2 / weights)), keras2)
    with pytest.raises(ValueError, match=r"Expected weights in HDF5 for the layers in .* received '.*checkpoint'"):
        load_network(str(keras2 / "model.json"), str(keras2 / "checkpoint"))


# --- TensorFlow's own files.


@pytest.mark.parametrize("name", ["saved_model", "saved_model/saved_model.pb", "zip"])
def test_saved_model_of_keras_2_gives_the_outputs_of_the_original(keras2: Path, tmp_path: Path, name: str) -> None:
    path = keras2 / name
    if name == "zip":
        path = Path(shutil.make_archive(str(tmp_path / "model"), "zip", keras2, "saved_model"))
    check_outputs(load_model(path), keras2)


def test_saved_model_is_turned_into_what_keras_2_wrote_as_hdf5(keras2: Path, tmp_path: Path) -> None:
    write_hdf5(keras2 / "saved_model", tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5") as ours, h5py.File(keras2 / "model.h5") as expected:
        names = list(expected["model_weights"].attrs["layer_names"])
        assert list(ours["model_weights"].attrs["layer_names"]) == names
        for name in names:
            group, theirs = ours["model_weights"][name], expected["model_weights"][name]
            for own, other in zip(group.attrs["weight_names"], theirs.attrs["weight_names"], strict=True):
                np.testing.assert_array_equal(group[own], theirs[other])
        layers = [json.loads(file.attrs["model_config"])["config"]["layers"] for file in (ours, expected)]
        for layer, theirs in zip(*layers, strict=True):
            assert layer["class_name"] == theirs["class_name"]
            assert set(theirs["config"]) - set(layer["config"]) <= {"batch_input_shape"}


def test_metadata_of_tensorflow_before_2_5_stand_in_the_graph(keras2: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(keras2 / "saved_model", folder)
    graph = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    for number, content in _metadata(folder).items():
        item = graph.meta_graphs[0].object_graph_def.nodes[number].user_object
        item.identifier, item.metadata = "_tf_keras_layer", json.dumps(content)
    (folder / "saved_model.pb").write_bytes(graph.SerializeToString())
    (folder / "keras_metadata.pb").unlink()
    check_outputs(load_model(folder), keras2)


@pytest.mark.parametrize(
    "name",
    [
        "checkpoint",
        "checkpoint/weights",
        "checkpoint/weights.index",
        "checkpoint/weights.data-00000-of-00001",
        "saved_model",
        "weights.h5",
        "model.weights.h5",
        "model.h5",
    ],
)
def test_weights_of_keras_2_fill_a_network(keras2: Path, name: str) -> None:
    network = two_colours()
    load_weights_file(network, keras2 / name)
    check_outputs(network, keras2)


@pytest.mark.parametrize("name", ["weights.h5", "model.weights.h5"])
@pytest.mark.parametrize("other", ["a.weights.h5", "b.h5", "c.weights", "d"])
def test_weights_are_told_by_their_bytes(keras2: Path, tmp_path: Path, name: str, other: str) -> None:
    shutil.copyfile(keras2 / name, tmp_path / other)
    network = two_colours()
    load_weights_file(network, tmp_path / other)
    check_outputs(network, keras2)
    with pytest.raises(ValueError, match="holds weights, not a model") as caught:
        load_model(tmp_path / other)
    follow(str(caught.value), network := two_colours(), tmp_path)
    check_outputs(network, keras2)


def follow(message: str, model: keras.Model, folder: Path) -> None:
    """Do what a message says: copy the file, then fill the network that was built."""
    if copied := re.search(r"copy the file as '([^']+)'", message):
        (source,) = (path for path in folder.iterdir() if path.is_file())
        shutil.copyfile(source, copied[1])
    (call,) = re.findall(r"(?:load|set)_weights\((?:'[^']+'|\[.*\])\)", message)
    exec(f"model.{call}", {"model": model, "tf": tf})


def test_export_is_refused_with_a_remedy_that_works(tmp_path: Path, model: keras.Model) -> None:
    model.export(tmp_path / "export", verbose=False)
    with pytest.raises(
        ValueError, match="a SavedModel that cannot be explained as it is: it holds operations"
    ) as caught:
        load_model(tmp_path / "export")
    for fill in (
        lambda blank: follow(str(caught.value), blank, tmp_path),
        lambda blank: load_weights_file(blank, tmp_path / "export"),  # what --weights does
    ):
        blank = red_blue_model()
        blank.set_weights([0 * value for value in blank.get_weights()])
        fill(blank)
        np.testing.assert_array_equal(blank(IMAGES), model(IMAGES))
    assert f"--model NAME --weights {tmp_path / 'export'}" in for_command_line(caught.value)
    tf.saved_model.save(model, str(tmp_path / "saved"))
    blank = red_blue_model()
    blank.set_weights([0 * value for value in blank.get_weights()])
    load_weights_file(blank, tmp_path / "saved")
    np.testing.assert_array_equal(blank(IMAGES), model(IMAGES))


def test_export_with_seeds_fills_a_network(tmp_path: Path) -> None:
    def build() -> keras.Model:
        images = keras.Input((6, 10, 3))
        scaled = L.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0])(L.RandomFlip()(images))
        features = L.BatchNormalization()(L.Conv2D(2, 3)(L.Normalization()(scaled)))
        return keras.Model(images, L.Dense(2)(L.Dropout(0.5)(L.GlobalAveragePooling2D()(features))))

    model = build()
    model.export(tmp_path / "export", verbose=False)
    again = build()
    load_weights_file(again, tmp_path / "export")
    check_weights(again, model)
    again = build()
    with pytest.raises(ValueError, match="it holds operations") as caught:
        load_model(tmp_path / "export")
    follow(str(caught.value), again, tmp_path)
    check_weights(again, model)


def check_weights(model: keras.Model, expected: keras.Model) -> None:
    for value, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(value, other)


def test_checkpoint_is_weights_of_a_network_by_name(keras2: Path) -> None:
    with pytest.raises(ValueError, match="is a TensorFlow checkpoint, which holds weights without layers") as caught:
        load_model(keras2 / "checkpoint" / "weights")
    assert f"type --model NAME --weights {keras2 / 'checkpoint' / 'weights'}. " in for_command_line(caught.value)
    with pytest.raises(ValueError, match=r"do not fit red_blue: "):
        load_weights_file(red_blue_model(), keras2 / "checkpoint")


# --- What is not a model.

FOREIGN: dict[str, tuple[str, bytes, str]] = {
    "onnx": ("m.onnx", b"\x08\x08\x12\x07pytorch", "an ONNX model. Give the Keras model that it was made from"),
    "tflite": ("m.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(20), "a TensorFlow Lite model"),
    "torch, old": ("m.pt", pickle.dumps({"a": 1}), "a pickle, which PyTorch"),
    "joblib": ("m.pkl", pickle.dumps([1]), "a pickle"),
    "frozen": ("frozen.pb", b"\x0a\x0f\x0a\x01x", "a frozen graph, without layers"),
    "safetensors": ("m.safetensors", (64).to_bytes(8, "little") + b'{"a":{}}', "weights without a network"),
    "npy": ("w.npy", b"\x93NUMPY\x01\x00", "a NumPy array"),
    "gzip": ("m.tar.gz", b"\x1f\x8b\x08\x00", "an archive packed by gzip. Unpack it"),
    "7z": ("m.7z", b"7z\xbc\xaf'\x1c", "a 7z archive"),
    "page": ("m.h5", b"<!DOCTYPE html><html>", "a web page"),
    "picture": ("m.png", b"\x89PNG\r\n\x1a\n", "a PNG picture. Give the model by --model"),
    "empty": ("m.keras", b"", r"m.keras' is empty \(0 bytes\)"),
    "spaces": ("m.keras", b" \n ", "are of neither: it is of another kind, or damaged"),
    "text": ("m.h5", b"hello", "are of neither: it is of another kind, or damaged"),
    "pointer": ("m.h5", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, not the file itself"),
    "tfjs": ("model.json", b'{"format": "layers-model", "weightsManifest": []}', "a TensorFlow.js model"),
    "json": ("a.json", b'{"a": 1}', "JSON without layers"),
    "json, cut": ("a.json", b'{"class_name": "Sequ', "begins like JSON, but is damaged"),
    "json, deep": ("a.json", b'{"a":' + b"[" * 10**5, "begins like JSON, but is damaged"),
    "hdf5, cut": ("m.h5", b"\x89HDF\r\n\x1a\n" + bytes(90), "not an HDF5 file, or is damaged"),
    "zip, cut": ("m.keras", b"PK\x03\x04" + bytes(90), "not a .keras file, or is damaged"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_file_is_called_what_it_is(tmp_path: Path, kind: str) -> None:
    name, content, words = FOREIGN[kind]
    (tmp_path / name).write_bytes(content)
    for load in (load_model, lambda path: load_weights_file(red_blue_model(), path)):
        with pytest.raises(ValueError, match=words) as caught:
            load(tmp_path / name)
        assert "\n" not in str(caught.value)


ARCHIVES = {
    "torch": ({"archive/data.pkl": b"\x80"}, "a PyTorch file"),
    "npz": ({"a.npy": b"", "b.npy": b""}, r"an archive of NumPy arrays \(\.npz\)"),
    "pictures": ({"a.png": b""}, "Expected one Keras model in the zip archive .* received none. Unpack it"),
    "nothing": ({}, "received none"),
    "outside": ({"../model.h5": b"x"}, "are of neither"),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archive_of_something_else_is_called_what_it_is(tmp_path: Path, kind: str) -> None:
    members, words = ARCHIVES[kind]
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=words):
        load_model(tmp_path / "m.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["m.zip"]


def test_hdf5_of_something_else_is_called_that(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["images"] = np.zeros((2, 6, 10, 3))
    with pytest.raises(ValueError, match="HDF5 file of something else: it holds neither layers nor weights of Keras"):
        load_model(tmp_path / "data.h5")


def test_folders_are_called_what_they_are(tmp_path: Path, model: keras.Model) -> None:
    with pytest.raises(ValueError, match=r"is a folder\. Save the model by model\.save"):
        load_model(tmp_path)
    (tmp_path / "run").mkdir()
    model.save(tmp_path / "run" / "best.keras")
    with pytest.raises(ValueError, match=r"is a folder\. Give the model inside: '.*best\.keras'\.$") as caught:
        load_model(tmp_path)
    np.testing.assert_array_equal(load_model(str(caught.value).split("'")[-2])(IMAGES), model(IMAGES))


@pytest.mark.parametrize("name", ["saved_model.pb", "keras_metadata.pb", "variables/variables.index"])
def test_damaged_saved_model_is_one_line(keras2: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(keras2 / "saved_model", tmp_path / "saved")
    path = tmp_path / "saved" / name
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], bytes(len(whole)), whole[:100] + whole[150:]):
        path.write_bytes(content)
        if name != "keras_metadata.pb":
            (tmp_path / "saved" / "keras_metadata.pb").unlink(missing_ok=True)
        with pytest.raises(ValueError, match=r"SavedModel|checkpoint|Cannot load") as caught:
            load_model(tmp_path / "saved")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_cut_model_is_one_line(tmp_path: Path, model: keras.Model, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    model.save(path)
    whole = path.read_bytes()
    for count in (1, 7, 8, 100, 2000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:count])
        with pytest.raises(ValueError, match=r"model\..*(damaged|cut short)"):
            load_model(path)


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_member_of_any_packing_is_one_line(
    tmp_path: Path, model: keras.Model, member: str, method: int
) -> None:
    model.save(tmp_path / "model.keras")
    path = tmp_path / "damaged.keras"
    with zipfile.ZipFile(tmp_path / "model.keras") as old, zipfile.ZipFile(path, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        start = new.getinfo(member).header_offset + 30 + len(member)
    np.testing.assert_array_equal(load_model(path)(IMAGES), model(IMAGES))
    data = bytearray(path.read_bytes())
    data[start + 20 : start + 60] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"damaged\.keras'"):
        load_model(path)


# --- The remedies of refused models, followed.


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_model_with_a_lambda_loads_in_python_as_the_message_says(tmp_path: Path, suffix: str) -> None:
    def build() -> keras.Model:
        return red_blue_model(L.Lambda(lambda means: means * 2), L.Dense(2, name="last"))

    model, path = build(), tmp_path / f"model{suffix}"
    model.save(path)
    with pytest.raises(
        ValueError, match=r"holds a Lambda layer, .* or build the network there and load its wei"
    ) as caught:
        load_model(path)
    (call,) = re.findall(r"keras\.saving\.load_model\(path, safe_mode=False\)", str(caught.value))
    np.testing.assert_array_equal(eval(call, {"keras": keras, "path": path})(IMAGES), model(IMAGES))
    again = build()
    again.load_weights(path)
    np.testing.assert_array_equal(again(IMAGES), model(IMAGES))


@pytest.mark.parametrize("name", ["model.h5", "model.model", "best.weights.h5"])
def test_model_that_keras_cannot_build_fills_a_network_as_the_message_says(
    tmp_path: Path, model: keras.Model, name: str
) -> None:
    model.save(tmp_path / "model.h5")
    path = (tmp_path / "model.h5").rename(tmp_path / name)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][-1]["config"]["units"] = "two"
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(ValueError, match=r"Cannot load .* build the network in Python") as caught:
        load_model(path)
    blank = red_blue_model()
    blank.set_weights([0 * value for value in blank.get_weights()])
    follow(str(caught.value), blank, tmp_path)
    np.testing.assert_array_equal(blank(IMAGES), model(IMAGES))


# --- Weights alone.


def test_weights_of_a_known_network_come_with_the_command_that_explains_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network = keras.applications.MobileNet(weights=None, classes=4)
    network.save_weights("m.weights.h5")
    write_photo(tmp_path)
    result = CliRunner().invoke(main, ["explain", "photo.png", "--model", "m.weights.h5", "--out", "out"])
    assert result.exit_code == 2
    assert "28 convolutions of 4 to 1024 channels: MobileNet. Type --model" in result.stderr
    words = re.search(r"Type (--model .*)$", result.stderr)[1].split()
    assert words == ["--model", "MobileNet", "--weights", "m.weights.h5", "--model-arg", "classes=4"]
    loaded = load_network(words[1], words[3], words[5:])
    check_weights(loaded, network)


@pytest.mark.parametrize("is_nested", [True, False])
def test_weights_of_a_fine_tune_name_its_backbone_and_its_head(tmp_path: Path, is_nested: bool) -> None:
    backbone = keras.applications.MobileNet(weights=None, include_top=False, input_shape=(32, 32, 3))
    features = backbone(backbone.input) if is_nested else backbone.output
    head = L.BatchNormalization()(L.Dense(8)(L.GlobalAveragePooling2D()(features)))
    keras.Model(backbone.input, L.Dense(3)(head)).save_weights(tmp_path / "m.weights.h5")
    saved = read_weights(tmp_path / "m.weights.h5")
    assert saved.network == "MobileNet"
    assert saved.dense == [(1024, 8), (8, 3)]
    assert re.search(r"27 convolutions of 32 to 1024 channels, Dense \(1024, 8\), \(8, 3\): MobileNet$", str(saved))


def test_weights_of_an_own_network_are_described(keras2: Path) -> None:
    for name, first, last in (("weights.h5", "hue", "classes"), ("model.weights.h5", "batch_norm", "dense")):
        text = str(read_weights(keras2 / name))
        assert re.fullmatch(
            rf"5 layers with weights, from '{first}\w*' to '{last}\w*', 2 convolutions of 2 to 2 channels, "
            r"Dense \(2, 2\)",
            text,
        )


@pytest.mark.soak
def test_numbers_of_every_network_of_keras_applications_are_known() -> None:
    counts = {}
    for name in _TRUNKS.values():
        keras.backend.clear_session()
        counts[getattr(keras.applications, name)(weights=None, include_top=False).count_params()] = name
    assert counts == _TRUNKS
