"""`tf-gradcam audit --fail-on`: exit statuses, what is refused before the work, and the JUnit file."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import click.testing
import keras
import numpy as np
import pytest

from tf_gradcam._cli.main import main
from tf_gradcam.image.io import save_image


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers "red" or "blue" by the brighter colour, and three files, of which one has another label."""
    root = tmp_path_factory.mktemp("gated")
    inputs = keras.Input((8, 10, 3))
    maps = keras.layers.Conv2D(2, 1, use_bias=False, name="conv")(inputs)
    outputs = keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(maps))
    model = keras.Model(inputs, outputs)
    model.layers[1].set_weights([np.array([[[[0.02, 0], [0, 0], [0, 0.02]]]], np.float32)])
    model.save(root / "model.keras")
    generator = np.random.default_rng(0)
    for number, (name, colour) in enumerate([("red", 0), ("red", 2), ("blue", 2)]):
        photo = generator.integers(0, 60, (8, 10, 3), dtype=np.uint8)
        photo[..., colour] += 180
        (root / "data" / name).mkdir(parents=True, exist_ok=True)
        save_image(root / "data" / name / f"{number}.png", photo)
    return root


def run(given: Path, out: Path, *options: object) -> click.testing.Result:
    names = given / "names.txt"
    names.write_text("red\nblue\n")
    fixed = ("--model", given / "model.keras", "--class-names", names, "--preprocess", "raw", "--num-images", 0)
    arguments = map(str, ("audit", given / "data", *fixed, "--no-sanity", "--out", out, *options))
    return click.testing.CliRunner().invoke(main, list(arguments))


def test_held_condition_exits_with_3_and_is_a_failure_of_the_junit_file(given: Path, tmp_path: Path) -> None:
    junit = tmp_path / "results" / "gate.xml"
    told = run(given, tmp_path / "out", "--fail-on", "accuracy<0.9,shortcut", "--junit", junit)
    assert told.exit_code == 3, told.output
    assert [line for line in told.stdout.splitlines() if line.startswith("FAILED")] == [
        "FAILED accuracy<0.9: accuracy is 0.6667 (0.2077 to 0.9385)"  # 2 of 3: Wilson's interval
    ]
    failed = [case.get("name") for case in ElementTree.parse(junit).iter("testcase") if len(case)]
    assert failed == ["accuracy<0.9"]


def test_passed_conditions_exit_with_0(given: Path, tmp_path: Path) -> None:
    told = run(given, tmp_path / "out", "--fail-on", "accuracy<0.6,failed")
    assert told.exit_code == 0, told.output
    assert "PASSED accuracy<0.6, failed\n" in told.stdout


def test_held_condition_counts_more_than_a_failed_image(given: Path, tmp_path: Path) -> None:
    broken = given / "data" / "blue" / "broken.png"
    broken.write_bytes(b"no picture")
    try:
        assert run(given, tmp_path / "out", "--fail-on", "failed>0.5").exit_code == 1
        assert run(given, tmp_path / "out", "--fail-on", "failed").exit_code == 3
    finally:
        broken.unlink()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fail-on", "acuracy<0.9"), "Unknown quantity 'acuracy'"),
        (("--fail-on", "accuracy"), "Expected a limit"),
        (("--fail-on", "energy<0.5"), "'energy<0.5', which needs boxes or masks of the objects"),
        (("--fail-on", "sanity"), "'sanity', which needs the sanity checks"),
        (("--fail-on", "error>2"), "'error>2', which needs the task regression"),
        (("--junit", "gate.xml"), "Give them with --fail-on"),
        (("--fail-on", "shortcut", "--junit", "{data}"), "is a directory"),
        (("--fail-on", "shortcut", "--junit", "{model}/gate.xml"), "Cannot write to the folder"),
    ],
)
def test_wrong_use_exits_with_2_before_anything_is_written(
    given: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    filled = [option.format(data=given / "data", model=given / "model.keras") for option in options]
    told = run(given, tmp_path / "out", *filled)
    assert told.exit_code == 2
    assert message in told.stderr
    assert not (tmp_path / "out").exists()
