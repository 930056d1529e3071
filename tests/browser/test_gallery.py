"""Several pictures on the web page, in Debian's Chromium: the gallery of a batch and the strip of Explore.

`TF_GRADCAM_SCREENSHOTS=folder` keeps pictures of the page, to be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.app_server import Server
from tests.helpers.browser import NEEDS_BROWSER, Page, hand_over, in_each_window
from tests.helpers.pictures import encoded
from tests.helpers.redblue import red_blue_photo

pytestmark = NEEDS_BROWSER
# Name -> number of red columns of 10. A red column scores 200 and a blue one 100: 4 columns are hardly enough for red.
COLUMNS = {"p2.png": 2, "p10.png": 10, "p1_with_a_name_that_is_much_longer_than_a_card_is_wide.png": 4}
BROKEN = "p3.png"


@pytest.fixture
def page(browser: Any, own_server: Server, window: Any) -> Iterator[Page]:
    """A new window with the page of the red and blue model, which has no sample."""
    with Page(browser, own_server.address, has_map=False, window=window) as one:
        yield one


def picture(name: str, scale: int = 20) -> tuple[str, bytes]:
    return name, encoded(red_blue_photo(scale=scale, columns=COLUMNS[name]), "PNG")


def explain_all(page: Page) -> None:
    page.tab("Batch")
    page.drop("files", *map(picture, COLUMNS), (BROKEN, b"no picture"))
    page.settle()
    page.page.wait_for_selector("#tg-files .file-preview tr >> nth=3")
    page.press("#tg-run")
    page.shows("3 of 4 pictures explained")


def shown(page: Page) -> list[str]:
    return page.page.locator(".tg-cards li:visible strong").all_inner_texts()


def select(page: Page, name: str, value: str) -> None:
    page.page.select_option(f"[data-sieve={name}]", value)


@in_each_window
def test_batch_is_sorted_filtered_and_opened_by_the_keyboard_alone(page: Page) -> None:
    two, ten, long = COLUMNS
    explain_all(page)
    assert shown(page) == [two, ten, long, BROKEN]
    page.reach("[data-sieve=order]")
    for names in (
        [ten, two, long, BROKEN],  # by probability: the most red, the most blue, the undecided
        [long, two, ten, BROKEN],  # the other way round
        [long, two, BROKEN, ten],  # by name: 3 is before 10
    ):
        page.page.keyboard.press("ArrowDown")
        assert shown(page) == names
    select(page, "label", "red")
    assert shown(page) == [long, ten]
    assert page.text("view").count("2 of 4 shown") == 1
    page.tab("Explore")
    page.page.wait_for_selector(".tg-cards", state="detached")
    page.tab("Batch")
    page.page.wait_for_selector(".tg-cards")
    assert shown(page) == [long, ten]  # as it was left
    page.look("gallery")
    select(page, "label", "")
    select(page, "state", "failed")
    assert shown(page) == [BROKEN]
    assert page.page.locator(".tg-cards li:visible button").count() == 0
    select(page, "state", "")

    page.page.focus("[data-sieve=state]")
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Enter")
    page.shows(f"{long}, 200 x 120")
    focus = "document.activeElement.title + document.activeElement.ariaCurrent"
    assert page.page.evaluate(focus) == f"{long}true"
    page.page.keyboard.press("ArrowRight")  # the last one: nothing changes
    page.page.keyboard.press("ArrowLeft")
    page.shows(f"{ten}, 200 x 120")
    page.page.keyboard.press("Home")
    page.shows(f"{two}, 200 x 120")
    assert page.page.evaluate(focus) == f"{two}true"
    assert page.page.locator(".tg-thumb[tabindex='0']").count() == 1
    page.page.wait_for_function("[...document.querySelectorAll('.tg-thumb img')].every(one => one.naturalWidth > 0)")
    page.look("strip")


@in_each_window
def test_files_are_dropped_and_pasted_anywhere(page: Page) -> None:
    two, ten, _ = COLUMNS
    veil = page.page.locator("#tg-veil")
    assert not veil.is_visible()
    assert not hand_over(page, "dragover", picture(two))
    assert veil.is_visible()
    assert "Drop pictures or a model here" in veil.inner_text()
    page.look("veil")
    hand_over(page, "dragleave")
    assert not veil.is_visible()
    hand_over(page, "dragstart")  # a picture of the page itself
    assert hand_over(page, "dragover", picture(two))
    hand_over(page, "dragend")
    page.change_model()
    page.page.wait_for_selector("#tg-names input", state="attached")
    assert hand_over(page, "drop", picture(two), place="#tg-names")  # a field for other files
    page.change_model()
    hand_over(page, "dragover", picture(two))
    page.tab("Layers")
    assert not hand_over(page, "drop", picture(two))
    page.shows(f"{two}, 200 x 120")  # one in Explore
    assert not veil.is_visible()

    for place in (
        "#tg-file button",
        "#tg-head",
    ):  # also on the field for one picture; the second drop adds to the first
        assert not hand_over(page, "drop", picture(ten), (BROKEN, b"no picture"), place=place)
        page.page.wait_for_selector("#tg-files .file-preview")
    page.page.wait_for_selector("#tg-files .file-preview tr >> nth=3")
    page.press("#tg-run")
    page.shows("2 of 4 pictures explained")

    assert not hand_over(page, "paste", ("image.png", picture(ten)[1]), place="body")
    page.shows("image.png, 200 x 120")
    assert hand_over(page, "paste", text="words")
    assert hand_over(page, "paste", picture(ten), place="#tg-alpha input", text="0.5")  # as spreadsheets copy a cell
    hand_over(page, "drop", ("notes.txt", b"no picture"))
    page.page.get_by_text("Invalid file type: notes.txt").wait_for()
    hand_over(page, "drop", ("bad.png", b"no picture"))
    page.shows("'bad.png' is not one", "status")
    assert "image.png" in page.text()


@in_each_window
def test_card_brings_the_question_of_its_batch(page: Page) -> None:
    page.choose("method", "hirescam")
    page.choose("against", "blue")
    explain_all(page)
    page.choose("method", "gradcam")
    page.choose("against", "nothing")
    page.press(".tg-cards button >> nth=1")
    page.shows("hirescam at hue")  # cards name no layer
    assert "red against blue" in page.text()
    assert page.page.input_value("#tg-method input") == "hirescam"
    page.choose("method", "gradcam")
    page.shows("gradcam at hue")
    page.press(".tg-thumb >> nth=0")  # with what was chosen since
    page.shows("p2.png, 200 x 120")
    assert page.page.locator(".tg-thumb").first.get_attribute("aria-current") == "true"
    assert "gradcam at hue" in page.text()
    assert "hirescam" not in page.text()
