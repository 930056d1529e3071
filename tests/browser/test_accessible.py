"""The printed page, the places of its parts, and the way of a new user."""

from __future__ import annotations

import numpy as np

from tests.helpers.browser import NEEDS_BROWSER, WINDOWS, Page, hand_over
from tests.helpers.pictures import encoded
from tests.helpers.redblue import red_blue_model

pytestmark = NEEDS_BROWSER


def test_printed_page_has_its_bars_and_no_controls(page):
    page.page.emulate_media(media="print")
    for part in (".tg-bar", ".tg-fill"):
        style = page.page.locator(part).first.evaluate("one => getComputedStyle(one).printColorAdjust")
        assert style == "exact", part
    assert page.page.locator("#tg-view").is_visible()
    for part in ("#tg-file", "#tg-layer", "#tg-stop", "footer", "button[role=tab]"):
        assert not any(each.is_visible() for each in page.page.locator(part).all()), part


def test_own_model_and_picture_are_dropped_and_zoomed_in_four_actions(page, tmp_path):
    """On a laptop, from the page's own beginning: drop a model and a picture anywhere, click a class, zoom."""
    red_blue_model().save(tmp_path / "own.keras")
    hand_over(page, "drop", ("own.keras", (tmp_path / "own.keras").read_bytes()))
    page.shows("own.keras, 2 classes", "head")
    assert not page.page.locator("#tg-model-file").is_visible()  # the fold is closed again
    square = np.random.default_rng(1).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    hand_over(page, "drop", ("square.png", encoded(square, "PNG")))
    page.shows("square.png, 400 x 400")
    for part in ("#tg-file", "#tg-class", ".tg-choose >> nth=1", "#tg-view button:text-is('+')", ".tg-stage"):
        box = page.page.locator(part).bounding_box()
        assert box["y"] >= 0, part
        assert box["y"] + box["height"] <= WINDOWS[0][1], (part, box)
    before = page.text()
    page.page.locator(".tg-choose").nth(1).click()
    page.shows("class 1, ")
    assert page.text() != before
    page.page.locator("#tg-view button:text-is('+')").click()
    page.page.wait_for_selector(".tg-zoomed")
    assert page.page.evaluate("scrollY") == 0


def test_phone_shows_picture_question_and_result_in_this_order(browser, server):
    with Page(browser, server.address, window=WINDOWS[2]) as page:
        assert not page.page.locator("#tg-alpha").is_visible()  # folded
        parts = ("file", "layer", "class", "look", "view")
        tops = [page.page.locator(f"#tg-{name}").bounding_box()["y"] for name in parts]
        assert tops == sorted(tops)
        assert tops[-1] < 1200
        both = [page.page.locator(f"#tg-{name}").bounding_box()["y"] for name in ("layer", "method")]
        assert both[0] == both[1]
