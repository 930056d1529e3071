"""A training: set-up, data, model, stages, evaluation."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_gradcam.metrics import wilson_interval

from .config import PHANTOM_SLICES, DataConfig, TrainingConfig
from .data.archive import fetch
from .data.boxes import BOXES, read_boxes, with_boxes
from .data.duplicates import LOOKS_ALIKE, fingerprints, groups_of
from .data.folder import Samples, read_folder
from .data.phantom import write_phantom
from .data.split import Parts, apart, counted, fold, split, validation_table, without
from .loop.fit import HISTORY, feed, fit, kept_part, merit
from .loop.loss import balanced
from .loop.run_folder import METRICS, VALIDATION, Run, git_revision, is_complete, versions, whole
from .loop.strategy import from_chief, is_chief, strategy_scope, worker
from .model.backbone import unfreeze
from .model.classifier import build_classifier
from .reading import read_object
from .report.card import Trained, card_text
from .report.evaluate import measure, metrics_text, predictions_of
from .report.figures import write_figures
from .report.maps import localise, maps_of
from .report.tables import Table, as_text, network_tables

FOLDS = "folds.json"


def train(
    data: DataConfig, training: TrainingConfig, out: Path, resume: bool = False, store: Path | None = None
) -> dict[str, Any]:
    """Train a classifier; `out` then holds the files that `Run` lists.

    Args:
        data: settings of the images.
        training: settings of the network and the stages.
        out: the folder of the run.
        resume: continue the run in `out`.
        store: the folder for downloaded or drawn images; None for `out`.

    Returns:
        The metrics of the best model on the validation part, as in metrics.json.

    Raises:
        ValueError, OSError, ConnectionError: the settings do not make a training; raised before anything is trained.
        FloatingPointError: a loss is not finite.
    """
    chief = is_chief(training.strategy)
    with strategy_scope(training.strategy):
        run = Run(out if chief else out.with_name(f"{out.name}.{worker(training.strategy)}"), resume)
        if resume and chief and not (out / "config.json").exists():
            print(f"There is no run in '{out}' yet: a new one begins.", flush=True)
        keras.utils.set_random_seed(data.seed)
        run.check_config(data, training)
        (complete,) = from_chief(training.strategy, [np.array(is_complete(out))])
        if complete and chief:
            run.remove_backup()  # what a kill left of it
            print(f"The run in '{out}' is complete.", flush=True)
            return read_object(out / "metrics.json", METRICS)
        if complete:
            shutil.rmtree(run.path)
            return {}
        run.rows(HISTORY)  # raises now if it is damaged, not after an epoch

        samples, notes = _samples(data, store or run.path)
        samples, parts = _parts(samples, data)
        held_out = validation_table(samples, parts)
        run.check_validation(held_out)
        size = (data.image_size, data.image_size)
        feeds = (
            feed(samples.take(parts.training), size, data.batch_size, seed=data.seed),
            feed(samples.take(parts.validation), size, data.batch_size, seed=None),
        )
        model = build_classifier(
            training.backbone,
            len(samples.class_names),
            size,
            training.weights,
            arguments=training.backbone_arguments,
            fc_units=training.fc_units,
            precision=training.precision,
        )
        tables = network_tables(model, training.stages)  # raises if there are fewer blocks
        if training.cache_features:
            for stage in training.stages:
                kept_part(model, stage, training, unfreeze(model, stage.unfreeze))
        # Only now, so that a wrong option does not leave a run behind.
        run.write_config(data, training)
        run.write_class_names(samples.class_names)
        run.write(VALIDATION, held_out)
        if chief:
            print("", "\n\n".join(map(as_text, tables)), "", sep="\n", flush=True)
        started = time.monotonic()
        pictures = samples.take(parts.training), samples.take(parts.validation)
        class_weights = balanced(pictures[0].labels, len(samples.class_names)) if training.class_weights else None
        for stage in training.stages:
            fit(
                model,
                stage,
                training,
                feeds,
                run,
                samples.class_names,
                data.seed,
                pictures=pictures,
                class_weights=class_weights,
                is_chief=chief,
            )
    if not chief:
        shutil.rmtree(run.path)
        return {}
    metrics = _evaluate(run, samples, parts, notes, tables, data, training, feeds[1].batches)
    run.remove_backup()
    low, high = metrics["accuracy_interval"]
    print(
        f"{(time.monotonic() - started) / 60:.1f} minutes. Best model on {len(parts.validation)} validation images: "
        f"accuracy {metrics['accuracy']:.4f} ({low:.3f} to {high:.3f}), loss {metrics['loss']:.4f}. "
        f"The model card: {run.path / 'README.md'}\n"
        f"{_heat_line(metrics)}Explain it: tf-gradcam explain IMAGE --model {run.best_model} --out heatmaps",
        flush=True,
    )
    return metrics


def _heat_line(metrics: dict[str, Any]) -> str:
    """Return a line on the heat in the true boxes at the last layer, "" where no boxes are known."""
    if "localisation" not in metrics:
        return ""
    found = metrics["localisation"]
    layer, row = next(iter(found["layers"].items()))
    blank = f", {row['blank_maps']} blank maps count as 0" if row["blank_maps"] else ""
    return (
        f"Grad-CAM at {layer}: {row['energy_in_box']:.1%} of the heat is in the true box, which covers "
        f"{found['share_of_picture']:.1%} of the picture (means over {found['images']} validation images{blank}).\n"
    )


def cross_validate(data: DataConfig, training: TrainingConfig, out: Path, resume: bool = False) -> dict[str, Any]:
    """Train once for each fold of the images, in `out`/fold_1 and so on, and write `out`/folds.json.

    Args:
        data, training, resume: as `train` takes them; `data.folds` is given.
        out: the folder of all folds.

    Returns:
        The content of folds.json: `folds`, a list of accuracy, loss and samples; `accuracy`, the share of all images
        that the model of their fold had right; its 95 % Wilson interval, `accuracy_interval`; `mean` of the folds and
        their `range`. Empty in a process that writes no files.

    Raises:
        ValueError, OSError, ConnectionError, FloatingPointError: as in `train`.
    """
    if (out / "config.json").exists():
        raise FileExistsError(f"'{out}' holds a run without folds. Leave out --folds, or name another folder.")
    if not resume:
        Run(out)  # raises if the folder holds folds or something else
    count, chief = data.folds or 0, is_chief(training.strategy)
    store = out if chief else None  # workers on one machine must not draw or unpack the images in one folder
    found = []
    for number in range(1, count + 1):
        print(f"Fold {number} of {count}", flush=True)
        of_fold = replace(data, fold=number)
        found.append(train(of_fold, training, out / f"fold_{number}", resume, store=store))
    if not chief:
        return {}
    accuracies = [metrics["accuracy"] for metrics in found]
    samples = [metrics["split"]["validation"] for metrics in found]
    right = round(sum(accuracy * size for accuracy, size in zip(accuracies, samples, strict=True)))
    interval = wilson_interval(right, sum(samples))
    summary = {
        "folds": [
            {"accuracy": metrics["accuracy"], "loss": metrics["loss"], "samples": size}
            for metrics, size in zip(found, samples, strict=True)
        ],
        "accuracy": right / sum(samples),
        "accuracy_interval": [interval.low, interval.high],
        "mean": sum(accuracies) / count,
        "range": [min(accuracies), max(accuracies)],
    }
    with whole(out / FOLDS) as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(
        f"{count} folds: {right} of {sum(samples)} images right, accuracy {summary['accuracy']:.4f} "
        f"({interval.low:.3f} to {interval.high:.3f}); mean of the folds {summary['mean']:.4f} "
        f"({min(accuracies):.4f} to {max(accuracies):.4f})",
        flush=True,
    )
    return summary


def _samples(data: DataConfig, store: Path) -> tuple[Samples, list[str]]:
    """Return the images with their boxes, and a line about each kind of images that were left out."""
    table = None if data.boxes is None else Path(data.boxes)
    rows = None if table is None else read_boxes(table)  # raises now if it is damaged, not after a download
    if data.data == "phantom":
        root = write_phantom(store / "phantom", data.limit or PHANTOM_SLICES, data.seed, data.image_size)
        table = table or root / BOXES
    else:
        root = fetch(data.data, store / "data", data.sha256)
    samples = read_folder(root, None if data.data == "phantom" else data.limit, data.seed, data.classes)
    for reason in samples.broken:
        print(f"left out: {reason}", flush=True)
    notes = []
    if data.exclude is not None:
        before, samples = len(samples), without(samples, Path(data.exclude))
        notes.append(f"{before - len(samples)} of {before} images left out, named in '{data.exclude}'")
    if data.apart_from is not None:
        before, samples = len(samples), apart(samples, Path(data.apart_from))
        notes.append(f"{before - len(samples)} of {before} images left out, with a twin in '{data.apart_from}'")
    for note in notes:
        print(note, flush=True)
    if table is not None and (rows is not None or table.exists()):  # phantom slices of older versions have no boxes
        samples = with_boxes(samples, rows or read_boxes(table), table)
    return samples, notes


def _parts(samples: Samples, data: DataConfig) -> tuple[Samples, Parts]:
    """Return the images with the groups of those that look alike, and their two parts."""
    prints = fingerprints(samples.files)
    groups = groups_of(prints)
    kept_together = groups if data.split == "clean" else None
    if data.folds and data.fold:
        parts = fold(samples, data.fold, data.folds, data.seed, kept_together)
    else:
        parts = split(samples, data.validation, data.seed, kept_together)
    parts = counted(parts, groups)
    print(
        f"{len(samples)} images of {len(samples.class_names)} classes ({', '.join(samples.class_names)}); "
        f"{parts.duplicates} have an identical or nearly identical twin. {data.split.capitalize()} split: "
        f"{len(parts.training)} train, {len(parts.validation)} validate, {parts.leaked} of these have a twin in the "
        "training part",
        flush=True,
    )
    if samples.boxes is not None:
        known = sum(len(samples.boxes[index]) > 0 for index in parts.validation)
        print(f"{known} of {len(parts.validation)} validation images have a box", flush=True)
        if not known and data.boxes is not None and not data.folds:  # a fold may have none, others do
            raise ValueError(
                f"Expected boxes of validation images in '{data.boxes}', received boxes of training images alone. Add "
                "boxes, choose another --seed, or leave out --boxes."
            )
    return replace(samples, groups=groups_of(prints, LOOKS_ALIKE)), parts


def _evaluate(
    run: Run,
    samples: Samples,
    parts: Parts,
    notes: Sequence[str],
    tables: tuple[Table, Table],
    data: DataConfig,
    training: TrainingConfig,
    validation: Any,
) -> dict[str, Any]:
    model = keras.saving.load_model(run.best_model, compile=False)
    outputs = np.asarray(model.predict(validation, verbose=0))
    shown = predictions_of(samples.take(parts.validation), outputs)
    metrics = {
        **measure(outputs, shown.samples.labels, samples.class_names),
        "split": {
            "kind": data.split,
            "training": len(parts.training),
            "validation": len(parts.validation),
            "twins": parts.duplicates,
            "validation_images_with_a_twin_in_training": parts.leaked,
        },
    }
    size = (data.image_size, data.image_size)
    maps = maps_of(model, samples.class_names, training.layers)
    localisation = maps and localise(maps, shown, size)
    if localisation is not None:
        metrics["localisation"] = localisation
    run.write("metrics.json", metrics_text(metrics).encode())
    history = run.rows(HISTORY)
    best = max(range(len(history)), key=lambda index: merit(history[index]))  # the first of equals, as is saved
    figures = write_figures(
        run.figures,
        training=samples.take(parts.training),
        shown=shown,
        history=history,
        best=best,
        maps=maps,
        image_size=size,
    )
    finished = Trained(
        data=data,
        training=training,
        samples=samples,
        parts=parts,
        notes=notes,
        tables=tables,
        history=history,
        best=best,
        metrics=metrics,
        layers=() if maps is None else (maps.last.layer_name, maps.intermediate.layer_name),
        figures=[path.stem for path in figures],
        versions={**versions(), "git": git_revision()},
    )
    run.write("README.md", card_text(finished).encode(errors="surrogateescape"))
    return metrics
