"""Latents to frames, a few at a time: the codec's decoder looks over neighbouring frames, so chunks may overlap.

Latents of a clip in, frames from 0 to 1 out, in order and streamed. The decoder takes a GB a frame at 1024x576 in 16
bits: the chunk is what memory is planned by.
"""

# Shape suffixes: F frames, N frames of a chunk, H W frame, h w latents, 3 = RGB.

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

LATENT_SCALE = 0.18215


@torch.no_grad()
def decoded(decode: Callable[[Tensor], Tensor], latents_F4hw: Tensor, chunk: int, overlap: int = 0) -> Iterator[Tensor]:
    """Frames float32 (N,3,H,W), 0 to 1, chunk by chunk; all of them once and in order.

    Args:
        decode: latents (N,4,h,w), not scaled -> frames (N,3,H,W), -1 to 1.
        latents_F4hw: of the clip.
        chunk: frames decoded at once.
        overlap: frames that neighbouring chunks share and blend; 0 as published.
    """
    frames, start = len(latents_F4hw), 0
    kept: Tensor | None = None
    while start < frames:
        end = min(start + chunk, frames)
        found_N3HW = (decode(latents_F4hw[start:end] / LATENT_SCALE).float() / 2 + 0.5).clamp(0, 1)
        if kept is not None:
            shared = len(kept)
            share = (torch.arange(shared, device=kept.device) + 1).to(kept) / (shared + 1)
            share = share[:, None, None, None]
            found_N3HW[:shared] = kept * (1 - share) + found_N3HW[:shared] * share
        last = end == frames
        hold = 0 if last else min(overlap, end - start - 1)
        yield found_N3HW[: len(found_N3HW) - hold]
        kept = found_N3HW[len(found_N3HW) - hold :].clone() if hold else None
        start = frames if last else end - hold
