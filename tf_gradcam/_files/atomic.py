"""Files written whole or not at all: under a temporary name in the same folder, then renamed."""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
from pathlib import Path

import numpy as np

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
