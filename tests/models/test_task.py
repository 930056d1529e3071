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
from tf_gradcam._files.class_names import ClassNames
from tf_gradcam._models.reader import ModelReader
from tf_gradcam._models.task import Task, task_of
from tf_gradcam.targets import Region, Value

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


# The loss of the training.


def of_places(units: int, activation: str | None = None) -> Callable[[], keras.Model]:
    return lambda: dense_map(units, activation)


def of_rows(units: int) -> Callable[[], keras.Model]:
    """Rows (B, 12, K), each of a column of the picture."""

    def build() -> keras.Model:
        images = keras.Input(SHAPE)
        hidden = layers.Conv2D(4, 3, padding="same", name="conv")(images)
        columns = layers.Reshape((12, 4))(layers.AveragePooling2D((8, 1))(hidden))
        return randomise(keras.Model(images, layers.Dense(units)(columns)))

    return build


def of_unit(activation: Any = None) -> Callable[[], keras.Model]:
    return lambda: ending_in(layers.Dense(1, activation))


def of_three(activation: Any = None) -> Callable[[], keras.Model]:
    return lambda: ending_in(layers.Dense(3, activation))


def mean_of_sigmoids() -> keras.Model:
    images = keras.Input(SHAPE)
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(images))
    heads = [layers.Dense(3, "sigmoid")(pooled) for _ in range(2)]
    return randomise(keras.Model(images, layers.Average()(heads)))


def logits(name: str) -> keras.losses.Loss:
    return getattr(keras.losses, name)(from_logits=True)


def own_loss(truth: Any, outputs: Any) -> Any:
    return keras.ops.mean(outputs - truth)


TRAINED: list[tuple[Callable[[], keras.Model], Any, str, str]] = [
    # Logits of several classes or labels.
    (of_three(), logits("BinaryCrossentropy"), "multilabel", "as it was trained with binary_crossentropy on logits$"),
    (of_three(), logits("BinaryFocalCrossentropy"), "multilabel", "binary_focal_crossentropy on logits$"),
    (of_three(), logits("CategoricalCrossentropy"), "classification", "categorical_crossentropy on logits$"),
    (of_three(), logits("SparseCategoricalCrossentropy"), "classification", "sparse_categorical.* on logits$"),
    (of_three(), "categorical_hinge", "classification", "as it was trained with categorical_hinge$"),
    (of_three(), "bce", "multilabel", "with binary_crossentropy, although its 3 outputs have no activation$"),
    (of_three(), "sparse_categorical_crossentropy", "classification", "although its 3 outputs have no activation$"),
    # Values.
    *[
        (of_three(), loss, "regression", f"as it was trained with {name}$")
        for loss, name in (
            ("mse", "mean_squared_error"),
            ("mae", "mean_absolute_error"),
            (keras.losses.Huber(), "huber"),
            ("log_cosh", "log_cosh"),
            ("poisson", "poisson"),
        )
    ],
    (of_three("relu"), "mse", "regression", "as it was trained with mean_squared_error$"),
    (of_three("tanh"), "mae", "regression", "as it was trained with mean_absolute_error$"),
    (of_unit(), "mse", "regression", "one value without a sigmoid"),
    (of_unit("relu"), "poisson", "regression", "one value without a sigmoid"),
    # Activations that the loss contradicts, or explains.
    (of_three("sigmoid"), "bce", "multilabel", "is 3 sigmoid units$"),
    (of_three("sigmoid"), "mse", "regression", "mean_squared_error, which takes its 3 sigmoid units for values$"),
    (
        of_three("sigmoid"),
        "categorical_crossentropy",
        "classification",
        "categorical_crossentropy, which is for one class of an image, although its output is 3 sigmoid units$",
    ),
    (of_three("softmax"), "mse", "classification", "is a softmax of 3 classes$"),
    (of_three("softmax"), "categorical_crossentropy", "classification", "is a softmax of 3 classes$"),
    (of_three("softmax"), "bce", "classification", "softmax of 3 classes, although it was trained with binary_cros"),
    (mean_of_sigmoids, "bce", "multilabel", "as it was trained with binary_crossentropy$"),
    (mean_of_sigmoids, "categorical_crossentropy", "classification", "trained with categorical_crossentropy$"),
    # One unit.
    (of_unit(), logits("BinaryCrossentropy"), "classification", "on logits on one unit, with two sides$"),
    (of_unit(), "bce", "classification", "although its one output has no sigmoid, with two sides$"),
    (of_unit(), "hinge", "classification", "as it was trained with hinge on one unit, with two sides$"),
    (of_unit("tanh"), "squared_hinge", "classification", "squared_hinge on one unit, with two sides$"),
    (of_unit("sigmoid"), "bce", "classification", "is one sigmoid unit, with two sides$"),
    (of_unit("sigmoid"), "mse", "regression", "mean_squared_error, which takes its one sigmoid unit for a value$"),
    (of_unit("relu"), "bce", "regression", "one value without a sigmoid"),
    (one_number, logits("BinaryCrossentropy"), "regression", "is one number$"),
    # Places.
    (
        of_places(3),
        logits("SparseCategoricalCrossentropy"),
        "segmentation",
        r"on each place of its output \(B, 8, 12, 3",
    ),
    (of_places(1, "sigmoid"), "bce", "segmentation", r"on each place of its output \(B, 8, 12, 1\)$"),
    (of_places(3, "softmax"), "dice", "segmentation", "has a value for each class and place$"),
    (of_places(3, "softmax"), "mse", "segmentation", "has a value for each class and place$"),
    (of_places(1), "mse", "regression", r"of its output \(B, 8, 12, 1\); explained is the mean value over all places$"),
    (of_places(3, "sigmoid"), "mae", "regression", "explained is the mean value over all places$"),
    (of_rows(5), logits("SparseCategoricalCrossentropy"), "segmentation", r"on each place of its output \(B, 12, 5\)$"),
    (of_rows(2), "mse", "regression", r"of its output \(B, 12, 2\); explained is the mean"),
    (rows_of_boxes, "mse", "detection", "has a row for each box$"),
    # No evidence.
    (of_three(), own_loss, "classification", "taking its 3 outputs without an activation for the logits of classes$"),
    (of_three(), "cosine_similarity", "classification", "taking its 3 outputs without an activation"),
    (of_three(), "hinge", "classification", "taking its 3 outputs without an activation"),
    (of_three("sigmoid"), own_loss, "multilabel", "is 3 sigmoid units$"),
]


@pytest.mark.parametrize(("build", "loss", "task", "reason"), TRAINED)
def test_loss_of_the_training_decides_where_the_output_does_not(
    build: Callable[[], keras.Model], loss: Any, task: str, reason: str
) -> None:
    model = build()
    model.compile("sgd", loss)
    found = task_of(ModelReader(model), None, ClassNames(None))
    assert (found.name, found.is_given) == (task, False)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.reason)


def test_order_of_the_evidence_is_said_then_file_then_names_then_loss() -> None:
    model = ending_in(layers.Dense(1))
    model.compile("sgd", "mse")
    reader = ModelReader(model)
    assert task_of(reader, None, ClassNames(["no", "yes"])).name == "classification"
    assert task_of(reader, None, ClassNames(["age"])).name == "regression"
    wide = ModelReader(compiled_three("mse"))
    assert task_of(wide, None, ClassNames(None)).name == "regression"
    wide.task = "multilabel"
    assert task_of(wide, None, ClassNames(None)) == Task("multilabel", "as the model's file says", True)
    assert task_of(wide, "classification", ClassNames(None)) == Task("classification", "as you say", True)


def compiled_three(loss: Any) -> keras.Model:
    model = of_three()()
    model.compile("sgd", loss)
    return model


def test_probabilities_follow_the_task_that_the_loss_shows() -> None:
    model = of_three()()
    outputs = model.predict(IMAGES, verbose=0)
    model.compile("sgd", logits("BinaryCrossentropy"))
    labels = Explainer(model)
    np.testing.assert_allclose(labels(IMAGES).probabilities, 1 / (1 + np.exp(-outputs)), rtol=1e-4)
    maps = labels.class_maps(IMAGES, above=0.5)
    assert maps.above is not None
    assert (maps.above.sum(1) == (outputs > 0).sum(1)).all()
    model.compile("sgd", logits("CategoricalCrossentropy"))
    classes = Explainer(model)(IMAGES)
    np.testing.assert_allclose(classes.probabilities.sum(-1), 1, rtol=1e-5)
    model.compile("sgd", "mse")
    values = Explainer(model)(IMAGES)
    assert values.probabilities is None
    np.testing.assert_allclose(values.scores, outputs[:, 0], rtol=1e-5)  # the first value, not the largest


def test_one_unit_of_logits_has_two_sides_with_their_sigmoids() -> None:
    model = ending_in(layers.Dense(1))
    outputs = model.predict(IMAGES, verbose=0)[:, 0]
    model.compile("sgd", logits("BinaryCrossentropy"))
    explainer = Explainer(model)
    np.testing.assert_allclose(explainer(IMAGES).probabilities[:, 1], 1 / (1 + np.exp(-outputs)), rtol=1e-4)
    np.testing.assert_array_equal(explainer(IMAGES, 0).raw, -explainer(IMAGES, 1).raw)


@pytest.mark.parametrize("says", [{"task": "classification"}, {"class_names": ["no", "yes"]}])
def test_one_unit_of_tanh_has_the_two_sides_that_you_say(says: dict[str, Any]) -> None:
    model = ending_in(layers.Dense(1, "tanh"))
    outputs = model.predict(IMAGES, verbose=0)[:, 0]
    explanation = Explainer(model, **says)(IMAGES)
    assert explanation.class_indices.tolist() == (outputs > 0).astype(int).tolist()
    assert explanation.probabilities is None
    np.testing.assert_allclose(explanation.scores, np.abs(outputs), rtol=1e-5)


def test_sigmoids_of_one_class_of_an_image_are_explained_at_their_top_class() -> None:
    model = of_three("sigmoid")()
    outputs = model.predict(IMAGES, verbose=0)
    model.compile("sgd", "categorical_crossentropy")
    explanation = Explainer(model)(IMAGES)
    assert explanation.class_indices.tolist() == outputs.argmax(-1).tolist()
    np.testing.assert_allclose(explanation.probabilities, outputs, rtol=1e-4)


def test_values_of_places_are_explained_by_their_mean() -> None:
    """By hand: the gradient of a mean over N places is the sum of their gradients over N."""
    model = dense_map(2, None)
    outputs = model.predict(IMAGES, verbose=0)
    model.compile("sgd", "mse")
    explainer = Explainer(model, "conv", unit="m")
    explanation = explainer(IMAGES)
    np.testing.assert_allclose(explanation.values, outputs[..., 0].mean((1, 2)), rtol=1e-4)
    assert (explanation.signed, explanation.unit, explanation.labels) == (True, "m", ["value 0"] * 3)
    everywhere = explainer(IMAGES, Region(0, "all"))
    np.testing.assert_allclose(explanation.raw, everywhere.raw / (8 * 12), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(explainer(IMAGES, 1).raw, explainer(IMAGES, Value(1)).raw, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(explainer.class_maps(IMAGES).of_class(1).raw, explainer(IMAGES, 1).raw, rtol=1e-5)
    point = explainer(IMAGES, Region(1, point=(0.3, 0.6)))
    np.testing.assert_allclose(point.scores, outputs[:, 4, 3, 1], rtol=1e-4)
    np.testing.assert_array_equal(point.values, point.scores)
    assert (point.signed, point.unit, point.labels[0]) == (True, "m", "value 1 at 30%, 60%")
    assert (everywhere.signed, everywhere.unit, everywhere.values) == (True, None, None)  # a sum, not a value


def test_losses_of_boxes_and_scores_leave_a_detector_a_detector() -> None:
    """Boxes (B, N, 4) with a loss of values would else be values with places."""
    images = keras.Input(SHAPE)
    hidden = layers.Conv2D(8, 3, padding="same", name="conv")(images)
    outputs = {
        "boxes": layers.Reshape((-1, 4))(layers.Conv2D(4, 1)(hidden)),
        "scores": layers.Activation("sigmoid")(layers.Reshape((-1, 3))(layers.Conv2D(3, 1)(hidden))),
    }
    model = keras.Model(images, outputs)
    model.compile("sgd", {"boxes": "huber", "scores": "binary_focal_crossentropy"})
    assert Explainer(model, "conv").task.name == "detection"


def test_loss_of_the_explained_output_counts() -> None:
    images = keras.Input(SHAPE)
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(images))
    model = keras.Model(images, [layers.Dense(3, name="kinds")(pooled), layers.Dense(2, name="angles")(pooled)])
    model.compile("sgd", {"kinds": logits("BinaryCrossentropy"), "angles": "mse"})
    assert Explainer(model, output="kinds").task.name == "multilabel"
    assert Explainer(model, output="angles").task.name == "regression"


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
    assert {f"{score:.4g} years" for score in explanation.scores} <= {text.rpartition(", ")[2] for text in texts}


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
        (lambda: ending_in(layers.Dense(1, "relu")), "classification", "or one unit with values below and above zero"),
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
