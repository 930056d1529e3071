"""The words of a verdict on its numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tf_gradcam._results.verdict import Verdict
from tf_gradcam.metrics import Interval

GOOD = Verdict(
    label="beagle",
    before=0.94,
    erased=0.2,
    random=Interval(0.9, 0.88, 0.93),
    rivals=0.0,
    centre=0.5,
    nothing=0.04,
    area=0.25,
    stability=0.9,
    agreement=0.8,
    other_method="ablationcam",
)


def but(**numbers: Any) -> Verdict:
    return dataclasses.replace(GOOD, **numbers)


def test_fall_is_relative_to_what_the_whole_picture_takes_away() -> None:
    assert GOOD.fall == pytest.approx(0.7 / 0.9)


def test_words_of_a_map_that_holds() -> None:
    assert GOOD.holds is True
    assert GOOD.words == (
        "The map holds: erasing the hottest 25 % of the picture takes the probability from 0.94 to 0.20; equally large "
        "random regions take it to 0.90 (0.88 to 0.93); the centre of the picture takes away less (0.50). Similarity "
        "with noisy and mirrored copies is 0.90 or more, with ablationcam 0.80."
    )


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({"rivals": 3 / 24}, "12 % of equally large random regions take away as much"),
        ({"random": Interval(0.3, 0.25, 0.35)}, "the hot one takes away 11 % of what the picture gives"),
        ({"stability": 0.3}, "it changes with small noise or in the mirrored picture"),
        ({"stability": float("nan")}, "it changes with small noise"),
        ({"agreement": -0.2}, "ablationcam shows another map"),
    ],
)
def test_each_kind_of_evidence_can_refuse_a_map(numbers: dict[str, Any], reason: str) -> None:
    verdict = but(**numbers)
    assert verdict.holds is False
    assert verdict.words.startswith("Do not rely on this map: ")
    assert reason in verdict.words


def test_two_of_24_regions_may_take_away_as_much() -> None:
    assert but(rivals=2 / 24).holds is True


def test_centre_is_reported_and_does_not_refuse() -> None:
    assert GOOD.beyond_centre == pytest.approx(0.3 / 0.9)
    for centre, words in ((0.1, "takes away more (0.10)"), (0.22, "takes away about as much (0.22)")):
        verdict = but(centre=centre)
        assert f"the centre of the picture {words}." in verdict.words
        assert verdict.holds is True


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({"before": 0.19, "nothing": 0.0}, "the probability is 0.19, and below 0.2 its fall says little."),
        ({"nothing": 0.5}, "the probability is 0.94, and still 0.50 where the whole picture is erased"),
        ({"blank": "no cell speaks for it."}, "no cell speaks for it."),
        ({"is_probability": False, "unit": "years", "nothing": 3.0}, "the value is 0.94 years, and still 3 years"),
    ],
)
def test_what_cannot_be_judged_is_said(numbers: dict[str, Any], reason: str) -> None:
    verdict = but(**numbers)
    assert verdict.holds is None
    assert verdict.words.startswith(f"This map cannot be judged: {reason}")
