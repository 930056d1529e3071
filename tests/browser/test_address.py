"""The address of the web page in Chromium: its token, and the state that it keeps."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.app_server import served
from tests.helpers.browser import NEEDS_BROWSER, Page
from tests.helpers.pictures import encoded
from tf_gradcam.demo import phantom_slices

pytestmark = NEEDS_BROWSER
SCAN = "scan.png", encoded(phantom_slices(8, 2026).images[3].astype(np.uint8), "PNG")


@pytest.mark.parametrize("options", [{"host": "0.0.0.0"}, {"auth": "anna:secret"}], ids=["token", "login"])
def test_shared_page_takes_and_gives_files_once_it_was_entered(browser, tmp_path, options):
    with served(tmp_path / "temporary", **options) as server:
        address = server.address.replace("0.0.0.0", "127.0.0.1")
        login = {"http_credentials": {"username": "anna", "password": "secret"}} if "auth" in options else {}
        one = Page(browser, f"{address}/?token={server.token}" if server.token else address, origin=address, **login)
        one.drop("file", SCAN)
        one.shows("scan.png, 224 x 224")
        one.shows("Ready", "status")
        assert one.download("Overlay (PNG)")[0] == "scan.overlay.png"
        assert "token" not in one.page.url
        assert one.problems == []
        one.context.close()
