"""A verdict on the map that the web page shows.

`TF_GRADCAM_SCREENSHOTS=folder` keeps pictures of the page at three widths, light and dark, to be looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.app_server import served
from tests.helpers.browser import NEEDS_BROWSER, PATIENCE, Page
from tests.helpers.pictures import encoded
from tests.helpers.spots import IMAGES, spots_model

pytestmark = NEEDS_BROWSER


def test_map_is_judged_by_a_button_and_the_next_map_has_no_verdict_yet(browser: Any, tmp_path: Path) -> None:
    spots_model().save(tmp_path / "spots.keras")
    photo = IMAGES[0].astype(np.uint8).repeat(8, 0).repeat(8, 1)
    with served(tmp_path / "temporary", str(tmp_path / "spots.keras")) as server:
        page = Page(browser, server.address, has_map=False)
        page.drop("file", ("spots.png", encoded(photo, "PNG")))
        page.page.wait_for_selector("#tg-view .tg-lens img", timeout=PATIENCE)
        page.page.click("#tg-judge")
        page.shows("The map holds: erasing the hottest 5 % of the picture takes the probability from 1.00 to 0.02")
        for width in (1440, 1024, 390):
            page.page.set_viewport_size({"width": width, "height": 1000})
            for scheme in ("light", "dark"):
                page.page.evaluate(f"document.body.classList.toggle('dark', {str(scheme == 'dark').lower()})")
                page.shot(f"verdict-{width}-{scheme}")
        page.page.set_viewport_size({"width": 1440, "height": 1000})
        page.choose("class", "class 1")
        page.page.wait_for_selector("#tg-view .tg-sure", state="detached", timeout=PATIENCE)
        page.page.wait_for_selector("#tg-status:has-text('Ready.')", timeout=PATIENCE)
        page.page.click("#tg-judge")
        page.shows("This map cannot be judged: ")
        assert page.problems == []
        page.context.close()
