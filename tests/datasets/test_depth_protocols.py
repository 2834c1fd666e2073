"""Crops in pixels, counted by hand."""

from __future__ import annotations

import pytest

from vitruvian.datasets.depth_protocols import AS_STORED, KITTI, NYU
from vitruvian.errors import InputError


@pytest.mark.parametrize(
    ("size_hw", "rows", "columns"),
    [
        # 0.3324 * 375 = 124.65, 0.9135 * 375 = 342.56; 0.036 * 1242 = 44.7, 0.964 * 1242 = 1197.3
        ((375, 1242), (124, 342), (44, 1197)),
        # 0.3324 * 352 = 117.005, 0.9135 * 352 = 321.55; 0.036 * 1216 = 43.8, 0.964 * 1216 = 1172.2
        ((352, 1216), (117, 321), (43, 1172)),
    ],
)
def test_shares_are_cut_off_to_pixels(
    size_hw: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    assert KITTI.inside(size_hw) == (slice(*rows), slice(*columns))


def test_a_crop_in_pixels_is_for_one_size() -> None:
    assert NYU.inside((480, 640)) == (slice(45, 471), slice(41, 601))
    with pytest.raises(InputError, match="is 320 x 240; expected 640 x 480"):
        NYU.inside((240, 320))


def test_without_a_crop_everything_counts() -> None:
    assert AS_STORED.inside((7, 9)) == (slice(None), slice(None))


def test_protocols_say_themselves() -> None:
    assert KITTI.in_words == ("kitti: rows 0.3324 to 0.9135, columns 0.036 to 0.964 of their size, up to 80 m")
    assert NYU.in_words == "nyu: rows 45 to 471, columns 41 to 601 of 480 x 640, up to 10 m"
