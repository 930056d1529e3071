"""The named tail: the published construction, and every list that does not compute what the model computes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.zoo.styles import (
    conv,
    head_layers,
    image_input,
    named_tail,
    photos,
    plain_model,
    plain_nested,
    randomise,
    residual_branch,
    small_net,
    two_inputs_list,
)
from tf_gradcam import Explainer, SplitModel, list_layers, split_model

pytestmark = pytest.mark.core
PLAIN = plain_model()  # conv1, conv2, conv3, pool, head
IMAGES = photos(2)


def named(names: Any, layer: Any = "conv2", model: keras.Model = PLAIN) -> SplitModel:
    return split_model(model, layer, names)


# Lists that are right.


@pytest.mark.parametrize(
    "names",
    [["conv3", "pool", "head"], ("conv3", "pool", "head"), PLAIN.layers[3:], [PLAIN.layers[3], "pool", "head"]],
    ids=["names", "tuple", "objects", "mixed"],
)
def test_named_tail_reproduces_the_model(names: Any) -> None:
    split = named(names)
    np.testing.assert_allclose(split.tail(split.extractor(IMAGES)), PLAIN(IMAGES), rtol=1e-5)


def test_named_tail_equals_the_tail_of_the_graph() -> None:
    model, layer, _ = named_tail()
    names = ["pool5", "flatten", "fc1", "predictions"]
    by_name = Explainer(model, layer, classifier_layers=names)(IMAGES, 1)
    by_graph = Explainer(model, layer)(IMAGES, 1)
    np.testing.assert_allclose(by_name.raw, by_graph.raw, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(by_name.outputs, by_graph.outputs, rtol=1e-5)


def test_named_tail_that_stops_before_the_output_is_refused() -> None:
    """Its scores would be the units of `fc1`, and a class index would pick one of them without a word."""
    model, layer, _ = named_tail()
    with pytest.raises(ValueError, match=r"stop before the output .* Missing from the list: \['predictions'\]"):
        split_model(model, layer, ["pool5", "flatten", "fc1"])


def test_named_tail_may_leave_out_a_final_activation() -> None:
    """Published code lists the layers up to the logits: behind them come the same scores."""
    keras.utils.set_random_seed(1)
    images = keras.Input((6, 10, 3))
    features = layers.Conv2D(3, 3, name="conv")(images)
    logits = layers.Dense(4, name="logits")(layers.GlobalAveragePooling2D(name="pool")(features))
    model = keras.Model(images, layers.Activation("softmax", name="softmax")(logits))
    given = np.random.default_rng(0).random((2, 6, 10, 3), np.float32)
    listed = Explainer(model, "conv", classifier_layers=["pool", "logits"])(given, 1)
    np.testing.assert_allclose(listed.raw, Explainer(model, "conv")(given, 1).raw, rtol=1e-5, atol=1e-7)


def test_named_tail_calls_a_nested_model_whole() -> None:
    images = image_input()
    inner = images
    for layer in [conv("inner1"), conv("inner2")]:
        inner = layer(inner)
    block = keras.Model(images, inner, name="block")
    images = image_input()
    outputs = conv("conv1", 3)(images)
    for layer in [block, *head_layers()]:
        outputs = layer(outputs)
    model = randomise(keras.Model(images, outputs))
    split = named(["block", "pool", "head"], "conv1", model)
    np.testing.assert_allclose(split.tail(split.extractor(IMAGES)), model(IMAGES), rtol=1e-5)


def test_named_tail_behind_a_cut_inside_a_nested_model() -> None:
    model = plain_nested()
    split = named(["conv3", "pool", "head"], "backbone/conv2", model)
    np.testing.assert_allclose(split.tail(split.extractor(IMAGES)), model(IMAGES), rtol=1e-5)


def test_named_tail_in_half_precision() -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = plain_model()
    finally:
        keras.config.set_dtype_policy(policy)
    split = named(["conv3", "pool", "head"], "conv2", model)
    np.testing.assert_allclose(split.tail(split.extractor(IMAGES)), model(IMAGES), rtol=1e-2)


# Lists that are wrong.


def test_missing_layer_is_named_with_the_largest_difference() -> None:
    """conv3 has as many channels as conv2 here, so that the list without it runs and gives other numbers."""
    model = randomise(keras.Sequential([keras.Input((12, 20, 3)), conv("a"), conv("b"), *head_layers()]))
    with pytest.raises(ValueError, match=r"largest difference is 0\.\d+\. Missing from the list: \['b'\]\.") as caught:
        named(["pool", "head"], "a", model)
    probe = np.random.default_rng(0).uniform(0.0, 1.0, (1, 12, 20, 3)).astype(np.float32)
    a, _, pool, head = model.layers
    difference = np.abs(head(pool(a(probe))) - model(probe)).max()
    assert f"largest difference is {difference:.3g}." in str(caught.value)


def test_missing_layer_that_changes_the_shape_is_named_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 6, 10, 4\), the model gives \(1, 4\)\. Missing .*\['pool'\]"):
        named(["conv3", "head"])


def test_missing_layer_that_breaks_the_chain_is_named() -> None:
    """The kernel of conv3 takes the 6 channels of conv2, not the 4 of conv1."""
    with pytest.raises(ValueError, match=r"cannot be called one after the other on 'conv1'.*Missing .*\['conv2'\]"):
        named(["conv3", "pool", "head"], "conv1")


@pytest.mark.parametrize("names", [["head", "pool", "conv3"], ["pool", "conv3", "head"], ["conv3", "head", "pool"]])
def test_wrong_order_is_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"Name every layer from the cut to the output in order, or leave"):
        named(names)


def test_layer_that_is_called_once_too_often_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cannot be called one after the other|largest difference"):
        named(["conv3", "pool", "head", "head"])
    with pytest.raises(ValueError, match=r"cannot be called one after the other|largest difference"):
        named(["conv2", "conv3", "pool", "head"])


def test_layer_before_the_cut_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cannot be called one after the other on 'conv2'"):
        named(["conv1"])


def test_unknown_classifier_layer_gives_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"Unknown classifier layer 'haed'\. Did you mean 'head'\?"):
        named(["conv3", "pool", "haed"])


@pytest.mark.parametrize("names", [[], (), "head", ""])
def test_classifier_layers_that_are_no_list_of_names_are_refused(names: Any) -> None:
    with pytest.raises(ValueError, match="Expected classifier_layers as a list of layer names, received"):
        named(names)


@pytest.mark.parametrize("names", [5, True])
def test_classifier_layers_that_are_a_number_are_refused_in_words(names: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="Expected classifier_layers as a list of layer names, received"):
        named(names)


def test_classifier_layers_as_an_array_of_names() -> None:
    split = named(np.array(["conv3", "pool", "head"]))
    np.testing.assert_allclose(split.tail(split.extractor(IMAGES)), PLAIN(IMAGES), rtol=1e-5)


@pytest.mark.parametrize("names", [["add", "out", "pool", "head"], ["branch2", "add", "out", "pool", "head"]])
def test_named_tail_inside_a_residual_branch_is_refused(names: list[str]) -> None:
    """Add takes two tensors, and the list has but one."""
    model, layer, _ = residual_branch()
    with pytest.raises(ValueError, match=r"cannot be called one after the other on 'branch1': .*or leave"):
        named(names, layer, model)


def test_named_tail_around_a_residual_branch_is_refused() -> None:
    """Without Add the chain runs, but gives what the branch alone would."""
    model, layer, _ = residual_branch()
    with pytest.raises(ValueError, match=r"largest difference is .*Missing from the list: \['add'\]"):
        named(["branch2", "out", "pool", "head"], layer, model)


def test_named_tail_of_a_second_input_is_refused() -> None:
    model, layer, _ = two_inputs_list()
    names = [call.name for call in model.layers if "concatenate" in call.name or "average" in call.name]
    with pytest.raises(ValueError, match="cannot be called one after the other"):
        named(["conv3", *sorted(names, reverse=True), "head"], layer, model)


def test_named_tail_up_to_where_a_second_input_joins_is_refused() -> None:
    model, _, _ = two_inputs_list()
    with pytest.raises(ValueError, match=r"stop before the output .* Missing from the list"):
        split_model(model, "conv2", ["conv3"])


def test_named_tail_of_a_subclassed_model_is_refused() -> None:
    model, layer, _ = small_net()
    with pytest.raises(
        ValueError, match=r"classifier_layers=None for 'small_net', which does not have a graph of layers"
    ):
        named(["conv3", "pool", "head"], layer, model)


# Halves.


def test_extractor_refuses_what_the_model_does_not_take() -> None:
    extractor = split_model(PLAIN).extractor
    with pytest.raises(ValueError, match=r"of shape \(B, 12, 20, 3\), received"):
        extractor(IMAGES[:, :6])
    with pytest.raises(TypeError, match="Expected the images as an array of numbers"):
        extractor(None)


def test_extractor_gives_the_frontier_where_the_cut_leaves_other_ways_open() -> None:
    model, layer, _ = residual_branch()
    activations, skip = split_model(model, layer).extractor(IMAGES)
    trunk = model.get_layer("conv1")(IMAGES)
    np.testing.assert_allclose(skip, trunk, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(activations, model.get_layer("branch1")(trunk), rtol=1e-5, atol=1e-6)


def test_tail_takes_numpy_activations() -> None:
    split = split_model(PLAIN)
    activations = np.asarray(split.extractor(IMAGES))
    np.testing.assert_allclose(split.tail(activations), PLAIN(IMAGES), rtol=1e-5)


def test_tail_answers_changed_activations() -> None:
    """What it is for: without activations the head gives its bias alone."""
    split = split_model(PLAIN)
    nothing = tf.zeros_like(split.extractor(IMAGES))
    expected = tf.nn.softmax(PLAIN.get_layer("head").bias)
    np.testing.assert_allclose(split.tail(nothing), np.tile(expected, (2, 1)), rtol=1e-5)


def test_split_says_what_it_is() -> None:
    split = split_model(PLAIN, "conv2")
    assert repr(split) == "SplitModel(layer_name='conv2', activation_shape=(None, 6, 10, 6))"


def test_split_holds_in_a_loop_over_layers_without_touching_the_model() -> None:
    before = [len(layer._inbound_nodes) for layer in PLAIN.layers]
    for row in list_layers(PLAIN):
        if row.explainable:
            split = split_model(PLAIN, row.path)
            np.testing.assert_allclose(split.tail(split.extractor(IMAGES)), PLAIN(IMAGES), rtol=1e-5)
    assert [len(layer._inbound_nodes) for layer in PLAIN.layers] == before


@pytest.mark.parametrize("function", [split_model, list_layers, Explainer])
def test_public_functions_refuse_what_is_no_model(function: Any) -> None:
    with pytest.raises(TypeError, match=r"Expected a Keras 3 model, received builtins\.int"):
        function(3)


@pytest.mark.parametrize("function", [split_model, list_layers, Explainer])
def test_public_functions_refuse_a_model_that_is_not_built(function: Any) -> None:
    with pytest.raises(ValueError, match="has no input shape yet"):
        function(keras.Sequential([layers.Flatten()]))
