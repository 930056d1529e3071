"""The folder of a run: its settings, its history, its best model."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_gradcam import describe

from ..config import DataConfig, TrainingConfig
from ..reading import read_object, read_rows

PREPARED = {"phantom", "data"}  # folders of images, drawn or unpacked, that may exist before a run begins
METRICS = {"accuracy": float, "loss": float, "split": dict}  # parts of metrics.json, and their types
CLASS_NAMES = "class_names.json"
VALIDATION = "validation_samples.csv"


class Run:
    """A folder that holds one run.

    config.json       resolved settings, versions, git revision
    history.csv       one row for each epoch
    tensorboard/      the same for TensorBoard
    backup/           the state to resume from, removed when the run has ended
    best.keras        the model of the best epoch, with its preprocessing, class names and task inside
    validation_samples.csv, class_names.json, metrics.json, figures/
    README.md         the model card: data, split, network, results, limits, how to explain the model

    Args:
        path: made if it does not exist.
        resume: continue the run that is in the folder.

    Raises:
        FileExistsError: the folder holds a run and `resume` is False, or it holds other files.
        NotADirectoryError, PermissionError: the folder cannot be made.
    """

    def __init__(self, path: Path, resume: bool = False):
        self.path = path
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"Expected a folder for the run, received the file '{path}'. Name another path.")
        is_run = (path / "config.json").exists()
        if is_run and not resume:
            raise FileExistsError(f"'{path}' already holds a run. Continue it with --resume, or name another folder.")
        held = {item.name.strip(".") for item in path.iterdir() if _holds(item)} if path.exists() else set()
        if (path / "fold_1" / "config.json").exists():
            raise FileExistsError(
                f"'{path}' holds folds. Continue them with --folds and --resume, or name another folder."
            )
        if not is_run and held - PREPARED:
            raise FileExistsError(f"'{path}' holds files of something else. Name a new or empty folder with --out.")
        path.mkdir(parents=True, exist_ok=True)
        self.best_model = path / "best.keras"
        self.history = path / "history.csv"
        self.backup = path / "backup"
        self.figures = path / "figures"

    def check_config(self, data: DataConfig, training: TrainingConfig) -> None:
        """Check that a resumed run has the settings that it began with.

        Raises:
            ValueError: settings or the backend differ; they are named. Or config.json is damaged.
        """
        file = self.path / "config.json"
        if not file.exists():
            return
        before = read_object(file, {"data": dict, "training": dict})
        backend = before.get("versions", {}).get("backend", keras.backend.backend())
        if backend != keras.backend.backend():
            raise ValueError(
                f"Expected the backend of the run in '{self.path}', {backend}, received {keras.backend.backend()}. Set "
                f"KERAS_BACKEND={backend}."
            )
        changed = [
            f"{part}.{key} {before[part].get(key)!r} -> {value!r}"
            for part, values in _settings(data, training).items()
            for key, value in values.items()
            if before[part].get(key) != value
        ]
        if changed:
            raise ValueError(
                f"Expected the settings of the run in '{self.path}', received {', '.join(changed)}. Use the same ones."
            )

    def check_validation(self, table: bytes) -> None:
        """Check that a resumed run has the validation samples that it began with.

        Raises:
            ValueError: `table` differs from validation_samples.csv: images were added, removed or renamed.
        """
        file = self.path / VALIDATION
        if file.exists() and file.read_bytes() != table:
            raise ValueError(
                f"Expected the validation samples that '{file}' names, received others: images were added, removed or "
                "renamed. Restore them, or begin a new run in another folder."
            )

    def write_config(self, data: DataConfig, training: TrainingConfig) -> None:
        """Write settings and versions; from now on the folder is a run."""
        if not (self.path / "config.json").exists():
            settings = {**_settings(data, training), "versions": versions(), "git": git_revision()}
            self.write("config.json", _json(settings))

    def write_class_names(self, names: Sequence[str]) -> None:
        """Write class_names.json."""
        self.write(CLASS_NAMES, _json(list(names)))

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the run, whole or not at all.

        Raises:
            OSError: the folder is gone or not writable, or the disk is full; an older file of that name stays.
        """
        with whole(self.path / name) as temporary:
            temporary.write_bytes(content)

    def save_best(self, model: keras.Model, class_names: Sequence[str]) -> None:
        """Save the model with its description inside; the previous one stays until this one is whole."""
        with whole(self.best_model) as temporary:
            model.save(temporary)
            describe(temporary, preprocess="raw", class_names=list(class_names), task="classification")

    def check_room(self, size: int) -> None:
        """Raise if so many bytes do not fit: HDF5 crashes the process after a write to a full disk.

        Raises:
            OSError: fewer than `size` bytes are free; its number is the one of a full disk.
        """
        free = shutil.disk_usage(self.path).free
        if free < size:
            raise OSError(errno.ENOSPC, f"{size / 1e6:,.0f} MB needed, {free / 1e6:,.0f} MB free", str(self.path))

    def remove_backup(self) -> None:
        """Remove the state to resume from. It is renamed first: after a kill all of it is there, or nothing."""
        removed = self.path / ".removed"
        shutil.rmtree(removed, ignore_errors=True)
        if self.backup.exists():
            self.backup.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)

    def rows(self, numbers: Sequence[str] = ()) -> list[dict[str, str]]:
        """Return the rows of the history.

        Args:
            numbers: columns that must be there and hold numbers.

        Raises:
            ValueError: the file is not a history with these columns.
        """
        if not self.history.exists():
            return []
        columns, *lines = read_rows(self.history, "the history of a run") or [[]]
        rows = [dict(zip(columns, line, strict=False)) for line in lines]
        try:
            [float(row[name]) for row in rows for name in numbers]
            if not set(numbers) <= set(columns):
                raise KeyError
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"'{self.history}' is damaged: expected numbers in the columns {', '.join(numbers)}. Restore the file, "
                "or begin a new run in another folder."
            ) from error
        return rows

    def write_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the whole history again."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.write(self.history.name, text.getvalue().encode())


def _holds(item: Path) -> bool:
    """Return True for a file, and for a folder that is not empty; a run that failed at once leaves empty ones."""
    return not item.is_dir() or any(item.iterdir())


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` and rename it when the block has succeeded: a file is whole or not there.

    Keras writes models and weights by itself, so all files of a run are written in this way.
    """
    temporary = path.with_name(f".{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_complete(path: Path) -> bool:
    """Return True if the run in a folder has ended: the state to resume from is removed last."""
    return (path / "metrics.json").exists() and not (path / "backup").exists()


def versions() -> dict[str, str]:
    """Return the versions of Python, Keras, its backend, NumPy and OpenCV, and the machine."""
    import cv2

    backend = keras.backend.backend()
    found = {"python": platform.python_version(), "keras": keras.__version__, "backend": backend}
    found |= {"numpy": np.__version__, "opencv": cv2.__version__, "machine": platform.platform()}
    module = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}.get(backend)
    return found | ({module: __import__(module).__version__} if module else {})


def git_revision() -> str | None:
    """Return the git revision of this code, with "+" if files were changed; None if git does not track the code.

    Installed code may lie in the repository of another project, in an ignored virtual environment for instance.
    """
    tracked, revision, changed = (
        _git(*words) for words in (("ls-files", Path(__file__).name), ("rev-parse", "HEAD"), ("status", "--porcelain"))
    )
    if not tracked or not revision or changed is None:
        return None
    return revision + ("+" if changed else "")


def _git(*words: str) -> str | None:
    """Return what git prints about the folder of this file; None if it fails or there is no git."""
    options: Any = {"cwd": Path(__file__).parent, "capture_output": True, "text": True, "check": True, "timeout": 10}
    try:
        return subprocess.run(["git", *words], **options).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _settings(data: DataConfig, training: TrainingConfig) -> dict[str, dict[str, Any]]:
    """Return the settings as they are read back from JSON."""
    return json.loads(json.dumps({"data": asdict(data), "training": asdict(training)}))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
