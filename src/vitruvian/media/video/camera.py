"""Frames as they come: the newest one always, older ones that nobody took in time are dropped and counted.

In: a source that gives frames with the moment they came. Out: the newest frame each time one is asked for, and how
old it is. Memory: two frames. Tried with made-up sources only: no machine with a camera was at hand, so `open_camera`
follows the documentation of FFmpeg's devices.
"""

# Shape suffixes: H W picture size, 3 = RGB.

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from vitruvian.errors import InputError, UsageError
from vitruvian.media.closing import Closing
from vitruvian.media.names import printable
from vitruvian.media.video.library import pyav, words_of
from vitruvian.media.video.pixels import Turn, UprightRgb, stored_turn

_SCHEMES = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,crypto",
    "http": "http,httpproxy,tcp",
    "https": "https,http,httpproxy,tls,tcp,crypto",
}
"""Addresses that are taken, and the protocols each may use; files of this machine are never among them."""

_OPEN_TIMEOUT_S, _READ_TIMEOUT_S = 15.0, 10.0
_END_TIMEOUT_S = _READ_TIMEOUT_S + 2


class FrameSource(Protocol):
    """Gives frames until it ends: `(image_HW3, captured_s)`, uint8 RGB and the moment on the consumer's clock."""

    def __iter__(self) -> Iterator[tuple[np.ndarray, float]]:
        """The frames; called once, by the reading thread."""

    def close(self) -> None:
        """Make the iteration end soon. May be called by any thread, more than once, and while a frame is awaited."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveFrame:
    """The newest frame at the moment it was taken."""

    number: int
    """Place among the frames that were taken, from 0."""
    captured_s: float
    """When it came, on the clock."""
    latency_s: float
    """How old it was when it was taken."""
    dropped: int
    """Frames that came since the one taken before and were never seen."""
    image_HW3: np.ndarray
    """uint8 RGB."""


def newest_frames(
    source: FrameSource, *, clock: Callable[[], float] = time.monotonic, end_s: float | None = None
) -> NewestFrames:
    """Read `source` in a thread and give its newest frame whenever one is asked for.

    The iterator waits for a frame that was not seen yet, gives the last one also when the source has ended meanwhile,
    then ends. An error of the source is raised where the iterator would end. `clock` is the one of `captured_s`;
    `end_s` seconds after the first frame was captured it ends by itself.
    """
    return NewestFrames(source, clock, end_s)


class NewestFrames(Closing, Iterator[LiveFrame]):
    """Made by `newest_frames`; use it in a `with`, or close it."""

    def __init__(self, source: FrameSource, clock: Callable[[], float], end_s: float | None = None) -> None:
        self._source, self._clock, self._end_s = source, clock, end_s
        self._until_s: float | None = None
        self._changed = threading.Condition()
        self._newest: tuple[np.ndarray, float] | None = None
        self._dropped = 0
        self._taken = 0
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None
        # A camera may never answer again; its thread must not keep the program from ending.
        self._thread = threading.Thread(target=self._follow, name="vitruvian-camera", daemon=True)
        self._thread.start()

    def __next__(self) -> LiveFrame:
        with self._changed:
            left_s = None if self._until_s is None else max(0.0, self._until_s - self._clock())
            self._changed.wait_for(lambda: self._newest is not None or self._ended or self._closed, left_s)
            if self._closed or (self._until_s is not None and self._clock() >= self._until_s):
                raise StopIteration
            if self._newest is None:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                raise StopIteration
            (image_HW3, captured_s), self._newest = self._newest, None
            if self._until_s is None and self._end_s is not None:
                self._until_s = captured_s + self._end_s
            number, self._taken = self._taken, self._taken + 1
            dropped, self._dropped = self._dropped, 0
        return LiveFrame(
            number=number,
            captured_s=captured_s,
            latency_s=self._clock() - captured_s,
            dropped=dropped,
            image_HW3=image_HW3,
        )

    def stop(self) -> None:
        """Give no more frames and wake whoever waits for one; may be called by a signal's handler."""
        with self._changed:
            self._closed = True
            self._newest = None
            self._changed.notify_all()

    def close(self) -> None:
        """End the reading, wake whoever waits for a frame, and wait some seconds for the source to let go."""
        self.stop()
        self._source.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(_END_TIMEOUT_S)

    def _follow(self) -> None:
        error: BaseException | None = None
        try:
            for frame in self._source:
                with self._changed:
                    if self._closed:
                        break
                    self._dropped += self._newest is not None
                    self._newest = frame
                    self._changed.notify_all()
        except BaseException as raised:
            error = raised  # The consumer's thread raises it.
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify_all()


def open_camera(name: str, *, clock: Callable[[], float] = time.monotonic) -> FrameSource:
    """A camera by its number (`0` is the first), or a stream by its address (rtsp, rtsps, http, https).

    Raises:
        InputError: there is no such camera or stream, or it does not answer; also later, from the iteration.
        UsageError: `name` is neither; PyAV is missing.
    """
    av = pyav()
    address, options = _address(name)
    try:
        timeout = (_OPEN_TIMEOUT_S, _READ_TIMEOUT_S)
        container = av.open(address.file, format=address.format, options=options, timeout=timeout)
    except (av.FFmpegError, ValueError) as error:
        raise InputError(f"{_shown(name)} cannot be opened ({words_of(error)}); check that it is on and free") from None
    if not container.streams.video or container.streams.video[0].codec_context is None:
        container.close()
        raise InputError(f"{_shown(name)} gives no video that can be decoded here")
    return _Camera(container, _shown(name), clock)


def _check_name(name: str) -> None:
    scheme, separator, _ = name.partition("://")
    if not (separator and scheme.lower() in _SCHEMES) and not (name.isascii() and name.isdigit()):
        raise UsageError(
            f"got {_shown(name)} as a camera; expected its number (0 is the first) or an address that begins with "
            "rtsp://, rtsps://, http:// or https://"
        )


@dataclass(frozen=True, slots=True)
class _Address:
    file: str
    format: str | None


def _address(name: str) -> tuple[_Address, dict[str, str]]:
    """What FFmpeg is to open, and with which options."""
    _check_name(name)
    scheme = name.partition("://")[0].lower()
    if "://" in name:
        options = {"protocol_whitelist": _SCHEMES[scheme], "fflags": "nobuffer"}
        if scheme.startswith("rtsp"):
            # Single packets lost under UDP would damage frames.
            options["rtsp_transport"] = "tcp"
        return _Address(name, None), options
    if sys.platform == "win32":
        return _Address(f"video={_windows_name(int(name))}", "dshow"), {}
    if sys.platform == "darwin":
        return _Address(f"{int(name)}:none", "avfoundation"), {"framerate": "30"}
    return _Address(f"/dev/video{int(name)}", "v4l2"), {}


def _windows_name(number: int) -> str:
    from av.device import enumerate_input_devices

    cameras = [device.name for device in enumerate_input_devices("dshow") if "video" in device.media_types]
    if number >= len(cameras):
        raise InputError(f"camera {number} is not there; cameras found: {len(cameras)}, counted from 0")
    return cameras[number]


def camera_name(name: str) -> str:
    """What the files of a camera are called: `camera0`, or `camera_` and an address without user, password and query.

    Raises:
        UsageError: `name` is neither a number nor an address that is taken.
    """
    _check_name(name)
    if "://" not in name:
        return f"camera{int(name)}"
    return "camera_" + re.sub(r"[^A-Za-z0-9.-]+", "_", _shown(name).partition("://")[2]).strip("_.")


def _shown(name: str) -> str:
    """A camera's name for messages; an address without the user and password it may hold."""
    scheme, separator, rest = name.partition("://")
    host, slash, path = rest.partition("/")
    return printable(f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}")


class _Camera:
    """A device or network stream as a `FrameSource`; `captured_s` is when the decoder gave the frame."""

    def __init__(self, container: Any, name: str, clock: Callable[[], float]) -> None:
        self._container, self._name, self._clock = container, name, clock
        self._turn = threading.Lock()
        self._begun = self._stopped = False

    def __iter__(self) -> Iterator[tuple[np.ndarray, float]]:
        with self._turn:
            self._begun = not self._stopped
        rgb = None
        # FFmpeg allows nobody to close it while another thread is inside, so the thread that reads does.
        with self._container:
            for frame in self._decoded() if self._begun else ():
                captured_s = self._clock()
                if rgb is None:
                    rgb = UprightRgb(width=frame.width, height=frame.height, turn=stored_turn(frame) or Turn())
                yield rgb.convert(frame), captured_s

    def close(self) -> None:
        """End after the frame that is awaited, or after its timeout."""
        with self._turn:
            self._stopped = True
            if not self._begun:
                self._container.close()

    def _decoded(self) -> Iterator[Any]:
        errors = pyav().FFmpegError
        try:
            for packet in self._container.demux(video=0):
                if self._stopped:
                    return
                try:
                    frames = packet.decode()
                except errors:
                    continue  # A stream that is joined on its way begins with what cannot be decoded.
                yield from frames
        except errors as error:
            raise InputError(f"{self._name} gives no more frames ({words_of(error)})") from None
