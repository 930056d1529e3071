"""Figures of a training: what they show is what was measured, and nothing overlaps, however long the names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tf_gradcam import Explainer, list_layers, overlay_heatmap
from tf_gradcam.metrics import wilson_interval
from training.data.folder import Samples, read_folder
from training.data.split import Parts
from training.model.classifier import build_classifier
from training.report.charts import calibration_figure, confusion_figure, shortened
from training.report.evaluate import calibrate, predictions_of, spread
from training.report.figures import (
    finer_layer,
    gradcam_figure,
    methods_figure,
    misclassified_figure,
    photo_grid,
    predictions_figure,
    samples_figure,
    save_figure,
    write_figures,
)

SIZE = (12, 20)  # pixels of a photo
NAMES = ("green", "red")
FILES = ["calibration", "confusion_matrix", "gradcam_hirescam", "gradcam_intermediate", "gradcam_last"]
FILES += ["misclassified", "predictions", "training_samples"]
LONG = "American Staffordshire terrier, Staffordshire terrier, American pit bull terrier, pit bull terrier"


def photo_of(number: int, channel: int) -> np.ndarray:
    """Dark noise, and a bright spot of one colour in a place of its own."""
    photo = np.random.default_rng(number).integers(0, 40, (*SIZE, 3), np.uint8)
    row, column = number % 3 * 4, number % 5 * 4
    photo[row : row + 4, column : column + 4, channel] = 255
    return photo


def write_folder(root: Path, names: tuple[str, ...] = NAMES, count: int = 6) -> Samples:
    """A folder per class; photos of class k have spots in channel 1 - k % 2: green, red, green, ..."""
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(count):
            photo = photo_of(number + label * count, 1 - label % 2)
            cv2.imwrite(str(root / name / f"{name}_{number}.png"), photo[..., ::-1])
    return read_folder(root)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return write_folder(tmp_path_factory.mktemp("colours") / "data")


def color_model(green: float = 1.0, red: float = 1.0) -> keras.Model:
    """It sees green and red, means them over the photo, and calls it what there is more of.

    `cells` passes green and red on, so the map of class k at `cells` is channel k of the photo, where its factor is
    positive; `doubled` before it holds twice as much, which changes no map.
    """
    inputs = keras.Input((*SIZE, 3))
    hidden = keras.layers.Conv2D(3, 1, use_bias=False, name="doubled")(inputs)
    hidden = keras.layers.Conv2D(2, 1, use_bias=False, name="cells")(hidden)
    hidden = keras.layers.GlobalAveragePooling2D()(hidden)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="dense")(hidden))
    model.get_layer("doubled").set_weights([2 * np.eye(3, dtype=np.float32)[None, None]])
    model.get_layer("cells").set_weights([np.array([[[[0, 0.5], [0.5, 0], [0, 0]]]], np.float32)])
    model.get_layer("dense").set_weights([np.diag([green, red]).astype(np.float32), np.zeros(2, np.float32)])
    return model


def outputs_of(samples: Samples, wrong: dict[int, float] | None = None, confidence: float = 0.9) -> np.ndarray:
    """Probabilities of two classes: right with `confidence`, but for {index: confidence} of wrong ones."""
    outputs = np.empty((len(samples), 2))
    for index, label in enumerate(samples.labels):
        predicted = 1 - label if index in (wrong or {}) else label
        outputs[index, predicted] = (wrong or {}).get(index, confidence)
        outputs[index, 1 - predicted] = 1 - outputs[index, predicted]
    return outputs


def pictures(figure: Figure) -> list[np.ndarray]:
    """The pictures in a figure in their order; a colour bar is none."""
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def texts(figure: Figure) -> list[str]:
    """Every line of text over the panels of a figure."""
    written = [*figure.texts, *(axes.title for axes in figure.axes), *(axes._left_title for axes in figure.axes)]
    return [line for text in written for line in text.get_text().splitlines()]


def check_layout(figure: Figure) -> None:
    """Nothing overlaps and nothing leaves the figure: panels, lines of text, names on axes."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # lays it out
    renderer = canvas.get_renderer()
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    boxes += [text.get_window_extent(renderer) for text in figure.texts if text.get_text()]
    width, height = figure.get_size_inches() * figure.dpi
    for index, box in enumerate(boxes):
        assert -1 <= box.x0 <= box.x1 <= width + 1
        assert -1 <= box.y0 <= box.y1 <= height + 1
        assert not any(box.overlaps(other) for other in boxes[:index])


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


# Grad-CAM.


def test_maps_show_the_evidence_for_the_prediction(samples: Samples) -> None:
    """The map of a photo called green is its green, divided by the largest; a wrong one is explained as called."""
    shown = predictions_of(samples, outputs_of(samples, {7: 0.8}))
    explainer = Explainer(color_model(), "cells", class_names=NAMES)
    figure = gradcam_figure(explainer, shown, np.array([0, 1, 7]), SIZE)
    photos = [photo_of(0, 1), photo_of(1, 1), photo_of(7, 0)]
    drawn = pictures(figure)
    for index, photo in enumerate(photos):
        green = photo[..., 1] / photo[..., 1].max()
        np.testing.assert_array_equal(drawn[3 * index], photo)
        np.testing.assert_allclose(drawn[3 * index + 1], green, atol=1e-6)
        overlay = overlay_heatmap(photo, green).astype(int)
        np.testing.assert_allclose(drawn[3 * index + 2].astype(int), overlay, atol=1)  # float32 rounds a level off


def test_maps_stand_under_what_is_true(samples: Samples) -> None:
    """The model sees more green in a green photo; a red one that was called green is explained as green."""
    shown = predictions_of(samples, outputs_of(samples, {7: 0.8}))
    explainer = Explainer(color_model(), "cells", class_names=NAMES)
    text = " ".join(texts(gradcam_figure(explainer, shown, np.array([0, 7]), SIZE)))
    assert "gradcam at cells" in text
    assert "True and predicted: red, 100.0%" in text


def test_blank_map_says_why(samples: Samples) -> None:
    """Red speaks against red here, and nothing for it: there is no evidence to show."""
    shown = predictions_of(samples, outputs_of(samples))
    explainer = Explainer(color_model(red=-1.0), "cells", class_names=NAMES)
    figure = gradcam_figure(explainer, shown, np.array([8]), SIZE)
    assert not pictures(figure)[1].any()
    assert "every cell speaks against" in " ".join(texts(figure))


def test_two_methods_stand_beside_each_photo(samples: Samples) -> None:
    shown = predictions_of(samples, outputs_of(samples, {7: 0.8}))
    model = color_model()
    explainers = [Explainer(model, "cells", method, class_names=NAMES) for method in ("gradcam", "hirescam")]
    figure = methods_figure(explainers, shown, np.array([0, 1, 2, 7]), SIZE)
    assert texts(figure)[0] == "Grad-CAM and HiResCAM at cells"
    assert [line for line in texts(figure) if line in ("Grad-CAM", "HiResCAM")] == 4 * ["Grad-CAM", "HiResCAM"]
    drawn = pictures(figure)
    assert len(drawn) == 12
    np.testing.assert_array_equal(drawn[9], photo_of(7, 0))
    assert [axes.get_children() for axes in figure.axes]
    check_layout(figure)


# Everything.


def test_a_run_leaves_eight_pictures(samples: Samples, tmp_path: Path) -> None:
    parts = Parts(training=np.arange(0, 12, 2), validation=np.arange(1, 12, 2), leaked=0, groups=12, duplicates=0)
    model = color_model()
    photos = np.stack([photo_of(index, 1 - index // 6) for index in parts.validation])
    outputs = model.predict(photos.astype(np.float32), verbose=0)
    weights = [weight.copy() for weight in model.get_weights()]
    settings: dict[str, Any] = {"model": model, "samples": samples, "parts": parts, "outputs": outputs}
    written = write_figures(tmp_path / "figures", **settings, image_size=SIZE, layers=("cells", "doubled"))
    assert sorted(path.stem for path in written) == sorted(FILES)
    assert sorted(os.listdir(tmp_path / "figures")) == [f"{name}.png" for name in sorted(FILES)]
    for path in written:
        picture = cv2.imread(str(path))
        assert min(picture.shape[:2]) > 50
        assert picture.std() > 5
    alone = tmp_path / "alone.png"
    save_figure(alone, samples_figure(samples.take(parts.training), SIZE))
    assert alone.read_bytes() == (tmp_path / "figures" / "training_samples.png").read_bytes()
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    with pytest.raises(ValueError, match="Expected two layers"):
        write_figures(tmp_path / "others", **settings, image_size=SIZE, layers=("cells",))
    assert not (tmp_path / "others").exists()


@pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed")
def test_without_tensorflow_a_line_says_which_pictures_are_missing(samples: Samples, tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from training.report.figures import write_figures\n"
        "from training.data.folder import read_folder\n"
        "from training.data.split import Parts\n"
        "samples = read_folder(Path(sys.argv[1]))\n"
        "parts = Parts(training=np.arange(6), validation=np.arange(12), leaked=0, groups=12, duplicates=0)\n"
        "given = dict(model=None, samples=samples, parts=parts, outputs=np.eye(2)[samples.labels])\n"
        "written = write_figures(Path(sys.argv[2]), **given, image_size=(12, 20), layers=(None, None))\n"
        "print(len(written))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(samples.root), str(tmp_path)],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.strip() == "5", ran.stderr
    assert "No Grad-CAM figures: they need TensorFlow, and Keras runs on jax." in ran.stderr
    assert len(os.listdir(tmp_path)) == 5


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


def test_finer_layer_is_the_output_of_the_last_part_of_more_cells() -> None:
    """8 x 8, padded to 10 x 10, then 4 x 4 twice: the padding belongs to the part that ends on 4 x 4."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(2, 3, padding="same", name="block1_conv"),
            layers.ReLU(name="block1_relu"),
            layers.Dropout(0.1, name="block1_drop"),
            layers.ZeroPadding2D(1, name="block2_pad"),
            layers.Conv2D(2, 3, strides=2, name="block2_conv"),
            layers.ReLU(name="end"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    assert finer_layer(model, "end") == "block1_relu"
    assert finer_layer(model, "block1_relu") == "block1_relu"


_FINER = {  # family: the last output of a part of more cells than the default layer, and its type
    "MobileNet": ("conv_pw_11_relu", "ReLU"),
    "MobileNetV2": ("block_12_add", "Add"),
    "MobileNetV3Small": ("expanded_conv_7_add", "Add"),
    "VGG16": ("block4_conv3", "Conv2D"),
    "ResNet50": ("conv4_block6_out", "Activation"),
    "ResNet50V2": ("conv4_block5_out", "Add"),
    "ConvNeXtTiny": (r"add_?\d*", "Add"),
    "DenseNet121": ("pool4_conv", "Conv2D"),
    "EfficientNetB0": ("block5c_add", "Add"),
    "EfficientNetV2B0": ("block5e_add", "Add"),
    "EfficientNetV2S": ("block5i_add", "Add"),
    "Xception": (r"add_?\d*", "Add"),
    "InceptionV3": ("mixed7", "Concatenate"),
    "InceptionResNetV2": ("block17_20_ac", "Activation"),
    "NASNetMobile": ("normal_concat_7", "Concatenate"),
}
_QUICK = ("MobileNet", "MobileNetV2", "VGG16")


@pytest.mark.parametrize(
    "backbone", [name if name in _QUICK else pytest.param(name, marks=pytest.mark.slow) for name in _FINER]
)
def test_intermediate_layer_of_a_family_is_the_output_of_a_learned_part(backbone) -> None:
    model = build_classifier(backbone, 2, (128, 128), "none")
    rows = {row.path: row for row in list_layers(model)}
    (last,) = (row for row in rows.values() if row.default)
    found = rows[finer_layer(model, last.path)]
    name, kind = _FINER[backbone]
    assert re.fullmatch(name, found.path), found.path
    assert found.type == kind
    assert found.output_shape[1] > last.output_shape[1]
