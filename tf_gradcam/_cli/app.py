"""The command `tf-gradcam app`. TensorFlow and Gradio are imported when it runs, so that help is quick."""

from __future__ import annotations

import click

from tf_gradcam._cli.group import warnings_as_notes
from tf_gradcam._cli.options import import_option, task_option, unit_option
from tf_gradcam._errors import install_command
from tf_gradcam._terminal import downloads_on_stderr, start_tensorflow


@click.command(
    short_help="Serve a web page that explains pictures, offline.",
    epilog=f"\b\nNeeds more packages. In a clone of tf-gradcam: {install_command('app')}",
)
@click.option("--model", metavar="NAME|FILE", help="VGG16, ... or a .keras or .h5 file; the bundled model by default.")
@click.option("--weights", metavar="imagenet|none|FILE", help="Weights of a network by name; a model file has its own.")
@click.option("--model-arg", "arguments", metavar="KEY=VALUE", multiple=True, help="As in `tf-gradcam explain`.")
@import_option
@click.option("--class-names", type=click.Path(), help="Names in class order: a text file, one a line, or JSON.")
@task_option
@unit_option
@click.option("--decode", metavar="WORDS", help="How a detector writes its boxes, as in `tf-gradcam explain`.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    metavar="NUMBER",
    help="Probability from which on a label of a multi-label model is explained, or score from which on a box counts; "
    "the page has a control for it.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="0 for any free port; 7860 by default.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 lets others in.")
@click.option(
    "--auth",
    metavar="USER:PASSWORD",
    envvar="TF_GRADCAM_AUTH",
    help="Ask everyone for this user and password. Other users of this machine can read it in the list of processes, "
    "but not in the variable TF_GRADCAM_AUTH. Without it, a --host that lets others in asks for a token, which is in "
    "the printed address.",
)
def app(
    model: str | None,
    weights: str | None,
    arguments: tuple[str, ...],
    imports: tuple[str, ...],
    class_names: str | None,
    task: str | None,
    unit: str | None,
    decode: str | None,
    threshold: float | None,
    port: int | None,
    host: str,
    auth: str | None,
) -> None:
    """Serve a web page that explains pictures: drop one, choose layer, method and class. Offline.

    Begins with the bundled model and generated slices. Ctrl-C ends it.
    """
    start_tensorflow()
    from tf_gradcam._app.model import Said
    from tf_gradcam._app.server import run_app

    with warnings_as_notes(), downloads_on_stderr():
        run_app(
            model,
            weights,
            class_names,
            port,
            host,
            auth=auth,
            arguments=arguments,
            imports=imports,
            said=Said(task, unit or "", decode, threshold),
            announce=lambda address: click.echo(f"{address} (Ctrl-C ends it)", err=True),
        )
