"""The command `tf-gradcam audit`. TensorFlow is imported when it runs, so that help is quick."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tf_gradcam._cli.group import GATE_FAILED, SOME_FAILED, warnings_as_notes
from tf_gradcam._cli.options import (
    OutFolder,
    ThresholdParam,
    gate_options,
    import_option,
    input_option,
    is_gate_passed,
    method_option,
    prepared_junit,
    preprocess_option,
    task_option,
    unit_option,
    weights_options,
)
from tf_gradcam._errors import install_command
from tf_gradcam._terminal import downloads_on_stderr, print_message, print_text, start_tensorflow

if TYPE_CHECKING:
    from tf_gradcam.audit.result import AuditResult


@click.command(
    short_help="Test whether a model recognises its classes by shortcuts.",
    epilog=f"\b\nNeeds more packages. In a clone of tf-gradcam: {install_command('audit')}",
)
@click.argument("data", type=click.Path())
@click.option(
    "--model",
    required=True,
    metavar="NAME|FILE",
    help="A .keras or .h5 file, VGG16, ... by name, or hub:PRESET for an image task of keras_hub.",
)
@weights_options
@import_option
@input_option
@click.option("--layer", metavar="PATH", help="A path that `tf-gradcam layers` lists; it marks the default.")
@method_option
@click.option(
    "--class-names",
    type=click.Path(),
    help="Names in class order: a text file, one a line, or JSON. By default those in the .keras file, else the sorted "
    "names of the folders.",
)
@preprocess_option
@task_option
@click.option(
    "--threshold",
    type=ThresholdParam(),
    metavar="NUMBER|NAME=NUMBER,...",
    help="Probability above which a label of a multi-label model counts, 0.5 by default.",
)
@unit_option
@click.option("--target", metavar="NAME|INDEX", help="The audited one of several values; the first by default.")
@click.option("--size", type=click.IntRange(min=1), help="Side of the images in pixels, if the model does not fix it.")
@click.option("--classes", type=click.Path(), help="CSV of folders: folder, class (a name or an index).")
@click.option("--boxes", type=click.Path(), help="CSV of objects: file, xmin, ymin, xmax, ymax.")
@click.option("--masks", type=click.Path(), help="Folder of masks <stem>.png, in place of boxes.")
@click.option(
    "--truth",
    type=click.Path(),
    help="Folder of masks <stem>.png of class indices, of a segmentation; 255 is unknown.",
)
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Ray processes.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Images per batch.")
@click.option("--num-images", type=click.IntRange(min=0), default=48, show_default=True, help="Images for the metrics.")
@click.option("--sanity/--no-sanity", default=True, show_default=True, help="Test the method on random weights.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all random choices.")
@gate_options
@click.option("--out", required=True, type=OutFolder(), help="Folder for the report.")
def audit(
    data: str,
    model: str,
    out: Path,
    layer: str | None,
    method: str,
    weights: str | None,
    class_names: str | None,
    preprocess: str,
    size: int | None,
    given: tuple[str, ...],
    fail_on: str | None,
    junit: Path | None,
    **options: Any,
) -> int:
    """Test over the data set DATA whether a model recognises its classes by shortcuts.

    DATA is a folder with a folder per class, or a CSV file with the columns file and label. Folders are matched with
    the class names by any case, synonym or WordNet number; --classes says which class another folder holds.

    Of several labels an image, DATA is a CSV file with the columns file and label, a line for each label, or with file
    and a column of 0 and 1 for each label, empty where unknown. Of values, it has the columns file and value. Of a
    segmentation, DATA is a folder of images and --truth one of their masks, or a CSV file with the columns file and
    mask.

    \b
    OUT/index.html      the report, one page: open it in a browser
    OUT/images/         larger pictures for it
    OUT/audit.json      its numbers
    OUT/findings.npz    what was erased and pasted in each finding
    OUT/rows/           a Parquet data set, one row per image; an interrupted audit continues from it

    Exit status: 0 all images were explained, with or without findings; 1 some failed, see their rows; 2 wrong use; 3 a
    condition of --fail-on holds, whether or not images failed.
    """
    from tf_gradcam._files.class_names import load_class_names
    from tf_gradcam._files.find import prepared_folder

    names = None if class_names is None else load_class_names(class_names)
    start_tensorflow()
    from tf_gradcam.audit.quantities import QUANTITIES, measured_quantities
    from tf_gradcam.audit.run import audit as run

    with (
        prepared_folder(out),
        prepared_junit(fail_on, junit),
        warnings_as_notes(),
        downloads_on_stderr(),
        Stages() as stages,
    ):
        result = run(
            model,
            data,
            out,
            layer=layer,
            method=method,
            weights=weights,
            class_names=names,
            preprocess=preprocess,
            size=(size, size) if size else None,
            inputs=given,
            fail_on=fail_on,
            progress=stages,
            **options,
        )
    failed = _report(result)
    values = measured_quantities(result) if fail_on is not None else {}
    is_passed = is_gate_passed("tf-gradcam audit", fail_on, QUANTITIES, values, junit)
    print_text(f"see {out / 'index.html'}")
    return failed if is_passed else GATE_FAILED


def _report(result: AuditResult) -> int:
    """Print what was found; return the exit status."""
    from tf_gradcam.audit.result import MIN_IMAGES

    failed, count = int((~result.rows.is_done).sum()), len(result.rows.index)
    labelled = int(result.is_labelled.sum())
    correct = f", {_score(result, labelled)}" if labelled else ""
    print_message(result.about["task"], "task: ")
    if "value" in result.about:
        print_message(result.about["value"], "value: ")
    print_message(result.about["scaling"], "scaling: ")
    print_text(f"{count - failed} of {count} images explained{correct}")
    for finding in result.shortcuts:
        print_text(f"SHORTCUT {finding.sentence}")
    if result.task == "segmentation":
        print_text("Shortcuts are not tested in a segmentation, see the report.")
    elif not result.shortcuts:
        tested = len(result.findings)
        print_text(f"No shortcut was found; {tested} suspect{'s were' if tested != 1 else ' was'} tested.")
    if result.untested:
        count = len(result.untested)
        one, many = _NOUNS[result.task]
        print_text(f"{count} {many if count > 1 else one} with fewer than {MIN_IMAGES} images not tested.")
    for check in result.sanity:
        if not check.is_passed:
            print_text(f"NOT TRUSTWORTHY {check.sentence}")
    _report_data(result)
    return SOME_FAILED if failed else 0


def _report_data(result: AuditResult) -> None:
    """Print how many images repeat others, and how many labels are probably wrong."""
    copies, wrong = sum(len(group.rows) - 1 for group in result.duplicates), len(result.label_errors)
    if copies:
        print_text(f"{copies} image{' repeats' if copies == 1 else 's repeat'} an earlier one.")
    if wrong:
        print_text(f"{wrong} label{' is' if wrong == 1 else 's are'} probably wrong.")


_NOUNS = {
    "classification": ("class", "classes"),
    "multilabel": ("label", "labels"),
    "regression": ("group of values", "groups of values"),
    "segmentation": ("class", "classes"),
}


def _score(result: AuditResult, labelled: int) -> str:
    """Return how often the model is right, or how far off."""
    if result.label_scores:
        mean = result.label_scores[-2].average_precision.value
        return f"mean average precision {mean:.3f} over {labelled} of them"
    found = result.segmentation_score
    if found is not None:
        mean, accuracy = found.mean_iou.value, found.accuracy.value
        return f"mean IoU {mean:.3f}, {accuracy:.2%} of the pixels right, over {labelled} of them"
    errors = result.error_score
    if errors is not None:
        error, baseline = result.in_words(errors.error.value), result.in_words(errors.baseline.value)
        return f"mean absolute error {error} over {labelled} of them (always the mean: {baseline})"
    return f"{result.accuracy:.2%} of {labelled} right"


class Stages(AbstractContextManager["Stages"]):
    """A progress bar per stage on stderr, if that is a terminal."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._stage = ""
        self._bar: Any = None
        self._done = 0

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if not self._is_terminal:
            return
        if stage != self._stage:
            self.close()
            self._stage, self._done = stage, 0
            self._bar = click.progressbar(length=total or None, label=stage, show_pos=True, file=sys.stderr)
            self._bar.__enter__()
        self._bar.update(done - self._done)
        self._done = done

    def close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None

    def __exit__(self, *_: object) -> None:
        self.close()
