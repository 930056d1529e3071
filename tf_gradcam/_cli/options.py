"""Options that several commands take."""

from __future__ import annotations

from typing import Any

import click


def weights_options(command: Any) -> Any:
    """Add the options that choose the weights and build a network of keras.applications."""
    weights = click.option(
        "--weights",
        metavar="imagenet|none|FILE",
        help="A file (.weights.h5, .keras, .h5), 'imagenet' (downloaded once) or 'none' (random). A model file has its "
        "own.",
    )
    arguments = click.option(
        "--model-arg",
        "model_args",
        metavar="KEY=VALUE",
        multiple=True,
        help="An argument of the network's constructor in keras.applications, such as alpha=0.75 or classes=10. "
        "Can be given several times.",
    )
    return weights(arguments(command))
