"""Everything that decides what the nano detector becomes, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field

from vitruvian.training.loop import LoopConfig
from vitruvian.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """What canvases look like for some of the steps."""

    canvas_hw: tuple[int, int]
    plain_share: float
    mosaic_share: float
    """Canvases of one picture and of several; the rest shows one picture made small in front of a background."""
    whole_share: float
    """Of canvases with one picture, those that show all of it; the others show a part."""
    disturbance: float
    """How much of the hiding, pasting, painting and spoiling is done, 0..1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorRecipe(Recipe):
    """Pictures, steps and loss weights."""

    pictures: int = 10_000
    longer_side: int = 384
    """Longer side the pictures are rendered at; the shorter one follows from `aspects`."""
    aspects: tuple[float, ...] = (9 / 16, 2 / 3, 3 / 4, 1.0, 4 / 3, 3 / 2, 16 / 9)
    """Width over height of the pictures, each as likely as the others."""
    empty_share: float = 0.05
    single_share: float = 0.15
    crowd_share: float = 0.1
    """Share of pictures with no person, with one and with 9 to 20; all others show 2 to 8."""
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(steps=5000, lr=2e-3, clip_norm=10.0, ema_decay=0.998, checkpoint_every=250)
    )
    warmup: int = 200
    early: Phase = Phase(canvas_hw=(224, 224), plain_share=0.5, mosaic_share=0.3, whole_share=0.4, disturbance=1.0)
    late: Phase = Phase(canvas_hw=(256, 256), plain_share=0.72, mosaic_share=0.13, whole_share=0.4, disturbance=0.5)
    last: Phase = Phase(canvas_hw=(256, 256), plain_share=0.85, mosaic_share=0.08, whole_share=0.7, disturbance=0.3)
    late_from: float = 0.3
    last_from: float = 0.75
    """When the second and third phase begin, as shares of the steps.

    Small canvases full of small persons to begin with; then the embedded network's size and calmer pictures.
    """
    weight_decay: float = 0.03
    least_share: float = 0.1
    """Persons of whom less than this share of their outline is to be seen are neither taught nor punished."""
    least_side_px: int = 5
    """Likewise persons whose box is narrower or lower than this, in canvas pixels."""
    class_weight: float = 1.0
    box_weight: float = 4.0
    every_box_weight: float = 2.0
    """For the boxes of all cells on a person, not only of those that answer for it."""
    owned_weight: float = 2.0
    """For telling cells on persons from others."""
    seed: int = 31_000_000
    held_out_seed: int = 95_000_000

    def phase(self, step: int) -> Phase:
        """What the canvases of a step look like."""
        share = step / self.loop.steps
        if share < self.late_from:
            return self.early
        return self.late if share < self.last_from else self.last
