"""Everything that decides what the small animation network becomes, as one value for each of its two trainings."""

from __future__ import annotations

from dataclasses import dataclass, field

from vitruvian.training.loop import LoopConfig
from vitruvian.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipRecipe(Recipe):
    """The clips that both trainings see; `pictures` counts them."""

    pictures: int = 3000
    frames: int = 12
    fps: float = 10.0
    least_person: float = 0.55
    """Persons are at least so high, in shares of the frame."""
    calm: float = 2.2
    """Most that neighbouring pixels of a background differ by on average, in levels: the codec is small."""
    seed: int = 51_000_000
    held_out_seed: int = 97_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecRecipe(ClipRecipe):
    """The image codec: frames to latents and back."""

    batch: int = 4
    """Frames per step and process."""
    noise: float = 0.08
    """Added to latents, in shares of their spread: what denoises is never exact, either."""
    gradient_weight: float = 0.5
    """Of differences between neighbouring pixels, beside the pixels themselves."""
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(steps=450, lr=3e-4, clip_norm=1.0, ema_decay=0.995, checkpoint_every=50)
    )
    """Small steps: the first values are a codec already."""
    warmup: int = 45
    weight_decay: float = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class DenoiserRecipe(ClipRecipe):
    """Denoising network, pose features and image encoder, together."""

    coded: int = 1000
    """Clips whose latents are made; encoding is slow, and persons repeat sooner than poses."""
    batch: int = 3
    """Tiles per step and process."""
    drop: float = 0.1
    """Share of tiles without conditions: what guidance pushes away from."""
    jitter: float = 0.006
    """Spread of the error of points, in shares of the frame's height: poses of driving videos are found, not known."""
    missed: float = 0.03
    """Share of points that were not found."""
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(steps=2500, lr=1e-3, clip_norm=1.0, ema_decay=0.998, checkpoint_every=200)
    )
    warmup: int = 150
    weight_decay: float = 0.01
