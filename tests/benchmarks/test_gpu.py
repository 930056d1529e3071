"""The benchmark for rented machines runs on a CPU and writes one table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu

SMALL = [
    "--backbone",
    "demo",
    "--size",
    "32",
    "--batch",
    "4",
    "--steps",
    "1",
    "--photos",
    "8",
    "--precisions",
    "float32",
]


@pytest.mark.slow
def test_gpu_writes_one_table_of_all_parts(tmp_path: Path, capsys) -> None:
    assert gpu.main([*SMALL, "--out", str(tmp_path / "gpu.md")]) == 0
    text = (tmp_path / "gpu.md").read_text()
    assert text.count("| part |") == 1
    parts = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][2:]
    assert parts == ["input"] * 5 + ["training step"] + ["Grad-CAM"] * 3


def test_gpu_refuses_no_photographs(capsys) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["--photos", "1"])
    assert "--photos is too small: 1" in capsys.readouterr().err


@pytest.mark.slow
def test_gpu_runs_on_jax_and_says_that_gradcam_needs_tensorflow() -> None:
    pytest.importorskip("jax")
    root = Path(__file__).parents[2]
    settings = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "benchmarks.gpu", *SMALL]
    done = subprocess.run(command, capture_output=True, text=True, env=settings, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "not run: it needs TensorFlow, and Keras runs on jax" in done.stdout
