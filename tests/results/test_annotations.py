"""Hot regions as COCO JSON and YOLO text, by numbers derived from a map of 6 x 10 pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tf_gradcam._results.annotations import Annotations, FoundRegion
from tf_gradcam.image.regions import HotRegion, regions_of

SIZE = (6, 10)
HEAT = np.zeros(SIZE, np.float32)
HEAT[1:4, 2:7] = 1  # 3 rows, 5 columns
HEAT[1, 6] = 0  # without a corner: 14 pixels
HEAT[5, 9] = 0.5  # one pixel in the corner of the picture


def regions(scale: tuple[float, float] = (1.0, 1.0)) -> list[FoundRegion]:
    return [FoundRegion.of(region, "dog", 0.75, scale) for region in regions_of(HEAT, 0.15)]


def area_of(outline: list[float]) -> float:
    """The area inside an outline, by the shoelace formula."""
    x, y = np.reshape(outline, (-1, 2)).T
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)


def coco(annotations: Annotations) -> Any:
    return json.loads(annotations.coco())


def test_region_has_box_area_and_outline_along_the_edges_of_its_pixels() -> None:
    large, small = regions()
    assert (large.box, large.area, area_of(large.outline)) == ((2, 1, 5, 3), 14, 14)
    corners = {(2, 1), (6, 1), (6, 2), (7, 2), (7, 4), (2, 4)}
    assert set(zip(*[iter(large.outline)] * 2, strict=True)) == corners
    assert (small.box, small.area) == ((9, 5, 1, 1), 1)
    assert set(zip(*[iter(small.outline)] * 2, strict=True)) == {(9, 5), (10, 5), (10, 6), (9, 6)}


def test_outline_of_any_region_without_holes_has_its_area() -> None:
    """Pixels that touch at a corner belong together; the outline passes the corner twice."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        heat = np.cumsum(rng.random((6, 10)) > 0.4, axis=1).clip(0, 1).astype(np.float32)  # rows, full to the right
        for region in regions_of(heat, 0.15):
            assert area_of(FoundRegion.of(region, "dog", 1.0, (1, 1)).outline) == region.area
    diagonal = HotRegion((0, 0, 2, 2), 2, np.eye(2, dtype=bool))  # type: ignore[arg-type]
    assert area_of(FoundRegion.of(diagonal, "dog", 1.0, (1, 1)).outline) == 2


def test_region_of_a_picture_that_was_read_smaller_is_in_pixels_of_the_file() -> None:
    """Three times as high and twice as wide."""
    large, _ = regions((3.0, 2.0))
    assert (large.box, large.area, area_of(large.outline)) == ((4, 3, 10, 9), 84, 84)


def test_yolo_lines_are_centres_and_sides_in_parts_of_the_picture(tmp_path: Path) -> None:
    """The large box has its centre at 4.5 of 10 and 2.5 of 6."""
    lines = Annotations(tmp_path, ["cat", "dog"]).yolo(SIZE, regions()).decode().splitlines()
    assert lines == ["1 0.450000 0.416667 0.500000 0.500000", "1 0.950000 0.916667 0.100000 0.166667"]


def test_coco_file_has_what_the_format_asks_for(tmp_path: Path) -> None:
    """https://cocodataset.org/#format-data: numbers from 1, boxes as left, top, width, height."""
    annotations = Annotations(tmp_path, ["cat", "dog"])
    annotations.add("a.png", SIZE, regions())
    annotations.add("b.png", SIZE, [])
    annotations.add("c.png", SIZE, [regions()[1]._replace(category="cat - dog")])
    found = coco(annotations)
    assert {"info", "licenses", "images", "annotations", "categories"} == set(found)
    assert [(each["id"], each["name"]) for each in found["categories"]] == [(1, "cat"), (2, "dog"), (3, "cat - dog")]
    assert [(each["id"], each["file_name"]) for each in found["images"]] == [(1, "a.png"), (2, "b.png"), (3, "c.png")]
    assert all((each["width"], each["height"]) == (10, 6) for each in found["images"])
    fields = {"id", "image_id", "category_id", "bbox", "area", "segmentation", "iscrowd", "score"}
    assert all(set(each) == fields for each in found["annotations"])
    places = [(each["id"], each["image_id"], each["category_id"]) for each in found["annotations"]]
    assert places == [(1, 1, 2), (2, 1, 2), (3, 3, 3)]
    first = found["annotations"][0]
    assert (first["bbox"], first["area"], first["iscrowd"], first["score"]) == ([2, 1, 5, 3], 14, 0, 0.75)
    (outline,) = first["segmentation"]
    assert len(outline) == 12  # six corners


def test_regions_of_pictures_that_stay_get_new_numbers_and_keep_their_classes(tmp_path: Path) -> None:
    first = Annotations(tmp_path, ["cat", "dog"])
    first.add("a.png", SIZE, regions())
    first.add("b.png", SIZE, regions()[:1])
    first.write()
    assert (tmp_path / "classes.txt").read_text() == "cat\ndog\n"
    second = Annotations(tmp_path, ["dog", "wolf"], kept=["b.png"])
    second.add("c.png", SIZE, [regions()[0]._replace(category="wolf")])
    found = coco(second)
    assert [image["file_name"] for image in found["images"]] == ["b.png", "c.png"]
    assert [(each["id"], each["image_id"], each["category_id"]) for each in found["annotations"]] == [
        (1, 1, 2),
        (2, 2, 3),
    ]
    assert [each["name"] for each in found["categories"]] == ["cat", "dog", "wolf"]


def test_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(ValueError, match=r"annotations.json' from `tf-gradcam explain`, received another file"):
        Annotations(tmp_path, [], kept=["a.png"])


def test_class_without_known_names_keeps_its_number(tmp_path: Path) -> None:
    """The only class that is met is class 2, which YOLO and COCO then call 2 and 3."""
    annotations = Annotations(tmp_path, [])
    found = [regions()[1]._replace(category="class 2", class_index=2)]
    assert annotations.yolo(SIZE, found).startswith(b"2 ")
    annotations.add("a.png", SIZE, found)
    assert [each["name"] for each in coco(annotations)["categories"]] == ["class 0", "class 1", "class 2"]
    assert coco(annotations)["annotations"][0]["category_id"] == 3
