"""The one recipe that opens a model: network, names and preprocessing."""

import json
import warnings
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image

from tests.helpers.data import ROOT, needs
from tests.helpers.redblue import red_blue_model
from tf_gradcam import describe, explain
from tf_gradcam._errors import ModelWarning, for_command_line
from tf_gradcam._models.open_model import check_scaling, open_model, usual_weights
from tf_gradcam._models.preprocessing import MODES, Preprocessing

L = keras.layers


@pytest.fixture(scope="module")
def model():
    return red_blue_model()


@pytest.fixture
def carrying(tmp_path):
    """Writes a model, with names of its classes, into a file."""

    def write(model, names):
        path = tmp_path / "model.keras"
        model.save(path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("class_names.json", json.dumps(names))
        return str(path)

    return write


@pytest.mark.parametrize("mode", MODES)
def test_mode_that_is_asked_for_is_taken(model, mode):
    assert open_model(model, preprocess=mode).preprocessing == Preprocessing(None, mode)


def test_none_is_raw(model):
    assert open_model(model, preprocess="none").preprocessing == Preprocessing(None, "raw")


def test_family_stays_known_whatever_mode_is_asked_for():
    """It decides the size of the images where the model leaves that free."""
    network = keras.applications.MobileNet(weights=None, alpha=0.25, input_shape=(32, 32, 3))
    assert open_model(network, preprocess="raw").preprocessing == Preprocessing("mobilenet", "raw")


def test_unknown_mode_names_the_nearest(model):
    with pytest.raises(ValueError, match=r"Unknown preprocessing mode 'touch'\. Did you mean 'torch'"):
        open_model(model, preprocess="touch")


def test_model_says_what_it_wants(model):
    opened = open_model(model)
    assert (opened.model, opened.reader.name) == (model, "red_blue")
    assert opened.preprocessing == Preprocessing(None, "raw")


@pytest.fixture(scope="module")
def silent():
    return keras.Sequential([keras.Input((6, 10, 3)), L.Conv2D(2, 3), L.Flatten()], name="silent")


def test_model_that_says_nothing_gets_raw_images_and_a_warning_for_both_doors(silent):
    with pytest.warns(
        ModelWarning, match=r"The input scaling of silent is unknown: .* Choose another scaling by preprocess=\.$"
    ) as caught:
        assert check_scaling(open_model(silent), []).preprocessing == Preprocessing(None, "raw")
    assert for_command_line(caught[0].message).endswith("Choose another scaling by --preprocess.")


def test_model_that_says_nothing_is_left_unknown_where_that_is_asked_for(silent):
    assert open_model(silent, preprocess=None).preprocessing.mode == "unknown"


def test_names_are_read_from_a_file(tmp_path, model):
    (tmp_path / "names.txt").write_text("red\nblue\n")
    assert open_model(model, class_names=tmp_path / "names.txt").class_names == ["red", "blue"]
    assert open_model(model).class_names is None


def test_names_that_are_given_are_kept_as_they_are(model):
    assert open_model(model, class_names={1: "blue"}).class_names == {1: "blue"}


def test_file_has_its_own_weights_and_a_name_those_of_imagenet():
    assert usual_weights("model.keras") is None
    assert usual_weights("VGG16") == "imagenet"


@pytest.fixture
def named_network(monkeypatch):
    """Opens a network by name, which is a tiny one of 1000 or two classes; its weights are not looked at."""

    def open_named(classes=1000, **options):
        layers = [keras.Input((6, 10, 3)), L.Rescaling(1 / 255), L.Conv2D(2, 1), L.Flatten()]
        network = keras.Sequential([*layers, L.Dense(classes, kernel_initializer="zeros")])
        monkeypatch.setattr("tf_gradcam._models.open_model.load_network", lambda *arguments: network)
        return open_model("VGG16", **options)

    return open_named


def decoded(ranks, top):
    """As keras' `decode_predictions`, for classes "c0", "c1", ..."""
    return [[(f"n{index}", f"c{index}", 0.0) for index in np.argsort(-ranks[0], kind="stable")]]


def test_names_that_are_given_come_before_those_of_imagenet(named_network):
    assert named_network(class_names=["a"]).class_names == ["a"]


def test_names_are_those_of_imagenet_for_its_weights(named_network, monkeypatch):
    monkeypatch.setattr(keras.applications.imagenet_utils, "decode_predictions", decoded)
    assert named_network().class_names == [f"c{index}" for index in range(1000)]


@pytest.mark.parametrize("options", [{"weights": "own.weights.h5"}, {"classes": 2}])
def test_names_are_those_of_imagenet_for_its_weights_and_classes_alone(named_network, options):
    assert named_network(**options).class_names is None


def test_random_weights_are_warned_about(named_network):
    with pytest.warns(ModelWarning, match="The weights are random, and so are the heatmaps"):
        assert named_network(weights="none").class_names is None


def test_names_inside_the_models_file_are_taken_where_none_are_given(carrying, model):
    path = carrying(model, ["red", "blue"])
    assert open_model(path).class_names == ["red", "blue"]
    assert open_model(path, class_names=["r", "b"]).class_names == ["r", "b"]


def test_names_inside_of_another_count_are_refused_with_a_remedy_for_both_doors(carrying, model):
    match = r"Expected 2 class names in '.*', one per class, received 3\..*or pass them as class_names=\.$"
    with pytest.raises(ValueError, match=match) as caught:
        open_model(carrying(model, ["red", "green", "blue"]))
    assert for_command_line(caught.value).endswith("--class-names FILE`, or give them by --class-names.")


def test_one_unit_may_have_two_names_inside(carrying):
    unit = keras.Sequential(
        [keras.Input((6, 10, 3)), L.Rescaling(1 / 255), L.Conv2D(1, 1), L.Flatten(), L.Dense(1, activation="sigmoid")]
    )
    assert open_model(carrying(unit, ["healthy", "ill"])).class_names == ["healthy", "ill"]


def test_names_of_imagenet_out_of_reach_leave_numbers_and_a_warning_for_both_doors(monkeypatch, named_network):
    def fail(*args, **kwargs):
        raise Exception("URL fetch failure on https://example.org")  # as keras does

    monkeypatch.setattr(keras.src.applications.imagenet_utils, "CLASS_INDEX", None)
    monkeypatch.setattr(keras.src.utils.file_utils, "get_file", fail)
    with pytest.warns(ModelWarning, match=r"^Classes are shown by their numbers\. ImageNet's class names") as caught:
        assert named_network().class_names is None
    assert str(caught[0].message).endswith("Pass names as class_names=.")
    assert for_command_line(caught[0].message).endswith("Give a file of names by --class-names.")


@pytest.mark.parametrize("options", [{"weights": "imagenet"}, {"arguments": ["alpha=0.25"]}])
def test_model_in_memory_has_its_own_weights(model, options):
    with pytest.raises(ValueError, match="Expected no weights with a Keras model, which has its own"):
        open_model(model, **options)


def test_warning_points_at_the_callers_line(silent):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_scaling(open_model(silent), [])
    assert [warning.filename for warning in caught] == [__file__]


# Scaling, compared with pictures.


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eight pictures of noise, brighter from one to the next."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(rng.integers(0, 256, (6, 10, 3)).astype(np.uint8)).save(folder / f"{number}.png")
    return sorted(folder.glob("*.png"))


def remembering(mode, *first):
    """A network whose batch normalisation has the statistics of noise in a scaling, behind the layers `first`."""
    inputs = keras.Input((6, 10, 3))
    seen = L.Conv2D(8, 1)(keras.Sequential(first)(inputs) if first else inputs)
    norm = L.BatchNormalization()
    outputs = L.Dense(2)(L.GlobalAveragePooling2D()(L.ReLU()(norm(seen))))
    noise = Preprocessing(None, mode)(np.random.default_rng(1).integers(0, 256, (64, 6, 10, 3)))
    values = np.asarray(keras.Model(inputs, seen)(noise)).reshape(-1, 8)
    norm.set_weights([np.ones(8), np.zeros(8), values.mean(0), values.var(0)])
    return keras.Model(inputs, outputs, name="remembering")


def warned(opened, files):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return check_scaling(opened, files), [warning.message for warning in caught]


def test_scaling_that_the_pictures_support_is_not_warned_of(photos):
    settled, notes = warned(open_model(remembering("raw", L.Rescaling(1 / 255))), photos)
    assert (settled.preprocessing.mode, notes) == ("raw", [])


def test_scaling_that_loses_clearly_is_warned_of_once_and_kept(photos):
    """The model divides by 255 itself, and was trained on pictures / 255: scaled twice."""
    settled, (note,) = warned(open_model(remembering("unit", L.Rescaling(1 / 255))), photos)
    assert settled.preprocessing.mode == "raw"
    assert str(note).startswith(
        "8 pictures fit the scaling unit clearly better than raw, by batch normalisation (lower is b"
    )
    assert str(note).endswith("If the model was trained on unit, pass preprocess='unit'.")
    assert for_command_line(note).endswith("use --preprocess unit.")


def test_unknown_scaling_is_the_one_that_pictures_show_clearly_and_said(photos):
    settled, (note,) = warned(open_model(remembering("unit")), photos)
    assert (settled.preprocessing.mode, settled.preprocessing.source) == ("unit", "detected")
    assert "scaling of remembering is unknown: it receives RGB in [0, 1], detected from 8 pictures: unit is" in str(
        note
    )
    assert str(note).endswith("Choose another scaling by preprocess=.")


@pytest.mark.parametrize("bits", [8, 16])
def test_scaling_to_16_bits_is_tried_with_files_of_16_bits(tmp_path, bits):
    """Sure of dark and of bright pictures in 0..65535, and blind to values a hundredth of that."""
    pixels = keras.Input((6, 10, 1))
    classes = keras.layers.Dense(2, activation="softmax")
    model = keras.Model(
        pixels, classes(keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 65535)(pixels)))
    )
    classes.set_weights([np.array([[-80.0, 80.0]]), np.array([40.0, -40.0])])
    files = []
    for number, level in enumerate((20, 230, 40, 210)):
        values = np.full((6, 10), level, np.uint8) if bits == 8 else np.full((6, 10), level * 257, np.uint16)
        values[0, 0] = np.iinfo(values.dtype).max  # without it a dark picture of 16 bits is stretched
        Image.fromarray(values).save(tmp_path / f"{number}.png")
        files.append(tmp_path / f"{number}.png")
    opened, messages = warned(open_model(model), files)
    assert (opened.preprocessing.mode, opened.preprocessing.source) == (
        ("raw16", "detected") if bits == 16 else ("raw", "unknown")
    )
    assert "is unknown: it receives RGB in 0..65535" in str(messages[0]) or bits == 8


@pytest.mark.parametrize("names", [None, ["dark", "bright"]])
def test_evidence_that_supposes_several_classes_says_so_where_they_are_not_known(tmp_path, names):
    """Sure of dark and of bright pictures in [-1, 1]; in 0..255, which its own layer asks for, all are bright."""
    model = keras.Sequential([keras.Input((6, 10, 3)), L.GlobalAveragePooling2D(), L.Dense(2, "softmax")])
    model.layers[-1].set_weights([np.tile([-20.0, 20.0], (3, 1)), np.zeros(2)])
    files = []
    for name, level in (("dark", 5), ("bright", 250)):
        (tmp_path / name).mkdir()
        for number in range(4):
            files.append(tmp_path / name / f"{number}.png")
            Image.new("RGB", (10, 6), (level,) * 3).save(files[-1])
    settled, (note,) = warned(open_model(model, class_names=names), files)
    assert settled.preprocessing.mode == "tf"
    assert ("8 pictures (if they are of several classes): tf is " in str(note)) == (names is None)


@pytest.mark.parametrize(
    ("count", "verdict"), [(1, "1 picture cannot tell"), (8, "8 pictures fit no other scaling clearly better")]
)
def test_detect_that_finds_no_better_scaling_says_whether_the_pictures_tell(photos, count, verdict):
    """A scaling inside the model, whose memory is left out with one picture: predictions of one tell nothing."""
    pixels = [keras.Input((6, 10, 3)), L.Rescaling(1 / 255)]
    dense = L.Dense(2, "softmax")
    model = remembering("raw", L.Rescaling(1 / 255)) if count > 1 else keras.Sequential([*pixels, L.Flatten(), dense])
    settled, notes = warned(open_model(model, preprocess="detect"), photos[:count])
    assert (settled.preprocessing.mode, notes) == ("raw", [])
    assert verdict in settled.preprocessing.statement


@pytest.mark.parametrize("mode", ["raw", "unit", "tf"])
def test_detect_finds_the_scaling_and_says_how(photos, mode):
    settled, notes = warned(open_model(remembering(mode), preprocess="detect"), photos)
    assert (settled.preprocessing.mode, notes) == (mode, [])
    assert f"{mode} (RGB in " in settled.preprocessing.statement
    assert "detected from 8 pictures: " in settled.preprocessing.statement
    assert settled.reader.preprocessing is settled.preprocessing


def test_detect_without_evidence_is_refused_with_a_remedy(silent, tmp_path):
    opened = open_model(silent, preprocess="detect")
    with pytest.raises(ValueError, match=r"scaling of silent cannot be detected from 0 pictures\. Choose one of pre"):
        check_scaling(opened, [tmp_path / "missing.png"])


def test_detect_is_refused_where_every_scaling_looks_alike(photos):
    layers = [keras.Input((6, 10, 3)), L.Conv2D(2, 1, kernel_initializer="zeros"), L.GlobalAveragePooling2D()]
    opened = open_model(keras.Sequential([*layers, L.Softmax()], name="dead"), preprocess="detect")
    with pytest.raises(ValueError, match="scaling of dead cannot be detected from 8 pictures"):
        check_scaling(opened, photos)


def test_choice_of_the_user_is_warned_of_only_where_pictures_contradict_it(photos):
    scaled = remembering("raw", L.Rescaling(1 / 255))
    settled, (note,) = warned(open_model(scaled, preprocess="unit"), photos)
    assert settled.preprocessing.mode == "unit"
    assert "8 pictures fit the scaling raw clearly better than unit" in str(note)
    twice = remembering("unit", L.Rescaling(1 / 255))
    assert warned(open_model(twice, preprocess="unit"), photos)[1] == []
    assert warned(open_model(remembering("tf"), preprocess="unit"), photos)[1] == []  # the model shows nothing


def test_scaling_in_the_file_is_not_questioned(photos, tmp_path):
    remembering("unit", L.Rescaling(1 / 255)).save(tmp_path / "model.keras")
    describe(tmp_path / "model.keras", preprocess="raw", task="classification")
    settled, notes = warned(open_model(tmp_path / "model.keras"), photos)
    assert (settled.preprocessing.source, settled.reader.task, notes) == ("file", "classification", [])


def test_pictures_that_cannot_be_read_are_left_out(photos, tmp_path):
    (tmp_path / "bad.png").write_text("not a picture")
    settled, _ = warned(open_model(remembering("unit"), preprocess="detect"), [*photos[:3], tmp_path / "bad.png"])
    assert "detected from 3 pictures" in settled.preprocessing.statement


@pytest.mark.parametrize(("names", "mode"), [(["dark", "bright"], "tf"), (["red", "green"], "raw")])
def test_names_of_folders_are_the_classes_where_all_are_known(tmp_path, names, mode):
    """The network is sure of all pictures: in [-1, 1] it is right, in 0..255 it takes dark for bright and vice versa.

    The mean value v becomes 20 v - 40 max(v - 100, 0), above 0 for bright: 19 and -19 in [-1, 1], -1000 and 100 in
    0..255. Only the names of the folders show that.
    """
    parts, classes = L.Dense(3, "relu"), L.Dense(2, "softmax")
    model = keras.Sequential([keras.Input((6, 10, 3)), L.GlobalAveragePooling2D(), parts, classes])
    parts.set_weights([np.tile([1 / 3, -1 / 3, 1 / 3], (3, 1)), np.array([0.0, 0.0, -100.0])])
    weights = np.array([20.0, -20.0, -40.0])[:, None] * [-1.0, 1.0]
    classes.set_weights([weights, np.zeros(2)])
    for name, level in (("dark", 5), ("bright", 250)):
        (tmp_path / name).mkdir()
        for number in range(8):
            Image.new("RGB", (10, 6), (level,) * 3).save(tmp_path / name / f"{number}.png")
    settled, (note,) = warned(open_model(model, class_names=names), sorted(tmp_path.glob("*/*.png")))
    assert settled.preprocessing.mode == mode
    assert ("from 16 pictures: tf is" in str(note) and "by labels" in str(note)) == (mode == "tf")


@needs("brain_mri", "vgg16_brain_mri")
@pytest.mark.soak
def test_real_vgg16_on_pictures_divided_by_255_is_found_out():
    """Eight slices, two of each class, of a network that its author trained on pictures / 255."""
    names = ["glioma", "meningioma", "notumor", "pituitary"]
    files = [path for name in names for path in sorted((ROOT / "brain_mri" / name).glob("*.jpg"))[:2]]
    path = ROOT / "vgg16_brain_mri" / "vgg16_brain_mri.keras"
    settled, (note,) = warned(open_model(path), files)
    assert (settled.preprocessing.mode, settled.preprocessing.source) == ("caffe", "assumed")
    assert "8 pictures (if they are of several classes) fit the scaling unit clearly better than caffe" in str(note)
    one_class = sorted((ROOT / "brain_mri" / "glioma").glob("*.jpg"))[:4]
    assert warned(open_model(path, class_names=names), one_class)[1] == []  # torch, by information
    for mode in ("detect", "unit"):
        found = explain(files, path, preprocess=mode, class_names=names).labels
        assert found == [file.parent.name for file in files]
    with pytest.warns(ModelWarning, match="unit clearly better than caffe"):
        assumed = explain(files, path, class_names=names).labels
    assert assumed != [file.parent.name for file in files]
