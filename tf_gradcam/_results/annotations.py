"""Hot regions of pictures as files of annotation tools: COCO JSON, and YOLO text.

COCO: https://cocodataset.org/#format-data, with the `score` of its results format. YOLO:
https://docs.ultralytics.com/datasets/detect.

Axis legend: H0 x W0 pixels of a picture file, upright.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tf_gradcam._files.atomic import write_files
from tf_gradcam.image.regions import HotRegion, outline_of

ANNOTATIONS, CLASSES = "annotations.json", "classes.txt"
_DESCRIPTION = "Hot regions of heatmaps, by tf-gradcam"


class FoundRegion(NamedTuple):
    """A hot region in pixels of its picture.

    Attributes:
        category: name of the class whose map it is of.
        score: of that class: its probability, the score of the detection, or what was explained.
        box: (left, top, width, height).
        area: of the region itself.
        outline: x and y of its corners in turn.
        class_index: of the class, -1 for something else that was explained.
    """

    category: str
    score: float
    box: tuple[float, float, float, float]
    area: float
    outline: list[float]
    class_index: int = -1

    @classmethod
    def of(
        cls, region: HotRegion, category: str, score: float, scale: tuple[float, float], class_index: int = -1
    ) -> FoundRegion:
        """Return a region of a map; `scale` is the file's pixels per pixel of the map, (down, right)."""
        (left, top, right, bottom), (down, across) = region.box, scale
        box = (left * across, top * down, (right - left) * across, (bottom - top) * down)
        outline = (outline_of(region) * (across, down)).ravel().tolist()
        return cls(category, score, box, region.area * across * down, outline, class_index)


class Annotations:
    """The regions of the pictures of a run, added to those of earlier runs.

    Args:
        folder: of the files.
        categories: names of the model's classes, whose numbers they keep; others follow as they are met.
        kept: files of pictures whose earlier regions stay.
        has_outlines: whether to write outlines.

    Raises:
        ValueError: the file there is not one of this class.
    """

    def __init__(self, folder: Path, categories: Sequence[str], kept: Sequence[str] = (), has_outlines: bool = True):
        self._folder, self._has_outlines, self._lock = folder, has_outlines, threading.Lock()
        old = read_annotations(folder) if kept else {"images": [], "annotations": [], "categories": []}
        self._numbers: dict[str, int] = {}
        for name in [*(each["name"] for each in old["categories"]), *categories]:
            self.number_of(name)
        stays = {image["id"]: image for image in old["images"] if image["file_name"] in set(kept)}
        self._images: list[dict[str, Any]] = []
        self._regions: list[dict[str, Any]] = []
        numbers: dict[int, int] = {}  # old -> new
        for number, image in stays.items():
            numbers[number] = len(numbers) + 1
            self._images.append({**image, "id": numbers[number]})
        for region in old["annotations"]:
            if region["image_id"] in numbers:
                place = {"id": len(self._regions) + 1, "image_id": numbers[region["image_id"]]}
                self._regions.append({**region, **place})

    def number_of(self, category: str, class_index: int = -1) -> int:
        """Return the number of a category, from 0: a new one gets the next, or that of its class if this is larger."""
        with self._lock:
            if category not in self._numbers:
                for number in range(len(self._numbers), class_index):
                    self._numbers.setdefault(f"class {number}", number)
            return self._numbers.setdefault(category, len(self._numbers))

    def yolo(self, size: tuple[int, int], regions: Sequence[FoundRegion]) -> bytes:
        """Return the lines of a picture (H0, W0): class, then centre x, centre y, width and height in parts of it."""
        lines = []
        for each in regions:
            (left, top, width, height), (down, across) = each.box, size
            sides = ((left + width / 2) / across, (top + height / 2) / down, width / across, height / down)
            lines.append(
                f"{self.number_of(each.category, each.class_index)} {' '.join(f'{side:.6f}' for side in sides)}\n"
            )
        return "".join(lines).encode()

    def add(self, file: str, size: tuple[int, int], regions: Sequence[FoundRegion]) -> None:
        """Add a picture of (H0, W0) pixels and its regions."""
        image = len(self._images) + 1
        self._images.append({"id": image, "file_name": file, "width": size[1], "height": size[0]})
        for each in regions:
            self._regions.append(
                {
                    "id": len(self._regions) + 1,
                    "image_id": image,
                    "category_id": self.number_of(each.category, each.class_index) + 1,
                    "bbox": [round(side, 2) for side in each.box],
                    "area": round(each.area, 2),
                    "segmentation": [[round(side, 2) for side in each.outline]] if self._has_outlines else [],
                    "iscrowd": 0,
                    "score": round(each.score, 6),
                }
            )

    def coco(self) -> bytes:
        """Return the COCO file."""
        categories = [
            {"id": number + 1, "name": name, "supercategory": "heatmap"} for name, number in self._numbers.items()
        ]
        parts = {"images": self._images, "annotations": self._regions, "categories": categories}
        return json.dumps({"info": {"description": _DESCRIPTION}, "licenses": [], **parts}, ensure_ascii=False).encode(
            "utf-8", "backslashreplace"
        )

    def write(self, has_boxes: bool = True) -> None:
        """Write the COCO file and, for YOLO, the names of the classes in the order of their numbers, one a line."""
        names = "".join(f"{name}\n" for name in self._numbers).encode("utf-8", "backslashreplace")
        classes = [(self._folder / CLASSES, names)] if has_boxes else []
        write_files([(self._folder / ANNOTATIONS, self.coco()), *classes])


def read_annotations(folder: Path) -> Mapping[str, Any]:
    """Read the COCO file of an earlier run, an empty one where there is none.

    Raises:
        ValueError: it was not written by `Annotations`.
    """
    path = folder / ANNOTATIONS
    if not path.exists() and (folder / CLASSES).exists():
        path = folder / CLASSES
    if not path.exists():
        return {"images": [], "annotations": [], "categories": []}
    try:
        found = json.loads(path.read_bytes())
        is_own = found["info"]["description"] == _DESCRIPTION
    except (ValueError, KeyError, TypeError):
        is_own = False
    if not is_own:
        raise ValueError(
            f"Expected '{path}' from `tf-gradcam explain`, received another file. Add --overwrite, or choose another "
            "folder by --out."
        )
    return found
