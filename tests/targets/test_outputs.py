"""The targets as values and as arithmetic, each against the same number worked out in NumPy or by hand.

Also tests targets/base.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tf_gradcam import Explainer
from tf_gradcam._files.class_names import ClassNames
from tf_gradcam.targets.base import NamedTarget, called, labels_of, sides_of, with_indices
from tf_gradcam.targets.classes import ClassScore, Contrast, Counterfactual, Finer, MultiLabel, Unit
from tf_gradcam.targets.outputs import Distance, Element, OutputOf, Similarity, Value
from tf_gradcam.targets.regions import Region

# Two images, five classes: the tops are 1 and 4.
LOGITS = np.array([[1.0, 5.0, 4.5, -2.0, 0.5], [-3.0, 0.25, 2.0, 1.0, 8.0]], np.float32)
PIXELS = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
MASK = np.random.default_rng(1).random((3, 5)) < 0.5


def traced(target: Any, *outputs: np.ndarray) -> np.ndarray:
    """`target` compiled with a free batch axis, as the explainer compiles it."""
    specs = [tf.TensorSpec((None, *array.shape[1:]), tf.float32) for array in outputs]
    compiled = tf.function(lambda *tensors: target(*tensors), input_signature=specs, autograph=False)
    return compiled(*outputs).numpy()


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first @ second / np.linalg.norm(first, axis=-1) / np.linalg.norm(second)


def sums_where_top(outputs: np.ndarray, index: int) -> np.ndarray:
    return np.where(outputs.argmax(axis=-1) == index, outputs[..., index], 0.0).sum(axis=(1, 2))


def sums_of_largest(outputs: np.ndarray) -> list[float]:
    """Of each image, the sum of the logits of the class of most pixels, over these pixels."""
    top = outputs.argmax(axis=-1)
    largest = [np.bincount(each.ravel(), minlength=outputs.shape[-1]).argmax() for each in top]
    return [outputs[number, top[number] == index, index].sum() for number, index in enumerate(largest)]


# (target, outputs, scores of the two images, label, signed)
CASES: list[tuple[NamedTarget, np.ndarray, Any, str, bool]] = [
    (ClassScore(3), LOGITS, [-2.0, 1.0], "class 3", False),
    (ClassScore(None), LOGITS, [5.0, 8.0], "top class", False),
    (Unit(2), LOGITS, [4.5, 2.0], "unit 2", False),
    (Unit(2, positive=False), LOGITS, [-4.5, -2.0], "not unit 2", False),
    (Unit(), LOGITS[:, 1:2], [5.0, 0.25], "unit 0", False),
    (MultiLabel((0, 2, 4)), LOGITS, [6.0, 7.0], "class 0 + class 2 + class 4", False),
    (Counterfactual(3), LOGITS, [2.0, -1.0], "against class 3", True),
    (Counterfactual(None), LOGITS, [-5.0, -8.0], "against top class", True),
    (Counterfactual(MultiLabel([1, 2])), LOGITS, [-9.5, -2.25], "against class 1 + class 2", True),
    (Contrast(3, 2), LOGITS, [-6.5, -1.0], "class 3 - class 2", True),
    (Contrast(), LOGITS, [0.5, 6.0], "top class - runner-up", True),
    (Contrast(2), LOGITS, [-0.5, -6.0], "class 2 - runner-up", True),
    (Contrast(None, 4), LOGITS, [4.5, 0.0], "top class - class 4", True),
    # The nearest of 5.0 are 4.5, 1.0 and 0.5, mean 2; those of 8.0 are 2.0, 1.0 and 0.25, mean 13 / 12.
    (Finer(), LOGITS, [5.0 - 0.6 * 2.0, 8.0 - 0.6 * 13 / 12], "top class - 0.6 * nearest 3", True),
    # On both sides: of 1.0 they are 0.5 and then, at 3.0, -2.0; of -3.0 they are 0.25 and 1.0.
    (Finer(0, 2, 1.0), LOGITS, [1.75, -3.625], "class 0 - 1 * nearest 2", True),
    (Finer(2, 1, 0.0), LOGITS, [4.5, 2.0], "class 2 - 0 * nearest 1", True),
    (Value(), LOGITS, [1.0, -3.0], "value 0", True),
    (Value(), LOGITS[:, 4], [0.5, 8.0], "value 0", True),
    (Value(3), LOGITS, [-2.0, 1.0], "value 3", True),
    (Value(2), PIXELS, PIXELS[..., 2].mean(axis=(1, 2)), "value 2", True),
    (Distance(2.5, 2), LOGITS, [-2.0, -0.5], "value 2 near 2.5", True),
    (Distance(2.5, 2, "b.jpg"), LOGITS, [-2.0, -0.5], "value 2 near 2.5, the value of b.jpg", True),
    (Distance(3.5, 2), PIXELS, -np.abs(PIXELS[..., 2].mean(axis=(1, 2)) - 3.5), "value 2 near 3.5", True),
    (Region(2, MASK), PIXELS, PIXELS[:, MASK, 2].sum(axis=1), "class 2 in the mask", False),
    (Region(2), PIXELS, sums_where_top(PIXELS, 2), "region of class 2", False),
    (Region(0), PIXELS[..., :1], np.maximum(PIXELS[..., 0], 0).sum(axis=(1, 2)), "region of class 0", False),
    (Region(2, "all"), PIXELS, PIXELS[..., 2].sum(axis=(1, 2)), "class 2 everywhere", False),
    # Of 3 rows and 5 columns: row 2, column 3.
    (Region(1, point=(0.7, 0.9)), PIXELS, PIXELS[:, 2, 3, 1], "class 1 at 70%, 90%", False),
    (Region(), PIXELS, sums_of_largest(PIXELS), "region of the largest class", False),
    (Element(1, 4, 2), PIXELS, PIXELS[:, 1, 4, 2], "output[1, 4, 2]", False),
    (Similarity([1, 0, -2, 0, 3]), LOGITS, cosine(LOGITS, np.array([1, 0, -2, 0, 3])), "similarity", False),
]
EACH = pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].__name__)


@EACH
def test_target_score(case: Any) -> None:
    target, outputs, expected, _, _ = case
    np.testing.assert_allclose(traced(target, outputs), expected, rtol=1e-5)


@EACH
def test_target_takes_arrays_too(case: Any) -> None:
    target, outputs, expected, _, _ = case
    np.testing.assert_allclose(np.asarray(target(outputs)), expected, rtol=1e-5)


@EACH
def test_target_label_and_sign(case: Any) -> None:
    target, _, _, label, signed = case
    assert target.__name__ == label
    assert target.signed is signed


@EACH
def test_target_gradient_of_an_image_is_its_own(case: Any) -> None:
    """Images of a batch do not speak for one another: alone, each has the same gradient."""
    target, outputs, _, _, _ = case

    def gradient(array: np.ndarray) -> np.ndarray:
        tensor = tf.constant(array)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            total = tf.reduce_sum(target(tensor))
        return tape.gradient(total, tensor).numpy()

    alone = np.concatenate([gradient(outputs[:1]), gradient(outputs[1:])])
    np.testing.assert_allclose(gradient(outputs), alone, rtol=1e-5, atol=1e-7)
    assert alone.any()


MAKERS: list[Callable[[], NamedTarget]] = [
    lambda: ClassScore(np.int64(3)),
    lambda: MultiLabel([1, np.int32(2)]),
    lambda: Counterfactual(3),
    lambda: Contrast("beagle", 2),
    lambda: Finer(1, strength=1),
    lambda: Distance(np.float32(2.5)),
    lambda: Region(1, MASK.copy()),
    lambda: Element(1, 2),
    lambda: Similarity(np.arange(1, 4)),
    lambda: OutputOf("breed", Similarity([1, 2, 3])),
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make().__name__)
def test_equal_arguments_make_equal_targets(make: Callable[[], NamedTarget]) -> None:
    first, second = make(), make()
    assert first is not second
    assert first == second
    assert hash(first) == hash(second)


def test_different_arguments_make_different_targets() -> None:
    targets = [
        *(case[0] for case in CASES),
        Region(2, ~MASK),
        Region(2, MASK.T),
        Similarity([1, 0, -2, 0, 4]),
        Distance(2.5, 1),
        Element(1, 4),
        OutputOf("a", 1),
        OutputOf("b", 1),
        OutputOf(0, 1),
    ]
    assert len(set(targets)) == len(targets) - 1  # Value() is there twice


def test_array_arguments_come_back_as_arrays() -> None:
    np.testing.assert_array_equal(np.asarray(Region(2, MASK.astype(np.uint8)).mask), MASK)
    np.testing.assert_array_equal(np.asarray(Similarity([1, 2.5]).embedding), [1.0, 2.5])


def test_region_owns_its_mask() -> None:
    mask = MASK.copy()
    target = Region(2, mask)
    mask[:] = True
    assert target == Region(2, MASK)


# One output of several.


@pytest.mark.parametrize(
    ("output", "outputs"),
    [
        ("breed", {"age": PIXELS, "breed": LOGITS}),
        (1, [PIXELS, LOGITS]),
        (1, (PIXELS, LOGITS)),
    ],
)
@pytest.mark.parametrize("part", [3, ClassScore(3), lambda logits: logits[:, 3]])
def test_output_of_applies_its_target_to_that_output(output: Any, outputs: Any, part: Any) -> None:
    np.testing.assert_allclose(OutputOf(output, part)(outputs), [-2.0, 1.0])


def test_output_of_has_label_and_sign_of_its_target() -> None:
    assert OutputOf("breed", Contrast(1, 2)).__name__ == "breed: class 1 - class 2"
    assert OutputOf(1).__name__ == "output 1: top class"
    assert OutputOf("breed", Contrast(1, 2)).signed
    assert not OutputOf("breed", 1).signed


def test_counterfactual_of_a_function_is_labelled_by_it() -> None:
    def brightness(outputs: Any) -> Any:
        return outputs[:, 0]

    assert Counterfactual(brightness).__name__ == "against brightness"
    np.testing.assert_allclose(Counterfactual(brightness)(LOGITS), -LOGITS[:, 0])


# Names.


NAMES = ClassNames(["cat", "dog", "Fox", "wolf", "owl"])


@pytest.mark.parametrize(
    ("named", "numbered", "label"),
    [
        (ClassScore("fox"), ClassScore(2), "fox"),
        (Unit("fox"), ClassScore(2), "fox"),
        (Unit("fox", False), Counterfactual(2), "not fox"),
        (MultiLabel(["cat", 3]), MultiLabel([0, 3]), "cat + class 3"),
        (Contrast("dog", "wolf"), Contrast(1, 3), "dog - wolf"),
        (Contrast(None, "wolf"), Contrast(None, 3), "top class - wolf"),
        (Finer("dog"), Finer(1), "dog - 0.6 * nearest 3"),
        (Counterfactual("dog"), Counterfactual(1), "against dog"),
        (Region("dog", MASK), Region(1, MASK), "dog in the mask"),
        (OutputOf("dog", Counterfactual("dog")), OutputOf("dog", Counterfactual(1)), "dog: against dog"),
    ],
)
def test_names_become_indices_and_stay_in_the_label(named: Any, numbered: Any, label: str) -> None:
    assert with_indices(named, NAMES.index) == numbered
    assert named.__name__ == label


@pytest.mark.parametrize(
    ("target", "label"),
    [
        (ClassScore(2), "Fox"),
        (ClassScore("fox"), "Fox"),
        (Unit(2), "Fox"),
        (Unit(2, False), "not Fox"),
        (MultiLabel([0, 3]), "cat + wolf"),
        (MultiLabel(["CAT", 7]), "cat + class 7"),
        (Contrast(1, 3), "dog - wolf"),
        (Contrast(1), "dog - runner-up"),
        (Counterfactual(1), "against dog"),
        (Counterfactual(Unit(2, False)), "against not Fox"),
        (Finer(1), "dog - 0.6 * nearest 3"),
        (Region(1, MASK), "dog in the mask"),
        (OutputOf("age", Unit(0)), "age: unit 0"),  # the names may be those of another output
        (Value(1), "value 1"),
    ],
)
def test_labels_of_numbers_take_the_names_that_are_known(target: NamedTarget, label: str) -> None:
    assert target.label(NAMES, unit_count=5) == label


def test_targets_without_names_stay_the_same_object() -> None:
    for target in (Contrast(1, 3), Element(1, 2), Similarity([1.0, 2.0]), len):
        assert with_indices(target, NAMES.index) is target


def test_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"Unknown class 'wulf'\. Did you mean 'wolf'"):
        with_indices(Contrast("dog", "wulf"), NAMES.index)


# What is refused.


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: ClassScore(1.5), TypeError, "class index or name, or None, received 1.5"),
        (lambda: ClassScore(True), TypeError, "class index or name"),
        (lambda: ClassScore(-1), ValueError, "of 0 or more, received -1"),
        (lambda: Unit(None), TypeError, "class index or name, received None"),
        (lambda: Region(1.5), TypeError, "class index or name, or None, received 1.5"),
        (lambda: Region(0, "some"), ValueError, "a mask of True and False, or 'all', received 'some'"),
        (lambda: Region(0, [[True]], (0.5, 0.5)), ValueError, "a mask or a point, received both"),
        (lambda: Region(0, point=(0.5, 1.0)), ValueError, "a point .* from 0 to below 1, received"),
        (lambda: Region(0, point=(0.5,)), ValueError, "a point .* from 0 to below 1, received"),
        (lambda: MultiLabel([]), ValueError, "at least one label"),
        (lambda: MultiLabel("beagle"), ValueError, "list of at least one label, received 'beagle'"),
        (lambda: MultiLabel([None]), TypeError, "class index or name, received None"),
        (lambda: Counterfactual(1.5), TypeError, "class index or name"),
        (lambda: Contrast(3, 3), ValueError, "two different classes, received 3 twice"),
        (lambda: Finer(references=0), ValueError, "at least 1, received 0"),
        (lambda: Finer(references=1.5), ValueError, "at least 1, received 1.5"),
        (lambda: Finer(strength=-0.1), ValueError, "strength of at least 0, received -0.1"),
        (lambda: Finer(strength=float("nan")), ValueError, "strength of at least 0, received nan"),
        (lambda: Value(-1), ValueError, "position of 0 or more"),
        (lambda: Value("age"), TypeError, "position in the outputs as an integer, received 'age'"),
        (lambda: Distance(float("inf")), ValueError, "finite value, received inf"),
        (lambda: Region(1, np.full((3, 5), 0.5)), ValueError, "True and False"),
        (lambda: Region(1, np.zeros((3, 5), bool)), ValueError, "at least one pixel"),
        (lambda: Element(), ValueError, "each axis of the outputs, received none"),
        (lambda: Element(1, -1), ValueError, "position of 0 or more"),
        (lambda: Similarity([[1.0]]), ValueError, r"shape \(D,\), received \(1, 1\)"),
        (lambda: Similarity([0.0, 0.0]), ValueError, "not all zero"),
        (lambda: Similarity([1.0, float("nan")]), ValueError, "finite numbers"),
        (lambda: OutputOf(1.5), TypeError, "position in the outputs"),
    ],
)
def test_meaningless_arguments_are_refused(make: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize(
    ("target", "outputs", "message"),
    [
        (ClassScore(5), LOGITS, r"index below 5 in ClassScore\(index=5\), for outputs \(B, 5\)"),
        (ClassScore("dog"), LOGITS, "received the name 'dog': no names are known here"),
        (ClassScore(0), PIXELS, r"outputs of 2 axes .* received shape \(B, 3, 5, 4\)"),
        (ClassScore(0), LOGITS[:, :1], r"at least two classes .* Unit\(0\)"),
        (Contrast(0, 5), LOGITS, "index below 5"),
        (ClassScore(1), LOGITS[:, :1], r"without a final sigmoid\. One unit is Unit\(0\), or Unit\(0, pos"),
        (Contrast(1, 0), LOGITS[:, :1], r"at least two classes for Contrast.*without a final sigmoid"),
        (Finer(1), LOGITS[:, :1], r"at least two classes for Finer.*without a final sigmoid"),
        (Unit(1), LOGITS[:, :1], r"Unit\(0\), or Unit\(0, positive=False\) for the other side.*received Unit\(index=1"),
        (MultiLabel([0]), LOGITS[:, :1], r"several labels for MultiLabel.*One unit is Unit\(0\)"),
        (Unit(5), LOGITS, "index below 5"),
        (Unit(0), PIXELS, "outputs of 2 axes"),
        (MultiLabel([0, 7]), LOGITS, "index below 5"),
        (Finer(5), LOGITS, "index below 5"),
        (Finer(0, 5), LOGITS, "at most 4 references for 5 classes, received 5"),
        (Value(5), LOGITS, "index below 5"),
        (Value(1), LOGITS[:, 0], "index below 1"),
        (Distance(1.0, 4), PIXELS, "index below 4"),
        (Region(4), PIXELS, "index below 4"),
        (Region(0), LOGITS, r"segmentation outputs \(B, H, W, K\)"),
        (Region(0, MASK.T), PIXELS, r"mask of shape \(3, 5\), the outputs' own, received \(5, 3\)"),
        (Element(1, 2), LOGITS, "outputs of 3 axes"),
        (Element(1, 5, 0), PIXELS, r"position below 5 on axis 2 of \(B, 3, 5, 4\), received 5"),
        (Similarity([1.0, 2.0]), LOGITS, "embedding of 5 numbers, as many as the outputs have, received 2"),
        (OutputOf("breed"), LOGITS, "several outputs .* received one"),
    ],
)
def test_outputs_of_another_kind_are_refused_while_tracing(target: Any, outputs: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        traced(target, outputs)


def test_output_of_refuses_unknown_outputs() -> None:
    with pytest.raises(ValueError, match=r"Unknown output 'bred'\. Did you mean 'breed'"):
        OutputOf("bred")({"age": LOGITS, "breed": LOGITS})
    with pytest.raises(ValueError, match="position below 2 in the outputs, received 2"):
        OutputOf(2)([LOGITS, LOGITS])
    with pytest.raises(ValueError, match="position below 2 in the outputs, received 'breed'"):
        OutputOf("breed")([LOGITS, LOGITS])


def test_several_outputs_ask_for_output_of() -> None:
    with pytest.raises(ValueError, match=r"received \['age', 'breed'\]\. Pass OutputOf"):
        ClassScore(0)({"age": LOGITS, "breed": LOGITS})


def test_region_of_unknown_size_is_checked_when_it_is_known() -> None:
    compiled = tf.function(Region(2, MASK), input_signature=[tf.TensorSpec((None, None, None, 4))], autograph=False)
    np.testing.assert_allclose(compiled(PIXELS), PIXELS[:, MASK, 2].sum(axis=1), rtol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError):
        compiled(PIXELS[:, :1])  # would broadcast


# In the explainer.


def small_model(*tail: layers.Layer, units: int = 5) -> keras.Model:
    keras.utils.set_random_seed(3)
    images = keras.Input((6, 10, 3))
    features = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(images)
    for layer in tail or (layers.GlobalAveragePooling2D(), layers.Dense(units, "softmax")):
        features = layer(features)
    return keras.Model(images, features)


IMAGES = np.random.default_rng(4).random((2, 6, 10, 3), dtype=np.float32)


def test_explainer_compiles_equal_targets_once() -> None:
    explainer = Explainer(small_model())
    explainer(IMAGES, Contrast(1, 3))
    explainer(IMAGES, Contrast(1, 3))
    assert explainer.trace_count == 1
    explainer(IMAGES, Contrast(3, 1))
    assert explainer.trace_count == 2


def test_explainer_labels_what_a_target_explains() -> None:
    assert Explainer(small_model())(IMAGES, Contrast(1, 3)).labels == ["class 1 - class 3"] * 2


def test_explainer_labels_a_target_by_the_names_it_knows() -> None:
    explainer = Explainer(small_model(), class_names=["cat", "dog", "fox", "wolf", "owl"])
    assert explainer(IMAGES, Contrast(1, 3)).labels == ["dog - wolf"] * 2
    assert explainer(IMAGES, Unit(0)).labels == ["cat"] * 2
    assert Explainer(small_model())(IMAGES, Unit(0)).labels == ["unit 0"] * 2


def test_only_unit_is_labelled_by_the_name_of_its_positive_side() -> None:
    explainer = Explainer(small_model(*(make() for make in UNIT)), class_names=["healthy", "ill"])
    assert explainer(IMAGES, Unit(0)).labels == explainer(IMAGES, 1).labels == ["ill"] * 2
    assert explainer(IMAGES, Unit(0, positive=False)).labels == ["not ill"] * 2


def test_class_score_is_the_class_target() -> None:
    explainer = Explainer(small_model())
    np.testing.assert_array_equal(explainer(IMAGES, ClassScore(3)).raw, explainer(IMAGES, 3).raw)
    np.testing.assert_array_equal(explainer(IMAGES, ClassScore(None)).raw, explainer(IMAGES).raw)


@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
def test_linear_rules_turn_sums_of_scores_into_sums_of_maps(method: str) -> None:
    """G is linear in the score, and these rules in G: -y gives minus the map, y_a - y_b the difference, and so on."""
    explainer = Explainer(small_model(), method=method)
    maps = [explainer(IMAGES, index).raw for index in range(5)]
    sums = {
        Counterfactual(1): -maps[1],
        Contrast(1, 3): maps[1] - maps[3],
        MultiLabel([0, 2, 4]): maps[0] + maps[2] + maps[4],
        Finer(2, references=4, strength=0.5): maps[2] - 0.125 * (maps[0] + maps[1] + maps[3] + maps[4]),
    }
    for target, expected in sums.items():
        np.testing.assert_allclose(explainer(IMAGES, target).raw, expected, atol=1e-6 * np.abs(expected).max())


def test_sigmoid_unit_has_two_sides() -> None:
    explainer = Explainer(small_model(layers.GlobalAveragePooling2D(), layers.Dense(1, "sigmoid")))
    np.testing.assert_array_equal(explainer(IMAGES, Unit()).raw, explainer(IMAGES, 1).raw)
    np.testing.assert_array_equal(explainer(IMAGES, Unit(positive=False)).raw, explainer(IMAGES, 0).raw)


UNIT = layers.GlobalAveragePooling2D, lambda: layers.Dense(1, "sigmoid")


def test_one_sigmoid_unit_is_two_classes_for_targets_of_classes() -> None:
    """With z the logit, class 1 scores z and class 0 minus z; Finer subtracts 0.6 of the other: 1.6 z."""
    explainer = Explainer(small_model(*(make() for make in UNIT)))
    yes = explainer(IMAGES, 1)
    expected = {
        ClassScore(1): 1.0,
        ClassScore(0): -1.0,
        Counterfactual(1): -1.0,
        Counterfactual(0): 1.0,
        Contrast(1, 0): 2.0,
        Contrast(0, 1): -2.0,
        Finer(1): 1.6,
        Finer(0): -1.6,
    }
    for target, factor in expected.items():
        explanation = explainer(IMAGES, target)
        np.testing.assert_allclose(explanation.scores, factor * yes.scores, rtol=1e-5)
        np.testing.assert_allclose(explanation.raw, factor * yes.raw, rtol=1e-4, atol=1e-6 * np.abs(yes.raw).max())


def test_top_class_of_one_sigmoid_unit_is_its_side() -> None:
    explainer = Explainer(small_model(*(make() for make in UNIT)))
    top = explainer(IMAGES)
    np.testing.assert_allclose(explainer(IMAGES, ClassScore(None)).scores, top.scores, rtol=1e-6)
    np.testing.assert_allclose(explainer(IMAGES, Contrast()).scores, 2 * top.scores, rtol=1e-6)
    np.testing.assert_allclose(explainer(IMAGES, Contrast()).scores, 2 * np.abs(top.outputs[:, 0]), rtol=1e-6)


def test_name_of_one_sigmoid_unit_is_the_side_of_that_class() -> None:
    explainer = Explainer(small_model(*(make() for make in UNIT)), class_names=["healthy", "ill"])
    for name, index in {"healthy": 0, "ill": 1}.items():
        expected = explainer(IMAGES, index)
        for target in (Unit(name), ClassScore(name), Counterfactual(Counterfactual(name))):
            np.testing.assert_allclose(explainer(IMAGES, target).scores, expected.scores, rtol=1e-6)
        np.testing.assert_allclose(explainer(IMAGES, Unit(name, positive=False)).scores, -expected.scores, rtol=1e-6)
        assert explainer(IMAGES, Unit(name, positive=False)).labels == [f"not {name}"] * 2
    with pytest.raises(ValueError, match="several labels for MultiLabel"):
        explainer(IMAGES, MultiLabel(["healthy"]))


def test_sigmoid_unit_beside_another_output_has_two_classes() -> None:
    images = keras.Input((6, 10, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="conv")(images))
    outputs = {"age": layers.Dense(1)(pooled), "ill": layers.Dense(1, "sigmoid")(pooled)}
    explainer = Explainer(keras.Model(images, outputs), "conv")
    yes, no = explainer(IMAGES, OutputOf("ill", 1)), explainer(IMAGES, OutputOf("ill", 0))
    np.testing.assert_allclose(no.scores, -yes.scores, rtol=1e-6)
    assert yes.scores.any()
    with pytest.raises(ValueError, match="without a final sigmoid"):
        explainer(IMAGES, OutputOf("age", 1))


# Functions of the user's own that TensorFlow refuses.


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (lambda outputs: outputs[:, 7], "slice index 7 of dimension 1 out of bounds"),
        (lambda outputs: outputs[:, 0, 0], "input has only 2 dims"),
        (lambda outputs: outputs["breed"], "valid indices, got 'breed'"),
        (lambda: 0, "takes 0 positional arguments"),
        (OutputOf, "position in the outputs"),
    ],
)
def test_function_that_does_not_suit_the_outputs_is_told_their_shape(target: Any, reason: str) -> None:
    explainer = Explainer(small_model())
    for given in (target, Counterfactual(target)):
        with pytest.raises(ValueError, match=r"takes outputs \(B, 5\), but '.*' fails on them: .*" + reason) as caught:
            explainer(IMAGES, given)
        assert "\n" not in str(caught.value)


def test_function_is_told_the_shapes_of_several_outputs() -> None:
    with pytest.raises(ValueError, match=r"takes outputs \{'age': \[\(B, 1\), \(B, 2\)\], 'breed': \(B, 5\)\}, but"):
        called(
            lambda outputs: outputs["breed"][:, 9],
            {"age": [tf.zeros((2, 1)), tf.zeros((2, 2))], "breed": tf.constant(LOGITS)},
        )


def test_distance_pulls_a_value_from_either_side() -> None:
    model = small_model(layers.GlobalAveragePooling2D(), layers.Dense(1))
    explainer = Explainer(model)
    value = explainer(IMAGES, Value()).raw
    values = model.predict(IMAGES, verbose=0)
    above, below = float(values.max()) + 1.0, float(values.min()) - 1.0
    np.testing.assert_allclose(explainer(IMAGES, Distance(above)).raw, value, rtol=1e-6)
    np.testing.assert_allclose(explainer(IMAGES, Distance(below)).raw, -value, rtol=1e-6)


def test_region_of_a_segmentation_sees_only_the_pixels_around_it() -> None:
    """A 3 x 3 convolution comes behind the layer: by HiResCAM nothing counts beyond one pixel from the region."""
    model = small_model(layers.Conv2D(3, 3, padding="same", activation="softmax"))
    mask = np.zeros((6, 10), bool)
    mask[1, 7] = True
    raw = Explainer(model, "conv", "hirescam")(IMAGES, Region(2, mask)).raw
    near = np.zeros((6, 10), bool)
    near[0:3, 6:9] = True
    assert not raw[:, ~near].any()
    assert raw[:, near].any(axis=1).all()


def test_element_is_the_box_score_of_a_detector() -> None:
    """60 boxes, one a cell, row by row, each of 4 sides and 2 classes: box 27 is that of row 2, column 7."""
    head = [layers.Conv2D(6, 1, padding="same"), layers.Reshape((60, 6))]
    raw = Explainer(small_model(*head), "conv", "hirescam")(IMAGES, Element(27, 5)).raw
    at = np.zeros((6, 10), bool)
    at[2, 7] = True
    assert not raw[:, ~at].any()
    assert raw[:, at].any()


def test_similarity_to_itself_is_one_and_explains_nothing() -> None:
    """The cosine is at its maximum there: its gradient vanishes."""
    model = small_model(layers.GlobalAveragePooling2D(), layers.Dense(5))
    embeddings = model.predict(IMAGES, verbose=0)
    explainer = Explainer(model)
    itself = explainer(IMAGES[:1], Similarity(embeddings[0]))
    other = explainer(IMAGES[:1], Similarity(np.roll(embeddings[0], 2)))
    np.testing.assert_allclose(itself.scores, 1.0, rtol=1e-6)
    assert np.abs(itself.raw).max() < 1e-5 * np.abs(other.raw).max()


@pytest.mark.parametrize("names", [True, False])
def test_output_of_a_model_of_several(names: bool) -> None:
    keras.utils.set_random_seed(5)
    images = keras.Input((6, 10, 3))
    features = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(images)
    pooled = layers.GlobalAveragePooling2D()(features)
    age, breed = layers.Dense(1, name="age")(pooled), layers.Dense(5, activation="softmax", name="breed")(pooled)
    model = keras.Model(images, {"age": age, "breed": breed} if names else [age, breed])
    expected = Explainer(keras.Model(images, breed), "conv")(IMAGES, 3)
    explanation = Explainer(model, "conv")(IMAGES, OutputOf("breed" if names else 1, 3))
    np.testing.assert_allclose(explanation.raw, expected.raw, rtol=1e-6)
    np.testing.assert_allclose(explanation.scores, expected.scores, rtol=1e-6)


# The sides of signed targets.


@pytest.mark.parametrize(
    ("target", "label", "sides"),
    [
        (Contrast("dog", "wolf"), "dog - wolf", ("for wolf", "for dog")),
        (Contrast("dog"), "dog - fox", ("for fox", "for dog")),
        (Contrast(), "fox - wolf", ("for wolf", "for fox")),
        (Contrast(None, 3), "fox - wolf", ("for wolf", "for fox")),
        (Contrast(None, 2), "top class - fox", ("for fox", "for top class")),
        (Counterfactual("dog"), "against dog", ("for dog", "against dog")),
        (Counterfactual(Contrast()), "against fox - wolf", ("for fox - wolf", "against fox - wolf")),
        (Finer("dog"), "dog - 0.6 * nearest 3", ("for the 3 nearest classes", "for dog")),
        (ClassScore("dog"), "dog", None),
    ],
)
def test_signed_target_names_its_sides_as_the_image_decides(target: Any, label: str, sides: Any) -> None:
    """Of the logits 0, 1, 5, 4 the top class is fox and the runner-up wolf."""
    names, outputs = ClassNames(["cat", "dog", "fox", "wolf"]), np.array([[0.0, 1.0, 5.0, 4.0]])
    assert labels_of(target, outputs, names) == [label]
    assert sides_of(target, outputs, names) == (None if sides is None else [sides])


def test_contrast_of_one_unit_names_both_of_its_sides() -> None:
    """A logit of -2 speaks for the first class."""
    names = ClassNames(["healthy", "ill"])
    assert sides_of(Contrast(), np.array([[-2.0]]), names) == [("for ill", "for healthy")]
