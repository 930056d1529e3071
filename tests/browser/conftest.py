"""The browser of these tests, and the pages that it opens."""

from __future__ import annotations

import pytest

from tests.helpers.app_server import served
from tests.helpers.browser import CHROMIUM, WINDOWS, Page
from tests.helpers.redblue import red_blue_model


# For all files of this folder, and no longer: Playwright's event loop runs until the end of it.
@pytest.fixture(scope="package")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture(scope="package")
def server(tmp_path_factory):
    """The page of the bundled model."""
    with served(tmp_path_factory.mktemp("server") / "temporary") as one:
        yield one


@pytest.fixture(scope="package")
def own_server(tmp_path_factory):
    """The page of a model and class names that a user starts it with: red and blue."""
    folder = tmp_path_factory.mktemp("own")
    red_blue_model().save(folder / "red_blue.keras")
    (folder / "names.txt").write_text("red\nblue", encoding="utf-8")
    with served(folder / "temporary", str(folder / "red_blue.keras"), str(folder / "names.txt")) as one:
        yield one


@pytest.fixture
def window():
    """Width, height and colour scheme; `in_each_window` gives others."""
    return WINDOWS[0]


@pytest.fixture
def page(browser, server, window):
    """A new window with the page of the bundled model."""
    with Page(browser, server.address, window=window) as one:
        yield one
