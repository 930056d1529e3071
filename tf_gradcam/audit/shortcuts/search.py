"""The search for shortcuts in the table of an audit, answer by answer. NumPy only.

Axis legend: n images, K classes, H x W cells, H0 x W0 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tf_gradcam.audit.answers import ModelAnswer
from tf_gradcam.audit.result import ClassLook, Finding
from tf_gradcam.audit.rows import turns_of
from tf_gradcam.audit.shortcuts.clusters import cluster, heat_shares, repetition
from tf_gradcam.audit.shortcuts.findings import AnswerSample, PredictRows, find

Load = Callable[[Sequence[int]], np.ndarray]

_SAMPLED_IMAGES = 120  # of an answer that are read again, and as many of the others
_CLUSTERED_MAPS = 2000  # of an answer


def look_at(answers: Sequence[ModelAnswer], seed: int = 0) -> list[ClassLook]:
    """Average and cluster the heatmaps of the images that get each answer, in order.

    Answers that no image gets are left out. The seed decides the clusters, and the sample of an answer with more than
    2000 images.
    """
    looks = []
    for answer in answers:
        members = answer.members
        if not len(members):
            continue
        chosen = np.sort(np.random.default_rng(seed).permutation(members)[:_CLUSTERED_MAPS])
        heatmaps = answer.maps(chosen)
        shares = heat_shares(heatmaps)
        groups = cluster(np.abs(heatmaps), seed)
        looks.append(
            ClassLook(
                answer.index,
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
    answers: Sequence[ModelAnswer],
    looks: Sequence[ClassLook],
    load: Load,
    predict: PredictRows,
    *,
    inside: Callable[[Sequence[int]], np.ndarray] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> list[Finding]:
    """Find suspected shortcuts of each answer, and test them by intervention.

    Args:
        answers: of the model.
        looks: result of `look_at`.
        load: positions in the table -> photos (n, H0, W0, 3) float32 in 0..255.
        predict: changed photos, and the rows of the table that they are -> probabilities or values (n, K).
        inside: positions in the table -> (n, H0, W0) bool, the pixels inside boxes or masks; None without annotations.
        seed: of samples and random places.
        progress: called with (done, total) answers.

    Returns:
        Findings of all answers: shortcuts first, the strongest effect first.
    """
    found: list[Finding] = []
    by_index = {answer.index: answer for answer in answers}
    for number, look in enumerate(looks):
        answer = by_index[look.class_index]
        if len(answer.others):
            found += find(_sample(answer, look, load, inside, seed), predict, seed)
        if progress is not None:
            progress(number + 1, len(looks))
    found.sort(key=lambda finding: (not finding.is_shortcut, -finding.effect))
    return found


def _sample(
    answer: ModelAnswer, look: ClassLook, load: Load, inside: Callable[[Sequence[int]], np.ndarray] | None, seed: int
) -> AnswerSample:
    """Return random images that get the answer, and others of each kind in turn."""
    generator = np.random.default_rng([seed, answer.index])
    chosen = np.sort(generator.permutation(answer.own)[:_SAMPLED_IMAGES])
    foreign = answer.others
    others = _in_turn(foreign, answer.kinds[foreign], generator)[:_SAMPLED_IMAGES]
    place = {int(row): position for position, row in enumerate(chosen)}
    clusters = [
        np.array([place[row] for row in group if row in place], np.int64)
        for group in look.cluster_rows
        if any(row in place for row in group)
    ]
    return AnswerSample(
        answer.index,
        answer.name,
        answer.reading,
        chosen,
        _photos(load, chosen),
        answer.maps(chosen),
        clusters,
        _photos(load, others),
        others,
        None if inside is None or not len(chosen) else inside(chosen.tolist()),
    )


def _in_turn(members: np.ndarray, kinds: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return the members in random order, the kinds in turn, so that no class with many images prevails."""
    order = generator.permutation(len(members))
    return members[order][np.argsort(turns_of(kinds[order]), kind="stable")]


def _photos(load: Load, chosen: np.ndarray) -> np.ndarray:
    return load(chosen.tolist()) if len(chosen) else np.zeros((0, 1, 1, 3), np.float32)
