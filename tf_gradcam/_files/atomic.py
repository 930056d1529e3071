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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from tf_gradcam._files.opening import check_regular

_LOCK_FILE = "run.lock"
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")


class FolderLock:
    """The lock of a folder, held until `release`.

    The lock file names its owner for whoever finds it, but only the operating system's lock on the file counts. That
    lock ends with its process, so the file of a killed process is taken over and its process number is not trusted.

    Args:
        folder: an existing folder.

    Raises:
        BlockingIOError: another process, or another object of this process, holds the lock.
        OSError: the file system of the folder has no locks, or the folder cannot be written.
    """

    def __init__(self, folder: Path):
        self._path = folder / _LOCK_FILE
        self._file = _locked(self._path)
        self._file.truncate()
        self._file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        self._file.flush()

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        if not self._file.closed:
            with contextlib.suppress(OSError):  # Windows cannot remove an open file: it stays, unlocked
                self._path.unlink()
            self._file.close()


def _locked(path: Path) -> IO[str]:
    """Open the file and lock it. Its owner may have removed it meanwhile, then begin again."""
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - open as long as the lock is held
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
    if os.name == "nt":
        import msvcrt

        file.seek(2**20)  # a byte that nobody reads: Windows refuses to read a locked one
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def _owner(path: Path) -> str:
    """Return the owner named in the lock file, as a part of a message; "" if it names none."""
    try:
        check_regular(path, "the file of a lock")
        owner = json.loads(path.read_text(encoding="utf-8"))
        return f" (process {owner['pid']} on {owner['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


@contextlib.contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Keep other runs of this kind out of a folder of results, without leaving a file in it.

    On POSIX the folder itself is locked, elsewhere a file in it. A file system without such locks goes unlocked: single
    files are written whole there too.

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


def made_folder(folder: str | os.PathLike[str], name: str) -> Path:
    """Create the folder if it does not exist, and return its path.

    Args:
        folder: its path.
        name: name of the caller's argument, for messages.

    Raises:
        TypeError, ValueError: as `checked_path`.
        NotADirectoryError: the path is a file, or inside one.
        PermissionError, OSError: the folder cannot be created.
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
    """Return the path, if a file system can have it.

    Args:
        path: any value.
        name: name of the caller's argument, for messages.

    Raises:
        TypeError: it is not a path.
        ValueError: it contains a zero byte.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"Expected {name} as a path, received {type(path).__name__}. Give a string or pathlib.Path.")
    text = os.fsdecode(path)
    if "\0" in text:
        raise ValueError(f"Expected {name} as a path, received {text!r}, which holds a zero byte. Check the path.")
    return Path(text)


def write_bytes(path: str | os.PathLike[str], data: bytes, *, is_durable: bool = False) -> None:
    """Write a file, whole or not at all, as `write_files` does."""
    write_files([(path, data)], is_durable=is_durable)


def write_files(files: Iterable[tuple[str | os.PathLike[str], bytes]], *, is_durable: bool = False) -> None:
    """Write files, all or none: under temporary names in their folders, which are then renamed.

    Args:
        files: paths, replaced if they exist, and their contents.
        is_durable: True to wait until content and name are on the disk. Otherwise the rename may reach the disk before
            the content, so that a power failure leaves an empty file. Defaults to False.

    Raises:
        FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError: the folder does not exist, the folder
            is a file, the path is a folder, or writing is not permitted.
        TypeError, ValueError: as `checked_path`.
        OSError: writing fails for another reason, such as a full disk.
    """
    written: list[tuple[Path, Path]] = []
    path = Path()
    try:
        for given, data in files:
            path = checked_path(given, "the file to write")
            folder = repr(str(path.parent))
            if path.is_dir():
                raise IsADirectoryError(f"Expected the path of a file, received the folder {str(path)!r}.")
            written.append((path.parent / f".{secrets.token_hex(8)}.tmp", path))
            written[-1][0].write_bytes(data)
            if is_durable:
                _sync(written[-1][0], os.O_RDWR)
        for temporary, path in written:
            os.replace(temporary, path)
            if is_durable and os.name != "nt":  # Windows cannot open a folder
                _sync(path.parent, os.O_RDONLY)
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
        explained = OSError(
            f"Cannot write {_short(path.name)!r} into the folder {folder}: {error.strerror}. Make room, or choose "
            "another path."
        )
        explained.errno = error.errno
        raise explained from error
    finally:
        for temporary, _ in written:
            with contextlib.suppress(OSError):  # it is gone after success, and may never have been created
                temporary.unlink()


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside a file, and rename it to the file when the block has succeeded.

    Raises:
        OSError: the file cannot be written.
    """
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.strerror is None:
            raise
        raise type(error)(
            f"Cannot write '{path}': {error.strerror}. Make room, or copy it to another folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _sync(path: Path, flags: int) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of a process that was killed; no other process may be writing there."""
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name):
            with contextlib.suppress(OSError):
                path.unlink()


def write_array(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write an array as .npy, whole or not at all; errors as `write_bytes`."""
    write_bytes(path, encoded_array(array))


def encoded_array(array: np.ndarray) -> bytes:
    """Return the content of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _short(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:77]}..."
