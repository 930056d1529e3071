"""Captions of pictures: the explained, the predicted and the true class.

Axis legend: B images, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tf_gradcam._figures.sheet import CAPTION, GREY, RED, Sheet, detail, reason_of, value_of

if TYPE_CHECKING:
    from tf_gradcam._figures.sheet import Shown

Line = tuple[str, str]  # text, colour

_VERDICT = 0.12  # height of the third line


def _class_count(explanation: Shown) -> int | None:
    """Return None where the outputs are not classes of the whole image."""
    probabilities = explanation.probabilities
    return probabilities.shape[1] if probabilities is not None and probabilities.ndim == 2 else None


def title_of(explanation: Shown) -> str:
    """Return the method and the layer, the frame of a layer of one frame, and that cells are not over the input."""
    return f"{explanation.method} at {explanation.layer_name}{place_of(explanation)}"


def place_of(explanation: Shown) -> str:
    """Return what a title adds to the layer's name."""
    frame = getattr(explanation.placement, "frame", None)
    return ", cells not over the input" if explanation.unplaced else "" if frame is None else f", frame {frame}"


def headline(explanation: Shown) -> str:
    """Return what was explained of the first image, and the predicted class where it is another one."""
    line = f"{explanation.labels[0]}, {detail(explanation, 0)}"
    if _class_count(explanation) is None:
        return line
    label, probability = explanation.top(1)[0][0]
    return line if label == explanation.labels[0] else f"{line}; predicted: {label}, {probability:.1%}"


def _verdict(explanation: Shown, index: int) -> Line | None:
    """Return the true and the predicted class, None where the caption's first lines name it already."""
    explained, probabilities = int(explanation.class_indices[index]), explanation.probabilities
    truth = None if explanation.truth is None else int(explanation.truth[index])
    if probabilities is None or probabilities.ndim != 2:
        return None if truth is None else (f"True: {explanation.class_name(truth)}", GREY)

    def named(label: int) -> str:
        return f"{explanation.class_name(label)}, {probabilities[index, label]:.1%}"

    best = int(probabilities[index].argmax())
    if truth is None:  # -1: a callable target has a name of its own, and may not mean a class
        return None if explained in (best, -1) else (f"Predicted: {named(best)}", GREY)
    if best == truth:
        return "True and predicted" + ("" if best == explained else f": {named(best)}"), GREY
    return f"True: {named(truth)}. Predicted: {named(best)}", RED


def caption_height(explanation: Shown) -> float:
    """Return the inches of two lines, or of three where any image has a verdict."""
    return CAPTION + (_VERDICT if any(_verdict(explanation, index) for index in range(len(explanation))) else 0)


def draw_caption(sheet: Sheet, explanation: Shown, index: int, left: float, top: float, width: float) -> None:
    """Write what was explained; its probability, or why the map shows nothing; what is true and predicted."""
    is_blank_picture = explanation.heatmaps.ndim == 3 and not explanation.shown[index].any()  # its panel says why
    second = f"{value_of(explanation, index)}, blank map" if is_blank_picture else detail(explanation, index)
    draw_lines(sheet, explanation, index, left, top, width, second)
    verdict = _verdict(explanation, index)
    if verdict is not None:
        sheet.text(verdict[0], left, top + 0.25, width, 6.5, verdict[1])


def draw_lines(
    sheet: Sheet, explanation: Shown, index: int, left: float, top: float, width: float, second: str
) -> None:
    """Write the first line, what was explained, and a second one, in red where the map shows nothing."""
    sheet.text(explanation.labels[index], left, top, width, 7.5)
    color = GREY if reason_of(explanation, index) is None else RED
    sheet.text(second, left, top + 0.13, width, 6.5, color)
