"""What is written over pictures: what was explained, what is predicted, what is true.

Axis legend: B images, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tf_gradcam._figures.sheet import CAPTION, GREY, RED, Sheet, detail

if TYPE_CHECKING:
    from tf_gradcam._figures.sheet import Shown

Line = tuple[str, str]  # what it says, and its colour

_VERDICT = 0.12  # height of the third line


def _class_count(explanation: Shown) -> int | None:
    """None where the outputs are no classes of the whole image."""
    probabilities = explanation.probabilities
    return probabilities.shape[1] if probabilities is not None and probabilities.ndim == 2 else None


def headline(explanation: Shown) -> str:
    """What was explained of the first image, and what the model predicts where that is another class."""
    line = f"{explanation.labels[0]}, {detail(explanation, 0)}"
    if _class_count(explanation) is None:
        return line
    label, probability = explanation.top(1)[0][0]
    return line if label == explanation.labels[0] else f"{line}; predicted: {label}, {probability:.1%}"


def verdicts(explanation: Shown) -> list[Line | None]:
    """Per image what the model predicts and what is true, None where the caption's first lines say it already."""
    return [_verdict(explanation, index) for index in range(len(explanation))]


def _verdict(explanation: Shown, index: int) -> Line | None:
    explained, probabilities = int(explanation.class_indices[index]), explanation.probabilities
    best = int(probabilities[index].argmax()) if probabilities is not None and probabilities.ndim == 2 else None
    truth = None if explanation.truth is None else int(explanation.truth[index])
    if best is None:
        return None if truth is None else (f"true: {explanation.class_name(truth)}", GREY)
    if truth is None:
        is_told = explained in (best, -1)  # -1: a callable target has a name of its own, and may mean no class
        return None if is_told else (_told("predicted", best, explained, explanation, index), GREY)
    if best == truth:
        return _told("predicted and true", best, explained, explanation, index), GREY
    parts = [
        _told("predicted", best, explained, explanation, index),
        _told("true", truth, explained, explanation, index),
    ]
    return "; ".join(parts if explained == best else parts[::-1]), RED


def _told(what: str, label: int, explained: int, explanation: Shown, index: int) -> str:
    """As "true: beagle, 3.2%"; the word alone where the line above names the class."""
    assert explanation.probabilities is not None
    if label == explained:
        return what
    return f"{what}: {explanation.class_name(label)}, {explanation.probabilities[index, label]:.1%}"


def caption_height(explanation: Shown) -> float:
    """Inches: of two lines, or of three where any image has a verdict."""
    return CAPTION + (_VERDICT if any(verdicts(explanation)) else 0)


def draw_caption(sheet: Sheet, explanation: Shown, index: int, left: float, top: float, width: float) -> None:
    """What was explained; how probable it is, or why there is nothing to see; what is predicted and true."""
    draw_lines(sheet, explanation, index, left, top, width)
    verdict = _verdict(explanation, index)
    if verdict is not None:
        sheet.text(verdict[0], left, top + 0.25, width, 6.5, verdict[1])


def draw_lines(sheet: Sheet, explanation: Shown, index: int, left: float, top: float, width: float) -> None:
    """The first two lines: what was explained; how probable it is, or why there is nothing to see."""
    sheet.text(explanation.labels[index], left, top, width, 7.5)
    reason = explanation.diagnosis[index]
    is_told = reason is not None and (not explanation.shown[index].any() or not explanation.signed)
    sheet.text(detail(explanation, index), left, top + 0.13, width, 6.5, RED if is_told else GREY)
