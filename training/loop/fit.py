"""A stage of the training: frozen blocks, optimizer, callbacks, and resuming after an interruption."""

from __future__ import annotations

import itertools
import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..config import Stage, TrainingConfig
from ..data.folder import Samples
from ..data.pipeline import Order, arrays, augmentation, batches
from ..model.backbone import unfreeze
from ..model.classifier import with_dropout
from .features import Cut, FeatureBatches, Features, cut, megabytes
from .loss import CrossEntropy, Mixing
from .run_folder import Run
from .state import KeepState, StageState
from .strategy import MeanStatistics, loss_scaled, model_class


class ArrayBatches(keras.utils.PyDataset):
    """Batches from arrays, for backends other than TensorFlow."""

    def __init__(self, photos: np.ndarray, labels: np.ndarray, batch_size: int, order: Order):
        super().__init__()
        self._photos, self._labels, self._batch_size, self._order = photos, labels, batch_size, order

    def __len__(self) -> int:
        return math.ceil(len(self._labels) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._order.rows[index * self._batch_size :][: self._batch_size]
        return self._photos[rows].astype(np.float32), self._labels[rows]


@dataclass(frozen=True)
class Feed:
    """Batches for Keras.

    begin: takes the order of an epoch, from 0, before the epoch begins.
    batch_size: number of samples in each batch; the last one may be smaller.
    """

    batches: Any
    begin: Callable[[int], None]
    batch_size: int

    def __len__(self) -> int:
        return len(self.batches)


def feed(samples: Samples, image_size: tuple[int, int], batch_size: int, *, seed: int | None) -> Feed:
    """Return batches from tf.data on TensorFlow, from arrays on other backends; without a seed in one order."""
    order = Order(len(samples), seed)
    if keras.backend.backend() == "tensorflow":
        return Feed(batches(samples, image_size, batch_size, order), order.begin, batch_size)
    return Feed(ArrayBatches(*arrays(samples, image_size), batch_size, order), order.begin, batch_size)


def fit(
    model: keras.Model,
    stage: Stage,
    training: TrainingConfig,
    feeds: tuple[Feed, Feed],
    run: Run,
    class_names: Sequence[str],
    seed: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    is_chief: bool = True,
    pictures: tuple[Samples, Samples] | None = None,
    class_weights: np.ndarray | None = None,
) -> None:
    """Train `model` for one stage; continue an interrupted one.

    Args:
        model: of `build_classifier`; it is trained through a temporary model that augments its images first.
        stage: epochs, blocks and learning rate.
        training: the other settings.
        feeds: batches of the training part and of the validation part.
        run: for the state, the history and the best model.
        class_names: K names.
        seed: of the augmentation.
        callbacks: further ones.
        is_chief: True if this process writes the history and the best model.
        pictures: the samples of `feeds`, for the features of the frozen layers; None to compute them in each step.
        class_weights: (K,) of the classes in the loss; None for equal ones.

    Raises:
        ValueError: the features must be kept and cannot be, or the frozen weights changed since the stage began.
        FloatingPointError: a loss is not finite; the step is named, the best model so far stays.
    """
    state = StageState(run.backup, stage.name, training.strategy, is_chief)
    trained = unfreeze(model, stage.unfreeze)
    if state.restore_finished(model):
        return
    print(f"{stage.name} begins", flush=True)
    kept = kept_part(model, stage, training, trained) if pictures else None
    if pictures and kept:
        feeds = _kept_feeds(kept, pictures, stage, training, run, feeds, seed, state.has_begun)
    rest = kept.rest if kept else model
    trainer = _trainer(rest, stage, training, len(feeds[0]), seed, augmented=kept is None, weights=class_weights)
    done, stopped = state.restore(trainer)
    if done:
        print(f"{stage.name}: continues after epoch {done}", flush=True)
    own: list[keras.callbacks.Callback] = [Journal(run, stage.name, model, class_names)] if is_chief else []
    if training.patience:
        own.append(Patience(run, stage.name, training.patience))
    shared = [] if training.strategy == "none" else [MeanStatistics(model)]
    room = 2**20 + 4 * model.count_params() + state.size(trainer)  # the model and the state of each epoch
    earlier = itertools.takewhile(lambda each: each.name != stage.name, training.stages)
    before = sum(each.epochs for each in earlier)  # so that each epoch of a run has an order of its own
    _fit(
        trainer,
        feeds[0].batches,
        validation_data=feeds[1].batches,
        initial_epoch=done,
        epochs=done if stopped else stage.epochs,
        shuffle=False,  # the batches come in an order of their own
        verbose=0,
        callbacks=[
            FiniteLoss(stage.name),
            keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, logs: feeds[0].begin(before + epoch),
                on_train_begin=lambda logs: run.check_room(room),
                on_epoch_end=lambda epoch, logs: run.check_room(room),
            ),
            *shared,
            *own,
            *callbacks,
            KeepState(state),
        ],
    )
    run.check_room(room)
    state.finish(model)
    if kept:
        shutil.rmtree(run.backup / FEATURES, ignore_errors=True)


def kept_part(model: keras.Model, stage: Stage, training: TrainingConfig, trained: Sequence[str]) -> Cut | None:
    """Return the part whose features are kept in a stage, and the rest; None, and a line that says why, if none is.

    Args:
        model: of `build_classifier`, after `unfreeze`.
        stage, training: settings.
        trained: names of the trained blocks.

    Raises:
        ValueError: `training` demands it, and it is not possible.
    """
    if training.cache_features is False:
        return None
    try:
        if training.strategy != "none":
            raise ValueError(f"the training is distributed by --strategy {training.strategy}")
        return cut(model, trained)
    except ValueError as error:
        if training.cache_features:
            raise ValueError(
                f"Expected a frozen part whose features can be kept in {stage.name}, but {error}. Freeze more blocks "
                "with --unfreeze, or leave out --cache-features."
            ) from error
        print(f"{stage.name}: features are not kept: {error}", flush=True)
        return None


def _kept_feeds(
    kept: Cut,
    pictures: tuple[Samples, Samples],
    stage: Stage,
    training: TrainingConfig,
    run: Run,
    feeds: tuple[Feed, Feed],
    seed: int,
    begun: bool,
) -> tuple[Feed, Feed]:
    """Compute the features of both parts, and say so; return their batches."""
    size = feeds[0].batch_size
    image_size = tuple(kept.frozen.input_shape[1:3])
    both = [
        Features(
            run.backup / FEATURES,
            f"{stage.name} {part}",
            kept.frozen,
            samples,
            image_size,
            copies=copies,
            batch_size=size,
            seed=seed,
            strength=training.augmentation,
        )
        for part, samples, copies in zip(
            ("training", "validation"), pictures, (min(training.feature_copies, stage.epochs), 1), strict=True
        )
    ]
    bytes_, still = sum(each.size for each in both), sum(each.missing() for each in both)
    print(
        f"{stage.name}: features of the frozen layers, {megabytes(bytes_)} in '{run.backup / FEATURES}'; copies of "
        f"each training picture: {both[0].copies}, all but the first augmented",
        flush=True,
    )
    if kept.random:
        print(f"{stage.name}: frozen random layers act as in inference: {', '.join(kept.random)}", flush=True)
    run.check_room(still)
    started = time.monotonic()
    computed = [each.compute(begun) for each in both]
    print(f"{stage.name}: {sum(computed)} batches computed in {time.monotonic() - started:.1f} s", flush=True)
    made = FeatureBatches(both[0], size, seed), FeatureBatches(both[1], size, None)
    return Feed(made[0], made[0].begin, size), Feed(made[1], made[1].begin, size)


def _fit(trainer: keras.Model, batches: Any, **options: Any) -> None:
    try:
        trainer.fit(batches, **options)
    except FloatingPointError:
        raise
    except (ValueError, ArithmeticError) as error:
        raise RuntimeError(f"Keras stopped the training: {str(error)[:300]}") from error
    except Exception as error:  # TensorFlow and JAX each have their own
        if "RESOURCE_EXHAUSTED" not in str(error) and type(error).__name__ != "ResourceExhaustedError":
            raise
        raise MemoryError(
            "The memory of the device is full. Begin a new run in another folder, with a lower --batch-size or "
            "--image-size."
        ) from error


def _trainer(
    model: keras.Model,
    stage: Stage,
    training: TrainingConfig,
    steps: int,
    seed: int,
    augmented: bool = True,
    weights: np.ndarray | None = None,
) -> keras.Model:
    """Return a compiled model around `model`; unless `augmented`, its inputs are features, augmented before."""
    inputs = hidden = keras.Input(model.input_shape[1:], dtype="float32")
    if augmented:
        hidden = augmentation(seed, training.augmentation)(hidden)
    mixing = Mixing(training.mixup, seed) if training.mixup else None
    if mixing:
        hidden = mixing(hidden)
    trainer = model_class(training.strategy)(inputs, with_dropout(model, training.dropout, seed)(hidden))
    optimizer: Any = keras.optimizers.Adam(_rate(stage, steps), weight_decay=training.weight_decay or None)
    if training.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if training.precision == "mixed_float16":  # by itself `compile` looks at the trainer, which is float32
        optimizer = loss_scaled(optimizer, training.strategy)
    # The history tells the plain cross entropy, so that runs with other losses can be compared.
    plain = keras.metrics.SparseCategoricalCrossentropy(name=PLAIN)
    trainer.compile(optimizer, CrossEntropy(training.label_smoothing, weights, mixing), metrics=["accuracy", plain])
    return trainer


def _rate(stage: Stage, steps: int) -> Any:
    """Return the learning rate of a stage, of so many steps an epoch: a number, or a schedule."""
    rising = round(stage.warmup * steps)
    if not stage.decay and not rising:
        return stage.learning_rate
    return keras.optimizers.schedules.CosineDecay(
        0.0 if rising else stage.learning_rate,
        max(1, stage.epochs * steps - rising),
        alpha=0.0 if stage.decay else 1.0,
        warmup_target=stage.learning_rate if rising else None,
        warmup_steps=rising,
    )


class FiniteLoss(keras.callbacks.Callback):
    """A callback that stops at the first loss that is not finite."""

    def __init__(self, stage: str):
        super().__init__()
        self._stage, self._epoch = stage, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if not np.isfinite(logs["loss"]):
            raise FloatingPointError(
                f"The loss is {logs['loss']} in {self._stage}, epoch {self._epoch + 1}, step {batch + 1}. Begin a new "
                "run in another folder, with a lower --learning-rate or --precision float32."
            )


class Patience(keras.callbacks.Callback):
    """A callback that ends a stage after `epochs` epochs that were not better than the best one before them."""

    def __init__(self, run: Run, stage: str, epochs: int):
        super().__init__()
        self._run, self._stage, self._epochs = run, stage, epochs

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        merits = [merit(row) for row in self._run.rows(HISTORY) if row["stage"] == self._stage]
        if len(merits) > self._epochs and max(merits[: -self._epochs]) >= max(merits[-self._epochs :]):
            self.model.stop_training = True
            print(f"{self._stage} ends: no better epoch among the last {self._epochs}", flush=True)


class Journal(keras.callbacks.Callback):
    """A callback that writes the history, keeps the best model and prints each epoch."""

    def __init__(self, run: Run, stage: str, model: keras.Model, class_names: Sequence[str]):
        super().__init__()
        self._run, self._stage, self._classifier, self._class_names = run, stage, model, class_names
        self._writer = _event_writer(run.path / "tensorboard")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._started = self._trained = time.monotonic()

    def on_test_begin(self, logs: Any = None) -> None:
        self._trained = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        number = epoch + 1
        # A run that was killed after this line repeats the epoch: its row is then written anew.
        before = [row for row in self._run.rows(HISTORY) if row["stage"] != self._stage or int(row["epoch"]) < number]
        logs = {**logs, "loss": logs[PLAIN], "val_loss": logs[f"val_{PLAIN}"]}
        row = {"stage": self._stage, "epoch": number, **{key: f"{logs[key]:.6g}" for key in _KEYS}}
        row["learning_rate"] = f"{float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)):.4g}"
        row["training_seconds"] = f"{self._trained - self._started:.1f}"
        row["seconds"] = f"{time.monotonic() - self._started:.1f}"
        if not self._run.best_model.exists() or merit(row) > max(map(merit, before), default=(-1.0, 0.0)):
            self._run.save_best(self._classifier, self._class_names)
        self._run.write_rows([*before, row])
        if self._writer is not None:
            self._log(len(before), logs)
        print(
            f"{self._stage} {number}: loss {logs['loss']:.4f}, accuracy {logs['accuracy']:.4f}, validation "
            f"{logs['val_loss']:.4f}, {logs['val_accuracy']:.4f}, {row['seconds']} s",
            flush=True,
        )

    def _log(self, step: int, logs: Any) -> None:
        import tensorflow as tf

        with self._writer.as_default(step=step):
            for key in _KEYS:
                tf.summary.scalar(key, logs[key])
        self._writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        if self._writer is not None:
            self._writer.close()


FEATURES = "features"  # folder of kept features, in that of the state to resume from
PLAIN = "cross_entropy"  # the metric that the history calls loss
_KEYS = ("loss", "accuracy", "val_loss", "val_accuracy")
HISTORY = ("epoch", *_KEYS, "learning_rate", "training_seconds", "seconds")  # columns of numbers, beside the stage


def merit(row: dict[str, Any]) -> tuple[float, float]:
    """Return a value that is larger for a better epoch: validation accuracy first, then the lower loss."""
    return float(row["val_accuracy"]), -float(row["val_loss"])


def _event_writer(folder: Path) -> Any:
    """Return a writer of TensorBoard's files; print a line and return None if they cannot be written."""
    if keras.backend.backend() != "tensorflow" or find_spec("tensorboard") is None:
        print("No files for TensorBoard: they need TensorFlow and `pip install tensorboard`.", file=sys.stderr)
        return None
    import tensorflow as tf

    return tf.summary.create_file_writer(str(folder))
