"""What the small metric network is taught on and with which weights, as one value; how long is the trainer's."""

from __future__ import annotations

from dataclasses import dataclass, field

from vitruvian.datasets.photometric import Photometric
from vitruvian.errors import UsageError
from vitruvian.training.metric.samples import MetricAugmentation


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricNanoRecipe:
    """Pictures and loss weights."""

    pictures: int = 12_000
    """Synthetic pictures rendered once; each is seen many times, resized, cut and coloured anew."""
    pixels: int = 46_656
    """Of each picture, whatever its aspect: 288x162 to 162x288, some more than a canvas shows."""
    view_deg: tuple[float, float] = (48.0, 78.0)
    """Range of the field of view along the longer side, as phones and webcams have it: narrower ones show a piece of
    wall that could be anywhere."""
    augmentation: MetricAugmentation = field(
        default_factory=lambda: MetricAugmentation(
            whole_share=0.85, zoom=1.2, photometric=Photometric(probability=0.25)
        )
    )
    """Mostly whole pictures, as the network will see them: there is no time to learn much else."""
    metre_weight: float = 0.0
    log_weight: float = 1.0
    """Canonical depths here reach from 1 to 200 m, and what is asked for are relative errors: in metres, as published,
    a tenth of the far end would weigh as much as twenty times the near end."""
    confidence_weight: float = 0.25
    normal_weight: float = 0.5
    seed: int = 40_260
    """Training pictures have seeds from here on; held-out pictures come from far above."""
    held_out_seed: int = 90_000_000

    def __post_init__(self) -> None:
        """Raises `UsageError` where training pictures would be held-out ones."""
        if self.seed < self.held_out_seed < self.seed + self.pictures:
            raise UsageError(
                f"got pictures={self.pictures}; expected {self.held_out_seed - self.seed} at most: the next ones are "
                "held out; take fewer"
            )
