"""Verdicts on maps of a network whose evidence is known, see `tests.helpers.spots`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.helpers.spots import BEFORE, BIAS, HEIGHT, IMAGES, SCORE, WIDTH, WITHOUT, picture, spots_model
from tf_gradcam import Explainer, Explanation, augment, targets
from tf_gradcam._explain.verdict import check_task
from tf_gradcam._results.verdict import Verdict


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(spots_model(), "spots")


def moved(explanation: Explanation, down: int, right: int) -> Explanation:
    return explanation.with_raw(
        np.roll(explanation.raw, (down, right), axis=(1, 2)),
        layer_name=explanation.layer_name,
        method=explanation.method,
        placement=explanation.placement,
        diagnosis=explanation.diagnosis,
    )


def test_true_maps_hold(explainer: Explainer) -> None:
    for verdict in explainer(IMAGES).verdict(explainer, IMAGES):
        assert verdict.holds, verdict.words
        np.testing.assert_allclose([verdict.before, verdict.erased], [BEFORE, WITHOUT], atol=1e-5)
        assert verdict.nothing == pytest.approx(WITHOUT, abs=1e-5)
        assert verdict.area == pytest.approx(30 / (HEIGHT * WIDTH))
        assert verdict.random.value > 0.95 * BEFORE
        assert verdict.words.startswith("The map holds: erasing the hottest 5 % of the picture takes the probability ")


def test_map_of_another_place_is_refused(explainer: Explainer) -> None:
    explanation = moved(explainer(IMAGES[:2]), 8, 10)
    for verdict in explanation.verdict(explainer, IMAGES[:2]):
        assert verdict.holds is False
        assert verdict.erased == pytest.approx(BEFORE, abs=1e-5)
        assert verdict.rivals == 1
        assert verdict.words.startswith("Do not rely on this map: 100 % of equally large random regions")


def test_centre_takes_away_as_much_only_where_the_spot_is(explainer: Explainer) -> None:
    corner, _, middle = explainer.judge(explainer(IMAGES), IMAGES)
    assert corner.centre == pytest.approx(BEFORE, abs=1e-5)
    assert middle.centre < 0.8 * BEFORE


def test_rule_that_does_not_know_the_class_is_not_confirmed_by_one_that_does() -> None:
    """EigenCAM shows the larger spot, the red one, also for class 1; the blue one is all that speaks for that class."""
    image = picture((2, 3), blue=(14, 22))[None]
    blind = Explainer(spots_model(), "spots", "eigencam")
    (verdict,) = blind(image, 1).verdict(blind, image)
    assert verdict.other_method == "gradcam"
    assert verdict.agreement < 0
    assert verdict.holds is False
    seeing = Explainer(spots_model(), "spots")
    (verdict,) = seeing(image, 1).verdict(seeing, image)
    assert verdict.other_method == "ablationcam"
    assert verdict.agreement > 0.99
    assert verdict.fall > 0.9
    assert verdict.holds is True


def test_batch_is_its_single_images_and_a_seed_its_numbers(explainer: Explainer) -> None:
    explanation = explainer(IMAGES)
    together = explanation.verdict(explainer, IMAGES, seed=3)
    assert together == explanation.verdict(explainer, IMAGES, seed=3)
    alone = [explainer(image[None]).verdict(explainer, image[None], seed=3)[0] for image in IMAGES]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(numbers_of(one), numbers_of(other), atol=1e-6)
    assert numbers_of(explanation.verdict(explainer, IMAGES, seed=4)[0]) != numbers_of(together[0])


def numbers_of(verdict: Verdict) -> list[float]:
    values = [*vars(verdict).values(), verdict.random.low, verdict.random.high]
    return [value for value in values if isinstance(value, float)]


def test_progress_ends_with_the_last_run(explainer: Explainer) -> None:
    told: list[tuple[int, int]] = []
    explainer.judge(explainer(IMAGES[:2]), IMAGES[:2], progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_model_is_handed_back_unchanged() -> None:
    model = spots_model()
    before, config = [np.array(weight) for weight in model.get_weights()], model.get_config()
    explainer = Explainer(model, "spots")
    explainer(IMAGES[:1]).verdict(explainer, IMAGES[:1])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.get_config() == config


def test_value_falls_by_what_its_spot_gives() -> None:
    explainer = Explainer(spots_model("linear"), "spots", task="regression", unit="spots")
    (verdict,) = explainer(IMAGES[:1]).verdict(explainer, IMAGES[:1])
    assert verdict.holds, verdict.words
    np.testing.assert_allclose([verdict.before, verdict.erased], [SCORE, BIAS], rtol=1e-5)
    assert "takes the value from 5.375 spots to -4 spots" in verdict.words


def test_labels_are_judged_each_by_its_own_probability() -> None:
    explainer = Explainer(spots_model("sigmoid"), "spots", task="multilabel")
    (verdict,) = explainer(IMAGES[:1], 0).verdict(explainer, IMAGES[:1])
    assert verdict.holds
    np.testing.assert_allclose([verdict.before, verdict.erased], 1 / (1 + np.exp([-SCORE, -BIAS])), atol=1e-5)


def test_callable_target_is_judged_by_its_score(explainer: Explainer) -> None:
    target = targets.Contrast(0, 1)
    explanation = explainer(IMAGES[:1], target)
    (verdict,) = explanation.verdict(explainer, IMAGES[:1], target)
    np.testing.assert_allclose([verdict.before, verdict.erased], [SCORE - BIAS, 0], atol=1e-4)
    with pytest.raises(ValueError, match="Pass target="):
        explanation.verdict(explainer, IMAGES[:1])


def test_other_inputs_stay_as_they_are() -> None:
    explainer = Explainer(spots_model("linear", has_age=True), "spots", task="regression")
    for pack in (list, tuple):
        images: Any = pack([IMAGES[:2], np.array([[20.0], [30.0]], np.float32)])
        assert [verdict.holds for verdict in explainer(images).verdict(explainer, images)] == [True, True]


def test_averaged_map_and_probed_map_are_judged_too(explainer: Explainer) -> None:
    (averaged,) = augment(explainer)(IMAGES[:1]).verdict(explainer, IMAGES[:1])
    assert averaged.holds
    probing = Explainer(spots_model(), "spots", "ablationcam")
    (probed,) = probing(IMAGES[:1]).verdict(probing, IMAGES[:1])
    assert (probed.holds, probed.other_method) == (True, "gradcam")


def test_blank_map_and_improbable_class_cannot_be_judged(explainer: Explainer) -> None:
    dark = np.zeros_like(IMAGES[:1])
    (blank,) = explainer(dark).verdict(explainer, dark)
    assert blank.holds is None
    assert blank.words.startswith("This map cannot be judged: ")
    both = picture((2, 3), blue=(14, 22))[None]
    both[..., 2] = np.where(both[..., 2] > 0, 0.6 * 255, 0)
    (weak,) = explainer(both, 1).verdict(explainer, both)
    assert weak.holds is None
    assert "below 0.2 its fall says little" in weak.words


def test_verdict_refuses(explainer: Explainer) -> None:
    explanation = explainer(IMAGES)
    with pytest.raises(ValueError, match="the 3 images that were explained, received 2"):
        explanation.verdict(explainer, IMAGES[:2])
    with pytest.raises(ValueError, match="Expected the images that were explained, received others"):
        explanation.verdict(explainer, np.zeros_like(IMAGES))
    with pytest.raises(TypeError, match="Expected the Explainer of these maps"):
        explanation.verdict(augment(explainer), IMAGES)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Expected an explanation to judge, received ndarray"):
        explainer.judge(explanation.heatmaps, IMAGES)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="received maps of 'spots'"):
        explanation.verdict(Explainer(spots_model(), ["spots", "spots"]), IMAGES)
    for task in ("segmentation", "detection"):
        with pytest.raises(ValueError, match=f"classification, multilabel or regression .* one of {task}"):
            check_task(task)
