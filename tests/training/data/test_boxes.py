"""True boxes from a CSV file: read for the images that have one, and one line for each way to get them wrong."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.data import ROOT, needs
from tf_gradcam.demo import CLASS_NAMES, phantom_slices
from training.data.boxes import read_boxes, with_boxes
from training.data.folder import Samples, read_folder
from training.data.phantom import write_phantom

HEADER = "filename,xmin,ymin,xmax,ymax"


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Two classes of two pictures of 6 x 10 pixels."""
    root = tmp_path_factory.mktemp("boxes") / "data"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(2):
            cv2.imwrite(str(root / name / f"{number}.png"), np.full((6, 10, 3), 40 * number, np.uint8))
    return read_folder(root)


def table(folder: Path, *lines: str) -> Path:
    path = folder / "boxes.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def boxed(samples: Samples, path: Path) -> list[list[list[float]]]:
    boxes = with_boxes(samples, read_boxes(path), path).boxes
    assert boxes is not None
    return [each.tolist() for each in boxes]


def test_boxes_are_parts_of_the_stored_picture(samples: Samples, tmp_path: Path) -> None:
    path = table(tmp_path, HEADER, "dog/0.png,1,3,5,6", "elsewhere.png,0,0,1,1")
    assert boxed(samples, path) == [[], [], [[0.1, 0.5, 0.5, 1.0]], []]


def test_boxes_may_refer_to_a_size_of_their_own(samples: Samples, tmp_path: Path) -> None:
    path = table(tmp_path, f"width,height,{HEADER},note", "100,60,./cat\\1.png,10,30,50,60,x")
    assert boxed(samples, path)[1] == [[0.1, 0.5, 0.5, 1.0]]


def test_several_lines_are_several_boxes_and_empty_lines_none(samples: Samples, tmp_path: Path) -> None:
    path = table(tmp_path, "file,xmin,ymin,xmax,ymax", "cat/0.png,0,0,5,6", "", ",,,,", "cat/0.png,5,0,10,3")
    assert boxed(samples, path)[0] == [[0, 0, 0.5, 1], [0.5, 0, 1, 0.5]]


def test_boxes_go_with_their_samples(samples: Samples, tmp_path: Path) -> None:
    path = table(tmp_path, HEADER, "dog/0.png,1,3,5,6")
    grouped = replace(with_boxes(samples, read_boxes(path), path), groups=np.array([5, 6, 7, 8]))
    taken = grouped.take([2, 0])
    assert taken.boxes is not None
    assert [len(each) for each in taken.boxes] == [1, 0]
    assert taken.groups is not None
    assert taken.groups.tolist() == [7, 5]


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (["filename,xmin,ymin,xmax"], "without ymax. Name the columns in its first line."),
        ([""], "received an empty file: without filename"),
        (["filename,xmin,ymin,xmax,ymax,width"], "without height"),
        ([HEADER], "received the header alone. Add a line for each box."),
        ([HEADER, "cat/0.png,1,2,3,wide"], "line 2 of .* received cat/0.png,1,2,3,wide. Correct the line."),
        ([HEADER, "cat/0.png,1,2"], "line 2 of .* received cat/0.png,1,2"),
        ([HEADER, "cat/0.png,1,2,3,nan"], "line 2 of .* received cat/0.png,1,2,3,nan"),
        ([HEADER, "cat/0.png,1,2,3,inf"], "line 2 of .* received cat/0.png,1,2,3,inf"),
        ([HEADER, "cat/0.png,1,2,3,4", "", "cat/1.png,5,2,5,4"], "inside 10 x 6 pixels in line 4 of"),
        ([HEADER, "cat/0.png,0,0,6,10"], "inside 10 x 6 pixels in line 2 of .* received 0, 0, 6, 10. Correct"),
        ([HEADER, "cat/0.png,-1,0,6,6"], "received -1, 0, 6, 6. Correct the line."),
        ([f"{HEADER},width,height", "cat/0.png,0,0,6,6,0,0"], "inside 0 x 0 pixels"),
        ([HEADER, "0.png,1,2,3,4"], r"such as cat/0\.png; received such as 0\.png\. Correct the names\."),
    ],
)
def test_wrong_tables_are_refused(samples: Samples, tmp_path: Path, lines: list[str], match: str) -> None:
    path = table(tmp_path, *lines)
    with pytest.raises(ValueError, match=match):
        with_boxes(samples, read_boxes(path), path)


def test_remedies_of_wrong_tables_work(samples: Samples, tmp_path: Path) -> None:
    """The columns and names as the messages say."""
    assert boxed(samples, table(tmp_path, f"{HEADER},width,height", "cat/0.png,0,0,6,6,10,6"))[0] == [[0, 0, 0.6, 1]]


def test_boxes_of_images_that_are_not_used_are_called_that(samples: Samples, tmp_path: Path) -> None:
    path = table(tmp_path, HEADER, "dog/1.png,1,2,3,4")
    few = read_folder(samples.root).take([0, 1, 2])
    with pytest.raises(ValueError, match=r"of the 3 images that are used, .*alone in .*Raise --limit or --classes"):
        with_boxes(few, read_boxes(path), path)


def test_a_missing_table_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"there is no file .* Check --boxes\."):
            read_boxes(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is a pipe or a device"):
        read_boxes(tmp_path / "pipe")


def test_a_table_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match="CSV file of boxes in UTF-8"):
        read_boxes(tmp_path / "boxes.csv")


def test_phantom_slices_have_the_boxes_of_their_tumours(tmp_path: Path) -> None:
    """Each box touches the mask at all four sides, and has no pixel of it outside."""
    root = write_phantom(tmp_path / "phantom", 8, seed=3, size=64)
    samples = read_folder(root)
    boxes = with_boxes(samples, read_boxes(root / "boxes.csv"), root / "boxes.csv").boxes
    assert boxes is not None
    masks = phantom_slices(8, 3, 64).masks
    assert samples.class_names == CLASS_NAMES
    for index, own in enumerate(boxes):
        mask = masks[int(samples.files[index].stem.rpartition("_")[2])]
        assert len(own) == mask.any()
        if len(own):
            xmin, ymin, xmax, ymax = (own[0] * 64).round().astype(int)
            inside = mask[ymin:ymax, xmin:xmax]
            assert inside.sum() == mask.sum()
            assert all(side.any() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


@needs("dog_breeds", "dog_breeds_boxes.csv")
def test_every_photograph_of_the_shared_set_gets_its_box() -> None:
    path = ROOT / "dog_breeds_boxes.csv"
    samples = read_folder(ROOT / "dog_breeds", limit=22)
    boxes = with_boxes(samples, read_boxes(path), path).boxes
    assert boxes is not None
    assert {len(each) for each in boxes} == {1}
