"""Interventions on models that can be read: what they look at is known.

Also tests audit/shortcuts/findings.py.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tf_gradcam.audit.answers import AnswerReading
from tf_gradcam.audit.result import Finding
from tf_gradcam.audit.shortcuts.evidence import Evidence, gather_evidence, region_at, stamp
from tf_gradcam.audit.shortcuts.findings import AnswerSample, PredictRows, find
from tf_gradcam.audit.shortcuts.suspects import Suspect
from tf_gradcam.metrics.intervals import Interval

SIZE = (24, 36)
COUNT = 20
CLASS_1 = AnswerReading(1)
REGION = np.zeros(SIZE, bool)
REGION[16:22, 28:34] = True


def images(seed: int, is_marked: bool) -> np.ndarray:
    photos = np.random.default_rng(seed).uniform(40, 120, (COUNT, *SIZE, 3)).astype(np.float32)
    if is_marked:
        photos[:, REGION] = 240
    return photos


def looks_at_the_mark(photos: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """Class 1 where the region is bright: a model with a shortcut."""
    probability = 1 / (1 + np.exp(-(photos[:, REGION].mean(axis=(1, 2)) - 170) / 15))
    return np.stack([1 - probability, probability], axis=1)


def looks_elsewhere(photos: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """Class 1 by the brightness of the upper left quarter, which the mark does not touch."""
    probability = 1 / (1 + np.exp(-(photos[:, :12, :18].mean(axis=(1, 2, 3)) - 70) / 2))
    return np.stack([1 - probability, probability], axis=1)


PLACE = Suspect("place", "drawn alike", np.arange(COUNT), region=REGION)


def test_erasing_what_the_model_looks_at_takes_the_class_away() -> None:
    evidence = gather_evidence(PLACE, CLASS_1, images(0, True), images(1, False), looks_at_the_mark)
    assert evidence.before.value > 0.95
    assert evidence.erased.value < 0.5
    assert evidence.control.value > 0.95
    assert evidence.is_needed


def test_pasting_what_the_model_looks_at_turns_the_others() -> None:
    evidence = gather_evidence(PLACE, CLASS_1, images(0, True), images(1, False), looks_at_the_mark)
    assert evidence.pasted.value == 1
    assert evidence.pasted_control.value == 0
    assert evidence.is_enough


def test_what_the_model_does_not_look_at_has_no_effect() -> None:
    evidence = gather_evidence(PLACE, CLASS_1, images(0, True), images(1, False), looks_elsewhere)
    assert not evidence.is_needed
    assert not evidence.is_enough
    assert evidence.strength < 0.2


def test_the_fill_that_leaves_most_counts() -> None:
    """A model that takes any change for the absence of the class: no fill is blamed for its own traces alone."""
    marked = images(0, True)
    evidence = gather_evidence(PLACE, CLASS_1, marked, images(1, False), looks_at_the_mark)
    from tf_gradcam.audit.shortcuts.evidence import FILLS, erase

    left = {fill: looks_at_the_mark(erase(marked, REGION, fill))[:, 1].mean() for fill in FILLS}
    assert evidence.fill == max(left, key=lambda fill: left[fill])
    assert evidence.erased.value == pytest.approx(max(left.values()))


def test_evidence_follows_its_seed() -> None:
    one, same = (
        gather_evidence(PLACE, CLASS_1, images(0, True), images(1, False), looks_at_the_mark, 3) for _ in range(2)
    )
    assert (one.before, one.erased, one.control, one.pasted) == (same.before, same.erased, same.control, same.pasted)


def test_mark_is_stamped_and_erased_where_it_lies() -> None:
    """Class 1 where anything is as bright as the mark, wherever it is."""
    generator = np.random.default_rng(2)
    photos, others = images(2, False), images(3, False)
    patch = np.full((5, 4, 3), 250, np.float32)
    places = np.stack([generator.integers(0, 19, COUNT), generator.integers(0, 32, COUNT)], axis=-1)
    photos = np.stack(
        [stamp(photo, patch, np.ones((5, 4), bool), place) for photo, place in zip(photos, places, strict=True)]
    )
    suspect = Suspect(
        "mark", "drawn alike", np.arange(COUNT), places=places, patch=patch, patch_region=np.ones((5, 4), bool)
    )

    def brightest(given: np.ndarray) -> np.ndarray:
        # The third brightest pixel, so that a copied rim of a mark is not the mark.
        peak = np.sort(given.mean(axis=-1).reshape(len(given), -1), axis=1)[:, -12]
        probability = 1 / (1 + np.exp(-(peak - 180) / 10))
        return np.stack([1 - probability, probability], axis=1)

    evidence = gather_evidence(suspect, CLASS_1, photos, others, brightest)
    assert evidence.before.value > 0.99
    assert evidence.erased.value < 0.2
    assert evidence.control.value > 0.9
    assert evidence.pasted.value > 0.95
    assert evidence.pasted_control.value < 0.3


def test_region_at_is_cut_off_at_the_edges() -> None:
    region = region_at(np.ones((4, 6), bool), np.array([-2, 33]), SIZE)
    assert region.sum() == 2 * 3
    assert region[:2, 33:].all()


def sample(photos: np.ndarray, others: np.ndarray, inside: np.ndarray | None = None) -> AnswerSample:
    heatmaps = np.zeros((len(photos), 6, 9), np.float32)
    heatmaps[:, 4:6, 7:9] = 1
    rows = np.arange(100, 100 + len(photos))
    return AnswerSample(1, "hyena", CLASS_1, rows, photos, heatmaps, [np.arange(len(photos))], others, rows, inside)


def test_finding_reads_like_a_sentence_with_its_numbers() -> None:
    found = find(sample(images(0, True), images(1, False)), looks_at_the_mark)
    first = found[0]
    assert first.is_shortcut
    assert first.label == "hyena"
    assert first.images[0] >= 100
    for part in ("`hyena`:", "lower right corner", "erasing it", "pasting it into images of other classes turns 100%"):
        assert part in first.sentence
    assert f"{first.before.value:.2f} to {first.erased.value:.2f}" in first.sentence
    assert first.picture is not None
    assert first.picture.dtype == np.uint8


def test_no_finding_is_a_shortcut_without_an_effect() -> None:
    found = find(sample(images(0, True), images(1, False)), looks_elsewhere)
    assert found
    assert not any(finding.is_shortcut for finding in found)


def content(seed: int) -> np.ndarray:
    """A bright object in the region, of another brightness and pattern in each image."""
    generator = np.random.default_rng(seed)
    photos = images(seed, False)
    photos[:, REGION] = generator.uniform(140, 255, (COUNT, int(REGION.sum()), 1)) + generator.uniform(
        0, 60, (COUNT, 1, 1)
    )
    return np.clip(photos, 0, 255)


def test_an_object_that_keeps_its_place_is_no_shortcut_though_it_is_needed() -> None:
    found = find(sample(content(0), images(1, False)), looks_at_the_mark)
    strongest = max(found, key=lambda finding: finding.before.value - finding.erased.value)
    assert strongest.before.value - strongest.erased.value > 0.3
    assert not strongest.is_shortcut
    assert "keeps its place" in strongest.reason


def test_the_same_outside_the_given_boxes_is_a_shortcut() -> None:
    inside = np.zeros((COUNT, *SIZE), bool)
    inside[:, :12, :18] = True
    found = find(sample(content(0), images(1, False), inside), looks_at_the_mark)
    assert found[0].is_shortcut
    assert "outside the given boxes" in found[0].reason


@pytest.mark.parametrize(("own", "other"), [(4, COUNT), (COUNT, 4)])
def test_few_images_give_no_finding(own: int, other: int) -> None:
    assert find(sample(images(0, True)[:own], images(1, False)[:other]), looks_at_the_mark) == []


@pytest.mark.parametrize(
    ("drop", "gain", "is_doubt"),
    [
        (Interval(0.1, -0.05, 0.31), Interval(0.0, 0.0, 0.0), True),
        (Interval(0.0, 0.0, 0.0), Interval(0.3, 0.0, 0.6), True),  # large, but not surely above 0.05
        (Interval(0.02, -0.05, 0.1), Interval(0.0, 0.0, 0.1), False),
        (Interval(0.5, 0.4, 0.6), Interval(0.0, 0.0, 0.0), False),  # surely an effect
    ],
)
def test_wide_interval_is_not_called_no_effect(drop: Interval, gain: Interval, is_doubt: bool) -> None:
    """A shortcut begins at 0.2 with an interval above 0.05: a doubt is an interval that reaches 0.2 without it."""
    same = Interval(0.9, 0.8, 1.0)
    evidence = Evidence("blur", same, same, same, same, same, drop, gain, [])
    assert evidence.doubt.startswith("Too few images to tell") is is_doubt


# Labels and values.

HIGH, LOW = (AnswerReading(0, "regression", sign=sign, gap=100.0, unit="years") for sign in (1, -1))


def brightness_of_the_mark(photos: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """A value, (n, 1): 10, plus 100 where the region is at 240, in proportion from 80 on."""
    return 10 + 100 * (photos[:, REGION].mean(axis=(1, 2))[:, None] - 80) / 160


def test_mark_that_raises_a_value_is_measured_in_its_unit() -> None:
    """With the mark the value is 110. The others have noise around 80 there: about 10, with the mark pasted 110."""
    evidence = gather_evidence(PLACE, HIGH, images(0, True), images(1, False), brightness_of_the_mark)
    assert evidence.before.value == pytest.approx(110)
    assert evidence.control.value == pytest.approx(110, abs=1e-3)
    assert evidence.pasted.value == pytest.approx(110)
    assert evidence.others is not None
    assert evidence.others.value == pytest.approx(10, abs=3)
    assert evidence.pasted_control.value == pytest.approx(evidence.others.value, abs=1e-3)
    assert evidence.gain.value == pytest.approx(110 - evidence.others.value, abs=1e-3)
    assert evidence.strength == pytest.approx(evidence.gain.value / 100)
    assert evidence.is_needed
    assert evidence.is_enough


def test_same_mark_does_not_speak_for_low_values() -> None:
    """Pasted into others it raises the value, which is the opposite of what low values need."""
    evidence = gather_evidence(PLACE, LOW, images(0, True), images(1, False), brightness_of_the_mark)
    assert evidence.gain.value < -90
    assert not evidence.is_needed
    assert not evidence.is_enough


def test_mark_that_lowers_a_value_speaks_for_low_values() -> None:
    def darkness(photos: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        return -brightness_of_the_mark(photos)

    evidence = gather_evidence(PLACE, LOW, images(0, True), images(1, False), darkness)
    assert evidence.drop.value > 50
    assert evidence.gain.value > 90
    assert evidence.is_needed
    # The fill that leaves most of a low value is the one of the lowest value.
    from tf_gradcam.audit.shortcuts.evidence import FILLS, erase

    left = [darkness(erase(images(0, True), REGION, fill)).mean() for fill in FILLS]
    assert evidence.erased.value == pytest.approx(min(left))


def test_change_of_a_value_counts_from_a_fifth_of_the_gap_on() -> None:
    """100 years lie between high and low: 19 are no effect, 21 are one, if the interval is above 5."""
    same, none = Interval(0, 0, 0), Interval(0, 0, 0)
    for change, is_effect in ((Interval(19, 18, 20), False), (Interval(21, 6, 36), True), (Interval(21, 4, 38), False)):
        evidence = Evidence("blur", same, same, same, same, same, change, none, [], HIGH)
        assert evidence.is_needed is is_effect
        if not is_effect and change.high >= 20:
            assert evidence.doubt == (
                f"Too few images to tell: its effect may be as large as {change.high:.0f} years, by the 95% interval, "
                "and a shortcut begins at 20 years. Add images with such values."
            )


def test_label_turns_by_its_threshold() -> None:
    """Without argmax: others are turned once their probability is above 0.9, which pasting brings about."""
    label = AnswerReading(1, "multilabel", 0.9)
    evidence = gather_evidence(PLACE, label, images(0, True), images(1, False), looks_at_the_mark)
    assert evidence.pasted.value == 1
    high = AnswerReading(1, "multilabel", 0.9999)
    assert gather_evidence(PLACE, high, images(0, True), images(1, False), looks_at_the_mark).pasted.value == 0


def found_by(reading: AnswerReading, predict: PredictRows) -> Finding:
    one = replace(sample(images(0, True), images(1, False)), reading=reading, label="high age")
    return find(one, predict)[0]


def test_finding_of_a_value_names_unit_and_both_sides() -> None:
    finding = found_by(HIGH, brightness_of_the_mark)
    assert finding.is_shortcut
    assert f"takes the value from 110 to {finding.erased.value:.0f} years (an equally large random" in finding.sentence
    assert (
        f"pasting it into images of low values takes them from {finding.others.value:.0f} to 110 years"
        in finding.sentence
    )
    assert "not in images of low values" in finding.reason
    assert finding.effect > 0.9


def test_finding_of_a_label_names_images_without_it() -> None:
    finding = found_by(AnswerReading(1, "multilabel", 0.5), looks_at_the_mark)
    assert "takes its probability from" in finding.sentence
    assert "pasting it into images without the label turns 100% of them into `high age`" in finding.sentence
    assert finding.others is None


def content_over_the_mark(photos: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """The value is the brightness of a wide place around the mark, without the mark itself."""
    around = np.zeros(SIZE, bool)
    around[12:, 20:] = True
    around[REGION] = False
    return photos[:, around].mean(axis=(1, 2))[:, None]


def test_place_is_acquitted_whose_mark_does_nothing_alone() -> None:
    """A wide hot place has an effect by its content; that a mark without any effect lies in it proves nothing."""
    generator = np.random.default_rng(4)
    photos = images(0, True)
    around = np.zeros(SIZE, bool)
    around[12:, 20:] = True
    around[REGION] = False
    photos[:, around] += generator.uniform(60, 120, (COUNT, int(around.sum()), 1)).astype(np.float32)
    heatmaps = np.zeros((COUNT, 6, 9), np.float32)
    heatmaps[:, 3:, 5:] = 1
    reading = AnswerReading(0, "regression", gap=90.0, unit="years")
    one = replace(sample(photos, images(1, False)), reading=reading, heatmaps=heatmaps)
    found = find(one, content_over_the_mark)
    assert found
    assert not any(finding.is_shortcut for finding in found)
