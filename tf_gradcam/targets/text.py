"""Targets as texts, as the command line and the web page take them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tf_gradcam._errors import nearest_files
from tf_gradcam._files.class_names import ClassNames
from tf_gradcam._files.find import SUFFIXES
from tf_gradcam.targets.base import TargetLike
from tf_gradcam.targets.classes import Contrast, Counterfactual, Finer
from tf_gradcam.targets.outputs import Distance
from tf_gradcam.targets.regions import Region

SIMILAR = "similar"
_POINT = re.compile(r"(\d+(?:\.\d+)?)%\s*,\s*(\d+(?:\.\d+)?)%")
_PIXEL = re.compile(r"(\d{1,6})\s*,\s*(\d{1,6})")
_VERSUS, _NOT, _NEAR = (
    re.compile(r"\s+vs\.?\s+"),
    re.compile(r"not\s+(?=\S)"),
    re.compile(r"(?:(?!near\s)(.*?\S)\s+)?near\s+(\S.*)"),
)


class NearPicture(NamedTuple):
    """The value of a picture as the reference of another, see `targets.Distance`.

    Attributes:
        file: of the picture.
        position: of the value.
    """

    file: Path
    position: int


@dataclass(frozen=True)
class Asked:
    """Request for each image: one map of a target, or a map of each of several classes.

    Attributes:
        target: of the one map, as `Explainer` takes it; of a detector, as `Explainer.detections` takes it. A
            `NearPicture` becomes a target when its picture is read.
        classes: one map each, as indices; None for others.
        top: one map of each of an image's `top` best classes; None for others.
        is_above: one map of each class above its threshold.
        is_all: one map of each class or value.
        pixel: of a segmentation, (x, y) of the pixel of each picture at which the target's class is explained.
        masks: of a segmentation, a mask file for all pictures, or a folder of their masks.
    """

    target: TargetLike | NearPicture = None
    classes: tuple[int, ...] | None = None
    top: int | None = None
    is_above: bool = False
    is_all: bool = False
    pixel: tuple[int, int] | None = None
    masks: Path | None = None

    @property
    def is_one(self) -> bool:
        """True where each image has one map."""
        return self.classes is None and self.top is None and not (self.is_above or self.is_all)


def asked_by(text: str | None, task: str, names: ClassNames, *, reads_files: bool = False) -> Asked:
    """Return what a text asks for.

    A name or an index of a class means this class, whatever else the text could mean. Else: "all" (of a multi-label
    model: the classes above their thresholds), "top3", "A,B" (a map each), "A vs B", "A vs similar" (`Finer`), "not A";
    for values "near 30", "1 near 30" and "near other.jpg" (`Distance`), and where each pixel has one "@30%,55%"; for a
    segmentation "A" (where it is predicted), "A,B" (a map each), "all" (of each picture's own classes), "A@everywhere",
    "A@120,80" (a pixel of the picture), "A@30%,55%" (a pixel, by shares of width and height), "A@mask.png", "A@masks/",
    and each without a class for each picture's largest class there; for a detector "0" (its best detection), "A" (the
    best of a class), "0,A".

    Args:
        text: None for the usual target of the task: each image's top class, the first value, the region of each image's
            largest class; of a multi-label model all classes above their thresholds.
        task: of the model.
        names: of the classes.
        reads_files: whether "near" may name a picture on this machine: at the command line, not on a page.

    Raises:
        ValueError: a class that is not known, a form that the task does not have, or a picture that does not exist.
    """
    text = None if text is None else text.strip()
    if task == "detection":
        return Asked(None if text in (None, "all") else [_detection(part, names) for part in _parts(str(text), names)])
    if text is None or (text == "all" and not names.find("all")):
        if task == "multilabel":
            return Asked(is_above=True)
        return Asked(is_all=text is not None)
    if _is_class(text, names):
        return Asked(names.index_in(text))
    if task == "segmentation" and not ("," in text and "@" not in text):
        return _of_segmentation(text, names)
    top = re.fullmatch(r"top\s*(\d{1,4})", text)
    if top and int(top[1]) > 0:
        return Asked(top=int(top[1]))
    if task == "regression":
        near = _NEAR.fullmatch(text)
        if near is not None:
            return Asked(_near(near[1], near[2], names, reads_files))
        own, at, where = _split_at(text, names)
        if at and (point := _POINT.fullmatch(where.strip())):
            return Asked(_at(0 if not own else names.index_in(own), point))
    elif (sides := _VERSUS.split(text)) and len(sides) == 2:
        left, right = sides
        if right == SIMILAR and not names.find(SIMILAR):
            return Asked(Finer(names.index_in(left)))
        return Asked(Contrast(names.index_in(left), names.index_in(right)))
    elif _NOT.match(text):
        return Asked(Counterfactual(names.index_in(_NOT.sub("", text, count=1))))
    if "," in text:
        return Asked(classes=tuple(dict.fromkeys(names.index_in(part) for part in _parts(text, names))))
    return Asked(names.index_in(text))


def _is_class(text: str, names: ClassNames) -> bool:
    """Return whether a text is an index or a name; one that could be a list or a pair must be the whole name."""
    found = names.find(text)
    if "," in text or _VERSUS.search(text):
        return any(names.by_index[index].casefold() == text.casefold() for index in found)
    return text.isdecimal() or bool(found)


def _parts(text: str, names: ClassNames) -> list[str]:
    """Split at commas; a name that holds one itself is found by the longest piece that is a class."""
    pieces, parts = [piece.strip() for piece in text.split(",")], []
    while pieces:
        end = next((n for n in range(len(pieces), 0, -1) if _is_class(", ".join(pieces[:n]), names)), 1)
        parts.append(", ".join(pieces[:end]))
        pieces = pieces[end:]
    return [part for part in parts if part] or [text]


def _detection(text: str, names: ClassNames) -> int | str:
    """Return the number of a detection, or the name of a class for its best one."""
    return int(text) if text.isdecimal() and not names.find(text) else names.label(names.index(text))


def _near(name: str | None, reference: str, names: ClassNames, reads_files: bool) -> Any:
    index = 0 if name is None else names.index_in(name)
    try:
        value = float(reference)
    except ValueError:
        path = Path(reference)
        if reads_files and path.is_file():
            return NearPicture(path, index)
        wanted = "a number or a picture" if reads_files else "a number"
        remedy = f" There is no such file. {nearest_files(path)}" if reads_files else ""
        raise ValueError(f"Expected {wanted} behind 'near', received '{reference}'.{remedy}") from None
    return Distance(value, index)


def _at(index: int | None, point: re.Match[str]) -> Region:
    return Region(index, point=(float(point[1]) / 100, float(point[2]) / 100))


def _of_segmentation(text: str, names: ClassNames) -> Asked:
    own, at, where = _split_at(text, names)
    if not at:
        return Asked(Region(names.index_in(text)))
    index, where = None if not own else names.index_in(own), where.strip()
    if where == "everywhere":
        return Asked(Region(index, "all"))
    point, pixel = _POINT.fullmatch(where), _PIXEL.fullmatch(where)
    if point is not None:
        return Asked(_at(index, point))
    if pixel is not None:
        return Asked(Region(index), pixel=(int(pixel[1]), int(pixel[2])))
    path = Path(where)
    if where and (path.exists() or path.suffix.lower() in SUFFIXES or where.endswith(("/", os.sep))):
        return Asked(Region(index), masks=path)
    raise ValueError(
        "Expected 'everywhere', a pixel such as '120,80', a point such as '30%,55%' (of the width and the height), a "
        f"mask file or a folder of masks behind '@', received '{where}'."
    )


def _split_at(text: str, names: ClassNames) -> tuple[str, str, str]:
    """Split at the last "@" behind a class: names and paths may hold one too."""
    ends = [place.start() for place in re.finditer("@", text)]
    own = [end for end in ends if end == 0 or _is_class(text[:end].strip(), names)]
    end = (own[-1:] or ends or [len(text)])[0]
    return text[:end].strip(), text[end : end + 1], text[end + 1 :]
