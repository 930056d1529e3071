"""The verdict on one map: what four kinds of evidence say, in words and numbers."""

from __future__ import annotations

from dataclasses import dataclass

from tf_gradcam.metrics.intervals import Interval

# Chosen on one half of the photographs of `python -m benchmarks.verdicts`; docs/verdict.md has the figures of the other
# half.
_LEAST_PROBABILITY = 0.2  # below it a fall says little
_LEAST_FALL = 0.2  # of what the picture gives the class, beyond the fall by random regions
_MOST_RIVALS = 0.1  # of the random regions may take away as much as the hot one
_LEAST_STABILITY = 0.5  # correlation with the maps of copies
_LEAST_AGREEMENT = 0.5  # correlation with the map of the other rule
_SAME = 0.05  # a smaller difference between the hot region and the centre counts as none


@dataclass(frozen=True)
class Verdict:
    """The verdict on one map. A probability or value "left" is what the model says of the picture with a part erased.

    Attributes:
        label: what the map explains.
        before: probability of the explained class; of other targets the value or score.
        erased: what is left without the hot region.
        random: the mean of what is left without equally large regions elsewhere, with its 95 % bootstrap interval.
        rivals: the share of those regions that take away as much as the hot one.
        centre: what is left without an equally large disc in the centre of the picture.
        nothing: what is left where the whole picture is erased.
        area: share of the picture in the hot region.
        stability: the lowest correlation of the map with the maps of noisy copies and of the mirrored picture.
        agreement: correlation with the map of `other_method` at the same layer.
        other_method: a rule of another family.
        is_probability: whether `before` to `nothing` are probabilities.
        unit: of values, "" for numbers without one.
        blank: why the map shows nothing, or None; then all numbers but `before` are NaN.
    """

    label: str
    before: float
    erased: float
    random: Interval
    rivals: float
    centre: float
    nothing: float
    area: float
    stability: float
    agreement: float
    other_method: str
    is_probability: bool = True
    unit: str = ""
    blank: str | None = None

    @property
    def fall(self) -> float:
        """The loss by the hot region beyond random regions, relative to the loss by the whole picture."""
        return self._share(self.random.value - self.erased)

    @property
    def beyond_centre(self) -> float:
        """The loss beyond that by the centre of the picture, likewise; `holds` does not depend on it."""
        return self._share(self.centre - self.erased)

    def _share(self, left: float) -> float:
        whole = self.before - self.nothing
        return left / whole if whole > 0 else float("nan")

    @property
    def passes(self) -> dict[str, bool]:
        """Each kind of evidence by itself: name -> whether it is for the map. The first two say whether to judge it."""
        limit = self.before / 2 if self.is_probability else self.before
        return {
            "probability": not self.is_probability or self.before >= _LEAST_PROBABILITY,
            "whole picture": self.nothing < limit,
            "rivals": self.rivals <= _MOST_RIVALS,
            "fall": self.fall >= _LEAST_FALL,
            "stability": self.stability >= _LEAST_STABILITY,
            "agreement": self.agreement >= _LEAST_AGREEMENT,
        }

    @property
    def holds(self) -> bool | None:
        """True where all evidence is for the map, False where some is against it, None where it cannot be judged."""
        return None if self._obstacle else all(self.passes.values())

    @property
    def _obstacle(self) -> str:
        """The reason why the map cannot be judged, or ""."""
        if self.blank is not None:
            return self.blank
        if not self.passes["probability"]:
            least = f"{_LEAST_PROBABILITY:g}"
            return f"the probability is {self._number(self.before)}, and below {least} its fall says little."
        if not self.passes["whole picture"]:
            return (
                f"the {self._noun} is {self._number(self.before)}, and still {self._number(self.nothing)} where the "
                "whole picture is erased by blurring it."
            )
        return ""

    @property
    def _doubts(self) -> list[str]:
        reasons = {
            "rivals": f"{_percent(self.rivals)} of equally large random regions take away as much",
            "fall": f"beyond random regions, the hot one takes away {_percent(self.fall)} of what the picture gives",
            "stability": "it changes with small noise or in the mirrored picture",
            "agreement": f"{self.other_method} shows another map",
        }
        return [reason for name, reason in reasons.items() if not self.passes[name]]

    @property
    def words(self) -> str:
        """One paragraph: the verdict, the reasons against it, and the numbers."""
        if self._obstacle:
            return f"This map cannot be judged: {self._obstacle}"
        low, high = self._number(self.random.low), self._number(self.random.high)
        beyond = self.beyond_centre
        side = "less" if beyond > _SAME else "more" if beyond < -_SAME else "about as much"
        numbers = (
            f"rasing the hottest {_percent(self.area)} of the picture takes the {self._noun} from "
            f"{self._number(self.before)} to {self._number(self.erased)}; equally large random regions take it to "
            f"{self._number(self.random.value)} ({low} to {high}); the centre of the picture takes away {side} "
            f"({self._number(self.centre)}). Similarity with noisy and mirrored copies is {self.stability:.2f} or "
            f"more, with {self.other_method} {self.agreement:.2f}."
        )
        if doubts := self._doubts:
            return f"Do not rely on this map: {', and '.join(doubts)}. E{numbers}"
        return f"The map holds: e{numbers}"

    @property
    def _noun(self) -> str:
        return "probability" if self.is_probability else "value"

    def _number(self, value: float) -> str:
        return f"{value:.2f}" if self.is_probability else f"{value:.4g} {self.unit}".rstrip()


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
