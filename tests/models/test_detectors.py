"""Raw outputs of detectors read as boxes and scores, against arithmetic by hand; suppression against a NumPy twin."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.zoo.detectors import LEVELS, NAMES, SIZE, features, trained
from tf_gradcam._models.detectors import FORMATS, Detector, detector_of, pyramid_layers, suppress, to_corners
from tf_gradcam._models.reader import reader_of

CORNERS = np.array([[4.0, 6.0, 20.0, 30.0], [30.0, 2.0, 44.0, 40.0], [50.0, 33.0, 62.0, 45.0], [1.0, 1.0, 12.0, 9.0]])
SCORES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.3], [0.05, 0.02]])
LOGITS = np.log(SCORES / (1 - SCORES))
HEIGHT, WIDTH = SIZE


def written(form: str, corners: np.ndarray = CORNERS) -> np.ndarray:
    """Boxes in one of the ways, by the definition of each."""
    x1, y1, x2, y2 = corners.T
    if form.startswith("rel_"):
        x1, x2, y1, y2 = x1 / WIDTH, x2 / WIDTH, y1 / HEIGHT, y2 / HEIGHT
    kind = form.removeprefix("rel_")
    sides = {
        "xyxy": (x1, y1, x2, y2),
        "yxyx": (y1, x1, y2, x2),
        "xywh": (x1, y1, x2 - x1, y2 - y1),
        "center_xywh": ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1),
    }
    return np.stack(sides[kind], axis=-1)


def tensor(*columns: np.ndarray) -> tf.Tensor:
    return tf.constant(np.concatenate(columns, axis=-1)[None], tf.float32)


def read(outputs: Any, **options: Any) -> Detector:
    return detector_of(outputs, SIZE, **options)


def check(outputs: Any, scores: np.ndarray = SCORES, atol: float = 1e-5, **options: Any) -> Detector:
    detector = read(outputs, **options)
    rows = detector.rows_of(outputs, SIZE)
    np.testing.assert_allclose(rows.boxes.numpy()[0], CORNERS, atol=1e-3)
    np.testing.assert_allclose(rows.scores.numpy()[0], scores, atol=atol)
    assert detector.class_count == scores.shape[-1]
    return detector


@pytest.mark.parametrize("form", FORMATS)
def test_every_way_to_write_boxes_gives_the_same_corners(form: str) -> None:
    boxes = to_corners(tf.constant(written(form)), form, SIZE).numpy()
    np.testing.assert_allclose(boxes, CORNERS, atol=1e-9)
    check(tensor(written(form), SCORES), decode=form)


@pytest.mark.parametrize("form", ["xyxy", "center_xywh", "rel_xyxy", "rel_center_xywh"])
def test_way_is_found_from_values_and_said(form: str) -> None:
    detector = check(tensor(written(form), SCORES))
    assert f"boxes {form}, because" in detector.sentence
    assert "Say otherwise by decode=" in detector.sentence
    assert detector.is_guessed


@pytest.mark.parametrize("is_turned", [False, True])
def test_yolo_head_has_its_columns_on_either_axis(is_turned: bool) -> None:
    many = np.tile(np.concatenate([written("center_xywh"), SCORES], -1), (3, 1))
    outputs = tf.constant(many.T[None] if is_turned else many[None], tf.float32)
    rows = read(outputs).rows_of(outputs, SIZE)
    np.testing.assert_allclose(rows.boxes.numpy()[0], np.tile(CORNERS, (3, 1)), atol=1e-4)
    np.testing.assert_allclose(rows.scores.numpy()[0], np.tile(SCORES, (3, 1)), atol=1e-6)


def test_scores_beyond_one_are_logits() -> None:
    detector = check(tensor(written("xyxy"), LOGITS))
    assert "logits of a sigmoid" in detector.sentence


@pytest.mark.parametrize("options", [{"name_count": 2}, {"decode": "xyxy+objectness"}])
def test_objectness_is_told_by_the_names_or_said(options: dict[str, Any]) -> None:
    there = np.array([[0.5], [1.0], [0.8], [0.1]])
    check(tensor(written("xyxy"), there, SCORES), SCORES * there, **options)


def test_objectness_alone_is_a_class_without_names() -> None:
    assert read(tensor(written("xyxy"), SCORES, SCORES[:, :1])).class_count == 3


@pytest.mark.parametrize("kind", ["dict", "list", "tuple", "reversed", "turned"])
def test_ssd_head_in_any_structure_and_order(kind: str) -> None:
    boxes, scores = tensor(written("rel_yxyx")), tensor(SCORES)
    outputs: Any = {
        "dict": {"classes": scores, "boxes": boxes},
        "list": [boxes, scores],
        "tuple": (boxes, scores),
        "reversed": (scores, boxes),
        "turned": {"cls": tf.transpose(scores, [0, 2, 1]), "box": boxes},
    }[kind]
    check(outputs, decode="rel_yxyx")


def test_softmax_has_a_background_unless_names_say_otherwise() -> None:
    empty = np.array([[0.0], [0.0], [0.1], [0.93]])
    rest = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.3], [0.05, 0.02]])
    first, last = np.concatenate([empty, rest], -1), np.concatenate([rest, empty], -1)
    check([tensor(written("xyxy")), tensor(first)], rest, decode="xyxy+background")
    check([tensor(written("xyxy")), tensor(last)], rest, decode="xyxy+background_last")
    many = np.concatenate([np.tile([[0.98, 0.01, 0.01]], (20, 1)), first])
    boxes = np.concatenate([np.tile([[8.0, 8.0, 16.0, 16.0]], (20, 1)), CORNERS])
    for names in (None, 2):
        detector = read([tensor(boxes), tensor(many)], name_count=names)
        assert detector.class_count == 2
        assert "first class taken as background" in detector.sentence
    assert read([tensor(boxes), tensor(many)], name_count=3).class_count == 3


def test_third_output_of_one_column_is_objectness() -> None:
    there = np.array([[0.5], [1.0], [0.8], [0.1]])
    check({"box": tensor(written("xyxy")), "obj": tensor(there), "cls": tensor(SCORES)}, SCORES * there)


def test_logits_are_found_behind_sigmoid_concatenation_and_levels() -> None:
    image, boxes, logits = features()
    layers = keras.layers
    parts = [layers.Activation("sigmoid")(logits[:, :100]), layers.Activation("sigmoid")(logits[:, 100:])]
    raw = layers.Concatenate(axis=-1)([boxes, layers.Concatenate(axis=1)(parts)])
    model = keras.Model(image, raw)
    plain = keras.Model(image, logits)
    images = np.random.default_rng(0).random((2, *SIZE, 3), dtype=np.float32)
    detector = detector_of(model(images), SIZE, decode="center_xywh")
    received = tf.function(lambda batch: detector.rows_of(model(batch), SIZE).logits)(images)
    np.testing.assert_allclose(received, plain(images), atol=1e-5)


def test_pyramid_has_the_last_layer_of_each_level() -> None:
    assert pyramid_layers(reader_of(trained())) == LEVELS


def test_pyramid_of_a_single_level_is_the_default_layer() -> None:
    layers = keras.layers
    image = keras.Input((*SIZE, 3))
    body = layers.Conv2D(4, 3, 4, activation="relu", name="body")(image)
    rows = layers.Reshape((-1, 6))(layers.Conv2D(6, 1, name="head")(body))
    assert pyramid_layers(reader_of(keras.Model(image, rows))) == ["body"]


def test_pyramid_is_found_where_the_size_is_free() -> None:
    layers = keras.layers
    image = keras.Input((None, None, 3))
    fine = layers.Conv2D(4, 3, 4, padding="same", name="fine")(image)
    coarse = layers.Conv2D(4, 3, 2, padding="same", name="coarse")(fine)
    rows = [layers.Reshape((-1, 6))(layers.Conv2D(6, 1)(level)) for level in (fine, coarse)]
    assert pyramid_layers(reader_of(keras.Model(image, layers.Concatenate(axis=1)(rows)))) == ["fine", "coarse"]


def twin(boxes: np.ndarray, scores: np.ndarray, threshold: float, overlap: float) -> list[tuple[int, int]]:
    """Greedy suppression in the dullest style: (row, class) of what is kept, best first."""
    order = sorted(range(len(boxes)), key=lambda row: (-scores[row].max(), row))
    kept: list[tuple[int, int]] = []
    for row in order:
        index = int(scores[row].argmax())
        if scores[row, index] < threshold:
            continue

        def shared(other: int, row: int = row) -> float:
            a, b = boxes[row], boxes[other]
            width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            inside = max(width, 0) * max(height, 0)
            areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
            return inside / (sum(areas) - inside)

        if all(other_index != index or shared(other) <= overlap for other, other_index in kept):
            kept.append((row, index))
    return kept


@pytest.mark.parametrize("seed", range(4))
def test_suppression_equals_a_twin_and_names_the_rows(seed: int) -> None:
    generator = np.random.default_rng(seed)
    corner, sides = generator.uniform(0, 40, (60, 2)), generator.uniform(5, 25, (60, 2))
    boxes = np.concatenate([corner, corner + sides], -1).astype(np.float32)
    scores = generator.random((60, 3)).astype(np.float32)
    kept = suppress(boxes, scores, 0.5, 0.4, 100)
    expected = twin(boxes, scores, 0.5, 0.4)
    assert list(zip(kept.rows.tolist(), kept.classes.tolist(), strict=True)) == expected
    np.testing.assert_array_equal(kept.boxes, boxes[kept.rows])
    np.testing.assert_array_equal(kept.scores, scores[kept.rows, kept.classes])


def test_limit_keeps_the_best() -> None:
    boxes = np.array([[0, 0, 1, 1], [5, 5, 6, 6], [9, 9, 10, 10]], np.float32)
    kept = suppress(boxes, np.array([[0.5], [0.9], [0.7]], np.float32), 0.1, 0.5, 2)
    assert kept.rows.tolist() == [1, 2]


def good(outputs: Any) -> Any:
    return outputs[..., :4], outputs[..., 4:]


def with_nan(outputs: Any) -> Any:
    return outputs[..., :4] * np.nan, outputs[..., 4:]


def turned_around(outputs: Any) -> Any:
    return outputs[..., :4][..., ::-1], outputs[..., 4:]


def beyond_one(outputs: Any) -> Any:
    return outputs[..., :4], outputs[..., 4:] * 3


def one_short(outputs: Any) -> Any:
    return outputs[:, 1:, :4], outputs[..., 4:]


def broken(outputs: Any) -> Any:
    return outputs["boxes"]


NONSENSE: list[tuple[Any, str]] = [
    (with_nan, r"Expected finite boxes from decode, received \[nan.* in row 0 of image 0 from 'with_nan'"),
    (turned_around, r"x1 <= x2 and y1 <= y2 from decode, received \[30.0, 20.0, 6.0, 4.0\] in row 0.*3 more"),
    (beyond_one, r"Expected scores in \[0, 1\] from decode, received 0.06 to 2.7.*Return tf.sigmoid"),
    (one_short, r"'one_short' returned shapes \(B, 3, 4\) and \(B, 4, 2\)"),
    (broken, r"'broken' fails with \w+Error"),
    (lambda outputs: outputs, r"a pair; '<lambda>' returned EagerTensor"),
    (lambda outputs: (outputs[..., :4].numpy(), outputs[..., 4:].numpy()), "tensors, .* returned ndarray, ndarray"),
    (lambda outputs: {"boxes": 1, "scores": 2}, "a pair; '<lambda>' returned dict of 2"),
]


@pytest.mark.parametrize(("decode", "message"), NONSENSE)
def test_nonsense_of_a_decode_function_is_an_error_in_words(decode: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        read(tensor(CORNERS, SCORES), decode=decode)


def test_decode_function_is_taken_as_it_is() -> None:
    assert not check(tensor(CORNERS, SCORES), decode=good).is_guessed


WRONG: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (tensor(CORNERS[:3]), {}, ValueError, "with at least 5 columns, four of them of the box"),
    (tensor(np.ones((6, 6))), {}, ValueError, r"more rows than columns in raw outputs \(B, 6, 6\)"),
    (tf.zeros((1, 6, 8, 18)), {}, ValueError, r"received 0 \(B, 6, 8, 18\)\. Pass decode="),
    (
        [tensor(SCORES[:3]), tensor(SCORES[:3])],
        {},
        ValueError,
        "Expected a detector's raw outputs.*Pass decode=, a function",
    ),
    (tensor(CORNERS, SCORES), {"name_count": 3}, ValueError, r"or \(B, N, 5 \+ 3\) with objectness, for 3 class names"),
    (
        tensor(CORNERS, SCORES),
        {"decode": "xyxz"},
        ValueError,
        "Unknown word of decode 'xyxz'. Did you mean 'yxyx', 'xyxy'",
    ),
    (tensor(CORNERS, SCORES), {"decode": "objectness"}, ValueError, "received 'objectness': 0 of them"),
    (tensor(CORNERS, SCORES), {"decode": 3}, TypeError, "Expected decode as a function.*received int"),
    (tensor(CORNERS - 400, SCORES), {}, ValueError, "may be offsets from anchors. Pass decode="),
    (tensor(CORNERS - 400, SCORES), {"decode": "xyxy"}, ValueError, "not boxes inside the picture"),
    (tensor(CORNERS * np.nan, SCORES), {}, ValueError, "Expected finite raw outputs"),
    ([tensor(CORNERS), tensor(SCORES)], {"name_count": 5}, ValueError, "class_names of 2 classes.*received 5 names"),
]


@pytest.mark.parametrize(("outputs", "options", "kind", "message"), WRONG)
def test_outputs_that_cannot_be_read_are_an_error_in_words(
    outputs: Any, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=f"(?s){message}"):
        read(outputs, **options)


def test_names_of_the_zoo_are_of_its_detector() -> None:
    outputs = trained()(np.zeros((1, *SIZE, 3), np.float32))
    assert detector_of(outputs, SIZE, decode="center_xywh", name_count=len(NAMES)).class_count == len(NAMES)
