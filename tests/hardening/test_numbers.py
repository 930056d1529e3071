"""Numbers at the edge: a map is right, or its diagnosis says why not; never NaN, never another image's trouble."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_gradcam as tg
from tests.helpers.redblue import red_blue_heatmap, red_blue_model, red_blue_photo
from tests.helpers.slow import every
from tf_gradcam._explain.passes import normalise
from tf_gradcam._results.diagnosis import (
    ALL_NEGATIVE,
    FLAT,
    NO_ACTIVATIONS,
    NON_FINITE_IMAGE,
    NON_FINITE_MAP,
    ONE_CELL,
    ZERO_GRADIENT,
)
from tf_gradcam._rules.table import METHODS
from tf_gradcam.image.resize import positive_share, signed_share
from tf_gradcam.targets.classes import Contrast

L = keras.layers
PHOTO = red_blue_photo()[None].astype("float32")
OTHER = np.random.default_rng(0).uniform(0, 255, (2, 6, 10, 3)).astype("float32")


def start_of(message: str) -> str:
    """The words of a diagnosis before what is filled in."""
    return message.partition("'")[0].partition("{")[0]


def check_maps(explanation: tg.Explanation) -> None:
    """What holds for every map: in range, its maximum 1, or zero with a diagnosis."""
    maps = explanation.heatmaps
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    assert maps.min() >= 0
    for heatmap, diagnosis in zip(maps, explanation.diagnosis, strict=True):
        assert heatmap.max() == 1 or (heatmap.max() == 0 and diagnosis)
    assert np.isfinite(explanation.resized()).all()


@pytest.fixture
def half() -> Iterator[None]:
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


def scaled(first: float, second: float) -> keras.Model:
    """Red and blue, with the hues `first` times as large and the classes weighing them `second` times as much."""
    model = red_blue_model()
    hue, classes = model.get_layer("hue"), model.get_layer("classes")
    hue.set_weights([hue.get_weights()[0] * np.float32(first), np.zeros(2)])
    classes.set_weights([np.eye(2) * np.float32(second), np.zeros(2)])
    return model


# The map forgets both scales, as long as the numbers of the model hold them. Below 1e-38 float32 has denormals alone,
# which TensorFlow counts as zero: then there is no map, and the diagnosis says so.
@pytest.mark.parametrize(("first", "second"), [(1e-18, 1e-18), (1e18, 1e18), (1e-33, 1e-3), (1e30, 1e-30), (1, 1e4)])
def test_map_forgets_the_scale_of_float32(first: float, second: float) -> None:
    explanation = tg.Explainer(scaled(first, second))(PHOTO, 0)
    check_maps(explanation)
    np.testing.assert_allclose(explanation.heatmaps[0], red_blue_heatmap(), atol=1e-5)


@pytest.mark.parametrize(("first", "second"), [(1e-40, 1), (1, 1e-42), (1e-37, 1e-3), (0, 1), (1, 0), (1e38, 1e38)])
def test_map_of_denormals_zeros_and_overflow_is_right_or_diagnosed(first: float, second: float) -> None:
    explanation = tg.Explainer(scaled(first, second))(PHOTO, 0)
    check_maps(explanation)
    if explanation.diagnosis[0] is None:
        np.testing.assert_allclose(explanation.heatmaps[0], red_blue_heatmap(), atol=1e-5)


# float16 ends at 65 504, and its smallest number is 6e-8.
@pytest.mark.usefixtures("half")
@pytest.mark.parametrize(("first", "second"), [(1, 1), (1e-3, 1e-3), (5e4, 1e-4), (1e-4, 1e4), (1, 6e4)])
def test_half_precision_is_right_as_far_as_it_reaches(first: float, second: float) -> None:
    explanation = tg.Explainer(scaled(first, second))(PHOTO, 0)
    check_maps(explanation)
    np.testing.assert_allclose(explanation.heatmaps[0], red_blue_heatmap(), atol=5e-3)


@pytest.mark.usefixtures("half")
@pytest.mark.parametrize(("first", "second"), [(1e6, 1), (1e-9, 1), (1, 1e-9), (1, 1e6), (6e4, 6e4)])
def test_half_precision_beyond_its_reach_is_right_or_diagnosed(first: float, second: float) -> None:
    check_maps(tg.Explainer(scaled(first, second))(PHOTO, 0))


@pytest.mark.usefixtures("half")
@pytest.mark.filterwarnings("ignore::tf_gradcam._models.preprocessing.ImageRangeWarning")
def test_overflow_of_one_image_is_its_own() -> None:
    """A bright image overflows float16 behind a large kernel, a dark one beside it does not."""
    dark, bright = PHOTO / 100, PHOTO * 2
    explainer = tg.Explainer(scaled(6e4, 1e-2))
    explanation = explainer(np.concatenate([dark, bright]), 0)
    check_maps(explanation)
    np.testing.assert_allclose(explanation.heatmaps[0], red_blue_heatmap(), atol=5e-3)
    assert explanation.diagnosis == [None, NON_FINITE_MAP]
    np.testing.assert_array_equal(explanation.heatmaps[0], explainer(dark, 0).heatmaps[0])


@pytest.mark.parametrize("head", ["softmax", "sigmoid", "softmax layer", "unit"])
@pytest.mark.parametrize("factor", [1e3, 1e6])
def test_saturated_head_has_the_map_of_its_logits(head: str, factor: float) -> None:
    """A probability of 1.0 has no gradient left; the score before the softmax or sigmoid has all of it."""
    heads = {
        "softmax": [L.Dense(2, activation="softmax", name="out")],
        "sigmoid": [L.Dense(2, activation="sigmoid", name="out")],
        "softmax layer": [L.Dense(2, name="out"), L.Softmax()],
        "unit": [L.Dense(1, activation="sigmoid", name="out")],
    }
    model = red_blue_model(*heads[head])
    kernel = np.array([[1.0], [-1.0]]) if head == "unit" else np.eye(2)
    model.get_layer("out").set_weights([factor * kernel, np.zeros(kernel.shape[1])])
    explanation = tg.Explainer(model)(PHOTO, 1 if head == "unit" else 0)
    check_maps(explanation)
    np.testing.assert_allclose(explanation.heatmaps[0], red_blue_heatmap(), atol=1e-5)
    assert np.isfinite(explanation.probabilities).all()


def test_saturated_head_that_cannot_be_opened_is_diagnosed() -> None:
    """A softmax that is multiplied behind is no head: where it is 1.0 there is no gradient, and the user is told."""
    images = keras.Input((6, 10, 3))
    hue = L.Conv2D(2, 1, name="hue")(images)
    probabilities = L.Softmax()(L.Rescaling(1e6)(L.GlobalAveragePooling2D()(hue)))
    model = keras.Model(images, keras.ops.multiply(probabilities, np.ones(2, np.float32)))
    model.get_layer("hue").set_weights([np.array([[[[1, -1], [0, 0], [-1, 1]]]]), np.zeros(2)])
    explanation = tg.Explainer(model)(PHOTO)
    check_maps(explanation)
    assert explanation.heatmaps.max() == 0
    assert explanation.diagnosis[0]


@pytest.mark.parametrize("value", [0.0, 1e-40, 1.0, 255.0, 1e30])
def test_constant_image_is_flat_or_blank_and_told(value: float) -> None:
    with np.errstate(all="ignore"):
        explanation = tg.Explainer(red_blue_model())(np.full((1, 6, 10, 3), value, np.float32))
    check_maps(explanation)
    (diagnosis,) = explanation.diagnosis
    assert diagnosis is not None
    assert diagnosis.startswith(
        (start_of(FLAT), start_of(ZERO_GRADIENT), start_of(ALL_NEGATIVE), start_of(NO_ACTIVATIONS))
    )
    assert len(np.unique(explanation.heatmaps)) == 1


@pytest.mark.parametrize(
    "method", every(3, [name for name in METHODS if name != "fullgrad"])
)  # which has the image's cells
def test_single_cell_is_told(method: str) -> None:
    """A map of one cell is 1 or 0 and shows nothing."""
    images = keras.Input((6, 10, 3))
    hue = L.Conv2D(2, (6, 10), activation="relu", name="hue")(images)
    model = keras.Model(images, L.Dense(2, activation="softmax")(L.GlobalAveragePooling2D()(hue)))
    keras.utils.set_random_seed(0)
    model.set_weights([np.random.default_rng(n).uniform(0, 1, w.shape) for n, w in enumerate(model.get_weights())])
    explanation = tg.Explainer(model, "hue", method)(OTHER / 255)
    check_maps(explanation)
    assert [str(text).startswith(ONE_CELL.format(layer="hue")) for text in explanation.diagnosis] == [True] * 2


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return red_blue_model()


@pytest.mark.parametrize("method", every(3, METHODS))
def test_bad_image_is_alone_with_its_trouble(model: keras.Model, method: str) -> None:
    """NaN in one pixel, infinity in another image, and two good ones: these are what they are by themselves."""
    bad = np.concatenate([OTHER[:1], OTHER[:1], OTHER[1:], OTHER[:1]])
    bad[1, 2, 3, 0], bad[3, 5, 9, 2] = np.nan, -np.inf
    explainer = tg.Explainer(model, method=method)
    explanation, alone = explainer(bad, 0), explainer(bad[[0, 2]], 0)
    check_maps(explanation)
    np.testing.assert_allclose(explanation.heatmaps[[0, 2]], alone.heatmaps, atol=1e-6)
    np.testing.assert_allclose(explanation.scores[[0, 2]], alone.scores, rtol=1e-6)
    assert [explanation.diagnosis[row] for row in (0, 2)] == alone.diagnosis
    assert [explanation.diagnosis[row] for row in (1, 3)] == [NON_FINITE_IMAGE] * 2
    assert (explanation.heatmaps[[1, 3]] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("wrap", ["augment", "smooth", "fuse", "class maps", "guided"])
def test_bad_image_is_alone_with_its_trouble_in_what_wraps(model: keras.Model, wrap: str) -> None:
    bad = np.concatenate([OTHER[:1], OTHER[:1]])
    bad[1, 2, 3] = np.nan
    explainer = tg.Explainer(model)
    calls = {
        "augment": lambda images: tg.augment(explainer, scales=(1.0, 1.25))(images, 0).heatmaps,
        "smooth": lambda images: tg.smooth(explainer, copies=2)(images, 0).heatmaps,
        "fuse": lambda images: tg.fuse([explainer, tg.Explainer(model, "scale")], "max")(images, 0).heatmaps,
        "class maps": lambda images: explainer.class_maps(images).heatmaps,
        "guided": lambda images: tg.guided_gradcam(model, images, target=0),
    }
    together, alone = calls[wrap](bad), calls[wrap](bad[:1])
    np.testing.assert_allclose(together[:1], alone, atol=1e-6)
    if wrap != "guided":  # whose result is signed pixels, those of the image as they are
        assert (together[1] == 0).all()


EDGES = np.array([0, 1e-45, 1e-40, 1e-38, 1e-30, 1, 1e30, 3e38, np.inf, np.nan], np.float32)
EDGES = np.concatenate([EDGES, -EDGES])


def test_normalising_agrees_between_the_frameworks_at_every_edge() -> None:
    """All pairs of edge values as maps of two cells. Where a denormal is the peak, TensorFlow may call it zero."""
    pairs = np.stack(np.meshgrid(EDGES, EDGES), axis=-1).reshape(-1, 1, 2)
    by_tensorflow = normalise(tf.constant(pairs)).numpy()
    with np.errstate(all="ignore"):
        by_numpy, signed = positive_share(pairs), signed_share(pairs)
    for maps in (by_tensorflow, by_numpy):
        assert np.isfinite(maps).all()
        assert ((maps >= 0) & (maps <= 1)).all()
        assert np.isin(maps.max(axis=(1, 2)), (0, 1)).all()
    assert np.isfinite(signed).all()
    assert (np.abs(signed) <= 1).all()
    peak = np.nan_to_num(pairs, nan=0, posinf=0, neginf=0).max(axis=(1, 2))
    is_normal = (peak == 0) | (peak >= np.finfo(np.float32).tiny)
    np.testing.assert_allclose(by_tensorflow[is_normal], by_numpy[is_normal], atol=1e-6)


@pytest.mark.parametrize("wrap", [lambda explainer: explainer, tg.augment, lambda explainer: tg.fuse([explainer] * 2)])
def test_signed_map_of_a_bad_image_is_blank_too(model: keras.Model, wrap: Callable[..., Any]) -> None:
    """relu makes zero of NaN, so that what is behind it is finite: the map of such an image would look like one."""
    bad = np.concatenate([OTHER[:1], OTHER[:1]])
    bad[1, 2, 3] = np.nan
    explanation = wrap(tg.Explainer(model))(bad, Contrast(0, 1))
    assert explanation.signed
    assert np.abs(explanation.signed_heatmaps[0]).max() == 1
    assert (explanation.signed_heatmaps[1] == 0).all()
    assert explanation.diagnosis[1] == NON_FINITE_IMAGE
