"""What a user wants of a clip, and what the presets stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from vitruvian.animation.alignment import Method
from vitruvian.driving.persons import Choice, Missing
from vitruvian.errors import UsageError
from vitruvian.fit.quality import Quality
from vitruvian.generation.denoised import Interval
from vitruvian.generation.strategy import Wish as Guidance
from vitruvian.zoo import AnimationSpec

PUBLISHED_SCALES = (2.0, 2.0)
PresetName = Literal["fast", "balanced", "best"]
Mode = Literal["new", "resume", "overwrite"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """What a clip costs where nobody says otherwise."""

    steps: int
    interval: Interval
    overlap: int
    decode_overlap: int
    most_fps: float
    """Frames a second of the video, at most; a faster source is thinned, its speed kept."""


PRESETS: Mapping[PresetName, Preset] = {
    "fast": Preset(steps=12, interval=Interval(begin=0.0, end=0.6), overlap=4, decode_overlap=0, most_fps=15.0),
    "balanced": Preset(steps=25, interval=Interval(), overlap=6, decode_overlap=2, most_fps=30.0),
    "best": Preset(steps=40, interval=Interval(), overlap=12, decode_overlap=4, most_fps=30.0),
}
"""balanced has the published numbers of steps and overlap; the published pipeline decodes without overlap."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnimateWish:
    """What is wanted, apart from model and machine; None leaves it to preset, model or plan."""

    preset: PresetName = "balanced"
    resolution: int | None = None
    """Shorter side of the video; None: the model's own."""
    frames: tuple[int, int | None] = (0, None)
    """Frames of the driving video, from and up to."""
    fps: float | None = None
    """Frames a second of the video; None: the source's, the preset's at most."""
    guidance_scale: tuple[float, float] | None = None
    """Of the first and the last frame; None: the model's own."""
    interval: Interval | None = None
    pose_strength: float = 1.0
    hands: bool = True
    face: bool = True
    steps: int | None = None
    seed: int = 42
    guidance: Guidance = "auto"
    knobs: Mapping[str, Any] = field(default_factory=dict)
    """Of the way to generate, insisted on (`animating.way`)."""
    who: Choice = field(default_factory=Choice)
    missing: Missing = "hold"
    alignment: Method = "robust"
    poses: str = "auto"
    """What finds persons: auto, published, or a pose model."""
    budget_bytes: int | None = None
    device: str | None = None
    dtype: str | None = None
    quality: Quality = "balanced"
    mode: Mode = "new"
    preview: bool = False
    """Only show which poses would drive, on the reference."""

    def __post_init__(self) -> None:
        if self.preset not in get_args(PresetName):
            raise UsageError(f"got --preset {self.preset}; expected one of {', '.join(get_args(PresetName))}")
        first, end = self.frames
        if first < 0 or (end is not None and end <= first):
            raise UsageError(
                f"got --frames {first}:{'' if end is None else end}; expected frame numbers from 0, the first below "
                "the second, such as 0:72"
            )
        if self.fps is not None and not 0 < self.fps <= 240:
            raise UsageError(f"got --fps {self.fps:g}; expected auto, or frames a second above 0")
        if not all(1 <= scale <= 30 for scale in self.scales):
            raise UsageError(
                f"got --guidance-scale {self.scales[0]:g}:{self.scales[1]:g}; expected 1 (no guidance) to 30; "
                "published: 2"
            )
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise UsageError(f"got --steps {self.steps}; expected 1 to 1000; published: 25")
        if not 0 <= self.pose_strength <= 10:
            raise UsageError(f"got --pose-strength {self.pose_strength:g}; expected 0 to 10; 1 is as trained")

    @property
    def chosen(self) -> Preset:
        """The preset."""
        return PRESETS[self.preset]

    @property
    def steps_taken(self) -> int:
        """Denoising steps."""
        return self.steps or self.chosen.steps

    @property
    def guided(self) -> Interval:
        """Which steps are guided."""
        return self.interval or self.chosen.interval

    @property
    def scales(self) -> tuple[float, float]:
        """Guidance of the first and the last frame."""
        return self.guidance_scale or PUBLISHED_SCALES

    @property
    def is_guided(self) -> bool:
        """Whether any frame is."""
        return self.scales != (1.0, 1.0)

    def of_model(self, spec: AnimationSpec) -> AnimateWish:
        """With the model's own guidance and steps where nothing was said."""
        return replace(self, guidance_scale=self.guidance_scale or spec.guidance_scale, steps=self.steps or spec.steps)

    def guided_steps(self) -> int:
        """How many steps run both branches."""
        steps = self.steps_taken
        return sum(self.guided.holds(index, steps) for index in range(steps)) if self.is_guided else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class AnimateJob:
    """Files of one clip."""

    person: Path
    driving: Path
    out: Path
    model: str | Path
    base: Path | None = None
    """Folder with the networks of the base."""
    wish: AnimateWish
