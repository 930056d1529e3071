"""Models that only Python knows: their layers are watched while they run, and are as they were afterwards."""

from __future__ import annotations

import threading
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.zoo.styles import conv, photos, pool, randomise
from tf_gradcam import Explainer, list_layers, split_model

IMAGES = photos(2)[:, :6, :10]


class Net(keras.Model):
    """conv1, then `shared` twice, then the head; an auxiliary layer whose result is dropped; one that is never called.

    `way` changes what `call` does.
    """

    def __init__(self) -> None:
        super().__init__(name="net")
        self.conv1, self.shared, self.auxiliary, self.idle = (
            conv(name, 3) for name in ("conv1", "shared", "auxiliary", "idle")
        )
        self.dropout = layers.Dropout(0.5, name="dropout")
        self.head = layers.Dense(4, name="head")
        self.way = "whole"

    def build(self, shape: Any) -> None:
        self.built = True

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        features = self.shared(self.conv1(images))
        self.auxiliary(features)
        if self.way == "whole":
            features = self.shared(features)
        if self.way == "broken":
            raise RuntimeError("the model's own trouble")
        return self.head(self.dropout(pool(features), training=training))


def net() -> Net:
    model = Net()
    model(IMAGES)
    randomise(model)
    return model


def dense_of(model: Net, pooled: tf.Tensor) -> tf.Tensor:
    return tf.matmul(pooled, model.head.kernel) + model.head.bias


def by_hand(model: Net, call: int, target: int = 1) -> np.ndarray:
    """HiResCAM of the first or the second call of `shared`."""
    first = model.shared(model.conv1(tf.constant(IMAGES)))
    activations = first if call == 0 else model.shared(first)
    with tf.GradientTape() as tape:
        tape.watch(activations)
        last = model.shared(activations) if call == 0 else activations
        score = tf.reduce_sum(dense_of(model, pool(last))[:, target])
    return tf.reduce_sum(activations * tape.gradient(score, activations), axis=-1).numpy()


def raw(model: keras.Model, layer: Any = None, target: Any = 1) -> np.ndarray:
    return Explainer(model, layer, "hirescam")(IMAGES, target).raw


def untouched(model: keras.Model) -> bool:
    """No layer carries a `call` of its own, as an instance does only while it is watched."""
    return not any("call" in vars(layer) for layer in [model, *model._flatten_layers()])


# Reading and replacing.


def test_layers_are_those_that_are_called_in_their_order() -> None:
    rows = list_layers(net())
    assert [row.path for row in rows] == ["conv1", "shared[0]", "auxiliary", "shared[1]", "dropout", "head"]
    assert [row.path for row in rows if row.default] == ["shared[1]"]
    assert rows[1].output_shape == (None, 6, 10, 3)


@pytest.mark.parametrize("call", [0, 1])
def test_each_call_of_a_layer_is_explained_by_itself(call: int) -> None:
    model = net()
    np.testing.assert_allclose(raw(model, f"shared[{call}]"), by_hand(model, call), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layer", [None, "shared", 1])
def test_last_call_is_meant_where_none_is_named(layer: Any) -> None:
    model = net()
    assert model.layers[1] is model.shared
    np.testing.assert_allclose(raw(model, layer), by_hand(model, 1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(raw(model, model.shared), by_hand(model, 1), rtol=1e-4, atol=1e-6)


def test_tail_runs_on_other_activations() -> None:
    model = net()
    split = split_model(model, "shared")
    activations, *inputs = split.extractor(IMAGES)
    np.testing.assert_allclose(split.tail([activations, *inputs]), model(IMAGES), rtol=1e-5, atol=1e-6)
    nothing = split.tail([tf.zeros_like(activations), *inputs])
    np.testing.assert_allclose(nothing, np.tile(model.head.bias, (2, 1)), rtol=1e-5)


def test_dropout_is_off() -> None:
    model = net()
    first, second = raw(model), raw(model)
    np.testing.assert_array_equal(first, second)


def test_batches_of_any_size_share_a_trace() -> None:
    explainer = Explainer(net())
    for count in (1, 2, 5):
        assert len(explainer(photos(count)[:, :6, :10])) == count
    assert explainer.trace_count == 1


# The model as it was.


def test_layers_are_as_they_were() -> None:
    model = net()
    expected = model(IMAGES).numpy()
    attributes = {layer.name: sorted(vars(layer)) for layer in model._flatten_layers()}
    list_layers(model)
    raw(model, "shared[0]")
    assert untouched(model)
    assert {layer.name: sorted(vars(layer)) for layer in model._flatten_layers()} == attributes
    np.testing.assert_array_equal(model(IMAGES), expected)


def test_layers_are_as_they_were_after_an_error_of_the_model() -> None:
    model = net()
    explainer = Explainer(model, "conv1")
    model.way = "broken"
    with pytest.raises(RuntimeError, match="the model's own trouble"):
        explainer(IMAGES)
    assert untouched(model)
    with pytest.raises(RuntimeError, match="the model's own trouble"):
        Explainer(model)
    assert untouched(model)
    model.way = "whole"
    assert explainer(IMAGES).raw.shape == (2, 6, 10)


def test_own_call_of_a_layer_comes_back() -> None:
    """The owner has replaced the `call` of one layer object: it is wrapped with the rest, and is there afterwards."""
    model = net()
    original = model.shared.call

    def doubled(features: tf.Tensor) -> tf.Tensor:
        return 2.0 * original(features)

    object.__setattr__(model.shared, "call", doubled)
    explained = raw(model, "shared")
    assert vars(model.shared)["call"] is doubled
    np.testing.assert_allclose(explained, by_hand(model, 1), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_threads_take_turns() -> None:
    """Two explainers of one model at a time: a layer that both have wrapped would be left wrapped."""
    model = net()
    expected = [raw(model, f"shared[{call}]") for call in (0, 1)]
    received: dict[int, list[np.ndarray]] = {0: [], 1: []}

    def explain(call: int) -> None:
        received[call] = [raw(model, f"shared[{call}]") for _ in range(3)]

    threads = [threading.Thread(target=explain, args=(call,)) for call in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert untouched(model)
    for call in (0, 1):
        assert len(received[call]) == 3
        for one in received[call]:
            np.testing.assert_allclose(one, expected[call], rtol=1e-5)


# What cannot be explained.


def test_layer_that_is_never_called_is_unknown() -> None:
    model = net()
    with pytest.raises(ValueError, match=r"Unknown layer 'idle'.*list_layers\(model\)"):
        Explainer(model, "idle")
    with pytest.raises(ValueError, match=r"Layer object 'idle' is not called by model 'net'"):
        Explainer(model, model.idle)
    with pytest.raises(ValueError, match=r"Unknown layer 'shared\[2\]'"):
        Explainer(model, "shared[2]")


def test_layer_whose_result_is_dropped_has_no_gradient() -> None:
    explainer = Explainer(net(), "auxiliary")
    with pytest.raises(ValueError, match="score does not depend on layer 'auxiliary': no gradient leads there"):
        explainer(IMAGES)


def test_model_that_takes_another_way_is_refused() -> None:
    model = net()
    explainer = Explainer(model, "shared[1]")
    model.way = "short"
    with pytest.raises(ValueError, match=r"call number 2 of .* received 1 calls: the model's `call` has taken"):
        explainer(IMAGES)
    assert untouched(model)


class Compiled(Net):
    """Runs in a function of its own."""

    @tf.function
    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return super().call(images, training=False)


def test_model_in_a_function_of_its_own_is_refused_and_left_alone() -> None:
    model = Compiled()
    model(IMAGES)
    randomise(model)
    for explain in (Explainer, list_layers, lambda refused: Explainer(refused, "shared")):
        with pytest.raises(
            ValueError, match=r"whole `call` of model 'net' is one tf\.function, inside which layers cannot be watched"
        ):
            explain(model)
    assert untouched(model)
    more = photos(5)[:, :6, :10]
    plain = net()
    plain.set_weights(model.get_weights())
    np.testing.assert_allclose(model(more), plain(more), rtol=1e-5, atol=1e-6)


def test_remedy_for_a_model_in_a_function_of_its_own_works_as_it_is_printed() -> None:
    model, plain = Compiled(), net()
    model(IMAGES)
    model.set_weights(plain.get_weights())
    with pytest.raises(ValueError, match="undo it for this object") as caught:
        Explainer(model)
    exec(str(caught.value).rpartition(": ")[2].removesuffix("."), {"model": model})
    np.testing.assert_allclose(raw(model), raw(plain), rtol=1e-5)


class Delegating(Net):
    """Its `call` is plain, and runs all layers in a function that is compiled."""

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.run(images)

    @tf.function(input_signature=[tf.TensorSpec((None, 6, 10, 3))])
    def run(self, images: tf.Tensor) -> tf.Tensor:
        return super().call(images, training=False)


def test_model_whose_layers_run_in_a_compiled_function_is_refused_and_left_alone() -> None:
    """Once its function is traced no layer is called again; it must compute what it did before."""
    model, plain = Delegating(), net()
    model(IMAGES)
    model.set_weights(plain.get_weights())
    for explain in (Explainer, list_layers):
        with pytest.raises(ValueError, match=r"'net' calls none of its layers where they can be watched: its `call`"):
            explain(model)
    assert untouched(model)
    more = photos(5)[:, :6, :10]
    np.testing.assert_allclose(model(more), plain(more), rtol=1e-5, atol=1e-6)


class Freed(Net):
    """Likewise, for images of any size: its function is traced once more while it is watched, and keeps that trace."""

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.run(images)

    @tf.function
    def run(self, images: tf.Tensor) -> tf.Tensor:
        return super().call(images, training=False)


def test_model_that_is_traced_while_it_is_watched_is_refused_and_left_alone() -> None:
    model, plain = Freed(), net()
    model(IMAGES)
    model.set_weights(plain.get_weights())
    with pytest.raises(ValueError, match=r"tf\.function of its own\. Remove that decorator"):
        Explainer(model, "shared")(IMAGES)
    assert untouched(model)
    more = photos(5)[:, :6, :10]
    np.testing.assert_allclose(model(more), plain(more), rtol=1e-5, atol=1e-6)


class Pair(keras.Model):
    """Two inputs in a dict, two outputs in a tuple."""

    def __init__(self) -> None:
        super().__init__(name="pair")
        self.conv = conv("conv")
        self.label, self.age = layers.Dense(3, name="label"), layers.Dense(1, name="age")

    def call(self, inputs: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        features = tf.concat([pool(self.conv(inputs["photo"])), inputs["vector"]], axis=-1)
        return self.label(features), self.age(features)


@pytest.mark.filterwarnings("ignore:`build.. was called on layer 'pair'")
def test_inputs_and_outputs_keep_their_structure() -> None:
    model = Pair()
    inputs = {"vector": np.ones((2, 2), np.float32), "photo": IMAGES}
    model(inputs)
    randomise(model)
    label, age = model(inputs)
    explainer = Explainer(model)
    np.testing.assert_allclose(explainer(inputs, 2).scores, label[:, 2], rtol=1e-5)
    by_age = explainer(inputs, lambda outputs: outputs[1][:, 0])
    np.testing.assert_allclose(by_age.scores, age[:, 0], rtol=1e-5)
    with pytest.raises(TypeError, match=r"received \['photo'\]: \['vector'\] missing"):
        explainer({"photo": IMAGES})
