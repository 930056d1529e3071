"""The folder of a run: whose it is, what is written into it and how."""

from __future__ import annotations

import errno
import json
import platform
import resource
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from training.config import DataConfig, Stage, TrainingConfig
from training.loop.run_folder import Run, git_revision, is_complete, versions

DATA = DataConfig("photos", seed=7)
TRAINING = TrainingConfig(
    "MobileNet",
    (Stage("head", 2, 0, 1e-3), Stage("last block", 1, None, 1e-5)),
    backbone_arguments={"alpha": 0.25},
    layers=("top", None),
)


def model(value: float = 0.0) -> keras.Model:
    images = keras.Input((4, 6, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(images)
    return keras.Model(images, keras.layers.Dense(2, kernel_initializer=keras.initializers.Constant(value))(pooled))


@pytest.fixture
def run(tmp_path) -> Run:
    made = Run(tmp_path / "deep" / "run")
    made.write_config(DATA, TRAINING)
    return made


def test_config_holds_all_that_was_told(run):
    told = json.loads((run.path / "config.json").read_text(encoding="utf-8"))
    assert told["data"]["data"] == "photos"
    assert told["data"]["seed"] == 7
    assert told["training"]["backbone_arguments"] == {"alpha": 0.25}
    assert [stage["unfreeze"] for stage in told["training"]["stages"]] == [0, None]
    assert told["versions"]["keras"] == keras.__version__
    assert "git" in told


def test_versions_name_python_and_the_backend():
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["backend"] == keras.backend.backend()
    assert found[found["backend"]][0].isdigit()


def test_git_revision_is_a_revision_or_none():
    revision = git_revision()
    assert revision is None or int(revision.rstrip("+"), 16) > 0


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Stand for code in a virtual environment that the repository of a project ignores."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    file = tmp_path / ".venv" / "run_folder.py"
    file.parent.mkdir()
    file.write_text("")
    (tmp_path / ".gitignore").write_text(".venv\n")
    subprocess.run([*git, "add", ".gitignore"], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "project"], check=True)
    monkeypatch.setattr("training.loop.run_folder.__file__", str(file))
    return git, file


def test_git_revision_is_not_the_one_of_a_project_around_the_code(code):
    assert git_revision() is None


def test_git_revision_of_copied_code_is_the_one_of_its_project_with_a_mark_for_changes(code):
    git, file = code
    subprocess.run([*git, "add", "--force", str(file)], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "code"], check=True)
    revision = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert git_revision() == revision
    file.write_text("changed")
    assert git_revision() == f"{revision}+"


def test_another_run_is_not_overwritten(run):
    with pytest.raises(FileExistsError, match=r"already holds a run\. Continue it with --resume, or name another"):
        Run(run.path)


def test_a_run_is_resumed_with_the_settings_it_began_with(run):
    again = Run(run.path, resume=True)
    again.check_config(DATA, TRAINING)
    before = (run.path / "config.json").read_bytes()
    again.write_config(DATA, TRAINING)
    assert (run.path / "config.json").read_bytes() == before


def test_other_settings_are_named(run):
    changed = replace(TRAINING, precision="mixed_float16")
    expected = r"received data\.seed 7 -> 8, training\.precision 'float32' -> 'mixed_float16'\."
    with pytest.raises(ValueError, match=expected):
        Run(run.path, resume=True).check_config(replace(DATA, seed=8), changed)


def test_a_run_is_resumed_on_the_backend_it_began_with(run):
    """Its state and its random numbers are those of a backend."""
    file = run.path / "config.json"
    file.write_text(file.read_text().replace('"backend": "tensorflow"', '"backend": "jax"'))
    with pytest.raises(ValueError, match=r"backend of the run in .*, jax, received tensorflow\. Set KERAS_BACKEND=jax"):
        Run(run.path, resume=True).check_config(DATA, TRAINING)


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_something_else_is_refused(tmp_path, resume):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="holds files of something else"):
        Run(tmp_path, resume)
    assert [item.name for item in tmp_path.iterdir()] == ["letter.txt"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(NotADirectoryError, match="received the file"):
        Run(tmp_path / "run")


@pytest.mark.parametrize("name", ["phantom", "data", ".phantom"])
def test_images_that_a_failed_start_left_are_no_run(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "1.png").write_text("")
    assert Run(tmp_path).rows() == []


def test_an_empty_folder_in_the_folder_is_nothing_else(tmp_path):
    (tmp_path / "fold_1").mkdir()
    assert Run(tmp_path).rows() == []


DESCRIPTION = {"preprocess": "raw", "class_names": ["Käse", "brot"], "task": "classification"}


def test_best_model_holds_its_description(run):
    run.save_best(model(), ["Käse", "brot"])
    with zipfile.ZipFile(run.best_model) as archive:
        assert json.loads(archive.read("tf_gradcam.json")) == DESCRIPTION
    assert keras.saving.load_model(run.best_model).output_shape == (None, 2)


def test_a_model_that_cannot_be_saved_leaves_the_one_before(run):
    class Unsaved(keras.layers.Layer):
        def call(self, inputs):
            return inputs

        def save_own_variables(self, store):
            raise OSError(28, "No space left on device")

    run.save_best(model(1.0), NAMES)
    images = keras.Input((4, 6, 3))
    with pytest.raises(OSError, match="No space left"):
        run.save_best(keras.Model(images, Unsaved()(images)), NAMES)
    np.testing.assert_array_equal(keras.saving.load_model(run.best_model).layers[-1].kernel, np.ones((3, 2)))
    assert [item.name for item in run.path.iterdir() if "best" in item.name] == ["best.keras"]


NAMES = ["left", "right"]


def test_room_is_checked_against_what_is_free(run):
    run.check_room(1)
    with pytest.raises(OSError, match="1,000,000,000,000 MB needed") as failure:
        run.check_room(10**18)
    assert failure.value.errno == errno.ENOSPC


def test_history_is_read_as_it_was_written(run):
    assert run.rows() == []
    run.write_rows([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    assert run.history.read_text() == "epoch,loss\n1,0.5\n2,0.25\n"
    assert run.rows() == [{"epoch": "1", "loss": "0.5"}, {"epoch": "2", "loss": "0.25"}]


def test_a_run_is_complete_when_its_state_is_gone(run):
    assert not is_complete(run.path)
    (run.path / "metrics.json").write_text("{}")
    run.backup.mkdir()
    assert not is_complete(run.path)  # the figures are still to be drawn
    Path(run.backup).rmdir()
    assert is_complete(run.path)


def test_a_kill_while_the_state_is_removed_leaves_a_complete_run(run, monkeypatch):
    def killed(path, ignore_errors=False):
        for file in Path(path).glob("*"):
            file.unlink()
            raise KeyboardInterrupt

    (run.path / "metrics.json").write_text("{}")
    run.backup.mkdir()
    for name in ("head.finished.npz", "last block.finished.npz"):
        (run.backup / name).write_text("")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            run.remove_backup()
    assert is_complete(run.path)
    run.remove_backup()
    assert sorted(item.name for item in run.path.iterdir()) == ["config.json", "metrics.json"]


def test_a_file_of_a_run_is_whole_or_not_at_all(tmp_path):
    run, path = Run(tmp_path / "run"), tmp_path / "run" / "metrics.json"
    run.write("metrics.json", b"first")
    with path.open() as older:
        run.write("metrics.json", b"second")
        assert older.read() == "first"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))  # what a full disk does: ten bytes, then an error
    try:
        with pytest.raises(OSError, match="File too large"):
            run.write("metrics.json", b"longer than ten bytes")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"second"
    assert list(run.path.iterdir()) == [path]


def test_a_file_of_a_run_that_is_gone_is_an_error(tmp_path):
    run = Run(tmp_path / "run")
    run.path.rmdir()
    with pytest.raises(FileNotFoundError):
        run.write("metrics.json", b"")
