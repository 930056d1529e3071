"""The page of an audit of labels and of values, and its numbers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from tests.audit.report.test_page import HEADINGS, HOSTILE, Page, page_of
from tests.helpers.audits import labels_result, values_result
from tf_gradcam.audit.report.cards import (
    best_rows,
    errors_of,
    false_rows,
    found_rows,
    missed_rows,
    over_rows,
    under_rows,
    unknown_rows,
)
from tf_gradcam.audit.report.page import write_numbers
from tf_gradcam.audit.report.text import format_interval
from tf_gradcam.audit.result import AuditResult

RESULTS = {"multilabel": labels_result, "regression": values_result}


@pytest.fixture(scope="module", params=RESULTS)
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@lru_cache(maxsize=2)
def made(task: str, folder: Path) -> tuple[AuditResult, Page]:
    result = RESULTS[task]()
    return result, page_of(result, folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def result(task: str, folder: Path) -> AuditResult:
    return made(task, folder)[0]


@pytest.fixture(scope="module")
def page(task: str, folder: Path) -> Page:
    return made(task, folder)[1]


def test_sections_are_those_of_the_task(page: Page, task: str) -> None:
    known = ("findings", "confusion", "labels", "errors", "classes", "galleries", "metrics", "sanity", "about")
    own = {"multilabel": "labels", "regression": "errors"}[task]
    assert [name for name in page.ids if name in known] == [
        *("findings", own, "classes", "galleries", "metrics", "sanity", "about"),
    ]
    links = [str(one["href"]) for one in page.all("a")]
    assert f"#{own}" in links
    assert "#confusion" not in links


def test_page_is_whole_and_names_nothing_outside_itself(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    for tag in ("a", "use"):
        assert {str(one["href"])[1:] for one in page.all(tag)} <= set(page.ids)
    for _, attributes in page.tags:
        for key, value in attributes.items():
            assert key != "style"
            assert not key.startswith("on")
            if key in ("href", "src"):
                assert str(value).startswith(("#", "data:image/jpeg;base64,", "data:image/webp;base64,"))
    levels = [HEADINGS.index(tag) for tag, _ in page.tags if tag in HEADINGS]
    assert max(np.diff(levels)) <= 1


def test_numbers_are_those_of_the_page(result: AuditResult, task: str, tmp_path: Path) -> None:
    numbers = json.loads(write_numbers(result, tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert numbers["task"] == task
    assert numbers["confusion"] is None
    assert numbers["images"]["accuracy"] is None
    assert numbers["images"]["labelled"] == int(result.is_labelled.sum())
    if task == "multilabel":
        assert [one["label"] for one in numbers["labels"]] == [
            "cat",
            "dog",
            "ball",
            "mean over labels",
            "all labels together",
        ]
        assert numbers["labels"][0]["recall"] == vars(result.label_scores[0].recall)
        assert numbers["labels"][3]["threshold"] is None
        assert numbers["about"]["task"] == "multilabel, as its output is 3 sigmoid units."
    else:
        assert result.error_score is not None
        assert numbers["errors"]["error"] == vars(result.error_score.error)
        assert numbers["findings"][0]["others"] == {"value": 30.0, "low": 28.0, "high": 32.0}


# Labels.


@pytest.fixture(scope="module")
def labels(folder: Path) -> tuple[AuditResult, Page]:
    return made("multilabel", folder)


def test_every_label_has_its_numbers_with_intervals(labels: tuple[AuditResult, Page]) -> None:
    result, page = labels
    table = page.text[page.text.index("Precision and recall of each label") : page.text.index("Heatmaps of each label")]
    for score in result.label_scores:
        value = f"{score.average_precision.value:.3f}"
        low, high = f"{score.average_precision.low:.3f}", f"{score.average_precision.high:.3f}"
        assert re.search(re.escape(score.label) + f".*{value} {low} to {high}", table), score.label
    head = page.text[: page.text.index("Findings Labels")]
    assert f"Mean average precision{result.label_scores[-2].average_precision.value:.3f}" in head
    assert "over 3 labels" in head


def test_labels_have_galleries_of_what_is_found_missed_and_falsely_alarmed(labels: tuple[AuditResult, Page]) -> None:
    result, page = labels
    for answer in result.answers:
        for rows, key in (
            (found_rows, "found"),
            (missed_rows, "missed"),
            (false_rows, "false"),
            (unknown_rows, "above"),
        ):
            assert (f"{key}-{answer.index}" in page.ids) == bool(len(rows(answer)))
    assert "\u2717 false alarm" in page.text
    assert "\u2717 missed, threshold 0.5" in page.text
    assert "multilabel, as its output is 3 sigmoid units." in page.text
    assert "Say task=" not in page.text


def test_galleries_of_a_label_are_in_order(labels: tuple[AuditResult, Page]) -> None:
    result, _ = labels
    answer = result.answers[1]
    known = np.concatenate([found_rows(answer), missed_rows(answer)])
    np.testing.assert_array_equal(np.sort(known), np.flatnonzero(result.rows.is_done & (result.rows.truth[:, 1] == 1)))
    assert (np.diff(answer.measured[found_rows(answer)]) <= 0).all()
    assert (np.diff(answer.measured[missed_rows(answer)]) >= 0).all()
    assert (answer.measured[missed_rows(answer)] <= 0.5).all()
    assert (result.rows.truth[false_rows(answer), 1] == 0).all()
    assert np.isnan(result.rows.truth[unknown_rows(answer), 1]).all()


def test_image_is_stored_once_and_each_map_of_it_once(labels: tuple[AuditResult, Page]) -> None:
    _, page = labels
    stored = [str(one["id"]) for one in page.all("image")]
    assert len(stored) == len(set(stored))
    plain = [key for key in stored if re.fullmatch(r"r\d+p", key)]
    of_labels = [key for key in stored if re.fullmatch(r"r\d+-\d+h", key)]
    assert len(of_labels) > len(plain)


@pytest.mark.slow
def test_eighty_labels_are_a_page_of_folded_galleries(tmp_path: Path) -> None:
    page = page_of(labels_result(300, tuple(f"label {number}" for number in range(80)), findings=()), tmp_path)
    assert len(page.html.encode()) < 15_000_000
    groups = [one for one in page.all("details") if str(one.get("id", "")).startswith("label-")]
    assert len(groups) == 80
    assert not [one for one in groups if "open" in one]


def test_labels_that_nobody_knows_are_shown_by_confidence(labels: tuple[AuditResult, Page], tmp_path: Path) -> None:
    result = replace(labels[0], findings=[])
    rows = replace(result.rows, truth=np.full_like(result.rows.truth, np.nan))
    page = page_of(replace(result, rows=rows), tmp_path)
    assert "no labels" in page.text
    assert "labels" not in page.ids
    assert "Above the threshold, label unknown" in page.text


# Values.


@pytest.fixture(scope="module")
def values(folder: Path) -> tuple[AuditResult, Page]:
    return made("regression", folder)


def test_value_is_shown_with_its_unit_its_error_and_the_baseline(values: tuple[AuditResult, Page]) -> None:
    result, page = values
    errors = result.error_score
    assert errors is not None
    head = page.text[: page.text.index("Findings Errors")]
    assert f"Mean absolute error{errors.error.value:.1f} years" in head
    assert (
        f"{errors.error.low:.1f} to {errors.error.high:.1f} years; always the mean: {errors.baseline.value:.1f} years"
        in head
    )
    assert "2 without a true value" in head
    section = page.text[page.text.index("Errors in years") : page.text.index("Heatmaps of high, low")]
    for interval in (errors.error, errors.bias, errors.baseline):
        assert format_interval(interval, 1).replace("(", "").replace(")", "") in section
    assert len(errors.bins) == 6
    for one in errors.bins:
        assert f"{one.low:.1f} to {one.high:.1f}{one.count}{one.truth:.1f}" in section


def test_points_lie_where_the_values_are(values: tuple[AuditResult, Page]) -> None:
    """The lowest and the highest of all values are the ends of both axes."""
    result, page = values
    known = result.is_labelled
    truth, predicted = result.rows.truth[known, 0], result.rows.score[known]
    low, high = min(truth.min(), predicted.min()), max(truth.max(), predicted.max())
    expected = {
        (round(300 * float((x - low) / (high - low))), round(300 - 300 * float((y - low) / (high - low))))
        for x, y in zip(truth, predicted, strict=True)
    }
    points = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="2.6"/>', page.html)
    assert len(points) == known.sum()
    for x, y in points:
        assert any(abs(float(x) - a) <= 1 and abs(float(y) - b) <= 1 for a, b in expected)


def test_galleries_of_values_are_by_error(values: tuple[AuditResult, Page]) -> None:
    result, page = values
    error = errors_of(result)
    assert over_rows(result)[0] == np.nanargmax(error)
    assert under_rows(result)[0] == np.nanargmin(error)
    assert best_rows(result)[0] == np.nanargmin(np.abs(error))
    row = over_rows(result)[0]
    value, truth = float(result.rows.score[row]), float(result.rows.truth[row, 0])
    assert f"true {truth:.1f} years, error {value - truth:+.1f} years" in page.text
    assert {"over", "under", "best"} <= set(page.ids)


def test_bars_of_a_value_have_its_own_axis(values: tuple[AuditResult, Page]) -> None:
    _, page = values
    finding = page.text[page.text.index("high age: a fixed place") : page.text.index("Images that show it")]
    assert "age in years: images of high age" in finding
    assert "age in years: images of low age" in finding
    for words, numbers in {
        "region erased": "52.0 (50.0 to 54.0)",
        "random region pasted": "31.0 (29.0 to 33.0)",
        "as the images are": "30.0 (28.0 to 32.0)",
    }.items():
        assert re.search(re.escape(words) + r"\s*" + re.escape(numbers), finding), words
    assert "28.0" in finding  # the lowest end of all intervals
    assert "72.0" in finding


def test_values_that_nobody_knows_are_shown_by_size(tmp_path: Path) -> None:
    page = page_of(values_result(findings=(), is_known=False), tmp_path)
    assert "no true values" in page.text
    assert "errors" not in page.ids
    assert {"highest", "lowest"} <= set(page.ids)


def test_maps_of_a_value_have_a_bar_for_each_kind(values: tuple[AuditResult, Page]) -> None:
    _, page = values
    assert "0 the map's maximum" in page.text
    assert "lowers the value raises it" in page.text


def test_list_of_labels_says_which_labels_are_wrong(labels: tuple[AuditResult, Page]) -> None:
    result, page = labels
    rows = result.rows
    mistakes = (rows.probabilities > 0.5) != (rows.truth == 1)
    for row, _, kind, *rest in page.listing["rows"]:
        if not rows.is_done[row]:
            assert page.listing["texts"][kind] == "failed"
        elif np.isfinite(rows.truth[row]).all():
            assert page.listing["texts"][kind] == ("wrong" if mistakes[row].any() else "right")
            assert rest[-2:] == [np.flatnonzero(rows.truth[row] == 1).tolist(), rows.mapped[row].tolist()]


def test_list_of_values_is_sorted_by_error(values: tuple[AuditResult, Page]) -> None:
    result, page = values
    assert list(page.listing["numbers"]) == ["value", "error"]
    errors = [one for one in page.listing["numbers"]["error"] if one is not None]
    assert errors == sorted(errors, reverse=True)
    assert page.listing["rows"][0][0] == np.nanargmax(np.abs(errors_of(result)))


def test_nothing_of_a_data_set_becomes_a_tag(task: str, page: Page, tmp_path: Path) -> None:
    name = "</title><script>alert(2)</script>\u202e"
    if task == "multilabel":
        result = labels_result(12, (name, "`<b>\"'\x00", "c"), files=HOSTILE, findings=(True, False))
    else:
        result = values_result(12, name, "<b>years</b>", files=HOSTILE, findings=(True, False))
    hostile = page_of(result, tmp_path)
    assert hostile.code == page.code
    assert {tag for tag, _ in hostile.tags} <= {tag for tag, _ in page.tags}
    assert "\u202e" not in hostile.html
    assert "\x00" not in hostile.html
