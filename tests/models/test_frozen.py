"""Weights as constants: the same maps, and never those of weights that have changed."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.slow import every, first
from tests.zoo.styles import STYLES, photos, randomise
from tf_gradcam import METHODS, Explainer
from tf_gradcam._explain.passes import Pass
from tf_gradcam._models.frozen import WeightWatch

pytestmark = pytest.mark.core
BATCH = 3
LAYERS = keras.layers


def normed_model(policy: str = "float32") -> keras.Model:
    """Convolution, batch normalisation with statistics of its own, relu; twice; pooling and a linear layer."""
    inputs = keras.Input(photos(1).shape[1:])
    hidden = inputs
    for number in range(2):
        hidden = LAYERS.Conv2D(4, 3, padding="same", use_bias=False, dtype=policy, name=f"conv{number}")(hidden)
        hidden = LAYERS.BatchNormalization(dtype=policy, name=f"norm{number}")(hidden)
        hidden = LAYERS.ReLU(dtype=policy, name=f"relu{number}")(hidden)
    pooled = LAYERS.GlobalAveragePooling2D(dtype=policy, name="pool")(hidden)
    return randomise(keras.Model(inputs, LAYERS.Dense(4, activation="softmax", dtype="float32", name="head")(pooled)))


def operation_types(compiled: Pass) -> list[str]:
    return [step.type for step in compiled._compiled.graph.get_operations()]


@pytest.mark.parametrize("name", first(3, sorted(STYLES)[::3]))  # a third, for the time it takes
def test_frozen_maps_are_the_maps_of_other_styles(name: str) -> None:
    style = STYLES[name]
    model, layer, _ = style.build()
    images, names = style.images(BATCH), style.classifier_layers and list(style.classifier_layers)
    plain, frozen = (
        Explainer(model, layer, classifier_layers=names, freeze=freeze)(images, style.target)
        for freeze in (False, True)
    )
    tolerance = max(style.tolerance, 1e-5)
    np.testing.assert_allclose(frozen.raw, plain.raw, rtol=0, atol=tolerance * np.abs(plain.raw).max())
    np.testing.assert_allclose(frozen.outputs, plain.outputs, rtol=0, atol=tolerance * np.abs(plain.outputs).max())


@pytest.mark.parametrize("method", every(3, sorted(METHODS)))
def test_frozen_maps_are_the_maps_of_every_method(method: str) -> None:
    model = normed_model()
    layer = None if method == "fullgrad" else "relu1"
    plain = Explainer(model, layer, method)(photos(BATCH), 1)
    frozen = Explainer(model, layer, method, freeze=True)(photos(BATCH), 1)
    np.testing.assert_allclose(frozen.raw, plain.raw, rtol=1e-4, atol=1e-6)


def test_frozen_graph_reads_no_variable() -> None:
    model = normed_model()
    explainers = [Explainer(model, freeze=freeze) for freeze in (False, True)]
    plain, frozen = (one._pass(None, one.split.inputs) for one in explainers)
    assert "ReadVariableOp" in operation_types(plain)
    assert "ReadVariableOp" not in operation_types(frozen)


def test_frozen_bytes_are_those_of_the_weights() -> None:
    """Parameters of the two convolutions, two times four vectors of 4, the head's kernel and bias; 4 bytes each."""
    explainer = Explainer(normed_model(), freeze=True)
    explainer(photos(BATCH))
    assert explainer.frozen_bytes == 4 * (3 * 3 * 3 * 4 + 3 * 3 * 4 * 4 + 2 * 4 * 4 + 4 * 4 + 4)
    assert Explainer(normed_model()).frozen_bytes == 0


@pytest.mark.parametrize("layer", ["conv0", "norm1", "head"])
def test_changed_weight_is_refused_by_name(layer: str) -> None:
    """The smallest change there is: one element, by one unit in the last place."""
    model = normed_model()
    explainer = Explainer(model, freeze=True)
    explainer(photos(BATCH))
    values = model.get_layer(layer).get_weights()
    values[-1].flat[1] = np.nextafter(values[-1].flat[1], np.float32(9))
    model.get_layer(layer).set_weights(values)
    with pytest.raises(ValueError, match=f"'{layer}/.*has changed since: build a new Explainer"):
        explainer(photos(BATCH))
    assert np.isfinite(Explainer(model, freeze=True)(photos(BATCH)).raw).all()


def test_training_is_refused() -> None:
    model = normed_model()
    explainer = Explainer(model, freeze=True)
    for call in (explainer, explainer.class_maps):
        call(photos(BATCH))
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(photos(BATCH), np.arange(BATCH), verbose=0)
    for call in (explainer, explainer.class_maps):
        with pytest.raises(ValueError, match="has changed since"):
            call(photos(BATCH))


def test_weights_assigned_anew_with_the_same_values_are_accepted() -> None:
    model = normed_model()
    explainer = Explainer(model, freeze=True)
    before = explainer(photos(BATCH)).raw
    model.set_weights(model.get_weights())
    for _ in range(2):
        np.testing.assert_array_equal(explainer(photos(BATCH)).raw, before)


def test_list_of_layers_is_frozen_whole() -> None:
    model = normed_model()
    explainer = Explainer(model, ["relu0", "relu1"], freeze=True)
    explainer(photos(BATCH))
    assert explainer.frozen_bytes == 2 * 4 * model.count_params()
    model.get_layer("conv0").set_weights([model.get_layer("conv0").get_weights()[0] + 1])
    with pytest.raises(ValueError, match="has changed since"):
        explainer(photos(BATCH))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8", "bool"])
def test_watch_reads_every_dtype(dtype: str) -> None:
    variables = [tf.Variable(tf.cast([0, 1, 0], dtype)), tf.Variable(tf.cast(1, dtype))]
    watch = WeightWatch(variables)
    assert watch.changed() is None
    variables[1].assign(tf.cast(0, dtype))
    assert watch.changed() == variables[1].name


def test_watch_keeps_no_copy() -> None:
    variable = tf.Variable(np.zeros(10, np.float32))
    watch = WeightWatch([variable])
    address = np.asarray(memoryview(variable.read_value())).ctypes.data
    assert watch._addresses == [address]
    assert watch.byte_count == 40


def test_not_a_number_is_no_change() -> None:
    variable = tf.Variable([np.nan, 1.0])
    watch = WeightWatch([variable])
    variable.assign([np.nan, 1.0])
    assert watch.changed() is None


def test_large_variables_are_read_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first kernel has 432 bytes, the second 576: it alone is above the limit, stays a variable, may change."""
    monkeypatch.setattr("tf_gradcam._models.frozen.LARGEST_CONSTANT", 500)
    model = normed_model()
    explainer = Explainer(model, freeze=True)
    before = explainer(photos(BATCH))
    assert explainer.frozen_bytes == 4 * (model.count_params() - 144)
    assert operation_types(explainer._pass(None, explainer.split.inputs)).count("ReadVariableOp") == 1
    model.get_layer("conv1").set_weights([2 * model.get_layer("conv1").get_weights()[0]])
    after = explainer(photos(BATCH))
    np.testing.assert_allclose(after.raw, Explainer(model)(photos(BATCH)).raw, rtol=1e-5, atol=1e-6)
    assert np.abs(after.raw - before.raw).max() > 1e-3


def test_weights_are_constants_outside_of_loops() -> None:
    """A recurrent tail reads its kernels in the body of a loop, forwards and backwards."""
    model, layer, _ = STYLES["recurrent_tail"].build()
    explainer = Explainer(model, layer, freeze=True)
    explainer(photos(BATCH))
    assert explainer.frozen_bytes == 4 * model.count_params()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_is_rounded_from_the_same_weights(policy: str) -> None:
    model = normed_model(policy)
    plain, frozen = (Explainer(model, freeze=freeze)(photos(BATCH), 1) for freeze in (False, True))
    np.testing.assert_allclose(frozen.raw, plain.raw, rtol=0, atol=2e-2 * np.abs(plain.raw).max())
