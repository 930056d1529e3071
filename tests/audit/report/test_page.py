"""The page of an audit as a browser reads it, and its numbers; nothing of a data set can run in it.

Also tests audit/report/cards.py, audit/report/pictures.py, audit/report/text.py, audit/report/view.py,
audit/report/words.py.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.audits import CHECKS, METRICS, SIZE, finding_of, near, result_of
from tf_gradcam.audit.report.cards import (
    confusion_cells,
    most_confused,
    right_rows,
    take_turns,
    uncertain_rows,
    wrong_rows,
)
from tf_gradcam.audit.report.page import write_numbers, write_report
from tf_gradcam.audit.report.pictures import PictureStore, mark_region, paint_map
from tf_gradcam.audit.report.text import common_folder, format_count, format_probability
from tf_gradcam.audit.report.view import metric_rows
from tf_gradcam.audit.result import AuditResult, Metric
from tf_gradcam.metrics.intervals import Interval

EMPTY = {"meta", "link", "br", "img", "input", "hr"}
HEADINGS = ["h1", "h2", "h3", "h4"]


class Page(HTMLParser):
    """Tags with their attributes, the text without style and script, and whether tags are closed in order."""

    def __init__(self, html: str):
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.code: dict[str, str] = {}
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            self.code[self.open[-1]] = self.code.get(self.open[-1], "") + data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.tags if "id" in attributes]


def page_of(result: AuditResult, folder: Path) -> Page:
    path = write_report(result, folder / "index.html")
    assert path == folder / "index.html"
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(result_of(), tmp_path_factory.mktemp("page"))


# What is on it.


def test_page_begins_with_model_data_accuracy_images_and_failures(page: Page) -> None:
    head = page.text[: page.text.index("Findings Confusions")]
    result = result_of()
    right = int((result.rows.predicted == result.rows.label)[:58].sum())
    for part in ("best.keras over scans", f"{right / 58:.1%}", f"{right} of 58 right", "Images60", "Failures2"):
        assert part in head, part


def test_page_tells_shortcuts_first_and_folds_what_is_none(page: Page) -> None:
    ids = [
        name
        for name in page.ids
        if name in ("findings", "confusion", "classes", "galleries", "metrics", "sanity", "about")
    ]
    assert ids == ["findings", "confusion", "classes", "galleries", "metrics", "sanity", "about"]
    assert page.text.index("Shortcut pituitary: a fixed place") < page.text.index("No shortcut no tumor: a fixed place")
    assert [one for one in page.all("details") if one.get("class") == "tested"] == [{"class": "tested"}]


def test_finding_shows_its_sentence_and_every_number_with_its_interval(page: Page) -> None:
    found = page.text[page.text.index("Shortcut pituitary") :]
    assert "pituitary: 83% of the heat of 41 images lies in the lower right corner" in found
    assert "`" not in found[:500]
    for name, numbers in {
        "as the images are": "0.980 (0.970 to 0.990)",
        "region erased": "0.370 (0.290 to 0.450)",
        "random region erased": "0.970 (0.955 to 0.985)",
        "region pasted": "0.620 (0.500 to 0.740)",
        "random region pasted": "0.030 (0.000 to 0.060)",
    }.items():
        assert re.search(re.escape(name) + r"\s*" + re.escape(numbers), found), name


@pytest.mark.parametrize(("number", "words"), [(0, "a fixed place"), (2, "a mark that moves"), (3, "a tint of the")])
def test_finding_of_each_kind_has_its_words(number: int, words: str, tmp_path: Path) -> None:
    finding = finding_of(number, ("a", "b"), True)
    page = page_of(replace(result_of(names=("a", "b")), findings=[finding]), tmp_path)
    assert words in page.text
    assert ("tint removed" in page.text) == (number == 3)
    assert len([one for one in page.ids if re.fullmatch("l[0-9]+p", one)]) == (number != 3)  # a tint has no region


def test_finding_that_is_none_is_told_though_it_has_no_shortcut(tmp_path: Path) -> None:
    page = page_of(result_of(findings=(False, False)), tmp_path)
    assert "No shortcut was found. 2 suspects in 2 classes were tested." in page.text
    assert "Method and limits" in page.text


def test_page_without_findings_says_that_nothing_was_tested(tmp_path: Path) -> None:
    page = page_of(result_of(findings=()), tmp_path)
    assert "No shortcut was found, and nothing was tested" in page.text


def test_class_with_few_images_is_said_to_be_untested(tmp_path: Path) -> None:
    page = page_of(result_of(count=12, failed=0, names=("a", "b", "c"), findings=()), tmp_path)
    assert "Not tested, because of fewer than five images: a, b, c." in page.text


def test_strongest_suspects_are_shown_and_the_others_folded_away(tmp_path: Path) -> None:
    """43 classes with 62 suspects, the strongest effect first: three cards, and a line for each other one."""
    names = tuple(f"breed {number}" for number in range(43))
    page = page_of(result_of(count=300, names=names, findings=(False,) * 62), tmp_path)
    assert page.text.count("No shortcut breed") == 3
    assert "Tested, not a shortcut 62" in page.text
    assert "59 weaker suspects" in page.text
    folded = page.text[page.text.index("59 weaker suspects") : page.text.index("Method and limits")]
    assert folded.count("lies in the lower right corner") == 59


def test_suspect_that_could_not_be_decided_says_so(tmp_path: Path) -> None:
    result = result_of(findings=(False, False))
    unsure = [replace(result.findings[0], is_unsure=True, reason="Too few images to tell."), result.findings[1]]
    page = page_of(replace(result, findings=unsure), tmp_path)
    assert page.text.count("Too few images") == 2
    assert "1 suspect could not be decided, because too few images show it." in page.text


def test_matrix_cells_lead_to_their_images(page: Page) -> None:
    confusion = result_of().confusion
    links = {one["href"]: one["aria-label"] for one in page.all("a") if str(one["href"]).startswith("#cell-")}
    assert set(links) == {f"#cell-{row}-{column}" for row, column in np.argwhere(confusion)}
    for row, column in np.argwhere(confusion):
        names = result_of().class_names
        assert links[f"#cell-{row}-{column}"] == (
            f"True: {names[row]}. Predicted: {names[column]}. {format_count(int(confusion[row, column]), 'image')}"
        )


def test_every_reference_of_the_page_has_its_target_and_every_id_is_one(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    for tag in ("a", "use"):
        assert {str(one["href"])[1:] for one in page.all(tag)} <= set(page.ids)


def test_galleries_show_what_they_say(page: Page) -> None:
    for title in ("Wrong, most confident", "Least certain", "Correct, most confident", "Blank heatmaps"):
        assert title in page.text
    assert "3 images: the gradient is zero everywhere." in page.text
    assert "Files that failed 2" in page.text
    assert "The image file is truncated" in page.text


def test_metrics_stand_beside_their_baselines(page: Page) -> None:
    assert "insertion AUC↑ higher0.871 0.841 to 0.9010.702 0.672 to 0.7320.815 0.785 to 0.845" in page.text
    assert "↓ lower21.4 17.4 to 25.4" in page.text  # of 100


def test_sanity_checks_carry_their_verdict(page: Page) -> None:
    assert "Passed Random weights" in page.text
    assert "Not trustworthy Random head alone" in page.text
    assert CHECKS[1].sentence in page.text


def test_foot_says_what_the_page_holds_for(page: Page) -> None:
    foot = page.text[page.text.index("About this audit") :]
    for part in (
        "/models/best.keras",
        "block5_conv3",
        "gradcam",
        "3.15.1",
        "2.21.0",
        "/data/scans",
        "2026-01-31 12:00",
    ):
        assert part in foot


def test_headings_leave_no_level_out(page: Page) -> None:
    levels = [HEADINGS.index(tag) for tag, _ in page.tags if tag in HEADINGS]
    assert levels[0] == 0
    assert levels.count(0) == 1
    assert max(np.diff(levels)) <= 1


def test_every_picture_has_words(page: Page) -> None:
    pictures = [one for one in page.all("svg") if one.get("class", "").strip().startswith("pic")]  # type: ignore[union-attr]
    assert len(pictures) > 60
    assert all(one["role"] == "img" and one["aria-label"] for one in pictures)


def test_picture_is_stored_once(page: Page) -> None:
    urls = [str(one["href"]) for one in page.all("image")]
    used = [str(one["href"]) for one in page.all("use")]
    assert len(used) > len(urls)
    assert page.html.count("data:image/jpeg") == len(urls)
    for url in urls:
        data = base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))
        assert (data[:2], data[-2:]) == (b"\xff\xd8", b"\xff\xd9")


def test_blank_map_is_shown_without_heat(page: Page) -> None:
    keys = set(page.ids)
    assert {"r0p", "r1p", "r2p"} <= keys
    assert not {"r0h", "r1h", "r2h"} & keys


# What can not be on it.


def test_page_names_nothing_outside_itself(page: Page) -> None:
    for tag, attributes in page.tags:
        for key, value in attributes.items():
            if key in ("href", "src", "action", "srcset", "poster", "data", "formaction", "xlink:href"):
                assert str(value).startswith(("#", "data:image/jpeg;base64,")), (tag, key)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page.code["style"] + page.code["script"].replace("// ", ""))
    assert not {"link", "iframe", "object", "embed", "base", "form", "img"} & {tag for tag, _ in page.tags}


def test_policy_allows_one_style_and_one_script_by_hash(page: Page) -> None:
    policy = next(one for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")["content"]
    hashes = {
        tag: base64.b64encode(hashlib.sha256(page.code[tag].encode()).digest()).decode() for tag in ("style", "script")
    }
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes['style']}'; "
        f"script-src 'sha256-{hashes['script']}'; base-uri 'none'; form-action 'none'"
    )
    assert len(page.all("style")) == len(page.all("script")) == 1
    first = [tag for tag, _ in page.tags].index
    assert first("meta") < first("style") < first("script")


def test_no_tag_has_a_style_or_a_handler(page: Page) -> None:
    assert not [key for _, attributes in page.tags for key in attributes if key == "style" or key.startswith("on")]


HOSTILE = [
    "</script><script>alert(1)</script>.jpg",
    "<img src=x onerror=alert(1)>.png",
    '" onload="alert(1)" x=\'.jpg',
    "{{ 7 * 7 }}{% raw %}.jpg",
    "javascript:alert(1).jpg",
    "größe 图像 🧠 e\u0301.jpg",
    "bell\x07 null\x00 escape\x1b[31m newline\n.jpg",
    "not utf-8 \udcff.jpg",
    "\u202egpj.exe",
    "&lt;b&gt;&amp;.jpg",
    "n" * 246 + ".jpg",
    "-->]]></svg></style>.jpg",
]
SHOWN = [
    *HOSTILE[:6],
    r"bell\x07 null\x00 escape\x1b[31m newline\n.jpg",
    r"not utf-8 \udcff.jpg",
    r"\u202egpj.exe",
    *HOSTILE[9:],
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Names from a data set or a model try to run code in the page or to break it."""
    names = ("</title><script>alert(2)</script>", "`<b>\"'\x00", "\u202eclass", "n" * 250)
    result = result_of(
        12,
        names,
        files=HOSTILE,
        failed=2,
        blank=2,
        error=HOSTILE[0],
        diagnosis=HOSTILE[1],
        findings=(True, False, False),
    )
    sentence = "`</p><script>alert(3)</script>` is `\x1b[0m`."
    findings = [replace(one, sentence=sentence, reason=HOSTILE[1]) for one in result.findings]
    checks = [replace(CHECKS[0], name=HOSTILE[1], stages=[HOSTILE[1]] * 4, sentence=HOSTILE[0])]
    metrics = [replace(METRICS[0], name=HOSTILE[1]), replace(METRICS[0], method=HOSTILE[0])]
    about = {HOSTILE[0]: HOSTILE[1], "model": HOSTILE[1], "data": f"/x/{HOSTILE[2]}", "method": HOSTILE[0]}
    result = replace(result, findings=findings, sanity=checks, metrics=metrics, about=about)
    return page_of(result, tmp_path_factory.mktemp("hostile"))


def test_nothing_of_a_data_set_becomes_a_tag_or_an_attribute(hostile: Page, page: Page) -> None:
    assert hostile.code == page.code
    assert {tag for tag, _ in hostile.tags} <= {tag for tag, _ in page.tags}
    attributes = {(tag, key) for tag, found in page.tags for key in found}
    assert {(tag, key) for tag, found in hostile.tags for key in found} <= attributes


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_file_name_appears_as_text(hostile: Page, number: int) -> None:
    assert SHOWN[number] in "".join(hostile.texts)


def test_page_has_no_control_characters(hostile: Page) -> None:
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", hostile.html)


# Sizes and empty cases.


def test_result_without_labels_has_no_matrix_and_no_wrong(tmp_path: Path) -> None:
    page = page_of(result_of(labelled=False), tmp_path)
    assert "no labels" in page.text
    assert "confusion" not in page.ids
    assert "Unlabelled, most confident" in page.text
    assert "True" not in page.text


def test_result_in_which_everything_failed(tmp_path: Path) -> None:
    page = page_of(result_of(5, failed=5, blank=0, findings=()), tmp_path)
    assert "No result: no image could be explained." in page.text
    assert "Failures5" in page.text
    assert not {"confusion", "classes", "metrics", "sanity"} & set(page.ids)


def test_result_without_any_image(tmp_path: Path) -> None:
    page = page_of(replace(result_of(0, failed=0, blank=0, findings=()), metrics=[], sanity=[]), tmp_path)
    assert "Images0" in page.text
    assert "galleries" not in page.ids


def test_result_of_one_class(tmp_path: Path) -> None:
    page = page_of(result_of(12, ("cat",), findings=()), tmp_path)
    assert "100.0%" in page.text
    assert "Every labelled image was predicted correctly." in page.text


def test_hundred_classes_list_pairs_in_place_of_a_matrix(tmp_path: Path) -> None:
    result = result_of(2000, tuple(f"class {number}" for number in range(100)))
    page = page_of(result, tmp_path)
    tables = [one.get("class") for one in page.all("table")]
    assert "pairs" in tables
    assert not [one for one in tables if str(one).startswith("matrix")]
    errors = result.confusion - np.diag(np.diag(result.confusion))
    links = [str(one["href"]) for one in page.all("a") if str(one["href"]).startswith("#cell-")]
    assert len(links) == 40
    row, column = np.unravel_index(errors.argmax(), errors.shape)
    assert links[0] == f"#cell-{row}-{column}"


@pytest.mark.slow
def test_ten_thousand_images_are_a_page_below_fifteen_megabytes_in_seconds(tmp_path: Path) -> None:
    result = result_of(10_000, tuple(f"class {number}" for number in range(30)))
    start = time.perf_counter()
    page = page_of(result, tmp_path)
    assert time.perf_counter() - start < 30  # 3 on an idle core
    assert len(page.html.encode()) < 15_000_000
    assert "Correct, most confident 24 of" in page.text


def test_page_without_room_for_a_picture_says_so_and_keeps_its_text(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tf_gradcam.audit.report.view._PICTURE_BUDGET", 30_000)
    page = page_of(result_of(), tmp_path)
    assert sum(len(str(one["href"])) for one in page.all("image")) <= 30_000
    assert "no picture" in page.text
    assert "pituitary/img_00003.jpg" in page.text


def test_damaged_thumbnail_is_no_picture(tmp_path: Path) -> None:
    result = result_of()
    thumbnails = np.array([b"\xff\xd8 cut"] * 30 + [b"<svg onload=alert(1)>"] * 30, object)
    page = page_of(replace(result, rows=replace(result.rows, thumbnail=thumbnails)), tmp_path)
    assert not [one for one in page.ids if re.fullmatch("r[0-9]+[ph]", one)]


def test_page_is_the_same_for_the_same_result(tmp_path: Path) -> None:
    one, other = (write_report(result_of(), tmp_path / name).read_bytes() for name in ("one.html", "other.html"))
    assert one == other


def test_page_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_report(result_of(), tmp_path / "none" / "index.html")


# Numbers.


def test_numbers_hold_what_the_page_says(tmp_path: Path) -> None:
    result = result_of()
    path = write_numbers(result, tmp_path / "audit.json")
    numbers = json.loads(path.read_text(encoding="utf-8"))
    assert list(numbers) == [
        "about",
        "task",
        "class_names",
        "images",
        "confusion",
        "classes",
        "findings",
        "metrics",
        "sanity",
    ]
    np.testing.assert_array_equal(numbers["confusion"], result.confusion)
    assert numbers["images"] == {
        **{"count": 60, "explained": 58, "failed": 2, "labelled": 58, "blank_maps": 3},
        **{"right": int(np.trace(result.confusion)), "accuracy": result.accuracy},
    }
    assert numbers["findings"][0]["erased"] == {"value": 0.37, "low": 0.37 - 0.08, "high": 0.37 + 0.08}
    assert numbers["findings"][0]["box"] == {"top": 46, "left": 68, "bottom": 60, "right": 84}  # 14 x 16 at the corner
    assert [metric["name"] for metric in numbers["metrics"][:3]] == ["insertion AUC"] * 3
    assert numbers["sanity"][1]["is_passed"] is False


def test_numbers_write_what_is_unknown_as_null(tmp_path: Path) -> None:
    nothing = Interval(float("nan"), float("-inf"), float("inf"))
    result = replace(
        result_of(labelled=False, findings=(True,) * 4), metrics=[Metric("a", "gradcam", nothing, 0, "lower")]
    )
    text = write_numbers(result, tmp_path / "audit.json").read_text(encoding="utf-8")
    numbers = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert numbers["confusion"] is None
    assert numbers["images"]["accuracy"] is None
    assert numbers["metrics"][0] == {
        **{"name": "a", "method": "gradcam", "value": None, "low": None, "high": None},
        **{"count": 0, "better": "lower"},
    }
    assert numbers["findings"][3]["heat_share"] is None
    assert numbers["findings"][3]["box"] is None


def test_numbers_keep_names_that_are_no_utf8(tmp_path: Path) -> None:
    result = replace(result_of(), about={"data": "größe \udcff", "seconds": np.float32(1.5), "path": Path("a")})
    text = write_numbers(result, tmp_path / "audit.json").read_text(encoding="utf-8")
    assert "größe" in text
    assert json.loads(text)["about"] == {"data": "größe \udcff", "seconds": 1.5, "path": "a"}


# Pieces.


def test_galleries_are_in_order() -> None:
    result = result_of(200, failed=5, blank=0)
    rows = result.rows
    wrong, right, uncertain = wrong_rows(result), right_rows(result), uncertain_rows(result)
    assert len(wrong) + len(right) == 195
    assert (rows.predicted[wrong] != rows.label[wrong]).all()
    assert (rows.predicted[right] == rows.label[right]).all()
    for members in (wrong, right):
        assert (np.diff(np.round(rows.probability[members], 2)) <= 1e-6).all()
    assert (np.diff(rows.probability[uncertain]) >= 0).all()


def test_equally_confident_classes_take_turns() -> None:
    result = result_of(40, failed=0, blank=0)
    rows = replace(result.rows, predicted=result.rows.label, probability=np.full(40, 0.999))
    right = right_rows(replace(result, rows=rows))
    np.testing.assert_array_equal(result.rows.label[right[:8]], [0, 1, 2, 3, 0, 1, 2, 3])


def test_cells_hold_every_labelled_row_once() -> None:
    result = result_of(200)
    cells = confusion_cells(result)
    assert {cell: len(rows) for cell, rows in cells.items()} == {
        (row, column): result.confusion[row, column] for row, column in np.argwhere(result.confusion).tolist()
    }
    assert sorted(np.concatenate(list(cells.values()))) == np.flatnonzero(result.is_labelled).tolist()


def test_confused_cells_come_by_count() -> None:
    confusion = np.array([[90, 2, 0], [5, 80, 1], [0, 0, 70]])
    assert most_confused(confusion, 2) == [(1, 0), (0, 1)]
    assert most_confused(confusion, 9) == [(1, 0), (0, 1), (1, 2)]


def test_rows_in_turn_begin_with_one_of_each_group() -> None:
    groups = [np.array([4, 5, 6]), np.array([7]), np.array([8, 9])]
    assert take_turns(groups, 2) == [(0, 4), (1, 7), (2, 8), (0, 5), (2, 9)]


@pytest.mark.parametrize(
    ("better", "own", "random", "centre", "best", "verdict"),
    [
        ("higher", 0.9, 0.5, 0.88, "method", "better than random; not different from centre"),
        ("lower", 0.9, 0.5, 0.88, "random", "not different from centre; worse than random"),
        ("lower", 0.1, 0.5, 0.6, "method", "better than random and centre"),
        ("higher", 0.5, 0.5, 0.1, "", "better than centre; not different from random"),
    ],
)
def test_method_is_compared_by_intervals(
    better: str, own: float, random: float, centre: float, best: str, verdict: str
) -> None:
    values = {"gradcam": own, "random": random, "centre": centre}
    (row,) = metric_rows([Metric("a", name, near(value), 9, better) for name, value in values.items()])
    assert (row.best, row.verdict) == (best, verdict)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.50"), (0.996, "0.996"), (0.99996, ">0.9999"), (1.0, "1.00"), (0.994, "0.99"), (float("nan"), "–")],  # noqa: RUF001
)
def test_probability_is_not_rounded_to_certainty(value: float, text: str) -> None:
    assert format_probability(value) == text


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        (["/a/b/1.jpg", "/a/b/2.jpg"], "/a/b/"),
        (["/a/b/1.jpg", "/a/bc/2.jpg"], "/a/"),
        (["/a/1.jpg", "/a/b/2.jpg"], "/a/"),
        (["1.jpg", "a/2.jpg"], ""),
        (["x"], ""),
        ([], ""),
    ],
)
def test_common_folder_ends_at_a_slash(paths: list[str], folder: str) -> None:
    assert common_folder(paths) == folder


def test_store_takes_pictures_whole_or_not_at_all() -> None:
    store = PictureStore(100)  # of data URLs: 23 letters and 4 for 3 bytes
    assert store.add("a", [(b"123", 1, 1), (b"456", 2, 1)]) == [("ap", 1, 1), ("ah", 2, 1)]
    assert (store.spent, store.is_full) == (54, False)
    assert store.add("b", [(b"123", 1, 1), (b"456", 2, 1)]) is None
    assert (store.spent, store.is_full, len(store.urls)) == (54, True, 2)


def test_map_has_the_proportions_of_the_image_and_its_peak_is_the_hottest() -> None:
    heatmap = np.zeros((5, 7), np.float32)
    heatmap[0, 6] = 0.02
    picture = paint_map(heatmap, SIZE)
    assert picture.shape == (80, 112, 3)  # 60 x 84, the longer side 112
    assert picture[0, -1].argmax() == 0  # red
    assert picture[-1, 0].argmax() == 2  # blue


def test_region_is_tinted_and_the_rest_is_darker() -> None:
    region = np.zeros((60, 84), np.float32)
    region[:30, :42] = 1
    picture = mark_region(np.full((48, 67, 3), 100, np.uint8), region)
    assert max(picture.shape) == 192
    inside, outside = picture[20, 20].astype(int), picture[-20, -20].astype(int)
    assert inside[0] > 100 > inside[2]
    np.testing.assert_array_equal(outside, 55)
