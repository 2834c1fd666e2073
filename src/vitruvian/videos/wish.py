"""What is wanted of a video, and which inputs are videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vitruvian.media.items import Entry, Failure
from vitruvian.media.video.recognition import is_video
from vitruvian.media.video.values import Span
from vitruvian.picture_cameras import PictureCameras
from vitruvian.tasks.regions import BoxTable

DRAWN, LINES, TABLE, COCO = "draw", "jsonl", "csv", "coco"
"""Formats of a whole video: drawn, a line per frame, one table, one list of COCO results."""

DEFAULTS = (DRAWN, LINES)
"""Written unless others are named."""

PER_FRAME = frozenset({"npy", "png", "exr", "ply", "glb", "openpose"})
"""Formats of files per frame."""

FRAME_RATE = 25.0
"""Frames a second of numbered pictures, unless said otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoWish:
    """What is wanted of every video of a job."""

    formats: frozenset[str] = frozenset(DEFAULTS)
    span: Span = field(default_factory=Span)
    track: bool = False
    """Follow persons."""
    smooth: bool = False
    """Steady results over time; persons are followed for it."""
    convention: str | None = None
    """Keypoint set that poses are converted to; None: the network's own."""
    frame_rate: float = FRAME_RATE
    """Of numbered pictures."""
    boxes: BoxTable | None = None
    """Persons of every frame, by the frame's name; None: those that the model's detector finds."""
    flip_test: bool = False
    cameras: PictureCameras | None = None
    """Finds the camera behind the frames, for models that measure in metres."""


def formats_of(named: Sequence[str]) -> frozenset[str]:
    """Formats of a video where these were named: what a picture has as JSON is a line here."""
    return frozenset(LINES if name == "json" else name for name in named) or frozenset(DEFAULTS)


def is_video_entry(entry: Entry | Failure) -> bool:
    """Whether an input is a video: a file that holds one, or numbered pictures."""
    if isinstance(entry, Failure):
        return False
    return entry.sequence is not None or (entry.path is not None and is_video(entry.path))


def frame_name(name: str, number: int) -> str:
    """What frame `number` of the video `name` is called in files and in tables of boxes."""
    return f"{name}.frames/{number:08d}"
