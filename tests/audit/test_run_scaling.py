"""The scaling of an audit, and how it is known: on stderr, in the report and in its numbers."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tf_gradcam._cli.main import main

L = keras.layers
LEVELS = {"dim": 150, "bright": 250}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight dim and eight bright pictures, and a model file with the first layers of VGG16 that tells them apart.

    Its logits are 40 (0.8 - v) and 40 (v - 0.8) for the mean value v: right for pictures / 255, 0.59 and 0.98. Less
    ImageNet's mean, as VGG16 has them, both are far above 0.8.
    """
    root = tmp_path_factory.mktemp("scaling")
    for name, level in LEVELS.items():
        (root / "data" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (10, 12), (level - number,) * 3).save(root / "data" / name / f"{number}.png")
    layers: list[Any] = [
        L.Conv2D(filters, 3, padding="same", name=name)
        for name, filters in {"block1_conv1": 64, "block1_conv2": 64, "block2_conv1": 128}.items()
    ]
    model = keras.Sequential([keras.Input((12, 10, 3)), *layers, L.GlobalAveragePooling2D(), L.Dense(2, "softmax")])
    for layer in layers:
        kernel = np.zeros(layer.kernel.shape)
        kernel[1, 1] = 1 / kernel.shape[2]
        layer.set_weights([kernel, np.zeros(layer.filters)])
    model.layers[-1].set_weights([np.full((128, 2), [-40 / 128, 40 / 128]), np.array([32.0, -32.0])])
    model.save(root / "model.keras")
    return root


def audited(folder: Path, out: Path, mode: str, *more: str) -> tuple[list[str], str, Any]:
    """Return the lines on stderr, the page without its escapes, and the conditions among the numbers."""
    (folder / "names.txt").write_text("dim\nbright\n")
    options = ["--model", folder / "model.keras", "--class-names", folder / "names.txt", "--preprocess", mode]
    arguments = ["audit", folder / "data", "--out", out, "--num-images", 0, "--no-sanity", *options, *more]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    numbers = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    return result.stderr.splitlines(), unescape((out / "index.html").read_text(encoding="utf-8")), numbers


def test_scaling_that_is_assumed_and_loses_is_warned_of(folder: Path, tmp_path: Path) -> None:
    lines, page, numbers = audited(folder, tmp_path, "auto")
    (warning,) = [line for line in lines if "clearly better" in line]
    assert "16 pictures fit the scaling unit clearly better than caffe" in warning
    assert warning.endswith("If the model was trained on unit, use --preprocess unit.")
    known = "caffe (BGR in 0..255 less ImageNet's mean colour), assumed, because the backbone is VGG16; if you trained "
    assert f"tf-gradcam: scaling: {known}on pictures / 255 use --preprocess unit." in lines
    assert known in page
    assert numbers["about"]["scaling"].startswith(known)
    assert numbers["images"]["accuracy"] == 0.5


def test_scaling_is_detected_on_request(folder: Path, tmp_path: Path) -> None:
    lines, page, numbers = audited(folder, tmp_path, "detect")
    known = "unit (RGB in [0, 1]), detected from 16 pictures: unit is "
    (line,) = [line for line in lines if "scaling" in line]
    assert line.startswith(f"tf-gradcam: scaling: {known}")
    assert known in page
    assert numbers["about"]["scaling"].startswith(known)
    assert numbers["about"]["preprocessing"] == "unit"
    assert numbers["images"]["accuracy"] == 1


@pytest.mark.slow
def test_scaling_that_is_chosen_and_holds_is_said_alone(folder: Path, tmp_path: Path) -> None:
    lines, page, numbers = audited(folder, tmp_path, "unit")
    known = "unit (RGB in [0, 1]), as you chose."
    assert [line for line in lines if "scaling" in line] == [f"tf-gradcam: scaling: {known}"]
    assert known in page
    assert numbers["about"]["scaling"] == known
    assert numbers["images"]["accuracy"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["unit", "detect"])
def test_sanity_checks_know_the_scaling_that_was_chosen_or_detected(folder: Path, tmp_path: Path, mode: str) -> None:
    lines, _, _ = audited(folder, tmp_path, mode, "--sanity")
    assert [line for line in lines if "The images range from" in line] == []
