"""Options of several commands."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from tf_gradcam._errors import unknown_name
from tf_gradcam._terminal import print_text

if TYPE_CHECKING:
    from tf_gradcam.audit.gate import Quantity
    from tf_gradcam.metrics.intervals import Interval

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


def gate_options(command: Any, example: str = "shortcut,accuracy<0.95,blank>0.01") -> Any:
    """Add the options that make a command fail on conditions, such as the example."""
    fail_on = click.option(
        "--fail-on",
        metavar="CONDITION,...",
        help=f"Exit with 3 where a condition holds, such as {example}.",
    )
    junit = click.option(
        "--junit",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write the conditions of --fail-on to this file as tests in JUnit's XML.",
    )
    return fail_on(junit(command))


@contextlib.contextmanager
def prepared_junit(fail_on: str | None, junit: Path | None) -> Iterator[None]:
    """Check that the file of `--junit` can be written, before the work begins; errors as `prepared_folder`."""
    from tf_gradcam._files.find import prepared_folder

    if junit is not None and fail_on is None:
        raise click.UsageError("Expected conditions for the file of --junit. Give them with --fail-on")
    with prepared_folder(junit.parent) if junit else contextlib.nullcontext():
        yield


def is_gate_passed(
    suite: str, fail_on: str | None, known: Sequence[Quantity], values: Mapping[str, Interval], junit: Path | None
) -> bool:
    """Print the conditions that hold and write the file of `--junit`; return whether none holds."""
    from tf_gradcam.audit.gate import parse_conditions, reasons, write_junit

    if fail_on is None:
        return True
    conditions = parse_conditions(fail_on, known)
    found = [reason for reason in reasons(conditions, values) if reason]
    for reason in found:
        print_text(f"FAILED {reason}")
    if not found:
        print_text(f"PASSED {', '.join(condition.text for condition in conditions)}")
    if junit is not None:
        write_junit(junit, suite, conditions, values)
    return not found


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
