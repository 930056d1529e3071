"""The version stands in `tf_gradcam/__init__.py`; the files that repeat it agree."""

from __future__ import annotations

import re
from pathlib import Path

import tf_gradcam

ROOT = Path(__file__).parents[2]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def releases() -> list[tuple[str, str]]:
    """Return the changelog's (version, date) pairs, newest first."""
    return re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", read("CHANGELOG.md"), flags=re.M)


def field(name: str) -> str:
    """Return one top-level field of CITATION.cff."""
    (value,) = re.findall(rf'^{name}: "?([^"\n]+)"?$', read("CITATION.cff"), flags=re.M)
    return value


def test_pyproject_reads_the_version_from_the_package() -> None:
    pyproject = read("pyproject.toml")
    assert 'dynamic = ["version"]' in pyproject
    assert 'version = { attr = "tf_gradcam._version.__version__" }' in pyproject
    assert not re.search(r'^version = "', pyproject, flags=re.M)


def test_version_is_a_literal_that_needs_no_import() -> None:
    assert f'\n__version__ = "{tf_gradcam.__version__}"\n' in read("tf_gradcam/_version.py")


def test_changelog_starts_with_unreleased_then_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", read("CHANGELOG.md"), flags=re.M)
    assert headings[:2] == ["Unreleased", tf_gradcam.__version__]


def test_changelog_links_every_heading() -> None:
    changelog = read("CHANGELOG.md")
    for heading in re.findall(r"^## \[(.+?)\]", changelog, flags=re.M):
        assert f"\n[{heading}]: https://" in changelog


def test_changelog_is_ordered_by_date() -> None:
    dates = [date for _, date in releases()]
    assert dates == sorted(dates, reverse=True)


def test_citation_has_the_newest_release() -> None:
    assert (field("version"), field("date-released")) == releases()[0]
    assert field("version") == tf_gradcam.__version__
