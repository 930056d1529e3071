"""Maps of detections: each lies in its box, equals the map of its raw number, and comes from one forward pass.

Also tests _results/detections.py, _figures/detections.py and targets/boxes.py.
"""

from __future__ import annotations

import csv
import gc
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

from tests.zoo.detectors import LEVELS, NAMES, SIZE, Scenes, scenes, trained
from tf_gradcam import Explainer, fuse, targets
from tf_gradcam._cli.main import main
from tf_gradcam._errors import ModelWarning
from tf_gradcam._results.detections import Detections
from tf_gradcam.metrics import box_region, energy_in_box, energy_in_region

FORM = "center_xywh"


@cache
def explainer(method: str = "gradcam", **options: Any) -> Explainer:
    return Explainer(trained(), method=method, class_names=NAMES, decode=FORM, **options)


@cache
def pictures(left: int = 0, right: int = 1) -> Scenes:
    return scenes(6, seed=9, classes=(left, right))


def explained(method: str = "gradcam", left: int = 0, right: int = 1) -> list[Detections]:
    return explainer(method).detections(pictures(left, right).images)


def overlap(one: Any, other: Any) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    inside = float(np.prod(np.clip(high - low, 0, None)))
    return inside / (sum(float(np.prod(np.subtract(b[2:], b[:2]))) for b in (one, other)) - inside)


def test_trained_detector_finds_the_two_shapes() -> None:
    data = pictures()
    hits = []
    for result, boxes, kinds in zip(explained(), data.boxes, data.classes, strict=True):
        for box, kind in zip(boxes, kinds, strict=True):
            near = [item for item in result if overlap(np.array(item.box), box) > 0.4]
            hits.append(any(item.class_index == kind and item.label == NAMES[kind] for item in near))
    assert np.mean(hits) > 0.8


@pytest.mark.parametrize(
    ("method", "left", "right"),
    [("gradcam", 0, 1), ("hirescam", 0, 0), pytest.param("layercam", 1, 1, marks=pytest.mark.slow)],
)
def test_map_of_each_box_lies_in_that_box(method: str, left: int, right: int) -> None:
    results = explained(method, left, right)
    own = np.concatenate([result.energy for result in results])
    others = np.concatenate([result.energy_of_others for result in results])
    shares = np.concatenate([result.box_shares for result in results])
    assert len(own) >= 10
    assert own.mean() > 6 * shares.mean()
    assert (own > 2 * shares).mean() > 0.85
    assert others.mean() < 0.2 * own.mean()
    assert (own > others).mean() > 0.85  # a second box on one shape has the heat of both


def test_energies_are_those_of_the_metrics() -> None:
    (result,) = explainer().detections(pictures().images[:1])
    assert result.maps is not None
    heat = result.maps.resized(SIZE)
    height, width = SIZE
    boxes = [np.clip(item.box, 0, [width, height, width, height]) for item in result.found]
    for index in range(len(result)):
        np.testing.assert_allclose(result.energy[index], energy_in_box(heat[index], boxes[index]))
        rest = np.max([box_region(SIZE, box) for n, box in enumerate(boxes) if n != index], axis=0)
        rest = np.clip(rest - box_region(SIZE, boxes[index]), 0, 1)
        np.testing.assert_allclose(result.energy_of_others[index], energy_in_region(heat[index], rest))


@cache
def of_logits() -> keras.Model:
    """The trained detector with logits in its raw outputs, so that Element explains what detections explain."""
    model = trained()
    parts = [model.get_layer("boxes").output, model.get_layer("logits").output]
    return keras.Model(model.inputs, keras.layers.Concatenate()(parts))


SLOW = [
    pytest.param(method, LEVELS[1], marks=pytest.mark.slow)
    for method in ("gradcam_pp", "layercam", "shapleycam", "eigencam")
]


@pytest.mark.parametrize(("method", "layer"), [("gradcam", LEVELS[0]), *SLOW])
def test_map_equals_the_map_of_the_raw_number(method: str, layer: str) -> None:
    data = pictures()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = Explainer(trained(), layer, method, class_names=NAMES, decode=FORM)
    reference = Explainer(of_logits(), layer, method)
    for number, result in enumerate(one.detections(data.images[:2])):
        for position, item in enumerate(result):
            element = targets.Element(item.row, 4 + item.class_index)
            expected = reference(data.images[number : number + 1], element)
            assert result.maps is not None
            received = result.maps.heatmaps[position]
            if received.any():  # a layer that is not on the way of the row is blank: eigencam's map would not know
                np.testing.assert_allclose(received, expected.heatmaps[0], atol=2e-4)


def test_levels_are_fused_as_fuse_does() -> None:
    data = pictures()
    fused = fuse([Explainer(trained(), layer) for layer in LEVELS])
    for number, result in enumerate(explainer().detections(data.images[:2])):
        assert result.maps is not None
        for position, item in enumerate(result):
            expected = fused(data.images[number : number + 1], targets.Element(item.row, 4 + item.class_index))
            expected_map = expected.resized(SIZE)[0]
            np.testing.assert_allclose(result.maps.resized(SIZE)[position], expected_map, atol=2e-4)


@pytest.mark.slow
def test_rows_of_the_coarse_level_do_not_pass_the_fine_one() -> None:
    data = pictures()
    fine, coarse = (Explainer(trained(), layer, decode=FORM) for layer in LEVELS[::-1])
    count = (SIZE[0] // 4) * (SIZE[1] // 4)
    for by_fine, by_coarse in zip(fine.detections(data.images), coarse.detections(data.images), strict=True):
        assert by_fine.maps is not None
        assert by_coarse.maps is not None
        for position, item in enumerate(by_fine):
            assert by_coarse.maps.raw[position].any()  # the way of both levels
            assert by_fine.maps.raw[position].any() == (item.row < count)


def test_extractor_runs_once_for_all_detections() -> None:
    calls = []

    @keras.saving.register_keras_serializable("tests")
    class Counting(keras.layers.Layer):
        def call(self, values: Any) -> Any:
            tf.py_function(lambda: calls.append(1), [], [])
            return values + 0.0

    model = trained()
    image = keras.Input((*SIZE, 3))
    counted = keras.Model(image, model(Counting()(image)))
    own = Explainer(counted, layer=[f"{model.name}/{layer}" for layer in LEVELS], decode=FORM)
    own.detections(pictures().images[:1], threshold=0.0)
    calls.clear()
    (result,) = own.detections(pictures().images[:1], threshold=0.0)
    assert len(result) >= 2
    assert len(calls) == 1


def test_subclassed_detector_has_the_maps_of_its_graph() -> None:
    inner = trained()

    class Subclassed(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def call(self, images: Any) -> Any:
            return self.inner(images)

    model = Subclassed()
    model.build((None, *SIZE, 3))
    own = Explainer(model, decode=FORM)
    assert own.layer_name == " + ".join(f"{inner.name}/{layer}" for layer in LEVELS)
    images = pictures().images[:1]
    (received,), (expected,) = own.detections(images), explainer().detections(images)
    assert received.maps is not None
    assert expected.maps is not None
    np.testing.assert_allclose(received.maps.resized(SIZE), expected.maps.resized(SIZE), atol=1e-4)


def test_target_chooses_by_number_name_and_list() -> None:
    images = pictures().images[:1]
    (every,) = explainer().detections(images)
    assert [item.score for item in every] == sorted((item.score for item in every), reverse=True)
    (best,) = explainer().detections(images, 0)
    (blue,) = explainer().detections(images, "blue disc")
    (both,) = explainer().detections(images, ["blue disc", 0])
    (again,) = explainer().detections(images, "all")
    assert best.chosen == [0]
    assert len(best.found) == len(every)  # the other boxes are still known
    first_blue = next(n for n, item in enumerate(every) if item.label == "blue disc")
    assert blue.chosen == [first_blue]
    assert both.chosen == list(dict.fromkeys([first_blue, 0]))
    assert again.chosen == every.chosen
    assert every.maps is not None
    assert blue.maps is not None
    np.testing.assert_allclose(blue.maps.heatmaps[0], every.maps.heatmaps[first_blue], atol=1e-6)


def test_nothing_found_is_said_with_the_nearest_scores() -> None:
    noise = np.full((1, *SIZE, 3), 0.4, np.float32)
    images = np.concatenate([noise, pictures().images[:1]])
    with pytest.warns(ModelWarning, match="Image 0: no detection with a score of 0.9 or more: the best are .* 0.0"):
        nothing, found = explainer().detections(images, threshold=0.9)
    assert len(nothing) == 0
    assert nothing.maps is None
    assert "Lower threshold=" in str(nothing.diagnosis)
    assert found.diagnosis is None
    assert len(found)


def test_boxes_that_are_not_finite_are_not_named_as_the_nearest() -> None:
    """Of pixels in 0..255, where the detector expects [0, 1], the sides of many boxes are infinite."""
    images = pictures().images[:1] * 255
    boxes = trained().predict(images, verbose=0)[0, :, :4]
    assert not np.isfinite(boxes).all()
    with pytest.warns(ModelWarning, match="no detection with a score of 1 or more") as said:
        explainer().detections(images, threshold=1.0)
    assert "inf" not in str(said[-1].message)


def test_lower_threshold_finds_the_nearest() -> None:
    noise = np.full((1, *SIZE, 3), 0.4, np.float32)
    (result,) = explainer().detections(noise, threshold=0.0)
    assert len(result)


def test_missing_class_and_number_name_what_is_there() -> None:
    images = pictures(0, 0).images[:1]
    with pytest.warns(ModelWarning, match=r"no detection of 'blue disc': the image has \d+, 0 to \d+: red square"):
        (result,) = explainer().detections(images, "blue disc", threshold=0.5)
    assert len(result) == 0
    with pytest.warns(ModelWarning, match="no detection 40: the image has"):
        explainer().detections(images, 40)


def test_image_that_is_not_finite_does_not_stop_the_others() -> None:
    images = pictures().images[:2].copy()
    images[0, 3, 4] = np.nan
    with pytest.warns(ModelWarning, match="the image holds NaN"):
        bad, good = explainer().detections(images)
    assert len(bad) == 0
    assert len(good)


def test_box_is_the_row_that_made_it() -> None:
    images = pictures().images[:1]
    (result,) = explainer().detections(images)
    assert result.maps is not None
    for position, item in enumerate(result):
        explanation = explainer()(images, targets.Box(item.label, item.box))
        expected = Explainer(trained(), LEVELS)(images, targets.Element(item.row, 4 + item.class_index))
        np.testing.assert_allclose(explanation.heatmaps, expected.heatmaps, atol=1e-4)
        np.testing.assert_allclose(explanation.resized()[0], result.maps.resized()[position], atol=1e-4)
        logit = np.log(item.score / (1 - item.score))
        np.testing.assert_allclose(explanation.scores[0], logit, rtol=1e-2, atol=0.05)
        assert explanation.labels[0].startswith(f"{item.label} at (")


def test_box_inside_another_target_is_read_too() -> None:
    images = pictures().images[:1]
    ((item, *_),) = (list(result) for result in explainer().detections(images))
    for_it = explainer()(images, targets.Box(item.class_index, item.box))
    against = explainer()(images, targets.Counterfactual(targets.Box(item.class_index, item.box)))
    np.testing.assert_allclose(against.scores, -for_it.scores, rtol=1e-5)


def test_box_works_without_decode_and_layer_and_says_how_boxes_were_read() -> None:
    images = pictures().images[:1]
    plain = Explainer(trained(), class_names=NAMES)
    with pytest.warns(ModelWarning, match="Read as a YOLO-like head .* boxes center_xywh, because"):
        (result,) = plain.detections(images)
    explanation = plain(images, targets.Box(result[0].label, result[0].box))
    assert explanation.layer_name == " + ".join(LEVELS)


def test_box_without_overlap_names_the_nearest_and_the_remedy_works() -> None:
    images = pictures().images[:1]
    ((item, *_),) = (list(result) for result in explainer().detections(images))
    with pytest.raises(ValueError, match="Expected a box that overlaps a detection, received") as error:
        explainer()(images, targets.Box(0, (500, 500, 510, 510)))
    text = str(error.value)
    assert f"({', '.join(f'{side:.0f}' for side in item.box)})" in text
    remedy = text.rpartition("Box(")[2].rstrip(".")
    index, box = eval(f"({remedy}", {})  # "k, (x1, y1, x2, y2))"
    assert explainer()(images, targets.Box(index, box)).heatmaps.any()


WRONG_BOXES: list[tuple[Any, type[Exception], str]] = [
    ((0, (1, 2, 3)), TypeError, "four numbers"),
    ((0, "box"), TypeError, "four numbers"),
    ((0, (5, 5, 5, 9)), ValueError, "x1 < x2 and y1 < y2"),
    ((0, (0, 0, np.inf, 9)), ValueError, "x1 < x2 and y1 < y2"),
    ((1.5, (0, 0, 1, 1)), TypeError, "class index or name"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), WRONG_BOXES)
def test_wrong_box_is_refused(arguments: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        targets.Box(*arguments)


def test_box_alone_needs_an_explainer() -> None:
    with pytest.raises(ValueError, match="to be explained by an Explainer"):
        targets.Box(0, (0, 0, 4, 4))(tf.zeros((1, 8, 6)))
    with pytest.raises(ValueError, match="Expected a class below 2"):
        explainer()(pictures().images[:1], targets.Box(7, (0, 0, 60, 40)))


def by_hand(outputs: Any) -> Any:
    x, y, width, height = tf.unstack(outputs[..., :4], 4, axis=-1)
    return tf.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1), outputs[..., 4:]


@pytest.mark.slow
def test_decode_function_gives_the_detections_of_the_adapter() -> None:
    images = pictures().images[:2]
    own = Explainer(trained(), class_names=NAMES, decode=by_hand)
    for received, expected in zip(own.detections(images), explainer().detections(images), strict=True):
        np.testing.assert_allclose(received.boxes, expected.boxes, atol=1e-4)
        assert received.maps is not None
        assert expected.maps is not None
        np.testing.assert_allclose(received.maps.heatmaps, expected.maps.heatmaps, atol=1e-3)


def test_decode_without_a_gradient_is_an_error_in_words() -> None:
    def constant(outputs: Any) -> Any:
        boxes, scores = by_hand(outputs)
        return boxes, tf.stop_gradient(scores)

    with pytest.raises(ValueError, match=r"no gradient leads there\. A decode function must compute the scores"):
        Explainer(trained(), decode=constant).detections(pictures().images[:1])


WRONG_CALLS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"target": -1}, ValueError, "number of a detection, 0 for the best"),
    ({"target": 0.5}, TypeError, "Expected target as 'all'"),
    ({"target": "green star"}, ValueError, "Unknown class 'green star'"),
    ({"threshold": 2}, ValueError, "Expected threshold as a number from 0 to 1, received 2"),
    ({"overlap": None}, ValueError, "Expected overlap as a number from 0 to 1"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), WRONG_CALLS)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        explainer().detections(pictures().images[:1], **arguments)


def test_method_that_runs_the_model_again_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected a method of one forward pass"):
        explainer("scorecam").detections(pictures().images[:1])


def test_box_is_explained_by_methods_that_run_the_model_again() -> None:
    images = pictures().images[:1]
    (found,) = explainer().detections(images, 0)
    item = found[0]
    own = Explainer(trained(), LEVELS[0], "ablationcam", decode=FORM)
    expected = Explainer(of_logits(), LEVELS[0], "ablationcam")(images, targets.Element(item.row, 4 + item.class_index))
    np.testing.assert_allclose(own(images, targets.Box(item.class_index, item.box)).raw, expected.raw, atol=1e-4)


@pytest.mark.slow
def test_box_in_several_images_is_refused_where_rows_would_move() -> None:
    images = pictures().images[:2]
    (found, _) = explainer().detections(images)
    own = Explainer(trained(), LEVELS[0], "ablationcam", decode=FORM)
    with pytest.raises(ValueError, match="Expected one image for a box by the method 'ablationcam'"):
        own(images, targets.Box(0, (0, 0, 64, 48)))
    assert own(images[:1], targets.Box(found[0].class_index, found[0].box)).heatmaps.any()


def test_classifier_is_not_a_detector() -> None:
    layers = keras.layers
    image = keras.Input((*SIZE, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="conv")(image))
    with pytest.raises(ValueError, match=r"Expected a detector's raw outputs.*received 0 \(B, 3\)"):
        Explainer(keras.Model(image, layers.Dense(3)(pooled))).detections(pictures().images[:1])


def test_model_is_handed_back_unchanged() -> None:
    model, images = trained(), pictures().images[:1]
    before, outputs = [w.numpy() for w in model.weights], model(images).numpy()
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    Explainer(model, decode=FORM).detections(images)
    gc.collect()
    np.testing.assert_array_equal(model(images).numpy(), outputs)
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_second_call_compiles_nothing() -> None:
    own = explainer()
    own.detections(pictures().images[:2])
    count = own.trace_count
    own.detections(pictures().images[2:5])
    assert own.trace_count == count


def test_figure_has_a_panel_for_the_photo_and_each_map_with_all_boxes() -> None:
    (result,) = explainer().detections(pictures().images[:1])
    photo = np.kron((pictures().images[0] * 255).astype(np.uint8), np.ones((4, 4, 1), np.uint8))
    figure = result.plot(photo)
    panels = [axes for axes in figure.axes if len(axes.images) and len(axes.patches)]
    assert len(panels) == len(result) + 1
    assert all(len(axes.patches) == 2 * len(result.found) for axes in panels)
    x1, y1, x2, y2 = (4 * side for side in result[0].box)  # the photo is four times as large as the input
    own = panels[1].patches[-1]
    np.testing.assert_allclose([own.get_x(), own.get_y()], [x1 - 0.5, y1 - 0.5], atol=1e-3)
    np.testing.assert_allclose([own.get_width(), own.get_height()], [x2 - x1, y2 - y1], atol=1e-3)


def test_figure_of_nothing_is_the_photo_and_the_reason() -> None:
    noise = np.full((1, *SIZE, 3), 0.4, np.float32)
    with pytest.warns(ModelWarning):
        (result,) = explainer().detections(noise, threshold=0.99)
    figure = result.plot((noise[0] * 255).astype(np.uint8))
    assert any("no detection" in text.get_text() for text in figure.texts)
    assert "none explained" in repr(result)


def test_saved_overlay_has_the_outline_of_the_box(tmp_path: Any) -> None:
    from tf_gradcam.image import load_image

    (result,) = explainer().detections(pictures().images[:1], 0)
    photo = (pictures().images[0] * 255).astype(np.uint8)
    arrays, overlay = result.save(tmp_path, photo)
    assert [arrays.name, overlay.name] == [
        f"detection.0-{result[0].class_index}.heatmap.npy",
        f"detection.0-{result[0].class_index}.overlay.png",
    ]
    assert result.maps is not None
    np.testing.assert_array_equal(np.load(arrays), result.maps.heatmaps[0])
    x1, y1, x2, _ = np.rint(result[0].box).astype(int)
    edge = load_image(overlay)[max(y1, 0), max(x1, 0) + 2 : min(x2, 64) - 2]
    assert (edge == 255).all()


@pytest.mark.slow
def test_many_detections_cost_the_memory_of_one_map() -> None:
    import tracemalloc

    images = pictures().images[:1]
    own = explainer()
    own.detections(images, threshold=0.0, overlap=1.0)
    peaks = []
    for target in (0, "all"):
        tracemalloc.start()
        own.detections(images, target, threshold=0.0, overlap=1.0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 100 * 960 * 4 * 40  # a hundred maps of 960 cells, some copies each


# At the command line.


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The detector's file, the names of its classes, two scenes and a grey picture."""
    monkeypatch.chdir(tmp_path)
    trained().save("detector.keras")
    Path("names.txt").write_text("\n".join(NAMES))
    for number, image in enumerate(pictures().images[:2]):
        Image.fromarray((255 * image).round().astype(np.uint8)).save(f"{number}.png")
    Image.new("RGB", (SIZE[1], SIZE[0]), (100, 100, 100)).save("grey.png")
    return tmp_path


def run(*arguments: str) -> tuple[Any, list[dict[str, str]]]:
    """The result of the command, and the rows of its table."""
    options = ["--model", "detector.keras", "--class-names", "names.txt", "--preprocess", "unit", "--decode", FORM]
    result = CliRunner().invoke(main, ["explain", *arguments, *options, "--out", "maps"])
    with open("maps/manifest.csv", newline="", encoding="utf-8") as file:
        return result, list(csv.DictReader(file))


def test_command_writes_a_map_for_each_detection_with_its_box_and_fails_where_nothing_is_found(folder: Path) -> None:
    result, rows = run("0.png", "grey.png", "1.png")
    assert result.exit_code == 1, result.output
    photos = [np.asarray(Image.open(f"{number}.png"), np.float32) / 255 for number in (0, 1)]
    expected = explainer().detections(np.stack(photos))
    for name, found in zip(("0", "1"), expected, strict=True):
        own = [row for row in rows if row["file"] == f"{name}.png"]
        assert [(row["label"], row["map"]) for row in own] == [
            (item.label, f"box-{number}") for number, item in enumerate(found)
        ]
        assert f"{name}.png: {'; '.join(f'{item.label} {item.score:.2f}' for item in found)}\n" in result.stdout
        assert [float(row["probability"]) for row in own] == pytest.approx(list(found.scores), abs=1e-4)
        assert found.maps is not None
        for number, heatmap in enumerate(found.maps.heatmaps):
            np.testing.assert_allclose(np.load(f"maps/{name}.box-{number}.heatmap.npy"), heatmap, atol=1e-3)
            overlay = np.asarray(Image.open(f"maps/{name}.box-{number}.overlay.png"))
            assert (overlay == 255).all(axis=-1).sum() >= 20  # the white box
    (grey,) = [row for row in rows if row["file"] == "grey.png"]
    assert grey["status"] == "failed"
    assert "--threshold" in grey["error"]
    assert grey["error"] in result.stderr
    assert "task: detection" in result.stderr
    assert "of the heat in it" in result.stdout
    assert not [line for line in result.stderr.splitlines() if "note: Image" in line]


def test_target_of_the_command_is_the_number_of_a_detection_or_the_best_of_a_class(folder: Path) -> None:
    (best,) = run("0.png", "--target", "0")[1]
    assert best["map"] == "box-0"
    (disc,) = run("0.png", "--target", NAMES[1], "--overwrite")[1]
    assert disc["label"] == NAMES[1]
    both = run("0.png", "--target", f"{NAMES[0]},{NAMES[1]}", "--overwrite")[1]
    assert [row["label"] for row in both] == NAMES
    result, rows = run("0.png", "--target", "99", "--overwrite")
    assert (result.exit_code, rows[0]["status"]) == (1, "failed")
    assert "no detection 99" in rows[0]["error"]


def test_one_threshold_is_for_all_detections(folder: Path) -> None:
    result = CliRunner().invoke(
        main,
        ["explain", "0.png", "--model", "detector.keras", "--threshold", "a=0.5", "--preprocess", "unit", "--out", "x"],
    )
    assert result.exit_code == 2
    assert "Expected one threshold for all detections" in result.stderr
