"""Files without an end, and pointers in place of files: refused at every door, at once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.redblue import red_blue_model, write_photo
from tf_gradcam._files.class_names import load_class_names
from tf_gradcam._files.opening import check_file, check_regular, zip_member

ROOT = Path(__file__).parents[2]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="named pipes and devices are those of POSIX")


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[dict[str, Path]]:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))  # the name of a socket is short
        yield {name: tmp_path / name for name in ("pipe", "link", "zeros", "socket")}


def test_what_has_no_end_is_named(endless: dict[str, Path]) -> None:
    names = {"pipe": "a pipe", "link": "a pipe", "zeros": "a device", "socket": "a socket"}
    for name, path in endless.items():
        for check in (check_regular, check_file):
            with pytest.raises(OSError, match=f"Expected a model, but '{path}' is {names[name]}. Copy its content"):
                check(path, "a model")


def test_files_folders_and_missing_names_pass(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for path in (tmp_path / "file", tmp_path, tmp_path / "missing", tmp_path / ("a" * 300), Path("a\0b")):
        check_file(path, "a model")


def test_lfs_pointer_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(POINTER)
    check_regular(path, "a model")
    with pytest.raises(ValueError, match=r"is a Git LFS pointer, not the file itself\. .*git lfs pull"):
        check_file(path, "a model")


def test_file_larger_than_its_kind_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    with open(path, "wb") as file:
        file.truncate(2**40)  # holes: it takes no room on the disk
    check_file(path, "a model")
    with pytest.raises(ValueError, match=r"Expected a table of at most 1000 bytes, but '.*names\.txt' has more"):
        check_file(path, "a table", 1000)
    with pytest.raises(ValueError, match="Expected a file of class names of at most 4194304 bytes"):
        load_class_names(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_member_is_one_kind_of_error(tmp_path: Path, method: int) -> None:
    """Every byte of the packed member is damaged in turn: never another error, and never other text."""
    path, text = tmp_path / "a.zip", b"some text that is packed, packed, packed"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.txt", text)
    assert zip_member(path, "a.txt", 1000) == text
    assert zip_member(path, "a.txt", 3) == text[:4]
    assert zip_member(path, "b.txt", 1000) is None
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        refused, start, count = 0, 30 + len("a.txt"), archive.getinfo("a.txt").compress_size
    for at in range(start, start + count):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:  # LZMA's header has bytes that change nothing
            assert zip_member(path, "a.txt", 1000) == text
        except zipfile.BadZipFile:
            refused += 1
    assert refused > count * 0.8
    with pytest.raises(FileNotFoundError):
        zip_member(tmp_path / "none.zip", "a.txt", 1000)


# --- Every door: what is typed behind the command, with PIPE, ZERO and LFS in place of a file.

EXPLAIN = ("explain", "photo.png", "--out", "out", "--model")
AUDIT = ("audit", "data", "--out", "out", "--no-sanity", "--num-images", "0", "--model", "m.keras")
FIRST: list[tuple[str, ...]] = [  # tried with each name, the others with a pipe, which would be waited for
    (*EXPLAIN, "{}.keras"),
    (*EXPLAIN, "m.keras", "--weights", "{}.weights.h5"),
    (*EXPLAIN, "m.keras", "--class-names", "{}"),
    ("explain", "{}.png", "--out", "out", "--model", "m.keras"),
    ("audit", "{}.csv", "--out", "out", "--model", "m.keras"),
    (*AUDIT, "--boxes", "{}.csv"),
    (*AUDIT, "--masks", "{}.masks"),
]
DOORS = [
    *FIRST,
    (*EXPLAIN, "{}.h5"),
    (*EXPLAIN, "./{}"),
    (*EXPLAIN, "m.keras", "--weights", "{}"),
    (*EXPLAIN, "m.keras", "--class-names", "{}.json"),
    ("explain", "{}", "--out", "out", "--model", "m.keras"),
    ("layers", "{}.keras"),
    (*AUDIT, "--class-names", "{}"),
]
WORDS = {"zero": "is a device", "pointer": "Git LFS pointer"}
CASES = [(door, "pipe", "is a pipe") for door in DOORS]
CASES += [(door, name, words) for door in FIRST for name, words in WORDS.items()]
RUN = """
import json, sys
from click.testing import CliRunner
from tf_gradcam._cli.main import main
for words in json.load(sys.stdin):
    result = CliRunner().invoke(main, words)
    print(json.dumps([result.exit_code, result.stderr]), flush=True)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], tuple[int, str]]:
    """The exit status and stderr of every door, from one process: a door that waits ends it, and the test."""
    import json

    folder = tmp_path_factory.mktemp("doors")
    red_blue_model().save(folder / "m.keras")
    write_photo(folder)
    for name in ("red", "blue"):
        write_photo(folder / "data" / name, f"{name}.png")
    for suffix in ("", ".keras", ".h5", ".weights.h5", ".json", ".png", ".csv"):
        os.mkfifo(folder / f"pipe{suffix}")
        (folder / f"zero{suffix}").symlink_to("/dev/zero")
        (folder / f"pointer{suffix}").write_bytes(POINTER)
    for name in ("pipe", "zero", "pointer"):
        (folder / f"{name}.masks").mkdir()
        (folder / f"{name}.masks" / "red.png").symlink_to(folder / f"{name}.png")
    commands = [tuple(word.format(name) for word in door) for door, name, _ in CASES]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(commands),
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(commands), done.stderr
    return {command: tuple(line) for command, line in zip(commands, lines, strict=True)}


@pytest.mark.slow
@pytest.mark.parametrize(("door", "name", "words"), CASES, ids=range(len(CASES)))
def test_every_door_refuses_in_one_line(
    answers: dict[tuple[str, ...], tuple[int, str]], door: tuple[str, ...], name: str, words: str
) -> None:
    status, errors = answers[tuple(word.format(name) for word in door)]
    is_picture = door[0] == "explain" and "{}" in door[1]
    assert status == (1 if is_picture else 2), errors
    lines = [line for line in errors.splitlines() if not line.startswith("tf-gradcam: note:")]
    assert len(lines) == 1, errors
    assert words in lines[0]
