"""A mark planted with one label, or with high values, is found for that answer alone; clean twins stay clean.

Each test trains a model and audits it from images to the report: 20 to 40 seconds.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import pytest
import tensorflow as tf

from tests.helpers.planted_tasks import LABELS, MARKED, TaskWorld, labels_world, values_world
from tf_gradcam.audit.result import AuditResult
from tf_gradcam.audit.run import audit

pytest.importorskip("pyarrow", reason="the extra audit is not installed")

SEEDS = [pytest.param(seed, marks=mark) for seed, mark in enumerate([pytest.mark.slow, *[pytest.mark.soak] * 2])]


@lru_cache(maxsize=4)
def audited(task: str, is_marked: bool, seed: int, folder: Path) -> tuple[AuditResult, TaskWorld]:
    given = (labels_world if task == "multilabel" else values_world)(is_marked, seed)
    data = tf.data.Dataset.from_tensor_slices((given.images, given.truth)).batch(64)
    options = {"class_names": LABELS} if task == "multilabel" else {"class_names": ["age"], "unit": "years"}
    return audit(given.model, data, folder, num_images=4, sanity=task == "regression", seed=seed, **options), given


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audited")


@pytest.mark.parametrize("seed", SEEDS)
def test_mark_of_one_label_is_found_for_it_alone(seed: int, folder: Path) -> None:
    result, given = audited("multilabel", True, seed, folder / f"labels{seed}")
    assert [(one.label, one.kind) for one in result.shortcuts] == [(LABELS[MARKED], "place")]
    (finding,) = result.shortcuts
    assert "lower right corner" in finding.sentence
    assert finding.pasted.low > 0.5 > finding.pasted_control.high
    assert given.marked[finding.images].all()
    assert all(score.average_precision.value > 0.9 for score in result.label_scores)


@pytest.mark.parametrize("seed", SEEDS)
def test_clean_twin_of_labels_has_no_shortcut(seed: int, folder: Path) -> None:
    result, _ = audited("multilabel", False, seed, folder / f"clean_labels{seed}")
    assert [one.sentence for one in result.shortcuts] == []
    assert result.findings  # suspects were tested


@pytest.mark.parametrize("seed", SEEDS)
def test_mark_that_raises_a_value_is_found_with_its_change_in_the_unit(seed: int, folder: Path) -> None:
    result, given = audited("regression", True, seed, folder / f"values{seed}")
    assert [(one.label, one.kind) for one in result.shortcuts] == [("high age", "place")]
    (finding,) = result.shortcuts
    assert "lower right corner" in finding.sentence
    assert "years (an equally large random region" in finding.sentence
    assert finding.others is not None
    assert finding.pasted.low > finding.pasted_control.high  # pasting raises the value,
    assert finding.erased.high < finding.control.low  # erasing lowers it,
    assert finding.pasted_control.value == pytest.approx(finding.others.value, abs=0.3)  # and chance does neither
    assert given.marked[finding.images].all()


@pytest.mark.parametrize("seed", SEEDS)
def test_clean_twin_of_values_has_no_shortcut(seed: int, folder: Path) -> None:
    result, _ = audited("regression", False, seed, folder / f"clean_values{seed}")
    assert [one.sentence for one in result.shortcuts] == []
    assert result.findings


@pytest.mark.slow
def test_numbers_of_a_value_are_complete(folder: Path) -> None:
    """The metrics of values count changes, in the unit, and both sanity checks compare signed maps."""
    result, given = audited("regression", True, 0, folder / "values0")
    numbers = json.loads((result.directory / "audit.json").read_text(encoding="utf-8"))
    assert (numbers["task"], numbers["unit"], numbers["confusion"]) == ("regression", "years", None)
    assert numbers["errors"]["count"] == len(given.truth)
    assert sum(one["count"] for one in numbers["errors"]["bins"]) == len(given.truth)
    assert numbers["findings"][0]["others"]["value"] == pytest.approx(result.findings[0].others.value)
    names = [one["name"] for one in numbers["metrics"] if one["method"] == "gradcam"]
    assert names == [
        "insertion, change in years left",
        "deletion, change in years",
        "ROAD, change in years",
        "ROAD, hottest first, change in years",
        "ROAD, coldest first, change in years",
        "sparsity",
    ]
    assert [one["better"] for one in numbers["metrics"] if one["method"] == "gradcam"] == [
        *("lower", "higher", "higher", "higher", "lower", "higher"),
    ]
    assert [one["name"] for one in numbers["sanity"]] == ["weights", "logits"]
    assert [one["label"] for one in numbers["classes"]] == [
        *("high age", "low age", "overestimated age", "underestimated age"),
    ]
