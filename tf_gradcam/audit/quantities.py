"""The numbers of an audit that a condition can name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tf_gradcam.audit.gate import Quantity, check_measured, parse_conditions, reasons
from tf_gradcam.audit.result import AuditResult
from tf_gradcam.metrics.intervals import Interval, wilson_interval

_TESTED = ("classification", "multilabel", "regression")
_TRUTH, _REGIONS, _SANITY = (
    "true classes, labels, values or masks in the data set",
    "boxes or masks of the objects, and at least one image for the metrics",
    "the sanity checks",
)


@dataclass(frozen=True, kw_only=True)
class AuditQuantity(Quantity):
    """A number of an audit.

    Attributes:
        read: returns it from a result, NaN where no image has it.
        tasks: the tasks that have it.
        needs: what the audit must be given, in words; "" for nothing.
    """

    read: Callable[[AuditResult], Interval]
    tasks: tuple[str, ...] = (*_TESTED, "segmentation")
    needs: str = ""


def _exactly(count: int) -> Interval:
    return Interval(float(count), float(count), float(count))


def _failed(result: AuditResult) -> Interval:
    done = result.rows.is_done
    return wilson_interval(int((~done).sum()), len(done))


def _of_done(result: AuditResult, count: int) -> Interval:
    """Return the share of the explained images."""
    return wilson_interval(count, int(result.rows.is_done.sum()))


def _blank(result: AuditResult) -> Interval:
    return _of_done(result, int((result.rows.is_done & (result.rows.diagnosis != "")).sum()))


def _accuracy(result: AuditResult) -> Interval:
    score = result.segmentation_score
    if score is not None:
        return score.accuracy
    return wilson_interval(int(np.trace(result.confusion)), int(result.confusion.sum()))


def _lowest_recall(result: AuditResult) -> Interval:
    cells = result.confusion
    of_each = [wilson_interval(int(row[at]), int(row.sum())) for at, row in enumerate(cells) if row.any()]
    return min(of_each, key=lambda recall: recall.value, default=_UNKNOWN)


def _label_errors(result: AuditResult) -> Interval:
    return wilson_interval(len(result.label_errors), int(result.is_labelled.sum()))


def _metric(beginning: str) -> Callable[[AuditResult], Interval]:
    """Return the reading of a metric of the method."""

    def read(result: AuditResult) -> Interval:
        method = result.about["method"]
        found = (one.interval for one in result.metrics if one.name.startswith(beginning) and one.method == method)
        return next(found, _UNKNOWN)

    return read


_UNKNOWN = Interval(math.nan, math.nan, math.nan)
_CLASSES = ("classification",)

QUANTITIES = [
    AuditQuantity(
        name="shortcut",
        meaning="number of shortcuts found",
        is_fault=True,
        largest=math.inf,
        tasks=_TESTED,
        read=lambda result: _exactly(len(result.shortcuts)) if result.rows.is_done.any() else _UNKNOWN,
    ),
    AuditQuantity(
        name="sanity",
        meaning="number of sanity checks that failed",
        is_fault=True,
        largest=math.inf,
        tasks=_TESTED,
        needs=_SANITY,
        read=lambda result: _exactly(sum(not one.is_passed for one in result.sanity)) if result.sanity else _UNKNOWN,
    ),
    AuditQuantity(
        name="failed", meaning="share of the images that could not be explained", is_fault=True, read=_failed
    ),
    AuditQuantity(name="blank", meaning="share of the explained images whose map is blank", is_fault=True, read=_blank),
    AuditQuantity(
        name="duplicates",
        meaning="share of the explained images that repeat an earlier one",
        is_fault=True,
        read=lambda result: _of_done(result, sum(len(group.rows) - 1 for group in result.duplicates)),
    ),
    AuditQuantity(
        name="label_errors",
        meaning="share of the labelled images whose label is probably wrong",
        is_fault=True,
        tasks=_CLASSES,
        needs=_TRUTH,
        read=_label_errors,
    ),
    AuditQuantity(
        name="accuracy",
        meaning="share of the images, or of a segmentation's pixels, whose class is right",
        tasks=("classification", "segmentation"),
        needs=_TRUTH,
        read=_accuracy,
    ),
    AuditQuantity(
        name="lowest_recall",
        meaning="recall of the class that is recognised least",
        tasks=_CLASSES,
        needs=_TRUTH,
        read=_lowest_recall,
    ),
    AuditQuantity(
        name="average_precision",
        meaning="mean average precision over the labels",
        tasks=("multilabel",),
        needs=_TRUTH,
        read=lambda result: result.label_scores[-2].average_precision if result.label_scores else _UNKNOWN,
    ),
    AuditQuantity(
        name="error",
        meaning="mean absolute error of the value, in its unit",
        largest=math.inf,
        tasks=("regression",),
        needs=_TRUTH,
        read=lambda result: result.error_score.error if result.error_score else _UNKNOWN,
    ),
    AuditQuantity(
        name="iou",
        meaning="mean intersection over union of the classes",
        tasks=("segmentation",),
        needs=_TRUTH,
        read=lambda result: result.segmentation_score.mean_iou if result.segmentation_score else _UNKNOWN,
    ),
    AuditQuantity(
        name="energy",
        meaning="mean share of the heat inside the objects",
        tasks=_TESTED,
        needs=_REGIONS,
        read=_metric("energy in "),
    ),
    AuditQuantity(
        name="pointing",
        meaning="share of the images whose hottest place lies inside the objects",
        tasks=_TESTED,
        needs=_REGIONS,
        read=_metric("pointing game in "),
    ),
]


def missing_needs(
    task: str, *, has_truth: bool = True, has_regions: bool = True, has_sanity: bool = True
) -> dict[str, str]:
    """Return what each quantity needs and an audit does not have, by name; "" for what it measures."""
    given = {"": True, _TRUTH: has_truth, _REGIONS: has_regions, _SANITY: has_sanity}

    def needed(quantity: AuditQuantity) -> str:
        if task not in quantity.tasks:
            return f"the task {' or '.join(quantity.tasks)}"
        return "" if given[quantity.needs] else quantity.needs

    return {quantity.name: needed(quantity) for quantity in QUANTITIES}


def measured_quantities(result: AuditResult) -> dict[str, Interval]:
    """Return the quantities of a result by name, without those of other tasks."""
    return {quantity.name: quantity.read(result) for quantity in QUANTITIES if result.task in quantity.tasks}


def failures(result: AuditResult, conditions: str) -> list[str]:
    """Return why an audit fails, a reason for each condition that holds; empty if it passes.

    A condition on a number that is not known holds, such as on the accuracy of images without labels.

    Args:
        result: of the audit.
        conditions: such as "shortcut,accuracy<0.95,blank>0.01", as `--fail-on` takes them.

    Raises:
        ValueError: a condition that cannot be read, or on a quantity of another task.
    """
    parsed = parse_conditions(conditions, QUANTITIES)
    check_measured(parsed, missing_needs(result.task))
    return list(filter(None, reasons(parsed, measured_quantities(result))))
