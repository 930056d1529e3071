"""Generated slices as a folder of images, with the boxes of their tumours, for a training without data."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from tf_gradcam.demo import CLASS_NAMES, phantom_slices
from tf_gradcam.image import save_image

from .boxes import BOXES, COLUMNS

_SETTINGS = ".settings"  # in the folder: what its slices were drawn with


def write_phantom(folder: Path, count: int, seed: int = 0, size: int = 224) -> Path:
    """Write `count` phantom slices, a folder for each class, and boxes.csv; slices of these settings are kept.

    Args:
        folder: will hold the class folders, and the boxes of the tumours as `read_boxes` reads them.
        count: number of slices; their classes take turns.
        seed: of the slices.
        size: side of a slice in pixels.

    Returns:
        `folder`.
    """
    building = folder.with_name(f".{folder.name}")
    settings = f"{count} slices of {size} pixels, seed {seed}\n"
    if folder.is_dir():
        about = folder / _SETTINGS
        if not about.exists() or about.read_text(encoding="utf-8") == settings:  # older versions have no such file
            return folder
        shutil.rmtree(folder)  # drawn by a start with other settings that failed
    shutil.rmtree(building, ignore_errors=True)  # of a process that was killed
    phantom = phantom_slices(count, seed, size)
    lines = [",".join(COLUMNS)]
    for index, (image, label, mask) in enumerate(zip(*phantom, strict=True)):
        file = building / CLASS_NAMES[label] / f"slice_{index:05d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        save_image(file, image.round().astype("uint8"))
        if mask.any():
            rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
            lines.append(f"{file.relative_to(building).as_posix()},{_box(columns, rows)}")
    (building / BOXES).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (building / _SETTINGS).write_text(settings, encoding="utf-8")
    return building.rename(folder)


def _box(columns: np.ndarray, rows: np.ndarray) -> str:
    """Return xmin, ymin, xmax, ymax of covered columns and rows; the last two are outside."""
    return f"{columns[0]},{rows[0]},{columns[-1] + 1},{rows[-1] + 1}"
