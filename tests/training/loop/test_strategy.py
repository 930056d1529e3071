"""Training on several replicas."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.helpers.resuming import write_pictures
from tests.helpers.workers import free_ports
from training.loop.strategy import loss_scaled

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("overflowing", [0, 1])
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


# Killed processes.


def _run(folder: Path, strategy: str, points: list[str], seconds: float, precision: str = "float32") -> list[str]:
    """Start a process for each point, with SIGKILL there; end those that are left after some seconds."""
    workers = [f"localhost:{port}" for port in free_ports(len(points))]
    running = []
    for index, point in enumerate(points):
        cluster = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        settings = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT), "TF_CONFIG": cluster}
        if strategy != "multiworker":
            settings.pop("TF_CONFIG")
        words = [str(ROOT / "tests" / "helpers" / "resuming.py"), str(folder), strategy, precision]
        process = subprocess.Popen(
            [sys.executable, *words, *([point] if point else [])], env=settings, stdout=subprocess.PIPE, stderr=-2
        )
        running.append(process)
    ends, deadline = [], time.monotonic() + seconds
    for process in running:
        try:
            text = process.communicate(timeout=max(1.0, deadline - time.monotonic()))[0].decode()
        except subprocess.TimeoutExpired:
            process.kill()
            text = f"not ended in {seconds} s: {process.communicate()[0].decode()}"
        ends.append("" if process.returncode == 0 else f"{process.returncode}: {text[-3000:]}")
    return ends


def _ended(folder: Path) -> tuple[list[list[str]], list[list[np.ndarray]]]:
    """Return the history without its times, and the weights of each process."""
    rows = [line.split(",")[:7] for line in (folder / "run" / "history.csv").read_text().splitlines()]
    weights = []
    for file in sorted(folder.glob("worker*.npz")):
        with np.load(file) as content:
            weights.append([content[name] for name in content.files])
    return rows, weights


slow, soak = pytest.mark.slow, pytest.mark.soak
KILLS = [
    pytest.param("none", ["step 6"], "float32", marks=soak),
    pytest.param("none", ["write 18"], "float32", marks=soak),  # between the state's content and its name
    pytest.param("mirrored", ["epoch 3"], "float32", marks=soak),
    pytest.param("multiworker", ["", "step 7"], "float32", marks=soak),  # in an epoch
    pytest.param("multiworker", ["step 3", ""], "float32", marks=soak),
    pytest.param("multiworker", ["", "epoch 3"], "float32", marks=soak),  # the chief ends the epoch, this one does not
    pytest.param("multiworker", ["epoch 3", ""], "float32", marks=soak),
    pytest.param("multiworker", ["write 8", ""], "float32", marks=soak),
    pytest.param("multiworker", ["write 18", ""], "float32", marks=slow),  # between two stages
    pytest.param("multiworker", ["write 19", "step 5"], "float32", marks=soak),
    # The scale and the steps since it changed are variables of the optimizer, which the chief's state holds.
    pytest.param("multiworker", ["step 6", "step 6"], "mixed_float16", marks=soak),
]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> Callable[[str, str], Path]:
    """Returns the folder of a run that nobody killed."""

    @cache
    def run(strategy: str, precision: str) -> Path:
        folder = write_pictures(tmp_path_factory.mktemp(strategy) / "pictures").parent
        ends = _run(folder, strategy, [""] * (2 if strategy == "multiworker" else 1), 300, precision)
        assert not any(ends), ends
        return folder

    return run


@pytest.mark.parametrize(("strategy", "points", "precision"), KILLS)
def test_killed_processes_start_again_and_end_as_the_whole_run(strategy, points, precision, whole_run, tmp_path):
    """A process has SIGKILL at its point; one that does not get there ends with an error, or is ended."""
    write_pictures(tmp_path / "pictures")
    ends = _run(tmp_path, strategy, points, 90, precision)
    lost = "start them again, each with the same command and --resume"
    assert all(end.startswith("-9") or lost in end for end in ends), ends
    assert any(end.startswith("-9") and "not ended" not in end for end in ends), ends
    again = _run(tmp_path, strategy, [""] * len(points), 300, precision)
    assert not any(again), again
    (expected, weights), (rows, ended) = _ended(whole_run(strategy, precision)), _ended(tmp_path)
    assert rows == expected
    assert len(ended) == len(points)
    for each in [*weights, *ended]:  # all workers have the same
        for right, actual in zip(weights[0], each, strict=True):
            np.testing.assert_array_equal(actual, right)


def test_one_device_scales_losses_by_keras_alone():
    assert type(loss_scaled(keras.optimizers.SGD(), "none")) is keras.optimizers.LossScaleOptimizer
