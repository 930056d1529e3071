"""The audit of a model over a whole data set.

    tf-gradcam audit DATA --model best.keras --out report/

Axis legend: N images, K classes or labels, H x W cells of the layer, H0 x W0 pixels.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam._errors import Message, for_page, require, unknown_name, warn
from tf_gradcam.audit.annotations import BoxTable, KnownRegions, MaskFolder
from tf_gradcam.audit.answers import answers_of
from tf_gradcam.audit.engines import run_local, run_ray
from tf_gradcam.audit.gate import check_measured, parse_conditions
from tf_gradcam.audit.mapper import AuditMapper, ModelUnderAudit
from tf_gradcam.audit.measure import measure
from tf_gradcam.audit.quantities import QUANTITIES, missing_needs
from tf_gradcam.audit.report.page import write_numbers, write_report
from tf_gradcam.audit.result import AuditResult, Metric, SanityCheck
from tf_gradcam.audit.rows import Rows
from tf_gradcam.audit.sanity import sanity_checks
from tf_gradcam.audit.shortcuts.search import find_shortcuts, look_at
from tf_gradcam.audit.shortcuts.stored import SUSPECTS, write_suspects
from tf_gradcam.audit.sources import DatasetSource, Samples
from tf_gradcam.audit.table import PartFolder
from tf_gradcam.audit.tasks import strengths

StageProgress = Callable[[str, int, "int | None"], object]  # stage, done, total

ENGINES = ("local", "ray")
PARTS = "rows"  # folder of the Parquet parts inside the report's
_SANITY_IMAGES = 24


def audit(
    model: keras.Model | str | os.PathLike[str],
    data: str | os.PathLike[str] | tf.data.Dataset,
    out: str | os.PathLike[str],
    *,
    classes: str | os.PathLike[str] | None = None,
    boxes: str | os.PathLike[str] | None = None,
    masks: str | os.PathLike[str] | None = None,
    truth: str | os.PathLike[str] | None = None,
    engine: Literal["local", "ray"] = "local",
    workers: int = 2,
    batch_size: int = 32,
    num_images: int = 48,
    sanity: bool = True,
    seed: int = 0,
    fail_on: str | None = None,
    progress: StageProgress | None = None,
    **mapper_arguments: Any,
) -> AuditResult:
    """Audit a model over a data set, and write a report with the shortcuts that it uses to `out/index.html`.

    Each image is explained for its top class, for its labels above their thresholds, or for its value, and written to
    Parquet parts in `out/rows`; an interrupted audit continues from them. Then the heatmaps of each class or label, or
    of high and low values, are averaged and clustered, suspects are tested by intervention, the method is measured
    beside random and centred heatmaps, and it is tried on models with random weights.

    Args:
        model: a Keras model of images whose outputs are classes, labels or values, a .keras or .h5 file, or the name
            of a network of keras.applications.
        data: a folder with a folder per class, a CSV file with the columns file and label, or a `tf.data.Dataset` of
            (images, labels) as the model takes them, in the same order every time. Of several labels an image: a CSV
            file with the columns file and label, a line for each label, or with file and a column of 0 and 1 for each
            label, empty where unknown; a `tf.data.Dataset` of (images, (B, K) of 0 and 1). Of values: a CSV file with
            the columns file and value; a `tf.data.Dataset` of (images, values). Of a segmentation: a folder of images,
            or a CSV file with the columns file and mask.
        out: folder for the report, created if it does not exist.
        classes: CSV file with the columns folder and class, for folders that are not called by their class.
        boxes: CSV file with the columns file, xmin, ymin, xmax, ymax of the objects; a suspect outside the boxes that
            changes predictions is a shortcut.
        masks: folder of masks <stem>.png, in place of boxes.
        truth: of a segmentation: folder of masks <stem>.png whose values are the classes of the pixels, of the
            pictures' sizes; 255 is unknown.
        engine: "local", or "ray" for Ray Data's actors. Defaults to "local".
        workers: number of Ray processes. Defaults to 2.
        batch_size: images per batch. Defaults to 32.
        num_images: number of images that the method is measured on; 0 skips the metrics. Defaults to 48.
        sanity: True to try the method on models with random weights.
        seed: of every sample and random place.
        fail_on: conditions that `failures` will be asked for; they are checked before the work begins.
        progress: called with (stage, done, total); total is None while unknown.
        **mapper_arguments: layer, method, class_names, preprocess, size, weights, model_args, imports, inputs, freeze,
            task, threshold, unit, target as `AuditMapper` takes them.

    Returns:
        `AuditResult` with the table, findings, metrics and sanity checks.

    Raises:
        FileNotFoundError, ValueError, TypeError: the model, data set, boxes or masks cannot be used, the engine is
            unknown, an option is for another task, or `fail_on` names what the audit will not measure; raised before
            any image is explained.
        BlockingIOError: another audit is writing to `out`.
        ImportError: the extra `audit` is not installed.
        OSError: `out` cannot be written.
    """
    if engine not in ENGINES:
        raise ValueError(unknown_name("engine", engine, list(ENGINES)))
    for package in ("sklearn", "jinja2", "scipy"):  # a missing one is reported before an hour of work
        require(package, extra="audit")
    conditions = [] if fail_on is None else parse_conditions(fail_on, QUANTITIES)
    report: StageProgress = progress or (lambda stage, done, total: None)
    mapper = AuditMapper(model, **mapper_arguments)
    if (boxes is not None or masks is not None) and not mapper.task.is_tested:
        fact = f"Expected no boxes or masks of objects for the task {mapper.task.name}, whose suspects are not tested."
        remedy = "Masks of true classes are"
        raise ValueError(Message(fact, f"{remedy} truth=FOLDER.", f"{remedy} --truth FOLDER."))
    source = open_source(data, mapper, engine, classes, truth)
    if isinstance(source, Samples):
        mapper.prepare(source)
    names = names_of_outputs(mapper, source)
    regions = _regions(source, boxes, masks)
    has_truth = isinstance(source, DatasetSource) or source.has_truth
    has_regions = regions is not None and num_images > 0
    task = mapper.task.name
    check_measured(conditions, missing_needs(task, has_truth=has_truth, has_regions=has_regions, has_sanity=sanity))
    directory, begun = Path(out), time.perf_counter()
    with PartFolder(directory / PARTS, mapper.fingerprint(source.digest()), source.row_count) as parts:
        _pass(mapper, source, parts, engine, batch_size, workers, lambda done, total: report("images", done, total))
        rows = _with_known_labels(parts.read(), len(names))
        passed = time.perf_counter() - begun
        under_audit = ModelUnderAudit(mapper, source, rows.digest)
        thresholds, unit = tuple(mapper.task.thresholds.tolist()), mapper.arguments["unit"] or ""
        answers = answers_of(task, rows, names, thresholds, unit)
        looks = look_at(answers, seed)
        findings = find_shortcuts(
            answers,
            looks,
            under_audit.photos,
            under_audit.predict,
            inside=_inside(regions, mapper.size),
            seed=seed,
            progress=lambda done, total: report("classes tested", done, total),
        )
        is_tested = mapper.task.is_tested
        metrics = _metrics(mapper, under_audit, rows, regions, num_images, seed) if num_images and is_tested else []
        report("metrics", 1, 1)
        checks = _sanity(mapper, under_audit, rows, seed) if sanity and is_tested else []
        report("sanity checks", 1, 1)
        about = {
            **mapper.about(),
            "task": mapper.explainer.task.statement,
            **mapper.task.about(),
            **({"unit": unit} if unit else {}),
            **({"notes on the model": " ".join(map(for_page, mapper.notes))} if mapper.notes else {}),
            "scaling": mapper.preprocessing.statement if isinstance(source, Samples) else "as the data set gives it.",
            "data": _shown(data, len(rows.index)),
            **_about_names(mapper, task),
            "engine": engine if engine == "local" else f"{engine}, {workers} workers",
            "seconds of the pass": f"{passed:.0f}",
            "seed": str(seed),
            **_about_pictures(rows, under_audit.changed),
            "date": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        }
        result = AuditResult(
            rows,
            names,
            looks,
            findings,
            metrics,
            checks,
            about,
            mapper.size,
            directory,
            task,
            thresholds,
            unit,
        )
        write_numbers(result, directory / "audit.json")
        write_suspects([finding.suspect for finding in findings], directory / SUSPECTS)
        write_report(result, directory / "index.html", under_audit.larger)
        report("pictures", 1, 1)
    return result


def open_source(
    data: str | os.PathLike[str] | tf.data.Dataset,
    mapper: AuditMapper,
    engine: str,
    classes: str | os.PathLike[str] | None,
    truth: str | os.PathLike[str] | None,
) -> Samples | DatasetSource:
    """Return the images of a data set with what it says of them; errors as `audit`."""
    names = mapper.class_names if mapper.has_names else None
    if not isinstance(data, (str, os.PathLike)) and classes is not None:
        raise ValueError("Expected a folder as data set for a table of folders, received a tf.data.Dataset.")
    source = mapper.task.source(data, names, classes, truth)
    if source.note:
        warn(source.note)
    for name, table in mapper.inputs.tables.items():
        if isinstance(source, DatasetSource):
            raise ValueError(
                f"Expected one value of the input '{name}' for all images of a tf.data.Dataset, received '{table}', "
                "whose rows name files. Give the files as a folder or a CSV file."
            )
    if isinstance(source, DatasetSource) and engine == "ray":
        raise ValueError(
            "Expected engine='local' for a tf.data.Dataset, received engine='ray': Ray's workers read files. Give a "
            "folder or a CSV file."
        )
    return source


def _about_names(mapper: AuditMapper, task: str) -> dict[str, str]:
    if task == "regression":
        return {}
    return {"class names": "as given" if mapper.has_names else "from the data set, in its order"}


def names_of_outputs(mapper: AuditMapper, source: Samples | DatasetSource) -> list[str]:
    """Return the model's class names, or the data set's if only they are known and their number is right."""
    if mapper.has_names or not source.class_names:
        return mapper.class_names
    if len(source.class_names) > len(mapper.class_names):
        fact = (
            f"Expected a data set of at most the {len(mapper.class_names)} classes of the model, received "
            f"{len(source.class_names)} ({', '.join(source.class_names[:5])}, ...). Name the model's classes by"
        )
        raise ValueError(Message(fact, "class_names.", "--class-names."))
    if len(source.class_names) < len(mapper.class_names):
        fact = (
            f"Expected names for the {len(mapper.class_names)} classes of the model: the data set has "
            f"{len(source.class_names)}, and which they are is not known. Give names in class order by"
        )
        raise ValueError(Message(fact, "class_names.", "--class-names."))
    return list(source.class_names)


def _pass(
    mapper: AuditMapper,
    source: Samples | DatasetSource,
    parts: PartFolder,
    engine: str,
    batch_size: int,
    workers: int,
    progress: Callable[[int, int | None], object],
) -> None:
    if engine == "ray":
        assert isinstance(source, Samples)
        run_ray(mapper.arguments, source, parts, batch_size, workers, progress)
    else:
        run_local(mapper, source, parts, batch_size, progress)


def _with_known_labels(rows: Rows, count: int) -> Rows:
    """Refuse labels beyond the model's classes, which only a `tf.data.Dataset` can have."""
    if (rows.label >= count).any():
        raise ValueError(
            f"Expected labels from 0 to {count - 1}, received {int(rows.label.max())} in the data set. Correct the "
            "labels, or choose a model with as many classes."
        )
    return rows


def _regions(source: Samples | DatasetSource, boxes: Any, masks: Any) -> KnownRegions | None:
    if boxes is None and masks is None:
        return None
    if boxes is not None and masks is not None:
        raise ValueError("Expected boxes or masks, received both. Choose one.")
    if not isinstance(source, Samples):
        raise ValueError(
            "Expected a folder or CSV file as data set for boxes and masks, which name files, received a "
            "tf.data.Dataset. Give the files."
        )
    return BoxTable(boxes, source.files) if boxes is not None else MaskFolder(masks, source.files)


def _inside(regions: KnownRegions | None, size: tuple[int, int]) -> Callable[[Sequence[int]], np.ndarray] | None:
    """Return a function from rows to the pixels of their objects; all pixels where no object is annotated."""
    if regions is None:
        return None

    def inside(rows: Sequence[int]) -> np.ndarray:
        return np.stack([regions.region(row, size) > 0 if regions.known[row] else np.ones(size, bool) for row in rows])

    return inside


def _metrics(
    mapper: AuditMapper,
    under_audit: ModelUnderAudit,
    rows: Rows,
    regions: KnownRegions | None,
    num_images: int,
    seed: int,
) -> list[Metric]:
    chosen = _some(rows, num_images, seed, None if regions is None else regions.known)
    if not len(chosen):
        return []
    given: dict[str, Any] = {}
    if regions is not None:
        kind = "boxes" if regions.kind == "box" else "masks"
        given[kind] = [regions.region(row, mapper.size) if regions.known[row] else None for row in chosen]
    return measure(
        lambda inputs, target: strengths(mapper.explainer(inputs, target)),
        under_audit.predict_inputs,
        under_audit.images(chosen.tolist()),
        rows.predicted[chosen],
        method=mapper.explainer.method,
        seed=seed,
        num_images=num_images,
        unit=(mapper.arguments["unit"] or "") if mapper.task.name == "regression" else None,
        join=lambda images, positions: under_audit.inputs(images, chosen[positions]),
        **given,
    )


def _sanity(mapper: AuditMapper, under_audit: ModelUnderAudit, rows: Rows, seed: int) -> list[SanityCheck]:
    chosen = _some(rows, _SANITY_IMAGES, seed)
    if not len(chosen):
        return []
    known = mapper.preprocessing
    return sanity_checks(
        mapper.model,
        under_audit.inputs(under_audit.images(chosen.tolist()), chosen),
        rows.predicted[chosen],
        **mapper.explained_as,
        method=mapper.arguments["method"],
        scaling=known.mode if known.source in ("given", "file", "detected") else None,
        seed=seed,
    )


def _about_pictures(rows: Rows, changed: set[str]) -> dict[str, str]:
    """Return what was done to read pictures, and which were replaced while the audit ran; warn of both."""
    found = {}
    names = rows.file[rows.note != ""]
    if len(names):
        found["notes on pictures"] = f"{len(names)}, such as '{names[0]}': {rows.note[rows.note != ''][0]}"
    if changed:
        found["pictures replaced during the audit"] = (
            f"{len(changed)}, such as '{min(changed)}': they were explained as they were, and tested as they are now. "
            "Run the audit again in another folder"
        )
    for key, text in found.items():
        warn(f"{key[0].upper()}{key[1:]}: {text}.")
    return found


def _some(rows: Rows, count: int, seed: int, first: np.ndarray | None = None) -> np.ndarray:
    """Return random positions of explained rows, the rows of the mask `first` before the others."""
    done = np.random.default_rng(seed).permutation(np.flatnonzero(rows.is_done))
    if first is not None:
        done = done[np.argsort(~first[done], kind="stable")]
    return np.sort(done[:count])


def _shown(data: object, count: int) -> str:
    return os.fspath(data) if isinstance(data, (str, os.PathLike)) else f"a tf.data.Dataset of {count:,} images"
