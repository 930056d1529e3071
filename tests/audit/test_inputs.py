"""The audit of a model that takes a number beside its picture: each row and each changed picture has its own.

The model multiplies the scores of red and blue by the number, so that a negative one turns the prediction around.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from tests.helpers.audit_fakes import assert_same_table
from tests.helpers.redblue import BLUE_SCORE, RED_SCORE, red_blue_model, red_blue_photo, write_photo
from tf_gradcam._cli.main import main
from tf_gradcam.audit.answers import AnswerReading
from tf_gradcam.audit.mapper import AuditMapper, ModelUnderAudit
from tf_gradcam.audit.measure import measure
from tf_gradcam.audit.run import audit
from tf_gradcam.audit.shortcuts.findings import AnswerSample, find
from tf_gradcam.audit.sources import Samples

pytest.importorskip("pyarrow", reason="the extra audit is not installed")

NAMES = ["red", "blue"]
GAINS = (3.0, -2.0, 5.0)
L = keras.layers


def gained_model() -> keras.Model:
    """The softmax of the red and the blue of a picture, each multiplied by `gain`."""
    image, gain = keras.Input((6, 10, 3), name="image"), keras.Input((1,), name="gain")
    base = red_blue_model()
    means = base.get_layer("mean")(base.get_layer("hue")(base.get_layer("scale")(image)))
    return keras.Model([image, gain], L.Softmax(name="classes")(L.Multiply()([means, gain])))


def red_probability(gain: float) -> float:
    return float(1 / (1 + np.exp(gain * (BLUE_SCORE - RED_SCORE))))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures a.png, b.png and c.png that are alike, with a table of gains in another order."""
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        write_photo(tmp_path, f"data/{name}.png")
    lines = [f"{name}.png,{gain:g}\n" for name, gain in zip("abc", GAINS, strict=True)]
    Path("gains.csv").write_text("file,gain\n" + "".join(reversed(lines)))
    return tmp_path


def samples(*names: str) -> Samples:
    return Samples([f"data/{name}.png" for name in names], np.full(len(names), -1, np.int32), NAMES)


def prepared(files: Samples, *given: str, **options: Any) -> AuditMapper:
    mapper = AuditMapper(gained_model(), inputs=given, class_names=NAMES, **options)
    mapper.prepare(files)
    return mapper


def batch_of(files: Samples) -> dict[str, np.ndarray]:
    return files.rows(0, len(files))


def test_row_is_explained_with_its_own_number(folder: Path) -> None:
    files = samples(*"abc")
    rows = prepared(files, "gain=gains.csv")(batch_of(files))
    np.testing.assert_allclose(rows.probabilities[:, 0], [red_probability(gain) for gain in GAINS], rtol=1e-5)
    assert rows.predicted.tolist() == [0, 1, 0]
    assert list(rows.status) == ["done"] * 3


def test_picture_without_a_row_fails_alone(folder: Path) -> None:
    write_photo(folder, "data/d.png")
    files = samples(*"adb")
    rows = prepared(files, "gain=gains.csv")(batch_of(files))
    assert list(rows.status) == ["done", "failed", "done"]
    assert rows.error[1] == "'gains.csv' has no row for it, and the model needs the input 'gain'. Add one."
    np.testing.assert_allclose(rows.probabilities[[0, 2], 0], list(map(red_probability, GAINS[:2])), rtol=1e-5)


def test_worker_finds_the_numbers_by_the_arguments(folder: Path) -> None:
    files = samples(*"abc")
    one = prepared(files, "gain=gains.csv")
    assert_same_table(AuditMapper(**one.arguments)(batch_of(files)), one(batch_of(files)))


def test_changed_pictures_are_predicted_with_the_numbers_of_their_rows(folder: Path) -> None:
    files = samples(*"abc")
    under_audit = ModelUnderAudit(prepared(files, "gain=gains.csv"), files)
    turned = under_audit.photos([2, 0])[:, ::-1, ::-1] * 0.5
    expected = [1 / (1 + np.exp(gain * 0.5 * (BLUE_SCORE - RED_SCORE))) for gain in (GAINS[2], GAINS[0])]
    np.testing.assert_allclose(under_audit.predict(turned, [2, 0])[:, 0], expected, rtol=1e-4)


def coded(rows: np.ndarray, is_marked: bool) -> np.ndarray:
    """Noise whose red is the number of the row, with a mark in green and blue."""
    photos = np.random.default_rng(int(rows[0])).uniform(40, 120, (len(rows), 24, 36, 3)).astype(np.float32)
    photos[..., 0] = rows[:, None, None] + photos[..., 0] / 400
    if is_marked:
        photos[:, 16:22, 28:34, 1:] = 240
    return photos


def test_suspects_are_tested_with_the_rows_of_their_pictures() -> None:
    """The median of the red says which row a changed picture was, as a mark replaces a small part only."""
    own = np.arange(0, 200, 10)
    others = own + 1  # so that both are of one tone, and a tint changes nothing
    heatmaps = np.zeros((20, 6, 9), np.float32)
    heatmaps[:, 4:6, 7:9] = 1
    sample = AnswerSample(
        1, "hyena", AnswerReading(1), own, coded(own, True), heatmaps, [np.arange(20)], coded(others, False), others
    )
    asked: list[int] = []

    def looks_at_the_mark(photos: np.ndarray, rows: np.ndarray) -> np.ndarray:
        np.testing.assert_allclose(np.median(photos[..., 0], axis=(1, 2)), rows, atol=4)
        asked.extend(rows.tolist())
        probability = 1 / (1 + np.exp(-(photos[:, 16:22, 28:34, 1].mean(axis=(1, 2)) - 170) / 15))
        return np.stack([1 - probability, probability], axis=1)

    assert find(sample, looks_at_the_mark)
    assert set(asked) == {*own.tolist(), *others.tolist()}


def test_metrics_join_each_changed_picture_with_its_own_position() -> None:
    """The pictures differ by their gain alone; the curve of each is that of a model with this gain."""
    pytest.importorskip("scipy", reason="the extra audit is not installed")
    from tf_gradcam import Explainer

    images = np.stack([red_blue_photo()] * 3).astype(np.float32)
    gains = np.array([3.0, 0.5, 5.0], np.float32)[:, None]  # all positive: the map of red is never blank
    model = gained_model()
    explainer = Explainer(model, "hue")

    def found(which: list[int], **options: Any) -> float:
        def join(batch: np.ndarray, positions: np.ndarray) -> list[np.ndarray]:
            return [batch, gains[which][positions]]

        metrics = measure(
            explainer,
            lambda inputs: model.predict_on_batch(inputs),
            images[which],
            [0] * len(which),
            join=join,
            **options,
        )
        return next(one for one in metrics if (one.name, one.method) == ("deletion AUC", "gradcam")).interval.value

    together = found([0, 1, 2], batch_size=4)
    np.testing.assert_allclose(together, np.mean([found([number]) for number in range(3)]), rtol=1e-5)
    assert abs(found([0]) - found([2])) > 0.01


def run(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["audit", *map(str, arguments)])


@pytest.fixture
def classes(folder: Path) -> Path:
    """Two folders of classes with twelve pictures each, red and blue, and a gain for each."""
    lines = ["file,gain"]
    for number in range(12):
        for name, columns in (("red", 7), ("blue", 2)):
            write_photo(folder, f"photos/{name}/{number}.png", red_blue_photo(columns=columns))
            lines.append(f"{name}/{number}.png,{1 + number}")
    Path("all.csv").write_text("\n".join(lines) + "\n")
    gained_model().save("gained.keras")
    return folder


def test_command_audits_with_a_table_of_numbers(classes: Path) -> None:
    command = ["photos", "--model", "gained.keras", "--class-names", "names.txt", "--out", "report"]
    Path("names.txt").write_text("red\nblue\n")
    result = run(*command, "--input", "gain=all.csv", "--num-images", 4)
    assert result.exit_code == 0, result.output
    assert "24 of 24 images explained, 100.00% of 24 right" in result.stdout
    numbers = json.loads(Path("report/audit.json").read_text(encoding="utf-8"))
    assert numbers["about"]["further inputs"] == "gain=all.csv"
    Path("all.csv").write_text(Path("all.csv").read_text().replace("red/3.png,4", "red/3.png,-4"))
    changed = run(*command, "--input", "gain=all.csv", "--num-images", 0)
    assert changed.exit_code == 2
    assert "inputs" in changed.stderr
    again = run(*command[:-1], "again", "--input", "gain=all.csv", "--num-images", 0, "--no-sanity")
    assert "95.83% of 24 right" in again.stdout


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "missing is 'gain' (B, 1). Give each by --input NAME=VALUE"),
        (["gian=3"], "Unknown input 'gian'. Did you mean 'gain'"),
        (["gain=other.csv"], "received 'other.csv', which is not a number, and there is no such file."),
        (["gain=foreign.csv"], "to name some of the 24 images, but no line fits any."),
    ],
)
def test_wrong_further_input_is_one_line(classes: Path, given: list[str], message: str) -> None:
    Path("foreign.csv").write_text("file,gain\nsomewhere.png,3\n")
    options = [part for pair in given for part in ("--input", pair)]
    result = run("photos", "--model", "gained.keras", *options, "--out", "report")
    assert result.exit_code == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("tf-gradcam: ")]
    assert message in line


def test_dataset_takes_one_number_for_all_and_no_table(classes: Path, tmp_path: Path) -> None:
    images = np.stack([red_blue_photo(columns=columns) for columns in (7, 2) * 6]).astype(np.float32)
    dataset = tf.data.Dataset.from_tensor_slices((images, [0, 1] * 6)).batch(4)
    options = {"num_images": 2, "sanity": True, "class_names": NAMES, "preprocess": "raw"}
    found = audit(gained_model(), dataset, tmp_path / "one", inputs=["gain=-1"], **options)
    assert found.rows.predicted.tolist() == [1, 0] * 6
    assert found.accuracy == 0
    with pytest.raises(ValueError, match="Expected one value of the input 'gain' for all images"):
        audit(gained_model(), dataset, tmp_path / "two", inputs=["gain=all.csv"], **options)
