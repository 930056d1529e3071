"""A training: set-up, data, model, stages, evaluation."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from .config import PHANTOM_SLICES, DataConfig, TrainingConfig
from .data.archive import fetch
from .data.duplicates import duplicate_groups
from .data.folder import Samples, read_folder
from .data.phantom import write_phantom
from .data.split import Parts, apart, counted, first_classes, split, validation_table, without
from .loop.fit import HISTORY, feed, fit, kept_part
from .loop.run_folder import METRICS, Run, is_complete
from .loop.strategy import is_chief, strategy_scope, worker
from .model.backbone import unfreeze
from .model.classifier import build_classifier
from .reading import read_object
from .report.evaluate import measure, metrics_text
from .report.figures import write_figures


def train(data: DataConfig, training: TrainingConfig, out: Path, resume: bool = False) -> dict[str, Any]:
    """Train a classifier; `out` then holds the files that `Run` lists.

    Args:
        data: settings of the images.
        training: settings of the network and the stages.
        out: the folder of the run.
        resume: continue the run in `out`.

    Returns:
        The metrics of the best model on the validation part, as in metrics.json.

    Raises:
        ValueError, OSError, ConnectionError: the settings do not make a training; raised before anything is trained.
        FloatingPointError: a loss is not finite.
    """
    chief = is_chief(training.strategy)
    scope = strategy_scope(training.strategy)
    run = Run(out if chief else out.with_name(f"{out.name}.{worker(training.strategy)}"), resume)
    keras.utils.set_random_seed(data.seed)
    run.check_config(data, training)
    if is_complete(out):
        print(f"The run in '{out}' is complete.", flush=True)
        return read_object(out / "metrics.json", METRICS)
    run.rows(HISTORY)  # raises now if it is damaged, not after an epoch

    samples = _samples(data, run)
    parts = _parts(samples, data)
    size = (data.image_size, data.image_size)
    feeds = tuple(
        feed(samples.take(part), size, data.batch_size, shuffle=shuffle, seed=data.seed)
        for part, shuffle in ((parts.training, True), (parts.validation, False))
    )
    with scope:
        model = build_classifier(
            training.backbone,
            len(samples.class_names),
            size,
            training.weights,
            arguments=training.backbone_arguments,
            dropout=training.dropout,
            precision=training.precision,
        )
        for stage in training.stages:
            trained = unfreeze(model, stage.unfreeze)  # raises if there are fewer blocks
            if training.cache_features:
                kept_part(model, stage, training, trained)
        # Only now, so that a wrong option does not leave a run behind.
        run.write_config(data, training)
        run.write_class_names(samples.class_names)
        run.write("validation_samples.csv", validation_table(samples, parts))
        started = time.monotonic()
        pictures = samples.take(parts.training), samples.take(parts.validation)
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
                is_chief=chief,
            )
    if not chief:
        shutil.rmtree(run.path)
        return {}
    metrics = _evaluate(run, samples, parts, data, training, feeds[1])
    shutil.rmtree(run.backup, ignore_errors=True)
    low, high = metrics["accuracy_interval"]
    print(
        f"{(time.monotonic() - started) / 60:.1f} minutes. Best model on {len(parts.validation)} validation images: "
        f"accuracy {metrics['accuracy']:.4f} ({low:.3f} to {high:.3f}), loss {metrics['loss']:.4f}.\n"
        f"Explain it: tf-gradcam explain IMAGE --model {run.best_model} --out heatmaps",
        flush=True,
    )
    return metrics


def _samples(data: DataConfig, run: Run) -> Samples:
    if data.data == "phantom":
        root = write_phantom(run.path / "phantom", data.limit or PHANTOM_SLICES, data.seed, data.image_size)
    else:
        root = fetch(data.data, run.path / "data", data.sha256)
    samples = read_folder(root, None if data.data == "phantom" else data.limit, data.seed)
    for reason in samples.broken:
        print(f"left out: {reason}", flush=True)
    if data.exclude is not None:
        before, samples = len(samples), without(samples, Path(data.exclude))
        print(f"{before - len(samples)} of {before} images left out, named in '{data.exclude}'", flush=True)
    if data.apart_from is not None:
        before, samples = len(samples), apart(samples, Path(data.apart_from))
        print(f"{before - len(samples)} of {before} images left out, with a twin in '{data.apart_from}'", flush=True)
    return samples if data.classes is None else first_classes(samples, data.classes)


def _parts(samples: Samples, data: DataConfig) -> Parts:
    groups = duplicate_groups(samples.files)
    parts = split(samples, data.validation, data.seed, groups if data.split == "clean" else None)
    parts = counted(parts, groups)
    print(
        f"{len(samples)} images of {len(samples.class_names)} classes ({', '.join(samples.class_names)}); "
        f"{parts.duplicates} have an identical or nearly identical twin. {data.split.capitalize()} split: "
        f"{len(parts.training)} train, {len(parts.validation)} validate, {parts.leaked} of these have a twin in the "
        "training part",
        flush=True,
    )
    return parts


def _evaluate(
    run: Run, samples: Samples, parts: Parts, data: DataConfig, training: TrainingConfig, validation: Any
) -> dict[str, Any]:
    model = keras.saving.load_model(run.best_model, compile=False)
    outputs = np.asarray(model.predict(validation, verbose=0))
    metrics = {
        **measure(outputs, samples.labels[parts.validation], samples.class_names),
        "split": {
            "kind": data.split,
            "training": len(parts.training),
            "validation": len(parts.validation),
            "twins": parts.duplicates,
            "validation_images_with_a_twin_in_training": parts.leaked,
        },
    }
    run.write("metrics.json", metrics_text(metrics).encode())
    size = (data.image_size, data.image_size)
    write_figures(
        run.figures,
        model=model,
        samples=samples,
        parts=parts,
        outputs=outputs,
        image_size=size,
        layers=training.layers,
    )
    return metrics
