"""What reaches the terminal: one-line errors and notes, a progress bar, and TensorFlow without its start-up talk."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NoReturn

import click

PROGRAM = "tf-gradcam"
TRACEBACK = "TF_GRADCAM_TRACEBACK"  # set to anything, errors come with their traceback
WRONG_USE, SOME_FAILED, INTERRUPTED = 2, 1, 130


class OneLineGroup(click.Group):
    """Commands whose errors are one line on stderr, whoever raises them. A command may return its exit status."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show is no reason to stop
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            status = super().main(args, prog_name or PROGRAM, complete_var, standalone_mode=False, **extra)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else PROGRAM
            message = error.format_message().rstrip(".")
            fail(f"{message}{'' if message.endswith('?') else '.'}{_as_option(args)} See `{path} --help`.", WRONG_USE)
        except click.ClickException as error:
            fail(error.format_message(), WRONG_USE)
        except (click.Abort, KeyboardInterrupt, _InterruptedError):
            fail("Interrupted.", INTERRUPTED)
        except (ValueError, TypeError, OSError, ImportError) as error:  # what this package raises, in words
            fail(str(error), WRONG_USE)
        except Exception as error:
            advice = f"{TRACEBACK}=1 in the environment shows where."
            fail(f"Unexpected {type(error).__name__}: {str(error).rstrip('.')}. {advice}", SOME_FAILED)
        sys.exit(status or 0)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # click would print an empty line, which a terminal alone needs: after ^C
            if sys.stderr.isatty():
                click.echo(err=True)
            raise _InterruptedError from error


def _as_option(args: Sequence[str] | None) -> str:
    """The remedy where a model file stands without its option."""
    words = [str(word) for word in (sys.argv[1:] if args is None else args)]
    files = [word for word in words if word.lower().endswith((".keras", ".h5", ".hdf5"))]
    is_lost = files and not any(word.partition("=")[0] in ("--model", "--weights") for word in words)
    return f" A model is given by --model {files[0]}." if is_lost else ""


class _InterruptedError(Exception):
    """Ctrl-C."""


def fail(message: str, status: int) -> NoReturn:
    """End the program with one line on stderr."""
    if os.environ.get(TRACEBACK):
        raise
    tell(message)
    sys.exit(status)


def tell(message: str) -> None:
    """One line on stderr, whatever breaks the message has."""
    click.echo(f"{PROGRAM}: {one_line(in_options(message))}", err=True)


def say(text: str) -> None:
    """Text on stdout."""
    click.echo(printable(text))


def one_line(message: str) -> str:
    return printable(" ".join(message.split()))


def printable(text: str) -> str:
    """Text that gives a terminal no orders: names of layers, classes and files come from whoever made them."""
    return text.translate(_CONTROL)


_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


# How the remedies of messages that were written for Python are spelled as options.
OPTIONS = {
    "Pass layer=,": "Pass --layer,",
    "list_layers(model)": "`tf-gradcam layers MODEL`",
    "Use method='gradcam'": "Use --method gradcam",
    "leave layer, classifier_layers, align and token_grid out": "leave --layer and --align out",
    "Pass class_names=[...] to the Explainer": "Give names by --class-names",
    "Expected class_names for": "Expected --class-names for",
    "Give class_names, in class order": "Give them by --class-names, in class order",
    " A mapping {index: name} may leave classes out.": "",
    "what makes it small is target=Unit(": "in Python, what makes it small is target=Unit(",
    "Pass target= a callable": "In Python, pass target= a callable",
    "Pass token_grid=(rows, columns)": "In Python, pass token_grid=(rows, columns)",
    "look at explanation.raw": "in Python look at explanation.raw",
}


def in_options(message: str) -> str:
    """A message that names options of the command in place of arguments in Python."""
    for written, spelled in OPTIONS.items():
        message = message.replace(written, spelled)
    return message


def start_tensorflow() -> None:
    """Import TensorFlow and let it look for devices; what it prints of that is held back.

    `TF_CPP_MIN_LOG_LEVEL` in the environment is respected: below 3 everything is shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what it cannot decode is told in our words
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the only one there is here, whatever keras.json says
    is_silent = os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"
    with _mute_stderr() if is_silent else contextlib.nullcontext():
        import tensorflow as tf

        tf.constant(0)
    if is_silent:
        for name in ("absl", "tensorflow"):
            logging.getLogger(name).setLevel(logging.ERROR)


@contextlib.contextmanager
def _mute_stderr() -> Iterator[None]:
    """Hold back the C++ libraries' writes to file descriptor 2; TensorFlow's first ones heed no log level."""
    with tempfile.TemporaryFile() as sink, contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # stderr is closed: there is nothing to mute
            terminal = os.dup(2)
            stack.callback(os.close, terminal)
            stack.callback(os.dup2, terminal, 2)
            os.dup2(sink.fileno(), 2)
        yield


@contextlib.contextmanager
def downloads_on_stderr() -> Iterator[None]:
    """Keras announces a download on stdout, which is for results: move that to a terminal, or drop it."""
    with contextlib.redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
        yield


@contextlib.contextmanager
def warnings_told() -> Iterator[None]:
    """Show this package's warnings as one line each, once, and those of the libraries not at all."""
    from tf_gradcam._models.preprocessing import ImageRangeWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ImageRangeWarning)
        told: set[str] = set()

        def tell_once(message: Warning | str, *args: Any, **kwargs: Any) -> None:
            if str(message) not in told:
                told.add(str(message))
                tell(f"note: {message}")

        warnings.showwarning = tell_once
        yield


class Progress:
    """A bar on stderr while images are worked on, if that is a terminal; lines printed meanwhile go above it."""

    def __init__(self, length: int):
        is_terminal = sys.stderr.isatty()
        self._bar = click.progressbar(length=length, show_pos=True, file=sys.stderr) if is_terminal else None

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.__enter__()
        return self

    def clear(self) -> None:
        """Empty the line of the bar, for text to be printed there; `advance` draws it again."""
        if self._bar:
            click.echo("\r\x1b[K", nl=False, err=True)

    def advance(self) -> None:
        if self._bar:
            self._bar.update(1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.__exit__(kind, error, trace)
