"""The table over runs: one row for what differs in the seed alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.summary import main


def finished(
    folder: Path,
    seed: int,
    accuracy: float,
    epochs: int = 2,
    source: str = "/somewhere/brain_mri",
    **more: float | None,
) -> str:
    folder.mkdir()
    data = {"data": source, "seed": seed, "split": "naive", "image_size": 96}
    training = {"backbone": "MobileNet", "stages": [{"epochs": epochs}]}
    split = {"training": 80, "validation": 20, "validation_images_with_a_twin_in_training": seed}
    (folder / "config.json").write_text(json.dumps({"data": data, "training": training}))
    metrics = {"accuracy": accuracy, "loss": 1 - accuracy, "split": split, **more}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "history.csv").write_text("stage,epoch,seconds\nhead,1,40\nhead,2,50\n")
    return str(folder)


def test_runs_of_other_seeds_share_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Accuracies 0.8 and 0.9: mean 0.85; losses 0.2 and 0.1; 90 seconds are 1.5 minutes."""
    runs = [finished(tmp_path / f"run{seed}", seed, accuracy) for seed, accuracy in ((1, 0.8), (2, 0.9))]
    assert main([*runs, finished(tmp_path / "longer", 1, 0.7, epochs=3)]) == 0
    *_, both, alone = capsys.readouterr().out.splitlines()
    assert both == (
        "| MobileNet, 96 px | brain_mri | naive, 80 / 20, 1 to 2 leaked | 2 | 0.8500 (0.8000 to 0.9000) | "
        "0.1500 (0.1000 to 0.2000) | 1.5 | - | - |"
    )
    assert "| 1 leaked | 1 | 0.7000 | 0.3000 | 1.5 | - | - |" in alone.replace("naive, 80 / 20, ", "")


def test_macro_f1_and_auc_are_in_the_row_where_every_run_has_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        finished(tmp_path / "a", 1, 0.8, macro_f1=0.7, auc=0.95),
        finished(tmp_path / "b", 2, 0.8, macro_f1=0.8, auc=None),
    ]
    assert main(runs) == 0
    header, _, row = capsys.readouterr().out.splitlines()
    assert header.endswith("| minutes | macro F1 | AUC |")
    assert row.endswith("| 1.5 | 0.7500 (0.7000 to 0.8000) | - |")


def test_address_of_the_data_shows_no_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([finished(tmp_path / "run", 1, 0.8, source="https://example.org/mri.zip?key=secret")]) == 0
    assert "| MobileNet, 96 px | mri.zip | naive" in capsys.readouterr().out


def test_folder_without_a_finished_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("Error: Expected a finished run in")


def test_folds_are_to_be_named_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folds = [finished(tmp_path / f"fold_{number}", 1, 0.8) for number in (1, 2)]
    assert main([str(tmp_path)]) == 2
    assert f"received the folds of '{tmp_path}'. Name them: {tmp_path}/fold_*" in capsys.readouterr().err
    assert main(folds) == 0  # the remedy
