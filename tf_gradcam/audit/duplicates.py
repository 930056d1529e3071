"""Images of a data set that are the same picture: copies, and the same photo saved or scaled again.

Axis legend: N images, n of them, C numbers that describe a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tf_gradcam._errors import require
from tf_gradcam.audit.rows import Rows
from tf_gradcam.image.io import resize_by_area
from tf_gradcam.image.thumbnails import read_thumbnail

_SIDE, _MIDDLE, _COARSE = 32, 16, 8  # cells along each side of a picture
# The least correlation of the colours of 32 x 32 cells, and the largest difference in the grey of any of 16 x 16. Of
# 240 photographs and scans, saved again in eight ways (JPEG of quality 30 to 90, 0.33 to 1.5 times their size), 99.7 %
# are found. The most alike of 2513 different photographs differ by 28 in a cell, neighbouring slices of a scan by 10.
_CORRELATION, _DIFFERENCE = 0.98, 8.0
_CANDIDATE = 0.995  # correlation of the colours of 8 x 8 cells; of the pictures saved again at least 0.998
_NEAREST = 3  # candidates of an image: more would be found through them
_BLOCK = 512  # images that are compared with all earlier ones at once
_PAIRS = 4096  # candidates that are compared at once: 100 MB


@dataclass(frozen=True)
class DuplicateGroup:
    """Images that are the same picture.

    Attributes:
        rows: positions in the table, in their order; at least two.
        similarity: the lowest correlation of one with another that it was found by; 1 for copies.
    """

    rows: list[int]
    similarity: float


def find_duplicates(rows: Rows) -> list[DuplicateGroup]:
    """Return the groups of explained images that are the same picture, the largest first.

    Images are the same if their files or thumbnails have the same bytes, or if the colours of 32 x 32 cells of their
    thumbnails correlate by at least 0.98 and none of 16 x 16 cells differs by more than 8 grey levels. Mirrored,
    cropped and brightened copies are not found.

    Memory: 3 KB for each image. Time: a product of matrices, N^2 times 192 multiplications.
    """
    sparse, graphs = require("scipy.sparse", extra="audit"), require("scipy.sparse.csgraph", extra="audit")
    first, pairs = dict[object, int](), list[tuple[int, int, float]]()
    distinct = []
    for row in np.flatnonzero(rows.is_done & (rows.thumbnail != b"")).tolist():
        keys = [key for key in (rows.digest[row], rows.thumbnail[row]) if key]
        earlier = [first[key] for key in keys if key in first]
        pairs += [(row, other, 1.0) for other in earlier]
        first |= dict.fromkeys(keys, row)
        if not earlier:
            distinct.append(row)
    pairs += [(distinct[one], distinct[other], found) for one, other, found in _alike(rows.thumbnail[distinct])]
    if not pairs:
        return []
    ones, others, values = (np.array(column) for column in zip(*pairs, strict=True))
    links = sparse.coo_matrix((values, (ones, others)), shape=(len(rows.index),) * 2)
    _, group_of = graphs.connected_components(links, directed=False)
    similarity = np.ones(group_of.max() + 1)
    np.minimum.at(similarity, group_of[ones], values)
    members: dict[int, list[int]] = {}
    for row in np.unique(np.concatenate([ones, others])).tolist():
        members.setdefault(int(group_of[row]), []).append(row)
    groups = [DuplicateGroup(some, float(similarity[group])) for group, some in members.items()]
    return sorted(groups, key=lambda group: -len(group.rows))


def _alike(thumbnails: Sequence[bytes] | np.ndarray) -> list[tuple[int, int, float]]:
    """Return pairs (n,) of positions whose pictures are the same, with their correlation."""
    if len(thumbnails) < 2:
        return []
    fine = np.zeros((len(thumbnails), _SIDE, _SIDE, 3), np.uint8)
    for number, data in enumerate(thumbnails):
        photo = read_thumbnail(bytes(data))
        if photo is not None:
            fine[number] = resize_by_area(photo, (_SIDE, _SIDE))
    coarse = _standardised(_cells(fine, _COARSE))
    found = [_candidates(coarse, start) for start in range(1, len(fine), _BLOCK)]
    ones, others = (np.concatenate(column) for column in zip(*found, strict=True))
    pairs = []
    for start in range(0, len(ones), _PAIRS):
        part = slice(start, start + _PAIRS)
        one, other = fine[ones[part]], fine[others[part]]
        values = (_standardised(_cells(one, _SIDE)) * _standardised(_cells(other, _SIDE))).sum(axis=1)
        difference = np.abs((_cells(one, _MIDDLE) - _cells(other, _MIDDLE)).mean(axis=3)).max(axis=(1, 2))
        same = (values >= _CORRELATION) & (difference <= _DIFFERENCE)
        pairs += list(
            zip(*(column[part][same].tolist() for column in (ones, others)), values[same].tolist(), strict=True)
        )
    return pairs


def _candidates(coarse: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the images from `start` on, and for each the most similar earlier ones, where they are similar."""
    stop = min(len(coarse), start + _BLOCK)
    likeness = coarse[start:stop] @ coarse[:stop].T
    likeness[np.arange(stop) >= np.arange(start, stop)[:, None]] = -1
    count = min(_NEAREST, stop)
    nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
    one, place = np.nonzero(np.take_along_axis(likeness, nearest, axis=1) >= _CANDIDATE)
    return one + start, nearest[one, place]


def _cells(pictures: np.ndarray, side: int) -> np.ndarray:
    """Return the mean colours of side x side cells of pictures (n, 32, 32, 3), float32."""
    width = _SIDE // side
    return pictures.reshape(-1, side, width, side, width, 3).mean(axis=(2, 4), dtype=np.float32)


def _standardised(values: np.ndarray) -> np.ndarray:
    """Return (n, C) float32 of mean 0 and length 1, so that a product is a correlation; zeros for a plain picture."""
    flat = values.reshape(len(values), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.divide(flat, length, out=np.zeros_like(flat), where=length > 1e-3)
