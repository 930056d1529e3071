"""The entries of the page's controls, and the refusal of values that they do not offer."""

from __future__ import annotations

from html import unescape

import keras
import pytest

from tests.helpers.app_sessions import new_events
from tests.helpers.redblue import red_blue_model
from tf_gradcam._app.controls import layer_choices, look_of
from tf_gradcam._app.events import FIRST
from tf_gradcam._app.model import AppModel

L = keras.layers


def last(values):
    *_, final = values
    return final


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (("gone", "gradcam", -1, -1, "raw"), "Expected a layer from the list, received 'gone'. Choose it again."),
        (("hue", "gradkam", -1, -1, "raw"), "Did you mean 'gradcam'"),
        (("hue", "gradcam", 2, -1, "raw"), "Expected a class from the list, received 2. Choose it again."),
        (("hue", "gradcam", -1, 2, "raw"), "Expected a class from the list, received 2. Choose it again."),
        (("hue", "gradcam", -1, -1, "cooked"), "Expected pixel values from the list, received 'cooked'."),
    ],
)
def test_choice_that_the_lists_do_not_offer_is_refused(sessions, session, question, message):
    events = new_events(sessions)
    assert message in unescape(last(events.explain(session.token, *question))[0])
    assert "Ready" in last(events.explain(session.token, "hue", "gradcam", 1, 0, "raw"))[0]


def test_unknown_method_and_colours_are_refused(sessions, session):
    with pytest.raises(ValueError, match="gradcam"):
        new_events(sessions).describe(session.token, "gradkam")
    with pytest.raises(ValueError, match="viridis"):
        look_of(0.4, 0, "viridiss")


@pytest.mark.filterwarnings("ignore:The weights are random:tf_gradcam._errors.ModelWarning")
def test_network_is_loaded_by_its_name_and_the_first_model_comes_back(sessions, session):
    events = new_events(sessions)
    headline, layer, target, *_ = events.load_network(session.token, "MobileNet", "none")
    assert "Model: MobileNet, 1000 classes, images of 224 x 224" in headline
    assert "The weights are random, and so are the heatmaps." in headline
    assert layer["value"] == "conv_pw_13_relu"
    assert len(target["choices"]) == 1001
    headline, layer, *_ = events.load_network(session.token, FIRST, "none")
    assert "Model: red_blue.keras, 2 classes" in headline
    assert layer["value"] == "hue"
    assert session.model is sessions.model


@pytest.mark.parametrize(("name", "weights"), [("red_blue.keras", "none"), ("MobileNet", "red_blue.keras")])
def test_file_of_this_machine_is_not_loaded_as_a_network(sessions, session, tmp_path, monkeypatch, name, weights):
    red_blue_model().save(tmp_path / "red_blue.keras")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="Expected a network and its weights from the lists, received"):
        session.load_network(name, weights)


def test_weights_that_cannot_be_downloaded_are_told_and_the_model_before_stays(
    sessions, session, monkeypatch, tmp_path
):
    def unreachable(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", unreachable)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    events = new_events(sessions)
    assert "red_blue.keras" in events.load_network(session.token, "MobileNet", "imagenet")[0]
    status = unescape(last(events.again(session.token, "hue", "gradcam", -1, -1, "raw"))[0])
    assert "The ImageNet weights of MobileNet could not be downloaded" in status
    assert status.endswith("Choose the weights 'none', or upload a model file.</p>")


def test_layers_are_grouped_by_block_with_cells_and_stride():
    inner = keras.Sequential([L.Input((3, 5, 2)), L.Conv2D(2, 1, name="squeeze"), L.ReLU(name="relu")], name="head")
    layers = [
        L.Conv2D(2, 3, padding="same", name="stem"),
        L.Conv2D(2, 3, padding="same", name="block_1_conv"),
        L.ReLU(name="block_1_relu"),
        L.Conv2D(2, 3, strides=(2, 2), padding="same", name="block_2_conv"),
        inner,
        L.GlobalAveragePooling2D(name="pool"),
        L.Dense(2, activation="softmax", name="scores"),
    ]
    model = AppModel(keras.Sequential([L.Input((6, 10, 3)), *layers]))
    whole, half = "6 x 10 cells, stride 1", "3 x 5 cells, stride 2"
    assert layer_choices(model) == [
        ("stem", "stem", "", whole, True),
        ("block_1_conv", "block_1_conv", "block_1", whole, True),
        ("block_1_relu", "block_1_relu", "block_1", whole, True),
        ("block_2_conv", "block_2_conv", "", half, True),
        ("head/squeeze", "head/squeeze", "head", half, True),
        ("head/relu (default)", "head/relu", "head", half, True),
        ("pool", "pool", "", "its output (B, 2) has no spatial extent", False),
        ("scores", "scores", "", "its output (B, 2) has no spatial extent", False),
    ]
    model.close()


def test_clicked_map_of_a_layer_chooses_the_layer_and_opens_explore(sessions, session):
    events = new_events(sessions)
    events.select("layers", session.token)
    last(events.layers(session.token, ["scale"], "hue", "gradcam", -1, -1, "raw"))
    assert 'data-pick="layer scale" aria-label="Explain the layer scale"' in events.select("layers", session.token)[0]
    *others, layer, tabs = events.pick(session.token, {"pick": "layer scale"}, -1)
    assert all("value" not in each for each in others)
    assert (layer["value"], tabs["selected"], session.tab) == ("scale", "explore", "explore")
    with pytest.raises(ValueError, match="Expected a click on a picture, a box or a name"):
        events.pick(session.token, {"pick": "layer gone"}, -1)
