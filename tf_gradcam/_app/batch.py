"""Many uploaded pictures explained into one archive."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tf_gradcam._app.html import Look
from tf_gradcam._app.model import AppModel, Question, target_of
from tf_gradcam._app.uploads import MAX_BATCH, check_picture, without_folder, zip_folder
from tf_gradcam._app.worker import Job
from tf_gradcam._explain.batch import BatchExplainer, Result
from tf_gradcam._files.find import output_stems
from tf_gradcam._files.manifest import FAILED, Manifest, Row


@dataclass(frozen=True)
class BatchReport:
    """What became of the pictures.

    archive: the zip file: overlays, heatmaps and manifest.csv.
    results: one a picture, in their order.
    """

    archive: Path
    results: list[Result]

    @property
    def failed(self) -> int:
        return sum(result.row.status == FAILED for result in self.results)


def explain_batch(
    model: AppModel, paths: Sequence[Path], question: Question, look: Look, folder: Path, job: Job
) -> BatchReport:
    """Overlays and heatmaps as `tf-gradcam explain` writes them, in a zip file; runs in the model's thread.

    Args:
        model: what is asked.
        paths: of the uploaded pictures; they are removed when it ends, however it ends.
        question: the same for all.
        look: its opacity and colours; its threshold is for looking at one picture.
        folder: of the session; the archive is written there.
        job: told after each picture.

    Raises:
        Stopped: the job was asked to stop; no archive is left.
        ValueError: no pictures, or more than `MAX_BATCH`; as `Explainer`.
    """
    if not 0 < len(paths) <= MAX_BATCH:
        raise ValueError(
            f"Expected 1 to {MAX_BATCH} pictures, received {len(paths)}. For more, use `tf-gradcam explain FOLDER`."
        )
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
    job.tell(0.0, f"{len(paths)} pictures")
    refused = {path: reason for path in paths if (reason := _why_refused(path))}
    taken = [path for path in paths if path not in refused]
    batch = BatchExplainer(
        model.explainer(question.layer, question.method),
        model.preprocessing(question.mode),
        target=target_of(question),
        alpha=look.alpha,
        colormap=look.colormap or ("jet" if question.against is None else "bwr"),
        batch_size=4,
    )
    results = {path: Result(Row(str(path), FAILED, error=reason), [], None) for path, reason in refused.items()}
    for path, result in zip(taken, batch.run(taken, output_stems(taken), out), strict=True):
        results[path] = result
        job.tell(len(results) / len(paths), f"{len(paths)} pictures")
    ordered = [_by_name(results[path], path) for path in paths]
    with Manifest(out / "manifest.csv") as manifest:
        for result in ordered:
            manifest.add(result.row)
    return ordered


def _why_refused(path: Path) -> str | None:
    try:
        check_picture(path)
    except ValueError as error:
        return str(error)
    return None


def _by_name(result: Result, path: Path) -> Result:
    """Its file by its name: where it lies here is nobody's business."""
    row = result.row
    return dataclasses.replace(
        result, row=dataclasses.replace(row, file=path.name, error=without_folder(row.error, [path]))
    )
