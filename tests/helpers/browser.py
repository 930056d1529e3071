"""The web page in Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import base64
import os
import re
import shutil
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.helpers.app_server import needs_gradio

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
NEEDS_BROWSER = [
    pytest.mark.browser,
    needs_gradio,
    pytest.mark.skipif(find_spec("playwright") is None, reason="the browser is driven by Playwright: pip install it"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium, or set CHROMIUM"),
]
SECOND = 1000  # milliseconds
PATIENCE = 240 * SECOND  # of what waits for a model on a busy machine


def is_of_event(request):
    return request.method == "POST" and "/gradio_api/run/" in request.url


class Page:
    """A window with the page, and what a user does in it."""

    def __init__(self, browser, address, has_map=True, origin="", **options):
        self.context = browser.new_context(**{"viewport": {"width": 1400, "height": 1000}, **options})
        self.page = self.context.new_page()
        self.problems = []
        self.page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.note(request.url, origin or address))
        self.open_requests = set()
        self.page.on("request", lambda request: is_of_event(request) and self.open_requests.add(request))
        for end in ("requestfinished", "requestfailed"):
            self.page.on(end, lambda request: self.open_requests.discard(request))
        self.page.goto(address)
        self.up = time.monotonic()
        if has_map:
            self.page.wait_for_selector("#tg-view .tg-lens img", timeout=PATIENCE)
            self.first_map = time.monotonic() - self.up
            self.page.wait_for_selector("#tg-view a.tg-link", timeout=PATIENCE)

    def note(self, url, address):
        if not url.startswith((address, "data:", "blob:")):
            self.problems.append(f"asked for {url}")

    def choose(self, control, text):
        """Choose the first entry that begins with a text."""
        self.page.click(f"#tg-{control} [role=combobox]")
        options = self.page.locator(f"#tg-{control} [role=option]")
        options.filter(has_text=re.compile(rf"^{re.escape(text)}")).first.click()

    def slide(self, control, value):
        field = self.page.locator(f"#tg-{control} input[type=number]")
        if not field.is_visible():  # folded, on a narrow screen
            self.page.click("#tg-look > button")
        field.fill(str(value))
        field.press("Enter")

    def tab(self, name):
        """Open a tab, once Gradio's own event for the first tab is done, which it sends soon after loading."""
        self.page.wait_for_timeout(100)
        while self.open_requests:
            self.page.wait_for_timeout(20)
        self.page.get_by_role("tab", name=name).click()

    def change_model(self):
        """Open or close the part with the controls of the model."""
        self.page.get_by_role("button", name="Change model").click()

    def sample(self, number):
        self.page.click(f"#tg-sample-{number}")

    def drop(self, control, *files):
        """(name, bytes) as if they were chosen in the dialogue."""
        payload = [{"name": name, "mimeType": "", "buffer": data} for name, data in files]
        self.page.set_input_files(f"#tg-{control} input[type=file]", payload)

    def shows(self, text, place="view"):
        """Wait until a text stands there."""
        self.page.wait_for_function(
            "([place, text]) => document.querySelector(place)?.innerText.includes(text)",
            arg=[f"#tg-{place}", text],
            timeout=PATIENCE,
        )

    def text(self, place="view"):
        return self.page.inner_text(f"#tg-{place}")

    def download(self, words):
        with self.page.expect_download() as waiting:
            self.page.click(f"#tg-view a.tg-link:has-text('{words}')")
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()

    def shot(self, name):
        folder = os.environ.get("TF_GRADCAM_SCREENSHOTS")
        if folder:
            self.page.screenshot(path=Path(folder, f"{name}.png"), full_page=True)


# Files as the browser hands them over: (name, base64) each.
HAND_OVER = """([kind, place, files, text]) => {
  const given = new DataTransfer();
  if (text) given.setData('text/plain', text);
  for (const [name, text] of files)
    given.items.add(new File([Uint8Array.from(atob(text), letter => letter.charCodeAt(0))], name));
  const target = document.querySelector(place);
  const options = {bubbles: true, cancelable: true, dataTransfer: given, clipboardData: given};
  if (kind === 'paste') return target.dispatchEvent(new ClipboardEvent('paste', options));
  return target.dispatchEvent(new DragEvent(kind, options));
}"""


def hand_over(page, kind, *files, place="#tg-head", text=""):
    """Drop or paste files, (name, bytes) each; return whether the page left the event to the browser."""
    named = [(name, base64.b64encode(data).decode()) for name, data in files]
    return bool(page.page.evaluate(HAND_OVER, [kind, place, named, text]))
