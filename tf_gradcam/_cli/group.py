"""The group of commands: errors as one line, warnings as notes, a progress bar."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import click

from tf_gradcam._errors import ModelWarning
from tf_gradcam._terminal import PROGRAM, print_message

TRACEBACK = "TF_GRADCAM_TRACEBACK"  # if set, errors show their traceback
WRONG_USE, SOME_FAILED, GATE_FAILED, INTERRUPTED = 2, 1, 3, 130


class OneLineGroup(click.Group):
    """A group of commands whose errors are one line on stderr. A command may return its exit status."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        for stream in (sys.stdout, sys.stderr):  # escape a name that the terminal cannot show
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
        except (ValueError, TypeError, OSError, ImportError) as error:  # raised by this package, with a message
            fail(error, WRONG_USE)
        except Exception as error:
            advice = f"Set {TRACEBACK}=1 in the environment to see where."
            fail(f"Unexpected {type(error).__name__}: {str(error).rstrip('.')}. {advice}", SOME_FAILED)
        sys.exit(status or 0)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # click prints an empty line, which only a terminal needs, after ^C
            if sys.stderr.isatty():
                click.echo(err=True)
            raise _InterruptedError from error


def _as_option(args: Sequence[str] | None) -> str:
    """Return the remedy for a model file that was given without its option, else ""."""
    words = [str(word) for word in (sys.argv[1:] if args is None else args)]
    files = [word for word in words if word.lower().endswith((".keras", ".h5", ".hdf5"))]
    is_lost = files and not any(word.partition("=")[0] in ("--model", "--weights") for word in words)
    return f" Give a model with --model {files[0]}." if is_lost else ""


class _InterruptedError(Exception):
    """Ctrl-C."""


def fail(message: object, status: int) -> NoReturn:
    """End the program with one line on stderr."""
    if os.environ.get(TRACEBACK):
        raise
    print_message(message)
    sys.exit(status)


@contextlib.contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Print each warning of this package once, as one line, and drop the warnings of the libraries."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ModelWarning)
        printed: set[str] = set()

        def print_once(message: Warning | str, *args: Any, **kwargs: Any) -> None:
            if str(message) not in printed:
                printed.add(str(message))
                print_message(message, "note: ")

        warnings.showwarning = print_once
        yield


class ProgressBar:
    """A progress bar of images on stderr, if that is a terminal; other lines are printed above it."""

    def __init__(self, length: int):
        is_terminal = sys.stderr.isatty()
        self._bar = click.progressbar(length=length, show_pos=True, file=sys.stderr) if is_terminal else None

    def __enter__(self) -> ProgressBar:
        if self._bar:
            self._bar.__enter__()
        return self

    def clear(self) -> None:
        """Clear the line of the bar for other text; `advance` draws it again."""
        if self._bar:
            click.echo("\r\x1b[K", nl=False, err=True)

    def advance(self) -> None:
        if self._bar:
            self._bar.update(1)

    def __exit__(self, *error: Any) -> None:
        if self._bar:
            self._bar.__exit__(*error)
