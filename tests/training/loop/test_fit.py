"""A stage of a training: what learns, what is left in the folder, what happens when it is interrupted."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tests.helpers.resuming import network
from tests.helpers.workers import free_ports, learn
from training.config import Stage, TrainingConfig
from training.data.pipeline import Order, augmentation
from training.loop.fit import ArrayBatches, Feed, Journal, _trainer, fit
from training.loop.run_folder import Run

ROOT = Path(__file__).parents[3]
NAMES = ("blue", "red")
STAGE = Stage("fine-tuning", epochs=3, unfreeze=None, learning_rate=1e-2)
TRAINING = TrainingConfig("tiny", (STAGE,))


def colours(count: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise with more red in every second image: (count, 6, 10, 3) uint8 and (count,) int32."""
    photos = np.random.default_rng(seed).integers(0, 128, (count, 6, 10, 3)).astype(np.uint8)
    labels = np.arange(count, dtype=np.int32) % 2
    photos[labels == 1, ..., 0] += 120
    return photos, labels


def feeds(batch_size: int = 8) -> tuple[Feed, Feed]:
    orders = Order(32, 0), Order(12, None)
    return (
        Feed(ArrayBatches(*colours(), batch_size, orders[0]), orders[0].begin, batch_size),
        Feed(ArrayBatches(*colours(12, 1), batch_size, orders[1]), orders[1].begin, batch_size),
    )


def tiny(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return network(dropout=0)


def train(model: keras.Model, run: Run, stage: Stage = STAGE, training: TrainingConfig = TRAINING, **options) -> None:
    fit(model, stage, training, feeds(), run, NAMES, 0, **options)


class StopAt(keras.callbacks.Callback):
    """What a killed process looks like from inside: nothing after the beginning of this epoch."""

    def __init__(self, epoch: int):
        super().__init__()
        self._epoch = epoch

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        if epoch == self._epoch:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[keras.Model, Run]:
    model, run = tiny(), Run(tmp_path_factory.mktemp("run"))
    train(model, run)
    return model, run


@pytest.fixture(scope="module")
def head_and_one_block(tmp_path_factory) -> tuple[keras.Model, dict[str, np.ndarray], Run]:
    """A model, its weights before, and the folder that a second worker has."""
    model, run = tiny(), Run(tmp_path_factory.mktemp("worker"))
    before = {weight.path: weight.numpy() for weight in model.weights}
    train(model, run, replace(STAGE, epochs=1, unfreeze=1), is_chief=False)
    return model, before, run


def copied(run: Run, folder: Path) -> Run:
    """The same run in another folder, before its settings are written."""
    shutil.copytree(run.path, folder / "phantom")
    again = Run(folder)
    for item in (folder / "phantom").iterdir():
        item.rename(folder / item.name)
    return again


# What a stage leaves.


def test_loss_falls(trained):
    losses = [float(row["loss"]) for row in trained[1].rows()]
    assert losses[-1] < losses[0]


def test_history_has_a_row_an_epoch(trained):
    rows = trained[1].rows()
    assert [(row["stage"], int(row["epoch"])) for row in rows] == [("fine-tuning", epoch) for epoch in (1, 2, 3)]
    assert all(0 <= float(row["training_seconds"]) <= float(row["seconds"]) for row in rows)


def test_best_model_is_that_of_the_best_epoch(trained):
    """Of equal accuracies the one of the lower loss."""
    run = trained[1]
    best = max(run.rows(), key=lambda row: (float(row["val_accuracy"]), -float(row["val_loss"])))
    outputs = keras.saving.load_model(run.best_model, compile=False).predict(feeds()[1].batches, verbose=0)
    labels = colours(12, 1)[1]
    np.testing.assert_allclose(-np.log(outputs[np.arange(12), labels]).mean(), float(best["val_loss"]), rtol=1e-4)


def test_best_model_has_its_class_names_and_no_augmentation(trained):
    with zipfile.ZipFile(trained[1].best_model) as archive:
        assert json.loads(archive.read("tf_gradcam.json"))["class_names"] == list(NAMES)
    loaded = keras.saving.load_model(trained[1].best_model, safe_mode=True)
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in trained[0].layers]


def test_state_is_kept_until_the_run_ends(trained):
    assert (trained[1].backup / "fine-tuning.finished.npz").exists()


def test_journal_keeps_the_model_of_the_highest_accuracy(tmp_path):
    run, model = Run(tmp_path), tiny()
    journal = Journal(run, "fine-tuning", model, NAMES)
    journal.set_model(_trainer(model, STAGE, TRAINING, 4, 0))
    for epoch, accuracy in enumerate((0.5, 0.75, 0.5)):
        model.get_layer("dense").bias.assign([float(epoch), 0.0])
        journal.on_epoch_begin(epoch)
        plain = {"cross_entropy": 1.0, "val_cross_entropy": 1.0}
        journal.on_epoch_end(epoch, {"accuracy": 0.5, "val_accuracy": accuracy, **plain})
    np.testing.assert_array_equal(keras.saving.load_model(run.best_model).get_layer("dense").bias, [1, 0])
    assert [row["val_accuracy"] for row in run.rows()] == ["0.5", "0.75", "0.5"]


# What learns.


def test_frozen_blocks_stay_as_they_are(head_and_one_block):
    model, before, _ = head_and_one_block
    changed = {weight.path for weight in model.weights if not np.array_equal(weight, before[weight.path])}
    assert {path.split("/")[0] for path in changed} == {"block2_conv", "block2_bn", "dense"}


def test_a_worker_that_is_not_the_chief_writes_no_model(head_and_one_block):
    run = head_and_one_block[2]
    assert not run.best_model.exists()
    assert run.rows() == []


def test_augmentation_varies_images_in_training_alone():
    photos = colours()[0].astype(np.float32)
    layers = augmentation(seed=0)
    np.testing.assert_array_equal(layers(photos, training=False), photos)
    assert not np.array_equal(layers(photos, training=True), photos)


def test_augmentation_mirrors_half_and_turns_a_little():
    """Without turning, each image is itself or its mirror image, and a fair coin gives 15 to 85 of 100."""
    photos = colours(100)[0].astype(np.float32)
    varied = np.asarray(augmentation(seed=0, degrees=0)(photos, training=True))
    mirrored = np.array([np.allclose(one, other[:, ::-1]) for one, other in zip(varied, photos, strict=True)])
    np.testing.assert_allclose(varied[~mirrored], photos[~mirrored], atol=1e-3)
    assert 15 <= mirrored.sum() <= 85


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_weight_decay_shrinks_kernels_by_its_share_of_the_step(precision):
    """Without gradients Adam does not move, so a step leaves 1 - 0.1 * 0.5 of a kernel, and all of a bias."""
    model = tiny()
    stage, training = replace(STAGE, learning_rate=0.1), replace(TRAINING, weight_decay=0.5, precision=precision)
    optimizer = _trainer(model, stage, training, 4, 0).optimizer
    for layer in model.layers:
        for weight in layer.trainable_weights:
            weight.assign(np.ones(weight.shape))
    optimizer.apply([keras.ops.zeros(weight.shape) for weight in model.trainable_weights], model.trainable_weights)
    for weight in model.trainable_weights:
        expected = 0.95 if weight.name == "kernel" else 1.0
        np.testing.assert_allclose(weight, np.full(weight.shape, expected), rtol=1e-6, err_msg=weight.path)


@pytest.mark.parametrize(
    ("precision", "scales"), [("mixed_float16", True), ("mixed_bfloat16", False), ("float32", False)]
)
def test_losses_are_scaled_where_gradients_are_of_16_bits_and_small(precision, scales):
    optimizer = _trainer(tiny(), STAGE, replace(TRAINING, precision=precision), 4, 0).optimizer
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer) == scales


def test_rate_falls_to_zero_along_a_cosine():
    trainer = _trainer(tiny(), replace(STAGE, epochs=2, learning_rate=0.1, decay=True), TRAINING, 4, 0)
    rates = []
    for _ in range(9):
        rates.append(float(trainer.optimizer.learning_rate))
        trainer.optimizer.iterations.assign_add(1)
    np.testing.assert_allclose(rates, 0.05 * (1 + np.cos(np.pi * np.arange(9) / 8)), atol=1e-7)


@pytest.mark.parametrize(
    ("decay", "after"), [(False, [0.1] * 5), (True, 0.05 * (1 + np.cos(np.pi * np.arange(5) / 6)))]
)
def test_rate_rises_along_a_line_first(decay, after):
    """Of 2 epochs of 4 steps half an epoch is the rise; the cosine falls over what is left."""
    trainer = _trainer(tiny(), replace(STAGE, epochs=2, learning_rate=0.1, decay=decay, warmup=0.5), TRAINING, 4, 0)
    rates = []
    for _ in range(7):
        rates.append(float(trainer.optimizer.learning_rate))
        trainer.optimizer.iterations.assign_add(1)
    np.testing.assert_allclose(rates, [0, 0.05, *after], atol=1e-7)


def test_a_stage_ends_when_patience_does_and_stays_ended(tmp_path):
    """A rate of 0 changes nothing, so no epoch is better than the first: two more make three."""
    run, model = Run(tmp_path), tiny()
    stage, training = replace(STAGE, epochs=9, unfreeze=0, learning_rate=0.0), replace(TRAINING, patience=2)
    train(model, run, stage, training)
    assert len(run.rows()) == 3
    before = run.history.read_bytes()
    train(tiny(seed=5), run, stage, training)
    assert run.history.read_bytes() == before


def test_a_stage_that_patience_ended_goes_no_further_after_a_kill(tmp_path, monkeypatch):
    """Killed after the state of its last epoch, before the stage counts as finished."""
    run = Run(tmp_path)
    stage, training = replace(STAGE, epochs=9, unfreeze=0, learning_rate=0.0), replace(TRAINING, patience=1)

    def killed(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("training.loop.state.StageState.finish", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tiny(), run, stage, training)
    before = run.history.read_bytes()
    train(tiny(seed=5), run, stage, training)
    assert run.history.read_bytes() == before
    assert len(run.rows()) == 2


def test_the_history_tells_the_plain_cross_entropy(trained, tmp_path):
    """Whatever the loss of the training is."""
    run = Run(tmp_path)
    train(tiny(), run, replace(STAGE, epochs=1, learning_rate=0.0), replace(TRAINING, label_smoothing=0.5, mixup=1.0))
    outputs = keras.saving.load_model(run.best_model, compile=False).predict(feeds()[1].batches, verbose=0)
    expected = -np.log(outputs[np.arange(12), colours(12, 1)[1]]).mean()
    np.testing.assert_allclose(float(run.rows()[0]["val_loss"]), expected, rtol=1e-4)


# Interruptions.


@pytest.mark.slow
def test_an_interrupted_stage_continues_where_it_was(tmp_path):
    run = Run(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), run, callbacks=[StopAt(2)])
    before = run.rows()
    again = tiny(seed=5)  # as another process would make it
    train(again, run)
    rows = run.rows()
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert rows[:2] == before
    assert float(rows[2]["loss"]) < float(rows[0]["loss"])  # which random weights have not


def test_a_stage_that_is_done_is_not_trained_again(trained, capsys):
    model, run = trained
    before = run.history.read_bytes()
    again = tiny(seed=5)
    train(again, run)
    assert capsys.readouterr().out == ""
    assert run.history.read_bytes() == before
    for expected, actual in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_a_loss_that_is_not_finite_stops_at_its_step_and_keeps_the_best_model(trained, tmp_path):
    run = copied(trained[1], tmp_path)
    kept = run.best_model.read_bytes()
    model = tiny()
    model.get_layer("dense").bias.assign([np.nan, 0])
    told = r"loss is nan in later, epoch 1, step 1\. Begin a new run in another folder, with a lower --learning-rate"
    with pytest.raises(FloatingPointError, match=told):
        train(model, run, replace(STAGE, name="later"))
    assert run.best_model.read_bytes() == kept
    assert len(run.rows()) == 3


def test_a_full_disk_stops_the_stage_before_it_writes(trained, tmp_path, monkeypatch):
    run = copied(trained[1], tmp_path)
    kept = run.best_model.read_bytes()
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2**20))
    with pytest.raises(OSError, match="1 MB needed, 1 MB free") as failure:
        train(tiny(), run, replace(STAGE, name="later"))
    assert failure.value.errno == errno.ENOSPC
    assert run.best_model.read_bytes() == kept
    assert not (run.backup / "later").exists()


# Batches out of arrays.


def test_array_batches_give_every_image_once_an_epoch():
    photos, labels = colours(11)
    order, orders = Order(11, 0), []
    batches = ArrayBatches(photos, labels, 4, order)
    for epoch in range(2):
        order.begin(epoch)
        pairs = [batches[index] for index in range(len(batches))]
        assert [len(each) for _, each in pairs] == [4, 4, 3]
        assert pairs[0][0].dtype == np.float32
        images = np.concatenate([each for each, _ in pairs])
        orders.append([int(np.flatnonzero((photos == image).all((1, 2, 3)))[0]) for image in images])
        np.testing.assert_array_equal(np.concatenate([each for _, each in pairs]), labels[orders[-1]])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(11))
    assert orders[0] != orders[1]


def test_array_batches_keep_the_order_of_the_validation_part():
    photos, labels = colours(5)
    images, truth = ArrayBatches(photos, labels, 8, Order(5, None))[0]
    np.testing.assert_array_equal(images, photos)
    np.testing.assert_array_equal(truth, labels)


# Several workers.


@pytest.mark.slow
def test_two_workers_learn_what_one_learns(tmp_path):
    """Each sees half of a batch of 8, so the mean over workers of their gradients is that of the batch."""
    workers = [f"localhost:{port}" for port in free_ports(2)]
    running = []
    for index in (0, 1):
        cluster = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        command = [
            sys.executable,
            str(ROOT / "tests" / "helpers" / "workers.py"),
            "multiworker",
            str(tmp_path / f"{index}.npz"),
        ]
        settings = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT), "TF_CONFIG": cluster}
        running.append(subprocess.Popen(command, env=settings, stderr=subprocess.PIPE))
    try:
        expected = learn("none")
        told = [process.communicate(timeout=300)[1] for process in running]
    finally:
        for process in running:
            process.kill()  # a worker waits for the other one for minutes
            process.communicate()
    assert np.abs(expected["kernel"]).max() > 0.1
    for index, process in enumerate(running):
        assert process.returncode == 0, told[index][-2000:]
        with np.load(tmp_path / f"{index}.npz") as file:
            learned = dict(file)
        if keras.__version__.startswith("3.8."):  # learns the same, but tells another mean of the validation loss
            expected.pop("val_loss", None)
        for name, values in expected.items():
            np.testing.assert_allclose(learned[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
