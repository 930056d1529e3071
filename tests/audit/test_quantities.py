"""The numbers that conditions on an audit name, derived from its rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.audits import labels_result, near, result_of, values_result
from tf_gradcam.audit import Metric, failures
from tf_gradcam.audit.quantities import QUANTITIES, measured_quantities, missing_needs


def test_shares_and_counts_are_those_of_the_rows() -> None:
    result = result_of(40, failed=4, blank=3, findings=(True, True, False))
    rows, found = result.rows, measured_quantities(result)
    right = rows.predicted[:36] == np.arange(36) % 4
    recalls = [right[np.arange(36) % 4 == index].mean() for index in range(4)]
    expected = {
        "shortcut": 2,
        "sanity": 1,  # of the two checks one is not passed
        "failed": 4 / 40,
        "blank": 3 / 36,
        "duplicates": sum(len(group.rows) - 1 for group in result.duplicates) / 36,
        "label_errors": len(result.label_errors) / 36,
        "accuracy": right.mean(),
        "lowest_recall": min(recalls),
    }
    assert {name: found[name].value for name in expected} == pytest.approx(expected)


def test_other_tasks_have_their_own_score() -> None:
    values, labels = values_result(), labels_result()
    known = np.isfinite(values.rows.truth[:, 0]) & np.isfinite(values.rows.score)
    error = np.abs(values.rows.score - values.rows.truth[:, 0])[known].mean()
    assert measured_quantities(values)["error"].value == pytest.approx(error)
    assert measured_quantities(labels)["average_precision"] == labels.label_scores[-2].average_precision
    assert not {"accuracy", "label_errors"} & {*measured_quantities(values), *measured_quantities(labels)}


def test_energy_is_that_of_the_method_and_unknown_without_boxes() -> None:
    metrics = [
        Metric("energy in box", name, near(value), 9, "higher") for name, value in (("centre", 0.2), ("gradcam", 0.6))
    ]
    assert measured_quantities(replace(result_of(), metrics=metrics))["energy"] == near(0.6)
    assert failures(result_of(), "energy<0.5,pointing<0.5") == [
        "energy<0.5: energy is not known",
        "pointing<0.5: pointing is not known",
    ]


def test_nothing_explained_and_nothing_labelled_fail() -> None:
    assert failures(result_of(6, failed=6, findings=()), "shortcut,accuracy<0.1,failed") == [
        "shortcut: shortcut is not known",
        "accuracy<0.1: accuracy is not known",
        "failed: failed is 1 (0.6097 to 1)",
    ]
    assert failures(replace(result_of(), sanity=[]), "sanity") == ["sanity: sanity is not known"]
    assert failures(result_of(6, labelled=False), "accuracy<0.1") == ["accuracy<0.1: accuracy is not known"]


def test_condition_of_another_task_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'iou<0\.5', which needs the task segmentation"):
        failures(result_of(), "iou<0.5")


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression", "segmentation"])
def test_each_task_has_what_it_measures(task: str) -> None:
    bare = missing_needs(task, has_truth=False, has_regions=False, has_sanity=False)
    measured = {name for name, need in bare.items() if not need}
    assert {"failed", "blank", "duplicates"} <= measured
    assert ("shortcut" in measured) == (task != "segmentation")
    full = missing_needs(task)
    assert {name for name, need in full.items() if not need} == {one.name for one in QUANTITIES if task in one.tasks}
