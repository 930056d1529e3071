"""An audit's report in the browser: large pictures, the list of all images, words on a phone, paper, and no script."""

from __future__ import annotations

import functools
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.audits import labels_result, result_of, values_result
from tests.helpers.browser import NEEDS_BROWSER, WINDOWS, faults_of, in_each_window
from tf_gradcam.audit.report.cards import worst_rows
from tf_gradcam.audit.report.page import write_report
from tf_gradcam.audit.result import AuditResult

pytestmark = NEEDS_BROWSER
LONG = ("Staffordshire bullterrier", "hyperparathyroidism", "pneumonoconiosis, silicotic", "no tumor")

# Words in pieces, cut off, or beyond the window. Paths may break anywhere, and wide tables scroll by themselves.
WORDS_AT_FAULT = """() => {
  const found = [], range = document.createRange();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (parent.closest("script, style, bdi, .file, option, svg") || !parent.checkVisibility()) continue;
    const isUpright = getComputedStyle(parent).writingMode !== "horizontal-tb";
    for (const word of node.textContent.matchAll(/[\\p{L}\\p{N}]+/gu)) {
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const parts = [...range.getClientRects()].filter((part) => part.width);
      const say = (what) => found.push(what + word[0]);
      if (new Set(parts.map((part) => Math.round(isUpright ? part.left : part.top))).size > 1) say("broken: ");
      if (!parent.closest(".scroll, nav") && parts.some((part) => part.right > innerWidth)) say("beyond: ");
      for (let box = parent; box !== document.body; box = box.parentElement) {
        if (getComputedStyle(box).overflowX === "visible" || box.matches(".scroll, nav ul")) continue;
        const frame = box.getBoundingClientRect();
        if (parts.some((part) => part.right > frame.right + 1 || part.bottom > frame.bottom + 1)) say("cut: ");
      }
    }
  }
  return found;
}"""


def shot(page: Any, name: str) -> None:
    folder = os.environ.get("TF_GRADCAM_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder, f"{name}-{page.viewport_size['width']}.png"), full_page=True)


class Window:
    """A window with a report; problems of its script or of its policy fail the test."""

    def __init__(self, browser: Any, path: Path, window: Any = WINDOWS[0], **options: Any):
        width, height, scheme = window
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **options)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto(path.as_uri())

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *_: object) -> None:
        self.context.close()
        assert self.problems == []


@pytest.fixture(scope="module")
def report(tmp_path_factory: Any) -> Callable[[int], tuple[AuditResult, Path]]:
    """An audit of a number of images, and its report."""

    @functools.cache
    def written(count: int) -> tuple[AuditResult, Path]:
        result = result_of(count)
        return result, write_report(result, tmp_path_factory.mktemp("report") / "index.html")

    return written


@in_each_window
def test_report_has_no_fault_of_access(browser: Any, report: Any, window: Any) -> None:
    with Window(browser, report(24)[1], window) as page:
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert faults_of(page) == []
        shot(page, "report")


@in_each_window
def test_thumbnail_opens_large_by_keyboard_and_arrows_go_on(browser: Any, report: Any, window: Any) -> None:
    result, path = report(60)
    wrong = [int(row) for row in worst_rows(result)[:3]]  # the gallery of confident errors has no other picture
    with Window(browser, path, window) as page:
        page.locator("#wrong svg[data-row]").first.focus()
        page.keyboard.press("Enter")
        dialog = page.locator("dialog")
        assert dialog.is_visible()
        assert faults_of(page) == []
        shot(page, "report-large")
        name = result.class_names[result.rows.predicted[wrong[0]]]
        assert page.inner_text("#large-title") == f"{name} {result.rows.probability[wrong[0]]:.2f}"
        assert str(result.rows.file[wrong[0]]).endswith(page.inner_text("#facts .file"))
        page.wait_for_timeout(200)
        sources = page.eval_on_selector_all("#large image", "all => all.map((one) => one.getAttribute('href'))")
        assert sources[0] == sources[2] == f"images/{wrong[0]}.jpg"  # below heat, and without it
        assert sources[1].startswith("data:image/webp")
        assert page.locator("#large svg").first.bounding_box()["width"] > min(400, 0.7 * window[0])
        for row in wrong[1:]:
            page.keyboard.press("ArrowRight")
            assert str(result.rows.file[row]).endswith(page.inner_text("#facts .file"))
        assert page.is_disabled("#after")
        page.keyboard.press("ArrowLeft")
        assert page.inner_text("#place") == "2 of 3"
        page.keyboard.press("Escape")
        assert not dialog.is_visible()
        assert page.evaluate("document.activeElement.dataset.row") == str(wrong[1])


def test_report_alone_opens_the_thumbnails_inside_it(browser: Any, tmp_path: Path) -> None:
    """Without its folder of pictures, as it is sent to somebody."""
    path = write_report(result_of(60), tmp_path / "index.html")
    shutil.rmtree(tmp_path / "images")
    context = browser.new_context()  # where missing pictures are errors on the console
    page = context.new_page()
    page.goto(path.as_uri())
    page.locator("#wrong svg[data-row]").first.click()
    page.wait_for_selector("#large svg:first-child use.heat")  # those inside the page
    assert page.locator("#list .none").first.is_visible()
    context.close()


@in_each_window
def test_list_is_filtered_sorted_and_opened_from_the_matrix(browser: Any, report: Any, window: Any) -> None:
    result, path = report(90)
    rows = result.rows
    with Window(browser, path, window) as page:
        assert page.inner_text("#found") == "90 of 90 images."
        assert page.locator("#list .card").count() == 36
        page.press("#more", "Enter")
        assert page.locator("#list .card").count() == 72
        page.select_option("#sort", label="confidence, lowest first")
        first = int(page.locator("#list svg").first.get_attribute("data-row"))
        assert first == int(np.nanargmin(rows.probability))
        page.select_option("#kind", "wrong")
        wrong = int((rows.predicted != rows.label)[rows.is_done].sum())
        assert page.inner_text("#found") == f"{wrong} of 90 images."
        page.select_option("#kind", "failed")
        assert page.locator("#list .card").count() == 2
        page.select_option("#kind", "")
        page.select_option("#why", label="the gradient is zero everywhere")
        assert page.locator("#list .card").count() == 3
        page.fill("#file", "img_00001")
        assert page.locator("#list .card").count() == 1

        truth, given = np.argwhere(result.confusion * ~np.eye(4, dtype=bool))[-1]
        link = page.locator(f"a[data-true='{truth}'][data-given='{given}']")
        link.focus()
        page.keyboard.press("Enter")
        assert page.locator("#panel .card").count() == result.confusion[truth, given]
        page.press("#panel button", "Enter")
        page.wait_for_function(
            f"document.getElementById('found').textContent === '{result.confusion[truth, given]} of 90 images.'"
        )
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.locator("#panel svg[data-row]").first.press("Enter")
        assert page.locator("dialog").is_visible()


def test_ten_thousand_rows_are_listed_in_seconds(browser: Any, tmp_path: Path) -> None:
    result = result_of(10_000, tuple(f"class {number}" for number in range(30)), findings=())
    rows = replace(result.rows, thumbnail=np.full(10_000, b"", object))  # the text is what takes time here
    path = write_report(replace(result, rows=rows), tmp_path / "index.html")
    assert path.stat().st_size < 2_000_000
    start = time.perf_counter()
    with Window(browser, path) as page:
        assert page.inner_text("#found") == "10,000 of 10,000 images."
        page.select_option("#sort", label="confidence, highest first")
        assert page.locator("#list .card").count() == 36
    assert time.perf_counter() - start < 20  # 1 on an idle core


@pytest.mark.parametrize("make", [result_of, labels_result, values_result])
def test_no_word_is_broken_cut_or_beyond_the_window_of_a_phone(browser: Any, tmp_path: Path, make: Any) -> None:
    result: AuditResult = make(60, LONG[1] if make is values_result else LONG)
    with Window(browser, write_report(result, tmp_path / "index.html"), WINDOWS[2]) as page:
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert page.evaluate(WORDS_AT_FAULT) == []
        assert page.evaluate("document.documentElement.scrollWidth") == WINDOWS[2][0]
        page.locator("#galleries svg[data-row]").first.click()
        assert page.evaluate(WORDS_AT_FAULT) == []


def test_report_prints_on_fewer_than_ten_pages_with_its_bars(browser: Any, tmp_path: Path) -> None:
    for count, names, found in ((60, LONG, 1), (300, tuple(f"class {number} of dogs" for number in range(30)), 15)):
        result = result_of(count, names, findings=(*[True] * found, *[False] * 8))
        with Window(browser, write_report(result, tmp_path / "index.html")) as page:
            pages = len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4")))
            assert 3 <= pages < 10, (pages, len(names))
            page.emulate_media(media="print")
            for part in ("#all", "nav", "#panel", "dialog"):
                assert not page.locator(part).is_visible(), part
            assert page.locator("#wrong .card").first.is_visible()
            assert page.locator(".scale").first.is_visible()
            style = page.locator(".bars circle").first.evaluate("one => getComputedStyle(one).printColorAdjust")
            assert style == "exact"


def test_worst_images_are_seen_without_a_script(browser: Any, tmp_path: Path) -> None:
    path = write_report(result_of(60), tmp_path / "index.html")
    with Window(browser, path, java_script_enabled=False) as page:
        assert page.locator("#wrong .card svg").first.is_visible()
        for part in ("#all", "#panel", "dialog", "nav a[href='#all']"):
            assert not page.locator(part).is_visible(), part
