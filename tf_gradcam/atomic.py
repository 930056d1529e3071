"""Files written whole or not at all: under a temporary name in the same folder, then renamed."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from pathlib import Path

import numpy as np


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file, whole or not at all.

    Args:
        path: the file, replaced if it exists.
        data: its content.

    Raises:
        FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError: there is no such folder, it is a
            file, the path is a folder, or writing is not permitted.
        OSError: writing fails for another reason, such as a full disk.
    """
    path = Path(path)
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
    finally:
        with contextlib.suppress(OSError):  # there is none after success, nor if it could not be made
            temporary.unlink()


def write_array(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write an array as .npy, whole or not at all; errors as `write_bytes`."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())
