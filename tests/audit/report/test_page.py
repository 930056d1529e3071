"""The page of an audit as a browser reads it, and its numbers; nothing of a data set can run in it.

Also tests audit/report/cards.py, audit/report/listing.py, audit/report/pictures.py, audit/report/text.py,
audit/report/view.py, audit/report/words.py.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.helpers.audits import CHECKS, METRICS, finding_of, looks_of, near, result_of
from tf_gradcam.audit.report.cards import most_confused, right_rows, uncertain_rows, worst_rows, wrong_rows
from tf_gradcam.audit.report.page import write_numbers, write_report
from tf_gradcam.audit.report.pictures import Picture, PictureStore, colour_bar, heat_layer, mark_region
from tf_gradcam.audit.report.text import common_folder, format_count, format_probability
from tf_gradcam.audit.report.view import metric_rows
from tf_gradcam.audit.result import AuditResult, Metric
from tf_gradcam.image.overlay import colors_of, paint
from tf_gradcam.image.thumbnails import thumbnail
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
        self.listing: dict[str, Any] = {}
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
        if self.open[-1:] == ["script"] and self.tags[-1][1].get("type") == "application/json":
            self.listing = json.loads(data)
        elif self.open and self.open[-1] in ("style", "script"):
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


def cv2_jpeg(photo: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".jpg", photo)[1])


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
    links = {(one["data-true"], one["data-given"]): one["aria-label"] for one in page.all("a") if "data-true" in one}
    assert set(links) == {(str(row), str(column)) for row, column in np.argwhere(confusion)}
    for row, column in np.argwhere(confusion):
        names = result_of().class_names
        assert links[str(row), str(column)] == (
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
    urls = {str(one["id"]): str(one["href"]) for one in page.all("image")}
    used = [str(one["href"]) for one in page.all("use")]
    assert len(used) > len(urls)
    assert page.html.count("data:image/") == len(urls)
    for key, url in urls.items():
        head, data = url.split(";base64,")
        decoded = base64.b64decode(data)
        if key.endswith("h"):
            assert (head, decoded[:4], decoded[8:12]) == ("data:image/webp", b"RIFF", b"WEBP")
        else:
            assert (head, decoded[:2], decoded[-2:]) == ("data:image/jpeg", b"\xff\xd8", b"\xff\xd9")


def test_blank_map_is_shown_without_heat(page: Page) -> None:
    keys = set(page.ids)
    assert {"r0p", "r1p", "r2p"} <= keys
    assert not {"r0h", "r1h", "r2h"} & keys


# What can not be on it.


def test_page_names_nothing_outside_itself(page: Page) -> None:
    for tag, attributes in page.tags:
        for key, value in attributes.items():
            if key in ("href", "src", "action", "srcset", "poster", "data", "formaction", "xlink:href"):
                assert str(value).startswith(("#", "data:image/jpeg;base64,", "data:image/webp;base64,")), (tag, key)
    code = (page.code["style"] + page.code["script"]).replace("http://www.w3.org/2000/svg", "")  # a name, not a place
    assert not re.search(r"https?:|//[a-z]|@import|url\(", code)
    assert not {"link", "iframe", "object", "embed", "base", "form", "img"} & {tag for tag, _ in page.tags}


def test_policy_allows_one_style_and_one_script_by_hash(page: Page) -> None:
    policy = next(one for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")["content"]
    hashes = {
        tag: base64.b64encode(hashlib.sha256(page.code[tag].encode()).digest()).decode() for tag in ("style", "script")
    }
    assert policy == (
        f"default-src 'none'; img-src data: 'self' file:; style-src 'sha256-{hashes['style']}'; "
        f"script-src 'sha256-{hashes['script']}'; base-uri 'none'; form-action 'none'"
    )
    assert len(page.all("style")) == 1
    assert [one.get("type") for one in page.all("script")] == ["application/json", None]
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
    assert "True:" not in page.text


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
    links = [(one["data-true"], one["data-given"]) for one in page.all("a") if "data-true" in one]
    assert len(links) == 40
    row, column = np.unravel_index(errors.argmax(), errors.shape)
    assert links[0] == (str(row), str(column))


@pytest.mark.slow
def test_ten_thousand_images_are_a_page_below_fifteen_megabytes_in_seconds(tmp_path: Path) -> None:
    result = result_of(10_000, tuple(f"class {number}" for number in range(30)))
    start = time.perf_counter()
    page = page_of(result, tmp_path)
    assert time.perf_counter() - start < 120  # 20 on an idle core, most of them for 20,000 files
    assert len(page.html.encode()) < 5_000_000
    assert "Correct, most confident 24 of" in page.text
    assert len(page.listing["rows"]) == 10_000


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


def test_classes_that_occur_have_cards_the_lowest_recall_first(tmp_path: Path) -> None:
    """40 classes, of which 3 occur; images of class 5 are sometimes, of class 7 always taken for class 9."""
    base = result_of(60, tuple(f"class {number}" for number in range(40)), failed=0, blank=0, findings=())
    label = np.array([2, 5, 7])[np.arange(60) % 3]
    predicted = np.where(label == 7, 9, np.where((label == 5) & (np.arange(60) % 2 == 0), 9, label))
    rows = replace(base.rows, label=label, predicted=predicted)
    page = page_of(replace(base, rows=rows, looks=looks_of(rows, 40)), tmp_path)
    part = page.text[page.text.index("Heatmaps of each class") : page.text.index("Images Hold")]
    assert re.findall(r"(class \d+) predicted(\d+) true(\d+) recall(\d+)%", part) == [
        *[("class 7", "0", "20", "0"), ("class 5", "10", "20", "50"), ("class 2", "20", "20", "100")],
    ]
    assert "1 class that is predicted, but true for no image, is left out." in part
    assert "No image gets this class." in part


def test_classes_of_unlabelled_images_are_those_that_are_predicted(tmp_path: Path) -> None:
    result = result_of(labelled=False, findings=())
    page = page_of(result, tmp_path)
    assert len([one for one in page.all("article") if one["class"] == "class"]) == len(result.looks)
    assert "comes first" not in page.text[page.text.index("Heatmaps of each class") : page.text.index("Images Hold")]


# The list of all images.


def test_list_holds_every_row_the_worst_first(page: Page) -> None:
    result, listed = result_of(), page.listing
    rows, texts = result.rows, listed["texts"]
    assert [one[0] for one in listed["rows"]] == worst_rows(result).tolist()
    assert listed["total"] == 60
    for row, file, kind, predicted, _, _, truth, _, why, *rest in listed["rows"]:
        assert str(rows.file[row]).endswith(file)
        is_right = rows.predicted[row] == rows.label[row]
        assert texts[kind] == ("failed" if not rows.is_done[row] else "right" if is_right else "wrong")
        assert texts[predicted] == ("" if not rows.is_done[row] else result.class_names[rows.predicted[row]])
        assert texts[truth] == (result.class_names[rows.label[row]] if texts[kind] == "wrong" else "")
        assert texts[why] == (rows.diagnosis[row] or rows.error[row])
        assert rest[-2:] == [[rows.label[row]], [rows.predicted[row]] if rows.is_done[row] else []]
    confidence = [rows.probability[row] for row in worst_rows(result)]
    np.testing.assert_allclose(
        [np.nan if one is None else one for one in listed["numbers"]["confidence"]], confidence, atol=1e-5
    )


def test_worst_are_confident_errors_then_doubts_then_failures() -> None:
    result = result_of(8, failed=2, blank=0)
    rows = replace(
        result.rows,
        predicted=np.array([0, 1, 2, 0, 1, 1, -1, -1]),  # true 0, 1, 2, 3, 0, 1, 2, 3
        probability=np.array([0.9, 0.6, 0.7, 0.5, 0.8, 0.95, np.nan, np.nan]),
    )
    assert worst_rows(replace(result, rows=rows)).tolist() == [4, 3, 1, 2, 0, 5, 6, 7]


def test_pictures_of_the_list_stand_beside_the_page(tmp_path: Path) -> None:
    result = result_of()
    photo = cv2_jpeg(np.full((30, 50, 3), 200, np.uint8))

    def larger(rows: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        yield from ((row, b"" if row == 5 else photo) for row in rows)

    write_report(result, tmp_path / "index.html", larger)
    listed = {one[0]: one for one in Page((tmp_path / "index.html").read_text(encoding="utf-8")).listing["rows"]}
    images = {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()}
    assert set(images) == {f"{row}.jpg" for row in range(58)} | {f"{row}.webp" for row in range(3, 58)}  # 3 are blank
    assert images["6.jpg"] == photo
    assert listed[6][10:13] == [50, 30, 1]
    assert images["5.jpg"] == result.rows.thumbnail[5]
    assert listed[5][10:13] == [84, 60, 1]
    assert listed[0][12] == 0
    assert listed[59][10:13] == [0, 0, 0]


def test_list_ends_at_the_worst_and_says_of_how_many(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tf_gradcam.audit.report.listing.LISTED", 10)
    result = result_of()
    page = page_of(result, tmp_path)
    assert [one[0] for one in page.listing["rows"]] == worst_rows(result)[:10].tolist()
    assert page.listing["total"] == 60
    assert len(list((tmp_path / "images").glob("*.jpg"))) == 10


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
        "duplicates",
        "label_errors",
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


def test_confused_cells_come_by_count() -> None:
    confusion = np.array([[90, 2, 0], [5, 80, 1], [0, 0, 70]])
    assert most_confused(confusion, 2) == [(1, 0), (0, 1)]
    assert most_confused(confusion, 9) == [(1, 0), (0, 1), (1, 2)]


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


def test_store_takes_no_more_than_its_budget() -> None:
    store = PictureStore(60)  # of data URLs: 23 letters and 4 for 3 bytes
    picture = Picture("a", 1, 1)
    assert [store.add(picture, data) for data in (b"123", b"456")] == [picture, picture]
    assert (store.spent, store.is_full) == (54, False)
    assert store.add(picture, b"789") is None
    assert (store.spent, store.is_full, len(store.urls)) == (54, True, 2)


@pytest.mark.parametrize("is_signed", [False, True])
def test_layer_over_a_photo_is_the_painted_photo(is_signed: bool) -> None:
    heatmap = np.random.default_rng(0).uniform(-1 if is_signed else 0, 1, (3, 4)).astype(np.float32)
    photo = np.random.default_rng(1).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    layer = cv2.imdecode(np.frombuffer(heat_layer(heatmap, (480, 640), is_signed), np.uint8), cv2.IMREAD_UNCHANGED)
    assert layer.shape == (48, 64, 4)  # the longer side is 64
    weight = layer[..., 3:] / 255
    seen = photo * (1 - weight) + layer[..., 2::-1] * weight
    assert np.abs(seen - paint(photo, heatmap, signed=is_signed)).mean() < 4  # of 255: WebP changes colours a little


def test_layer_of_a_blank_map_is_none() -> None:
    assert heat_layer(np.array([[0.0, np.nan]]), (4, 4)) == b""


def test_colour_bar_runs_from_the_coldest_to_the_hottest() -> None:
    bar, colors = colour_bar("0", "most"), colors_of(signed=False)
    assert (bar.low, bar.high) == ("0", "most")
    assert bar.stops[0] == (0, "#" + bytes(colors[0]).hex())
    assert bar.stops[-1] == (100, "#" + bytes(colors[-1]).hex())
    assert [round(at) for at, _ in bar.stops] == [round(100 * step / 16) for step in range(17)]


def test_mean_map_lies_over_the_mean_of_its_images(tmp_path: Path) -> None:
    """Thumbnails of 50 and 150 have a mean of 100; the class that is predicted for none has no picture."""
    base = result_of(8, ("a", "b"), failed=0, blank=0, findings=())
    shades = [cv2_jpeg(np.full((60, 84, 3), shade, np.uint8)) for shade in (50, 150)]
    rows = replace(base.rows, predicted=np.zeros(8), thumbnail=np.array(shades * 4, object))
    page = page_of(replace(base, rows=rows, looks=looks_of(rows, 2)), tmp_path)
    stored = {str(one["id"]): one for one in page.all("image")}
    photo = stored["m0p"]
    data = base64.b64decode(str(photo["href"]).split("base64,")[1])
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(pixels, 100, atol=1)
    assert (photo["width"], photo["height"]) == ("160", "114")  # 60 x 84, the longer side 160
    assert "m0h" in stored
    assert "m1p" not in stored


def test_region_is_tinted_and_the_rest_is_darker() -> None:
    region = np.zeros((60, 84), np.float32)
    region[:30, :42] = 1
    picture = mark_region(np.full((48, 67, 3), 100, np.uint8), region)
    assert max(picture.shape) == 192
    inside, outside = picture[20, 20].astype(int), picture[-20, -20].astype(int)
    assert inside[0] > 100 > inside[2]
    np.testing.assert_array_equal(outside, 55)


def distinct_thumbnails(count: int) -> np.ndarray:
    """Pictures of random colours, no two of them alike."""
    colours = np.random.default_rng(5).integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)
    photos = [cv2.resize(one, (96, 72), interpolation=cv2.INTER_LINEAR) for one in colours]
    return np.array([thumbnail(photo, 96) for photo in photos], object)


def test_section_of_the_data_shows_twins_side_by_side_and_the_probable_label_errors(tmp_path: Path) -> None:
    """Rows 0 and 5 are one picture with two labels, and row 9 is another four times: "and N more" has their number."""
    result = result_of(40, failed=0)
    rows = replace(result.rows, thumbnail=distinct_thumbnails(40))
    rows.thumbnail[5] = rows.thumbnail[0]
    rows.thumbnail[[17, 25, 29, 33]] = rows.thumbnail[9]
    result = replace(result, rows=rows)
    page = page_of(result, tmp_path)
    assert [group.rows for group in result.duplicates] == [[9, 17, 25, 29, 33], [0, 5]]
    section = page.html.partition('<section id="data">')[2].partition("</section>")[0]
    first, second = section.partition('<div class="twins">')[2].split("</article>")[:2]
    assert "2 times the same picture, labelled differently" in first
    assert first.count("<figure") == 2
    assert "5 times the same picture" in second
    assert second.count("<figure") == 4
    assert "Shown are 4." in second
    assert f"Probable label errors <small>{len(result.label_errors)}<" in section
    numbers = json.loads(write_numbers(result, tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert numbers["duplicates"][0] == {"rows": [9, 17, 25, 29, 33], "similarity": 1.0}
    assert [one["row"] for one in numbers["label_errors"]] == [one.row for one in result.label_errors]


def test_clean_data_have_no_section_of_faults(tmp_path: Path) -> None:
    result = result_of(12, failed=0, labelled=False)
    result = replace(result, rows=replace(result.rows, thumbnail=distinct_thumbnails(12)))
    page = page_of(result, tmp_path)
    assert "data" not in page.ids
    assert "#data" not in page.html
