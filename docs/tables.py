"""Write the generated blocks of the manual: the tables of methods and of quantities, and the options of the commands.

    python docs/tables.py

A block lies between `<!-- generated: NAME -->` and `<!-- end -->`. A test fails where a block is not current.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

import click

DOCS = Path(__file__).parent
BLOCK = re.compile(r"(<!-- generated: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def methods_table() -> str:
    """Return a row for each rule of `METHODS`, read from its docstring."""
    from tf_gradcam import METHODS

    rows = ["| method | what it does | cost | source |", "| --- | --- | --- | --- |"]
    for name, rule in METHODS.items():
        text = inspect.getdoc(rule) or ""
        summary = text.partition("\n")[0]
        source = re.sub(r"(.+?), (https?://[^\s,]+)", r"[\1](\2)", _field(text, "Source"), count=1)
        rows.append(f"| `{name}` | {summary} | {_field(text, 'Cost')} | {source} |")
    return "\n".join(rows) + "\n"


def _field(docstring: str, heading: str) -> str:
    """Return what follows "heading:" up to the next heading or blank line, without the last full stop."""
    end = r"(?=\s+Deviation: |\n[A-Z][a-z]+: |\n\n|\Z)"
    found = re.search(rf"^{heading}: (.+?){end}", docstring, re.DOTALL | re.MULTILINE)
    return " ".join(found[1].split()).removesuffix(".") if found else ""


def options_table(command: str) -> str:
    """Return a row for each option of a command of `tf-gradcam`."""
    from tf_gradcam.__main__ import main

    found = main.commands[command]
    context = click.Context(found, info_name=command)
    rows = ["| option | default | meaning |", "| --- | --- | --- |"]
    for option in found.params:
        if isinstance(option, click.Option):
            names = " / ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
            rows.append(f"| {names}{_value(option, context)} | {_default(option)} | {_escaped(option.help or '')} |")
    return "\n".join(rows) + "\n"


def _value(option: click.Option, context: click.Context) -> str:
    """Return the placeholder of an option's value; a bar in it must not end the cell."""
    if option.is_flag:
        return ""
    shown = option.make_metavar(context)
    for name, letter in (("INTEGER RANGE", "N"), ("FLOAT RANGE", "X")):
        shown = shown.replace(name, letter)
    return f" <code>{shown.replace('|', '&#124;')}</code>"


def _escaped(text: str) -> str:
    """Return text for a cell: no bar ends the cell, no placeholder such as <stem> is read as HTML."""
    pieces = text.split("`")  # odd pieces are code, which is shown as it is
    pieces[::2] = [piece.replace("<", "&lt;").replace("|", "\\|") for piece in pieces[::2]]
    return "`".join(pieces)


def _default(option: click.Option) -> str:
    if option.required:
        return "required"
    if not option.show_default or option.default is None:
        return ""
    if option.is_flag:
        return f"`{(option.opts if option.default else option.secondary_opts)[0]}`"
    return f"`{option.default}`"


def quantities_table() -> str:
    """Return a row for each number that a condition of an audit can name."""
    from tf_gradcam.audit.quantities import QUANTITIES

    rows = ["| name | number | alone | tasks |", "| --- | --- | --- | --- |"]
    for one in QUANTITIES:
        tasks = "all" if len(one.tasks) == 4 else ", ".join(one.tasks)
        rows.append(f"| `{one.name}` | {one.meaning} | {'yes' if one.is_fault else ''} | {tasks} |")
    return "\n".join(rows) + "\n"


def content(name: str) -> str:
    """Return the text of the block `name`: "methods", "quantities", or "options COMMAND"."""
    kind, _, argument = name.partition(" ")
    makers: dict[str, Callable[[], str]] = {
        "methods": methods_table,
        "quantities": quantities_table,
        "options": lambda: options_table(argument),
    }
    return makers[kind]()


def current(page: str) -> str:
    """Return the text of a page with its generated blocks as they should be."""
    return BLOCK.sub(lambda found: f"{found[1]}{content(found[2])}{found[3]}", page)


def main() -> None:
    """Rewrite the blocks of every page."""
    for path in sorted(DOCS.rglob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = current(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(f"rewrote {path.relative_to(DOCS)}")


if __name__ == "__main__":
    sys.path.insert(0, str(DOCS.parent))  # the package beside this folder, not an installed one
    main()
