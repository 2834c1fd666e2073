"""A clip in tiles that a network was trained for: which frames each holds, and what each frame weighs in it.

Numbers in, lists of frame numbers and weights out. Frame 0, the reference with its own pose, leads every tile.
"""

# Shape suffixes: T frames of a tile.

from __future__ import annotations

import numpy as np

from vitruvian.errors import UsageError


def published_tiles(frames: int, tile: int, overlap: int) -> list[list[int]]:
    """Tiles as published: a fixed stride and a last tile that ends with the clip, however much it repeats.

    Clips that are shorter than a tile are one tile, which the original cannot do.
    """
    _check(frames, tile, overlap)
    if frames <= tile:
        return [list(range(frames))]
    starts = list(range(0, frames - tile + 1, tile - overlap))
    tiles = [[0, *range(start + 1, start + tile)] for start in starts]
    if tiles[-1][-1] < frames - 1:
        tiles.append([0, *range(frames - tile + 1, frames)])
    return tiles


STRETCH = 16
"""A tile may be longer by one frame in so many where that saves another tile."""


def even_tiles(frames: int, tile: int, overlap: int) -> list[list[int]]:
    """The fewest tiles that overlap by so many frames, spread evenly and no longer than needed: no near-double tail.

    Tiles may be a little longer than `tile` (a frame in sixteen): the 73 frames of a reference and 72 others are one.
    `overlap` is what neighbours really share beside frame 0; the published number is one more.
    """
    _check(frames, tile, overlap)
    longest = tile + tile // STRETCH
    if frames <= longest:
        return [list(range(frames))]
    moving = frames - 1
    # Neighbours share `overlap` of the frames beside frame 0.
    count = -(-(moving - overlap) // (longest - 1 - overlap))
    length = -(-(moving + (count - 1) * overlap) // count)
    starts = [round(index * (moving - length) / (count - 1)) for index in range(count)]
    return [[0, *range(start + 1, start + 1 + length)] for start in starts]


def weights_of(tile: int) -> np.ndarray:
    """float32 (T): what each place of a tile counts where tiles overlap; a triangle, published."""
    rising_T = (np.arange(tile, dtype=np.float32) + np.float32(0.5)) * np.float32(2.0 / tile)
    return np.minimum(rising_T, 2 - rising_T)


def _check(frames: int, tile: int, overlap: int) -> None:
    if frames < 1 or tile < 2 or not 1 <= overlap < tile - 1:
        raise UsageError(
            f"got {frames} frames, tiles of {tile} and an overlap of {overlap}; expected a frame at least, tiles of 2 "
            "and more, and an overlap from 1 to two less than a tile; without any, frames at seams would belong nowhere"
        )
