"""The README: short, with the two commands where their markers say, and with pictures that a package index shows."""

from __future__ import annotations

import re

from tests.contracts.pages import README, ROOT, TEXTS, blocks, command_block

TEXT = TEXTS[README.name]
ADDRESS = "https://raw.githubusercontent.com/tf-gradcam/tf-gradcam/main/"
MOST_BYTES = 7000


def test_readme_is_short() -> None:
    assert len(README.read_bytes()) <= MOST_BYTES


def test_title_comes_first() -> None:
    assert TEXT.startswith("# tf-gradcam\n")


def test_first_two_shell_blocks_are_the_demo_and_the_tests() -> None:
    first, second = [block for block in blocks("sh") if block.page == README.name][:2]
    assert first.text == command_block("demo")
    assert second.text == command_block("tests")
    assert "tf-gradcam demo" in first.text
    assert "pytest" in second.text


def test_first_python_block_explains_a_file() -> None:
    first = next(block for block in blocks("python") if block.page == README.name)
    assert "from tf_gradcam import explain\n" in first.text
    assert len([line for line in first.text.splitlines() if line]) <= 4


def test_pictures_have_absolute_addresses_of_files_that_exist() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXT)
    assert pictures
    for picture in pictures:
        assert picture.startswith(ADDRESS)
        assert (ROOT / picture.removeprefix(ADDRESS)).stat().st_size > 0
