"""Chunks of frames: all of them once, in order; where chunks overlap they are blended."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitruvian.generation.decoding import LATENT_SCALE, decoded

LATENTS = (torch.arange(11.0) / 11 - 0.5)[:, None, None, None].expand(11, 4, 1, 1) * LATENT_SCALE


def plain(latents: Tensor) -> Tensor:
    """A decoder that looks at each frame alone."""
    return latents[:, :3].repeat(1, 1, 2, 2)


@pytest.mark.parametrize("chunk", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("overlap", [0, 1, 3])
def test_every_frame_comes_once_and_in_order(chunk: int, overlap: int) -> None:
    parts = list(decoded(plain, LATENTS, chunk, overlap))
    expected = (torch.arange(11.0) / 11 - 0.5) / 2 + 0.5
    torch.testing.assert_close(torch.cat(parts)[:, 0, 0, 0], expected)
    assert all(0 < len(part) <= chunk for part in parts)


def test_overlapping_chunks_are_blended_without_a_seam() -> None:
    calls: list[int] = []

    def drifting(latents: Tensor) -> Tensor:
        """Each chunk a little brighter than the one before."""
        calls.append(len(latents))
        return torch.full((len(latents), 3, 2, 2), 0.2 * len(calls))

    hard = torch.cat(list(decoded(drifting, LATENTS, 6)))[:, 0, 0, 0]
    calls.clear()
    soft = torch.cat(list(decoded(drifting, LATENTS, 6, 3)))[:, 0, 0, 0]
    assert hard.diff().max() > 0.09
    assert soft.diff().max() < 0.06
    assert len(soft) == 11


def test_values_beyond_the_range_are_cut() -> None:
    bright = torch.cat(list(decoded(lambda z: torch.full((len(z), 3, 2, 2), 3.0), LATENTS, 4)))
    assert float(bright.max()) == 1.0
