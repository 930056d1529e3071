"""Rows of labels and of values that can be done in one's head, and answers that follow from them.

Also tests audit/answers.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from tests.helpers.audit_fakes import assert_same_table
from tests.helpers.redblue import BLUE_SCORE, RED_SCORE, red_blue_heatmap, red_blue_model, red_blue_photo, write_photo
from tf_gradcam._cli.main import main
from tf_gradcam._errors import for_command_line
from tf_gradcam.audit.answers import AnswerReading, answers_of, digits_of
from tf_gradcam.audit.mapper import AuditMapper, ModelUnderAudit
from tf_gradcam.audit.run import audit
from tf_gradcam.audit.sources import Samples

pytest.importorskip("pyarrow", reason="the extra audit is not installed")

NAMES = ["red", "blue"]
GAIN, BIAS = 4.0, -0.5
NO_LABEL = 1 / (1 + np.exp(0.5))  # 0.38, of a picture without any of a colour


def headed(units: int, activation: str | None, kernel: Any, bias: Any) -> keras.Model:
    head = keras.layers.Dense(units, activation, name="answers")
    model = red_blue_model(head)
    head.set_weights([np.array(kernel, np.float32), np.array(bias, np.float32)])
    return model


def labels_model() -> keras.Model:
    """Two labels: whether there is red, whether there is blue."""
    return headed(2, "sigmoid", GAIN * np.eye(2), [BIAS, BIAS])


def value_model() -> keras.Model:
    """100 times the red minus 50 times the blue."""
    return headed(1, None, [[100.0], [-50.0]], [0.0])


def probability(score: float) -> float:
    return float(1 / (1 + np.exp(-(GAIN * score + BIAS))))


def photos(*columns: int) -> np.ndarray:
    return np.stack([red_blue_photo(columns=count) for count in columns]).astype(np.float32)


def batch_of(images: np.ndarray, truth: Any = None) -> dict[str, np.ndarray]:
    count = len(images)
    columns = {
        "index": np.arange(count),
        "file": np.array([f"image {number}" for number in range(count)], object),
        "label": np.full(count, -1, np.int32),
        "image": images,
    }
    return columns if truth is None else {**columns, "truth": np.array(truth, np.float32)}


def mapper(model: keras.Model, **options: Any) -> AuditMapper:
    return AuditMapper(model, **{"preprocess": "raw", **options})


# Labels.


def test_row_of_labels_has_a_map_of_each_that_is_above_its_threshold() -> None:
    """Half red and blue, all red, black: two maps, one, none, and the main map is that of the best label."""
    images = np.concatenate([photos(4, 10), np.zeros((1, 6, 10, 3), np.float32)])
    rows = mapper(labels_model(), class_names=NAMES)(batch_of(images, [[1, 1], [1, 0], [np.nan, 0]]))
    both = [probability(RED_SCORE), probability(BLUE_SCORE)]
    np.testing.assert_allclose(rows.probabilities[0], both, rtol=1e-5)
    np.testing.assert_allclose(rows.probabilities[2], [NO_LABEL, NO_LABEL], rtol=1e-5)
    assert [indices.tolist() for indices in rows.mapped] == [[0, 1], [0], []]
    np.testing.assert_allclose(rows.maps[0], [red_blue_heatmap(), 1 - red_blue_heatmap()], atol=1e-3)
    assert rows.maps[2].shape == (0, 6, 10)
    np.testing.assert_allclose(rows.heatmap[0], red_blue_heatmap(), atol=1e-3)
    np.testing.assert_array_equal(rows.predicted, [0, 0, 0])
    np.testing.assert_allclose(rows.probability, [both[0], probability(200 / 255), NO_LABEL], rtol=1e-5)
    np.testing.assert_array_equal(rows.label, [-1, -1, -1])
    np.testing.assert_array_equal(rows.truth, [[1, 1], [1, 0], [np.nan, 0]])
    np.testing.assert_array_equal(rows.is_labelled, [True, True, True])
    assert rows.diagnosis[0] == ""
    assert rows.diagnosis[2] != ""


def test_maps_of_one_label_are_zero_where_it_is_not_above() -> None:
    rows = mapper(labels_model())(batch_of(photos(4, 10, 0)))
    found = rows.maps_of(1, np.array([2, 1, 0]))
    np.testing.assert_allclose(found[0], np.ones((6, 10)), atol=1e-3)
    np.testing.assert_array_equal(found[1], np.zeros((6, 10)))
    np.testing.assert_allclose(found[2], 1 - red_blue_heatmap(), atol=1e-3)


def test_thresholds_are_of_each_label() -> None:
    """0.68 of red is not above 0.7, 0.61 of blue is above 0.5: blue is the best label above its threshold."""
    one = mapper(labels_model(), class_names=NAMES, threshold={"red": 0.7})
    rows = one(batch_of(photos(4)))
    assert rows.mapped[0].tolist() == [1]
    assert rows.predicted[0] == 1
    np.testing.assert_allclose(rows.heatmap[0], 1 - red_blue_heatmap(), atol=1e-3)
    assert one.task.about() == {"thresholds": "red 0.7, blue 0.5"}
    assert mapper(labels_model(), threshold=0.2).task.about() == {"thresholds": "0.2"}


def test_broken_image_of_labels_fails_alone() -> None:
    images = photos(4, 4)
    images[0, 0, 0, 0] = np.nan
    rows = mapper(labels_model())(batch_of(images, [[1, 0], [1, 1]]))
    assert list(rows.status) == ["failed", "done"]
    assert [len(indices) for indices in rows.mapped] == [0, 2]
    assert np.isnan(rows.probabilities[0]).all()
    np.testing.assert_array_equal(rows.truth, [[1, 0], [1, 1]])


def test_answers_of_labels() -> None:
    """Red is given in the first two images, truly in the first; nobody knows of the third, which does not get it."""
    images = photos(4, 10, 0)
    rows = mapper(labels_model())(batch_of(images, [[1, 1], [0, 0], [np.nan, 1]]))
    red, blue = answers_of("multilabel", rows, NAMES, (0.5, 0.5))
    assert (red.name, red.reading) == ("red", AnswerReading(0, "multilabel", 0.5))
    np.testing.assert_array_equal(red.members, [0, 1])
    np.testing.assert_array_equal(red.truth, [1, 0, -1])
    np.testing.assert_array_equal(red.own, [0])
    np.testing.assert_array_equal(red.others, [2])
    np.testing.assert_array_equal(blue.others, [1])
    np.testing.assert_allclose(blue.maps(np.array([0]))[0], 1 - red_blue_heatmap(), atol=1e-3)


def test_label_is_read_by_its_threshold() -> None:
    predictions = np.array([[0.9, 0.4], [0.2, 0.35]])
    reading = AnswerReading(1, "multilabel", 0.38)
    np.testing.assert_array_equal(reading.measured(predictions), [0.4, 0.35])
    np.testing.assert_array_equal(reading.turned(predictions), [1, 0])
    np.testing.assert_array_equal(AnswerReading(0).turned(predictions), [1, 0])


# Values.


def test_row_of_a_value_has_its_signed_map() -> None:
    """Red raises by 100 * 200 / 255 in a cell, blue lowers by 50 * 100 / 255: a quarter of that."""
    rows = mapper(value_model())(batch_of(photos(4), [[21.0]]))
    value = 100 * RED_SCORE - 50 * BLUE_SCORE
    np.testing.assert_allclose(rows.score, [value], rtol=1e-5)
    np.testing.assert_allclose(rows.heatmap[0], np.where(red_blue_heatmap() > 0, 1, -0.25), atol=1e-3)
    assert rows.probabilities.shape == (1, 0)
    assert np.isnan(rows.probability).all()
    np.testing.assert_array_equal(rows.predicted, [0])
    np.testing.assert_array_equal(rows.truth, [[21]])
    assert rows.is_labelled.all()


def test_another_of_several_values_is_audited_by_name_or_number() -> None:
    model = headed(2, None, [[100.0, 1.0], [-50.0, 7.0]], [0.0, 5.0])
    for target in ("width", "1"):
        one = mapper(model, task="regression", class_names=["age", "width"], target=target)
        assert one.class_names == ["width"]
        rows = one(batch_of(photos(4)))
        np.testing.assert_allclose(rows.score, [RED_SCORE + 7 * BLUE_SCORE + 5], rtol=1e-5)
        np.testing.assert_array_equal(rows.predicted, [1])
    first = mapper(model, task="regression", class_names=["age", "width"])
    assert first.class_names == ["age"]
    assert first.task.about()["value"] == "'age', number 0 of 2. Choose another by target=."
    assert for_command_line(first.task.about()["value"]).endswith("Choose another by --target.")
    assert first.fingerprint("x") != one.fingerprint("x")


def test_answers_of_values_are_thirds_and_errors() -> None:
    """Values fall with fewer red columns. Of the errors 9, -9 and six of 0 the mean is 2.25, so the two are far off."""
    rows = mapper(value_model())(batch_of(photos(10, 9, 8, 7, 6, 5, 1, 0, 3)))
    error = np.array([9, 0, 0, 0, 0, 0, 0, -9, np.nan])
    rows = rows.__class__(**{**rows, "truth": (rows.score - error)[:, None]})
    high, low, over, under = answers_of("regression", rows, ["age"], unit="years")
    assert [one.name for one in (high, low, over, under)] == [
        "high age",
        "low age",
        "overestimated age",
        "underestimated age",
    ]
    np.testing.assert_array_equal(high.members, [0, 1, 2])
    np.testing.assert_array_equal(low.members, [6, 7, 8])
    np.testing.assert_array_equal(high.others, low.members)
    np.testing.assert_array_equal(over.members, [0])
    np.testing.assert_array_equal(under.members, [7])
    assert not len(over.others)
    gap = rows.score[:3].mean() - rows.score[6:].mean()
    assert high.reading == AnswerReading(0, "regression", sign=1, gap=pytest.approx(gap), unit="years")
    assert low.reading.sign == -1
    np.testing.assert_allclose(high.maps(np.array([5]))[0], red_blue_photo(columns=5)[..., 0] > 0, atol=1e-3)
    np.testing.assert_allclose(low.maps(np.array([5]))[0], 0.25 * (red_blue_photo(columns=5)[..., 2] > 0), atol=1e-3)
    assert over.maps(np.array([5])).min() < 0


def test_equal_values_have_no_high_and_no_low() -> None:
    rows = mapper(value_model())(batch_of(photos(4, 4, 4)))
    high, low, *_ = answers_of("regression", rows, ["age"])
    assert not len(high.members)
    assert not len(low.members)


@pytest.mark.parametrize(
    ("gap", "digits"), [(20, 1), (7, 2), (0.05, 4), (3000, 0), (0, 2), (float("nan"), 2), (1e-12, 6)]
)
def test_values_have_three_digits_of_their_spread(gap: float, digits: int) -> None:
    assert digits_of(gap) == digits


def test_value_is_written_with_its_unit() -> None:
    reading = AnswerReading(0, "regression", gap=31.0, unit="years")
    assert reading.in_words(41.237) == "41.2 years"
    assert AnswerReading(0, "regression", gap=31.0).in_words(41.237) == "41.2"
    assert AnswerReading(0).in_words(0.537) == "0.54"


# Predictions, and what is asked of a model.


@pytest.mark.slow
def test_predictions_are_those_of_the_rows(tmp_path: Path) -> None:
    paths = [str(write_photo(tmp_path, f"{number}.png", red_blue_photo(columns=number))) for number in (2, 7)]
    files = Samples(paths, np.full(2, -1, np.int32), NAMES)
    for model, options, column in (
        (labels_model(), {}, "probabilities"),
        (labels_model(), {"method": "layercam"}, "probabilities"),
        (value_model(), {}, "score"),
        (value_model(), {"method": "layercam"}, "score"),
    ):
        one = mapper(model, **options)
        under_audit = ModelUnderAudit(one, files)
        rows = one(batch_of(photos(2, 7)))
        found = under_audit.predict(under_audit.photos([0, 1]), [0, 1])
        np.testing.assert_allclose(found.reshape(rows[column].shape), rows[column], rtol=1e-4)


@pytest.mark.slow
def test_arguments_make_the_same_mapper() -> None:
    for model, options in (
        (labels_model(), {"class_names": NAMES, "threshold": {"red": 0.7}}),
        (value_model(), {"class_names": ["age"], "unit": "years", "task": "regression"}),
    ):
        first = mapper(model, **options)
        second = AuditMapper(**first.arguments)
        assert second.fingerprint("data") == first.fingerprint("data")
        assert_same_table(second(batch_of(photos(4))), first(batch_of(photos(4))))


def test_fingerprint_holds_the_task_and_the_thresholds() -> None:
    one = mapper(labels_model())
    assert mapper(labels_model(), threshold=0.6).fingerprint("a") != one.fingerprint("a")
    assert mapper(labels_model(), task="classification").fingerprint("a") != one.fingerprint("a")


@pytest.mark.parametrize(
    ("model", "options", "message", "remedy"),
    [
        (
            red_blue_model,
            {"threshold": 0.3},
            "no threshold for the task classification, received 0.3",
            "--task multilabel",
        ),
        (
            red_blue_model,
            {"target": "red"},
            "no target for the task classification, received 'red'",
            "Leave --target out",
        ),
        (labels_model, {"target": "red"}, "no target for the task multilabel", "Leave --target out"),
        (labels_model, {"method": "scorecam"}, "method of one forward pass .* received 'scorecam'", "--method gradcam"),
        (labels_model, {"unit": "years"}, "Expected a unit for values only", "--task regression"),
        (labels_model, {"threshold": {"green": 0.5}}, "name 'green': no names are known", "--class-names"),
        (value_model, {"threshold": 0.3}, "no threshold for the task regression", "--task multilabel"),
        (value_model, {"target": "3"}, "class index below 1", ""),
    ],
)
def test_option_of_another_task_is_refused(model: Any, options: dict[str, Any], message: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        mapper(model(), **options)
    assert remedy in for_command_line(caught.value)


def test_one_unit_is_not_several_labels() -> None:
    model = headed(1, "sigmoid", [[1.0], [-1.0]], [0.0])
    with pytest.raises(ValueError, match=r"a unit for each label.* one unit is a question with two sides") as caught:
        mapper(model, task="multilabel")
    assert for_command_line(caught.value).endswith("Use --task classification.")
    assert mapper(model, task="classification").class_names == ["class 0", "class 1"]


def test_task_without_an_audit_is_refused_with_the_command_to_use() -> None:
    images = keras.Input((6, 10, 3))
    hidden = keras.layers.Conv2D(3, 1)(keras.layers.Conv2D(4, 1)(images))
    model = keras.Model(images, keras.layers.Reshape((60, 3))(hidden))
    with pytest.raises(ValueError, match=r"task detection\. Explain its pictures by .*detections") as caught:
        mapper(model, layer=model.layers[1].name)
    assert "`tf-gradcam explain`" in for_command_line(caught.value)


# From end to end.


def write_scenes(folder: Path, model: keras.Model) -> tuple[Path, Path]:
    """Ten photos, and a model file; returns a table of both labels, and one of values, which are wrong by 1."""
    lines, values = ["file,red,blue"], ["file,age"]
    for number in range(10):
        write_photo(folder, f"{number}.png", red_blue_photo(columns=number))
        lines.append(f"{number}.png,{int(number > 3)},{int(number < 6)}")
        value = 100 * number / 10 * 200 / 255 - 50 * (10 - number) / 10 * 100 / 255
        values.append(f"{number}.png,{value - 1}")
    model.save(folder / "model.keras")
    (folder / "labels.csv").write_text("\n".join(lines))
    (folder / "values.csv").write_text("\n".join(values))
    return folder / "labels.csv", folder / "values.csv"


def run(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["audit", *map(str, arguments)])


OPTIONS = ("--num-images", 2, "--preprocess", "raw")


def test_command_audits_labels_and_says_the_task(tmp_path: Path) -> None:
    labels, _ = write_scenes(tmp_path, labels_model())
    (tmp_path / "names.txt").write_text("red\nblue\n")
    told = run(
        *(
            labels,
            "--model",
            tmp_path / "model.keras",
            "--class-names",
            tmp_path / "names.txt",
            "--threshold",
            "red=0.4",
        ),
        *("--out", tmp_path / "out", *OPTIONS),
    )
    assert told.exit_code == 0, told.output
    assert "task: multilabel, as its output is 2 sigmoid units. Say another by --task." in told.stderr
    assert "10 of 10 images explained, mean average precision 1.000 over 10 of them" in told.stdout
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "multilabel, as its output is 2 sigmoid units." in page
    assert "red 0.4, blue 0.5" in page
    again = run(labels, "--model", tmp_path / "model.keras", "--out", tmp_path / "out", *OPTIONS)
    assert again.exit_code == 2
    assert "thresholds was '0.4, 0.5' and is now '0.5, 0.5'" in again.stderr


def test_command_audits_values_and_says_the_unit(tmp_path: Path) -> None:
    _, values = write_scenes(tmp_path, value_model())
    told = run(
        *(values, "--model", tmp_path / "model.keras", "--unit", "years", "--out", tmp_path / "out", *OPTIONS),
        "--no-sanity",
    )
    assert told.exit_code == 0, told.output
    assert "task: regression, as its output is one value without a sigmoid. Say another by --task." in told.stderr
    assert "mean absolute error 1.0 years over 10 of them (always the mean: 24.5 years)" in told.stdout
    assert "The value of the model is named by the column 'age'" in told.stderr
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "Errors in years" in page


def test_folder_of_classes_is_refused_and_the_remedy_works(tmp_path: Path) -> None:
    labels_model().save(tmp_path / "model.keras")
    for place, name in enumerate(NAMES):
        write_photo(tmp_path, f"data/{name}/1.png", red_blue_photo(columns=3 + 5 * place))
    told = run(
        tmp_path / "data", "--model", tmp_path / "model.keras", "--out", tmp_path / "out", *OPTIONS, "--no-sanity"
    )
    assert told.exit_code == 2
    assert "which folders cannot say" in told.stderr
    assert told.stderr.strip().endswith("use --task classification.")
    told = run(
        *(tmp_path / "data", "--model", tmp_path / "model.keras", "--out", tmp_path / "out", *OPTIONS, "--no-sanity"),
        *("--task", "classification"),
    )
    assert told.exit_code == 0, told.output
    assert "task: classification, as you say." in told.stderr


def test_data_set_of_labels_is_audited_and_goes_on(tmp_path: Path) -> None:
    """The second run reads the finished part, whose labels are compared; other labels are another data set."""
    images, truth = photos(*range(10)), np.stack([np.arange(10) > 3, np.arange(10) < 6], 1)
    given = tf.data.Dataset.from_tensor_slices((images, truth)).batch(4)
    options = {"num_images": 0, "sanity": False, "class_names": NAMES, "preprocess": "raw"}
    first = audit(labels_model(), given, tmp_path, **options)
    again = audit(labels_model(), given, tmp_path, **options)
    assert_same_table(again.rows, first.rows)
    np.testing.assert_array_equal(first.rows.truth, truth)
    (tmp_path / "rows" / "part-000000.parquet").unlink()
    assert_same_table(audit(labels_model(), given, tmp_path, **options).rows, first.rows)
