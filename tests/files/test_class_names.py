"""Class names from files, and from inside of those of models."""

import json
import zipfile

import keras
import numpy as np
import pytest

from tests.helpers.redblue import red_blue_model, red_blue_photo
from tf_gradcam._files.class_names import ClassNames, class_names_inside, imagenet_class_names, load_class_names


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


# Inside a model's file.


def model_with(folder, content, compression=zipfile.ZIP_STORED):
    """A .keras file with that member."""
    path = folder / "model.keras"
    red_blue_model().save(path)
    with zipfile.ZipFile(path, "a", compression) as archive:
        archive.writestr("class_names.json", content)
    return path


def test_names_inside_a_model_come_back_and_the_model_is_the_same(tmp_path):
    path = model_with(tmp_path, '["red", "blue"]')
    assert class_names_inside(path) == ["red", "blue"]
    images = red_blue_photo()[None].astype("float32")
    np.testing.assert_array_equal(keras.saving.load_model(path)(images), red_blue_model()(images))
    red_blue_model().load_weights(path)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_model_without_names_has_none(tmp_path, name):
    red_blue_model().save(tmp_path / name)
    assert class_names_inside(tmp_path / name) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("red, blue", r"'class_names.json' in '.*model.keras' to be JSON such as"),
        ("[1, 2]", r"received \[1, 2\]"),
        (b'["caf\xe9"]', "in UTF-8"),
        (b"[" + b" " * 2**22 + b"]", "at most 4194304 bytes"),
    ],
)
def test_malformed_names_inside_are_an_error_in_words(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        class_names_inside(model_with(tmp_path, content, zipfile.ZIP_DEFLATED))


def test_names_that_unpack_to_gigabytes_are_not_unpacked(tmp_path, monkeypatch):
    """A member that says it is short, and is not: no more is read than may be."""
    path = model_with(tmp_path, b" " * 2**25, zipfile.ZIP_DEFLATED)
    asked = []
    read = zipfile.ZipExtFile.read
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda file, count=-1: asked.append(count) or read(file, count))
    with pytest.raises(ValueError, match="at most 4194304 bytes"):
        class_names_inside(path)
    assert asked == [2**22 + 1]


def test_damaged_names_inside_are_an_error_in_words(tmp_path):
    path = model_with(tmp_path, '["red", "blue"]')
    path.write_bytes(path.read_bytes().replace(b'["red", "blue"]', b'["rad", "blue"]'))
    with pytest.raises(ValueError, match=r"The class names 'class_names.json' in .* cannot be unpacked: Bad CRC"):
        class_names_inside(path)


def test_missing_model_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Cannot read the model file '.*nowhere.keras': No such file"):
        class_names_inside(tmp_path / "nowhere.keras")


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
