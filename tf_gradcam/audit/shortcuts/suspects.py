"""Suspected shortcuts: places, marks and tints that many images of one class share.

Axis legend: n images, H0 x W0 pixels. Photos are (n, H0, W0, 3) float32 in 0..255.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tf_gradcam.image.opencv import opencv
from tf_gradcam.image.resize import resize_heatmaps

DRAWN = "drawn alike"  # the source of suspects that are found by pixels, not by heat
_HOT_LEVEL = 0.5  # relative to the maximum of a mean heatmap: its hot regions are above
_MAX_PLACE = 0.35  # of the image: if a hot region is larger, the heat is everywhere
_SAME_LEVEL = 6.0  # grey levels: pixels that are drawn the same differ only by noise and JPEG
_OTHER_LEVEL = 12.0  # grey levels by which they differ from the images of other classes
_MIN_PIXELS = 4
_EMPTY_SPREAD = 4.0  # grey levels of spread inside an empty region
_DARK_LEVEL = 10.0  # grey levels: darker parts of an image do not show a tint
_RARE_SHARE = 0.05  # most of the other images that may show by chance what is drawn: a dark corner is not a mark

# Marks that move.
_TILE_SIDES = (1 / 20, 1 / 12)  # of the image's shorter side
_WINDOW_SIDE = 0.3  # of the image's shorter side: the square around the hottest place that is searched
_SEED_IMAGES = 10  # whose tiles are tried
_SEARCHED_IMAGES = 40  # in which the tiles are searched
_MIN_CONTRAST = 10.0  # grey levels of spread: a tile with less is not recognisable
_MATCH_LEVEL = 0.25  # of a tile's contrast: the largest difference of a match
_COMMON_SHARE = 0.4  # least share of the class's images that show a mark
_SAME_LEVEL_AROUND_MARK = 8.0  # grey levels: pixels around the tile that vary less belong to the mark


@dataclass(frozen=True)
class Suspect:
    """A suspected shortcut.

    Attributes:
        kind: "place", "mark" or "tint".
        source: origin of the suspicion: "mean map", "cluster 2 of 3", "drawn alike".
        members: positions of the class's images that show it.
        region: (H0, W0) bool, of a place.
        places: (n, 2) int, top and left of a mark in each image that shows it.
        patch: (h, w, 3) float32, pixels of a mark.
        patch_region: (h, w) bool, pixels of the patch that belong to the mark.
        tone: of a tint, the `channel_relation` (2, 2) of this class, and of the other classes.
    """

    kind: str
    source: str
    members: np.ndarray
    region: np.ndarray | None = None
    places: np.ndarray | None = None
    patch: np.ndarray | None = None
    patch_region: np.ndarray | None = None
    tone: tuple[np.ndarray, np.ndarray] | None = field(default=None, repr=False)


def hot_places(heatmaps: np.ndarray, members: np.ndarray, size: tuple[int, int], source: str) -> list[Suspect]:
    """Find the hot places of a mean heatmap: the connected regions above 0.5 relative to the map's maximum.

    Args:
        heatmaps: (n, H, W) shares of heat.
        members: positions of the heatmaps that are averaged.
        size: (H0, W0).
        source: see `Suspect`.

    Returns:
        The two hottest places that cover at most 35 % of the image.
    """
    mean = heatmaps[members].mean(axis=0)
    if not mean.max() > 0:
        return []
    wide = resize_heatmaps(mean[None] / mean.max(), size)[0]
    count, labels = opencv().connectedComponents((wide >= _HOT_LEVEL).astype(np.uint8))
    regions = [labels == label for label in range(1, count)]
    regions = [region for region in regions if region.mean() <= _MAX_PLACE]
    regions.sort(key=lambda region: -wide[region].sum())
    return [Suspect("place", source, _looking_at(heatmaps, members, region), region=region) for region in regions[:2]]


def heat_in(heatmaps: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Return (n,) shares of each heatmap's heat inside a region of pixels; 0 for a blank heatmap."""
    wide = resize_heatmaps(heatmaps, (region.shape[0], region.shape[1]))
    total = wide.sum(axis=(1, 2))
    return np.divide((wide * region).sum(axis=(1, 2)), total, out=np.zeros(len(wide), np.float32), where=total > 0)


def _looking_at(heatmaps: np.ndarray, members: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Return the members with at least twice the heat that the region's size explains, the hottest first."""
    share = heat_in(heatmaps[members], region)
    order = np.argsort(-share, kind="stable")
    return members[order[share[order] >= min(0.5, 2 * region.mean())]]


def drawn_places(photos: np.ndarray, others: np.ndarray) -> list[Suspect]:
    """Find pixels that are alike in most images of the class and different in the others: a corner mark, a border.

    Returns:
        The three clearest regions, grown by a pixel and joined where they touch.
    """
    if len(photos) < 4 or len(others) < 4:
        return []
    drawn, middle = _drawn(photos, others)
    apart = np.abs(middle - np.median(others, axis=0)).max(axis=-1)
    cv2 = opencv()
    side = max(3, 2 * (min(drawn.shape) // 48) + 1)
    joined = cv2.dilate(drawn.astype(np.uint8), np.ones((side, side), np.uint8))
    count, labels = cv2.connectedComponents(joined, connectivity=8)
    regions = [labels == label for label in range(1, count)]
    regions = [region for region in regions if (region & drawn).sum() >= _MIN_PIXELS]
    regions.sort(key=lambda region: -(apart * (region & drawn)).sum())
    found = []
    for region in regions[:3]:
        core = region & drawn
        difference = np.abs(photos[:, core] - middle[core]).mean(axis=(1, 2))
        members = np.flatnonzero(difference <= 2 * _SAME_LEVEL)
        found.append(Suspect("place", DRAWN, members[np.argsort(difference[members])], region=region))
    return found


def _drawn(photos: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels that are alike in most images and rare in the others, and the median of the images."""
    middle, spread = _median_and_spread(photos)
    noise = spread.max(axis=-1)
    apart = np.abs(middle - np.median(others, axis=0)).max(axis=-1)
    near = np.abs(others - middle).max(axis=-1) <= np.maximum(_OTHER_LEVEL, 3 * noise)
    return (noise <= _SAME_LEVEL) & (apart >= _OTHER_LEVEL) & (apart >= 3 * noise) & (
        near.mean(axis=0) <= _RARE_SHARE
    ), middle


def _median_and_spread(photos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median and the median absolute deviation of each pixel, which a few other images do not change."""
    middle = np.median(photos, axis=0)
    return middle, np.median(np.abs(photos - middle), axis=0)


def is_drawn_alike(photos: np.ndarray, others: np.ndarray, region: np.ndarray) -> bool:
    """Return whether some pixels of the region are the same in most images and absent from the others."""
    if len(photos) < 4 or len(others) < 4:
        return False
    drawn, _ = _drawn(photos[:, region], others[:, region])
    return bool(drawn.sum() >= max(_MIN_PIXELS, 0.02 * len(drawn)))


def is_empty_elsewhere(photos: np.ndarray, others: np.ndarray, region: np.ndarray) -> bool:
    """Return whether the region is empty in the other images and not empty in these."""
    inside, outside = (np.median(part[:, region].std(axis=1).max(axis=-1)) for part in (photos, others))
    return bool(outside <= _EMPTY_SPREAD and inside >= 2 * outside + _EMPTY_SPREAD)


# Tints, found by the relation of the colour channels.


def channel_relation(photos: np.ndarray) -> np.ndarray:
    """Return (n, 2, 2), slope and offset of red and of blue against green in each image: (1, 0) if it is grey."""
    flat = photos.reshape(len(photos), -1, 3)
    green = flat[..., 1]
    centred = green - green.mean(axis=1, keepdims=True)
    variance = np.maximum((centred**2).mean(axis=1), 1e-6)
    relations = []
    for channel in (0, 2):
        slope = (centred * flat[..., channel]).mean(axis=1) / variance
        offset = flat[..., channel].mean(axis=1) - slope * green.mean(axis=1)
        relations.append(np.stack([slope, offset], axis=-1))
    return np.stack(relations, axis=1)


def tints(photos: np.ndarray, others: np.ndarray) -> list[Suspect]:
    """Find a colour that the whole images of the class have, and the others do not.

    Returns:
        One suspect; none if the colours of the classes overlap, as in photographs.
    """
    if len(photos) < 4 or len(others) < 4 or photos.shape[-1] != 3:
        return []
    here, there = channel_relation(photos), channel_relation(others)
    tone, other_tone = np.median(here, axis=0), np.median(there, axis=0)
    level = float(np.median(photos[..., 1].mean(axis=(1, 2))))
    shift = _shift(here, level), _shift(there, level)
    middle = [np.median(part, axis=0) for part in shift]
    spread = sum(np.median(np.abs(part - m), axis=0) for part, m in zip(shift, middle, strict=True))
    distance = np.abs(middle[0] - middle[1])
    separate = (distance >= 1.0) & (distance >= 3 * spread)
    if not separate.any() or not _is_everywhere(photos, others, float(np.linalg.norm(distance))):
        return []
    # Images nearer to the class's own colour than to the colour of the others.
    near = ((shift[0] - middle[0]) ** 2).sum(-1) < ((shift[0] - middle[1]) ** 2).sum(-1)
    return [Suspect("tint", "colour of the image", np.flatnonzero(near), tone=(tone, other_tone))]


def _is_everywhere(photos: np.ndarray, others: np.ndarray, shift: float) -> bool:
    """Return whether the colours differ alike in all parts of the images: a golden dog is not a tint.

    Of nine parts, the bright ones can show a tint. Two thirds of them must differ in the direction of their mean
    difference by at least half of it, and the mean must be at least half of the suspected shift.
    """
    here, there = (_parts(part) for part in (photos, others))
    change = (here - there)[..., [0, 2]] - (here - there)[..., [1]]
    bright = here[..., 1] > _DARK_LEVEL
    if not bright.any():
        return False
    mean = change[bright].mean(axis=0)
    size = float(np.linalg.norm(mean))
    along = change[bright] @ mean / max(size, 1e-9)
    return bool(size >= shift / 2 and (along >= size / 2).mean() >= 2 / 3)


def _parts(photos: np.ndarray) -> np.ndarray:
    """Return (9, 3), the median over the images of the mean colour of each ninth."""
    rows, columns = (np.array_split(np.arange(side), 3) for side in photos.shape[1:3])
    means = [photos[:, row[0] : row[-1] + 1, column[0] : column[-1] + 1] for row in rows for column in columns]
    return np.stack([np.median(part.mean(axis=(1, 2)), axis=0) for part in means])


def _shift(relation: np.ndarray, level: float) -> np.ndarray:
    """Return (n, 2), the grey levels by which red and blue exceed green at a level of green."""
    return (relation[..., 0] - 1) * level + relation[..., 1]


def retoned(photos: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Change the channel relation (2, 2) of images from `old` to `new`: red and blue change, green stays."""
    result = photos.copy()
    green = photos[..., 1]
    for row, channel in enumerate((0, 2)):
        change = (new[row, 0] - old[row, 0]) * green + new[row, 1] - old[row, 1]
        result[..., channel] = photos[..., channel] + change
    return np.clip(result, 0, 255).astype(np.float32)


def find_marks(photos: np.ndarray, heatmaps: np.ndarray, others: np.ndarray, seed: int = 0) -> list[Suspect]:
    """Find the patch that many images of the class share and the others do not.

    Args:
        photos, heatmaps: (n, H0, W0, 3) and (n, H, W), of the class.
        others: (m, H0, W0, 3), images of other classes.
        seed: of the images that are tried.

    Returns:
        One suspect of kind "mark", or none.
    """
    if len(photos) < 8 or len(others) < 8:
        return []
    wide = resize_heatmaps(heatmaps, (photos.shape[1], photos.shape[2]))
    windows = [_window(one) for one in wide]
    order = np.random.default_rng(seed).permutation(len(photos))
    searched = order[:_SEARCHED_IMAGES]
    best: tuple[float, np.ndarray] | None = None
    for seed_image in order[:_SEED_IMAGES]:
        for tile in _tiles(photos[seed_image][windows[seed_image]], min(photos.shape[1:3])):
            share = _share(tile, [photos[i][windows[i]] for i in searched if i != seed_image])
            if share >= _COMMON_SHARE and (best is None or share > best[0]):
                best = (share, tile)
        if best and best[0] > 0.85:
            break
    if best is None or _share(best[1], list(others[:_SEARCHED_IMAGES])) > _RARE_SHARE:
        return []
    return _whole_mark(photos, best[1])


def _window(wide: np.ndarray) -> tuple[slice, slice]:
    """Return the square around the hottest pixel, shifted into the image."""
    peak = np.unravel_index(int(wide.argmax()), wide.shape)
    side = max(8, round(_WINDOW_SIDE * min(wide.shape)))
    starts = [int(np.clip(p - side // 2, 0, max(0, whole - side))) for p, whole in zip(peak, wide.shape, strict=True)]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def _tiles(window: np.ndarray, side: int) -> list[np.ndarray]:
    """Return tiles with enough contrast, up to twelve of each size, the strongest first."""
    chosen = []
    for part in _TILE_SIDES:
        size = max(4, round(part * side))
        step = max(1, size // 3)
        starts = [
            (top, left)
            for top in range(0, window.shape[0] - size + 1, step)
            for left in range(0, window.shape[1] - size + 1, step)
        ]
        tiles = [np.ascontiguousarray(window[top : top + size, left : left + size]) for top, left in starts]
        tiles = [tile for tile in tiles if tile.std(axis=(0, 1)).max() >= _MIN_CONTRAST]
        tiles.sort(key=lambda tile: -float(tile.std(axis=(0, 1)).max()))
        chosen += tiles[:12]
    return chosen


def _match(image: np.ndarray, tile: np.ndarray) -> tuple[float, tuple[int, int]]:
    """Return the root mean square difference at the best place, and that place (top, left)."""
    cv2 = opencv()
    squares = cv2.matchTemplate(np.ascontiguousarray(image, np.float32), tile.astype(np.float32), cv2.TM_SQDIFF)
    least, _, (left, top), _ = cv2.minMaxLoc(squares)
    return float(np.sqrt(max(least, 0) / tile.size)), (top, left)


def _limit(tile: np.ndarray) -> float:
    return max(3.0, _MATCH_LEVEL * float(tile.std(axis=(0, 1)).max()))


def _share(tile: np.ndarray, images: list[np.ndarray]) -> float:
    limit = _limit(tile)
    return float(np.mean([_match(image, tile)[0] <= limit for image in images]))


def _whole_mark(photos: np.ndarray, tile: np.ndarray) -> list[Suspect]:
    """Grow the tile to all pixels around it that are alike in the images that show it."""
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
    alike = spread <= _SAME_LEVEL_AROUND_MARK
    alike[margin : margin + side, margin : margin + side] = True
    _, labels = opencv().connectedComponents(alike.astype(np.uint8))
    region = labels == labels[margin + side // 2, margin + side // 2]
    if region.mean() > 0.5:  # the background is alike everywhere, so only the tile is the mark
        region = np.zeros_like(region)
        region[margin : margin + side, margin : margin + side] = True
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    places = corners - margin + np.array([rows[0], columns[0]])
    patch = middle[box].astype(np.float32)
    return [Suspect("mark", DRAWN, members, places=places, patch=patch, patch_region=region[box])]
