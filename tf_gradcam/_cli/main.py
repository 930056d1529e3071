"""The command line: `tf-gradcam explain | layers | methods | demo | audit | repair | diff | describe | app`.

TensorFlow, OpenCV and NumPy are imported inside the commands, so that help and usage errors are quick.
"""

from __future__ import annotations

import click

from tf_gradcam._cli.app import app
from tf_gradcam._cli.audit import audit
from tf_gradcam._cli.describe import describe
from tf_gradcam._cli.diff import diff
from tf_gradcam._cli.explain import explain
from tf_gradcam._cli.group import OneLineGroup
from tf_gradcam._cli.info import demo, layers, methods
from tf_gradcam._cli.repair import repair
from tf_gradcam._version import __version__

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group("tf-gradcam", cls=OneLineGroup, context_settings=_SETTINGS, no_args_is_help=False)
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Heatmaps that show what the predictions of a Keras model rest on."""


for command in (explain, layers, methods, demo, audit, repair, diff, describe, app):
    main.add_command(command)
