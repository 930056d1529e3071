"""Sentences that several errors share: remedies in two spellings, unknown names, missing files, missing extras."""

from __future__ import annotations

import difflib
import importlib
import inspect
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType


class Message(str):
    """A sentence and its remedy for Python; `option` is the same sentence with the remedy for the command line.

    Errors, warnings and diagnoses take it as their text.

    Args:
        fact: what was expected and received.
        python: the remedy, as arguments and calls.
        option: the remedy, as options and commands.
    """

    option: str

    def __new__(cls, fact: str, python: str = "", option: str = "") -> Message:
        message = super().__new__(cls, f"{fact} {python}".strip())
        message.option = f"{fact} {option}".strip()
        return message

    def format(self, *values: object, **named: object) -> Message:
        """Fill in both spellings."""
        message = Message(super().format(*values, **named))
        message.option = self.option.format(*values, **named)
        return message


def for_command_line(message: object) -> str:
    """Return what the command line says in place of a text, or of the text of an error or a warning."""
    text = message.args[0] if isinstance(message, BaseException) and len(message.args) == 1 else message
    return text.option if isinstance(text, Message) else str(message)


class ModelWarning(UserWarning):
    """Something about a model, or about its images, that was assumed or looks wrong."""


def warn(message: str, category: type[ModelWarning] = ModelWarning) -> None:
    """Warn at the line of the caller's own that led here, so that the warning shows once for each such line."""
    depth, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "tf_gradcam":
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, category, stacklevel=depth + 1)


def install_command(extra: str) -> str:
    """Return the command that installs an extra: from a clone, as long as no package index has tf-gradcam."""
    return f'pip install ".[{extra}]"'


def require(module: str, extra: str) -> ModuleType:
    """A module of an optional package.

    Args:
        module: dotted name, such as "pyarrow.parquet".
        extra: the extra of tf-gradcam that installs it.

    Raises:
        ImportError: it is not installed; the message names the command that installs it.
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


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that does not exist: expected, received, remedy."""
    known = list(dict.fromkeys(known))
    lower = {candidate.lower().rpartition("/")[2]: candidate for candidate in reversed(known)}  # of a path, its end
    lower |= {candidate.lower(): candidate for candidate in reversed(known)}
    near = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]
    inside = [candidate for candidate in known if name and name.lower() in candidate.lower()]
    suggestions = list(dict.fromkeys(near + inside))[:5]
    if suggestions:
        return f"Unknown {what} '{name}'. Did you mean {_listed(suggestions)}?"
    return f"Unknown {what} '{name}'. Known: {_listed(known[:12])}{', ...' if len(known) > 12 else ''}."


def nearest_files(path: Path) -> str:
    """The remedy for a file that does not exist: the nearest names of its folder."""
    try:
        known = [one.name for one in path.parent.iterdir() if one.is_file()]
    except OSError:
        known = []
    near = difflib.get_close_matches(path.name, known, n=3, cutoff=0.75)
    near = near or [name for name in known if Path(name).stem == path.name][:3]
    return f"Did you mean {_listed([str(path.parent / name) for name in near])}?" if near else "Check the path."


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
