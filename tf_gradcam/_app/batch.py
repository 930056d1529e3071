"""The explanation of many uploaded pictures, as one archive."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tf_gradcam._app.model import AppModel
from tf_gradcam._app.question import Question
from tf_gradcam._app.uploads import check_picture, without_folder, zip_folder
from tf_gradcam._app.worker import Job
from tf_gradcam._explain.batch import BatchExplainer, Result
from tf_gradcam._files.find import output_stems
from tf_gradcam._files.manifest import FAILED, Manifest, Row
from tf_gradcam.image.overlay import Look


@dataclass(frozen=True)
class BatchReport:
    """The result of a batch.

    Attributes:
        archive: zip file with overlays, heatmaps and manifest.csv.
        results: one per picture, in their order.
    """

    archive: Path
    results: list[Result]

    @property
    def failed(self) -> int:
        return sum(result.row.status == FAILED for result in self.results)


def explain_batch(
    model: AppModel, paths: Sequence[Path], question: Question, look: Look, folder: Path, job: Job
) -> BatchReport:
    """Write overlays and heatmaps as `tf-gradcam explain` does, into a zip file; runs in the model's thread.

    Args:
        model: the model.
        paths: the uploaded pictures, which are removed at the end, also after an error.
        question: the settings, the same for all.
        look: the colours of the overlays.
        folder: of the session; the archive is written there.
        job: gets a report after each picture.

    Raises:
        Stopped: the job was cancelled; no archive is left.
        ValueError: as `Explainer`.
    """
    out = folder / "batch"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    try:
        results = _run(model, paths, question, look, out, job)
        archive = folder / "heatmaps.zip"
        zip_folder(out, archive)
        return BatchReport(archive, results)
    finally:
        shutil.rmtree(out, ignore_errors=True)
        for path in paths:
            path.unlink(missing_ok=True)


def _run(model: AppModel, paths: Sequence[Path], question: Question, look: Look, out: Path, job: Job) -> list[Result]:
    job.report(0.0, f"{len(paths)} pictures")
    refused = {path: reason for path in paths if (reason := _refusal(path))}
    taken = [path for path in paths if path not in refused]
    model.doubt(taken, question.mode)
    asked = model.asked(question)
    has_threshold = model.task.name == "detection" or asked.is_above
    batch = BatchExplainer(
        model.explainer(question.layer, question.method),
        model.preprocessing(question.mode),
        asked=asked,
        threshold=question.above if has_threshold else None,
        unit=model.said.unit,
        look=look,
        batch_size=4,
    )
    results = {path: Result([Row(str(path), FAILED, error=reason)], [], []) for path, reason in refused.items()}
    for path, result in zip(taken, batch.run(taken, output_stems(taken), out), strict=True):
        results[path] = result
        job.report(len(results) / len(paths))
    ordered = [_by_name(results[path], path) for path in paths]
    with Manifest(out / "manifest.csv") as manifest:
        for result in ordered:
            manifest.add(*result.rows)
    return ordered


def _refusal(path: Path) -> str | None:
    try:
        check_picture(path)
    except ValueError as error:
        return str(error)
    return None


def _by_name(result: Result, path: Path) -> Result:
    """Replace the path of the file by its name, because the user does not know the folder."""
    rows = [dataclasses.replace(row, file=path.name, error=without_folder(row.error, [path])) for row in result.rows]
    return dataclasses.replace(result, rows=rows)
