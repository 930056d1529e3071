"""A model is read once, whoever asks: readings of the graph and of the preprocessing are counted."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from typing import Any

import keras
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
    renamed = model.renamed(["r", "b"])
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


def test_reader_of_a_graph_lets_the_model_go_and_keeps_what_was_read() -> None:
    model = red_blue_model()
    reader, alive = ModelReader(model), weakref.ref(model)
    assert reader.preprocessing.mode == "raw"
    del model
    gc.collect()
    assert alive() is None
    assert reader.preprocessing.mode == "raw"
    assert Explainer(reader, method="fullgrad").layer_name == "all layers"
