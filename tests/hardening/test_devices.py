"""Models whose weights live on several devices, in a process of their own: TensorFlow splits a processor only once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCRIPT = """
import keras
import numpy as np
import tensorflow as tf

processor = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 3)

import tf_gradcam as tg


def built(places):
    keras.utils.set_random_seed(0)
    convolutions = [keras.layers.Conv2D(4, 3, activation="relu", name=f"conv{number}") for number in range(2)]
    head = keras.layers.Dense(3, activation="softmax")
    for layer, place, shape in zip([*convolutions, head], places, [(9, 9, 3), (7, 7, 4), (4,)]):
        with tf.device(place):
            layer.build((None, *shape))
    inputs = keras.Input((9, 9, 3))
    hidden = convolutions[1](convolutions[0](inputs))
    return keras.Model(inputs, head(keras.layers.GlobalAveragePooling2D()(hidden)))


def places(model):
    return [weight.value.device.rpartition("/device:")[2] for weight in model.weights]


images = np.random.default_rng(0).random((5, 9, 9, 3), "float32")
here, apart = built(["CPU:0"] * 3), built(["CPU:1", "CPU:2", "CPU:0"])
apart.set_weights(here.get_weights())
before = places(apart)
assert sorted(set(before)) == ["CPU:0", "CPU:1", "CPU:2"], before
for layer in ("conv0", "conv1", None):
    for method in ("gradcam", "hirescam", "ablationcam") if layer else ("fullgrad",):
        for freeze in (False, True)[: 2 if layer else 1]:
            expected = tg.Explainer(here, layer, method, freeze=freeze)(images)
            found = tg.Explainer(apart, layer, method, freeze=freeze)(images)
            np.testing.assert_allclose(found.raw, expected.raw, rtol=1e-4, atol=1e-6, err_msg=f"{layer} {method}")
            np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
            assert np.abs(expected.raw).max() > 0
assert places(apart) == before
for freeze in (False, True):  # the whole pass where no weight is
    with tf.device("CPU:2"):
        found = tg.Explainer(apart, "conv1", freeze=freeze)(images)
    np.testing.assert_allclose(found.raw, tg.Explainer(here, "conv1")(images).raw, rtol=1e-4, atol=1e-6)
print("the same maps")
"""


@pytest.mark.slow
def test_weights_on_three_devices_give_the_same_maps() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "the same maps"
