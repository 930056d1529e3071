"""The task of a model: read from its output, said by the user, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from tests.zoo.styles import randomise
from tf_gradcam import Explainer
from tf_gradcam._models.task import Task
from tf_gradcam.targets import Region

SHAPE = (8, 12, 3)
IMAGES = np.random.default_rng(0).random((3, *SHAPE), np.float32)


def ending_in(*head: Any) -> keras.Model:
    """A network of one convolution, pooled, and these layers."""
    front = [keras.Input(SHAPE), layers.Conv2D(4, 3, activation="relu", name="conv"), layers.GlobalAveragePooling2D()]
    return randomise(keras.Sequential([*front, *head]))


def nested() -> keras.Model:
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(5), layers.Activation("sigmoid"), layers.Reshape((5,))])
    return ending_in(inner)


def one_number() -> keras.Model:
    return ending_in(layers.Dense(1), layers.Reshape(()))


def dense_map(units: int, activation: str | None) -> keras.Model:
    images = keras.Input(SHAPE)
    hidden = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(images)
    return randomise(keras.Model(images, layers.Conv2D(units, 1, activation=activation)(hidden)))


def rows_of_boxes() -> keras.Model:
    images = keras.Input(SHAPE)
    hidden = layers.Conv2D(6, 3, padding="same", name="conv")(images)
    return randomise(keras.Model(images, layers.Reshape((-1, 6))(hidden)))


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D()
        self.dense = layers.Dense(3, activation="sigmoid")

    def call(self, images: Any) -> Any:
        return self.dense(self.pool(self.conv(images)))


def subclassed() -> keras.Model:
    model = Subclassed()
    model(IMAGES)
    return randomise(model)


READ: dict[str, tuple[Callable[[], keras.Model], str, str]] = {
    "softmax": (lambda: ending_in(layers.Dense(3, "softmax")), "classification", "is a softmax of 3 classes"),
    "softmax behind": (
        lambda: ending_in(layers.Dense(3), layers.Softmax()),
        "classification",
        "is a softmax of 3 classes",
    ),
    "logits": (lambda: ending_in(layers.Dense(3)), "classification", "3 outputs without an activation"),
    "sigmoids": (lambda: ending_in(layers.Dense(3, "sigmoid")), "multilabel", "is 3 sigmoid units"),
    "nested sigmoids": (nested, "multilabel", "is 5 sigmoid units"),
    "sigmoids of a subclass": (subclassed, "multilabel", "is 3 sigmoid units"),
    "one sigmoid": (
        lambda: ending_in(layers.Dense(1, "sigmoid")),
        "classification",
        "one sigmoid unit, with two sides",
    ),
    "value": (lambda: ending_in(layers.Dense(1)), "regression", "one value without a sigmoid"),
    "positive value": (lambda: ending_in(layers.Dense(1, "relu")), "regression", "one value without a sigmoid"),
    "number": (one_number, "regression", "one number"),
    "pixels": (
        lambda: dense_map(3, "softmax"),
        "segmentation",
        r"\(B, 8, 12, 3\) has a value for each class and place",
    ),
    "rows": (rows_of_boxes, "detection", r"\(B, 96, 6\) has a row for each box"),
}


@pytest.mark.parametrize("name", READ)
def test_task_is_read_from_the_output_and_says_why(name: str) -> None:
    build, task, reason = READ[name]
    found = Explainer(build(), "conv" if name == "rows" else None).task
    assert (found.name, found.is_given) == (task, False)
    assert str(found.statement).startswith(f"{task}, ")
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.reason)
    assert "task=" in str(found.statement)
    assert "--task" in found.statement.option


def test_two_names_make_one_unit_a_classifier() -> None:
    model = ending_in(layers.Dense(1))
    assert Explainer(model, class_names=["no", "yes"]).task.name == "classification"
    assert Explainer(model, class_names=["age"]).task.name == "regression"


def test_explained_one_of_several_outputs_decides() -> None:
    images = keras.Input(SHAPE)
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(images))
    outputs = {"kind": layers.Dense(3, "softmax")(pooled), "age": layers.Dense(1)(pooled)}
    model = keras.Model(images, outputs)
    assert Explainer(model, output="kind").task.name == "classification"
    assert Explainer(model, output="age").task.name == "regression"


# What is said goes first.


def test_labels_without_an_activation_have_the_probabilities_of_their_sigmoids() -> None:
    model = ending_in(layers.Dense(3))
    logits = model.predict(IMAGES, verbose=0)
    labels = Explainer(model, task="multilabel")(IMAGES)
    classes = Explainer(model, task="classification")(IMAGES)
    np.testing.assert_allclose(labels.probabilities, 1 / (1 + np.exp(-logits)), rtol=1e-4)
    np.testing.assert_allclose(classes.probabilities.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(labels.raw, classes.raw)


def test_sigmoid_that_is_a_value_is_explained_as_its_output() -> None:
    """By hand: the gradient of s(z) is s'(z) times that of z, one factor for a whole map."""
    model = ending_in(layers.Dense(1, "sigmoid"))
    value, sides = Explainer(model, task="regression")(IMAGES), Explainer(model)(IMAGES, 1)
    output = model.predict(IMAGES, verbose=0)[:, 0]
    np.testing.assert_allclose(value.scores, output, rtol=1e-5)
    np.testing.assert_allclose(value.raw, sides.raw * (output * (1 - output))[:, None, None], rtol=1e-4, atol=1e-7)
    assert value.probabilities is None
    assert value.labels == ["value"] * 3


def test_unit_of_a_value_that_is_said_to_be_a_class_has_two_sides() -> None:
    explanation = Explainer(ending_in(layers.Dense(1)), task="classification")(IMAGES)
    assert explanation.probabilities is not None
    assert explanation.probabilities.shape == (3, 2)


def test_several_values_are_numbered_and_the_first_is_explained_unless_another_is_asked_for() -> None:
    model = ending_in(layers.Dense(3))
    explainer = Explainer(model, task="regression", unit="mm")
    outputs = model.predict(IMAGES, verbose=0)
    first, last = explainer(IMAGES), explainer(IMAGES, 2)
    assert (first.labels[0], last.labels[0], first.unit) == ("value 0", "value 2", "mm")
    np.testing.assert_allclose(first.scores, outputs[:, 0], rtol=1e-5)
    np.testing.assert_allclose(last.scores, outputs[:, 2], rtol=1e-5)
    every = explainer.class_maps(IMAGES)
    np.testing.assert_allclose(every.of_class(2).raw, last.raw, rtol=1e-5)
    assert every.of_class(2).signed


def test_map_of_a_value_shows_both_what_raises_and_what_lowers_it() -> None:
    explanation = Explainer(ending_in(layers.Dense(1)))(IMAGES)
    assert explanation.signed
    assert not Explainer(ending_in(layers.Dense(3)))(IMAGES).signed
    np.testing.assert_array_equal(explanation.shown, explanation.signed_heatmaps)
    assert (
        np.sign(explanation.signed_heatmaps[np.abs(explanation.raw) > 1e-6]).tolist()
        == np.sign(explanation.raw[np.abs(explanation.raw) > 1e-6]).tolist()
    )


def test_unit_stands_behind_the_value_in_a_figure() -> None:
    explanation = Explainer(ending_in(layers.Dense(1)), unit="years")(IMAGES)
    texts = {text.get_text() for text in explanation.plot().findobj(lambda artist: hasattr(artist, "get_text"))}
    assert {f"{score:.4g} years" for score in explanation.scores} <= {text.partition(",")[0] for text in texts}


# Segmentation.


def test_segmentation_is_explained_in_the_predicted_region_of_its_largest_class() -> None:
    model = dense_map(3, "softmax")
    explainer = Explainer(model, "conv", class_names=["road", "sky", "car"])
    logits = explainer(IMAGES, Region(0)).outputs
    largest = [int(np.bincount(each.reshape(-1, 3).argmax(-1), minlength=3).argmax()) for each in logits]
    explanation = explainer(IMAGES)
    assert explanation.labels == [f"region of {['road', 'sky', 'car'][index]}" for index in largest]
    for number, index in enumerate(largest):
        own = explainer(IMAGES[number : number + 1], Region(index))
        np.testing.assert_allclose(explanation.raw[number], own.raw[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(explainer(IMAGES, "sky").raw, explainer(IMAGES, Region(1)).raw)
    np.testing.assert_array_equal(explainer(IMAGES, 2).raw, explainer(IMAGES, Region(2)).raw)


def test_segmentation_of_one_class_is_explained_where_it_is_predicted() -> None:
    explainer = Explainer(dense_map(1, "sigmoid"), "conv")
    np.testing.assert_array_equal(explainer(IMAGES).raw, explainer(IMAGES, Region(0)).raw)


def test_segmentation_takes_one_class_for_all_images() -> None:
    with pytest.raises(ValueError, match="Expected one class for all images of a segmentation model"):
        Explainer(dense_map(3, None), "conv")(IMAGES, [0, 1, 2])


# What does not fit.


@pytest.mark.parametrize(
    ("build", "task", "message"),
    [
        (lambda: ending_in(layers.Dense(3, "softmax")), "multilabel", "a unit for each label .* after a softmax"),
        (lambda: ending_in(layers.Dense(3, "softmax")), "regression", "Expected values .* after a softmax"),
        (lambda: ending_in(layers.Dense(3, "softmax")), "segmentation", "a value for each class and place"),
        (lambda: ending_in(layers.Dense(1, "relu")), "classification", "at least two classes"),
        (lambda: dense_map(3, None), "multilabel", "a unit for each label"),
        (lambda: ending_in(layers.Dense(3)), "classify", "Unknown task 'classify'. Did you mean 'classification'"),
    ],
)
def test_task_that_the_output_cannot_have_is_refused_and_the_remedy_works(
    build: Callable[[], keras.Model], task: str, message: str
) -> None:
    model = build()
    with pytest.raises(ValueError, match=message) as refused:
        Explainer(model, task=task)
    remedy = str(refused.value).partition("task='")[2].partition("'")[0]
    if remedy:
        assert Explainer(model, task=remedy).task == Task(remedy, "as you say", True)


def test_unit_is_for_values_only() -> None:
    with pytest.raises(
        ValueError, match="Expected a unit for values only, received unit='mm' for the task classification"
    ):
        Explainer(ending_in(layers.Dense(3)), unit="mm")
    assert Explainer(ending_in(layers.Dense(3)), unit="mm", task="regression").task.name == "regression"


def test_model_is_left_as_it_was() -> None:
    model = nested()
    before, config = [np.array(weights) for weights in model.get_weights()], model.get_config()
    Explainer(model)(IMAGES)
    assert model.get_config() == config
    assert all(np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))
    assert all(len(layer._inbound_nodes) <= 2 for layer in model.layers)
