"""The folder of a run: what it was told, how it went, the best model."""

from __future__ import annotations

import csv
import errno
import io
import json
import platform
import shutil
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from training.config import DataConfig, TrainingConfig
from training.report.evaluate import write_whole

PREPARED = {"phantom", "data"}  # what may be there before a run begins: images drawn or unpacked
CLASS_NAMES = "class_names.json"  # also the member of best.keras that `tf-gradcam explain` reads


class Run:
    """A folder that holds one run.

    config.json       data and training as resolved, versions, git revision
    history.csv       a row an epoch
    tensorboard/      the same for TensorBoard
    backup/           the state to resume from, gone when the run has ended
    best.keras        the model of the best epoch, with its class names and preprocessing inside
    validation_samples.csv, class_names.json, metrics.json, figures/

    Args:
        path: made where it does not exist.
        resume: whether another start continues what is there.

    Raises:
        FileExistsError: the folder holds a run, and `resume` is False; or it holds something else.
        NotADirectoryError, PermissionError: no folder can be made there.
    """

    def __init__(self, path: Path, resume: bool = False):
        self.path = path
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"Expected a folder for the run, but '{path}' is a file. Name another.")
        is_run = (path / "config.json").exists()
        if is_run and not resume:
            raise FileExistsError(f"'{path}' holds a run already. Continue it by --resume, or name another folder.")
        if path.is_dir() and not is_run and {item.name.strip(".") for item in path.iterdir()} - PREPARED:
            raise FileExistsError(f"'{path}' holds files that are no run. Name a new or empty folder by --out.")
        path.mkdir(parents=True, exist_ok=True)
        self.best_model = path / "best.keras"
        self.history = path / "history.csv"
        self.backup = path / "backup"
        self.figures = path / "figures"

    def check_config(self, data: DataConfig, training: TrainingConfig) -> None:
        """A resumed run must be told what it began with.

        Raises:
            ValueError: other settings; they are named.
        """
        file = self.path / "config.json"
        if not file.exists():
            return
        before = json.loads(file.read_text(encoding="utf-8"))
        changed = [
            f"{part}.{key} {before[part].get(key)!r} -> {value!r}"
            for part, values in _told(data, training).items()
            for key, value in values.items()
            if before[part].get(key) != value
        ]
        if changed:
            raise ValueError(f"Expected the settings that '{self.path}' began with, received {', '.join(changed)}.")

    def write_config(self, data: DataConfig, training: TrainingConfig) -> None:
        """Write what the run is told and what runs it; from here on the folder is that of a run."""
        file = self.path / "config.json"
        if not file.exists():
            write_whole(file, _json({**_told(data, training), "versions": versions(), "git": git_revision()}))

    def write_class_names(self, names: Sequence[str]) -> None:
        write_whole(self.path / CLASS_NAMES, _json(list(names)))

    def save_best(self, model: keras.Model, class_names: Sequence[str]) -> None:
        """Save the model with its class names inside; the one before stays until this one is whole."""
        temporary = self.path / ".best.keras"
        try:
            model.save(temporary)
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(CLASS_NAMES, json.dumps(list(class_names)))
            temporary.replace(self.best_model)
        finally:
            temporary.unlink(missing_ok=True)

    def check_room(self, size: int) -> None:
        """Refuse to write what does not fit: HDF5 crashes the process after a write to a full disk.

        Raises:
            OSError: fewer than `size` bytes free, with the number of a full disk.
        """
        free = shutil.disk_usage(self.path).free
        if free < size:
            raise OSError(errno.ENOSPC, f"{size / 1e6:,.0f} MB needed, {free / 1e6:,.0f} MB free", str(self.path))

    def rows(self) -> list[dict[str, str]]:
        """The epochs so far."""
        if not self.history.exists():
            return []
        with open(self.history, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def write_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the history anew: whole at every moment."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.history, text.getvalue().encode())


def is_complete(path: Path) -> bool:
    """Whether the run in a folder has come to its end: the state to resume from goes last."""
    return (path / "metrics.json").exists() and not (path / "backup").exists()


def versions() -> dict[str, str]:
    """Of what computes."""
    import cv2

    backend = keras.backend.backend()
    found = {"python": platform.python_version(), "keras": keras.__version__, "backend": backend}
    found |= {"numpy": np.__version__, "opencv": cv2.__version__, "machine": platform.platform()}
    module = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}.get(backend)
    return found | ({module: __import__(module).__version__} if module else {})


def git_revision() -> str | None:
    """Of this code, with "+" where files differ from it; None outside a repository."""
    folder = Path(__file__).parent
    try:
        revision = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True, check=True, timeout=10
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return revision + ("+" if changed else "")


def _told(data: DataConfig, training: TrainingConfig) -> dict[str, dict[str, Any]]:
    """As JSON gives it back."""
    return json.loads(json.dumps({"data": asdict(data), "training": asdict(training)}))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
