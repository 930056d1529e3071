"""One process at a time in a folder: the system holds the lock, and drops it when the process ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

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
