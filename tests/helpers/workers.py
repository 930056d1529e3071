"""A training of one layer, for processes that share it: `python workers.py multiworker OUT.npz`."""

from __future__ import annotations

import socket
import sys

import keras
import numpy as np

from training.loop.strategy import model_class, strategy_scope


def learn(strategy: str) -> dict[str, np.ndarray]:
    """Weights after 6 steps of plain gradient descent, and the validation loss of each epoch."""
    import tensorflow as tf

    with strategy_scope(strategy):
        images = keras.Input((4,))
        dense = keras.layers.Dense(3, "softmax", kernel_initializer="zeros")
        model = model_class(strategy)(images, dense(images))
        model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy", metrics=["accuracy"])
    generator = np.random.default_rng(0)
    samples = generator.normal(size=(24, 4)).astype("float32"), generator.integers(0, 3, 24)
    batches = tf.data.Dataset.from_tensor_slices(samples).batch(8)
    history = model.fit(batches, validation_data=batches, epochs=2, shuffle=False, verbose=0).history
    kernel, bias = model.get_weights()
    return {"kernel": kernel, "bias": bias, "val_loss": np.array(history["val_loss"])}


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nothing listens at."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    np.savez(sys.argv[2], **learn(sys.argv[1]))
