"""Twins: images that occur more than once, exactly, nearly, or flipped. A split that parts them flatters a model.

Axis legend: N images, M other images, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tf_gradcam.image import load_image

from .folder import in_threads

THUMBNAIL = 32  # pixels a side
MAX_DIFFERENCE = 2.0  # grey levels: the mean absolute difference of the thumbnails of twins is below it
LOOKS_ALIKE = 6.0  # the same of pictures that a figure does not show side by side, such as slices 2 mm apart
MAX_BITS = 10  # of 64 that may differ between the hashes of twins; unrelated photos differ in 32 on average

_BLOCK = 8  # pixels of a side over which thumbnails are averaged for the first, cheap test
_SLACK = 1e-3  # grey levels that float32 may lose in a mean over 1024 pixels
_FLIPS = ((1, 1), (1, -1), (-1, 1), (-1, -1))  # steps along rows and columns: as it is, mirrored, upside down, both
_ROWS = 512  # images compared with all others at a time: 512 x 6000 x 4 bytes are 12 MB


class Fingerprints(NamedTuple):
    """The hashes and thumbnails that N images are compared by.

    hashes: (N,) uint64, the perceptual hash, see `perceptual_hashes`.
    thumbnails: (N, 32, 32) uint8, grey.
    """

    hashes: np.ndarray
    thumbnails: np.ndarray


def duplicate_groups(files: Sequence[Path]) -> np.ndarray:
    """Return a number for each image, equal for twins: identical files, nearly identical or flipped pictures.

    Two pictures are nearly identical if their grey thumbnails differ by less than `MAX_DIFFERENCE` levels on average
    and their perceptual hashes in at most `MAX_BITS` bits: another size or JPEG quality, a few changed pixels, but
    also neighbouring slices of a scan. They are flipped if one is nearly identical to the other mirrored, upside down
    or both, as in data sets that were augmented before the split; quarter turns are not found. Twins of twins are
    twins.

    Args:
        files: N images.

    Returns:
        (N,) int32, numbers from 0 in the order of first occurrence.

    Raises:
        ValueError: a file is not an image.
        OSError: a file cannot be read.
    """
    return groups_of(fingerprints(files))


def groups_of(prints: Fingerprints, max_difference: float = MAX_DIFFERENCE) -> np.ndarray:
    """Return the groups of `duplicate_groups` of images whose fingerprints are known, (N,) int32.

    Args:
        prints: of N images.
        max_difference: grey levels. With `LOOKS_ALIKE` 1311 MRI slices make 984 groups of at most 9 images, and 1475
            photographs of dogs have none of two.
    """
    return _united(len(prints.hashes), _pairs(prints, prints, max_difference))


def across(files: Sequence[Path], others: Sequence[Path]) -> list[tuple[int, int]]:
    """Return the sorted pairs (i, j) of twins `files[i]` and `others[j]`, by the test of `duplicate_groups`.

        twins = across(test.files, pretraining.files)
        pretraining = pretraining.take(sorted(set(range(len(pretraining))) - {j for _, j in twins}))

    Args:
        files: N images.
        others: M images.

    Raises:
        ValueError: a file is not an image.
        OSError: a file cannot be read.
    """
    pairs = _pairs(fingerprints(files), fingerprints(others))
    return [(int(i), int(j)) for i, j in pairs]


def fingerprints(files: Sequence[Path]) -> Fingerprints:
    """Read N files in parallel threads; return the hash and thumbnail of each.

    Raises:
        ValueError: a file is not an image.
        OSError: a file cannot be read.
    """
    thumbnails = np.empty((len(files), THUMBNAIL, THUMBNAIL), np.uint8)
    for index, thumbnail in enumerate(in_threads(_thumbnail, files, "Compared")):
        thumbnails[index] = thumbnail
    return Fingerprints(perceptual_hashes(thumbnails), thumbnails)


def perceptual_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Return (N,) uint64: one bit for each of the 64 lowest cosine frequencies, set if it is above their median.

    Source: Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions (pHash, section 3.2).
    Deviations: averages over areas in place of a 7 x 7 mean filter before the thumbnail, and the constant frequency is
    one of the 64, as in most implementations.
    """
    import cv2

    bits = np.empty((len(thumbnails), 64), bool)
    for row, thumbnail in zip(bits, thumbnails, strict=True):
        lowest = cv2.dct(thumbnail.astype(np.float32))[:8, :8].ravel()
        row[:] = lowest > np.median(lowest)
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64).ravel()


def _thumbnail(file: Path) -> np.ndarray:
    import cv2

    return cv2.cvtColor(load_image(file, (THUMBNAIL, THUMBNAIL)), cv2.COLOR_RGB2GRAY)


def _pairs(prints: Fingerprints, others: Fingerprints, limit: float = MAX_DIFFERENCE) -> np.ndarray:
    """Return the sorted pairs of twins, (P, 2); identical files have identical thumbnails."""
    found = [np.empty((0, 2), np.int64)]
    for rows, columns in _FLIPS:
        turned = others.thumbnails[:, ::rows, ::columns]
        found += _near(prints, Fingerprints(perceptual_hashes(turned), turned), limit)
    return np.unique(np.concatenate(found), axis=0)


def _near(prints: Fingerprints, others: Fingerprints, limit: float) -> Iterator[np.ndarray]:
    """Yield nearly identical pairs, (P, 2), block by block.

    The difference of two means is at most the mean difference: what differs too much in 4 x 4 cells does so in
    32 x 32 pixels. That leaves three pairs of ten thousand to compare in full, and misses none.
    """
    cells, other_cells = _cells(prints.thumbnails), _cells(others.thumbnails)
    for start in range(0, len(cells), _ROWS):
        block = cells[start : start + _ROWS]
        distance = np.zeros((len(block), len(other_cells)), np.float32)
        for cell in range(cells.shape[1]):
            distance += np.abs(block[:, cell, None] - other_cells[None, :, cell])
        i, j = np.nonzero(distance < (limit + _SLACK) * cells.shape[1])
        i += start
        close = _differing_bits(prints.hashes[i], others.hashes[j]) <= MAX_BITS
        i, j = i[close], j[close]
        yield np.stack([i, j], axis=1)[_differences(prints.thumbnails, others.thumbnails, i, j) < limit]


def _cells(thumbnails: np.ndarray) -> np.ndarray:
    """Return the means over blocks, (N, 16) float32."""
    count = THUMBNAIL // _BLOCK
    blocks = thumbnails.reshape(-1, count, _BLOCK, count, _BLOCK)
    return blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(thumbnails), count * count)


def _differing_bits(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the Hamming distances, (P,)."""
    differing = np.bitwise_xor(hashes, others).view(np.uint8).reshape(-1, 8)
    return np.unpackbits(differing, axis=1).sum(axis=1)


def _differences(thumbnails: np.ndarray, others: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return the mean absolute differences in grey levels, (P,); in steps, since flat images make many pairs."""
    means = np.empty(len(i), np.float64)
    for start in range(0, len(i), 4096):
        part = slice(start, start + 4096)
        means[part] = np.abs(thumbnails[i[part]].astype(np.int16) - others[j[part]]).mean(axis=(1, 2))
    return means


def _united(count: int, pairs: np.ndarray) -> np.ndarray:
    """Return the numbers of the sets that the pairs join, (count,) int32."""
    parent = list(range(count))

    def top(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]  # halves the path for the next one
            index = parent[index]
        return index

    for i, j in pairs:
        first, second = sorted((top(int(i)), top(int(j))))
        parent[second] = first  # so that the first member is the top
    tops = np.array([top(index) for index in range(count)], np.int64)
    return np.unique(tops, return_inverse=True)[1].astype(np.int32)
