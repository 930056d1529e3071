"""The page and the numbers of a comparison."""

import json
import re

import pytest

from tests.diff.worlds import BLACK, BLUE, GREENISH, MOVED, PLAIN, folder, model
from tf_gradcam import compare_models

pytestmark = pytest.mark.core


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("diff")
    data = folder(path, red_plain=PLAIN, red_greenish=GREENISH, blue_plain=BLUE, blue_black=BLACK)
    (data / "blue" / "blue_broken.png").write_bytes(b"no picture")
    table = path / "classes.csv"
    table.write_text("folder,class\nred,0\nblue,1\n")
    given = {"class_names": ["red<b>", "blue"], "classes": table}
    return compare_models(model(), model(green=3), data, path / "out", **given), path / "out"


def test_numbers_are_those_of_the_result(written):
    result, out = written
    numbers = json.loads((out / "diff.json").read_text())  # strict JSON: no NaN
    assert numbers["moved"]["value"] == result.moved.value == pytest.approx(1 / 3)
    by_name = {one["file"].rpartition("/")[2]: one for one in numbers["images"]}
    moved = by_name["red_greenish.png"]
    assert (moved["is_moved"], moved["p_value"]) == (True, pytest.approx(1 / 20))
    assert moved["similarity"] == pytest.approx(MOVED)
    assert by_name["blue_black.png"]["similarity"] is None
    assert by_name["blue_black.png"]["is_blank_new"] is True
    assert by_name["blue_broken.png"]["error"]
    assert [one["name"] for one in numbers["classes"]] == ["red<b>", "blue"]


def test_page_shows_the_mover_with_both_maps_and_answers(written):
    _, out = written
    page = (out / "index.html").read_text(encoding="utf-8")
    moved = page[page.index('<section id="moved">') : page.index('<section id="changed">')]
    assert moved.count("<article") == 1
    assert "red_greenish.png" in moved
    keys = re.findall(r'<use(?: class="heat")? href="#(r\d+\w?(?:-\w+)?)"', moved)
    assert len(keys) == 5  # the photo three times, and a layer of each map
    assert all(f'<image id="{key}"' in page for key in keys)
    assert "<b>" not in moved.replace('<b class="name">', "").replace("<b>0.12", "")
    blank = page[page.index('<section id="blank">') : page.index('<section id="classes">')]
    assert "blue_black.png" in blank
    assert "1 failure" in page
    assert "<script" not in page
