"""Findings: the tested suspects of an answer, with their sentences and pictures.

Axis legend: n images that get the answer, m others, H0 x W0 pixels, H x W cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tf_gradcam.audit.answers import AnswerReading
from tf_gradcam.audit.result import MIN_IMAGES, Finding
from tf_gradcam.audit.shortcuts.clusters import heat_shares
from tf_gradcam.audit.shortcuts.evidence import Evidence, gather_evidence, place_in_words, region_at
from tf_gradcam.audit.shortcuts.stored import to_arrays
from tf_gradcam.audit.shortcuts.suspects import (
    DRAWN,
    Suspect,
    drawn_places,
    find_marks,
    heat_in,
    hot_places,
    is_drawn_alike,
    is_empty_elsewhere,
    tints,
)
from tf_gradcam.metrics.faithfulness import Predict

# (n, H0, W0, 3) photos, changed or not, and the rows (n,) of the table that they are -> predictions (n, K).
PredictRows = Callable[[np.ndarray, np.ndarray], np.ndarray]

_TITLES = ("as it is", "erased", "random region erased")
_LAST_TITLES = {"classification": "another class", "multilabel": "without the label"}
_MAX_IMAGES = 48  # that an intervention runs on
_SAME_PLACE_OVERLAP = 0.2  # of the smaller region: two regions that overlap more are one suspect
_SAME_PLACE_DISTANCE = 0.12  # sides of the image: two regions whose middles are closer are one suspect
_NO_EFFECT = "Erasing or pasting it changes predictions hardly more than a random region does."
_MEASURED = {"classification": "the class", "multilabel": "its probability", "regression": "the value"}
_OTHERS = {"classification": "images of other classes", "multilabel": "images without the label"}
_MAX_HARMLESS = 2  # suspects of a class that are reported although they are not shortcuts


def draw_examples(examples: Sequence[np.ndarray], fill: str, reading: AnswerReading | None = None) -> np.ndarray:
    """Draw a row per example and a column per version.

    Args:
        examples: four arrays (e, H0, W0, 3) float32, 0..255.
        fill: the fill of the erased region.
        reading: of the answer; None for a class.

    Returns:
        uint8 RGB (h, w, 3).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count, height, width = examples[0].shape[:3]
    figure = Figure(figsize=(7.2, 0.35 + 1.8 * count * height / width), dpi=100, layout="constrained")
    panels = figure.subplots(count, len(examples), squeeze=False)
    reading = reading or AnswerReading(0)
    last = _LAST_TITLES.get(reading.task) or ("low value" if reading.sign > 0 else "high value")
    titles = (*_TITLES, f"{last}, pasted into")
    for column, (title, photos) in enumerate(zip(titles, examples, strict=True)):
        panels[0, column].set_title(f"{title} ({fill})" if column == 1 else title, fontsize=8)
        for row, photo in enumerate(photos):
            panels[row, column].imshow(np.clip(np.round(photo), 0, 255).astype(np.uint8))
    for panel in panels.flat:
        panel.set_axis_off()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@dataclass(frozen=True)
class AnswerSample:
    """Sampled images that get one answer, and others.

    Attributes:
        class_index, label: index and name of the answer.
        reading: how the answer is read from predictions.
        rows: (n,) positions of the images in the table.
        photos: (n, H0, W0, 3) float32, 0..255, predicted as the class (and labelled so, if the label is known).
        heatmaps: (n, H, W).
        clusters: arrays of positions in `photos`, as `clusters.cluster` returns them.
        others: (m, H0, W0, 3), images neither predicted nor labelled as the class.
        other_rows: (m,) positions of `others` in the table.
        inside: (n, H0, W0) bool, pixels inside the user's boxes or masks; None without annotations.
    """

    class_index: int
    label: str
    reading: AnswerReading
    rows: np.ndarray
    photos: np.ndarray
    heatmaps: np.ndarray
    clusters: Sequence[np.ndarray]
    others: np.ndarray
    other_rows: np.ndarray
    inside: np.ndarray | None = None


class _Tested(NamedTuple):
    finding: Finding
    suspect: Suspect
    evidence: Evidence


def find(sample: AnswerSample, predict: PredictRows, seed: int = 0) -> list[Finding]:
    """Test all suspects of an answer.

    Args:
        sample: images that get the answer, and others.
        predict: changed photos, and the rows of the table that they are -> probabilities or values (n, K).
        seed: of random places.

    Returns:
        Findings: shortcuts first, the strongest effect first; of several suspects in one place only the first. Empty if
        there are fewer than five images that get the answer, or of the others.
    """
    if len(sample.photos) < MIN_IMAGES or len(sample.others) < MIN_IMAGES:
        return []
    found: list[_Tested] = []
    for suspect in _suspects(sample, seed):
        if len(suspect.members) < MIN_IMAGES:
            continue
        suspect = _first(suspect, _MAX_IMAGES)
        evidence = gather_evidence(
            suspect,
            sample.reading,
            sample.photos[suspect.members],
            sample.others[:_MAX_IMAGES],
            _of_rows(predict, sample.rows[suspect.members]),
            seed,
            _of_rows(predict, sample.other_rows[:_MAX_IMAGES]),
        )
        found.append(_Tested(_finding(sample, suspect, evidence), suspect, evidence))
    found = [one for one in found if not _is_only_around_a_mark(one, found)]
    # Pixels that are drawn alike are exact to the pixel, hot places to a cell: the former come first.
    found.sort(key=lambda one: (not one.finding.is_shortcut, one.suspect.source != DRAWN, -one.evidence.strength))
    return [
        replace(one.finding, picture=draw_examples(one.evidence.examples, one.evidence.fill, sample.reading))
        for one in _distinct(found)
    ]


def _of_rows(predict: PredictRows, rows: np.ndarray) -> Predict:
    return lambda photos: predict(photos, rows)


def _is_only_around_a_mark(one: _Tested, found: Sequence[_Tested]) -> bool:
    """Return whether a hot place counts as foreign only for pixels drawn alike that, tested alone, have no effect."""
    if not one.finding.is_shortcut or one.suspect.source == DRAWN:
        return False
    if one.finding.reason != _drawn_alike(one.evidence.reading):
        return False
    inside = [
        other.evidence
        for other in found
        if other.suspect.source == DRAWN and other.suspect.kind == "place" and _is_same(one.suspect, other.suspect)
    ]
    return bool(inside) and not any(evidence.is_needed or evidence.is_enough for evidence in inside)


def _suspects(sample: AnswerSample, seed: int) -> Iterator[Suspect]:
    size = (sample.photos.shape[1], sample.photos.shape[2])
    shares = heat_shares(sample.heatmaps)
    yield from drawn_places(sample.photos, sample.others)
    yield from tints(sample.photos, sample.others)
    yield from find_marks(sample.photos, sample.heatmaps, sample.others, seed)
    yield from hot_places(shares, np.arange(len(shares)), size, "mean map")
    if len(sample.clusters) > 1:
        for number, members in enumerate(sample.clusters, start=1):
            yield from hot_places(shares, members, size, f"cluster {number} of {len(sample.clusters)}")


def _first(suspect: Suspect, count: int) -> Suspect:
    """Keep the clearest members only, because interventions cost forward passes."""
    places = None if suspect.places is None else suspect.places[:count]
    return replace(suspect, members=suspect.members[:count], places=places)


def _finding(sample: AnswerSample, suspect: Suspect, evidence: Evidence) -> Finding:
    region, regions = _regions(sample, suspect)
    heat = float("nan") if regions is None else _mean_heat(sample.heatmaps[suspect.members], regions)
    area = 1.0 if regions is None else float(regions.mean())
    foreign, why = _is_foreign(sample, suspect)
    has_effect = evidence.is_needed or evidence.is_enough
    doubt = evidence.doubt if foreign else ""  # content would not be a shortcut, whatever its effect
    no_effect = _NO_EFFECT.replace("predictions", "the value") if sample.reading.is_value else _NO_EFFECT
    reason = why if has_effect else doubt or no_effect
    return Finding(
        sample.class_index,
        sample.label,
        suspect.kind,
        has_effect and foreign,
        _sentence(sample, suspect, evidence, region, heat),
        reason,
        [int(row) for row in sample.rows[suspect.members]],
        heat,
        area,
        evidence.before,
        evidence.erased,
        evidence.control,
        evidence.pasted,
        evidence.pasted_control,
        None if region is None else region.astype(np.float32),
        is_unsure=bool(doubt),
        others=evidence.others,
        effect=evidence.strength,
        suspect=to_arrays(replace(suspect, members=sample.rows[suspect.members])),
    )


def _regions(sample: AnswerSample, suspect: Suspect) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the region to show (for a moving mark, its frequency at each pixel), and the region of each member."""
    size = (sample.photos.shape[1], sample.photos.shape[2])
    if suspect.region is not None:
        return suspect.region, np.broadcast_to(suspect.region, (len(suspect.members), *size))
    if suspect.places is not None and suspect.patch_region is not None:
        regions = np.stack([region_at(suspect.patch_region, place, size) for place in suspect.places])
        return regions.mean(axis=0), regions
    return None, None


def _mean_heat(heatmaps: np.ndarray, regions: np.ndarray) -> float:
    return float(np.mean([heat_in(one[None], region)[0] for one, region in zip(heatmaps, regions, strict=True)]))


def _drawn_alike(reading: AnswerReading) -> str:
    return f"The same pixels, to a few grey levels, are in these images and not in {_others(reading)}."


def _others(reading: AnswerReading) -> str:
    return _OTHERS.get(reading.task) or f"images of {'low' if reading.sign > 0 else 'high'} values"


def _is_foreign(sample: AnswerSample, suspect: Suspect) -> tuple[bool, str]:
    """Return whether it is foreign to the content of the image, and why."""
    others = _others(sample.reading)
    if suspect.kind == "mark":
        return True, f"These images contain the same patch, to a few grey levels; {others} do not."
    if suspect.kind == "tint":
        return True, f"These images share a colour that {others} do not have."
    assert suspect.region is not None
    photos = sample.photos[suspect.members]
    if is_drawn_alike(photos, sample.others, suspect.region):
        return True, _drawn_alike(sample.reading)
    if is_empty_elsewhere(photos, sample.others, suspect.region):
        return True, f"{others[0].upper()}{others[1:]} are empty in this place, and these images are not."
    if sample.inside is not None:
        outside = 1 - float(sample.inside[suspect.members][:, suspect.region].mean())
        if outside > 0.9:
            return True, f"{outside:.0%} of the region lies outside the given boxes or masks."
    return False, "The pixels there differ from image to image, as content does: an object that keeps its place."


def _sentence(
    sample: AnswerSample, suspect: Suspect, evidence: Evidence, region: np.ndarray | None, heat: float
) -> str:
    count, label = len(suspect.members), sample.label
    if suspect.kind == "tint":
        head = f"{count} images share a tint ({_tone_in_words(suspect)})"
        removing, other, adding = "removing it", "an equally strong other tint", "adding it to"
    elif suspect.kind == "mark":
        assert suspect.patch is not None
        height, width = suspect.patch.shape[:2]
        head = f"{heat:.0%} of the heat of {count} images lies on a mark of {width} x {height} pixels that moves"
        removing, other, adding = f"erasing it ({evidence.fill})", "an equally large random region", "pasting it into"
    else:
        assert region is not None
        head = f"{heat:.0%} of the heat of {count} images lies in {place_in_words(region > 0)}"
        head += f" ({(region > 0).mean():.1%} of the image)"
        removing, other, adding = f"erasing it ({evidence.fill})", "an equally large random region", "pasting it into"
    number, in_words = sample.reading.number, sample.reading.in_words
    taken = f"{removing} takes {_MEASURED[sample.reading.task]} from {number(evidence.before.value)} to "
    taken += in_words(evidence.erased.value)
    if evidence.others is not None:
        turned = f"takes them from {number(evidence.others.value)} to {in_words(evidence.pasted.value)}"
        control = number(evidence.pasted_control.value)
    else:
        turned, control = f"turns {evidence.pasted.value:.0%} of them into", f"{evidence.pasted_control.value:.0%}"
        turned += f" `{label}`"
    return (
        f"`{label}`: {head}; {taken} ({other}: {number(evidence.control.value)}); {adding} {_others(sample.reading)} "
        f"{turned} ({other}: {control})."
    )


def _tone_in_words(suspect: Suspect) -> str:
    assert suspect.tone is not None
    tone, other = suspect.tone
    middle = 128.0
    red, blue = (tone[:, 0] - other[:, 0]) * middle + tone[:, 1] - other[:, 1]
    return f"red {red:+.1f}, blue {blue:+.1f} grey levels against green"


def _distinct(found: Sequence[_Tested]) -> list[_Tested]:
    """Keep one suspect per place, and few that are not shortcuts."""
    kept: list[_Tested] = []
    for one in found:
        if not any(_is_same(one.suspect, other.suspect) for other in kept):
            kept.append(one)
    harmless = [one for one in kept if not one.finding.is_shortcut]
    return [one for one in kept if one.finding.is_shortcut] + harmless[:_MAX_HARMLESS]


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the distance between the middles of two regions, in sides of the image."""
    middles = [np.argwhere(region).mean(axis=0) / region.shape for region in (one, other)]
    return float(np.linalg.norm(middles[0] - middles[1]))


def _is_same(one: Suspect, other: Suspect) -> bool:
    """Return whether two regions mostly overlap, or a mark does not move and lies at the other's place."""
    if one.kind == other.kind == "place" and one.region is not None and other.region is not None:
        both = (one.region & other.region).sum()
        if both and DRAWN in (one.source, other.source):  # heat that overlaps a mark is caused by it
            return True
        return (
            bool(both > _SAME_PLACE_OVERLAP * min(one.region.sum(), other.region.sum()))
            or _distance(one.region, other.region) < _SAME_PLACE_DISTANCE
        )
    mark, place = (one, other) if one.kind == "mark" else (other, one)
    if mark.places is None or mark.patch_region is None or place.region is None:
        return False
    regions = [region_at(mark.patch_region, corner, place.region.shape) for corner in mark.places]
    return bool(np.mean([(region & place.region).sum() > 0.5 * region.sum() for region in regions]) > 0.5)
