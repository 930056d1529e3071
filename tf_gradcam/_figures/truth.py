"""True boxes and masks of photos, drawn as lines over a photo or its map.

Axis legend: B images, N boxes, H0 x W0 pixels of a photo. A box is (xmin, ymin, xmax, ymax) in pixels of the photo,
without its right and lower edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOTE = "true boxes and masks in green"
_LINES = (("black", 2.6), ("#00e676", 1.4))  # colour and width: a bright line on a dark one, seen on any ground


class TruthOfImage(NamedTuple):
    """The boxes and the mask of one photo.

    Attributes:
        boxes: (N, 4) float64.
        mask: (H0, W0) bool, or None.
        size: (H0, W0) of the photo.
    """

    boxes: NDArray[np.float64]
    mask: NDArray[np.bool_] | None
    size: tuple[int, int]


def taken_truth(boxes: Any, masks: Any, sizes: Sequence[Sequence[int]]) -> list[TruthOfImage] | None:
    """Return the truth of each photo; None where neither boxes nor masks are given.

    Args:
        boxes: B lists of boxes, empty or None for a photo without any; None for all.
        masks: B masks (H0, W0), bool or 0 and 1, or None for a photo without one; None for all.
        sizes: (H0, W0) of the B photos.

    Raises:
        TypeError, ValueError: as `Explanation.plot`.
    """
    if boxes is None and masks is None:
        return None
    for name, given in (("boxes", boxes), ("masks", masks)):
        if given is not None and (isinstance(given, (str, bytes, dict)) or not hasattr(given, "__len__")):
            raise TypeError(f"Expected {name} as a list with an item for each photo, received {type(given).__name__}.")
        if given is not None and len(given) != len(sizes):
            raise ValueError(
                f"Expected {name} of {len(sizes)} photos, received {len(given)}. Give an item for each photo, None for "
                "one without."
            )
    return [
        TruthOfImage(
            _boxes(None if boxes is None else boxes[index], index, size),
            None if masks is None or masks[index] is None else _mask(masks[index], index, size),
            (int(size[0]), int(size[1])),
        )
        for index, size in enumerate(sizes)
    ]


def _boxes(given: Any, index: int, size: Sequence[int]) -> NDArray[np.float64]:
    expected = f"Expected boxes of photo {index} as a list of (xmin, ymin, xmax, ymax) in its pixels"
    try:
        boxes = np.asarray([] if given is None else given, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{expected}, received {given!r:.80}.") from error
    if not boxes.size:
        return np.zeros((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        remedy = " A single box needs a list: [box]." if boxes.shape == (4,) else ""
        raise ValueError(f"{expected}, received an array {boxes.shape}.{remedy}")
    height, width = size[:2]
    for box in boxes:
        xmin, ymin, xmax, ymax = box
        if not (0 <= xmin < xmax <= width and 0 <= ymin < ymax <= height):  # also false for NaN
            raise ValueError(
                f"Expected a box inside of photo {index}, {width} wide and {height} high, with xmin < xmax and ymin < "
                f"ymax, received ({', '.join(f'{side:g}' for side in box)}). Boxes are (xmin, ymin, xmax, ymax)."
            )
    return boxes


def _mask(given: Any, index: int, size: Sequence[int]) -> NDArray[np.bool_]:
    mask = np.asarray(given)
    if mask.shape != tuple(size[:2]):
        raise ValueError(
            f"Expected a mask of the size of photo {index}, {tuple(size[:2])}, received {mask.shape}. Resize it by "
            "nearest pixels."
        )
    if mask.dtype.kind not in "biuf" or not np.isin(mask, (0, 1)).all():
        raise ValueError(
            f"Expected the mask of photo {index} as bool or 0 and 1, received {mask.dtype} values. Pass mask > 0."
        )
    return mask.astype(bool)


def draw_truth(axes: Axes, truth: TruthOfImage | None, size: Sequence[int]) -> None:
    """Draw the boxes and the outline of the mask over a picture of the whole photo, of (height, width) pixels."""
    if truth is None:
        return
    from matplotlib.patches import Rectangle

    down, right = size[0] / truth.size[0], size[1] / truth.size[1]
    limits = axes.get_xlim(), axes.get_ylim()
    for color, width in _LINES:
        for xmin, ymin, xmax, ymax in truth.boxes:
            corner = (xmin * right - 0.5, ymin * down - 0.5)  # the corner of pixel 0 is at -0.5
            box = Rectangle(corner, (xmax - xmin) * right, (ymax - ymin) * down)
            box.set(fill=False, edgecolor=color, linewidth=width)
            axes.add_patch(box)
        if truth.mask is not None and truth.mask.any():
            inside = np.pad(truth.mask, 1)  # so that lines along the border are closed
            rows, columns = ((np.arange(side) - 0.5) for side in inside.shape)
            axes.contour(columns * right - 0.5, rows * down - 0.5, inside, [0.5], colors=color, linewidths=width)
    axes.set(xlim=limits[0], ylim=limits[1])
