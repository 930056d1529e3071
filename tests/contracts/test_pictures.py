"""The pictures of the pages: in true colours, small enough, and each one made by a program that is here."""

from __future__ import annotations

import ast
import re
import struct
from pathlib import Path

import pytest

from tests.contracts.pages import DOCS, README, TEXTS, links

PROGRAM = DOCS / "pictures.py"
FILES = sorted((DOCS / "pictures").iterdir())
MOST_BYTES = 1_000_000
ON_THE_README = 500_000  # which shows three of them on one page
BITS, RGB, RGBA = 8, 2, 6  # of the header of a PNG; colour type 3 is a palette


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_picture_has_true_colours(path: Path) -> None:
    data = path.read_bytes()
    if path.suffix == ".jpg":
        assert data.startswith(b"\xff\xd8\xff")
        return
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    bits, kind = struct.unpack(">BB", data[24:26])
    assert (bits, kind) in {(BITS, RGB), (BITS, RGBA)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_picture_loads_fast(path: Path) -> None:
    assert path.stat().st_size < (ON_THE_README if path.name in TEXTS[README.name] else MOST_BYTES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_picture_is_shown_and_the_program_says_how_it_is_made(path: Path) -> None:
    assert path.name in {Path(target).name for _, target in links()}
    tree = ast.parse(PROGRAM.read_text(encoding="utf-8"))
    makers = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert path.stem in makers or path.name in (ast.get_docstring(tree) or "")


def test_program_uses_public_names_alone() -> None:
    imported = re.findall(r"^\s*(?:from|import) (tf_gradcam\S*)", PROGRAM.read_text(encoding="utf-8"), flags=re.M)
    assert imported
    assert not [name for name in imported if "._" in name]
