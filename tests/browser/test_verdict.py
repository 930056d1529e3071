"""A verdict on the map that the web page shows.

`TF_GRADCAM_SCREENSHOTS=folder` keeps pictures of the page at three widths, light and dark, to be looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.app_server import served
from tests.helpers.browser import NEEDS_BROWSER, PATIENCE, WINDOWS, Page
from tests.helpers.pictures import encoded
from tests.helpers.spots import IMAGES, spots_model

pytestmark = NEEDS_BROWSER


def test_map_is_judged_by_a_button_and_the_next_map_has_no_verdict_yet(browser: Any, tmp_path: Path) -> None:
    spots_model().save(tmp_path / "spots.keras")
    photo = IMAGES[0].astype(np.uint8).repeat(8, 0).repeat(8, 1)
    with (
        served(tmp_path / "temporary", str(tmp_path / "spots.keras")) as server,
        Page(browser, server.address, has_map=False) as page,
    ):
        page.drop("file", ("spots.png", encoded(photo, "PNG")))
        page.page.wait_for_selector("#tg-view .tg-lens img", timeout=PATIENCE)
        page.press("#tg-judge")
        page.shows("The map holds: erasing the hottest 5 % of the picture takes the probability from 1.00 to 0.02")
        for window in WINDOWS:
            page.resize(window)
            page.look("verdict")
        page.choose("class", "class 1")
        page.settle()
        assert page.page.locator("#tg-view .tg-sure").count() == 0
        page.press("#tg-judge")
        page.shows("This map cannot be judged: ")
