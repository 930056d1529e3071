"""Rows of images with predictions and maps that can be done in one's head; whatever fails, fails alone.

Also tests _models/images.py, image/thumbnails.py.
"""

import os

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.helpers.own_code import write_own_model
from tests.helpers.redblue import (
    BLUE_SCORE,
    RED_PROBABILITY,
    RED_SCORE,
    red_blue_heatmap,
    red_blue_model,
    red_blue_photo,
    write_photo,
)
from tf_gradcam._models.description import NAMES_MEMBER
from tf_gradcam._models.preprocessing import ImageRangeWarning
from tf_gradcam.audit.mapper import AuditMapper, ModelUnderAudit
from tf_gradcam.audit.sources import DatasetSource, Samples
from tf_gradcam.image.io import load_image

NAMES = ["red", "blue"]
COLUMNS = [
    *("index", "file", "label", "truth", "status", "error", "predicted", "probability", "probabilities", "score"),
    *("heatmap", "mapped", "maps", "diagnosis", "thumbnail", "note", "digest"),
]


def mapper(model=None, **options):
    return AuditMapper(model or red_blue_model(), **{"preprocess": "raw", **options})


def batch_of(*files, **columns):
    count = len(files)
    labels = np.zeros(count, np.int32)
    return {
        "index": np.arange(5, 5 + count),
        "file": np.array(list(map(str, files)), object),
        "label": labels,
        **columns,
    }


def batch_of_images(images):
    return batch_of(*(f"image {number}" for number in range(len(images))), image=images)


def red_blue_images(count):
    return np.stack([red_blue_photo()] * count).astype(np.float32)


class Picky(keras.layers.Layer):
    """Passes images on through a Python function, which may refuse them."""

    def __init__(self, refuse):
        super().__init__(name="picky")
        self.refuse = refuse
        self.seen = []

    def call(self, images):
        return tf.ensure_shape(tf.numpy_function(self._pass, [images], tf.float32), images.shape)

    def _pass(self, images):
        self.seen.append(len(images))
        self.refuse(images)
        return images

    def compute_output_shape(self, shape):
        return shape


def picky_model(refuse):
    inner = red_blue_model()
    images = keras.Input((6, 10, 3))
    picky = Picky(refuse)
    return keras.Model(images, inner(picky(images))), picky


def test_row_holds_what_is_known_of_the_photo(tmp_path):
    rows = mapper()(batch_of(write_photo(tmp_path, photo=red_blue_photo(scale=2))))
    assert list(rows) == COLUMNS
    assert (rows.index[0], rows.label[0], rows.predicted[0]) == (5, 0, 0)
    assert (rows.status[0], rows.error[0], rows.diagnosis[0]) == ("done", "", "")
    np.testing.assert_allclose(rows.probability, [RED_PROBABILITY], rtol=1e-5)
    np.testing.assert_allclose(rows.probabilities, [[RED_PROBABILITY, 1 - RED_PROBABILITY]], rtol=1e-5)
    np.testing.assert_allclose(rows.score, [RED_SCORE], rtol=1e-5)
    np.testing.assert_allclose(rows.heatmap, red_blue_heatmap()[None], atol=1e-3)
    kinds = {name: column.dtype.name for name, column in rows.items()}
    assert kinds == {
        **dict.fromkeys(("file", "status", "error", "diagnosis", "thumbnail", "note", "digest"), "object"),
        **dict.fromkeys(("mapped", "maps"), "object"),
        **{"index": "int64", "label": "int32", "predicted": "int32", "heatmap": "float16"},
        **dict.fromkeys(("truth", "probability", "probabilities", "score"), "float32"),
    }


def test_thumbnail_is_the_photo_made_small(tmp_path):
    photo = red_blue_photo(scale=40)  # 240 x 400
    rows = mapper(thumbnail=50)(batch_of(write_photo(tmp_path, photo=photo), write_photo(tmp_path, "small.png")))
    sizes = []
    for name, data in zip(("a.jpg", "b.jpg"), rows.thumbnail, strict=True):
        (tmp_path / name).write_bytes(data)
        with Image.open(tmp_path / name) as opened:
            assert opened.format == "JPEG"
            sizes.append(opened.size)
    assert sizes == [(50, 30), (10, 6)]
    small = load_image(tmp_path / "a.jpg").astype(int)
    assert np.abs(small[5:-5, 2:15] - (200, 0, 0)).max() < 12
    assert np.abs(small[5:-5, 25:-2] - (0, 0, 100)).max() < 12


def test_broken_file_fails_alone(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    good = write_photo(tmp_path)
    rows = mapper()(batch_of(good, tmp_path / "broken.png", good, tmp_path / "none.png"))
    assert list(rows.status) == ["done", "failed", "done", "failed"]
    assert "broken.png" in rows.error[1]
    assert "No image file" in rows.error[3]
    np.testing.assert_array_equal(rows.predicted, [0, -1, 0, -1])
    np.testing.assert_array_equal(rows.heatmap[[1, 3]], np.zeros((2, 6, 10)))
    assert np.isnan(rows.probability[[1, 3]]).all()
    assert np.isnan(rows.probabilities[[1, 3]]).all()
    assert np.isnan(rows.score[[1, 3]]).all()
    assert list(rows.thumbnail[[1, 3]]) == [b"", b""]
    np.testing.assert_allclose(rows.score[[0, 2]], RED_SCORE, rtol=1e-5)


def test_batch_of_broken_files_alone_asks_no_model(tmp_path):
    model, picky = picky_model(lambda images: None)
    of_picky = mapper(model)
    picky.seen.clear()
    rows = of_picky(batch_of(tmp_path / "none.png"))
    assert list(rows.status) == ["failed"]
    assert picky.seen == []


def test_images_are_taken_as_they_are():
    images = np.stack([red_blue_photo(), red_blue_photo(columns=2)]).astype(np.float32)
    rows = mapper()(batch_of_images(images))
    np.testing.assert_array_equal(rows.predicted, [0, 1])
    np.testing.assert_allclose(rows.score, [RED_SCORE, 0.8 * 100 / 255], rtol=1e-5)
    assert all(data[:2] == b"\xff\xd8" for data in rows.thumbnail)


def test_image_that_is_not_finite_fails_alone():
    images = red_blue_images(3)
    images[1, 2, 3, 0] = np.nan
    rows = mapper()(batch_of_images(images))
    assert list(rows.status) == ["done", "failed", "done"]
    assert rows.error[1].startswith("The image holds NaN")
    assert rows.predicted[1] == -1


def test_image_that_makes_the_model_fail_fails_alone():
    def refuse(images):
        if (images[:, 0, 0, 0] == 7).any():
            raise ValueError("seven is not allowed")

    model, picky = picky_model(refuse)
    images = red_blue_images(5)
    images[3, 0, 0, 0] = 7
    of_picky = mapper(model)
    picky.seen.clear()
    rows = of_picky(batch_of_images(images))
    assert list(rows.status) == ["done", "done", "done", "failed", "done"]
    assert "The model fails: " in rows.error[3]
    assert "seven is not allowed" in rows.error[3]
    assert picky.seen == [5, 2, 3, 1, 2, 1, 1]  # halves: 0 1 | 2 3 4, 2 | 3 4, 3 | 4


def test_batch_that_is_too_large_for_the_memory_is_done_in_pieces_from_then_on():
    def refuse(images):
        if len(images) > 2:
            raise MemoryError

    model, picky = picky_model(refuse)
    of_picky = mapper(model)
    picky.seen.clear()
    for _ in range(2):
        rows = of_picky(batch_of_images(red_blue_images(4)))
        assert list(rows.status) == ["done"] * 4
    assert picky.seen == [4, 2, 2, 2, 2]


def test_model_without_memory_for_one_image_fails_every_row():
    def refuse(images):
        if images.any():  # the black one, by which the mapper tries the model out
            raise MemoryError

    rows = mapper(picky_model(refuse)[0])(batch_of_images(red_blue_images(2)))
    assert list(rows.status) == ["failed", "failed"]
    assert all("memory is too small" in error for error in rows.error)


def test_outputs_that_are_not_finite_are_failures():
    model = red_blue_model()
    model.get_layer("classes").set_weights([np.full((2, 2), np.nan), np.zeros(2)])
    rows = mapper(model)(batch_of_images(red_blue_images(2)))
    assert list(rows.status) == ["failed", "failed"]
    assert "NaN" in rows.error[0]
    np.testing.assert_array_equal(rows.predicted, [-1, -1])


def test_blank_map_has_its_diagnosis():
    rows = mapper()(batch_of_images(np.zeros((1, 6, 10, 3), np.float32)))
    assert rows.status[0] == "done"
    assert "all activations" in rows.diagnosis[0] or "speaks against" in rows.diagnosis[0]
    np.testing.assert_array_equal(rows.heatmap, np.zeros((1, 6, 10)))


def test_one_sigmoid_unit_is_two_classes():
    unit = keras.layers.Dense(1, activation="sigmoid", name="unit")
    model = red_blue_model(unit)
    unit.set_weights([np.array([[-1.0], [1.0]]), np.zeros(1)])
    of_unit = mapper(model, class_names=NAMES)
    assert of_unit.class_names == NAMES
    rows = of_unit(batch_of_images(red_blue_images(1)))
    share = 1 / (1 + np.exp(RED_SCORE - BLUE_SCORE))
    np.testing.assert_allclose(rows.probabilities, [[1 - share, share]], rtol=1e-5)
    assert rows.predicted[0] == 0
    np.testing.assert_allclose(rows.probability, [1 - share], rtol=1e-5)
    np.testing.assert_allclose(rows.score, [RED_SCORE - BLUE_SCORE], rtol=1e-4)


def test_grey_model_is_given_grey(tmp_path):
    images = keras.Input((6, 10, 1))
    hidden = keras.layers.Conv2D(2, 1, name="conv")(images)
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(hidden))
    grey = mapper(keras.Model(images, outputs))
    path = write_photo(tmp_path)
    np.testing.assert_allclose(
        grey.images.of_photos(grey.images.load_photos([str(path)]))[0, 0, [0, -1], 0],
        [0.299 * 200, 0.114 * 100],
        rtol=1e-5,
    )
    assert list(grey(batch_of(path)).status) == ["done"]


def test_attributes_describe_the_model():
    one = mapper(class_names=NAMES)
    assert (one.size, one.map_size) == ((6, 10), (6, 10))
    assert (one.layer_name, one.class_names, one.has_names, one.preprocessing.mode) == ("hue", NAMES, True, "raw")
    about = one.about()
    assert (about["model"], about["layer"], about["method"], about["size"]) == ("red_blue", "hue", "gradcam", "6 x 10")
    assert about["keras"] == keras.__version__
    assert about["tensorflow"] == tf.__version__


def test_classes_without_names_are_told_by_their_numbers():
    one = mapper()
    assert (one.class_names, one.has_names) == (["class 0", "class 1"], False)


def test_photos_are_read_at_the_models_size(tmp_path):
    path = str(write_photo(tmp_path, photo=red_blue_photo(scale=2)))
    photos = mapper().images.load_photos([path, path])
    np.testing.assert_array_equal(photos, np.stack([red_blue_photo()] * 2))
    scaled = mapper(preprocess="unit").images.of_photos(photos)
    np.testing.assert_array_equal(scaled[0], red_blue_photo() / np.float32(255))
    with pytest.raises(FileNotFoundError):
        mapper().images.load_photos([path, "none.png"])


def test_file_is_loaded_with_its_names(tmp_path):
    import json
    import zipfile

    path = tmp_path / "model.keras"
    red_blue_model().save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(NAMES_MEMBER, json.dumps(NAMES))
    one = AuditMapper(path)
    assert one.class_names == NAMES
    assert one.about()["model"] == str(path)
    rows = one(batch_of(write_photo(tmp_path)))
    np.testing.assert_allclose(rows.score, [RED_SCORE], rtol=1e-5)


def test_arguments_make_the_same_mapper(tmp_path):
    path = tmp_path / "model.keras"
    red_blue_model().save(path)
    first = AuditMapper(path, class_names=NAMES, layer="hue", method="layercam", thumbnail=7)
    second = AuditMapper(**first.arguments)
    assert second.arguments == first.arguments
    assert second.fingerprint("data") == first.fingerprint("data")


@pytest.mark.slow
def test_fingerprint_tells_what_the_rows_follow_from(tmp_path):
    first, path = mapper(), tmp_path / "model.keras"
    first.model.save(path)
    assert mapper().fingerprint("a") == first.fingerprint("a")
    assert mapper().fingerprint("b") != first.fingerprint("a")
    assert mapper(method="layercam").fingerprint("a") != first.fingerprint("a")
    assert mapper(preprocess="unit").fingerprint("a") != first.fingerprint("a")
    assert mapper(thumbnail=9).fingerprint("a") != first.fingerprint("a")
    changed = red_blue_model()
    changed.get_layer("classes").bias.assign([0.0, 1e-6])
    assert mapper(changed).digest() != first.digest()
    of_file = AuditMapper(path, preprocess="raw").digest()
    path.rename(tmp_path / "moved.keras")
    assert AuditMapper(tmp_path / "moved.keras", preprocess="raw").digest() == of_file


def test_model_is_left_as_it_was(tmp_path):
    model = red_blue_model()
    before = model.get_weights()
    mapper(model)(batch_of(write_photo(tmp_path)))
    for then, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(then, now)


def test_thumbnails_of_images_undo_the_preprocessing():
    """A photo that is preprocessed and read back is the same, up to rounding, in each mode of Keras."""
    from tf_gradcam._models.images import photos_of
    from tf_gradcam._models.preprocessing import MODES, Preprocessing

    photos = np.random.default_rng(0).integers(0, 256, (2, 6, 10, 3), dtype=np.uint8)
    for mode in MODES.keys() - {"standard"}:  # which forgets each picture's mean and deviation
        np.testing.assert_array_equal(photos_of(Preprocessing(None, mode)(photos), mode), photos)
    spread = photos_of(np.stack([np.full((6, 10, 1), 3.0), np.linspace(-4, 4, 60).reshape(6, 10, 1)]), "unknown")
    assert spread.shape == (2, 6, 10, 3)
    assert (spread[0].max(), spread[1].min(), spread[1].max()) == (0, 0, 255)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": ["a", "b", "c"]}, "names of 2 classes, received 3"),
        ({"preprocess": "tof"}, "Unknown preprocessing mode 'tof'"),
        ({"size": (12, 20)}, "model's own size 6 x 10, received 12 x 20"),
        ({"weights": "imagenet"}, "no weights with a Keras model"),
        ({"method": "gradcamm"}, "gradcamm"),
        ({"layer": "huh"}, "huh"),
    ],
)
def test_wrong_argument_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        mapper(**options)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"shape \(6, 10, 3\) as the model takes them, received \(5, 10, 3\)"):
        mapper()(batch_of_images(np.zeros((1, 5, 10, 3), np.float32)))


def test_images_of_another_range_are_warned_of():
    with pytest.warns(ImageRangeWarning):
        mapper()(batch_of_images(np.random.default_rng(0).random((1, 6, 10, 3), np.float32)))


def test_picture_replaced_after_the_pass_is_noticed(tmp_path):
    """The pixels of one file change, the time of another: only the first is another picture."""
    paths = [write_photo(tmp_path, f"{number}.png", red_blue_photo(columns=number)) for number in range(3)]
    subject = mapper()
    rows = subject(batch_of(*paths))
    samples = Samples([str(path) for path in paths], np.zeros(3, np.int32), NAMES)
    model = ModelUnderAudit(subject, samples, rows.digest)
    model.photos([0, 1, 2])
    assert model.changed == set()
    write_photo(tmp_path, "1.png", red_blue_photo(columns=7))
    os.utime(paths[2], (1, 1))
    model.photos([0, 2])
    assert model.changed == set()
    model.images([1, 2])
    assert model.changed == {str(paths[1])}


def test_larger_pictures_are_those_that_were_explained(tmp_path):
    """A file that was replaced, and one that is gone, have none."""
    paths = [write_photo(tmp_path, f"{number}.png", np.zeros((300, 600, 3), np.uint8)) for number in range(3)]
    subject = mapper()
    samples = Samples([str(path) for path in paths], np.zeros(3, np.int32), NAMES)
    model = ModelUnderAudit(subject, samples, subject(batch_of(*paths)).digest)
    write_photo(tmp_path, "1.png", red_blue_photo())
    paths[2].unlink()
    found = dict(model.larger([2, 0, 1]))
    assert cv2.imdecode(np.frombuffer(found[0], np.uint8), cv2.IMREAD_COLOR).shape == (192, 384, 3)
    assert [found[1], found[2]] == [b"", b""]


def test_larger_pictures_of_a_dataset_are_its_images():
    images = np.stack([np.full((6, 10, 3), shade, np.float32) for shade in (0, 120, 240)])
    subject = mapper(preprocess="raw")
    model = ModelUnderAudit(subject, DatasetSource(tf.data.Dataset.from_tensor_slices(images)))
    found = dict(model.larger([2, 1]))
    assert sorted(found) == [1, 2]
    for row, data in found.items():
        np.testing.assert_allclose(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), 120 * row, atol=2)


@pytest.mark.filterwarnings("ignore:The code in:tf_gradcam._errors.ModelWarning")
def test_model_of_own_classes_is_explained_and_the_code_counts_in_the_fingerprint(tmp_path):
    """Other code makes other rows of the same weights: an interrupted audit does not continue with it."""
    model, code = write_own_model(tmp_path)
    with pytest.raises(ValueError, match=r"it needs 'RedBlueNet', a class of your own"):
        mapper(model)
    own = mapper(model, imports=[str(code)])
    rows, plain = (made(batch_of(write_photo(tmp_path))) for made in (own, mapper()))
    np.testing.assert_allclose(rows.heatmap, plain.heatmap, rtol=1e-6)
    assert rows.probability[0] == pytest.approx(RED_PROBABILITY)
    assert own.arguments["imports"] == [str(code)]
    assert own.notes == [f"The code in '{code}' was run, as you asked."]
    again = mapper(**own.arguments | {"class_names": None})
    assert again.fingerprint("data") == own.fingerprint("data")
    code.write_text(code.read_text().replace("images / 255", "images / 256"))
    other = mapper(model, imports=[str(code)])
    changed = {key for key, text in own.fingerprint("data").items() if other.fingerprint("data")[key] != text}
    assert changed == {"code"}
    assert "code" not in mapper().fingerprint("data")


@pytest.mark.filterwarnings("ignore:The code in:tf_gradcam._errors.ModelWarning")
def test_code_is_refused_with_a_model_in_memory(tmp_path):
    _, code = write_own_model(tmp_path)
    with pytest.raises(ValueError, match=r"Expected no imports with a Keras model, whose code has run\."):
        mapper(imports=[str(code)])
