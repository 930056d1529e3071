"""Tables of the user's about image files: the rows of a CSV file, and which image each of them means."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from tf_gradcam._errors import unknown_name
from tf_gradcam._files.opening import MAX_TABLE_BYTES, check_file

_FILE_COLUMNS = ("file", "filename")


def read_rows(path: Path, what: str, needed: Sequence[str] = ()) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a CSV file with a header, UTF-8.

    Args:
        path: the file.
        what: the content that is expected, such as "boxes", for messages.
        needed: columns that it must have, beside `file` or `filename`.

    Returns:
        The other columns than that of files, and the rows as (line number, columns); the column of files is always
        called `file`.

    Raises:
        FileNotFoundError: it does not exist.
        OSError, ValueError: it is not a CSV file in UTF-8, or a column is missing.
    """
    check_file(path, f"a CSV file of {what}", MAX_TABLE_BYTES)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]
            columns = [name.strip() for name in reader.fieldnames or []]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Expected a CSV file of {what}, but '{path}' does not exist. Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected {what} in UTF-8, but '{path}' is not. Save it as UTF-8 text.") from error
    except csv.Error as error:
        raise ValueError(f"Expected '{path}' as a CSV file, but it cannot be read: {error}. Save it again.") from error
    named = next((name for name in _FILE_COLUMNS if name in columns), None)
    missing = next((name for name in needed if name not in columns), "file" if named is None else None)
    if missing is not None and len(columns) == 1 and ";" in columns[0]:
        raise ValueError(f"Expected columns between commas in '{path}', received semicolons. Save it with commas.")
    if missing is not None:
        raise ValueError(f"Expected a column '{missing}' in '{path}'. {unknown_name('column', missing, columns)}")
    cleaned = []
    for line, row in rows:
        cells = {str(key).strip(): (value or "").strip() for key, value in row.items() if isinstance(value, str)}
        cleaned.append((line, {**cells, "file": cells.get(str(named), "")}))
    return [name for name in columns if name != named], cleaned


class PathEnds:
    """An index of images by the ends of their paths: "dogs/1.jpg" is found in any folder.

    Args:
        files: the images.
    """

    def __init__(self, files: Sequence[str]):
        self._parts = [Path(os.path.abspath(file)).parts for file in files]
        self._by_name: dict[str, list[int]] = {}
        for position, parts in enumerate(self._parts):
            self._by_name.setdefault(parts[-1], []).append(position)

    def find(self, name: str, where: str) -> int | None:
        """Return the position of the image that a name means, None for none.

        Raises:
            ValueError: no name, or one that fits several images; `where` says which row it is.
        """
        wanted = tuple(part for part in Path(name.replace("\\", "/")).parts if part != ".")
        if not wanted:
            raise ValueError(f"Expected the name of a file in {where}, received none. Give it one.")
        fitting = [at for at in self._by_name.get(wanted[-1], []) if self._parts[at][-len(wanted) :] == wanted]
        if len({self._parts[at] for at in fitting}) > 1:
            raise ValueError(
                f"'{name}' in {where} fits {len(fitting)} images, such as '{Path(*self._parts[fitting[0]])}' and "
                f"'{Path(*self._parts[fitting[1]])}'. Write the folder before the name."
            )
        return fitting[0] if fitting else None


def ending(files: Sequence[str]) -> str:
    """Return the end of the first path, as a row may name it."""
    return "/".join(Path(files[0]).parts[-2:]) if files else ""
