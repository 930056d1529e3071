"""The group of commands: errors as one line, warnings as notes, a progress bar."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NoReturn

import click

from tf_gradcam._errors import ModelWarning
from tf_gradcam._terminal import PROGRAM, tell

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
            fail(error, WRONG_USE)
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


def fail(message: object, status: int) -> NoReturn:
    """End the program with one line on stderr."""
    if os.environ.get(TRACEBACK):
        raise
    tell(message)
    sys.exit(status)


@contextlib.contextmanager
def warnings_told() -> Iterator[None]:
    """Show this package's warnings as one line each, once, and those of the libraries not at all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ModelWarning)
        told: set[str] = set()

        def tell_once(message: Warning | str, *args: Any, **kwargs: Any) -> None:
            if str(message) not in told:
                told.add(str(message))
                tell(message, "note: ")

        warnings.showwarning = tell_once
        yield


class ProgressBar:
    """A bar on stderr while images are worked on, if that is a terminal; lines printed meanwhile go above it."""

    def __init__(self, length: int):
        is_terminal = sys.stderr.isatty()
        self._bar = click.progressbar(length=length, show_pos=True, file=sys.stderr) if is_terminal else None

    def __enter__(self) -> ProgressBar:
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
