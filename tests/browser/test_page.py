"""The web page as a user meets it: Debian's Chromium, driven by Playwright, on the bundled model.

`TF_GRADCAM_SCREENSHOTS=folder` keeps pictures of the page, wide and narrow, to be looked at.
"""

from __future__ import annotations

import io
import struct
import time
import zipfile
import zlib

import keras
import numpy as np
import pytest
from PIL import Image

from tests.helpers.browser import NEEDS_BROWSER, SECOND, Page
from tests.helpers.pictures import encoded
from tests.helpers.redblue import red_blue_model, red_blue_photo
from tf_gradcam._explain.explainer import Explainer
from tf_gradcam.demo import CLASS_NAMES, LAYER_NAME, load_demo_model, phantom_slices
from tf_gradcam.image.overlay import overlay_heatmap
from tf_gradcam.targets.classes import Contrast

pytestmark = NEEDS_BROWSER
FIRST_MAP = 3.0  # seconds from the page's being up
SLICES = phantom_slices(8, 2026)


@pytest.fixture(scope="module")
def explain():
    """The bundled model's explanation of a slice, straight from Python."""
    model = load_demo_model()

    def answer(number, target=None, method="gradcam", layer=LAYER_NAME):
        return Explainer(model, layer, method, class_names=CLASS_NAMES)(SLICES.images[number][None], target)

    return answer


def png(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def slice_file(number, name="scan.png"):
    return name, encoded(SLICES.images[number].astype(np.uint8), "PNG")


def test_first_map_is_there_soon_after_the_page(page):
    assert page.first_map < FIRST_MAP
    page.shows("glioma")
    assert "slice-1-glioma.png, 224 x 224; true class: glioma" in page.text()
    assert page.page.locator("#tg-view h3").all_inner_texts() == ["Overlay", "Photo", "Map"]
    page.shot("wide")


def test_dropped_picture_is_explained(page):
    page.drop("file", slice_file(3))
    page.shows("scan.png, 224 x 224")
    page.shows("pituitary", "view")
    assert "true class" not in page.text()


def test_layer_method_class_and_contrast_change_the_map(page):
    page.choose("layer", "block4_conv3")
    page.shows("gradcam at block4_conv3, 28 x 28 cells")
    page.choose("method", "hirescam")
    page.shows("hirescam at block4_conv3")
    page.choose("class", "meningioma")
    page.shows("meningioma, ")
    page.choose("against", "glioma")
    page.shows("meningioma against glioma, score")
    page.shot("contrast")


def test_downloaded_overlay_is_the_one_from_python(page, explain):
    page.sample(1)
    page.shows("slice-2-meningioma.png")
    page.choose("method", "layercam")
    page.shows("layercam at")
    page.slide("alpha", 0.7)
    page.choose("colors", "viridis")
    page.page.wait_for_selector("#tg-view a[href*='alpha=0.7'][href*='viridis']")
    name, data = page.download("Overlay (PNG)")
    photo, explanation = SLICES.images[1].astype(np.uint8), explain(1, method="layercam")
    expected = overlay_heatmap(photo, explanation.resized((224, 224))[0], 0.7, "viridis")
    np.testing.assert_array_equal(png(data), expected)
    assert name == "slice-2-meningioma.overlay.png"
    name, data = page.download("Map (NPY)")
    np.testing.assert_allclose(np.load(io.BytesIO(data)), explanation.heatmaps[0], atol=1e-5)
    assert name == "slice-2-meningioma.heatmap.npy"


def test_threshold_leaves_the_photo_in_the_download(page, explain):
    page.sample(3)
    page.shows("slice-4-pituitary.png")
    page.slide("threshold", 0.5)
    page.page.wait_for_selector("#tg-view a[href*='threshold=0.5']")
    overlay = png(page.download("Overlay (PNG)")[1])
    photo, values = SLICES.images[3].astype(np.uint8), explain(3).resized((224, 224))[0]
    expected = overlay_heatmap(photo, values, colormap="heat", threshold=0.5)
    np.testing.assert_array_equal(overlay, expected)


def test_contrast_is_downloaded_with_both_signs(page, explain):
    page.choose("against", "notumor")
    page.shows("glioma against notumor")
    heatmap = np.load(io.BytesIO(page.download("Map (NPY)")[1]))
    np.testing.assert_allclose(heatmap, explain(0, Contrast(0, 2)).signed_heatmaps[0], atol=1e-5)


def test_opacity_reacts_while_the_model_is_busy(page):
    """The slow method holds the model; what is painted meanwhile is the map that is kept."""
    before = page.page.get_attribute("#tg-view img.tg-overlay", "src")
    page.choose("method", "iscam (slow)")
    page.page.wait_for_selector("#tg-status progress")
    page.slide("alpha", 0.9)
    page.page.wait_for_function(
        "before => document.querySelector('#tg-view img.tg-overlay').src !== before",
        arg=before,
        timeout=5 * SECOND,
    )
    assert page.page.locator("#tg-status progress").count() == 1
    page.shot("busy")
    page.page.click("#tg-stop")
    page.shows("Stopped", "status")
    assert "gradcam at block5_conv3" in page.text()
    page.page.wait_for_selector("#tg-stop", state="hidden")


def test_methods_are_compared_side_by_side(page):
    page.tab("Compare")
    page.shows('Press "Compare"')
    page.page.get_by_label("cam", exact=True).check()
    page.page.click("#tg-compare")
    page.shows("Not available here")  # of the last method
    page.shows("Ready", "status")
    titles = page.page.locator("#tg-view h3").all_inner_texts()
    assert titles == ["Photo", "gradcam", "gradcam_pp", "xgradcam", "hirescam", "layercam", "eigencam", "cam"]
    assert "Not available here: Method 'cam' needs a" in page.text()
    page.shot("compare")
    name, data = page.download("Figure (PNG)")
    assert name == "compare.png"
    assert min(png(data).shape[:2]) > 500


def test_layers_are_shown_through_the_depth(page):
    page.tab("Layers")
    page.shows('Press "Explain these layers"')  # the tab's own view, in which no layer is named yet
    page.page.click("#tg-deepen")
    page.shows("block5_conv3")
    page.shows("Ready", "status")
    assert page.page.locator("#tg-view h3").all_inner_texts()[1:] == [
        *("block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3")
    ]
    page.shot("layers")


def test_batch_comes_as_an_archive(page, explain):
    page.tab("Batch")
    page.drop("files", slice_file(0, "a.png"), slice_file(5, "b.png"), ("text.png", b"no picture"))
    page.page.wait_for_selector("#tg-files .file-preview")  # all three have arrived
    page.page.click("#tg-run")
    page.shows("2 of 3 pictures explained")
    assert "'text.png' is not one" in page.text()
    page.shot("batch")
    name, data = page.download("All maps (ZIP)")
    assert name == "heatmaps.zip"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == [
            "a.heatmap.npy",
            "a.overlay.png",
            "b.heatmap.npy",
            "b.overlay.png",
            "manifest.csv",
        ]
        heatmap = np.load(io.BytesIO(archive.read("b.heatmap.npy")))
    np.testing.assert_allclose(heatmap, explain(5).heatmaps[0], atol=1e-5)


def test_file_that_is_no_picture_is_told_and_the_map_stays(page):
    page.drop("file", ("text.png", b"no picture"))
    page.shows("'text.png' is not one", "status")
    assert "slice-1-glioma.png" in page.text()
    page.drop("file", slice_file(2))
    page.shows("scan.png")
    page.shows("Ready", "status")


def test_oversized_picture_is_told(page, tmp_path):
    """40 001 x 1000 pixels by the header, of a file of 60 bytes; and a file of 33 MiB."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_001, 1000, 8, 2, 0, 0, 0)
    huge = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    page.drop("file", ("huge.png", huge))
    page.shows("at most 40 million pixels, but 'huge.png' has 40001 x 1000 by its header", "status")
    (tmp_path / "big.png").write_bytes(bytes(33 * 2**20))
    page.page.set_input_files("#tg-file input[type=file]", tmp_path / "big.png")
    page.shows("a picture of at most 32 MiB, but 'big.png' has 33.0 MiB", "status")
    page.shot("error")


def test_two_users_at_once_see_their_own(page, browser, server):
    other = Page(browser, server.address)
    page.sample(1)
    other.sample(3)
    other.choose("method", "hirescam")
    page.shows("slice-2-meningioma.png")
    other.shows("slice-4-pituitary.png")
    other.shows("hirescam at")
    assert "gradcam at" in page.text()
    links = [one.page.get_attribute("#tg-view a.tg-link", "href").split("/")[1] for one in (page, other)]
    assert links[0] != links[1]
    assert other.problems == []
    other.context.close()


def test_closed_window_leaves_no_file(browser, server):
    one = Page(browser, server.address)
    one.drop("file", slice_file(1, "private.png"))
    one.shows("private.png")
    one.shows("Ready", "status")
    assert list(server.folder.rglob("private.png"))
    one.context.close()
    end = time.monotonic() + 30
    while list(server.folder.rglob("private.png")):
        assert time.monotonic() < end, "the file of the closed window is still there"
        time.sleep(0.2)


def test_uploaded_model_is_explained_with_its_names(page, tmp_path):
    red_blue_model().save(tmp_path / "model.keras")
    page.change_model()
    page.drop("model-file", ("red_blue.keras", (tmp_path / "model.keras").read_bytes()))
    page.shows("red_blue.keras, 2 classes, images of 6 x 10", "head")
    page.shows("at hue, 6 x 10 cells")
    page.drop("names", ("names.txt", b"red\nblue\n"))
    page.drop("file", ("photo.png", encoded(red_blue_photo(scale=4), "PNG")))
    page.shows("photo.png, 40 x 24")
    page.shows("red, ")
    page.choose("class", "blue")
    page.shows("blue, ")
    overlay = png(page.download("Map (PNG)")[1])
    assert overlay.shape == (24, 40, 3)


def test_model_that_brings_code_is_refused(page, tmp_path):
    code = keras.layers.Lambda(lambda means: means * 2)
    red_blue_model(code).save(tmp_path / "code.keras")
    page.change_model()
    page.drop("model-file", ("code.keras", (tmp_path / "code.keras").read_bytes()))
    page.shows("it holds a Lambda layer, and Keras would run the code in it", "status")
    assert "bundled model" in page.text("head")


def test_lines_of_python_are_on_the_page(page):
    page.page.get_by_text("Python code for this picture").click()
    page.shows("load_demo_model()", "lines")
    page.shows("layer='block5_conv3', method='gradcam'", "lines")


UNNAMED = """() => [...document.querySelectorAll('input, button, select, textarea, a[href], [role=combobox]')]
  .filter(one => one.checkVisibility({visibilityProperty: true}) && one.type !== 'file')
  .filter(one => !(one.innerText?.trim() || one.getAttribute('aria-label') || one.getAttribute('title')
    || one.labels?.length || one.getAttribute('aria-labelledby') || one.querySelector('img[alt]')))
  .map(one => one.outerHTML.slice(0, 200))"""


def test_controls_and_pictures_have_names(page):
    for tab in ("Explore", "Compare", "Layers", "Batch"):
        page.tab(tab)
        assert page.page.evaluate(UNNAMED) == []
        assert page.page.locator("img:not([alt])").count() == 0
    assert page.page.get_attribute("#tg-status", "aria-live") == "polite"
    assert page.page.evaluate("document.documentElement.lang") == "en"


# Relative luminance and contrast as WCAG 2.2 defines them; the background is the first opaque one around.
CONTRAST = """() => {
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable(browser, server, scheme):
    one = Page(browser, server.address, color_scheme=scheme)
    for tab in ("Explore", "Compare", "Layers", "Batch"):
        one.tab(tab)
        one.page.wait_for_timeout(300)  # colours fade in
        assert one.page.evaluate(CONTRAST) == [], tab
    one.tab("Explore")
    one.shows("Most probable classes")
    one.shot(scheme)
    one.context.close()


@pytest.mark.parametrize("width", [360, 800])
def test_narrow_window_does_not_scroll_sideways(browser, server, width):
    one = Page(browser, server.address, viewport={"width": width, "height": 800})
    for tab in ("Explore", "Compare", "Layers", "Batch"):
        one.tab(tab)
        assert one.page.evaluate("document.documentElement.scrollWidth") <= width, tab
    one.tab("Explore")
    one.shows("Most probable classes")
    one.shot(f"narrow-{width}")
    one.context.close()
