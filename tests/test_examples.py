"""The examples, run as a user runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2

EXAMPLES = Path(__file__).parents[1] / "examples"


def run_example(name: str, *words: str) -> str:
    """What the example prints; an error fails the test with what it said."""
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES.parent), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *words], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_methods_draws_every_map(tmp_path: Path) -> None:
    path = tmp_path / "methods.png"
    printed = run_example("all_methods.py", str(path))
    committed = cv2.imread(str(EXAMPLES / "methods.png"))
    assert cv2.imread(str(path)).shape == committed.shape
    share = int(printed.split(":")[1].split("%")[0])
    assert printed.startswith("glioma")
    assert 50 < share <= 100  # on 3 % of the slice
