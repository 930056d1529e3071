"""Distribution by tf.distribute: one device, all devices of a machine, or several machines."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

STRATEGIES = ("none", "mirrored", "multiworker")
_LOST = ("AbortedError", "CancelledError", "DeadlineExceededError", "InternalError", "UnavailableError")
_PART = 2**23  # numbers of 64 bits that are sent at once, 64 MB


@contextlib.contextmanager
def strategy_scope(name: str) -> Iterator[None]:
    """Make models and optimizers, and train them, under a strategy.

    Args:
        name: "none"; "mirrored" for all GPUs of this machine; "multiworker" for the machines in TF_CONFIG.

    Raises:
        ValueError: the name is unknown, the backend is not TensorFlow, or "multiworker" has no TF_CONFIG.
        RuntimeError: another worker has ended.
    """
    with _strategy_scope(name):
        try:
            yield
        except Exception as error:
            if name != "multiworker" or type(error).__name__ not in _LOST:
                raise
            raise RuntimeError(
                f"Another worker has ended or cannot be reached ({type(error).__name__} of TensorFlow). End all "
                "workers and start them again, each with the same command and --resume."
            ) from error


def _strategy_scope(name: str) -> Any:
    if name not in STRATEGIES:
        raise ValueError(f"Expected a strategy of {STRATEGIES}, received '{name}'.")
    if name == "none":
        return contextlib.nullcontext()
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"Expected Keras on TensorFlow for the strategy '{name}', received '{keras.backend.backend()}'. Use none."
        )
    import tensorflow as tf

    if name == "mirrored":
        return tf.distribute.MirroredStrategy().scope()
    _cluster()
    return tf.distribute.MultiWorkerMirroredStrategy().scope()


def is_chief(name: str) -> bool:
    """Return True if this process writes the files of a run: only the first of several workers does."""
    if name != "multiworker":
        return True
    cluster = _cluster()
    task = cluster["task"]
    return task["type"] == "chief" or (task["index"] == 0 and "chief" not in cluster["cluster"])


def worker(name: str) -> str:
    """Return the name of this process among the workers, for its files."""
    task = _cluster()["task"] if name == "multiworker" else {"type": "worker", "index": 0}
    return f"{task['type']}{task['index']}"


def from_chief(name: str, values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the chief's arrays on every worker.

    The arrays are added as integers, where those of the other workers are zeros: so all bits arrive as they are.

    Args:
        name: of the strategy, whose scope this is called in; only "multiworker" has other workers. All of them call it
            at the same point.
        values: arrays of the same shapes and types on all workers.
    """
    if name != "multiworker":
        return list(values)
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()

    def of_first(words: Any) -> Any:
        replica = tf.distribute.get_replica_context()
        return replica.all_reduce("SUM", tf.where(replica.replica_id_in_sync_group == 0, words, tf.zeros_like(words)))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
    def send(words: Any) -> Any:
        return strategy.experimental_local_results(strategy.run(of_first, args=(words,)))[0]

    content = b"".join(np.ascontiguousarray(value).tobytes() for value in values)
    words = np.frombuffer(content.ljust(-(-len(content) // 8) * 8, b"\0"), np.int64)
    received = b"".join(send(words[first : first + _PART]).numpy().tobytes() for first in range(0, len(words), _PART))
    found, start = [], 0
    for value in values:
        found.append(np.frombuffer(received[start : start + value.nbytes], value.dtype).reshape(value.shape))
        start += value.nbytes
    return found


def model_class(name: str) -> type[keras.Model]:
    """Return the class of a model that is trained under the strategy."""
    return MultiWorkerModel if name == "multiworker" else keras.Model


def loss_scaled(optimizer: keras.optimizers.Optimizer, name: str) -> keras.optimizers.Optimizer:
    """Return an optimizer that scales the loss, for gradients of 16 bits, and skips a step on all replicas or none."""
    return (keras.optimizers.LossScaleOptimizer if name == "none" else ReplicatedLossScale)(optimizer)


class ReplicatedLossScale(keras.optimizers.LossScaleOptimizer):
    """A loss scaling in which one replica's overflow skips the step of all.

    Keras checks each replica's own gradients, before they are summed over replicas, and takes the first replica's
    result for all, or lets each replica decide. The overflow of another replica then enters the weights.
    """

    def check_finite(self, grads: Any) -> Any:
        import tensorflow as tf

        overflow = tf.cast(tf.logical_not(super().check_finite(grads)), "float32")
        return tf.equal(tf.distribute.get_replica_context().all_reduce("SUM", overflow), 0.0)


class MeanStatistics(keras.callbacks.Callback):
    """A callback that averages the moving statistics of batch normalisation over the replicas before each validation.

    Keras counts them on each replica from its own part of the batches. Each worker would then validate another model,
    and the file of the first one would leave out what the others saw.
    """

    def __init__(self, model: keras.Model):
        super().__init__()
        self._layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]

    def on_test_begin(self, logs: Any = None) -> None:
        import tensorflow as tf

        counted = [layer for layer in self._layers if layer.trainable]
        variables = [each for layer in counted for each in (layer.moving_mean, layer.moving_variance)]
        if not variables:
            return

        def average() -> None:
            replica = tf.distribute.get_replica_context()
            means = replica.all_reduce("MEAN", [tf.identity(each.value) for each in variables])
            for variable, mean in zip(variables, means, strict=True):
                variable.assign(mean)

        strategy = self.model.distribute_strategy
        tf.function(lambda: strategy.run(average))()


class MultiWorkerModel(keras.Model):
    """A Keras model that `fit` can train on several workers.

    Keras 3 averages the first batch over all workers to learn its shape, and what a step returns along an axis that
    scalars do not have; both fail in TensorFlow, where a worker knows its own values alone. Here the shape is the
    input's, and the mean goes over the workers: https://github.com/keras-team/keras/issues/20585.
    """

    train_function: Any
    test_function: Any

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        images = keras.ops.zeros((1, *self.input_shape[1:]))
        super()._maybe_symbolic_build(data_batch=(images, keras.ops.zeros((1,), "int32")))

    def make_train_function(self, force: bool = False) -> None:
        if self.train_function is None or force:
            self.train_function = self._over_workers(self.train_step)

    def make_test_function(self, force: bool = False) -> None:
        if self.test_function is None or force:
            self.test_function = self._over_workers(self.test_step)

    def _over_workers(self, step: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
        import tensorflow as tf

        strategy = self.distribute_strategy

        @tf.function(reduce_retracing=True)
        def run(iterator: Any) -> dict[str, Any]:
            results = strategy.run(step, args=(next(iterator),))
            return {name: strategy.reduce("MEAN", value, axis=None) for name, value in results.items()}

        return run


def _cluster() -> Any:
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        _ = config["cluster"], config["task"]["type"], int(config["task"]["index"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            "Expected the workers in the environment variable TF_CONFIG, such as "
            '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}, '
            f"received {text!r}."
        ) from error
    return config
