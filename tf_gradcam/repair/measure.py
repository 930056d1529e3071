"""The numbers of a repair: the audit's interventions, and the accuracy, on the held-out images.

Axis legend: n images with the suspect, m others, H0 x W0 pixels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tf_gradcam.audit.answers import AnswerReading
from tf_gradcam.audit.shortcuts.evidence import Evidence, gather_evidence, intervene
from tf_gradcam.audit.shortcuts.findings import PredictRows
from tf_gradcam.metrics.intervals import Interval, wilson_interval
from tf_gradcam.repair.samples import RepairSamples

_MAX_IMAGES = 120  # that an intervention runs on


@dataclass(frozen=True)
class RepairNumbers:
    """The answers of a model to the held-out images, in numbers.

    Attributes:
        erasing: probability of the class that is lost by erasing the shortcut, beyond what is lost by erasing a random
            region.
        pasting: share of images of other classes that turn into the class where it is pasted in, beyond the share that
            turn where something else is.
        accuracy: on the images as they are.
        accuracy_without: on the same images with the shortcut erased from those that show it.
        is_needed: whether the effect of erasing is as large as the audit asks of a shortcut.
        is_pasted: whether the effect of pasting is.
    """

    erasing: Interval
    pasting: Interval
    accuracy: Interval
    accuracy_without: Interval
    is_needed: bool
    is_pasted: bool

    @property
    def is_used(self) -> bool:
        """True if one of the two effects is as large as the audit asks of a shortcut."""
        return self.is_needed or self.is_pasted


@dataclass(frozen=True)
class HeldOut:
    """The held-out images that both models are measured on, chosen before the repair.

    Attributes:
        own: (n,) positions of images that show the suspect.
        others: (m,) positions of images of other classes, which the model did not take for the class.
        rows: positions of all held-out images.
        fill: how the suspect is erased for `accuracy_without`, the fill that left most of the class at first.
    """

    own: np.ndarray
    others: np.ndarray
    rows: np.ndarray
    fill: str


def choose_held_out(samples: RepairSamples, predict: PredictRows, seed: int) -> tuple[HeldOut, RepairNumbers]:
    """Choose the images to measure on by the model before the repair, and measure it."""
    rows = np.flatnonzero(samples.held_out)
    is_other = samples.labels[rows] != samples.class_index
    others = rows[is_other]
    predicted = predict(samples.photos[others].astype(np.float32), others).argmax(axis=1)
    generator = np.random.default_rng(seed)
    others = generator.permutation(others[predicted != samples.class_index])[:_MAX_IMAGES]
    own = generator.permutation(samples.of(rows).members)[:_MAX_IMAGES]
    chosen = HeldOut(np.sort(own), np.sort(others), rows, "")
    evidence = _evidence(samples, chosen, predict, seed)
    chosen = HeldOut(chosen.own, chosen.others, rows, evidence.fill)
    return chosen, _numbers(samples, chosen, predict, evidence)


def measure_again(samples: RepairSamples, chosen: HeldOut, predict: PredictRows, seed: int) -> RepairNumbers:
    """Measure the model after the repair, on the same images with the same interventions."""
    return _numbers(samples, chosen, predict, _evidence(samples, chosen, predict, seed))


def _evidence(samples: RepairSamples, chosen: HeldOut, predict: PredictRows, seed: int) -> Evidence:
    photos, others = (samples.photos[part].astype(np.float32) for part in (chosen.own, chosen.others))
    return gather_evidence(
        samples.of(chosen.own),
        AnswerReading(samples.class_index),
        photos,
        others,
        lambda images: predict(images, chosen.own),
        seed,
        lambda images: predict(images, chosen.others),
    )


def _numbers(samples: RepairSamples, chosen: HeldOut, predict: PredictRows, evidence: Evidence) -> RepairNumbers:
    photos = samples.photos[chosen.rows].astype(np.float32)
    truth = samples.labels[chosen.rows]
    suspect = samples.of(chosen.rows)
    shows = np.isin(chosen.rows, suspect.members)
    without = photos.copy()
    without[shows] = intervene(suspect, photos[shows], photos[~shows][:1], np.random.default_rng(0)).erased(chosen.fill)
    as_is, erased = (
        wilson_interval(int((predict(images, chosen.rows).argmax(axis=1) == truth).sum()), len(truth))
        for images in (photos, without)
    )
    return RepairNumbers(evidence.drop, evidence.gain, as_is, erased, evidence.is_needed, evidence.is_enough)
