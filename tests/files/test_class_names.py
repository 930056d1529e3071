"""Class names from files."""

import json

import keras
import pytest

from tf_gradcam._files.class_names import ClassNames, imagenet_class_names, load_class_names


def write(folder, content, name="names.txt"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.txt", "cat\n dog \nbird\n\n"),
        ("names.txt", b"\xef\xbb\xbfcat\r\ndog\r\nbird"),
        ("names.json", '["cat", "dog", "bird"]'),
        ("names.JSON", '{"2": "bird", "0": "cat", "1": "dog"}'),
        ("names.json", '{"0": ["n1", "cat"], "1": ["n2", "dog"], "2": ["n3", "bird"]}'),
    ],
)
def test_every_form_gives_the_names_in_class_order(tmp_path, name, content):
    assert load_class_names(write(tmp_path, content, name)) == ["cat", "dog", "bird"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("names.txt", "", "is empty. Write one name a line"),
        ("names.txt", "cat\n\ndog", r"Class 1 \(line 2\) of .* has no name"),
        ("names.txt", b"caf\xe9", "Expected class names in UTF-8"),
        ("names.json", "{cat", r"to be JSON such as \[\"cat\", \"dog\"\], .* but it is not: Expecting"),
        ("names.json", '{"0": "cat", "2": "dog"}', "keys .*: class 1 is missing"),
        ("names.json", "[1, 2]", r"names as \[.*\], \{.*\} or, .* received \[1, 2\]"),
        ("names.json", '"cat"', 'received "cat"'),
        ("names.json", "[]", r"class names as .* received \[\]"),
        ("names.json", '["cat", " "]', r"received \[\"cat\", \" \"\]"),
        ("names.json", "[" * 100_000, "but it is not: "),
    ],
)
def test_bad_file_is_an_error_that_says_what_is_wrong(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        load_class_names(write(tmp_path, content, name))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"class names '.*nowhere\.txt': No such file"):
        load_class_names(tmp_path / "nowhere.txt")


@pytest.fixture
def download(monkeypatch):
    """Stands in for the network of Keras: what `get_file` does."""

    def set_download(function):
        monkeypatch.setattr(keras.src.applications.imagenet_utils, "CLASS_INDEX", None)
        monkeypatch.setattr(keras.src.utils.file_utils, "get_file", function)

    return set_download


def test_imagenet_names_are_those_of_keras_in_class_order(tmp_path, download):
    index = {str(number): [f"n{number:08d}", f"name {number}"] for number in range(1000)}
    path = write(tmp_path, json.dumps(index), "imagenet_class_index.json")
    download(lambda *args, **kwargs: path)
    assert imagenet_class_names() == [f"name {number}" for number in range(1000)]


def test_imagenet_names_out_of_reach_are_an_error(download):
    def fail(*args, **kwargs):
        raise Exception("URL fetch failure on https://example.org")  # as keras does

    download(fail)
    with pytest.raises(ConnectionError, match="could not be downloaded: URL fetch failure"):
        imagenet_class_names()


@pytest.mark.parametrize(
    ("text", "names", "target"),
    [
        ("3", None, 3),
        ("3", ["a", "b"], 3),
        ("3", ["a", "b", "c", "d", "3"], 4),
        ("b", ["a", "b"], 1),
    ],
)
def test_target_is_a_name_before_it_is_a_number(text, names, target):
    assert ClassNames(names).index_in(text) == target


def test_target_by_name_needs_names():
    with pytest.raises(ValueError, match=r"received the name 'beagle': no names are known\. Pass class_names="):
        ClassNames(None).index_in("beagle")
    with pytest.raises(ValueError, match=r"Unknown class 'unknown'"):
        ClassNames(["a", "b"]).index_in("unknown")
