"""Figures of a training: what they show is what was measured, and nothing overlaps, however long the names."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.helpers.colours import (
    LONG,
    NAMES,
    SIZE,
    check_layout,
    color_model,
    outputs_of,
    photo_of,
    pictures,
    texts,
    write_folder,
)
from tf_gradcam.metrics import wilson_interval
from training.data.folder import Samples
from training.report.charts import calibration_figure, confusion_figure, curves_figure, shortened
from training.report.evaluate import calibrate, predictions_of, spread
from training.report.figures import (
    misclassified_figure,
    predictions_figure,
    samples_figure,
    save_figure,
    write_figures,
)
from training.report.grid import photo_grid
from training.report.maps import maps_of

FILES = ["calibration", "confusion_matrix", "gradcam_intermediate", "gradcam_last", "learning_curves"]
FILES += ["misclassified", "predictions", "training_samples"]
HISTORY = [
    {"stage": "head", "epoch": "1", "loss": "2", "accuracy": "0.5", "val_loss": "1", "val_accuracy": "0.6"},
    {"stage": "head", "epoch": "2", "loss": "1", "accuracy": "0.7", "val_loss": "0.5", "val_accuracy": "0.8"},
    {"stage": "last block", "epoch": "1", "loss": "0.5", "accuracy": "0.9", "val_loss": "0.6", "val_accuracy": "0.75"},
]


# Which samples are shown.


def test_samples_are_spread_evenly_over_classes() -> None:
    """Five, two and one of three classes: a first turn takes one of each, a second two, a third the last."""
    labels = np.array([0, 1, 0, 2, 0, 0, 1, 0])
    chosen = spread(labels, 6)
    assert labels[chosen].tolist() == [0, 0, 0, 1, 1, 2]
    assert len(set(chosen)) == 6
    assert labels[spread(labels, 3)].tolist() == [0, 1, 2]
    assert sorted(spread(labels, 100)) == list(range(8))


def test_the_same_samples_are_shown_every_time() -> None:
    labels = np.arange(200) % 7
    assert spread(labels, 20).tolist() == spread(labels, 20).tolist()
    assert spread(labels, 20).tolist() != np.sort(spread(labels, 20)).tolist()  # sorted by class, not by index


def test_errors_are_listed_with_the_most_confident_first(samples: Samples) -> None:
    shown = predictions_of(samples, outputs_of(samples, {2: 0.6, 5: 0.95, 7: 0.8}))
    assert shown.errors.tolist() == [5, 7, 2]
    assert np.flatnonzero(~shown.right).tolist() == [2, 5, 7]


def test_caption_says_confidence_prediction_and_truth(samples: Samples) -> None:
    shown = predictions_of(samples, outputs_of(samples, {2: 0.625}, confidence=0.99999))
    assert shown.caption(2) == ["✗ 62.5% red", "true: green"]
    assert shown.caption(11) == ["✓ >99.9% red", "true: red"]


def test_only_shown_photos_are_read(tmp_path: Path) -> None:
    """Of 2 x 40 photos all but those that the rule picks are gone from the disk."""
    samples = write_folder(tmp_path / "data", count=40)
    chosen = spread(samples.labels, 12)
    for index in set(range(len(samples))) - set(chosen.tolist()):
        samples.files[index].unlink()
    assert len(pictures(samples_figure(samples, SIZE))) == 12


# Figures of photos.


def test_training_samples_are_the_photos_under_their_names(samples: Samples) -> None:
    """Two classes of six photos: all are shown, a class after the other."""
    figure = samples_figure(samples, SIZE)
    assert len(pictures(figure)) == 12
    np.testing.assert_array_equal(pictures(figure)[7], photo_of(7, 0))
    assert [text for text in texts(figure) if text in NAMES] == ["green"] * 6 + ["red"] * 6
    assert "12 of 12 training samples" in texts(figure)
    check_layout(figure)


def test_many_classes_have_one_photo_each(tmp_path: Path) -> None:
    samples = write_folder(tmp_path / "data", tuple(f"{number:03d} {LONG}" for number in range(40)), count=2)
    figure = samples_figure(samples, SIZE)
    assert len(pictures(figure)) == 30
    assert len({text[:3] for text in texts(figure) if "…" in text}) == 30
    check_layout(figure)


def test_predictions_figure_counts_all_samples(samples: Samples) -> None:
    figure = predictions_figure(predictions_of(samples, outputs_of(samples, {2: 0.6, 5: 0.95, 7: 0.8})), SIZE)
    assert "Of all samples, 9 of 12 are right (75.0%)." in texts(figure)
    assert sum(text.startswith("✓") for text in texts(figure)) == 9
    np.testing.assert_array_equal(pictures(figure)[2], photo_of(2, 1))
    check_layout(figure)


def test_misclassified_figure_names_the_files(samples: Samples) -> None:
    figure = misclassified_figure(predictions_of(samples, outputs_of(samples, {2: 0.6, 7: 0.8})), SIZE)
    assert "2 of 12 validation samples are misclassified (16.7%)" in texts(figure)
    assert [text for text in texts(figure) if text.endswith(".png")] == ["red_1.png", "green_2.png"]
    np.testing.assert_array_equal(pictures(figure)[0], photo_of(7, 0))
    check_layout(figure)


def test_misclassified_figure_names_a_file_whose_name_is_no_unicode(tmp_path: Path) -> None:
    """As Linux allows it: byte 255 arrives in Python as U+DCFF."""
    samples = write_folder(tmp_path / "data")
    odd = samples.files[2].rename(samples.files[2].with_name("a\udcff.png"))
    samples = replace(samples, files=(*samples.files[:2], odd, *samples.files[3:]))
    figure = misclassified_figure(predictions_of(samples, outputs_of(samples, {2: 0.6})), SIZE)
    assert "a?.png" in texts(figure)
    check_layout(figure)


def test_misclassified_figure_says_that_there_are_none(samples: Samples) -> None:
    figure = misclassified_figure(predictions_of(samples, outputs_of(samples)), SIZE)
    assert texts(figure)[0] == "All 12 validation samples are right"
    assert not figure.axes


def test_outputs_of_another_shape_are_refused(samples: Samples) -> None:
    with pytest.raises(ValueError, match=r"Expected outputs \(12, 2\).*received \(12, 3\)"):
        predictions_of(samples, np.ones((12, 3)))


# Charts.


def test_confusion_figure_colours_the_share_of_the_true_class() -> None:
    """Of four a's three are right, of two b's none."""
    figure = confusion_figure(np.array([[3, 1], [2, 0]]), ("a", "b"))
    np.testing.assert_allclose(pictures(figure)[0], [[0.75, 0.25], [1, 0]])
    drawn = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert drawn == {(0, 0): "3", (1, 0): "1", (0, 1): "2", (1, 1): "0"}
    assert "Confusion matrix: 3 of 6 validation samples are right" in texts(figure)
    assert (figure.axes[0].get_ylabel(), figure.axes[0].get_xlabel()) == ("true", "predicted")


def test_confusion_figure_of_a_class_without_samples_is_empty_there() -> None:
    np.testing.assert_allclose(pictures(confusion_figure(np.array([[3, 1], [0, 0]]), ("a", "b")))[0][1], [0, 0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "name"), [(2, "a"), (2, LONG), (5, "a_$x$_b"), (20, "n02105641-Old_English_sheepdog"), (120, LONG)]
)
def test_confusion_figure_has_room_for_its_names(count: int, name: str) -> None:
    matrix = np.random.default_rng(0).integers(0, 12345, (count, count))
    figure = confusion_figure(matrix, [f"{name} {number}" for number in range(count)])
    check_layout(figure)
    assert bool(figure.axes[0].texts) == (count < 120)
    renderer = FigureCanvasAgg(figure).get_renderer()
    assert all(label.get_window_extent(renderer).width < 2 * figure.dpi for label in figure.axes[0].get_yticklabels())


def test_confusion_figure_of_many_classes_names_the_worst_in_words() -> None:
    matrix = 20 * np.eye(40, dtype=int)
    matrix[7, 9], matrix[3, 2] = 4, 5
    figure = confusion_figure(matrix, [f"breed {k}" for k in range(40)])
    listed = figure.axes[0].get_xlabel().splitlines()[1:]
    assert listed == ["breed 3 predicted as breed 2: 5 of 25", "breed 7 predicted as breed 9: 4 of 24"]


def test_calibration_figure_draws_accuracy_at_its_confidence() -> None:
    """Four predictions of 0.9, two of them right: one bar of height 0.5 over (13/15, 14/15]."""
    figure = calibration_figure(calibrate(np.full(4, 0.9), np.array([1, 1, 0, 0], bool)))
    (bar,) = figure.axes[0].patches
    assert (bar.get_x(), bar.get_width(), bar.get_height()) == pytest.approx((13 / 15, 1 / 15, 0.5), abs=1e-5)
    interval = figure.axes[0].lines[1]
    np.testing.assert_allclose(interval.get_xdata(), 0.9)
    ends = wilson_interval(2, 4)
    np.testing.assert_allclose(interval.get_ydata(), [ends.low, ends.high])
    assert [patch.get_height() for patch in figure.axes[1].patches] == [0] * 13 + [4, 0]
    assert "Calibration: expected error 40.0%" in texts(figure)
    check_layout(figure)


# Learning curves.


def test_curves_run_over_all_stages_with_their_border_and_the_best_epoch() -> None:
    figure = curves_figure(HISTORY, best=1)
    loss, accuracy = figure.axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in accuracy.lines}
    assert drawn["training"] == [[1, 0.5], [2, 0.7], [3, 0.9]]
    assert drawn["validation"] == [[1, 0.6], [2, 0.8], [3, 0.75]]
    assert drawn["best epoch"] == [[2, 0.8]]
    assert {tuple(line.get_xdata()) for line in loss.lines if line.get_linestyle() == ":"} == {(2.5, 2.5)}
    assert [text.get_text() for text in loss.texts] == ["head", "last block"]
    assert texts(figure)[0] == "Best epoch: 2 of 3 (head, epoch 2), validation accuracy 0.8000, loss 0.5000"
    check_layout(figure)


@pytest.mark.parametrize(
    ("rates", "scale"), [((1e-3, 1e-3, 1e-5), "log"), ((1e-3, 0, 0.9e-3), "linear"), ((0, 0, 0), "linear")]
)
def test_learning_rate_is_drawn_where_the_history_has_it(rates: tuple[float, ...], scale: str) -> None:
    history = [{**row, "learning_rate": str(rate)} for row, rate in zip(HISTORY, rates, strict=True)]
    figure = curves_figure(history, best=0)
    assert figure.axes[2].lines[0].get_ydata().tolist() == list(rates)
    assert figure.axes[2].get_yscale() == scale
    check_layout(figure)


def test_one_epoch_has_points_and_a_long_stage_has_room() -> None:
    check_layout(curves_figure(HISTORY[:1], best=0))
    figure = curves_figure([{**HISTORY[0], "stage": LONG}, *HISTORY], best=2)
    assert all(line.get_marker() == "o" for line in figure.axes[0].lines[:2])
    check_layout(figure)


# Twins.


def test_no_figure_of_samples_shows_twins(samples: Samples) -> None:
    """Photos 0 to 3 and 6 to 8 are two groups: of twelve seven are left."""
    groups = np.array([0, 0, 0, 0, 1, 2, 3, 3, 3, 4, 5, 6])
    grouped = replace(samples, groups=groups)
    shown = predictions_of(grouped, outputs_of(samples, {0: 0.6, 1: 0.9, 7: 0.8}))
    photos = [photo_of(index, 1 - index // 6) for index in range(12)]

    def numbers(figure: Figure) -> list[int]:
        return [next(k for k in range(12) if np.array_equal(photos[k], each)) for each in pictures(figure)]

    for figure in (samples_figure(grouped, SIZE), predictions_figure(shown, SIZE)):
        drawn = groups[numbers(figure)]
        assert sorted(drawn) == list(range(7))
    wrong = misclassified_figure(shown, SIZE)
    assert numbers(wrong) == [1, 7]
    assert "All of them, one of each group of near-identical images, the most confident first." in texts(wrong)


# Everything.


@pytest.mark.slow
def test_a_run_leaves_its_pictures(samples: Samples, tmp_path: Path) -> None:
    training, validation = samples.take(range(0, 12, 2)), samples.take(range(1, 12, 2))
    model = color_model()
    photos = np.stack([photo_of(index, 1 - index // 6) for index in range(1, 12, 2)])
    shown = predictions_of(validation, model.predict(photos.astype(np.float32), verbose=0))
    weights = [weight.copy() for weight in model.get_weights()]
    maps = maps_of(model, NAMES, ("cells", "doubled"))
    written = write_figures(
        tmp_path / "figures", training=training, shown=shown, history=HISTORY, best=1, maps=maps, image_size=SIZE
    )
    assert sorted(path.stem for path in written) == sorted(FILES)
    assert sorted(os.listdir(tmp_path / "figures")) == [f"{name}.png" for name in sorted(FILES)]
    for path in written:
        picture = cv2.imread(str(path))
        assert min(picture.shape[:2]) > 50
        assert picture.std() > 5
    alone = tmp_path / "alone.png"
    save_figure(alone, samples_figure(training, SIZE))
    assert alone.read_bytes() == (tmp_path / "figures" / "training_samples.png").read_bytes()
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_without_maps_the_other_pictures_are_written(samples: Samples, tmp_path: Path) -> None:
    shown = predictions_of(samples, outputs_of(samples))
    settings = {"training": samples, "shown": shown, "history": HISTORY, "best": 1, "image_size": SIZE}
    write_figures(tmp_path, **settings, maps=None)
    assert sorted(path.stem for path in tmp_path.iterdir()) == [name for name in FILES if "gradcam" not in name]


def test_figure_is_whole_or_not_at_all_and_lets_its_pictures_go(tmp_path: Path) -> None:
    figure = photo_grid("title", "", [photo_of(0, 0)], [[]])
    with pytest.raises(FileNotFoundError):
        save_figure(tmp_path / "absent" / "figure.png", figure)
    save_figure(tmp_path / "figure.png", figure)
    assert os.listdir(tmp_path) == ["figure.png"]
    assert not figure.axes


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (6, 60), (60, 6)])
def test_photos_of_any_shape_have_room(size: tuple[int, int], columns: int) -> None:
    lines = [LONG, "true: $a$_b", "file.png"]
    figure = photo_grid(f"{LONG}, {LONG}", LONG, [np.zeros((*size, 3), np.uint8)] * 5, [lines] * 5, columns=columns)
    check_layout(figure)


def test_caption_of_a_wrong_prediction_has_another_colour(samples: Samples) -> None:
    figure = predictions_figure(predictions_of(samples, outputs_of(samples, {2: 0.6})), SIZE)
    colors = [axes.get_title("left") and axes._left_title.get_color() for axes in figure.axes]
    assert colors[2] not in colors[:2] + colors[3:]
    assert len(set(colors)) == 2


def test_text_that_fits_is_left_alone_and_a_longer_one_keeps_both_ends() -> None:
    assert shortened("beagle", 6) == "beagle"
    cut = shortened(LONG, 20)
    assert len(cut) <= 20
    assert cut.startswith("American")
    assert cut.endswith("terrier")


def test_charts_need_neither_a_framework_nor_global_state() -> None:
    program = (
        "import sys, numpy as np\n"
        "from training.report.charts import confusion_figure\n"
        "confusion_figure(np.eye(2, dtype=int), 'ab')\n"
        "print([name for name in ('keras', 'tensorflow', 'matplotlib.pyplot') if name in sys.modules])"
    )
    root = Path(__file__).parents[3]
    ran = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
