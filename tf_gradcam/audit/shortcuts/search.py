"""The search for shortcuts in the table of an audit, class by class. NumPy only.

Axis legend: N images of the data set, K classes, H x W cells, H0 x W0 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tf_gradcam.audit.result import ClassLook, Finding
from tf_gradcam.audit.rows import Rows, turns_of
from tf_gradcam.audit.shortcuts.clusters import cluster, heat_shares, repetition
from tf_gradcam.audit.shortcuts.findings import ClassSample, find
from tf_gradcam.metrics.faithfulness import Predict

Load = Callable[[Sequence[int]], np.ndarray]

_SAMPLED_IMAGES = 120  # of a class that are read again, and as many of the others
_CLUSTERED_MAPS = 2000  # of a class


def look_at_classes(rows: Rows, class_names: Sequence[str], seed: int = 0) -> list[ClassLook]:
    """Average and cluster the heatmaps of each predicted class, in class order.

    The seed decides the clusters, and the sample of a class with more than 2000 images.
    """
    looks = []
    for class_index in range(len(class_names)):
        members = _predicted_as(rows, class_index)
        if not len(members):
            continue
        chosen = np.sort(np.random.default_rng(seed).permutation(members)[:_CLUSTERED_MAPS])
        heatmaps = rows.heatmap[chosen].astype(np.float32)
        shares = heat_shares(heatmaps)
        groups = cluster(heatmaps, seed)
        looks.append(
            ClassLook(
                class_index,
                len(members),
                shares.mean(axis=0),
                repetition(heatmaps),
                [len(group) for group in groups],
                np.stack([shares[group].mean(axis=0) for group in groups]) if groups else None,
                [[int(row) for row in chosen[group]] for group in groups],
            )
        )
    return looks


def find_shortcuts(
    rows: Rows,
    looks: Sequence[ClassLook],
    class_names: Sequence[str],
    load: Load,
    predict: Predict,
    *,
    inside: Callable[[Sequence[int]], np.ndarray] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> list[Finding]:
    """Find suspected shortcuts of each class, and test them by intervention.

    Args:
        rows: the table.
        looks: result of `look_at_classes`.
        class_names: K names.
        load: positions in the table -> photos (n, H0, W0, 3) float32 in 0..255.
        predict: photos -> probabilities (n, K).
        inside: positions in the table -> (n, H0, W0) bool, the pixels inside boxes or masks; None without annotations.
        seed: of samples and random places.
        progress: called with (done, total) classes.

    Returns:
        Findings of all classes: shortcuts first, the strongest effect first.
    """
    found: list[Finding] = []
    for number, look in enumerate(looks):
        sample = _sample(rows, look, class_names[look.class_index], load, inside, seed)
        found += find(sample, predict, seed)
        if progress is not None:
            progress(number + 1, len(looks))
    found.sort(key=lambda finding: (not finding.is_shortcut, -_effect(finding)))
    return found


def _effect(finding: Finding) -> float:
    return max(finding.control.value - finding.erased.value, finding.pasted.value - finding.pasted_control.value)


def _sample(
    rows: Rows, look: ClassLook, label: str, load: Load, inside: Callable[[Sequence[int]], np.ndarray] | None, seed: int
) -> ClassSample:
    """Return random images of the class, and of the other classes in turn."""
    generator = np.random.default_rng([seed, look.class_index])
    members = _predicted_as(rows, look.class_index)
    own = members[np.isin(rows.label[members], (look.class_index, -1))]
    chosen = np.sort(generator.permutation(own)[:_SAMPLED_IMAGES])
    done = rows.is_done
    foreign = np.flatnonzero(done & (rows.predicted != look.class_index) & (rows.label != look.class_index))
    kinds = np.where(rows.label[foreign] >= 0, rows.label[foreign], rows.predicted[foreign])
    others = _in_turn(foreign, kinds, generator)[:_SAMPLED_IMAGES]
    place = {int(row): position for position, row in enumerate(chosen)}
    clusters = [
        np.array([place[row] for row in group if row in place], np.int64)
        for group in look.cluster_rows
        if any(row in place for row in group)
    ]
    return ClassSample(
        look.class_index,
        label,
        chosen,
        _photos(load, chosen),
        rows.heatmap[chosen].astype(np.float32),
        clusters,
        _photos(load, others),
        None if inside is None or not len(chosen) else inside(chosen.tolist()),
    )


def _in_turn(members: np.ndarray, kinds: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return the members in random order, the kinds in turn, so that no class with many images prevails."""
    order = generator.permutation(len(members))
    return members[order][np.argsort(turns_of(kinds[order]), kind="stable")]


def _photos(load: Load, chosen: np.ndarray) -> np.ndarray:
    return load(chosen.tolist()) if len(chosen) else np.zeros((0, 1, 1, 3), np.float32)


def _predicted_as(rows: Rows, class_index: int) -> np.ndarray:
    return np.flatnonzero(rows.is_done & (rows.predicted == class_index))
