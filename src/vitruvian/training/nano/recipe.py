"""What the nano networks are taught on and with which weights, as one value; how long and how fast is the trainer's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class NanoRecipe:
    """Pictures and loss weights."""

    pictures: int = 16_000
    """Synthetic pictures rendered once; each is seen many times, cut and coloured anew."""
    picture_side: int = 288
    """Height and width the pictures are rendered at."""
    several_share: float = 0.2
    """Share of pictures with two or three persons."""
    heat_sigma: float = 2.0
    """Width of the target Gaussians in heat-map pixels (64x48)."""
    pose_weight: float = 800.0
    seg_weight: float = 1.0
    depth_weight: float = 1.0
    normal_weight: float = 1.0
    background_depth: float = 1.25
    """Target where no person is: beyond the farthest person point (1), so that drawings end somewhere."""
    background_normal_weight: float = 0.2
    """Share of the normal loss for pixels of rooms, props and empty backgrounds (which count as facing walls)."""
    seed: int = 20_260
    """Training pictures have seeds from here on; held-out pictures come from far above."""
    held_out_seed: int = 90_000_000
