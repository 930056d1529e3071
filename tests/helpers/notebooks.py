"""Notebooks without Jupyter: read, checked, run cell by cell in one namespace."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any


def read_notebook(path: Path) -> dict[str, Any]:
    """The notebook as it lies there."""
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in read_notebook(path)["cells"] if cell["cell_type"] == "code"]


def run_notebook(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """What the cells leave: their names, and what each cell's last line shows, as a notebook would show it."""
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for number, cell in enumerate(code_cells(path)):
        tree = ast.parse(cell)
        # A last line without a semicolon is shown.
        is_shown = isinstance(tree.body[-1], ast.Expr) and not cell.rstrip().endswith(";")
        last = ast.Expression(tree.body.pop().value) if is_shown else None  # type: ignore[attr-defined]
        where = f"{path.name}, code cell {number}"
        exec(compile(tree, where, "exec"), names)
        result = None if last is None else eval(compile(last, where, "eval"), names)
        if result is not None:
            shown.append(result)
    return names, shown
