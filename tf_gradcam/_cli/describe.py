"""The command `tf-gradcam describe`. TensorFlow is imported when it runs, so that help is quick."""

from __future__ import annotations

from pathlib import Path

import click

from tf_gradcam._terminal import print_text, start_tensorflow


@click.command(short_help="Write scaling, class names and task into a model file.")
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@click.option(
    "--preprocess",
    metavar="MODE",
    help="Pixel values of the training: as in `tf-gradcam explain`, without auto and detect.",
)
@click.option("--class-names", type=click.Path(), help="Names in class order: a text file, one a line, or JSON.")
@click.option(
    "--task", metavar="TASK", help="classification, multilabel, regression (values), segmentation or detection."
)
def describe(model: Path, preprocess: str | None, class_names: str | None, task: str | None) -> None:
    """Write scaling, class names and task into MODEL, a .keras or .h5 file, and print what it says then.

    Every command reads them back, so that no option is needed there; Keras loads the file as before. Without options
    the file is only read.
    """
    start_tensorflow()
    from tf_gradcam._models.description import describe as write

    print_text(str(write(model, preprocess=preprocess, class_names=class_names, task=task)))
