"""The images of a repair: read once, searched for the suspect, and parted into training and held-out.

Axis legend: N images, n of the class that show the suspect, H0 x W0 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.pool import ThreadPool

import numpy as np

from tf_gradcam._errors import Message, warn
from tf_gradcam.audit.mapper import THREADS, AuditMapper
from tf_gradcam.audit.result import MIN_IMAGES
from tf_gradcam.audit.shortcuts.suspects import Suspect, channel_relation
from tf_gradcam.audit.sources import Samples
from tf_gradcam.image.opencv import opencv

MAX_IMAGES = 3000  # held in memory: 0.45 GB at 224 x 224 pixels
_SAME_LEVEL = 6.0  # grey levels: pixels that are drawn the same differ only by noise and JPEG
_MIN_PIXELS = 4
_MATCH_LEVEL = 0.25  # of a mark's contrast: the largest difference of a match


@dataclass(frozen=True)
class RepairSamples:
    """N labelled images with what a repair knows of them.

    Attributes:
        files: N paths.
        rows: (N,) positions in the audit's table.
        photos: (N, H0, W0, 3) uint8 RGB.
        labels: (N,) int.
        held_out: (N,) bool, the images that are never trained on.
        class_index: of the finding.
        suspect: of the finding; its members are positions among the N images, in rising order.
    """

    files: list[str]
    rows: np.ndarray
    photos: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    class_index: int
    suspect: Suspect

    @property
    def shown_share(self) -> float:
        """Share of the images of the class that show the suspect."""
        return len(self.suspect.members) / int((self.labels == self.class_index).sum())

    def of(self, rows: np.ndarray) -> Suspect:
        """Return the suspect in these images alone; members and places of the others are left out."""
        is_in = np.isin(self.suspect.members, rows)
        places = None if self.suspect.places is None else self.suspect.places[is_in]
        return replace(self.suspect, members=self.suspect.members[is_in], places=places)


def read_samples(
    mapper: AuditMapper, source: Samples, suspect: Suspect, class_index: int, share: float, seed: int
) -> RepairSamples:
    """Read the labelled images, find the suspect in those of its class, and choose the held-out ones.

    Args:
        mapper: of the model.
        source: the audited data.
        suspect: of the finding; its members are positions in the table.
        class_index: of the finding.
        share: of the images that are held out, of each class and of images with and without the suspect alike. Files of
            the same bytes stay on one side.
        seed: of the choice.

    Raises:
        ValueError: no image has a label; too few show the suspect, or are of other classes, to train and to test.
    """
    labelled = np.flatnonzero(source.labels >= 0)
    if not len(labelled):
        fact = "Expected labelled images, but the class of none is known."
        raise ValueError(
            f"{fact} Give a folder with a folder per class, or a CSV file with the columns file and label."
        )
    generator = np.random.default_rng(seed)
    shown = np.intersect1d(labelled, suspect.members)  # the audit's examples, which define the suspect
    rest = generator.permutation(np.setdiff1d(labelled, shown))[: max(0, MAX_IMAGES - len(shown))]
    if len(shown) + len(rest) < len(labelled):
        warn(f"{len(shown) + len(rest):,} of {len(labelled):,} labelled images are used, chosen at random.")
    rows, photos, digests = _read(mapper, source, np.sort(np.concatenate([shown, rest])))
    labels = source.labels[rows].astype(np.int64)
    own = np.flatnonzero(labels == class_index)
    examples = np.flatnonzero(np.isin(rows, suspect.members))
    found = _find_again(suspect, photos[own], photos[examples] if len(examples) else photos[own])
    found = replace(found, members=own[found.members])
    has_it = np.isin(np.arange(len(rows)), found.members)
    held_out = _held_out(2 * labels + has_it, digests, share, generator)
    name = mapper.class_names[class_index]
    for chosen, words in (
        (has_it, f"images of `{name}` that show it"),
        (labels != class_index, "images of other classes"),
    ):
        parts = int((chosen & ~held_out).sum()), int((chosen & held_out).sum())
        if min(parts) < MIN_IMAGES:
            fact = f"Expected at least {MIN_IMAGES} {words} to train on and as many to test, received {parts[0]} and "
            fact += f"{parts[1]}. Add images, or choose another part to hold out by"
            raise ValueError(Message(fact, "held_out=.", "--held-out."))
    files = [source.files[row] for row in rows]
    return RepairSamples(files, rows, photos, labels, held_out, class_index, found)


def _read(mapper: AuditMapper, source: Samples, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows that can be read, their photos, and digests of their files."""

    def read(row: int) -> tuple[np.ndarray, str] | None:
        digests: list[str] = []
        try:
            return mapper.images.load_photos([source.files[row]], digests)[0], digests[0]
        except (OSError, ValueError, MemoryError):
            return None

    with ThreadPool(THREADS) as pool:
        read_all = pool.map(read, rows.tolist())
    done = [one for one in read_all if one is not None]
    if len(done) < len(rows):
        count = len(rows) - len(done)
        warn(f"{count} image{'s' * (count > 1)} cannot be read, and {'are' if count > 1 else 'is'} left out.")
    if not done:
        raise ValueError("None of the labelled images can be read. Check the files.")
    is_read = np.array([one is not None for one in read_all])
    return rows[is_read], np.stack([photo for photo, _ in done]), np.array([digest for _, digest in done])


def _find_again(suspect: Suspect, photos: np.ndarray, examples: np.ndarray) -> Suspect:
    """Return the suspect with its members, and the places of a mark, among other photos of its class.

    Args:
        suspect: of the audit, which tested it in a sample.
        photos: (n, H0, W0, 3) uint8.
        examples: photos of the audit's sample.
    """
    return _FIND[suspect.kind](suspect, photos, examples)


def _everywhere(suspect: Suspect, photos: np.ndarray, examples: np.ndarray) -> Suspect:
    return replace(suspect, members=np.arange(len(photos)))


def _place(suspect: Suspect, photos: np.ndarray, examples: np.ndarray) -> Suspect:
    """Find the images that are drawn alike in the region; all of them if nothing there is drawn alike."""
    inside = examples[:, suspect.region].astype(np.float32)
    middle = np.median(inside, axis=0)
    alike = np.median(np.abs(inside - middle), axis=0).max(axis=-1) <= _SAME_LEVEL
    if alike.sum() < _MIN_PIXELS:
        return _everywhere(suspect, photos, examples)
    difference = np.abs(photos[:, suspect.region][:, alike] - middle[alike]).mean(axis=(1, 2))
    return replace(suspect, members=np.flatnonzero(difference <= 2 * _SAME_LEVEL))


def _mark(suspect: Suspect, photos: np.ndarray, examples: np.ndarray) -> Suspect:
    """Find the patch in each image, at the place where it fits best; it may stick out by half of its size."""
    assert suspect.patch is not None
    assert suspect.patch_region is not None
    height, width = suspect.patch_region.shape
    up, left = height // 2, width // 2
    patch, mask = suspect.patch.astype(np.float32), np.repeat(suspect.patch_region[..., None].astype(np.float32), 3, 2)
    limit = max(3.0, _MATCH_LEVEL * float(patch[suspect.patch_region].std(axis=0).max()))
    members, places = [], []
    cv2 = opencv()
    for number, photo in enumerate(photos):
        wide = cv2.copyMakeBorder(photo, up, up, left, left, cv2.BORDER_REPLICATE).astype(np.float32)
        squares = cv2.matchTemplate(wide, patch, cv2.TM_SQDIFF, mask=mask)
        least, _, (right, down), _ = cv2.minMaxLoc(squares)
        if np.sqrt(max(least, 0.0) / mask.sum()) <= limit:
            members.append(number)
            places.append((down - up, right - left))
    return replace(suspect, members=np.array(members, np.int64), places=np.array(places, np.int64).reshape(-1, 2))


def _tint(suspect: Suspect, photos: np.ndarray, examples: np.ndarray) -> Suspect:
    """Find the images nearer to the class's colour than to the colour of the others."""
    assert suspect.tone is not None
    level = float(np.median(photos[..., 1].mean(axis=(1, 2))))
    relation = channel_relation(photos.astype(np.float32))
    shift, own, other = ((one[..., 0] - 1) * level + one[..., 1] for one in (relation, *suspect.tone))
    near = ((shift - own) ** 2).sum(axis=-1) < ((shift - other) ** 2).sum(axis=-1)
    return replace(suspect, members=np.flatnonzero(near))


_FIND = {"place": _place, "mark": _mark, "tint": _tint}


def _held_out(
    strata: Sequence[int] | np.ndarray, digests: np.ndarray, share: float, generator: np.random.Generator
) -> np.ndarray:
    """Return (N,) bool: a share of each stratum; images of one digest are all in or all out."""
    _, first, group = np.unique(digests, return_index=True, return_inverse=True)
    of_group = np.asarray(strata)[first]
    is_out = np.zeros(len(first), bool)
    for stratum in np.unique(of_group):
        groups = generator.permutation(np.flatnonzero(of_group == stratum))
        is_out[groups[: round(share * len(groups))]] = True
    return is_out[group.reshape(-1)]
