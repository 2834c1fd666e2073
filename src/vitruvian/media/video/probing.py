"""What a video holds: its header and its first frame, checked before anything else is read.

In: a path. Out: `VideoInfo` for people and planners, `Facts` for the reader. Decodes one frame.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vitruvian.errors import InputError
from vitruvian.media.images import MAX_PIXELS
from vitruvian.media.video.decoding import Decoding
from vitruvian.media.video.library import Opened, has_audio, opened_video
from vitruvian.media.video.pixels import Turn, has_alpha, stored_turn, unusual_colours
from vitruvian.media.video.values import VideoInfo

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

ASSUMED_RATE = Fraction(25)

_UNTIMED = frozenset({"avi", "h264", "hevc", "m4v", "mpegvideo", "mjpeg", "obu", "dv", "yuv4mpegpipe"})
"""Containers without times of presentation; what FFmpeg makes up for them is wrong with B-frames."""
_INDEXED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
"""Containers that find a key frame by its stored time."""
_MICROSECONDS = 1_000_000
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the reader must know before it begins; the same for every pass over the file."""

    info: VideoInfo
    stored_width: int
    """Pixels before the turn."""
    stored_height: int
    turn: Turn
    time_base: Fraction
    """Seconds a timestamp unit."""
    start_pts: int | None
    """Timestamp of the first frame; None where the container has no times."""
    step_s: Fraction
    """Nominal length of a frame."""
    seekable: bool
    """Whether the container leads to key frames by their times."""

    @property
    def start_s(self) -> Fraction:
        """The first frame's time on the clock that sound and pictures share."""
        return Fraction(0) if self.start_pts is None else self.start_pts * self.time_base


def probe_video(path: Path, name: str) -> VideoInfo:
    """What a video file holds. `name` stands for it in messages and results.

    Raises:
        InputError: with a one-line reason, free of private paths, for everything that is wrong with the file.
        UsageError: PyAV is missing.
    """
    return examine(path, name).info


def examine(path: Path, name: str) -> Facts:
    """As `probe_video`, with what the reader needs besides."""
    with opened_video(path) as video:
        stored = video.stream.codec_context
        # The header's claim is checked before anything of that size is decoded; 0 is what FFmpeg makes of absurd ones.
        _check_size(max(1, stored.width), max(1, stored.height))
        decoding = Decoding(video)
        frame = next(decoding.frames(), None)
        if frame is None:
            why = f" ({decoding.words})" if decoding.words else ""
            size = "" if stored.width else f"; its size is missing or above {MAX_PIXELS / 1e6:g} million pixels"
            raise InputError(f"none of its frames can be decoded{why}{size}; expected a whole video")
        _check_size(frame.width, frame.height)
        return _facts(video, frame, name)


def _facts(video: Opened, frame: VideoFrame, name: str) -> Facts:
    container, stream = video.container, video.stream
    turn = stored_turn(frame)
    rate = _rate_of(video)
    notes = _notes(video, frame, turn, rate)
    turn = turn or Turn()
    width, height = (frame.height, frame.width) if turn.transpose else (frame.width, frame.height)
    duration_s = stated_duration_s(video)
    frames = stream.frames or (round(duration_s * rate) if duration_s and rate else None)
    timed = container.format.name not in _UNTIMED and frame.pts is not None
    info = VideoInfo(
        name=name,
        width=width,
        height=height,
        frame_rate=rate or ASSUMED_RATE,
        frames_estimate=frames,
        duration_s=None if duration_s is None else float(duration_s),
        rotation_deg=turn.clockwise_deg,
        pixel_format=frame.format.name,
        has_audio=has_audio(container),
        has_alpha=has_alpha(frame),
        notes=notes,
    )
    return Facts(
        info=info,
        stored_width=frame.width,
        stored_height=frame.height,
        turn=turn,
        time_base=Fraction(stream.time_base),
        start_pts=frame.pts if timed else None,
        step_s=1 / (rate or ASSUMED_RATE),
        seekable=timed and container.format.name in _INDEXED,
    )


def _notes(video: Opened, frame: VideoFrame, turn: Turn | None, rate: Fraction | None) -> tuple[str, ...]:
    notes = []
    if turn is None:
        notes.append("its rotation is not a multiple of 90 degrees; frames are taken as they lie")
    elif turn.clockwise_deg or turn.mirrored:
        mirrored = " and mirrored" if turn.mirrored else ""
        notes.append(f"turned upright by {turn.clockwise_deg} degrees clockwise{mirrored}")
    if rate is None:
        notes.append(f"states no frame rate; {ASSUMED_RATE} frames a second are assumed")
    aspect = video.stream.sample_aspect_ratio
    if aspect is not None and aspect > 0 and aspect != 1:
        notes.append(f"its pixels are {aspect} as wide as high; they are taken as square")
    if frame.interlaced_frame:
        notes.append("interlaced: both fields of a frame are taken together")
    if max(component.bits for component in frame.format.components) > 8:
        notes.append("more than 8 bits per channel are rounded to 8")
    if has_alpha(frame) and not frame.format.has_palette:
        notes.append("transparency laid on white")
    notes += unusual_colours(frame)
    if len(video.container.streams.video) > 1:
        notes.append("holds several video streams; the main one is taken")
    return tuple(notes)


def stated_duration_s(video: Opened) -> Fraction | None:
    """Length of the video stream as the file says: of the stream itself where stated, otherwise of the whole file."""
    container, stream = video.container, video.stream
    if stream.duration:
        return stream.duration * Fraction(stream.time_base)
    tagged = _CLOCK.match(stream.metadata.get("DURATION", ""))
    if tagged is not None:
        hours, minutes, seconds = tagged.groups()
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    return Fraction(container.duration, _MICROSECONDS) if container.duration else None


def _rate_of(video: Opened) -> Fraction | None:
    """Average frames a second as the file says or its first packets tell; None where neither does."""
    stream = video.stream
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate is not None and rate > 0:
            return Fraction(rate)
    return None


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise InputError(f"has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise InputError(
            f"claims {width} x {height} = {width * height / 1e6:.0f} million pixels; expected at most "
            f"{MAX_PIXELS / 1e6:g} million; make it smaller"
        )
