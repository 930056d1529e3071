"""Volumes and frames as rows of slices, the maps painted on them.

Axis legend: B volumes, D x H x W cells, D0 slices of H0 x W0 pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tf_gradcam._figures.captions import card_lines, title_of
from tf_gradcam._figures.sheet import GREY, MARGIN, Sheet, grid, lines_height, painted, sides_of
from tf_gradcam.image.io import Photos
from tf_gradcam.image.overlay import DEFAULT_LOOK, Look
from tf_gradcam.image.thumbnails import photos_of_slices, shown_photo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tf_gradcam._figures.sheet import Shown

_LABEL, _BLOCK_GAP = 0.15, 0.14
_COLUMNS = 6
_ROWS_OF_ONE = 2  # of slices, for a single volume; one row each for several
_WIDTH, _MAX_HEIGHT = 1.25, 1.6  # of a slice
_PIXELS = 256  # longest side of a slice that is drawn


def montage_figure(explanation: Shown, volumes: Photos | None = None, look: Look = DEFAULT_LOOK) -> Figure:
    """Draw slices of each volume, evenly spread over its depth; only drawn slices are resized.

    Args:
        explanation: of B volumes or series of frames, maps (B, D, H, W).
        volumes: B arrays (D0, H0, W0) or (D0, H0, W0, 1), drawn grey from their lowest value to their highest, or
            (D0, H0, W0, 3), RGB: uint8 unchanged, other numbers stretched likewise. None for the maps alone.
        look: the colours and the threshold; figures have an opacity of their own.

    Raises:
        ValueError: a volume of another shape, or maps with other axes than the input.
    """
    blocks = [_block(explanation, index, volumes, look) for index in range(len(explanation))]
    rows, columns = blocks[0][0][1].shape[:2]
    height, sides = min(_WIDTH * rows / columns, _MAX_HEIGHT), sides_of(explanation)
    slices = grid(
        max(map(len, blocks)), columns / rows, height, caption=0.0, card_gap=0.04, row_gap=_LABEL, columns=_COLUMNS
    )
    captions = [card_lines(explanation, index) for index in range(len(explanation))]
    caption = max(lines_height(lines, slices.across) for lines in captions)
    grids = [slices._replace(cards=len(block)) for block in blocks]
    total = sum(caption + own.down + _BLOCK_GAP for own in grids)
    sheet, start = Sheet.titled(slices.across + MARGIN, total, title_of(explanation), sides, caption=caption)
    top = start
    for index, (block, own) in enumerate(zip(blocks, grids, strict=True)):
        sheet.lines(captions[index], MARGIN, top, own.across)
        own, top = own._replace(top=top + caption), top + caption + own.down + _BLOCK_GAP
        for position, (number, picture) in enumerate(block):
            left, upper, width, height = own.place(position)
            sheet.picture(picture, left, upper, width, height)
            sheet.text(str(number), left, upper + height + 0.02, width, 6, GREY)
    sheet.scale(start + caption, total - caption - _BLOCK_GAP, sides, look)
    return sheet.figure


def _block(explanation: Shown, index: int, volumes: Photos | None, look: Look) -> list[tuple[int, np.ndarray]]:
    """Return (number, picture) of the slices of one volume."""
    if volumes is None:
        depth, *size = explanation.image_size
        chosen = chosen_slices(depth, len(explanation))
        scale = min(1.0, _PIXELS / max(size))
        height, width = (max(1, round(side * scale)) for side in size)
        slices = None
    else:
        volume = np.asarray(volumes[index])
        is_photo = volume.ndim == 3 and volume.shape[2] in (1, 3) and explanation.image_size[2] not in (1, 3)
        is_other = volume.ndim not in (3, 4) or (volume.ndim == 4 and volume.shape[3] not in (1, 3))
        if is_other or is_photo or not volume.size:
            raise ValueError(
                f"Expected volumes of shape (D0, H0, W0) or frames (D0, H0, W0, 3), received {volume.shape}."
            )
        depth = len(volume)
        chosen = chosen_slices(depth, len(explanation))
        slices = np.stack([shown_photo(picture, _PIXELS) for picture in photos_of_slices(volume, chosen)])
        height, width = slices.shape[1:3]
    values = explanation.shown_at(index, (depth, height, width), chosen)
    return [
        (number, painted(explanation, heat, None if slices is None else slices[place], look))
        for place, (number, heat) in enumerate(zip(chosen.tolist(), values, strict=True))
    ]


def chosen_slices(depth: int, volume_count: int) -> np.ndarray:
    """Return the slices in the middle of equal parts of the depth; all slices of a shallow volume."""
    parts = min(depth, _COLUMNS * (_ROWS_OF_ONE if volume_count == 1 else 1))
    return ((np.arange(parts) + 0.5) * depth / parts).astype(int)
