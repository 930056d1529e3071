"""What reaches the terminal: one-line errors and notes, a progress bar, and TensorFlow without its start-up talk."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
from collections.abc import Iterator

import click

from tf_gradcam._errors import for_command_line

PROGRAM = "tf-gradcam"


def tell(message: object, kind: str = "") -> None:
    """Print a text, an error or a warning on stderr, as one line and with the remedy for the command line."""
    click.echo(f"{PROGRAM}: {kind}{one_line(for_command_line(message))}", err=True)


def say(text: str) -> None:
    """Text on stdout."""
    click.echo(printable(text))


def one_line(message: str) -> str:
    return printable(" ".join(message.split()))


def printable(text: str) -> str:
    """Text that gives a terminal no orders: names of layers, classes and files come from whoever made them."""
    return text.translate(_CONTROL)


_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


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
