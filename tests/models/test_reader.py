"""A model is read once, whoever asks: readings of the graph and of the preprocessing are counted."""

from __future__ import annotations

import copy
import gc
import warnings
import weakref
from collections import Counter
from typing import Any

import keras
import numpy as np
import pytest

import tf_gradcam
from tests.helpers.redblue import red_blue_model, write_photo
from tf_gradcam import Explainer
from tf_gradcam._app.model import AppModel
from tf_gradcam._models import reader as reading
from tf_gradcam._models.graph import Graph
from tf_gradcam._models.reader import ModelReader, reader_of


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts of the readings of graph and preprocessing."""
    count: Counter[str] = Counter()
    read_graph, read_preprocessing = Graph.__init__, reading.measure_preprocessing

    def counted_graph(self: Graph, model: keras.Model) -> None:
        count["graph"] += 1
        read_graph(self, model)

    def counted_preprocessing(*arguments: Any) -> Any:
        count["preprocessing"] += 1
        return read_preprocessing(*arguments)

    monkeypatch.setattr(Graph, "__init__", counted_graph)
    monkeypatch.setattr(reading, "measure_preprocessing", counted_preprocessing)
    return count


ONCE = {"graph": 1, "preprocessing": 1}


@pytest.mark.parametrize(
    "options",
    [{}, {"method": "fullgrad"}, {"layer": ["scale", "hue"]}, {"method": "scorecam"}, {"align": "measured"}],
    ids=str,
)
def test_explainer_reads_its_model_once(readings: Counter[str], options: dict[str, Any]) -> None:
    Explainer(red_blue_model(), **options)
    assert readings == ONCE


def test_explain_reads_the_model_once(readings: Counter[str], tmp_path: Any) -> None:
    tf_gradcam.explain(write_photo(tmp_path), red_blue_model())
    assert readings == ONCE


def test_page_reads_its_model_once_for_all_explainers(readings: Counter[str]) -> None:
    model = AppModel(red_blue_model(), ["red", "blue"])
    model.explainer("scale", "layercam")
    model.explainer("hue", "fullgrad")
    renamed = model.changed(["r", "b"])
    renamed.explainer("hue", "gradcam")
    model.close()
    assert readings == ONCE


def test_layers_with_offsets_read_the_model_once(readings: Counter[str]) -> None:
    tf_gradcam.list_layers(red_blue_model(), offsets=True)
    assert readings == ONCE


def test_comparison_of_methods_reads_the_model_once(readings: Counter[str]) -> None:
    tf_gradcam.compare(red_blue_model(), keras.ops.zeros((6, 10, 3)).numpy() + 9.0, ["gradcam", "layercam", "fullgrad"])
    assert readings == ONCE


def test_split_leaves_the_preprocessing_unread(readings: Counter[str]) -> None:
    """It runs layers of the user's own, which nobody asked for here."""
    tf_gradcam.split_model(red_blue_model())
    assert readings == {"graph": 1}


def test_reader_of_a_reader_is_itself() -> None:
    reader = ModelReader(red_blue_model())
    assert reader_of(reader) is reader


def test_reader_of_a_graph_lets_the_model_go_and_still_reads_the_scaling() -> None:
    model = red_blue_model()
    reader, alive = ModelReader(model), weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None
    assert reader.preprocessing.mode == "raw"
    assert Explainer(reader, method="fullgrad").layer_name == "all layers"


# The range of the images, where the scaling is assumed or said.


def backbone() -> keras.Model:
    """The names and kernels that VGG16 begins with."""
    names = {"block1_conv1": 64, "block1_conv2": 64, "block2_conv1": 128}
    layers = [keras.layers.Conv2D(filters, 3, name=name) for name, filters in names.items()]
    head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    return keras.Sequential([keras.Input((12, 10, 3)), *layers, *head])


def range_notes(model: keras.Model, images: Any, **options: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            Explainer(model, **options)(images)
    return [str(warning.message) for warning in caught if "range from" in str(warning.message)]


IMAGES = np.random.default_rng(0).uniform(0, 1, (1, 12, 10, 3)).astype("float32")


def test_images_against_an_assumption_are_warned_of_once_for_a_model() -> None:
    (note,) = range_notes(backbone(), IMAGES)
    assert "but the backbone of this model (keras.applications.vgg16) was trained on BGR in 0..255" in note
    assert "If you trained on pictures / 255, pass Explainer(scaling='unit'); otherwise: Pass RGB" in note


def test_remedy_of_the_warning_switches_it_off() -> None:
    assert range_notes(backbone(), IMAGES, scaling="unit") == []
    assert range_notes(backbone(), IMAGES * 7 - 3, scaling="unknown") == []


def test_images_against_what_the_user_said_are_warned_of_once() -> None:
    (note,) = range_notes(backbone(), IMAGES * 255, scaling="unit")
    assert "expects RGB in [0, 1]" in note


def test_unknown_scaling_is_named() -> None:
    with pytest.raises(ValueError, match=r"Unknown preprocessing mode 'units'\. Did you mean 'unit'"):
        Explainer(backbone(), scaling="units")


def test_copy_of_an_explainer_keeps_the_scaling() -> None:
    copied = copy.deepcopy(Explainer(backbone(), scaling="unit"))
    assert (copied._reader.preprocessing.mode, copied._reader.preprocessing.source) == ("unit", "given")
