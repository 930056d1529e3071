"""The trainings on phantom slices, as their help says to run them: they learn, and their maps lie on the tumours."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import pytest

from tf_gradcam import Explainer
from tf_gradcam.demo import phantom_slices
from tf_gradcam.image import load_image
from training import brain_mri, dog_breeds
from training.config import PHANTOM_SLICES, Stage, TrainingConfig, phantom_defaults, random_defaults


def phantom_command(program: ModuleType) -> list[str]:
    """Return the options after `python -m training.NAME` in the line of the program's help that needs no data."""
    line = next(line for line in program.__doc__.splitlines() if "--data phantom" in line)
    return shlex.split(line)[3:]


def heat_on_tumours(run: Path, seed: int) -> tuple[float, float]:
    """Return the mean share of the heat in the tumours' masks, and of the pixels, over the validation slices."""
    model = keras.saving.load_model(run / "best.keras", compile=False)
    with open(run / "validation_samples.csv", newline="") as file:
        paths = [run / "phantom" / row["Filename"] for row in csv.DictReader(file)]
    masks = phantom_slices(PHANTOM_SLICES, seed, 224).masks
    shown = [path for path in paths if path.parent.name != "notumor"]
    photos = np.stack([load_image(path) for path in shown])
    maps = Explainer(model, "block5_conv3")(photos.astype(np.float32)).resized()
    inside = [masks[int(path.stem.rpartition("_")[2])] for path in shown]
    shares = [m[mask].sum() / m.sum() if m.any() else 0.0 for m, mask in zip(maps, inside, strict=True)]
    return float(np.mean(shares)), float(np.mean(inside))


@pytest.mark.parametrize(
    "program", [pytest.param(brain_mri, marks=pytest.mark.slow), pytest.param(dog_breeds, marks=pytest.mark.soak)]
)
def test_the_command_of_the_help_learns_and_looks_at_the_tumours(program, tmp_path: Path, capsys) -> None:
    words = phantom_command(program)
    words[words.index("--out") + 1] = str(tmp_path / "run")
    assert program.main(words) == 0
    said = capsys.readouterr().out
    assert "the bundled network" in said
    assert "of the heat is in the true box" in said
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["accuracy"] >= 0.9
    found = metrics["localisation"]
    assert found["layers"]["block5_conv3"]["energy_in_box"] > 5 * found["share_of_picture"]
    heat, area = heat_on_tumours(tmp_path / "run", program.DATA.seed)
    assert heat > 5 * area


@pytest.mark.parametrize("program", [brain_mri, dog_breeds])
def test_phantom_defaults_keep_the_stages_and_need_no_download(program) -> None:
    _, training = phantom_defaults(program.DATA, program.TRAINING)
    assert [stage.name for stage in training.stages] == [stage.name for stage in program.TRAINING.stages]
    assert (training.backbone, training.weights, training.precision) == ("demo", "demo", "float32")


def test_random_weights_are_trained_as_a_whole() -> None:
    stages = random_defaults(TrainingConfig("MobileNet", (Stage("a", 1, 0, 1e-4), Stage("b", 2, 1, 1e-5))).stages)
    assert [stage.unfreeze for stage in stages] == [None, None]
    assert {stage.learning_rate for stage in stages} == {1e-3}
