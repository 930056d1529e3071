"""Links, pages and names of the manual: each one leads somewhere, and nothing public is missing."""

from __future__ import annotations

import importlib
import re

import pytest

import tf_gradcam
from tests.contracts.pages import DOCS, ROOT, TEXTS, links

MODULES = ("targets", "callbacks", "audit", "demo", "guidance", "image", "metrics")
REPOSITORY = re.compile(r"https://github\.com/tf-gradcam/tf-gradcam/(?:blob|tree)/main/")
CONFIGURATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """Return the anchors that the headings of a page get."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), flags=re.M)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize(("page", "target"), sorted(set(links())))
def test_local_link_resolves(page: str, target: str) -> None:
    inside = REPOSITORY.match(target)
    if re.match(r"[a-z]+:", target) and not inside:
        return
    name, _, anchor = target[inside.end() if inside else 0 :].partition("#")
    base = ROOT if inside else (ROOT / page).parent
    path = (base / name).resolve() if name else ROOT / page
    assert path.exists(), f"{page}: {target}"
    if anchor:
        assert anchor in anchors(TEXTS[path.relative_to(ROOT).as_posix()]), f"{page}: {target}"


def test_links_of_the_readme_lead_to_every_guide() -> None:
    linked = {target for page, target in links() if page == "README.md"}
    guides = {f"docs/{path.name}" for path in DOCS.glob("*.md")} - {"docs/index.md", "docs/contributing.md"}
    assert guides <= linked


@pytest.mark.parametrize("page", TEXTS)
def test_no_page_has_a_section_twice(page: str) -> None:
    heads = re.findall(r"^## .*", re.sub(r"^```.*?^```", "", TEXTS[page], flags=re.S | re.M), re.M)
    assert [head for head in heads if heads.count(head) > 1] == []


def test_every_page_is_in_the_navigation() -> None:
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert pages == set(re.findall(r"([\w/-]+\.md)$", CONFIGURATION, flags=re.M))


def test_every_public_name_is_in_the_reference() -> None:
    written = set(re.findall(r"^::: tf_gradcam\.(\w+)$", TEXTS["docs/reference/index.md"], flags=re.M))
    assert written == set(tf_gradcam.__all__) - set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_module_is_in_the_reference(module: str) -> None:
    assert f"::: tf_gradcam.{module}\n" in TEXTS[f"docs/reference/{module}.md"]


@pytest.mark.parametrize("module", MODULES)
def test_every_public_module_says_what_it_exports(module: str) -> None:
    """The reference shows `__all__`, and names that are only imported are left out of it."""
    assert importlib.import_module(f"tf_gradcam.{module}").__all__


def test_pages_fetch_nothing() -> None:
    """No script, style or font of another server: the manual reads offline."""
    assert "font: false" in CONFIGURATION
    for text in (CONFIGURATION, *TEXTS.values()):
        assert re.search(r"<(script|link)\b|cdn\.|unpkg|jsdelivr|googleapis", text) is None


def test_equations_are_mathml() -> None:
    page = TEXTS["docs/reading-a-map.md"]
    assert page.count("<math ") == page.count("</math>") >= 6
