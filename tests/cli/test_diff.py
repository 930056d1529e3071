"""The command `tf-gradcam diff`: what it prints and writes, and its exit status."""

import json

import pytest
from click.testing import CliRunner

from tests.diff.worlds import BLUE, GREENISH, PLAIN, folder, model
from tf_gradcam import describe
from tf_gradcam._cli.main import main

pytestmark = pytest.mark.core


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with old.keras, new.keras, whose evidence of one image moved, and photos/."""
    monkeypatch.chdir(tmp_path)
    for name, network in (("old.keras", model()), ("new.keras", model(green=3))):
        network.save(name)
        describe(name, class_names=["red", "blue"])
    folder(tmp_path, red_plain=PLAIN, red_greenish=GREENISH, blue_plain=BLUE)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, ["diff", *map(str, arguments)])


def test_prints_the_shares_and_writes_the_page(here):
    result = run("old.keras", "new.keras", "photos", "--out", "changes")
    assert result.exit_code == 0, result.output
    assert "answer changed: 0 of 3, 0.000" in result.stdout
    assert "evidence moved, answer the same: 1 of 3, 0.333" in result.stdout
    assert "accuracy: old 1.000" in result.stdout
    assert json.loads((here / "changes" / "diff.json").read_text())["moved"]["value"] == pytest.approx(1 / 3)
    assert (here / "changes" / "index.html").stat().st_size > 10_000


def test_a_broken_picture_ends_with_1_and_wrong_use_with_2(here):
    (here / "photos" / "red" / "broken.png").write_bytes(b"no picture")
    result = run("old.keras", "new.keras", "photos", "--copies", 1)
    assert result.exit_code == 1
    assert "not compared: 1, the first: " in result.stdout
    result = run("old.keras", "old.keras", "nowhere")
    assert result.exit_code == 2
    assert "nowhere" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_condition_that_holds_ends_with_3(here):
    given = ("old.keras", "new.keras", "photos", "--junit", "gate.xml")
    result = run(*given, "--fail-on", "changed,moved>0.2,similarity<0.5")
    assert result.exit_code == 3, result.output
    assert result.stdout.count("FAILED") == 1
    assert "FAILED moved>0.2: moved is 0.3333" in result.stdout
    assert 'failures="1"' in (here / "gate.xml").read_text()
    result = run(*given, "--copies", 1, "--fail-on", "changed>0.05,moved.low>0.9")
    assert result.exit_code == 0, result.output
    assert "PASSED changed>0.05, moved.low>0.9" in result.stdout
    result = run(*given, "--fail-on", "shortcut")
    assert result.exit_code == 2
    assert "Unknown quantity 'shortcut'" in result.stderr
