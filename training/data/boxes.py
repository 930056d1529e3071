"""The true boxes of the objects in the images, from a CSV file.

Axis legend: N samples, n boxes of a sample.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tf_gradcam.image import load_image

from ..reading import check_regular, read_rows
from .folder import Samples, in_threads

BOXES = "boxes.csv"  # beside the class folders of phantom slices
SIDES = ("xmin", "ymin", "xmax", "ymax")
COLUMNS = ("filename", *SIDES)
_SIZE = ("width", "height")


class BoxRow(NamedTuple):
    """A line of a table of boxes.

    line: its number in the file, the header is 1.
    name: the image, relative to the folder of the data.
    sides: xmin, ymin, xmax, ymax in pixels; the right and lower edges are outside the box.
    size: width and height of the picture that the pixels refer to; None for the stored one.
    """

    line: int
    name: str
    sides: tuple[float, ...]
    size: tuple[float, ...] | None


def read_boxes(table: Path) -> list[BoxRow]:
    """Read a CSV file with a header and the columns `COLUMNS`, and perhaps `width` and `height`; others are ignored.

    Several lines of one image are several boxes.

    Raises:
        FileNotFoundError: there is no such file. OSError: it cannot be read.
        ValueError: it is not CSV in UTF-8, has no box, lacks a column, or a cell is not a number.
    """
    check_regular(table, "a CSV file of boxes")
    if not table.is_file():
        raise FileNotFoundError(f"Expected a CSV file of boxes, but there is no file '{table}'. Check --boxes.")
    columns, *lines = read_rows(table, "a CSV file of boxes") or [[]]
    columns = ["filename" if name.strip() == "file" else name.strip() for name in columns]  # as in audits
    wanted = (*COLUMNS, *(_SIZE if set(_SIZE) & set(columns) else ()))
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise ValueError(
            f"Expected the columns {', '.join(wanted)} in '{table}', received {', '.join(columns) or 'an empty file'}: "
            f"without {missing[0]}. Name the columns in its first line."
        )
    at = {name: columns.index(name) for name in wanted}
    rows = []
    for line, cells in enumerate(lines, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        try:
            name = cells[at["filename"]].strip().replace("\\", "/").removeprefix("./")
            numbers = [float(cells[at[column]]) for column in wanted[1:]]
            if not np.isfinite(numbers).all():
                raise ValueError
        except (IndexError, ValueError) as error:
            raise ValueError(
                f"Expected numbers for {', '.join(wanted[1:])} in line {line} of '{table}', received "
                f"{','.join(cells)}. Correct the line."
            ) from error
        rows.append(BoxRow(line, name, tuple(numbers[:4]), tuple(numbers[4:]) or None))
    if not rows:
        raise ValueError(f"Expected at least one box in '{table}', received the header alone. Add a line for each box.")
    return rows


def with_boxes(samples: Samples, rows: list[BoxRow], table: Path) -> Samples:
    """Return the samples with their boxes; lines that name other files are left out.

    Args:
        samples: N samples.
        rows: of `read_boxes`.
        table: the file, for messages.

    Raises:
        ValueError: no line names a sample; a box has no area, or leaves its picture.
        OSError: an image whose size is needed cannot be read any more.
    """
    places = {samples.name(index): index for index in range(len(samples))}
    known = [(places[row.name], row) for row in rows if row.name in places]
    if not known and any(samples.has_file(row.name) for row in rows):
        raise ValueError(
            f"Expected boxes of the {len(samples)} images that are used, received boxes of other images alone in "
            f"'{table}'. Raise --limit or --classes, or leave out --boxes."
        )
    if not known:
        raise ValueError(
            f"Expected names of images in the column filename of '{table}', relative to '{samples.root}', such as "
            f"{samples.name(0)}; received such as {rows[0].name}. Correct the names."
        )
    unsized = sorted({samples.files[index] for index, row in known if row.size is None})
    sizes = dict(zip(unsized, in_threads(lambda file: load_image(file).shape[1::-1], unsized, "Measured"), strict=True))
    boxes: list[list[np.ndarray]] = [[] for _ in samples.files]
    for index, row in known:
        boxes[index].append(_in_parts(row, row.size or sizes[samples.files[index]], table))
    return replace(samples, boxes=tuple(np.array(each, np.float64).reshape(-1, 4) for each in boxes))


def _in_parts(row: BoxRow, size: tuple[float, ...], table: Path) -> np.ndarray:
    """Return a box as (4,) float64 in [0, 1], in parts of its picture of `size` (width, height)."""
    width, height = size
    xmin, ymin, xmax, ymax = row.sides
    if not (0 <= xmin < xmax <= width and 0 <= ymin < ymax <= height):
        raise ValueError(
            f"Expected xmin < xmax and ymin < ymax inside {width:g} x {height:g} pixels in line {row.line} of "
            f"'{table}', received {', '.join(f'{side:g}' for side in row.sides)}. Correct the line."
        )
    return np.array(row.sides) / [width, height, width, height]
