"""The loss of a training: cross entropy, where asked for with smoothed labels, weighted classes and mixed samples.

Axis legend: B samples of a batch, K classes.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


class Mixing(keras.layers.Layer):
    """A layer that, in training, mixes each sample of a batch with the one before it, the first with the last (mixup).

    A sample becomes share * sample + (1 - share) * the one before; `CrossEntropy` mixes the losses in the same way.
    The share is drawn anew for each batch, from Beta(alpha, alpha), and is at least a half: the larger part is the
    sample itself. In inference the share is 1.

    Args:
        alpha: above 0; the larger, the more even the shares.
        seed: of the draws.

    Source: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", https://arxiv.org/abs/1710.09412; like its
    code, with one share a batch and partners within the batch.
    """

    share: Any

    def __init__(self, alpha: float, seed: int):
        super().__init__(name="mixing", dtype="float32")
        self._alpha, self._draws = alpha, keras.random.SeedGenerator(seed)
        # Keras compiles a training by XLA where TensorFlow has a GPU, and XLA has no gamma distribution there.
        self.supports_jit = keras.backend.backend() != "tensorflow"
        self.share = self.add_weight(shape=(), initializer="ones", trainable=False, name="share")

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return (B, ...) float32 samples: mixed in training, as they are in inference."""
        if not training:
            self.share.assign(1.0)
            return inputs
        share = keras.random.beta((), self._alpha, self._alpha, seed=self._draws)
        self.share.assign(keras.ops.maximum(share, 1 - share))
        return self.share * inputs + (1 - self.share) * keras.ops.roll(inputs, 1, axis=0)


class CrossEntropy(keras.losses.Loss):
    """Cross entropy of (B,) integer labels and (B, K) probabilities, in nats, for the training alone.

    Args:
        smoothing: S in [0, 1): the target is 1 - S + S / K of the true class and S / K of each other class. Source:
            Szegedy et al. 2016, https://arxiv.org/abs/1512.00567.
        weights: (K,) of the classes, or None.
        mixing: the layer that mixes the samples, or None.
    """

    def __init__(self, smoothing: float = 0.0, weights: np.ndarray | None = None, mixing: Mixing | None = None):
        super().__init__(name="cross_entropy")
        self._smoothing, self._weights, self._mixing = smoothing, weights, mixing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the (B,) losses."""
        labels = keras.ops.reshape(keras.ops.cast(y_true, "int32"), (-1,))
        losses = self._of(labels, y_pred)
        if self._mixing is None:
            return losses
        share = keras.ops.convert_to_tensor(self._mixing.share)
        return share * losses + (1 - share) * self._of(keras.ops.roll(labels, 1, axis=0), y_pred)

    def _of(self, labels: Any, probabilities: Any) -> Any:
        count = probabilities.shape[-1]
        targets = keras.ops.one_hot(labels, count) * (1 - self._smoothing) + self._smoothing / count
        losses = keras.losses.categorical_crossentropy(targets, probabilities)
        if self._weights is None:
            return losses
        return losses * keras.ops.take(keras.ops.convert_to_tensor(self._weights, "float32"), labels)


def balanced(labels: np.ndarray, class_count: int) -> np.ndarray:
    """Return (K,) weights N / (K * samples of the class), with which each class has the same share of the loss.

    Args:
        labels: (N,) integers in [0, K); each class occurs.
        class_count: K.
    """
    return len(labels) / (class_count * np.bincount(labels, minlength=class_count))
