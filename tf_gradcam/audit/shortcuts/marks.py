"""Marks that move: a small patch that is drawn alike in the images of a class, wherever it lies. NumPy and OpenCV.

Around each image's hottest place small tiles are cut out and looked for, by absolute difference, around the hottest
places of the others. A tile of an organ or an animal is never met again to a few grey levels; a stamp is.

Axis legend: n images, H0 x W0 pixels. Photos are (n, H0, W0, 3) float32 in 0..255.
"""

from __future__ import annotations

import numpy as np

from tf_gradcam.audit.shortcuts.suspects import DRAWN, Suspect
from tf_gradcam.image.opencv import opencv
from tf_gradcam.image.overlay import resize_heatmaps

_TILES = (1 / 20, 1 / 12)  # sides of the tiles, in sides of the image
_WINDOW = 0.3  # side of what is searched around the hottest place
_SEEDS = 10  # images whose tiles are tried
_SEARCHED = 40  # images in which they are looked for
_CONTRAST = 10.0  # grey levels of spread that a tile must have to be recognised
_RELATIVE = 0.25  # of its contrast: the difference up to which a tile is met again
_COMMON, _RARE = 0.4, 0.05  # share of the class's images that show it, and of the others
_ALIKE = 8.0  # grey levels: pixels around the tile that belong to the mark as well


def find_marks(photos: np.ndarray, heatmaps: np.ndarray, others: np.ndarray, seed: int = 0) -> list[Suspect]:
    """The patch that most images of the class share and the others do not.

    Args:
        photos: (n, H0, W0, 3), images of the class.
        heatmaps: (n, H, W), their maps.
        others: (m, H0, W0, 3), images of other classes.

    Returns:
        One suspect of kind "mark", or none.
    """
    if len(photos) < 8 or len(others) < 8:
        return []
    wide = resize_heatmaps(heatmaps, (photos.shape[1], photos.shape[2]))
    windows = [_window(one) for one in wide]
    order = np.random.default_rng(seed).permutation(len(photos))
    searched = order[:_SEARCHED]
    best: tuple[float, np.ndarray] | None = None
    for seed_image in order[:_SEEDS]:
        for tile in _tiles(photos[seed_image][windows[seed_image]], min(photos.shape[1:3])):
            share = _share(tile, [photos[i][windows[i]] for i in searched if i != seed_image])
            if share >= _COMMON and (best is None or share > best[0]):
                best = (share, tile)
        if best and best[0] > 0.85:
            break
    if best is None or _share(best[1], list(others[:_SEARCHED])) > _RARE:
        return []
    return _whole_mark(photos, best[1])


def _window(wide: np.ndarray) -> tuple[slice, slice]:
    """The square around the hottest pixel, shifted into the image."""
    peak = np.unravel_index(int(wide.argmax()), wide.shape)
    side = max(8, round(_WINDOW * min(wide.shape)))
    starts = [int(np.clip(p - side // 2, 0, max(0, whole - side))) for p, whole in zip(peak, wide.shape, strict=True)]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def _tiles(window: np.ndarray, side: int) -> list[np.ndarray]:
    """Tiles with enough contrast, the strongest of each size."""
    found = []
    for part in _TILES:
        size = max(4, round(part * side))
        step = max(1, size // 3)
        starts = [
            (top, left)
            for top in range(0, window.shape[0] - size + 1, step)
            for left in range(0, window.shape[1] - size + 1, step)
        ]
        tiles = [np.ascontiguousarray(window[top : top + size, left : left + size]) for top, left in starts]
        tiles = [tile for tile in tiles if tile.std(axis=(0, 1)).max() >= _CONTRAST]
        tiles.sort(key=lambda tile: -float(tile.std(axis=(0, 1)).max()))
        found += tiles[:12]
    return found


def _match(image: np.ndarray, tile: np.ndarray) -> tuple[float, tuple[int, int]]:
    """Root mean square difference at the best place, and that place (top, left)."""
    cv2 = opencv()
    squares = cv2.matchTemplate(np.ascontiguousarray(image, np.float32), tile.astype(np.float32), cv2.TM_SQDIFF)
    least, _, (left, top), _ = cv2.minMaxLoc(squares)
    return float(np.sqrt(max(least, 0) / tile.size)), (top, left)


def _limit(tile: np.ndarray) -> float:
    return max(3.0, _RELATIVE * float(tile.std(axis=(0, 1)).max()))


def _share(tile: np.ndarray, images: list[np.ndarray]) -> float:
    limit = _limit(tile)
    return float(np.mean([_match(image, tile)[0] <= limit for image in images]))


def _whole_mark(photos: np.ndarray, tile: np.ndarray) -> list[Suspect]:
    """The tile grown to all pixels around it that are alike wherever it lies."""
    matches = [_match(photo, tile) for photo in photos]
    members = np.flatnonzero([difference <= _limit(tile) for difference, _ in matches])
    if len(members) < 4:
        return []
    side = tile.shape[0]
    margin = 2 * side
    padded = np.pad(photos[members], ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="edge")
    corners = np.array([matches[i][1] for i in members])
    around = np.stack(
        [
            image[top : top + side + 2 * margin, left : left + side + 2 * margin]
            for image, (top, left) in zip(padded, corners, strict=True)
        ]
    )
    middle = np.median(around, axis=0)
    spread = np.median(np.abs(around - middle), axis=0).max(axis=-1)
    alike = spread <= _ALIKE
    alike[margin : margin + side, margin : margin + side] = True
    _, labels = opencv().connectedComponents(alike.astype(np.uint8))
    region = labels == labels[margin + side // 2, margin + side // 2]
    if region.mean() > 0.5:  # background that is alike everywhere: the tile alone is the mark
        region = np.zeros_like(region)
        region[margin : margin + side, margin : margin + side] = True
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    places = corners - margin + np.array([rows[0], columns[0]])
    patch = middle[box].astype(np.float32)
    return [Suspect("mark", DRAWN, members, places=places, patch=patch, patch_region=region[box])]
