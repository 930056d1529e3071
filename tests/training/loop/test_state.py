"""A killed training that is started again ends as the one that nobody killed, in every bit."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.helpers.killing import Killed, watched
from tests.helpers.resuming import STAGES, TRAINING, learn, network, write_pictures
from training.loop.fit import _trainer
from training.loop.state import KeepState, StageState

# Numbers of the writes of the run below: files that are opened to be written, or renamed; fewer if an epoch is not the
# best.
WRITES = range(1, 38)


def die() -> None:
    raise Killed


def history(folder: Path) -> list[list[str]]:
    """Return the history without its times."""
    with open(folder / "run" / "history.csv", newline="") as file:
        return [row[:7] for row in csv.reader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, list[np.ndarray], list[str]]:
    """A run that nobody killed: its folder, its weights and what it wrote.

    `before N/` is its folder as it was before write N: what a process leaves that dies there.
    """
    folder = tmp_path_factory.mktemp("whole")
    write_pictures(folder / "pictures")
    with watched(folder / "run", lambda now: shutil.copytree(folder / "run", folder / f"before {now}")) as writes:
        weights = learn(folder)
    return folder, weights, writes


def check_resumed(folder: Path, whole: tuple[Path, list[np.ndarray], list[str]], **options) -> None:
    weights = learn(folder, **options)
    assert history(folder) == history(whole[0])
    for expected, actual in zip(whole[1], weights, strict=True):
        np.testing.assert_array_equal(actual, expected)


def started(whole, folder: Path) -> Path:
    shutil.copytree(whole[0] / "pictures", folder / "pictures")
    return folder


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("step 5", marks=pytest.mark.slow),  # the first one of the last block
        pytest.param("step 2", marks=pytest.mark.slow),
        pytest.param("step 4", marks=pytest.mark.slow),
        pytest.param("step 8", marks=pytest.mark.slow),
        pytest.param("epoch 1", marks=pytest.mark.slow),
        pytest.param("epoch 4", marks=pytest.mark.slow),  # all is written but for its state
        pytest.param("write 20", marks=pytest.mark.slow),
    ],
)
def test_a_training_killed_at_any_point_ends_as_the_whole_one(point, whole, tmp_path):
    """Two stages with augmentation, dropout, batch normalisation, Adam and a falling rate."""
    folder = started(whole, tmp_path)
    with pytest.raises(Killed):
        learn(folder, point=point, kill=die)
    check_resumed(folder, whole)


@pytest.mark.parametrize(
    "number",
    [25, *(pytest.param(n, marks=pytest.mark.slow if n % 3 == 1 else pytest.mark.soak) for n in WRITES if n != 25)],
)
def test_a_training_killed_at_any_write_ends_as_the_whole_one(number, whole, tmp_path):
    assert 20 <= len(whole[2]) <= len(WRITES)
    if number > len(whole[2]):
        pytest.skip(f"the run has {len(whole[2])} writes")
    folder = started(whole, tmp_path)
    shutil.copytree(whole[0] / f"before {number}", folder / "run")
    check_resumed(folder, whole)


@pytest.mark.slow
def test_a_training_on_kept_features_ends_as_the_whole_one_too(tmp_path):
    """Killed in each stage, while features are computed, and while a state is written."""
    folders = {name: tmp_path / name for name in ("whole", "killed")}
    for folder in folders.values():
        write_pictures(folder / "pictures")
    expected = learn(folders["whole"], features=True)
    kills = 0
    for point in ("write 3", "step 3", "write 1", "epoch 1", "write 20", "step 1", "epoch 1"):
        with pytest.raises(Killed):
            learn(folders["killed"], point=point, kill=die, features=True)
        kills += 1
    check_resumed(folders["killed"], (folders["whole"], expected, []), features=True)
    assert kills == 7


@pytest.mark.slow
def test_a_state_that_was_being_written_does_not_count(whole, tmp_path, capsys):
    """As after SIGKILL, the file without its name is cut off; the epoch before it counts."""
    folder = started(whole, tmp_path)
    with pytest.raises(Killed):
        learn(folder, point="epoch 2", kill=die)
    state = folder / "run" / "backup" / "head.npz"
    (state.parent / ".head.npz").write_bytes(state.read_bytes()[:100])
    capsys.readouterr()
    check_resumed(folder, whole)
    assert "head: continues after epoch 1\n" in capsys.readouterr().out


PICTURES = np.random.default_rng(0).uniform(0, 255, (8, 6, 10, 3)).astype(np.float32), np.arange(8) % 2


def trainer(precision: str = "float32", seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(precision)
    model = network()
    keras.config.set_dtype_policy("float32")
    return _trainer(model, STAGES[1], replace(TRAINING, precision=precision), 2, seed)


def trained(folder: Path, precision: str = "float32") -> keras.Model:
    """Train a model, and write its state."""
    made = trainer(precision)
    made.fit(*PICTURES, batch_size=4, verbose=0)
    StageState(folder, "stage").save(made, 1)
    return made


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("backup")
    trained(folder)
    return folder / "stage.npz"


@pytest.mark.parametrize("precision", ["float32", pytest.param("mixed_float16", marks=pytest.mark.slow)])
def test_a_state_holds_all_that_a_step_changes(precision, tmp_path):
    """Two steps from the same state end in the same variables, down to the counters of the optimizer."""
    first, again = trained(tmp_path, precision), trainer(precision, seed=5)
    before = [each.numpy() for each in again.variables]
    assert StageState(tmp_path, "stage").restore(again) == (1, False)
    for model in (first, again):
        model.fit(*PICTURES, batch_size=4, shuffle=False, verbose=0)
    for expected, actual in zip(first.variables, again.variables, strict=True):
        np.testing.assert_array_equal(actual.numpy(), expected.numpy(), err_msg=expected.path)
    for expected, actual in zip(first.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(actual.numpy(), expected.numpy(), err_msg=expected.path)
    assert not all(map(np.array_equal, before, [each.numpy() for each in again.variables]))
    assert [each.name for each in first.variables].count("seed_generator_state") == 4  # mirror, turn, two dropouts
    counted = {each.name: int(each.numpy()) for each in again.optimizer.variables if each.name == "step_counter"}
    assert counted == ({"step_counter": 4} if precision == "mixed_float16" else {})  # since the last overflow


@pytest.mark.parametrize("kind", ["empty", "cut", "bits", "shapes", "other"])
def test_a_damaged_state_is_named_and_the_stage_can_begin_anew(kind, kept, tmp_path):
    file, again = tmp_path / "stage.npz", trainer(seed=5)
    content = bytearray(kept.read_bytes())
    if kind == "bits":
        content[len(content) // 2] ^= 255
    file.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "bits": content}.get(kind, b""))
    if kind == "shapes":
        np.savez(file, about="[1, 0]", **{"0": np.zeros(3)})
    if kind == "other":
        np.savez(file, other=np.zeros(3))
    before = [each.numpy() for each in again.variables]
    with pytest.raises(ValueError, match=r"stage\.npz' is damaged: expected the state of a stage.*or remove it: then"):
        StageState(tmp_path, "stage").restore(again)
    file.unlink()
    assert StageState(tmp_path, "stage").restore(again) == (0, False)
    for expected, actual in zip(before, again.variables, strict=True):
        np.testing.assert_array_equal(actual.numpy(), expected)


@pytest.mark.slow
def test_a_training_that_was_stopped_early_stays_stopped(whole, tmp_path):
    """Killed between the last epoch's state and the end of the stage."""

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs=None) -> None:
            self.model.stop_training = True

    first, state = trainer(), StageState(tmp_path, "stage")
    first.fit(*PICTURES, epochs=3, verbose=0, callbacks=[Stop(), KeepState(state)])
    assert state.restore(trainer()) == (1, True)


def test_a_worker_that_is_not_the_chief_has_no_files(tmp_path):
    made, state = trainer(), StageState(tmp_path / "backup", "stage", is_chief=False)
    state.save(made, 1)
    state.finish(made)
    assert not state.has_begun
    assert not (tmp_path / "backup").exists()
