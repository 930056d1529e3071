"""Interventions on images, and the evidence that follows from them.

Axis legend: n images that get an answer (a class, a label, a high value), m others, H0 x W0 pixels, K outputs. Photos
are (n, H0, W0, 3) float32 in 0..255; `predict` gives their probabilities or values, (n, K).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tf_gradcam.audit.answers import AnswerReading
from tf_gradcam.audit.shortcuts.suspects import Suspect, retoned
from tf_gradcam.image.opencv import opencv
from tf_gradcam.metrics.faithfulness import Predict
from tf_gradcam.metrics.intervals import Interval, bootstrap_interval

_PLACE_TRIES = 200  # random places tried for a control region; the one with least overlap is taken
_MAX_MOVABLE = 0.5  # of the image: a region with a larger box (a frame) has no other place to go
_CONTROL_DRAWS = 3  # random regions that a suspected one is compared with, averaged
# Of the change of probability, or of the share of images that turn, beyond the comparison; of a value, relative to the
# difference between high and low values.
_MIN_EFFECT = 0.2
_MIN_LOWER_END = 0.05  # what the lower end of the effect's interval must exceed


def erase(photos: np.ndarray, region: np.ndarray, fill: str) -> np.ndarray:
    """Erase a region from the images.

    Args:
        photos: (N, H0, W0, 3) float32, 0..255.
        region: (H0, W0) bool, or (N, H0, W0).
        fill: a key of `FILLS`: "blur" (a Gaussian as wide as the region), "mean" (mean colour of the rest of the image)
            or "inpaint" (from the border inwards, Telea 2004).

    Returns:
        (N, H0, W0, 3) float32; unchanged outside the region.

    Raises:
        KeyError: the fill is unknown.
    """
    regions = np.broadcast_to(region, photos.shape[:-1])
    paint = FILLS[fill]
    return np.stack([_erased(photo, one, paint) for photo, one in zip(photos, regions, strict=True)])


def _erased(photo: np.ndarray, region: np.ndarray, paint: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    if not region.any():
        return photo
    return np.where(region[..., None], paint(photo, region), photo).astype(np.float32)


def _blurred(photo: np.ndarray, region: np.ndarray) -> np.ndarray:
    sigma = max(2.0, 0.5 * float(np.sqrt(region.sum())))
    return opencv().GaussianBlur(photo, (0, 0), sigma)


def _mean(photo: np.ndarray, region: np.ndarray) -> np.ndarray:
    return photo[~region].mean(axis=0) if not region.all() else photo.mean(axis=(0, 1))


def _inpainted(photo: np.ndarray, region: np.ndarray) -> np.ndarray:
    cv2 = opencv()
    # JPEG and resizing spread the erased pixels over the border by a pixel or two, which would be painted in again.
    wide = cv2.dilate(region.astype(np.uint8), np.ones((3, 3), np.uint8))
    whole = np.clip(np.round(photo), 0, 255).astype(np.uint8)
    return cv2.inpaint(whole, wide, 3, cv2.INPAINT_TELEA).astype(np.float32)


FILLS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "blur": _blurred,
    "mean": _mean,
    "inpaint": _inpainted,
}


def paste(photos: np.ndarray, donors: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Paste the donors' pixels in the region into the images.

    Args:
        photos, donors: (N, H0, W0, 3) float32, one donor per image.
        region: (H0, W0) bool, or (N, H0, W0).
    """
    return np.where(np.broadcast_to(region, photos.shape[:-1])[..., None], donors, photos).astype(np.float32)


def elsewhere(region: np.ndarray, generator: np.random.Generator, avoid: np.ndarray | None = None) -> np.ndarray:
    """Return an equally large region at another random place, as the control of a suspected region.

    The region keeps its shape if there is room; a frame around the image, which has no other place, becomes a square of
    the same area.

    Args:
        region: (H0, W0) bool.
        generator: of the random place.
        avoid: (H0, W0) bool, pixels that it should not overlap. Defaults to the region itself.

    Returns:
        (H0, W0) bool, of as many pixels up to rounding.
    """
    avoid = region if avoid is None else avoid
    shape = _box_of(region)
    if shape.size > _MAX_MOVABLE * region.size:
        height = min(region.shape[0], max(1, round(float(np.sqrt(region.sum())))))
        shape = np.ones((height, min(region.shape[1], max(1, round(region.sum() / height)))), bool)
    room = [whole - part + 1 for whole, part in zip(region.shape, shape.shape, strict=True)]
    best, least = np.zeros_like(region), np.inf
    for _ in range(_PLACE_TRIES):
        top, left = (int(generator.integers(free)) for free in room)
        candidate = np.zeros_like(region)
        candidate[top : top + shape.shape[0], left : left + shape.shape[1]] = shape
        overlap = (candidate & avoid).sum()
        if overlap < least:
            best, least = candidate, overlap
        if not overlap:
            break
    return best


def _box_of(region: np.ndarray) -> np.ndarray:
    """Cut the region to the smallest box around it."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return region[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def place_in_words(region: np.ndarray) -> str:
    """Describe the place of a region: "the lower right corner", "the centre", "the upper edge"."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    height, width = region.shape
    # The middle of the box and its extent along each axis, relative to the image.
    (down, tall), (right, wide) = (
        ((part[0] + part[-1] + 1) / 2 / whole, (part[-1] + 1 - part[0]) / whole)
        for part, whole in ((rows, height), (columns, width))
    )
    if tall > 0.8 and wide > 0.8:
        return "the frame of the image" if region.mean() < 0.5 else "the whole image"
    vertical = "" if tall > 0.8 else "upper" if down < 1 / 3 else "lower" if down > 2 / 3 else "middle"
    horizontal = "" if wide > 0.8 else "left" if right < 1 / 3 else "right" if right > 2 / 3 else "middle"
    if not vertical or not horizontal:
        side = vertical or horizontal
        return f"the {side} edge" if side != "middle" else "a band through the middle"
    if vertical == horizontal == "middle":
        return "the centre"
    if "middle" in (vertical, horizontal):
        return f"the {(horizontal if vertical == 'middle' else vertical)} middle"
    return f"the {vertical} {horizontal} corner"


@dataclass(frozen=True)
class Evidence:
    """The numbers of one intervention; `before` to `pasted_control` as in `Finding`.

    Attributes:
        fill: the fill of the erased region.
        drop: probability lost by erasing, minus the probability lost by erasing elsewhere, paired by image; of low
            values, what they rise.
        gain: share of other images turned by pasting, minus the share turned from elsewhere, paired by image; of
            values, by how much they change.
        examples: photos unchanged, erased, erased elsewhere, and others with the region pasted in; each (e, H0, W0, 3).
        reading: how the answer was read.
        others: of values, those of the other images as they are; else None.
    """

    fill: str
    before: Interval
    erased: Interval
    control: Interval
    pasted: Interval
    pasted_control: Interval
    drop: Interval
    gain: Interval
    examples: list[np.ndarray]
    reading: AnswerReading = field(default_factory=lambda: AnswerReading(0))
    others: Interval | None = None

    @property
    def is_needed(self) -> bool:
        """True if erasing it takes the answer away, and erasing elsewhere does not."""
        return self._is_effect(self.drop)

    @property
    def is_enough(self) -> bool:
        """True if pasting it turns other images into the answer, and pasting from elsewhere does not."""
        return self._is_effect(self.gain)

    def _is_effect(self, change: Interval) -> bool:
        gap = self.reading.gap
        return change.value >= _MIN_EFFECT * gap and change.low > _MIN_LOWER_END * gap

    @property
    def doubt(self) -> str:
        """A sentence if the intervals are too wide to exclude an effect, else ""."""
        high, least = max(self.drop.high, self.gain.high), _MIN_EFFECT * self.reading.gap
        if self.is_needed or self.is_enough or not high >= least:
            return ""
        whose = "with such values" if self.reading.is_value else "of the class"
        begin = self.reading.in_words(least) if self.reading.is_value else f"{least}"
        return (
            f"Too few images to tell: its effect may be as large as {self.reading.in_words(high)}, by the 95% "
            f"interval, and a shortcut begins at {begin}. Add images {whose}."
        )

    @property
    def strength(self) -> float:
        """The larger effect, relative to the difference between the answer and its opposite."""
        return max(self.drop.value, self.gain.value) / self.reading.gap


@dataclass(frozen=True)
class Versions:
    """Images after an intervention, each (n, H0, W0, 3), made when they are asked for.

    Attributes:
        fills: names of the ways to erase.
        erased: fill -> the images of the answer without the suspect.
        controls: fill -> several draws, in which something else was erased.
        pasted: the others with the suspect.
        pasted_controls: several draws, in which something else was pasted.
    """

    fills: tuple[str, ...]
    erased: Callable[[str], np.ndarray]
    controls: Callable[[str], list[np.ndarray]]
    pasted: Callable[[], np.ndarray]
    pasted_controls: Callable[[], list[np.ndarray]]


def gather_evidence(
    suspect: Suspect,
    reading: AnswerReading,
    photos: np.ndarray,
    others: np.ndarray,
    predict: Predict,
    seed: int = 0,
    predict_others: Predict | None = None,
) -> Evidence:
    """Test a suspect by erasing it from images that get an answer, and by pasting it into others.

    Args:
        suspect: the suspected shortcut.
        reading: how the answer is read from predictions.
        photos: (n, H0, W0, 3), the images of `suspect.members`, in that order.
        others: (m, H0, W0, 3), images that do not get the answer.
        predict: changed `photos` -> probabilities or values (n, K).
        seed: of random places and donors.
        predict_others: changed `others` -> probabilities or values (m, K); None for `predict`, which is the same
            function for a model of pictures alone.

    Returns:
        `Evidence`; erasing counts with the fill that leaves most of the answer.
    """
    generator = np.random.default_rng(seed)
    versions = intervene(suspect, photos, others, generator)

    of_others = predict_others or predict

    def measured(images: np.ndarray) -> np.ndarray:
        return reading.measured(predict(images))

    def turned(images: np.ndarray) -> np.ndarray:
        return reading.turned(of_others(images))

    before = measured(photos)
    left = {fill: measured(versions.erased(fill)) for fill in versions.fills}
    fill = max(left, key=lambda name: reading.sign * float(left[name].mean()))
    controls = versions.controls(fill)
    control = np.mean([measured(images) for images in controls], axis=0)
    with_it = versions.pasted()
    pasted = turned(with_it)
    pasted_control = np.mean([turned(images) for images in versions.pasted_controls()], axis=0)
    # The examples show images that turned, if there are any.
    shown = np.argsort(-reading.sign * pasted, kind="stable")
    count = min(4, len(photos), len(others))
    examples = photos, versions.erased(fill), controls[0], with_it[shown]
    return Evidence(
        fill,
        before=bootstrap_interval(before, seed=seed),
        erased=bootstrap_interval(left[fill], seed=seed),
        control=bootstrap_interval(control, seed=seed),
        pasted=bootstrap_interval(pasted, seed=seed),
        pasted_control=bootstrap_interval(pasted_control, seed=seed),
        drop=bootstrap_interval(reading.sign * (control - left[fill]), seed=seed),
        gain=bootstrap_interval(reading.sign * (pasted - pasted_control), seed=seed),
        examples=[part[:count] for part in examples],
        reading=reading,
        others=bootstrap_interval(reading.measured(of_others(others)), seed=seed) if reading.is_value else None,
    )


def intervene(suspect: Suspect, photos: np.ndarray, others: np.ndarray, generator: np.random.Generator) -> Versions:
    """Erase a suspect from images, and paste it into others; arguments as `gather_evidence`."""
    return _INTERVENE[suspect.kind](suspect, photos, others, generator)


def _place(suspect: Suspect, photos: np.ndarray, others: np.ndarray, generator: np.random.Generator) -> Versions:
    assert suspect.region is not None
    region = suspect.region
    away = [elsewhere(region, generator) for _ in range(_CONTROL_DRAWS)]
    donors = photos[generator.integers(len(photos), size=len(others))]
    return Versions(
        tuple(FILLS),
        lambda fill: erase(photos, region, fill),
        lambda fill: [erase(photos, other, fill) for other in away],
        lambda: paste(others, donors, region),
        lambda: [paste(others, donors, other) for other in away],
    )


def _mark(suspect: Suspect, photos: np.ndarray, others: np.ndarray, generator: np.random.Generator) -> Versions:
    assert suspect.places is not None
    assert suspect.patch_region is not None
    assert suspect.patch is not None
    size = (photos.shape[1], photos.shape[2])
    regions = np.stack([region_at(suspect.patch_region, place, size) for place in suspect.places[: len(photos)]])
    away = [np.stack([elsewhere(region, generator) for region in regions]) for _ in range(_CONTROL_DRAWS)]
    room = [max(1, whole - part + 1) for whole, part in zip(size, suspect.patch_region.shape, strict=True)]
    targets = np.stack([generator.integers(free, size=len(others)) for free in room], axis=-1)
    patch, patch_region = suspect.patch, suspect.patch_region
    pasted_at = np.stack([region_at(patch_region, place, size) for place in targets])
    return Versions(
        tuple(FILLS),
        lambda fill: erase(photos, regions, fill),
        lambda fill: [erase(photos, other, fill) for other in away],
        lambda: np.stack([stamp(photo, patch, patch_region, at) for photo, at in zip(others, targets, strict=True)]),
        lambda: [
            paste(others, _donors_without(photos, regions, pasted_at, generator), pasted_at)
            for _ in range(_CONTROL_DRAWS)
        ],
    )


def _donors_without(
    photos: np.ndarray, regions: np.ndarray, pasted_at: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Choose for each place an image of the class whose own mark overlaps it least."""
    chosen = []
    for place in pasted_at:
        overlap = (regions & place).sum(axis=(1, 2))
        chosen.append(generator.choice(np.flatnonzero(overlap == overlap.min())))
    return photos[chosen]


def _tint(suspect: Suspect, photos: np.ndarray, others: np.ndarray, generator: np.random.Generator) -> Versions:
    assert suspect.tone is not None
    tone, other_tone = suspect.tone
    # An equally strong change of another hue: red and blue exchanged, one of them with the opposite sign.
    turned = np.stack([-(tone - other_tone)[1], (tone - other_tone)[0]])
    return Versions(
        ("the colour of the others",),
        lambda fill: retoned(photos, tone, other_tone),
        lambda fill: [retoned(photos, other_tone, other_tone + sign * turned) for sign in (1, -1)],
        lambda: retoned(others, other_tone, tone),
        lambda: [retoned(others, other_tone, other_tone + sign * turned) for sign in (1, -1)],
    )


_INTERVENE: dict[str, Callable[[Suspect, np.ndarray, np.ndarray, np.random.Generator], Versions]] = {
    "place": _place,
    "mark": _mark,
    "tint": _tint,
}


def region_at(patch_region: np.ndarray, place: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return (H0, W0) bool, the patch's region with its top left corner at `place`, cut at the image's edges."""
    region = np.zeros(size, bool)
    _into(region, patch_region, place)
    return region


def stamp(photo: np.ndarray, patch: np.ndarray, patch_region: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Paste the patch's region into the photo at `place`."""
    layer = photo.copy()
    _into(layer, patch, place)
    return np.where(region_at(patch_region, place, (photo.shape[0], photo.shape[1]))[..., None], layer, photo)


def _into(target: np.ndarray, part: np.ndarray, place: np.ndarray) -> None:
    height, width = part.shape[:2]
    top, left = int(place[0]), int(place[1])
    above, before = max(0, -top), max(0, -left)
    bottom, right = min(height, target.shape[0] - top), min(width, target.shape[1] - left)
    target[top + above : top + bottom, left + before : left + right] = part[above:bottom, before:right]
