"""The one place that knows where PyAV comes from, and how a file is opened so that nothing but that file is read.

In: a path. Out: an open container with one stream chosen. FFmpeg's demuxers for playlists, concatenations and picture
series follow names inside a file to other files and to the network; they are not on the list here, and no protocol but
plain files is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitruvian.errors import InputError, UsageError
from vitruvian.media.access import said_plainly
from vitruvian.media.images import MAX_PIXELS
from vitruvian.media.names import printable
from vitruvian.media.video.recognition import announced_kind

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,h264,hevc,m4v,mjpeg,flv,asf,ogg,ivf,obu,nut,mxf,dv,"
    "yuv4mpegpipe"
)
"""FFmpeg's names of the containers that are read: each holds its streams itself."""

USUAL = "MP4, MOV, MKV, WebM, AVI, MPEG-TS, ..."


@dataclass(frozen=True, slots=True)
class Opened:
    """An open container and the one stream of it that is read."""

    container: InputContainer
    stream: Any
    """PyAV's stream; `VideoStream` or `AudioStream`."""


def pyav() -> Any:
    """The package `av`; `UsageError` that names the extra where it is not installed."""
    try:
        import av
    except ImportError:
        raise UsageError(
            "reading and writing video needs the package av (PyAV), which is not installed; install it with: "
            'pip install "vitruvian[video]"'
        ) from None
    return av


def words_of(error: Exception) -> str:
    """What FFmpeg says about an error, on one line and without the path that it likes to add."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(" ".join(str(text).split()))[:160]


@contextmanager
def opened_video(path: Path, *, threads: int = 1) -> Iterator[Opened]:
    """Open a file with its main video stream ready to decode; closed at the end.

    Raises:
        InputError: not a file, not a video, or of a kind that cannot be decoded here.
        UsageError: PyAV is missing.
    """
    with _opened(path) as container:
        stream = _main_video(container)
        if stream is None:
            raise InputError("holds no video stream; expected a video")
        if stream.codec_context is None:
            raise InputError("its video is of a kind that cannot be decoded here; convert it, e.g. to H.264 in MP4")
        _only(container, stream)
        # Frame threads decode several frames at once; slice threads would change nothing for most files.
        stream.thread_type = "FRAME" if threads > 1 else "SLICE"
        stream.codec_context.thread_count = threads
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        yield Opened(container, stream)


@contextmanager
def opened_audio(path: Path) -> Iterator[Opened | None]:
    """Open a file with its main audio stream; None where it has none. Raises as `opened_video`."""
    with _opened(path) as container:
        stream = container.streams.best("audio")
        if stream is None:
            yield None
            return
        _only(container, stream)
        yield Opened(container, stream)


def has_audio(container: InputContainer) -> bool:
    """Whether a container holds sound."""
    return len(container.streams.audio) > 0


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    av = pyav()
    _check_file(path)
    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS, "max_pixels": str(MAX_PIXELS)}
    try:
        # The prefix keeps FFmpeg from taking a file's name for an address.
        container = av.open(f"file:{os.path.abspath(path)}", options=options, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise InputError(_refusal(path, error)) from None
    with container:
        yield container


def _check_file(path: Path) -> None:
    with said_plainly():
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError("is not a regular file; expected a video file")
        with path.open("rb"):
            pass
    if status.st_size == 0:
        raise InputError("the file is empty")


def _refusal(path: Path, error: Exception) -> str:
    kind = announced_kind(path)
    if kind is None:
        return (
            f"is not a video that is read here; expected {USUAL}; playlists and lists of other files are refused: "
            "give the files themselves"
        )
    return (
        f"the {kind} data are truncated, damaged or of an unusual kind ({words_of(error)}); an MP4 or MOV file that "
        "was cut off has lost the index at its end"
    )


def _main_video(container: InputContainer) -> Any | None:
    """The stream that players show first; covers of albums are pictures, not videos."""
    from av.stream import Disposition

    videos = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    best = container.streams.best("video")
    if best is not None and any(stream.index == best.index for stream in videos):
        return best
    return videos[0] if videos else None


def _only(container: InputContainer, wanted: Stream) -> None:
    """Let the demuxer pass over everything else."""
    from av.stream import Discard

    for stream in container.streams:
        stream.discard = Discard.default if stream.index == wanted.index else Discard.all
