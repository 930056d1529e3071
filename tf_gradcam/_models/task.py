"""The task of a model, as it was said, or as its outputs show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tf_gradcam._errors import Message, unknown_name
from tf_gradcam._files.class_names import ClassNames
from tf_gradcam._models.description import TASKS
from tf_gradcam._models.graph import first_output
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
        is_given: whether the user or the model's file says so; else it is read from the outputs.
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

    Args:
        reader: of the model, with the explained one of several outputs chosen.
        given: the name of a task; None for what the model's file says, or else the output shows.
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
    found = _read(head, reader, names, outputs)
    said = given or reader.task
    if said is None:
        return found
    _check(said, head, found)
    return Task(said, "as you say" if given else "as the model's file says", True)


def _read(head: Head, reader: ModelReader, names: ClassNames, outputs: Any) -> Task:
    """Return the task that the output of a model shows."""
    shape, rank = head.output.shape, head.output.shape.rank
    known = next((task for kind, task in _HUB_TASKS.items() if reader.is_a("keras_hub", kind)), None)
    if known is not None:
        return Task(known, f"as a keras_hub model of the class {reader.kind} does it")
    if rank == 1:
        return Task("regression", "as its output is one number")
    if rank == 2:
        return _read_vector(head, names)
    pictures = len(reader.inputs.image_shape) - 2  # axes between batch and channels
    if rank == 3 and pictures == 2:
        return Task("detection", f"as its output {shown(shape)} has a row for each box")
    if rank is not None and rank >= 3:
        return Task("segmentation", f"as its output {shown(shape)} has a value for each class and place")
    return Task("classification", f"as nothing else is known of its output {shown(shape)}")


def _read_vector(head: Head, names: ClassNames) -> Task:
    """Return the task of an output (B, K)."""
    count = head.output.shape[-1]
    if count == 1 and head.is_pair:
        why = {"sigmoid": "is one sigmoid unit", "probability": "is one probability"}.get(head.kind)
        return Task("classification", f"as its output {why or 'is one unit and you name two classes'}, with two sides")
    if count == 1:
        return Task("regression", "as its output is one value without a sigmoid")
    if head.kind == "sigmoid":
        return Task("multilabel", f"as its output is {count} sigmoid units")
    if head.kind in ("softmax", "log_softmax"):
        return Task("classification", f"as its output is a {head.kind} of {count} classes")
    if head.kind == "linear":
        return Task("classification", f"taking its {count} outputs without an activation for the logits of classes")
    return Task("classification", f"taking its {count} outputs for scores of classes")


def _check(given: str, head: Head, found: Task) -> None:
    """Check that an output can be of a task."""
    rank, count = head.output.shape.rank, head.output.shape[-1] if head.output.shape.rank else None
    is_vector = rank == 2
    remedy = {
        "classification": None
        if is_vector and (count != 1 or head.is_pair or head.kind == "linear")
        else "at least two classes (B, K), or one unit without a limit on one side",
        "multilabel": None
        if is_vector and head.kind in ("sigmoid", "probability", "linear")
        else "a unit for each label (B, K), without a softmax",
        "regression": None
        if (is_vector or rank == 1) and head.kind not in ("softmax", "log_softmax")
        else "values (B,) or (B, K), without a softmax",
        "segmentation": None if rank is None or rank >= 3 else "a value for each class and place (B, H, W, K)",
        "detection": None,
    }[given]
    if remedy is not None:
        what = f" after a {head.kind}" if head.kind in ("softmax", "log_softmax") else ""
        fact = f"Expected {remedy} for the task {given}, received an output {shown(head.output.shape)}{what}."
        raise ValueError(Message(fact, f"Leave task out, or pass task='{found}'.", f"Use --task {found}."))
