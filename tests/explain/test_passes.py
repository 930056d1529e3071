"""Passes in batches of the size that a model fixes, and around images that are not finite."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from tests.helpers.slow import first
from tests.zoo.styles import photos, randomise
from tf_gradcam import METHODS, AttentionExplainer, Explainer, GuidedBackprop, split_model
from tf_gradcam._explain.passes import in_batches
from tf_gradcam._models.reader import ModelReader

IMAGES = photos(5)[:, :6, :10]
NAN = np.where(np.arange(3)[:, None, None, None] == 1, np.nan, photos(3)[:, :6, :10]).astype(np.float32)


def pooled_by_reshape(batch_size: int | None, rows: int = 0) -> keras.Model:
    """The cells of a convolution are pooled by a reshape that names the batch size, as exports for one device do."""
    images = keras.Input(batch_shape=(batch_size, 6, 10, 3))
    cells = layers.Conv2D(4, 3, activation="relu", name="cells")(images)
    flat = ops.reshape(cells, (rows, 32, 4)) if rows else layers.Reshape((32, 4))(cells)
    model = keras.Model(images, layers.Dense(3, activation="softmax")(ops.mean(flat, 1)))
    randomise(model)
    return model


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_batches_are_filled_up_by_repeats_that_are_dropped(count: int) -> None:
    seen: list[list[int]] = []

    def run(arrays: list[Any]) -> tuple[np.ndarray, None]:
        seen.append(np.asarray(arrays[0]).tolist())
        return np.asarray(arrays[0]) * 10, None

    results, nothing = in_batches(2, [np.arange(count)], run)
    np.testing.assert_array_equal(results, np.arange(count) * 10)
    assert nothing is None
    assert seen == {1: [[0, 0]], 2: [[0, 1]], 3: [[0, 1], [2, 2]], 5: [[0, 1], [2, 3], [4, 4]]}[count]


@pytest.mark.parametrize("rows", first(1, [2, 1]))
@pytest.mark.parametrize("method", ["gradcam", "scorecam", "ablationcam", "fullgrad"])
def test_fixed_batch_size_gives_the_maps_of_a_free_one(rows: int, method: str) -> None:
    fixed, free = pooled_by_reshape(rows, rows), pooled_by_reshape(None)
    free.set_weights(fixed.get_weights())
    progress: list[tuple[int, int]] = []
    actual = Explainer(fixed, method=method)(IMAGES, [0, 1, 2, 0, 1], progress=lambda *done: progress.append(done))
    expected = Explainer(free, method=method)(IMAGES, [0, 1, 2, 0, 1])
    for field in ("raw", "heatmaps", "outputs", "probabilities", "scores", "class_indices"):
        np.testing.assert_allclose(getattr(actual, field), getattr(expected, field), rtol=1e-4, atol=1e-5)
    assert progress[-1][0] == progress[-1][1]
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)


def test_fixed_batch_size_holds_for_maps_of_classes_and_guided_gradients() -> None:
    fixed, free = pooled_by_reshape(2, 2), pooled_by_reshape(None)
    free.set_weights(fixed.get_weights())
    np.testing.assert_allclose(
        Explainer(fixed).class_maps(IMAGES).raw, Explainer(free).class_maps(IMAGES).raw, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(GuidedBackprop(fixed)(IMAGES), GuidedBackprop(free)(IMAGES), rtol=1e-4, atol=1e-6)


def test_extractor_names_the_fixed_batch_size() -> None:
    split = split_model(pooled_by_reshape(2, 2))
    with pytest.raises(ValueError, match=r"Expected a batch of 2 images.*received 5\. Explainer\(model\)\(images\)"):
        split.extractor(IMAGES)
    assert split.extractor(IMAGES[:2]).shape == (2, 4, 8, 4)


def test_declared_batch_size_that_no_operation_needs_is_free() -> None:
    """Pictures are not run 32 at a time because the model was trained so."""
    assert ModelReader(pooled_by_reshape(32)).inputs.batch_size is None
    assert Explainer(pooled_by_reshape(32))(IMAGES).heatmaps.shape == (5, 4, 8)


def test_subclassed_model_of_a_fixed_batch_size() -> None:
    class Fixed(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.cells, self.head = layers.Conv2D(4, 3, activation="relu", name="cells"), layers.Dense(3)

        def call(self, images: Any) -> Any:
            return self.head(ops.mean(ops.reshape(self.cells(images), (2, 32, 4)), 1))

    model, free = Fixed(), pooled_by_reshape(None)
    model(IMAGES[:2])
    free.set_weights(model.get_weights())
    np.testing.assert_allclose(Explainer(model)(IMAGES, 1).raw, Explainer(free)(IMAGES, 1).raw, rtol=1e-4, atol=1e-6)


# Numbers that are not finite, while TensorFlow watches for them.


@pytest.fixture
def _checked_numerics() -> Iterator[None]:
    tf.debugging.enable_check_numerics()
    yield
    tf.debugging.disable_check_numerics()


@pytest.mark.usefixtures("_checked_numerics")
@pytest.mark.parametrize("method", ["gradcam", "gradcam_pp", "scorecam", "fullgrad", "eigencam"])
def test_one_bad_image_leaves_the_others_while_numerics_are_checked(method: str) -> None:
    model = keras.Sequential(
        [
            keras.Input((6, 10, 3)),
            layers.Conv2D(4, 3, activation="relu", name="cells"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    randomise(model)
    explainer = Explainer(model, method=method)
    explanation = explainer(NAN, [2, 1, 0])
    alone = explainer(NAN[[0, 2]], [2, 0])
    np.testing.assert_array_equal(explanation.raw[[0, 2]], alone.raw)
    np.testing.assert_array_equal(explanation.probabilities[[0, 2]], alone.probabilities)
    assert explanation.class_indices.tolist() == [2, 1, 0]
    assert not explanation.heatmaps[1].any()
    assert "NaN" in explanation.diagnosis[1]
    assert explanation.diagnosis[0] == alone.diagnosis[0]
    with pytest.raises(ValueError, match="received NaN or infinite values in every image"):
        explainer(NAN[1:2])
    if method == "gradcam":
        maps = explainer.class_maps(NAN)
        np.testing.assert_array_equal(maps.raw[[0, 2]], explainer.class_maps(NAN[[0, 2]]).raw)
        assert not maps.heatmaps[1].any()


# Other ways that TensorFlow can run, and threads.


@pytest.mark.parametrize(
    "method",
    [
        name if name in ("cam", "scorecam", "fullgrad") else pytest.param(name, marks=pytest.mark.slow)
        for name in METHODS
    ],
)
def test_method_works_while_functions_run_eagerly(method: str) -> None:
    model = keras.Sequential(
        [
            keras.Input((6, 10, 3)),
            layers.Conv2D(2, 3, name="cells"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    randomise(model)
    expected = Explainer(model, method=method)(IMAGES[:1], 1).raw
    tf.config.run_functions_eagerly(True)
    try:
        actual = Explainer(model, method=method)(IMAGES[:1], 1).raw
    finally:
        tf.config.run_functions_eagerly(False)
    np.testing.assert_array_equal(actual, expected)


def test_call_inside_a_tf_function_says_so() -> None:
    explainer = Explainer(pooled_by_reshape(None))
    message = "called eagerly, received a call inside a tf.function"
    for inside in (
        lambda images: explainer(images).raw,
        lambda images: explainer.class_maps(images).raw,
        lambda images: GuidedBackprop(pooled_by_reshape(None))(images),
        lambda images: Explainer(pooled_by_reshape(None)).method,
    ):
        with pytest.raises(RuntimeError, match=message):
            tf.function(inside)(tf.constant(IMAGES))
    with pytest.raises(RuntimeError, match=message):
        tf.data.Dataset.from_tensors(IMAGES).map(lambda images: explainer(images).raw)


def test_call_inside_a_py_function_works() -> None:
    explainer = Explainer(pooled_by_reshape(None))
    inside = tf.function(lambda images: tf.py_function(lambda array: explainer(array).raw, [images], tf.float32))
    np.testing.assert_array_equal(inside(tf.constant(IMAGES)), explainer(IMAGES).raw)


def test_threads_share_one_compiled_pass() -> None:
    """Without a lock each thread that comes while the first one compiles would compile too, and call the rule."""
    traced: list[int] = []

    def rule(activations: Any, gradients: Any) -> Any:
        traced.append(threading.get_ident())
        time.sleep(0.2)
        return gradients

    explainer, barrier = Explainer(pooled_by_reshape(None), method=rule), threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        explainer(IMAGES)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(traced) == 1


@pytest.mark.parametrize("style", ["functional", "subclassed"])
@pytest.mark.parametrize("method", ["gradcam", "fullgrad"])
def test_dropout_is_off_and_batch_statistics_are_the_stored_ones(style: str, method: str) -> None:
    """The same network without dropout, its batch normalisation written as an affine map, gives the same map."""

    def body(images: Any, norm: Any, drop: Any) -> Any:
        return head(layers.GlobalAveragePooling2D()(drop(norm(cells(images)))))

    images = keras.Input((6, 10, 3))
    cells, norm, head = layers.Conv2D(4, 3, name="cells"), layers.BatchNormalization(), layers.Dense(3)
    model = keras.Model(images, body(images, norm, layers.Dropout(0.5)))
    randomise(model)
    norm.set_weights([np.arange(1.0, 5), np.arange(4.0), np.arange(4.0), np.arange(1.0, 5)])
    scale = np.arange(1.0, 5) / np.sqrt(np.arange(1.0, 5) + norm.epsilon)
    affine = layers.Rescaling(scale, np.arange(4.0) - np.arange(4.0) * scale)
    reference = keras.Model(images, body(images, affine, layers.Identity()))
    if style == "subclassed":

        class Whole(keras.Model):
            def __init__(self, inner: keras.Model):
                super().__init__()
                self.inner = inner

            def call(self, images: Any, training: bool | None = None) -> Any:
                return self.inner(images, training=training)

        if method == "fullgrad":
            pytest.skip("fullgrad needs a graph")
        model = Whole(model)
        model(IMAGES)
    layer = None if method == "fullgrad" else "cells"
    actual, expected = (Explainer(network, layer, method)(IMAGES, 1) for network in (model, reference))
    np.testing.assert_allclose(actual.outputs, expected.outputs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(actual.raw, expected.raw, rtol=1e-3, atol=1e-5)


def test_attention_is_not_called_inside_a_tf_function() -> None:
    images = keras.Input((4, 4, 3))
    tokens = layers.Reshape((4, 4))(layers.Conv2D(4, 2, strides=2)(images))
    mixed = layers.MultiHeadAttention(1, 4)(tokens, tokens)
    explainer = AttentionExplainer(keras.Model(images, layers.Dense(2)(layers.GlobalAveragePooling1D()(mixed))))
    with pytest.raises(RuntimeError, match="called eagerly"):
        tf.function(lambda batch: explainer(batch).raw)(tf.zeros((1, 4, 4, 3)))
