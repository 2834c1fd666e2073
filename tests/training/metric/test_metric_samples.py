"""Samples of metric depth: canonical labels by hand, placement, crops, mirror."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from training.metric.tiny_metric import slope
from vitruvian.datasets.photometric import Photometric
from vitruvian.tasks.metric_canvas import PAD_RGB, laid_out, padded_placement
from vitruvian.training.metric.samples import (
    MetricAugmentation,
    MetricSample,
    blank_metric_batch,
    canonical_depth,
    metric_batch,
    metric_sample,
)

CANVAS_HW = (56, 84)
RANGE_M = (0.1, 200.0)
PLAIN = MetricAugmentation(photometric=Photometric(probability=0.0), mirror_probability=0.0)


def drawn(seed: int, augmentation: MetricAugmentation = PLAIN, height: int = 120, width: int = 90) -> MetricSample:
    return metric_sample(slope(height, width), CANVAS_HW, RANGE_M, augmentation, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("depth_m", "focal_px", "scale", "canonical_m"),
    [(3.0, 1000.0, 1.0, 3.0), (3.0, 500.0, 1.0, 6.0), (3.0, 500.0, 0.5, 12.0), (2.0, 4000.0, 0.25, 2.0)],
    ids=["the canonical camera", "half the focal length", "half the size", "a large picture made small"],
)
def test_canonical_depth_by_hand(depth_m: float, focal_px: float, scale: float, canonical_m: float) -> None:
    assert canonical_depth(np.array([depth_m]), focal_px, scale) == pytest.approx([canonical_m])


def test_without_chance_a_sample_is_what_the_task_makes_of_the_picture() -> None:
    picture = slope(112, 112, focal_px=250.0)
    sample = metric_sample(picture, CANVAS_HW, RANGE_M, PLAIN, None)
    placement = padded_placement((112, 112), CANVAS_HW)
    assert np.array_equal(sample.canvas_HW3, laid_out(picture.image_HW3, CANVAS_HW, placement))
    rows, columns = placement.inside()
    inside = np.zeros(CANVAS_HW, bool)
    inside[rows, columns] = True
    assert inside.sum() == 56 * 56
    assert not sample.depth_HW[~inside].any()
    assert not sample.normals_3HW[:, ~inside].any()
    # Half the size: canvas row r shows source rows 2r and 2r + 1, of which nearest takes one.
    metres = sample.depth_HW[rows, columns] * 250.0 * 0.5 / 1000
    wanted = 1 + 0.01 * (2 * np.arange(56)[:, None] + 0.5) + 0.001 * (2 * np.arange(56)[None] + 0.5)
    np.testing.assert_allclose(metres, wanted, atol=0.0056)


def test_labels_are_those_of_the_pixels_shown() -> None:
    """The colour of a pixel tells where it was; its label must be the depth there, by the scale that shows."""
    cut = padded = 0
    for seed in range(40):
        sample = drawn(seed)
        known = sample.depth_HW > 0
        assert np.array_equal(known, (sample.normals_3HW != 0).any(axis=0))
        assert (sample.canvas_HW3[~known] == PAD_RGB).all()
        rows, columns = np.nonzero(known)
        red, green = (sample.canvas_HW3[..., channel][known].astype(float) for channel in (0, 1))
        # Source rows for each row of the canvas.
        per_row = np.polyfit(rows, red, 1)[0]
        metres = sample.depth_HW[known] * 200.0 / per_row / 1000
        # Sizes are cut off to whole pixels, one of 47 at most, and the nearest pixel is up to a row away.
        np.testing.assert_allclose(metres, 1 + 0.01 * red + 0.001 * green, rtol=0.035)
        cut += bool(len(set(rows)) == CANVAS_HW[0] and red.min() > 4)
        padded += bool(len(set(columns)) < CANVAS_HW[1])
    assert cut > 3
    assert padded > 10


def test_a_mirrored_sample_is_the_other_one_mirrored() -> None:
    straight = drawn(3)
    mirrored = drawn(3, replace(PLAIN, mirror_probability=1.0))
    assert np.array_equal(mirrored.canvas_HW3, straight.canvas_HW3[:, ::-1])
    assert np.array_equal(mirrored.depth_HW, straight.depth_HW[:, ::-1])
    known = mirrored.depth_HW > 0
    np.testing.assert_allclose(mirrored.normals_3HW[:, known].mean(axis=1), (-0.6, 0.0, -0.8), atol=1e-4)
    np.testing.assert_allclose(straight.normals_3HW[:, straight.depth_HW > 0].mean(axis=1), (0.6, 0, -0.8), atol=1e-4)


def test_depth_that_is_missing_or_too_far() -> None:
    picture = slope(*CANVAS_HW)
    depth_m_HW = picture.depth_m_HW.copy()
    depth_m_HW[0, :4] = (0.0, np.nan, np.inf, 500.0)
    sample = metric_sample(replace(picture, depth_m_HW=depth_m_HW), CANVAS_HW, RANGE_M, PLAIN, None)
    assert sample.depth_HW[0, :4].tolist() == [0.0, 0.0, 0.0, 200.0]
    assert np.isfinite(sample.depth_HW).all()


def test_a_picture_without_normals_teaches_none() -> None:
    sample = metric_sample(replace(slope(*CANVAS_HW), normals_HW3=None), CANVAS_HW, RANGE_M, PLAIN, None)
    assert not sample.normals_3HW.any()
    assert (sample.depth_HW > 0).all()


def test_the_same_chance_gives_the_same_sample_and_other_chance_another() -> None:
    first, again, other = (drawn(seed, MetricAugmentation()) for seed in (5, 5, 6))
    for name in ("canvas_HW3", "depth_HW", "normals_3HW"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


def test_a_batch_is_its_samples_and_a_blank_one_has_its_form() -> None:
    samples = [drawn(1), drawn(2)]
    batch, blank = metric_batch(samples), blank_metric_batch(2, CANVAS_HW, torch.device("cpu"))
    assert np.array_equal(batch.normals_B3HW[1].numpy(), samples[1].normals_3HW)
    for name in ("canvas_BHW3", "depth_BHW", "normals_B3HW"):
        real, empty = getattr(batch, name), getattr(blank, name)
        assert (real.shape, real.dtype) == (empty.shape, empty.dtype)
