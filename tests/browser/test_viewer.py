"""The picture that is looked at closely, in Chromium: slider, zoom, values, rows, the keyboard."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.helpers.browser import NEEDS_BROWSER, PATIENCE, in_each_window
from tests.helpers.pictures import encoded
from tf_gradcam import explain
from tf_gradcam.demo import LAYER_NAME, load_demo_model, phantom_slices

pytestmark = NEEDS_BROWSER
PHOTO = phantom_slices(8, 2026).images[0].astype(np.uint8)[37:187].repeat(4, 0).repeat(4, 1)  # 600 x 896
HEIGHT, WIDTH = PHOTO.shape[:2]


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """The map of the photo's top class at the photo's own size, straight from Python."""
    path = tmp_path_factory.mktemp("photo") / "scan.png"
    path.write_bytes(encoded(PHOTO, "PNG"))
    return explain(path, load_demo_model(), layer=LAYER_NAME).resized((HEIGHT, WIDTH))[0]


class Viewer:
    """The frame of a page, and what stands in it."""

    def __init__(self, page):
        self.page = page.page

    def scroll(self):
        self.page.evaluate("document.querySelector('.tg-stage').scrollIntoView({block: 'center'})")

    @property
    def frame(self):
        return self.page.locator(".tg-stage").bounding_box()

    @property
    def picture(self):
        return self.page.locator(".tg-stage .tg-picture").bounding_box()

    @property
    def zoom(self):
        return self.picture["width"] / WIDTH

    def do(self, name):
        self.page.click(f"[data-do={name}]")

    def point(self, x, y):
        """Move the mouse to the middle of a pixel of the photo."""
        picture = self.picture
        self.page.mouse.move(picture["x"] + (x + 0.5) * self.zoom, picture["y"] + (y + 0.5) * self.zoom)

    def read(self):
        """x, y, value, row and column of the line below the picture."""
        text = self.page.inner_text(".tg-readout")
        found = re.fullmatch(r"x (\d+), y (\d+) · map ([\d.-]+) · cell \(row (\d+), column (\d+)\) of 14 x 14", text)
        assert found, text
        return int(found[1]), int(found[2]), float(found[3]), int(found[4]), int(found[5])

    def clipped(self):
        """The share of the picture's width that the overlay leaves to the photo."""
        clip = self.page.evaluate("document.querySelector('.tg-overlay').style.clipPath")
        sides = re.findall(r"([\d.]+)px", clip)  # "inset(0px)" where all are alike
        return float(sides[1 % len(sides)]) / self.picture["width"]


def check_values(viewer, values):
    """At the middle of the frame and around it: the map's value within 1/255, and the pixel that was pointed at."""
    frame, picture = viewer.frame, viewer.picture
    for right, down in ((0.5, 0.5), (0.3, 0.6), (0.7, 0.35)):
        x = int((frame["x"] + right * frame["width"] - picture["x"]) / viewer.zoom)
        y = int((frame["y"] + down * frame["height"] - picture["y"]) / viewer.zoom)
        viewer.point(x, y)
        *at, value, row, column = viewer.read()
        assert at == [x, y]
        assert abs(value - values[y, x]) < 1 / 255
        assert (row, column) == (int((y + 0.5) / HEIGHT * 14), int((x + 0.5) / WIDTH * 14))


@in_each_window
def test_picture_is_looked_at_closely(page, values):
    page.drop("file", ("scan.png", encoded(PHOTO, "PNG")))
    page.shows("scan.png, 896 x 600")
    viewer = Viewer(page)
    viewer.scroll()
    check_values(viewer, values)
    assert viewer.page.get_attribute(".tg-overlay", "src").startswith("data:")

    assert viewer.clipped() == 0  # the whole overlay
    viewer.page.focus(".tg-slide input")
    for _ in range(25):
        viewer.page.keyboard.press("ArrowLeft")
    assert viewer.clipped() == pytest.approx(0.25, abs=0.01)
    assert viewer.page.get_attribute(".tg-slide input", "aria-valuetext") == "75% overlay, 25% photo"

    viewer.do("pixels")
    assert viewer.zoom == pytest.approx(1)
    for image in (".tg-photo", ".tg-overlay"):
        assert viewer.page.evaluate(f"document.querySelector('{image}').style.imageRendering") == "pixelated"
        viewer.page.wait_for_function(
            f"document.querySelector('{image}').src.startsWith('blob:') && "
            f"document.querySelector('{image}').naturalWidth === {WIDTH}",
            timeout=PATIENCE,
        )
    check_values(viewer, values)
    viewer.do("in")
    viewer.do("in")
    assert viewer.zoom == pytest.approx(1.25**2)

    x, y = (viewer.frame[name] + viewer.frame[side] / 2 for name, side in (("x", "width"), ("y", "height")))
    before = viewer.picture
    viewer.page.mouse.move(x, y)
    viewer.page.mouse.down()
    viewer.page.mouse.move(x - 30, y - 20, steps=3)
    viewer.page.mouse.up()
    assert (viewer.picture["x"], viewer.picture["y"]) == pytest.approx((before["x"] - 30, before["y"] - 20), abs=1)
    viewer.point(*(at := (int((x - viewer.picture["x"]) / viewer.zoom), int((y - viewer.picture["y"]) / viewer.zoom))))
    viewer.page.keyboard.down("Control")
    viewer.page.mouse.wheel(0, -200)
    viewer.page.keyboard.up("Control")
    viewer.page.wait_for_function(f"document.querySelector('.tg-picture').clientWidth > {1.25**2 * WIDTH + 9}")
    viewer.page.mouse.move(x + 0.1, y + 0.1)
    assert np.abs(np.subtract(viewer.read()[:2], at)).max() <= 1  # zoomed around the pointer

    page.slide("alpha", 0.7)  # a new overlay: place and slider stay, and its own pixels are fetched
    zoom = viewer.zoom
    viewer.page.wait_for_selector(".tg-overlay[data-more*='alpha=0.7'][src^='blob:']", timeout=PATIENCE)
    assert viewer.zoom == pytest.approx(zoom)
    assert viewer.clipped() > 0
    viewer.scroll()
    viewer.point(*at)
    cell = viewer.read()[3:]
    viewer.page.mouse.down()
    viewer.page.mouse.up()
    page.shows(f"This place, cell (row {cell[0]}, column {cell[1]}), speaks ")
    page.look("closely")
    viewer.do("fit")
    assert viewer.picture["width"] <= viewer.frame["width"] + 1


@in_each_window
def test_keyboard_alone_reads_cells_and_explains_a_row(page):
    viewer = Viewer(page)
    page.reach(".tg-stage")
    for key in "+++":
        viewer.page.keyboard.press(key)
    zoom = viewer.page.inner_text(".tg-zoom")
    left = viewer.picture["x"]
    viewer.page.keyboard.press("ArrowRight")
    assert viewer.picture["x"] == pytest.approx(left - 60, abs=1)
    viewer.page.keyboard.press("c")
    assert viewer.page.get_attribute("[data-do=cross]", "aria-pressed") == "true"
    start = viewer.read()
    viewer.page.keyboard.press("ArrowLeft")
    viewer.page.keyboard.press("ArrowUp")
    moved = viewer.read()
    assert (moved[3], moved[4]) == (start[3] - 1, start[4] - 1)
    viewer.page.keyboard.press("Shift+ArrowDown")
    assert viewer.read()[:2] == (moved[0], moved[1] + 1)
    line = viewer.page.inner_text(".tg-readout")
    viewer.page.wait_for_function("text => document.querySelector('.tg-said').textContent === text", arg=line)
    assert viewer.page.get_attribute(".tg-said", "aria-live") == "polite"
    viewer.page.keyboard.press("Enter")
    page.shows(f"This place, cell (row {moved[3]}, column {moved[4]}), speaks ")
    assert viewer.page.evaluate("document.activeElement.className").startswith("tg-stage")
    viewer.page.keyboard.press("Escape")
    assert viewer.page.locator(".tg-cross.tg-on").count() == 0
    viewer.page.keyboard.press("0")
    assert viewer.page.inner_text(".tg-zoom") != zoom
    page.press(".tg-choose:text-is('pituitary')", "Space")
    viewer.page.wait_for_selector(".tg-explained:has-text('pituitary')", timeout=PATIENCE)
    viewer.page.locator("tr[data-pick] .tg-cell").nth(1).click()  # the bar of the second class
    viewer.page.wait_for_selector("tr.tg-explained:nth-child(2)", timeout=PATIENCE)
    page.slide("threshold", 0.5)
    viewer.page.wait_for_selector(".tg-bar .tg-cut")
    page.look("closely-row")
