"""The command `tf-gradcam repair`. TensorFlow is imported when it runs, so that help is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tf_gradcam._cli.audit import Stages
from tf_gradcam._cli.group import SOME_FAILED, warnings_as_notes
from tf_gradcam._cli.options import OutFolder, import_option, input_option
from tf_gradcam._errors import install_command
from tf_gradcam._terminal import downloads_on_stderr, print_text, start_tensorflow


@click.command(
    short_help="Train a shortcut that an audit found out of a model.",
    epilog=f"\b\nNeeds more packages. In a clone of tf-gradcam: {install_command('audit')}",
)
@click.argument("model", metavar="RUN|MODEL", type=click.Path())
@click.argument("data", type=click.Path())
@click.option("--report", required=True, type=click.Path(), help="Folder of the audit of this model over these data.")
@click.option(
    "--finding",
    type=click.IntRange(min=1),
    help="Number of the finding in the report, from 1; the strongest shortcut by default.",
)
@click.option(
    "--how",
    type=click.Choice(["augment", "guide", "both"]),
    default="augment",
    show_default=True,
    help="Change the images, forbid the region of the finding to the maps, or both.",
)
@click.option(
    "--from-layer",
    metavar="PATH",
    help="First layer that is fine-tuned, as `tf-gradcam layers` lists it; the middle one of those with weights by "
    "default.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=30, show_default=True, help="Passes over the images.")
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-3,
    show_default=True,
    help="Of Adam at the start; it falls to zero.",
)
@click.option(
    "--held-out",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    default=0.3,
    show_default=True,
    help="Part of the images that is tested on, and never trained on.",
)
@click.option("--classes", type=click.Path(), help="CSV of folders, as the audit was given.")
@import_option
@input_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all random choices.")
@click.option("--out", required=True, type=OutFolder(), help="Folder for the repaired model and the numbers.")
def repair(
    model: str,
    data: str,
    report: str,
    out: Path,
    given: tuple[str, ...],
    **options: Any,
) -> int:
    """Train a shortcut out of a model, and measure on held-out images whether it is gone.

    RUN|MODEL is the model that was audited: its file, or the folder of its training run. DATA are the audited images,
    with their labels.

    The shortcut is erased from images that show it and pasted into images of other classes, at random, and the last
    layers are trained on. The audit's interventions are then repeated on images that were held out, and the numbers
    before and after are printed side by side.

    \b
    OUT/model.keras     the repaired model, with its class names inside
    OUT/repair.json     the numbers
    OUT/repair.png      maps of the same held-out images before and after
    OUT/held_out.csv    the held-out images, which `tf-gradcam audit` takes as DATA

    Exit status: 0 the shortcut is gone and the accuracy has not fallen; 1 it is not, or it has; 2 wrong use.
    """
    from tf_gradcam._files.find import prepared_folder

    start_tensorflow()
    from tf_gradcam.repair import repair as run

    with prepared_folder(out), warnings_as_notes(), downloads_on_stderr(), Stages() as stages:
        result = run(model, data, report, out, inputs=given, progress=stages, **options)
    print_text(f"finding {result.number}: {result.finding}")
    trained, held = result.about["images"]["trained on"], result.about["images"]["held out"]
    print_text(f"trained from '{result.about['from_layer']}' on, with {trained} images; {held} are held out")
    for line in str(result).splitlines():
        print_text(line)
    print_text(result.verdict)
    print_text(f"see {out / 'repair.png'}")
    return 0 if result.is_removed else SOME_FAILED
