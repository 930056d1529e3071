"""The task of a model, as it was said, or as its training and its outputs show."""

from __future__ import annotations

from dataclasses import dataclass

from tf_gradcam._errors import Message, unknown_name
from tf_gradcam._files.class_names import ClassNames
from tf_gradcam._models.description import TASKS
from tf_gradcam._models.graph import first_output
from tf_gradcam._models.losses import Loss
from tf_gradcam._models.reader import ModelReader, shown
from tf_gradcam._models.split import Head, open_head

# The tasks of keras_hub, by the class of the model.
_HUB_TASKS = {
    "ImageClassifier": "classification",
    "ImageSegmenter": "segmentation",
    "ObjectDetector": "detection",
    "ImageObjectDetector": "detection",
    "DepthEstimator": "regression",
}


@dataclass(frozen=True)
class Task:
    """The task of a model.

    Attributes:
        name: "classification" (one class of an image), "multilabel" (any number of them), "regression" (values),
            "segmentation" (a class of each pixel) or "detection" (boxes).
        reason: why, as half a sentence.
        is_given: whether the user or the model's file says so; else it is read from the model.
    """

    name: str
    reason: str
    is_given: bool = False

    @property
    def statement(self) -> Message:
        """One sentence: the task, why, and how to say another."""
        fact = f"{self.name}, {self.reason}."
        return Message(fact) if self.is_given else Message(fact, "Say another by task=.", "Say another by --task.")

    def __str__(self) -> str:
        return self.name


def task_of(reader: ModelReader, given: str | None, names: ClassNames) -> Task:
    """Return the task of a model's explained output.

    What the user says goes first; then the model's file, the class of a keras_hub model, two class names for one unit,
    the loss of the training together with the end of the output, and last the shape of the output.

    Args:
        reader: of the model, with the explained one of several outputs chosen.
        given: the name of a task; None for what the model's file says, or else the model shows.
        names: of the classes: two names make one unit a classifier.

    Raises:
        ValueError: an unknown task, or one that the output cannot have.
    """
    if given is not None and given not in TASKS:
        raise ValueError(unknown_name("task", str(given), TASKS))
    outputs = reader.traced_ends()
    output = first_output(outputs)
    with output.graph.as_default():
        head = open_head(output, "classification" if names.are_two else None)
        as_unit = open_head(output, "classification")
    found = _read(head, as_unit, reader, names)
    said = given or reader.task
    if said is None:
        return found
    _check(said, head, as_unit, found)
    return Task(said, "as you say" if given else "as the model's file says", True)


def _read(head: Head, as_unit: Head, reader: ModelReader, names: ClassNames) -> Task:
    """Return the task that a model shows; `as_unit` is its output, read as a classifier's."""
    known = next((task for kind, task in _HUB_TASKS.items() if reader.is_a("keras_hub", kind)), None)
    if known is not None:
        return Task(known, f"as a keras_hub model of the class {reader.kind} does it")
    rank = head.output.shape.rank
    if rank == 1:
        return Task("regression", "as its output is one number")
    are_rows = _are_rows(head, reader)
    trained = None if reader.loss is None or rank is None else _trained(reader.loss, head, as_unit, reader, names)
    if trained is not None:
        return trained
    return _read_vector(head) if rank == 2 else _read_places(head, are_rows)


def _read_places(head: Head, are_rows: bool) -> Task:
    """Return the task of an output that is neither (B,) nor (B, K); (B, N, D) of a picture are rows."""
    shape = head.output.shape
    if are_rows:
        return Task("detection", f"as its output {shown(shape)} has a row for each box")
    if shape.rank is not None and shape.rank >= 3:
        return Task("segmentation", f"as its output {shown(shape)} has a value for each class and place")
    return Task("classification", f"as nothing else is known of its output {shown(shape)}")


def _read_vector(head: Head) -> Task:
    """Return the task of an output (B, K)."""
    count = head.output.shape[-1]
    if count == 1 and head.is_pair:
        why = {"sigmoid": "is one sigmoid unit", "probability": "is one probability"}.get(head.kind)
        return Task("classification", f"as its output {why or 'is one unit and you name two classes'}, with two sides")
    if count == 1:
        return Task("regression", "as its output is one value without a sigmoid")
    if head.kind == "sigmoid":
        return Task("multilabel", f"as its output is {count} sigmoid units")
    if _is_softmax(head):
        return Task("classification", f"as its output is a {head.kind} of {count} classes")
    if head.kind == "linear":
        return Task("classification", f"taking its {count} outputs without an activation for the logits of classes")
    return Task("classification", f"taking its {count} outputs for scores of classes")


# The tasks that a loss shows. None leaves the question to the output: the loss says nothing else, or does not fit it.

_BOX_COLUMNS = 5  # at least: four sides and a score


def _trained(loss: Loss, head: Head, as_unit: Head, reader: ModelReader, names: ClassNames) -> Task | None:
    """Return the task that a loss shows of any output."""
    if head.output.shape.rank != 2:
        are_rows = _are_rows(head, reader)
        is_joint = are_rows and reader.first_key is not None  # boxes and scores are two outputs
        return None if is_joint else _trained_places(loss, head, are_rows)
    if head.output.shape[-1] != 1:
        return _trained_vector(loss, head)
    return None if names.are_two else _trained_unit(loss, head, as_unit)


def _trained_vector(loss: Loss, head: Head) -> Task | None:
    """Return the task that a loss shows of an output (B, K)."""
    count, trained = head.output.shape[-1], f"as it was trained with {loss}"
    if _is_softmax(head):
        if loss.kind != "labels":
            return None
        return Task("classification", f"as its output is a {head.kind} of {count} classes, although {trained[3:]}")
    lacks = f", although its {count} outputs have no activation" if loss.takes_probabilities else ""
    lacks = lacks if head.kind == "linear" else ""
    if loss.kind == "classes":
        units = f", which is for one class of an image, although its output is {count} sigmoid units"
        return Task("classification", trained + (units if head.kind == "sigmoid" else lacks))
    if loss.kind == "labels" and head.kind in ("linear", "probability"):
        return Task("multilabel", trained + lacks)
    if loss.kind == "values" and head.kind != "length":
        units = f", which takes its {count} sigmoid units for values"
        return Task("regression", trained + (units if head.kind == "sigmoid" else ""))
    return None


def _trained_unit(loss: Loss, head: Head, as_unit: Head) -> Task | None:
    """Return the task that a loss shows of an output (B, 1)."""
    trained = f"as it was trained with {loss}"
    if loss.kind in ("labels", "sides") and as_unit.is_pair and not head.is_pair:
        lacks = ", although its one output has no sigmoid" if loss.takes_probabilities else " on one unit"
        return Task("classification", f"{trained}{lacks}, with two sides")
    if loss.kind == "values" and head.is_pair:
        return Task("regression", f"{trained}, which takes its one sigmoid unit for a value")
    return None


def _trained_places(loss: Loss, head: Head, are_rows: bool) -> Task | None:
    """Return the task that a loss shows of an output with places, (B, ..., K); (B, N, D) of a picture are rows."""
    shape = head.output.shape
    trained = f"as it was trained with {loss} on each place of its output {shown(shape)}"
    if loss.kind in ("classes", "labels"):
        return Task("segmentation", trained)
    may_be_boxes = are_rows and (shape[-1] or _BOX_COLUMNS) >= _BOX_COLUMNS
    if loss.kind == "values" and not _is_softmax(head) and not may_be_boxes:
        return Task("regression", f"{trained}; explained is the mean value over all places")
    return None


def _are_rows(head: Head, reader: ModelReader) -> bool:
    """Return whether the output (B, N, D) of a model of pictures has rows, not places."""
    pictures = len(reader.inputs.image_shape) - 2  # axes between batch and channels
    return head.output.shape.rank == 3 and pictures == 2


def _is_softmax(head: Head) -> bool:
    return head.kind in ("softmax", "log_softmax")


def _check(given: str, head: Head, as_unit: Head, found: Task) -> None:
    """Check that an output can be of a task; `as_unit` is it, read as a classifier's."""
    rank, count = head.output.shape.rank, head.output.shape[-1] if head.output.shape.rank else None
    is_vector = rank == 2
    remedy = {
        "classification": None
        if is_vector and (count != 1 or as_unit.is_pair)
        else "at least two classes (B, K), or one unit with values below and above zero",
        "multilabel": None
        if is_vector and head.kind in ("sigmoid", "probability", "linear")
        else "a unit for each label (B, K), without a softmax",
        "regression": "values (B,) or (B, K), without a softmax" if _is_softmax(head) else None,
        "segmentation": None if rank is None or rank >= 3 else "a value for each class and place (B, H, W, K)",
        "detection": None,
    }[given]
    if remedy is not None:
        what = f" after a {head.kind}" if _is_softmax(head) else ""
        fact = f"Expected {remedy} for the task {given}, received an output {shown(head.output.shape)}{what}."
        raise ValueError(Message(fact, f"Leave task out, or pass task='{found}'.", f"Use --task {found}."))
