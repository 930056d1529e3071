"""The command `tf-gradcam diff`. TensorFlow is imported when it runs, so that help is quick."""

from __future__ import annotations

import contextlib
import functools
import sys
from pathlib import Path
from typing import Any

import click

from tf_gradcam._cli.group import GATE_FAILED, SOME_FAILED, warnings_as_notes
from tf_gradcam._cli.options import (
    OutFolder,
    ThresholdParam,
    gate_options,
    import_option,
    is_gate_passed,
    method_option,
    prepared_junit,
    preprocess_option,
    task_option,
)
from tf_gradcam._errors import install_command
from tf_gradcam._terminal import downloads_on_stderr, print_text, start_tensorflow


@click.command(
    short_help="Compare two models: changed answers, and evidence that moved.",
    epilog=f"\b\n--out needs more packages. In a clone of tf-gradcam: {install_command('audit')}",
)
@click.argument("old", metavar="OLD", type=click.Path())
@click.argument("new", metavar="NEW", type=click.Path())
@click.argument("data", metavar="DATA", type=click.Path())
@click.option("--out", type=OutFolder(), help="Folder for index.html and diff.json.")
@click.option(
    "--retrained",
    metavar="FILE",
    multiple=True,
    help="A model like OLD and as accurate, trained again; may be repeated. Replaces the changed copies.",
)
@click.option(
    "--copies",
    type=click.IntRange(min=1),
    default=19,
    show_default=True,
    help="Changed copies of each image; from 19 on an image is compared with its own.",
)
@import_option
@click.option("--layer", metavar="PATH", help="A path that `tf-gradcam layers` lists for every model.")
@method_option
@click.option(
    "--class-names",
    type=click.Path(),
    help="Names of all models in class order: a text file, one a line, or JSON. By default those in each file.",
)
@preprocess_option
@task_option
@click.option(
    "--threshold",
    type=ThresholdParam(),
    metavar="NUMBER|NAME=NUMBER,...",
    help="Probability above which a label of a multi-label model counts, 0.5 by default.",
)
@click.option("--size", type=click.IntRange(min=1), help="Side of the images in pixels, if the models do not fix it.")
@click.option("--classes", type=click.Path(), help="CSV of folders: folder, class (a name or an index).")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Images per batch.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all random choices.")
@functools.partial(gate_options, example="changed>0.05,moved>0.2")
def diff(
    old: str,
    new: str,
    data: str,
    out: Path | None,
    class_names: str | None,
    size: int | None,
    fail_on: str | None,
    junit: Path | None,
    **options: Any,
) -> int:
    """Compare the models OLD and NEW over the data set DATA: whose answers changed, and whose evidence moved.

    OLD and NEW are .keras or .h5 files, or names such as VGG16. DATA is a folder with a folder per class or of images
    alone, or a CSV file with the columns file and label. Each model gets the pictures at its own size and scaling;
    `tf-gradcam describe` writes scaling, class names and task into a file. Both maps of an image are of the class that
    OLD predicts, and are compared by their rank correlation. Evidence moved where it is below 95 % of the correlations
    of OLD's maps of the image and of slightly changed copies, or of OLD's maps and those of --retrained.

    \b
    OUT/index.html      the page: images whose evidence moved, and whose answer changed
    OUT/diff.json       all numbers, and those of every image

    Exit status: 0 all images were compared; 1 some failed; 2 wrong use; 3 a condition of --fail-on
    holds, whether or not images failed. A condition names changed, moved, undefined (a map is blank), failed or
    similarity.
    """
    from tf_gradcam._files.class_names import load_class_names
    from tf_gradcam._files.find import prepared_folder

    names = None if class_names is None else load_class_names(class_names)
    start_tensorflow()
    from tf_gradcam._diff.result import QUANTITIES
    from tf_gradcam._diff.run import compare_models
    from tf_gradcam.audit.gate import parse_conditions

    if fail_on is not None:  # a misspelt one is reported before the work
        parse_conditions(fail_on, QUANTITIES)

    with (
        prepared_folder(out) if out else contextlib.nullcontext(),
        prepared_junit(fail_on, junit),
        warnings_as_notes(),
        downloads_on_stderr(),
        contextlib.ExitStack() as stack,
    ):
        result = compare_models(
            old,
            new,
            data,
            out,
            class_names=names,
            size=(size, size) if size else None,
            progress=_progress(stack),
            **options,
        )
    for line in result.lines():
        print_text(line)
    is_passed = is_gate_passed("tf-gradcam diff", fail_on, QUANTITIES, result.quantities, junit)
    if out is not None:
        print_text(f"see {out / 'index.html'}")
    return (SOME_FAILED if result.failed.value else 0) if is_passed else GATE_FAILED


def _progress(stack: contextlib.ExitStack) -> Any:
    """Return a function that draws a progress bar of images on stderr, or None where that is not a terminal."""
    if not sys.stderr.isatty():
        return None
    bars: list[Any] = []

    def advance(done: int, total: int | None) -> None:
        if not bars:
            bars.append(stack.enter_context(click.progressbar(length=total, show_pos=True, file=sys.stderr)))
        bars[0].update(done - bars[0].pos)

    return advance
