"""Generated blocks of the manual are current: `python docs/tables.py` rewrites it."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest

import tf_gradcam
from tests.contracts.pages import DOCS, TEXTS

PAGES = [page for page, text in TEXTS.items() if "<!-- generated: " in text]


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_tables", DOCS / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES)
def test_generated_blocks_are_current(tables: ModuleType, page: str) -> None:
    assert TEXTS[page] == tables.current(TEXTS[page]), "run: python docs/tables.py"


def test_methods_table_has_a_full_row_for_each_method(tables: ModuleType) -> None:
    rows = tables.methods_table().splitlines()[2:]
    cells = [row.strip("|").split(" | ") for row in rows]
    assert [row[0].strip(" `") for row in cells] == list(tf_gradcam.METHODS)
    assert all(cell.strip() for row in cells for cell in row)


def test_recommendation_names_methods_that_exist() -> None:
    (section,) = re.findall(r"^## Which one, when\n(.*?)^## ", TEXTS["docs/methods.md"], flags=re.S | re.M)
    named = {
        name for row in re.findall(r"^\|[^|]+\|([^|]+)\|", section, flags=re.M) for name in re.findall(r"`(\w+)`", row)
    }
    assert named <= set(tf_gradcam.METHODS)
    assert named >= {"gradcam", "hirescam", "layercam", "random"}


def test_every_command_has_its_options(tables: ModuleType) -> None:
    from tf_gradcam._cli.main import main

    generated = set(re.findall(r"<!-- generated: options (\w+) -->", TEXTS["docs/command-line.md"]))
    assert generated == {name for name, command in main.commands.items() if len(command.params) > 0}
