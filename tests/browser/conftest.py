"""The browser of these tests."""

from __future__ import annotations

import pytest

from tests.helpers.app_server import served
from tests.helpers.browser import CHROMIUM, Page


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The page of the bundled model."""
    with served(tmp_path_factory.mktemp("server") / "temporary") as one:
        yield one


@pytest.fixture
def page(browser, server):
    """A new window with the page, which must not report a problem."""
    one = Page(browser, server.address)
    yield one
    assert one.problems == []
    one.context.close()
