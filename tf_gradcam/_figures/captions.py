"""Titles and captions of pictures: the explained, the predicted and the true class, the method and the layer.

Axis legend: B images, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tf_gradcam._figures.sheet import GREY, RED, Line, reason_of, value_of

if TYPE_CHECKING:
    from tf_gradcam._figures.sheet import Shown


def source_of(explanation: Shown) -> str:
    """Return the method and the layer, the frame of a layer of one frame, and that cells are not over the input."""
    return f"{explanation.method} at {explanation.layer_name}{place_of(explanation)}"


def place_of(explanation: Shown) -> str:
    """Return what a title adds to the layer's name."""
    frame = getattr(explanation.placement, "frame", None)
    return ", cells not over the input" if explanation.unplaced else "" if frame is None else f", frame {frame}"


def title_of(explanation: Shown, *notes: str) -> list[Line]:
    """Return what was explained, and below it the method, the layer, and notes on the picture.

    Of several images this is the class that all have in common, or their number: each caption has its own class.
    """
    count, labels = len(explanation), dict.fromkeys(explanation.labels)
    several = f"{next(iter(labels))}, {count} images" if len(labels) == 1 else f"{count} images"
    title = explained_of(explanation, 0) if count == 1 else several
    return [(title, "black"), ("; ".join([source_of(explanation), *notes]), GREY)]


def headline(explanation: Shown) -> str:
    """Return what was explained of the first image, and the predicted class where it is another one."""
    line, predicted = explained_of(explanation, 0), predicted_of(explanation)
    return line if not predicted or line == predicted else f"{line}; predicted: {predicted}"


def predicted_of(explanation: Shown) -> str:
    """Return the predicted class of the first image and its probability, "" where outputs are not classes of it."""
    if explanation.probabilities is None or explanation.probabilities.ndim != 2:
        return ""
    label, probability = explanation.top(1)[0][0]
    return f"{label}, {probability:.1%}"


def explained_of(explanation: Shown, index: int) -> str:
    """Return the label of what was explained, with its probability, value or score."""
    return f"{explanation.labels[index]}, {value_of(explanation, index)}"


def _verdict(explanation: Shown, index: int) -> Line | None:
    """Return the true and the predicted class, None where the caption's first line names it already."""
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


def card_lines(explanation: Shown, index: int) -> list[Line]:
    """Return what was explained, why its map shows nothing, and what is true and predicted.

    The title of a single image has the first of these.
    """
    lines = [] if len(explanation) == 1 else [(explained_of(explanation, index), "black")]
    verdict = _verdict(explanation, index)
    return [*lines, *blank_lines(explanation, index), *([] if verdict is None else [verdict])]


def blank_lines(explanation: Shown, index: int) -> list[Line]:
    """Return the diagnosis of a map that cannot be read; that it is blank where the panel of a picture says why."""
    reason, is_blank = reason_of(explanation, index), not explanation.shown[index].any()
    if is_blank and explanation.heatmaps.ndim == 3:
        return [("blank map", RED)]
    return [] if reason is None else [(f"blank: {reason}" if is_blank else reason, RED)]
