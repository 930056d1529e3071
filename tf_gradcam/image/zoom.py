"""The content of a picture enlarged or shrunk about its centre, the picture's size kept; and maps of it brought back.

All along one axis, as matrices. A zoom is the ratio of the content's new length to the old; it is rounded so that as
many pixels come or go on one side as on the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tf_gradcam.image.resize import interpolation_matrix


def exact_zoom(side: int, zoom: float) -> float:
    """The zoom nearest to the given one that adds or takes whole pixels, as many on both sides; content remains."""
    margin = max(round(side * (zoom - 1) / 2), -((side - 1) // 2))
    return (side + 2 * margin) / side


def zoom_matrix(side: int, zoom: float) -> NDArray[np.float64]:
    """(side, side) what each pixel of the zoomed axis takes of those of the axis; rows sum to 1.

    Linear. Where the content shrinks, each pixel averages all those that fall on it, weighted by distance, and its edge
    pixels are repeated over the margins.
    """
    length = round(side * exact_zoom(side, zoom))
    margin = abs(length - side) // 2
    if length >= side:
        return interpolation_matrix(side, length)[margin : margin + side]
    shrunk = interpolation_matrix(length, side).T
    shrunk /= shrunk.sum(axis=1, keepdims=True)
    return shrunk[np.clip(np.arange(side) - margin, 0, length - 1)]


def unzoom_matrix(cells: int, zoom: float) -> NDArray[np.float64]:
    """(cells, cells) what a cell at its place in the axis takes of the cells of a map of the zoomed one; linear."""
    places = np.clip(_zoomed_centres(cells, zoom) * cells - 0.5, 0, cells - 1)
    below = np.floor(places).astype(np.intp)
    matrix = np.zeros((cells, cells))
    rows = np.arange(cells)
    matrix[rows, below] = 1 - (places - below)
    matrix[rows, np.minimum(below + 1, cells - 1)] += places - below
    return matrix


def coverage(cells: int, zoom: float) -> NDArray[np.bool_]:
    """(cells,) whether the zoomed axis still shows the centre of each cell."""
    return np.abs(_zoomed_centres(cells, zoom) - 0.5) < 0.5 + 1e-9


def _zoomed_centres(cells: int, zoom: float) -> NDArray[np.float64]:
    """Where the centre of each cell lies on the zoomed axis, in parts of it."""
    return ((np.arange(cells) + 0.5) / cells - 0.5) * zoom + 0.5
