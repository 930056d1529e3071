"""Options of several commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from tf_gradcam._errors import unknown_name

# The keys of METHODS, in its order: importing that table imports TensorFlow, too slow for each Tab in the shell.
METHOD_NAMES = (
    *("gradcam", "gradcam_pp", "xgradcam", "hirescam", "gradcam_elementwise", "layercam", "shapleycam", "cam"),
    *("eigencam", "eigengradcam", "fem", "scorecam", "faster_scorecam", "sscam", "iscam", "ablationcam", "fullgrad"),
    "random",
)


class OutFolder(click.Path):
    """The type of a folder for results; an empty name, as of an unset variable in a script, is refused."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fspath(value).strip():
            self.fail("Expected a folder for the results, received an empty name", param, ctx)
        return super().convert(value, param, ctx)


class MethodParam(click.ParamType):
    """The type of a method's name, which the shell completes."""

    name = "method"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in METHOD_NAMES:
            self.fail(unknown_name("method", value, METHOD_NAMES), param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in METHOD_NAMES if name.startswith(incomplete)]


method_option = click.option(
    "--method", type=MethodParam(), default="gradcam", show_default=True, help="A name that `tf-gradcam methods` lists."
)


task_option = click.option(
    "--task",
    metavar="TASK",
    help="classification (one class of an image), multilabel (any number of them), regression (values), segmentation "
    "or detection; by default what the file says, or the output shows.",
)
unit_option = click.option("--unit", metavar="TEXT", help="Unit of the values of a regression, such as years.")


class ThresholdParam(click.ParamType):
    """The type of thresholds: one number, or NAME=NUMBER for each class, separated by commas."""

    name = "threshold"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [part.rpartition("=") for part in value.split(",")]
        try:
            numbers = [float(number) for _, _, number in pairs]
        except ValueError:
            self.fail(f"Expected a number, or NAME=NUMBER,NAME=NUMBER, received {value!r}", param, ctx)
        if any(not 0 <= number <= 1 for number in numbers):
            self.fail(f"Expected thresholds from 0 to 1, received {value!r}", param, ctx)
        if len(pairs) == 1 and not pairs[0][1]:
            return numbers[0]
        names = [name.strip() for name, _, _ in pairs]
        keys = [int(name) if name.isdecimal() else name for name in names]
        return dict(zip(keys, numbers, strict=True))


class SavedParam(click.ParamType):
    """The type of what is written of each map: names of `SAVED`, separated by commas."""

    name = "saved"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from tf_gradcam._files.find import SAVED

        if not isinstance(value, str):
            return value
        names = [name.strip() for name in value.split(",")]
        unknown = [name for name in names if name not in SAVED]
        if unknown:
            self.fail(unknown_name("part of the results", unknown[0], SAVED), param, ctx)
        return tuple(name for name in SAVED if name in names)


preprocess_option = click.option(
    "--preprocess",
    default="auto",
    show_default=True,
    metavar="MODE",
    help="Pixel values of the model: none or raw (0..255), raw16 (0..65535), unit ([0, 1]), tf ([-1, 1]), torch, "
    "caffe, standard (each picture's mean and deviation); detect finds them from the pictures; auto takes them "
    "from the file's description or the model.",
)


import_option = click.option(
    "--import",
    "imports",
    metavar="MODULE|FILE.py",
    multiple=True,
    help="Run this Python code of your own, which defines layers, models or functions that the model's file needs; may "
    "be repeated.",
)


input_option = click.option(
    "--input",
    "given",
    metavar="NAME=VALUE",
    multiple=True,
    help="A further input of the model, once for each: a number, a list (1,2,3), a .npy file, a picture, or a CSV file "
    "with a column `file` and a row for each image.",
)


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
        help="Argument of the network's constructor in keras.applications, such as alpha=0.75 or classes=10; may be "
        "repeated.",
    )
    return weights(arguments(command))
