"""Files, folders and patterns to images; images to names of outputs."""

from pathlib import Path

import pytest

from tf_gradcam._errors import ModelWarning
from tf_gradcam._files.find import check_outputs, find_images, output_stems, prepared_folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with pictures at two depths and what is to be left out."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "photos/b.JPG",
        "photos/a.png",
        "photos/deep/c.webp",
        "photos/notes.txt",
        "photos/.hidden.png",
        "photos/.thumbnails/a.png",
        "photos/a.overlay.png",
        "photos/a.heatmap.npy",
        "single.tiff",
        "odd[1].png",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


def found(*arguments):
    return [path.as_posix() for path in find_images(arguments)]


def test_folder_gives_its_images_sorted_at_any_depth(folder):
    assert found("photos") == ["photos/a.png", "photos/b.JPG", "photos/deep/c.webp"]


def test_arguments_keep_their_order(folder):
    assert found("single.tiff", "photos/deep", "photos/a.png") == ["single.tiff", "photos/deep/c.webp", "photos/a.png"]


def test_file_is_kept_whatever_it_is_called_and_also_when_missing(folder):
    assert found("photos/notes.txt", "nowhere.png") == ["photos/notes.txt", "nowhere.png"]


def test_pattern_is_expanded_sorted_and_folders_in_it_are_searched(folder):
    assert found("photos/[ab].*") == ["photos/a.heatmap.npy", "photos/a.overlay.png", "photos/a.png", "photos/b.JPG"]
    assert found("pho*") == found("photos")
    assert found("photos/**/*.webp") == ["photos/deep/c.webp"]


def test_file_with_a_pattern_for_a_name_is_that_file(folder):
    assert found("odd[1].png") == ["odd[1].png"]


def test_file_given_twice_is_listed_once(folder):
    assert found("photos/a.png", "photos", "./photos/b.JPG") == [
        "photos/a.png",
        "photos/b.JPG",
        "photos/deep/c.webp",
    ]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("empty", "folder 'empty' holds no images"),
        ("*.gif", "No file matches the pattern '\\*.gif'"),
        ("", "received an empty name"),
    ],
)
def test_nothing_found_is_an_error(folder, argument, message):
    with pytest.raises(ValueError, match=message):
        find_images([argument])


def stems(*names):
    return output_stems([Path(name) for name in names])


def test_stem_is_that_of_the_image():
    assert stems("a/dog.jpg", "b/cat.v2.png") == ["dog", "cat.v2"]


def test_equal_stems_are_numbered_in_order():
    assert stems("a/dog.jpg", "b/dog.jpg", "a/dog.png") == ["dog", "dog-2", "dog-3"]


def test_stems_that_differ_in_case_alone_are_numbered():
    assert stems("a/Dog.jpg", "b/dog.jpg") == ["Dog", "dog-2"]


def test_number_of_another_image_is_not_taken():
    assert stems("a/dog.jpg", "b/dog.jpg", "dog-2.jpg") == ["dog", "dog-3", "dog-2"]


def test_overlay_never_replaces_an_image_of_the_run(tmp_path):
    paths = [tmp_path / "dog.jpg", tmp_path / "dog.overlay.png"]
    with pytest.raises(ValueError, match=r"would overwrite the input '.*dog\.overlay\.png'"):
        check_outputs(paths, output_stems(paths), tmp_path)
    check_outputs(paths, output_stems(paths), tmp_path / "maps")


def test_prepared_folder_is_made_with_its_parents_and_stays(tmp_path):
    with prepared_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "map.npy").touch()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["map.npy"]


def test_prepared_folder_goes_again_when_the_work_fails_at_once(tmp_path):
    with pytest.raises(KeyError), prepared_folder(tmp_path / "a" / "b"):
        raise KeyError("work")
    assert list(tmp_path.iterdir()) == []


def test_prepared_folder_stays_when_the_work_fails_later(tmp_path):
    (tmp_path / "there").mkdir()

    def fail_in(folder, *names):
        with prepared_folder(folder):
            for name in names:
                (folder / name).touch()
            raise KeyError("work")

    with pytest.raises(KeyError):
        fail_in(tmp_path / "there")
    with pytest.raises(KeyError):
        fail_in(tmp_path / "a" / "b", "map.npy")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "map.npy", "there"]


def test_prepared_folder_refuses_a_file(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"it is a file, or inside one\. Choose"), prepared_folder(place):
            pytest.fail("the folder is not there")


def test_pictures_of_kinds_that_are_not_read_are_counted(folder):
    for name in ("a.gif", "b.AVIF", "c.gif", "d.txt", ".e.gif"):
        (folder / "photos" / "deep" / name).touch()
    dicom = bytes(128) + b"DICM"
    for name in ("IM0001", "1.2.840.10008", "notes"):
        (folder / "photos" / name).write_bytes(dicom if name != "notes" else b"text")
    with pytest.warns(ModelWarning, match=r"5 pictures were passed over: 2 \.(gif|dcm), .*1 \.avif are not read"):
        assert found("photos") == ["photos/a.png", "photos/b.JPG", "photos/deep/c.webp"]


def test_folder_of_other_pictures_alone_says_of_which_kind(folder):
    (folder / "empty" / "scan.dcm").touch()
    with pytest.raises(ValueError, match=r"Of the pictures there, 1 \.dcm is not read \(JPEG"):
        find_images(["empty"])
