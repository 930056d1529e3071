"""Image files and their classes, out of folders and tables."""

import os

import numpy as np
import pytest

from tf_gradcam._errors import ModelWarning, for_command_line
from tf_gradcam._files.class_names import load_class_names
from tf_gradcam.audit.sources import find_samples


def write(folder, *names):
    """Files whose content nobody reads."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def table(folder, text, encoding="utf-8"):
    path = folder / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


def names_of(samples, root):
    return [os.path.relpath(path, root).replace(os.sep, "/") for path in samples.files]


def test_folder_gives_its_images_by_class(tmp_path):
    write(
        tmp_path, "b/2.png", "b/1.JPG", "a/deep/3.jpeg", "a/notes.txt", "a/4.overlay.png", ".hidden/5.png", "list.txt"
    )
    samples = find_samples(tmp_path)
    assert samples.class_names == ["a", "b"]
    assert names_of(samples, tmp_path) == ["a/deep/3.jpeg", "b/1.JPG", "b/2.png"]
    np.testing.assert_array_equal(samples.labels, [0, 1, 1])
    assert samples.labels.dtype == np.int32
    assert len(samples) == samples.row_count == 3


def test_class_without_images_keeps_its_place(tmp_path):
    write(tmp_path, "a/1.png", "c/2.png")
    (tmp_path / "b").mkdir()
    samples = find_samples(tmp_path)
    assert samples.class_names == ["a", "b", "c"]
    np.testing.assert_array_equal(samples.labels, [0, 2])


def test_given_names_decide_the_order(tmp_path):
    write(tmp_path, "cat/1.png", "Old_Dog/2.png")
    samples = find_samples(tmp_path, ["old dog", "cat", "cow"])
    assert samples.class_names == ["old dog", "cat", "cow"]
    assert names_of(samples, tmp_path) == ["Old_Dog/2.png", "cat/1.png"]
    np.testing.assert_array_equal(samples.labels, [0, 1])


def test_name_written_alike_comes_before_one_that_is_similar(tmp_path):
    write(tmp_path, "Cat/1.png", "cat/2.png")
    np.testing.assert_array_equal(find_samples(tmp_path, ["cat", "Cat"]).labels, [1, 0])


def test_unknown_folder_is_refused_with_the_nearest_names(tmp_path):
    write(tmp_path, "pituitry/1.png")
    with pytest.raises(ValueError, match=r"Unknown class 'pituitry'. Did you mean 'pituitary'\? .*`folder,class`"):
        find_samples(tmp_path, ["glioma", "pituitary"])


def test_folder_of_images_alone_has_no_classes(tmp_path):
    write(tmp_path, "2.png", "1.png")
    samples = find_samples(tmp_path)
    assert names_of(samples, tmp_path) == ["1.png", "2.png"]
    np.testing.assert_array_equal(samples.labels, [-1, -1])
    assert samples.class_names == []
    assert find_samples(tmp_path, ["a", "b"]).class_names == ["a", "b"]


def test_images_beside_folders_are_refused(tmp_path):
    write(tmp_path, "a/1.png", "2.png")
    with pytest.raises(ValueError, match=r"holds 1 beside them, such as '2.png'. Move them"):
        find_samples(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [(["a/notes.txt"], "Expected images .* in the folders in .*, received none"), (["notes.txt"], "holds no images")],
)
def test_folder_without_an_image_is_refused(tmp_path, names, message):
    write(tmp_path, *names)
    with pytest.raises(ValueError, match=message):
        find_samples(tmp_path)


def test_table_gives_its_rows_in_order(tmp_path):
    text = "label,split,file\r\ncat,train,b.png\r\ndog,test,sub/a.png\r\n,test,b.png\r\n"
    samples = find_samples(table(tmp_path, text, "utf-8-sig"))
    assert names_of(samples, tmp_path) == ["b.png", "sub/a.png", "b.png"]
    np.testing.assert_array_equal(samples.labels, [0, 1, -1])
    assert samples.class_names == ["cat", "dog"]


def test_absolute_path_in_a_table_is_kept(tmp_path):
    path = os.path.abspath(tmp_path / "elsewhere" / "a, b \"'<\u4e2d.png")
    quoted = path.replace('"', '""')
    assert find_samples(table(tmp_path, f'file,label\n"{quoted}",0\n')).files == [path]


def test_labels_that_are_numbers_are_indices(tmp_path):
    samples = find_samples(table(tmp_path, "file,label\na.png,2\nb.png,0\n"))
    assert samples.class_names == ["class 0", "class 1", "class 2"]
    np.testing.assert_array_equal(samples.labels, [2, 0])


def test_label_is_a_name_before_it_is_an_index(tmp_path):
    path = table(tmp_path, "file,label\na.png,1\nb.png,2\nc.png,cat\n")
    np.testing.assert_array_equal(find_samples(path, ["1", "0", "cat"]).labels, [0, 2, 2])


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        ("path,label\na.png,0\n", None, "columns 'file' and 'label' .* received path, label"),
        ("", None, "columns 'file' and 'label' .* received none"),
        ("file,label\n", None, "names no image"),
        ("file,label\na.png,0\n,1\n", None, "Row 3 of .* names no file"),
        ("file,label\na.png,cow\n", ["cat", "dog"], "Unknown class 'cow'.*row 2 of"),
        ("file,label\na.png,2\n", ["cat", "dog"], "index from 0 to 1 in row 2 of .*, received 2"),
        ("file,label\na.png,123456789\n", None, "received 123456789 as an index"),
        ('file,label\n"a.png"x,1\n', None, "as a CSV file, but it cannot be read"),
    ],
)
def test_wrong_table_is_refused(tmp_path, text, names, message):
    with pytest.raises(ValueError, match=message):
        find_samples(table(tmp_path, text), names)


def test_table_in_another_encoding_is_refused(tmp_path):
    with pytest.raises(ValueError, match="in UTF-8, which it is not"):
        find_samples(table(tmp_path, "file,label\ncaf\xe9.png,0\n", "latin-1"))


def test_missing_data_set_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no data set"):
        find_samples(tmp_path / "none")


def test_other_file_is_refused(tmp_path):
    write(tmp_path, "data.zip")
    with pytest.raises(ValueError, match=r"or a \.csv file"):
        find_samples(tmp_path / "data.zip")


def test_digest_is_that_of_files_and_labels(tmp_path, monkeypatch):
    write(tmp_path, "a/1.png", "b/2.png")
    digest = find_samples(tmp_path).digest()
    monkeypatch.chdir(tmp_path)
    assert find_samples(".").digest() == digest
    assert find_samples(".", ["b", "a"]).digest() != digest
    write(tmp_path, "b/3.png")
    assert find_samples(".").digest() != digest


def test_batches_leave_finished_parts_out_and_end_with_the_part(tmp_path):
    write(tmp_path, *(f"a/{number:02d}.png" for number in range(10)))
    samples = find_samples(tmp_path)
    batches = list(samples.batches({1: samples.labels[4:8]}, part_rows=4, batch_size=3))
    assert [batch["index"].tolist() for batch in batches] == [[0, 1, 2], [3], [8, 9]]
    assert [list(batch["file"]) for batch in batches] == [samples.files[0:3], samples.files[3:4], samples.files[8:]]


# Folders that are not called as the model calls their classes.

NAMES = ["Shih-Tzu", "Afghan hound, Afghan", "English springer, English springer spaniel"]


@pytest.mark.parametrize(
    ("folder", "index"),
    [
        ("n02086240-Shih-Tzu", 0),
        ("shih tzu", 0),
        ("n02088094-Afghan_hound", 1),
        ("Afghan", 1),
        ("ENGLISH_SPRINGER_SPANIEL", 2),
    ],
)
def test_folder_is_found_by_wordnet_name_synonym_and_case(tmp_path, folder, index):
    write(tmp_path, f"{folder}/1.png")
    np.testing.assert_array_equal(find_samples(tmp_path, NAMES).labels, [index])


def test_folder_of_a_wordnet_number_alone_is_found_where_names_carry_them(tmp_path):
    """As in Keras' own file of ImageNet's names, and as in ImageNet's folders."""
    (tmp_path / "names.json").write_text('{"0": ["n02012849", "crane"], "1": ["n03126707", "crane"]}')
    names = load_class_names(tmp_path / "names.json")
    assert names == ["crane", "crane"]
    write(tmp_path, "data/n03126707/1.png", "data/n02012849-crane/1.png")
    np.testing.assert_array_equal(find_samples(tmp_path / "data", names).labels, [0, 1])


def mapping(folder, text):
    path = folder / "classes.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    ["folder,class\nx,Afghan\n", "class,folder\n1,x\n", "folder,a_index\nx,1\n", "label, folder\nafghan hound,x/\n"],
)
def test_table_of_folders_says_their_classes(tmp_path, text):
    write(tmp_path, "data/x/1.png", "data/Shih-Tzu/1.png")
    samples = find_samples(tmp_path / "data", NAMES, mapping(tmp_path, text))
    np.testing.assert_array_equal(samples.labels, [0, 1])
    assert samples.class_names == NAMES


def test_table_of_folders_without_class_names(tmp_path):
    write(tmp_path, "data/x/1.png", "data/y/1.png", "data/z/1.png")
    named = find_samples(tmp_path / "data", None, mapping(tmp_path, "folder,class\nx,dog\ny,cat\nz,\n"))
    assert named.class_names == ["cat", "dog"]
    np.testing.assert_array_equal(named.labels, [1, 0, -1])
    numbered = find_samples(tmp_path / "data", None, mapping(tmp_path, "folder,class\nx,2\ny,0\nz,1\n"))
    assert numbered.class_names == ["class 0", "class 1", "class 2"]
    np.testing.assert_array_equal(numbered.labels, [2, 0, 1])


def test_unknown_folders_are_listed_with_the_table_to_write_which_then_works(tmp_path):
    write(tmp_path, "data/x/1.png", "data/y/1.png", "data/Afghan/1.png")
    with pytest.raises(ValueError, match="2 of 3 folders name no class of the model: 'x', 'y'") as caught:
        find_samples(tmp_path / "data", NAMES)
    assert "the lines `folder,class`, `x,NAME OR INDEX`" in str(caught.value)
    assert str(caught.value).endswith("give it by classes=.")
    assert for_command_line(caught.value).endswith("give it by --classes.")
    table = mapping(tmp_path, "folder,class\nx,Shih-Tzu\ny,2\n")
    np.testing.assert_array_equal(find_samples(tmp_path / "data", NAMES, table).labels, [1, 0, 2])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,class\nx,1\n", "columns 'folder' and 'class' .* received name, class"),
        ("folder,class\nx,1\nx,2\n", "Row 3 of .* gives the folder 'x' a second class"),
        ("folder,class\nx,7\n", "index from 0 to 2 in the folder 'x', received 7"),
        ("folder,class\nx,cow\n", "Unknown class 'cow'"),
    ],
)
def test_wrong_table_of_folders_is_refused(tmp_path, text, message):
    write(tmp_path, "data/x/1.png")
    with pytest.raises(ValueError, match=message):
        find_samples(tmp_path / "data", NAMES, mapping(tmp_path, text))


def test_table_of_folders_is_refused_beside_a_table_of_files(tmp_path):
    with pytest.raises(ValueError, match="Expected a folder with a folder per class beside a table of folders"):
        find_samples(table(tmp_path, "file,label\na.png,0\n"), None, mapping(tmp_path, "folder,class\nx,1\n"))


def test_pictures_of_other_kinds_are_counted_over_all_classes(tmp_path):
    write(tmp_path, "a/1.png", "a/2.gif", "b/1.png", "b/3.dcm", "b/4.gif")
    with pytest.warns(ModelWarning, match="3 pictures were passed over: 2 .gif, 1 .dcm are not read"):
        assert len(find_samples(tmp_path)) == 2


def test_missing_table_of_folders_is_named(tmp_path):
    write(tmp_path, "data/x/1.png")
    with pytest.raises(FileNotFoundError, match=r"Cannot read 'none.csv', a CSV file of folders: No such file"):
        find_samples(tmp_path / "data", NAMES, "none.csv")
