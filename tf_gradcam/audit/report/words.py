"""The words of the report that differ from task to task."""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """Words about what a model answers.

    Attributes:
        one, many: what an answer is.
        recognises: what a model with a shortcut does with one answer, and with several.
        others: the images that suspects are pasted into.
        maps: heading of the heatmaps, note: what they are of.
        given: number of the images that get an answer, in the table of a heatmap.
        scope: how suspects are found and tested, and what is called a shortcut.
        foot: what the colours of the heatmaps mean.
        worst: the number that classes or labels are sorted by, "" for no order.
        untested: why nothing is tested by intervention; "" where suspects are.
    """

    one: str
    many: str
    recognises: tuple[str, str]
    others: str
    maps: str
    note: str
    given: str
    scope: str
    foot: str
    worst: str = ""
    untested: str = ""


def _scope(whose: str, others: str, changes: str) -> str:
    return (
        f"Suspects of {whose} are places that are drawn the same in many images, marks that move, tints of the whole "
        f"image, and hot places of the mean heatmap of {whose} or of a cluster. Each suspect is erased (by blur, mean "
        f"colour or inpainting) and pasted into {others}; both are compared with an equally large random region. A "
        f"suspect is a shortcut if it changes {changes} more than the random region does, and is not content of the "
        "image."
    )


_RELATIVE = "relative to the map's maximum"
_SHOWN = (
    f"over the mean of these images, {_RELATIVE}. Repetition is the mean correlation of a heatmap with the mean of the "
    "others: near 1, the model looks at the same place in every image, which is unusual for an object that moves. "
    "Clusters are groups of similar heatmaps, the one most unlike the rest first."
)

WORDS = {
    "classification": Words(
        "class",
        "classes",
        ("recognises a class", "recognises classes"),
        "images of other classes",
        "Heatmaps of each class",
        "The mean heatmap of all images predicted as the class, " + _SHOWN,
        "predicted",
        _scope("a class", "images of other classes", "predictions"),
        f"Heatmaps are of the predicted class, {_RELATIVE}.",
        "recall",
    ),
    "multilabel": Words(
        "label",
        "labels",
        ("recognises a label", "recognises labels"),
        "images without the label",
        "Heatmaps of each label",
        "The mean heatmap of all images where the label is above its threshold, " + _SHOWN,
        "above its threshold",
        _scope("a label", "images without it", "predictions"),
        "Heatmaps are of the label that a picture is shown for, elsewhere of the best label above its threshold, "
        f"{_RELATIVE}.",
        "average precision",
    ),
    "regression": Words(
        "group of values",
        "groups of values",
        ("predicts its value", "predicts its value"),
        "images of opposite values",
        "Heatmaps of high, low and wrong values",
        "High and low are the upper and the lower third of the predicted values, with the mean heatmap of what raises "
        "or lowers the value. Overestimated and underestimated are the images whose error is above the mean absolute "
        "error, with their mean signed heatmap. Each is shown " + _SHOWN,
        "images",
        _scope("the upper and the lower third of the predicted values", "images of the other third", "the value")
        + " The change counts from a fifth of the difference between high and low values on.",
        "Heatmaps are signed: they show what raises and what lowers the value, relative to the largest absolute value.",
    ),
    "segmentation": Words(
        "class",
        "classes",
        ("finds a class", "finds classes"),
        "images of other classes",
        "Heatmaps of each class",
        "The mean heatmap of the predicted region of the class, over all images where it covers at least 1% of the "
        "picture, " + _SHOWN,
        "images with at least 1%",
        "",
        "Heatmaps are of the predicted region of the class that a picture is shown for, elsewhere of the class of most "
        f"pixels, {_RELATIVE}.",
        "IoU",
        "Shortcuts are not tested in a segmentation: to erase a part of a picture takes away the class of its pixels, "
        "whatever the model looks at. Look at the mean heatmap of each class, and at the images of the lowest IoU.",
    ),
}
