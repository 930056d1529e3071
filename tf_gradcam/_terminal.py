"""Output on the terminal: one-line errors and notes, results, and TensorFlow without its start-up messages."""

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


def print_message(message: object, kind: str = "") -> None:
    """Print a text, an error or a warning on stderr, as one line and with the remedy for the command line."""
    click.echo(f"{PROGRAM}: {kind}{one_line(for_command_line(message))}", err=True)


def print_text(text: str) -> None:
    """Print a result on stdout."""
    click.echo(printable(text))


def one_line(message: str) -> str:
    return printable(" ".join(message.split()))


def printable(text: str) -> str:
    """Escape control characters: names of layers, classes and files may contain commands to the terminal."""
    return text.translate(_CONTROL)


_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def start_tensorflow() -> None:
    """Import TensorFlow and let it look for devices, without its messages unless TF_CPP_MIN_LOG_LEVEL is below 3."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # this package reports pictures that cannot be decoded
    os.environ["KERAS_BACKEND"] = "tensorflow"  # also if keras.json names another
    is_silent = os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"
    with _mute_stderr() if is_silent else contextlib.nullcontext():
        import tensorflow as tf

        tf.constant(0)
    if is_silent:
        for name in ("absl", "tensorflow"):
            logging.getLogger(name).setLevel(logging.ERROR)


@contextlib.contextmanager
def _mute_stderr() -> Iterator[None]:
    """Drop what C++ libraries write to file descriptor 2; TensorFlow's first messages ignore the log level."""
    with tempfile.TemporaryFile() as sink, contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # stderr is closed
            terminal = os.dup(2)
            stack.callback(os.close, terminal)
            stack.callback(os.dup2, terminal, 2)
            os.dup2(sink.fileno(), 2)
        yield


@contextlib.contextmanager
def downloads_on_stderr() -> Iterator[None]:
    """Move Keras' messages on downloads from stdout, which is for results, to a terminal, or drop them."""
    with contextlib.redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
        yield
