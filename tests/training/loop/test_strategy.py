"""Training on several replicas."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from training.loop.strategy import loss_scaled

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("overflowing", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_overflow_of_one_replica_skips_the_step_of_all(overflowing, tmp_path):
    """The scale of 2^15 is halved four times, and six of ten steps remain."""
    file = tmp_path / "learned.npz"
    command = [sys.executable, str(ROOT / "tests" / "helpers" / "replicas.py"), str(overflowing), str(file)]
    settings = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=settings, check=True, capture_output=True, timeout=120)
    with np.load(file) as learned:
        first, second = learned["kernels"]
        assert np.isfinite(learned["losses"]).all()
        assert np.abs(first).max() > 0
        np.testing.assert_array_equal(first, second)
        assert (learned["steps"], learned["scale"]) == (6, 2**11)


def test_one_device_scales_losses_by_keras_alone():
    assert type(loss_scaled(keras.optimizers.SGD(), "none")) is keras.optimizers.LossScaleOptimizer
