"""Sentences that several errors share: unknown names, missing files, missing extras."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType


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
            f"This needs the package '{module.partition('.')[0]}', which is not installed. Install the extra: "
            f'pip install "tf-gradcam[{extra}]"'
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
