"""The web page of a model of each task, as a user meets it, with networks that one can do in one's head.

`TF_GRADCAM_SCREENSHOTS=folder` keeps pictures of the page, light and dark, to be looked at.
"""

from __future__ import annotations

import io
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from tests.helpers.app_tasks import (
    LABELS,
    PAIR_LOGIT,
    UNIT,
    binary_model,
    detection_model,
    multilabel_model,
    regression_model,
    segmentation_model,
)
from tests.helpers.browser import NEEDS_BROWSER, WINDOWS, Page
from tests.helpers.pictures import encoded
from tests.helpers.redblue import red_blue_photo

pytestmark = NEEDS_BROWSER
PHOTO = "photo.png", encoded(red_blue_photo(scale=20), "PNG")  # 4 of 10 columns are red


def load(page: Page, model: keras.Model, names: list[str], folder: Path, **said: str) -> None:
    """Load a model into the page, say what is needed of it, and drop the photo."""
    model.save(folder / "model.keras")
    page.change_model()
    page.page.wait_for_selector("#tg-model-file input", state="attached")
    page.drop("model-file", ("task.keras", (folder / "model.keras").read_bytes()))
    page.shows("task.keras", "head")
    for field, text in said.items():
        page.fill(field, text)
        page.settle()
    page.drop("names", ("names.txt", "\n".join(names).encode()))
    page.settle()
    page.change_model()
    page.drop("file", PHOTO)
    page.shows("photo.png, 200 x 120")
    page.shows("Ready", "status")


def test_labels_above_the_threshold_are_shown_together(page: Page, tmp_path: Path) -> None:
    load(page, multilabel_model(), LABELS, tmp_path)
    assert "Task: multilabel, as its output is 3 sigmoid units." in page.text("head")
    for window in WINDOWS:
        page.resize(window)
        page.choose("class", "all above")
        page.fill("above", 0.5)
        page.shows("above 0.5")
        assert page.titles() == ["red", "Photo", "red", "blue"]
        page.look("multilabel")
        page.press("[aria-label='Look closely at blue']")
        assert page.titles()[0] == "blue"
        assert page.page.get_attribute(".tg-overlay", "alt") == "Map of blue painted on photo.png"
        sources = page.page.locator("img[data-map]").evaluate_all("images => images.map(image => image.src)")
        assert sources[0] == sources[2] != sources[1]
        page.press(".tg-choose:text-is('blue')", "Space")
        page.settle()
        assert page.titles() == ["Overlay", "Photo", "Map"]
        page.fill("above", 0.1)  # green is at 0.12
        page.choose("class", "all above")
        page.settle()
        assert page.titles() == ["red", "Photo", "red", "blue", "green"]


def test_both_sides_are_shown(page: Page, tmp_path: Path) -> None:
    load(page, binary_model(), ["blue", "red"], tmp_path)
    assert "classification, as its output is one sigmoid unit, with two sides" in page.text("head")
    share = f"{1 / (1 + np.exp(-PAIR_LOGIT)):.1%}"
    for window in WINDOWS:
        page.resize(window)
        assert page.titles() == ["blue", "Photo", "blue", "red"]
        assert share in page.text()
        page.look("binary")
        page.choose("class", "red")
        page.settle()
        assert page.titles() == ["Overlay", "Photo", "Map"]
        with Image.open(io.BytesIO(page.download("Map (PNG)")[1])) as image:
            assert image.size == (200, 120)
        page.choose("class", "both")
        page.settle()


def test_value_and_its_unit_are_shown_and_compared(page: Page, tmp_path: Path) -> None:
    load(page, regression_model(1), ["heat"], tmp_path, unit=UNIT)
    assert "Task: regression" in page.text("head")
    for window in WINDOWS:
        page.resize(window)
        assert "red raises the value" in page.text()
        page.look("regression")
        page.fill("near", "10")
        page.shows(f"red brings it to 10 {UNIT}")
        page.fill("near", "")
        page.settle()


def test_pixel_is_clicked(page: Page, tmp_path: Path) -> None:
    load(page, segmentation_model(), ["red", "blue"], tmp_path)
    assert "Task: segmentation" in page.text("head")
    for window in WINDOWS:
        page.resize(window)
        assert page.titles() == ["Overlay", "Photo", "Predicted classes", "Map"]
        assert "Predicted classes, by their share" in page.text()
        photo = page.page.locator("#tg-view .tg-picture[data-pick]")
        photo.scroll_into_view_if_needed()
        frame = photo.bounding_box()
        assert frame is not None
        page.page.mouse.click(frame["x"] + 0.25 * frame["width"], frame["y"] + 0.5 * frame["height"])
        page.shows("red at ")
        assert page.page.locator("#tg-view .tg-point").count() >= 1
        assert abs(float(page.page.input_value("#tg-across input")) - 25) < 1
        page.look("segmentation")
        page.fill("across", 75)
        page.shows("blue at 75%, ")
        page.press(".tg-choose:text-is('red')")
        page.shows("region of red")
        page.choose("class", "largest")
        page.settle()


def test_box_is_clicked(page: Page, tmp_path: Path) -> None:
    load(page, detection_model(), ["red", "blue"], tmp_path, decode="xyxy")
    assert "Task: detection, as its output (B, 2, 6) has a row for each box." in page.text("head")
    for window in WINDOWS:
        page.resize(window)
        assert "of the heat in its box" in page.text()
        page.look("detection")
        page.page.locator("#tg-view .tg-box[data-pick='box 1']").click()
        page.page.wait_for_selector("#tg-view .tg-box.tg-own[data-pick='box 1']")
        page.shows("1: ")
        assert page.page.input_value("#tg-class input").startswith("box 1: ")
        page.press("#tg-view .tg-box[data-pick='box 0']")
        page.page.wait_for_selector("#tg-view .tg-box.tg-own[data-pick='box 0']")
        page.shows("0: ")
