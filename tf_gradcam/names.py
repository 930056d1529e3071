"""Unknown names answered with the nearest known ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
