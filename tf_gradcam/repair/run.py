"""The repair of a model: train a shortcut away, and prove on held-out images that it is gone.

tf-gradcam repair best.keras DATA --report report/ --out repaired/
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_gradcam._errors import unknown_name
from tf_gradcam._files.atomic import made_folder, write_bytes
from tf_gradcam._models.description import describe
from tf_gradcam._models.preprocessing import MODES
from tf_gradcam.audit.mapper import AuditMapper, ModelUnderAudit
from tf_gradcam.audit.report.page import plain
from tf_gradcam.audit.run import StageProgress
from tf_gradcam.audit.sanity import restored
from tf_gradcam.audit.sources import Samples
from tf_gradcam.repair.measure import RepairNumbers, choose_held_out, measure_again
from tf_gradcam.repair.picture import draw_maps, maps_of
from tf_gradcam.repair.reports import ReportedFinding, model_file, read_finding
from tf_gradcam.repair.samples import read_samples
from tf_gradcam.repair.training import HOW, How, fine_tune, regions_of, tuned_variables

MODEL, NUMBERS, HELD_OUT, PICTURE = "model.keras", "repair.json", "held_out.csv", "repair.png"
_NOTABLE = 0.1  # of the probability: what the shortcut takes from the class after the repair
_ROWS = {
    "erasing": "effect of erasing it",
    "pasting": "effect of pasting it",
    "accuracy": "accuracy, held-out images",
    "accuracy_without": "accuracy, with it erased",
}


@dataclass(frozen=True)
class RepairResult:
    """The result of a repair: the numbers of the held-out images before and after.

    Attributes:
        finding: sentence of the report.
        number: of the finding in the report, from 1.
        label: name of the class.
        before, after: `RepairNumbers` of the same held-out images.
        is_removed: False if the repaired model still uses the shortcut, or is less often right without it.
        verdict: one sentence.
        model: path of the repaired model.
        about: settings and counts.
    """

    finding: str
    number: int
    label: str
    before: RepairNumbers
    after: RepairNumbers
    is_removed: bool
    verdict: str
    model: Path
    about: Mapping[str, Any]

    def __str__(self) -> str:
        """Return the numbers side by side, as the command prints them."""
        rows = [(text, str(getattr(self.before, name)), str(getattr(self.after, name))) for name, text in _ROWS.items()]
        widths = [max(map(len, column)) for column in zip(("", "before", "after"), *rows, strict=True)]
        lines = [("", "before", "after"), *rows]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def repair(
    model: keras.Model | str | os.PathLike[str],
    data: str | os.PathLike[str],
    report: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    finding: int | None = None,
    how: How = "augment",
    from_layer: str | None = None,
    epochs: int = 30,
    learning_rate: float = 1e-3,
    held_out: float = 0.3,
    classes: str | os.PathLike[str] | None = None,
    imports: Sequence[str] = (),
    inputs: Sequence[str] = (),
    seed: int = 0,
    progress: StageProgress | None = None,
) -> RepairResult:
    """Train a shortcut out of a model, and measure on held-out images whether it is gone.

    The last layers are fine-tuned on the audited images. The shortcut is erased from half of the images that show it,
    and pasted into half of the images of other classes, so that it says nothing of the class any more. The changes are
    the audit's own interventions. Then the same interventions are repeated on images that were not trained on, for the
    model as it was and as it is now.

    Args:
        model: a Keras model, which is left as it was, its .keras or .h5 file, or the folder of a training run.
        data: the audited folder or CSV file; the images need labels.
        report: folder of the audit.
        out: folder for the repaired model (model.keras, with its class names inside), the numbers (repair.json), maps
            before and after (repair.png), and the held-out images (held_out.csv), which `audit` takes as data.
        finding: number of the finding, from 1 in the order of the report; None for the strongest shortcut.
        how: "augment" changes the images, "guide" adds the share of the map's heat in the region of the finding to the
            loss and leaves the images as they are, "both" does both. Defaults to "augment".
        from_layer: path of the first layer that is fine-tuned, as `list_layers` shows it; None for the middle one of
            the layers with weights. Batch normalisations stay as they are.
        epochs: passes over the images, at least 1. Defaults to 30.
        learning_rate: of Adam at the start. Defaults to 0.001.
        held_out: part of the images that is never trained on, between 0 and 1. Defaults to 0.3.
        classes, imports, inputs: as the audit took them.
        seed: of every random choice.
        progress: called with (stage, done, total).

    Returns:
        `RepairResult`; its text are the numbers side by side.

    Raises:
        FileNotFoundError, ValueError, TypeError: the model, the data or the report cannot be used; the report is of
            another model or of other data; there is no such finding; too few images are left to train or to test.
        FloatingPointError: the training diverges.
        OSError: `out` cannot be written.
    """
    for value, name, is_right, wanted in (
        (epochs, "epochs", epochs >= 1, "at least 1"),
        (learning_rate, "learning_rate", learning_rate > 0, "above 0"),
        (held_out, "held_out", 0 < held_out < 1, "between 0 and 1"),
    ):
        if not is_right:
            raise ValueError(f"Expected {name} {wanted}, received {value}.")
    if how not in HOW:
        raise ValueError(unknown_name("way to repair", how, HOW))
    tell: StageProgress = progress or (lambda stage, done, total: None)
    found = read_finding(report, finding)
    given = model if isinstance(model, keras.Model) else model_file(model)
    if isinstance(given, str) and Path(given).resolve() == (Path(out) / MODEL).resolve():
        raise ValueError(f"Expected another folder than that of the model, '{given}', which would be replaced.")
    mapper = AuditMapper(given, **found.mapper_arguments(), freeze=False, imports=imports, inputs=inputs)
    source = mapper.task.source(data, mapper.class_names, classes)
    if not isinstance(source, Samples):
        raise TypeError("Expected a folder or a CSV file as data to repair with, received a tf.data.Dataset.")
    mapper.prepare(source)
    _check_same(mapper, source, found, Path(report))
    samples = read_samples(mapper, source, found.suspect, found.class_index, held_out, seed)
    if how != "augment":
        regions_of(samples, samples.rows[:0])  # refuses a finding without a region
    tell("images", len(samples.files), len(samples.files))
    directory, under_audit = made_folder(out, "out"), ModelUnderAudit(mapper, source)

    def predict(photos: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return under_audit.predict(photos, samples.rows[rows])

    def all_inputs(photos: np.ndarray, rows: np.ndarray) -> Any:
        return under_audit.inputs(mapper.images.of_photos(photos), samples.rows[rows])

    chosen, before = choose_held_out(samples, predict, seed)
    first_layer, variables = tuned_variables(mapper.model, from_layer)
    maps = [maps_of(mapper, all_inputs, samples, chosen)]
    with restored(variables):
        fine_tune(
            mapper.model,
            samples,
            all_inputs,
            variables,
            how=how,
            layer=mapper.layer_name,
            epochs=epochs,
            learning_rate=learning_rate,
            seed=seed,
            progress=lambda done, total: tell("training", done, total),
        )
        after = measure_again(samples, chosen, predict, seed)
        maps.append(maps_of(mapper, all_inputs, samples, chosen))
        _save(mapper, directory / MODEL)
    is_removed, verdict = _verdict(found.label, before, after)
    about = {
        "how": how,
        "from_layer": first_layer,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "seed": seed,
        "images": {
            "trained on": int((~samples.held_out).sum()),
            "held out": int(samples.held_out.sum()),
            "show it": len(samples.suspect.members),
            "tested by erasing": len(chosen.own),
            "tested by pasting": len(chosen.others),
        },
        "erased by": chosen.fill,
        "model before": found.fingerprint["weights"],
    }
    result = RepairResult(
        found.sentence, found.number, found.label, before, after, is_removed, verdict, directory / MODEL, about
    )
    held = [(samples.files[row], int(samples.labels[row])) for row in chosen.rows]
    _write(result, mapper.class_names, held, directory)
    write_bytes(directory / PICTURE, draw_maps(*maps))
    tell("picture", 1, 1)
    return result


def _check_same(mapper: AuditMapper, source: Samples, found: ReportedFinding, report: Path) -> None:
    """Refuse the report of another model, or of other images."""
    now = mapper.fingerprint(source.digest())
    for key, what, remedy in (
        ("weights", "another model", "Give the model that was audited"),
        ("code", "other code (--import)", "Give the code that the audit was given"),
        ("inputs", "other further inputs", "Give the inputs that the audit was given"),
        ("data", "other images or labels", "Give the data that was audited, at the same place"),
    ):
        if now.get(key) != found.fingerprint.get(key):
            raise ValueError(f"The report '{report}' is of {what}. {remedy}, or audit again.")


def _save(mapper: AuditMapper, path: Path) -> None:
    """Save the model as it is now, whole or not at all, with its description inside."""
    temporary = path.with_name(f".{path.name}")
    try:
        mapper.model.save(temporary)
        mode = mapper.preprocessing.mode
        describe(
            temporary,
            preprocess=mode if mode in MODES else None,
            class_names=mapper.class_names,
            task="classification",
        )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write(result: RepairResult, names: Sequence[str], files: Sequence[tuple[str, int]], directory: Path) -> None:
    """Write the numbers, and the held-out images as a table that an audit takes as its data."""
    numbers = {**asdict(result), "model": MODEL, "class_names": list(names)}
    write_bytes(directory / NUMBERS, (json.dumps(plain(numbers), indent=2, ensure_ascii=False) + "\n").encode())
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows([("file", "label"), *((os.path.abspath(file), names[label]) for file, label in files)])
    write_bytes(directory / HELD_OUT, table.getvalue().encode("utf-8", "surrogateescape"))


def _verdict(label: str, before: RepairNumbers, after: RepairNumbers) -> tuple[bool, str]:
    """Return whether the repair helped, and what it did in a sentence."""
    # The accuracy on the images as they are counts what the shortcut got right, so it may fall.
    is_worse = after.accuracy_without.high < before.accuracy_without.low
    loss = f"the accuracy with it erased fell from {before.accuracy_without.value:.3f} to "
    loss += f"{after.accuracy_without.value:.3f}"
    if after.is_used:
        pasting = [f"pasting it turns {after.pasting.value:.0%} of the others"] * after.is_pasted
        erasing = [f"erasing it costs {after.erasing.value:.2f}"] * after.is_needed
        facts = [*pasting, *erasing, *[loss] * is_worse]
        return False, f"NOT REPAIRED `{label}` still uses it: {'; '.join(facts)}."
    if is_worse:
        return False, f"NOT REPAIRED `{label}` does not use it any more, but {loss}."
    if not before.is_used:
        return True, f"Nothing to repair on the held-out images: `{label}` did not use it there, and does not now."
    verdict = f"REPAIRED `{label}` does not use it any more on held-out images."
    if after.erasing.high < 0 and after.erasing.value <= -_NOTABLE:
        verdict += f" It now speaks against the class a little: erasing it adds {-after.erasing.value:.2f}."
    return True, verdict
