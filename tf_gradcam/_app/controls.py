"""The values of the controls: what each offers for a model, and the question that they ask."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tf_gradcam._app.combobox import Entry
from tf_gradcam._app.question import ALL, EVERYWHERE, POINT, REGION, TOP_THREE, Question, box_number
from tf_gradcam._models.description import TASKS
from tf_gradcam._rules.table import METHODS, MethodName, describe, needs_of
from tf_gradcam.image.overlay import Look, colormap_colors

if TYPE_CHECKING:
    from tf_gradcam._app.model import AppModel
    from tf_gradcam._models.layers import LayerRow
    from tf_gradcam._results.detections import Detections

TOP, NOTHING = -1, -1  # the first entries of the lists of classes
_NOUNS = {"multilabel": "Label", "regression": "Value", "detection": "Box"}
_TASKS = {
    "classification": "one class of a picture",
    "multilabel": "any number of labels",
    "regression": "values",
    "segmentation": "a class of each pixel",
    "detection": "boxes",
}


@dataclass(frozen=True)
class MethodChoice:
    """An entry of the list of methods.

    Attributes:
        name: key of `METHODS`.
        label: the name, with "(slow)" if the method runs the model many times.
        about: its summary, cost and source.
    """

    name: MethodName
    label: str
    about: str


def method_choices() -> list[MethodChoice]:
    """Return the entries of the list of methods, in the order of `METHODS`."""
    choices = []
    for name, rule in METHODS.items():
        info = describe(name)
        notes = [f"{head}: {text}." for head, text in (("Cost", info.cost), ("Source", info.source)) if text]
        label = f"{name} (slow)" if needs_of(rule) == "probing" else name
        choices.append(MethodChoice(name, label, " ".join([info.summary, *notes])))
    return choices


# The controls that ask, in the order of the arguments of `question_of`.
QUESTION = ("layer", "method", "target", "against", "mode", "above", "near", "where", "across", "down")


def question_of(
    layer: str,
    method: MethodName,
    target: int | str | None,
    against: int | None,
    mode: str,
    above: float | None = None,
    near: str | None = None,
    where: str | None = REGION,
    across: float | None = 50,
    down: float | None = 50,
) -> Question:
    """Return the settings of the controls; an emptied list of classes counts as its first entry.

    Args:
        near: a number, or an empty text.
        across, down: the point, in percent of the width and the height.

    Raises:
        ValueError: a point outside of the picture; a reference that is not a number; a value of another kind, which
            only a request that is not the page's own can have.
    """
    if not all(isinstance(value, str) for value in (layer, method, mode)):
        raise ValueError(
            f"Expected a layer, a method and pixel values, received {layer}, {method}, {mode}. Choose each."
        )
    is_text = isinstance(target, str) and (target in (ALL, TOP_THREE) or box_number(target) is not None)
    if not all(value is None or type(value) is int for value in (None if is_text else target, against)):
        raise ValueError(f"Expected classes as numbers, received {target}, {against}. Choose them from the lists.")
    if above is not None and not (_is_number(above) and 0 <= above <= 1):
        raise ValueError(f"Expected a threshold from 0 to 1, received {above}.")
    if where not in (None, REGION, EVERYWHERE, POINT):
        raise ValueError(f"Expected a place '{REGION}', '{EVERYWHERE}' or '{POINT}', received {where}.")
    place: str | tuple[float, float] = where or REGION
    if where == POINT:
        if across is None or down is None or not all(_is_number(each) and 0 <= each < 100 for each in (across, down)):
            raise ValueError(
                f"Expected a point in percent of the width and the height, each from 0 to below 100, received "
                f"{across} and {down}. Click the picture, or type both."
            )
        place = float(across) / 100, float(down) / 100
    chosen = None if target in (None, TOP) else target
    other = None if against in (None, NOTHING) else against
    return Question(layer, method, chosen, other, mode, above, _reference(near), place)


def _reference(text: Any) -> float | None:
    """Return the number in a text, None for an empty one."""
    if text is None or not str(text).strip():
        return None
    try:
        number = float(str(text))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"Expected a number to compare a value with, received '{text}'. Type one, or empty the field.")
    return number


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def names_of(chosen: Any) -> list[str]:
    """Return the chosen entries of a list of methods or layers; raise ValueError for anything else."""
    if not isinstance(chosen, list) or not all(isinstance(name, str) for name in chosen):
        raise ValueError(f"Expected a list of names, received {chosen}. Choose them on the page.")
    return chosen


def look_of(alpha: float, threshold: float, colormap: str | None) -> Look:
    """Return the look of maps; raise ValueError for values that are not numbers, or an unknown name of colours."""
    if not all(_is_number(value) for value in (alpha, threshold)):
        raise ValueError(f"Expected an opacity and a threshold in [0, 1], received {alpha} and {threshold}.")
    if colormap:
        colormap_colors(colormap)  # an unknown name
    return Look(min(max(float(alpha), 0.0), 1.0), min(max(float(threshold), 0.0), 1.0), colormap or None)


Choices = list[tuple[str, int | str]]


def class_choices(model: AppModel) -> Choices:
    """Return the classes, labels or values of a model; a name that several have gets the index."""
    counts = Counter(model.labels)
    return [(f"{label} ({index})" if counts[label] > 1 else label, index) for index, label in enumerate(model.labels)]


def target_choices(model: AppModel, boxes: Detections | None = None, chosen: int | str | None = None) -> Choices:
    """Return what can be explained.

    Args:
        boxes: those that are shown, of a detector.
        chosen: the present choice, which stays in the list.
    """
    task, classes = model.task.name, class_choices(model)
    if task == "multilabel":
        several: Choices = [("all above the threshold", TOP), ("top 3", TOP_THREE), ("all labels", ALL)]
        return several + classes
    if task == "regression":
        return [*classes, ("all values", ALL)] if len(classes) > 1 else [(classes[0][0], TOP)]
    if task == "segmentation":
        return [("largest, or the point's class", TOP), *classes]
    if task == "detection":
        found = [] if boxes is None else boxes.found
        named: Choices = [
            (f"box {number}: {item.label} {item.score:.2f}", f"box {number}") for number, item in enumerate(found)
        ]
        number = None if chosen is None else box_number(chosen)
        if number is not None and number >= len(found):
            named.append((f"box {number}", f"box {number}"))
        best: Choices = [(f"best box of {name}", index) for name, index in classes]
        return [("best box", TOP), ("every box", ALL), *named, *best]
    return [("both sides" if model.is_pair else "top class", TOP), *classes]


_BLOCK = re.compile(r"(?:.*/)?(?:[^/]*?\d[a-z]?(?=_|$))?")  # "block5" of "block5_conv3", "head/" of "head/relu"


def layer_choices(model: AppModel) -> list[Entry]:
    """Return the entries of the list of layers: the default marked, grouped by block, those with a role first.

    A block is two or more layers in a row whose names begin alike. Layers that cannot be explained say why.
    """
    choices: list[Entry] = []
    if model.default_layer not in (row.path for row in model.all_layers):  # several, of a detector
        choices.append((f"{model.default_layer} (default)", model.default_layer))
    first = [row for row in model.all_layers if row.path in model.roles]
    choices += [_layer_entry(model, row, "") for row in first]
    others = (row for row in model.all_layers if row.path not in model.roles)
    for block, rows in itertools.groupby(others, lambda row: _block_of(row.path)):
        of_block = list(rows)
        choices += [_layer_entry(model, row, block if len(of_block) > 1 else "") for row in of_block]
    return choices


def _block_of(path: str) -> str:
    found = _BLOCK.match(path)
    return found[0].rstrip("/") if found else ""


def _layer_entry(model: AppModel, row: LayerRow, block: str) -> Entry:
    marks = [model.roles.get(row.path, ""), "default" if row.path == model.default_layer else ""]
    marked = ", ".join(filter(None, marks))
    cells = " x ".join("any" if side is None else str(side) for side in row.output_shape[1:-1])
    sides = [f"{side:g}" for side in row.stride or ()]
    stride = sides[0] if len(set(sides)) == 1 else " x ".join(sides)
    note = f"{cells} cells{f', stride {stride}' if stride else ''}" if row.explainable else row.reason
    return f"{row.path} ({marked})" if marked else row.path, row.path, block, note, row.explainable


def settings(model: AppModel, asked: Question) -> dict[str, dict[str, Any]]:
    """Return the properties of each control that depends on the model; those that do not concern its task are hidden.

    Args:
        asked: the question that the controls show.
    """
    task, layers = model.task.name, layer_choices(model)
    usual = "the class's region" if task == "segmentation" else "the mean"
    everywhere = [("everywhere", EVERYWHERE)] if task == "segmentation" else []
    places = [(usual, REGION), *everywhere, ("at the point", POINT)]
    has_classes = task == "multilabel" or (task == "classification" and not model.is_pair)
    counted = "Probability above which a label is explained"
    if task == "detection":
        counted = "Score from which a box counts"
    targets = target_choices(model, chosen=asked.target)
    first = targets[0][1]
    place = asked.where if isinstance(asked.where, tuple) else None
    across, down = (0.5, 0.5) if place is None else place
    return {
        "layer": {"choices": layers, "value": asked.layer},
        "target": {
            "choices": targets,
            "value": first if asked.target is None else asked.target,
            "label": _NOUNS.get(task, "Class"),
            "visible": len(targets) > 1,
        },
        "against": {
            "choices": [("nothing", NOTHING), *class_choices(model)],
            "value": NOTHING if asked.against is None else asked.against,
            "visible": has_classes,
        },
        "mode": {"value": asked.mode},
        "layers": {"choices": layers, "value": model.stages(), "multiple": True},
        "above": {
            "value": model.threshold if asked.above is None else asked.above,
            "label": counted,
            "visible": task in ("multilabel", "detection"),
        },
        "near": {"value": "" if asked.near is None else str(asked.near), "visible": task == "regression"},
        "where": {"choices": places, "value": POINT if place else asked.where, "visible": model.has_places},
        "across": {"value": round(100 * across, 2), "visible": model.has_places},
        "down": {"value": round(100 * down, 2), "visible": model.has_places},
        "task": {"value": model.said.task or ""},
        "unit": {"value": model.said.unit, "visible": task == "regression"},
        "decode": {"value": model.said.decode or "", "visible": task == "detection"},
    }


def task_choices() -> list[tuple[str, str]]:
    """Return the entries of the list of tasks."""
    return [("read from the model", ""), *((f"{task}: {_TASKS[task]}", task) for task in TASKS)]
