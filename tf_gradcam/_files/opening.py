"""Files of the user, opened: pipes, devices and Git LFS pointers are refused, a damaged zip archive is one error."""

from __future__ import annotations

import contextlib
import os
import stat
import zipfile

MAX_TABLE_BYTES = 2**30  # a table of a million samples takes a quarter of that
_LFS_POINTER = b"version https://git-lfs"
_ENDLESS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_regular(path: str | os.PathLike[str], kind: str) -> None:
    """Refuse what would be waited for, or read for ever. A missing file and a folder pass: the caller names them.

    Args:
        path: links are followed.
        kind: what the caller expects, such as "an image file", for the message.

    Raises:
        OSError: the path is a pipe, a socket or a device.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # missing, or a name that no file can have: opening it says why
        return
    for is_kind, name in _ENDLESS:
        if is_kind(mode):
            raise OSError(f"Expected {kind}, but {os.fspath(path)!r} is {name}. Copy its content to a file.")


def check_file(path: str | os.PathLike[str], kind: str, limit: int | None = None) -> None:
    """Refuse what `check_regular` refuses, a Git LFS pointer, and a file that would not fit into the memory.

    Args:
        path, kind: as `check_regular`.
        limit: the most bytes that a file of this kind has; None for any number.

    Raises:
        OSError: as `check_regular`.
        ValueError: the file is a pointer to a file on a server, or larger than `limit`.
    """
    check_regular(path, kind)
    if limit is not None and os.path.isfile(path) and os.path.getsize(path) > limit:
        raise ValueError(f"Expected {kind} of at most {limit} bytes, but {os.fspath(path)!r} has more. Give another.")
    start = b""
    with contextlib.suppress(OSError, ValueError), open(path, "rb") as file:
        start = file.read(len(_LFS_POINTER))
    if start == _LFS_POINTER:
        raise ValueError(
            f"Expected {kind}, but {os.fspath(path)!r} is a Git LFS pointer, not the file itself. Fetch the file "
            "with `git lfs pull` in its repository."
        )


def zip_member(path: str | os.PathLike[str], name: str, limit: int) -> bytes | None:
    """Read a member of a zip archive, at most `limit` + 1 bytes of it; None if there is no such member.

    Raises:
        OSError: the file cannot be read.
        zipfile.BadZipFile: it is not a zip archive, or the member is damaged, encrypted or packed in an unknown way.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if name not in archive.namelist():
                return None
            with archive.open(name) as member:
                return member.read(limit + 1)
    except Exception as error:  # zlib, bz2 and lzma each have their own
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise zipfile.BadZipFile(str(error) or type(error).__name__) from error
