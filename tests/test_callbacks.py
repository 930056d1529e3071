"""The callback: pictures that follow the weights, a training that does not notice, trouble told early or survived.

Also tests _figures/epochs.py.
"""

from __future__ import annotations

import gc
import io
import itertools
import os
import random
import re
import shutil
import threading
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import keras
import matplotlib.figure
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from matplotlib.text import Text
from PIL import Image

from tests.helpers.drawing import drawn, photos_of
from tf_gradcam import Explainer, Explanation, callbacks
from tf_gradcam._figures.epochs import epoch_figure, overlay_card
from tf_gradcam.callbacks import FixedImages, GradCAMCallback

NAMES = ["ant", "bee", "cat"]
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 6, 10, 3)).astype("float32")
LABELS = [2, 0, 1]
TRAINING = np.random.default_rng(1).integers(0, 256, (12, 6, 10, 3)).astype("float32")
CLASSES = np.arange(12) % 3
NUMBER = "gradcam/probability"


def quiet() -> list[Any]:
    """A classifier without anything that draws at random."""
    return [
        layers.Rescaling(1 / 255),
        layers.Conv2D(4, 3, activation="relu", name="first"),
        layers.Conv2D(4, 1, name="cells"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    ]


def restless() -> list[Any]:
    """All that draws at random or keeps statistics while it trains."""
    return [layers.RandomFlip(), *quiet()[:2], layers.BatchNormalization(), layers.Dropout(0.3), *quiet()[2:]]


def classifier(parts: Callable[[], list[Any]] = quiet) -> keras.Sequential:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((6, 10, 3)), *parts()], name="classifier")


def train(model: keras.Model, *listed: keras.callbacks.Callback, epochs: int = 2, **options: Any) -> keras.Model:
    if not model.compiled:
        model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=options.pop("run_eagerly", False))
    model.fit(TRAINING, CLASSES, batch_size=4, epochs=epochs, verbose=0, callbacks=list(listed), **options)
    return model


def begin(callback: GradCAMCallback, model: keras.Model, epochs: int = 1) -> GradCAMCallback:
    """What `fit` calls before the first epoch."""
    callback.set_params({"epochs": epochs})
    callback.set_model(model)
    callback.on_train_begin()
    return callback


def look_at(callback: GradCAMCallback, model: keras.Model) -> Any:
    """Return what the picture before training shows."""
    begin(callback, model).on_epoch_begin(0)
    return callback.explanation


def look(callback: GradCAMCallback, model: keras.Model) -> Explanation:
    """The explanation of the picture before training, of one target."""
    explanation = look_at(callback, model)
    assert isinstance(explanation, Explanation)
    return explanation


def move(model: keras.Model, number: int) -> None:
    """In place of an epoch: other weights, in the same variables."""
    for variable in model.trainable_variables:
        variable.assign(np.random.default_rng(number).normal(size=variable.shape))


def at_epoch_end(action: Callable[[int], Any]) -> keras.callbacks.Callback:
    return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: action(epoch + 1))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def follow(callback: GradCAMCallback, explained: keras.Model, **options: Any) -> tuple[keras.callbacks.Callback, list]:
    """A callback that asks a fresh explainer for the same maps after each epoch, and the maps that it got."""
    seen: list[np.ndarray] = []

    def compare(number: int) -> None:
        assert isinstance(callback.explanation, Explanation)
        fresh = Explainer(explained, **options)(IMAGES, callback.explanation.class_indices)
        np.testing.assert_array_equal(callback.explanation.raw, fresh.raw)
        seen.append(callback.explanation.raw)

    return at_epoch_end(compare), seen


def assert_all_differ(maps: Sequence[np.ndarray], count: int) -> None:
    assert len(maps) == count
    for before, after in itertools.pairwise(maps):
        assert np.abs(after - before).max() > 1e-4 * np.abs(before).max()


# The pictures of one training.


class Run(NamedTuple):
    callback: GradCAMCallback
    model: keras.Model
    folder: Path
    maps: list[np.ndarray]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three epochs, each map compared with a fresh explainer's."""
    folder, model = tmp_path_factory.mktemp("run"), classifier()
    options: dict[str, Any] = {"layer": "first", "method": "hirescam"}
    callback = GradCAMCallback(IMAGES, folder / "new" / "png", LABELS, log_dir=folder / "logs", **options)
    follower, maps = follow(callback, model, **options)
    train(model, callback, follower, epochs=3)
    return Run(callback, model, folder, maps)


def test_callback_writes_a_picture_before_training_and_after_each_epoch(run: Run) -> None:
    folder = run.folder / "new" / "png"
    assert names_in(folder) == [f"epoch_000{number}.png" for number in range(4)]
    for path in folder.iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) > 200
            assert np.asarray(picture.convert("RGB")).std() > 10
    assert run.callback.missing == []


def test_callback_follows_the_weights_without_compiling_again(run: Run) -> None:
    assert_all_differ(run.maps, 3)
    assert run.callback._explainer is not None
    assert run.callback._explainer.trace_count == 1


@pytest.mark.slow
def test_callback_keeps_its_explainer_for_the_next_training_of_the_same_model(tmp_path: Path) -> None:
    callback, models = GradCAMCallback(IMAGES, tmp_path, LABELS), [classifier(), classifier()]
    move(models[1], 1)
    for model in models:
        np.testing.assert_array_equal(look(callback, model).raw, Explainer(model)(IMAGES, LABELS).raw)
    explainer = callback._explainer
    look(callback, models[1])
    assert callback._explainer is explainer


def test_callback_leaves_epochs_out(tmp_path: Path) -> None:
    callback = GradCAMCallback(IMAGES[:1], tmp_path, every=3)
    look(callback, classifier())
    for epoch in range(7):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch)
    assert names_in(tmp_path) == ["epoch_0000.png", "epoch_0003.png", "epoch_0006.png"]


def test_resumed_training_goes_on_with_its_numbers(tmp_path: Path) -> None:
    """A backup may be loaded after this callback's training began: the first picture must show what was loaded."""
    model = classifier()
    callback = begin(GradCAMCallback(IMAGES, tmp_path, LABELS), model)
    move(model, 1)
    callback.on_epoch_begin(7)
    callback.on_epoch_begin(8)
    assert names_in(tmp_path) == ["epoch_0007.png"]
    assert isinstance(callback.explanation, Explanation)
    np.testing.assert_array_equal(callback.explanation.raw, Explainer(model)(IMAGES, LABELS).raw)


# What is explained, and what is told.


ASKED: dict[str, tuple[dict[str, Any], list[int] | None]] = {
    "true": ({"labels": LABELS}, LABELS),
    "unknown": ({}, None),
    "top": ({"labels": LABELS, "target": [None] * 3}, None),
    "one": ({"labels": LABELS, "target": "bee", "class_names": NAMES}, [1, 1, 1]),
}


@pytest.mark.parametrize("case", ASKED)
def test_callback_explains_the_true_class_unless_another_is_asked_for(tmp_path: Path, case: str) -> None:
    """[None] is each image's top class, which is also explained where labels are unknown."""
    options, expected = ASKED[case]
    model = classifier()
    explanation = look(GradCAMCallback(IMAGES, tmp_path, **options), model)
    assert explanation.class_indices.tolist() == (expected or model.predict(IMAGES, verbose=0).argmax(axis=1).tolist())


@pytest.mark.parametrize("labels", [np.array(LABELS), np.array(LABELS)[:, None], np.array(LABELS, "float32"), NAMES])
def test_labels_come_as_data_sets_have_them(labels: Any) -> None:
    found = FixedImages(IMAGES, None, labels, NAMES).labels
    assert found is not None
    assert found.tolist() == ([0, 1, 2] if labels is NAMES else LABELS)


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record what the last picture was drawn of: title, cards, and the sides of its maps."""
    kept: list[Any] = []

    def recorded(*arguments: Any) -> Any:
        kept[:] = arguments
        return epoch_figure(*arguments)

    monkeypatch.setattr(callbacks, "epoch_figure", recorded)
    return kept


def test_captions_tell_what_is_predicted_and_what_is_true(tmp_path: Path, drawing: list[Any]) -> None:
    model = classifier()
    look(callback := GradCAMCallback(IMAGES, tmp_path, LABELS, class_names=NAMES), model)
    assert drawing[0] == ("Before training", "gradcam at cells, for the true class")
    move(model, 1)
    callback.on_epoch_end(0)
    title, cards, *_ = drawing
    assert title == ("After epoch 1 of 1", "gradcam at cells, for the true class")
    for row, label, card in zip(model.predict(IMAGES, verbose=0), LABELS, cards, strict=True):
        best = int(row.argmax())
        assert [text for text, _ in card.lines] == [
            f"Predicted: {NAMES[best]}, {row[best]:.1%}",
            f"True: {NAMES[label]}, {row[label]:.1%}",
        ]
        assert (card.lines[0][1] == "black") == (best == label)


def test_captions_tell_what_was_asked_for(tmp_path: Path, drawing: list[Any]) -> None:
    def doubt(outputs: Any) -> Any:
        return outputs[:, 0] - outputs[:, 1]

    explanation = look(GradCAMCallback(IMAGES, tmp_path, target=doubt), classifier())
    title, cards, *_ = drawing
    assert title == ("Before training", "gradcam at cells, for doubt")
    assert cards[1].lines[1][0] == f"Explained: doubt, score {explanation.scores[1]:.4g}"


def test_overlays_have_the_colours_and_the_threshold_that_are_asked_for(tmp_path: Path, drawing: list[Any]) -> None:
    callback = GradCAMCallback(IMAGES, tmp_path, colormap="jet", map_threshold=0.5)
    explanation, photos = look(callback, classifier()), [card.photo for card in drawing[1]]
    expected = explanation.overlay(photos, 0.4, "jet", 0.5)
    np.testing.assert_array_equal([card.overlay for card in drawing[1]], expected)
    assert (expected != explanation.overlay(photos, 0.4, "jet")).any()


def test_captions_of_a_value_tell_the_value(tmp_path: Path, drawing: list[Any]) -> None:
    model = keras.Sequential([keras.Input((6, 10, 3)), *quiet()[:-1], layers.Dense(1)])
    look(GradCAMCallback(IMAGES, tmp_path), model)
    assert drawing[1][0].lines == [(f"Predicted: {model.predict(IMAGES[:1], verbose=0)[0, 0]:.4g}", "black")]


def test_photos_are_shown_in_place_of_preprocessed_images(tmp_path: Path, drawing: list[Any]) -> None:
    photos = IMAGES.astype("uint8")
    unscaled = keras.Sequential([keras.Input((6, 10, 3)), *quiet()[1:]])
    explanation = look(GradCAMCallback(IMAGES / 255, tmp_path, photos=photos), unscaled)
    np.testing.assert_array_equal([card.photo for card in drawing[1]], photos)
    np.testing.assert_array_equal(explanation.raw, Explainer(unscaled)(IMAGES / 255).raw)
    np.testing.assert_array_equal(FixedImages(IMAGES, None, None, None).photos, photos)


def test_images_are_copied(tmp_path: Path) -> None:
    images, model = IMAGES.copy(), classifier()
    callback = GradCAMCallback(images, tmp_path, LABELS)
    images[:] = 0
    np.testing.assert_array_equal(look(callback, model).raw, Explainer(model)(IMAGES, LABELS).raw)


def test_model_of_several_inputs_is_explained(tmp_path: Path) -> None:
    photo, age = keras.Input((6, 10, 3), name="photo"), keras.Input((2,), name="age")
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="cells")(photo))
    model = keras.Model({"photo": photo, "age": age}, layers.Dense(3)(layers.Concatenate()([features, age])))
    images = {"photo": IMAGES, "age": np.ones((3, 2))}
    explanation = look(GradCAMCallback(images, tmp_path, LABELS, photos=IMAGES), model)
    np.testing.assert_array_equal(explanation.raw, Explainer(model)(images, LABELS).raw)


def written(figure: Any) -> str:
    return " ".join(text.get_text() for text in figure.findobj(Text))


def figure_of(explanation: Explanation, lines: int = 1) -> Any:
    caption = [(f"line {number}", "black") for number in range(lines)]
    cards = [overlay_card(explanation, index, photo, caption) for index, photo in enumerate(photos_of(explanation))]
    return epoch_figure(("title", "below"), cards)


def test_figure_says_why_a_map_is_blank_in_place_of_the_overlay() -> None:
    pictures = np.stack([np.random.default_rng(0).random((6, 10)), np.zeros((6, 10))])
    figure = figure_of(drawn(pictures))
    assert sum(bool(axes.images) for axes in figure.axes) == 3  # two photos, one overlay
    assert "No overlay" in written(figure)
    assert "No overlay" not in written(figure_of(drawn(pictures[:1])))


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_figure_keeps_its_panels_apart_and_inside(count: int) -> None:
    figure = figure_of(drawn(np.random.default_rng(0).random((count, 6, 10))), lines=3)
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    for index, box in enumerate(boxes):
        assert not any(box.x0 < o.x1 and o.x0 < box.x1 and box.y0 < o.y1 and o.y0 < box.y1 for o in boxes[:index])


# A training that does not notice.


def state_of(model: keras.Model) -> list[np.ndarray]:
    """Weights, statistics, the seeds of dropout and augmentation, what the optimiser keeps."""
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def randomness() -> list[Any]:
    """What comes next from each source of random numbers."""
    return [random.random(), np.random.random(), tf.random.uniform(()).numpy(), keras.random.uniform(()).numpy()]


@pytest.mark.parametrize("run_eagerly", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_training_is_the_same_bit_for_bit(tmp_path: Path, run_eagerly: bool) -> None:
    runs = []
    for listed in ([], [GradCAMCallback(IMAGES, tmp_path, LABELS, log_dir=tmp_path)]):
        keras.utils.clear_session()  # seeding alone leaves the global generator of Keras 3.8 where it was
        model = train(classifier(restless), *listed, run_eagerly=run_eagerly)
        runs.append((state_of(model), model.history.history, randomness()))
    (state, history, random_numbers), (same_state, same_history, same_numbers) = runs
    assert len(state) == len(same_state) > 20
    for one, other in zip(state, same_state, strict=True):
        np.testing.assert_array_equal(one, other)
    assert history == same_history
    assert random_numbers == same_numbers

    seeds = [index for index, variable in enumerate(model.variables) if "seed" in variable.path]
    fresh = [variable.numpy() for variable in classifier(restless).variables]
    assert len(seeds) == 2
    assert all((state[index] != fresh[index]).any() for index in seeds), "or the test would show nothing of them"


@pytest.mark.slow
def test_callback_explains_a_model_in_mixed_precision(tmp_path: Path) -> None:
    before = keras.mixed_precision.dtype_policy()
    try:
        keras.mixed_precision.set_dtype_policy("mixed_float16")
        model = classifier()
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    callback = GradCAMCallback(IMAGES, tmp_path, LABELS)
    follower, maps = follow(callback, model)
    train(model, callback, follower)
    assert_all_differ(maps, 2)


@pytest.mark.slow
def test_callback_explains_a_model_on_a_strategy(tmp_path: Path) -> None:
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = classifier()
        model.compile("adam", "sparse_categorical_crossentropy")
    callback = GradCAMCallback(IMAGES, tmp_path, LABELS, log_dir=tmp_path)
    follower, maps = follow(callback, model)
    train(model, callback, follower)
    assert_all_differ(maps, 2)


# The classifier inside the model that is trained.


class Trainer(keras.Model):
    """A wrapper of another loss that cannot be called itself."""

    def __init__(self, inner: keras.Model) -> None:
        super().__init__()
        self.inner = inner

    def train_step(self, data: Any) -> dict[str, Any]:
        images, classes = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                keras.losses.sparse_categorical_crossentropy(classes, self.inner(images, training=True))
            )
        variables = self.inner.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return {"loss": loss}


def augmented(inner: keras.Model) -> keras.Model:
    images = keras.Input((6, 10, 3))
    return keras.Model(images, inner(layers.RandomContrast(0.2, name="contrast")(images)), name="trainer")


@pytest.mark.slow
def test_callback_explains_the_model_inside_a_custom_trainer(tmp_path: Path) -> None:
    inner = classifier()
    trainer = Trainer(inner)
    trainer.compile("adam")
    callback = GradCAMCallback(IMAGES, tmp_path, LABELS, model=inner)
    follower, maps = follow(callback, inner)
    train(trainer, callback, follower)
    assert_all_differ(maps, 2)


def test_callback_finds_the_model_inside_by_name(tmp_path: Path) -> None:
    inner = classifier()
    explanation = look(GradCAMCallback(IMAGES, tmp_path, LABELS, model="classifier"), augmented(inner))
    assert explanation.layer_name == "cells"  # and not "classifier/cells", as of the whole
    np.testing.assert_array_equal(explanation.raw, Explainer(inner)(IMAGES, LABELS).raw)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ("clasifier", "Unknown model 'clasifier'. Did you mean 'classifier'"),
        ("contrast", "Expected a Keras 3 model, received keras.*RandomContrast"),
        (classifier(), "Expected model= to be a part of the trained model, received 'classifier'"),
        (7, "Expected a Keras 3 model, received builtins.int"),
    ],
)
def test_model_inside_must_be_trained(tmp_path: Path, inner: Any, message: str) -> None:
    callback = GradCAMCallback(IMAGES, tmp_path, model=inner)
    with pytest.raises((ValueError, TypeError), match=message):
        begin(callback, augmented(classifier()))


def test_model_that_is_not_built_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """`fit` builds it in its first step only."""
    with pytest.raises(ValueError, match=r"no input shape yet. Call it once on a batch, model\(images\), or build"):
        begin(GradCAMCallback(IMAGES, tmp_path), keras.Sequential(quiet()))


# TensorBoard.


def logged_in(log_dir: Path) -> dict[str, dict[int, Any]]:
    """Tag -> step -> PNG or number, as they lie in the event file."""
    (path,) = (log_dir / "gradcam").iterdir()
    found: dict[str, dict[int, Any]] = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            content = tf.make_ndarray(value.tensor).tolist()
            if isinstance(content, list):
                assert value.metadata.plugin_data.plugin_name in {"images", ""}  # told once, at the first step
                width, height, content = content
                assert Image.open(io.BytesIO(content)).size == (int(width), int(height))
            found.setdefault(value.tag, {})[event.step] = content
    return found


def test_pictures_go_to_tensorboard_with_the_number_of_the_epoch(run: Run) -> None:
    files = {int(path.stem[-4:]): path.read_bytes() for path in (run.folder / "new" / "png").iterdir()}
    assert logged_in(run.folder / "logs")["gradcam"] == files
    assert sorted(files) == [0, 1, 2, 3]


def test_each_image_has_a_tag_of_its_own_and_is_large(run: Run) -> None:
    logged = logged_in(run.folder / "logs")
    assert sorted(logged) == ["gradcam", "gradcam/blank_maps", *(f"gradcam/image_0{n}" for n in range(3)), NUMBER]
    for number in range(3):
        own = logged[f"gradcam/image_0{number}"]
        assert sorted(own) == [0, 1, 2, 3]
        width, height = Image.open(io.BytesIO(own[3])).size
        assert width > 2 * 400  # the photo beside its overlay
        assert height < width
    assert len({own[3] for tag, own in logged.items() if "image" in tag}) == 3


def test_numbers_are_those_of_the_explanation(run: Run) -> None:
    logged, explanation = logged_in(run.folder / "logs"), run.callback.explanation
    assert isinstance(explanation, Explanation)
    assert explanation.probabilities is not None
    mean = np.mean([explanation.probabilities[row, label] for row, label in enumerate(LABELS)])
    assert logged[NUMBER][3] == pytest.approx(mean)
    assert logged["gradcam/blank_maps"][3] == sum(map(bool, explanation.diagnosis))


def test_pictures_do_not_depend_on_how_others_record(tmp_path: Path) -> None:
    """keras.callbacks.TensorBoard(update_freq=100) leaves such a condition behind between its batches."""
    with tf.summary.record_if(False):
        look(GradCAMCallback(IMAGES[:1], tmp_path / "png", log_dir=tmp_path), classifier())
    assert list(logged_in(tmp_path)["gradcam"]) == [0]


def test_no_event_file_unless_asked(tmp_path: Path) -> None:
    look(GradCAMCallback(IMAGES[:1], tmp_path), classifier())
    assert names_in(tmp_path) == ["epoch_0000.png"]


# Other clients, each in its offline mode.


def test_unknown_client_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"wand.*wandb"):
        GradCAMCallback(IMAGES, tmp_path, LABELS, log_to="wand")  # type: ignore[arg-type]


@pytest.mark.parametrize("client", ["wandb", "mlflow"])
def test_missing_client_is_named_with_its_command(tmp_path: Path, client: Any) -> None:
    if find_spec(client):
        pytest.skip(f"{client} is installed")
    with pytest.raises(ImportError, match=f"the package '{client}'.*install.*{client}"):
        GradCAMCallback(IMAGES, tmp_path, LABELS, log_to=client)


needs_wandb = pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed: the extra wandb")
needs_mlflow = pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed: the extra mlflow")


@pytest.mark.parametrize(
    "client", [pytest.param("wandb", marks=needs_wandb), pytest.param("mlflow", marks=needs_mlflow)]
)
@pytest.mark.filterwarnings("ignore")
def test_no_run_is_started_for_a_client(tmp_path: Path, client: Any) -> None:
    callback = GradCAMCallback(IMAGES, tmp_path, LABELS, log_to=client)
    with pytest.raises(ValueError, match=f"an active run for log_to='{client}', found none. Start it"):
        train(classifier(), callback)


@needs_wandb
@pytest.mark.filterwarnings("ignore")
def test_active_run_of_wandb_gets_pictures_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(mode="offline", dir=tmp_path, project="test") as run:
        run.log({"other": 1}, step=40)
        callback = GradCAMCallback(IMAGES, tmp_path / "png", LABELS, log_to="wandb")
        train(classifier(), callback)
        assert wandb.run is run
        media = Path(run.dir) / "media" / "images"
        assert len(list(media.glob("gradcam_*.png"))) == 3  # before training, and after two epochs
        assert len(list((media / "gradcam").glob("image_02_*.png"))) == 3
        assert run.summary["gradcam/epoch"] == 2
        assert isinstance(callback.explanation, Explanation)
        assert callback.explanation.probabilities is not None
        own = callback.explanation.probabilities[range(3), LABELS]
        assert run.summary[NUMBER] == pytest.approx(own.mean())
        assert callback.missing == []


@needs_mlflow
@pytest.mark.filterwarnings("ignore")
def test_active_run_of_mlflow_gets_pictures_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder, since mlflow-skinny has no database
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    with mlflow.start_run() as run:
        callback = GradCAMCallback(IMAGES, tmp_path / "png", LABELS, log_to="mlflow")
        train(classifier(), callback)
        assert mlflow.active_run().info.run_id == run.info.run_id
    client = mlflow.MlflowClient()
    history = client.get_metric_history(run.info.run_id, NUMBER)
    assert [one.step for one in history] == [0, 1, 2]
    assert isinstance(callback.explanation, Explanation)
    assert callback.explanation.probabilities is not None
    assert history[-1].value == pytest.approx(callback.explanation.probabilities[range(3), LABELS].mean())
    names = [Path(one.path).name for one in client.list_artifacts(run.info.run_id, "images")]
    pictures = [re.split(r"[+%]", name)[:3] for name in names if name.endswith(".png")]  # either, by version
    tags = ["gradcam", *(f"gradcam/image_0{number}" for number in range(3))]
    assert sorted((re.sub("[~#]", "/", tag), step) for tag, _, step in pictures) == [
        (tag, str(step)) for tag in tags for step in range(3)
    ]
    assert callback.missing == []


# Trouble.


@pytest.mark.slow
def test_failure_in_training_is_told_once_and_survived(tmp_path: Path) -> None:
    """The folder is gone after the first epoch and back before the fourth."""
    folder = tmp_path / "png"
    callback = GradCAMCallback(IMAGES[:1], folder, log_dir=tmp_path)
    changes = {1: lambda: shutil.rmtree(folder), 3: folder.mkdir}
    breaker = at_epoch_end(lambda number: changes.get(number, int)())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = train(classifier(), callback, breaker, epochs=4)
    told = [str(one.message) for one in caught if "GradCAMCallback" in str(one.message)]
    assert len(told) == 1
    assert told[0].startswith("GradCAMCallback has no picture of epoch 2, and training goes on. FileNotFoundError: ")
    assert "there is no folder" in told[0]
    assert callback.missing == [2, 3]
    assert names_in(folder) == ["epoch_0004.png"]
    assert sorted(logged_in(tmp_path)["gradcam"]) == [0, 1, 2, 3, 4]
    assert len(model.history.epoch) == 4


def test_weights_that_are_not_finite_are_survived(tmp_path: Path) -> None:
    model = classifier()
    look(callback := GradCAMCallback(IMAGES, tmp_path, LABELS), model)
    model.get_layer("cells").bias.assign([np.nan] * 4)
    callback.on_epoch_end(0)
    assert isinstance(callback.explanation, Explanation)
    assert all("NaN" in str(reason) for reason in callback.explanation.diagnosis)
    assert names_in(tmp_path) == ["epoch_0000.png", "epoch_0001.png"]


def test_interruption_by_the_user_is_no_failure(tmp_path: Path) -> None:
    presses: list[bool] = []

    def interrupted(outputs: Any) -> Any:
        if presses:
            raise KeyboardInterrupt
        return outputs[:, 0]

    model = classifier()
    callback = begin(GradCAMCallback(IMAGES, tmp_path, target=interrupted), model)
    presses.append(True)
    with pytest.raises(KeyboardInterrupt):
        callback.on_epoch_end(0)
    assert callback.missing == []


BAD = {
    "no images": (ValueError, "Expected 1 to 64 images, received 0", {"images": IMAGES[:0]}),
    "an empty list": (ValueError, "Expected 1 to 64 images, received 0", {"images": []}),
    "a data set": (ValueError, "received 65. Choose some, as images", {"images": np.zeros((65, 6, 10, 3))}),
    "a pipeline": (TypeError, r"take next\(iter\(dataset\)\)", {"images": tf.data.Dataset.from_tensors(IMAGES)}),
    "None": (TypeError, "Expected images as arrays of numbers, received None", {"images": None}),
    "paths": (TypeError, "received 'a.png'. Read files with get_img_array", {"images": ["a.png", "b.png"]}),
    "one image": (ValueError, r"A single image needs a batch axis: images\[None\]", {"images": IMAGES[0]}),
    "sizes": (ValueError, "Expected images of one shape", {"images": [IMAGES[0], IMAGES[0][:4]]}),
    "scaled images": (ValueError, "Expected photos=, uint8 RGB, beside images", {"images": IMAGES / 255}),
    "shifted images": (ValueError, "Expected photos=, uint8 RGB, beside images", {"images": IMAGES - 128}),
    "several inputs": (ValueError, "Expected photos=.* several inputs", {"images": {"a": IMAGES, "b": IMAGES}}),
    "fewer photos": (ValueError, "as many photos as images, 3, received 2", {"photos": IMAGES[:2]}),
    "photo paths": (TypeError, "received the path 'a.png'", {"photos": ["a.png"] * 3}),
    "a photo path": (TypeError, "received str", {"photos": "a.png"}),
    "scaled photos": (ValueError, "Multiply them by 255", {"photos": IMAGES / 255}),
    "fewer labels": (ValueError, r"Expected 3 labels, one per image, received shape \(2,\)", {"labels": [1, 2]}),
    "one-hot labels": (ValueError, "np.argmax", {"labels": np.eye(3), "task": "classification"}),
    "half a label": (TypeError, "Expected a class index or name", {"labels": [0.5, 1, 2], "task": "classification"}),
    "names of values": (TypeError, "Expected labels as 3 true values", {"labels": NAMES, "task": "regression"}),
    "fewer values": (TypeError, "Expected labels as 3 true values", {"labels": [1.5, 2], "task": "regression"}),
    "labels of pixels": (
        ValueError,
        "Expected no labels for the task segm",
        {"labels": LABELS, "task": "segmentation"},
    ),
    "task": (ValueError, "Unknown task 'classify'. Did you mean 'classification'", {"task": "classify"}),
    "nameless": (ValueError, "no names are known", {"labels": NAMES}),
    "unknown name": (ValueError, "Did you mean 'bee'", {"labels": ["ant", "beee", "cat"], "class_names": NAMES}),
    "unknown target": (ValueError, "Did you mean 'cat'", {"target": "cats", "class_names": NAMES}),
    "fewer targets": (ValueError, "one target per image, 3 in all", {"target": [1, 2]}),
    "names": (TypeError, "Expected class_names as a list", {"class_names": "ant"}),
    "method": (ValueError, "Did you mean 'gradcam'", {"method": "grad-cam"}),
    "every 0": (ValueError, "Expected every.* as 1 or more, received 0", {"every": 0}),
    "every True": (ValueError, "Expected every.* received True", {"every": True}),
    "every 1.5": (ValueError, "Expected every.* received 1.5", {"every": 1.5}),
    "no folder": (TypeError, "Expected directory as the path of a folder, received None", {"directory": None}),
    "a number": (TypeError, "Expected log_dir as the path of a folder, received int", {"log_dir": 3}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused_at_once(tmp_path: Path, case: str) -> None:
    error, message, changed = BAD[case]
    with pytest.raises(error, match=message):
        GradCAMCallback(**{"images": IMAGES, "directory": tmp_path, **changed})


@pytest.mark.parametrize("name", ["directory", "log_dir"])
def test_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/inside"):
        with pytest.raises(OSError, match=f"Expected {name} as a folder that can be written, received .* Choose"):
            GradCAMCallback(**{"images": IMAGES, "directory": tmp_path, name: tmp_path / folder})


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_folder_without_rights_is_refused_at_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="Expected directory as a folder that can be written"):
        GradCAMCallback(IMAGES, tmp_path)


MISFITS = {
    "size": (r"Expected the images of shape \(B, 6, 10, 3\), received \(3, 5, 10, 3\)", {"images": IMAGES[:, :5]}),
    "channels": ("repeat the grey channel", {"images": IMAGES[..., :1]}),
    "layer": ("Did you mean 'cells'", {"layer": "cell"}),
    "label": ("Expected a class index below 3", {"labels": [0, 1, 3]}),
    "shown label": ("Expected labels below 3, .* received 3", {"labels": [0, 1, 3], "target": 0}),
    "target": ("Expected a class index below 3", {"target": 5}),
    "names": ("Expected names of 3 classes, received 2", {"class_names": ["ant", "bee"]}),
    "tail": ("Did you mean|classifier", {"classifier_layers": ["nowhere"]}),
    "one-hot labels": ("np.argmax", {"labels": np.eye(3)}),
    "half a label": ("Expected a class index or name per image", {"labels": [0.5, 1, 2]}),
    "colormap": ("Unknown colour map 'jett'", {"colormap": "jett"}),
    "map_threshold": (r"threshold, the least heat that is painted, in \[0, 1\], received 2", {"map_threshold": 2}),
    "threshold": ("Expected no threshold for the task classification, received 0.7", {"threshold": 0.7}),
    "task": ("Expected a unit for each label", {"task": "multilabel"}),
    "unit": ("Expected a unit for values only", {"unit": "years"}),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_the_model_is_told_before_the_first_step(tmp_path: Path, case: str) -> None:
    message, changed = MISFITS[case]
    with pytest.raises((ValueError, TypeError), match=message):
        look(GradCAMCallback(**{"images": IMAGES, "directory": tmp_path, **changed}), classifier())
    assert names_in(tmp_path) == []


# Many epochs.


def live(*kinds: type) -> dict[str, int]:
    """How many objects of each kind there are, but for what waits to be collected."""
    gc.collect()
    objects = gc.get_objects()
    return {kind.__name__: sum(isinstance(one, kind) for one in objects) for kind in kinds}


def held() -> dict[str, int]:
    counted = live(
        *(matplotlib.figure.Figure, matplotlib.axes.Axes, Explanation, Explainer, tf.Graph),
        tf.types.experimental.ConcreteFunction,
    )
    counted["threads"] = threading.active_count()
    if Path("/proc/self/fd").is_dir():
        counted["files"] = len(os.listdir("/proc/self/fd"))
    return counted


@pytest.mark.parametrize("epochs", [pytest.param(5, marks=pytest.mark.slow), pytest.param(50, marks=pytest.mark.soak)])
def test_nothing_accumulates(tmp_path: Path, epochs: int) -> None:
    """Counted exactly, so that one object an epoch shows in few."""
    counts: dict[int, dict[str, int]] = {}
    counter = at_epoch_end(lambda number: counts.__setitem__(number, held()) if number in (2, epochs) else None)
    callback = GradCAMCallback(IMAGES[:1], tmp_path, LABELS[:1], log_dir=tmp_path / "logs")
    train(classifier(), callback, counter, epochs=epochs)
    assert counts[epochs] == counts[2]
    assert counts[2]["Explainer"] > 0
    assert counts[2]["ConcreteFunction"] > 0
    assert len(list(tmp_path.glob("*.png"))) == epochs + 1


def test_true_boxes_and_masks_are_drawn_on_photo_and_overlay(tmp_path: Path, drawing: list[Any]) -> None:
    boxes: list[Any] = [[(1, 2, 5, 6)]] + [[]] * (len(IMAGES) - 1)
    look(GradCAMCallback(IMAGES, tmp_path, boxes=boxes), classifier())
    np.testing.assert_array_equal(drawing[1][0].truth.boxes, [(1, 2, 5, 6)])
    figure = epoch_figure(*drawing)
    panels = [axes for axes in figure.axes if axes.images]
    assert [bool(axes.patches) for axes in panels[:4]] == [True, True, False, False]
    with pytest.raises(ValueError, match="Expected masks of"):
        GradCAMCallback(IMAGES, tmp_path, masks=[None])
