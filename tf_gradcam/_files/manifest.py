"""manifest.csv: the result of each image, complete at every moment of the run."""

from __future__ import annotations

import csv
import io
import os
import re
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass
from pathlib import Path

from tf_gradcam._files.atomic import write_bytes

COLUMNS = ("file", "status", "class", "label", "score", "layer", "method", "error")
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class Row:
    """The row of an image: its explained class and score, or its error. Fields in the order of `COLUMNS`."""

    file: str
    status: str
    class_index: str = ""
    label: str = ""
    score: str = ""
    layer: str = ""
    method: str = ""
    error: str = ""


class Manifest(AbstractContextManager["Manifest"]):
    """A CSV file (UTF-8, RFC 4180) with one row per image, in the order in which the images were finished.

    A new header replaces an old file at once, and each row is appended in one piece when its image is finished. A run
    that is interrupted or killed leaves whole rows, and only of images whose files are written.

    Spreadsheets run cells that begin with = + - or @ as formulas. Such a file name is written with ./ before it, any
    other text with an apostrophe before it, which spreadsheets hide.

    Args:
        path: the file.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path):
        write_bytes(path, _line(COLUMNS))
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115 - open as long as the manifest is
        self._end = self._file.seek(0, os.SEEK_END)

    def add(self, row: Row) -> None:
        """Append a row, whole or not at all.

        Raises:
            OSError: it cannot be written, for example because the disk is full.
        """
        file, *others = astuple(row)
        line = _line([_plain_path(file), *map(_plain_text, others)])
        try:
            if self._file.write(line) != len(line):
                raise OSError("the disk is full")
        except OSError as error:
            self._file.truncate(self._end)
            self._file.seek(self._end)  # otherwise the next row would follow a hole
            raise OSError(f"Cannot write '{self._file.name}': {error}. Make room, or choose another folder.") from error
        self._end += len(line)

    def __exit__(self, *_: object) -> None:
        self._file.close()


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _plain_path(path: str) -> str:
    return f"./{path}" if path.startswith(_FORMULA) else path


def _plain_text(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _line(cells: list[str] | tuple[str, ...]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    text = _UNDECODED.sub(_decoded, buffer.getvalue())
    return text.encode("utf-8", "backslashreplace")  # file names that are not Unicode, on Linux


_UNDECODED = re.compile("[\udc80-\udcff]+")  # the bytes of a file name, in a locale such as "C" that has only ASCII


def _decoded(match: re.Match[str]) -> str:
    return match[0].encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
