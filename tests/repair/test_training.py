"""The fine-tuning of a repair: what is changed, what is never seen, what is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.helpers.repairs import SQUARE, network, stripes
from tf_gradcam.audit.shortcuts.suspects import Suspect
from tf_gradcam.guidance import DifferentiableMaps
from tf_gradcam.repair.samples import RepairSamples
from tf_gradcam.repair.training import (
    _mean_heat,
    changed_photos,
    class_loss,
    fine_tune,
    regions_of,
    tuned_variables,
)

REGION = np.zeros((24, 24), bool)
REGION[SQUARE] = True


def samples(held_out: int = 0) -> RepairSamples:
    """40 images of each class; of class 1 the first 30 have the square."""
    images, labels = stripes(0, 80)
    members = np.flatnonzero(labels == 1)[:30]
    images[members[:, None, None], np.arange(24)[SQUARE[0]][:, None], np.arange(24)[SQUARE[1]]] = 240
    suspect = Suspect("place", "drawn alike", members, region=REGION)
    out = np.arange(80) < held_out
    return RepairSamples([""] * 80, np.arange(80), images.astype(np.uint8), labels, out, 1, suspect)


def test_square_and_traces_are_as_frequent_in_either_class() -> None:
    """3 of 4 images of the class have the square. So 3/8 of either class keep or get it, 3/8 have the traces of it."""
    given, generator = samples(), np.random.default_rng(0)
    shown = np.zeros(2)
    changed = np.zeros(2)
    for _ in range(60):
        photos = changed_photos(given, np.arange(80), generator)
        has_square = (np.abs(photos[:, REGION] - 240) < 1).all(axis=(1, 2))
        is_plain = (photos == given.photos).all(axis=(1, 2, 3)) & ~has_square
        for label in (0, 1):
            shown[label] += has_square[given.labels == label].mean() / 60
            changed[label] += (~has_square & ~is_plain)[given.labels == label].mean() / 60
    np.testing.assert_allclose(shown, 3 / 8, atol=0.03)
    np.testing.assert_allclose(changed, 3 / 8, atol=0.03)


def test_changes_stay_in_the_region() -> None:
    given = samples()
    photos = changed_photos(given, np.arange(80), np.random.default_rng(1))
    np.testing.assert_array_equal(photos[:, ~REGION], given.photos[:, ~REGION])


def test_image_may_stand_twice_in_a_batch() -> None:
    given = samples()
    rows = np.repeat(given.suspect.members[:4], 8).tolist() + np.flatnonzero(given.labels == 0)[:4].tolist()
    assert changed_photos(given, np.array(rows), np.random.default_rng(0)).shape == (36, 24, 24, 3)


def tuned(model: keras.Model, given: RepairSamples, **options: Any) -> set[int]:
    """Fine-tune, and return the positions that were seen."""
    seen: set[int] = set()

    def inputs(photos: np.ndarray, rows: np.ndarray) -> np.ndarray:
        seen.update(rows.tolist())
        return photos

    _, variables = tuned_variables(model, None)
    settings = {"epochs": 2, "learning_rate": 1e-2, "seed": 0, "progress": lambda done, total: None}
    fine_tune(model, given, inputs, variables, **{**settings, **options})
    return seen


def test_held_out_images_are_never_seen_and_all_others_are() -> None:
    assert tuned(network(), samples(held_out=25)) == set(range(25, 80))


def test_earlier_layers_and_batch_statistics_stay() -> None:
    model = network()
    before = {weight.path: weight.numpy() for weight in model.weights}
    flags = [layer.trainable for layer in model.layers]
    tuned(model, samples())
    changed = {path.split("/")[-2] for path, value in before.items() if (value != now(model, path)).any()}
    assert changed == {"second", "head"}
    assert [layer.trainable for layer in model.layers] == flags


def now(model: keras.Model, path: str) -> np.ndarray:
    return next(weight.numpy() for weight in model.weights if weight.path == path)


def test_first_layer_is_chosen_by_its_path() -> None:
    model = network()
    path, variables = tuned_variables(model, "first")
    assert path == "first"
    names = {variable.path.split("/")[-2] for variable in variables}
    assert names == {"first", "second", "head"}  # not the batch normalisation between them
    with pytest.raises(ValueError, match=r"Unknown layer with weights 'frist'. Did you mean 'first'"):
        tuned_variables(model, "frist")


def test_layers_frozen_by_their_owner_are_trained_too() -> None:
    """A head that was trained on a frozen network learned the shortcut from its features."""
    model = network()
    model.trainable = False
    before = model.get_layer("second").kernel.numpy()
    tuned(model, samples())
    assert (model.get_layer("second").kernel.numpy() != before).any()


def test_diverging_training_is_refused() -> None:
    with pytest.raises(FloatingPointError, match=r"The loss is nan in step .* Lower the learning rate"):
        tuned(network(), samples(), learning_rate=float("inf"))


# The region in the loss.


def test_region_is_forbidden_where_the_suspect_is() -> None:
    given = samples()
    regions = regions_of(given, np.array([0, given.suspect.members[0], 2]))
    np.testing.assert_array_equal(regions, np.stack([0 * REGION, REGION, 0 * REGION]))
    mark = Suspect(
        "mark", "", np.array([4, 7]), places=np.array([[1, 2], [20, 21]]), patch_region=np.ones((5, 4), bool)
    )
    regions = regions_of(replace(given, suspect=mark), np.array([7, 4]))
    assert regions[0].sum() == 4 * 3  # cut off at the corner
    assert regions[1].sum() == regions[1, 1:6, 2:6].sum() == 5 * 4


def test_tint_has_no_region_to_forbid() -> None:
    tinted = replace(samples(), suspect=Suspect("tint", "", np.arange(3), tone=(np.ones((2, 2)), np.ones((2, 2)))))
    with pytest.raises(ValueError, match="a finding with a region to guide maps away from, received a tint"):
        regions_of(tinted, np.arange(4))


def test_heat_is_counted_by_the_forbidden_part_of_each_cell() -> None:
    """Of 2 x 2 cells of 2 x 2 pixels, the last cell is forbidden and half of the third; the second image is free."""
    maps = tf.constant([[[1.0, 2.0], [4.0, 3.0]], [[1.0, 1.0], [1.0, 1.0]]])
    forbidden = np.zeros((2, 4, 4), np.float32)
    forbidden[0, 2:, 2:] = forbidden[0, 2:, 0] = 1
    np.testing.assert_allclose(_mean_heat(maps, forbidden), (3 + 4 / 2) / 10, rtol=1e-6)
    np.testing.assert_allclose(_mean_heat(maps, 0 * forbidden), 0)


@pytest.mark.parametrize("how", ["guide", "both"])
def test_guided_training_moves_heat_out_of_the_region(how: Literal["guide", "both"]) -> None:
    """The left half is forbidden, where half of the heat is. The images stay as they are unless both is asked for."""
    left = np.zeros((24, 24), bool)
    left[:, :12] = True
    model, given = network(), samples()
    given = replace(given, suspect=replace(given.suspect, region=left))
    own = given.suspect.members
    photos, regions = given.photos[own].astype(np.float32), regions_of(given, own)
    maps = DifferentiableMaps(model, "second")
    before = float(_mean_heat(maps(photos, given.labels[own]), regions))
    same: list[bool] = []

    def inputs(batch: np.ndarray, rows: np.ndarray) -> np.ndarray:
        same.append(np.array_equal(batch, given.photos[rows]))
        return batch

    _, variables = tuned_variables(model, "first")
    settings = {"epochs": 12, "learning_rate": 1e-2, "seed": 0, "progress": lambda done, total: None}
    fine_tune(model, given, inputs, variables, how=how, layer="second", **settings)
    after = float(_mean_heat(maps(photos, given.labels[own]), regions))
    assert before > 0.4
    assert after < 0.75 * before
    assert all(same) is (how == "guide")


LOGITS = np.array([[1.0, 3.0], [0.5, -1.0]], np.float32)
SOFTMAX = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
EXPECTED = -np.log(SOFTMAX[[0, 1], [1, 1]]).mean()  # both labels are 1


@pytest.mark.parametrize(
    ("activation", "outputs"), [("softmax", SOFTMAX), (None, LOGITS), ("log_softmax", np.log(SOFTMAX))]
)
def test_loss_is_the_cross_entropy_of_whatever_the_output_is(activation: str | None, outputs: np.ndarray) -> None:
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten(), layers.Dense(2, activation)])
    np.testing.assert_allclose(class_loss(model)(np.array([1, 1]), outputs), EXPECTED, rtol=1e-5)


def test_loss_of_one_unit_is_that_of_two_classes() -> None:
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten(), layers.Dense(1, "sigmoid")])
    outputs = np.array([[0.9], [0.2]], np.float32)
    expected = -(np.log(0.9) + np.log(0.8)) / 2  # labels 1 and 0
    np.testing.assert_allclose(class_loss(model)(np.array([1, 0]), outputs), expected, rtol=1e-5)


def test_model_of_two_outputs_is_refused() -> None:
    images = keras.Input((4, 4, 3))
    flat = layers.Flatten()(images)
    model = keras.Model(images, [layers.Dense(2, "softmax")(flat), layers.Dense(1)(flat)])
    with pytest.raises(ValueError, match="Expected a model of one output to repair, received 2"):
        class_loss(model)
