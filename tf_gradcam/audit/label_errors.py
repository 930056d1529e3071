"""Labels of a data set that are probably wrong. NumPy only.

Axis legend: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tf_gradcam.audit.duplicates import DuplicateGroup
from tf_gradcam.audit.rows import Rows


@dataclass(frozen=True)
class LabelError:
    """An image whose class in the data set is probably wrong.

    Attributes:
        row: its position in the table.
        label: its class in the data set.
        likely: the class that it probably is.
        margin: probability of the likely class, minus that of its class in the data set.
        twin: position of the same picture, which the data set calls `likely`; None without one.
    """

    row: int
    label: int
    likely: int
    margin: float
    twin: int | None = None


def find_label_errors(rows: Rows, duplicates: Sequence[DuplicateGroup]) -> list[LabelError]:
    """Return the probable label errors: twins with another label, then confident disagreement, the largest first.

    Of the same pictures with different labels at least one label is wrong. The model chooses which: the twin whose
    label is the most probable is taken for right.

    The model disagrees confidently if it predicts another class, at least as probably as it finds that class on average
    over the images labelled as it. Errors of a model that is often wrong are among them; a model that learned the wrong
    labels by heart agrees with them.

    Source: Northcutt, Jiang and Chuang 2021, https://arxiv.org/abs/1911.00068, equations 1 and 2. Deviations: the
    likely class is the predicted one; the probabilities are the audited model's own, which may have been trained on
    these images.
    """
    known = rows.is_done & (rows.label >= 0)
    everyone = np.arange(len(known))
    label = np.where(known, rows.label, 0)
    probability = np.nan_to_num(rows.probabilities.astype(np.float64))
    own = probability[everyone, label]

    def error(row: int, likely: int, twin: int | None = None) -> LabelError:
        return LabelError(row, int(label[row]), likely, float(probability[row, likely] - own[row]), twin)

    errors: dict[int, LabelError] = {}
    for group in duplicates:
        labelled = [row for row in group.rows if known[row]]
        right = max(labelled, key=lambda row: own[row], default=-1)
        wrong = [row for row in labelled if label[row] != label[right]]
        errors |= {row: error(row, int(label[right]), right) for row in wrong}
    count = np.bincount(label[known], minlength=probability.shape[1])
    total = np.bincount(label[known], own[known], probability.shape[1])
    average = np.divide(total, count, out=np.full(len(count), np.inf), where=count > 0)
    predicted = np.where(known, rows.predicted, 0)
    is_sure = known & (predicted != label) & (probability[everyone, predicted] >= average[predicted])
    errors = {row: error(row, int(predicted[row])) for row in np.flatnonzero(is_sure).tolist()} | errors
    return sorted(errors.values(), key=lambda one: (one.twin is None, -one.margin))
