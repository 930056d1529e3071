"""The web page as a user meets it: Debian's Chromium, driven by Playwright, on the bundled model.

`TF_GRADCAM_SCREENSHOTS=folder` keeps pictures of the page at each width in light and dark, to be looked at.
"""

from __future__ import annotations

import functools
import io
import struct
import time
import zipfile
import zlib

import keras
import numpy as np
import pytest
from PIL import Image

from tests.helpers.app_sessions import files_in
from tests.helpers.browser import NEEDS_BROWSER, SECOND, Page, faults_of, in_each_window
from tests.helpers.pictures import encoded
from tests.helpers.redblue import red_blue_model
from tf_gradcam._explain.explainer import Explainer
from tf_gradcam.demo import CLASS_NAMES, LAYER_NAME, load_demo_model, phantom_slices
from tf_gradcam.image.overlay import overlay_heatmap
from tf_gradcam.targets.classes import Contrast

pytestmark = NEEDS_BROWSER
FIRST_MAP = 3.0  # seconds from the page's being up
SLICES = phantom_slices(8, 2026)
TABS = ("Explore", "Compare", "Layers", "Batch")


@pytest.fixture(scope="module")
def explain():
    """The bundled model's explanation of a slice, straight from Python."""
    model = load_demo_model()

    @functools.cache
    def answer(number, target=None, method="gradcam", layer=LAYER_NAME):
        return Explainer(model, layer, method, class_names=CLASS_NAMES)(SLICES.images[number][None], target)

    return answer


def png(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def slice_file(number, name="scan.png"):
    return name, encoded(SLICES.images[number].astype(np.uint8), "PNG")


@pytest.fixture(scope="module", autouse=True)
def left_window(browser, server):
    """A window that was closed with a picture of its own in it. Gradio takes up to 15 seconds to see that."""
    with Page(browser, server.address) as one:
        one.drop("file", slice_file(1, "private.png"))
        one.shows("private.png, 224 x 224")
        assert "private.png" in files_in(server.folder)


def test_first_map_is_there_soon_after_the_page(page):
    assert page.first_map < FIRST_MAP
    page.shows("glioma")
    assert "slice-1-glioma.png, 224 x 224; true class: glioma" in page.text()
    assert page.titles() == ["Overlay", "Photo", "Map"]


@in_each_window
def test_layer_method_class_and_contrast_change_the_map(page, explain):
    page.choose("layer", "block4_conv3")
    page.shows("gradcam at block4_conv3, 28 x 28 cells")
    page.choose("method", "hirescam")
    page.shows("hirescam at block4_conv3")
    page.choose("class", "meningioma")
    page.shows("meningioma, ")
    page.choose("against", "glioma")
    page.shows("meningioma against glioma, score")
    page.look("contrast")
    heatmap = np.load(io.BytesIO(page.download("Map (NPY)")[1]))
    expected = explain(0, Contrast(1, 0), "hirescam", "block4_conv3").signed_heatmaps[0]
    np.testing.assert_allclose(heatmap, expected, atol=1e-5)


@in_each_window
def test_downloaded_overlays_are_those_from_python(page, explain):
    page.sample(1)
    page.shows("slice-2-meningioma.png")
    page.choose("method", "layercam")
    page.slide("alpha", 0.7)
    page.choose("colors", "viridis")
    page.page.wait_for_selector("#tg-view a[href*='alpha=0.7'][href*='viridis']")
    photo, explanation = SLICES.images[1].astype(np.uint8), explain(1, method="layercam")
    values = explanation.resized((224, 224))[0]
    name, data = page.download("Overlay (PNG)")
    np.testing.assert_array_equal(png(data), overlay_heatmap(photo, values, 0.7, "viridis"))
    assert name == "slice-2-meningioma.overlay.png"
    name, data = page.download("Map (NPY)")
    np.testing.assert_allclose(np.load(io.BytesIO(data)), explanation.heatmaps[0], atol=1e-5)
    assert name == "slice-2-meningioma.heatmap.npy"
    page.choose("colors", "heat")
    page.slide("threshold", 0.5)  # below it the photo is left as it is
    page.page.wait_for_selector("#tg-view a[href*='threshold=0.5']:not([href*='viridis'])")
    page.look("threshold")
    expected = overlay_heatmap(photo, values, 0.7, "heat", threshold=0.5)
    np.testing.assert_array_equal(png(page.download("Overlay (PNG)")[1]), expected)


@in_each_window
def test_opacity_reacts_while_the_model_is_busy(page):
    """The slow method holds the model; what is painted meanwhile is the map that is kept."""
    before = page.page.get_attribute("#tg-view img.tg-overlay", "src")
    page.choose("method", "iscam (slow)")
    page.is_patient = False
    page.page.wait_for_selector("#tg-status progress")
    page.slide("alpha", 0.9)
    page.page.wait_for_function(
        "before => document.querySelector('#tg-view img.tg-overlay').src !== before",
        arg=before,
        timeout=5 * SECOND,
    )
    assert page.page.locator("#tg-status progress").count() == 1
    page.press("#tg-stop")
    page.shows("Stopped", "status")
    assert "gradcam at block5_conv3" in page.text()
    page.page.wait_for_selector("#tg-stop", state="hidden")


@in_each_window
def test_methods_are_compared_side_by_side(page):
    page.tab("Compare")
    page.shows('Press "Compare"')
    page.press("#tg-methods label:has(span:text-is('cam')) input", "Space")
    page.press("#tg-compare")
    page.shows("Not available here: Method 'cam' needs a")
    titles = ["Photo", "gradcam", "gradcam_pp", "xgradcam", "hirescam", "layercam", "eigencam", "cam"]
    assert page.titles() == titles
    page.look("compare")
    name, data = page.download("Figure (PNG)")
    assert name == "compare.png"
    assert min(png(data).shape[:2]) > 500


@in_each_window
def test_batch_comes_as_an_archive(page, explain):
    page.tab("Batch")
    page.press("#tg-run")
    page.shows("Choose between 1 and 200 pictures", "status")
    page.look("batch-error")
    page.drop("files", slice_file(0, "a.png"), slice_file(5, "b.png"), ("text.png", b"no picture"))
    page.shows("Ready", "status")  # an error is answered by a choice
    page.press("#tg-run")
    page.shows("2 of 3 pictures explained")
    assert "'text.png' is not one" in page.text()
    page.look("batch")
    name, data = page.download("All maps (ZIP)")
    assert name == "heatmaps.zip"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        maps = [f"{name}.{kind}" for name in "ab" for kind in ("heatmap.npy", "overlay.png")]
        assert archive.namelist() == [*maps, "manifest.csv"]
        heatmap = np.load(io.BytesIO(archive.read("b.heatmap.npy")))
    np.testing.assert_allclose(heatmap, explain(5).heatmaps[0], atol=1e-5)


@in_each_window
def test_file_that_is_not_a_picture_or_too_large_is_told_and_the_map_stays(page, tmp_path):
    """No picture; 40 001 x 1000 pixels by the header, of a file of 60 bytes; and a file of 33 MiB."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    page.drop("file", ("text.png", b"no picture"))
    page.shows("'text.png' is not one", "status")
    header = struct.pack(">IIBBBBB", 40_001, 1000, 8, 2, 0, 0, 0)
    huge = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    page.drop("file", ("huge.png", huge))
    page.shows("at most 40 million pixels, but 'huge.png' has 40001 x 1000 by its header", "status")
    (tmp_path / "big.png").write_bytes(bytes(33 * 2**20))
    page.page.set_input_files("#tg-file input[type=file]", tmp_path / "big.png")
    page.shows("a picture of at most 32 MiB, but 'big.png' has 33.0 MiB", "status")
    assert "slice-1-glioma.png" in page.text()
    page.look("error")
    page.drop("file", slice_file(2))
    page.shows("scan.png, 224 x 224")
    page.shows("Ready", "status")
    assert "true class" not in page.text()


def test_two_users_at_once_see_their_own(page, browser, server):
    with Page(browser, server.address) as other:
        page.sample(1)
        other.sample(3)
        other.choose("method", "hirescam")
        page.shows("slice-2-meningioma.png")
        other.shows("slice-4-pituitary.png")
        other.shows("hirescam at")
        assert "gradcam at" in page.text()
        links = [one.page.get_attribute("#tg-view a.tg-link", "href").split("/")[1] for one in (page, other)]
        assert links[0] != links[1]


def test_model_that_brings_code_is_refused(page, tmp_path):
    code = keras.layers.Lambda(lambda means: means * 2)
    red_blue_model(code).save(tmp_path / "code.keras")
    page.change_model()
    page.drop("model-file", ("code.keras", (tmp_path / "code.keras").read_bytes()))
    page.shows("it holds a Lambda layer, and Keras would run the code in it", "status")
    assert "bundled model" in page.text("head")


UNNAMED = """() => [...document.querySelectorAll('input, button, select, textarea, a[href], [role=combobox]')]
  .filter(one => one.checkVisibility({visibilityProperty: true}) && one.type !== 'file')
  .filter(one => !(one.innerText?.trim() || one.getAttribute('aria-label') || one.getAttribute('title')
    || one.labels?.length || one.getAttribute('aria-labelledby') || one.querySelector('img[alt]')))
  .map(one => one.outerHTML.slice(0, 200))"""


@in_each_window
def test_tabs_and_folds_have_names_and_no_width_makes_them_scroll_sideways(page, window):
    page.change_model()
    page.press("button:has-text('Python code for this picture')")
    page.shows("load_demo_model()", "lines")
    page.shows("layer='block5_conv3', method='gradcam'", "lines")
    assert faults_of(page.page) == []  # Gradio paints code once, in the scheme at the start
    page.shot(f"folds-{window[0]}")
    for tab in TABS:
        page.tab(tab)
        assert page.page.evaluate(UNNAMED) == []
        assert page.page.locator("img:not([alt])").count() == 0
        for width in (360, 800, window[0]):
            page.page.set_viewport_size({"width": width, "height": 800})
            assert page.page.evaluate("document.documentElement.scrollWidth") <= width, (tab, width)
    assert page.page.get_attribute("#tg-status", "aria-live") == "polite"
    assert page.page.evaluate("document.documentElement.lang") == "en"


def test_closed_window_leaves_no_file(left_window, server):
    """The last of this file, as it waits for what `left_window` has left."""
    end = time.monotonic() + 30
    while "private.png" in files_in(server.folder):
        assert time.monotonic() < end, "the file of the closed window is still there"
        time.sleep(0.2)
