"""The commands `tf-gradcam layers`, `methods` and `demo`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tf_gradcam._cli.group import warnings_as_notes
from tf_gradcam._cli.options import OutFolder, import_option, weights_options
from tf_gradcam._terminal import downloads_on_stderr, print_text, start_tensorflow

if TYPE_CHECKING:
    from tf_gradcam._rules.table import MethodInfo


@click.command(short_help="List the layers of a model and mark those that can be explained.")
@click.argument("model", metavar="MODEL")
@weights_options
@import_option
@click.option("--offsets", is_flag=True, help="Measure the offset of each layer's cells; a second per layer.")
def layers(
    model: str, weights: str | None, model_args: tuple[str, ...], imports: tuple[str, ...], offsets: bool
) -> None:
    """List the layers of MODEL (a name of keras.applications or a file) and mark those that can be explained.

    The default is --weights none, because only --offsets depends on the weights.
    """
    start_tensorflow()
    from tf_gradcam._models.layer_list import layer_table, list_layers
    from tf_gradcam._models.loading import load_network
    from tf_gradcam._models.own_code import import_code

    with warnings_as_notes(), downloads_on_stderr():
        network = load_network(model, weights, model_args, import_code(imports))
    print_text(layer_table(list_layers(network, offsets), offsets))


@click.command(short_help="List the methods, their costs and sources.")
def methods() -> None:
    """List the methods with their summaries, costs and sources."""
    start_tensorflow()
    from tf_gradcam._rules.table import METHODS

    click.echo(method_list(METHODS))


def method_list(methods: Iterable[str]) -> str:
    """Return the text of `tf-gradcam methods`."""
    from tf_gradcam._rules.table import describe

    return "\n".join(line for info in map(describe, methods) for line in _method_lines(info))


def _method_lines(info: MethodInfo) -> list[str]:
    lines = [info.name, f"  {info.summary}"]
    return lines + [f"  {field}: {text}" for field, text in (("Cost", info.cost), ("Source", info.source)) if text]


@click.command(short_help="Explain generated brain slices with the bundled model.")
@click.option("--out", type=OutFolder(), default="demo", show_default=True, help="Folder for demo.png.")
def demo(out: Path) -> None:
    """Explain generated brain slices with the bundled model and compare the heat with the true tumour. Offline."""
    start_tensorflow()
    from tf_gradcam._files.find import prepared_folder
    from tf_gradcam.demo import run_demo

    with prepared_folder(out), warnings_as_notes():
        rows = run_demo(out)
    for row in rows:
        click.echo(row)
    click.echo(f"see {out / 'demo.png'}")
