"""Generated slices as a folder of images, for a training without any data."""

from __future__ import annotations

from pathlib import Path

from tf_gradcam.demo import CLASS_NAMES, phantom_slices

SLICES = 400


def write_phantom(folder: Path, count: int = SLICES, seed: int = 0, size: int = 224) -> Path:
    """Write `count` phantom slices, a folder for each class; what is there already is left as it is.

    Args:
        folder: where the class folders go.
        count: slices in all; their classes are drawn at random.
        seed: of the slices.
        size: their side in pixels.

    Returns:
        `folder`.
    """
    import cv2

    if folder.is_dir():
        return folder
    building = folder.with_name(f".{folder.name}")
    phantom = phantom_slices(count, seed, size)
    for index, (image, label) in enumerate(zip(phantom.images, phantom.labels, strict=True)):
        file = building / CLASS_NAMES[label] / f"slice_{index:05d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(file), cv2.cvtColor(image.round().astype("uint8"), cv2.COLOR_RGB2BGR)):
            raise OSError(f"Cannot write '{file}': is the disk full?")
    return building.rename(folder)
