"""Annotations of the objects in each image: boxes from a CSV file, or masks from a folder.

Axis legend: N images, H0 x W0 pixels. A region is (H0, W0) in [0, 1], the part of each pixel inside the object.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tf_gradcam._files.tables import PathEnds, ending, read_rows
from tf_gradcam.image.io import read_checked
from tf_gradcam.image.opencv import opencv
from tf_gradcam.metrics.localisation import box_region

_SIDES = ("xmin", "ymin", "xmax", "ymax")


class BoxTable:
    """Boxes of N images from a CSV file.

    The file has a header with the columns `file` (or `filename`), `xmin`, `ymin`, `xmax`, `ymax`, in pixels; the right
    and lower edges are outside the box. It may have `width` and `height` of the picture that the pixels refer to; they
    are read from the image file otherwise. Other columns are ignored. Several lines of one file are several boxes.

    Args:
        path: the CSV file, UTF-8.
        files: N image files. A line belongs to the image whose path ends in its column `file`: "dogs/1.jpg" is found in
            any folder.

    Raises:
        FileNotFoundError: the CSV file does not exist, or an image file whose size is needed.
        ValueError: a column is missing, a cell is not a number, a box has no area or lies outside its picture, a line
            fits several images, or no line fits any image.

    Attributes:
        kind: "box".
        known: (N,) bool, True for an image with a box.
        boxes: N arrays (n, 4) float64, (xmin, ymin, xmax, ymax) in parts of the picture.
    """

    kind = "box"

    def __init__(self, path: str | os.PathLike[str], files: Sequence[str]):
        self.boxes: list[np.ndarray] = [np.zeros((0, 4)) for _ in files]
        places = PathEnds(files)
        _, rows = read_rows(Path(path), "boxes", _SIDES)
        for line, row in rows:
            where = f"line {line} of '{path}'"
            position = places.find(row["file"], where)
            if position is not None:
                box = _box_in_parts(row, files[position], where)
                self.boxes[position] = np.concatenate([self.boxes[position], box[None]])
        self.known = np.array([len(boxes) > 0 for boxes in self.boxes], bool)
        if not self.known.any():
            raise ValueError(
                f"Expected '{path}' to name some of the {len(files)} images, but no line fits any. Write the ends of "
                f"their paths into the column of files, such as '{ending(files)}'."
            )

    def region(self, position: int, size: tuple[int, int]) -> np.ndarray:
        """Return the union of the image's boxes, (H0, W0) float32 in [0, 1] at `size` (height, width)."""
        region = np.zeros(size)
        height, width = size
        for box in self.boxes[position]:
            region = np.maximum(region, box_region(size, box * [width, height, width, height]))
        return region.astype(np.float32)


class MaskFolder:
    """Masks of N images from a folder: pictures of the same proportions in which every value above 0 is the object.

    Args:
        folder: holds `<stem>.png` for an image `<stem>.jpg`, or `<folder of the image>/<stem>.png` where images of
            several folders share their stems.
        files: N image files.

    Raises:
        NotADirectoryError: the folder does not exist.
        ValueError: no image has a mask, several images share one, or a mask is not a picture.

    Attributes:
        kind: "mask".
        known: (N,) bool, True for an image with a mask. The mask may be empty: a picture without the object.
        paths: N paths; None for an image without a mask.
    """

    kind = "mask"

    def __init__(self, folder: str | os.PathLike[str], files: Sequence[str]):
        root = Path(folder)
        if not root.is_dir():
            raise NotADirectoryError(f"Expected a folder of masks, received '{folder}'. Check the path.")
        self.paths: list[Path | None] = []
        owners: dict[Path, str] = {}
        for file in files:
            name = Path(file).stem + ".png"
            candidates = (root / Path(file).parent.name / name, root / name)
            mask = next((path for path in candidates if path.exists()), None)
            if mask in owners and owners[mask] != file:
                raise ValueError(
                    f"The mask '{mask}' fits both '{owners[mask]}' and '{file}'. Put it into a folder inside "
                    f"'{folder}' that is named as the folder of its image."
                )
            if mask is not None:
                _checked_mask(mask)  # a damaged one is reported before an hour of work
                owners[mask] = file
            self.paths.append(mask)
        self.known = np.array([path is not None for path in self.paths], bool)
        if not self.known.any():
            raise ValueError(
                f"Expected '{folder}' to hold masks of some of the {len(files)} images, named as they are with the "
                f"suffix .png, such as '{Path(ending(files)).stem}.png'; it holds none. Check the names."
            )

    def region(self, position: int, size: tuple[int, int]) -> np.ndarray:
        """Return the part of each pixel inside the mask, (H0, W0) float32 in [0, 1] at `size` (height, width)."""
        path = self.paths[position]
        return np.zeros(size, np.float32) if path is None else _read_mask(path, size)


KnownRegions = BoxTable | MaskFolder


def _box_in_parts(row: dict[str, str], file: str, where: str) -> np.ndarray:
    """Return the box of a line as (4,) float64 in [0, 1], relative to the picture."""
    try:
        sides = [float(row.get(name, "")) for name in _SIDES]
        size = [float(row[name]) for name in ("width", "height") if row.get(name)]
    except ValueError as error:
        raise ValueError(
            f"Expected numbers in the columns of the box in {where}, received other text. Correct the line."
        ) from error
    width, height = size if len(size) == 2 else _size_of(file, where)
    xmin, ymin, xmax, ymax = sides
    if not (0 <= xmin < xmax <= width and 0 <= ymin < ymax <= height):
        raise ValueError(
            f"Expected a box (xmin, ymin, xmax, ymax) with an area inside {width:g} x {height:g} pixels in {where}, "
            f"received {tuple(sides)}. Correct the line."
        )
    return np.array(sides) / [width, height, width, height]


def _size_of(file: str, where: str) -> tuple[int, int]:
    """Return (width, height) of a picture as it is displayed."""
    try:
        _, header = read_checked(file)
    except (OSError, ValueError) as error:
        remedy = f"Give the columns width and height in {where}, or leave that line out."
        kind = type(error) if isinstance(error, (FileNotFoundError, PermissionError)) else ValueError
        raise kind(f"Cannot read the size of the picture of a box: {error} {remedy}") from error
    stored = header.width, header.height
    return stored if header.orientation < 5 else stored[::-1]


def _checked_mask(path: Path) -> bytes:
    """Return the bytes of a mask whose picture is whole and not oversized."""
    try:
        return read_checked(path)[0]
    except ValueError as error:
        raise ValueError(f"Expected a mask as a PNG picture, but '{path}' cannot be decoded: {error}") from error


def _read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    cv2, data = opencv(), _checked_mask(path)
    try:  # as stored: converted to 8 bits, a label of 1 in 16 bits would become 0
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        stored = None
    if stored is None:
        raise ValueError(f"Expected a mask as a PNG picture, but '{path}' cannot be decoded. Save it again.")
    colours = stored.reshape(*stored.shape[:2], -1)[..., :3] if stored.ndim == 3 else stored[..., None]
    if colours.shape[-1] == 2:  # grey and alpha
        colours = colours[..., :1]
    inside = (colours > 0).any(axis=-1).astype(np.float32)
    height, width = size
    # By area along an axis that shrinks, nearest along one that grows, so that edges stay sharp.
    for side, axis in ((width, 1), (height, 0)):
        if inside.shape[axis] != side:
            target = (side, inside.shape[0]) if axis else (inside.shape[1], side)
            way = cv2.INTER_AREA if side < inside.shape[axis] else cv2.INTER_NEAREST
            inside = cv2.resize(inside, target, interpolation=way)
    return np.clip(inside, 0, 1)
