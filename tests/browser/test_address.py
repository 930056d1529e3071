"""The address of the web page in Chromium: its token, and the state that it keeps."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.app_server import served
from tests.helpers.browser import NEEDS_BROWSER, Page
from tests.helpers.pictures import encoded
from tf_gradcam.demo import phantom_slices

pytestmark = NEEDS_BROWSER
SCAN = "scan.png", encoded(phantom_slices(8, 2026).images[3].astype(np.uint8), "PNG")


@pytest.mark.parametrize("options", [{"host": "0.0.0.0"}, {"auth": "anna:secret"}], ids=["token", "login"])
def test_shared_page_takes_and_gives_files_once_it_was_entered(browser, tmp_path, options):
    with served(tmp_path / "temporary", **options) as server:
        address = server.address.replace("0.0.0.0", "127.0.0.1")
        login = {"http_credentials": {"username": "anna", "password": "secret"}} if "auth" in options else {}
        one = Page(browser, f"{address}/?token={server.token}" if server.token else address, origin=address, **login)
        one.drop("file", SCAN)
        one.shows("scan.png, 224 x 224")
        one.shows("Ready", "status")
        assert one.download("Overlay (PNG)")[0] == "scan.overlay.png"
        assert "token" not in one.page.url
        assert one.problems == []
        one.context.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(tmp_path_factory.mktemp("server") / "temporary") as one:
        yield one


def query(one):
    return one.page.url.partition("?")[2]


def reaches(one, expected):
    one.page.wait_for_function("expected => location.search === expected", arg=expected and f"?{expected}")


def test_reload_back_and_a_link_keep_what_was_asked(browser, server):
    one = Page(browser, server.address)
    assert query(one) == ""
    one.sample(1)
    one.shows("slice-2-meningioma.png")
    one.choose("method", "layercam")
    one.shows("layercam at")
    reaches(one, "sample=2&method=layercam")
    entries = one.page.evaluate("history.length")
    one.slide("alpha", 0.7)
    reaches(one, "sample=2&method=layercam&opacity=0.7")
    assert one.page.evaluate("history.length") == entries  # a slider makes no entry
    one.tab("Compare")
    reaches(one, "sample=2&method=layercam&opacity=0.7&tab=compare")
    link = one.page.url
    one.page.reload()
    one.shows('Press "Compare"')
    assert one.page.get_by_role("tab", name="Compare").get_attribute("aria-selected") == "true"
    one.page.go_back()
    one.shows("layercam at")
    one.page.go_back()
    one.shows("gradcam at")
    assert "slice-2-meningioma.png" in one.text()
    assert one.page.input_value("#tg-method input") == "gradcam"
    one.page.go_back()
    one.shows("slice-1-glioma.png")
    reaches(one, "")
    one.page.go_forward()
    one.shows("slice-2-meningioma.png")
    other = Page(browser, link + "&layer=nowhere", origin=server.address, has_map=False)
    other.shows("do not have: layer 'nowhere'. The usual is shown instead.", "status")
    reaches(other, link.partition("?")[2])
    other.tab("Explore")
    other.shows("slice-2-meningioma.png")
    assert other.page.input_value("#tg-alpha input[type=number]") == "0.7"
    other.tab("Layers")
    other.page.wait_for_selector("#tg-layers button:has-text('block5_conv3')")  # a list of several, also by a link
    assert one.problems == other.problems == []
    one.context.close()
    other.context.close()


def test_own_picture_is_there_after_reload_and_in_the_history(browser, server):
    one = Page(browser, server.address)
    one.drop("file", SCAN)
    one.shows("scan.png, 224 x 224")
    one.shows("Ready", "status")
    link = one.page.url
    one.page.reload()
    one.shows("scan.png, 224 x 224")
    one.choose("class", "glioma")
    one.page.wait_for_selector("#tg-trail li:nth-child(3)")
    one.shot("history")
    shown = one.page.locator("#tg-trail a").all_inner_texts()
    assert [text.split("\n")[0] for text in shown] == ["glioma", "pituitary", "glioma"]
    one.page.locator("#tg-trail a").nth(1).click()
    one.page.wait_for_function("link => location.href === link", arg=link)
    one.page.wait_for_selector("#tg-trail li:nth-child(2) a[aria-current]")
    assert "pituitary, 98.5%" in one.text()
    one.page.locator("#tg-trail a").nth(2).click()
    one.shows("slice-1-glioma.png")
    reaches(one, "")
    assert list(server.folder.rglob("scan.png"))
    other = Page(browser, link, origin=server.address, has_map=False)
    other.shows("uploaded in another window, or is no longer kept", "status")
    other.shows("slice-1-glioma.png")
    assert one.problems == other.problems == []
    one.context.close()
    other.context.close()
