"""Inputs besides the picture: which input takes the images, what fits the others, and whose row a table's line is.

Also tests _files/tables.py.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from tests.helpers.redblue import red_blue_photo, write_photo
from tf_gradcam._models.given_inputs import GivenInputs
from tf_gradcam._models.preprocessing import Preprocessing
from tf_gradcam._models.reader import ModelReader

L = keras.layers
RAW = Preprocessing(None, "raw", "given")
FILES = ["a/1.png", "a/2.png", "b/1.png"]


def model_of(structure: str = "list", **shapes) -> keras.Model:
    """A model of an image and of further inputs, flattened and joined."""
    image = keras.Input((6, 10, 3), name="image")
    others = {
        name: keras.Input(**(shape if isinstance(shape, dict) else {"shape": shape}), name=name)
        for name, shape in shapes.items()
    }
    flat = [L.Flatten()(keras.ops.cast(tensor, "float32")) for tensor in others.values()]
    features = L.GlobalAveragePooling2D()(L.Conv2D(2, 1)(image))
    inputs = {"image": image, **others}
    return keras.Model(list(inputs.values()) if structure == "list" else inputs, L.Concatenate()([features, *flat]))


def inputs_of(*given: str, files=FILES, model: keras.Model | None = None, **shapes) -> GivenInputs:
    return GivenInputs(ModelReader(model or model_of(**shapes)).inputs, given, files, RAW)


def value(given: GivenInputs, file: str = FILES[0]) -> np.ndarray:
    """The second input of an image."""
    return given.of_photo(red_blue_photo(), file)[1]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


@pytest.mark.parametrize(
    ("shape", "text", "expected"),
    [
        ((1,), "62", [62]),
        ((1,), "-1.5e1", [-15]),
        ((1,), "[62]", [62]),
        ((), "62", 62),
        ((3,), "1,2,3", [1, 2, 3]),
        ((3,), "[[1, 2, 3]]", [1, 2, 3]),
        ((2, 2), "[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        ((None, 2), "[[1, 2], [3, 4], [5, 6]]", [[1, 2], [3, 4], [5, 6]]),
        ({"shape": (1,), "dtype": "int32"}, "3", [3]),
        ({"shape": (1,), "dtype": "int32"}, "3.0", [3]),
        ({"shape": (1,), "dtype": "bool"}, "True", [True]),
    ],
)
def test_number_or_list_fits_its_input(shape, text, expected):
    given = inputs_of(f"age={text}", age=shape)
    np.testing.assert_array_equal(value(given), expected)
    assert given.text(FILES[0]) == f"age={text}"


@pytest.mark.parametrize("axes", [(), (1,)])
def test_array_of_a_file_counts_for_every_image(axes):
    array = np.arange(6, dtype=np.float64).reshape(*axes, 2, 3)
    np.save("meta.npy", array)
    given = inputs_of("meta=meta.npy", meta=(2, 3))
    for file in FILES:
        np.testing.assert_array_equal(value(given, file), array.reshape(2, 3))


@pytest.mark.parametrize("structure", ["list", "dict"])
def test_batch_has_the_structure_of_the_model(structure):
    model = model_of(structure, age=(1,), sex=(2,))
    given = inputs_of("age=62", "sex=0,1", model=model)
    rows = [given.of_photo(red_blue_photo(), file) for file in FILES]
    batch = given.stacked(rows)
    named = batch if structure == "dict" else dict(zip(("image", "age", "sex"), batch, strict=True))
    assert {name: array.shape for name, array in named.items()} == {
        "image": (3, 6, 10, 3),
        "age": (3, 1),
        "sex": (3, 2),
    }
    assert model(batch).shape == (3, 5)
    assert model(given.stacked([given.example()])).shape == (1, 5)


def test_model_of_one_input_gets_the_images_alone():
    model = keras.Sequential([keras.Input((6, 10, 3)), L.Flatten()])
    given = inputs_of(model=model)
    batch = given.stacked([given.of_photo(red_blue_photo(), file) for file in FILES])
    np.testing.assert_array_equal(batch, np.stack([red_blue_photo()] * 3))
    assert given.text(FILES[0]) == ""


# 1. Tables.


@pytest.mark.parametrize(
    ("table", "shape", "expected"),
    [
        ("file,age\na/1.png,62\na/2.png,30\nb/1.png,-1\n", (1,), [[62], [30], [-1]]),
        ("filename,id,age\nx/../a/2.png,7,30\n./a/1.png,8,62\nb\\1.png,9,0\n", (1,), [[62], None, [0]]),
        ("file,p,q\na/1.png,1,2\nb/1.png,3,4\n", (2,), [[1, 2], None, [3, 4]]),
        ("file,age\na/1.png,62\na/2.png,\nelsewhere.png,1\n", (1,), [[62], None, None]),
        ("file,p,q,r,s\n2.png,1,2,3,4\n", (2, 2), [None, [[1, 2], [3, 4]], None]),
        ("\ufefffile, age\nb/1.png, 62\n", (1,), [None, None, [62]]),
        ("file,age\n{here}/a/1.png,62\n", (1,), [[62], None, None]),
    ],
)
def test_line_of_a_table_belongs_to_the_image_whose_path_ends_so(folder, table, shape, expected):
    write("table.csv", table.replace("{here}", str(folder)))
    given = inputs_of("age=table.csv", age=shape)
    for file, wanted in zip(FILES, expected, strict=True):
        if wanted is None:
            with pytest.raises(
                ValueError, match=r"'table\.csv' has no row for it, and the model needs the input 'age'"
            ):
                value(given, file)
            assert given.text(file) == "age="
        else:
            np.testing.assert_array_equal(value(given, file), wanted)


def test_one_table_serves_several_inputs_by_their_names():
    write("table.csv", "file,sex,age\na/1.png,1,62\n")
    given = inputs_of("age=table.csv", "sex=table.csv", age=(1,), sex=(1,))
    _, age, sex = given.of_photo(red_blue_photo(), FILES[0])
    assert (age, sex) == (62, 1)
    assert given.text(FILES[0]) == "age=62; sex=1"


def test_picture_of_each_image_is_read_beside_the_table(folder):
    """Its path begins at the table's folder, and it becomes what the images become."""
    write_photo(folder, "pairs/other.png", red_blue_photo(3))
    write("pairs/table.csv", "file,right\na/1.png,other.png\na/2.png,nowhere.png\n")
    given = inputs_of("right=pairs/table.csv", right=(6, 10, 3))
    np.testing.assert_array_equal(value(given), red_blue_photo())
    with pytest.raises(OSError, match=r"nowhere\.png"):
        value(given, "a/2.png")


def test_picture_of_all_images_is_scaled_as_they_are(folder):
    write_photo(folder, "other.png", red_blue_photo(3))
    inputs = ModelReader(model_of(right=(6, 10, 3))).inputs
    given = GivenInputs(inputs, ["right=other.png"], FILES, Preprocessing(None, "unit", "given"))
    np.testing.assert_allclose(value(given), red_blue_photo() / np.float32(255), rtol=1e-6)


# 2. Which input takes the images.


def test_the_image_that_is_not_given_takes_the_images(folder):
    write_photo(folder, "other.png")
    model = model_of(right=(6, 10, 3))
    assert inputs_of("right=other.png", model=model).picture == 0
    assert inputs_of("image=other.png", model=model).picture == 1


def test_maps_of_another_input_are_refused():
    write("table.csv", "file,right\na/1.png,other.png\n")
    given = inputs_of("age=1", "right=table.csv", age=(1,), right=(6, 10, 3))
    given.check_layer(0, [0], "conv")
    given.check_layer(2, [0, 2], "conv")  # both pictures of one size reach the layer
    with pytest.raises(ValueError, match="Layer 'conv' sees the input 'right', but the images are given to 'image'"):
        given.check_layer(2, [2], "conv")


# 3. What is refused.


AGE, THREE, RIGHT, AGE_AND_SEX = {"age": (1,)}, {"age": (3,)}, {"right": (6, 10, 3)}, {"age": (1,), "sex": (2,)}
REFUSED = {
    "missing": ([], AGE_AND_SEX, r"besides 'image', .* missing are 'age' \(B, 1\) and 'sex' \(B, 2\)\. Give"),
    "one missing": (["age=1"], AGE_AND_SEX, r"missing is 'sex' \(B, 2\)\. Give each by --input NAME=VALUE"),
    "unknown": (["agee=1"], AGE, r"Unknown input 'agee'\. Did you mean 'age'"),
    "twice": (["age=1", "age=2"], AGE, r"Expected one value for the input 'age', received 1 and 2"),
    "no value": (["age"], AGE, r"Expected an input as NAME=VALUE, such as age=62 .*, received 'age'"),
    "empty": (["age="], AGE, r"Expected an input as NAME=VALUE, .* received 'age='"),
    "two pictures": ([], RIGHT, r"received 'image' \(B, 6, 10, 3\) and 'right' .* --input right=FILE"),
    "all given": (["age=1", "image=1"], AGE, r"an input of pictures .*given are age, image\. Leave the one of"),
    "shape": (["age=1,2"], THREE, r"the input 'age' of shape \(3,\) or \(1, 3\), received \(2,\) in '1,2'"),
    "rows": (["age=two.npy"], THREE, r"of shape \(3,\) or .*received \(2, 3\) in 'two\.npy'\. Give one"),
    "ragged": (["age=[[1, 2], [3]]"], {"age": (2, 2)}, r"lists of equal length .*received \[\[1, 2\]"),
    "fraction": (["age=1.5"], {"age": {"shape": (1,), "dtype": "int32"}}, r"Expected whole numbers for .*'1\.5'"),
    "infinite": (["age=1e999"], AGE, r"Expected finite numbers for the input 'age', received NaN or infinity"),
    "words": (["age=words.npy"], AGE, r"Expected numbers for the input 'age', received <U3 in 'words\.npy'"),
    "no array": (["age=no.npy"], AGE, r"'no\.npy' is not an array of NumPy, or is damaged"),
    "no file": (["age=agse.csv"], AGE, r"received 'agse\.csv', .*no such file\. Did you mean 'ages\.csv'"),
    "picture": (["age=ages.png"], AGE, r"Expected numbers for the input 'age' \(B, 1\), received 'ages\.png'"),
    "text": (["age=text.csv"], AGE, r"numbers for the input 'age', received young in line 2 of 'text\.csv'"),
    "columns": (["age=wide.csv"], THREE, r"of shape \(3,\) .*received \(2,\) in line 2 of 'wide\.csv'"),
    "no column": (["age=bare.csv"], AGE, r"a column 'age' beside the column of files in 'bare\.csv', received none"),
    "semicolons": (["age=semicolons.csv"], AGE, r"commas in 'semicolons\.csv', received semicolons\. Save"),
    "no files": (["age=none.csv"], AGE, r"Expected a column 'file' in 'none\.csv'"),
    "two columns": (["right=wide.csv"], RIGHT, r"one column of pictures .*received p, q\. Call it 'right'"),
    "no line": (["age=ages.csv"], AGE, r"'ages\.csv' to name some of the 3 images, but no line fits .*'a/1\.png'"),
    "two lines": (["age=two.csv"], AGE, r"one row for 'a/1\.png' in 'two\.csv', received lines 2 and 3"),
    "two images": (["age=both.csv"], AGE, r"'1\.png' in line 2 of 'both\.csv' fits 2 images, .* Write the folder"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_words(folder, case):
    given, shapes, message = REFUSED[case]
    np.save("two.npy", np.ones((2, 3)))
    np.save("words.npy", np.array(["abc"]))
    write_photo(folder, "ages.png")
    for name, text in {
        "no.npy": "no array",
        "ages.csv": "file,age\nelsewhere.png,1\n",
        "text.csv": "file,age\na/1.png,young\n",
        "wide.csv": "file,p,q\na/1.png,1,2\n",
        "bare.csv": "file\na/1.png\n",
        "semicolons.csv": "file;age\na/1.png;1\n",
        "none.csv": "name,age\na/1.png,1\n",
        "two.csv": "file,age\na/1.png,1\n./a/1.png,2\n",
        "both.csv": "file,age\n1.png,1\n",
    }.items():
        write(name, text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        inputs_of(*given, **shapes)


def test_further_inputs_of_a_model_of_one_are_refused():
    model = keras.Sequential([keras.Input((6, 10, 3), name="image"), L.Flatten()])
    with pytest.raises(ValueError, match=r"Expected no --input for a model of one .*received age=62\. Leave it out"):
        inputs_of("age=62", model=model)


def test_text_is_refused():
    image, word = keras.Input((6, 10, 3), name="image"), keras.Input((1,), dtype="string", name="word")
    numbers = L.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")(word)
    model = keras.Model([image, word], L.Concatenate()([L.GlobalAveragePooling2D()(L.Conv2D(2, 1)(image)), numbers]))
    with pytest.raises(ValueError, match="the input 'word' takes text, which is not explained"):
        inputs_of("word=a", model=model)


def test_array_with_code_in_it_is_not_unpickled(folder):
    np.save("code.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"'code\.npy' is not an array of NumPy, or is damaged: .*allow_pickle"):
        inputs_of("age=code.npy", age=(1,))
