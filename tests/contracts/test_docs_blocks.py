"""Every block of code on the README and in the manual does what it says: run where that takes seconds, else parsed.

The blocks of Python of a page run in order, in one namespace and in a folder with the files that the pages name. A
comment before a block says otherwise: `<!-- python: slow -->` for a block of the slow run, `<!-- python: with NAME -->`
for a block that runs by itself, with the names that a set-up of this module gives it.
"""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import keras
import numpy as np
import pytest
from click.testing import CliRunner

from tests.contracts.pages import README, ROOT, TEXTS, Block, blocks, command_block, commands
from tests.helpers.own_code import write_own_model
from tests.helpers.redblue import red_blue_model, red_blue_photo, write_photo
from tests.helpers.redblue_tasks import of_logit, of_pair, of_value, with_head
from tests.helpers.repairs import world
from tests.zoo.detectors import scenes, trained
from tests.zoo.tasks import REGIONS, segmentation, shapes
from tests.zoo.transformers import pictures, vit
from tf_gradcam import describe
from tf_gradcam._cli.main import main
from tf_gradcam.image import load_image, save_image

PYTHON = blocks("python")
COMMANDS = commands()
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages name, all of the model that one can do in one's head."""
    monkeypatch.chdir(tmp_path)
    model = red_blue_model(size=(48, 80))
    for name in ("my_model.keras", "theirs.keras", "best.keras", "old.keras", "new.keras", "RUN/best.keras"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        model.save(tmp_path / name)
    _, code = write_own_model(tmp_path, "gated.keras", "layers.py")
    for name in ("blocks.py", "my_package/layers.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code.read_text())
    (tmp_path / "names.txt").write_text("beagle\nwolf\n")
    image, age = keras.Input((48, 80, 3), name="image"), keras.Input((1,), name="age")
    keras.Model([image, age], keras.ops.softmax(model(image) * age)).save(tmp_path / "patients.keras")
    (tmp_path / "patients.csv").write_text("file,age\na.png,62\nb.jpg,30\n")
    photo = red_blue_photo(8)
    for name in ("dog.jpg", "IMAGE", "photos/a.png", "photos/b.jpg"):
        write_photo(tmp_path, name, photo)
    for number in range(6):
        for column, label in ((6, "beagle"), (3, "wolf")):
            write_photo(tmp_path / "data" / label, f"{number}.png", red_blue_photo(8, columns=column))
    return tmp_path


# Python.


def published_vgg() -> dict[str, Any]:
    """The names of VGG16's last layers and its number of classes."""
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
    return {"img_array": np.random.default_rng(0).random((1, 32, 32, 3), np.float32), "model": model}


def transformer() -> dict[str, Any]:
    """A vision transformer with a class token, and two pictures for it."""
    return {"model": vit(), "images": pictures()}


def small_network() -> dict[str, Any]:
    """A compiled network of one convolution, and pictures to train it on."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((16, 24, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    images = np.random.default_rng(0).uniform(0, 255, (16, 16, 24, 3)).astype(np.float32)
    labels = np.arange(16) % 2
    return {
        "model": model,
        "x_train": images,
        "y_train": labels,
        "x_val": images,
        "y_val": labels,
        "class_names": ["beagle", "wolf"],
    }


def tiny_detector() -> dict[str, Any]:
    """A trained detector of two shapes, two pictures for it, and the first of them as a photo."""
    images = scenes(2, seed=9, classes=(0, 1)).images
    return {"model": trained(), "images": images, "photo": np.rint(images[0] * 255.0).astype(np.uint8)}


def tiny_unet() -> dict[str, Any]:
    """A trained U-Net of three shapes, and two pictures for it."""
    photos = shapes(2, seed=9, there=(0, 1, 2)).images
    return {"model": segmentation(), "images": photos.astype(np.float32), "photos": photos}


def tiny_binary() -> dict[str, Any]:
    """A compiled model of one sigmoid unit, one of its logit, pictures and the class of each."""
    size = (48, 80)
    model = of_pair(size)
    model.compile("sgd", "binary_crossentropy")
    photos = np.stack([red_blue_photo(8, columns=columns) for columns in (4, 6, 2)])
    names = {"model": model, "logit_model": of_logit(size), "photos": photos, "labels": np.array([1, 1, 0])}
    return {**names, "images": photos.astype(np.float32)}


def tiny_multilabel() -> dict[str, Any]:
    """A compiled model of three labels, pictures and the labels of each."""
    size = (48, 80)
    model = with_head(3, "sigmoid", [[10, 0, 5], [0, 10, 5]], [-2, -2, -2], size)
    model.compile("sgd", "binary_crossentropy")
    photos = np.stack([red_blue_photo(8, columns=columns) for columns in (4, 10, 0)])
    labels = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 0]])
    return {"model": model, "images": photos.astype(np.float32), "photos": photos, "labels": labels}


def tiny_regression() -> dict[str, Any]:
    """A compiled model of a value, pictures and the value of each."""
    model = of_value((48, 80))
    model.compile("sgd", "mse")
    photos = np.stack([red_blue_photo(8, columns=columns) for columns in (4, 10, 0)])
    return {"model": model, "images": photos.astype(np.float32), "photos": photos, "values": np.array([1.0, 8.0, -4.0])}


def segmented_folder() -> dict[str, Any]:
    """A trained U-Net of three shapes, and pictures and masks of them in the current folder."""
    scene = shapes(4, seed=9)
    for number, (photo, mask) in enumerate(zip(scene.images, scene.masks, strict=True)):
        for name, picture in (("pictures", photo), ("masks", np.repeat(mask[..., None].astype(np.uint8), 3, axis=2))):
            Path(name).mkdir(exist_ok=True)
            save_image(Path(name) / f"{number}.png", picture)
    return {"model": segmentation(), "names": REGIONS}


def planted_report() -> dict[str, Any]:
    """A model that learned a planted square, its data and the report of its audit in the current folder."""
    shutil.rmtree("data")
    world(Path())
    return {}


def keras_hub_task() -> dict[str, Any]:
    """A classifier of keras_hub with its preprocessor, and pictures for it."""
    pytest.importorskip("keras_hub", reason="keras_hub is not installed: pip install keras-hub")
    from tests.zoo.keras_hub import SHAPE, classifier_with_preprocessor

    photos = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), dtype=np.uint8)
    return {"task": classifier_with_preprocessor(scale=1 / 200), "photos": photos}


SETUPS: dict[str, Callable[[], dict[str, Any]]] = {
    "keras_hub_task": keras_hub_task,
    "published_vgg": published_vgg,
    "transformer": transformer,
    "small_network": small_network,
    "planted_report": planted_report,
    "tiny_detector": tiny_detector,
    "tiny_unet": tiny_unet,
    "segmented_folder": segmented_folder,
    "tiny_binary": tiny_binary,
    "tiny_multilabel": tiny_multilabel,
    "tiny_regression": tiny_regression,
}
SLOW = "python: slow"


def setup_of(block: Block) -> str | None:
    return block.mark.removeprefix("python: with ") if block.mark.startswith("python: with ") else None


def run(block: Block, names: dict[str, Any]) -> None:
    code = "\n" * (block.line - 1) + block.text  # so that a traceback names the line of the page
    exec(compile(code, block.page, "exec"), names)


def name_of(block: Block) -> str:
    return f"{block.page}:{block.line}"


def test_marks_of_python_blocks_are_known() -> None:
    assert {block.mark for block in PYTHON} <= {"", SLOW, *(f"python: with {name}" for name in SETUPS)}


def run_page(page: str, is_slow: bool) -> dict[str, Any]:
    """Run the blocks of a page that have no set-up of their own; return the names that they leave."""
    keras.utils.set_random_seed(0)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in PYTHON:
        if block.page == page and setup_of(block) is None and (is_slow or block.mark != SLOW):
            run(block, names)
    return names


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({block.page for block in PYTHON if block.mark == ""}))
def test_python_of_the_page_runs(here: Path, page: str) -> None:
    run_page(page, is_slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({block.page for block in PYTHON if block.mark == SLOW}))
def test_slow_python_of_the_page_runs(here: Path, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("pyarrow", "sklearn", "scipy", "jinja2"):
        pytest.importorskip(package, reason="the extra audit is not installed")
    result = run_page(page, is_slow=True)["result"]
    assert (here / "report" / "index.html").stat().st_size > 10_000
    # The photos of a class are all alike, so what it is recognised by is drawn the same in each.
    assert capsys.readouterr().out.splitlines() == [finding.sentence for finding in result.shortcuts] != []


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in PYTHON if setup_of(block)], ids=name_of)
def test_python_with_a_setup_runs(here: Path, block: Block) -> None:
    keras.utils.set_random_seed(0)
    run(block, SETUPS[setup_of(block) or ""]())


def test_first_example_makes_the_picture(here: Path) -> None:
    run_page(README.name, is_slow=False)
    assert (here / "dog.cam.png").stat().st_size > 10_000


def test_published_calls_make_the_picture(here: Path) -> None:
    (block,) = [block for block in PYTHON if setup_of(block) == "published_vgg"]
    names = published_vgg()
    run(block, names)
    assert names["heatmap"].shape == (30, 30)
    assert load_image(here / "cam.jpg").shape == (48, 80, 3)


@pytest.mark.parametrize("block", PYTHON, ids=name_of)
def test_python_imports_public_names_only(block: Block) -> None:
    compile(block.text, block.page, "exec")
    public = ("targets", "callbacks", "audit", "demo", "guidance", "image", "metrics", "repair")
    for module in re.findall(r"^(?:from|import) (tf_gradcam[\w.]*)", block.text, flags=re.M):
        assert module == "tf_gradcam" or module.removeprefix("tf_gradcam.") in public


def test_lines_of_python_fit_on_the_page() -> None:
    long = [(name_of(block), line) for block in PYTHON for line in block.text.splitlines() if len(line) > 100]
    assert long == []


def test_no_page_scales_photographs_by_hand() -> None:
    """The scaling that a model expects is for `explain` to read, and [0, 1] is wrong for many."""
    assert [name_of(block) for block in PYTHON if re.search(r"/\s*255", block.text)] == []


def test_members_in_sentences_exist() -> None:
    from tf_gradcam import Explainer

    model = red_blue_model()
    explainer = Explainer(model)
    explanation = explainer(red_blue_photo()[None].astype(np.float32))
    owners = {"explanation": explanation, "explainer": explainer}
    for page, text in TEXTS.items():
        for owner, member in re.findall(r"`(explanation|explainer)\.(\w+)", text):
            assert hasattr(owners[owner], member), f"{page}: {owner}.{member}"


def test_targets_of_the_table_exist() -> None:
    from tf_gradcam import targets

    named = re.findall(r"^\| `([A-Z]\w+)\(", TEXTS["docs/layers-and-targets.md"], flags=re.M)
    assert len(named) >= 12
    assert [name for name in named if not hasattr(targets, name)] == []


# Commands.


def test_every_line_of_shell_is_of_a_known_program() -> None:
    known = (
        "tf-gradcam",
        "pip install",
        "python3 -m venv",
        "git clone",
        "python -m training.",
        "python -m tf_gradcam.training.",  # the same programs, of an installed package
        "python -m benchmarks",
        "python -m pytest",
        "tensorboard --logdir",
    )
    variable = re.compile(r'\w="')
    assert [line for _, line in COMMANDS if not line.startswith(known) and not variable.match(line)] == []


RUN = ("layers", "methods")
NOT_HERE = re.compile("--model (VGG16|hub:)")  # a download


def of_the_program() -> list[Any]:
    """Return the commands of the pages; a detector takes seconds to train."""
    lines = sorted({line for _, line in COMMANDS if line.startswith("tf-gradcam")})
    return [pytest.param(line, marks=[pytest.mark.slow] * ("my_detector" in line)) for line in lines]


@pytest.mark.parametrize("line", of_the_program())
def test_command_is_understood(here: Path, line: str) -> None:
    """Run, except for commands that download, serve or take long."""
    words = shlex.split(line, comments=True)[1:]
    if "my_detector.keras" in words:
        setup = tiny_detector()
        setup["model"].save(here / "my_detector.keras")
        save_image(here / "dog.jpg", setup["photo"])
    if "my_unet.keras" in words:
        setup = tiny_unet()
        setup["model"].save(here / "my_unet.keras")
        (here / "regions.txt").write_text("\n".join(REGIONS))
        for number, photo in enumerate(setup["photos"]):
            save_image(here / "photos" / f"{number}.png", photo)
    if "my_pair.keras" in words:
        tiny_binary()["model"].save(here / "my_pair.keras")
        describe(here / "my_pair.keras", class_names=["black disc", "white square"])
    if "my_labels.keras" in words:
        tiny_multilabel()["model"].save(here / "my_labels.keras")
        describe(here / "my_labels.keras", class_names=["red square", "blue disc", "green bar"])
    if "my_age.keras" in words:
        tiny_regression()["model"].save(here / "my_age.keras")
        for number, name in enumerate(("me.jpg", "mother.jpg")):
            write_photo(here, name, red_blue_photo(8, columns=4 + number))
    if (words[0] == "explain" and not NOT_HERE.search(line)) or words[0] in RUN:
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        return
    command = main.commands[words[0]]
    assert isinstance(command, click.Command)
    command.make_context(words[0], words[1:])  # an unknown word, or a file that is not there, is an error


@pytest.mark.slow
def test_first_command_makes_the_picture(here: Path) -> None:
    (line,) = [line for line in command_block("demo").splitlines() if line.startswith("tf-gradcam")]
    done = CliRunner().invoke(main, shlex.split(line)[1:])
    assert done.exit_code == 0, done.output
    assert len(list((here / "demo").iterdir())) >= 1


def test_commands_in_sentences_exist() -> None:
    for page, text in TEXTS.items():
        for name, rest in re.findall(r"`tf-gradcam (\w+)([^`\n]*)`", text):
            assert name in main.commands, f"{page}: tf-gradcam {name}"
            options = {option for parameter in main.commands[name].params for option in parameter.opts}
            assert set(re.findall(r"--[\w-]+", rest)) <= options, f"{page}: tf-gradcam {name}{rest}"


class ParsedError(Exception):
    """The program has parsed its arguments and would begin its work."""


PROGRAMS = re.compile(r"python -m (?:training|benchmarks)\b|python examples/")


def without_variables(page: str, line: str) -> str:
    """Return a command with the values of the page's variables, `M="..."`, in place of `$M`: the last ones first,
    as a variable may name an earlier one."""
    for at, other in reversed(COMMANDS):
        variable = re.fullmatch(r'(\w)="(.*)"', other)
        if at == page and variable:
            line = line.replace(f"${variable[1]}", variable[2])
    return line


def program_lines() -> list[str]:
    """Return the commands of this repository's programs: lines of blocks, and whole commands in sentences."""
    lines = [without_variables(page, line) for page, line in COMMANDS]
    lines += [found for text in TEXTS.values() for found in re.findall(r"`(python [^`\n]+)`", text)]
    return sorted({line.split("  #")[0].strip() for line in lines if PROGRAMS.match(line) and " ..." not in line})


@pytest.mark.parametrize("line", program_lines())
def test_program_is_understood(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def parsed(self: argparse.ArgumentParser, *arguments: Any, **options: Any) -> None:
        parse(self, *arguments, **options)  # wrong use ends the program
        raise ParsedError

    words = shlex.split(line, comments=True)[1:]
    is_module = words[0] == "-m"
    name, arguments = (words[1], words[2:]) if is_module else (words[0], words[1:])
    if name == "examples/all_methods.py":  # takes a path and no options
        assert (ROOT / name).is_file()
        return
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    execute = runpy.run_module if is_module else runpy.run_path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the module may be imported already
        with pytest.raises(ParsedError):
            execute(name if is_module else str(ROOT / name), run_name="__main__")


PROSE = sorted(
    {found for text in TEXTS.values() for found in re.findall(r"python -m ((?:training|benchmarks)[.\w]*)", text)}
)


@pytest.mark.parametrize("name", PROSE)
def test_program_exists(name: str) -> None:
    path = ROOT / name.replace(".", "/")
    assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


@pytest.mark.parametrize("line", sorted({line for _, line in COMMANDS if line.startswith("python -m pytest")}))
def test_pytest_command_names_folders_and_markers_that_exist(line: str) -> None:
    words = shlex.split(line, comments=True)[3:]
    assert [word for word in words if word.startswith("tests/") and not (ROOT / word).exists()] == []
    expressions = [words[number + 1] for number, word in enumerate(words) if word == "-m"]
    markers = {word for expression in expressions for word in re.findall(r"\w+", expression)} - {"or", "and", "not"}
    assert markers <= set(re.findall(r'^    "(\w+): ', PYPROJECT, flags=re.M))


def test_extras_exist() -> None:
    extras = set(re.findall(r"^(\w+) = \[", PYPROJECT, flags=re.M))
    named = {
        extra
        for text in TEXTS.values()
        for found in re.findall(r"\"\.\[([\w,]+)\]\"", text)
        for extra in found.split(",")
    }
    assert named
    assert named <= extras


def test_files_that_the_set_up_names_exist() -> None:
    for _, line in COMMANDS:
        for name in re.findall(r"-c (\S+\.txt)", line):
            assert (ROOT / name).is_file()


def test_ci_runs_the_second_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "command: tests" in script
