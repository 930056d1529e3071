"""What is written over pictures: what was explained, what is predicted, what is true.

Axis legend: B images, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tf_gradcam._errors import unknown_name
from tf_gradcam._figures.sheet import CAPTION, GREY, RED, Sheet, detail
from tf_gradcam._files.class_names import Labels

if TYPE_CHECKING:
    from tf_gradcam._figures.sheet import Shown

Line = tuple[str, str]  # what it says, and its colour

_VERDICT = 0.12  # height of the third line


def true_classes(labels: Labels, explanation: Shown) -> np.ndarray:
    """(B,) int64, the true class of each image.

    Args:
        labels: B indices or names.
        explanation: of the B images, which knows the names.

    Raises:
        TypeError: labels that are neither indices nor names.
        ValueError: another number of labels, an unknown name, an index beyond the classes.
    """
    array = np.asarray(labels)
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array  # a column, as data sets have it
    if array.ndim != 1 or len(array) != len(explanation):
        remedy = " One-hot rows become indices by np.argmax(labels, axis=-1)." if array.ndim == 2 else ""
        raise ValueError(f"Expected {len(explanation)} labels, one per image, received shape {array.shape}.{remedy}")
    if array.dtype.kind in "US":
        return np.array([_index(str(name), explanation) for name in array.tolist()])
    if array.dtype.kind not in "iu":
        raise TypeError(f"Expected labels as indices or names of classes, received {array.dtype} {array[0]!r}.")
    count = _class_count(explanation)
    if array.min() < 0 or (count is not None and array.max() >= count):
        most = "" if count is None else f" to {count - 1}"
        raise ValueError(f"Expected labels from 0{most}, received {sorted(set(array.tolist()))}.")
    return array.astype(np.int64)


def _index(name: str, explanation: Shown) -> int:
    known = explanation.class_names
    if not known:
        raise ValueError(
            f"Expected class indices as labels, received the name '{name}': no names are known. Pass class_names=[...] "
            "to the Explainer."
        )
    found = [index for index, other in known.items() if _plain(other) == _plain(name)]
    if not found:
        raise ValueError(unknown_name("class", name, known.values()))
    if len(found) > 1:
        raise ValueError(f"Class name '{name}' is not unique: pass one of the indices {found}.")
    return found[0]


def _plain(name: str) -> str:
    return name.replace("_", " ").strip().casefold()


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
