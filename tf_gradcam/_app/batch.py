"""The explanation of many uploaded pictures: an archive of all maps, and the pictures to open one by one."""

from __future__ import annotations

import dataclasses
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tf_gradcam._app.model import AppModel
from tf_gradcam._app.question import Question
from tf_gradcam._app.uploads import check_picture, take_upload, without_folder, zip_folder
from tf_gradcam._app.worker import Job
from tf_gradcam._explain.batch import BatchExplainer, Result
from tf_gradcam._files.find import output_stems
from tf_gradcam._files.manifest import FAILED, Manifest, Row
from tf_gradcam.image.overlay import Look

_THUMBNAIL = 256  # longest side of a thumbnail, pixels: a card of the gallery on a screen of fine pixels


@dataclass(frozen=True)
class BatchReport:
    """The result of a batch.

    Attributes:
        folder: of its files, with a name that no other batch has.
        archive: zip file with overlays, heatmaps and manifest.csv.
        results: one per picture, in their order, with a thumbnail where it has a map.
        pictures: the file of each picture; None where it failed.
        question: the settings; None once the model was changed, which may not have their layer or class.
        note: a doubt about the scaling of all pictures, or None.
    """

    folder: Path
    archive: Path
    results: list[Result]
    pictures: list[Path | None]
    question: Question | None
    note: str | None

    def thumbnail(self, number: int) -> bytes:
        """Return the JPEG of a picture; raise ValueError where it has none."""
        found = self.results[number].thumbnail if number < len(self.results) else b""
        if not found:
            raise ValueError(f"There is no thumbnail {number} of {len(self.results)} pictures. Open the page again.")
        return found


def explain_batch(
    model: AppModel, paths: Sequence[Path], question: Question, look: Look, folder: Path, job: Job
) -> BatchReport:
    """Write overlays and heatmaps as `tf-gradcam explain` does, into a zip file; runs in the model's thread.

    Args:
        model: the model.
        paths: the uploaded pictures; those with a map are moved to the report's folder, all others are removed.
        question: the settings, the same for all.
        look: the colours of the overlays.
        folder: of the session; the report's folder is made in it, and removed after an error.
        job: gets a report after each picture.

    Raises:
        Stopped: the job was cancelled.
        ValueError: as `Explainer`.
    """
    own = folder / f"batch-{secrets.token_hex(4)}"
    out = own / "maps"
    out.mkdir(parents=True)
    try:
        results, note = _run(model, paths, question, look, out, job)
        archive = own / "heatmaps.zip"
        zip_folder(out, archive)
        shutil.rmtree(out)
        kept: dict[Path, Path] = {}  # equal files that were chosen together have one path
        for number, (path, result) in enumerate(zip(paths, results, strict=True)):
            if result.row.status != FAILED and path not in kept:
                kept[path] = take_upload(path, own / str(number))  # in a folder of its own: two may have one name
        pictures = [kept.get(path) for path in paths]
        job.check()
        return BatchReport(own, archive, results, pictures, question, note)
    except BaseException:
        shutil.rmtree(own, ignore_errors=True)
        raise
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def _run(
    model: AppModel, paths: Sequence[Path], question: Question, look: Look, out: Path, job: Job
) -> tuple[list[Result], str | None]:
    """Return the results in the order of the pictures, and a doubt about the scaling."""
    job.report(0.0, f"{len(paths)} pictures")
    refused = {path: reason for path in paths if (reason := _refusal(path))}
    taken = [path for path in paths if path not in refused]
    note = model.doubt(taken, question.mode)
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
        thumbnail_side=_THUMBNAIL,
    )
    results = {path: Result([Row(str(path), FAILED, error=reason)], [], []) for path, reason in refused.items()}
    for path, result in zip(taken, batch.run(taken, output_stems(taken), out), strict=True):
        results[path] = result
        job.report(len(results) / len(paths))
    ordered = [_by_name(results[path], path) for path in paths]
    with Manifest(out / "manifest.csv") as manifest:
        for result in ordered:
            manifest.add(*result.rows)
    return ordered, note


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
