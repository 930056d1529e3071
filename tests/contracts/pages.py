"""The pages that users read: README.md and the manual, as text, blocks and links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}

_BLOCK = re.compile(r"(?:^<!-- ([^\n]+?) -->\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block of a page.

    Attributes:
        page: path of the page, relative to the repository.
        line: number of its first line.
        kind: language: "python", "sh", "text".
        text: its lines.
        mark: words of the HTML comment before it, such as "python: slow"; "" without one.
    """

    page: str
    line: int
    kind: str
    text: str
    mark: str


def blocks(kind: str) -> list[Block]:
    """Return the blocks of one language on all pages."""
    return [
        Block(page, text.count("\n", 0, found.start(3)) + 1, found[2], found[3], found[1] or "")
        for page, text in TEXTS.items()
        for found in _BLOCK.finditer(text)
        if found[2] == kind
    ]


def commands() -> list[tuple[str, str]]:
    """Return (page, line) of each command in the blocks of shell: continued lines as one, comments left out."""
    texts = [(block.page, block.text.replace("\\\n", "")) for block in blocks("sh")]
    return [(page, line) for page, text in texts for line in text.splitlines() if line.strip() and line[0] != "#"]


def command_block(name: str) -> str:
    """Return the block of shell of the README that is marked `<!-- command: name -->`."""
    (found,) = [block.text for block in blocks("sh") if block.page == README.name and block.mark == f"command: {name}"]
    return found


def links() -> list[tuple[str, str]]:
    """Return (page, target) of each link and picture outside blocks of code."""
    prose = {page: _BLOCK.sub("", text) for page, text in TEXTS.items()}
    return [(page, target) for page, text in prose.items() for target in _LINK.findall(text)]
