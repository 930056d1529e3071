"""A training in 16 bits on two replicas of a CPU, in a process of its own: `python replicas.py INDEX OUT.npz`."""

from __future__ import annotations

import sys

import keras
import numpy as np


def learn(overflowing: int) -> dict[str, np.ndarray]:
    """Train one layer in which the gradients of one replica overflow at first; return both copies of its kernel."""
    import tensorflow as tf

    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
    from training.loop.strategy import loss_scaled, strategy_scope

    with strategy_scope("mirrored"):
        keras.config.set_dtype_policy("mixed_float16")
        images = keras.Input((4,))
        model = keras.Model(images, keras.layers.Dense(2, "softmax", kernel_initializer="zeros")(images))
        model.compile(loss_scaled(keras.optimizers.SGD(1e-6), "mirrored"), "sparse_categorical_crossentropy")
    # Of 4 samples of 100, with errors of 0.5 / 8 scaled by 2^15, a gradient is 819,200: above 65,504 until 2^11.
    samples = np.ones((8, 4), "float32")
    samples[4 * overflowing :][:4] = 100
    losses = model.fit(samples, np.zeros(8), batch_size=8, epochs=10, shuffle=False, verbose=0).history["loss"]
    kernels = [copy.numpy() for copy in model.weights[0].value.values]
    steps, scale = model.optimizer.iterations.numpy(), model.optimizer.dynamic_scale.numpy()
    return {"losses": np.array(losses), "kernels": np.stack(kernels), "steps": steps, "scale": scale}


if __name__ == "__main__":
    np.savez(sys.argv[2], **learn(int(sys.argv[1])))
