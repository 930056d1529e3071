"""Generated slices as a folder of images, for a training without data."""

from __future__ import annotations

from pathlib import Path

from tf_gradcam.demo import CLASS_NAMES, phantom_slices
from tf_gradcam.image import save_image


def write_phantom(folder: Path, count: int, seed: int = 0, size: int = 224) -> Path:
    """Write `count` phantom slices, a folder for each class. An existing folder is left as it is.

    Args:
        folder: will hold the class folders.
        count: number of slices; their classes are drawn at random.
        seed: of the slices.
        size: side of a slice in pixels.

    Returns:
        `folder`.
    """
    if folder.is_dir():
        return folder
    building = folder.with_name(f".{folder.name}")
    phantom = phantom_slices(count, seed, size)
    for index, (image, label) in enumerate(zip(phantom.images, phantom.labels, strict=True)):
        file = building / CLASS_NAMES[label] / f"slice_{index:05d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        save_image(file, image.round().astype("uint8"))
    return building.rename(folder)
