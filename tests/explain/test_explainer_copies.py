"""Copies of an explainer: pickled, deep-copied, and built again in a process of its own."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import pickle
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers.slow import first
from tests.zoo.styles import photos, randomise, small_net
from tf_gradcam import AttentionExplainer, Explainer, GuidedBackprop, augment, fuse, smooth
from tf_gradcam._models.reader import ModelReader

IMAGES = photos(2)[:, :6, :10]


def network() -> keras.Model:
    images = keras.Input((6, 10, 3))
    cells = layers.Conv2D(4, 3, activation="relu", name="cells")(images)
    later = layers.Conv2D(4, 1, activation="relu", name="later")(cells)
    pooled = layers.GlobalAveragePooling2D()(later)
    outputs = {"z": layers.Dense(3, activation="softmax")(pooled), "a": layers.Dense(1, activation="sigmoid")(pooled)}
    model = keras.Model(images, outputs)
    randomise(model)
    return model


@keras.saving.register_keras_serializable("tests")
class Own(keras.Model):
    def __init__(self, units: int = 3):
        super().__init__()
        self.units = units
        self.cells, self.pool = layers.Conv2D(4, 3, name="cells"), layers.GlobalAveragePooling2D()
        self.head = layers.Dense(units)

    def call(self, images: Any) -> Any:
        return self.head(self.pool(self.cells(images)))

    def get_config(self) -> dict[str, Any]:
        return {"units": self.units}


class Unsaved(Own):
    def __init__(self, maker: Any):
        super().__init__(3)

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError("what made me cannot be written")


def own() -> keras.Model:
    model = Own()
    model(IMAGES)
    randomise(model)
    return model


def heat(explainer: Explainer, images: np.ndarray, target: Any) -> tuple[np.ndarray, list[str]]:
    explanation = explainer(images, target)
    return explanation.raw, explanation.labels


COPIES = {"pickle": lambda item: pickle.loads(pickle.dumps(item)), "deepcopy": copy.deepcopy}


@pytest.mark.parametrize("how", first(1, COPIES))
@pytest.mark.parametrize(
    "options",
    [
        {"output": "z", "class_names": ["cat", "dog", "cow"]},
        {"output": "a", "layer": 1, "method": "hirescam", "class_names": {1: "ill"}},
        {"output": "z", "layer": ["cells", "later"], "freeze": True},
        {"output": "z", "method": "fullgrad"},
    ],
)
def test_copy_gives_the_same_maps(how: str, options: dict[str, Any]) -> None:
    explainer = Explainer(network(), **options)
    copied = COPIES[how](explainer)
    assert copied is not explainer
    for target in (None, 1):
        original, result = heat(explainer, IMAGES, target), heat(copied, IMAGES, target)
        np.testing.assert_allclose(result[0], original[0], rtol=1e-5, atol=1e-7)
        assert result[1] == original[1]
    assert (copied.layer_name, copied.method) == (explainer.layer_name, explainer.method)


def encoder() -> keras.Model:
    images = keras.Input((6, 10, 3))
    tokens = layers.Reshape((-1, 4))(layers.Conv2D(4, 2, strides=2)(images))
    tokens = layers.Add()([tokens, layers.MultiHeadAttention(2, 3)(tokens, tokens)])
    model = keras.Model(images, layers.Dense(3)(layers.GlobalAveragePooling1D()(tokens)))
    randomise(model)
    return model


WRAPPED = {
    "fused": lambda: fuse([Explainer(network(), name, output="z") for name in ("cells", "later")]),
    "augmented": lambda: augment(Explainer(network(), output="z")),
    "smoothed": lambda: smooth(Explainer(network(), output="z"), copies=2),
    "attention": lambda: AttentionExplainer(encoder(), "gradient_rollout", class_names=["cat", "dog", "cow"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("kind", WRAPPED)
def test_copy_of_other_explainers_gives_the_same_maps(how: str, kind: str) -> None:
    explainer = WRAPPED[kind]()
    original, result = heat(explainer, IMAGES, 1), heat(COPIES[how](explainer), IMAGES, 1)
    np.testing.assert_allclose(result[0], original[0], rtol=1e-5, atol=1e-7)
    assert original[0].any()
    assert result[1] == original[1]


def test_copy_of_guided_backpropagation_gives_the_same_gradients() -> None:
    whole = network()
    guided = GuidedBackprop(keras.Model(whole.inputs, whole.output["z"]), class_names=["cat", "dog", "cow"])
    gradients = COPIES["pickle"](guided)(IMAGES, "dog")
    assert gradients.any()
    np.testing.assert_allclose(gradients, guided(IMAGES, "dog"), rtol=1e-5, atol=1e-7)


def test_layer_object_is_found_again_by_its_path() -> None:
    model = network()
    copied = copy.deepcopy(Explainer(model, model.get_layer("cells"), output="z"))
    assert copied.layer_name == "cells"


def test_subclassed_model_is_built_again() -> None:
    explainer = Explainer(own())
    np.testing.assert_allclose(copy.deepcopy(explainer)(IMAGES).raw, explainer(IMAGES).raw, rtol=1e-5, atol=1e-7)


def test_explainer_outlives_its_model_and_can_still_be_sent() -> None:
    explainer = Explainer(network(), output="z")
    gc.collect()
    np.testing.assert_allclose(COPIES["pickle"](explainer)(IMAGES).raw, explainer(IMAGES).raw, rtol=1e-5, atol=1e-7)


def test_copy_has_weights_of_its_own() -> None:
    model = own()
    explainer = Explainer(model)
    copied, before = copy.deepcopy(explainer), explainer(IMAGES).raw
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    assert not explainer(IMAGES).raw.any()
    np.testing.assert_allclose(copied(IMAGES).raw, before, rtol=1e-5, atol=1e-7)


def test_model_that_keras_cannot_save_is_refused_with_another_way() -> None:
    model = Unsaved(small_net)
    model(IMAGES)
    explainer = Explainer(model)
    for attempt in (partial(pickle.dumps, explainer), partial(copy.deepcopy, explainer)):
        with pytest.raises(TypeError, match=r"can save and load, .*cannot be written.*get_config.*load_weights"):
            attempt()
    weights = model.get_weights()  # the other way: the network is built there, and gets its weights
    there = Own()
    there(IMAGES)
    there.set_weights(weights)
    np.testing.assert_allclose(Explainer(there)(IMAGES).raw, explainer(IMAGES).raw, rtol=1e-5, atol=1e-7)


def test_saved_model_of_a_reader_is_a_keras_file() -> None:
    assert ModelReader(network()).saved()[:2] == b"PK"


@pytest.mark.slow
def test_explainer_works_in_a_spawned_process() -> None:
    explainer = Explainer(network(), output="z", class_names=["cat", "dog", "cow"])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        raw, labels = pool.apply(heat, (explainer, IMAGES, None))
    expected = heat(explainer, IMAGES, None)
    np.testing.assert_allclose(raw, expected[0], rtol=1e-5, atol=1e-7)
    assert labels == expected[1]


@pytest.mark.slow
def test_explainer_works_in_a_worker_of_joblib() -> None:
    joblib = pytest.importorskip("joblib")
    explainer = Explainer(network(), output="z")
    ((raw, labels),) = joblib.Parallel(2)([joblib.delayed(heat)(explainer, IMAGES, 1)])
    np.testing.assert_allclose(raw, heat(explainer, IMAGES, 1)[0], rtol=1e-5, atol=1e-7)
    assert labels == ["class 1", "class 1"]


@pytest.mark.slow
def test_explainer_works_in_a_worker_of_ray() -> None:
    ray = pytest.importorskip("ray")
    explainer = Explainer(network(), output="z")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        raw, _ = ray.get(ray.remote(heat).remote(explainer, IMAGES, 1))
    finally:
        ray.shutdown()
    np.testing.assert_allclose(raw, heat(explainer, IMAGES, 1)[0], rtol=1e-5, atol=1e-7)
