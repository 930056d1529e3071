"""The README says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tf_gradcam
from tf_gradcam._rules.table import METHODS, describe

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SHELL = re.findall(r"^```sh\n(.*?)^```", README, flags=re.S | re.M)
PYTHON = re.findall(r"^```python\n(.*?)^```", README, flags=re.S | re.M)


@pytest.mark.parametrize("name", METHODS)
def test_method_table_has_the_words_of_the_docstring(name: str) -> None:
    info = describe(name)
    assert f"| `{info.name}` | {info.summary} | {info.cost} | {info.source} |" in README


def test_first_two_shell_blocks_are_the_demo_and_the_tests() -> None:
    assert "tf-gradcam demo" in SHELL[0]
    assert "pytest" in SHELL[1]


def test_picture_is_there() -> None:
    assert README.startswith("![")
    picture = re.match(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert picture is not None
    assert (Path(__file__).parents[1] / picture[1]).stat().st_size > 0


@pytest.mark.parametrize("block", PYTHON)
def test_python_blocks_compile_and_import_public_names(block: str) -> None:
    compile(block, "README.md", "exec")
    for names in re.findall(r"^from tf_gradcam import (.+)$", block, flags=re.M):
        for name in names.split(", "):
            assert hasattr(tf_gradcam, name)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(?:explanation|explainer)\.(\w+)", README))))
def test_named_members_exist(name: str) -> None:
    from tf_gradcam._explain.explainer import Explainer
    from tf_gradcam._results.explanation import Explanation

    instance_only = {"raw", "heatmaps", "labels", "probabilities"}
    assert name in instance_only or hasattr(Explanation, name) or hasattr(Explainer, name)


def test_targets_of_the_readme_exist() -> None:
    from tf_gradcam import targets

    sentence = re.search(r"come from `tf_gradcam.targets`: (.+)", README)
    assert sentence is not None
    for name in re.findall(r"`([A-Z]\w+)", sentence[1]):
        assert hasattr(targets, name)
