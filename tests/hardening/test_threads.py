"""Threads at once: the same maps as one after the other, whoever else is at work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_gradcam as tg
from tests.helpers.redblue import red_blue_model, red_blue_photo
from tests.zoo.styles import photos, plain_model, small_net
from tf_gradcam.targets.classes import Unit

THREADS = 4
KINDS: dict[str, Callable[[], keras.Model]] = {"graph": plain_model, "subclassed": lambda: small_net()[0]}
TOLERANCE = 1e-5  # kernels may add in another order where threads share the cores


def at_once(work: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each call returns, all begun at the same moment in threads of their own."""
    barrier = threading.Barrier(len(work))

    def begin(one: Callable[[], Any]) -> Any:
        barrier.wait(timeout=60)
        return one()

    with ThreadPoolExecutor(len(work)) as pool:
        return [future.result(timeout=120) for future in [pool.submit(begin, one) for one in work]]


def assert_same(actual: tg.Explanation, expected: tg.Explanation) -> None:
    np.testing.assert_allclose(actual.heatmaps, expected.heatmaps, atol=TOLERANCE)
    np.testing.assert_array_equal(actual.class_indices, expected.class_indices)
    np.testing.assert_allclose(actual.scores, expected.scores, rtol=TOLERANCE, atol=TOLERANCE)
    assert actual.labels == expected.labels


@pytest.mark.parametrize("kind", KINDS)
def test_threads_share_one_explainer(kind: str) -> None:
    """Every thread has images, a batch size and a target of its own."""
    explainer = tg.Explainer(KINDS[kind]())
    given = [(photos(1 + n % 3, seed=n), (None, n % 4, Unit(n % 4))[n % 3]) for n in range(THREADS)]
    expected = [explainer(*one) for one in given]
    work = [lambda one=one: [explainer(*one) for _ in range(8)] for one in given]
    for found, wanted in zip(at_once(work), expected, strict=True):
        for explanation in found:
            assert_same(explanation, wanted)


@pytest.mark.parametrize("method", ["scorecam", "ablationcam", "fullgrad"])
def test_threads_share_an_explainer_that_probes(method: str) -> None:
    model = red_blue_model()
    explainer = tg.Explainer(model, method=method)
    given = [np.random.default_rng(n).uniform(0, 255, (2, 6, 10, 3)).astype("float32") for n in range(4)]
    expected = [explainer(images) for images in given]
    for found, wanted in zip(at_once([lambda one=one: explainer(one) for one in given]), expected, strict=True):
        assert_same(found, wanted)


def test_threads_meet_an_explainer_that_was_never_called() -> None:
    """What the first call compiles is compiled once, and is everybody's."""
    explainer, images = tg.Explainer(plain_model()), photos(2)
    expected = tg.Explainer(plain_model())(images)
    for found in at_once([lambda: explainer(images)] * THREADS):
        assert_same(found, expected)
    assert explainer.trace_count == 1


@pytest.mark.slow
def test_more_targets_at_once_than_are_kept() -> None:
    """Passes of callables are dropped, the oldest first; one that a thread is about to call is still there."""
    explainer, images = tg.Explainer(red_blue_model()), red_blue_photo()[None].astype("float32")
    expected = explainer(images, 0)
    targets = [[(lambda outputs, n=n: outputs[:, 0] + 0.0 * n) for n in range(3)] for _ in range(THREADS)]
    work = [lambda own=own: [explainer(images, target) for target in own] for own in targets]
    for found in at_once(work):
        for explanation in found:
            np.testing.assert_allclose(explanation.heatmaps, expected.heatmaps, atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("freeze", [False, True])
def test_explainers_are_built_at_once(kind: str, freeze: bool) -> None:
    """Of one model, at different layers: building looks into the layers, which the threads share."""
    model, images = KINDS[kind](), photos(2)
    before = model(images).numpy()
    paths = [row.path for row in tg.list_layers(model) if row.explainable][:THREADS]
    assert len(paths) >= 2
    expected = [tg.Explainer(model, path, freeze=freeze)(images) for path in paths]
    found = at_once([lambda path=path: tg.Explainer(model, path, freeze=freeze)(images) for path in paths])
    for explanation, wanted in zip(found, expected, strict=True):
        assert explanation.layer_name == wanted.layer_name
        assert_same(explanation, wanted)
    np.testing.assert_array_equal(model(images).numpy(), before)


@pytest.mark.slow
def test_drop_in_functions_are_called_at_once() -> None:
    model, images = plain_model(), [photos(1, seed=n) for n in range(THREADS)]
    expected = [tg.make_gradcam_heatmap(image, plain_model()) for image in images]
    work = [lambda one=one: [tg.make_gradcam_heatmap(one, model) for _ in range(5)] for one in images]
    for found, wanted in zip(at_once(work), expected, strict=True):
        np.testing.assert_allclose(found, [wanted] * 5, atol=TOLERANCE)


@pytest.mark.slow
def test_guided_gradients_of_several_targets_at_once() -> None:
    guided, images = tg.GuidedBackprop(red_blue_model()), red_blue_photo()[None].astype("float32")
    targets = [0, 1, *(lambda outputs, n=n: outputs[:, n % 2] for n in range(4))]
    expected = [guided(images, target) for target in targets]
    for found, wanted in zip(at_once([lambda t=t: guided(images, t) for t in targets]), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=TOLERANCE)


@pytest.mark.slow
def test_maps_of_many_classes_at_once() -> None:
    explainer, images = tg.Explainer(plain_model()), photos(2)
    expected = tg.Explainer(plain_model()).class_maps(images)
    for found in at_once([lambda: explainer.class_maps(images)] * 4):
        np.testing.assert_allclose(found.heatmaps, expected.heatmaps, atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("eagerly", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_model_is_trained_by_another_thread(kind: str, eagerly: bool) -> None:
    """Weights are read at every call. What a call meets between two steps is up to the training; the maps are maps.

    An eager training calls the layers in Python while explainers of a subclassed model are looking into them: each must
    keep to its own. With a learning rate of zero the weights, and so the maps and the losses, are those before.
    """
    model, images, labels = KINDS[kind](), photos(8), np.arange(8) % 4
    expected = tg.Explainer(model)(images)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=kind == "subclassed")
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=eagerly)
    calm = model.fit(images, labels, batch_size=8, epochs=1, verbose=0, shuffle=False).history["loss"][0]
    losses: list[float] = []
    done = threading.Event()

    def train() -> None:
        while not done.is_set():
            losses.extend(model.fit(images, labels, batch_size=8, epochs=2, verbose=0, shuffle=False).history["loss"])

    trainer = threading.Thread(target=train)
    trainer.start()
    try:
        for _ in range(4):
            explainer = tg.Explainer(model)
            for _ in range(3):
                assert_same(explainer(images), expected)
        while not losses:
            time.sleep(0.01)
    finally:
        done.set()
        trainer.join(timeout=60)
    np.testing.assert_allclose(losses, calm, rtol=1e-5)


@pytest.mark.slow
def test_maps_follow_a_training_in_another_thread() -> None:
    """With a learning rate: every map is finite and in range, and the last is that of the last weights."""
    model, images, labels = plain_model(), photos(8), np.arange(8) % 4
    explainer = tg.Explainer(model)
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    trainer = threading.Thread(target=model.fit, args=(images, labels), kwargs={"epochs": 5, "verbose": 0})
    trainer.start()
    while trainer.is_alive():
        explanation = explainer(images)
        assert np.isfinite(explanation.heatmaps).all()
        assert 0 <= explanation.heatmaps.min() <= explanation.heatmaps.max() <= 1
    trainer.join()
    assert_same(explainer(images), tg.Explainer(model)(images))


def test_tensors_of_other_threads_are_no_images_of_ours() -> None:
    """A tf.data pipeline maps an explainer's inputs in threads of TensorFlow: eager calls beside it are whole."""
    explainer = tg.Explainer(plain_model())
    dataset = tf.data.Dataset.from_tensor_slices(photos(12)).batch(3).prefetch(2)
    expected = explainer(photos(12)).heatmaps
    found = np.concatenate([explainer(batch).heatmaps for batch in dataset])
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
