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
PATIENCE = 120 * SECOND  # of what waits for a model on a busy machine

# Width, height and colour scheme of a desk, a small laptop and a phone: each feature is driven in each of them, and
# looked at in the other scheme too.
WINDOWS = [(1440, 900, "light"), (1024, 768, "dark"), (390, 844, "dark")]
in_each_window = pytest.mark.parametrize("window", WINDOWS, ids=lambda window: f"{window[0]}-{window[2]}")

# Every rule of WCAG 2.2 AA, the habits of good pages, and the rules that axe-core still tries out.
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice", "experimental"]
# Colours at once, instead of fading to them.
AT_ONCE = "document.getAnimations().forEach(one => one instanceof CSSTransition && one.finish())"
# What keeps an element from a user: its middle is out of the window, or something lies above it.
OUT_OF_REACH = """one => {
  const {left, top, width, height} = one.getBoundingClientRect();
  const found = document.elementFromPoint(left + width / 2, top + height / 2);
  const say = one => one?.outerHTML.slice(0, 200);
  return one.contains(found) ? '' : `${say(one)} at ${left}, ${top}, where ${say(found)}`;
}"""
OPEN_LISTS = """() => [...document.querySelectorAll('[role=listbox]:not([hidden])')].map(one => {
  const {left, right, top, bottom} = one.getBoundingClientRect();
  const isMoved = document.querySelector('.gradio-container').scrollLeft;  // all else, to show the list
  return !isMoved && left >= 0 && right <= innerWidth + 1 && top >= 0 && bottom <= innerHeight + 1;  // rounded
})"""
# Relative luminance and contrast as WCAG 2.2 defines them; the background is the first opaque one around.
UNREADABLE = """() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = one => {
    for (; one; one = one.parentElement) {
      const color = rgb(getComputedStyle(one).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const one of document.querySelectorAll('.gradio-container *')) {
    const words = [...one.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join('');
    const style = getComputedStyle(one);
    if (!words || one.offsetParent === null || style.visibility === 'hidden') continue;
    const [a, b] = [light(rgb(style.color)), light(ground(one))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), bold = parseInt(style.fontWeight) >= 700;
    const least = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
    if ((a + 0.05) / (b + 0.05) < least) found.push([words, ((a + 0.05) / (b + 0.05)).toFixed(2)]);
  }
  return found;
}"""


def faults_of(page):
    """(rule, element, what to mend) for each fault that axe-core finds; the page does not scroll sideways."""
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate(AT_ONCE)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    answer = Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}}).response
    return [
        (fault["id"], node["html"][:200], node["failureSummary"])
        for fault in answer["violations"]
        for node in fault["nodes"]
    ]


def is_of_event(request):
    """Tell a request that lasts until events are answered: an upload, an event, the stream of answers to several."""
    return re.search("/gradio_api/(run/|upload|queue/)", request.url)


class Page:
    """A window with the page, and what a user does in it, by the keyboard.

    As a context manager it is closed at the end, and must not have reported a problem or scroll sideways.
    """

    def __init__(self, browser, address, has_map=True, origin="", window=WINDOWS[0], **options):
        self.width, height, self.scheme = window
        self.context = browser.new_context(
            viewport={"width": self.width, "height": height}, color_scheme=self.scheme, **options
        )
        self.page = self.context.new_page()
        self.problems = []
        self.page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.note(request.url, origin or address))
        self.open_requests = set()
        self.is_patient = True
        self.last = 0.0  # time of the last action or request
        self.page.on("request", lambda request: is_of_event(request) and self.follow(request, self.open_requests.add))
        for end in ("requestfinished", "requestfailed"):
            self.page.on(end, lambda request: self.follow(request, self.open_requests.discard))
        self.page.goto(address)
        self.up = time.monotonic()
        self.page.wait_for_selector("#tg-veil", state="attached", timeout=PATIENCE)  # made by the page's script
        if has_map:
            self.page.wait_for_selector("#tg-view .tg-lens img", timeout=PATIENCE)
            self.first_map = time.monotonic() - self.up
            self.page.wait_for_selector("#tg-view a.tg-link", timeout=PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        try:
            if error is None:
                assert not self.problems, self.problems
                assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
                assert self.page.evaluate("document.querySelector('.gradio-container').scrollLeft") == 0
        finally:
            self.context.close()

    def note(self, url, address):
        if not url.startswith((address, "data:", "blob:")):
            self.problems.append(f"asked for {url}")

    def reload(self):
        self.page.reload()
        self.page.wait_for_selector("#tg-veil", state="attached", timeout=PATIENCE)

    def follow(self, request, change):
        change(request)
        self.last = time.monotonic()

    def settle(self):
        """Wait until all that was asked is answered and shown, and nothing else is asked because of it."""
        start = time.monotonic()
        # One answer leads to the next request after a few turns of the page; each evaluation takes one.
        while (is_open := bool(self.open_requests)) or time.monotonic() < self.last + 0.15:
            if is_open and self.is_left_open():
                break
            assert time.monotonic() < start + PATIENCE / SECOND, [one.url for one in self.open_requests]
            self.page.evaluate("new Promise(done => setTimeout(done, 20))")

    def is_left_open(self):
        """Tell whether all is answered but Gradio's stream, which it at times leaves open after two quick events."""
        is_stream = all("/queue/data" in one.url for one in self.open_requests)
        is_quiet = is_stream and time.monotonic() > self.last + 2
        return is_quiet and not self.page.locator("#tg-status progress").count()

    def resize(self, window):
        """Give the window another size and colour scheme."""
        self.width, height, self.scheme = window
        self.page.evaluate("document.activeElement.blur()")  # an element with the focus is not scrolled to
        self.page.set_viewport_size({"width": self.width, "height": height})
        self.paint(self.scheme)

    def paint(self, scheme):
        self.page.emulate_media(color_scheme=scheme)
        self.page.evaluate(f"document.body.classList.toggle('dark', {str(scheme == 'dark').lower()})")
        self.page.evaluate(AT_ONCE)

    def look(self, name):
        """Find no fault of access, in the other colour scheme no text that is hard to read; keep pictures of both."""
        self.settle()
        for scheme in ("dark", "light") if self.scheme == "light" else ("light", "dark"):
            self.paint(scheme)
            unreadable = self.page.evaluate(UNREADABLE)
            assert not unreadable, (name, scheme, unreadable)
            self.shot(f"{name}-{self.width}-{scheme}")
        faults = faults_of(self.page)
        assert not faults, (name, faults)

    def reach(self, place):
        """Move the keyboard's focus to an element, which then stands in the window with nothing above it.

        Not before all is answered, as Gradio may lose the answers to events that follow each other in milliseconds.
        """
        if self.is_patient:
            self.settle()
        one = self.page.locator(place).first
        one.focus(timeout=PATIENCE)
        obstacle = one.evaluate(OUT_OF_REACH)
        assert not obstacle, (place, obstacle)
        self.last = time.monotonic()
        return one

    def press(self, place, key="Enter"):
        self.reach(place)
        self.page.keyboard.press(key)

    def choose(self, control, text):
        """Choose the first entry that begins with a text."""
        self.reach(f"#tg-{control} [role=combobox]")
        self.page.keyboard.insert_text(text)
        active = self.page.locator(f"#tg-{control} .tg-active")
        while not active.inner_text().startswith(text):
            self.page.keyboard.press("ArrowDown")
        assert self.page.evaluate(OPEN_LISTS) == [True]  # one, as a whole in the window
        self.page.keyboard.press("Enter")
        self.last = time.monotonic()
        self.page.keyboard.press("Escape")  # the list of several entries is still open
        assert self.page.evaluate(OPEN_LISTS) == []

    def fill(self, control, value):
        """Write a value into a field and press Enter."""
        self.reach(f"#tg-{control} :is(input:not([type=range]), textarea)").fill(str(value))
        self.page.keyboard.press("Enter")

    def slide(self, control, value):
        if not self.page.locator("#tg-alpha").is_visible():  # folded, on a narrow screen
            self.press("#tg-look > button")
        self.fill(control, value)

    def tab(self, name):
        """Open a tab, once Gradio's own event for the first tab is done, which it sends soon after loading."""
        self.settle()
        self.press(f"#tg-tab-{name.lower()}-button")

    def change_model(self):
        """Open or close the part with the controls of the model."""
        self.press("#tg-model > button")

    def sample(self, number):
        self.press(f"#tg-sample-{number}")

    def drop(self, control, *files):
        """(name, bytes) as if they were chosen in the dialogue."""
        self.settle()
        payload = [{"name": name, "mimeType": "", "buffer": data} for name, data in files]
        with self.page.expect_request(re.compile("/gradio_api/upload[?]"), timeout=PATIENCE):
            self.page.set_input_files(f"#tg-{control} input[type=file]", payload)

    def shows(self, text, place="view"):
        """Wait until a text stands there, after all that was asked before is answered."""
        self.settle()
        self.page.wait_for_function(
            "([place, text]) => document.querySelector(place)?.innerText.includes(text)",
            arg=[f"#tg-{place}", text],
            timeout=PATIENCE,
        )

    def text(self, place="view"):
        return self.page.inner_text(f"#tg-{place}")

    def titles(self):
        return self.page.locator("#tg-view h3").all_inner_texts()

    def download(self, words):
        with self.page.expect_download() as waiting:
            self.press(f"#tg-view a.tg-link:has-text('{words}')")
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
    page.settle()
    named = [(name, base64.b64encode(data).decode()) for name, data in files]
    is_left = bool(page.page.evaluate(HAND_OVER, [kind, place, named, text]))
    page.last = time.monotonic()
    return is_left
