"""One call, followed: the files that a reader passes from `Explainer(model)(images)` to the heatmaps."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import keras
import numpy as np
import pytest

import tf_gradcam
from tf_gradcam import Explainer

MOST_FILES, MOST_PACKAGES = 19, 7
PACKAGE = Path(tf_gradcam.__file__).parent
MANUAL = Path(__file__).parents[2] / "CONTRIBUTING.md"


def followed(call: Any) -> list[str]:
    """The files of the package whose functions run during `call`, by their paths in it, as they are first entered."""
    files: dict[str, None] = {}

    def enter(frame: FrameType, event: str, argument: object) -> None:
        del argument
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE) and not _is_import(frame):
            files[path.relative_to(PACKAGE).as_posix()] = None

    before = sys.getprofile()
    sys.setprofile(enter)
    try:
        call()
    finally:
        sys.setprofile(before)
    return list(files)


def _is_import(frame: FrameType | None) -> bool:
    """Return True while a module is imported: its own lines, and what these call."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and Path(frame.f_code.co_filename).is_relative_to(PACKAGE):
            return True
        frame = frame.f_back
    return False


@pytest.fixture(scope="module")
def files() -> list[str]:
    inputs = keras.Input((6, 10, 3))
    cells = keras.layers.Conv2D(4, 3, activation="relu", name="cells")(inputs)
    outputs = keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(cells))
    model = keras.Model(inputs, outputs)
    images = np.random.default_rng(0).uniform(0, 1, (2, 6, 10, 3)).astype(np.float32)
    return followed(lambda: Explainer(model)(images))


def test_one_call_is_followed_through_few_files(files: list[str]) -> None:
    assert len(files) <= MOST_FILES, files
    assert len({Path(file).parts[0] for file in files}) <= MOST_PACKAGES, files


def test_the_walk_in_contributing_is_the_one_that_runs(files: list[str]) -> None:
    """A file that is left or passed in another order must be written down so."""
    section = MANUAL.read_text(encoding="utf-8").partition("<!-- walk -->")[2].partition("\n## ")[0]
    assert re.findall(r"^\d+\. `([^`]+)`", section, re.MULTILINE) == files


def test_a_file_that_is_imported_during_the_call_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lines run, but a reader of the call does not pass them."""
    monkeypatch.delitem(sys.modules, "tf_gradcam._figures.side_by_side", raising=False)

    def call() -> None:
        import tf_gradcam._figures.side_by_side  # noqa: F401

    assert followed(call) == []
