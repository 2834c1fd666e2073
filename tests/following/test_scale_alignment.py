"""One scale over a video: flicker of the whole map is taken back, motion and real change are not."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.errors import UsageError
from vitruvian.following.scale_alignment import ScaleAligner

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 255, (64, 96, 3), np.uint8)
DEPTH = np.linspace(1, 9, 64 * 96, dtype=np.float32).reshape(64, 96)
FLICKER = (1.0, 1.1, 0.93, 1.05, 0.9, 1.08)


def middle(aligner: ScaleAligner, factor: float, time_s: float, picture: np.ndarray = PICTURE) -> float:
    return float(np.median(aligner.update(DEPTH * np.float32(factor), picture, time_s)))


def test_flicker_of_the_scale_is_taken_back() -> None:
    aligner = ScaleAligner()
    middles = [middle(aligner, factor, index / 25) for index, factor in enumerate(FLICKER)]
    assert np.ptp(middles) < 0.1 * np.ptp([factor * np.median(DEPTH) for factor in FLICKER])


def test_the_scale_follows_what_the_network_says_over_seconds() -> None:
    aligner = ScaleAligner()
    middle(aligner, 1.0, 0.0)
    later = [middle(aligner, 1.15, (index + 1) / 25) / float(np.median(DEPTH)) for index in range(300)]
    assert later[0] == pytest.approx(1.0, abs=0.01)
    assert later[-1] == pytest.approx(1.15, abs=0.01)


@pytest.mark.parametrize("case", ["camera moves", "another scene", "gap", "another size"])
def test_where_nothing_is_known_the_map_stays_as_it_is(case: str) -> None:
    aligner = ScaleAligner()
    middle(aligner, 1.0, 0.0)
    picture = PICTURE[::-1].copy() if case == "camera moves" else PICTURE
    factor = 2.0 if case == "another scene" else 1.1
    new = DEPTH * np.float32(factor)
    if case == "another size":
        new, picture = new[:40], PICTURE[:40]
    aligned = aligner.update(new, picture, 3.0 if case == "gap" else 0.04)
    np.testing.assert_array_equal(aligned, new)


def test_pixels_without_a_value_stay_so_and_do_not_count() -> None:
    aligner = ScaleAligner()
    first = DEPTH.copy()
    first[:30] = np.nan
    aligner.update(first, PICTURE, 0.0)
    second = DEPTH * np.float32(1.1)
    second[40:50] = np.inf
    aligned = aligner.update(second, PICTURE, 0.04)
    assert np.isinf(aligned[40:50]).all()
    np.testing.assert_allclose(aligned[:30], DEPTH[:30], rtol=0.01)


def test_what_is_remembered_goes_on_elsewhere() -> None:
    first, second = ScaleAligner(), ScaleAligner()
    middle(first, 1.0, 0.0)
    second.restore(first.snapshot())
    assert middle(first, 1.1, 0.04) == middle(second, 1.1, 0.04)
    empty = ScaleAligner()
    empty.restore(ScaleAligner().snapshot())
    np.testing.assert_array_equal(empty.update(DEPTH, PICTURE, 0.0), DEPTH)


def test_a_map_of_another_size_than_its_picture_is_refused() -> None:
    with pytest.raises(UsageError, match="one size"):
        ScaleAligner().update(DEPTH[:10], PICTURE, 0.0)
