"""Zips for tests of data: harmless ones, broken ones, and ones that try to harm."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

FILES = {"red/1.png": b"one", "red/2.png": b"two", "blue/3.png": b"three"}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as out:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)  # not by name alone, which would write the time of day
            info.compress_type = method
            out.writestr(info, content)
    return stream.getvalue()


def contents(root: Path) -> dict[str, bytes]:
    """Files of the classes by their names below `root`."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name != ".sha256"]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def write_zip(folder: Path, data: bytes) -> Path:
    path = folder / "data.zip"
    path.write_bytes(data)
    return path


def linked() -> bytes:
    info = zipfile.ZipInfo("red/link.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as out:
        out.writestr(info, "/etc/passwd")
    return stream.getvalue()


def encrypted() -> bytes:
    """The flag alone, in the header of the file and in the directory at the end."""
    data = bytearray(zipped({"red/1.png": b"one"}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def with_a_flipped_bit() -> bytes:
    return zipped(FILES).replace(b"three", b"thref", 1)


def twice() -> bytes:
    return zipped({"red/1.png": b"one", "red/2.png": b"two"}).replace(b"2.png", b"1.png")


HARMFUL = {
    "parent": (zipped({"red/1.png": b"", "../evil.png": b""}), r"'\.\./evil\.png' leaves the folder"),
    "parent deeper": (zipped({"red/../../evil.png": b""}), "leaves the folder"),
    "parent by backslashes": (zipped({"red|..|..|evil.png": b""}).replace(b"|", b"\\"), "leaves the folder"),
    "absolute": (zipped({"/tmp/evil.png": b""}), "leaves the folder"),
    "drive": (zipped({"C:/evil.png": b""}), "leaves the folder"),
    "link": (linked(), r"'red/link\.png' is a link"),
    "bomb": (zipped({"red/1.png": bytes(11 * 2**20)}, zipfile.ZIP_DEFLATED), "claim to unpack to 1 files of 11,534"),
    "encrypted": (encrypted(), "is encrypted"),
    "twice": (twice(), "twice"),
    "file and folder": (zipped({"red": b"", "red/1.png": b""}), "twice"),
    "flipped bit": (with_a_flipped_bit(), r"is broken: Bad CRC-32 for file 'blue/3\.png'"),
    "cut": (zipped(FILES)[:-30], "is broken: File is not a zip file"),
    "empty": (b"", "is broken"),
    "web page": (b"<!DOCTYPE html><title>Log in</title>", "is a web page: does it ask for a login"),
}
