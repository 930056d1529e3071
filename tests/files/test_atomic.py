"""Files are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tf_gradcam._files.atomic import write_array, write_bytes


def test_write_bytes_writes_what_it_is_given(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"\x00content\n")
    assert (tmp_path / "file").read_bytes() == b"\x00content\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_write_bytes_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"longer content of before")
    write_bytes(str(tmp_path / "file"), b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_write_bytes_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_bytes("file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("array", [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((0, 4)), np.float32(1.5)])
def test_write_array_is_read_by_numpy(tmp_path: Path, array: np.ndarray) -> None:
    write_array(tmp_path / "array.npy", array)
    read = np.load(tmp_path / "array.npy", allow_pickle=False)
    np.testing.assert_array_equal(read, array)
    assert read.dtype == np.asarray(array).dtype


def test_write_array_of_objects_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle=False"):
        write_array(tmp_path / "array.npy", np.array([object()]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failing", ["write_bytes", "fsync", "replace"])
def test_failure_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """A disk that is full while the temporary file is written or synced, or while it takes the place of the old one."""

    def full(*arguments: object) -> None:
        if failing == "write_bytes":
            with open(str(arguments[0]), "wb") as file:
                file.write(b"half")
        raise OSError(28, "No space left on device")

    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(Path if failing == "write_bytes" else os, failing, full)
    message = r"Cannot write 'file' into the folder '.*': No space left on device\. Make room, or choose another path"
    with pytest.raises(OSError, match=message) as caught:
        write_bytes(tmp_path / "file", b"new", is_durable=True)
    monkeypatch.undo()
    assert caught.value.errno == 28
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_interruption_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "file", b"new")
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Cannot write 'file': there is no folder '.*new'\. Create it"):
        write_bytes(tmp_path / "new" / "file", b"")
    assert not list(tmp_path.iterdir())


def test_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"mine")
    with pytest.raises(NotADirectoryError, match=r"Cannot write 'file': '.*taken' is a file\. Name a folder"):
        write_bytes(tmp_path / "taken" / "file", b"")
    assert (tmp_path / "taken").read_bytes() == b"mine"


def test_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match=r"path of a file, received the folder '.*folder'"):
        write_bytes(tmp_path / "folder", b"")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_path_without_a_name_is_a_folder(path: str) -> None:
    with pytest.raises(IsADirectoryError, match="Expected the path of a file, received the folder"):
        write_bytes(path, b"")


@contextlib.contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """Nobody may write here; the superuser may everywhere, and is nobody for the while."""
    folder.chmod(0o555)
    superuser = os.geteuid() == 0
    if superuser:
        for parent in [folder, *folder.parents][:-2]:  # pytest's own folders are closed to others
            parent.chmod(parent.stat().st_mode | 0o555)
        os.seteuid(65534)
    try:
        yield
    finally:
        if superuser:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no rights of this kind")
def test_folder_without_rights_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    (folder / "file").write_bytes(b"old")
    message = r"Cannot write 'file': no permission in the folder '.*locked'\. Choose another"
    with without_rights(folder), pytest.raises(PermissionError, match=message):
        write_bytes(folder / "file", b"new")
    assert (folder / "file").read_bytes() == b"old"


def test_durable_write_waits_for_the_content_and_then_for_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content reaches the disk before the rename, the rename before the call returns."""
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def replaced(source: Path, target: Path) -> None:
        events.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_bytes(tmp_path / "file", b"new", is_durable=True)
    assert events == ["file", "rename", *(["folder"] if os.name != "nt" else [])]
    events.clear()
    write_bytes(tmp_path / "file", b"newer")
    assert events == ["rename"]
    assert (tmp_path / "file").read_bytes() == b"newer"
