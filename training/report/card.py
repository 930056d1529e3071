"""The model card of a run, README.md: the data, the split, the network, the results, their limits, the next commands.

Axis legend: N samples, K classes.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config import DataConfig, TrainingConfig
from ..data.download import shown
from ..data.folder import Samples
from ..data.split import Parts
from .tables import Table, as_markdown, escaped

_NAMED = 5  # files left out that are named
_TITLES = {  # of figures, in the order of the card
    "learning_curves": "Learning curves",
    "confusion_matrix": "Confusion matrix",
    "calibration": "Calibration",
    "predictions": "Predictions",
    "misclassified": "Misclassified samples",
    "gradcam_last": "Grad-CAM at the last layer",
    "gradcam_intermediate": "Grad-CAM at an intermediate layer",
    "gradcam_hirescam": "Grad-CAM beside HiResCAM",
    "training_samples": "Training samples",
}


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished training, as its card describes it.

    notes: lines about images that were left out on purpose.
    tables: of the stages and of the blocks.
    history: rows of history.csv; `best` is the index of the best epoch.
    metrics: as in metrics.json.
    layers: the explained layers; empty where Grad-CAM did not run.
    figures: names of the figures without their suffix.
    versions: as in config.json, with the git revision.
    """

    data: DataConfig
    training: TrainingConfig
    samples: Samples
    parts: Parts
    notes: Sequence[str]
    tables: tuple[Table, Table]
    history: Sequence[Mapping[str, str]]
    best: int
    metrics: Mapping[str, Any]
    layers: Sequence[str]
    figures: Sequence[str]
    versions: Mapping[str, str | None]


def card_text(run: Trained) -> str:
    """Return the card as Markdown; figures are embedded by their paths relative to the run."""
    backbone, classes = escaped(run.training.backbone), len(run.samples.class_names)
    low, high = run.metrics["accuracy_interval"]
    leaked = f", {run.parts.leaked:,} of which have a twin among the training images" if run.parts.leaked else ""
    sections = [
        f"# {backbone} on {escaped(_name_of(run.data.data))}, {classes} classes",
        f"Accuracy {run.metrics['accuracy']:.4f} ({low:.3f} to {high:.3f}) on {run.metrics['samples']:,} validation "
        f"images{leaked}. [Explain it](#explain-it), and read the [limits](#limits) first.",
        _figure(run, "gradcam_last"),
        "## Data",
        _data(run),
        _figure(run, "training_samples"),
        "## Split",
        _split(run),
        "## Network and training",
        _network(run),
        _figure(run, "learning_curves"),
        "## Results",
        _results(run),
        *(_figure(run, name) for name in ("confusion_matrix", "calibration", "predictions", "misclassified")),
        "## Explain it",
        _explain(run),
        *(_figure(run, name) for name in ("gradcam_intermediate", "gradcam_hirescam")),
        "## Limits",
        _limits(run),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _data(run: Trained) -> str:
    samples, parts = run.samples, run.parts
    source = "generated phantom slices" if run.data.data == "phantom" else escaped(shown(run.data.data))
    lines = [f"- Source: {source}"]
    if run.data.sha256:
        lines.append(f"- SHA-256 of the zip: {run.data.sha256}")
    lines.append(f"- {len(samples):,} images of {len(samples.class_names)} classes")
    lines += [f"- {escaped(note)}" for note in run.notes]
    broken = [escaped(reason) for reason in samples.broken]
    lines.append(f"- Broken files left out: {len(broken) or 'none'}")
    lines += [f"    - {reason}" for reason in broken[:_NAMED]]
    lines += [f"    - and {len(broken) - _NAMED} more"] if len(broken) > _NAMED else []
    columns = {"class": list(samples.class_names)}
    for name, labels in (
        ("images", samples.labels),
        ("training", samples.labels[parts.training]),
        ("validation", samples.labels[parts.validation]),
    ):
        columns[name] = [f"{count:,}" for count in np.bincount(labels, minlength=len(samples.class_names))]
    return "\n".join(lines) + "\n\n" + as_markdown([tuple(columns), *zip(*columns.values(), strict=True)])


def _split(run: Trained) -> str:
    kept = {
        "clean": "Clean: identical, nearly identical and flipped images stay on one side",
        "naive": "Naive: images are drawn one by one, and twins are not kept together",
    }[run.data.split]
    drawn = f"about {run.data.validation:.0%} of each class"
    if run.data.folds:
        drawn = f"fold {run.data.fold} of {run.data.folds}"
    return "\n".join(
        [
            f"- {kept}.",
            f"- {len(run.parts.training):,} images train and {len(run.parts.validation):,} validate: {drawn}, drawn "
            f"with seed {run.data.seed}. `validation_samples.csv` names the validation images.",
            f"- Twins: {run.parts.duplicates:,} images have one, by perceptual hash and thumbnails.",
            f"- Leaks: {run.parts.leaked:,} validation images have a twin in the training part.",
        ]
    )


def _network(run: Trained) -> str:
    training, data = run.training, run.data
    arguments = "".join(f", {key}={value!r}" for key, value in training.backbone_arguments.items())
    named = {"backbone", "backbone_arguments", "weights", "stages", "layers"}
    settings = {key: value for key, value in asdict(training).items() if key not in named and value is not None}
    row = run.history[run.best]
    minutes = sum(float(each["seconds"]) for each in run.history) / 60
    versions = ", ".join(f"{name} {value}" for name, value in run.versions.items() if value and name != "machine")
    lines = [
        f"- Network: {escaped(training.backbone + arguments)}, from the weights {escaped(training.weights)}",
        f"- Input: {data.image_size} x {data.image_size} pixels, RGB 0..255; scaling and class names are inside "
        "`best.keras`",
        f"- Batches of {data.batch_size}, seed {data.seed}; "
        + escaped(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in settings.items())),
        f"- Best epoch: {run.best + 1} of {len(run.history)} ({escaped(row['stage'])}, epoch {row['epoch']}), by the "
        "validation accuracy",
        f"- {minutes:.1f} minutes of epochs. {escaped(versions)}. `config.json` holds all settings.",
    ]
    return "\n".join(lines) + "\n\n" + "\n\n".join(map(as_markdown, run.tables))


def _results(run: Trained) -> str:
    metrics = run.metrics
    low, high = metrics["accuracy_interval"]
    of_all: Table = [
        ("on the validation part", "value"),
        ("accuracy (95 % interval)", f"{metrics['accuracy']:.4f} ({low:.4f} to {high:.4f})"),
        ("macro F1", _number(metrics["macro_f1"])),
        ("AUC, each class against the others, mean", _number(metrics["auc"])),
        ("cross entropy", _number(metrics["loss"])),
        ("expected calibration error", _number(metrics["calibration"]["ece"])),
    ]
    of_classes: Table = [("class", "precision", "recall", "F1", "AUC", "images")]
    for name, row in metrics["per_class"].items():
        values = (_number(row[key]) for key in ("precision", "recall", "f1", "auc"))
        of_classes.append((name, *values, str(row["support"])))
    parts = [as_markdown(of_all), as_markdown(of_classes)]
    if "localisation" in metrics:
        parts.append(_localisation(metrics["localisation"]))
    return "\n\n".join(parts)


def _localisation(found: Mapping[str, Any]) -> str:
    def cell(row: Mapping[str, Any], key: str) -> str:
        low, high = row[f"{key}_interval"]
        return f"{row[key]:.3f}" if low is None else f"{row[key]:.3f} ({low:.3f} to {high:.3f})"

    table: Table = [("Grad-CAM for the true class", "energy in box", "pointing game", "blank maps")]
    table.append(
        ("no map: size of the box, centre in it", cell(found, "share_of_picture"), cell(found, "centre_in_box"), "")
    )
    for name, row in found["layers"].items():
        table.append((name, cell(row, "energy_in_box"), cell(row, "pointing_game"), str(row["blank_maps"])))
    return (
        f"{found['images']:,} validation images have a box. The energy is the share of the heat inside it; the "
        "pointing game is won where the hottest pixel is inside. Means with 95 % intervals; a blank map counts as 0."
        "\n\n" + as_markdown(table)
    )


def _explain(run: Trained) -> str:
    words = ["tf-gradcam", "explain", "IMAGE", "--model", "best.keras"]
    chosen = ""
    if run.layers:
        words += ["--layer", run.layers[0]]
        chosen = f", layer={run.layers[0]!r}"
    return "\n".join(
        [
            "In the folder of this file, with TensorFlow:",
            "",
            "```sh",
            f"{shlex.join(words)} --out heatmaps",
            "```",
            "",
            "```python",
            "from tf_gradcam import explain",
            "",
            f'explanation = explain("IMAGE", "best.keras"{chosen})',
            "print(explanation.labels, explanation.probabilities)",
            'explanation.plot().savefig("heatmap.png")',
            "```",
        ]
    )


def _limits(run: Trained) -> str:
    data, parts = run.data, run.parts
    lines = [
        "The best epoch was chosen on the same validation part, so these numbers are a little optimistic; no third "
        "part was kept.",
        "All images are of one source. Images of another source, such as another camera or scanner, were not tested.",
        "Other images of one patient, animal or scene than near-identical ones may be on both sides of the split. The "
        "intervals take all images as independent.",
        f"The model always names one of its {len(run.samples.class_names)} classes, also for a picture of something "
        "else.",
        "The probabilities are as the network gives them, not recalibrated.",
        "A heatmap shows where the evidence of this model lies, not where the object is.",
    ]
    if data.data == "phantom":
        lines.insert(1, "The images are generated: nothing here is about real ones.")
    if parts.leaked:
        lines.insert(
            1, f"{parts.leaked:,} validation images have a twin in the training part, which flatters the model."
        )
    if data.limit is not None and data.data != "phantom":
        lines.append(f"A trial: at most {data.limit:,} images were used.")
    if data.classes is not None:
        lines.append(f"Only the first {data.classes} classes of the data were used.")
    return "\n".join(f"- {line}" for line in lines)


def _figure(run: Trained, name: str) -> str:
    return f"![{_TITLES[name]}](figures/{name}.png)" if name in run.figures else ""


def _name_of(source: str) -> str:
    return "phantom slices" if source == "phantom" else Path(shown(source)).name or source


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
