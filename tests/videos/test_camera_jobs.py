"""A camera through the real command line, in its place a source that the test directs."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from command import Command
from vitruvian.errors import InputError
from vitruvian.videos import jobs

TIMEOUT_S = 30
AGO_S = 100.0
"""Frames of the tests were captured so long ago: latencies are at least that."""


def wait_until(true: Callable[[], bool]) -> None:
    until_s = time.monotonic() + TIMEOUT_S
    while not true():
        assert time.monotonic() < until_s
        time.sleep(0.01)


class Source:
    """Gives a picture, waits, gives the others at once, then does what it is told."""

    def __init__(
        self,
        pictures: list[np.ndarray],
        then: Callable[[Source], None] = lambda source: None,
        *,
        wait: Callable[[], bool] = lambda: True,
    ) -> None:
        self._pictures, self._then, self._wait = pictures, then, wait
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[tuple[np.ndarray, float]]:
        begun_s = time.monotonic() - AGO_S
        for number, image_HW3 in enumerate(self._pictures):
            yield image_HW3, begun_s + number / 10
            wait_until(self._wait)
        self._then(self)

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Callable[[Source], None]:
    """Puts a source in the place of every camera."""
    return lambda source: monkeypatch.setattr(jobs, "open_camera", lambda name: source)


def run_document(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return document


def lines(out: Path, task: str) -> list[dict[str, Any]]:
    text = (out / f"camera0.{task}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def drawn(out: Path, task: str) -> int:
    with av.open(str(out / f"camera0.{task}.mp4")) as container:
        return sum(1 for _ in container.decode(video=0))


def test_the_newest_frame_wins_and_latency_is_told(
    command: Command, camera: Callable[[Source], None], pictures: list[np.ndarray], tmp_path: Path
) -> None:
    many = pictures * 6
    out = tmp_path / "out"
    source = Source(many, wait=lambda: any(out.glob(".vitruvian/videos/*/lines")))
    camera(source)
    ran = command("pose", "--camera", "0", "-o", out, "--track", "--smooth")
    assert ran.code == 0, ran.err
    (video,) = run_document(out)["videos"]
    assert video["name"] == "camera0"
    assert 2 <= video["frames"] < len(many), "a burst does not queue up"
    assert video["frames"] + video["dropped_frames"] == len(many), "every frame is looked at or counted"
    latency = video["latency_ms"]
    assert AGO_S * 1e3 * 0.9 < latency["median"] <= latency["p95"] <= latency["longest"]
    assert f"{video['dropped_frames']} dropped, latency {latency['median']:.0f} ms" in ran.out
    found = lines(out, "pose")
    assert [line["frame"] for line in found] == list(range(video["frames"])) == list(range(drawn(out, "pose")))
    assert found[-1]["time_s"] == pytest.approx((len(many) - 1) / 10), "the last is the newest"
    assert all("id" in person for line in found for person in line["persons"])
    about = json.loads((out / "camera0.pose.jsonl.json").read_text(encoding="utf-8"))
    assert about["camera"]["dropped_frames"] == video["dropped_frames"]
    assert source.closed.is_set()
    assert not list((out / ".vitruvian" / "videos").iterdir()), "the working folder is gone"


@pytest.fixture
def heard() -> Iterator[None]:
    """Interrupts are heard, even where whoever started the tests ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_is_the_usual_end(
    command: Command, camera: Callable[[Source], None], pictures: list[np.ndarray], tmp_path: Path, heard: None
) -> None:
    def interrupt(source: Source) -> None:
        wait_until(lambda: signal.getsignal(signal.SIGINT) is not signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGINT)
        source.closed.wait(TIMEOUT_S)

    source = Source(pictures[:1], interrupt)
    camera(source)
    out = tmp_path / "out"
    ran = command("seg", "--camera", "0", "-o", out)
    assert ran.code == 0, ran.err
    assert "1 of 1 inputs done" in ran.out
    frames = run_document(out)["videos"][0]["frames"]
    assert frames <= 1
    assert source.closed.is_set()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "the next one interrupts again"


def test_it_ends_after_so_many_seconds(
    command: Command, camera: Callable[[Source], None], pictures: list[np.ndarray], tmp_path: Path
) -> None:
    camera(Source(pictures, lambda source: source.closed.wait(TIMEOUT_S) and None))
    ran = command("depth", "--camera", "0", "-o", tmp_path / "out", "--end", str(AGO_S / 2))
    assert ran.code == 0, ran.err
    assert len(lines(tmp_path / "out", "depth")) == drawn(tmp_path / "out", "depth") == 1


def test_a_camera_that_is_lost_leaves_what_it_gave(
    command: Command, camera: Callable[[Source], None], pictures: list[np.ndarray], tmp_path: Path
) -> None:
    def lose(source: Source) -> None:
        raise InputError("0 gives no more frames (Input/output error)")

    camera(Source(pictures, lose))
    out = tmp_path / "out"
    ran = command("normal", "--camera", "0", "-o", out, "--smooth")
    assert ran.code == 3
    assert "gives no more frames (Input/output error); its first" in ran.err
    assert len(lines(out, "normal")) == drawn(out, "normal") >= 1
    assert run_document(out)["inputs"] == {"total": 1, "done": 0, "skipped": 0, "failed": 1}


@pytest.mark.parametrize("why", ["is busy", None])
def test_a_camera_that_gives_nothing_is_a_failed_input(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, why: str | None
) -> None:
    def opened(name: str) -> Source:
        if why:
            raise InputError(why)
        return Source([])

    monkeypatch.setattr(jobs, "open_camera", opened)
    ran = command("seg", "--camera", "0", "-o", tmp_path / "out")
    assert ran.code == 3
    assert (why or "gives no frame") in ran.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--camera", "0", "a.jpg"], "together with inputs"),
        (["--camera", "0", "--resume"], "does not come again"),
        (["--camera", "0", "--start", "3"], "got --start"),
        (["--camera", "0", "--stride", "3"], "got --stride"),
        (["--camera", "0", "--batch", "4"], "got --batch"),
        (["--camera", "door"], "expected its number"),
        ([], "got no input"),
    ],
)
def test_wrong_requests_end_with_2(command: Command, tmp_path: Path, arguments: list[str], says: str) -> None:
    ran = command("seg", "-o", tmp_path / "out", *arguments)
    assert ran.code == 2
    assert says in ran.err
    assert not (tmp_path / "out").exists()
