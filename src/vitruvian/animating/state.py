"""What a clip needs to go on after it was killed: its latents, the step they are after, and the way they were made.

In: a job's folder and what decides the video. Out: the last state; nothing of another video's. A few MB a state.
"""

# Shape suffixes: F frames, h w latents, 4 = latent channels.

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitruvian.videos.workplace import Workplace

LAYOUT = 1
"""Counts up when a stored state comes to mean something else."""
KEPT = ("dtype", "codec", "tile", "overlap", "storage")
"""Of a way: what decides the numbers."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClipState:
    """A clip after some of its steps."""

    steps: int
    """Taken."""
    latents_F4hw: Tensor
    way: Mapping[str, Any]
    """What decided its numbers."""


def stored_state(work: Workplace) -> ClipState | None:
    """The last state; None: there is none, or it cannot be read."""
    arrays = work.state()
    if not {"steps", "latents_F4hw", "way", "layout"} <= arrays.keys() or int(arrays["layout"]) != LAYOUT:
        return None
    return ClipState(
        steps=int(arrays["steps"]),
        latents_F4hw=torch.from_numpy(arrays["latents_F4hw"]),
        way=json.loads(str(arrays["way"])),
    )


def store(work: Workplace, state: ClipState) -> None:
    """Put a state in the place of the last one."""
    work.save(
        {
            "layout": np.array(LAYOUT),
            "steps": np.array(state.steps),
            "latents_F4hw": state.latents_F4hw.cpu().numpy(),
            "way": np.array(json.dumps(dict(state.way))),
        }
    )
