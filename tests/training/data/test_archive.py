"""Data from a folder or a zip: what is harmful or broken leaves nothing behind."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from tests.helpers.zips import FILES, HARMFUL, contents, write_zip, zipped
from training.data import archive
from training.data.archive import fetch


def test_a_folder_is_returned_as_it_is(tmp_path: Path) -> None:
    assert fetch(str(tmp_path), tmp_path / "downloads") == tmp_path
    assert not (tmp_path / "downloads").exists()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("wrapping", ["", "archive/", "outer/inner/"])
def test_a_zip_is_unpacked_down_to_its_classes(tmp_path: Path, wrapping: str, method: int) -> None:
    data = zipped({wrapping + name: content for name, content in FILES.items()}, method)
    path = write_zip(tmp_path, data)
    root = fetch(str(path), tmp_path / "downloads", hashlib.sha256(data).hexdigest().upper())
    assert contents(root) == FILES
    assert path.read_bytes() == data
    assert len(list((tmp_path / "downloads").iterdir())) == 1


def test_one_class_is_not_taken_for_a_wrapping_folder(tmp_path: Path) -> None:
    path = write_zip(tmp_path, zipped({"archive/red/1.png": b"one"}))
    assert contents(fetch(str(path), tmp_path)) == {"red/1.png": b"one"}


def test_a_zip_is_unpacked_once_and_again_where_it_has_changed(tmp_path: Path) -> None:
    path = write_zip(tmp_path, zipped(FILES))
    root = fetch(str(path), tmp_path)
    (root / "red" / "1.png").write_bytes(b"mine")
    assert contents(fetch(str(path), tmp_path))["red/1.png"] == b"mine"
    write_zip(tmp_path, zipped(FILES | {"red/1.png": b"new"}))
    assert contents(fetch(str(path), tmp_path))["red/1.png"] == b"new"


def test_what_macos_adds_is_left_out(tmp_path: Path) -> None:
    path = write_zip(tmp_path, zipped(FILES | {"__MACOSX/red/._1.png": b"resource"}))
    assert contents(fetch(str(path), tmp_path)) == FILES


def test_backslashes_separate_folders(tmp_path: Path) -> None:
    data = zipped({name.replace("/", "|"): content for name, content in FILES.items()})
    path = write_zip(tmp_path, data.replace(b"|", b"\\"))
    assert contents(fetch(str(path), tmp_path)) == FILES


def test_unknown_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"The folder or zip file 'absent\.zip' does not exist"):
        fetch("absent.zip", tmp_path)
    with pytest.raises(ValueError, match=r"http\(s\) address, received 'ftp://a/b\.zip'"):
        fetch("ftp://a/b.zip", tmp_path)


def test_checksums_that_are_none_or_cannot_apply_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits, received 'abc'"):
        fetch("a.zip", tmp_path, "abc")
    with pytest.raises(ValueError, match=r"received the folder .*\. Leave the checksum out"):
        fetch(str(tmp_path), tmp_path, "0" * 64)


def test_a_checksum_that_differs_stops_before_unpacking(tmp_path: Path) -> None:
    path = write_zip(tmp_path, zipped(FILES))
    with pytest.raises(ValueError, match=rf"Expected the SHA-256 {'0' * 64} of '.*data\.zip', received"):
        fetch(str(path), tmp_path / "downloads", "0" * 64)
    assert path.exists()
    assert not (tmp_path / "downloads").exists()


# Zips that are broken or harmful: nothing is written.


@pytest.mark.parametrize("kind", HARMFUL)
def test_harmful_and_broken_zips_leave_nothing(tmp_path: Path, kind: str) -> None:
    data, message = HARMFUL[kind]
    path = write_zip(tmp_path, data)
    with pytest.raises(ValueError, match=rf"(?s)data\.zip'.*{message}"):
        fetch(str(path), tmp_path / "downloads" / "deeper")
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [path]
    assert list((tmp_path / "downloads" / "deeper").iterdir()) == []


def test_a_bomb_by_number_or_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path, zipped(FILES))
    for limit in ("MAX_MEMBERS", "MAX_BYTES"):  # three files of eleven bytes
        with monkeypatch.context() as patch:
            patch.setattr(archive, limit, 2)
            with pytest.raises(ValueError, match="claim to unpack to 3 files of 11 bytes"):
                fetch(str(path), tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_size_that_lies_is_not_exceeded(tmp_path: Path) -> None:
    """The directory claims 3 bytes of what is 3000."""
    data = zipped({"red/1.png": bytes(3000)}, zipfile.ZIP_DEFLATED)
    path = write_zip(tmp_path, data.replace((3000).to_bytes(4, "little"), (3).to_bytes(4, "little")))
    with pytest.raises(ValueError, match="Bad CRC-32"):
        fetch(str(path), tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_seen_before_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path, zipped(FILES))
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match="Expected room for 0 MB"):
        fetch(str(path), tmp_path)
    assert list(tmp_path.iterdir()) == [path]
