"""Models and weights from files: what loads, what is refused, and in which words."""

import zipfile

import h5py
import keras
import numpy as np
import pytest

from tests.helpers.redblue import red_blue_model, red_blue_photo
from tf_gradcam._models.loading import is_model_file, load_model, load_network, load_weights_file

L = keras.layers
SUFFIXES = [".keras", ".h5"]


class Own(L.Layer):
    """A class that Keras does not know by itself."""

    def call(self, images):
        return images


def lambda_model():
    return red_blue_model(L.Lambda(lambda means: means * 2))


def save(model, path):
    model.save(path)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_model_comes_back_with_its_outputs(tmp_path, suffix):
    model = red_blue_model()
    loaded = load_model(save(model, tmp_path / f"model{suffix}"))
    images = red_blue_photo()[None].astype("float32")
    np.testing.assert_allclose(loaded(images), model(images), rtol=1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_lambda_is_refused_and_not_run(tmp_path, suffix):
    path = save(lambda_model(), tmp_path / f"model{suffix}")
    with pytest.raises(ValueError, match=r"Cannot load .*Lambda layer, and Keras would run .*safe_mode=False"):
        load_model(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_class_of_the_users_own_is_named(tmp_path, suffix):
    path = save(red_blue_model(Own()), tmp_path / f"model{suffix}")
    with pytest.raises(ValueError, match=r"it needs 'Own', a class of your own\. .*custom_objects"):
        load_model(path)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:3000])
    return path


def other_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nowhere.keras", r"There is no model file .*nowhere\.keras"),
        (lambda folder: save_text(folder / "text.keras"), r"the first bytes of '.*text\.keras' are of neither"),
        (lambda folder: save_text(folder / "text.h5"), r"the first bytes of '.*text\.h5' are of neither"),
        (lambda folder: save_text(folder / "model.pt"), r"the first bytes of '.*model\.pt' are of neither"),
        (lambda folder: cut_short(save(red_blue_model(), folder / "model.keras")), "not a .keras file, or is damaged"),
        (lambda folder: cut_short(save(red_blue_model(), folder / "model.h5")), "not an HDF5 file, or is damaged"),
        (lambda folder: other_zip(folder / "other.keras"), r"Cannot load .*other\.keras'"),
        (
            lambda folder: weights_of(folder),
            r"holds weights, not a model: .* build the network of the training, call its load_w",
        ),
        (lambda folder: folder, r"but .* is a folder\. Save the model by model\.save"),
        (
            lambda folder: exported(folder / "saved"),
            r"a SavedModel that cannot be explained as it is: it holds operations, not layers",
        ),
    ],
)
def test_what_is_no_model_is_refused_in_words(tmp_path, make, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_model(make(tmp_path))


def save_text(path):
    path.write_text("no model")
    return path


def weights_of(folder):
    red_blue_model().save_weights(folder / "red_blue.weights.h5")
    return folder / "red_blue.weights.h5"


def exported(folder):
    red_blue_model().export(folder, verbose=False)
    return folder


@pytest.mark.parametrize("name", ["red_blue.weights.h5", "red_blue.keras", "red_blue.h5"])
def test_weights_are_filled_in(tmp_path, name):
    model, blank = red_blue_model(), red_blue_model()
    blank.get_layer("hue").set_weights([np.zeros((1, 1, 3, 2)), np.zeros(2)])
    (model.save_weights if "weights" in name else model.save)(tmp_path / name)
    load_weights_file(blank, tmp_path / name)
    np.testing.assert_array_equal(blank.get_layer("hue").kernel, model.get_layer("hue").kernel)


def test_weights_of_another_shape_name_the_layer_and_the_remedy(tmp_path):
    narrow = keras.Sequential([keras.Input((6, 10, 3)), L.Conv2D(2, 3, name="hue")])
    wide = keras.Sequential([keras.Input((6, 10, 3)), L.Conv2D(4, 3, name="hue")])
    narrow.save_weights(tmp_path / "narrow.weights.h5")
    with pytest.raises(
        ValueError, match=r"layer 'hue' has the shape \(3, 3, 3, 4\), the file \(3, 3, 3, 2\)\..*Build it with them"
    ):
        load_weights_file(wide, tmp_path / "narrow.weights.h5")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nowhere.weights.h5", "There is no file of weights"),
        (lambda folder: save_text(folder / "model.pt"), r"Expected a file of weights of Keras .* are of neither"),
        (lambda folder: save_text(folder / "text.weights.h5"), r"Expected a file of weights .* are of neither"),
    ],
)
def test_what_is_no_file_of_weights_is_refused_in_words(tmp_path, make, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_weights_file(red_blue_model(), make(tmp_path))


def test_lambda_with_a_registered_function_is_no_code(tmp_path):
    """Its file holds a name; h5 files of older Keras hold a list of marshalled code instead."""
    path = save(lambda_model(), tmp_path / "model.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = '{"class_name": "Sequential", "config": {"layers": []}, "function": "relu"}'
    with pytest.raises(ValueError, match=r"^(?!.*Lambda)"):
        load_model(path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = '{"class_name": "Lambda", "config": {"function": ["4wEAAA==", null, null]}}'
    with pytest.raises(ValueError, match="Lambda layer, and Keras would run"):
        load_model(path)


@pytest.mark.parametrize("name", ["m1.kers", "m1.kera", "M1.KERSA", "m1.h", "m1.hdf"])
def test_misspelt_file_is_not_taken_for_a_network(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"'{name}' looks like a model file\. There is no .* Check the path"):
        load_network(name)


@pytest.mark.parametrize("name", ["m1.kers", "runs/m1.kers", "runs/m2.keras"])
def test_missing_file_names_the_nearest(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for folder in (tmp_path, tmp_path / "runs"):
        (folder / "m1.keras").touch()
        (folder / "notes.txt").touch()
    near = name.replace("m1.kers", "m1.keras").replace("m2", "m1")
    with pytest.raises(FileNotFoundError, match=rf"There is no model file '{name}'\. Did you mean '{near}'\?"):
        load_network(name)


def test_name_of_a_network_is_no_misspelt_file():
    with pytest.raises(ValueError, match=r"Unknown model 'VGG17'\. Did you mean 'VGG1"):
        load_network("VGG17")


def test_name_and_file_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved").mkdir()
    assert not is_model_file("VGG16")
    for name in ("model.keras", "MODEL.H5", "folder/model", "saved"):
        assert is_model_file(name)


def test_network_of_a_name_takes_arguments_and_a_file_of_weights(tmp_path):
    arguments = ["alpha=0.25", "input_shape=(32, 32, 3)", "classes=3"]
    network = load_network("mobilenet", "none", arguments)
    network.save_weights(tmp_path / "narrow.weights.h5")
    again = load_network("MobileNet", str(tmp_path / "narrow.weights.h5"), arguments)
    for kernel, expected in zip(again.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(kernel, expected)
    with pytest.raises(ValueError, match=r"do not fit .*Build it with them"):
        load_network("MobileNet", str(tmp_path / "narrow.weights.h5"))


@pytest.mark.parametrize("options", [("imagenet", []), ("none", []), (None, ["alpha=1"])])
def test_network_of_a_file_refuses_what_only_a_name_takes(tmp_path, options):
    path = save(red_blue_model(), tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"is a file with its own arguments and weights"):
        load_network(str(path), *options)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_loss_of_the_users_own_is_not_needed(tmp_path, suffix):
    """A model is loaded to be explained, not trained: what it was compiled with may be unknown."""

    def loss_of_my_own(truth, outputs):
        return keras.ops.mean(outputs - truth)

    model = red_blue_model()
    model.compile("adam", loss_of_my_own)
    save(model, tmp_path / f"compiled{suffix}")
    loaded = load_model(tmp_path / f"compiled{suffix}")
    photo = red_blue_photo()[None].astype("float32")
    np.testing.assert_array_equal(loaded(photo), model(photo))
    assert not loaded.compiled
