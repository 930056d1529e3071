"""Several labels an image, and values, as data sets say them; what cannot be read is refused in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tf_gradcam._errors import for_command_line
from tf_gradcam.audit.sources import Samples, find_samples
from tf_gradcam.audit.truth import find_labels, find_values, read_labels, read_values

NAMES = ["cat", "dog", "Afghan hound, Afghan"]
NAN = np.nan


def table(folder: Path, text: str) -> Path:
    path = folder / "data.csv"
    path.write_text(text, encoding="utf-8")
    return path


def files_of(samples: Samples, folder: Path) -> list[str]:
    return [str(Path(path).relative_to(folder)) for path in samples.files]


# Labels.


def test_lines_of_one_file_are_its_labels(tmp_path: Path) -> None:
    """A label that is not listed is not there; the order of the files is that of their first lines."""
    text = "label,file\ndog,b.png\ncat,a.png\nafghan,b.png\ndog,b.png\n,c.png\n"
    samples = find_labels(table(tmp_path, text), NAMES, 3)
    assert files_of(samples, tmp_path) == ["b.png", "a.png", "c.png"]
    np.testing.assert_array_equal(samples.truth, [[0, 1, 1], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(samples.labels, [-1, -1, -1])
    assert "1 of 3 files have an empty label" in samples.note
    assert "count as files without any label" in samples.note


def test_columns_are_labels_and_empty_cells_are_unknown(tmp_path: Path) -> None:
    """Columns may come in any order and by any name that means the label; 1.0 is what a table of floats holds."""
    samples = find_labels(table(tmp_path, "Afghan,file,CAT\n1,a.png,0\n,b.png,1.0\n"), NAMES, 3)
    np.testing.assert_array_equal(samples.truth, [[0, NAN, 1], [1, NAN, NAN]])
    assert samples.class_names == NAMES
    assert samples.note.endswith("has no column for 1 of 3 labels, which count as unknown: 'dog'.")


def test_labels_by_number(tmp_path: Path) -> None:
    repeated = find_labels(table(tmp_path, "file,label\na.png,2\na.png,0\n"), None, 3)
    np.testing.assert_array_equal(repeated.truth, [[1, 0, 1]])
    assert repeated.class_names == ["class 0", "class 1", "class 2"]
    columns = find_labels(table(tmp_path, "file,2,0,1\na.png,1,0,\n"), None, 3)
    np.testing.assert_array_equal(columns.truth, [[0, NAN, 1]])


def test_unnamed_labels_are_named_by_the_table_which_is_said(tmp_path: Path) -> None:
    columns = find_labels(table(tmp_path, "file,dog,cat\na.png,1,0\n"), None, 2)
    assert columns.class_names == ["dog", "cat"]
    assert "are named by the columns of" in columns.note
    repeated = find_labels(table(tmp_path, "file,label\na.png,dog\na.png,cat\n"), None, 2)
    assert repeated.class_names == ["cat", "dog"]
    assert "sorted: 'cat', 'dog'." in repeated.note


def test_label_that_is_called_label_is_a_column(tmp_path: Path) -> None:
    samples = find_labels(table(tmp_path, "file,label,price\na.png,1,0\n"), ["price", "label"], 2)
    np.testing.assert_array_equal(samples.truth, [[0, 1]])


def test_folder_of_images_alone_has_unknown_labels_and_values(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        (tmp_path / name).write_bytes(b"")
    assert files_of(find_labels(tmp_path, NAMES, 3), tmp_path) == ["a.png", "b.png"]
    assert np.isnan(find_labels(tmp_path, NAMES, 3).truth).all()
    assert find_values(tmp_path, "age").truth.shape == (2, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,cat,cow\na.png,1,0\n", r"Unknown class 'cow'\..*column of .*rename it, or leave it out"),
        ("file,cat,7\na.png,1,0\n", "Unknown label '7'"),
        ("file,cat,Cat\na.png,1,0\n", "columns 'cat' and 'Cat' of .* both mean the label 'cat'. Leave one out"),
        ("file,cat\na.png,2\n", "Expected 0, 1 or an empty cell .* 'cat' of row 2 of .*, received '2'. Correct it"),
        ("file,cat\na.png,yes\n", "received 'yes'"),
        ("file,cat\na.png,nan\n", "received 'nan'"),
        ("file,cat\na.png,1\nb.png,0\na.png,0\n", "Row 4 of .* names '.*a.png' again, after row 2. Give each file one"),
        ("file,label\na.png,cow\n", "Unknown class 'cow'.* row 2 of .*Correct the label"),
        ("file,label\na.png,3\n", "Expected an index from 0 to 2 in row 2 of .*, received 3"),
        ("file\na.png\n", "Expected the columns 'file' and 'label' .*or one column named like each label"),
        ("path,cat\na.png,1\n", "Expected the columns 'file' and .* received path, cat"),
        ("file,cat\n", "names no image"),
    ],
)
def test_wrong_table_of_labels_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_labels(table(tmp_path, text), NAMES, 3)


def test_folders_are_refused_with_the_tables_to_write_which_then_work(tmp_path: Path) -> None:
    (tmp_path / "data" / "cat").mkdir(parents=True)
    for find in (lambda data: find_labels(data, NAMES, 3), lambda data: find_values(data, "age")):
        with pytest.raises(ValueError, match=r"which folders cannot say, received .* with 1 folders, such as 'cat'"):
            find(tmp_path / "data")
    with pytest.raises(ValueError, match="one class, pass task='classification'") as caught:
        find_labels(tmp_path / "data", NAMES, 3)
    assert for_command_line(caught.value).endswith("If each image has one class, use --task classification.")
    assert "file,label" in str(caught.value)
    assert "file,a,b,c" in str(caught.value)
    assert find_labels(table(tmp_path, "file,label\na.png,cat\n"), NAMES, 3).truth.tolist() == [[1, 0, 0]]
    (tmp_path / "data" / "cat" / "1.png").write_bytes(b"")
    assert find_samples(tmp_path / "data", NAMES).labels.tolist() == [0]


def test_table_of_folders_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected no table of folders .* Leave classes out\."):
        find_labels(table(tmp_path, "file,label\na.png,cat\n"), NAMES, 3, "folders.csv")


def test_both_sides_of_one_image_are_refused_for_classes(tmp_path: Path) -> None:
    text = "file,label\na.png,cat\nb.png,dog\na.png,dog\n"
    with pytest.raises(ValueError, match=r"gives '.*a.png' both 'cat' and 'dog' \(row 4\). Remove one") as caught:
        find_samples(table(tmp_path, text), ["cat", "dog"])
    assert for_command_line(caught.value).endswith("say --task multilabel.")
    assert find_labels(table(tmp_path, text), ["cat", "dog"], 2).truth.tolist() == [[1, 1], [0, 1]]
    assert find_samples(table(tmp_path, text.replace("a.png,dog", "a.png,")), ["cat", "dog"]).labels.tolist() == [
        0,
        1,
        -1,
    ]


def test_digest_is_that_of_the_labels_too(tmp_path: Path) -> None:
    one = find_labels(table(tmp_path, "file,cat,dog\na.png,1,0\n"), NAMES[:2], 2).digest()
    assert find_labels(table(tmp_path, "file,cat,dog\na.png,1,1\n"), NAMES[:2], 2).digest() != one
    assert find_labels(table(tmp_path, "file,dog,cat\na.png,0,1\n"), NAMES[:2], 2).digest() == one


def test_labels_of_a_data_set_are_rows_of_zero_and_one() -> None:
    read = read_labels(3)
    np.testing.assert_array_equal(read(np.array([[0, 1, -1], [1, 1, 0]]), 2), [[0, 1, NAN], [1, 1, 0]])
    np.testing.assert_array_equal(read(np.array([[0.0, NAN, 1.0]]), 1), [[0, NAN, 1]])
    assert np.isnan(read(None, 2)).all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1]), r"Expected labels \(2, 3\) of 0 and 1, .* received the shape \(2,\). .*tf.one_hot"),
        (np.zeros((2, 2)), r"received the shape \(2, 2\)"),
        (np.full((2, 3), 0.3), r"Expected labels of 0 and 1, and -1 or NaN where unknown, received 0\.3"),
        (np.array([["a"] * 3] * 2), "Expected labels .* received <U1"),
        ({"a": 1}, "Expected labels .* received dict"),
    ],
)
def test_other_labels_of_a_data_set_are_refused(labels: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_labels(3)(labels, 2)


# Values.


@pytest.mark.parametrize("column", ["value", "label", "age"])
def test_values_are_read_by_column(tmp_path: Path, column: str) -> None:
    samples = find_values(table(tmp_path, f"file,split,{column}\na.png,x,31.5\nb.png,y,\nc.png,z,-2e1\n"), "age")
    np.testing.assert_array_equal(samples.truth, np.float32([[31.5], [NAN], [-20]]))
    assert samples.class_names == ["age"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,value\na.png,old\n", "Expected a number or an empty cell .* row 2 of .*, received 'old'. Correct it"),
        ("file,value\na.png,inf\n", "received 'inf'"),
        ("file,years\na.png,3\n", "columns 'file' and 'value', or one called 'age', .* received file, years"),
        ("file,value\na.png,3\nb.png,3\na.png,4\n", "Row 4 of .* gives '.*a.png' another value than row 2. Remove one"),
    ],
)
def test_wrong_table_of_values_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_values(table(tmp_path, text), "age")


def test_values_of_a_data_set() -> None:
    np.testing.assert_array_equal(read_values(0, 1)(np.array([3, 4]), 2), [[3], [4]])
    np.testing.assert_array_equal(read_values(1, 2)(np.array([[3.0], [NAN]]), 2), [[3], [NAN]])
    np.testing.assert_array_equal(read_values(1, 2)(np.array([[3.0, 5.0], [4.0, 6.0]]), 2), [[5], [6]])
    assert np.isnan(read_values(0, 1)(None, 2)).all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((2, 3)), r"Expected values \(2,\) or \(2, 2\) for a model of 2 values, received the shape \(2, 3\)"),
        (np.array([1, np.inf]), "Expected finite values, and NaN where unknown, received infinity"),
        (np.array(["a", "b"]), "Expected a value for each image, received <U1"),
    ],
)
def test_other_values_of_a_data_set_are_refused(labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_values(0, 2)(labels, 2)
