"""Kept features: the same training as without, and what happens to files that are cut off, damaged or stale."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.training.loop.test_fit import STAGE, TRAINING, tiny
from training.data.folder import Samples
from training.loop.features import FeatureBatches, Features, cut
from training.loop.fit import Feed, _kept_feeds, _trainer, fit, kept_part
from training.loop.run_folder import Run
from training.model.backbone import unfreeze

NAMES = ("blue", "red")
HEAD = replace(STAGE, name="head", unfreeze=0)
BLOCK = replace(STAGE, name="last block", unfreeze=1)
PLAIN = replace(TRAINING, feature_copies=1)
EMPTY = (Feed([None] * 3, lambda epoch: None, 4),) * 2  # 3 batches of 4, which features replace


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Samples:
    """11 pictures of 6 x 10 pixels, every second one with more red."""
    import cv2

    root = tmp_path_factory.mktemp("pictures")
    generator, files, labels = np.random.default_rng(0), [], []
    for label, name in enumerate(NAMES):
        (root / name).mkdir()
        for number in range(6 - label):
            photo = generator.integers(0, 128, (6, 10, 3))
            photo[..., 2] += 120 * label
            files.append(root / name / f"{number}.png")
            cv2.imwrite(str(files[-1]), photo.astype(np.uint8))
            labels.append(label)
    return Samples(root, tuple(files), np.array(labels, np.int32), NAMES)


def frozen(stage=HEAD, seed: int = 0) -> keras.Model:
    model = tiny(seed)
    return cut(model, unfreeze(model, stage.unfreeze)).frozen


def features(folder: Path, pictures: Samples, model: keras.Model | None = None, **options) -> Features:
    options = {"copies": 3, "batch_size": 4, "seed": 7, **options}
    return Features(folder, "training", model or frozen(), pictures, (6, 10), **options)


def everything(kept: Features) -> np.ndarray:
    return kept.read(np.arange(kept.copies * len(kept.labels)))


class Images(keras.utils.PyDataset):
    """The images of the samples in the order of their features."""

    def __init__(self, order: FeatureBatches, photos: np.ndarray):
        super().__init__()
        self._order, self._photos = order, photos

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int):
        rows = self._order._rows[index * 4 : index * 4 + 4]
        return self._photos[rows].astype(np.float32), self._order[index][1]


@pytest.mark.parametrize("stage", [pytest.param(HEAD, marks=pytest.mark.slow), BLOCK], ids=["head", "block"])
def test_a_training_on_features_is_the_one_on_images(tmp_path, pictures, stage):
    """Without augmentation; `image model` is trained on pictures in the same order."""
    from training.data.pipeline import arrays

    run, model, twin = Run(tmp_path / "run"), tiny(), tiny()
    training = replace(PLAIN, stages=(stage,))
    fit(model, stage, training, EMPTY, run, NAMES, 7, pictures=(pictures, pictures))

    unfreeze(twin, stage.unfreeze)
    order = FeatureBatches(features(tmp_path / "order", pictures, frozen(stage), copies=1), 4, 7)
    order._features.compute()
    trainer = _trainer(twin, stage, PLAIN, 3, 7, augmented=False)
    begin = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: order.begin(epoch))
    images = Images(order, arrays(pictures, (6, 10))[0])
    history = trainer.fit(images, epochs=3, shuffle=False, verbose=0, callbacks=[begin]).history
    np.testing.assert_allclose([float(row["loss"]) for row in run.rows()], history["loss"], rtol=1e-4)
    for expected, actual in zip(twin.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    assert not (run.backup / "features").exists()


def test_batches_of_features_are_as_large_as_those_of_images(tmp_path, pictures):
    """11 pictures in batches of 8 are 8 and 3; two even batches would be 6 and 5."""
    model, run = tiny(), Run(tmp_path)
    kept = kept_part(model, HEAD, TRAINING, unfreeze(model, 0))
    training, _ = _kept_feeds(
        kept, (pictures, pictures), HEAD, TRAINING, run, (Feed([None] * 2, lambda epoch: None, 8),) * 2, 7, False
    )
    assert [len(training.batches[index][1]) for index in range(len(training))] == [8, 3]


@pytest.mark.slow
def test_the_best_model_of_a_training_on_features_takes_images(tmp_path, pictures):
    run, model = Run(tmp_path / "run"), tiny()
    fit(model, HEAD, TRAINING, EMPTY, run, NAMES, 7, pictures=(pictures, pictures))
    loaded = keras.saving.load_model(run.best_model, compile=False)
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]


@pytest.mark.parametrize("stage", [HEAD, BLOCK], ids=["head", "block"])
def test_two_parts_give_what_the_model_gives(stage):
    model = tiny()
    parts = cut(model, unfreeze(model, stage.unfreeze))
    photos = np.random.default_rng(0).uniform(0, 255, (2, 6, 10, 3)).astype(np.float32)
    expected = model(photos, training=False)
    np.testing.assert_allclose(parts.rest(parts.frozen(photos), training=False), expected, rtol=1e-6)


def test_features_of_the_head_are_pooled_and_its_dropout_stays_random():
    images = keras.Input((6, 10, 3))
    hidden = keras.layers.Conv2D(4, 3, name="block1_conv")(images)
    hidden = keras.layers.Dropout(0.5, name="block1_drop")(hidden)
    hidden = keras.layers.GlobalAveragePooling2D(name="pool")(hidden)
    hidden = keras.layers.Dropout(0.5, name="dropout")(hidden)
    model = keras.Model(images, keras.layers.Dense(2, name="dense")(hidden))
    parts = cut(model, unfreeze(model, 0))
    assert parts.frozen.output_shape == (None, 4)
    assert parts.random == ("block1_drop",)
    assert "dropout" in [layer.name for layer in parts.rest.layers]


def test_an_interrupted_computation_goes_on_to_the_same_features(tmp_path, pictures):
    whole = features(tmp_path / "whole", pictures)
    assert whole.compute() == 9
    broken = features(tmp_path / "broken", pictures)
    ask, asked = broken._batch, []

    def until_the_fifth(*span):
        asked.append(span)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return ask(*span)

    broken._batch = until_the_fifth
    with pytest.raises(KeyboardInterrupt):
        broken.compute()
    again = features(tmp_path / "broken", pictures)
    assert again.compute() == 5
    np.testing.assert_array_equal(everything(again), everything(whole))
    assert features(tmp_path / "broken", pictures).compute() == 0


@pytest.mark.slow
def test_memory_does_not_grow_with_the_features(tmp_path, pictures):
    """A batch of 4 has 4 MB of features, 8 copies have 92 MB: computed, checked and read as 2 copies are."""
    images = keras.Input((64, 64, 3))
    convolution = keras.layers.Conv2D(64, 1, trainable=False)
    model = keras.Model(images, convolution(images))

    def peak(copies: int) -> int:
        kept = Features(tmp_path / str(copies), "training", model, pictures, (64, 64), copies=copies, batch_size=4)
        tracemalloc.start()
        kept.compute()
        kept.compute()  # checks the file
        order = FeatureBatches(kept, 4, seed=0)
        for index in range(len(order)):
            order[index]
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert kept.size == copies * 11 * 64 * 64 * 64 * 4
        return found

    peak(1)  # what Keras makes once
    few, many = peak(2), peak(8)
    assert many < few + 2**22  # for what the collector has not yet found
    assert 2**22 < few < 5 * 2**22


def test_copies_are_the_picture_and_augmented_ones(tmp_path, pictures):
    kept = features(tmp_path, pictures, frozen(BLOCK))
    kept.compute()
    plain, *others = everything(kept).reshape(3, 11, -1)
    from training.data.pipeline import arrays

    expected = np.asarray(frozen(BLOCK)(arrays(pictures, (6, 10))[0].astype(np.float32), training=False))
    np.testing.assert_allclose(plain, expected.reshape(11, -1), rtol=1e-4, atol=1e-5)
    assert not np.allclose(plain, others[0])
    assert not np.allclose(others[0], others[1])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda pictures: {"model": frozen(seed=5)}, "is of other weights: computed again"),
        (lambda pictures: {"pictures": pictures.take(range(1, 11))}, "is of other images: computed again"),
        (lambda pictures: {"seed": 8}, "is of other settings: computed again"),
    ],
    ids=["weights", "split", "seed"],
)
def test_features_of_something_else_are_computed_again(tmp_path, pictures, capsys, change, told):
    features(tmp_path, pictures).compute()
    kept = features(tmp_path, **{"pictures": pictures, **change(pictures)})
    assert kept.compute() == 9
    assert told in capsys.readouterr().out


def test_a_training_that_began_does_not_go_on_with_other_frozen_weights(tmp_path, pictures):
    features(tmp_path, pictures).compute()
    with pytest.raises(ValueError, match="Expected the frozen weights with which the run began"):
        features(tmp_path, pictures, frozen(seed=5)).compute(begun=True)
    assert features(tmp_path, pictures).compute(begun=True) == 0  # the remedy


@pytest.mark.parametrize("part", ["values", "end", "checksums"])
def test_damaged_features_are_computed_again(tmp_path, pictures, capsys, part):
    kept = features(tmp_path, pictures)
    kept.compute()
    expected = everything(kept)
    file = tmp_path / ("training.txt" if part == "checksums" else "training.bin")
    content = bytearray(file.read_bytes())
    if part == "end":
        content = content[:-5]
    else:
        content[len(content) // 2 if part == "values" else 3] ^= 255
    file.write_bytes(content)
    again = features(tmp_path, pictures)
    assert again.compute() > 0
    np.testing.assert_array_equal(everything(again), expected)
    assert "damaged" in capsys.readouterr().out


def test_an_epoch_has_every_sample_once_in_an_order_of_its_own(tmp_path, pictures):
    kept = features(tmp_path, pictures)
    kept.compute()
    batches, orders = FeatureBatches(kept, 4, 7), []
    for epoch in (0, 1, 0):
        batches.begin(epoch)
        assert [len(batches[index][1]) for index in range(len(batches))] == [4, 4, 3]
        orders.append(batches._rows.tolist())
        assert sorted(row % 11 for row in orders[-1]) == list(range(11))
    assert orders[0] == orders[2] != orders[1]


def test_a_trained_stem_is_told_and_refused_where_features_are_demanded(capsys):
    model = tiny()
    trained = unfreeze(model, None)
    assert kept_part(model, STAGE, TRAINING, trained) is None
    assert "fine-tuning: features are not kept: no layer with weights is frozen" in capsys.readouterr().out
    with pytest.raises(ValueError, match="leave out --cache-features"):
        kept_part(model, STAGE, replace(TRAINING, cache_features=True), trained)
    assert kept_part(model, STAGE, replace(TRAINING, cache_features=True), unfreeze(model, 1)) is not None  # the remedy


def test_features_are_not_kept_where_several_processes_train(capsys):
    model = tiny()
    trained = unfreeze(model, 0)
    assert kept_part(model, HEAD, replace(TRAINING, strategy="mirrored"), trained) is None
    assert "distributed by --strategy mirrored" in capsys.readouterr().out
