"""The web page of a model of each task, as a user meets it, with the trained networks of the zoo.

`TF_GRADCAM_SCREENSHOTS=folder` keeps pictures of the page, light and dark, to be looked at.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from tests.helpers.app_server import served
from tests.helpers.browser import NEEDS_BROWSER, SECOND, Page
from tests.helpers.pictures import encoded
from tests.zoo import detectors, tasks

pytestmark = NEEDS_BROWSER


class Case(NamedTuple):
    """A model of a task: its network, class names, what is said of it, and a photo with its file's name."""

    network: Callable[[], keras.Model]
    names: list[str]
    photo: np.ndarray
    said: Mapping[str, Any] = {}
    imports: tuple[str, ...] = ()


def shapes(*there: int) -> np.ndarray:
    return tasks.shapes(1, seed=5, there=there).images[0].repeat(4, 0).repeat(4, 1)


def scene() -> np.ndarray:
    image = detectors.scenes(1, seed=9, classes=(0, 1)).images[0]
    return (255 * image).round().astype(np.uint8).repeat(4, 0).repeat(4, 1)


CASES = {
    "multilabel": Case(tasks.multilabel, tasks.NAMES, shapes(0, 1)),
    "binary": Case(tasks.binary, ["no square", "red square"], shapes(0, 1)),
    "regression": Case(tasks.regression, [], shapes(0, 1), {"unit": "cm²"}),
    "segmentation": Case(tasks.segmentation, tasks.REGIONS, shapes(0, 1, 2)),
    "detection": Case(detectors.trained, detectors.NAMES, scene(), {"decode": "center_xywh"}, ("tests.zoo.detectors",)),
}


@contextlib.contextmanager
def opened(browser: Any, folder: Path, task: str) -> Iterator[Page]:
    """Open the page of a model of the task, with its photo."""
    case = CASES[task]
    case.network().save(folder / f"{task}.keras")
    (folder / "names.txt").write_text("\n".join(case.names), encoding="utf-8")
    names = str(folder / "names.txt") if case.names else ""
    with served(folder / "temporary", str(folder / f"{task}.keras"), names, case.said, imports=case.imports) as server:
        page = Page(browser, server.address, has_map=False)
        if task == "detection":
            page.change_model()
            page.choose("mode", "unit")
            page.change_model()
        page.drop("file", ("shapes.png", encoded(case.photo, "PNG")))
        ready(page, "shapes.png, 256 x 192")
        yield page
        assert page.problems == []
        page.context.close()


def ready(page: Page, text: str) -> None:
    page.shows(text)
    page.shows("Ready", "status")


def titles(page: Page) -> list[str]:
    return page.page.locator("#tg-view h3").all_inner_texts()


def looked_at(page: Page, name: str) -> None:
    """Keep pictures of the page, light and dark."""
    for scheme in ("light", "dark"):
        page.page.emulate_media(color_scheme=scheme)
        page.page.evaluate(f"document.body.classList.toggle('dark', {str(scheme == 'dark').lower()})")
        page.page.wait_for_timeout(300)
        page.shot(f"{name}-{scheme}")


def test_labels_above_the_threshold_are_shown_together(browser: Any, tmp_path: Path) -> None:
    with opened(browser, tmp_path, "multilabel") as page:
        assert "Task: multilabel, as its output is 3 sigmoid units." in page.text("head")
        page.shows("above 0.5")
        assert sorted(titles(page)) == ["Photo", "blue disc", "blue disc", "red square"]
        looked_at(page, "multilabel")
        page.page.get_by_role("button", name="Look closely at red square").click()
        assert titles(page)[0] == "red square"
        assert page.page.get_attribute(".tg-overlay", "alt") == "Map of red square painted on shapes.png"
        sources = page.page.locator("img[data-map]").evaluate_all("images => images.map(image => image.src)")
        assert sources[0] == sources[2] != sources[1]
        page.page.get_by_role("button", name="blue disc", exact=True).click()
        page.page.wait_for_function(
            "document.querySelectorAll('#tg-view h3').length === 3 && "
            "document.querySelectorAll('#tg-view h3')[2].innerText === 'Map'"
        )
        ready(page, "blue disc, ")
        page.slide("above", 0.01)
        page.choose("class", "all above")
        page.page.wait_for_selector("#tg-view .tg-two figure:nth-child(3)")


def test_both_sides_are_shown(browser: Any, tmp_path: Path) -> None:
    with opened(browser, tmp_path, "binary") as page:
        assert "classification, as its output is one sigmoid unit, with two sides" in page.text("head")
        assert titles(page) == ["no square", "Photo", "no square", "red square"]
        looked_at(page, "binary")
        page.choose("class", "red square")
        ready(page, "at features")
        assert titles(page) == ["Overlay", "Photo", "Map"]


def test_value_and_its_unit_are_shown_and_compared(browser: Any, tmp_path: Path) -> None:
    with opened(browser, tmp_path, "regression") as page:
        assert "Task: regression" in page.text("head")
        page.shows("cm²")
        page.shows("red raises the value")
        looked_at(page, "regression")
        page.page.fill("#tg-near :is(input, textarea)", "10")
        page.page.press("#tg-near :is(input, textarea)", "Enter")
        ready(page, "red brings it to 10 cm²")


def test_pixel_is_clicked(browser: Any, tmp_path: Path) -> None:
    with opened(browser, tmp_path, "segmentation") as page:
        assert "Task: segmentation" in page.text("head")
        assert titles(page) == ["Overlay", "Photo", "Predicted classes", "Map"]
        page.shows("Predicted classes, by their share")
        mask = tasks.shapes(1, seed=5, there=(0, 1, 2)).masks[0]
        down, right = (int(np.median(axis)) for axis in np.nonzero(mask == 1))
        frame = page.page.locator("#tg-view .tg-picture[data-pick]").bounding_box()
        assert frame is not None
        x, y = (right + 0.5) / mask.shape[1], (down + 0.5) / mask.shape[0]
        page.page.mouse.click(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"])
        ready(page, "red square at ")
        assert page.page.locator("#tg-view .tg-point").count() >= 1
        across = float(page.page.input_value("#tg-across input"))
        assert abs(across - 100 * x) < 1
        looked_at(page, "segmentation")
        page.page.fill("#tg-across input", "2")
        page.page.press("#tg-across input", "Enter")
        ready(page, " at 2%, ")
        page.page.get_by_role("button", name="blue disc", exact=True).click()
        ready(page, "region of blue disc")


def test_box_is_clicked(browser: Any, tmp_path: Path) -> None:
    with opened(browser, tmp_path, "detection") as page:
        assert "Task: detection, as its output (B, 240, 6) has a row for each box." in page.text("head")
        page.shows("of the heat in its box")
        looked_at(page, "detection")
        page.page.locator("#tg-view .tg-box[data-pick='box 1']").click()
        page.page.wait_for_selector("#tg-view .tg-box.tg-own[data-pick='box 1']", timeout=60 * SECOND)
        ready(page, "1: ")
        assert page.page.input_value("#tg-class input").startswith("box 1: ")
        page.page.focus("#tg-view .tg-box[data-pick='box 0']")
        page.page.keyboard.press("Enter")
        page.page.wait_for_selector("#tg-view .tg-box.tg-own[data-pick='box 0']", timeout=60 * SECOND)
