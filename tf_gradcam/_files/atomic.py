"""Whole-or-nothing writes, and the lock of a folder that a run writes to."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

NAME = "run.lock"


class FolderLock:
    """The lock of a folder, held until `release`.

    The file names its owner for whoever finds it. What counts is the system's lock on it: that of a process that was
    killed is gone with it, so what is left of its file is taken over, and no number of a process is ever trusted.

    Args:
        folder: an existing folder.

    Raises:
        BlockingIOError: another process holds it, or this one by another object.
        OSError: the file system of the folder has no locks, or it cannot be written.
    """

    def __init__(self, folder: Path):
        self._path = folder / NAME
        self._file = _locked(self._path)
        self._file.truncate()
        self._file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        self._file.flush()

    def release(self) -> None:
        """Let go, once or again."""
        if not self._file.closed:
            with contextlib.suppress(OSError):  # Windows removes no open file: it stays, unlocked
                self._path.unlink()
            self._file.close()


def _locked(path: Path) -> IO[str]:
    """The file, open and locked. One that its owner removed meanwhile is no lock any more: begin again."""
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - held as long as the lock
        try:
            _lock(file)
            file.seek(0)
            if os.name == "nt" or (path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())):
                return file
        except OSError as error:
            owner = _owner(path)
            file.close()
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                raise BlockingIOError(
                    f"The folder '{path.parent}' is being written by another run{owner}. Wait for it to end, or choose "
                    "another folder."
                ) from error
            raise OSError(
                f"The folder '{path.parent}' cannot be locked: {error.strerror}. Choose one on a local disk."
            ) from error
        file.close()


def _lock(file: IO[str]) -> None:
    """At once or not at all."""
    if os.name == "nt":
        import msvcrt

        file.seek(2**20)  # a byte that nobody reads: on Windows a locked byte cannot be
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def _owner(path: Path) -> str:
    """What the file says of who holds it, in words; "" where it says nothing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return f" (process {found['pid']} on {found['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


@contextlib.contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Keep other runs of this kind out of a folder of results, and leave nothing in it.

    On POSIX the folder itself is locked, elsewhere a file in it. A file system that has no such locks goes without:
    single files are whole there too.

    Raises:
        BlockingIOError: another process holds it.
    """
    with contextlib.ExitStack() as stack:
        if os.name == "nt":
            stack.callback(FolderLock(folder).release)
        else:
            import fcntl

            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    raise BlockingIOError(
                        f"The folder '{folder}' is being written by another run. Wait for it to end, or choose another "
                        "folder."
                    ) from error
        yield


_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")


def made_folder(folder: str | os.PathLike[str], name: str) -> Path:
    """The folder, made where it does not exist.

    Args:
        folder: its path.
        name: what the caller's argument is called, for messages.

    Raises:
        TypeError, ValueError: no path.
        NotADirectoryError, PermissionError, OSError: it is a file or inside one, or cannot be made.
    """
    path = checked_path(folder, name)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(
            f"Expected a folder, received '{path}': it is a file, or inside one. Choose another."
        ) from error
    except OSError as error:
        raise type(error)(f"Cannot make the folder '{path}' ({name}): {error.strerror}. Choose another.") from error
    return path


def checked_path(path: str | os.PathLike[str], name: str) -> Path:
    """A path that a file system can have.

    Args:
        path: as given.
        name: what the caller's argument is called, for messages.

    Raises:
        TypeError: another kind of object.
        ValueError: a path with a zero byte.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"Expected {name} as a path, received {type(path).__name__}. Give a string or pathlib.Path.")
    text = os.fsdecode(path)
    if "\0" in text:
        raise ValueError(f"Expected {name} as a path, received {text!r}, which holds a zero byte. Check the path.")
    return Path(text)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file, whole or not at all.

    Args:
        path: the file, replaced if it exists.
        data: its content.

    Raises:
        FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError: there is no such folder, it is a
            file, the path is a folder, or writing is not permitted.
        TypeError, ValueError: no path.
        OSError: writing fails for another reason, such as a full disk.
    """
    path = checked_path(path, "the file to write")
    folder = repr(str(path.parent))
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        if path.is_dir():
            raise IsADirectoryError(f"Expected the path of a file, received the folder {str(path)!r}.")
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Cannot write {path.name!r}: there is no folder {folder}. Create it.") from error
    except NotADirectoryError as error:
        raise NotADirectoryError(f"Cannot write {path.name!r}: {folder} is a file. Name a folder.") from error
    except PermissionError as error:
        raise PermissionError(
            f"Cannot write {path.name!r}: no permission in the folder {folder}. Choose another, or change its rights."
        ) from error
    except OSError as error:
        if error.strerror is None:
            raise
        told = OSError(f"Cannot write {_short(path.name)!r} into the folder {folder}: {error.strerror}.")
        told.errno = error.errno
        raise told from error
    finally:
        with contextlib.suppress(OSError):  # there is none after success, nor if it could not be made
            temporary.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed had begun to write; nobody else may be writing there."""
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name):
            with contextlib.suppress(OSError):
                path.unlink()


def write_array(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write an array as .npy, whole or not at all; errors as `write_bytes`."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def _short(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:77]}..."
