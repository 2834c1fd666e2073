"""A short video written in one go."""

# Shape suffixes: H W frame, 3 = RGB.

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vitruvian.media.video.joining import joined
from vitruvian.media.video.values import Span
from vitruvian.media.video.writing import SegmentWriter


def write_clip(
    target: Path,
    frames: Iterable[tuple[np.ndarray, float]],
    *,
    audio_from: Path | None = None,
    span: Span | None = None,
) -> None:
    """Write an MP4 of frames that come one after the other; whole, or not at all.

    Args:
        target: the video; an older one is replaced.
        frames: uint8 RGB (H,W,3), and the second from which each is shown.
        audio_from: the source whose sound is to be heard.
        span: the part of the source that is seen.

    Raises:
        DoesNotFitError, UsageError: the disk is full, the folder cannot be written to, there is no frame.
    """
    with tempfile.TemporaryDirectory() as folder, SegmentWriter(Path(folder), frames_per_segment=1 << 30) as writer:
        for image_HW3, time_s in frames:
            writer.write(image_HW3, time_s)
        joined(writer.finish(), target, audio_from=audio_from, span=span)
