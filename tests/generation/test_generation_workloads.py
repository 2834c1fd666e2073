"""What planners are told of a clip's stages: traced on shapes, linear in frames, with every weight counted."""

from __future__ import annotations

import pytest

from tiny_animation import TINY
from vitruvian.fit.footprint import footprints_of
from vitruvian.fit.footprint.values import Breakdown
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.workload import Workload
from vitruvian.generation.workloads import decoding_workload, denoising_workload, encoding_workload
from vitruvian.models.mimicmotion import Part, build_network

SIZE_HW = (64, 64)
BLOCK_BYTES = 512
"""What an allocator rounds up to."""


def peak(workload: Workload, frames: int, dtype: str = "float32") -> Breakdown:
    return footprints_of(workload)(Knobs(dtype=dtype)).at(frames)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("workload", "part"),
    [
        (denoising_workload(TINY, SIZE_HW, branches=1), "unet"),
        (decoding_workload(TINY, SIZE_HW), "vae"),
        (encoding_workload(TINY, SIZE_HW), "vae"),
    ],
    ids=["denoising", "decoding", "encoding"],
)
def test_every_weight_counts_and_activations_grow_with_frames(workload: Workload, part: Part) -> None:
    weights = list(build_network(part, TINY).parameters())
    few, many = peak(workload, 2), peak(workload, 6)
    slack = few.weights_bytes - 4 * sum(weight.numel() for weight in weights)
    assert 0 <= slack < BLOCK_BYTES * len(weights)
    assert few.weights_bytes == many.weights_bytes
    assert many.activations_bytes > 2.5 * few.activations_bytes


def test_both_branches_at_once_hold_twice_the_activations() -> None:
    one, two = (peak(denoising_workload(TINY, SIZE_HW, branches=count), 6) for count in (1, 2))
    assert two.weights_bytes == one.weights_bytes
    assert 1.8 < two.activations_bytes / one.activations_bytes < 2.2


def test_half_the_type_is_half_the_memory_but_for_the_islands() -> None:
    workload = denoising_workload(TINY, SIZE_HW, branches=1)
    wide, narrow = peak(workload, 6), peak(workload, 6, "bfloat16")
    assert 0.5 < narrow.weights_bytes / wide.weights_bytes < 0.6
    assert narrow.activations_bytes < 0.7 * wide.activations_bytes
