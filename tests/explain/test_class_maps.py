"""Maps of many classes: the matrix product, the loop over the tail and the explainer must give the same ones.

Also tests _results/class_maps.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.helpers.slow import first
from tf_gradcam import METHODS, Explainer
from tf_gradcam._explain.class_maps import _CLOSED_FORMS, ClassPass, class_maps
from tf_gradcam._files.class_names import ClassNames
from tf_gradcam._models.split import linear_tail
from tf_gradcam._results.class_maps import ClassMaps
from tf_gradcam._rules.probing import scorecam
from tf_gradcam.image.io import load_image

pytestmark = pytest.mark.core
NAMES = ["cat", "dog", "fox", "wolf"]
IMAGES = np.random.default_rng(0).normal(size=(3, 6, 10, 3)).astype(np.float32)


def built(*tail: Any, units: int = 4, activation: str = "softmax", seed: int = 1) -> keras.Model:
    """A convolution `conv` with SiLU, whose activations are negative too, then the given tail or pooling and Dense."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((6, 10, 3))
    features = layers.Conv2D(5, 3, padding="same", activation="silu", name="conv")(images)
    for layer in tail or (layers.GlobalAveragePooling2D(), layers.Dense(units, activation, name="head")):
        features = layer(features)
    model = keras.Model(images, features)
    for variable in model.trainable_variables:
        if variable.name == "bias":
            variable.assign(np.random.default_rng(2).normal(size=variable.shape))
    return model


def deep() -> keras.Model:
    """No closed form: a convolution behind the explained one."""
    return built(layers.Conv2D(6, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(4, "softmax"))


class Maps:
    """`Explainer.class_maps` of one model at `conv`, beside the explainer itself; `looped` leaves the graph out."""

    def __init__(self, model: keras.Model, method: Any = "gradcam", looped: bool = False, names: Any = None):
        self.explainer = Explainer(model, "conv", method, class_names=names)
        self.names = ClassNames(names)
        rule = METHODS[method] if isinstance(method, str) else method
        self.compiled = ClassPass(self.explainer.split, rule, closed_form=not looped)

    def __call__(self, images: Any = IMAGES, classes: Any = None, top: Any = None, above: Any = None) -> ClassMaps:
        return class_maps(self.compiled, images, classes, top, above, names=self.names, method=self.explainer.method)

    def one_by_one(self, images: np.ndarray, classes: Any) -> np.ndarray:
        """(B, K, H, W) of the explainer, a call for each class."""
        return np.stack([self.explainer(images, index).raw for index in classes], axis=1)


def assert_maps_equal(actual: np.ndarray, expected: np.ndarray) -> None:
    """To 1e-5 of the largest: the terms of a cell may cancel."""
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


# One result by three ways.


def test_closed_forms_are_those_of_methods() -> None:
    assert {rule.__name__ for rule in _CLOSED_FORMS} <= set(METHODS)
    assert all(METHODS[rule.__name__] is rule for rule in _CLOSED_FORMS)


@pytest.mark.parametrize("method", first(2, [rule.__name__ for rule in _CLOSED_FORMS]))
def test_product_loop_and_explainer_agree(method: str) -> None:
    model = built()
    product, loop = Maps(model, method), Maps(model, method, looped=True)
    assert product.compiled.is_closed_form
    assert not loop.compiled.is_closed_form
    expected = product.one_by_one(IMAGES, range(4))
    for maps in (product(), loop()):
        assert_maps_equal(maps.raw, expected)
        assert maps.raw.dtype == maps.heatmaps.dtype == np.float32
    np.testing.assert_allclose(product().heatmaps, loop().heatmaps, atol=1e-5)


@pytest.mark.parametrize("method", ["gradcam", "cam", "layercam"])
def test_product_is_the_formula(method: str) -> None:
    """raw_k = sum_c A_c w_ck, with w the kernel over Z, its positive part, or the kernel itself (cam)."""
    model = built()
    conv = keras.Model(model.inputs, model.get_layer("conv").output)
    activations = conv.predict(IMAGES, verbose=0).astype(np.float64)
    kernel = model.get_layer("head").get_weights()[0].astype(np.float64)
    weights = {"gradcam": kernel / 60, "cam": kernel, "layercam": np.maximum(kernel, 0) / 60}[method]
    expected = np.einsum("bhwc,ck->bkhw", activations, weights)
    maps = Maps(model, method)()
    assert_maps_equal(maps.raw, expected)
    positive = np.maximum(expected, 0)
    np.testing.assert_allclose(maps.heatmaps, positive / positive.max(axis=(2, 3), keepdims=True), atol=1e-5)


def one_third(activations: Any, gradients: Any) -> Any:
    """A user's rule."""
    return gradients / 3.0


@pytest.mark.parametrize("method", ["gradcam", "gradcam_pp", "gradcam_elementwise", "shapleycam", one_third])
def test_any_tail_and_rule_give_the_explainers_maps(method: Any) -> None:
    maps = Maps(deep(), method)
    assert not maps.compiled.is_closed_form
    assert_maps_equal(maps().raw, maps.one_by_one(IMAGES, range(4)))


@pytest.mark.parametrize("method", ["eigencam", "fem"])
def test_class_agnostic_rules_give_every_class_the_same_map(method: str) -> None:
    maps = Maps(built(), method)
    result = maps(classes=[2, 0])
    expected = maps.explainer(IMAGES)
    for position in (0, 1):
        assert_maps_equal(result.raw[:, position], expected.raw)
    assert not np.allclose(result.scores[:, 0], result.scores[:, 1])


def test_a_rule_that_is_only_called_gradcam_is_not_replaced() -> None:
    def gradcam(activations: Any, gradients: Any) -> Any:
        return -gradients

    product, negated = Maps(built()), Maps(built(), gradcam)
    assert_maps_equal(negated().raw, -product().raw)


# Where the closed form holds.


class OwnDense(layers.Dense):
    """Not Keras' own: what it computes only its call knows."""


def quantised() -> keras.Model:
    model = built()
    model.get_layer("head").quantize("int8")
    return model


def adapted() -> keras.Model:
    model = built()
    model.get_layer("head").enable_lora(2)
    model.get_layer("head").lora_kernel_b.assign(np.random.default_rng(7).normal(size=(2, 4)))
    return model


def deceptive() -> keras.Model:
    """Looks like pooling and Dense, and computes twice that."""
    model = built(activation="linear")
    head = model.get_layer("head")
    original = head.call
    object.__setattr__(head, "call", lambda inputs, training=None: 2.0 * original(inputs))
    return model


def nested() -> keras.Model:
    images = keras.Input((6, 10, 3))
    inner = built(layers.Dropout(0.5), layers.GlobalAveragePooling2D())
    return keras.Model(images, layers.Dense(4, "softmax", name="head")(inner(images)))


def two_heads() -> keras.Model:
    model = built()
    pooled = model.layers[2].output
    return keras.Model(model.inputs, [model.output, layers.Dense(2)(pooled)])


GAP = layers.GlobalAveragePooling2D
CLOSED: dict[str, Callable[[], keras.Model]] = {
    "softmax": built,
    "logits": lambda: built(activation="linear"),
    "no bias": lambda: built(GAP(), layers.Dense(4, use_bias=False)),
    "dropout": lambda: built(layers.Dropout(0.5), GAP(), layers.Dropout(0.5), layers.Dense(4), layers.Softmax()),
    "flatten": lambda: built(GAP(keepdims=True), layers.Flatten(), layers.Dense(4), layers.Activation("softmax")),
    "convolution": lambda: built(
        GAP(keepdims=True), layers.Conv2D(4, 1, padding="same"), layers.Reshape((4,)), layers.Activation("softmax")
    ),
    "operation": lambda: built(GAP(), layers.Dense(4), lambda logits: keras.ops.softmax(logits, axis=-1)),
    "reshape behind softmax": lambda: built(GAP(), layers.Dense(4, "softmax"), layers.Reshape((4,))),
    "sigmoid labels": lambda: built(activation="sigmoid"),
    "sigmoid unit": lambda: built(units=1, activation="sigmoid"),
    "one value": lambda: built(units=1, activation="linear"),
    "LoRA": adapted,
    "nested": nested,
    "two heads": two_heads,
}
NOT_CLOSED: dict[str, Callable[[], keras.Model]] = {
    "convolution before pooling": deep,
    "maximum": lambda: built(layers.GlobalMaxPooling2D(), layers.Dense(4, "softmax")),
    "flatten": lambda: built(layers.Flatten(), layers.Dense(4, "softmax")),
    "reshape before pooling": lambda: built(layers.Reshape((10, 6, 5)), GAP(), layers.Dense(4, "softmax")),
    "relu before pooling": lambda: built(layers.ReLU(), GAP(), layers.Dense(4, "softmax")),
    "hidden layer": lambda: built(GAP(), layers.Dense(6, "relu"), layers.Dense(4, "softmax")),
    "relu scores": lambda: built(activation="relu"),
    "batch statistics": lambda: built(GAP(), layers.BatchNormalization(), layers.Dense(4, "softmax")),
    "temperature": lambda: built(GAP(), layers.Dense(4), layers.Rescaling(0.5), layers.Softmax()),
    "softmax of softmax": lambda: built(GAP(), layers.Dense(4, "softmax"), layers.Softmax()),
    "skip": lambda: built(GAP(), layers.Dense(4), lambda logits: layers.Add()([logits, logits])),
    "own layer": lambda: built(GAP(), OwnDense(4, "softmax")),
    "int8": quantised,
    "twice": deceptive,
}


@pytest.mark.parametrize("name", first(3, CLOSED))
def test_closed_form_where_it_holds(name: str) -> None:
    model = CLOSED[name]()
    layer = "functional/conv" if name == "nested" else "conv"
    explainer = Explainer(model, None if name == "nested" else layer)
    compiled = ClassPass(explainer.split, METHODS["gradcam"])
    assert compiled.is_closed_form
    maps = class_maps(compiled, IMAGES, names=ClassNames(None), method="gradcam")
    expected = np.stack([explainer(IMAGES, index).raw for index in range(maps.raw.shape[1])], axis=1)
    assert_maps_equal(maps.raw, expected)


@pytest.mark.parametrize("name", NOT_CLOSED)
def test_no_closed_form_where_it_does_not_hold(name: str) -> None:
    model = NOT_CLOSED[name]()
    assert linear_tail(Explainer(model, "conv").split) is None


def test_no_closed_form_beside_another_path_to_the_output() -> None:
    images = keras.Input((6, 10, 3))
    features = layers.Conv2D(5, 3, padding="same", name="conv")(images)
    joined = layers.Concatenate()([features, layers.Conv2D(2, 1)(images)])
    model = keras.Model(images, layers.Dense(4, "softmax")(GAP()(joined)))
    assert linear_tail(Explainer(model, "conv").split) is None


def test_no_closed_form_beside_an_output_of_other_layers() -> None:
    images = keras.Input((6, 10, 3))
    earlier = layers.Conv2D(4, 3, name="earlier")(images)
    features = layers.Conv2D(5, 3, name="conv")(earlier)
    model = keras.Model(images, [layers.Dense(4, "softmax")(GAP()(features)), layers.Dense(2)(GAP()(earlier))])
    maps = Maps(model)
    assert not maps.compiled.is_closed_form
    assert_maps_equal(maps().raw, maps.one_by_one(IMAGES, range(4)))


def test_deceptive_layer_is_explained_as_it_computes() -> None:
    maps = Maps(deceptive())
    assert_maps_equal(maps().raw, 2.0 * Maps(built(activation="linear"))().raw)


def test_signals_have_a_closed_form_too() -> None:
    keras.utils.set_random_seed(1)
    signals = keras.Input((None, 2))
    features = layers.Conv1D(4, 3, name="conv")(signals)
    model = keras.Model(signals, layers.Dense(3)(layers.GlobalAveragePooling1D()(features)))
    maps = Maps(model)
    assert maps.compiled.is_closed_form
    batch = np.random.default_rng(3).normal(size=(2, 11, 2)).astype(np.float32)
    result = maps(batch)
    assert result.heatmaps.shape == (2, 3, 9)
    assert_maps_equal(result.raw, maps.one_by_one(batch, range(3)))


def test_half_precision_is_multiplied_in_full() -> None:
    """Ten roundings of float16, 2**-11 each: the explainer's gradient is a half, the product is not."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = built(GAP(), layers.Dense(4), layers.Activation("softmax", dtype="float32"))
    finally:
        keras.config.set_dtype_policy("float32")
    maps = Maps(model)
    assert maps.compiled.is_closed_form
    expected = maps.one_by_one(IMAGES, range(4))
    np.testing.assert_allclose(maps().raw, expected, atol=10 * 2.0**-11 * np.abs(expected).max())


def test_closed_form_follows_changed_weights() -> None:
    model = built()
    maps = Maps(model)
    before = maps().raw
    head = model.get_layer("head")
    head.kernel.assign(-2.0 * head.kernel)
    assert_maps_equal(maps().raw, -2.0 * before)


# What it costs.


class Counted(layers.Layer):
    """Counts how often a graph is run, not how often it is traced."""

    def __init__(self, counter: tf.Variable, **options: Any):
        super().__init__(**options)
        self._hidden = [lambda: counter.assign_add(1)]

    def call(self, inputs: Any) -> Any:
        self._hidden[0]()
        return inputs


@pytest.mark.parametrize(
    ("looped", "classes", "tail_runs"), [(False, None, 1), (False, [2], 1), (True, None, 1 + 4), (True, [2, 0], 1 + 2)]
)
def test_extractor_runs_once_and_tail_once_for_the_scores(looped: bool, classes: Any, tail_runs: int) -> None:
    """The tail's first run gives scores and order; without a closed form one more for each class gives its map."""
    front, back = tf.Variable(0), tf.Variable(0)
    keras.utils.set_random_seed(1)
    images = keras.Input((6, 10, 3))
    features = layers.Conv2D(5, 3, name="conv")(Counted(front)(images))
    model = keras.Model(images, layers.Dense(4, "softmax")(GAP()(features)))
    split = Explainer(model, "conv").split
    finish = split.finish

    def counted(cut: Any) -> Any:
        back.assign_add(1)
        return finish(cut)

    split.finish = counted
    compiled = ClassPass(split, METHODS["gradcam"], closed_form=not looped)
    for counter in (front, back):
        counter.assign(0)
    class_maps(compiled, IMAGES, classes, names=ClassNames(None), method="gradcam")
    assert int(front) == 1
    assert int(back) == tail_runs


@pytest.mark.parametrize("looped", [False, True])
def test_nothing_is_traced_again(looped: bool) -> None:
    """All classes at once are compiled when they are first asked for, all else before."""
    maps = Maps(built(), looped=looped)
    maps(IMAGES[:1])
    traced = maps.compiled.trace_count
    maps(IMAGES)
    maps(IMAGES[:2], [0])
    maps(IMAGES, [3, 1, 1])
    maps(IMAGES, top=2)
    assert maps.compiled.trace_count == traced


# Which classes, in which order.


@pytest.mark.parametrize("looped", [False, True])
def test_classes_come_in_the_order_asked_for(looped: bool) -> None:
    maps = Maps(built(), names=NAMES, looped=looped)
    everything, some = maps(), maps(classes=["Wolf", 0, np.int64(0)])
    assert everything.heatmaps.shape == (3, 4, 6, 10)
    assert some.heatmaps.shape == some.raw.shape == (3, 3, 6, 10)
    assert some.labels == [["wolf", "cat", "cat"]] * 3
    np.testing.assert_array_equal(everything.class_indices, [[0, 1, 2, 3]] * 3)
    np.testing.assert_array_equal(some.class_indices, [[3, 0, 0]] * 3)
    for name in ("raw", "heatmaps", "scores", "probabilities"):
        whole = getattr(everything, name)
        np.testing.assert_allclose(getattr(some, name), whole[:, [3, 0, 0]], rtol=1e-6, atol=1e-7)


def spread_sigmoids(units: int = 4) -> keras.Model:
    """Sigmoid units whose labels differ between the images."""
    model = built(activation="sigmoid", units=units)
    kernel, _ = model.get_layer("head").get_weights()
    pooled = keras.Model(model.inputs, model.layers[2].output).predict(IMAGES, verbose=0)
    model.get_layer("head").set_weights([20 * kernel, -20 * pooled.mean(axis=0) @ kernel])
    return model


@pytest.mark.parametrize("looped", [False, True])
def test_above_is_each_images_own_labels_best_first(looped: bool) -> None:
    model = spread_sigmoids()
    outputs = model.predict(IMAGES, verbose=0)
    maps = Maps(model, names=NAMES, looped=looped)
    some, everything = maps(above=0.5), maps()
    assert some.above is not None
    for image, values in enumerate(outputs):
        expected = [index for index in np.argsort(-values) if values[index] > 0.5]
        chosen = some.class_indices[image][some.above[image]]
        assert chosen.tolist() == expected
        assert_maps_equal(some.raw[image][some.above[image]], everything.raw[image][expected])
    assert len({tuple(row) for row in some.above.tolist()}) > 1
    assert some.heatmaps.shape[1] == max(1, (outputs > 0.5).sum(axis=1).max())


def test_figures_and_files_hold_the_labels_above_their_thresholds_alone(tmp_path: Path) -> None:
    """Without photos every panel is a map: as many pictures as labels, and one of an image without any."""
    model = spread_sigmoids()
    maps = Maps(model, names=NAMES)(above=0.55)
    outputs = model.predict(IMAGES, verbose=0)
    wanted = {(n, c) for n, c in zip(*np.nonzero(outputs > 0.55), strict=True)}
    wanted |= {(n, int(row.argmax())) for n, row in enumerate(outputs) if not (row > 0.55).any()}
    assert len(wanted) < maps.class_indices.size
    names = {path.name for path in maps.save(tmp_path)}
    assert names == {f"{number:04d}.class-{index}.heatmap.npy" for number, index in wanted}
    assert sum(len(axes.images) for axes in maps.plot().axes) == len(wanted)


def test_each_class_may_have_a_threshold_of_its_own() -> None:
    model = spread_sigmoids()
    outputs = model.predict(IMAGES, verbose=0)
    limits = {"cat": float(outputs[:, 0].min()) - 1e-4, 3: 1.0}
    maps = Maps(model, names=NAMES)(above=limits)
    thresholds = np.array([limits["cat"], 0.5, 0.5, 1.0])
    assert maps.above is not None
    for image, values in enumerate(outputs):
        assert set(maps.class_indices[image][maps.above[image]]) == set(np.flatnonzero(values > thresholds))
        assert 0 in maps.class_indices[image][maps.above[image]]


def test_image_without_a_label_has_the_map_of_its_most_probable_one() -> None:
    model = spread_sigmoids()
    maps = Maps(model)(above=1.0)
    assert maps.above is not None
    assert (maps.heatmaps.shape[1], maps.above.any()) == (1, False)
    np.testing.assert_array_equal(maps.class_indices[:, 0], model.predict(IMAGES, verbose=0).argmax(axis=1))


def test_above_works_where_the_model_fixes_its_batch() -> None:
    free = spread_sigmoids()
    images = keras.Input((6, 10, 3), batch_size=2)
    fixed = keras.Model(images, free(images) + keras.ops.zeros((2, 1)))
    expected, maps = Explainer(free).class_maps(IMAGES, above=0.5), Explainer(fixed, task="multilabel")
    found = maps.class_maps(IMAGES, above=0.5)
    assert found.above is not None
    assert expected.above is not None
    for image in range(3):
        assert set(found.class_indices[image][found.above[image]]) == set(
            expected.class_indices[image][expected.above[image]]
        )


@pytest.mark.parametrize(
    ("above", "error", "message"),
    [
        (1.5, ValueError, "Expected a threshold from 0 to 1, received 1.5"),
        ("much", TypeError, "Expected a threshold as a number, received 'much'"),
        ({"cow": 0.5}, ValueError, "Unknown class 'cow'"),
        ({9: 0.5}, ValueError, "Expected a class index below 4"),
    ],
)
def test_threshold_that_does_not_fit_is_refused(above: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Maps(spread_sigmoids(), names=NAMES)(above=above)


def test_values_have_no_thresholds() -> None:
    with pytest.raises(ValueError, match="Expected classes with probabilities for above="):
        Maps(built(units=1, activation="linear"))(above=0.5)


@pytest.mark.parametrize("looped", [False, True])
def test_top_is_each_images_own_best_first(looped: bool) -> None:
    model = built()
    kernel, _ = model.get_layer("head").get_weights()
    pooled = keras.Model(model.inputs, model.layers[2].output).predict(IMAGES, verbose=0)
    # Logits around zero: what an image has more of than the others decides, so their orders differ.
    model.get_layer("head").set_weights([20 * kernel, -20 * pooled.mean(axis=0) @ kernel])
    maps = Maps(model, names=NAMES, looped=looped)
    best, everything = maps(top=2), maps()
    outputs = model.predict(IMAGES, verbose=0)
    order = np.argsort(-outputs, axis=1)[:, :2]
    assert len({tuple(row) for row in order}) > 1
    np.testing.assert_array_equal(best.class_indices, order)
    assert best.labels == [[NAMES[index] for index in row] for row in order]
    np.testing.assert_allclose(best.probabilities, np.take_along_axis(outputs, order, 1), rtol=1e-5)
    for image, row in enumerate(order):
        assert_maps_equal(best.raw[image], everything.raw[image, row])


def test_top_of_all_is_everything() -> None:
    assert sorted(Maps(built())(top=4).class_indices[0]) == [0, 1, 2, 3]


@pytest.mark.parametrize("looped", [False, True])
def test_top_of_more_than_there_are_is_everything(looped: bool) -> None:
    maps = Maps(built(), looped=looped)
    np.testing.assert_array_equal(maps(top=1000).raw, maps(top=4).raw)


@pytest.mark.parametrize("looped", [False, True])
def test_one_sigmoid_unit_is_two_classes(looped: bool) -> None:
    model = built(units=1, activation="sigmoid")
    maps = Maps(model, names=["healthy", "ill"], looped=looped)
    both, best = maps(), maps(top=1)
    np.testing.assert_allclose(both.raw[:, 0], -both.raw[:, 1], rtol=1e-6)
    assert_maps_equal(both.raw, maps.one_by_one(IMAGES, [0, 1]))
    share = model.predict(IMAGES, verbose=0)[:, 0]
    np.testing.assert_allclose(both.probabilities, np.stack([1 - share, share], axis=1), rtol=1e-5)
    np.testing.assert_array_equal(best.class_indices[:, 0], share > 0.5)


def test_scores_are_the_explainers() -> None:
    maps = Maps(built())
    expected = np.stack([maps.explainer(IMAGES, index).scores for index in range(4)], axis=1)
    np.testing.assert_allclose(maps().scores, expected, rtol=1e-6)


def test_one_class_as_an_explanation() -> None:
    maps = Maps(built(), names=NAMES)
    result = maps(classes=["fox", "dog"])
    explanation, expected = result.of_class(1), maps.explainer(IMAGES, "dog")
    assert explanation.labels == expected.labels == ["dog"] * 3
    assert explanation.layer_name == result.layer_name == "conv"
    assert explanation.method == result.method == "gradcam"
    assert explanation.diagnosis == expected.diagnosis
    assert explanation.boxes() == expected.boxes()
    np.testing.assert_allclose(explanation.resized(), expected.resized(), atol=1e-5)
    np.testing.assert_allclose(explanation.scores, expected.scores, rtol=1e-6)
    np.testing.assert_array_equal(explanation.class_indices, [1, 1, 1])
    assert [row[0][0] for row in explanation.top()] == [row[0][0] for row in expected.top()]
    with pytest.raises(ValueError, match="position below 2, the number of maps of an image, received 2"):
        result.of_class(2)


@pytest.mark.parametrize("looped", [False, True])
def test_blank_class_is_diagnosed_like_the_explainers(looped: bool) -> None:
    """A kernel column of zeros: no gradient, a blank map, and a sentence on why."""
    model = built()
    kernel, bias = model.get_layer("head").get_weights()
    kernel[:, 2] = 0.0
    model.get_layer("head").set_weights([kernel, bias])
    maps = Maps(model, looped=looped)
    explanation = maps().of_class(2)
    assert not explanation.heatmaps.any()
    assert explanation.diagnosis == maps.explainer(IMAGES, 2).diagnosis
    assert all(explanation.diagnosis)


@pytest.mark.parametrize("looped", [False, True])
def test_broken_image_leaves_the_others_alone(looped: bool) -> None:
    maps = Maps(built(), looped=looped)
    images = IMAGES.copy()
    images[1] = np.nan
    result, expected = maps(images), maps()
    assert not result.heatmaps[1].any()
    for image in (0, 2):
        assert_maps_equal(result.raw[image], expected.raw[image])
    with pytest.raises(ValueError, match="NaN or infinite values in every image"):
        maps(np.full_like(IMAGES, np.nan))


# Pictures and files.

PHOTOS = np.random.default_rng(5).integers(0, 256, (3, 6, 10, 3), np.uint8)


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.texts]


def pictures(figure: Any) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def test_figure_has_a_row_an_image_with_photo_and_overlays(named: Maps) -> None:
    maps = named(top=2)
    figure = maps.plot(PHOTOS)
    shown = pictures(figure)
    assert len(shown) == 3 * 3
    for number, photo in enumerate(PHOTOS):
        np.testing.assert_array_equal(shown[3 * number], photo)
        for position in (0, 1):
            overlay = maps.of_class(position).overlay(PHOTOS)[number]
            np.testing.assert_array_equal(shown[3 * number + 1 + position], overlay)
    captions = [text.partition(",")[0] for text in texts(figure)[1:] if text.partition(",")[0] in NAMES]
    assert captions == [label for row in maps.labels for label in row]
    assert f"{captions[0]}, {maps.probabilities[0, 0]:.1%}" in texts(figure)
    assert figure.get_suptitle() == "3 images"
    rows = [axes.get_position().y1 for axes in figure.axes if axes.images]
    assert len({round(top, 6) for top in rows}) == 3


def test_figure_without_photos_has_the_maps_alone(named: Maps) -> None:
    maps = named(classes=["fox"])
    shown = pictures(maps.plot())
    alone = maps.of_class(0).overlay(PHOTOS, 1, "viridis")  # the colours of "heat", which do not fade here
    np.testing.assert_array_equal(np.stack(shown), alone)


def test_many_classes_go_on_in_the_next_line() -> None:
    """All panels stand within the figure, none on another."""
    keras.utils.set_random_seed(1)
    figure = Maps(built(units=30))(IMAGES[:1]).plot(PHOTOS[:1])
    places = [axes.get_position().extents for axes in figure.axes if axes.images]
    assert len(places) == 31
    assert np.min(places) >= 0
    assert np.max(places) <= 1
    corners = {(round(place[0], 4), round(place[3], 4)) for place in places}
    assert len(corners) == 31


@pytest.mark.parametrize(
    ("photos", "kind", "message"),
    [
        (PHOTOS[:2], ValueError, "Expected 3 photos, one per map, received 2"),
        (PHOTOS[0], ValueError, r"Expected 3 photos, one per map, received 6\. A single photo needs a batch axis"),
        (["a.png"] * 3, TypeError, "received the path 'a.png'"),
    ],
)
def test_wrong_photos_are_refused(named: Maps, photos: Any, kind: type[Exception], message: str, tmp_path: Any) -> None:
    for use in (named().plot, lambda given: named().save(tmp_path / "maps", given)):
        with pytest.raises(kind, match=message):
            use(photos)
    assert not (tmp_path / "maps").exists()


def test_figure_of_more_classes_than_a_page_holds_is_refused() -> None:
    maps = Maps(built(units=51))(IMAGES[:1])
    with pytest.raises(ValueError, match=r"at most 50 classes to plot, received 51\. .*class_maps\(images, top=5\)"):
        maps.plot()


def test_figure_of_signals_is_refused_with_the_way() -> None:
    signals = keras.Input((None, 2))
    features = layers.Conv1D(4, 3, name="conv")(signals)
    maps = Maps(keras.Model(signals, layers.Dense(3)(layers.GlobalAveragePooling1D()(features))))
    with pytest.raises(ValueError, match=r"of_class\(position\)\.plot"):
        maps(np.zeros((2, 11, 2), np.float32)).plot()


def test_saved_files_are_those_of_each_class(named: Maps, tmp_path: Any) -> None:
    maps = named(classes=["wolf", "cat", "wolf"])
    written = maps.save(tmp_path / "maps", PHOTOS)
    kinds = ("heatmap.npy", "overlay.png")
    names = [f"{number:04d}.class-{index}.{kind}" for index in (3, 0) for number in range(3) for kind in kinds]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == sorted(names)
    np.testing.assert_array_equal(np.load(tmp_path / "maps" / "0002.class-0.heatmap.npy"), maps.heatmaps[2, 1])
    overlay = load_image(tmp_path / "maps" / "0001.class-3.overlay.png")
    np.testing.assert_array_equal(overlay, maps.of_class(0).overlay(PHOTOS)[1])
    assert len(maps.save(tmp_path / "alone")) == 6


# What is refused.


@pytest.fixture(scope="module")
def named() -> Maps:
    return Maps(built(), names=NAMES)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"classes": [0], "top": 1}, ValueError, "one of classes, top and above, received several"),
        ({"classes": []}, ValueError, "at least one class"),
        ({"classes": [0, None]}, ValueError, "each an index or a name"),
        ({"classes": "fox"}, TypeError, "classes as a list of indices or names, or None for all, received 'fox'"),
        ({"classes": 2}, TypeError, "classes as a list"),
        ({"classes": [[0, 1]]}, TypeError, "classes as a list"),
        ({"classes": [4]}, ValueError, "class index below 4"),
        ({"classes": [-1]}, ValueError, "class index of 0 or more"),
        ({"classes": [1.5]}, TypeError, "class index or name"),
        ({"classes": ["wulf"]}, ValueError, "Unknown class 'wulf'.* 'wolf'"),
        ({"top": 0}, ValueError, "top as a number of classes of at least 1, received 0"),
        ({"top": True}, ValueError, "top as a number of classes of at least 1, received True"),
        ({"top": 1.0}, ValueError, "top as a number of classes of at least 1, received 1.0"),
        ({"images": IMAGES[0]}, ValueError, "batch axis"),
        ({"images": IMAGES[..., :2]}, ValueError, "expects 3 channels"),
    ],
)
def test_wrong_requests_are_refused(named: Maps, options: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        named(**options)


def test_rules_that_run_the_network_again_are_refused() -> None:
    with pytest.raises(ValueError, match="method of one forward pass, received 'scorecam'"):
        ClassPass(Explainer(built(), "conv").split, scorecam)


def test_names_of_another_model_are_refused() -> None:
    maps = Maps(built(), names=[*NAMES, "owl"])
    with pytest.raises(ValueError, match="names of 4 classes, received 5"):
        maps()


def test_outputs_without_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected outputs of shape \(B, K\)"):
        Maps(built(layers.Conv2D(3, 1)))
