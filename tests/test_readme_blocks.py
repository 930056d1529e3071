"""Every code block of the README does what it says: run where that takes seconds, else read as its program reads it."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import click
import keras
import numpy as np
import pytest
from click.testing import CliRunner

from tests.helpers.redblue import red_blue_model, red_blue_photo, write_photo
from tf_gradcam._cli.main import main
from training import brain_mri, command, dog_breeds

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.S | re.M)
PYTHON = [block for kind, block in BLOCKS if kind == "python"]
SHELL = [block for kind, block in BLOCKS if kind == "sh"]
COMMANDS = [
    line for kind, block in BLOCKS if kind == "text" for line in block.splitlines() if not re.match(r"[@ }]", line)
]
EXTRAS = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), flags=re.M)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the README names, all of the model that one can do in one's head."""
    monkeypatch.chdir(tmp_path)
    model = red_blue_model(size=(48, 80))
    for name in ("my_model.keras", "best.keras", "RUN/best.keras"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        model.save(tmp_path / name)
    (tmp_path / "names.txt").write_text("red\nblue\n")
    photo = red_blue_photo(8)
    for name in ("dog.jpg", "IMAGE", "photos/a.png", "photos/b.jpg"):
        write_photo(tmp_path, name, photo)
    for number in range(6):
        for column, label in ((6, "red"), (3, "blue")):
            write_photo(tmp_path / "data" / label, f"{number}.png", red_blue_photo(8, columns=column))
    return tmp_path


def published_vgg() -> keras.Model:
    """The names of VGG16's last layers, and as many classes."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(4, 3, activation="relu", name="block5_conv3"),
            layers.MaxPooling2D(name="block5_pool"),
            layers.Flatten(name="flatten"),
            layers.Dense(8, "relu", name="fc1"),
            layers.Dense(8, "relu", name="fc2"),
            layers.Dense(1000, activation="softmax", name="predictions"),
        ]
    )
    model.layers[0].set_weights([np.abs(weights) for weights in model.layers[0].get_weights()])
    return model


def test_three_lines_of_python_make_the_picture(here: Path) -> None:
    layers = red_blue_model(size=(224, 224)).layers[1:]  # without its own division by 255
    keras.Sequential([keras.Input((224, 224, 3)), *layers]).save(here / "my_model.keras")
    names: dict[str, Any] = {}
    exec(compile(PYTHON[0], "README.md", "exec"), names)
    assert names["explanation"].heatmaps.shape == (1, 224, 224)
    assert (here / "dog.cam.png").stat().st_size > 10_000


def test_published_calls_run(here: Path) -> None:
    images = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    names: dict[str, Any] = {"img_array": images, "model": published_vgg()}
    exec(compile(PYTHON[1], "README.md", "exec"), names)
    assert names["heatmap"].shape == (30, 30)
    assert (here / "cam.jpg").stat().st_size > 1000


@pytest.mark.slow
def test_audit_in_python_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("pyarrow", "sklearn", "scipy", "jinja2"):
        pytest.importorskip(package, reason="the extra audit is not installed")
    exec(compile(PYTHON[2], "README.md", "exec"), {})
    assert (here / "report" / "index.html").stat().st_size > 10_000
    assert capsys.readouterr().out == ""  # all that these photos have is what their classes are


def test_every_python_block_is_run() -> None:
    assert len(PYTHON) == 3


@pytest.mark.slow
def test_first_command_makes_the_picture(here: Path) -> None:
    (line,) = [line for line in SHELL[0].splitlines() if line.startswith("tf-gradcam")]
    done = CliRunner().invoke(main, shlex.split(line)[1:])
    assert done.exit_code == 0, done.output
    assert len(list((here / "demo").iterdir())) >= 1


def test_files_that_the_set_up_names_exist() -> None:
    for block in SHELL:
        for name in re.findall(r"-c (\S+\.txt)", block):
            assert (ROOT / name).is_file()


RUN = ("layers", "methods")
NOT_HERE = "--model VGG16"  # a download


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("tf-gradcam")])
def test_command_line_is_understood(here: Path, line: str) -> None:
    """Run, but for what downloads, serves or takes long."""
    words = shlex.split(line, comments=True)[1:]
    if (words[0] == "explain" and NOT_HERE not in line) or words[0] in RUN:
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        return
    chosen = main.commands[words[0]]
    assert isinstance(chosen, click.Command)
    chosen.make_context(words[0], words[1:])  # a word that is not known, or a file that is not there, is an error


def test_every_line_of_the_text_blocks_is_tested() -> None:
    known = ("tf-gradcam", "pip install", "python -m training.", "python -m benchmarks", 'M="')
    assert [line for line in COMMANDS if not line.startswith(known)] == []


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("pip")])
def test_extra_exists(line: str) -> None:
    (extras,) = re.findall(r"\.\[([\w,]+)\]", line)
    assert set(extras.split(",")) <= set(EXTRAS)


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("python -m training.")])
def test_training_is_understood(line: str) -> None:
    (common,) = [one.removeprefix("M=") for one in COMMANDS if one.startswith("M=")]
    words = shlex.split(line.replace("$M", *shlex.split(common)), comments=True)[2:]
    module = {"training.brain_mri": brain_mri, "training.dog_breeds": dog_breeds}[words[0]]
    options = command.parser("", module.DATA, module.TRAINING).parse_args(words[1:])
    assert options.data
    assert options.out


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("python -m benchmarks")])
def test_benchmark_is_understood(line: str) -> None:
    program = importlib.import_module("benchmarks.__main__")
    program._parser().parse_args(shlex.split(line, comments=True)[3:])


INLINE = sorted(set(re.findall(r"`python -m ((?:training|benchmarks)[.\w]*)", README)))


@pytest.mark.parametrize("name", INLINE)
def test_program_in_a_sentence_exists(name: str) -> None:
    path = ROOT / name.replace(".", "/")
    assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
