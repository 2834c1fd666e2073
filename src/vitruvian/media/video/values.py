"""The values that videos are made of: which part is wanted, what a file says it holds, one frame, an early end."""

# Shape suffixes: H W picture size, 3 = RGB.

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from vitruvian.errors import InputError, UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """The part of a video that is wanted: frames with `start_s <= time_s < end_s`, every `stride`-th of them.

    Raises:
        UsageError: times or stride that select nothing by themselves.
    """

    start_s: float = 0.0
    """Seconds after the video's first frame."""
    end_s: float | None = None
    """Seconds after the video's first frame; None for its end."""
    stride: int = 1
    """1 takes every frame, 2 every second one, beginning with the first of the span."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start_s) and self.start_s >= 0):
            raise UsageError(f"got a start of {self.start_s:g} s; expected 0 or more seconds into the video")
        if self.end_s is not None and not (math.isfinite(self.end_s) and self.end_s > self.start_s):
            raise UsageError(
                f"got a start of {self.start_s:g} s and an end of {self.end_s:g} s; expected an end after the start"
            )
        if isinstance(self.stride, bool) or not isinstance(self.stride, int) or self.stride < 1:
            raise UsageError(f"got a stride of {self.stride}; expected a whole number from 1 (every frame) up")


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One frame of a video."""

    number: int
    """Place among the frames that the span selects, from 0."""
    time_s: float
    """Seconds after the video's first frame; strictly increasing."""
    image_HW3: np.ndarray
    """uint8 RGB, upright, contiguous; the consumer's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInfo:
    """What a video holds, as its header and its first frame tell."""

    name: str
    """The input's name."""
    width: int
    """Pixels, after the turn."""
    height: int
    """Pixels, after the turn."""
    frame_rate: Fraction
    """Frames a second on average; a video may have frames of varying length."""
    frames_estimate: int | None
    """Frames in the whole video; exact in most MP4 files, otherwise from duration and rate; None where unknown."""
    duration_s: float | None
    """Length of the whole video in seconds as the file says; None where it does not."""
    rotation_deg: int
    """Clockwise turn that makes the stored picture upright, already applied: 0, 90, 180 or 270."""
    pixel_format: str
    """FFmpeg's name of the stored pixels, e.g. `yuv420p10le`."""
    has_audio: bool
    """Whether there is sound."""
    has_alpha: bool
    """Whether pixels may be transparent; they are laid on white, as in pictures."""
    notes: tuple[str, ...]
    """What is done to the frames that a user may not expect, one line each."""


class TruncatedVideo(InputError):
    """A video that ends early or is damaged in parts, raised after everything readable was given."""

    def __init__(self, frames: int, reason: str) -> None:
        """`frames` were given and are fine, those skipped before them included; `reason` is one line."""
        super().__init__(f"{reason}; {frames} frames are read and kept")
        self.frames = frames
        self.reason = reason
