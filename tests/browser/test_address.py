"""The address of the web page in Chromium: its token, and the state that it keeps."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.app_server import served
from tests.helpers.app_sessions import files_in
from tests.helpers.browser import NEEDS_BROWSER, Page, in_each_window
from tests.helpers.pictures import encoded
from tf_gradcam.demo import phantom_slices

pytestmark = NEEDS_BROWSER
SCAN = "scan.png", encoded(phantom_slices(8, 2026).images[3].astype(np.uint8), "PNG")


@pytest.mark.parametrize("options", [{"host": "0.0.0.0"}, {"auth": "anna:secret"}], ids=["token", "login"])
def test_shared_page_takes_and_gives_files_once_it_was_entered(browser, tmp_path, options):
    with served(tmp_path / "temporary", **options) as server:
        address = server.address.replace("0.0.0.0", "127.0.0.1")
        login = {"http_credentials": {"username": "anna", "password": "secret"}} if "auth" in options else {}
        entrance = f"{address}/?token={server.token}" if server.token else address
        with Page(browser, entrance, origin=address, **login) as one:
            one.drop("file", SCAN)
            one.shows("scan.png, 224 x 224")
            assert one.download("Overlay (PNG)")[0] == "scan.overlay.png"
            assert "token" not in one.page.url


def query(one):
    return one.page.url.partition("?")[2]


def reaches(one, expected):
    one.settle()
    one.page.wait_for_function("expected => location.search === expected", arg=expected and f"?{expected}")


@in_each_window
def test_reload_back_and_a_link_keep_what_was_asked(browser, server, window, page):
    assert query(page) == ""
    page.sample(1)
    page.shows("slice-2-meningioma.png")
    page.choose("method", "layercam")
    page.shows("layercam at")
    reaches(page, "sample=2&method=layercam")
    entries = page.page.evaluate("history.length")
    page.slide("alpha", 0.7)
    reaches(page, "sample=2&method=layercam&opacity=0.7")
    assert page.page.evaluate("history.length") == entries  # a slider makes no entry
    page.tab("Compare")
    reaches(page, "sample=2&method=layercam&opacity=0.7&tab=compare")
    link = page.page.url
    page.reload()
    page.shows('Press "Compare"')
    page.page.wait_for_selector("#tg-tab-compare-button[aria-selected=true]")
    page.page.go_back()
    page.shows("layercam at")
    page.page.go_back()
    page.shows("gradcam at")
    assert "slice-2-meningioma.png" in page.text()
    assert page.page.input_value("#tg-method input") == "gradcam"
    page.page.go_back()
    page.shows("slice-1-glioma.png")
    reaches(page, "")
    page.page.go_forward()
    page.shows("slice-2-meningioma.png")
    with Page(browser, link + "&layer=nowhere", origin=server.address, has_map=False, window=window) as other:
        other.shows("do not have: layer 'nowhere'. The usual is shown instead.", "status")
        reaches(other, link.partition("?")[2])
        other.tab("Explore")
        other.shows("slice-2-meningioma.png")
        assert other.page.input_value("#tg-alpha input[type=number]") == "0.7"
        other.look("link")
        other.tab("Layers")
        other.page.wait_for_selector("#tg-layers button:has-text('block5_conv3')")  # a list of several, also by a link


@in_each_window
def test_own_picture_is_there_after_reload_and_in_the_history(browser, server, window, page):
    page.drop("file", SCAN)
    page.shows("scan.png, 224 x 224")
    link = page.page.url
    page.reload()
    page.shows("scan.png, 224 x 224")
    page.choose("class", "glioma")
    page.page.wait_for_selector("#tg-trail li:nth-child(3)")
    page.look("history")
    shown = page.page.locator("#tg-trail a").all_inner_texts()
    assert [text.split("\n")[0] for text in shown] == ["glioma", "pituitary", "glioma"]
    page.press("#tg-trail li:nth-child(2) a")
    page.page.wait_for_function("link => location.href === link", arg=link)
    page.page.wait_for_selector("#tg-trail li:nth-child(2) a[aria-current]")
    assert "pituitary, 98.5%" in page.text()
    page.press("#tg-trail li:nth-child(3) a")
    page.shows("slice-1-glioma.png")
    reaches(page, "")
    assert "scan.png" in files_in(server.folder)
    with Page(browser, link, origin=server.address, has_map=False, window=window) as other:
        other.shows("uploaded in another window, or is no longer kept", "status")
        other.shows("slice-1-glioma.png")
