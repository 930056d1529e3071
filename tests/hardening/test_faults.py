"""What happens around a run: it is killed, the disk fills up, folders and files go away or are replaced.

Files are whole or not there, the manifest has whole rows and only those of images whose files are written, and the same
command again does what is left.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import tf_gradcam as tg
from tests.helpers.redblue import red_blue_model, red_blue_photo, write_photo
from tf_gradcam._cli.main import main
from tf_gradcam._files.atomic import held_folder
from tf_gradcam._files.manifest import COLUMNS
from tf_gradcam.image import io as imagefile
from tf_gradcam.image.io import load_image

resource = pytest.importorskip("resource", reason="limits of processes are those of POSIX")
ROOT = Path(__file__).parents[2]
IMAGES = [f"{number:02d}.png" for number in range(6)]
EXPLAIN = ("explain", *IMAGES, "--model", "m.keras", "--batch-size", "1", "--out", "out")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, six photos that differ, and the same in folders of two classes."""
    monkeypatch.chdir(tmp_path)
    red_blue_model().save("m.keras")
    for number, name in enumerate(IMAGES):
        photo = np.random.default_rng(number).integers(0, 256, (48, 80, 3)).astype("uint8")
        photo[:, : 10 * (number + 1)] = red_blue_photo(8)[:, :10].max(axis=(0, 1))
        write_photo(tmp_path, name, photo)
        write_photo(tmp_path / "data" / ("red", "blue")[number % 2], name, photo)
    return tmp_path


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, list(arguments))


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of a manifest, which must be whole."""
    data = (folder / "manifest.csv").read_bytes()
    assert data.endswith(b"\r\n")
    found = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    for row in found:
        assert tuple(row) == COLUMNS
        assert all(cell is not None for cell in row.values())
    return found


def check_folder(folder: Path, leftovers: bool = False) -> set[str]:
    """Every file is whole; the stems of the images whose row says that they are done have both files."""
    for path in folder.iterdir():
        if path.suffix == ".npy":
            assert np.load(path, allow_pickle=False).shape == (6, 10)
        elif path.suffix == ".png":
            assert load_image(path).shape == (48, 80, 3)
        else:
            assert path.name == "manifest.csv" or (leftovers and path.suffix == ".tmp"), path
    if not (folder / "manifest.csv").exists():
        return set()
    done = {Path(row["file"]).stem for row in rows(folder) if row["status"] == "done"}
    for stem in done:
        assert (folder / f"{stem}.heatmap.npy").exists()
        assert (folder / f"{stem}.overlay.png").exists()
    return done


def check_finished(folder: Path) -> None:
    assert check_folder(folder) == {Path(name).stem for name in IMAGES}
    assert [row["file"] for row in rows(folder)] == IMAGES
    assert len(list(folder.iterdir())) == 1 + 2 * len(IMAGES)


# --- Killed. One process imports everything and forks a child for each point: a start costs seconds.

KILLING = """
import io, os, pathlib, signal, sys

import tf_gradcam._explain.batch, tf_gradcam._cli.main  # nothing of TensorFlow runs before the fork
from tf_gradcam._files import manifest

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def counted(function, number, before):
    left = [number]
    def call(*arguments, **options):
        left[0] -= 1
        if left[0] == 0 and before:
            before(*arguments)
            die()
        result = function(*arguments, **options)
        if left[0] == 0:
            die()
        return result
    return call

def half(path, data):
    with open(path, "wb") as file:
        file.write(data[: len(data) // 2])

def child(point, number, arguments):
    if point == "half a file":
        pathlib.Path.write_bytes = counted(pathlib.Path.write_bytes, number, half)
    elif point == "before a name":
        os.replace = counted(os.replace, number, lambda *_: None)
    elif point == "behind a name":
        os.replace = counted(os.replace, number, None)
    elif point == "before a row":
        manifest.Manifest.add = counted(manifest.Manifest.add, number, lambda *_: None)
    elif point == "behind a row":
        manifest.Manifest.add = counted(manifest.Manifest.add, number, None)
    tf_gradcam._cli.main.main(arguments)

for line in sys.stdin:
    point, number, out, *arguments = line.rstrip("\\n").split("\\t")
    process = os.fork()
    if process == 0:
        sys.stdout = sys.stderr
        try:
            child(point, int(number), [*arguments, "--out", out])
        except SystemExit as end:
            os._exit(end.code or 0)
    print(os.waitpid(process, 0)[1], flush=True)
"""

# Files get their names in the order manifest, then overlay and heatmap of each image.
POINTS = [
    ("half a file", 1),
    ("half a file", 3),
    ("behind a name", 2),
    ("before a row", 2),
    ("behind a row", 5),
]
MORE_POINTS = [
    (point, number)
    for point, most in {"half a file": 13, "before a name": 13, "behind a name": 13, "before a row": 6}.items()
    for number in range(1, most + 1)
]


@contextlib.contextmanager
def killing() -> Iterator[Callable[..., int]]:
    """A function (point, number, out) -> how the process of a run ended, as `os.wait` tells it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(
        [sys.executable, "-c", KILLING],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def killed(point: str, number: int, out: str) -> int:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\t".join([point, str(number), out, *EXPLAIN[:-2]]) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    try:
        yield killed
    finally:
        process.communicate(timeout=30)


def check_points(points: list[tuple[str, int]]) -> None:
    whole = Path("whole")
    assert run(*EXPLAIN[:-1], str(whole)).exit_code == 0
    with killing() as killed:
        for place, (point, number) in enumerate(points):
            out = Path(f"out{place}")
            assert os.WTERMSIG(killed(point, number, str(out))) == 9, (point, number)
            done = check_folder(out, leftovers=True) if out.exists() else set()
            if point.endswith("row"):
                assert len(done) == number - (point == "before a row")
    for place in {0, len(points) // 2, len(points) - 1}:  # the same command again, in what is left
        out = Path(f"out{place}")
        assert run(*EXPLAIN[:-1], str(out), "--resume").exit_code == 0
        check_finished(out)
        for path in whole.iterdir():
            assert (out / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_killed_run_leaves_whole_files_and_whole_rows() -> None:
    check_points(POINTS)


@pytest.mark.soak
@pytest.mark.usefixtures("here")
def test_run_killed_at_every_point_leaves_whole_files_and_whole_rows() -> None:
    check_points(MORE_POINTS)


def test_second_run_in_a_folder_is_told_to_wait(here: Path) -> None:
    """While another process is at work: nothing of its results is touched, and a killed one holds nothing."""
    (here / "out").mkdir()
    (here / "out" / "manifest.csv").write_bytes(b"file,status\r\n")
    with held_folder(here / "out"):
        result = run(*EXPLAIN)
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert "The folder 'out' is being written by another run. Wait for it to end, or choose another" in line
        assert [path.read_bytes() for path in (here / "out").iterdir()] == [b"file,status\r\n"]
    assert run(*EXPLAIN).exit_code == 0
    check_finished(here / "out")


HOLDING = """
import pathlib, sys, time
from tf_gradcam._files.atomic import held_folder
with held_folder(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(1000)
"""


def test_lock_of_another_process_ends_with_it(here: Path) -> None:
    (here / "out").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOLDING, "out"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError), held_folder(here / "out"):
            pass
        holder.kill()
    with held_folder(here / "out"):
        pass
    assert not list((here / "out").iterdir())


# --- Full. A limit on the size of a file is to the program what a full disk is: the write fails half way.


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_fails_the_images_and_leaves_no_half(here: Path) -> None:
    """Maps of 368 bytes fit, overlays of some thousand do not."""
    with files_of_at_most(2000):
        result = run(*EXPLAIN)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == len(IMAGES)
    assert all("Cannot write '" in line and "File too large" in line for line in result.stderr.splitlines())
    assert [path.name for path in (here / "out").iterdir()] == ["manifest.csv"]
    assert {row["status"] for row in rows(here / "out")} == {"failed"}
    assert run(*EXPLAIN).exit_code == 0
    check_finished(here / "out")


def test_full_disk_for_the_manifest_is_one_line_and_whole_rows(here: Path) -> None:
    broken = [f"no{number}.png" for number in range(9)]
    with files_of_at_most(300):
        result = run("explain", *broken, "--model", "m.keras", "--out", "out")
    assert result.exit_code == 2
    assert "Cannot write 'out/manifest.csv'" in result.stderr.splitlines()[-1]
    assert 1 <= len(rows(here / "out")) < len(broken)


def audit(*options: str) -> Any:
    return run("audit", "data", "--model", "m.keras", "--out", "out", "--no-sanity", "--num-images", "0", *options)


def audit_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_full_disk_stops_an_audit_in_words_and_it_goes_on(here: Path) -> None:
    pytest.importorskip("pyarrow", reason="the extra audit is not installed")
    with files_of_at_most(2000):
        result = audit()
    assert result.exit_code == 2
    (line,) = [one for one in result.stderr.splitlines() if "note:" not in one]
    assert "Cannot write 'part-000000.parquet' into the folder 'out/rows'" in line
    assert "Make room, or choose another path." in line
    assert audit_files(here / "out") == {"rows/run.json"}
    again = audit()
    assert again.exit_code == 0, again.output
    assert {"index.html", "audit.json", "rows/part-000000.parquet"} <= audit_files(here / "out")


def test_full_disk_for_the_report_leaves_the_rows(here: Path) -> None:
    pytest.importorskip("pyarrow", reason="the extra audit is not installed")
    assert audit().exit_code == 0
    for name in ("index.html", "audit.json"):
        (here / "out" / name).unlink()
    with files_of_at_most(20_000):
        result = audit()
    assert result.exit_code == 2
    (line,) = [one for one in result.stderr.splitlines() if "note:" not in one]
    assert "Cannot write 'index.html'" in line
    assert not any(name.endswith(".tmp") for name in audit_files(here / "out"))
    assert "index.html" not in audit_files(here / "out")


# --- Gone and replaced, while the run is reading its third image.


@pytest.fixture
def when_reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], None]], None]:
    """Have something happen once, before an image is read."""

    def arrange(name: str, happen: Callable[[], None]) -> None:
        read, left, lock = imagefile._read, [happen], threading.Lock()

        def reading(path: Path) -> bytes:
            with lock:
                if path.name == name and left:
                    left.pop()()
            return read(path)

        monkeypatch.setattr(imagefile, "_read", reading)

    return arrange


def test_output_folder_that_goes_away_is_told(here: Path, when_reading: Any) -> None:
    when_reading(IMAGES[2], lambda: shutil.rmtree("out"))
    result = run(*EXPLAIN)
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if "scaling: " not in line and "task: " not in line]
    assert 1 <= len(lines) <= len(IMAGES)
    assert all("there is no folder 'out'. Create it" in line for line in lines)
    assert not (here / "out").exists()
    assert run(*EXPLAIN).exit_code == 0
    check_finished(here / "out")


def test_image_that_goes_away_fails_alone(here: Path, when_reading: Any) -> None:
    when_reading(IMAGES[2], lambda: Path(IMAGES[2]).unlink())
    result = run(*EXPLAIN)
    assert result.exit_code == 1
    assert [row["status"] for row in rows(here / "out")] == ["done"] * 2 + ["failed"] + ["done"] * 3
    assert "No image file '02.png'" in result.stderr
    check_folder(here / "out")


def test_audit_whose_folder_goes_away_is_one_line(here: Path, when_reading: Any) -> None:
    pytest.importorskip("pyarrow", reason="the extra audit is not installed")
    when_reading(IMAGES[2], lambda: shutil.rmtree("out"))
    result = audit()
    assert result.exit_code == 2
    (line,) = [one for one in result.stderr.splitlines() if "note:" not in one]
    assert "Cannot write 'part-000000.parquet': there is no folder 'out/rows'" in line


@pytest.mark.parametrize("content", [b"another file", None], ids=["junk", "another model"])
def test_model_file_replaced_during_the_run_changes_nothing(
    here: Path, when_reading: Any, content: bytes | None
) -> None:
    """A training writes its best model while that of before is explained."""
    assert run(*EXPLAIN[:-1], "whole").exit_code == 0

    def replace() -> None:
        if content is None:
            other = red_blue_model()
            other.set_weights([-weights for weights in other.get_weights()])
            other.save("m.keras")
        else:
            Path("m.keras").write_bytes(content)

    when_reading(IMAGES[1], replace)
    assert run(*EXPLAIN).exit_code == 0
    for path in (here / "whole").iterdir():
        assert (here / "out" / path.name).read_bytes() == path.read_bytes()


def test_audit_names_its_rows_by_the_model_that_it_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a model that was written meanwhile would be taken for the one that made the rows, and go on from them."""
    pytest.importorskip("pyarrow", reason="the extra audit is not installed")
    from tf_gradcam.audit.mapper import AuditMapper

    mapper = AuditMapper("m.keras", freeze=False)
    before = mapper.digest()
    assert AuditMapper(**mapper.arguments).digest() == before
    other = red_blue_model()
    other.set_weights([-weights for weights in other.get_weights()])
    other.save("m.keras")
    assert mapper.digest() == before
    assert AuditMapper("m.keras", freeze=False).digest() != before
    with pytest.raises(ValueError, match=r"model 'm.keras' was replaced by another while it was read.*give a copy"):
        AuditMapper(**mapper.arguments)  # what a worker of Ray does, later on


def test_model_that_is_written_while_it_is_read_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow", reason="the extra audit is not installed")
    from tf_gradcam.audit.mapper import AuditMapper

    load = keras.saving.load_model

    def replaced(*arguments: Any, **options: Any) -> Any:
        model = load(*arguments, **options)
        model.save("m.keras")  # the same weights, other bytes: what matters is that it was written
        with open("m.keras", "ab") as file:
            file.write(b"\0")
        return model

    monkeypatch.setattr(keras.saving, "load_model", replaced)
    with pytest.raises(ValueError, match=r"was replaced by another while it was read. Wait until it is written"):
        AuditMapper("m.keras", freeze=False)


def test_folder_of_maps_that_goes_away_is_told(here: Path) -> None:
    explanation = tg.Explainer(red_blue_model())(red_blue_photo()[None].astype("float32"))
    with files_of_at_most(100), pytest.raises(OSError, match=r"Cannot write '0000.heatmap.npy' into .*File too large"):
        explanation.save(here / "maps")
    assert not list((here / "maps").iterdir())
