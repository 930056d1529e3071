"""Image files explained in batches, with files whose maps can be done in one's head."""

import keras
import numpy as np
import pytest
from PIL import Image

from tests.helpers.redblue import (
    BLUE_SCORE,
    RED_SCORE,
    red_blue_heatmap,
    red_blue_model,
    red_blue_photo,
    write_photo,
)
from tf_gradcam._explain.batch import BatchExplainer
from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._figures.labels import with_text
from tf_gradcam._files.find import output_stems
from tf_gradcam._models.preprocessing import Preprocessing
from tf_gradcam.image.overlay import Look, colormap_colors
from tf_gradcam.targets.text import Asked, NearPicture

L = keras.layers
RAW = Preprocessing(None, "raw")
NAMES = ["red", "blue"]


def batch_explainer(model=None, preprocessing=RAW, size=None, **options):
    return BatchExplainer(Explainer(model or red_blue_model(), class_names=NAMES), preprocessing, size, **options)


def run(explainer, paths, folder):
    folder.mkdir(exist_ok=True)
    return list(explainer.run(paths, output_stems(paths), folder))


def test_files_hold_the_map_and_the_overlay_at_the_photos_size(tmp_path):
    """The photo is twice the model's size: averaged 2 x 2 it is the one whose map is known, 1 in red and 0 in blue."""
    photo = red_blue_photo(scale=2)
    (result,) = run(batch_explainer(look=Look(1.0)), [write_photo(tmp_path, "photo.png", photo)], tmp_path / "maps")
    heatmap = np.load(tmp_path / "maps" / "photo.heatmap.npy")
    assert heatmap.dtype == np.float32
    np.testing.assert_allclose(heatmap, red_blue_heatmap(), atol=1e-6)
    overlay = np.asarray(Image.open(tmp_path / "maps" / "photo.overlay.png"))
    hottest = colormap_colors("viridis")[255]
    np.testing.assert_array_equal(overlay[:, :7], np.broadcast_to(hottest, (12, 7, 3)))  # before the bilinear ramp
    np.testing.assert_array_equal(overlay[:, 9:], photo[:, 9:])
    assert overlay.shape == photo.shape
    assert (result.row.status, result.row.class_index, result.row.label) == ("done", "0", "red")
    assert (result.row.layer, result.row.method, result.row.error) == ("hue", "gradcam", "")
    assert float(result.row.score) == pytest.approx(RED_SCORE, rel=1e-5)


def test_alpha_zero_is_the_photo_byte_for_byte(tmp_path):
    path = write_photo(tmp_path)
    run(batch_explainer(look=Look(0.0)), [path], tmp_path / "maps")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "maps" / "photo.overlay.png")), red_blue_photo())


def test_each_class_that_is_asked_for_has_files_and_a_row_of_its_own(tmp_path):
    """Class 1 is blue: its map is 1 where that of class 0 is 0."""
    (result,) = run(batch_explainer(asked=Asked(classes=(1, 0))), [write_photo(tmp_path)], tmp_path / "maps")
    assert [(row.label, row.map_name, row.stem) for row in result.rows] == [
        ("blue", "class-1", "photo"),
        ("red", "class-0", "photo"),
    ]
    names = {path.name for path in (tmp_path / "maps").iterdir()}
    assert names == {f"photo.class-{index}.{end}" for index in (0, 1) for end in ("overlay.png", "heatmap.npy")}
    np.testing.assert_allclose(np.load(tmp_path / "maps/photo.class-0.heatmap.npy"), red_blue_heatmap(), atol=1e-6)
    np.testing.assert_allclose(np.load(tmp_path / "maps/photo.class-1.heatmap.npy"), 1 - red_blue_heatmap(), atol=1e-6)
    assert [float(row.score) for row in result.rows] == pytest.approx([BLUE_SCORE, RED_SCORE], rel=1e-4)


def test_images_of_a_multi_label_model_have_a_map_for_each_label(tmp_path):
    """Logits by hand: eight times the mean of redness less one, and of blueness: red is above 1/2 where it is 1/8."""
    head = L.Dense(2, activation="sigmoid", name="labels")
    model = red_blue_model(head)
    head.set_weights([8 * np.eye(2), -np.ones(2)])
    both, none = red_blue_photo(), np.zeros((6, 10, 3), np.uint8)
    red = red_blue_photo(columns=9)  # 1 of 10 columns is blue, with 100/255: 0.04
    paths = [write_photo(tmp_path, f"{name}.png", photo) for name, photo in (("a", both), ("b", none), ("c", red))]
    explainer = batch_explainer(model, asked=Asked(is_above=True))
    results = run(explainer, paths, tmp_path / "maps")
    assert explainer.task.name == "multilabel"
    assert [[row.label for row in result.rows] for result in results] == [["red", "blue"], ["red"], ["red"]]
    assert [bool(result.notes) for result in results] == [False, True, False]
    assert "No class is above its threshold" in results[1].notes[0]


def test_target_is_explained_instead_of_the_top_class(tmp_path):
    path = write_photo(tmp_path)
    for target in (1, "blue"):
        (result,) = run(batch_explainer(asked=Asked(target)), [path], tmp_path / "maps")
        assert (result.row.class_index, result.row.label) == ("1", "blue")
        assert float(result.row.score) == pytest.approx(BLUE_SCORE, rel=1e-5)
        np.testing.assert_allclose(np.load(tmp_path / "maps" / "photo.heatmap.npy"), 1 - red_blue_heatmap(), atol=1e-6)


def test_top_classes_come_with_their_probabilities(tmp_path):
    (result,) = run(batch_explainer(), [write_photo(tmp_path)], tmp_path / "maps")
    expected = 1 / (1 + np.exp(BLUE_SCORE - RED_SCORE))
    assert [label for label, _ in result.top] == NAMES
    np.testing.assert_allclose([share for _, share in result.top], [expected, 1 - expected], rtol=1e-5)


def test_blank_map_comes_with_its_diagnosis(tmp_path):
    path = write_photo(tmp_path, "blue.png", red_blue_photo(columns=0))
    (result,) = run(batch_explainer(asked=Asked("red")), [path], tmp_path / "maps")
    assert result.notes
    assert not np.load(tmp_path / "maps" / "blue.heatmap.npy").any()


@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
def test_batch_size_changes_no_result(tmp_path, batch_size):
    paths = [write_photo(tmp_path, f"{n}.png", red_blue_photo(scale=1 + n % 2, columns=n)) for n in range(1, 6)]
    results = run(batch_explainer(asked=Asked(0), batch_size=batch_size), paths, tmp_path / "maps")
    assert [result.row.file for result in results] == [str(path) for path in paths]
    for columns, result in enumerate(results, start=1):
        assert float(result.row.score) == pytest.approx(columns / 10 * 200 / 255, rel=1e-5)
        expected = np.broadcast_to(np.arange(10) < columns, (6, 10))
        np.testing.assert_allclose(np.load(tmp_path / "maps" / f"{columns}.heatmap.npy"), expected, atol=1e-6)


def test_image_that_cannot_be_read_fails_alone(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    first, last = write_photo(tmp_path, "a.png"), write_photo(tmp_path, "b.png")
    paths = [first, tmp_path / "text.png", tmp_path / "nowhere.png", last]
    results = run(batch_explainer(), paths, tmp_path / "maps")
    assert [result.row.status for result in results] == ["done", "failed", "failed", "done"]
    assert "text.png" in results[1].row.error
    assert "nowhere.png" in results[2].row.error
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [
        "a.heatmap.npy",
        "a.overlay.png",
        "b.heatmap.npy",
        "b.overlay.png",
    ]


def test_output_that_cannot_be_written_fails_alone(tmp_path):
    paths = [write_photo(tmp_path, "a.png"), write_photo(tmp_path, "b.png")]
    (tmp_path / "maps" / "a.overlay.png").mkdir(parents=True)
    results = run(batch_explainer(), paths, tmp_path / "maps")
    assert [result.row.status for result in results] == ["failed", "done"]
    assert "a.overlay.png" in results[0].row.error


@pytest.mark.parametrize("batch_size", [1, 3])
def test_image_that_the_model_refuses_fails_alone(tmp_path, batch_size):
    """The layer takes no bright red: an error from inside the model, as of memory that runs out."""

    class Delicate(L.Layer):
        def call(self, images):
            import tensorflow as tf

            with tf.control_dependencies([tf.debugging.assert_less(images, 210.0, message="too bright")]):
                return tf.identity(images)

    inputs = keras.Input((6, 10, 3))
    tensor = L.GlobalAveragePooling2D()(L.Conv2D(2, 1, name="hue")(Delicate()(inputs)))
    paths = [write_photo(tmp_path, f"{n}.png", np.full((6, 10, 3), n, np.uint8)) for n in (100, 250, 200)]
    results = run(batch_explainer(keras.Model(inputs, tensor), batch_size=batch_size), paths, tmp_path / "maps")
    assert [result.row.status for result in results] == ["done", "failed", "done"]
    assert "too bright" in results[1].row.error
    assert "\n" not in results[1].row.error


def test_regression_has_a_score_and_no_classes(tmp_path):
    """The values are the two means; the first is explained as the larger one."""
    values = red_blue_model(L.Dense(2, kernel_initializer="identity"))
    explainer = BatchExplainer(Explainer(values), RAW, asked=Asked(lambda outputs: outputs[:, 1]))
    (result,) = run(explainer, [write_photo(tmp_path)], tmp_path / "maps")
    assert float(result.row.score) == pytest.approx(BLUE_SCORE, rel=1e-5)
    assert result.row.class_index == ""


def value_model():
    """Ten times the mean redness less ten times the mean blueness."""
    head = L.Dense(1, name="value")
    model = red_blue_model(head)
    head.set_weights([np.array([[10.0], [-10.0]]), np.zeros(1)])
    return model


VALUE = 10 * (RED_SCORE - BLUE_SCORE)


def test_overlay_of_a_value_shows_it_with_its_unit(tmp_path):
    """In files; `overlay` of Python paints the map alone."""
    photo = red_blue_photo(scale=16)
    explainer = Explainer(value_model(), unit="years")
    (result,) = run(BatchExplainer(explainer, RAW, unit="years"), [write_photo(tmp_path, "photo.png", photo)], tmp_path)
    assert result.numbers == [f"{VALUE:.6g} years"]
    overlay = np.asarray(Image.open(tmp_path / "photo.overlay.png"))
    explanation = explainer(red_blue_photo()[None])
    painted = explanation.overlay_of(0, photo)
    np.testing.assert_array_equal(overlay, with_text(painted, f"{VALUE:.4g} years"))
    assert (overlay != painted).any()
    explanation.save(tmp_path / "saved", photo[None])
    saved = np.asarray(Image.open(tmp_path / "saved" / "0000.overlay.png"))
    np.testing.assert_array_equal(saved, with_text(explanation.overlay_of(0, photo), f"{VALUE:.4g} years"))


def test_distance_from_the_value_of_a_picture(tmp_path):
    """Its redness is 200/255 everywhere; the map is that of the value, as the value lies below."""
    near = write_photo(tmp_path, "near.png", red_blue_photo(columns=10))
    explainer = Explainer(value_model(), unit="years")
    batch = BatchExplainer(explainer, RAW, asked=Asked(NearPicture(near, 0)), unit="years")
    (result,) = run(batch, [write_photo(tmp_path)], tmp_path / "maps")
    assert result.row.label == f"value near {2000 / 255:.4g} years, the value of near.png"
    assert float(result.row.score) == pytest.approx(VALUE - 2000 / 255, rel=1e-5)
    assert result.numbers == [f"{VALUE:.6g} years"]
    expected = explainer(red_blue_photo()[None]).heatmaps[0]
    np.testing.assert_allclose(np.load(tmp_path / "maps" / "photo.heatmap.npy"), expected, atol=1e-6)


def test_reference_that_is_not_a_picture_is_refused(tmp_path):
    (tmp_path / "near.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"Cannot take the value of '.*near\.png': "):
        BatchExplainer(Explainer(value_model()), RAW, asked=Asked(NearPicture(tmp_path / "near.png", 0)))


def test_grey_model_gets_the_luma_of_the_photo(tmp_path):
    """Rec. 601: red 0.299, blue 0.114; the score is the mean."""
    inputs = keras.Input((6, 10, 1))
    grey = L.Conv2D(1, 1, kernel_initializer="ones", name="grey")(inputs)
    model = keras.Model(inputs, L.GlobalAveragePooling2D()(grey))
    explainer = BatchExplainer(Explainer(model), RAW, asked=Asked(lambda outputs: outputs[:, 0]))
    (result,) = run(explainer, [write_photo(tmp_path)], tmp_path / "maps")
    assert float(result.row.score) == pytest.approx(0.4 * 0.299 * 200 + 0.6 * 0.114 * 100, rel=1e-5)


def test_free_size_is_224_or_what_was_asked_for():
    free = red_blue_model(size=(None, None))
    assert batch_explainer(free).size == (224, 224)
    assert batch_explainer(free, size=(12, 20)).size == (12, 20)
    assert batch_explainer(free, Preprocessing("xception", "tf")).size == (299, 299)
    assert batch_explainer(red_blue_model(size=(None, 10))).size == (224, 10)


def test_size_that_the_model_fixes_cannot_be_changed():
    with pytest.raises(ValueError, match="model's own size 6 x 10, received 10 x 6"):
        batch_explainer(size=(10, 6))


def two_inputs():
    first, second = keras.Input((6, 10, 3), name="photo"), keras.Input((4,), name="table")
    tensor = L.GlobalAveragePooling2D()(L.Conv2D(2, 1)(first))
    return keras.Model([first, second], L.Dense(2)(L.Concatenate()([tensor, second])))


def five_channels():
    return keras.Sequential([keras.Input((6, 10, 5)), L.Conv2D(2, 1), L.GlobalAveragePooling2D()])


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (two_inputs, {}, r"besides 'photo', which takes the images; missing is 'table' \(B, 4\)"),
        (five_channels, {}, r"height, width, 1 or 3\), received an input of shape \(None, 6, 10, 5\)"),
        (red_blue_model, {"asked": Asked("reed")}, "Unknown class 'reed'. Did you mean 'red'"),
        (red_blue_model, {"asked": Asked(2)}, "class index below 2"),
        (red_blue_model, {"look": Look(colormap="jett")}, "Unknown colour map 'jett'. Did you mean 'jet'"),
        (red_blue_model, {"look": Look(2.0)}, "alpha"),
    ],
)
def test_what_concerns_every_image_is_found_before_the_first(model, options, message):
    with pytest.raises(ValueError, match=message):
        batch_explainer(model(), **options)
