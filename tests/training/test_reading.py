"""Files that a training reads: damaged ones and pipes are one line, at once."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training import brain_mri
from training.config import DataConfig, Stage, TrainingConfig, random_defaults
from training.data.archive import fetch
from training.data.folder import Samples
from training.data.split import without
from training.loop.run_folder import METRICS, Run
from training.reading import check_regular, read_object, read_rows
from training.summary import read_run

TRAINING = TrainingConfig("MobileNet", (Stage("head", 2, 0, 1e-3),))
DAMAGED = ["{}", "[]", "null", "", "{", '{"data": {}}', '{"data": [], "training": {}}', "[" * 10**5, '"\\ud800"']


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path / "run")
    made.write_config(DataConfig("photos"), TRAINING)
    return made


def samples(folder: Path) -> Samples:
    return Samples(folder, (folder / "a" / "1.png", folder / "a" / "2.png"), np.zeros(2, np.int32), ("a",))


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_settings_of_a_run_are_called_that(run: Run, text: str) -> None:
    (run.path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config.json' is damaged: expected a JSON object with data, training\. Rest"):
        Run(run.path, resume=True).check_config(DataConfig("photos"), TRAINING)


@pytest.mark.parametrize("text", [*DAMAGED, '{"accuracy": 1.0, "loss": "low", "split": {}}'])
def test_damaged_metrics_of_a_run_are_called_that(run: Run, text: str) -> None:
    (run.path / "metrics.json").write_text(text)
    for read in (lambda: read_object(run.path / "metrics.json", METRICS), lambda: read_run(run.path)):
        with pytest.raises(ValueError, match=r"metrics.json' is damaged: expected a JSON object with accuracy, loss"):
            read()


@pytest.mark.parametrize(
    "text", ["a,b\n1,2\n", "stage,epoch\nhead,1\n", "epoch,loss\n1,low\n", "epoch,loss\n1\n", "epoch\n", ""]
)
def test_history_without_its_numbers_is_called_damaged(run: Run, text: str) -> None:
    run.history.write_text(text)
    with pytest.raises(
        ValueError, match=r"history.csv' is damaged: expected numbers in the columns epoch, loss\. Rest"
    ):
        run.rows(("epoch", "loss"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"file\n" + b"a" * 200_000, r"cannot be read as one: field larger than field limit \(131072\)"),
        (b"file\n\xff\xfe.png\n", "in UTF-8, but"),
        (b"", "names none"),
        (b"\n\n", "names none"),
    ],
)
def test_table_of_files_to_leave_out_is_refused_in_words(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        without(samples(tmp_path), tmp_path / "table.csv")


def test_names_with_other_separators_stay_whole(tmp_path: Path) -> None:
    """U+2028 and U+0085 end a line of text, not a row of CSV; a quoted cell has its line break."""
    (tmp_path / "table.csv").write_bytes('a\u2028b.png,1\r\nc\x85d.png,2\n"e\nf.png",3\n'.encode())
    rows = read_rows(tmp_path / "table.csv", "a CSV file")
    assert rows == [["a\u2028b.png", "1"], ["c\x85d.png", "2"], ["e\nf.png", "3"]]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_zip_of_any_packing_is_called_broken(tmp_path: Path, method: int) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a/1.png", b"1234" * 500)
    data = bytearray(path.read_bytes())
    data[45:60] = bytes(15)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"Expected a zip that can be unpacked, but .* is broken"):
        fetch(str(path), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="named pipes are those of POSIX")
def test_pipes_are_refused_and_not_waited_for(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    words = r"but '.*pipe' is a pipe or a device\. Copy its content to a file"
    for door in (
        lambda path: check_regular(path, "a file"),
        lambda path: read_object(path, METRICS),
        lambda path: read_rows(path, "a CSV file"),
        lambda path: without(samples(tmp_path), path),
        lambda path: fetch(str(path), tmp_path / "out"),
    ):
        with pytest.raises(OSError, match=words):
            door(tmp_path / "pipe")
    data = tmp_path / "data"
    for name in ("a", "b"):
        (data / name).mkdir(parents=True)
        os.mkfifo(data / name / "1.png")
    assert brain_mri.main(["--data", str(data), "--out", str(tmp_path / "new"), "--weights", "none"]) == 2
    assert "pipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", "[]"),
        ("config.json", "{}"),
        ("config.json", "null"),
        ("metrics.json", "[]"),
        ("history.csv", "a\n1"),
    ],
)
def test_resuming_a_damaged_run_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    words = ["--data", "phantom", "--weights", "none", "--out", str(tmp_path)]
    data = DataConfig("phantom", image_size=brain_mri.DATA.image_size)
    training = replace(brain_mri.TRAINING, stages=random_defaults(brain_mri.TRAINING.stages))
    Run(tmp_path).write_config(data, training)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["training"] |= {"weights": "none", "backbone_arguments": {}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / name).write_text(text)
    assert brain_mri.main([*words, "--resume"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{name}' is damaged" in line
