"""Random weights: which layers, in which order, of what size; and everything put back."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers.slow import every
from tests.zoo.styles import STYLES
from tf_gradcam.audit.sanity import grouped, learned_layers, randomise, restored

USUAL = [style for style in STYLES.values() if not {"quantised", "lora"} & style.tags]


def names(model: keras.Model) -> list[str]:
    return [path for path, _ in learned_layers(model)]


def bytes_of(model: keras.Model) -> list[bytes]:
    return [np.array(variable.numpy()).tobytes() for variable in model.variables]


def small_model(*middle: Any) -> keras.Model:
    model = keras.Sequential(
        [
            layers.Input((6, 10, 3)),
            layers.Conv2D(8, 3, activation="relu", name="conv"),
            *middle,
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(4, activation="softmax", name="head"),
        ]
    )
    generator = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    return model


# Which.


def test_layers_come_from_the_output_down() -> None:
    model = small_model(layers.BatchNormalization(name="norm"), layers.ReLU())
    assert names(model) == ["head", "norm", "conv"]


def test_scaling_of_the_input_is_not_learned() -> None:
    scale = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 2.0, 3.0])
    images = keras.Input((6, 10, 3))
    model = keras.Model(images, layers.Dense(2, name="head")(layers.Flatten()(scale(images))))
    assert names(model) == ["head"]


def test_head_that_was_made_first_is_still_the_first_to_go() -> None:
    """The order of a subclassed model is that of its calls, not of its attributes."""

    class HeadFirst(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.pool = layers.Dense(2, name="head"), layers.GlobalAveragePooling2D()
            self.block = keras.Sequential([layers.Conv2D(3, 3, name="conv"), layers.BatchNormalization(name="norm")])
            self.scale = self.add_weight(shape=(3,), name="scale")

        def call(self, images: Any) -> Any:
            return self.head(self.pool(self.block(images) * self.scale))

    model = HeadFirst()
    model(np.zeros((1, 6, 10, 3), np.float32))
    assert [name.rpartition("/")[2] for name in names(model)[:3]] == ["head", "norm", "conv"]
    assert names(model)[3] == f"the rest of {model.name}"


@pytest.mark.parametrize("style", USUAL, ids=lambda style: style.name)
def test_every_learned_weight_belongs_to_one_layer(style: Any) -> None:
    model, _, _ = style.build()
    found = [id(variable) for _, variables in learned_layers(model) for variable in variables]
    fixed = [
        weight
        for layer in model._flatten_layers()
        if isinstance(layer, layers.Normalization)
        for weight in layer.weights
    ]
    assert len(found) == len(set(found))
    assert set(found) == {id(weight) for weight in model.weights} - {id(weight) for weight in fixed}


def test_model_without_learned_weights_is_refused() -> None:
    model = keras.Sequential([layers.Input((6, 10, 3)), layers.GlobalAveragePooling2D()])
    with pytest.raises(ValueError, match="learned weights"):
        learned_layers(model)


# In how many stages.


def test_groups_begin_with_the_head_alone_and_end_with_everything() -> None:
    """9 layers in 5 stages: up to 1, 3, 5, 7, 9 layers."""
    found = grouped([(str(number), [number]) for number in range(1, 10)], 5)
    assert found == [("1", [1]), ("3", [2, 3]), ("5", [4, 5]), ("7", [6, 7]), ("9", [8, 9])]


@pytest.mark.parametrize("count", range(1, 12))
@pytest.mark.parametrize("num_stages", [1, 2, 8])
def test_groups_hold_each_layer_once(count: int, num_stages: int) -> None:
    found = grouped([(str(number), [number]) for number in range(count)], num_stages)
    assert [variable for _, variables in found for variable in variables] == list(range(count))
    assert len(found) == min(count, num_stages)
    assert all(variables for _, variables in found)


def test_no_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="num_stages of at least 1"):
        grouped([("a", [1])], 0)


# How.


def test_kernels_are_drawn_anew_at_their_own_size() -> None:
    """Learned: uniform in [0.5, 1.5]. Drawn: mean 0, the same root mean square, none beyond two of the normal's
    standard deviations, which for a truncated one is 2 / 0.88 of its own."""
    kernel = keras.Variable(np.random.default_rng(0).uniform(0.5, 1.5, (5, 5, 40, 50)).astype(np.float32))
    before = kernel.numpy()
    randomise([kernel], np.random.default_rng(1))
    after = kernel.numpy()
    size = np.sqrt(np.mean(before**2))
    np.testing.assert_allclose(np.sqrt(np.mean(after**2)), size, rtol=1e-5)
    np.testing.assert_allclose(after.mean(), 0, atol=0.02 * size)
    assert np.abs(after).max() <= 2 / 0.8796 * size * 1.01
    assert abs(np.corrcoef(before.ravel(), after.ravel())[0, 1]) < 0.02


def test_vectors_are_shuffled() -> None:
    vector = keras.Variable(np.arange(1.0, 101.0, dtype=np.float32))
    randomise([vector], np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(vector.numpy()), np.arange(1.0, 101.0))
    assert not np.array_equal(vector.numpy(), np.arange(1.0, 101.0))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8", "float64"])
def test_other_kinds_of_numbers_are_drawn_too(dtype: str) -> None:
    kernel = keras.Variable(np.random.default_rng(0).integers(1, 50, (8, 9)), dtype=dtype, trainable=False)
    before = kernel.numpy().astype(np.float64)
    randomise([kernel], np.random.default_rng(1))
    after = kernel.numpy().astype(np.float64)
    assert keras.backend.standardize_dtype(kernel.dtype) == dtype
    assert not np.array_equal(before, after)
    np.testing.assert_allclose(np.mean(after**2), np.mean(before**2), rtol=0.02)


def test_variance_of_a_normalisation_stays_positive() -> None:
    model = small_model(layers.BatchNormalization(name="norm"))
    randomise([variable for _, variables in learned_layers(model) for variable in variables], np.random.default_rng(0))
    assert (model.get_layer("norm").moving_variance.numpy() > 0).all()
    assert np.isfinite(model(np.ones((2, 6, 10, 3), np.float32))).all()


# And back.


@pytest.mark.parametrize("style", every(3, STYLES.values()), ids=lambda style: style.name)
def test_weights_come_back_bit_for_bit(style: Any) -> None:
    model, _, _ = style.build()
    before = bytes_of(model)
    variables = [variable for _, part in learned_layers(model) for variable in part]
    with restored(variables):
        randomise(variables, np.random.default_rng(0))
        assert bytes_of(model) != before
    assert bytes_of(model) == before


def test_weights_come_back_after_an_exception() -> None:
    model = small_model()
    model.get_layer("head").bias.assign([np.nan, -0.0, np.inf, 1e-42])  # what a comparison or an addition would lose
    before = bytes_of(model)
    variables = [variable for _, part in learned_layers(model) for variable in part]

    def fail(kind: type[BaseException]) -> None:
        with restored(variables):
            randomise(variables, np.random.default_rng(0))
            raise kind

    for kind in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(kind):
            fail(kind)
        assert bytes_of(model) == before
