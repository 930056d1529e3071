"""Take the pictures of the README and the manual again, each into docs/pictures/.

    python docs/pictures.py strip --data DATA    # a real photograph, its map, the overlay, one class against another
    python docs/pictures.py app --data DATA      # the web page, in Chromium, and its parts:
                                                 # app_closely.png, app_layers.png, app_phones.png
    python docs/pictures.py app_list             # its list of layers
    python docs/pictures.py app_batch            # that of several pictures
    python docs/pictures.py app_pixel            # the web page of a segmentation, in Chromium
    python docs/pictures.py audit                # the report of an audit, in Chromium, and its parts:
                                                 # audit_large.png, audit_list.png, audit_phones.png
    python docs/pictures.py audit_labels         # that of a multi-label model
    python docs/pictures.py audit_values         # that of a regression
    python docs/pictures.py repair               # maps before and after a repair
    python docs/pictures.py demo
    python docs/pictures.py methods
    python docs/pictures.py detector
    python docs/pictures.py segmentation
    python docs/pictures.py binary
    python docs/pictures.py multilabel
    python docs/pictures.py regression
    python docs/pictures.py all --data DATA

DATA is a folder with `mobilenet_0.75_224_imagenet.weights.h5` (weights of
`keras.applications.MobileNet((224, 224, 3), alpha=0.75)`) and `imagenet_classes.txt` (1000 lines).

Needs `pip install ".[app,audit]" scikit-image playwright pillow`, and Chromium for the pages. The picture of
times, growth.png, is made by `python -m benchmarks --plot docs/pictures/growth.png`.
"""

from __future__ import annotations

import argparse
import io
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
WEIGHTS = "mobilenet_0.75_224_imagenet.weights.h5"
CLASSES = "imagenet_classes.txt"
PATIENCE = 300_000  # milliseconds for a page that waits for a model


# strip.jpg
#
# `coffee` of scikit-image shows coffee, a cup and a spoon in different places, so a reader sees whether a map is right.
# The crop is a square, as the model's input is, with cup and saucer whole. MobileNet calls it "espresso"; the class
# nearest to the spoon is "wooden spoon". The layer is the one before the last: its cells see less of the picture, so
# its map is sharper. It has 7 x 7 cells, like the last one's. A JPEG, since three photographs in a PNG take 1 MB.

CROP = np.s_[:, 100:500]
LAYER = "conv_pw_12_relu"
CLASS, OTHER = "espresso", "wooden spoon"


def strip(data: Path) -> None:
    """Write four panels: photograph, map, overlay, one class against another."""
    import keras
    from matplotlib.figure import Figure
    from matplotlib.offsetbox import AnnotationBbox, HPacker, TextArea

    from tf_gradcam import Explainer
    from tf_gradcam.image import load_image
    from tf_gradcam.targets import Contrast

    model = keras.applications.MobileNet((224, 224, 3), alpha=0.75, weights=None)
    model.load_weights(data / WEIGHTS)
    names = (data / CLASSES).read_text(encoding="utf-8").splitlines()
    with photograph() as path:
        photo, small = load_image(path), load_image(path, (224, 224))
    batch = keras.applications.mobilenet.preprocess_input(small[None].astype("float32"))

    explainer = Explainer(model, LAYER, class_names=names)
    one = explainer(batch, CLASS)
    both = explainer(batch, Contrast(names.index(CLASS), names.index(OTHER)))
    top, probability = one.top(1)[0][0]
    # Without its colours and faded, so that red and blue are the map's.
    faded = np.repeat(80 + 0.6 * photo.mean(axis=-1, keepdims=True), 3, axis=-1).astype(np.uint8)
    panels = [
        (photo, "photograph", f"prediction: {top}, {probability:.0%}"),
        (one.overlay(photo[None], 1, "viridis")[0], f"Grad-CAM for '{CLASS}'", "yellow is hottest"),
        (one.overlay(photo[None], alpha=0.5)[0], "overlay", "hottest on the coffee"),
        (both.overlay(faded[None], alpha=0.6)[0], "class against class", ""),
    ]
    figure = Figure(figsize=(16, 4.9), dpi=100, facecolor="white")
    for place, (pixels, title, note) in enumerate(panels):
        axes = figure.add_axes((0.008 + place * 0.2487, 0.02, 0.238, 0.777))
        axes.imshow(pixels, interpolation="bicubic")
        axes.axis("off")
        words = {"transform": axes.transAxes, "ha": "center", "va": "bottom"}
        axes.text(0.5, 1.125, title, fontsize=20, weight="bold", **words)
        axes.text(0.5, 1.03, note, fontsize=17, color="#444444", **words)
    said = ((CLASS, "#d02020"), ("against", "#444444"), (OTHER, "#2020d0"))  # in the map's colours
    row = HPacker(
        children=[TextArea(word, textprops={"color": color, "size": 17}) for word, color in said], sep=7, pad=0
    )
    axes.add_artist(AnnotationBbox(row, (0.5, 1.065), xycoords="axes fraction", frameon=False, annotation_clip=False))
    figure.savefig(PICTURES / "strip.jpg", pil_kwargs={"quality": 90, "subsampling": 0, "optimize": True})


@contextmanager
def photograph() -> Iterator[Path]:
    """Yield the file of the photograph, cropped."""
    from skimage.data import coffee

    from tf_gradcam.image import save_image

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "coffee.png")
        save_image(path, np.ascontiguousarray(coffee()[CROP]))
        yield path


# Pages in the browser

WIDTH, HEIGHT = 1200, 1000  # of a window
REPORT_WIDTH = 1040
PHONE = {"width": 390, "height": 844}
MARGIN = 12  # around what is shown


@contextmanager
def window(address: str, width: int = WIDTH, height: int = HEIGHT, **options: Any) -> Iterator[Any]:
    """Open an address in Chromium, and yield Playwright's page; `options` are those of its `new_page`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        yield page
        browser.close()


def shown(page: Any, first: str = "", last: str = "", part: float = 1) -> Image:
    """Return a picture of a page, from one element into another; of the window alone without elements.

    Args:
        page: Playwright's page.
        first, last: selectors of the elements; the same one for its picture alone.
        part: share of the last element's height that is shown.
    """
    from PIL import Image

    page.wait_for_function("[...document.images].every(one => one.complete || one.loading === 'lazy')")
    where: dict[str, Any] = {}
    if first:
        page.evaluate("scrollTo(0, 0)")  # what sticks to the window is where it begins
        top, end = (page.locator(each).first.bounding_box() for each in (first, last))
        if top is None or end is None:
            raise RuntimeError(f"{first} or {last} is not shown")
        left, up = max(min(top["x"], end["x"]) - MARGIN, 0), max(top["y"] - MARGIN, 0)
        right = max(top["x"] + top["width"], end["x"] + end["width"]) + MARGIN
        down = end["y"] + part * end["height"] + (MARGIN if part == 1 else 0)
        clip = {"x": left, "y": up, "width": right - left, "height": down - up}
        where = {"full_page": True, "clip": clip}
    return Image.open(io.BytesIO(page.screenshot(animations="disabled", **where)))


def write(name: str, *pictures: Image) -> None:
    """Write pictures side by side as PNG, packed better than the browser does, with every colour kept."""
    from PIL import Image

    gap = 24  # transparent, as the space below the lower ones is
    size = sum(each.width for each in pictures) + gap * (len(pictures) - 1), max(each.height for each in pictures)
    whole = Image.new("RGBA", size)
    left = 0
    for each in pictures:
        whole.paste(each, (left, 0))
        left += each.width + gap
    whole.convert("RGB" if len(pictures) == 1 else "RGBA").save(PICTURES / f"{name}.png", optimize=True)


@contextmanager
def served(*options: str) -> Iterator[str]:
    """Serve the web page, and yield its address."""
    command = [sys.executable, "-m", "tf_gradcam", "app", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as server:
        try:
            address = next((line.split()[0] for line in server.stderr or [] if line.startswith("http://")), None)
            assert address is not None, "the page was not served"
            yield address
        finally:
            server.terminate()
            server.communicate()


def explain(page: Any, path: Path, layer: str = "") -> None:
    """Drop a picture on the web page, and choose a layer."""
    page.set_input_files("#tg-file input[type=file]", path)
    ready(page, path.name)
    if layer:
        choose(page, "layer", layer)
        ready(page, layer)
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)


def choose(page: Any, control: str, text: str) -> None:
    """Choose the first entry of a list that has a text."""
    page.click(f"#tg-{control} [role=combobox]")
    page.locator(f"#tg-{control} [role=option]").filter(has_text=text).first.click()


def ready(page: Any, text: str) -> None:
    """Wait until a text is on the web page and nothing runs."""
    page.wait_for_function(
        "text => document.querySelector('#tg-view').innerText.includes(text)"
        " && !document.querySelector('#tg-status progress')",
        arg=text,
    )


def app(data: Path) -> None:
    """Write the web page with the photograph and MobileNet, and pictures of its parts."""
    options = ["--model", "MobileNet", "--model-arg", "alpha=0.75"]
    options += ["--weights", str(data / WEIGHTS), "--class-names", str(data / CLASSES)]
    with photograph() as path, served(*options) as address:
        with window(address) as page:
            explain(page, path, LAYER)
            page.click(".tg-stage", position={"x": 150, "y": 130})  # the coffee
            ready(page, ", speaks most for")
            write("app", shown(page, "#tg-head", "#tg-main"))
        with window(f"{address}?__theme=dark") as page:
            _look_closely(page, path)
            write("app_closely", shown(page, "#tg-out .tab-container", "#tg-trail"))
        with window(f"{address}?method=layercam&opacity=0.7") as page:
            explain(page, path)
            page.get_by_role("tab", name="Layers").click()
            page.click("#tg-deepen")
            ready(page, "Click a map")
            write("app_layers", shown(page, "#tg-out .tab-container", "#tg-view .tg-links"))
        phones = []
        for theme, top in (("light", "#tg-head"), ("dark", "#tg-out")):
            with window(f"{address}?__theme={theme}", **PHONE, is_mobile=True) as page:
                explain(page, path, LAYER)
                page.evaluate(f"scrollTo(0, document.querySelector('{top}').getBoundingClientRect().y - {MARGIN})")
                phones.append(shown(page))
        write("app_phones", *phones)


def _look_closely(page: Any, path: Path) -> None:
    """Explain by several questions, zoom in, move the slider to the middle, and point at a place."""
    explain(page, path, LAYER)
    for control, text in (("class", OTHER), ("method", "layercam"), ("class", "top class")):
        choose(page, control, text)
        ready(page, f"{CLASS}, " if text == "top class" else text)
    for _ in range(3):
        page.click("[data-do=in]")
    page.locator(".tg-slide input").fill("50")
    page.evaluate("document.activeElement.blur()")
    page.hover(".tg-stage", position={"x": 130, "y": 120})


def app_list() -> None:
    """Write the end of the list of layers, and that with all layers, in the dark."""
    lists = []
    with served() as address:
        for theme, opened in (("light", ["#tg-layer input"]), ("dark", ["#tg-layer input", "text=Show all"])):
            with window(f"{address}?__theme={theme}") as page:
                page.wait_for_selector("#tg-view .tg-lens img")
                for each in opened:
                    page.click(each)
                page.evaluate("document.querySelector('#tg-layer [role=listbox]').scrollTo(0, 1e6)")
                page.mouse.move(0, 0)
                lists.append(shown(page, "#tg-layer", "#tg-layer [role=listbox]"))
    write("app_list", *lists)


def app_batch() -> None:
    """Write the web page with the cards of a batch: slices that the bundled model has not seen, and a broken file."""
    from tf_gradcam.demo import phantom_slices
    from tf_gradcam.image import save_image

    slices = phantom_slices(8, seed=5).images.astype("uint8")
    with tempfile.TemporaryDirectory() as name, served() as address:
        paths = [Path(name, f"slice_{number}.png") for number in range(1, 9)]
        for path, image in zip(paths, slices, strict=True):
            save_image(path, image)
        paths.insert(3, Path(name, "unfinished_download.png"))
        paths[3].write_bytes(paths[0].read_bytes()[:5000])

        with window(address) as page:
            page.get_by_role("tab", name="Batch").click()
            page.set_input_files("#tg-files input[type=file]", paths)
            page.wait_for_selector("#tg-files .file-preview")
            page.click("#tg-run")
            ready(page, "pictures explained")
            page.wait_for_function("[...document.querySelectorAll('.tg-card img')].every(one => one.naturalWidth)")
            write("app_batch", shown(page, "#tg-out .tab-container", "#tg-view"))


def app_pixel() -> None:
    """Write the web page with the U-Net of examples/segmentation.py, where a pixel of the disc is clicked."""
    from tf_gradcam.image import save_image

    example = runpy.run_path(str(ROOT / "examples" / "segmentation.py"))
    model = example["trained"]()
    photos, truth = example["scenes"](1, seed=7)
    down, across = np.argwhere(truth[0] == example["NAMES"].index("disc")).mean(0) + 0.5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder / "unet.keras")
        (folder / "names.txt").write_text("\n".join(example["NAMES"]), encoding="utf-8")
        save_image(folder / "scene.png", photos[0].repeat(4, 0).repeat(4, 1))
        options = ["--model", str(folder / "unet.keras"), "--class-names", str(folder / "names.txt")]
        with served(*options) as address, window(address) as page:
            explain(page, folder / "scene.png", "decoder")
            frame = page.locator("#tg-view .tg-picture[data-pick]").bounding_box()
            height, width = truth.shape[1:]
            x, y = frame["x"] + across / width * frame["width"], frame["y"] + down / height * frame["height"]
            page.mouse.click(x, y)
            ready(page, "disc at ")
            page.mouse.move(0, 0)
            write("app_pixel", shown(page, "#tg-head", "#tg-main"))


SLICES = 640


def audit() -> None:
    """Write parts of the report on slices with a planted square, those of examples/audit_a_dataset.py."""
    from tf_gradcam.audit import audit
    from tf_gradcam.demo import CLASS_NAMES, phantom_slices
    from tf_gradcam.image import save_image

    example = runpy.run_path(str(ROOT / "examples" / "audit_a_dataset.py"))
    phantom = phantom_slices(SLICES, seed=77, size=example["SIZE"])
    images = example["with_squares"](phantom.images, phantom.labels)
    with tempfile.TemporaryDirectory() as folder:
        example["trained"](images, phantom.labels, epochs=12).save(Path(folder, "best.keras"))
        for number, (image, label) in enumerate(zip(images, phantom.labels, strict=True)):
            path = Path(folder, "data", CLASS_NAMES[label], f"{number:03d}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            save_image(path, image.astype(np.uint8))
        audit(Path(folder, "best.keras"), Path(folder, "data"), Path(folder, "report"))
        _photograph_report(Path(folder, "report", "index.html").as_uri())


def _photograph_report(address: str) -> None:
    """Write the finding, a large picture, the list of all images, and two phones."""
    thumbnail = ".finding .cards svg[data-row]"
    with window(address, REPORT_WIDTH) as page:
        write("audit", shown(page, ".top", "article.shortcut .shown", 0.51))  # two of its four rows
        page.locator(thumbnail).first.click()
        write("audit_large", shown(page, "dialog", "dialog"))
    phones = []
    with window(address, **PHONE, is_mobile=True) as page:
        phones.append(shown(page))
    with window(address, **PHONE, is_mobile=True, color_scheme="dark") as page:
        page.locator(thumbnail).first.click()
        phones.append(shown(page))
    write("audit_phones", *phones)
    with window(address, REPORT_WIDTH, color_scheme="dark") as page:
        page.select_option("#sort", label="confidence, lowest first")
        page.select_option("#kind", "wrong")
        write("audit_list", shown(page, "#all h2", "#list .card:nth-child(12)"))


def audit_labels() -> None:
    """Write the upper part of the report on scenes of three labels, one of them with a planted mark."""
    _audit_scenes("labels_world", "audit_labels", "#labels")


def audit_values() -> None:
    """Write the upper part of the report on scenes of a value, with a planted mark where it is high."""
    _audit_scenes("values_world", "audit_values", "#errors .values")


def _audit_scenes(world: str, name: str, last: str) -> None:
    """Audit scenes of the tests, and write the report without the pictures of its finding."""
    from tf_gradcam.audit import audit
    from tf_gradcam.image import save_image

    scenes = runpy.run_path(str(ROOT / "tests" / "helpers" / "planted_tasks.py"))
    given, is_value = scenes[world](True), world == "values_world"
    options = {"unit": "years", "class_names": ["age"]} if is_value else {"class_names": scenes["LABELS"]}
    with tempfile.TemporaryDirectory() as folder:
        lines = ["file,value" if is_value else ",".join(["file", *scenes["LABELS"]])]
        for number, (image, truth) in enumerate(zip(given.images, np.atleast_2d(given.truth.T).T, strict=True)):
            save_image(Path(folder, f"{number:03d}.png"), image.round().astype(np.uint8))
            lines.append(f"{number:03d}.png," + ",".join(f"{one:g}" for one in truth))
        table = Path(folder, "ages.csv" if is_value else "labels.csv")
        table.write_text("\n".join(lines), encoding="utf-8")
        model = Path(folder, "age.keras" if is_value else "tags.keras")
        given.model.save(model)
        audit(model, table, Path(folder, "report"), num_images=4, sanity=False, **options)

        with window(Path(folder, "report", "index.html").as_uri(), REPORT_WIDTH) as page:
            parts = ".shown, .evidence, .finding h4, .finding .cards, #findings > details"
            page.evaluate(f"document.querySelectorAll('{parts}').forEach(one => one.remove())")
            write(name, shown(page, ".top", last))


def repair() -> None:
    """Write maps of the same slices before and after a repair."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--kinds", "corner", "--seeds", "1", "--keep", folder]
        subprocess.run([sys.executable, "-m", "benchmarks.repairs", *options], cwd=ROOT, check=True)
        shutil.copy(Path(folder, "corner0", "repaired", "repair.png"), PICTURES)


def demo() -> None:
    """Write the picture of `tf-gradcam demo`."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "tf_gradcam", "demo", "--out", folder], cwd=ROOT, check=True)
        shutil.copy(Path(folder, "demo.png"), PICTURES)


def methods() -> None:
    """Write one slice explained by every method."""
    runpy.run_path(str(ROOT / "examples" / "all_methods.py"))["main"](str(PICTURES / "methods.png"))


def detector() -> None:
    """Write the picture of the detections of a tiny detector."""
    runpy.run_path(str(ROOT / "examples" / "detector.py"))["main"](str(PICTURES / "detector.png"))


def segmentation() -> None:
    """Write the maps of a tiny U-Net at both of its layers, one above the other."""
    from tf_gradcam.image import load_image, save_image

    with tempfile.TemporaryDirectory() as folder:
        runpy.run_path(str(ROOT / "examples" / "segmentation.py"))["main"](folder)
        both = [load_image(Path(folder) / f"{role}.png") for role in ("context", "detail")]
    save_image(PICTURES / "segmentation.png", np.concatenate(both))


def binary() -> None:
    """Write the picture of both sides of a tiny binary model."""
    runpy.run_path(str(ROOT / "examples" / "binary.py"))["main"](str(PICTURES / "binary.png"))


def multilabel() -> None:
    """Write the picture of the labels of a tiny multi-label model."""
    runpy.run_path(str(ROOT / "examples" / "multilabel.py"))["main"](str(PICTURES / "multilabel.png"))


def regression() -> None:
    """Write the picture of the values of a tiny regression."""
    runpy.run_path(str(ROOT / "examples" / "regression.py"))["main"](str(PICTURES / "regression.png"))


WITH_DATA = {"strip": strip, "app": app}
MAKERS: dict[str, Callable[..., None]] = {
    **WITH_DATA,
    "app_list": app_list,
    "app_batch": app_batch,
    "app_pixel": app_pixel,
    "audit": audit,
    "audit_labels": audit_labels,
    "audit_values": audit_values,
    "repair": repair,
    "demo": demo,
    "methods": methods,
    "detector": detector,
    "segmentation": segmentation,
    "binary": binary,
    "multilabel": multilabel,
    "regression": regression,
}


def main() -> None:
    """Take the pictures that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", choices=[*MAKERS, "all"])
    parser.add_argument("--data", type=Path, help="folder with the weights and the class names")
    arguments = parser.parse_args()
    chosen = MAKERS if arguments.picture == "all" else [arguments.picture]
    if arguments.data is None and WITH_DATA.keys() & set(chosen):
        parser.error(f"{arguments.picture}: expected --data DATA, received none. DATA is described above.")
    for name in chosen:
        print(f"taking {name}", flush=True)
        MAKERS[name](*[arguments.data.resolve()] if name in WITH_DATA else [])


if __name__ == "__main__":
    main()
