"""The trainings of an installed package: `tf_gradcam.training` is `training/`, without a clone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.wheel import unpacked_wheel
from tests.training.test_options import MOBILENET, PHANTOM

ROOT = Path(__file__).parents[2]
PROGRAMS = ("brain_mri", "demo_model", "dog_breeds", "summary")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed wheel of this checkout."""
    return unpacked_wheel(tmp_path_factory.mktemp("wheel"))


def python(words: list[str], path: Path, cwd: Path) -> str:
    """Return what a Python with `path` on its path and `cwd` as its folder prints; it must succeed."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(path)}
    done = subprocess.run([sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules(root: Path, folder: str) -> set[str]:
    return {path.relative_to(root / folder).as_posix() for path in (root / folder).rglob("*.py")}


def test_a_wheel_holds_the_package_and_the_trainings_and_no_other_name(installed: Path) -> None:
    assert modules(installed, "tf_gradcam/training") == modules(ROOT, "training")
    assert {name for name in modules(installed, "tf_gradcam") if not name.startswith("training/")} == modules(
        ROOT, "tf_gradcam"
    )
    assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == {"tf_gradcam"}


@pytest.mark.slow
def test_programs_of_a_wheel_show_commands_that_run_there(installed: Path, tmp_path: Path) -> None:
    """All in one process: an import of Keras takes seconds."""
    script = f"""
import contextlib, importlib, sys
sys.argv = ["program", "--help"]
for name in {PROGRAMS}:
    program = importlib.import_module("tf_gradcam.training." + name)
    with contextlib.suppress(SystemExit):
        program.main()
assert not [name for name in sys.modules if name.partition(".")[0] == "training"]
print(program.__file__)
"""
    printed = python(["-c", script], installed, tmp_path)
    assert printed.splitlines()[-1] == str(installed / "tf_gradcam" / "training" / "summary.py")
    assert "python -m tf_gradcam.training.dog_breeds --data phantom --out RUN" in printed
    assert "python -m tf_gradcam.training.brain_mri --data phantom --out RUN" in printed
    assert "python -m tf_gradcam.training.summary RUN" in printed
    assert "python -m training" not in printed


@pytest.mark.parametrize(
    "program", [pytest.param("dog_breeds", marks=pytest.mark.slow), pytest.param("brain_mri", marks=pytest.mark.soak)]
)
def test_a_training_of_a_wheel_is_the_one_of_a_clone(installed: Path, tmp_path: Path, program: str) -> None:
    """The configuration has no revision where there is no clone; all else is equal, the last digit of sums apart."""
    words = ["--epochs", *(["1"] if program == "brain_mri" else ["1", "1"]), *PHANTOM, *MOBILENET]
    clone = ["-m", f"training.{program}", *words, "--out", str(tmp_path / "clone")]
    python(clone, ROOT, ROOT)
    python(["-m", f"tf_gradcam.training.{program}", *words, "--out", "wheel"], installed, tmp_path)
    first, second = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("clone", "wheel"))
    assert second.pop("git") is None
    del first["git"]
    assert first == second
    first, second = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("clone", "wheel"))
    assert first["split"] == second["split"]
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-3)
    assert {path.name for path in (tmp_path / "wheel" / "figures").iterdir()} == {
        path.name for path in (tmp_path / "clone" / "figures").iterdir()
    }
    table = python(["-m", "tf_gradcam.training.summary", "wheel"], installed, tmp_path)
    assert table.count("\n") == 3
