"""What is explained: classes by index and by name, one for all images or one each, and callables."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.zoo.styles import photos, plain_model, randomise, regression, u_net
from tf_gradcam import Explainer
from tf_gradcam.targets.classes import Unit

pytestmark = pytest.mark.core
NAMES = ["tench", "great_white_shark", "Hammerhead", "snow leopard"]
IMAGES = photos(3)
MODEL = plain_model()  # 4 classes
EXPLAINER = Explainer(MODEL, class_names=NAMES)
LOGITS = EXPLAINER(IMAGES, 0).outputs
TOP = LOGITS.argmax(axis=1)


def classes(target: Any) -> list[int]:
    """The classes that were explained, once the scores were found to be theirs."""
    explanation = EXPLAINER(IMAGES, target)
    indices = explanation.class_indices
    np.testing.assert_allclose(explanation.scores, LOGITS[np.arange(3), indices], rtol=1e-5)
    return indices.tolist()


# Classes.


def test_none_is_each_images_top_class() -> None:
    assert classes(None) == TOP.tolist()


@pytest.mark.parametrize(
    "target",
    [2, np.int64(2), np.uint8(2), np.array(2), tf.constant(2), tf.Variable(2), "hammerhead", " HAMMERHEAD "],
    ids=lambda target: f"{type(target).__name__} {np.asarray(target)}",
)
def test_one_class_for_all_images(target: Any) -> None:
    assert classes(target) == [2, 2, 2]


@pytest.mark.parametrize("name", ["great_white_shark", "Great White Shark", "great white_shark"])
def test_names_with_underscores_and_spaces_are_one(name: str) -> None:
    assert classes(name) == [1, 1, 1]
    assert classes("snow_leopard") == [3, 3, 3]


@pytest.mark.parametrize(
    "target",
    [[0, 3, 1], (0, 3, 1), np.array([0, 3, 1]), np.array([0, 3, 1], np.uint8), tf.constant([0, 3, 1])],
    ids=["list", "tuple", "array", "bytes", "tensor"],
)
def test_one_class_per_image(target: Any) -> None:
    assert classes(target) == [0, 3, 1]


def test_one_of_each_kind_per_image() -> None:
    assert classes([None, "Snow Leopard", np.int32(1)]) == [TOP[0], 3, 1]


def test_array_of_names() -> None:
    assert classes(np.array(NAMES)[[0, 3, 1]]) == [0, 3, 1]


def test_labels_are_names_where_there_are_any() -> None:
    assert EXPLAINER(IMAGES, [0, "snow_leopard", 1]).labels == ["tench", "snow leopard", "great_white_shark"]
    assert Explainer(MODEL)(IMAGES, [0, 3, 1]).labels == ["class 0", "class 3", "class 1"]


@pytest.mark.parametrize("target", [-1, np.int64(-1), [0, -1, 2], 2**31, 2**70])
def test_index_that_no_class_can_have_is_refused(target: Any) -> None:
    with pytest.raises(ValueError, match=r"class index of 0 or more.*received (-1|2147483648|1180591620717411303424)"):
        classes(target)


@pytest.mark.parametrize("target", [4, [0, 4, 1], 2**31 - 1])
def test_index_beyond_the_classes_names_their_number(target: Any) -> None:
    with pytest.raises(ValueError, match=rf"class index below 4, the number of classes, received {np.max(target)}"):
        classes(target)


@pytest.mark.parametrize("target", [[0, 1], [0, 1, 2, 3], np.array([1]), [], np.array([[0, 1, 2]])])
def test_another_number_of_targets_than_of_images_is_refused(target: Any) -> None:
    with pytest.raises(ValueError, match=rf"one target per image, 3 in all, received {len(target)}"):
        classes(target)


@pytest.mark.parametrize("target", [True, 1.0, np.float32(1), np.array(1.0), {}, {1}, b"tench", range(3)])
def test_target_of_another_kind_is_refused(target: Any) -> None:
    with pytest.raises(TypeError, match=r"Expected target as None, a class index, a class name, .* or a callable"):
        classes(target)


@pytest.mark.parametrize(
    "target",
    [[0, 1.0, 2], [0, True, 2], np.array([1.0, 2.0, 3.0]), np.array([True, False, True]), np.True_, [[0], [1], [2]]],
)
def test_target_of_an_image_of_another_kind_is_refused(target: Any) -> None:
    words = r"Expected a class index or name per image( as target)?, received (1\.0|True|\[0\]|floats of shape \(3,\))"
    with pytest.raises(TypeError, match=words):
        classes(target)


# Names.


def test_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"Unknown class 'hammerhaed'\. Did you mean 'Hammerhead'"):
        classes("hammerhaed")


def test_name_without_class_names_is_told_to_pass_them() -> None:
    with pytest.raises(ValueError, match=r"received the name 'tench': no names are known\. Pass class_names="):
        Explainer(MODEL)(IMAGES, "tench")


@pytest.mark.parametrize(
    "names", [tuple(NAMES), np.array(NAMES), dict(enumerate(NAMES)), {str(k): name for k, name in enumerate(NAMES)}]
)
def test_class_names_in_any_container(names: Any) -> None:
    explanation = Explainer(MODEL, class_names=names)(IMAGES[:1], "Hammerhead")
    assert explanation.class_indices.tolist() == [2]
    assert explanation.labels == ["Hammerhead"]


def test_class_names_as_a_mapping_may_leave_some_out() -> None:
    explainer = Explainer(MODEL, class_names={3: "snow leopard"})
    assert explainer(IMAGES, ["snow leopard", 3, 0]).labels == ["snow leopard", "snow leopard", "class 0"]


@pytest.mark.parametrize("names", [NAMES[:3], [*NAMES, "extra"], [], {4: "extra"}, {**dict(enumerate(NAMES)), 9: "x"}])
def test_class_names_of_another_model_are_refused(names: Any) -> None:
    with pytest.raises(ValueError, match=rf"names of 4 classes, received {len(names)}: .*another model"):
        Explainer(MODEL, class_names=names)(IMAGES)


@pytest.mark.parametrize(("names", "kind"), [("tench", "str"), (3, "int"), (iter(NAMES), "list_iterator")])
def test_class_names_that_are_no_list_are_refused(names: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=f"Expected class_names as a list of names, received {kind}"):
        Explainer(MODEL, class_names=names)


@pytest.mark.parametrize(
    ("names", "received"),
    [
        ([0, 1, 2, 3], "0 for class 0"),
        (["tench", None], "None for class 1"),
        ({"tench": 0}, "0 for class 'tench'"),  # upside down
        ({-1: "tench"}, "'tench' for class -1"),
        ({1.5: "tench"}, "'tench' for class 1.5"),
    ],
)
def test_class_names_that_are_no_strings_are_refused(names: Any, received: str) -> None:
    with pytest.raises(TypeError, match=rf"list of strings or a mapping {{index: string}}, received {received}"):
        Explainer(MODEL, class_names=names)


def test_class_name_that_several_classes_have_is_refused() -> None:
    """ImageNet has two cranes, the bird and the machine."""
    explainer = Explainer(MODEL, class_names=["crane", "tench", "Crane", "shark"])
    with pytest.raises(ValueError, match=r"'CRANE' is not unique: pass one of the indices \[0, 2\]"):
        explainer(IMAGES, "CRANE")
    assert explainer(IMAGES, "Crane").class_indices.tolist() == [2, 2, 2]  # letter for letter
    assert explainer(IMAGES, 2).labels == ["Crane"] * 3


# One sigmoid unit is two classes.


def binary_model() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((6, 10, 3)),
            layers.Conv2D(4, 3, padding="same", activation="tanh", name="conv"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1, activation="sigmoid", name="head"),
        ]
    )
    return randomise(model)


def test_sigmoid_unit_class_0_is_minus_the_logit() -> None:
    """The map of class 0 is the one of -y: the raw map with its sign turned."""
    images = IMAGES[:, :6, :10]
    explainer = Explainer(binary_model(), class_names=["cat", "dog"])
    dog, cat = explainer(images, "dog"), explainer(images, "cat")
    np.testing.assert_allclose(dog.scores, dog.outputs[:, 0], rtol=1e-6)
    np.testing.assert_allclose(cat.scores, -dog.outputs[:, 0], rtol=1e-6)
    np.testing.assert_allclose(cat.raw, -dog.raw, rtol=1e-5, atol=1e-7)
    negated = explainer(images, lambda outputs: -outputs[:, 0])
    np.testing.assert_allclose(cat.raw, negated.raw, rtol=1e-5, atol=1e-7)
    assert cat.labels == ["cat"] * 3


def test_sigmoid_unit_has_two_classes_and_no_third() -> None:
    explainer = Explainer(binary_model())
    images = IMAGES[:, :6, :10]
    top = (explainer(images, 1).outputs[:, 0] > 0).astype(int)
    assert explainer(images).class_indices.tolist() == top.tolist()
    with pytest.raises(ValueError, match="class index below 2, the number of classes, received 2"):
        explainer(images, 2)
    with pytest.raises(ValueError, match="names of 2 classes, received 1"):
        Explainer(binary_model(), class_names=["dog"])(images)


# Outputs that are no classes.


def test_regression_unit_is_target_0() -> None:
    model, layer, _ = regression()
    explainer = Explainer(model, layer)
    explanation = explainer(IMAGES, 0)
    np.testing.assert_allclose(explanation.scores, np.ravel(model(IMAGES)), rtol=1e-5)
    np.testing.assert_array_equal(explainer(IMAGES).raw, explanation.raw)
    assert explanation.probabilities is None
    with pytest.raises(ValueError, match=r"class index below 1, .* received 1\. .* target=Unit\(0, positive=False\)"):
        explainer(IMAGES, 1)
    np.testing.assert_array_equal(explainer(IMAGES, Unit(0, positive=False)).raw, -explanation.raw)


def test_segmentation_by_a_callable() -> None:
    model, layer, _ = u_net()
    explanation = Explainer(model, layer)(IMAGES, lambda outputs: outputs[:, 3, 4, 1])
    np.testing.assert_allclose(explanation.scores, model(IMAGES)[:, 3, 4, 1], rtol=1e-5)
    assert explanation.class_indices.tolist() == [-1, -1, -1]


# Callables.


def second_logit(outputs: Any) -> Any:
    return outputs[:, 1]


def test_callable_gets_the_logits() -> None:
    by_function, by_index = EXPLAINER(IMAGES, second_logit), EXPLAINER(IMAGES, 1)
    np.testing.assert_allclose(by_function.scores, by_index.scores, rtol=1e-6)
    np.testing.assert_allclose(by_function.raw, by_index.raw, rtol=1e-5, atol=1e-8)
    assert by_function.labels == ["second_logit"] * 3


def test_callable_object_is_labelled_by_its_class() -> None:
    class Contrast:
        def __call__(self, outputs: Any) -> Any:
            return outputs[:, 0] - outputs[:, 1]

    explanation = EXPLAINER(IMAGES, Contrast())
    np.testing.assert_allclose(explanation.scores, LOGITS[:, 0] - LOGITS[:, 1], rtol=1e-4)
    assert explanation.labels == ["Contrast"] * 3


def test_callable_may_use_numpy_constants_and_float64() -> None:
    weights = np.array([1.0, -1.0, 0.5, 0.0])
    explanation = EXPLAINER(IMAGES, lambda outputs: tf.linalg.matvec(tf.cast(outputs, tf.float64), weights))
    assert explanation.scores.dtype == np.float32
    np.testing.assert_allclose(explanation.scores, LOGITS @ weights, rtol=1e-4)


def test_callable_gets_several_outputs_in_their_structure() -> None:
    images = keras.Input((6, 10, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="conv")(images))
    outputs = {"label": layers.Dense(3, activation="softmax")(pooled), "age": layers.Dense(1)(pooled)}
    model = randomise(keras.Model(images, outputs))
    given = IMAGES[:, :6, :10]
    explanation = Explainer(model)(given, lambda outputs: outputs["age"][:, 0] + 0.0 * outputs["label"][:, 0])
    np.testing.assert_allclose(explanation.scores, model(given)["age"][:, 0], rtol=1e-5)


@pytest.mark.parametrize(
    ("target", "shape"),
    [
        (lambda outputs: outputs, r"shape \(None, 4\)"),
        (tf.reduce_sum, r"shape \(\)"),
        (lambda outputs: 5.0, "float"),
        (lambda outputs: outputs[:, 1:2], r"shape \(None, 1\)"),
    ],
)
def test_callable_that_gives_no_score_per_image_is_refused(target: Any, shape: str) -> None:
    with pytest.raises(ValueError, match=rf"one score per image, a tensor \(B,\), received {shape}"):
        EXPLAINER(IMAGES, target)


def test_callable_that_gives_one_score_for_the_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="one score per image"):
        EXPLAINER(IMAGES, lambda outputs: outputs[:1, 0])


@pytest.mark.parametrize("target", [lambda outputs: None, lambda outputs: {"score": outputs[:, 0]}])
def test_callable_that_gives_no_tensor_is_refused_in_words(target: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="one score per image"):
        EXPLAINER(IMAGES, target)


@pytest.mark.parametrize(
    "target", [lambda outputs: tf.ones_like(outputs[:, 0]), lambda outputs: tf.stop_gradient(outputs[:, 0])]
)
def test_callable_that_does_not_depend_on_the_layer_is_refused(target: Any) -> None:
    with pytest.raises(ValueError, match="score does not depend on layer 'conv3': no gradient leads there"):
        EXPLAINER(IMAGES, target)


def test_error_inside_a_callable_is_its_own() -> None:
    def broken(outputs: Any) -> Any:
        raise KeyError("no such output")

    with pytest.raises(KeyError, match="no such output"):
        EXPLAINER(IMAGES, broken)
    assert classes(1) == [1, 1, 1]  # and the explainer goes on
