"""Models of several outputs: which one is explained, how it is named, and how another one is chosen."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from tests.zoo.styles import photos, randomise
from tf_gradcam import AttentionExplainer, Explainer, list_layers, split_model
from tf_gradcam._errors import ModelWarning
from tf_gradcam._models.reader import ModelReader
from tf_gradcam.targets import OutputOf, Value

IMAGES = photos(2)[:, :6, :10]


def two_outputs(structure: Callable[[Any, Any], Any]) -> keras.Model:
    """Two branches with a convolution of their own: `breed` has three classes, `age` is a value."""
    images = keras.Input((6, 10, 3))
    shared = layers.Conv2D(4, 3, activation="relu", name="shared")(images)
    parts = []
    for name, units, activation in (("breed", 3, "softmax"), ("age", 1, None)):
        own = layers.Conv2D(4, 1, activation="relu", name=f"{name}_cells")(shared)
        parts.append(layers.Dense(units, activation=activation, name=name)(layers.GlobalAveragePooling2D()(own)))
    model = keras.Model(images, structure(*parts))
    randomise(model)
    return model


def of_one(model: keras.Model, name: str) -> keras.Model:
    return keras.Model(model.inputs, model.get_layer(name).output)


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.pool = layers.Conv2D(4, 3, name="cells"), layers.GlobalAveragePooling2D()
        self.breed, self.age = layers.Dense(3, name="breed"), layers.Dense(1, name="age")

    def call(self, images: Any) -> dict[str, Any]:
        pooled = self.pool(self.cells(images))
        return {"breed": self.breed(pooled), "age": self.age(pooled)}


def test_dict_is_explained_in_the_order_of_its_author_with_a_warning() -> None:
    """In alphabetical order `age` would come first."""
    explainer = Explainer(two_outputs(lambda breed, age: {"breed": breed, "age": age}))
    with pytest.warns(ModelWarning, match=r"Of the outputs \['breed', 'age'\], 'breed' is explained\. .* output="):
        explanation = explainer(IMAGES)
    assert explanation.output_name == explainer.output_name == "breed"
    assert explanation.outputs.shape == (2, 3)
    assert "output='breed'" in repr(explanation)


def test_dict_of_a_loaded_file_keeps_the_order_of_its_author(tmp_path: Any) -> None:
    two_outputs(lambda breed, age: {"breed": breed, "age": age}).save(tmp_path / "two.keras")
    assert list(ModelReader(keras.saving.load_model(tmp_path / "two.keras")).outputs) == ["breed", "age"]


@pytest.mark.parametrize("structure", [lambda breed, age: [breed, age], lambda breed, age: (breed, age)])
def test_list_is_explained_at_its_first_output_by_the_name_of_its_layer(structure: Any) -> None:
    explanation = Explainer(two_outputs(structure))(IMAGES)
    assert (explanation.output_name, explanation.outputs.shape) == ("breed", (2, 3))


@pytest.mark.parametrize(
    "output", ["age", 1, *(pytest.param(key, marks=pytest.mark.slow) for key in ("breed", 0, "1"))]
)
@pytest.mark.parametrize("structure", [lambda *both: list(both), lambda breed, age: {"breed": breed, "age": age}])
def test_chosen_output_is_explained_as_in_a_model_of_that_output_alone(structure: Any, output: str | int) -> None:
    """Its layers, too: the default layer is the one of its own branch, and cam finds its linear tail."""
    model, name = two_outputs(structure), output if output in ("age", "breed") else ("breed", "age")[int(output)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        actual = Explainer(model, output=output)(IMAGES)
    expected = Explainer(of_one(model, str(name)))(IMAGES)
    assert (actual.layer_name, actual.labels, actual.output_name) == (f"{name}_cells", expected.labels, name)
    np.testing.assert_allclose(actual.raw, expected.raw, rtol=1e-5, atol=1e-7)
    cam = Explainer(model, method="cam", output=output)(IMAGES)
    np.testing.assert_allclose(cam.outputs, expected.outputs, rtol=1e-5)


def test_outputs_of_a_subclassed_model() -> None:
    model = Subclassed()
    model(IMAGES)
    explainer = Explainer(model, output="age")
    assert explainer(IMAGES).labels == ["value", "value"]
    np.testing.assert_allclose(explainer(IMAGES).outputs, model(IMAGES)["age"], rtol=1e-5)
    np.testing.assert_allclose(explainer(IMAGES).raw, Explainer(model)(IMAGES, OutputOf("age", Value())).raw, rtol=1e-5)
    with pytest.warns(ModelWarning, match="'breed' is explained"):
        assert Explainer(model)(IMAGES).outputs.shape == (2, 3)


def test_callable_target_chooses_for_itself_and_names_its_output() -> None:
    model = two_outputs(lambda breed, age: {"breed": breed, "age": age})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Explainer(model, "shared")(IMAGES, OutputOf("age", Value())).output_name == "age"
        assert Explainer(model, "shared")(IMAGES, lambda outputs: outputs["age"][:, 0]).output_name is None


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("aeg", r"Unknown output 'aeg'\. Did you mean 'age'\?"),
        (2, "Unknown output '2'. Known: 'breed', 'age'"),
        (-1, "Unknown"),
        (True, "Unknown output 'True'"),
    ],
)
def test_unknown_output_is_refused(output: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Explainer(two_outputs(lambda *both: list(both)), output=output)


def test_output_of_a_model_of_one_is_refused() -> None:
    model = of_one(two_outputs(lambda *both: list(both)), "age")
    with pytest.raises(ValueError, match=r"several outputs for output='age', received one\. Leave it out"):
        Explainer(model, output="age")
    assert Explainer(model)(IMAGES).output_name is None


def test_maps_of_classes_and_fused_layers_are_of_the_chosen_output() -> None:
    model = two_outputs(lambda breed, age: {"age": age, "breed": breed})
    maps = Explainer(model, output="breed").class_maps(IMAGES)
    assert (maps.heatmaps.shape[:2], maps.of_class(0).output_name) == ((2, 3), "breed")
    fused = Explainer(model, ["shared", "breed_cells"], output="breed")(IMAGES)
    assert (fused.output_name, fused.outputs.shape) == ("breed", (2, 3))


def test_reader_is_shared_and_not_changed_by_a_choice() -> None:
    reader = ModelReader(two_outputs(lambda *both: list(both)))
    assert Explainer(reader, output="age").output_name == "age"
    assert reader.output_name == "breed"
    assert split_model(reader).layer_name == "breed_cells"
    assert [row.path for row in list_layers(two_outputs(lambda *both: list(both))) if row.default] == ["breed_cells"]


def test_attention_is_of_the_first_output_in_the_order_of_the_author() -> None:
    images = keras.Input((4, 4, 3))
    tokens = layers.Reshape((4, 4))(layers.Conv2D(4, 2, strides=2)(images))
    pooled = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(1, 4)(tokens, tokens))
    model = keras.Model(images, {"z": layers.Dense(2)(pooled), "a": layers.Dense(3)(pooled)})
    assert AttentionExplainer(model)(IMAGES[:, :4, :4]).outputs.shape == (2, 2)


def test_first_output_that_is_a_segmentation_is_explained_as_one() -> None:
    images = keras.Input((6, 10, 3))
    first = layers.Conv2D(4, 3, activation="relu", name="first")(images)
    cells = layers.Conv2D(4, 1, name="cells")(first)
    label = layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1, name="later")(first)))
    model = keras.Model(images, [cells, label])
    explainer = Explainer(model, "first")
    assert (explainer.task.name, explainer.output_name) == ("segmentation", "cells")
    for target in (None, 2):
        alone = Explainer(model, "first", output=0)(IMAGES, target)
        np.testing.assert_allclose(explainer(IMAGES, target).raw, alone.raw, rtol=1e-5, atol=1e-7)
    assert Explainer(model, output=1)(IMAGES).outputs.shape == (2, 3)
