"""Tiles cover every frame, none weighs nothing, and none is nearly its neighbour."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vitruvian.animation.tiles import STRETCH, even_tiles, published_tiles, weights_of
from vitruvian.errors import UsageError

SHAPES = [
    (frames, tile, overlap)
    for frames in (1, 2, 5, 16, 17, 72, 73, 100, 145, 526)
    for tile, overlap in ((16, 4), (72, 6), (6, 1))
]


@pytest.mark.parametrize(("frames", "tile", "overlap"), SHAPES)
def test_every_frame_is_in_a_tile_that_fits(frames: int, tile: int, overlap: int) -> None:
    stretched = tile + tile // STRETCH
    for most, made in ((tile, published_tiles(frames, tile, overlap)), (stretched, even_tiles(frames, tile, overlap))):
        assert set(itertools.chain.from_iterable(made)) == set(range(frames))
        assert all(one[0] == 0 and len(one) <= most and len(set(one)) == len(one) for one in made)


@pytest.mark.parametrize(
    ("frames", "tile", "overlap"), [shape for shape in SHAPES if shape[0] > shape[1] + shape[1] // STRETCH]
)
def test_even_tiles_are_as_few_as_can_be_and_as_long_as_each_other(frames: int, tile: int, overlap: int) -> None:
    made = even_tiles(frames, tile, overlap)
    assert len({len(one) for one in made}) == 1
    shared = [len(set(first) & set(second)) - 1 for first, second in itertools.pairwise(made)]
    assert min(shared) >= overlap
    own = tile + tile // STRETCH - 1
    fewest = next(count for count in itertools.count(1) if count * own - (count - 1) * overlap >= frames - 1)
    assert len(made) == fewest
    assert len(made) <= len(published_tiles(frames, tile, overlap + 1))


def test_a_reference_and_72_frames_are_no_longer_two_nearly_equal_tiles() -> None:
    published, even = published_tiles(73, 72, 6), even_tiles(73, 72, 5)
    assert [len(one) for one in published] == [72, 72]
    assert len(set(published[0]) & set(published[1])) == 71
    assert even == [list(range(73))], "one that is a frame longer"
    assert [len(one) for one in even_tiles(77, 72, 5)] == [42, 42], "two where five more frames were needed"


def test_weights_are_a_triangle_without_a_zero() -> None:
    np.testing.assert_allclose(weights_of(6), np.array([1, 3, 5, 5, 3, 1]) / 6, rtol=1e-6)
    assert weights_of(5).min() > 0


@pytest.mark.parametrize("bad", [(10, 6, 0), (10, 6, 5), (10, 1, 1), (0, 6, 2)])
def test_tiles_that_would_leave_seams_are_refused(bad: tuple[int, int, int]) -> None:
    for make in (published_tiles, even_tiles):
        with pytest.raises(UsageError, match="overlap"):
            make(*bad)
