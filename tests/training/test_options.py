"""Both trainings from the command line to the heatmaps of their models, on generated images."""

from __future__ import annotations

import csv
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from tf_gradcam import get_img_array, make_gradcam_heatmap
from training import brain_mri, dog_breeds
from training.config import DataConfig
from training.data.folder import read_folder
from training.loop.run_folder import Run
from training.train import _heat_line, _parts, cross_validate

ROOT = Path(__file__).parents[2]
PHANTOM = ["--data", "phantom", "--limit", "40", "--image-size", "32", "--weights", "none"]
MOBILENET = ["--backbone", "MobileNet", "--backbone-arguments", "alpha=0.25", "--precision", "float32"]
CLASSES = ["glioma", "meningioma", "notumor", "pituitary"]
FIGURES = {
    "calibration",
    "confusion_matrix",
    "gradcam_intermediate",
    "gradcam_last",
    "learning_curves",
    "misclassified",
    "predictions",
    "training_samples",
}


def rows(run: Path) -> list[dict[str, str]]:
    if not (run / "history.csv").exists():
        return []
    with open(run / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def python(*words: str, **environment: str) -> subprocess.Popen:
    settings = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen([sys.executable, *words], env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def one_line(capsys) -> str:
    """What is on stderr, which must be one line."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def wait_for(happened, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def colours(tmp_path_factory) -> Path:
    """Ten noisy pictures of a colour for each of four classes, 24 x 40 pixels; boxes.csv beside the folder."""
    root = tmp_path_factory.mktemp("data") / "colours"
    generator = np.random.default_rng(0)
    for name, colour in zip(CLASSES, [(120, 0, 0), (0, 120, 0), (0, 0, 120), (120, 120, 120)], strict=True):
        (root / name).mkdir(parents=True)
        for number in range(10):
            noise = generator.integers(0, 128, (6, 10, 3)) + colour
            picture = cv2.resize(noise.astype(np.uint8), (40, 24), interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(str(root / name / f"{number}.png"), picture)
    lines = [f"{name}/{number}.png,0,0,20,24" for name in CLASSES for number in range(10)]
    (root.parent / "boxes.csv").write_text("\n".join(["filename,xmin,ymin,xmax,ymax", *lines]))
    return root


@pytest.fixture(scope="module")
def words(colours) -> list[str]:
    """Options with which MobileNet learns the colours in seconds."""
    told = ["--data", str(colours), "--weights", "none", "--image-size", "64", "--unfreeze", "all", "--epochs", "3"]
    return [*told, *MOBILENET, "--learning-rate", "3e-3", "--boxes", str(colours.parent / "boxes.csv")]


@pytest.fixture(scope="module")
def killed(words, tmp_path_factory) -> tuple[Path, list[dict[str, str]]]:
    """A run of twelve epochs that was killed after its first one and then resumed, and its history at that time."""
    run = tmp_path_factory.mktemp("runs") / "killed"
    words = [*words, "--epochs", "12"]
    process = python("-m", "training.brain_mri", *words, "--out", str(run))
    kept = run / "backup" / "fine-tuning.npz"
    try:
        wait_for(lambda: kept.exists() or process.poll() is not None)
    finally:
        process.kill()
        errors = process.communicate()[1].decode()
    assert process.returncode == -signal.SIGKILL, errors
    history = rows(run)
    assert brain_mri.main([*words, "--out", str(run), "--resume"]) == 0
    return run, history


@pytest.fixture(scope="module")
def brain(words, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "brain"
    assert brain_mri.main([*words, "--out", str(run)]) == 0
    return run


@pytest.fixture(scope="module")
def dogs(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "dogs"
    told = ["--batch-size", "8", "--epochs", "3", "1", "--learning-rate", "1e-3", "1e-5"]
    assert dog_breeds.main([*PHANTOM, *told, "--out", str(run)]) == 0
    return run


# What a run leaves.


@pytest.mark.slow
def test_brain_mri_learns(killed):
    losses = [float(row["loss"]) for row in rows(killed[0])]
    assert np.mean(losses[-3:]) < 0.75 * losses[0]


@pytest.mark.slow
def test_dog_breeds_trains_its_head_and_then_the_last_block(dogs):
    told = [(row["stage"], int(row["epoch"]), float(row["learning_rate"])) for row in rows(dogs)]
    assert told == [("head", 1, 1e-3), ("head", 2, 1e-3), ("head", 3, 1e-3), ("last block", 1, 1e-5)]
    losses = [float(row["loss"]) for row in rows(dogs)]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_the_best_model_of_dog_breeds_answers_the_published_call(dogs):
    model = keras.saving.load_model(dogs / "best.keras")
    image = get_img_array(next((dogs / "phantom" / "glioma").iterdir()), (32, 32))
    tail = ["block5_pool", "flatten", "fc1", "fc2", "dense"]
    assert make_gradcam_heatmap(image, model, "block5_conv3", tail).shape == (2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["brain", "dogs"])
def test_a_run_leaves_all_that_is_promised(name, request):
    run = request.getfixturevalue(name)
    differ = set() if name == "brain" else {"gradcam_hirescam"}  # after global average pooling they are equal
    assert {path.stem for path in (run / "figures").iterdir()} == FIGURES | differ
    left = {path.name for path in run.iterdir()} - {"tensorboard", "phantom"}
    expected = "best.keras class_names.json config.json figures history.csv metrics.json validation_samples.csv"
    assert left == {"README.md", *expected.split()}


@pytest.mark.slow
def test_metrics_are_those_of_the_validation_samples(brain, colours):
    metrics = json.loads((brain / "metrics.json").read_text())
    with open(brain / "validation_samples.csv", newline="") as file:
        samples = list(csv.DictReader(file))
    assert len(samples) == metrics["samples"] == 8
    assert sorted({sample["Target"] for sample in samples}) == CLASSES
    assert all((colours / sample["Filename"]).is_file() for sample in samples)
    best = max(rows(brain), key=lambda row: (float(row["val_accuracy"]), -float(row["val_loss"])))
    np.testing.assert_allclose(metrics["accuracy"], float(best["val_accuracy"]), atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], float(best["val_loss"]), rtol=1e-3)


@pytest.mark.slow
def test_the_best_model_is_explained_without_being_told_anything(brain, colours, tmp_path):
    image = colours / "glioma" / "0.png"
    words = ["-m", "tf_gradcam", "explain", str(image), "--model", str(brain / "best.keras"), "--out", str(tmp_path)]
    process = python(*words)
    errors = process.communicate(timeout=240)[1].decode()
    assert process.returncode == 0, errors
    assert "note" not in errors
    with open(tmp_path / "manifest.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert row["label"] in CLASSES
    assert row["layer"] == "conv_pw_13_relu"
    assert (tmp_path / "0.overlay.png").is_file()


@pytest.mark.slow
def test_a_run_gives_its_trunk_to_another(brain, colours, words, tmp_path, capsys):
    excluded = tmp_path / "excluded.csv"
    excluded.write_text("file,why\nglioma/3.png,blurred\n")
    run = tmp_path / "next"
    told = ["--weights", str(brain / "best.keras"), "--unfreeze", "0", "--epochs", "1", "--split", "naive"]
    assert brain_mri.main([*words, *told, "--exclude", str(excluded), "--out", str(run)]) == 0
    said = capsys.readouterr().out
    assert "1 of 40 images left out" in said
    assert "Naive split: 31 train, 8 validate" in said
    first, second = (keras.saving.load_model(path / "best.keras") for path in (brain, run))
    kernels = [model.get_layer("conv_pw_13").get_weights()[0] for model in (first, second)]
    np.testing.assert_array_equal(*kernels)


@pytest.mark.slow
def test_the_learning_curves_of_a_resumed_run_have_every_epoch_once(killed):
    """They are drawn from history.csv: the card names the best of its twelve epochs."""
    run, _ = killed
    merits = [(float(row["val_accuracy"]), -float(row["val_loss"])) for row in rows(run)]
    best = merits.index(max(merits)) + 1
    assert f"- Best epoch: {best} of 12 (fine-tuning, epoch {best})" in (run / "README.md").read_text()
    assert (run / "figures" / "learning_curves.png").stat().st_size > 10_000


@pytest.mark.slow
def test_stages_and_blocks_are_printed_before_anything_is_trained(words, tmp_path, capsys):
    told = [*words, "--epochs", "1", "--unfreeze", "1", "--out", str(tmp_path / "run")]
    assert brain_mri.main(told) == 0
    said = capsys.readouterr().out.splitlines()
    header = next(index for index, line in enumerate(said) if line.startswith("stage "))
    assert said[header + 1].startswith("fine-tuning")
    assert header < next(index for index, line in enumerate(said) if line.startswith("fine-tuning 1:"))


# Boxes.


@pytest.mark.slow
def test_boxes_reach_the_metrics_and_the_card(brain):
    """All boxes are the left halves."""
    found = json.loads((brain / "metrics.json").read_text())["localisation"]
    assert (found["images"], found["share_of_picture"]) == (8, 0.5)
    assert all(0 <= row["energy_in_box"] <= 1 for row in found["layers"].values())
    assert "8 validation images have a box." in (brain / "README.md").read_text()


def test_blank_maps_are_named_beside_the_share_of_the_heat():
    row = {"energy_in_box": 0.25, "blank_maps": 3}
    metrics = {"localisation": {"images": 8, "share_of_picture": 0.5, "layers": {"cells": row}}}
    assert _heat_line(metrics).endswith("(means over 8 validation images, 3 blank maps count as 0).\n")
    row["blank_maps"] = 0
    assert _heat_line(metrics).endswith("(means over 8 validation images).\n")


@pytest.mark.slow
def test_a_run_is_resumed_with_the_boxes_it_began_with(brain, words, capsys):
    without = [word for word in words if word != "--boxes" and not word.endswith(".csv")]
    assert brain_mri.main([*without, "--out", str(brain), "--resume"]) == 2
    assert "data.boxes" in one_line(capsys)


@pytest.mark.slow
def test_boxes_of_training_images_alone_are_refused(brain, words, tmp_path, capsys):
    with open(brain / "validation_samples.csv", newline="") as file:
        held_out = {row["Filename"] for row in csv.DictReader(file)}
    table, alone = Path(words[words.index("--boxes") + 1]), tmp_path / "alone.csv"
    lines = table.read_text().splitlines()
    alone.write_text("\n".join(line for line in lines if line.split(",")[0] not in held_out))
    assert brain_mri.main([*words, "--boxes", str(alone), "--out", str(tmp_path / "run")]) == 2
    assert "received boxes of training images alone" in one_line(capsys)
    assert not (tmp_path / "run" / "config.json").exists()


# A run that is interrupted.


@pytest.mark.slow
def test_a_complete_run_is_not_trained_again(brain, words, capsys):
    before = {path: path.stat().st_mtime_ns for path in brain.rglob("*")}
    assert brain_mri.main([*words, "--out", str(brain), "--resume"]) == 0
    assert "is complete" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in brain.rglob("*")} == before


@pytest.mark.slow
def test_a_killed_run_continues_where_it_was(killed):
    run, before = killed
    history = rows(run)
    assert [int(row["epoch"]) for row in history] == list(range(1, 13))
    kept = max(1, len(before) - 1)  # the last one is repeated where its state was not yet kept
    assert history[:kept] == before[:kept]


def test_a_resumed_run_that_is_not_there_is_said_to_begin(tmp_path, capsys):
    words = ["--data", str(tmp_path / "gone"), "--backbone", "demo", "--weights", "demo"]
    assert brain_mri.main([*words, "--out", str(tmp_path / "run"), "--resume"]) == 2
    printed = capsys.readouterr()
    assert printed.out == f"There is no run in '{tmp_path / 'run'}' yet: a new one begins.\n"
    assert len(printed.err.splitlines()) == 1


@pytest.mark.soak
def test_a_run_killed_again_and_again_ends_whole(words, tmp_path):
    """At any moment from the first import to the last picture; the same command goes on until nobody kills it."""
    run, moments, kills = tmp_path / "run", random.Random(0), 0
    told = ["-m", "training.brain_mri", *words, "--epochs", "300", "--out", str(run)]
    for _ in range(20):
        process = python(*told, *(["--resume"] if kills else []))
        try:
            errors = process.communicate(timeout=moments.uniform(3, 15))[1].decode()
            assert process.returncode == 0, errors
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
        epochs = [int(row["epoch"]) for row in rows(run)]
        assert epochs == list(range(1, len(epochs) + 1))
    process = python(*told, "--resume")
    errors = process.communicate(timeout=300)[1].decode()
    assert process.returncode == 0, errors
    assert [int(row["epoch"]) for row in rows(run)] == list(range(1, 301))
    assert {path.stem for path in (run / "figures").glob("*.png")} == FIGURES
    assert not list(run.rglob("*.tmp"))
    print(f"\nkilled {kills} times", end="")
    assert kills >= 10


@pytest.mark.parametrize(
    ("has_best", "told"),
    [(True, "best model so far is"), (False, "No epoch had ended yet")],
)
@pytest.mark.slow
# An interrupt between opening a file and its `with` leaves the file to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_run_says_what_it_keeps_and_how_to_continue(has_best, told, tmp_path, capsys):
    """Interrupted while it draws 4000 slices, which takes minutes."""
    run = tmp_path / "run"

    def interrupt() -> None:
        wait_for(lambda: list(run.iterdir()) if run.is_dir() else False)
        if has_best:
            (run / "best.keras").write_bytes(b"")
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    status = brain_mri.main([*PHANTOM, "--limit", "4000", "--out", str(run)])
    watcher.join()
    assert status == 130
    line = one_line(capsys)
    assert told in line
    assert line.endswith("Continue with the same command and --resume.")


def test_a_full_disk_is_said_in_one_line(words, tmp_path, capsys):
    """A limit of 100 bytes a file stands for the disk; config.json takes a thousand."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        status = brain_mri.main([*words, "--out", str(tmp_path / "run")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert status == 1
    assert "disk is full" in one_line(capsys)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run(words, tmp_path, capsys):
    assert brain_mri.main([*words, "--learning-rate", "1e38", "--out", str(tmp_path / "run")]) == 1
    assert "fine-tuning, epoch " in capsys.readouterr().err.splitlines()[-1]


# Wrong use.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--unfreeze", "some"], "number of blocks, or all, received 'some'"),
        (["--unfreeze", "99"], "Expected 0 to 14 blocks to unfreeze"),
        (["--epochs", "1", "2"], "Expected 1 values of --epochs, for fine-tuning; received 2"),
        (["--epochs", "0"], "at least 1 in some stage"),
        (["--learning-rate", "-1"], "--learning-rate of at least 0"),
        (["--image-size", "0"], "--image-size of at least 1"),
        (["--warmup", "99"], "Expected --warmup of 0 to 25, the epochs of fine-tuning, received 99."),
        (["--dropout", "1"], "Expected --dropout of at least 0 and below 1, received 1.0."),
        (["--label-smoothing", "-0.1"], "Expected --label-smoothing of at least 0 and below 1"),
        (["--mixup", "nan"], "Expected --mixup of at least 0, received nan."),
        (["--mixup", "0.4", "--strategy", "mirrored"], "Expected --mixup on one device"),
        (["--patience", "0"], "Expected --patience of at least 1"),
        (["--patience", "2", "--strategy", "multiworker"], "Expected --patience on one machine"),
        (["--fc-units", "8"], "Expected fc units for one of"),
        (["--sha256", "ab12"], "Expected --sha256 for a zip, received it for phantom slices."),
        (["--learning-rate", "nan"], "Expected --learning-rate of at least 0, received [nan]."),
        (["--folds", "1"], "Expected --folds of at least 2, received 1."),
        (["--limit", "3"], "at least 2 images of each class"),
        (["--backbone", "MobilNet"], "received 'MobilNet'"),
        (["--backbone-arguments", "alpha"], "as KEY=VALUE"),
        (["--weights", "absent.keras"], "file of weights 'absent.keras' does not exist"),
        (["--data", "absent"], "folder or zip file 'absent' does not exist"),
        (["--strategy", "multiworker"], "TF_CONFIG"),
        (["--weight-decay", "-1"], "--weight-decay of at least 0"),
        (["--boxes", "absent.csv"], "there is no file 'absent.csv'. Check --boxes."),
    ],
)
def test_wrong_use_is_one_line_and_leaves_no_run(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert brain_mri.main([*PHANTOM, *MOBILENET, "--limit", "8", "--out", str(tmp_path / "run"), *words]) == 2
    assert message in one_line(capsys)
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("words", [["--epochs", "many"], ["--split", "half"], ["--unknown"], []])
def test_options_that_cannot_be_read_are_one_line(words, capsys):
    with pytest.raises(SystemExit) as ended:
        brain_mri.main(words)
    assert ended.value.code == 2
    assert one_line(capsys).startswith("Error: ")


@pytest.mark.slow
def test_the_folder_of_another_run_is_refused(brain, words, capsys):
    assert brain_mri.main([*words, "--out", str(brain)]) == 2
    assert "already holds a run" in one_line(capsys)


@pytest.mark.slow
def test_a_run_is_resumed_with_the_options_it_began_with(brain, words, capsys):
    assert brain_mri.main([*words, "--epochs", "5", "--out", str(brain), "--resume"]) == 2
    assert "training.stages" in one_line(capsys)


def test_a_run_is_not_resumed_with_other_images(colours, words, tmp_path, capsys, monkeypatch):
    def interrupted(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    data, run = shutil.copytree(colours, tmp_path / "data"), tmp_path / "run"
    told = [*words, "--data", str(data), "--out", str(run)]
    with monkeypatch.context() as patch:
        patch.setattr("training.train.fit", interrupted)
        assert brain_mri.main(told) == 130
    with open(run / "validation_samples.csv", newline="") as file:
        (data / next(csv.DictReader(file))["Filename"]).unlink()
    capsys.readouterr()
    assert brain_mri.main([*told, "--resume"]) == 2
    assert "received others: images were added, removed or renamed" in one_line(capsys)


# Defaults, and the other backend.


def test_defaults_are_the_published_ones():
    stage = brain_mri.TRAINING.stages[0]
    assert (stage.epochs, stage.learning_rate, stage.unfreeze, stage.decay) == (25, 1e-4, 2, False)
    training = brain_mri.TRAINING
    assert (training.backbone, training.weights, training.precision) == ("EfficientNetV2S", "imagenet", "mixed_float16")
    assert training.weight_decay == 5e-4
    data = brain_mri.DATA
    assert (data.image_size, data.batch_size, data.seed, data.validation) == (384, 32, 42, 0.2)


def test_dog_breeds_keeps_vgg_and_its_two_stages():
    training = dog_breeds.TRAINING
    assert (training.backbone, training.weights) == ("VGG16", "imagenet")
    assert [stage.unfreeze for stage in training.stages] == [0, 1]
    assert training.stages[1].learning_rate < training.stages[0].learning_rate


@pytest.mark.parametrize("trained", ["all", "1"])
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_training_runs_on_other_backends_with_and_without_kept_features(words, tmp_path, backend, trained):
    if find_spec(backend) is None:
        pytest.skip(f"no {backend}: pip install {backend}")
    told = [*words, "--epochs", "2", "--unfreeze", trained, "--out", str(tmp_path / "run")]
    process = python("-m", "training.brain_mri", *told, KERAS_BACKEND=backend)
    printed, errors = (text.decode() for text in process.communicate(timeout=300))
    assert process.returncode == 0, errors
    assert len(rows(tmp_path / "run")) == 2
    assert "need TensorFlow" in errors
    assert ("batches computed" in printed) == (trained == "1")


def test_features_that_cannot_be_kept_are_refused_before_the_run_begins(words, tmp_path, capsys):
    told = [*words, "--out", str(tmp_path / "run"), "--cache-features"]
    assert brain_mri.main(told) == 2
    assert "leave out --cache-features" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.json").exists()


def test_copies_of_features_are_at_least_one(words, tmp_path, capsys):
    assert brain_mri.main([*words, "--out", str(tmp_path / "run"), "--feature-copies", "0"]) == 2
    assert "Expected --feature-copies of at least 1, received 0." in one_line(capsys)


@pytest.mark.soak
def test_folds_predict_every_image_once_and_are_summed_up(words, tmp_path, capsys):
    """With options of the loss, which a real training meets too; the second call finds everything done."""
    out = tmp_path / "folds"
    methods = ["--mixup", "0.4", "--label-smoothing", "0.1", "--class-weights", "--warmup", "0.5", "--decay"]
    told = [*words, "--epochs", "1", "--folds", "2", *methods, "--augmentation", "strong", "--out", str(out)]
    assert brain_mri.main(told) == 0
    summary = json.loads((out / "folds.json").read_text())
    validated = []
    for number, of_fold in enumerate(summary["folds"], 1):
        metrics = json.loads((out / f"fold_{number}" / "metrics.json").read_text())
        assert of_fold == {"accuracy": metrics["accuracy"], "loss": metrics["loss"], "samples": 20}
        with open(out / f"fold_{number}" / "validation_samples.csv", newline="") as file:
            validated += [row["Filename"] for row in csv.DictReader(file)]
    assert len(set(validated)) == len(validated) == 40
    assert summary["mean"] == pytest.approx(np.mean([of_fold["accuracy"] for of_fold in summary["folds"]]))
    assert summary["accuracy"] == pytest.approx(summary["mean"])  # folds of the same size
    assert brain_mri.main([*told, "--resume"]) == 0
    assert json.loads((out / "folds.json").read_text()) == summary
    assert "2 folds: " in capsys.readouterr().out


def test_folds_that_failed_at_once_can_begin_again(tmp_path, capsys):
    told = ["--data", "absent", "--folds", "2", "--out", str(tmp_path / "folds")]
    for _ in range(2):
        assert brain_mri.main(told) == 2
        assert "folder or zip file 'absent' does not exist" in one_line(capsys)


def test_folds_that_began_are_continued_with_resume(tmp_path, capsys):
    Run(tmp_path / "fold_1").write_config(brain_mri.DATA, brain_mri.TRAINING)
    assert brain_mri.main(["--data", "absent", "--folds", "2", "--out", str(tmp_path)]) == 2
    assert "holds folds. Continue them with --folds and --resume" in one_line(capsys)


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_run_and_folds_do_not_share_a_folder(resume, tmp_path, capsys):
    Run(tmp_path / "run").write_config(brain_mri.DATA, brain_mri.TRAINING)
    told = ["--data", "absent", *resume, "--out"]
    assert brain_mri.main([*told, str(tmp_path / "run"), "--folds", "2"]) == 2
    assert "holds a run without folds. Leave out --folds" in one_line(capsys)
    Run(tmp_path / "folds" / "fold_1").write_config(brain_mri.DATA, brain_mri.TRAINING)
    assert brain_mri.main([*told, str(tmp_path / "folds")]) == 2
    assert "holds folds. Continue them with --folds and --resume" in one_line(capsys)


def test_interrupted_folds_say_what_is_kept(tmp_path, capsys, monkeypatch):
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.options.cross_validate", interrupted)
    assert brain_mri.main(["--data", "absent", "--folds", "2", "--out", str(tmp_path)]) == 130
    assert f"'{tmp_path}' keeps the folds and epochs that have ended. Continue with the same" in one_line(capsys)


@pytest.mark.parametrize("index", [0, 1])
def test_folds_of_two_workers_have_images_of_their_own(index, tmp_path, monkeypatch):
    cluster = {"cluster": {"worker": ["localhost:1", "localhost:2"]}, "task": {"type": "worker", "index": index}}
    stores = []

    def trained(*given: object, store: Path | None) -> dict:
        stores.append(store)
        return {"accuracy": 1.0, "loss": 0.0, "split": {"validation": 2}}

    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    monkeypatch.setattr("training.train.train", trained)
    training = replace(brain_mri.TRAINING, strategy="multiworker")
    cross_validate(replace(brain_mri.DATA, data="phantom", folds=2), training, tmp_path)
    assert stores == [None if index else tmp_path] * 2


def test_a_fold_without_a_box_is_trained_where_another_has_one(colours):
    samples = read_folder(colours)
    boxes = tuple(np.zeros((int(index == 0), 4)) for index in range(len(samples)))
    data = DataConfig(str(colours), boxes="boxes.csv", folds=2)
    for number in (1, 2):
        _, parts = _parts(replace(samples, boxes=boxes), replace(data, fold=number))
        assert len(parts.validation) == 20
