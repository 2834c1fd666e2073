"""Colours and holes."""

from __future__ import annotations

import cv2
import numpy as np

from vitruvian.datasets.photometric import Damage, Photometric

PICTURE = np.asarray(
    cv2.resize(np.random.default_rng(1).integers(0, 256, (6, 5, 3), np.uint8), (60, 80), interpolation=cv2.INTER_CUBIC)
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_nothing_wanted_changes_nothing() -> None:
    assert np.array_equal(Photometric(probability=0).changed(PICTURE, rng()), PICTURE)
    still = Damage(blur_probability=0, median_probability=0, hole_probability=0)
    assert np.array_equal(still.done_to(PICTURE, rng()), PICTURE)


def test_each_change_is_what_it_is_called() -> None:
    def changed(**ranges: object) -> np.ndarray:
        fixed = {"brightness": 0.0, "contrast": (1.0, 1.0), "saturation": (1.0, 1.0), "hue": 0}
        return Photometric(probability=1, **{**fixed, **ranges}).changed(PICTURE, rng(3))  # type: ignore[arg-type]

    lighter = changed(brightness=20.0).astype(int) - PICTURE
    assert len(np.unique(lighter[(PICTURE > 40) & (PICTURE < 215)])) == 1
    assert abs(changed(contrast=(0.5, 0.5)).astype(int) - PICTURE / 2).max() <= 0.5
    grey = changed(saturation=(0.0, 0.0))
    assert np.ptp(grey.astype(int), axis=2).max() == 0
    assert np.array_equal(grey[..., 0], PICTURE.max(axis=2))
    turned = changed(hue=18)
    assert np.abs(turned.max(axis=2).astype(int) - PICTURE.max(axis=2)).max() <= 1
    assert np.abs(turned.astype(int) - PICTURE).max() > 5


def test_the_generator_decides() -> None:
    first, second, other = (Photometric(probability=1).changed(PICTURE, rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_hole_is_as_large_as_the_recipe_says() -> None:
    white = np.full((100, 200, 3), 255, np.uint8)
    for seed in range(20):
        holed = Damage(blur_probability=0, median_probability=0).done_to(white, rng(seed))
        rows, columns = np.nonzero(holed[..., 0] == 0)
        high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert high * wide == len(rows)
        assert 20 <= high <= 40
        assert 40 <= wide <= 80
    assert (white == 255).all()
