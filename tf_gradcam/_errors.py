"""Messages of errors and warnings: remedies in two spellings, unknown names, missing files, missing extras."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import warnings
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType


class Message(str):
    """A sentence and its remedy for Python; `option` is the same sentence with the remedy for the command line.

    Errors, warnings and diagnoses take it as their text. `fact` is the sentence alone, for the web page.

    Args:
        fact: what was expected and received.
        python: the remedy, as arguments and calls.
        option: the remedy, as options and commands.
    """

    option: str
    fact: str

    def __new__(cls, fact: str, python: str = "", option: str = "") -> Message:
        message = super().__new__(cls, f"{fact} {python}".strip())
        message.option = f"{fact} {option}".strip()
        message.fact = fact
        return message

    def format(self, *values: object, **named: object) -> Message:
        """Fill in both spellings."""
        message = Message(super().format(*values, **named))
        message.option = self.option.format(*values, **named)
        message.fact = self.fact.format(*values, **named)
        return message


def for_command_line(message: object) -> str:
    """Return the command line's spelling of a text, or of the message of an error or a warning."""
    text = message.args[0] if isinstance(message, BaseException) and len(message.args) == 1 else message
    return text.option if isinstance(text, Message) else str(message)


def for_page(message: object) -> str:
    """Return a text without the remedies that only Python or the command line can follow."""
    return message.fact if isinstance(message, Message) else str(message)


def joined_messages(messages: Iterable[str]) -> Message:
    """Return several texts as one, in every spelling."""
    messages = list(messages)
    joint = Message("; ".join(messages))
    joint.option = "; ".join(map(for_command_line, messages))
    joint.fact = "; ".join(filter(None, map(for_page, messages)))
    return joint


class ModelWarning(UserWarning):
    """A warning of an assumption about a model or its images, or of something that looks wrong."""


def warn(message: str, category: type[ModelWarning] = ModelWarning) -> None:
    """Warn at the line outside this package that led here, so that Python shows the warning once per line."""
    if (collected := _collected.get()) is not None:
        collected.append(message)
    depth, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "tf_gradcam":
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, category, stacklevel=depth + 1)


_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)


@contextlib.contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect the texts of this package's warnings in the block and this thread; they are shown as always."""
    texts: list[str] = []
    before = _collected.set(texts)
    try:
        yield texts
    finally:
        _collected.reset(before)


def install_command(extra: str) -> str:
    """Return the command that installs an extra, in a clone until a package index has tf-gradcam."""
    return f'pip install ".[{extra}]"'


def require(module: str, extra: str) -> ModuleType:
    """Import a module of an optional package.

    Args:
        module: dotted name, such as "pyarrow.parquet".
        extra: the extra of tf-gradcam that installs it.

    Raises:
        ImportError: the package is not installed; the message names the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not (error.name and module.startswith(error.name)):
            raise
        raise ImportError(
            f"This needs the package '{module.partition('.')[0]}', which is not installed. In a clone of tf-gradcam: "
            f"{install_command(extra)}"
        ) from error


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name of a kind such as "layer", with the nearest known names."""
    known = list(dict.fromkeys(known))
    lower = {candidate.lower().rpartition("/")[2]: candidate for candidate in reversed(known)}  # the end of a path
    lower |= {candidate.lower(): candidate for candidate in reversed(known)}
    near = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]
    inside = [candidate for candidate in known if name and name.lower() in candidate.lower()]
    suggestions = list(dict.fromkeys(near + inside))[:5]
    if suggestions:
        return f"Unknown {kind} '{name}'. Did you mean {_listed(suggestions)}?"
    return f"Unknown {kind} '{name}'. Known: {_listed(known[:12])}{', ...' if len(known) > 12 else ''}."


def nearest_files(path: Path, suffixes: tuple[str, ...] = ()) -> str:
    """Return the remedy for a file that does not exist: the nearest names in its folder, with these suffixes if any."""
    try:
        known = [file.name for file in path.parent.iterdir() if file.is_file()]
    except OSError:
        known = []
    known = [name for name in known if not suffixes or Path(name).suffix.lower() in suffixes]
    near = difflib.get_close_matches(path.name, known, n=3, cutoff=0.6 if suffixes else 0.75)
    near = near or [name for name in known if Path(name).stem == path.name][:3]
    return f"Did you mean {_listed([str(path.parent / name) for name in near])}?" if near else "Check the path."


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
