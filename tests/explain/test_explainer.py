"""The recipe from image to heatmap: its arithmetic by hand, its batches, its compiled passes, what it holds on to.

Axis legend: B images, H x W cells, C channels.

Also tests _explain/passes.py.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.helpers.drawing import drawn
from tests.zoo.styles import FLOAT16_TOLERANCE, photos, plain_model, plain_nested, small_net
from tf_gradcam import METHODS, Explainer
from tf_gradcam._explain.explainer import _KEPT_TARGETS
from tf_gradcam._explain.passes import combine, normalise
from tf_gradcam.targets import Unit

pytestmark = pytest.mark.core
IMAGES = photos(3)

# A network to be computed in one's head, on images of 2 x 3 pixels with one value each.

PICTURE = np.array([[1, 2, -1], [0, 3, -2]], np.float32)
POSITIVE = np.array([[1, 2, 0], [0, 3, 0]])  # its relu: channel 0 of the layer
NEGATIVE = np.array([[0, 0, 1], [0, 0, 2]])  # the relu of its negative: channel 1
KERNEL_0 = np.array([[6, 0, 0], [0, 0, 0]])  # of class 0 on channel 0, a weight per cell
KERNEL_1 = np.array([[0, 0, 6], [0, 6, 0]])  # of class 0 on channel 1


def two_by_three(activation: str | None = "softmax") -> keras.Model:
    """logit 0 = sum(KERNEL_0 * A_0) + sum(KERNEL_1 * A_1), logit 1 its negative; A_0 = relu(x), A_1 = relu(-x)."""
    model = keras.Sequential(
        [
            keras.Input((2, 3, 1)),
            layers.Conv2D(2, 1, activation="relu", name="conv"),
            layers.Flatten(),
            layers.Dense(2, activation=activation, name="head"),
        ]
    )
    kernel = np.stack([KERNEL_0, KERNEL_1], axis=-1).reshape(12, 1)
    signs = np.array([1.0, -1.0])
    model.set_weights([signs.reshape(1, 1, 1, 2), np.zeros(2), kernel * signs, np.zeros(2)])
    return model


def by_hand(target: Any = 0, method: Any = "gradcam", activation: str | None = "softmax") -> Any:
    return Explainer(two_by_three(activation), method=method)(PICTURE[None, ..., None], target)


def test_gradcam_by_hand() -> None:
    """The gradients of class 0 are the kernel. Their means are 6 / 6 = 1 on channel 0 and 12 / 6 = 2 on channel 1:

    1 * [[1, 2, 0], [0, 3, 0]] + 2 * [[0, 0, 1], [0, 0, 2]] = [[1, 2, 2], [0, 3, 4]], whose maximum is 4.
    """
    explanation = by_hand()
    np.testing.assert_allclose(explanation.raw[0], [[1, 2, 2], [0, 3, 4]], rtol=1e-6)
    np.testing.assert_allclose(explanation.heatmaps[0], [[0.25, 0.5, 0.5], [0, 0.75, 1]], rtol=1e-6)
    assert explanation.heatmaps.dtype == explanation.raw.dtype == np.float32
    assert explanation.heatmaps.shape == (1, 2, 3)


def test_hirescam_by_hand() -> None:
    """Cell by cell: 6 * 1 at the top left from channel 0, 6 * 1 at the top right from channel 1, elsewhere one is 0."""
    explanation = by_hand(method="hirescam")
    np.testing.assert_allclose(explanation.raw[0], [[6, 0, 6], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(explanation.heatmaps[0], [[1, 0, 1], [0, 0, 0]], rtol=1e-6)


def test_score_by_hand_is_the_logit() -> None:
    """6 * 1 + 6 * 1 = 12 against -12. In float32 the softmax of that is 1 and its gradient 0; the map is there."""
    explanation = by_hand()
    np.testing.assert_allclose(explanation.outputs, [[12, -12]], rtol=1e-6)
    np.testing.assert_allclose(explanation.scores, [12], rtol=1e-6)
    np.testing.assert_allclose(explanation.probabilities, [[1, np.exp(-24.0)]], rtol=1e-4)
    assert explanation.diagnosis == [None]


def test_softmax_or_none_is_the_same_map() -> None:
    np.testing.assert_array_equal(by_hand().raw, by_hand(activation=None).raw)


def test_map_of_what_speaks_against_is_zero_and_stays_zero() -> None:
    """Class 1 is the negative: every cell of raw is zero or below."""
    explanation = by_hand(target=1)
    np.testing.assert_allclose(explanation.raw[0], [[-1, -2, -2], [0, -3, -4]], rtol=1e-6)
    np.testing.assert_array_equal(explanation.heatmaps, np.zeros((1, 2, 3)))
    assert "every cell speaks against 'class 1'" in explanation.diagnosis[0]
    np.testing.assert_array_equal(explanation.resized((7, 9)), np.zeros((1, 7, 9)))


def test_explanation_says_what_was_explained() -> None:
    explanation = by_hand(target=None)
    assert (explanation.layer_name, explanation.method, explanation.image_size) == ("conv", "gradcam", (2, 3))
    assert explanation.class_indices.tolist() == [0]
    assert explanation.labels == ["class 0"]


# A method of one's own: weights per channel, weights per cell, or the map itself.


def weights_per_channel(activations: Any, gradients: Any) -> Any:
    return tf.reduce_mean(gradients, axis=[1, 2], keepdims=True)


def weights_per_cell(activations: Any, gradients: Any) -> Any:
    return gradients


def the_map_itself(activations: Any, gradients: Any) -> Any:
    return tf.reduce_sum(activations * gradients, axis=-1)


@pytest.mark.parametrize(
    ("rule", "name"),
    [(weights_per_channel, "gradcam"), (weights_per_cell, "hirescam"), (the_map_itself, "hirescam")],
)
def test_own_method_in_each_form(rule: Any, name: str) -> None:
    own, built_in = by_hand(method=rule), by_hand(method=name)
    np.testing.assert_allclose(own.raw, built_in.raw, rtol=1e-6)
    assert own.method == rule.__name__


def test_own_method_gets_float32_of_batch_cells_and_channels() -> None:
    seen: list[tuple[Any, Any]] = []

    def rule(activations: Any, gradients: Any) -> Any:
        seen.extend((tensor.dtype, tuple(tensor.shape)) for tensor in (activations, gradients))
        return gradients

    by_hand(method=rule)
    assert seen == [(tf.float32, (None, 2, 3, 2))] * 2


def test_own_method_that_gives_no_cells_is_refused() -> None:
    """Weights (B, C), as other libraries have them, would be taken for a map of B x C."""
    with pytest.raises(ValueError, match=r"\(B, H, W"):
        by_hand(method=lambda activations, gradients: tf.reduce_mean(gradients, axis=[1, 2]))


def test_method_is_a_key_of_the_table() -> None:
    with pytest.raises(ValueError, match=r"Unknown method 'gradcan'\. Did you mean 'gradcam'"):
        by_hand(method="gradcan")
    assert {"gradcam", "hirescam"} <= set(METHODS)


@pytest.mark.parametrize("method", [None, 3, ["gradcam"]])
def test_method_of_another_kind_is_refused(method: Any) -> None:
    with pytest.raises(TypeError, match=f"Expected method as a name or a callable, received {type(method).__name__}"):
        by_hand(method=method)


@pytest.mark.parametrize("align", [True, "yes", None, 1])
def test_align_of_another_kind_is_refused(align: Any) -> None:
    with pytest.raises(ValueError, match=rf"Expected align=False or align='measured', received {align!r}"):
        Explainer(two_by_three(), align=align)


# Combination and normalisation.


def random_maps(seed: int = 0, shape: tuple[int, ...] = (4, 6, 10, 5)) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def test_combine_is_the_sum_over_channels() -> None:
    activations, weights = random_maps(0), random_maps(1)
    expected = (activations.numpy() * weights.numpy()).sum(axis=-1)
    np.testing.assert_allclose(combine(weights, activations), expected, rtol=1e-4, atol=1e-5)


def test_combine_of_one_weight_per_channel_repeats_it() -> None:
    activations, weights = random_maps(0), random_maps(1, (4, 1, 1, 5))
    repeated = tf.broadcast_to(weights, activations.shape)
    np.testing.assert_allclose(combine(weights, activations), combine(repeated, activations), rtol=1e-4, atol=1e-5)


def test_combine_takes_any_number_of_axes() -> None:
    for shape in [(4, 7, 5), (4, 2, 3, 4, 5)]:
        activations, weights = random_maps(0, shape), random_maps(1, (4, *[1] * (len(shape) - 2), 5))
        expected = (activations.numpy() * weights.numpy()).sum(axis=-1)
        np.testing.assert_allclose(combine(weights, activations), expected, rtol=1e-4, atol=1e-5)


def test_normalise_divides_each_map_by_its_own_maximum() -> None:
    raw = np.array([[[1, 2], [-3, 4]], [[0.5, -1], [0.25, 0]], [[-1, -2], [0, -3]]], np.float32)
    expected = [[[0.25, 0.5], [0, 1]], [[1, 0], [0.5, 0]], [[0, 0], [0, 0]]]
    np.testing.assert_array_equal(normalise(tf.constant(raw)), expected)


@pytest.mark.parametrize("factor", [1e-30, 1e-8, 1.0, 1e30])
def test_normalise_forgets_the_scale(factor: float) -> None:
    raw = random_maps(shape=(3, 6, 10))
    np.testing.assert_allclose(normalise(raw * factor), normalise(raw), rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_normalise_blanks_the_map_with_a_bad_cell_alone(bad: float) -> None:
    raw = np.abs(random_maps(shape=(3, 6, 10)).numpy())
    raw[1, 2, 3] = bad
    heatmaps = normalise(tf.constant(raw)).numpy()
    np.testing.assert_array_equal(heatmaps[1], np.zeros((6, 10)))
    np.testing.assert_array_equal(heatmaps.max(axis=(1, 2)), [1, 0, 1])


# Batches.


@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
def test_batch_of_different_images_equals_singles(method: str) -> None:
    """The head pools a relu, so that each image has gradients of its own."""
    explainer = Explainer(plain_model(), "conv2", method)
    targets = [1, 3, 0]
    batch = explainer(IMAGES, targets)
    for index, target in enumerate(targets):
        single = explainer(IMAGES[index : index + 1], target)
        np.testing.assert_allclose(batch.raw[index], single.raw[0], rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(batch.scores[index], single.scores[0], rtol=1e-5)


def test_batch_of_one_image_repeated_is_one_map_repeated() -> None:
    explanation = Explainer(plain_model(), "conv2")(np.repeat(IMAGES[:1], 5, axis=0), 1)
    for index in range(5):
        np.testing.assert_allclose(explanation.raw[index], explanation.raw[0], rtol=1e-5, atol=1e-8)


def test_brighter_picture_is_the_same_map() -> None:
    """The drawing network is linear without a bias: its map does not know the scale of the picture."""
    picture = np.random.default_rng(0).random((1, 6, 10))
    np.testing.assert_allclose(drawn(5 * picture).heatmaps, drawn(picture).heatmaps, rtol=1e-5)


# Compiled passes.


def test_class_targets_share_one_trace() -> None:
    explainer = Explainer(plain_model(), class_names=["a", "b", "c", "d"])
    for number in range(50):
        count = 1 + number % 4
        targets: list[Any] = [None, 2, "c", np.arange(count) % 4, [None] * count]
        explainer(photos(count, seed=number), targets[number % 5])
    assert explainer.trace_count == 1


def test_callable_target_is_traced_once() -> None:
    explainer = Explainer(plain_model())
    for count in (1, 2, 3):
        explainer(photos(count), first_logit)
    assert explainer.trace_count == 1


def first_logit(outputs: Any) -> Any:
    return outputs[:, 0]


@pytest.mark.slow
def test_callable_targets_are_kept_for_a_while_only() -> None:
    """A new lambda in every turn of a loop is a new target; the last few stay, and the pass of the classes does."""
    explainer = Explainer(plain_model())
    explainer(IMAGES, 0)
    targets = [lambda outputs, k=k: outputs[:, k % 4] for k in range(_KEPT_TARGETS + 4)]
    alive = [weakref.ref(target) for target in targets]
    for target in targets:
        explainer(IMAGES, target)
    del target, targets
    gc.collect()
    assert sum(reference() is not None for reference in alive) < _KEPT_TARGETS + 1
    assert alive[-1]() is not None
    before = explainer.trace_count
    explainer(IMAGES, 1)
    assert explainer.trace_count == before


# The model, followed and let go.


def test_changed_weights_are_followed() -> None:
    model = plain_model()
    explainer = Explainer(model)
    before = explainer(IMAGES, 1)
    model.set_weights([0.5 * weight + 0.01 for weight in model.get_weights()])
    after, fresh = explainer(IMAGES, 1), Explainer(model)(IMAGES, 1)
    assert explainer.trace_count == 1
    np.testing.assert_array_equal(after.raw, fresh.raw)
    assert np.abs(after.raw - before.raw).max() > 1e-3


def test_trained_model_is_followed() -> None:
    model = plain_model()
    explainer = Explainer(model)
    explainer(IMAGES, 1)
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    model.fit(IMAGES, np.array([0, 1, 2]), verbose=0)
    np.testing.assert_array_equal(explainer(IMAGES, 1).raw, Explainer(model)(IMAGES, 1).raw)


def test_explainer_knows_the_model_that_it_fits() -> None:
    model = plain_model()
    explainer = Explainer(model)
    assert explainer.fits(model)
    model.set_weights([2 * weight for weight in model.get_weights()])
    assert explainer.fits(model)
    assert not explainer.fits(plain_model())
    model.get_layer("head").enable_lora(1)
    assert not explainer.fits(model)


@pytest.mark.parametrize("build", [plain_model, plain_nested])
def test_model_of_a_graph_is_let_go_while_its_explainer_lives(build: Any) -> None:
    model = build()
    explainer = Explainer(model)
    expected = explainer(IMAGES, 1).raw
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None
    np.testing.assert_array_equal(explainer(IMAGES, 1).raw, expected)


@pytest.mark.parametrize("build", [plain_model, lambda: small_net()[0]], ids=["graph", "subclassed"])
def test_explainer_is_let_go_while_its_model_lives(build: Any) -> None:
    model = build()
    explainer = Explainer(model)
    explainer(IMAGES, 1)
    alive = weakref.ref(explainer)
    del explainer
    gc.collect()
    assert alive() is None
    assert model(IMAGES).shape == (3, 4)


# Half precision.


def half_model(policy: str, first: float, second: float) -> keras.Model:
    """A conv of ones and positive kernels: the gradient of every cell and channel is first * second / cells * 4."""
    images = keras.Input((6, 10, 3))
    steps = [
        layers.Conv2D(4, 3, padding="same", activation="relu", name="conv", dtype=policy),
        layers.AveragePooling2D((6, 10), name="mean", dtype=policy),
        layers.Flatten(dtype=policy),
        layers.Dense(4, use_bias=False, name="first", dtype=policy),
        layers.Dense(3, use_bias=False, name="second", dtype=policy),
        layers.Activation("softmax", dtype="float32"),
    ]
    outputs: Any = images
    for step in steps:
        outputs = step(outputs)
    model = keras.Model(images, outputs)
    generator = np.random.default_rng(0)
    conv_kernel = generator.uniform(0.0, 0.1, (3, 3, 3, 4))
    kernels = [generator.uniform(0.5, 1.0, shape) * scale for shape, scale in (((4, 4), first), ((4, 3), second))]
    model.set_weights([conv_kernel, np.zeros(4), *kernels])
    return model


def half_and_full(first: float, second: float) -> tuple[Any, Any]:
    images = IMAGES[:, :6, :10]
    return tuple(
        Explainer(half_model(policy, first, second), "conv", "hirescam")(images, 1)
        for policy in ("mixed_float16", "float32")
    )


@pytest.mark.parametrize(("first", "second"), [(1.0, 1.0), (1e-2, 1e-2), (2e-3, 1e-3)])
def test_half_precision_gives_the_float32_map(first: float, second: float) -> None:
    """The last has gradients of 4 * 2e-3 * 1e-3 * 0.56 / 60 = 7e-8 in the mean, at the smallest number of float16."""
    half, full = half_and_full(first, second)
    assert half.raw.dtype == np.float32
    np.testing.assert_allclose(half.raw, full.raw, rtol=0, atol=2 * FLOAT16_TOLERANCE * full.raw.max())
    np.testing.assert_allclose(half.heatmaps, full.heatmaps, rtol=0, atol=2 * FLOAT16_TOLERANCE)


def test_half_precision_does_not_overflow_where_the_model_does_not() -> None:
    """Gradients of 4 * 20 * 20 * 0.56 = 900 per pooled feature, as of a value in grams; the model is finite."""
    half, full = half_and_full(20.0, 20.0)
    assert np.isfinite(half.outputs).all()
    np.testing.assert_allclose(half.heatmaps, full.heatmaps, rtol=0, atol=2 * FLOAT16_TOLERANCE)


def test_float32_gradients_far_below_half_precision_are_kept() -> None:
    model = half_model("float32", 1e-15, 1e-15)
    plain = half_model("float32", 1.0, 1.0)
    images = IMAGES[:, :6, :10]
    tiny, usual = (Explainer(one, "conv", "hirescam")(images, 1) for one in (model, plain))
    np.testing.assert_allclose(tiny.heatmaps, usual.heatmaps, rtol=1e-4)
    assert tiny.raw.max() < 1e-30


def test_list_of_layers_is_fused_by_mean() -> None:
    """At the grid of the finer layer: the mean of the two normalised maps, here of one size, so cell by cell."""
    model = keras.Sequential(
        [
            keras.Input((6, 10, 3)),
            keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="one"),
            keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="two"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    images = np.random.default_rng(3).random((2, 6, 10, 3), np.float32)
    fused = Explainer(model, ["one", "two"], class_names=["a", "b", "c"])
    single = [Explainer(model, layer)(images, 1).heatmaps for layer in ("one", "two")]
    explanation = fused(images, "b")
    np.testing.assert_allclose(explanation.raw, np.mean(single, axis=0), rtol=1e-5, atol=1e-6)
    assert explanation.labels == ["b", "b"]
    assert fused.layer_name == "one + two"
    assert fused.trace_count == 2
    with pytest.raises(ValueError, match="Expected one layer for the maps of many classes"):
        fused.class_maps(images)


@pytest.mark.parametrize("arguments", [{"layer": []}, {"layer": [1, 2], "classifier_layers": ["dense"]}])
def test_list_of_layers_that_cannot_be_fused_is_refused(arguments: Any) -> None:
    with pytest.raises(ValueError, match="Expected a list of at least one layer"):
        Explainer(keras.Sequential([keras.Input((6, 10, 3)), keras.layers.Conv2D(2, 1)]), **arguments)


# Heads of one unit, and of values that are not logits.


def one_unit(head: Any = None) -> keras.Model:
    """Two pictures of 6 x 10 are told apart: the unit is the mean of the first channel, less one half."""
    images = keras.Input((6, 10, 3))
    cells = layers.Conv2D(1, 1, name="cells")(images)
    unit = layers.Dense(1, name="unit")(layers.GlobalAveragePooling2D()(cells))
    model = keras.Model(images, unit if head is None else head(unit))
    model.set_weights([np.reshape([1.0, 0, 0], (1, 1, 3, 1)), np.zeros(1), np.ones((1, 1)), np.array([-0.5])])
    return model


DARK_AND_BRIGHT = np.stack([np.full((6, 10, 3), value, np.float32) for value in (0.1, 0.9)])


def test_unit_without_sigmoid_is_a_value_and_never_a_class() -> None:
    explanation = Explainer(one_unit())(DARK_AND_BRIGHT)
    assert explanation.labels == ["value", "value"]
    assert explanation.class_indices.tolist() == [-1, -1]
    assert explanation.probabilities is None
    np.testing.assert_allclose(explanation.scores, [-0.4, 0.4], rtol=1e-5)
    assert Explainer(one_unit(), class_names=["age"])(DARK_AND_BRIGHT).labels == ["age", "age"]


@pytest.mark.parametrize("target", [1, [0, 1]])
def test_class_of_a_value_is_refused_with_what_to_do(target: Any) -> None:
    with pytest.raises(ValueError, match=r"is a value.*class_names=\[...\].*Unit\(0, positive=False\)"):
        Explainer(one_unit())(DARK_AND_BRIGHT, target)
    assert Explainer(one_unit())(DARK_AND_BRIGHT, 0).labels == ["value", "value"]
    against = Explainer(one_unit())(DARK_AND_BRIGHT, Unit(0, positive=False))
    np.testing.assert_allclose(against.scores, [0.4, -0.4], rtol=1e-5)
    assert Explainer(one_unit()).class_maps(DARK_AND_BRIGHT).labels == [["value"], ["value"]]


@pytest.mark.parametrize(
    "method",
    [
        pytest.param("gradcam", marks=pytest.mark.slow),
        pytest.param("fullgrad", marks=pytest.mark.slow),
        pytest.param("cam", marks=pytest.mark.soak),
        pytest.param("scorecam", marks=pytest.mark.soak),
    ],
)
def test_unit_without_sigmoid_and_two_names_is_two_classes_by_its_sign(method: str) -> None:
    """A sigmoid behind the same unit gives the same labels, probabilities, scores and maps, class by class."""
    names = ["cat", "dog"]
    unit, reference = one_unit(), one_unit(layers.Activation("sigmoid"))
    for target in (None, 0, 1, "cat", ["dog", "cat"]):
        actual = Explainer(unit, method=method, class_names=names)(DARK_AND_BRIGHT, target)
        expected = Explainer(reference, method=method, class_names=names)(DARK_AND_BRIGHT, target)
        assert actual.labels == expected.labels
        for field in ("raw", "heatmaps", "outputs", "probabilities", "scores", "class_indices"):
            np.testing.assert_allclose(getattr(actual, field), getattr(expected, field), rtol=1e-5, atol=1e-6)
    assert Explainer(unit, class_names=names)(DARK_AND_BRIGHT).labels == names
    maps = Explainer(unit, class_names={1: "dog"}).class_maps(DARK_AND_BRIGHT)
    np.testing.assert_allclose(maps.scores, [[0.4, -0.4], [-0.4, 0.4]], rtol=1e-5)


def test_bounded_unit_and_two_names_has_classes_but_no_probabilities() -> None:
    """A tanh, as hinge losses use it: its sign is the class, but a sigmoid of it is not what the model says."""
    explanation = Explainer(one_unit(layers.Activation("tanh")), class_names=["cat", "dog"])(DARK_AND_BRIGHT)
    assert explanation.labels == ["cat", "dog"]
    assert explanation.probabilities is None


def test_positive_unit_cannot_be_two_classes() -> None:
    with pytest.raises(ValueError, match="Expected names of 1 classes, received 2"):
        Explainer(one_unit(layers.ReLU()), class_names=["cat", "dog"])(DARK_AND_BRIGHT)


def test_average_of_two_sigmoid_units_is_two_classes() -> None:
    def ensemble(unit: Any) -> Any:
        return layers.Average()([layers.Activation("sigmoid")(unit), layers.Activation("sigmoid")(3.0 * unit)])

    model = one_unit(ensemble)
    explanation = Explainer(model, class_names=["cat", "dog"])(DARK_AND_BRIGHT)
    positive = model(DARK_AND_BRIGHT).numpy()
    assert explanation.labels == ["cat", "dog"]
    np.testing.assert_allclose(explanation.probabilities, np.concatenate([1 - positive, positive], axis=1), rtol=1e-5)


def test_bounded_outputs_have_no_probabilities_in_any_result() -> None:
    images = keras.Input((6, 10, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 1, name="cells")(images))
    model = keras.Model(images, layers.Dense(3, activation="softplus")(pooled))
    explainer = Explainer(model)
    assert explainer(DARK_AND_BRIGHT).probabilities is None
    assert explainer.class_maps(DARK_AND_BRIGHT).probabilities is None
    assert explainer(DARK_AND_BRIGHT).labels[0].startswith("class ")
