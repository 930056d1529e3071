"""manifest.csv: the results of each image, complete at every moment of the run."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from tf_gradcam._files.atomic import write_bytes
from tf_gradcam._files.find import (
    DEFAULT_SAVED,
    MASK_SUFFIX,
    SAVED,
    check_outputs,
    longest_name,
    output_stems,
)
from tf_gradcam._files.opening import check_regular

COLUMNS = (
    *("file", "status", "class", "label", "score", "layer", "method", "error"),
    *("probability", "output", "scaling", "diagnosis", "note", "stem", "map", "task", "unit", "inputs", "mask"),
    *("saved", "verdict"),
)
DONE, FAILED = "done", "failed"
MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class Row:
    """The row of a map of an image: its explained class and score, or its error. Fields in the order of `COLUMNS`.

    Attributes:
        probability: of the explained class; "" where the outputs are values.
        output: name of the explained output; "" for a model of one.
        diagnosis: the reason why the map shows nothing; "" for a map that can be read.
        note: what was done to read the picture, such as the choice of a frame.
        stem: name of the image's files.
        map_name: what the files of this map have behind the stem; "" for the only map of an image.
        task: of the model.
        unit: of the values of a regression.
        inputs: the values of the model's further inputs, such as "age=62".
        mask: name of the file of a segmentation's predicted mask.
        saved: what was written of the map, of `SAVED`, with spaces between.
        verdict: the words of the map's verdict; "" where none was asked for.
    """

    file: str
    status: str
    class_index: str = ""
    label: str = ""
    score: str = ""
    layer: str = ""
    method: str = ""
    error: str = ""
    probability: str = ""
    output: str = ""
    scaling: str = ""
    diagnosis: str = ""
    note: str = ""
    stem: str = ""
    map_name: str = ""
    task: str = ""
    unit: str = ""
    inputs: str = ""
    mask: str = ""
    saved: str = ""
    verdict: str = ""


class Manifest(AbstractContextManager["Manifest"]):
    """A CSV file (UTF-8, RFC 4180) with a row for each map of an image, in the order in which images were finished.

    A new header replaces an old file at once, and the rows of an image are appended in one piece when it is finished. A
    run that is interrupted or killed leaves whole rows, and only of images whose files are written.

    Spreadsheets run cells that begin with = + - or @ as formulas. Such a file name is written with ./ before it, any
    other text with an apostrophe before it, which spreadsheets hide.

    Args:
        path: the file.
        kept: rows of earlier runs, by column, that stay in the table.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, kept: Iterable[Mapping[str, str]] = ()):
        lines = [list(COLUMNS), *([row.get(column, "") for column in COLUMNS] for row in kept)]
        write_bytes(path, b"".join(_line(cells) for cells in lines))
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115 - open as long as the manifest is
        self._end = self._file.seek(0, os.SEEK_END)

    def add(self, *rows: Row) -> None:
        """Append the rows of an image, all of them or none.

        Raises:
            OSError: it cannot be written, for example because the disk is full.
        """
        texts = [astuple(row) for row in rows]
        line = b"".join(_line([_plain_path(file), *map(_plain_text, others)]) for file, *others in texts)
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


def _line(cells: list[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return _encoded(buffer.getvalue())


def _encoded(text: str) -> bytes:
    """Return UTF-8; file names that are not Unicode, on Linux, are written readably."""
    return _UNDECODED.sub(_decoded, text).encode("utf-8", "backslashreplace")


_UNDECODED = re.compile("[\udc80-\udcff]+")  # the bytes of a file name, in a locale such as "C" that has only ASCII


def _decoded(match: re.Match[str]) -> str:
    return match[0].encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _read(path: Path) -> list[dict[str, str]]:
    """Return the rows of an earlier run, as they are written."""
    check_regular(path, "a table of results")
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            rows = [{key: text or "" for key, text in row.items() if key in COLUMNS} for row in reader]
    except (UnicodeDecodeError, csv.Error):
        rows, columns = [], []
    if not {"file", "status"} <= set(columns):
        raise ValueError(
            f"'{path}' is not a table of `tf-gradcam explain`. Choose another folder by --out, or replace it by "
            "--overwrite."
        )
    return rows


class Plan(NamedTuple):
    """The plan of a run into a folder that may hold results.

    Attributes:
        paths, stems: the images to explain, and the names of their files.
        kept: rows of earlier runs that stay.
        finished: the rows of the named images among them.
        notes: what the user should know of names and files.
        old: by stem, the files of earlier runs that are replaced, or removed where there are no such maps any more.
    """

    paths: list[Path]
    stems: list[str]
    kept: list[dict[str, str]]
    finished: list[dict[str, str]]
    notes: list[str]
    old: dict[str, list[str]]


def plan_run(
    paths: Sequence[Path],
    folder: Path,
    mode: Literal["", "resume", "overwrite"] = "",
    saved: Sequence[str] = DEFAULT_SAVED,
    annotated: Container[str] | None = None,
) -> Plan:
    """Plan a run so that no result of an earlier one is replaced, or loses its row, against the user's will.

    Args:
        paths: the images.
        folder: where results go; it exists.
        mode: "" explains all images, and notes how many results are replaced; "overwrite" does so without the note,
            and replaces files without a row; "resume" leaves out the images that are done. Rows and files of images
            that are not named stay.
        saved: what is written of each map, of `SAVED`.
        annotated: the files whose regions the file of all images has; None where it is not written.

    Raises:
        ValueError: files without a row would be replaced and the mode is ""; the manifest is not one, unless it is
            overwritten.
        OSError: the manifest cannot be read.
    """
    table, notes, rows = folder / MANIFEST, [], []
    if table.is_dir():
        raise ValueError(f"Expected a table, but '{table}' is a folder. Choose another folder by --out.")
    if table.exists():
        try:
            rows = _read(table)
        except ValueError:
            if mode != "overwrite":
                raise
            notes.append(f"'{table}' was not a table of results and is replaced.")
    known: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        known.setdefault(_key(row["file"]), []).append(row)
    named = {_key(str(path)): path for path in paths}
    is_finished = {
        key
        for key, path in named.items()
        if mode == "resume"
        and _is_done(known.get(key), path, folder, saved)
        and (annotated is None or path.as_posix() in annotated)
    }
    kept = [row for key, own in known.items() if key not in named or key in is_finished for row in own]
    todo = [path for key, path in named.items() if key not in is_finished]
    # An image that is explained again keeps the names of its files.
    old = {key: known[key][0]["stem"] for key in named if known.get(key, [{}])[0].get("stem")}
    others = [row.get("stem", "") for row in kept] + list(old.values())
    fresh = [path for path in todo if _key(str(path)) not in old]
    new = dict(zip(fresh, output_stems(fresh, others, longest_name(folder)), strict=True))
    stems = [new.get(path) or old[_key(str(path))] for path in todo]
    there = [name for stem in stems for name in files_of(stem, saved=saved) if (folder / name).is_file()]
    listed = {stem: [name for row in known[key] for name in _files_of_row(row, stem)] for key, stem in old.items()}
    lost = [name for name in there if name not in {each for names in listed.values() for each in names}]
    if lost and not mode:
        raise ValueError(_lost(folder, lost))
    if old and not mode:
        notes.append(
            f"'{folder}' has results of {len(old)} of these images, which this run replaces. Add --resume to keep "
            "them, or --overwrite to leave this note out."
        )
    if lost and mode == "resume":
        notes.append(f"{len(lost)} files without a row in {MANIFEST} are replaced, such as '{lost[0]}'.")
    changed = [(path, stem) for path, stem in new.items() if stem != path.stem]
    if changed:
        count = f"{len(changed)} images have" if changed[1:] else "1 image has"
        notes.append(
            f"{count} the name of another image, or a name too long for its outputs: the files of '{changed[0][0]}' "
            f"are called '{changed[0][1]}'. The column stem of {MANIFEST} names all."
        )
    return Plan(todo, stems, kept, [known[key][0] for key in named if key in is_finished], notes, listed)


def files_of(stem: str, map_name: str = "", saved: Sequence[str] = DEFAULT_SAVED) -> list[str]:
    """Return the names of the files of an image's map; the boxes of all its maps are in one."""
    start = f"{stem}.{map_name}" if map_name else stem
    return [(stem if what == "boxes" else start) + SAVED[what] for what in saved if SAVED[what]]


def _files_of_row(row: Mapping[str, str], stem: str) -> list[str]:
    masks = [stem + MASK_SUFFIX] if row.get("mask") else []
    saved = [what for what in row.get("saved", "").split() if what in SAVED]  # none in older tables
    return [*files_of(stem, row.get("map", ""), saved or DEFAULT_SAVED), *masks]


def check_masks(paths: Sequence[Path], plan: Plan, folder: Path, mode: Literal["", "resume", "overwrite"]) -> None:
    """Check that the predicted masks of a segmentation replace no file against the user's will, as `plan_run` does.

    Raises:
        ValueError: a mask would overwrite an image; files without a row would be replaced and the mode is "".
    """
    check_outputs(paths, plan.stems, folder, MASK_SUFFIX)
    listed = {name for names in plan.old.values() for name in names}
    names = [stem + MASK_SUFFIX for stem in plan.stems]
    lost = [name for name in names if name not in listed and (folder / name).is_file()]
    if lost and not mode:
        raise ValueError(_lost(folder, lost))


def _lost(folder: Path, lost: Sequence[str]) -> str:
    return (
        f"'{folder}' holds '{lost[0]}'{f' and {len(lost) - 1} more files' if lost[1:] else ''}, which this run "
        f"would replace and {MANIFEST} does not list. Add --overwrite, or choose another folder by --out."
    )


def _key(file: str) -> str:
    """Return what makes two names of a file equal, as it is written in the table."""
    return _encoded(os.path.abspath(file)).decode("utf-8")


def _is_done(
    rows: Sequence[Mapping[str, str]] | None, path: Path, folder: Path, saved: Sequence[str] = DEFAULT_SAVED
) -> bool:
    """Return whether what is to be saved of an image was, and its files are there and not older than the picture."""
    if not rows or any(row["status"] != DONE or not row.get("stem") for row in rows):
        return False
    if any(not set(saved) <= set(row.get("saved", "").split() or DEFAULT_SAVED) for row in rows):
        return False
    names = [name for row in rows for name in _files_of_row(row, row["stem"])]
    try:
        made = min((folder / name).stat().st_mtime_ns for name in names or [MANIFEST])
        return path.stat().st_mtime_ns <= made
    except OSError:
        return False
