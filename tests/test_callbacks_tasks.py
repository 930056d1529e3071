"""The callback's pictures of each task: what is explained of an image, and what its captions say.

The models see how red and how blue a picture is, so that every number of a caption is known by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.helpers.redblue import BLUE_SCORE, RED_SCORE
from tests.helpers.redblue_tasks import (
    BLUENESS,
    IMAGES,
    NAMES,
    REDNESS,
    of_boxes,
    of_labels,
    of_pair,
    of_pixels,
    of_value,
    sigmoid,
    with_head,
)
from tests.test_callbacks import look_at
from tf_gradcam import Explainer, Explanation, callbacks, targets
from tf_gradcam._figures.epochs import epoch_figure
from tf_gradcam._figures.sheet import GREY, RED
from tf_gradcam._results.class_maps import ClassMaps
from tf_gradcam.callbacks import GradCAMCallback


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record what the last picture was drawn of: title, cards, and the sides of its maps."""
    kept: list[Any] = []

    def recorded(*arguments: Any) -> Any:
        kept[:] = arguments
        return epoch_figure(*arguments)

    monkeypatch.setattr(callbacks, "epoch_figure", recorded)
    return kept


def lines_of(drawing: list[Any]) -> list[list[str]]:
    return [[text for text, _ in card.lines] for card in drawing[1]]


# Labels.


def test_each_true_label_of_an_image_has_a_card(tmp_path: Path, drawing: list[Any]) -> None:
    truth = [[1, 1], [1, 0], [0, 0]]
    callback = GradCAMCallback(IMAGES, tmp_path, truth, class_names=NAMES)
    maps = look_at(callback, of_labels())
    assert isinstance(maps, ClassMaps)
    assert callback.task is not None
    assert str(callback.task) == "multilabel"
    red, blue = (sigmoid(10 * value - 2) for value in (RED_SCORE, BLUE_SCORE))
    assert lines_of(drawing) == [
        [f"True: red, {red:.1%}", "Predicted: red, blue"],
        [f"True: blue, {blue:.1%}", "Predicted: red, blue"],
        [f"True: red, {sigmoid(10 * 200 / 255 - 2):.1%}", "Predicted: red"],
        ["True: none", "Predicted: blue"],
    ]
    assert drawing[0][1] == "gradcam at hue, for each true label"
    assert drawing[1][3].overlay == "No overlay: no label is true here."
    red_side, blue_side = (np.asarray(card.overlay, int) for card in drawing[1][:2])
    assert np.abs(red_side - blue_side)[:, :4].max() > 50  # the one is hot on the left, the other on the right


def test_true_label_below_its_threshold_is_red(tmp_path: Path, drawing: list[Any]) -> None:
    look_at(GradCAMCallback(IMAGES[1:2], tmp_path, [1], class_names=NAMES, threshold={"red": 0.9}), of_labels())
    assert drawing[1][0].lines == [(f"True: blue, {sigmoid(-2):.1%}", RED), ("Predicted: red", GREY)]


def test_labels_above_their_thresholds_are_explained_where_none_are_given(tmp_path: Path, drawing: list[Any]) -> None:
    look_at(GradCAMCallback(IMAGES, tmp_path, class_names=NAMES, threshold=0.9), of_labels())
    red, blue = (sigmoid(10 * value - 2) for value in (RED_SCORE, BLUE_SCORE))
    assert max(red, blue) < 0.9 < sigmoid(10 * 200 / 255 - 2)
    assert lines_of(drawing) == [
        [f"None above; most probable: {'red' if red > blue else 'blue'}, {max(red, blue):.1%}"],
        [f"Predicted: red, {sigmoid(10 * 200 / 255 - 2):.1%}"],
        [f"None above; most probable: blue, {sigmoid(10 * 100 / 255 - 2):.1%}"],
    ]


@pytest.mark.slow
def test_one_label_that_is_asked_for_is_explained_in_each_image(tmp_path: Path, drawing: list[Any]) -> None:
    model = of_labels()
    explanation = look_at(GradCAMCallback(IMAGES, tmp_path, np.eye(3, 2), class_names=NAMES, target="blue"), model)
    assert isinstance(explanation, Explanation)
    np.testing.assert_array_equal(explanation.raw, Explainer(model)(IMAGES, 1).raw)
    assert lines_of(drawing)[1] == ["Predicted: red", "True: blue", f"Explained: blue, score {-2:.4g}"]


@pytest.mark.slow
def test_logits_are_labels_by_the_loss_or_by_the_task(tmp_path: Path, drawing: list[Any]) -> None:
    model = with_head(2, None, 10 * np.eye(2), [-2, -2])
    look_at(GradCAMCallback(IMAGES[1:2], tmp_path, class_names=NAMES, task="multilabel"), model)
    said = lines_of(drawing)
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    look_at(GradCAMCallback(IMAGES[1:2], tmp_path, class_names=NAMES), model)
    assert lines_of(drawing) == said == [[f"Predicted: red, {sigmoid(10 * 200 / 255 - 2):.1%}"]]


def test_model_inside_is_known_by_the_loss_of_the_one_around_it(tmp_path: Path, drawing: list[Any]) -> None:
    inner = with_head(2, None, 10 * np.eye(2), [-2, -2])
    images = keras.Input((6, 10, 3))
    outer = keras.Model(images, inner(keras.layers.RandomFlip(name="flip")(images)))
    outer.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    callback = GradCAMCallback(IMAGES[1:2], tmp_path, [["red", "blue"]], class_names=NAMES, model=inner.name)
    look_at(callback, outer)
    assert callback.task is not None
    assert callback.task.reason == "as it was trained with binary_crossentropy on logits"
    assert [lines[0].partition(",")[0] for lines in lines_of(drawing)] == ["True: red", "True: blue"]


def test_names_of_the_labels_of_each_image_are_rows_of_zero_and_one(tmp_path: Path) -> None:
    callback = GradCAMCallback(IMAGES, tmp_path, [["blue"], [], ("red", "blue")], class_names=NAMES)
    truth = callback._shown.truth_of("multilabel")
    assert truth is not None
    assert truth.tolist() == [[False, True], [False, False], [True, True]]
    with pytest.raises(ValueError, match="Did you mean 'red'"):
        GradCAMCallback(IMAGES, tmp_path, [["blue"], ["rad"], []], class_names=NAMES)


# Two sides.


def test_unit_of_two_sides_names_them(tmp_path: Path, drawing: list[Any]) -> None:
    model = of_pair()
    explanation = look_at(GradCAMCallback(IMAGES, tmp_path, [0, 1, 0], class_names=["blue", "red"]), model)
    red = [sigmoid(10 * (one - other)) for one, other in zip(REDNESS, BLUENESS, strict=True)]
    assert lines_of(drawing)[1:] == [
        [f"Predicted: red, {red[1]:.1%}", f"True: red, {red[1]:.1%}"],
        [f"Predicted: blue, {1 - red[2]:.1%}", f"True: blue, {1 - red[2]:.1%}"],
    ]
    assert isinstance(explanation, Explanation)
    np.testing.assert_array_equal(explanation.raw, Explainer(model)(IMAGES, [0, 1, 0]).raw)


# Values.


def test_value_has_its_unit_the_truth_and_two_sides(tmp_path: Path, drawing: list[Any]) -> None:
    look_at(GradCAMCallback(IMAGES, tmp_path, [1.0, 7.5, -4.0], unit="years"), of_value())
    values = [10 * (one - other) for one, other in zip(REDNESS, BLUENESS, strict=True)]
    assert lines_of(drawing) == [
        [f"Predicted: {value:.4g} years", f"True: {true:.4g} years, off by {value - true:+.3g}"]
        for value, true in zip(values, [1.0, 7.5, -4.0], strict=True)
    ]
    assert drawing[0][1] == "gradcam at hue, for value"
    assert drawing[2] == ("lowers", "raises")


def test_whole_true_values_are_values_too(tmp_path: Path, drawing: list[Any]) -> None:
    look_at(GradCAMCallback(IMAGES, tmp_path, np.array([1, 8, 3])), of_value())
    assert [lines[1].partition(",")[0] for lines in lines_of(drawing)] == ["True: 1", "True: 8", "True: 3"]


@pytest.mark.slow
def test_one_of_several_values_is_named_with_its_truth(tmp_path: Path, drawing: list[Any]) -> None:
    model = with_head(2, None, 10 * np.eye(2), [0, 0])
    options: dict[str, Any] = {"task": "regression", "class_names": NAMES, "target": "blue"}
    look_at(GradCAMCallback(IMAGES, tmp_path, [[0, 1], [0, 2], [0, 3]], **options), model)
    assert lines_of(drawing)[2] == [f"Predicted blue: {1000 / 255:.4g}", f"True: 3, off by {1000 / 255 - 3:+.3g}"]
    with pytest.raises(ValueError, match=r"Expected 2 true values for each image, .* received 1: labels are \(B, 2\)"):
        look_at(GradCAMCallback(IMAGES, tmp_path, [1, 2, 3], **options), model)


@pytest.mark.slow
def test_distance_from_a_reference_shows_the_value(tmp_path: Path, drawing: list[Any]) -> None:
    look_at(GradCAMCallback(IMAGES, tmp_path, unit="years", target=targets.Distance(9.0)), of_value())
    value = 2000 / 255
    assert lines_of(drawing)[1] == [
        f"Predicted: {value:.4g} years",
        f"Explained: value near 9 years, score {value - 9:.4g}",
    ]


# Places.


def test_region_of_a_class_says_its_share(tmp_path: Path, drawing: list[Any]) -> None:
    look_at(GradCAMCallback(IMAGES, tmp_path, class_names=NAMES), of_pixels())
    assert lines_of(drawing) == [
        ["Predicted region of blue: 60.0% of the picture"],
        ["Predicted region of red: 100.0% of the picture"],
        ["Predicted region of blue: 100.0% of the picture"],
    ]
    assert drawing[0][1] == "gradcam at fine, for the predicted region of the largest class"


def test_region_that_is_not_predicted_has_no_overlay(tmp_path: Path, drawing: list[Any]) -> None:
    look_at(GradCAMCallback(IMAGES, tmp_path, class_names=NAMES, target="red"), of_pixels())
    assert lines_of(drawing)[0] == ["Predicted region of red: 40.0% of the picture"]
    assert drawing[1][2].lines == [("Predicted region of red: 0.0% of the picture", RED)]
    assert drawing[1][2].overlay == "No overlay: no pixel is predicted as this class."


@pytest.mark.slow
def test_point_of_a_segmentation_says_its_score(tmp_path: Path, drawing: list[Any]) -> None:
    point = targets.Region("red", point=(0.1, 0.5))
    look_at(GradCAMCallback(IMAGES[:1], tmp_path, class_names=NAMES, target=point), of_pixels())
    assert lines_of(drawing) == [[f"Explained: red at 10%, 50%, score {200 / 255:.4g}"]]


# Boxes.


def test_best_box_of_a_detector_is_drawn(tmp_path: Path, drawing: list[Any]) -> None:
    options: dict[str, Any] = {"class_names": NAMES, "decode": "center_xywh", "layer": "cells", "method": "hirescam"}
    callback = GradCAMCallback(IMAGES[:2], tmp_path, **options)
    first = look_at(callback, of_boxes())[0]
    score = sigmoid(8 * 0.8 * 200 / 255 - 3)  # four of five columns are red
    assert lines_of(drawing)[0] == [f"Best box: red, {score:.2f}", "100% of the heat in its box"]
    assert first[0].box == (0.0, 0.0, 5.0, 6.0)
    assert drawing[0][1] == "hirescam at cells, for the best box"
    look_at(GradCAMCallback(IMAGES[:2], tmp_path, target="all", **options), of_boxes())
    heads = [line[0].partition(",")[0] for line in lines_of(drawing)]
    assert heads == ["Best box: red", "Box 1: blue", "Best box: red", "Box 1: red"]


def test_picture_without_a_box_says_so(tmp_path: Path, drawing: list[Any]) -> None:
    look_at(
        GradCAMCallback(IMAGES[:1], tmp_path, class_names=NAMES, decode="center_xywh", layer="cells", threshold=0.99),
        of_boxes(),
    )
    (card,) = drawing[1]
    assert card.lines[0][0] == "No box"
    assert str(card.overlay).startswith("No overlay: no detection with a score of 0.99 or more: the best are red 0.")


def test_boxes_that_are_none_before_training_do_not_stop_it(tmp_path: Path) -> None:
    """Raw rows of numbers far outside of the picture; the weights of an epoch may make boxes of them."""
    model = of_boxes()
    model.get_layer("sides").bias.assign(np.array([-400.0, 3, -70, 6, 900, 3, -50, 6]))
    callback = GradCAMCallback(IMAGES[:2], tmp_path, class_names=NAMES, layer="cells")
    with pytest.warns(UserWarning, match="GradCAMCallback has no picture before training, and training goes on. Value"):
        look_at(callback, model)
    assert callback.missing == [0]
    model.get_layer("sides").bias.assign(np.array([2.5, 3.0, 5.0, 6.0, 7.5, 3.0, 5.0, 6.0]))
    with pytest.warns(UserWarning, match="center_xywh"):
        callback.on_epoch_end(0)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_0001.png"]


# What does not apply.


@pytest.mark.parametrize(
    ("build", "changed", "message"),
    [
        (of_labels, {"labels": np.eye(3)}, "Expected a class index below 2, the number of classes, received 2"),
        (of_labels, {"labels": [[1, 0, 0]] * 3}, r"Expected labels \(B, 2\), one column for each .* received \(3, 3\)"),
        (
            of_labels,
            {"method": "scorecam"},
            "a method of one forward pass for the task multilabel, received 'scorecam'",
        ),
        (of_labels, {"layer": ["hue", "scale"]}, "Expected one layer .* multilabel, received the list of layers"),
        (of_labels, {"threshold": 2.0}, "Expected a threshold from 0 to 1"),
        (of_value, {"labels": NAMES, "images": IMAGES[:2], "class_names": NAMES[:1]}, "Unknown class 'blue'"),
        (of_pixels, {"labels": [0, 1, 2]}, "Expected no labels for the task segmentation"),
        (of_boxes, {"labels": [0, 1, 2], "layer": "cells"}, "Expected no labels for the task detection"),
        (of_boxes, {"method": "scorecam", "layer": "cells"}, "for the task detection, received 'scorecam'"),
    ],
)
def test_what_a_task_does_not_have_is_refused_before_the_first_step(
    build: Callable[[], keras.Model], changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        look_at(GradCAMCallback(**{"images": IMAGES, "directory": tmp_path, **changed}), build())
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_method_of_many_passes_explains_the_one_label_that_is_asked_for(tmp_path: Path, drawing: list[Any]) -> None:
    """The remedy of the error above."""
    look_at(GradCAMCallback(IMAGES[:1], tmp_path, method="scorecam", class_names=NAMES, target="red"), of_labels())
    assert lines_of(drawing)[0][-1].startswith("Explained: red, score ")


@pytest.mark.slow
def test_training_of_each_task_writes_its_pictures(tmp_path: Path) -> None:
    """A whole fit; the task is read from the loss, which `fit` has when the callback begins."""
    model = with_head(2, None, 10 * np.eye(2), [-2, -2])
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    callback = GradCAMCallback(IMAGES, tmp_path, class_names=NAMES)
    model.fit(tf.constant(IMAGES), tf.constant([[1, 1], [1, 0], [0, 1]]), epochs=1, verbose=0, callbacks=[callback])
    assert callback.missing == []
    assert callback.task is not None
    assert callback.task.reason == "as it was trained with binary_crossentropy on logits"
    for number in (0, 1):
        with Image.open(tmp_path / f"epoch_000{number}.png") as picture:
            assert min(picture.size) > 200
