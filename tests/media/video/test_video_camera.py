"""The newest frame wins, what nobody saw is counted, and the end and errors of a source reach whoever waits."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitruvian.errors import InputError, UsageError
from vitruvian.media.video import camera
from vitruvian.media.video.camera import camera_name, newest_frames, open_camera

av: Any = pytest.importorskip("av")
TIMEOUT_S = 20


class Source:
    """Gives the frames it is handed, one by one; the test knows when each was taken over."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._waiting: list[Any] = []
        self._asked = 0
        self.closed = 0

    def __iter__(self) -> Iterator[tuple[np.ndarray, float]]:
        while True:
            with self._turn:
                self._asked += 1
                self._turn.notify_all()
                assert self._turn.wait_for(lambda: self._waiting, TIMEOUT_S)
                one = self._waiting.pop(0)
            if isinstance(one, BaseException):
                raise one
            if one is None:
                return
            yield np.full((2, 2, 3), int(one[0]), np.uint8), one[1]

    def give(self, *frames: Any) -> None:
        """Hand frames over, each after the one before was taken into the slot."""
        for frame in frames:
            with self._turn:
                assert self._turn.wait_for(lambda: self._asked, TIMEOUT_S)
                asked = self._asked
                self._waiting.append(frame)
                self._turn.notify_all()
                if isinstance(frame, tuple):
                    assert self._turn.wait_for(lambda before=asked: self._asked > before, TIMEOUT_S)

    def close(self) -> None:
        self.closed += 1
        with self._turn:
            self._waiting.append(None)
            self._turn.notify_all()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "vitruvian-camera"]


def test_the_newest_frame_wins() -> None:
    now_s = [100.0]
    source = Source()
    with newest_frames(source, clock=lambda: now_s[0]) as frames:
        source.give((1, 99.9))
        first = next(frames)
        now_s[0] = 101.0
        source.give((2, 100.2), (3, 100.5), (4, 100.75))
        second = next(frames)
        source.give((5, 101.0))
        third = next(frames)
    assert [int(one.image_HW3[0, 0, 0]) for one in (first, second, third)] == [1, 4, 5]
    assert [one.number for one in (first, second, third)] == [0, 1, 2]
    assert [one.dropped for one in (first, second, third)] == [0, 2, 0]
    assert [one.latency_s for one in (first, second, third)] == pytest.approx([0.1, 0.25, 0.0])
    assert [one.captured_s for one in (first, second, third)] == [99.9, 100.75, 101.0]
    assert source.closed == 1
    assert threads() == []


def test_a_frame_is_given_once_and_waited_for() -> None:
    source = Source()
    with newest_frames(source, clock=lambda: 0.0) as frames:
        source.give((1, 0.0))
        next(frames)
        found: list[int] = []
        waiting = threading.Thread(target=lambda: found.append(int(next(frames).image_HW3[0, 0, 0])))
        waiting.start()
        waiting.join(0.05)
        assert found == []
        source.give((2, 0.0))
        waiting.join(TIMEOUT_S)
        assert found == [2]


def test_the_last_frame_comes_before_the_end() -> None:
    source = Source()
    with newest_frames(source, clock=lambda: 0.0) as frames:
        source.give((1, 0.0), (2, 0.0), None)
        assert [int(one.image_HW3[0, 0, 0]) for one in frames] == [2]
        assert list(frames) == []


def test_an_error_of_the_source_comes_out_in_the_consumer() -> None:
    source = Source()
    with newest_frames(source, clock=lambda: 0.0) as frames:
        source.give((1, 0.0), InputError("the camera gives no more frames"))
        assert int(next(frames).image_HW3[0, 0, 0]) == 1
        with pytest.raises(InputError, match="no more frames"):
            next(frames)
        assert list(frames) == []
    assert threads() == []


def test_closing_wakes_whoever_waits() -> None:
    source = Source()
    frames = newest_frames(source, clock=lambda: 0.0)
    ended: list[object] = []
    waiting = threading.Thread(target=lambda: ended.append(list(frames)))
    waiting.start()
    waiting.join(0.05)
    frames.close()
    waiting.join(TIMEOUT_S)
    assert ended == [[]]
    frames.close()
    assert threads() == []


def test_frames_that_came_before_the_closing_are_not_given_after_it() -> None:
    source = Source()
    frames = newest_frames(source, clock=lambda: 0.0)
    source.give((1, 0.0))
    frames.close()
    assert list(frames) == []


def test_stopping_wakes_whoever_waits_and_leaves_the_source_to_the_closing() -> None:
    source = Source()
    with newest_frames(source, clock=lambda: 0.0) as frames:
        source.give((1, 0.0))
        frames.stop()
        assert list(frames) == []
        assert source.closed == 0
    assert source.closed == 1


def test_the_frames_end_after_a_time() -> None:
    now_s = [10.0]
    source = Source()
    with newest_frames(source, clock=lambda: now_s[0], end_s=2.0) as frames:
        source.give((1, 10.0))
        next(frames)
        now_s[0] = 11.9
        source.give((2, 11.9))
        assert next(frames).number == 1
        now_s[0] = 12.0
        source.give((3, 12.0))
        assert list(frames) == []


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("0", "camera0"),
        ("07", "camera7"),
        ("rtsp://me:secret@10.0.0.3:554/live/main?token=1", "camera_10.0.0.3_554_live_main"),
        ("http://gate.local/", "camera_gate.local"),
    ],
)
def test_names_of_files_keep_secrets(given: str, name: str) -> None:
    assert camera_name(given) == name


@pytest.mark.parametrize("name", ["", "front door", "-1", "file:///etc/passwd", "/dev/video0", "concat:a|b", "rtsp"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="expected its number"):
        open_camera(name)


@pytest.mark.parametrize(
    ("platform", "file", "format"),
    [("linux", "/dev/video2", "v4l2"), ("darwin", "2:none", "avfoundation"), ("win32", "video=Third", "dshow")],
)
def test_numbers_are_devices_of_the_platform(
    monkeypatch: pytest.MonkeyPatch, platform: str, file: str, format: str
) -> None:
    class Device:
        def __init__(self, name: str, *kinds: str) -> None:
            self.name, self.media_types = name, kinds

    devices = [Device("First", "video"), Device("Mic", "audio"), Device("Second", "video"), Device("Third", "video")]
    monkeypatch.setattr("av.device.enumerate_input_devices", lambda kind: devices)
    monkeypatch.setattr(sys, "platform", platform)
    opened: list[tuple[str, str]] = []

    def refuse(name: str, *, format: str, options: dict[str, str], timeout: object) -> None:
        opened.append((name, format))
        raise av.FFmpegError(2, "No such file or directory")

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(InputError, match="2 cannot be opened"):
        open_camera("2")
    assert opened == [(file, format)]


def test_a_windows_camera_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("av.device.enumerate_input_devices", lambda kind: [])
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(InputError, match="cameras found: 0"):
        open_camera("0")


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "https"])
def test_addresses_reach_the_network_alone_and_keep_their_secrets(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    given: dict[str, str] = {}

    def refuse(name: str, *, format: str | None, options: dict[str, str], timeout: object) -> None:
        given.update(options)
        raise av.FFmpegError(111, "Connection refused")

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(InputError, match=r"gate\.local/live cannot be opened \(Connection refused\)") as caught:
        open_camera(f"{scheme}://user:secret@gate.local/live?token=1")
    assert "secret" not in str(caught.value)
    assert "token" not in str(caught.value)
    assert "file" not in given["protocol_whitelist"].split(",")


@pytest.fixture
def recorded(make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """`open_camera` on a recorded file in the place of a device."""
    path = make_video(frames=8)

    def opened(clock: Callable[[], float] = lambda: 5.0) -> Any:
        real = av.open
        with monkeypatch.context() as patch:
            patch.setattr(av, "open", lambda name, **options: real(str(path)))
            return open_camera("0", clock=clock)

    return opened


def test_a_device_gives_upright_pictures_and_moments(recorded: Callable[[], Any]) -> None:
    frames = list(recorded())
    assert len(frames) == 8
    assert all(captured_s == 5.0 for _, captured_s in frames)
    assert frames[3][0].shape == (48, 64, 3)
    assert abs(frames[3][0][24:, 24:].mean() - 66.5) < 3


def test_a_device_ends_when_it_is_closed(recorded: Callable[[], Any]) -> None:
    source = recorded()
    frames = iter(source)
    next(frames)
    source.close()
    assert len(list(frames)) < 7
    unread = recorded()
    unread.close()
    assert list(unread) == []


def test_a_device_through_the_newest_frame(recorded: Callable[[], Any]) -> None:
    with newest_frames(recorded(), clock=lambda: 6.0) as frames:
        found = list(frames)
    assert sum(1 + one.dropped for one in found) == 8
    assert {one.latency_s for one in found} == {1.0}


def test_a_stream_without_video_is_no_camera(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Silent:
        class streams:
            video: tuple[object, ...] = ()

        def close(self) -> None:
            pass

    monkeypatch.setattr(
        camera, "pyav", lambda: type("Av", (), {"open": lambda *a, **k: Silent(), "FFmpegError": OSError})
    )
    with pytest.raises(InputError, match="gives no video"):
        open_camera("0")
