"""Files that are read again or given by the user: what is damaged, or has no end, is one error with a remedy."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MAX_BYTES = 2**28  # of a text; the table of a million samples takes a quarter of that


def check_regular(path: Path, kind: str) -> None:
    """Refuse a pipe or a device, which would be read for ever. A missing file passes: opening it says so.

    Raises:
        OSError: the path is one of these; `kind` names what was expected, such as "a zip".
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(f"Expected {kind}, but '{path}' is a pipe or a device. Copy its content to a file.")


def read_text(path: Path, kind: str) -> str:
    """Read a text in UTF-8.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8, or larger than any file of this kind.
    """
    check_regular(path, kind)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"Expected {kind} of at most {MAX_BYTES:,} bytes, but '{path}' has more. Give another file.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected {kind} in UTF-8, but '{path}' is not. Save it as UTF-8 text.") from error


def read_object(path: Path, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Read a JSON object that this program wrote.

    Args:
        path: the file.
        parts: keys that it must have, and the type of each value.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON, not an object, or lacks a part.
    """
    try:
        content = json.loads(read_text(path, "a JSON file"))
        if isinstance(content, dict) and all(isinstance(content.get(key), kind) for key, kind in parts.items()):
            return content
    except (ValueError, RecursionError):
        pass
    raise ValueError(
        f"'{path}' is damaged: expected a JSON object with {', '.join(parts)}. Restore the file, or begin a new run in "
        "another folder."
    )


def read_rows(path: Path, kind: str) -> list[list[str]]:
    """Read the rows of a CSV file, the first one included.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8 or not CSV.
    """
    try:
        return list(csv.reader(io.StringIO(read_text(path, kind))))  # str.splitlines cuts at U+0085 and others too
    except csv.Error as error:
        raise ValueError(f"Expected {kind}, but '{path}' cannot be read as one: {error}. Save it again.") from error
