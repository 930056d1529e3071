"""Suspects as arrays in a file beside the report, so that another program can erase and paste what the audit did."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from tf_gradcam._files.atomic import write_bytes
from tf_gradcam._files.opening import check_file
from tf_gradcam.audit.shortcuts.suspects import Suspect

SUSPECTS = "findings.npz"  # in the folder of the report
_MAX_BYTES = 2**30
_TEXTS = ("kind", "source")


def to_arrays(suspect: Suspect) -> dict[str, np.ndarray]:
    """Return the attributes of a suspect as arrays; those that it does not have are left out."""
    known = {one.name: getattr(suspect, one.name) for one in fields(suspect)}
    return {name: np.asarray(value) for name, value in known.items() if value is not None}


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Suspect:
    """Return the suspect of `to_arrays`."""
    given: dict[str, Any] = {name: str(array) if name in _TEXTS else array for name, array in arrays.items()}
    if "tone" in given:
        given["tone"] = tuple(given["tone"])
    return Suspect(**given)


def write_suspects(suspects: Sequence[Mapping[str, np.ndarray]], path: Path) -> None:
    """Write the arrays of each finding, in their order, whole or not at all; raises as `write_bytes`."""
    named: dict[str, Any] = {
        f"{number}/{name}": array for number, one in enumerate(suspects) for name, array in one.items()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **named)
    write_bytes(path, buffer.getvalue())


def read_suspect(path: Path, number: int) -> Suspect | None:
    """Return the suspect of a finding, from 0; None if the file does not hold it.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is damaged, or was not written by `write_suspects`.
    """
    check_file(path, "the findings of an audit", _MAX_BYTES)
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as content:
            prefix = f"{number}/"
            arrays = {name.removeprefix(prefix): content[name] for name in content.files if name.startswith(prefix)}
        return from_arrays(arrays) if arrays else None
    except FileNotFoundError:
        raise
    except (ValueError, TypeError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"'{path}' is damaged, or was not written by an audit. Audit the model again.") from error
