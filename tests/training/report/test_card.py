"""The model card of a run: its numbers are those of metrics.json, its commands run, its figures are there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.colours import NAMES, SIZE, color_model, outputs_of, write_folder
from tf_gradcam import describe
from training.config import DataConfig, Stage, TrainingConfig
from training.data.split import Parts
from training.report.card import Trained, card_text
from training.report.evaluate import measure, predictions_of
from training.report.figures import write_figures
from training.report.maps import maps_of
from training.report.tables import network_tables

ROOT = Path(__file__).parents[3]
HISTORY = [
    {
        "stage": "head",
        "epoch": str(epoch),
        "loss": "1",
        "accuracy": "0.5",
        "val_loss": "0.9",
        "val_accuracy": str(0.5 + 0.1 * epoch),
        "seconds": "45",
    }
    for epoch in (1, 2)
]
LOCALISATION: Mapping[str, Any] = {
    "images": 5,
    "share_of_picture": 0.25,
    "share_of_picture_interval": [0.2, 0.3],
    "centre_in_box": 0.4,
    "centre_in_box_interval": [None, None],
    "layers": {
        "cells": {
            "energy_in_box": 0.75,
            "energy_in_box_interval": [0.7, 0.8],
            "pointing_game": 0.9,
            "pointing_game_interval": [0.8, 1.0],
            "blank_maps": 1,
        }
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("card")


@pytest.fixture(scope="module")
def finished(folder: Path) -> Trained:
    """A run of the two colours: four of six right, best.keras and all figures in its folder."""
    samples = write_folder(folder / "data")
    parts = Parts(np.arange(0, 12, 2), np.arange(1, 12, 2), leaked=2, groups=9, duplicates=5)
    validation = samples.take(parts.validation)
    outputs = outputs_of(validation, {1: 0.7, 4: 0.8})
    model = color_model()
    model.save(folder / "best.keras")
    describe(folder / "best.keras", preprocess="raw", class_names=list(NAMES), task="classification")
    figures = write_figures(
        folder / "figures",
        training=samples.take(parts.training),
        shown=predictions_of(validation, outputs),
        history=HISTORY,
        best=1,
        maps=maps_of(model, NAMES, ("cells", "doubled")),
        image_size=SIZE,
    )
    stages = (Stage("head", 2, 0, 1e-3),)
    return Trained(
        data=DataConfig("/data/colours.zip", sha256="ab12", split="naive", limit=12, classes=2),
        training=TrainingConfig("MobileNet", stages, backbone_arguments={"alpha": 0.75}, weights="imagenet"),
        samples=replace(samples, broken=("'a_b.png' is empty.", *(f"'{number}.png' is empty." for number in range(7)))),
        parts=parts,
        notes=["3 of 15 images left out, named in 'exclude.csv'"],
        tables=network_tables(model, stages),
        history=HISTORY,
        best=1,
        metrics={**measure(outputs, validation.labels, NAMES), "localisation": LOCALISATION},
        layers=("cells", "doubled"),
        figures=[path.stem for path in figures],
        versions={"keras": "3.15", "machine": "here", "git": None},
    )


@pytest.fixture(scope="module")
def card(finished: Trained, folder: Path) -> str:
    text = card_text(finished)
    (folder / "README.md").write_text(text)
    return text


def test_data_is_counted_by_class_and_part(card: str) -> None:
    assert "- Source: /data/colours.zip" in card
    assert "| green | 6 | 3 | 3 |\n| red | 6 | 3 | 3 |" in card
    assert "3 of 15 images left out, named in 'exclude.csv'" in card
    assert "- Broken files left out: 8\n    - 'a\\_b.png' is empty.\n" in card
    assert "    - and 3 more" in card


def test_split_says_its_kind_its_twins_and_its_leaks(card: str, finished: Trained) -> None:
    assert "- Naive: " in card
    assert "- Twins: 5 images have one, " in card
    assert "on 6 validation images, 2 of which have a twin among the training images." in card
    assert "- Leaks: 2 validation images have a twin in the training part." in card
    assert "- 6 images train and 6 validate: about 20% of each class, drawn with seed 42." in card
    clean = replace(finished, data=replace(finished.data, split="clean"))
    assert "- Clean: " in card_text(clean)


def test_card_of_a_fold_names_the_fold(finished: Trained) -> None:
    text = card_text(replace(finished, data=replace(finished.data, folds=5, fold=2)))
    assert "- 6 images train and 6 validate: fold 2 of 5, drawn with seed 42." in text
    assert "20% of each class" not in text


def test_results_are_those_of_the_metrics(card: str, finished: Trained) -> None:
    """Of three green ones two are right, and one red one is called green: precision and recall 2/3."""
    low, high = finished.metrics["accuracy_interval"]
    assert f"| 0.6667 ({low:.4f} to {high:.4f}) |" in card
    assert "| green | 0.6667 | 0.6667 | 0.6667 |" in card
    for key in ("macro_f1", "auc", "loss"):
        assert f"| {finished.metrics[key]:.4f} |" in card
    assert f"| {finished.metrics['calibration']['ece']:.4f} |" in card
    assert "| cells | 0.750 (0.700 to 0.800) | 0.900 (0.800 to 1.000) | 1 |" in card
    assert "| no map: size of the box, centre in it | 0.250 (0.200 to 0.300) | 0.400 |  |" in card


def test_network_has_its_stages_and_the_best_epoch(card: str) -> None:
    assert "- Network: MobileNet, alpha=0.75, from the weights imagenet" in card
    assert "- Best epoch: 2 of 2 (head, epoch 2), by the validation accuracy" in card
    assert "- 1.5 minutes of epochs. keras 3.15." in card
    assert "| head | 2 | 0.001 | head |" in card


def test_limits_are_those_of_this_run(card: str, finished: Trained) -> None:
    limits = card.partition("## Limits")[2]
    assert "chosen on the same validation part" in limits
    assert "were not tested" in limits
    assert "2 validation images have a twin" in limits
    assert "at most 12 images" in limits
    phantom = card_text(replace(finished, data=DataConfig("phantom"))).partition("## Limits")[2]
    assert "The images are generated" in phantom
    assert "at most" not in phantom


def test_every_figure_is_embedded_once_and_exists(card: str, finished: Trained, folder: Path) -> None:
    embedded = re.findall(r"!\[[^\]]+\]\((figures/\w+\.png)\)", card)
    assert sorted(embedded) == sorted(f"figures/{name}.png" for name in finished.figures)
    assert all((folder / path).is_file() for path in embedded)


def test_names_of_strangers_are_no_markup(finished: Trained) -> None:
    names = ("<img src=x>", "a|b")
    samples = replace(finished.samples, class_names=names)
    metrics = measure(outputs_of(finished.samples), finished.samples.labels, names)
    text = card_text(replace(finished, samples=samples, metrics=metrics))
    assert "<img" not in re.sub(r"\\<", "", text)
    assert r"| a\|b | " in text


def test_card_does_not_show_the_key_of_an_address(finished: Trained) -> None:
    address = "https://user:secret@example.org/sets/colours.zip?key=secret"
    text = card_text(replace(finished, data=replace(finished.data, data=address)))
    assert "secret" not in text
    assert "# MobileNet on colours.zip, 2 classes" in text
    assert "- Source: https://example.org/sets/colours.zip" in text


def test_card_without_grad_cam_has_no_layer_and_no_map(finished: Trained) -> None:
    figures = [name for name in finished.figures if "gradcam" not in name]
    text = card_text(replace(finished, layers=(), figures=figures))
    assert "--layer" not in text
    assert "gradcam_" not in text


@pytest.mark.slow
def test_both_commands_of_the_card_run(card: str, folder: Path) -> None:
    """As they stand, in the folder of the card, with a photo in the place of IMAGE."""
    photo = "data/green/green_0.png"
    (shell,) = re.findall(r"```sh\n(.*?)```", card, re.DOTALL)
    (script,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    words = shlex.split(shell.replace("IMAGE", photo))
    assert words[0] == "tf-gradcam"
    for command in ([sys.executable, "-m", "tf_gradcam", *words[1:]], [sys.executable, "-c", script]):
        command[-1] = command[-1].replace("IMAGE", photo)
        ran = subprocess.run(
            command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
    assert (folder / "heatmaps" / "green_0.overlay.png").is_file()
    assert (folder / "heatmap.png").is_file()
    assert "green" in ran.stdout
