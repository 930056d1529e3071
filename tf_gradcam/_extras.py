"""Packages that only some commands need: imported when they are, with the remedy where they are not installed."""

from __future__ import annotations

import importlib
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
