"""Models of keras_hub: the default layer, maps against gradients composed by hand, tasks with a preprocessor."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.contracts.pages import TEXTS
from tests.zoo.keras_hub import CASES, SHAPE, TARGET, classifier_with_preprocessor, table
from tf_gradcam import AttentionExplainer, Explainer, list_layers
from tf_gradcam._models.preprocessing import ImageRangeWarning
from tf_gradcam._models.reader import ModelReader

# keras_hub's Swin computes a mask of its windows with keras.ops, and Keras notes that the layer does not say so.
pytestmark = pytest.mark.filterwarnings("ignore:Layer 'attn' .of type WindowAttention.:UserWarning")


every_case = pytest.mark.parametrize("name", CASES)


@cache
def explainer_of(name: str) -> Explainer:
    return Explainer(CASES[name].build()[0])


@every_case
def test_default_layer_has_the_grid_of_the_patches(name: str) -> None:
    explainer, case = explainer_of(name), CASES[name]
    assert explainer.layer_name == case.layer
    explanation = explainer(case.images(), TARGET)
    assert explanation.heatmaps.shape == (2, *case.grid)
    assert explanation.image_size == case.shape[:2]


@every_case
def test_map_equals_a_gradient_composed_by_hand(name: str) -> None:
    case = CASES[name]
    raw = case.build()[1](case.images())
    largest = np.abs(raw).max()
    assert largest > 1e-6
    np.testing.assert_allclose(explainer_of(name)(case.images(), TARGET).raw / largest, raw / largest, atol=1e-5)


@every_case
def test_list_layers_marks_the_default(name: str) -> None:
    (row,) = [row for row in list_layers(CASES[name].build()[0]) if row.default]
    assert (row.path, row.explainable, row.reason) == (CASES[name].layer, True, "")


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.attention])
def test_attention_is_refused_in_words(name: str) -> None:
    with pytest.raises(ValueError, match=CASES[name].attention):
        AttentionExplainer(CASES[name].build()[0])


@pytest.mark.parametrize("method", ["hirescam", "ablationcam"])
def test_other_methods_look_inside_the_encoder(method: str) -> None:
    case = CASES["vit_class_token"]
    raw = Explainer(case.build()[0], method=method)(case.images()).raw
    assert raw.shape == (2, 4, 6)
    assert np.abs(raw).max() > 0


# Tasks: a preprocessor belongs to `predict` and `fit`, a call takes what it makes of photos.

DEVIATION, MEAN = np.array([0.229, 0.224, 0.225]), np.array([0.485, 0.456, 0.406])
SCALINGS = {
    "torch": {"scale": (1 / 255 / DEVIATION).tolist(), "offset": (-MEAN / DEVIATION).tolist()},
    "tf": {"scale": 1 / 127.5, "offset": -1.0},
    "unit": {"scale": 1 / 255},
    "raw": {},
    "preprocessor": {"scale": 1 / 200},
}


@pytest.mark.parametrize("mode", SCALINGS)
def test_preprocessing_is_read_from_the_preprocessor(mode: str) -> None:
    assert ModelReader(classifier_with_preprocessor(**SCALINGS[mode])).preprocessing.mode == mode


def test_task_is_explained_on_what_its_preprocessor_makes() -> None:
    model = classifier_with_preprocessor(**SCALINGS["torch"])
    photos = np.random.default_rng(2).integers(0, 256, (2, *SHAPE)).astype(np.float32)
    explainer = Explainer(model)
    explanation = explainer(ModelReader(model).preprocessing(photos), TARGET)
    np.testing.assert_allclose(explanation.probabilities, model.predict(photos, verbose=0), atol=1e-5)
    with pytest.warns(ImageRangeWarning, match=r"range from 0 to 255, but this model expects"):
        explainer(photos, TARGET)


def test_names_of_keras_applications_do_not_speak_for_keras_hub() -> None:
    """A VGG16 of keras.applications wants "caffe", that of keras_hub what its preprocessor says."""
    model = classifier_with_preprocessor()
    model.preprocessor = None
    assert ModelReader(model).preprocessing.mode == "unknown"
    assert ModelReader(model.backbone).preprocessing.mode == "unknown"


def test_table_of_the_manual_is_current() -> None:
    assert table() in TEXTS["docs/keras-hub.md"], "run: python -m tests.zoo.keras_hub"
