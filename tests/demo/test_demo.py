"""The embedded default: the bundled model on slices it has not seen, and the picture that `tf-gradcam demo` writes."""

from __future__ import annotations

import os
import zipfile
from importlib.resources import files
from pathlib import Path

import keras
import numpy as np
import pytest

from tf_gradcam import Explainer
from tf_gradcam._results.explanation import Explanation
from tf_gradcam.demo import (
    CLASS_NAMES,
    CLASSIFIER_LAYERS,
    LAYER_NAME,
    DemoRow,
    Phantom,
    load_demo_model,
    phantom_slices,
    run_demo,
)
from tf_gradcam.image.io import load_image
from training.demo_model import Config, build_model, checked, train_head, train_trunk, tumour_cells

pytestmark = pytest.mark.core
UNSEEN = 11  # a seed that no training draws
LATER_KEYS = (b"input_axes", b"quantization_config")  # written by newer Keras, refused by 3.8


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return load_demo_model()


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return phantom_slices(40, UNSEEN)


@pytest.fixture(scope="module")
def explanation(model: keras.Model, phantom: Phantom) -> Explanation:
    return Explainer(model, LAYER_NAME, classifier_layers=CLASSIFIER_LAYERS)(phantom.images)


def test_bundled_file_is_small_and_readable_by_older_keras() -> None:
    path = Path(str(files("tf_gradcam.demo") / "demo_vgg16.keras"))
    assert path.stat().st_size < 1_500_000
    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json")
    assert not [key for key in LATER_KEYS if key in config]


def test_demo_model_has_the_layers_of_vgg16_in_order(model: keras.Model) -> None:
    twin = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), classes=4)
    names = [layer.name for layer in model.layers if layer.name != "rescaling"]
    assert names[1:] == [layer.name for layer in twin.layers][1:]  # the input's name is free
    assert model.layers[1].name == "rescaling"
    assert names[names.index(LAYER_NAME) + 1 :] == CLASSIFIER_LAYERS


def test_demo_model_is_fresh_uncompiled_and_takes_photos(model: keras.Model) -> None:
    other = load_demo_model()
    assert other is not model
    assert other.layers[-1].kernel is not model.layers[-1].kernel
    assert not model.compiled
    assert model.input_shape == (None, 224, 224, 3)
    assert model.output_shape == (None, len(CLASS_NAMES))


@pytest.mark.slow
def test_demo_model_is_right_about_unseen_slices(explanation: Explanation, phantom: Phantom) -> None:
    assert (explanation.class_indices == phantom.labels).mean() >= 0.95


def test_demo_heat_is_on_the_tumour(explanation: Explanation, phantom: Phantom) -> None:
    """An even map would have the mask's share of the image inside it, a ratio of 1."""
    resized = explanation.resized()
    for index in (0, 1, 3):
        mine = phantom.labels == index
        inside = (resized * phantom.masks)[mine].sum((1, 2)) / resized[mine].sum((1, 2))
        assert inside.mean() > 3 * phantom.masks[mine].mean(), CLASS_NAMES[index]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[DemoRow]]:
    folder = tmp_path_factory.mktemp("demo") / "new" / "folder"
    return folder, run_demo(folder, count=5, seed=UNSEEN)


def test_run_demo_writes_one_picture_that_can_be_read(written: tuple[Path, list[DemoRow]]) -> None:
    folder, _ = written
    assert os.listdir(folder) == ["demo.png"]
    picture = load_image(folder / "demo.png")
    assert min(picture.shape[:2]) > 1000
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 1000  # slices and colours, not a blank sheet


def test_run_demo_rows_agree_with_the_explainer(
    written: tuple[Path, list[DemoRow]], explanation: Explanation, phantom: Phantom
) -> None:
    """The first slices of 40 are those of 5, so the batch is a second way to the same numbers."""
    _, rows = written
    assert len(rows) == 5
    resized = explanation.resized()
    for index, row in enumerate(rows):
        mask = phantom.masks[index]
        assert row.truth == CLASS_NAMES[phantom.labels[index]]
        assert row.prediction == CLASS_NAMES[explanation.class_indices[index]]
        assert row.layer == LAYER_NAME
        np.testing.assert_allclose(row.probability, explanation.probabilities[index].max(), rtol=1e-4)
        if row.truth == "notumor":
            assert row.heat_share is None
            assert row.mask_share is None
        else:
            np.testing.assert_allclose(row.mask_share, mask.mean(), rtol=1e-6)
            np.testing.assert_allclose(row.heat_share, resized[index][mask].sum() / resized[index].sum(), rtol=1e-3)


def test_demo_row_reads_as_a_line() -> None:
    row = DemoRow("glioma", "pituitary", 0.875, "block5_conv3", 0.5, 0.03125)
    told = "True: glioma Predicted: pituitary 87.5% block5_conv3 50.0% of the heat on 3.1% of the image"
    assert " ".join(str(row).split()) == told
    assert str(DemoRow("notumor", "notumor", 1.0, "block5_conv3", None, None)).endswith("no tumour")
    assert str(DemoRow("glioma", "glioma", 1.0, "block5_conv3", float("nan"), 0.03)).endswith("the map is blank")


@pytest.mark.parametrize("count", [0, -1])
def test_run_demo_refuses_no_slices(tmp_path: Path, count: int) -> None:
    with pytest.raises(ValueError, match="`count` must be at least 1"):
        run_demo(tmp_path / "demo", count=count)
    assert not (tmp_path / "demo").exists()


def test_run_demo_refuses_a_negative_seed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`seed` must be at least 0"):
        run_demo(tmp_path, seed=-1)


def test_run_demo_refuses_a_file_as_folder(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(NotADirectoryError, match=r"a folder, received .*taken.: it is a file"):
        run_demo(tmp_path / "taken", count=1)


@pytest.mark.slow
def test_run_demo_leaves_pyplot_alone(tmp_path: Path) -> None:
    """No figure is registered there, so none has to be closed. Keras itself imports pyplot where it is installed."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before = pyplot.get_fignums()
    run_demo(tmp_path, 1)
    assert pyplot.get_fignums() == before


TINY = Config(slices=32, trunk_epochs=3, head_epochs=12)


@pytest.fixture(scope="module")
def trained() -> tuple[keras.Model, list[float], list[float]]:
    keras.utils.set_random_seed(0)
    model = build_model()
    few = phantom_slices(TINY.slices, seed=5)
    return model, train_trunk(model, few, TINY), train_head(model, few, TINY)


@pytest.mark.soak
def test_training_loss_falls_in_both_chapters(trained: tuple[keras.Model, list[float], list[float]]) -> None:
    _, trunk, head = trained
    assert len(trunk) == TINY.trunk_epochs
    assert len(head) == TINY.head_epochs
    assert trunk[-1] < 0.9 * trunk[0]
    assert np.mean(head[-3:]) < np.mean(head[:3])


def test_training_builds_the_bundled_architecture(model: keras.Model) -> None:
    ours = build_model()
    assert [layer.name for layer in ours.layers[1:]] == [layer.name for layer in model.layers[1:]]
    assert [tuple(weight.shape) for weight in ours.weights] == [tuple(weight.shape) for weight in model.weights]


def test_training_cells_are_those_that_the_mask_covers() -> None:
    """Cells of 16 x 16 pixels: a full one counts 1, 3/16 of one counts 3 times that; the class is the channel."""
    masks = np.zeros((2, 224, 224), bool)
    masks[0, 16:32, 48:64] = True  # cell (1, 3)
    masks[0, 32:48, 48:51] = True  # three of the sixteen columns of cell (2, 3)
    few = Phantom(np.zeros((2, 224, 224, 3), np.float32), np.array([3, 2]), masks)
    expected = np.zeros((2, 14, 14, 3), np.float32)
    expected[0, 1, 3, 2], expected[0, 2, 3, 2] = 1, 9 / 16  # pituitary is the third tumour
    np.testing.assert_allclose(tumour_cells(few), expected, rtol=1e-6)


def test_training_stops_at_a_loss_that_is_not_finite() -> None:
    assert checked(0.5) == 0.5
    for loss in (float("nan"), float("inf")):
        with pytest.raises(FloatingPointError, match="lower the learning rate"):
            checked(loss)
