"""Faults of access on every tab of the page and on a report, the printed page, and the places of its parts."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.app_server import served
from tests.helpers.audits import result_of
from tests.helpers.browser import NEEDS_BROWSER, Page, hand_over
from tests.helpers.pictures import encoded
from tests.helpers.redblue import red_blue_model
from tf_gradcam.audit.report.page import write_report
from tf_gradcam.demo import phantom_slices

pytestmark = NEEDS_BROWSER
SCAN = "scan.png", encoded(phantom_slices(8, 2026).images[3].astype(np.uint8), "PNG")
# Every rule of WCAG 2.2 AA, the habits of good pages, and the rules that axe-core still tries out.
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice", "experimental"]


def faults_of(page):
    """(rule, element, what to mend) for each fault that axe-core finds; the page does not scroll sideways."""
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_timeout(300)  # colours fade in
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    answer = Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}}).response
    return [
        (fault["id"], node["html"][:200], node["failureSummary"])
        for fault in answer["violations"]
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (1024, "dark"), (390, "light"), (390, "dark")])
def test_no_tab_and_no_error_has_a_fault_of_access(browser, server, width, scheme):
    one = Page(browser, server.address, viewport={"width": width, "height": 900}, color_scheme=scheme)
    for part in ("Change model", "Python code for this picture"):
        one.page.get_by_role("button", name=part).click()
    one.page.wait_for_selector("#tg-lines .cm-line")
    one.page.click("#tg-layer [role=combobox]")
    assert faults_of(one.page) == []
    one.page.keyboard.press("Escape")  # on a narrow screen the list lies over the tabs
    for tab, button in (("Compare", "compare"), ("Layers", "deepen")):
        one.tab(tab)
        one.page.click(f"#tg-{button}")
        one.page.wait_for_selector("#tg-view figure:nth-child(5)")
        one.shows("Ready", "status")
        assert faults_of(one.page) == [], tab
    one.tab("Batch")
    one.page.click("#tg-run")
    one.shows("Choose between 1 and 200 pictures", "status")
    assert faults_of(one.page) == []
    one.drop("files", SCAN, SCAN, ("text.png", b"no picture"))
    one.shows("Ready", "status")  # an error is answered by a choice
    one.page.click("#tg-run")
    one.shows("2 of 3 pictures explained")
    assert faults_of(one.page) == []
    one.page.click(".tg-card[data-open='1']")
    one.page.wait_for_selector("#tg-view .tg-strip ~ .tg-links")
    one.shows("Ready", "status")
    assert faults_of(one.page) == []
    assert one.problems == []
    one.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_report_has_no_fault_of_access(browser, tmp_path, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto(write_report(result_of(count=24), tmp_path / "index.html").as_uri())
    for part in page.query_selector_all("details"):
        part.evaluate("one => one.open = true")
    assert faults_of(page) == []
    context.close()


def test_printed_page_has_its_bars_and_no_controls(browser, server):
    one = Page(browser, server.address)
    one.page.emulate_media(media="print")
    for part in (".tg-bar", ".tg-fill"):
        style = one.page.locator(part).first.evaluate("one => getComputedStyle(one).printColorAdjust")
        assert style == "exact", part
    assert one.page.locator("#tg-view").is_visible()
    for part in ("#tg-file", "#tg-layer", "#tg-stop", "footer", "button[role=tab]"):
        assert not any(each.is_visible() for each in one.page.locator(part).all()), part
    one.context.close()


def test_own_model_and_picture_are_zoomed_for_a_chosen_class_without_scrolling(browser, tmp_path):
    """On a laptop: start with the model, drop a picture, click a class, zoom."""
    red_blue_model().save(tmp_path / "own.keras")
    with served(tmp_path / "temporary", str(tmp_path / "own.keras")) as server:
        one = Page(browser, server.address, has_map=False, viewport={"width": 1440, "height": 900})
        square = np.random.default_rng(1).integers(0, 256, (400, 400, 3), dtype=np.uint8)
        one.drop("file", ("square.png", encoded(square, "PNG")))
        one.shows("square.png, 400 x 400")
        one.shows("Ready", "status")
        before = one.text()
        for part in ("#tg-file", "#tg-class", ".tg-choose >> nth=1", "#tg-view button:text-is('+')", ".tg-stage"):
            box = one.page.locator(part).bounding_box()
            assert box["y"] >= 0, part
            assert box["y"] + box["height"] <= 900, (part, box)
        one.page.locator(".tg-choose").nth(1).click()
        one.page.wait_for_function("before => document.querySelector('#tg-view').innerText !== before", arg=before)
        one.shows("Ready", "status")
        one.page.locator("#tg-view button:text-is('+')").click()
        one.page.wait_for_selector(".tg-zoomed")
        assert one.page.evaluate("scrollY") == 0
        one.shot("laptop")
        one.context.close()


def test_own_model_and_picture_are_dropped_and_zoomed_in_four_actions(browser, server, tmp_path):
    """On a laptop, from the page's own beginning: drop a model and a picture anywhere, click a class, zoom."""
    red_blue_model().save(tmp_path / "own.keras")
    one = Page(browser, server.address, viewport={"width": 1440, "height": 900})
    hand_over(one, "drop", ("own.keras", (tmp_path / "own.keras").read_bytes()))
    one.shows("own.keras, 2 classes", "head")
    one.shows("Ready", "status")
    assert not one.page.locator("#tg-model-file").is_visible()  # the fold is closed again
    square = np.random.default_rng(1).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    hand_over(one, "drop", ("square.png", encoded(square, "PNG")))
    one.shows("square.png, 400 x 400")
    one.shows("Ready", "status")
    one.page.locator(".tg-choose").nth(1).click()
    one.shows("class 1, ")
    zoom = one.page.locator("#tg-view button:text-is('+')")
    assert zoom.bounding_box()["y"] + zoom.bounding_box()["height"] <= 900
    zoom.click()
    one.page.wait_for_selector(".tg-zoomed")
    assert one.page.evaluate("scrollY") == 0
    assert one.problems == []
    one.context.close()


def test_phone_shows_picture_question_and_result_in_this_order(browser, server):
    one = Page(browser, server.address, viewport={"width": 390, "height": 844})
    assert not one.page.locator("#tg-alpha").is_visible()  # folded
    tops = [one.page.locator(f"#tg-{name}").bounding_box()["y"] for name in ("file", "layer", "class", "look", "view")]
    assert tops == sorted(tops)
    assert tops[-1] < 1200
    assert one.page.locator("#tg-layer").bounding_box()["y"] == one.page.locator("#tg-method").bounding_box()["y"]
    one.shot("phone")
    one.slide("alpha", 0.7)
    one.page.wait_for_selector("#tg-view a[href*='alpha=0.7']")
    assert one.problems == []
    one.context.close()
